"""`kopilka-agent`: the commands of till.md §1 that this version has.

Exit codes: 0 done, 1 failed, 2 wrong use. An error says what is wrong, where, and what
to do, in Russian unless KOPILKA_LANG=en. Heavy imports happen inside the commands.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from agent.command_tools import config_option, fail, json_option, load_config
from agent.config import Config
from agent.texts import language, say
from loyalty.texts import N_

COMMANDS = {
    "backup": "agent.backup_command:backup_command",
    "devices": "agent.devices_command:devices_command",
    "doctor": "agent.doctor_command:doctor_command",
    "ledger": "agent.ledger_command:ledger_command",
    "print-test": "agent.print_test_command:print_test_command",
    "quote": "agent.quote_command:quote_command",
    "restore": "agent.backup_command:restore_command",
    "rulebook": "agent.rulebook_command:rulebook_command",
    "slip": "agent.slip_command:slip_command",
}
"""Commands with files of their own, imported when they are asked for: the daemon needs none of them."""


class Commands(click.Group):
    """Those of COMMANDS, beside those that are written here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=Commands)
@click.version_option(package_name="kopilka")
def main() -> None:
    """Kopilka at the till: reads cards, computes discounts and points offline, prints, syncs."""


@main.command()
@config_option
def run(config_path: Path) -> None:
    """The daemon."""
    from agent.drivers.link import UrlError
    from agent.main import run as run_agent
    from agent.offline.files import FileError
    from agent.offline.records import LedgerFault

    config = load_config(config_path)
    logging.basicConfig(level=config.log_level, format="%(levelname)s %(name)s: %(message)s")
    try:
        sys.exit(run_agent(config))
    except UrlError as error:
        fail(error.text)
    except (LedgerFault, FileError) as error:
        fail(error.text)
    except sqlite3.Error as error:
        fail(N_("{path} cannot be used ({why}); restore it from a backup", path=config.state_dir, why=error))
    except OSError as error:
        fail(N_("the agent cannot start: {why}", why=error))


@main.command()
@config_option
@click.option("--server", required=True, help="The centre's address, such as https://loyalty.example.")
@click.option("--code", required=True, help="The one-time code of `kopilka-central till add`.")
@click.option("--anew", is_flag=True, help="This box was a till before: lay that state aside.")
@json_option
def enroll(config_path: Path, server: str, code: str, anew: bool, as_json: bool) -> None:
    """Make this box a till by a one-time code."""
    from agent.enrol import enrol, enrol_anew
    from agent.offline.files import FileError
    from agent.offline.records import LedgerFault
    from agent.state import StateDir
    from agent.sync.client import CentreRefusal, LinkError

    if not server.startswith(("https://", "http://")):
        raise click.BadParameter(say(N_("write it as https://loyalty.example")), param_hint="--server")
    config = load_config(config_path)
    state, aside = StateDir(Path(config.state_dir)), None
    try:
        if anew:
            identity, aside = enrol_anew(state, server, code, int(time.time()))
        else:
            identity = enrol(state, server, code)
    except LinkError as error:
        fail(N_("the centre does not answer: {why}; check the address and the cable", why=error))
    except CentreRefusal as error:
        fail(N_("the centre refused: {why}; ask the office for a new code", why=error))
    except (LedgerFault, FileError) as error:
        fail(error.text)
    except OSError as error:
        fail(N_("{path} cannot be written ({why})", path=config.state_dir, why=error.strerror or error))
    if as_json:
        click.echo(json.dumps({"till": identity.till, "store": identity.store}))
        return
    click.echo(say(N_("this box is till {till} of store {store}", till=identity.till, store=identity.store)))
    if aside is not None:
        click.echo(say(N_("what lay here before is in {path}", path=aside)))


@main.command()
@config_option
@json_option
def status(config_path: Path, as_json: bool) -> None:
    """How the till stands, with a remedy for each trouble."""
    report = _ask_agent(load_config(config_path), "GET", "/v1/status")
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
        return
    from agent.status_view import table

    click.echo(table(report, language()))


@main.command()
@config_option
@json_option
def screen(config_path: Path, as_json: bool) -> None:
    """Print a URL that opens the cashier's page: once, within a minute."""
    config = load_config(config_path)
    invited = _ask_agent(config, "POST", "/v1/screen")
    port = _port(config)
    url = f"http://{config.api.host}:{port}{invited['path']}"
    click.echo(json.dumps({"url": url, "expires_s": invited["expires_s"]}) if as_json else url)


@main.group()
def sync() -> None:
    """Exchange with the centre."""


@sync.command("now")
@config_option
@json_option
def sync_now(config_path: Path, as_json: bool) -> None:
    """Sync at once and wait until it is done."""
    config = load_config(config_path)
    _ask_agent(config, "POST", "/v1/sync", timeout_s=120)
    report = _ask_agent(config, "GET", "/v1/status")
    well = report["link"]["state"] == "online"
    if as_json:
        click.echo(json.dumps({"online": well, "pending": report["pending"]}))
    elif well:
        click.echo(say(N_("done; entries to send: {pending}", pending=report["pending"])))
    if not well:
        fail(N_("there is no link to the centre; entries to send: {pending}", pending=report["pending"]))


@main.command()
@click.option("--keep", type=click.Path(path_type=Path), help="Keep everything in this directory.")
def demo(keep: Path | None) -> None:
    """A whole shop on this machine: a centre, a till, a scanner, a printer, a played shift."""
    from agent.demo import play

    sys.exit(play(keep))


def _port(config: Config) -> int:
    """Where the running agent listens. Raises OSError or ValueError."""
    from agent.state import StateDir

    return int(StateDir(Path(config.state_dir)).port_file.read_text(encoding="ascii"))


def _ask_agent(config: Config, method: str, path: str, timeout_s: float = 15) -> dict[str, Any]:
    """Ask the running agent by its loopback API; what it refuses is said in its own words."""
    import requests

    from agent.state import StateDir

    state = StateDir(Path(config.state_dir))
    try:
        port = _port(config)
        token = state.token_file.read_text(encoding="ascii").strip()
        with requests.Session() as http:
            http.trust_env = False
            answer = http.request(
                method,
                f"http://{config.api.host}:{port}{path}",
                headers={"Authorization": f"Bearer {token}"},
                timeout=timeout_s,
            )
            reply: dict[str, Any] = answer.json()
    except PermissionError as error:
        fail(N_("{path} may not be read; run this as the agent's user, or as root", path=error.filename))
    except (OSError, ValueError) as error:
        fail(
            N_(
                "the agent does not answer ({why}); is it running? systemctl status kopilka-agent",
                why=type(error).__name__,
            )
        )
    if answer.status_code != 200:
        fail(str(reply.get("error", {}).get(language(), answer.status_code)))
    return reply
