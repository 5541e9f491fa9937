"""The node of a HID scanner or card reader: found, opened, read, held by another, pulled."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.drivers import hidraw_reader
from agent.drivers.hid_pos import CONTINUED_MS
from agent.drivers.hidraw_reader import HidrawReader
from agent.drivers.link import LinkError, parse_url
from tests.agent.drivers.test_hid import GOODS, MORE, OURS, magtek, report, standard, texts
from tests.hardware.bed.far_ends import KEYBOARD, POS, STRIPE

@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """/dev/hidraw0: one read, one report. Its far end, and a /sys that knows it."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/hidraw0").touch()
    about = tmp_path / "sys/class/hidraw/hidraw0/device"
    about.mkdir(parents=True)
    (about / "report_descriptor").write_bytes(POS)
    (about / "uevent").write_text(
        "HID_ID=0003:00000C2E:00000200\nHID_PHYS=usb-0000:00:14.0-3/input0\nHID_UNIQ=\n"
    )
    opened = os.open
    monkeypatch.setattr(
        os,
        "open",
        lambda path, *more, **named: (
            os.dup(near.fileno()) if str(path).endswith("hidraw0") else opened(path, *more, **named)
        ),
    )
    yield far
    near.close()
    far.close()


def reader(tmp_path: Path, url: str) -> HidrawReader:
    return HidrawReader(parse_url(url), tmp_path / "sys", tmp_path / "dev")


@pytest.mark.parametrize("url", ["hidraw:0c2e:0200", "hidraw:usb-0000:00:14.0-3/input0"])
def test_a_scanner_is_found_and_read(device: socket.socket, tmp_path: Path, url: str) -> None:
    with_device = reader(tmp_path, url)
    device.send(report(GOODS.encode()))
    device.send(report(b"x", b"]Q1"))
    assert texts(with_device.read()) == [(GOODS, "ean13")]
    assert texts(with_device.read()) == [("x", "qr")]
    assert with_device.read() == []
    assert with_device.due_ms is None
    with_device.close()


def test_a_card_reader_is_read(device: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "sys/class/hidraw/hidraw0/device/report_descriptor").write_bytes(STRIPE)
    with_device = reader(tmp_path, "hidraw:0c2e:0200")
    device.send(magtek(b"", OURS))
    assert texts(with_device.read()) == [(OURS.decode(), None)]
    with_device.close()


def test_unplugged(device: socket.socket, tmp_path: Path) -> None:
    with_device = reader(tmp_path, "hidraw:0c2e:0200")
    device.close()
    with pytest.raises(OSError) as gone:
        with_device.read()
    assert gone.value.errno == errno.ENODEV
    with_device.close()


@pytest.mark.usefixtures("device")
def test_a_mouse_is_neither(tmp_path: Path) -> None:
    (tmp_path / "sys/class/hidraw/hidraw0/device/report_descriptor").write_bytes(KEYBOARD)
    with pytest.raises(LinkError, match="no scanner and no card reader"):
        reader(tmp_path, "hidraw:0c2e:0200")


@pytest.mark.parametrize(
    ("url", "why"), [("hidraw:ffff:0001", "is it plugged in"), ("hidraw:usb-1/input9", "is it plugged in")]
)
def test_not_there(tmp_path: Path, url: str, why: str) -> None:
    with pytest.raises(LinkError, match=why):
        reader(tmp_path, url)
