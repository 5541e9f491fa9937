"""`kopilka-agent backup` and `restore`: the till in one file, and out of it again (agent/backup.py)."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.command_tools import config_option, failing_plainly, json_option, load_config
from agent.texts import say
from loyalty.texts import N_

if TYPE_CHECKING:
    from agent.backup import Restored

_file = click.Path(path_type=Path, dir_okay=False)


@click.command("backup")
@click.argument("file", type=_file)
@click.option("--replace", is_flag=True, help="Write over FILE where it is there already.")
@config_option
@json_option
def backup_command(file: Path, replace: bool, config_path: Path, as_json: bool) -> None:
    """Write this till to FILE while it sells: its ledger, checked to the last entry, and its keys.

    FILE is as secret as the till; keep it on another disk.
    """
    from agent import backup
    from agent.state import StateDir

    state = StateDir(Path(load_config(config_path).state_dir))
    with failing_plainly(file):
        made = backup.write(state, file, int(time.time()), replace=replace)
    if as_json:
        click.echo(json.dumps({"file": str(file), **asdict(made)}))
        return
    text = N_(
        "{file}: till {till}, life {epoch} up to entry {seq} ({entries} in all), checked; its keys are in it:"
        " keep it as you keep the till, on another disk",
        file=file,
        till=made.till,
        epoch=made.epoch,
        seq=made.seq,
        entries=made.entries,
    )
    click.echo(say(text))


@click.command("restore")
@click.argument("file", type=_file, required=False)
@click.option("--in-place", is_flag=True, help="No file: this disk itself went back (a snapshot of it).")
@config_option
@json_option
def restore_command(file: Path | None, in_place: bool, config_path: Path, as_json: bool) -> None:
    """Make this box the till that was backed up to FILE; the agent must be stopped.

    What lay here is laid aside. The till sells with points again when it has spoken with the centre.
    """
    from agent import backup
    from agent.state import StateDir

    if in_place == (file is not None):
        raise click.UsageError(say(N_("name a FILE, or write --in-place")))
    state = StateDir(Path(load_config(config_path).state_dir))
    now_s, restore_id = int(time.time()), secrets.token_hex(16)
    with failing_plainly(file or state.ledger):
        if file is not None:
            done = backup.restore(state, file, now_s, restore_id)
        else:
            done = backup.restore_in_place(state, now_s, restore_id)
    click.echo(_json(done) if as_json else "\n".join(_words(done)))


def _json(done: Restored) -> str:
    aside = str(done.aside) if done.aside else None
    return json.dumps({**asdict(done.contents), "aside": aside, "restoring": True})


def _words(done: Restored) -> list[str]:
    till = done.contents
    lines = [
        N_(
            "this box is till {till} as it was: life {epoch} up to entry {seq}, checked",
            till=till.till,
            epoch=till.epoch,
            seq=till.seq,
        )
    ]
    if done.aside:
        lines.append(N_("what lay here before is in {path}", path=done.aside))
    lines.append(
        N_(
            "start the agent and connect it once: the centre opens the till's next life, sends what the"
            " backup lacks, and the till's points come again; make a new backup then"
        )
    )
    return [say(line) for line in lines]
