"""HID scanners and card readers: what their reports say, and what the card before left in them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers import hid_msr
from agent.drivers.frames import MAX_FRAME_BYTES, Dropped, Frame, Framed
from agent.drivers.hid_descriptor import Application, parse_descriptor
from agent.drivers.hid_pos import PosDecoder
from agent.drivers.hidraw_reader import HidrawReader
from agent.drivers.link import LinkError, parse_url
from loyalty import card
from loyalty.symbology import split
from tests.hardware.bed.far_ends import KEYBOARD, POS, STRIPE

GOODS = "4607025392408"
NOTHING_MORE, MORE = 0, 1


def report(data: bytes, aim: bytes = b"]E0", more: int = NOTHING_MORE, length: int | None = None) -> bytes:
    """As Honeywell, Metrologic and Zebra send it."""
    head = bytes((2, len(data) if length is None else length)) + aim
    return (head + data).ljust(63, b"\0") + bytes((more,))


def texts(framed: list[Framed]) -> list[tuple[str, str | None] | None]:
    return [(one.text, one.symbology) if isinstance(one, Frame) else None for one in framed]


# ---- what the device is


@pytest.mark.parametrize(
    ("descriptor", "page", "usage"), [(POS, 0x8C, 2), (KEYBOARD, 1, 6), (STRIPE, 0xFF00, 1)]
)
def test_a_device_says_what_it_is(descriptor: bytes, page: int, usage: int) -> None:
    assert parse_descriptor(descriptor).applications == (Application(page, usage),)


def test_reports_have_an_id_where_the_descriptor_gives_one() -> None:
    assert parse_descriptor(POS).has_ids
    assert not parse_descriptor(KEYBOARD).has_ids


@given(st.binary(max_size=200))
def test_a_descriptor_of_nonsense_is_no_device_and_no_harm(data: bytes) -> None:
    assert len(parse_descriptor(data).fields) <= len(data)


# ---- HID POS scanners


def test_a_code_and_its_symbology() -> None:
    assert texts(PosDecoder().feed(report(GOODS.encode()), 5)) == [(GOODS, "ean13")]


def test_a_scanner_that_puts_the_symbology_first() -> None:
    sent = b"\x02]Q1" + bytes((5,)) + b"hello"
    assert texts(PosDecoder().feed(sent.ljust(64, b"\0"), 5)) == [("hello", "qr")]


def test_a_long_code_comes_in_several_reports() -> None:
    decoder = PosDecoder()
    marked = b"0104607025392408215abcDEF\x1d91EE06\x1d92" + b"s" * 60
    pieces = [marked[at : at + 56] for at in range(0, len(marked), 56)]
    framed = [
        one
        for number, piece in enumerate(pieces)
        for one in decoder.feed(report(piece, b"]d2", MORE if number < len(pieces) - 1 else NOTHING_MORE), 5)
    ]
    assert texts(framed) == [(marked.decode(), "datamatrix")]


def test_a_length_that_cannot_be_is_a_scan_to_repeat() -> None:
    decoder = PosDecoder()
    assert decoder.feed(report(b"46", length=200), 5) == [Dropped(5)]
    assert texts(decoder.feed(report(GOODS.encode()), 6)) == [(GOODS, "ean13")]


def test_a_code_without_end_is_cut_off() -> None:
    decoder = PosDecoder()
    for _ in range(MAX_FRAME_BYTES // 56 + 5):
        assert decoder.feed(report(b"x" * 56, more=MORE), 5) == []
    assert decoder.feed(report(b"x"), 5) == [Dropped(5)]


@pytest.mark.parametrize(
    "text",
    [
        "]E04607025392408",
        "]E0036000291452",
        "]C1\x1d0104607025392408",
        "]d2\x1d0104607025392408215a",
        "]X0abc",
    ],
)
def test_it_is_the_same_goods_with_the_symbology_beside_or_before(text: str) -> None:
    """A serial scanner types the identifier, a HID one says it apart."""
    aim, data = split(text)
    assert aim is not None
    (frame,) = PosDecoder().feed(report(data.encode(), b"]" + aim.encode()), 5)
    assert isinstance(frame, Frame)
    assert card.read(frame.text, "barcode", (), frame.symbology) == card.read(text, "barcode", ())


@given(st.lists(st.binary(max_size=70), max_size=12))
def test_whatever_reports_come_the_next_good_one_is_read(reports: list[bytes]) -> None:
    decoder = PosDecoder()
    framed = [one for one_report in reports for one in decoder.feed(one_report, 5)]
    assert all(one is None or len(one[0]) <= MAX_FRAME_BYTES for one in texts(framed))
    decoder.feed(report(b""), 5)
    assert texts(decoder.feed(report(GOODS.encode()), 5)) == [(GOODS, "ean13")]


# ---- HID card readers

OURS = b";2000000012346=991210100000?"
OTHERS = b";4539578763621486=29122017613948257?"


def magtek(
    track1: bytes, track2: bytes, track3: bytes = b"", status: bytes = b"\0\0\0", room: int = 110
) -> bytearray:
    """A report, with the stripe of the customer before still in it."""
    size = 337 if room == 110 else 343 + 10
    made = bytearray(status + bytes((len(track1), len(track2), len(track3), 0))).ljust(7, b"\0")
    for track in (track1, track2, track3):
        made += track + (OTHERS * 8)[len(track) : room]
    return made.ljust(size, b"\0")[:size]


def idtech(track1: bytes, track2: bytes) -> bytearray:
    total = len(track1) + len(track2)
    head = bytes((0, 0, 0, len(track1), len(track2), 0, 0)) + total.to_bytes(2, "little")
    return bytearray((head + track1 + track2 + OTHERS * 20)[:509])


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        pytest.param(
            magtek(b"%S2000000012346?", OURS), "%S2000000012346?;2000000012346=991210100000?", id="MagTek"
        ),
        pytest.param(magtek(b"", OURS, room=112), OURS.decode(), id="MagneSafe"),
        pytest.param(idtech(b"%S20?", OURS), "%S20?" + OURS.decode(), id="ID TECH"),
        pytest.param(magtek(b"", b"2000000012346=99"), ";2000000012346=99?", id="sentinels taken off"),
        pytest.param(magtek(b"junk", OURS, status=b"\1\0\0"), "%E?" + OURS.decode(), id="track 1 unreadable"),
        pytest.param(magtek(b"", b"", status=b"\1\1\1"), "%E?;E?+E?", id="nothing readable"),
    ],
)
def test_a_swipe_is_one_and_whole(sent: bytearray, text: str) -> None:
    (frame,) = hid_msr.decode(sent, 5)
    assert isinstance(frame, Frame)
    assert (frame.text, frame.whole) == (text, True)
    assert "4539" not in frame.text
    assert sent == bytes(len(sent)), "the card before is still in the buffer"


def test_a_length_longer_than_its_track_is_a_swipe_to_repeat() -> None:
    sent = magtek(b"", OURS)
    sent[4] = 200
    assert hid_msr.decode(sent, 5) == [Dropped(5)]
    assert sent == bytes(len(sent))


def test_a_reader_that_keeps_to_the_standard_tells_the_places_itself() -> None:
    """Usage page 0x8E: a byte of length for track 2, then 40 bytes of it."""
    descriptor = parse_descriptor(
        bytes.fromhex("058e0901a1011500 26ff00 7508 9501 0912 8102 9528 0921 8202 01 c0".replace(" ", ""))
    )
    sent = bytearray(bytes((len(OURS),)) + OURS + OTHERS)[:41]
    (frame,) = hid_msr.decode(sent, 5, descriptor)
    assert isinstance(frame, Frame)
    assert frame.text == OURS.decode()


@given(st.binary(max_size=600))
def test_whatever_a_reader_sends_nothing_raises_and_nothing_stays(data: bytes) -> None:
    sent = bytearray(data)
    for one in hid_msr.decode(sent, 5):
        assert isinstance(one, Dropped) or len(one.text) <= len(data) + 6  # type: ignore[union-attr]
    assert sent == bytes(len(data))


# ---- the node


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
