"""Where a device is: addresses as the shop writes them, and what it is told when they are wrong."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from agent.drivers.link import DeviceUrl, LinkError, UrlError, open_error, open_link, parse_url


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
