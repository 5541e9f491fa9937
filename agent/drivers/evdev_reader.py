"""One open keyboard scanner: evdev events in, frames out.

Opening means: open, wait until no key is held (a key down now would stay down
for every other program), then grab. A scan that is under way at that moment
would be read from its middle, which is a wrong code; so a first key within
SETTLE_MS of opening throws that scan away. That needs the kernel's monotonic
event times; where they cannot be had (a replayed recording), nothing is thrown
away, because then the time of an event says nothing about now.

Known ugliness: python-evdev raises SystemError where an ioctl is not supported.
"""

from __future__ import annotations

import errno
import fcntl
import struct
import time
from typing import Any

from agent.drivers.frames import Framed
from agent.drivers.keyboard import EV_KEY, KeyboardDecoder
from agent.drivers.link import DeviceUrl, LinkError, open_error
from loyalty.texts import N_

SETTLE_MS = 100
KEYS_UP_TIMEOUT_MS = 1_000
_KEYS_UP_POLL_MS = 20
_EVIOCSCLOCKID = 0x400445A0
_LED_CAPS_LOCK = 1
_CANNOT_TELL = (OSError, SystemError)


class EvdevReader:
    """A keyboard scanner at an evdev URL. Raises LinkError where it cannot be opened or grabbed."""

    def __init__(self, url: DeviceUrl, *, grab: bool, silence_ms: int | None) -> None:
        import evdev

        try:
            # Read-only: a writer may be asked to set LEDs, and some scanners answer by changing case.
            self._device: Any = evdev.InputDevice(url.path, readonly=True)
        except OSError as error:
            raise open_error(url, error.errno) from None
        try:
            self._monotonic = self._use_monotonic_times()
            if grab:
                self._wait_keys_up()
                self._grab(url)
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
        frames: list[Framed] = []
        for event in self._device.read():
            at_ms = event.sec * 1000 + event.usec // 1000 if self._monotonic else read_ms
            if not self._settled and event.type == EV_KEY:
                self._settled = True
                if in_flight(at_ms, self._opened_ms):
                    self._decoder.discard()
            frames += self._decoder.feed(event.type, event.code, event.value, at_ms)
        return frames

    @property
    def due_ms(self) -> int | None:
        return self._decoder.due_ms

    def idle(self, now_ms: int) -> list[Framed]:
        return self._decoder.idle(now_ms)

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

    def _grab(self, url: DeviceUrl) -> None:
        try:
            self._device.grab()
        except OSError as error:
            if error.errno == errno.EBUSY:
                hint = N_("{url} is grabbed by another program: close it, or use mode listen.", url=str(url))
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
