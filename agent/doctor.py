"""What may be wrong with a till's box, looked for one thing after another, each with its remedy.

Nothing here changes anything: devices are opened and closed again (those that the running agent has are asked
of the agent), the centre is asked for its front page. A check that cannot be made says so and is no fault.
Run as root it sees which program holds a device; as the agent's user it sees what the agent may do. Both are
worth a run.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal

from agent.config import Config, PrinterConfig, ScannerConfig
from agent.drivers.holders import REMEDIES, running
from agent.drivers.link import DeviceUrl, LinkError, UrlError, open_link, parse_url
from agent.drivers.plugged import likely_scanners
from agent.health import CLOCK_REMEDY, DISK_LOW_BYTES, DISK_REMEDY
from agent.offline.ledger_reader import Reader
from agent.offline.records import NOT_ENROLLED, Identity, LedgerFault
from agent.screen.words import WORDS
from agent.state import POS_GROUP, StateDir
from loyalty.texts import N_, Text

Level = Literal["ok", "warning", "fault"]
SERVICE_USER = "kopilka"
GROUPS = {"evdev": "input", "hidraw": "input", "serial": "dialout", "lp": "lp", "usb": "lp"}
UDEV_RULES = (Path("/etc/udev/rules.d"), Path("/usr/lib/udev/rules.d"), Path("/lib/udev/rules.d"))
RULES_FILE = "60-kopilka.rules"
UINPUT = Path("/dev/uinput")
CLOCK_WARNING_S, CLOCK_FAULT_S = 30, 300
ASK_TIMEOUT_S = 5
_INTERFERES = {"serial": ("ModemManager", "brltty"), "lp": ("cupsd", "ipp-usb"), "usb": ("cupsd", "ipp-usb")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result; `check` is its name for programs.

    `remedy` is a sentence of ours, or what the running agent has said in both languages.
    """

    check: str
    level: Level
    text: Text
    remedy: Text | Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """What is looked at. `status` is the running agent's report; None where no agent answers."""

    config: Config
    status: dict[str, Any] | None
    now_s: float
    is_root: bool

    @property
    def state(self) -> StateDir:
        return StateDir(Path(self.config.state_dir))

    @property
    def urls(self) -> list[DeviceUrl]:
        """Every device of the configuration; `auto` by what it finds."""
        printer = [self.config.printer.url] if self.config.printer else []
        named = [
            parse_url(url) for url in [*(one.url for one in self.config.scanners), *printer] if url != "auto"
        ]
        if any(one.url == "auto" for one in self.config.scanners):
            named += [parse_url(device.url) for device in likely_scanners()]
        return named


def examine(box: Box) -> Iterator[Finding]:
    """Every check in its order."""
    for check in (
        _disk,
        _secrets,
        _enrolment,
        _agent,
        _scanners,
        _printer,
        _rights,
        _forwarding,
        _others,
        _link,
    ):
        yield from check(box)


# ---- the box


