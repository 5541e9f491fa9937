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
from tests.agent.drivers.test_hid import (
    GOODS,
    HONEYWELL_SAYS,
    MORE,
    OURS,
    STANDARD_SAYS,
    magtek,
    report,
    standard,
    texts,
)
from tests.hardware.bed.far_ends import KEYBOARD, POS, STRIPE


def plug(tmp_path: Path, node: str, port: str = "3", says: bytes = POS) -> Path:
    """A /sys and /dev that know a HID device. Returns what /sys knows of it."""
    (tmp_path / "dev").mkdir(exist_ok=True)
    (tmp_path / "dev" / node).touch()
    about = tmp_path / "sys/class/hidraw" / node / "device"
    about.mkdir(parents=True)
    (about / "report_descriptor").write_bytes(says)
    (about / "uevent").write_text(
        f"HID_ID=0003:00000C2E:00000200\nHID_PHYS=usb-0000:00:14.0-{port}/input0\nHID_UNIQ=S{port}\n"
    )
    return about


@pytest.fixture
def about(tmp_path: Path) -> Path:
    return plug(tmp_path, "hidraw0")


@pytest.fixture
def device(about: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The far end of /dev/hidraw0: one read, one report."""
    del about
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
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


@pytest.mark.parametrize(
    "url", ["hidraw:0c2e:0200", "hidraw:0c2e:0200:S3", "hidraw:usb-0000:00:14.0-3/input0"]
)
def test_a_scanner_is_found_and_read(device: socket.socket, tmp_path: Path, url: str) -> None:
    with_device = reader(tmp_path, url)
    device.send(report(GOODS.encode()))
    device.send(report(b"x", b"]Q1"))
    assert texts(with_device.read()) == [(GOODS, "ean13")]
    assert texts(with_device.read()) == [("x", "qr")]
    assert with_device.read() == []
    assert with_device.due_ms is None
    with_device.close()


@pytest.mark.parametrize(
    ("says", "sent"),
    [(STRIPE, magtek(b"", OURS)), (STANDARD_SAYS, b"\7" + standard(b"", OURS))],
    ids=["without report ids", "with them"],
)
def test_a_card_reader_is_read(
    device: socket.socket, about: Path, tmp_path: Path, says: bytes, sent: bytes
) -> None:
    (about / "report_descriptor").write_bytes(says)
    with_device = reader(tmp_path, "hidraw:0c2e:0200")
    device.send(sent)
    assert texts(with_device.read()) == [(OURS.decode(), None)]
    assert (with_device.due_ms, with_device.idle(10**12)) == (None, [])
    with_device.close()


def test_half_a_code_is_given_up(
    device: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hidraw_reader, "monotonic_ms", lambda: 7_000)
    with_device = reader(tmp_path, "hidraw:0c2e:0200")
    device.send(report(b"half", more=MORE))
    assert with_device.read() == []
    assert with_device.due_ms == 7_000 + CONTINUED_MS
    assert texts(with_device.idle(7_000 + CONTINUED_MS)) == [None]
    assert with_device.due_ms is None
    with_device.close()


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    ("says", "told"), [(HONEYWELL_SAYS, [b"\xfe\1"]), (POS, [])], ids=["Honeywell", "one that knows it not"]
)
@pytest.mark.parametrize("refuses", [True, False], ids=["refuses", "obeys"])
def test_a_scanner_that_can_be_told_is_told_that_somebody_reads(
    about: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: bytes,
    told: list[bytes],
    refuses: bool,
) -> None:
    heard = []

    def ioctl(_: int, request: int, data: bytes) -> int:
        assert request == 3 << 30 | len(data) << 16 | ord("H") << 8 | 6  # HIDIOCSFEATURE of linux/hidraw.h
        heard.append(data)
        if refuses:
            raise BrokenPipeError(errno.EPIPE, "stalled")
        return len(data)

    (about / "report_descriptor").write_bytes(says)
    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    reader(tmp_path, "hidraw:0c2e:0200").close()
    assert heard == told


@pytest.mark.usefixtures("about")
def test_only_one_of_ours_reads_it(tmp_path: Path) -> None:
    first = reader(tmp_path, "hidraw:0c2e:0200")
    with pytest.raises(LinkError) as refused:
        reader(tmp_path, "hidraw:0c2e:0200")
    assert refused.value.state == "busy"
    first.close()
    reader(tmp_path, "hidraw:0c2e:0200").close()


@pytest.mark.usefixtures("about")
def test_no_right_to_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(LinkError) as refused:
        reader(tmp_path, "hidraw:0c2e:0200")
    assert refused.value.state == "denied"


@pytest.mark.usefixtures("about")
def test_the_right_to_read_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def read_only(path: str, flags: int, *more: int) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "denied")
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", read_only)
    reader(tmp_path, "hidraw:0c2e:0200").close()


@pytest.mark.usefixtures("about")
def test_a_name_that_a_rule_of_the_shop_gave_it(tmp_path: Path) -> None:
    (tmp_path / "dev/counter").symlink_to("hidraw0")
    reader(tmp_path, f"hidraw:{tmp_path}/dev/counter").close()


@pytest.mark.usefixtures("about")
def test_two_equal_ones_are_told_apart_by_their_port_or_number(tmp_path: Path) -> None:
    plug(tmp_path, "hidraw1", port="4")
    with pytest.raises(LinkError) as refused:
        reader(tmp_path, "hidraw:0c2e:0200")
    assert refused.value.state == "busy"
    for port in ("3", "4"):
        assert f"hidraw:usb-0000:00:14.0-{port}/input0" in str(refused.value)
        reader(tmp_path, f"hidraw:usb-0000:00:14.0-{port}/input0").close()
        reader(tmp_path, f"hidraw:0c2e:0200:S{port}").close()


def test_unplugged(device: socket.socket, tmp_path: Path) -> None:
    with_device = reader(tmp_path, "hidraw:0c2e:0200")
    device.close()
    with pytest.raises(OSError) as gone:
        with_device.read()
    assert gone.value.errno == errno.ENODEV
    with_device.close()


def test_a_mouse_is_neither(about: Path, tmp_path: Path) -> None:
    (about / "report_descriptor").write_bytes(KEYBOARD)
    with pytest.raises(LinkError, match="no scanner and no card reader"):
        reader(tmp_path, "hidraw:0c2e:0200")


def test_pulled_while_it_was_opened(about: Path, tmp_path: Path) -> None:
    (about / "report_descriptor").unlink()
    with pytest.raises(LinkError, match="is it plugged in") as gone:
        reader(tmp_path, "hidraw:0c2e:0200")
    assert gone.value.state == "lost"


@pytest.mark.parametrize(
    ("url", "why"), [("hidraw:ffff:0001", "is it plugged in"), ("hidraw:usb-1/input9", "is it plugged in")]
)
def test_not_there(tmp_path: Path, url: str, why: str) -> None:
    with pytest.raises(LinkError, match=why):
        reader(tmp_path, url)
