"""`kopilka-agent quote`: price a receipt on the command line, by the till's own engine.

Two ways in. With three files it prints one quote, or lists every fault of the
documents on standard error and ends with 1. With `--jsonl` it is a filter for
other programs: one request a line in, one quote or `{"error": [...]}` a line
out, at once, until the input ends (rulebook.md §9).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TypeVar

import click

from agent.texts import language, translator
from loyalty import catalog, receipt, rulebook, strictjson
from loyalty.faults import Fault, Refused, did_you_mean, shown
from loyalty.index import compile_rulebook
from loyalty.quote import Quote, quote
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
@click.option("--returns", metavar="FILE", help="Goods given back (not in this version).")
@click.option("--draw-key", metavar="HEX", help="Day key of draws, as it stands.")
@click.option("--why", is_flag=True, help="Say why each rule did what it did (not in this version).")
@click.option("--jsonl", is_flag=True, help="Requests from standard input, quotes out, one a line.")
def quote_command(
    rulebook_file: Path | None,
    catalog_file: Path | None,
    receipt_file: Path | None,
    returns: str | None,
    draw_key: str | None,
    why: bool,
    jsonl: bool,
) -> None:
    """Price a receipt: print the quote as JSON, or every fault of the documents."""
    translate = translator(language())
    files = {"rulebook": rulebook_file, "catalog": catalog_file, "receipt": receipt_file}
    asked_for = {"--returns": returns is not None, "--why": why}
    refused = [_not_yet(option) for option, asked in asked_for.items() if asked]
    refused += _faults_of_key("--draw-key", draw_key)
    if refused:
        _fail(refused, translate)
    if jsonl:
        if any(files.values()):
            raise click.UsageError(
                N_("--jsonl reads everything from standard input; leave the files out").render(translate)
            )
        answer_lines(sys.stdin.buffer, sys.stdout.buffer, translate)
        return
    missing = [f"--{name}" for name, file in files.items() if file is None]
    if missing:
        raise click.UsageError(
            N_("name {options}, or use --jsonl", options=", ".join(missing)).render(translate)
        )
    try:
        priced = price(_documents({name: file for name, file in files.items() if file is not None}))
    except Refused as error:
        _fail(error.faults, translate)
    else:
        click.echo(json.dumps(priced.to_builtins(), ensure_ascii=False, indent=2))


def price(request: Mapping[str, object]) -> Quote:
    """The quote for a request {"rulebook", "catalog", "receipt"} of JSON documents.

    Raises `Refused` with every fault of all three, their paths beginning with the document's name.
    """
    faults: list[Fault] = []

    def parsed(parse: Callable[[object, str], Parsed], name: str) -> Parsed | None:
        if name not in request:
            faults.append(Fault(name, N_("is missing; it is required here")))
            return None
        try:
            return parse(request[name], name)
        except Refused as error:
            faults.extend(error.faults)
            return None

    rules = parsed(rulebook.parse, "rulebook")
    goods = parsed(catalog.parse, "catalog")
    sale = parsed(receipt.parse, "receipt")
    if rules is None or goods is None or sale is None or faults:
        raise Refused(faults)
    return quote(compile_rulebook(rules, goods), sale)


def answer_lines(requests: IO[bytes], answers: IO[bytes], translate: Callable[[str], str]) -> None:
    """Answer every request line with one line, as soon as it is read; blank lines are skipped."""
    for line in _lines(requests):
        try:
            request = _request(line)
            answer: dict[str, object] = price(request).to_builtins()
            if request.get("returns") is not None:
                answer["returns"] = []  # nothing was given back, and that was asked
        except Refused as error:
            answer = {"error": [fault.render(translate) for fault in error.faults]}
        answers.write(json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        answers.flush()


def _request(line: bytes | None) -> dict[str, object]:
    """The documents in a line; keys of the law that this version does not do are refused by name."""
    if line is None:
        raise Refused([Fault("", N_("the line is longer than {bytes} bytes", bytes=MAX_DOCUMENT_BYTES))])
    raw = strictjson.loads(line)
    if not isinstance(raw, dict):
        wanted = N_("an object with {names}", names=", ".join(DOCUMENTS))
        raise Refused([Fault("", N_("must be {wanted}", wanted=wanted))])
    faults = list(strictjson.repeated_keys(raw, ""))
    for key, value in raw.items():
        if key == "draw_key":
            faults += _faults_of_key(key, value)
        elif key == "returns":
            faults += [] if value in (None, []) else [_not_yet(key)]
        elif key not in DOCUMENTS:
            hint = did_you_mean(key, (*DOCUMENTS, *OPTIONAL))
            faults.append(Fault("", N_("unknown key {key}; {hint}", key=shown(key), hint=hint)))
    if faults:
        raise Refused([*faults, *_faults_in(raw)])
    return raw


def _faults_of_key(name: str, key: object) -> list[Fault]:
    """A day key is hex. There is no draw in this version, so a right one changes nothing."""
    try:
        if key is not None:
            bytes.fromhex(key if isinstance(key, str) else "not hex")
    except ValueError:
        return [Fault(name, N_("must be {wanted}", wanted=N_("an even number of hex digits")))]
    return []


def _faults_in(request: Mapping[str, object]) -> tuple[Fault, ...]:
    try:
        price(request)
    except Refused as error:
        return error.faults
    return ()


def _documents(files: Mapping[str, Path]) -> dict[str, object]:
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


def _not_yet(name: str) -> Fault:
    return Fault("", N_("{name} is not supported by this version; leave it out", name=name))


def _fail(faults: list[Fault] | tuple[Fault, ...], translate: Callable[[str], str]) -> None:
    for fault in faults:
        click.echo(fault.render(translate), err=True)
    raise click.exceptions.Exit(1)
