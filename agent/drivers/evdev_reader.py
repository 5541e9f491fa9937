"""One open keyboard scanner: evdev events in, frames out.

Opening means: open, wait until no key is held (a key down now would stay down
for every other program), then grab. A scan that is under way at that moment
would be read from its middle, which is a wrong code; so a first key within
SETTLE_MS of opening throws that scan away. That needs the kernel's monotonic
event times; where they cannot be had (a replayed recording), nothing is thrown
away, because then the time of an event says nothing about now.

For mode `forward` every frame carries its key events, and what is no scan goes on
as it comes: keys without a character at once, and characters that a person types
after PAUSE_MS. (A keyboard with a built-in card reader is one device: the cashier
types on it.) After the first such pause the rest of the line goes on without
delay; a second of silence, or Enter, and a scan may begin again.

Known ugliness: python-evdev raises SystemError where an ioctl is not supported.
"""

from __future__ import annotations

import errno
import fcntl
import struct
import time
from typing import Any

from agent.drivers.frames import Frame, Framed, KeyEvent, Passed
from agent.drivers.holders import held_by
from agent.drivers.keyboard import EV_KEY, EV_SYN, REPEAT, KeyboardDecoder
from agent.drivers.link import DeviceUrl, LinkError, open_error
from agent.drivers.plugged import keyboard_node
from loyalty.texts import N_

SETTLE_MS = 100
PAUSE_MS = 100
TYPING_ENDS_MS = 1_000
KEYS_UP_TIMEOUT_MS = 1_000
_KEYS_UP_POLL_MS = 20
_EVIOCSCLOCKID = 0x400445A0
_LED_CAPS_LOCK = 1
_CANNOT_TELL = (OSError, SystemError)


class EvdevReader:
    """A keyboard scanner at an evdev URL. Raises LinkError where it cannot be opened or grabbed."""

    def __init__(self, url: DeviceUrl, *, grab: bool, silence_ms: int | None, forward: bool = False) -> None:
        import evdev

        self._forward = forward
        self._silence_ms = silence_ms
        self._raw: list[KeyEvent] = []
        self._typing_ms: int | None = None  # a person types: when the last key came

        node = keyboard_node(url)
        try:
            # Read-only: a writer may be asked to set LEDs, and some scanners answer by changing case.
            self._device: Any = evdev.InputDevice(node, readonly=True)
        except OSError as error:
            raise open_error(url, error.errno) from None
        try:
            self._monotonic = self._use_monotonic_times()
            if grab:
                self._wait_keys_up()
                self._grab(url, node)
            self._decoder = KeyboardDecoder(caps_lock=self._caps_lock(), silence_ms=silence_ms)
        except BaseException:
            self.close()
            raise
        self._opened_ms = time.monotonic_ns() // 1_000_000
        self._settled = not self._monotonic

    def fileno(self) -> int:
        return int(self._device.fd)

    def read(self) -> list[Framed]:
        read_ms = time.monotonic_ns() // 1_000_000
        framed: list[Framed] = []
        for event in self._device.read():
            at_ms = event.sec * 1000 + event.usec // 1000 if self._monotonic else read_ms
            if not self._settled and event.type == EV_KEY:
                self._settled = True
                if in_flight(at_ms, self._opened_ms):
                    self._decoder.discard()
            found = self._decoder.feed(event.type, event.code, event.value, at_ms)
            if self._forward:
                found = self._with_raw(found, (event.type, event.code, event.value))
            framed += found
        if self._forward:
            framed += self._pass_on(read_ms)
        return framed

    @property
    def due_ms(self) -> int | None:
        if self._forward and self._silence_ms is None:
            if self._typing_ms is not None:
                return self._typing_ms + TYPING_ENDS_MS
            return self._decoder.last_ms + PAUSE_MS if self._raw else None
        return self._decoder.due_ms

    def idle(self, now_ms: int) -> list[Framed]:
        found = self._decoder.idle(now_ms)
        if not self._forward:
            return found
        if self._silence_ms is not None:
            return self._with_raw(found, None)
        if self._typing_ms is not None:
            if now_ms >= self._typing_ms + TYPING_ENDS_MS:
                self._typing_ms = None
                self._decoder.heed()
        elif self._raw and now_ms >= self._decoder.last_ms + PAUSE_MS:
            self._typing_ms = now_ms
            self._decoder.ignore()
            return self._flush()
        return []

    def _with_raw(self, found: list[Framed], event: KeyEvent | None) -> list[Framed]:
        """Give a frame that has ended its key events; keep those of the scan that is coming."""
        if event is not None and event[0] in (EV_KEY, EV_SYN):
            self._raw.append(event)
            if event[0] == EV_KEY and event[2] == REPEAT:  # no scanner holds a key down
                self._typing_ms = self._decoder.last_ms
                self._decoder.ignore()
        if not found:
            return []
        raw, self._raw, self._typing_ms = tuple(self._raw), [], None
        return [
            Frame(one.text, one.at_ms, by_hand=one.by_hand, by_silence=one.by_silence, raw=raw)
            if isinstance(one, Frame)
            else one
            for one in found
        ]

    def _pass_on(self, read_ms: int) -> list[Framed]:
        """What is no part of a scan goes on at once; what is left of a scan that lost keys does not."""
        if self._decoder.is_discarding:
            self._raw.clear()
        if self._typing_ms is not None:
            if not self._decoder.is_ignoring:  # its line has ended
                self._typing_ms = None
            elif any(kind == EV_KEY for kind, _, _ in self._raw):
                self._typing_ms = read_ms
        return [] if self._decoder.is_in_scan else self._flush()

    def _flush(self) -> list[Framed]:
        raw, self._raw = tuple(self._raw), []
        return [Passed(raw)] if any(kind == EV_KEY for kind, _, _ in raw) else []

    def close(self) -> None:
        # Closing gives the grab back; ungrab() would only fail on a device that is gone.
        self._device.close()

    def _use_monotonic_times(self) -> bool:
        try:
            fcntl.ioctl(self.fileno(), _EVIOCSCLOCKID, struct.pack("i", time.CLOCK_MONOTONIC))
        except OSError:
            return False
        return True

    def _wait_keys_up(self) -> None:
        deadline = time.monotonic() + KEYS_UP_TIMEOUT_MS / 1000
        try:
            while self._device.active_keys() and time.monotonic() < deadline:
                time.sleep(_KEYS_UP_POLL_MS / 1000)
        except _CANNOT_TELL:
            return

    def _grab(self, url: DeviceUrl, node: str) -> None:
        try:
            self._device.grab()
        except OSError as error:
            if error.errno == errno.EBUSY:
                hint = N_(
                    '{why} Or let it have the keys, and only listen: mode = "listen".',
                    why=held_by(node, str(url)),
                )
                raise LinkError("busy", hint) from None
            raise open_error(url, error.errno) from None

    def _caps_lock(self) -> bool:
        try:
            return _LED_CAPS_LOCK in self._device.leds()
        except _CANNOT_TELL:
            return False


def in_flight(first_key_ms: int, opened_ms: int) -> bool:
    """Was somebody scanning already when the device was opened? Then its first characters were missed."""
    return first_key_ms - opened_ms < SETTLE_MS
