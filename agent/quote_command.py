"""`kopilka-agent quote`: price a receipt on the command line, by the till's own engine.

Two ways in. With three files it prints one quote, or lists every fault of the
documents on standard error and ends with 1. With `--jsonl` it is a filter for
other programs: one request a line in, one quote or `{"error": [...]}` a line
out, at once, until the input ends (rulebook.md §9).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar

import click

from agent.texts import both, language, translator
from loyalty import catalog, receipt, rulebook, strictjson
from loyalty.explain import explain
from loyalty.faults import Fault, Refused, did_you_mean, gathered, shown
from loyalty.index import compile_rulebook
from loyalty.quote import priced, summed_up
from loyalty.returns import give_back
from loyalty.texts import N_

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Longest file and longest line of `--jsonl`."""

DOCUMENTS = ("rulebook", "catalog", "receipt")
OPTIONAL = ("returns", "draw_key")

Parsed = TypeVar("Parsed")


@click.command("quote")
@click.option("--rulebook", "rulebook_file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--catalog", "catalog_file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--receipt", "receipt_file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "--returns", "returns_file", type=click.Path(path_type=Path), metavar="FILE", help="Goods given back."
)
@click.option("--draw-key", metavar="HEX", help="Day key of draws, as it stands.")
@click.option("--why", is_flag=True, help="Say what became of each rule, and why.")
@click.option("--jsonl", is_flag=True, help="Requests from standard input, quotes out, one a line.")
def quote_command(
    rulebook_file: Path | None,
    catalog_file: Path | None,
    receipt_file: Path | None,
    returns_file: Path | None,
    draw_key: str | None,
    why: bool,
    jsonl: bool,
) -> None:
    """Price a receipt: print the quote as JSON, or every fault of the documents."""
    translate = translator(language())
    files = {"rulebook": rulebook_file, "catalog": catalog_file, "receipt": receipt_file}
    if jsonl:
        if any(files.values()) or returns_file is not None or draw_key is not None:
            raise click.UsageError(
                N_("--jsonl reads everything from standard input; leave the files out").render(translate)
            )
        answer_lines(sys.stdin.buffer, sys.stdout.buffer, translate, why=why)
        return
    missing = [f"--{name}" for name, file in files.items() if file is None]
    if missing:
        raise click.UsageError(
            N_("name {options}, or use --jsonl", options=", ".join(missing)).render(translate)
        )
    files["returns"] = returns_file
    try:
        request = read_documents({name: file for name, file in files.items() if file is not None})
        answer = price({**request, "draw_key": draw_key}, why=why)
    except Refused as error:
        fail_with(error.faults, translate)
    click.echo(json.dumps(answer, ensure_ascii=False, indent=2))


def fail_with(faults: Iterable[Fault], translate: Callable[[str], str]) -> NoReturn:
    """List the faults on standard error and end with 1."""
    for fault in faults:
        click.echo(fault.render(translate), err=True)
    raise click.exceptions.Exit(1)


def price(request: Mapping[str, object], *, why: bool = False) -> dict[str, Any]:
    """The quote for a request {"rulebook", "catalog", "receipt", "returns"?, "draw_key"?} of JSON documents.

    `why` adds what became of each rule, in both languages. Raises `Refused` with every fault of all
    documents, their paths beginning with the document's name.
    """
    faults: list[Fault] = []

    def parsed(parse: Callable[[object, str], Parsed], name: str) -> Parsed | None:
        if request.get(name) is not None:
            return gathered(parse, request[name], name, faults)
        if name in DOCUMENTS:
            faults.append(Fault(name, N_("is missing; it is required here")))
        return None

    rules = parsed(rulebook.parse, "rulebook")
    goods = parsed(catalog.parse, "catalog")
    sale = parsed(receipt.parse, "receipt")
    returns = parsed(receipt.parse_returns, "returns")
    day_key = parsed(_day_key, "draw_key")
    if rules is None or goods is None or sale is None or faults:
        raise Refused(faults)
    compiled = compile_rulebook(rules, goods)
    if why:
        pricing, reasons = explain(compiled, sale, day_key)
    else:
        pricing, reasons = priced(compiled, sale, day_key), []
    answer = summed_up(pricing).to_builtins()
    if returns is not None:
        answer["returns"] = [returned.to_builtins() for returned in give_back(pricing, returns)]
    if why:
        answer["why"] = [reason.to_builtins(both) for reason in reasons]
    return answer


def answer_lines(
    requests: IO[bytes], answers: IO[bytes], translate: Callable[[str], str], *, why: bool = False
) -> None:
    """Answer every request line with one line, as soon as it is read; blank lines are skipped."""
    for line in _lines(requests):
        try:
            answer = price(_request(line), why=why)
        except Refused as error:
            answer = {"error": [fault.render(translate) for fault in error.faults]}
        answers.write(json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        answers.flush()


def _request(line: bytes | None) -> dict[str, object]:
    """The documents in a line."""
    if line is None:
        raise Refused([Fault("", N_("the line is longer than {bytes} bytes", bytes=MAX_DOCUMENT_BYTES))])
    raw = strictjson.loads(line)
    if not isinstance(raw, dict):
        wanted = N_("an object with {names}", names=", ".join(DOCUMENTS))
        raise Refused([Fault("", N_("must be {wanted}", wanted=wanted))])
    faults = list(strictjson.repeated_keys(raw, ""))
    for key in raw:
        if key not in (*DOCUMENTS, *OPTIONAL):
            hint = did_you_mean(key, (*DOCUMENTS, *OPTIONAL))
            faults.append(Fault("", N_("unknown key {key}; {hint}", key=shown(key), hint=hint)))
    if faults:
        raise Refused([*faults, *_faults_in(raw)])
    return raw


def _day_key(raw: object, path: str) -> bytes:
    """A day key is hex, as it stands."""
    try:
        return bytes.fromhex(raw if isinstance(raw, str) else "not hex")
    except ValueError:
        text = N_("must be {wanted}", wanted=N_("an even number of hex digits"))
        raise Refused([Fault(path, text)]) from None


def _faults_in(request: Mapping[str, object]) -> tuple[Fault, ...]:
    try:
        price(request)
    except Refused as error:
        return error.faults
    return ()


def read_documents(files: Mapping[str, Path]) -> dict[str, object]:
    """The JSON documents in these files. Raises `Refused` with the faults of all that cannot be read."""
    documents: dict[str, object] = {}
    faults: list[Fault] = []
    for name, file in files.items():
        try:
            documents[name] = strictjson.loads(_content(file))
        except Refused as error:
            faults.extend(fault.under(f"{name} ({file})") for fault in error.faults)
    if faults:
        raise Refused(faults)
    return documents


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Refused([Fault("", N_("cannot be read: {reason}", reason=reason))]) from None
    if len(content) > MAX_DOCUMENT_BYTES:
        raise Refused([Fault("", N_("the file is longer than {bytes} bytes", bytes=MAX_DOCUMENT_BYTES))])
    return content


def _lines(stream: IO[bytes]) -> Iterator[bytes | None]:
    """The lines that are not blank; None for one that is too long, which is read past."""
    while line := stream.readline(MAX_DOCUMENT_BYTES + 1):
        if len(line) > MAX_DOCUMENT_BYTES:
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_DOCUMENT_BYTES)
            yield None
        elif line.strip():
            yield line
