"""`kopilka-agent`: the commands of till.md §1 that this version has.

Exit codes: 0 done, 1 failed, 2 wrong use. An error says what is wrong, where, and what
to do, in Russian unless KOPILKA_LANG=en. Heavy imports happen inside the commands.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from agent.config import DEFAULT_PATH, Config, ConfigError, load
from agent.quote_command import quote_command
from agent.texts import say
from loyalty.texts import N_, Text

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


def _load(path: Path) -> Config:
    try:
        config = load(path)
    except ConfigError as error:
        fail(error.text)
    os.environ.setdefault("KOPILKA_LANG", config.language)
    return config


@click.group()
@click.version_option(package_name="kopilka")
def main() -> None:
    """Kopilka at the till: reads cards, computes discounts and points offline, prints, syncs."""


main.add_command(quote_command)


@main.command()
@config_option
def run(config_path: Path) -> None:
    """The daemon."""
    from agent.drivers.link import UrlError
    from agent.main import run as run_agent
    from agent.offline.files import FileError
    from agent.offline.ledger_db import LedgerFault

    config = _load(config_path)
    logging.basicConfig(level=config.log_level, format="%(levelname)s %(name)s: %(message)s")
    try:
        sys.exit(run_agent(config))
    except UrlError as error:
        fail(error.text)
    except (LedgerFault, FileError) as error:
        fail(error.text)
    except OSError as error:
        fail(N_("the agent cannot start: {why}", why=error))


@main.command()
@config_option
@click.option("--server", required=True, help="The centre's address, such as https://loyalty.example.")
@click.option("--code", required=True, help="The one-time code of `kopilka-central till add`.")
@json_option
def enroll(config_path: Path, server: str, code: str, as_json: bool) -> None:
    """Make this box a till by a one-time code."""
    from agent.enrol import enrol
    from agent.offline.files import FileError
    from agent.offline.ledger_db import LedgerFault
    from agent.state import StateDir
    from agent.sync.client import CentreRefusal, LinkError

    config = _load(config_path)
    try:
        identity = enrol(StateDir(Path(config.state_dir)), server, code)
    except LinkError as error:
        fail(N_("the centre does not answer: {why}; check the address and the cable", why=error))
    except CentreRefusal as error:
        fail(N_("the centre refused: {why}; ask the office for a new code", why=error))
    except (LedgerFault, FileError) as error:
        fail(error.text)
    if as_json:
        click.echo(json.dumps({"till": identity.till, "store": identity.store}))
    else:
        click.echo(
            say(N_("this box is till {till} of store {store}", till=identity.till, store=identity.store))
        )


@main.command()
@config_option
@json_option
def status(config_path: Path, as_json: bool) -> None:
    """How the till stands, with a remedy for each trouble."""
    report = _ask_agent(_load(config_path), "GET", "/v1/status")
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
        return
    lang = "en" if os.environ.get("KOPILKA_LANG") == "en" else "ru"
    online = N_("on line") if report["link"]["state"] == "online" else N_("no link")
    click.echo(
        say(
            N_(
                "till {till}, store {store}: {link}; entries to send: {pending}; rulebook {seq}",
                till=report["till"],
                store=report["store"],
                link=online,
                pending=report["pending"],
                seq=report["rulebook_seq"],
            )
        )
    )
    for device in report["devices"]:
        click.echo(
            f"  {device['name']}: {device['state']}" + (f": {device['hint'][lang]}" if device["hint"] else "")
        )
    for trouble in report["troubles"]:
        click.echo(f"  ! {trouble[lang]}")


@main.group()
def sync() -> None:
    """Exchange with the centre."""


@sync.command("now")
@config_option
@json_option
def sync_now(config_path: Path, as_json: bool) -> None:
    """Sync at once and wait until it is done."""
    config = _load(config_path)
    _ask_agent(config, "POST", "/v1/sync", timeout_s=120)
    report = _ask_agent(config, "GET", "/v1/status")
    well = report["link"]["state"] == "online"
    if as_json:
        click.echo(json.dumps({"online": well, "pending": report["pending"]}))
    elif well:
        click.echo(say(N_("done; entries to send: {pending}", pending=report["pending"])))
    if not well:
        fail(N_("there is no link to the centre; entries to send: {pending}", pending=report["pending"]))


@main.group()
def ledger() -> None:
    """The till's own ledger."""


@ledger.command("tail")
@config_option
@click.option("-n", "count", default=20, show_default=True, help="How many entries.")
@json_option
def ledger_tail(config_path: Path, count: int, as_json: bool) -> None:
    """The newest entries, newest first."""
    import msgspec

    from agent.offline.ledger_db import Reader
    from loyalty.ledger import fingerprint

    reader = Reader.open(_ledger_file(_load(config_path)))
    try:
        for entry, head in reader.entries(count):
            ident = f"{entry.id}-{fingerprint(head)}"
            if as_json:
                fields = {**msgspec.to_builtins(msgspec.structs.asdict(entry)), "ident": ident}
                fields["postings"] = [msgspec.structs.asdict(posting) for posting in entry.postings]
                click.echo(json.dumps(msgspec.to_builtins(fields), ensure_ascii=False))
            else:
                moves = ", ".join(f"{p.account} {p.points:+d}" for p in entry.postings)
                click.echo(f"{ident}  {entry.kind:<8} {entry.ref or ''} {moves}")
    finally:
        reader.close()


@ledger.command("verify")
@config_option
@json_option
def ledger_verify(config_path: Path, as_json: bool) -> None:
    """Check every entry and the chain that holds them."""
    from agent.offline.ledger_db import LedgerFault, Reader

    reader = Reader.open(_ledger_file(_load(config_path)))
    try:
        identity = reader.identity()
        count = reader.verify(identity.till) if identity else 0
        head = reader.head(reader.uplink().epoch, identity.till)[1].hex() if identity else ""
    except LedgerFault as error:
        fail(error.text)
    finally:
        reader.close()
    if as_json:
        click.echo(json.dumps({"entries": count, "head": head, "ok": True}))
    else:
        click.echo(say(N_("{count} entries, none is missing and none was changed", count=count)))


@main.command()
@click.option("--keep", type=click.Path(path_type=Path), help="Keep everything in this directory.")
def demo(keep: Path | None) -> None:
    """A whole shop on this machine: a centre, a till, a scanner, a printer, a played shift."""
    from agent.demo import play

    sys.exit(play(keep))


def _ledger_file(config: Config) -> Path:
    from agent.state import StateDir

    path = StateDir(Path(config.state_dir)).ledger
    if not path.exists():
        fail(N_("there is no ledger in {path}; enrol this till first", path=config.state_dir))
    return path


def _ask_agent(config: Config, method: str, path: str, timeout_s: float = 15) -> dict[str, Any]:
    """Ask the running agent by its loopback API."""
    import requests

    from agent.state import StateDir

    state = StateDir(Path(config.state_dir))
    try:
        port = int(state.port_file.read_text(encoding="ascii"))
        token = state.token_file.read_text(encoding="ascii").strip()
        with requests.Session() as http:
            http.trust_env = False
            answer = http.request(
                method,
                f"http://{config.api.host}:{port}{path}",
                headers={"Authorization": f"Bearer {token}"},
                timeout=timeout_s,
            )
            answer.raise_for_status()
            reply: dict[str, Any] = answer.json()
            return reply
    except (OSError, ValueError) as error:
        fail(
            N_(
                "the agent does not answer ({why}); is it running? systemctl status kopilka-agent",
                why=type(error).__name__,
            )
        )
