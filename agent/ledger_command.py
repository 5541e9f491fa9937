"""`kopilka-agent ledger`: what this till wrote, for people who must prove it. The agent may run meanwhile."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from agent.command_tools import config_option, fail, failing_plainly, json_option, load_config, reading
from agent.texts import amount, language, say
from loyalty.texts import N_

if TYPE_CHECKING:
    from agent.offline.ledger_reader import Reader
    from agent.offline.records import Identity
    from agent.offline.story import Proof, Story, Told
    from loyalty.ledger import Entry

EXPORT_FORMAT = 1


@click.group("ledger")
def ledger_command() -> None:
    """The till's own ledger."""


@ledger_command.command("tail")
@config_option
@click.option("-n", "count", default=20, show_default=True, type=click.IntRange(1), help="How many entries.")
@click.option("--account", type=click.IntRange(0), help="The story of this account, oldest first.")
@click.option("--sale", "sale_id", help="The story of this sale, by the cash program's id.")
@json_option
def ledger_tail(
    config_path: Path, count: int, account: int | None, sale_id: str | None, as_json: bool
) -> None:
    """The newest entries, newest first: each with its head's six digits, as on the slip, and its postings."""
    from loyalty.ledger import fingerprint

    if account is not None and sale_id is not None:
        raise click.UsageError(say(N_("give either --account or --sale")))
    with reading(load_config(config_path)) as reader:
        if account is not None or sale_id is not None:
            _tell_story(reader, account, sale_id, count, as_json=as_json)
            return
        for entry, head in reader.entries(count):
            ident = f"{entry.id}-{fingerprint(head)}"
            click.echo(_line(_entry(entry, ident)) if as_json else _entry_lines(entry, ident))


def _tell_story(
    reader: Reader, account: int | None, sale_id: str | None, count: int, *, as_json: bool
) -> None:
    from agent import ledger_words
    from agent.offline import story

    till = _who(reader).till
    if account is not None:
        told = story.of_account(reader, account, count)
        if not told.lots and not told.entries:
            fail(N_("this till knows nothing of account {account}", account=account))
    else:
        told = story.of_sale(reader, str(sale_id))
    if as_json:
        click.echo(_line(_story(told)))
    else:
        click.echo("\n".join(ledger_words.story(told, till, language())))


@ledger_command.command("verify")
@config_option
@click.argument("ident", required=False)
@json_option
def ledger_verify(config_path: Path, ident: str | None, as_json: bool) -> None:
    """Check every entry and receipt, and the chain that holds them.

    With IDENT, the last line of a slip (T1-1-57-3fa94c): prove that slip by its six digits.
    """
    with reading(load_config(config_path)) as reader:
        if ident is not None:
            _prove(reader, ident, as_json=as_json)
            return
        identity = reader.identity()
        count = reader.verify(identity.till) if identity else 0
        head = reader.head(reader.uplink().epoch, identity.till)[1].hex() if identity else ""
    if as_json:
        click.echo(json.dumps({"entries": count, "head": head, "ok": True}))
    else:
        click.echo(say(N_("{count} entries, none is missing and none was changed", count=count)))


def _prove(reader: Reader, ident: str, *, as_json: bool) -> None:
    from agent import ledger_words
    from agent.offline import story

    found = story.prove(reader, ident)
    if as_json:
        click.echo(_line(_proof(found)))
    else:
        click.echo("\n".join(ledger_words.proof(found, _who(reader).till, language())))


@ledger_command.command("export")
@config_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--replace", is_flag=True, help="Write over FILE where it is there already.")
def ledger_export(config_path: Path, file: Path, replace: bool) -> None:
    """Write every entry with its receipt to FILE (- = standard output), a JSON object a line.

    `acknowledged` says whether the centre has it; `canonical` and `receipt_canonical` are the bytes
    (base64) of which the hashes are taken.
    """
    from agent.offline import story

    with reading(load_config(config_path)) as reader:
        identity, uplink = _who(reader), reader.uplink()
        about = {
            "type": "ledger",
            "format": EXPORT_FORMAT,
            "till": identity.till,
            "store": identity.store,
            "epoch": uplink.epoch,
            "acked_seq": uplink.acked_seq,
        }
        with _writing(file, replace=replace) as output:
            output.write(_line(about) + "\n")
            for told in story.everything(reader):
                output.write(_line(_exported(told)) + "\n")


