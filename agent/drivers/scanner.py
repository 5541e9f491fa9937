"""Scanners and card readers: a thread each, from the device to ScanData.

The thread does nothing but read, decode and post: the kernel keeps only 64
events (ten characters) for a reader that is late. It opens the device, reads
until it is lost, closes it, waits a little (or until something is plugged in)
and opens it again; lost and back are said once each.

Inside, a scanner is a `Reader` (one open device: a file descriptor, and frames
out of it) and a `SwipeAssembler` (the lines of one swipe become one scan). Key
events come from evdev_reader.py, HID reports from hidraw_reader.py, bytes from a
Link through a Framer. Then the mode decides:

    own      the device is ours alone, and the till hears everything it reads
    forward  the device is ours alone; the till hears of what `keeps` says is ours,
             and everything else goes on to the cash program (forwarding.py)
    listen   the cash program reads the same keyboard, and the till hears as well

Forwarding that stops must not stop the shop: a keyboard scanner is let go at once,
so that the cash program has its keys again, and taken back when forwarding works.

The same code twice within `repeat_ms` is a trigger that was pulled twice. What a
person typed on a scanner's keyboard is no scan: a number that is keyed in is keyed
in on the cashier's page, where such numbers are counted.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, Protocol

from agent.drivers.contracts import DeviceState, Post, ReadFailed, ScanData
from agent.drivers.forwarding import KeyOutlet, Outlet, PtyOutlet, Unread, Untypable
from agent.drivers.frames import SILENCE_MS, Dropped, Framed, Framer, Passed, Raw
from agent.drivers.link import AUTO, DeviceUrl, LinkError, UrlError, open_link, parse_url
from agent.drivers.msr import Scan, SwipeAssembler
from agent.drivers.telling import Teller, monotonic_ms
from loyalty.texts import N_

log = logging.getLogger(__name__)

FIRST_RETRY_MS = 250
LAST_RETRY_MS = 2_000
OUTLET_RETRY_MS = 30_000
STOP_TIMEOUT_MS = 5_000
REPEAT_MS = 300

Mode = Literal["own", "forward", "listen"]
MODES: tuple[Mode, ...] = ("own", "forward", "listen")
Keeps = Callable[[Scan], bool]
"""Is this scan ours? Called in the reader's thread: it must be quick. Must not raise."""

_BY_HAND = N_("This was typed by hand, not scanned; key a card's number in on the cashier's page.")
_UNTYPABLE = N_("The code has characters that cannot be typed on to the cash program.")
_STOPPED = N_(
    "Keys could not be handed on any more; the cash program has the scanner again, and the till only listens."
)


