"""HID scanners and card readers: what their reports say, and what the card before left in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers import hid_msr
from agent.drivers.frames import MAX_FRAME_BYTES, Dropped, Frame, Framed
from agent.drivers.hid_descriptor import Application, Descriptor, parse_descriptor
from agent.drivers.hid_pos import CONTINUED_MS, PosDecoder
from agent.drivers.msr import SwipeAssembler
from loyalty import card
from loyalty.card_templates import parse_templates
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


def descriptor_of(text: str) -> Descriptor:
    """A descriptor in hex, blanks between its items."""
    return parse_descriptor(bytes.fromhex(text))


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


def test_the_places_of_a_report_and_what_the_device_can_be_told() -> None:
    scan = [one for one in HONEYWELL.fields if (one.usage_page, one.report_id) == (0x8C, 2)]
    assert [(one.usage, one.first_bit, one.bits) for one in scan] == [
        (0xFB, 8, 8),
        (0xFC, 16, 8),
        (0xFD, 24, 8),
        (0xFE, 32, 448),
        (0xFF, 496, 8),
    ]
    assert HONEYWELL.feature_ids == {0xFE}
    assert not parse_descriptor(STRIPE).feature_ids


def test_more_usages_than_fields_are_not_laid_over_what_follows() -> None:
    fields = descriptor_of("058c 0902 a101 7508 9501 09fb 09fc 8102 09fe 8102 c0").fields
    assert [(one.usage, one.first_bit) for one in fields] == [(0xFB, 0), (0xFE, 8)]


# ---- HID POS scanners

# By the HID Point of Sale Usage Tables: page 8C is the bar code scanner's; 01/3B a count of bytes, FB-FD the
# AIM identifier, FE the code, FF "it goes on".
_ONE, _AIM, _MORE = "7508 9501", "9503 09fb 09fc 09fd 8102", "2501 7501 9508 09ff 8102"
HONEYWELL_SAYS = bytes.fromhex(
    f"058c 0902 a101 0912 a102 8502 1500 26ff00 {_ONE} 0501 093b 8102 058c {_AIM} 9538 09fe 820201"
    f" 0666ff 9502 0904 0900 8102 058c {_MORE} c0 8504 7508 9504 0900 8102 0666ff 85fe 9501 0903 b28201 c0"
)
HONEYWELL = parse_descriptor(HONEYWELL_SAYS)
NO_TAIL = descriptor_of(
    f"058c 0902 a101 8502 {_ONE} 0501 093b 8102 058c {_AIM} 9538 09fe 820201 7501 9501 09ff 8102 7507 8103 c0"
)
ZEROS_BEHIND = descriptor_of(f"058c 0902 a101 8502 7508 {_AIM} {_MORE} 7508 952e 09fe 820201 c0")
NO_IDS = descriptor_of(f"058c 0902 a101 {_ONE} 0501 093b 8102 058c {_AIM} 951e 09fe 820201 {_MORE} c0")


def honeywell(aim: bytes, data: bytes, more: bool) -> bytes:
    return report(data, aim, MORE if more else NOTHING_MORE)


def no_tail(aim: bytes, data: bytes, more: bool) -> bytes:
    return bytes((2, len(data))) + aim + data.ljust(56, b"\0") + bytes((more,))


def zeros_behind(aim: bytes, data: bytes, more: bool) -> bytes:
    return b"\2" + aim + bytes((more,)) + data.ljust(46, b"\0")


def no_ids(aim: bytes, data: bytes, more: bool) -> bytes:
    return bytes((len(data),)) + aim + data.ljust(30, b"\0") + bytes((more,))


def aim_first(aim: bytes, data: bytes, more: bool) -> bytes:
    return (b"\2" + aim + bytes((len(data),)) + data).ljust(63, b"\0") + bytes((more,))


MAKES = {
    # how it sends, the descriptor that says so (None: it says nothing), bytes of a code in one report
    "Honeywell": (honeywell, HONEYWELL, 56),
    "Honeywell, descriptor mute": (honeywell, None, 56),
    "without the maker's tail": (no_tail, NO_TAIL, 56),
    "zeros instead of a length": (zeros_behind, ZEROS_BEHIND, 46),
    "without report ids": (no_ids, NO_IDS, 30),
    "AIM identifier first, descriptor mute": (aim_first, None, 56),
}


@pytest.mark.parametrize("make", MAKES)
@given(text=st.text(st.characters(exclude_characters="\r\n\t\0", exclude_categories=["Cs"]), min_size=1))
def test_whatever_the_make_what_was_scanned_is_read(make: str, text: str) -> None:
    send, descriptor, room = MAKES[make]
    decoder = PosDecoder(descriptor)
    data = text.encode()
    pieces = [data[at : at + room] for at in range(0, len(data), room)]
    framed = [
        one
        for number, piece in enumerate(pieces)
        for one in decoder.feed(send(b"]Q1", piece, number < len(pieces) - 1), 5)
    ]
    assert texts(framed) == [(text, "qr")]
    assert decoder.due_ms is None


def test_another_report_of_the_scanner_is_no_scan() -> None:
    decoder = PosDecoder(HONEYWELL)
    assert decoder.feed(b"\4" + GOODS.encode(), 5) == []
    assert decoder.feed(b"", 5) == []


@pytest.mark.parametrize("sent", [honeywell(b"]E0", GOODS.encode(), more=False)[:40], report(b"", length=57)])
def test_a_report_that_is_not_as_announced_is_a_scan_to_repeat(sent: bytes) -> None:
    decoder = PosDecoder(HONEYWELL)
    assert decoder.feed(sent, 5) == [Dropped(5)]
    assert texts(decoder.feed(report(GOODS.encode()), 6)) == [(GOODS, "ean13")]


def test_half_a_code_is_not_the_beginning_of_the_next() -> None:
    """The second half was lost; the next customer's goods follow."""
    decoder = PosDecoder(HONEYWELL)
    assert decoder.feed(report(b"half of a ", b"]Q1", MORE), 5) == []
    assert decoder.due_ms == 5 + CONTINUED_MS
    assert decoder.idle(4 + CONTINUED_MS) == []
    assert decoder.idle(5 + CONTINUED_MS) == [Dropped(5 + CONTINUED_MS)]
    assert decoder.due_ms is None
    assert texts(decoder.feed(report(GOODS.encode()), 9_000)) == [(GOODS, "ean13")]


