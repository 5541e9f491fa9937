"""Scanners and card readers: a thread each, from the device to ScanData.

The thread does nothing but read, decode and post: the kernel keeps only 64
events (ten characters) for a reader that is late. It opens the device, reads
until it is lost, closes it, waits a little and opens it again; lost and back
are posted and logged once each.

Inside, a scanner is a `Reader` (one open device: a file descriptor, and frames
out of it) and a `SwipeAssembler` (the lines of one swipe become one scan). Key
events come from evdev_reader.py, bytes from a Link through a Framer.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Protocol

from agent.drivers.contracts import DeviceState, Post, ReadFailed, ScanData
from agent.drivers.frames import SILENCE_MS, Dropped, Framed, Framer
from agent.drivers.link import DeviceUrl, LinkError, UrlError, open_link, parse_url
from agent.drivers.msr import Scan, SwipeAssembler
from loyalty.texts import N_

log = logging.getLogger(__name__)

FIRST_RETRY_MS = 250
LAST_RETRY_MS = 2_000
STOP_TIMEOUT_MS = 5_000


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


def monotonic_ms() -> int:
    """The clock of every `at_ms`."""
    return time.monotonic_ns() // 1_000_000


def open_scanner(
    name: str, url: str, post: Post, *, grab: bool = True, silence_ms: int | None = None
) -> ScannerThread:
    """The scanner at `url` (link.py), not started yet.

    `grab` (evdev only) keeps its keys from every other program: mode `own`; False is mode `listen`.
    `silence_ms` ends a scan of a device without a suffix; a serial scanner has it anyway (SILENCE_MS).
    Raises UrlError.
    """
    address = parse_url(url)
    if address.scheme == "file":
        raise UrlError(N_("{url}: a file is for output, not a scanner", url=url))

    def open_reader() -> Reader:
        if address.scheme == "evdev":
            from agent.drivers.evdev_reader import EvdevReader  # evdev is imported where one is plugged in

            return EvdevReader(address, grab=grab, silence_ms=silence_ms)
        return LinkReader(address, silence_ms or SILENCE_MS)

    return ScannerThread(name, open_reader, post)


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


class ScannerThread:
    """Reads one device for ever and posts what it says."""

    def __init__(self, name: str, open_reader: Callable[[], Reader], post: Post) -> None:
        self._name = name
        self._open_reader = open_reader
        self._post = post
        self._stopping = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name=f"scanner {name}", daemon=True)
        self._state: DeviceState | None = None

    @property
    def name(self) -> str:
        return self._name

    def start(self) -> None:
        """Begin to read; a device that is not there yet is waited for."""
        self._thread.start()

    def stop(self) -> None:
        """Release the device and end the thread."""
        if self._wake_read < 0:
            return
        self._stopping.set()
        os.write(self._wake_write, b"x")
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_MS / 1000)
        if self._thread.is_alive():
            log.error("scanner %s: its thread has not ended", self._name)
            return
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._wake_read = self._wake_write = -1

    def _run(self) -> None:
        retry_ms = FIRST_RETRY_MS
        while not self._stopping.is_set():
            try:
                reader = self._open_reader()
            except LinkError as error:
                self._say(DeviceState(self._name, error.state, error.hint))
            else:
                opened_ms = monotonic_ms()
                self._say(DeviceState(self._name, "online"))
                self._read_until_lost(reader)
                if monotonic_ms() - opened_ms > LAST_RETRY_MS:  # else it flaps, and waits longer each time
                    retry_ms = FIRST_RETRY_MS
            self._stopping.wait(retry_ms / 1000)
            retry_ms = min(retry_ms * 2, LAST_RETRY_MS)

    def _read_until_lost(self, reader: Reader) -> None:
        swipes = SwipeAssembler()
        try:
            while not self._stopping.is_set():
                now_ms = monotonic_ms()
                due = [d for d in (reader.due_ms, swipes.due_ms) if d is not None]
                wait_s = max(0, min(due) - now_ms) / 1000 if due else None
                if reader in select.select([reader, self._wake_read], [], [], wait_s)[0]:
                    framed = reader.read()
                    swipes.heard(monotonic_ms())
                else:
                    framed = reader.idle(monotonic_ms())
                for frame in framed:
                    self._handle(frame, swipes)
                self._scanned(swipes.idle(monotonic_ms()))
        except OSError as error:
            log.debug("scanner %s: errno %s", self._name, error.errno)
            hint = N_("The scanner is unplugged: check its cable.")
            self._say(DeviceState(self._name, "lost", hint))
        finally:
            reader.close()

    def _handle(self, framed: Framed, swipes: SwipeAssembler) -> None:
        if isinstance(framed, Dropped):
            log.warning("scanner %s: a scan was not whole and has been discarded", self._name)
            self._post(ReadFailed(self._name, N_("The scan was not whole; scan again."), framed.at_ms))
        else:
            self._scanned(swipes.feed(framed))

    def _scanned(self, scans: list[Scan]) -> None:
        for scan in scans:
            self._post(ScanData(self._name, scan.text, scan.source, scan.at_ms, scan.symbology))

    def _say(self, state: DeviceState) -> None:
        """Post and log a state once, however often it is found again."""
        if state == self._state:
            return
        self._state = state
        if state.state == "online":
            log.info("scanner %s: online", self._name)
        else:
            log.warning("scanner %s: %s: %s", self._name, state.state, state.hint)
        self._post(state)
