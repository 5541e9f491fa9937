"""`kopilka-agent devices`: what is plugged in, which scanner is ours, what they read.

    list    everything that a till could use, with what it may lack: rights, or another program's hand
    learn   scan with the scanner that is to be ours: it is found and written into the box's file
    watch   each event as a line of JSON

`list` and `learn` open what nobody has configured; what the running agent holds is its own, and `watch` then
asks the agent.
"""

from __future__ import annotations

import json
import os
import queue
import select
import sys
import termios
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.command_tools import config_option, fail, json_option, load_config
from agent.config import Config, ConfigError, load
from agent.texts import say
from loyalty.texts import N_

if TYPE_CHECKING:
    from agent.drivers.contracts import DeviceEvent
    from agent.drivers.plugged import Plugged
    from agent.drivers.scanner import Reader
    from loyalty.card import NumberTemplate

LEARN_S = 60
LEARN_SILENCE_MS = 200
LEAST_CHARACTERS = 4
NO_SUFFIX_MS = 120  # written for a scanner that sends none

KINDS = {
    "keyboard": N_("keyboard"),
    "hid_pos": N_("HID scanner"),
    "hid_msr": N_("HID card reader"),
    "serial": N_("serial port"),
    "printer": N_("printer"),
}


@click.group("devices")
def devices_command() -> None:
    """Scanners, card readers, printers: see, bind, watch."""


# ---------------------------------------------------------------------------- list


@devices_command.command("list")
@config_option
@json_option
def list_devices(config_path: Path, as_json: bool) -> None:
    """What is plugged in, and how to name it in the configuration."""
    from agent.drivers.holders import holders
    from agent.drivers.plugged import plugged

    named = _named(config_path)
    rows = []
    for device in plugged():
        held = [holder.name for holder in holders(device.node)]
        rows.append(
            {
                **asdict(device),
                "ids": device.ids,
                "allowed": os.access(device.node, os.R_OK | os.W_OK),
                "held_by": held,
                "configured": _is_named(device, named),
            }
        )
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        click.echo(say(N_("nothing is plugged in that a till could use")))
    for row in rows:
        click.echo(f"{say(KINDS[row['kind']])}: {row['name'] or row['ids']}")
        click.echo(f'    url = "{row["url"]}"')
        for note in _notes(row):
            click.echo(f"    {note}")


def _notes(row: dict[str, Any]) -> Iterator[str]:
    if row["configured"]:
        yield say(N_("in the configuration"))
    if not row["allowed"]:
        yield say(
            N_("no right to use {url}: add this user to its group (kopilka-agent doctor)", url=row["node"])
        )
    if row["held_by"]:
        yield say(N_("held by {program}", program=", ".join(row["held_by"])))
    if row["kind"] == "keyboard" and not row["likely"]:
        yield say(N_("looks like any keyboard: auto does not take it, learn does"))


def _named(config_path: Path) -> list[str]:
    """The addresses in the box's file; without one, none."""
    try:
        config = load(config_path)
    except ConfigError:
        return []
    printer = [config.printer.url] if config.printer is not None else []
    return [*(scanner.url for scanner in config.scanners), *printer]


def _is_named(device: Plugged, named: list[str]) -> bool:
    from agent.drivers.link import parse_url

    return any(
        url == device.url or os.path.realpath(parse_url(url).path) == device.node
        for url in named
        if url != "auto"
    )


# ---------------------------------------------------------------------------- learn


@dataclass(frozen=True, slots=True)
class Learnt:
    """The scanner that was scanned with."""

    url: str
    name: str
    has_suffix: bool

    def toml(self, name: str) -> str:
        """Its table in the box's file."""
        silence = "" if self.has_suffix else f"silence_ms = {NO_SUFFIX_MS}\n"
        return f'\n[[scanners]]\nname = "{name}"\nurl = "{self.url}"\n{silence}'


