"""What the kernel may do to us when a keyboard scanner is opened. (Real events: tests/recordings.)"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import evdev
import pytest

from agent.drivers import evdev_reader
from agent.drivers.evdev_reader import SETTLE_MS, EvdevReader
from agent.drivers.frames import Dropped, Frame
from agent.drivers.link import LinkError, parse_url
from agent.drivers.scanner import monotonic_ms
from tests.recordings.make import events

URL = parse_url("evdev:/dev/input/event3")


@dataclass
class Keyboard:
    """A device as python-evdev shows it, and what was done to it."""

    fd: int
    grab_error: int = 0
    held: list[list[int]] = field(default_factory=list)  # keys down, at each look
    queued: list[Any] = field(default_factory=list)
    did: list[str] = field(default_factory=list)

    def grab(self) -> None:
        if self.grab_error:
            raise OSError(self.grab_error, os.strerror(self.grab_error))
        self.did.append("grab")

    def active_keys(self) -> list[int]:
        keys = self.held.pop(0) if self.held else []
        self.did.append("key down" if keys else "keys up")
        return keys

    def leds(self) -> list[int]:
        raise SystemError("returned NULL without setting an exception")  # as python-evdev does

    def read(self) -> list[Any]:
        out, self.queued = self.queued, []
        return out

    def close(self) -> None:
        self.did.append("close")

    def types(self, text: str, at_ms: int) -> None:
        for at_us, kind, code, value in events(text):
            stamp_us = at_ms * 1000 + at_us
            self.queued.append(
                evdev.InputEvent(stamp_us // 1_000_000, stamp_us % 1_000_000, kind, code, value)
            )


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keyboard]:
    read_end, write_end = os.pipe()
    device = Keyboard(read_end)
    monkeypatch.setattr(evdev, "InputDevice", lambda *_args, **_kwargs: device)
    yield device
    os.close(read_end)
    os.close(write_end)


@pytest.fixture
def monotonic_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes EVIOCSCLOCKID (a pipe does not)."""
    monkeypatch.setattr(evdev_reader.fcntl, "ioctl", lambda *_args: b"")


def test_a_scanner_grabbed_by_another_program(keyboard: Keyboard) -> None:
    keyboard.grab_error = errno.EBUSY
    with pytest.raises(LinkError) as refused:
        EvdevReader(URL, grab=True, silence_ms=None)
    assert refused.value.state == "busy"
    assert 'mode = "listen"' in str(refused.value.hint)
    assert keyboard.did[-1] == "close"  # never read ungrabbed instead


def test_a_held_key_is_let_go_before_the_grab(keyboard: Keyboard) -> None:
    keyboard.held = [[28], [28], []]
    EvdevReader(URL, grab=True, silence_ms=None).close()
    assert keyboard.did == ["key down", "key down", "keys up", "grab", "close"]


def test_listening_does_not_grab(keyboard: Keyboard) -> None:
    EvdevReader(URL, grab=False, silence_ms=None).close()
    assert keyboard.did == ["close"]


@pytest.mark.usefixtures("monotonic_kernel")
def test_a_scan_met_in_its_middle_is_not_read_as_a_short_code(keyboard: Keyboard) -> None:
    reader = EvdevReader(URL, grab=True, silence_ms=None)
    keyboard.types("31\n", at_ms=monotonic_ms())
    (dropped,) = reader.read()
    assert isinstance(dropped, Dropped)
    keyboard.types("4607\n", at_ms=monotonic_ms() + 1_000)
    assert [f.text for f in reader.read() if isinstance(f, Frame)] == ["4607"]


@pytest.mark.usefixtures("monotonic_kernel")
def test_a_scan_after_opening_keeps_the_kernels_time(keyboard: Keyboard) -> None:
    reader = EvdevReader(URL, grab=True, silence_ms=None)
    start_ms = monotonic_ms() + SETTLE_MS
    keyboard.types("1\n", at_ms=start_ms)
    assert reader.read() == [Frame("1", start_ms + 16)]  # the Enter is the third report, 8 ms each


def test_a_replayed_recording_is_read_from_its_first_key(keyboard: Keyboard) -> None:
    reader = EvdevReader(URL, grab=True, silence_ms=None)
    keyboard.types("4607\n", at_ms=1_700_000_000_000)
    before = monotonic_ms()
    (frame,) = reader.read()
    assert isinstance(frame, Frame)
    assert frame.text == "4607"
    assert before <= frame.at_ms <= monotonic_ms()
