"""Scanners live in threads of their own and come back when they are plugged in again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.drivers.contracts import DeviceState, ReadFailed, ScanData
from agent.drivers.evdev_reader import SETTLE_MS, in_flight
from agent.drivers.fakes.virtual_scanner import VirtualScanner
from agent.drivers.frames import MAX_FRAME_BYTES
from agent.drivers.link import UrlError
from agent.drivers.scanner import ScannerThread, monotonic_ms, open_scanner
from tests.agent.drivers.conftest import Inbox


@pytest.fixture
def counter(tmp_path: Path, inbox: Inbox) -> Iterator[tuple[VirtualScanner, ScannerThread]]:
    """A scanner on the counter, online."""
    with VirtualScanner(tmp_path / "scanner") as device:
        scanner = open_scanner("counter", device.url, inbox.post)
        scanner.start()
        try:
            assert inbox.state() == "online"
            yield device, scanner
        finally:
            scanner.stop()


Counter = tuple[VirtualScanner, ScannerThread]


def test_a_card_is_scanned(counter: Counter, inbox: Inbox) -> None:
    before = monotonic_ms()
    counter[0].scan("2000000012346")
    event = inbox.next()
    assert isinstance(event, ScanData)
    assert (event.device, event.data, event.source) == ("counter", "2000000012346", "barcode")
    assert before <= event.at_ms <= monotonic_ms()
    assert "2346" not in repr(event)


def test_half_scans_and_double_scans(counter: Counter, inbox: Inbox) -> None:
    device = counter[0]
    device.send(b"4607025392408\r\n96385074\r\n20000")
    assert inbox.scan() == ("4607025392408", "barcode")
    assert inbox.scan() == ("96385074", "barcode")
    assert inbox.scan() == ("20000", "barcode")  # no suffix: silence ends it


def test_a_swipe_of_two_lines_is_one(counter: Counter, inbox: Inbox) -> None:
    counter[0].send(b"%S2000000012346?\r")
    counter[0].send(b";2000000012346=9912?\r")
    assert inbox.scan() == ("%S2000000012346?;2000000012346=9912?", "track2")


def test_noise_asks_for_another_scan(counter: Counter, inbox: Inbox) -> None:
    counter[0].send(b"\x00" * (MAX_FRAME_BYTES + 100) + b"\r")
    event = inbox.next()
    assert isinstance(event, ReadFailed)
    assert "scan again" in str(event.reason)
    counter[0].scan("4607")
    assert inbox.scan() == ("4607", "barcode")


def test_unplugged_in_mid_scan_and_back(
    counter: Counter, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    device, _ = counter
    with caplog.at_level(logging.INFO, "agent.drivers.telling"):
        device.unplug()
        lost = inbox.next()
        assert isinstance(lost, DeviceState)
        assert (lost.state, "cable" in str(lost.hint)) == ("lost", True)
        missing = inbox.next()
        assert isinstance(missing, DeviceState)
        assert "plugged in" in str(missing.hint)
        device.plug()
        assert inbox.state() == "online"
    device.scan("2000000012346")
    assert inbox.scan() == ("2000000012346", "barcode")
    assert [r.levelname for r in caplog.records] == ["WARNING", "WARNING", "INFO"]
    assert "2346" not in caplog.text


def test_a_scanner_that_comes_later_is_waited_for(tmp_path: Path, inbox: Inbox) -> None:
    scanner = open_scanner("late", f"serial:{tmp_path}/scanner", inbox.post)
    scanner.start()
    try:
        assert inbox.state() == "lost"
        with VirtualScanner(tmp_path / "scanner") as device:
            assert inbox.state() == "online"
            device.scan("4607")
            assert inbox.scan() == ("4607", "barcode")
            scanner.stop()
    finally:
        scanner.stop()


def test_a_scanner_held_by_another_program(counter: Counter, inbox: Inbox) -> None:
    second = open_scanner("second", counter[0].url, inbox.post)
    second.start()
    try:
        event = inbox.next()
        assert isinstance(event, DeviceState)
        assert (event.device, event.state) == ("second", "busy")
        assert "another program" in str(event.hint)
    finally:
        second.stop()


def test_two_scanners_do_not_mix(tmp_path: Path, inbox: Inbox) -> None:
    with VirtualScanner(tmp_path / "a") as a, VirtualScanner(tmp_path / "b") as b:
        scanners = [open_scanner(n, d.url, inbox.post) for n, d in (("a", a), ("b", b))]
        for scanner in scanners:
            scanner.start()
        assert [inbox.state(), inbox.state()] == ["online"] * 2
        a.send(b"1111")
        b.send(b"2222")
        a.send(b"1111\r")
        b.send(b"2222\r")
        found = {(e.device, e.data) for e in (inbox.next(), inbox.next()) if isinstance(e, ScanData)}
        for scanner in scanners:
            scanner.stop()
    assert found == {("a", "11111111"), ("b", "22222222")}


def test_stopping_is_quick_complete_and_repeatable(counter: Counter) -> None:
    _, scanner = counter
    scanner.stop()
    scanner.stop()
    assert not any("scanner counter" in thread.name for thread in threading.enumerate())


def test_a_scanner_never_started_stops_too(tmp_path: Path, inbox: Inbox) -> None:
    open_scanner("idle", f"serial:{tmp_path}/x", inbox.post).stop()


def test_a_file_is_no_scanner(inbox: Inbox) -> None:
    with pytest.raises(UrlError, match="not the address of one scanner"):
        open_scanner("f", "file:/tmp/x", inbox.post)


def test_a_keyboard_that_is_not_there(tmp_path: Path, inbox: Inbox) -> None:
    scanner = open_scanner("kbd", f"evdev:{tmp_path}/event9", inbox.post)
    scanner.start()
    try:
        assert inbox.state() == "lost"
    finally:
        scanner.stop()


def test_a_scan_under_way_when_the_device_is_opened() -> None:
    assert in_flight(first_key_ms=1_000 + SETTLE_MS - 1, opened_ms=1_000)
    assert not in_flight(first_key_ms=1_000 + SETTLE_MS, opened_ms=1_000)
