"""Bytes from a serial scanner become scans, however the wire cuts them up."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.frames import MAX_FRAME_BYTES, Dropped, Frame, Framed, Framer, Passed

CARD = b"2000000012346"


def scans(framed: list[Framed]) -> list[str]:
    return [f.text if isinstance(f, Frame) else "dropped" for f in framed if not isinstance(f, Passed)]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (CARD + b"\r", ["2000000012346"]),
        (CARD + b"\r\n", ["2000000012346"]),
        (CARD + b"\n" + CARD + b"\t", ["2000000012346"] * 2),
        (b"\x02" + CARD + b"\x03", ["2000000012346"]),
        (b"\r\n\r\n", []),
        ("Привет\r".encode(), ["Привет"]),
        (b"\xff\xfe\r", ["\ufffd\ufffd"]),
        (b"]C1\x1d0104607025392408\r", ["]C1\x1d0104607025392408"]),
    ],
)
def test_a_suffix_ends_a_scan(sent: bytes, expected: list[str]) -> None:
    assert scans(Framer().feed(sent, 0)) == expected


def test_silence_ends_a_scan_without_suffix() -> None:
    framer = Framer(silence_ms=40)
    assert framer.feed(CARD[:6], 1_000) == []
    assert framer.feed(CARD[6:], 1_030) == []
    assert framer.due_ms == 1_070
    assert framer.idle(1_069) == []
    assert scans(framer.idle(1_070)) == ["2000000012346"]
    assert framer.due_ms is None


def test_a_scanner_that_promises_a_suffix_may_take_its_time() -> None:
    framer = Framer(silence_ms=None)
    framer.feed(CARD[:6], 0)
    assert framer.due_ms is None
    assert framer.idle(10_000) == []
    assert scans(framer.feed(CARD[6:] + b"\r", 10_000)) == ["2000000012346"]


def test_three_kilobytes_pass_and_five_are_dropped_up_to_their_end() -> None:
    framer = Framer()
    assert len(scans(framer.feed(b"x" * 3_000 + b"\r", 0))[0]) == 3_000
    assert framer.feed(b"x" * (MAX_FRAME_BYTES + 900), 1) == []
    assert framer.feed(b"yyy", 2) == []
    assert framer.feed(b"\r", 3) == [Dropped(3)]
    assert scans(framer.feed(CARD + b"\r", 4)) == ["2000000012346"]


def test_a_frame_hides_its_text() -> None:
    assert "2346" not in repr(Framer().feed(CARD + b"\r", 0))


def test_a_frame_brings_its_bytes_and_so_does_what_is_none() -> None:
    """Mode `forward` hands every byte on, in its order."""
    stream = b"\x02" + CARD + b"\r\n4607\t\r"
    framed = Framer().feed(stream, 0)
    read_from = [f.raw for f in framed if not isinstance(f, Dropped)]
    assert b"".join(raw for raw in read_from if isinstance(raw, bytes)) == stream
    assert scans(framed) == ["2000000012346", "4607"]


@given(
    sent=st.lists(
        st.sampled_from([CARD, b"\r", b"\n", b"\t", b"\x02", b"\x03", b"4607", b"\xd0\x9f"]), max_size=12
    ),
    cuts=st.lists(st.integers(0, 150), max_size=8),
)
def test_any_split_of_the_stream_gives_the_same_scans(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(sent)
    edges = sorted({0, len(stream), *(c for c in cuts if c < len(stream))})
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    framer = Framer()
    assert [f for piece in pieces for f in framer.feed(piece, 7)] == Framer().feed(stream, 7)