def _disk(box: Box) -> Iterator[Finding]:
    path = box.state.path
    if not path.is_dir():
        remedy = N_(
            "make it, for the agent's user: install -d -o kopilka -g kopilka -m 750 {path}", path=path
        )
        yield Finding("disk", "fault", N_("there is no directory {path}", path=path), remedy)
        return
    free_bytes = shutil.disk_usage(path).free
    text = N_("{path}: {count} MB are free", path=path, count=free_bytes // 1_000_000)
    low = free_bytes < DISK_LOW_BYTES
    yield Finding("disk", "fault" if low else "ok", text, DISK_REMEDY if low else None)


def _secrets(box: Box) -> Iterator[Finding]:
    for file in (box.state.till_key_file, box.state.chain_key_file):
        if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            text = N_("{path} can be read by others", path=file)
            yield Finding("secrets", "fault", text, N_("chmod 600 {path}", path=file))


def _enrolment(box: Box) -> Iterator[Finding]:
    try:
        identity = _identity(box)
    except (OSError, LedgerFault) as error:
        text = N_("the ledger cannot be read: {why}", why=error)
        yield Finding("enrolment", "warning", text, N_("run this as the agent's user, or as root"))
        return
    if identity is None:
        yield Finding("enrolment", "fault", N_("this box is no till yet"), NOT_ENROLLED)
    else:
        text = N_("this box is till {till} of store {store}", till=identity.till, store=identity.store)
        yield Finding("enrolment", "ok", text)


def _identity(box: Box) -> Identity | None:
    if not box.state.ledger.exists():
        return None
    reader = Reader.open(box.state.ledger)
    try:
        return reader.identity()
    finally:
        reader.close()


def _agent(box: Box) -> Iterator[Finding]:
    if box.status is None:
        remedy = N_("systemctl enable --now kopilka-agent; what it says: journalctl -u kopilka-agent")
        yield Finding("agent", "warning", N_("the agent does not run"), remedy)
        return
    yield Finding("agent", "ok", N_("the agent runs, version {version}", version=box.status["version"]))
    for trouble in box.status["troubles"]:
        yield Finding("agent", "fault", N_("the agent complains"), trouble)


# ---- devices


def _scanners(box: Box) -> Iterator[Finding]:
    if not box.config.scanners:
        remedy = N_("write one into the configuration: kopilka-agent devices learn")
        yield Finding("scanner", "warning", N_("no scanner is configured"), remedy)
    for scanner in box.config.scanners:
        if scanner.url == "auto":
            found = likely_scanners()
            chosen = ", ".join(device.url for device in found)
            text = N_("scanner {name}: auto finds {what}", name=scanner.name, what=chosen or "-")
            remedy = N_(
                "plug it in; one that looks like any keyboard is bound by: kopilka-agent devices learn"
            )
            yield Finding("scanner", "ok" if found else "fault", text, None if found else remedy)
        else:
            yield _device(box, "scanner", scanner.name, lambda one=scanner: _try_scanner(one))  # type: ignore[misc]


def _printer(box: Box) -> Iterator[Finding]:
    printer = box.config.printer
    if printer is None:
        yield Finding("printer", "ok", N_("no printer is configured: slips go to the cash program as lines"))
        return
    yield _device(box, "printer", "printer", lambda: _try_printer(printer))
    text = N_(
        "printer: {columns} columns, {encoding} by code page {page}",
        columns=printer.profile().columns,
        encoding=printer.profile().encoding,
        page=printer.profile().page,
    )
    yield Finding("code_page", "ok", text, N_("see that it is right on paper: kopilka-agent print-test"))


def _device(box: Box, check: str, name: str, attempt: Callable[[], None]) -> Finding:
    """How a device is: the running agent knows of its own, the others are tried."""
    reported = next((one for one in (box.status or {}).get("devices", ()) if one["name"] == name), None)
    if reported is not None and reported["state"] == "online":
        return Finding(check, "ok", N_("{name}: the agent has it", name=name))
    if reported is not None and reported["hint"]:
        return Finding(
            check,
            "fault",
            N_("{name}: {state}", name=name, state=WORDS[f"device_{reported['state']}"]),
            reported["hint"],
        )
    try:
        attempt()
    except LinkError as error:
        return Finding(
            check, "fault", N_("{name}: {state}", name=name, state=WORDS[f"device_{error.state}"]), error.hint
        )
    except UrlError as error:
        return Finding(check, "fault", N_("{name}: its address is wrong", name=name), error.text)
    return Finding(check, "ok", N_("{name}: it can be opened", name=name))


def _try_scanner(scanner: ScannerConfig) -> None:
    from agent.drivers.scanner import Options, open_scanner

    open_scanner(scanner.name, scanner.url, _hears_nothing, Options(silence_ms=scanner.silence_ms)).try_open()


def _hears_nothing(_: object) -> None:
    """For a scanner that is opened and closed again."""


def _try_printer(printer: PrinterConfig) -> None:
    open_link(parse_url(printer.url)).close()


def _rights(box: Box) -> Iterator[Finding]:
    """Is whoever runs the agent in the devices' groups?"""
    user = SERVICE_USER if box.is_root else pwd.getpwuid(os.geteuid()).pw_name
    try:
        member_of = _groups(user)
    except KeyError:
        remedy = N_("systemd-sysusers /opt/kopilka/systemd/kopilka-sysusers.conf")
        yield Finding("rights", "warning", N_("there is no user {user}", user=user), remedy)
        return
    needed = {GROUPS[url.scheme] for url in box.urls if url.scheme in GROUPS} | {POS_GROUP}
    missing = sorted(needed - member_of)
    if missing:
        groups = ",".join(missing)
        remedy = N_("usermod -aG {groups} {user}, then start the agent again", groups=groups, user=user)
        yield Finding(
            "rights", "fault", N_("user {user} is not in {groups}", user=user, groups=groups), remedy
        )
    else:
        yield Finding("rights", "ok", N_("user {user} is in every group it needs", user=user))
    if box.urls and not any((directory / RULES_FILE).is_file() for directory in UDEV_RULES):
        remedy = N_(
            "cp /opt/kopilka/systemd/{file} /etc/udev/rules.d/ && udevadm control --reload"
            " && udevadm trigger",
            file=RULES_FILE,
        )
        yield Finding("udev", "warning", N_("our udev rules are not installed"), remedy)


def _groups(user: str) -> set[str]:
    entry = pwd.getpwnam(user)
    return {group.gr_name for group in grp.getgrall() if user in group.gr_mem} | {
        grp.getgrgid(number).gr_name for number in [entry.pw_gid]
    }


def _forwarding(box: Box) -> Iterator[Finding]:
    """Keys are handed on through uinput."""
    beside_cash_program = box.config.screen.mode != "stand_alone"
    forwards = any(
        (one.mode or ("forward" if beside_cash_program else "own")) == "forward"
        and one.url.startswith(("evdev:", "hidraw:", "auto"))
        for one in box.config.scanners
    )
    if not forwards:
        return
    if not UINPUT.exists():
        remedy = N_("modprobe uinput, and for every start: systemd/modules-load.conf")
        yield Finding(
            "forward", "fault", N_("keys cannot be handed on: there is no {path}", path=UINPUT), remedy
        )
    elif not box.is_root and not os.access(UINPUT, os.W_OK):
        text = N_("keys cannot be handed on: no right to use {path}", path=UINPUT)
        yield Finding("forward", "fault", text, N_("install our udev rules: systemd/{file}", file=RULES_FILE))
    else:
        yield Finding("forward", "ok", N_("keys can be handed on to the cash program"))


def _others(box: Box) -> Iterator[Finding]:
    """Programs that take such devices as a matter of course."""
    names = frozenset(name for url in box.urls for name in _INTERFERES.get(url.scheme, ()))
    for holder in running(names):
        yield Finding("others", "warning", N_("{program} runs", program=holder.name), REMEDIES[holder.name])


# ---- the centre


def _link(box: Box) -> Iterator[Finding]:
    """Does the centre answer, and is its time ours?"""
    try:
        identity = _identity(box)
    except (OSError, LedgerFault):
        identity = None
    if identity is None:
        return
    import requests

    where = identity.server_url
    try:
        with requests.Session() as http:
            http.trust_env = False
            answer = http.get(where, timeout=ASK_TIMEOUT_S, allow_redirects=False)
    except requests.exceptions.SSLError:
        remedy = N_("its certificate is not trusted: see the address, the box's clock, and ca-certificates")
        yield Finding("link", "fault", N_("{url} cannot be trusted", url=where), remedy)
        return
    except requests.exceptions.Timeout:
        remedy = N_("a firewall may drop what is sent there: ask who keeps the network")
        yield Finding("link", "fault", N_("{url} does not answer", url=where), remedy)
        return
    except requests.exceptions.RequestException:
        remedy = N_("see the cable and the router, then the name: getent hosts NAME")
        yield Finding("link", "fault", N_("{url} cannot be reached", url=where), remedy)
        return
    yield Finding("link", "ok", N_("{url} answers", url=where))
    yield from _clock(box, answer.headers.get("Date"))


def _clock(box: Box, said: str | None) -> Iterator[Finding]:
    try:
        centre_s = parsedate_to_datetime(said or "").timestamp()
    except ValueError:
        return
    off_s = round(box.now_s - centre_s)
    level: Level = (
        "ok" if abs(off_s) < CLOCK_WARNING_S else "warning" if abs(off_s) < CLOCK_FAULT_S else "fault"
    )
    text = N_("the clock is {seconds} s from the centre's", seconds=f"{off_s:+d}")
    yield Finding("clock", level, text, None if level == "ok" else CLOCK_REMEDY)