@pytest.mark.parametrize("at_ms", [6, 9_000], ids=["at once, and says another symbology", "late"])
def test_nor_is_it_where_nobody_looked_in_time(at_ms: int) -> None:
    decoder = PosDecoder(HONEYWELL)
    decoder.feed(report(b"half of a ", b"]Q1", MORE), 5)
    assert texts(decoder.feed(report(GOODS.encode()), at_ms)) == [None, (GOODS, "ean13")]


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


STAFF = parse_templates(
    [{"id": "staff", "what": "card", "media": ["barcode"], "symbology": "code128", "prefix": "STAFF-"}]
)
IDENTIFIERS = [
    *(f"E{n}" for n in range(5)),
    *(f"C{n}" for n in range(5)),
    *(f"A{n}" for n in range(8)),
    *(f"I{n}" for n in range(4)),
    *(f"F{n}" for n in range(5)),
    *("e0", "d1", "d2", "Q1", "Q3", "J1", "L0", "X0", "z0", "Z6"),
]


@pytest.mark.parametrize("identifier", IDENTIFIERS)
@pytest.mark.parametrize(
    "data",
    [GOODS, "036000291452", "0036000291452", "\x1d0104607025392408215a\x1d91EE06", "STAFF-017", "abc"],
    ids=["EAN-13", "UPC-A of 12", "UPC-A of 13", "marked goods", "a staff card in Code 128", "anything"],
)
def test_it_is_the_same_goods_with_the_symbology_beside_or_before(identifier: str, data: str) -> None:
    """A serial scanner types the identifier, a HID one says it apart."""
    (frame,) = PosDecoder(HONEYWELL).feed(report(data.encode(), b"]" + identifier.encode()), 5)
    assert isinstance(frame, Frame)
    assert frame.text == data
    typed = f"]{identifier}{data}"
    assert split(typed) == (identifier, data)
    assert card.read(frame.text, "barcode", STAFF, frame.symbology) == card.read(typed, "barcode", STAFF)


@pytest.mark.parametrize("descriptor", [None, HONEYWELL])
@given(reports=st.lists(st.binary(max_size=70), max_size=12))
def test_whatever_reports_come_the_next_good_one_is_read(
    descriptor: Descriptor | None, reports: list[bytes]
) -> None:
    decoder = PosDecoder(descriptor)
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


# Three lengths 28-2A and three tracks 30-32 on MagTek's page; a MagneSafe reader has much more behind them.
_HEAD = "0600ff 0901 a101 1500 26ff00 7508 0920 0921 0922 0928 0929 092a 0938 9507 8102"
MAGTEK = descriptor_of(f"{_HEAD} 956e 0930 820201 0931 820201 0932 820201 c0")
MAGNESAFE = descriptor_of(
    f"{_HEAD} 9570 0930 820201 0931 820201 0932 820201 9501 0939 8102 7520 0923 8102"
    " 7508 964801 0940 8102 094a 9570 8102 c0"
)
IDTECH = descriptor_of(f"{_HEAD} 0930 9502 820201 0931 96f401 820201 c0")
STANDARD_SAYS = bytes.fromhex(
    "058e 0901 a101 8507 7508 9503 0911 0912 0913 8102 9550 0921 820201 0922 820201 0923 820201 c0"
)
STANDARD = parse_descriptor(STANDARD_SAYS)


def magnesafe(track1: bytes, track2: bytes, track3: bytes = b"", masked: bytes = b"") -> bytearray:
    """The whole report, as long as an ID TECH one and longer."""
    return magtek(track1, track2, track3, room=112)[:343] + bytearray(333) + masked.ljust(112, b"\0")


