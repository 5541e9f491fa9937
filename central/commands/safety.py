"""`backup`, `restore`, `status`."""

from __future__ import annotations

from pathlib import Path

import click

from central.commands.common import answer, home_option, json_option, local, open_home, start_django
from central.texts import language, say, translator
from loyalty.texts import N_

_MB = 1_000_000


@click.command()
@click.argument("target", metavar="DEST", type=click.Path(path_type=Path))
@home_option
@json_option
def backup(target: Path, as_json: bool) -> None:
    """Back up database and keys into DEST: a new file, or a directory. Tills go on meanwhile.

    On another disk than the centre's, what the backup holds becomes durable: tills may forget it.
    """
    home = open_home()
    from central import backups

    made = backups.make(home, target)
    data = {
        "file": str(made.path),
        "bytes": made.size,
        "made_ms": made.made_ms,
        "apart": made.apart,
        "durable_entries": made.durable,
    }
    megabytes = f"{made.size / _MB:.1f}"
    answer(as_json, data, N_("Backed up and checked: {path}, {size} MB.", path=made.path, size=megabytes))
    if as_json:
        return
    if made.apart:
        text = N_(
            "It lies on another disk: {count} entries of tills are durable by it. "
            "Keep it safe, it holds the keys.",
            count=made.durable,
        )
    else:
        text = N_(
            "It lies on the SAME disk as the centre: nothing becomes durable by it, and if that disk dies, "
            "both are lost. Make backups on another disk."
        )
    answer(False, {}, text)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Lay aside the centre that is there (it is not deleted).")
@home_option
@json_option
def restore(file: Path, replace: bool, as_json: bool) -> None:
    """Put a backup in place, and begin a new life of the centre."""
    home = start_django()
    from central import backups
    from central.status import fence_text

    done = backups.restore(home, file, replace=replace)
    data = {
        "home": str(home.path),
        "timeline": done.timeline,
        "made_ms": done.made_ms,
        "fenced": bool(done.unheard),
        "unheard": done.unheard,
        "laid_aside": str(done.aside) if done.aside else None,
    }
    if as_json:
        answer(True, data, None)
        return
    when = local(done.made_ms)
    told = [N_("The centre in {path} is as it was on {when}.", path=home.path, when=when)]
    if done.aside:
        told.append(N_("What was there before lies in {path}.", path=done.aside))
    told.append(N_("Start it: kopilka-central serve. The tills send again what it has forgotten."))
    if done.unheard:
        told.append(fence_text(done.unheard))
    for text in told:
        click.echo(say(text))


@click.command()
@home_option
@json_option
def status(as_json: bool) -> None:
    """How the centre stands: its life, backup, what waits and what is odd."""
    home = open_home()
    from central import status as office_status

    found = office_status.read()
    if as_json:
        answer(True, {"home": str(home.path), **office_status.data(found, translator(language()))}, None)
        return
    for line in office_status.lines(found, translator(language())):
        click.echo(line)
