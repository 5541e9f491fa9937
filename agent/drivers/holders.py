"""Who has a device open: the name of the program to close, not just "busy".

Linux shows it in /proc/*/fd, to root for every program, to a service user for its own
alone (and in a hardened unit not even that). So the agent says what it can see, and
`kopilka-agent doctor`, run as root, says the rest.

Programs that take scanners and printers as a matter of course are known here with
their remedy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loyalty.texts import N_, Text

PROC = Path("/proc")
_COMM_CHARS = 15  # the kernel cuts a program's name

REMEDIES: dict[str, Text] = {
    "ModemManager": N_(
        "ModemManager speaks to every serial device as to a modem: install our udev rules"
        " (systemd/60-kopilka.rules), or remove it: apt purge modemmanager"
    ),
    "brltty": N_("brltty takes USB serial adapters for Braille displays: apt purge brltty"),
    "cupsd": N_("the printer is a CUPS queue as well: remove it there (lpstat -p, lpadmin -x NAME)"),
    "usb": N_("the printer is a CUPS queue as well: remove it there (lpstat -p, lpadmin -x NAME)"),
    "ipp-usb": N_("ipp-usb has taken the printer: apt purge ipp-usb"),
    "agetty": N_("a login waits on this port: systemctl disable --now serial-getty@PORT"),
    "kopilka-agent": N_("another agent runs on this box: systemctl status kopilka-agent, and end the other"),
}
"""Program name as the kernel has it -> what to do about it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A program that has the device open."""

    pid: int
    name: str

    @property
    def remedy(self) -> Text | None:
        """What to do, where the program is known."""
        return REMEDIES.get(self.name)


def holders(node: str, proc: Path = PROC) -> list[Holder]:
    """The programs other than this one that have `node` open, as far as this user may see."""
    with suppress(OSError):
        device = os.stat(node).st_rdev
        return [
            holder
            for holder in _processes(proc)
            if holder.pid != os.getpid() and _has_open(proc / str(holder.pid), node, device)
        ]
    return []


def running(names: frozenset[str], proc: Path = PROC) -> list[Holder]:
    """The programs of these names that run now."""
    return [holder for holder in _processes(proc) if holder.name in names]


def held_by(node: str, where: str) -> Text:
    """`where` is in use: by whom, and what to do."""
    for holder in holders(os.path.realpath(node)):
        if holder.remedy is not None:
            return N_(
                "{url} is held by {program}: {remedy}", url=where, program=holder.name, remedy=holder.remedy
            )
        return N_(
            "{url} is held by {program} (process {pid}): close it there.",
            url=where,
            program=holder.name,
            pid=holder.pid,
        )
    return N_(
        "{url} is held by another program: close it there (kopilka-agent doctor, run as root, names it).",
        url=where,
    )


def _processes(proc: Path) -> Iterator[Holder]:
    for directory in proc.iterdir():
        if directory.name.isdigit():
            with suppress(OSError):
                name = _name(directory)
                yield Holder(int(directory.name), name)


def _name(directory: Path) -> str:
    """The program's name; that of a script is its file's, for the kernel says "python3" of all of them."""
    name = (directory / "comm").read_text(errors="replace").strip()
    words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
    if name.startswith("python") and len(words) > 1 and not words[1].startswith("-"):
        return Path(words[1]).name[:_COMM_CHARS]
    return name


def _has_open(directory: Path, node: str, device: int) -> bool:
    with suppress(OSError):
        for descriptor in (directory / "fd").iterdir():
            with suppress(OSError):
                if os.readlink(descriptor) == node or (device and os.stat(descriptor).st_rdev == device):
                    return True
    return False
