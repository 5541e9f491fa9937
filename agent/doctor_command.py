"""`kopilka-agent doctor`: every check of doctor.py, for people or for programs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from agent.command_tools import config_option, json_option, load_config
from agent.config import Config
from agent.texts import both, language, say
from loyalty.texts import N_, Text

SIGNS = {"ok": "+", "warning": "!", "fault": "x"}


@click.command("doctor")
@config_option
@json_option
def doctor_command(config_path: Path, as_json: bool) -> None:
    """Look for what is wrong with this box; a remedy for each fault. Ends with 1 where there is one."""
    from agent.doctor import Box, examine

    config = load_config(config_path)
    box = Box(config, _status(config), time.time(), is_root=os.geteuid() == 0)
    found = []
    for finding in examine(box):
        found.append(finding)
        if not as_json:
            click.echo(f"{SIGNS[finding.level]} {say(finding.text)}")
            if finding.remedy is not None:
                click.echo(f"    {_words(finding.remedy)[language()]}")
    well = all(finding.level != "fault" for finding in found)
    if as_json:
        rows = [
            {
                "check": finding.check,
                "level": finding.level,
                "text": both(finding.text),
                "remedy": _words(finding.remedy) if finding.remedy is not None else None,
            }
            for finding in found
        ]
        click.echo(json.dumps({"well": well, "findings": rows}, ensure_ascii=False))
    elif well:
        click.echo(say(N_("nothing stands in the way of this till")))
    if not well:
        sys.exit(1)


def _words(remedy: Text | Mapping[str, str]) -> dict[str, str]:
    if isinstance(remedy, Text):
        return both(remedy)
    return {"ru": remedy["ru"], "en": remedy["en"]}


def _status(config: Config) -> dict[str, Any] | None:
    """The report of the running agent, if one runs."""
    from agent.pos_client import PosAway, PosClient, PosRefused

    try:
        return PosClient(Path(config.state_dir), tries=1).status()
    except (PosAway, PosRefused, OSError, ValueError):
        return None
