"""All scanners of a till: named ones, those that `auto` finds, and what is plugged in later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.drivers import hotplug
from agent.drivers.contracts import DeviceState, ScanData
from agent.drivers.fakes.virtual_scanner import VirtualScanner
from agent.drivers.hotplug import HotPlug
from agent.drivers.link import UrlError
from agent.drivers.plugged import Plugged
from agent.drivers.scanner import Options
from agent.drivers.scanners import FOUND_MAX, Scanners, Setting
from tests.agent.drivers.conftest import Inbox


@contextmanager
def running(scanners: Scanners) -> Iterator[Scanners]:
    scanners.start()
    try:
        yield scanners
    finally:
        scanners.stop()


def plugged(device: VirtualScanner) -> Plugged:
    return Plugged("serial", device.url, device.url.removeprefix("serial:"), "Newland HR22", likely=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box without news of devices looks for itself; here often."""
    monkeypatch.setattr(hotplug, "RESCAN_S", 0.05)


def test_scanners_of_one_name_are_told_apart(tmp_path: Path, inbox: Inbox) -> None:
    with VirtualScanner(tmp_path / "a") as a, VirtualScanner(tmp_path / "b") as b:
        settings = [Setting("scanner", a.url), Setting("scanner", b.url)]
        with running(Scanners(settings, inbox.post)):
            assert [inbox.state(), inbox.state()] == ["online", "online"]
            b.scan("4607")
            event = inbox.next()
            assert isinstance(event, ScanData)
            assert (event.device, event.data) == ("scanner 2", "4607")


@pytest.mark.usefixtures("quick")
def test_auto_takes_what_is_there_and_what_comes_later(tmp_path: Path, inbox: Inbox) -> None:
    here: list[Plugged] = []
    scanners = Scanners([Setting("scanner", "auto")], inbox.post, find=lambda: list(here))
    a, b = VirtualScanner(tmp_path / "a"), VirtualScanner(tmp_path / "b")
    with a, b, running(scanners):
        nothing = inbox.next()
        assert isinstance(nothing, DeviceState)
        assert (nothing.state, "devices learn" in str(nothing.hint)) == ("lost", True)
        here.append(plugged(a))
        assert inbox.state() == "online"
        here.append(plugged(b))
        assert inbox.state() == "online"
        a.scan("1111")
        b.scan("2222")
        found = {(e.device, e.data) for e in (inbox.next(), inbox.next()) if isinstance(e, ScanData)}
        assert found == {("scanner", "1111"), ("scanner 2", "2222")}


def test_auto_leaves_what_is_named(tmp_path: Path, inbox: Inbox) -> None:
    with VirtualScanner(tmp_path / "a") as device:
        settings = [Setting("msr", device.url), Setting("scanner", "auto")]
        with running(Scanners(settings, inbox.post, find=lambda: [plugged(device)])):
            states = {
                event.device: event.state
                for event in (inbox.next(), inbox.next())
                if isinstance(event, DeviceState)
            }
            assert states == {"msr": "online", "scanner": "lost"}


def test_auto_has_a_bound(tmp_path: Path, inbox: Inbox) -> None:
    many = [
        Plugged("serial", f"serial:{tmp_path}/{n}", f"{tmp_path}/{n}", "Scanner", likely=True)
        for n in range(FOUND_MAX + 5)
    ]
    with running(Scanners([Setting("scanner", "auto")], inbox.post, find=lambda: many)):
        assert [inbox.state() for _ in range(FOUND_MAX)] == ["lost"] * FOUND_MAX
        names = [thread.name for thread in threading.enumerate()]
        assert len([name for name in names if name.startswith("scanner scanner")]) == FOUND_MAX


@pytest.mark.usefixtures("quick")
def test_all_are_lost_and_all_come_back(tmp_path: Path, inbox: Inbox) -> None:
    """The hub loses its power: everything is gone at once, and comes back without anybody's help."""
    devices = [VirtualScanner(tmp_path / str(number)) for number in range(4)]
    settings = [Setting(f"s{number}", device.url) for number, device in enumerate(devices)]
    with running(Scanners(settings, inbox.post)):
        assert [inbox.state() for _ in devices] == ["online"] * 4
        for _ in range(3):
            for device in devices:
                device.unplug()
            assert {inbox.state() for _ in range(8)} == {"lost"}  # of each its cable, then its name
            for device in devices:
                device.plug()
            assert [inbox.state() for _ in devices] == ["online"] * 4
    for device in devices:
        device.close()


def test_news_of_devices_are_listened_to() -> None:
    """The kernel's own socket; nothing is plugged in here, but the look that is made anyway shows it runs."""
    looked = threading.Event()
    news = HotPlug(looked.set)
    news.start()
    assert looked.wait(hotplug.RESCAN_S * 4)
    news.stop()
    news.stop()


@pytest.mark.parametrize(
    ("url", "mode", "why"),
    [
        ("lp:04b8:0e15", "own", "not the address of one scanner"),
        ("usb:04b8:0e15", "own", "not the address of one scanner"),
        ("serial:/dev/ttyS0", "listen", "one reader only"),
    ],
)
def test_what_cannot_be_a_scanner_is_refused_at_once(inbox: Inbox, url: str, mode: str, why: str) -> None:
    with pytest.raises(UrlError, match=why):
        Scanners([Setting("scanner", url, Options(mode=mode))], inbox.post)  # type: ignore[arg-type]