def standard(track1: bytes, track2: bytes, track3: bytes = b"") -> bytearray:
    tracks = (track1, track2, track3)
    return bytearray(map(len, tracks)) + b"".join(track + (OTHERS * 3)[len(track) : 80] for track in tracks)


def typed_by_idtech(typed: bytes, *lengths: int, status: bytes = b"\0\0\0") -> bytearray:
    head = status + bytes(lengths) + b"\0" + len(typed).to_bytes(2, "little")
    return bytearray((head + typed + OTHERS * 20)[:509])


READERS = {
    # how it sends, the descriptor that says so, the id of its reports
    "MagTek": (magtek, MAGTEK, 0),
    "MagTek, descriptor mute": (magtek, None, 0),
    "MagneSafe": (magnesafe, MAGNESAFE, 0),
    "MagneSafe, descriptor mute": (magnesafe, None, 0),
    "the standard": (standard, STANDARD, 7),
    "ID TECH": (idtech, IDTECH, 0),
    "ID TECH, descriptor mute": (idtech, None, 0),
}
_ON_A_STRIPE = st.characters(codec="ascii", exclude_characters="%;+?", categories=["L", "N", "S", "P"])


@pytest.mark.parametrize("reader", READERS)
@given(first=st.text(_ON_A_STRIPE, max_size=70), second=st.text("0123456789=", max_size=35))
def test_whatever_the_reader_both_tracks_come_and_nothing_else(reader: str, first: str, second: str) -> None:
    send, descriptor, report_id = READERS[reader]
    track1, track2 = f"%{first}?", f";{second}?"
    sent = send(track1.encode(), track2.encode())
    (frame,) = hid_msr.decode(sent, 5, descriptor, report_id)
    assert isinstance(frame, Frame)
    assert (frame.text, frame.whole) == (track1 + track2, True)
    assert sent == bytes(len(sent)), "the card before is still in the buffer"


def test_another_report_of_the_reader_is_no_swipe() -> None:
    assert hid_msr.decode(standard(b"", OURS), 5, STANDARD, report_id=8) == []


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        pytest.param(
            typed_by_idtech(b"AB%S20?\r" + OURS + b"\r", 5, len(OURS), 0),
            "%S20?" + OURS.decode(),
            id="preamble",
        ),
        pytest.param(
            typed_by_idtech(OURS + b"\r", 0, len(OURS), 0, status=b"\1\0\0"),
            "%E?" + OURS.decode(),
            id="Enter",
        ),
        pytest.param(
            typed_by_idtech(b"\r" + OURS + b";20=1?", 0, len(OURS), 6),
            OURS.decode() + ";20=1?",
            id="a third track that begins like the second",
        ),
        pytest.param(typed_by_idtech(b"", 0, 0, 0), None, id="nothing"),
    ],
)
def test_a_reader_that_sends_what_it_would_type(sent: bytearray, text: str | None) -> None:
    framed = hid_msr.decode(sent, 5, IDTECH)
    assert texts(framed) == ([] if text is None else [(text, None)])


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(typed_by_idtech(OURS, 0, len(OURS) + 1, 0), id="the tracks are longer than all"),
        pytest.param(typed_by_idtech(b"nothing of a track", 0, 3, 0), id="no track in it"),
        pytest.param(
            bytearray(bytes(4) + bytes((len(OURS), 0, 0)) + b"\xff\1" + OURS).ljust(509, b"7"),
            id="all is longer than the report",
        ),
    ],
)
def test_lengths_that_do_not_fit_together_are_a_swipe_to_repeat(sent: bytearray) -> None:
    assert hid_msr.decode(sent, 5, IDTECH) == [Dropped(5)]
    assert sent == bytes(len(sent))


def test_a_reader_that_encrypts_cannot_be_used_and_gives_no_masked_number() -> None:
    """The masked number is another customer's, with a check digit that fits."""
    masked = b";2000000000008=0000?"
    sent = magnesafe(b"", bytes(range(120, 152)), masked=masked)
    assert texts(hid_msr.decode(sent, 5, MAGNESAFE)) == [(";E?", None)]
    assert isinstance(card.read(";E?", "track2", ()), card.ReadError)


def test_a_check_character_behind_a_track_makes_no_scan_of_its_own() -> None:
    (frame,) = hid_msr.decode(magtek(b"", OURS + b"5", b"+1234567?"), 5, MAGTEK)
    assert isinstance(frame, Frame)
    assert [(scan.text, scan.source) for scan in SwipeAssembler().feed(frame)] == [
        (OURS.decode() + "+1234567?", "track2")
    ]


@pytest.mark.parametrize("descriptor", [None, MAGTEK, MAGNESAFE, IDTECH, STANDARD])
@given(data=st.binary(max_size=600))
def test_whatever_a_reader_sends_nothing_raises_and_nothing_stays(
    descriptor: Descriptor | None, data: bytes
) -> None:
    sent = bytearray(data)
    for one in hid_msr.decode(sent, 5, descriptor):
        assert isinstance(one, Dropped) or len(one.text) <= len(data) + 9  # type: ignore[union-attr]
    assert sent == bytes(len(data))