@devices_command.command("learn")
@config_option
@click.option("--name", default="scanner", show_default=True, help="What to call it.")
@click.option(
    "--seconds", "timeout_s", default=LEARN_S, show_default=True, help="How long to wait for the scan."
)
@click.option("--dry-run", is_flag=True, help="Only print what would be written.")
@json_option
def learn(config_path: Path, name: str, timeout_s: int, dry_run: bool, as_json: bool) -> None:
    """Bind the scanner or card reader that you scan with now."""
    load_config(config_path)
    named = _named(config_path)
    with ExitStack() as opened:
        readers, refused = _open_all(named, opened)
        for line in refused:
            click.echo(line, err=True)
        if not readers:
            fail(
                N_(
                    "there is no scanner to learn: plug it in; one that the agent has already is shown by:"
                    " kopilka-agent devices list"
                )
            )
        click.echo(say(N_("scan something now, with the scanner that is to be bound")), err=True)
        learnt = _first_scan(readers, time.monotonic() + timeout_s)
    if sys.stdin.isatty():  # a keyboard scanner has typed into this terminal as well
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
    if learnt is None:
        fail(N_("nothing was scanned in {seconds} s", seconds=timeout_s))
    table = learnt.toml(name)
    if not dry_run:
        _append(config_path, table)
    if as_json:
        click.echo(
            json.dumps({"name": name, "url": learnt.url, "device": learnt.name, "suffix": learnt.has_suffix})
        )
        return
    click.echo(say(N_("it is {device}", device=learnt.name or learnt.url)))
    click.echo(table.strip())
    if not dry_run:
        click.echo(say(N_("written to {path}; now: systemctl restart kopilka-agent", path=config_path)))


def _open_all(named: list[str], opened: ExitStack) -> tuple[list[tuple[Reader, Plugged]], list[str]]:
    """Every device that could be a scanner and is nobody's yet, and why others cannot be opened."""
    from agent.drivers.link import LinkError
    from agent.drivers.plugged import plugged

    readers: list[tuple[Reader, Plugged]] = []
    refused = []
    for device in plugged():
        if device.kind == "printer" or _is_named(device, named):
            continue
        try:
            reader = _open(device)
        except LinkError as error:
            refused.append(f"{device.name or device.url}: {say(error.hint)}")
            continue
        opened.callback(reader.close)
        readers.append((reader, device))
    return readers, refused


def _open(device: Plugged) -> Reader:
    from agent.drivers.link import parse_url

    url = parse_url(device.url)
    if url.scheme == "evdev":
        from agent.drivers.evdev_reader import EvdevReader

        return EvdevReader(url, grab=False, silence_ms=LEARN_SILENCE_MS)
    if url.scheme == "hidraw":
        from agent.drivers.hidraw_reader import HidrawReader

        return HidrawReader(url)
    from agent.drivers.scanner import LinkReader

    return LinkReader(url, LEARN_SILENCE_MS)


def _first_scan(readers: list[tuple[Reader, Plugged]], deadline: float) -> Learnt | None:
    """Whoever is the first to send a code that no person typed."""
    from agent.drivers.frames import Frame
    from agent.drivers.telling import monotonic_ms

    devices = dict(readers)
    while devices and (left := deadline - time.monotonic()) > 0:
        dues = [due for reader in devices if (due := reader.due_ms) is not None]
        wait_s = min([left, *(max(0, due - monotonic_ms()) / 1000 for due in dues)])
        readable = select.select(list(devices), [], [], wait_s)[0]
        for reader, device in list(devices.items()):
            try:
                framed = reader.read() if reader in readable else reader.idle(monotonic_ms())
            except OSError:  # unplugged meanwhile
                del devices[reader]
                continue
            for frame in framed:
                if isinstance(frame, Frame) and not frame.by_hand and len(frame.text) >= LEAST_CHARACTERS:
                    return Learnt(device.url, device.name, has_suffix=not frame.by_silence)
    return None