@contextmanager
def _writing(file: Path, *, replace: bool) -> Iterator[IO[str]]:
    """Standard output, or a file that is there when it is whole; it is for its owner's eyes."""
    if str(file) == "-":
        yield sys.stdout
        return
    if file.exists() and not replace:
        text = N_("{path} is there already; choose another name, or write over it with --replace", path=file)
        fail(text)
    temporary = file.with_name(f".{file.name}.new")
    with failing_plainly(file):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as output:
            yield output
        temporary.replace(file)


# ------------------------------------------------------------------------------- as JSON


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _who(reader: Reader) -> Identity:
    from agent.offline.records import NOT_ENROLLED

    identity = reader.identity()
    if identity is None:
        fail(NOT_ENROLLED)
    return identity


def _entry(entry: Entry, ident: str) -> dict[str, Any]:
    import msgspec

    fields = {**msgspec.structs.asdict(entry), "ident": ident}
    fields["postings"] = [msgspec.structs.asdict(posting) for posting in entry.postings]
    fields["document_sha256"] = entry.document_sha256.hex() if entry.document_sha256 else None
    plain: dict[str, Any] = msgspec.to_builtins(fields)
    return plain


def _told(told: Told) -> dict[str, Any]:
    return {
        **_entry(told.entry, told.ident),
        "sale_id": told.sale_id,
        "acknowledged": told.acked,
        "from_centre": told.down,
    }


def _exported(told: Told) -> dict[str, Any]:
    return {
        "type": "entry",
        **_entry(told.entry, told.ident),
        "head": told.head.hex(),
        "sale_id": told.sale_id,
        "acknowledged": told.acked,
        "canonical": base64.b64encode(told.body).decode(),
        "receipt": _receipt(told),
        "receipt_canonical": base64.b64encode(told.receipt).decode() if told.receipt else None,
    }


def _receipt(told: Told) -> dict[str, Any] | None:
    """The document by the names of its fields; bytes as hex."""
    import msgspec

    document = told.document
    if document is None:
        return None
    named = {"document": str(document.__struct_config__.tag), **_by_name(document)}
    plain: dict[str, Any] = msgspec.to_builtins(named)
    return plain


def _by_name(value: Any) -> Any:
    import msgspec

    if isinstance(value, msgspec.Struct):
        return {name: _by_name(part) for name, part in msgspec.structs.asdict(value).items()}
    if isinstance(value, tuple | list):
        return [_by_name(part) for part in value]
    return value.hex() if isinstance(value, bytes) else value


def _story(told: Story) -> dict[str, Any]:
    return {
        "account": told.account,
        "sale_id": told.sale_id,
        "goes_on_as_this": list(told.others),
        "lots": [
            {
                "lot": lot.id,
                "points": lot.points,
                "active_from": lot.terms.active_from,
                "expires_at": lot.terms.expires_at,
                "rule": lot.terms.rule,
                "promised": [{"sale_id": sale_id, "points": points} for sale_id, points in lot.promised],
            }
            for lot in told.lots
        ],
        "promised": told.held,
        "left_out": told.left_out,
        "entries": [_told(one) for one in told.entries],
    }


def _proof(found: Proof) -> dict[str, Any]:
    told = found.told
    return {
        "ok": True,
        "ident": found.ident,
        "from_seq": found.from_seq,
        "walked": found.walked,
        "entry": _told(told) if told else None,
        "receipt": _receipt(told) if told else None,
    }


def _entry_lines(entry: Entry, ident: str) -> str:
    """One line for the entry, and below it one for each posting, with points in a column."""
    at = datetime.fromtimestamp(entry.at_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    account = "" if entry.account is None else str(entry.account)
    lines = [f"{ident:<24} {at}  {entry.kind:<12} {account:<20} {entry.ref or ''}"]
    lines += [
        f"  {posting.account:<20} {posting.lot:<24} {amount(posting.points, sign=True):>16}"
        for posting in entry.postings
    ]
    return "\n".join(line.rstrip() for line in lines)
