"""What the kernel may do to us when a keyboard scanner is opened. (Real events: tests/recordings.)"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import evdev
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.drivers import evdev_reader
from agent.drivers.evdev_reader import PAUSE_MS, SETTLE_MS, TYPING_ENDS_MS, EvdevReader
from agent.drivers.frames import Dropped, Frame, Framed, KeyEvent
from agent.drivers.keyboard import DOWN, ENTER, EV_KEY, EV_SYN, REPEAT, SYN_DROPPED, UP
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

    def press(self, code: int, value: int, at_ms: int, kind: int = EV_KEY) -> None:
        self.queued.append(evdev.InputEvent(at_ms // 1_000, at_ms % 1_000 * 1_000, kind, code, value))

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


# ---- mode forward: every key has its way, and none is lost or doubled


def forwarding(keyboard: Keyboard) -> EvdevReader:
    reader = EvdevReader(URL, grab=True, silence_ms=None, forward=True)
    assert keyboard.did[-1] == "grab"
    return reader


def handed(framed: list[Framed]) -> list[KeyEvent]:
    """All key events that are in what was read, in their order."""
    return [
        event
        for one in framed
        if not isinstance(one, Dropped) and one.raw is not None
        for event in one.raw
        if isinstance(event, tuple) and event[0] == EV_KEY
    ]


def keys_of(text: str) -> list[KeyEvent]:
    return [(kind, code, value) for _, kind, code, value in events(text) if kind == EV_KEY]


def kinds(framed: list[Framed]) -> list[str]:
    return [one.text if isinstance(one, Frame) else type(one).__name__ for one in framed]


@pytest.mark.usefixtures("monotonic_kernel")
def test_a_scan_brings_its_keys_and_what_is_left_of_enter_goes_on(keyboard: Keyboard) -> None:
    reader = forwarding(keyboard)
    keyboard.types("%B12?\n", at_ms=monotonic_ms() + SETTLE_MS)
    framed = reader.read()
    assert kinds(framed) == ["%B12?", "Passed"]  # Enter goes up after the scan has ended
    assert handed(framed) == keys_of("%B12?\n")


@pytest.mark.usefixtures("monotonic_kernel")
def test_a_person_types_a_letter_waits_a_tenth_of_a_second_and_then_no_more(keyboard: Keyboard) -> None:
    """A keyboard with a card reader in it is one device: the cashier types the quantity on it."""
    reader = forwarding(keyboard)
    start_ms = monotonic_ms() + SETTLE_MS
    keyboard.types("1", at_ms=start_ms)
    assert reader.read() == []
    assert reader.due_ms == start_ms + 8 + PAUSE_MS
    first = reader.idle(start_ms + 8 + PAUSE_MS)
    assert (kinds(first), handed(first)) == (["Passed"], keys_of("1"))
    keyboard.types("2", at_ms=start_ms + 200)
    assert handed(reader.read()) == keys_of("2")
    keyboard.types("\n", at_ms=start_ms + 400)
    assert kinds(reader.read()) == ["Passed"]
    keyboard.types("4607\n", at_ms=start_ms + 900)
    assert kinds(reader.read()) == ["4607", "Passed"]


@pytest.mark.usefixtures("monotonic_kernel")
def test_after_a_second_of_silence_a_scan_is_a_scan_again(keyboard: Keyboard) -> None:
    reader = forwarding(keyboard)
    start_ms = monotonic_ms() + SETTLE_MS
    keyboard.types("5", at_ms=start_ms)
    reader.read()
    reader.idle(start_ms + 8 + PAUSE_MS)
    due_ms = reader.due_ms
    assert due_ms == start_ms + 8 + PAUSE_MS + TYPING_ENDS_MS
    assert reader.idle(due_ms) == []
    keyboard.types("4607\n", at_ms=due_ms)
    assert kinds(reader.read()) == ["4607", "Passed"]


@pytest.mark.usefixtures("monotonic_kernel")
def test_a_key_that_is_held_repeats_for_the_cash_program(keyboard: Keyboard) -> None:
    reader = forwarding(keyboard)
    start_ms = monotonic_ms() + SETTLE_MS
    keyboard.press(30, DOWN, start_ms)
    assert reader.read() == []
    keyboard.press(30, REPEAT, start_ms + 33)
    assert handed(reader.read()) == [(EV_KEY, 30, DOWN), (EV_KEY, 30, REPEAT)]
    keyboard.press(30, REPEAT, start_ms + 66)
    assert handed(reader.read()) == [(EV_KEY, 30, REPEAT)]


@pytest.mark.usefixtures("monotonic_kernel")
def test_what_is_left_of_a_scan_that_lost_keys_is_not_handed_on(keyboard: Keyboard) -> None:
    reader = forwarding(keyboard)
    start_ms = monotonic_ms() + SETTLE_MS
    keyboard.types("40", at_ms=start_ms)
    keyboard.press(SYN_DROPPED, 0, start_ms + 30, kind=EV_SYN)
    keyboard.types("31\n", at_ms=start_ms + 40)
    framed = reader.read()
    assert kinds(framed) == ["Dropped", "Passed"]
    assert handed(framed) == [(EV_KEY, ENTER, UP)]


@pytest.mark.usefixtures("monotonic_kernel")
@given(pieces=st.lists(st.sampled_from(["4607\n", "%B1?\n", "12", "\n", ";9=9?"]), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_key_is_lost_or_doubled_whatever_comes(keyboard: Keyboard, pieces: list[str]) -> None:
    """Handed on and kept together are what was typed, in its order."""
    reader = EvdevReader(URL, grab=True, silence_ms=None, forward=True)
    now_ms, framed = monotonic_ms() + SETTLE_MS, []
    for piece in pieces:
        keyboard.types(piece, at_ms=now_ms)
        framed += reader.read()
        now_ms += 1_000
        framed += reader.idle(now_ms)
    assert handed(framed) == keys_of("".join(pieces))