def _append(path: Path, table: str) -> None:
    """Put the table at the end of the box's file, which must still be a configuration then."""
    before = path.read_text(encoding="utf-8")
    after = before.rstrip("\n") + "\n" + table
    written = path.with_name(path.name + ".new")
    try:
        tomllib.loads(after)
        written.write_text(after, encoding="utf-8")
        with suppress(OSError):
            os.chmod(written, path.stat().st_mode & 0o777)
            os.chown(written, path.stat().st_uid, path.stat().st_gid)
        load(written)
        written.replace(path)
    except (OSError, tomllib.TOMLDecodeError) as error:
        fail(
            N_(
                "{path} cannot be written ({why}); add this to it by hand: {table}",
                path=path,
                why=error,
                table=table,
            )
        )
    except ConfigError as error:
        fail(error.text)
    finally:
        written.unlink(missing_ok=True)


# ---------------------------------------------------------------------------- watch


@devices_command.command("watch")
@config_option
def watch(config_path: Path) -> None:
    """Print each scan and each device that comes or goes as a line of JSON, until Ctrl+C."""
    config = load_config(config_path)
    with suppress(KeyboardInterrupt, BrokenPipeError):
        for line in _watched(config):
            click.echo(json.dumps(line, ensure_ascii=False))


def _watched(config: Config) -> Iterator[dict[str, Any]]:
    from agent.pos_client import PosAway, PosClient

    try:
        with_agent = PosClient(Path(config.state_dir), tries=1).events()
        next(with_agent)  # hello
    except (PosAway, OSError, StopIteration):
        yield from _by_ourselves(config)
        return
    click.echo(say(N_("the agent runs: what it hands on to the cash program is not shown")), err=True)
    for name, event in with_agent:
        if name == "read":
            yield event
        elif name == "device":
            yield _state(event["name"], event["state"])


def _by_ourselves(config: Config) -> Iterator[dict[str, Any]]:
    """No agent runs: the scanners of the configuration are opened here; without any, what is plugged in."""
    from agent.drivers.contracts import DeviceState, ReadFailed, ScanData
    from agent.drivers.scanner import Options
    from agent.drivers.scanners import Scanners, Setting
    from agent.readings import reading
    from loyalty import card

    templates = _templates(config)
    events: queue.Queue[DeviceEvent] = queue.Queue(1_000)
    configured = [
        Setting(one.name, one.url, Options(silence_ms=one.silence_ms, repeat_ms=0, takes_typing=True))
        for one in config.scanners
    ]
    scanners = Scanners(configured or [Setting("scanner", "auto")], events.put)
    scanners.start()
    try:
        while True:
            match events.get():
                case ScanData() as scan:
                    found = card.read(scan.data, scan.source, templates, scan.symbology)
                    yield reading(scan, found, time.time())
                case DeviceState(device, state, hint):
                    yield {**_state(device, state), **({"hint": say(hint)} if hint else {})}
                case ReadFailed(device, reason):
                    yield {**_state(device, "read_failed"), "hint": say(reason)}
    finally:
        scanners.stop()


def _state(device: str, state: str) -> dict[str, Any]:
    return {"device": device, "kind": "state", "state": state, "at": _now()}


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _templates(config: Config) -> tuple[NumberTemplate, ...]:
    """The programme's, where this box is a till already; without them a card cannot be told from goods."""
    from agent.offline.ledger_reader import Reader as LedgerReader
    from agent.offline.snapshot_db import Versions
    from agent.state import StateDir
    from loyalty import settings as settings_files
    from loyalty.card import parse_templates
    from loyalty.manifest import SETTINGS

    state = StateDir(Path(config.state_dir))
    if not state.ledger.exists() or not state.snapshot.exists():
        return ()
    with ExitStack() as opened:
        ledger = LedgerReader.open(state.ledger)
        opened.callback(ledger.close)
        versions = Versions.open(state.snapshot)
        opened.callback(versions.close)
        identity = ledger.identity()
        for version, _ in versions.older(f"{SETTINGS}.{identity.store}") if identity else ():
            stored = versions.stored(f"{SETTINGS}.{identity.store}", version) if identity else None
            if stored is not None:
                programme = settings_files.parse(stored.files["settings.json"])
                return parse_templates(list(programme.number_templates))
    return ()
