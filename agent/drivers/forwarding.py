"""Mode `forward`: what is not ours goes on to the cash program, at once and as it came.

A cash program that reads the scanner by itself must not notice us. So a keyboard scanner
is grabbed and everything but our cards and coupons is typed on by a virtual keyboard
(uinput), event for event; a serial scanner is held and its bytes are written to a pty,
which the cash program opens instead of the port.

An `Outlet` is one open way on. It never waits: what cannot be handed on at once is lost
and said so (OSError), and the scanner then lets go of its device, so that the cash
program has it back (scanner.py).

What is handed on is looked at by nobody, kept nowhere and logged nowhere.

Known ugliness: a pty whose reader has hung up keeps nothing, and what was scanned
meanwhile is lost, as on a cable that is not plugged in. Old scans that pour into a sale
would be worse.
"""

from __future__ import annotations

import os
import select
import shutil
import tty
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from agent.drivers.frames import KeyEvent, Raw
from agent.drivers.keyboard import (
    DOWN,
    ENTER,
    EV_KEY,
    EV_SYN,
    LEFT_SHIFT,
    SHIFTED,
    SYN_REPORT,
    UP,
    keys_of,
)
from agent.drivers.link import LinkError
from agent.drivers.plugged import OWN_KEYBOARD
from loyalty.texts import N_

UINPUT = "/dev/uinput"
READERS = "kopilka-pos"  # the group of cash programs
_KEYS_MAX = 248  # every key of a keyboard, KEY_ESC to KEY_MICMUTE
_SYN: KeyEvent = (EV_SYN, SYN_REPORT, 0)


class Unread(OSError):  # noqa: N818 - says a fact about the other side
    """Nobody reads at the other end; the way on itself is open."""


class Untypable(ValueError):  # noqa: N818
    """The code has a character that no key types."""


class Outlet(Protocol):
    """A way on to the cash program. Every call raises OSError when the way is closed."""

    def send(self, raw: Raw) -> None:
        """Hand on what was read, as it was read."""
        ...

    def type(self, text: str) -> None:
        """Hand on a code that did not come as keys or bytes (HID POS), with Enter behind it.

        Raises Untypable.
        """
        ...

    def swallow(self, raw: Raw | None) -> None:
        """`raw` is kept; keys of it that the cash program believes down are let go."""
        ...

    def close(self) -> None: ...


class Keyboard(Protocol):
    """What python-evdev's UInput does for us."""

    def write(self, kind: int, code: int, value: int) -> None: ...

    def close(self) -> None: ...


class KeyOutlet:
    """Types on a virtual keyboard. Raises LinkError where there can be none."""

    def __init__(self, keyboard: Keyboard | None = None) -> None:
        self._keyboard = keyboard if keyboard is not None else _uinput()
        self._down: set[int] = set()

    def send(self, raw: Raw) -> None:
        self._write(event for event in raw if isinstance(event, tuple))

    def type(self, text: str) -> None:
        codes = keys_of(text)
        if codes is None:
            raise Untypable
        for code in [*codes, ENTER]:
            key = code & ~SHIFTED
            shift = [(EV_KEY, LEFT_SHIFT, DOWN)] if code & SHIFTED else []
            self._write([*shift, (EV_KEY, key, DOWN), _SYN])
            self._write([(EV_KEY, key, UP), *((EV_KEY, LEFT_SHIFT, UP) for _ in shift), _SYN])

    def swallow(self, raw: Raw | None) -> None:
        if not self._down:
            return
        released = raw if raw is not None else tuple((EV_KEY, code, UP) for code in self._down)
        ups = [
            event
            for event in released
            if isinstance(event, tuple) and event[0] == EV_KEY and event[2] == UP and event[1] in self._down
        ]
        if ups:
            self._write([*ups, _SYN])

    def close(self) -> None:
        with suppress(OSError):
            self.swallow(None)
        self._keyboard.close()

    def _write(self, events: Iterable[KeyEvent]) -> None:
        last: KeyEvent = _SYN
        for last in events:
            kind, code, value = last
            self._keyboard.write(kind, code, value)
            if kind == EV_KEY:
                (self._down.discard if value == UP else self._down.add)(code)
        if last != _SYN:  # the report that was cut at the end of a scan
            self._keyboard.write(*_SYN)


class PtyOutlet:
    """Writes to a pty that the cash program opens by `link`. Raises LinkError where there can be none."""

    def __init__(self, link: Path) -> None:
        self._link = link
        self._master, slave = os.openpty()
        try:
            tty.setraw(slave)  # no echo, and no LF made of a CR
            os.set_blocking(self._master, False)
            name = os.ttyname(slave)
            with suppress(OSError, LookupError):
                os.chmod(name, 0o660)
                shutil.chown(name, group=READERS)
            _point(link, name)
        except OSError as error:
            os.close(self._master)
            hint = N_(
                "Nothing can be handed on at {path} ({why}): name a directory that the agent may write, as"
                " forward_to of this scanner.",
                path=link,
                why=error.strerror or "?",
            )
            raise LinkError("denied", hint) from None
        finally:
            os.close(slave)  # from now on the pty says whether somebody reads it

    def send(self, raw: Raw) -> None:
        if isinstance(raw, bytes):
            self._write(raw)

    def type(self, text: str) -> None:
        self._write(text.encode() + b"\r")

    def swallow(self, raw: Raw | None) -> None:
        del raw

    def close(self) -> None:
        with suppress(OSError):
            self._link.unlink()
        os.close(self._master)

    def _write(self, data: bytes) -> None:
        poll = select.poll()
        poll.register(self._master, select.POLLOUT)
        if any(event & select.POLLHUP for _, event in poll.poll(0)):
            raise Unread
        try:
            written = os.write(self._master, data)
        except BlockingIOError:
            written = 0
        if written < len(data):
            raise Unread


def _point(link: Path, name: str) -> None:
    """Let `link` be the pty; one that an agent before us left is replaced, anything else is kept."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    link.symlink_to(name)


def _uinput() -> Keyboard:
    import evdev

    try:
        keyboard: Any = evdev.UInput({EV_KEY: range(1, _KEYS_MAX)}, name=OWN_KEYBOARD)
    except (OSError, evdev.UInputError):
        hint = N_(
            "Keys cannot be handed on to the cash program ({path}): load the module (modprobe uinput) and"
            " install systemd/60-kopilka.rules. Until then the cash program has the scanner.",
            path=UINPUT,
        )
        raise LinkError("denied", hint) from None
    else:
        result: Keyboard = keyboard
        return result
