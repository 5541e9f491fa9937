"""`kopilka-agent ledger`: what this till wrote, for people who must prove it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.command_tools import config_option, json_option, load_config, reading
from agent.texts import amount, say
from loyalty.texts import N_

if TYPE_CHECKING:
    from loyalty.ledger import Entry


@click.group("ledger")
def ledger_command() -> None:
    """The till's own ledger."""


@ledger_command.command("tail")
@config_option
@click.option("-n", "count", default=20, show_default=True, type=click.IntRange(1), help="How many entries.")
@json_option
def ledger_tail(config_path: Path, count: int, as_json: bool) -> None:
    """The newest entries, newest first: each with its head's six digits, as on the slip, and its postings."""
    from loyalty.ledger import fingerprint

    with reading(load_config(config_path)) as reader:
        for entry, head in reader.entries(count):
            ident = f"{entry.id}-{fingerprint(head)}"
            click.echo(_entry_json(entry, ident) if as_json else _entry_lines(entry, ident))


@ledger_command.command("verify")
@config_option
@json_option
def ledger_verify(config_path: Path, as_json: bool) -> None:
    """Check every entry and receipt, and the chain that holds them."""
    with reading(load_config(config_path)) as reader:
        identity = reader.identity()
        count = reader.verify(identity.till) if identity else 0
        head = reader.head(reader.uplink().epoch, identity.till)[1].hex() if identity else ""
    if as_json:
        click.echo(json.dumps({"entries": count, "head": head, "ok": True}))
    else:
        click.echo(say(N_("{count} entries, none is missing and none was changed", count=count)))


def _entry_json(entry: Entry, ident: str) -> str:
    import msgspec

    fields = {**msgspec.structs.asdict(entry), "ident": ident}
    fields["postings"] = [msgspec.structs.asdict(posting) for posting in entry.postings]
    fields["document_sha256"] = entry.document_sha256.hex() if entry.document_sha256 else None
    return json.dumps(msgspec.to_builtins(fields), ensure_ascii=False)


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
