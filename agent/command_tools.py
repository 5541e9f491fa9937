"""What the commands of `kopilka-agent` have in common: the box's file, and how they fail.

Exit codes: 0 done, 1 failed, 2 wrong use. An error says what is wrong, where, and what to do.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from agent.config import DEFAULT_PATH, Config, ConfigError, load
from agent.texts import say
from loyalty.texts import N_, Text

if TYPE_CHECKING:
    from agent.offline.ledger_reader import Reader

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=DEFAULT_PATH,
    envvar="KOPILKA_AGENT_CONFIG",
    show_default=True,
    help="The box's TOML file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def fail(text: Text | str) -> NoReturn:
    """Say what is wrong and end with 1."""
    click.echo(say(text) if isinstance(text, Text) else text, err=True)
    sys.exit(1)


def load_config(path: Path) -> Config:
    """The box's configuration; its language is the one to speak. A fault in it ends the command with 1."""
    try:
        config = load(path)
    except ConfigError as error:
        fail(error.text)
    os.environ.setdefault("KOPILKA_LANG", config.language)
    return config


@contextmanager
def reading(config: Config) -> Iterator[Reader]:
    """The till's ledger, to read while the agent runs; what is wrong with it ends the command with 1."""
    from agent.offline.ledger_reader import Reader
    from agent.state import StateDir

    path = StateDir(Path(config.state_dir)).ledger
    if not path.exists():
        fail(N_("there is no ledger in {path}; enrol this till first", path=config.state_dir))
    with failing_plainly(path), closing(Reader.open(path)) as reader:
        yield reader


@contextmanager
def failing_plainly(path: Path) -> Iterator[None]:
    """Whatever is wrong with the till's files ends the command with 1 and a sentence."""
    from agent.offline.files import FileError
    from agent.offline.records import LedgerFault

    try:
        yield
    except (LedgerFault, FileError) as error:
        fail(error.text)
    except sqlite3.Error as error:
        fail(N_("{path} cannot be used ({why}); restore it from a backup", path=path, why=error))
    except OSError as error:
        fail(N_("{path} cannot be written ({why})", path=error.filename or path, why=error.strerror or error))
