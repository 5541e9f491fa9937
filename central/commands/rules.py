"""`rulebook check`, `rulebook publish`; and how any publication is reported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from central.commands.common import answer, fault_data, home_option, json_option, open_home, read_file
from loyalty import rulebook as law
from loyalty import strictjson
from loyalty.faults import Refused
from loyalty.texts import N_

if TYPE_CHECKING:
    from central.rules.publishing import Published

RULEBOOK_FILE = "rulebook.json"
_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.group()
def rulebook() -> None:
    """The rules of the programme."""


@rulebook.command("check")
@_file
@home_option
@json_option
def rulebook_check(file: Path, as_json: bool) -> None:
    """List every fault of a rulebook. No centre is needed."""
    try:
        found = _parse(read_file(file))
    except Refused as refused:
        if as_json:
            answer(True, {"good": False, "faults": fault_data(refused.faults)}, None)
            raise SystemExit(1) from refused
        raise
    data = {"good": True, "id": found.id, "seq": found.seq, "rules": len(found.rules)}
    answer(
        as_json,
        data,
        N_(
            "The rulebook is good: {id}, seq {seq}, {count} rules.",
            id=found.id,
            seq=found.seq,
            count=len(found.rules),
        ),
    )


@rulebook.command("publish")
@_file
@home_option
@json_option
def rulebook_publish(file: Path, as_json: bool) -> None:
    """Publish a rulebook to all tills, if it has no fault."""
    open_home()
    from central.rules import publishing

    content = read_file(file)
    found = _parse(content)
    result = publishing.publish(publishing.RULEBOOK_CHANNEL, {RULEBOOK_FILE: content}, content_seq=found.seq)
    say_published(as_json, [result])


def say_published(as_json: bool, results: list[Published]) -> None:
    """One line a channel, or one JSON list."""
    if as_json:
        answer(True, [{"channel": r.channel, "version": r.version, "new": r.new} for r in results], None)
        return
    for result in results:
        if result.new:
            text = N_(
                "Published: {channel}, version {version}.", channel=result.channel, version=result.version
            )
        else:
            text = N_(
                "{channel}: the same content is in force as version {version}; nothing was published.",
                channel=result.channel,
                version=result.version,
            )
        answer(False, {}, text)


def _parse(content: bytes) -> law.Rulebook:
    return law.parse(strictjson.loads(content))
