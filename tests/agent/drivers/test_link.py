"""Where a device is: addresses as the shop writes them, and what it is told when they are wrong."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.drivers.link import DeviceUrl, LinkError, UrlError, UsbIds, open_error, open_link, parse_url

TIOCGEXCL = 0x80045440  # asm-generic/ioctls.h


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("serial:/dev/serial/by-id/usb-X?baud=115200", "/dev/serial/by-id/usb-X"),
        (
            "evdev:by-path/pci-0000:00:14.0-usb-0:3:1.0-event-kbd",
            "/dev/input/by-path/pci-0000:00:14.0-usb-0:3:1.0-event-kbd",
        ),
        ("evdev:/dev/input/event3", "/dev/input/event3"),
        ("file:/tmp/slips.bin", "/tmp/slips.bin"),
    ],
)
def test_addresses_by_path(text: str, path: str) -> None:
    url = parse_url(text)
    assert url.path == path
    assert str(url) == text


def test_addresses_by_network() -> None:
    assert parse_url("tcp:192.0.2.10:9100").address == ("192.0.2.10", 9100)
    assert parse_url("tcp:[2001:db8::1]:9100").address == ("2001:db8::1", 9100)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/dev/ttyS0", "begins with one of evdev:"),
        ("com:1", "begins with one of"),
        ("serial:", "comes the device"),
        ("serial:ttyS0", "must begin with /"),
        ("serial:/dev/ttyS0?bauds=9600", "unknown parameter bauds; known: baud"),
        ("serial:/dev/ttyS0?baud=9601", "baud is one of 1200"),
        ("serial:/dev/ttyS0?flow=hardware", "flow is one of none, rts, xon"),
        ("usb:epson", "the ids that lsusb shows"),
        ("lp:lp0", "the ids that lsusb shows"),
        ("usb:04b8:0e15?port=3", "as in 1-3.2"),
        ("tcp:printer", "tcp:host:port"),
        ("tcp:printer:99999", "tcp:host:port"),
    ],
)
def test_a_wrong_address_says_what_is_known(text: str, why: str) -> None:
    with pytest.raises(UrlError) as wrong:
        parse_url(text)
    assert why in str(wrong.value.text)


@pytest.mark.parametrize(
    ("number", "state", "hint"),
    [
        (errno.ENOENT, "lost", "plugged in"),
        (errno.EACCES, "denied", "group"),
        (errno.EBUSY, "busy", "another program"),
        (errno.ECONNREFUSED, "lost", "address and port"),
        (errno.EIO, "lost", os.strerror(errno.EIO)),
        (None, "lost", "cannot be opened"),
    ],
)
def test_every_error_has_a_remedy(number: int | None, state: str, hint: str) -> None:
    error = open_error(DeviceUrl("serial", "/dev/ttyS9"), number)
    assert error.state == state
    assert hint in str(error.hint)


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="plugged in"):
        open_link(parse_url(f"serial:{tmp_path}/ttyS9"))


def test_a_serial_port_has_one_owner() -> None:
    master, slave = os.openpty()
    url = parse_url(f"serial:{os.ttyname(slave)}")
    link = open_link(url)
    try:
        with pytest.raises(LinkError) as refused:
            open_link(url)
        assert refused.value.state == "busy"
    finally:
        link.close()
        os.close(master)
        os.close(slave)


def test_tcp_reads_writes_and_notices_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = open_link(parse_url(f"tcp:127.0.0.1:{server.getsockname()[1]}"))
        peer, _ = server.accept()
        assert link.read() == b""
        assert link.write(b"slip") == 4
        assert peer.recv(10) == b"slip"
        peer.close()
        with pytest.raises(OSError, match="gone"):
            link.read()
        link.close()


def test_a_stalled_peer_costs_the_deadline_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = open_link(parse_url(f"tcp:127.0.0.1:{server.getsockname()[1]}"))
        peer, _ = server.accept()
        sent = link.write(b"x" * (32 << 20), timeout_ms=50)
        assert 0 < sent < 32 << 20
        link.close()
        peer.close()


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    url = parse_url(f"file:{tmp_path}/slips.bin")
    for slip in (b"one", b"two"):
        link = open_link(url)
        assert link.write(slip) == 3
        link.close()
    assert (tmp_path / "slips.bin").read_bytes() == b"onetwo"


@pytest.mark.parametrize(
    ("text", "ids", "port"),
    [
        ("usb:04b8:0e15", UsbIds(0x04B8, 0x0E15), None),
        ("lp:04B8:0E15:J5XF012345?port=1-3.2", UsbIds(0x04B8, 0x0E15, "J5XF012345"), "1-3.2"),
        ("evdev:05e0:1200", UsbIds(0x05E0, 0x1200), None),
        ("hidraw:usb-0000:00:14.0-3/input0", None, None),
        ("lp:/dev/usb/lp0", None, None),
        ("auto", None, None),
    ],
)
def test_usb_devices_by_what_lsusb_shows(text: str, ids: UsbIds | None, port: str | None) -> None:
    url = parse_url(text)
    assert (url.ids, url.port) == (ids, port)


def test_a_loop_gives_back_what_it_was_given() -> None:
    link = open_link(parse_url("loop:"))
    assert link.read_within(0) == b""
    assert link.write(b"slip") == 4
    assert link.read_within(1_000) == b"slip"
    link.close()


def test_a_serial_port_is_ours_alone_while_we_have_it(port: str) -> None:
    """TIOCEXCL: a program that asks for no lock is refused as well (unless it is root's)."""
    link = open_link(parse_url(f"serial:{port}"))
    assert fcntl.ioctl(link.fileno(), TIOCGEXCL, bytes(4)) == (1).to_bytes(4, "little")
    link.close()
    with open(port, "rb", buffering=0) as other:
        assert fcntl.ioctl(other.fileno(), TIOCGEXCL, bytes(4)) == bytes(4)


def test_a_second_reader_of_a_serial_port_is_told_who_has_it(port: str) -> None:
    link = open_link(parse_url(f"serial:{port}"))
    with pytest.raises(LinkError) as refused:
        open_link(parse_url(f"serial:{port}"))
    assert refused.value.state == "busy"
    link.close()


@pytest.mark.parametrize("flow", ["rts", "xon"])
def test_a_printer_that_says_stop_is_not_waited_for_for_ever(port: str, flow: str) -> None:
    """Nobody reads the other end: what fits into the kernel leaves, the rest is given up at the deadline."""
    link = open_link(parse_url(f"serial:{port}?flow={flow}&baud=19200"))
    assert 0 < link.write(b"x" * 1_000_000, timeout_ms=50) < 1_000_000
    link.close()


@pytest.fixture
def port() -> Iterator[str]:
    """A serial port whose other end nobody reads."""
    master, slave = os.openpty()
    yield os.ttyname(slave)
    os.close(slave)
    os.close(master)