class Reader(Protocol):
    """One open device."""

    def fileno(self) -> int: ...

    def read(self) -> list[Framed]:
        """Frames in what has come. Called when the descriptor is readable; OSError: the device is gone."""
        ...

    @property
    def due_ms(self) -> int | None:
        """When to call `idle`, in monotonic milliseconds."""
        ...

    def idle(self, now_ms: int) -> list[Framed]:
        """Frames that silence has ended."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Options:
    """How a scanner is used.

    `silence_ms` ends a scan of a device without a suffix (a serial scanner has it anyway, SILENCE_MS);
    `takes_typing`: what is typed by hand counts as a scan (a very slow scanner); `forward_to`: where the
    cash program finds the pty of a serial scanner (where it does not open it, it hears of the scans by the
    API's events).
    """

    mode: Mode = "own"
    silence_ms: int | None = None
    repeat_ms: int = REPEAT_MS
    takes_typing: bool = False
    forward_to: Path | None = None


def ours(_: Scan) -> bool:
    """Without a programme everything is kept."""
    return True


def open_scanner(
    name: str, url: str, post: Post, options: Options | None = None, keeps: Keeps = ours
) -> ScannerThread:
    """The scanner at `url` (link.py), not started yet. Raises UrlError."""
    options = options or Options()
    address = parse_url(url)
    if address.scheme in ("file", "usb", "lp", AUTO):
        raise UrlError(N_("{url} is not the address of one scanner", url=url))
    if options.mode == "listen" and address.scheme in ("serial", "tcp", "loop"):
        raise UrlError(N_("{url}: a serial scanner has one reader only; use mode own or forward", url=url))

    def open_reader(*, grab: bool) -> Reader:
        if address.scheme == "evdev":
            from agent.drivers.evdev_reader import EvdevReader  # evdev is imported where one is plugged in

            return EvdevReader(
                address, grab=grab, silence_ms=options.silence_ms, forward=grab and options.mode == "forward"
            )
        if address.scheme == "hidraw":
            from agent.drivers.hidraw_reader import HidrawReader

            return HidrawReader(address)
        return LinkReader(address, options.silence_ms or SILENCE_MS)

    def open_outlet() -> Outlet:
        return KeyOutlet() if options.forward_to is None else PtyOutlet(options.forward_to)

    return ScannerThread(
        name,
        open_reader,
        post,
        options,
        open_outlet=open_outlet,
        keeps=keeps,
        can_share=address.scheme in ("evdev", "hidraw"),
    )


class LinkReader:
    """Bytes from a serial port or a socket."""

    def __init__(self, url: DeviceUrl, silence_ms: int) -> None:
        self._link = open_link(url)
        self._framer = Framer(silence_ms)

    def fileno(self) -> int:
        return self._link.fileno()

    def read(self) -> list[Framed]:
        return self._framer.feed(self._link.read(), monotonic_ms())

    @property
    def due_ms(self) -> int | None:
        return self._framer.due_ms

    def idle(self, now_ms: int) -> list[Framed]:
        return self._framer.idle(now_ms)

    def close(self) -> None:
        self._link.close()


class OpenReader(Protocol):
    """Opens the device; with `grab` for us alone. Raises LinkError."""

    def __call__(self, *, grab: bool) -> Reader: ...


class ScannerThread:
    """Reads one device for ever and posts what it says."""

    def __init__(
        self,
        name: str,
        open_reader: OpenReader,
        post: Post,
        options: Options,
        *,
        open_outlet: Callable[[], Outlet] = KeyOutlet,
        keeps: Keeps = ours,
        can_share: bool = True,
    ) -> None:
        self._name = name
        self._open_reader = open_reader
        self._post = post
        self._options = options
        self._open_outlet = open_outlet
        self._keeps = keeps
        self._can_share = can_share
        self._teller = Teller("scanner", name, post)
        self._stopping = threading.Event()
        self._look_again = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name=f"scanner {name}", daemon=True)
        self._jitter = Random()  # noqa: S311 - spreads tries, guards nothing
        self._outlet: Outlet | None = None
        self._outlet_again_ms = 0
        self._last_scan = (0, -REPEAT_MS)  # its hash: the text may be a payment card's

    @property
    def name(self) -> str:
        return self._name

    def start(self) -> None:
        """Begin to read; a device that is not there yet is waited for."""
        self._thread.start()

    def try_open(self) -> None:
        """Open the device and close it again, instead of starting. Raises LinkError."""
        self._open_reader(grab=self._options.mode != "listen").close()

    def look_again(self) -> None:
        """Something was plugged in: a device that is waited for may be there now."""
        self._look_again.set()

    def stop(self) -> None:
        """Release the device and end the thread."""
        if self._wake_read < 0:
            return
        self._stopping.set()
        self._look_again.set()
        os.write(self._wake_write, b"x")
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_MS / 1000)
        if self._thread.is_alive():
            log.error("scanner %s: its thread has not ended", self._name)
            return
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._wake_read = self._wake_write = -1

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        retry_ms = FIRST_RETRY_MS
        while not self._stopping.is_set():
            opened_ms = monotonic_ms()
            try:
                self._use_device()
            except LinkError as error:
                self._say(error.state, error)
            except OSError as error:
                log.debug("scanner %s: errno %s", self._name, error.errno)
                self._teller.say(
                    DeviceState(self._name, "lost", N_("The scanner is unplugged: check its cable."))
                )
            except Exception as error:  # noqa: BLE001 - top of a thread: the other scans must still be read
                # Not the message and no traceback: either may hold what was scanned.
                log.error("scanner %s: %s while reading", self._name, type(error).__name__)
            if monotonic_ms() - opened_ms > LAST_RETRY_MS:  # else it flaps, and waits longer each time
                retry_ms = FIRST_RETRY_MS
            # After a hub has lost its power all devices come back at once: they are not tried in step.
            self._look_again.wait(retry_ms * self._jitter.uniform(0.8, 1.2) / 1000)
            self._look_again.clear()
            retry_ms = min(retry_ms * 2, LAST_RETRY_MS)

    def _say(self, state: Literal["lost", "busy", "denied", "degraded", "online"], error: LinkError) -> None:
        self._teller.say(DeviceState(self._name, state, error.hint))

    def _use_device(self) -> None:
        """Open, read until it is lost, close. Raises OSError."""
        refused: LinkError | None = None
        if self._options.mode == "forward":
            refused = self._find_way_on()
        try:
            reader = self._open_reader(grab=self._options.mode != "listen" and refused is None)
            try:
                if refused is None:
                    self._teller.say(DeviceState(self._name, "online"))
                else:
                    self._say("degraded", refused)
                self._read(reader, until_ms=monotonic_ms() + OUTLET_RETRY_MS if refused else None)
            finally:
                reader.close()
        finally:
            outlet, self._outlet = self._outlet, None
            if outlet is not None:
                outlet.close()

    def _find_way_on(self) -> LinkError | None:
        """Open the outlet; why it cannot be had, where the cash program can read the device as well as we."""
        if monotonic_ms() < self._outlet_again_ms:
            return LinkError("degraded", _STOPPED)
        try:
            self._outlet = self._open_outlet()
        except LinkError as error:
            if not self._can_share:
                raise
            return error
        return None

    def _read(self, reader: Reader, until_ms: int | None) -> None:
        """Read until the device is lost (OSError), the way on is (_LetGo), or `until_ms`."""
        swipes = SwipeAssembler()
        heard = select.poll()
        heard.register(reader, select.POLLIN)
        heard.register(self._wake_read, select.POLLIN)
        descriptor = reader.fileno()
        while not self._stopping.is_set():
            now_ms = monotonic_ms()
            due = [d for d in (reader.due_ms, swipes.due_ms, until_ms) if d is not None]
            wait_ms = max(0, min(due) - now_ms) if due else None
            if any(ready == descriptor for ready, _ in heard.poll(wait_ms)):
                framed = reader.read()
                swipes.heard(monotonic_ms())
            else:
                framed = reader.idle(monotonic_ms())
                if until_ms is not None and monotonic_ms() >= until_ms and not framed:
                    return
            try:
                for frame in framed:
                    self._handle(frame, swipes)
                self._scanned(swipes.idle(monotonic_ms()))
            except _LetGo:
                return

    # ------------------------------------------------------------- what was read

    def _handle(self, framed: Framed, swipes: SwipeAssembler) -> None:
        if isinstance(framed, Dropped):
            log.warning("scanner %s: a scan was not whole and has been discarded", self._name)
            self._swallow(None)
            self._post(ReadFailed(self._name, N_("The scan was not whole; scan again."), framed.at_ms))
        elif isinstance(framed, Passed):
            self._pass_on(framed.raw)
        elif framed.by_hand and not self._options.takes_typing:
            self._pass_on(framed.raw)
            if self._options.mode == "own":
                self._post(ReadFailed(self._name, _BY_HAND, framed.at_ms))
        else:
            self._scanned(swipes.feed(framed))

    def _scanned(self, scans: list[Scan]) -> None:
        for scan in scans:
            if self._outlet is not None and not self._keeps(scan):
                self._pass_on(scan.raw, scan)
            else:
                self._swallow(scan.raw)
                self._tell(scan)

    def _tell(self, scan: Scan) -> None:
        if not self._is_repeated(scan):
            self._post(ScanData(self._name, scan.text, scan.source, scan.at_ms, scan.symbology))

    def _is_repeated(self, scan: Scan) -> bool:
        (last, last_ms), self._last_scan = self._last_scan, (hash(scan.text), scan.at_ms)
        return last == hash(scan.text) and scan.at_ms - last_ms < self._options.repeat_ms

    def _pass_on(self, raw: Raw | None, scan: Scan | None = None) -> None:
        """Hand on what was read. A scan that nobody takes at the other end is told to the till after all."""
        if self._outlet is None:
            return
        try:
            if raw is not None:
                self._outlet.send(raw)
            elif scan is not None:
                self._outlet.type(scan.text)
        except Unread:
            if scan is not None:
                self._tell(scan)
        except Untypable:
            self._post(ReadFailed(self._name, _UNTYPABLE, monotonic_ms()))
        except OSError as error:
            raise self._closed(error) from None

    def _swallow(self, raw: Raw | None) -> None:
        """What was read is kept here; the cash program sees no key of it down."""
        try:
            if self._outlet is not None:
                self._outlet.swallow(raw)
        except OSError as error:
            raise self._closed(error) from None

    def _closed(self, error: OSError) -> _LetGo:
        log.warning("scanner %s: nothing can be handed on: errno %s", self._name, error.errno)
        self._outlet_again_ms = monotonic_ms() + OUTLET_RETRY_MS
        return _LetGo()


class _LetGo(Exception):  # noqa: N818 - no error: a way out of the reading loop
    """The way on is closed: give the device back to the cash program."""
