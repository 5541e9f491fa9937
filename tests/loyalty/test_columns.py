"""A batch travels as columns: whatever its rows hold comes back as it was, and no column can do harm."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty import document, ledger, wire
from loyalty.columns import DEPTH_MAX, ColumnsError, join, split

times = st.sampled_from(
    [
        "2026-03-05T11:14:53+03:00",
        "2026-03-05T11:14:53",
        "2026-03-05T11:14:53-00:00",  # nobody writes it so, and then it is kept so
        "2026-03-05T24:00:00",
        "2026-02-30T11:14:53+03:00",
        "0001-01-01T00:00:00+03:00",
        "9999-12-31T23:59:59-03:00",
        "2026-03-05T11:14:53+25:00",
        "2026-03-05T11:14:53Z",
    ]
)
scalars = (
    times
    | st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.text(max_size=3)
    | st.binary(max_size=3)
)
values = st.recursive(
    scalars | st.dictionaries(st.text(max_size=2), scalars, max_size=2),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.lists(values, max_size=4), max_size=6))
def test_rows_come_back_as_they_were(rows: list[Any]) -> None:
    assert join(msgspec.msgpack.decode(msgspec.msgpack.encode(split(rows)))) == rows


def test_the_price_of_an_article_is_said_once() -> None:
    rows = [["milk", 8990, 1000], ["bread", 5450, 1000], ["milk", 8990, 2000], ["milk", 9490, 1000]]
    assert split(rows)[2] == [8990, 5450, [], 9490]


def test_of_times_their_distances_are_said() -> None:
    rows = [["2026-03-05T11:14:53+03:00", "2026-03-05T00:00:00"], ["2026-03-05T11:15:10+03:00", "soon"]]
    assert split(rows)[1:] == [[[1_772_698_493, 180], [17, 180]], [[1_772_668_800, None], "soon"]]


def test_the_lines_of_all_receipts_share_their_columns() -> None:
    rows = [[[["milk", 1], ["bread", 2]]], [[["tea", 3]]]]
    assert split(rows) == [
        [[-1], [-1]],
        [[-2], [-1]],
        [[2], [2], [2]],
        ["milk", "bread", "tea"],
        [1, 2, 3],
    ]


def test_what_lies_too_deep_is_one_cell() -> None:
    row: list[Any] = []
    for _ in range(DEPTH_MAX + 50):
        row = [row]
    assert join(split([row])) == [row]
    assert len(split([row])) == DEPTH_MAX + 1


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param([[[1]]], id="a list without the column of its item"),
        pytest.param([[[2**62]], [1]], id="a list longer than all that came"),
        pytest.param([[[-(2**62)]], [1, 2]], id="a table longer than all that came"),
        pytest.param([[[1]], [1, 2]], id="a cell too many"),
        pytest.param([[[1]], [1], [1]], id="a column too many"),
        pytest.param([[[1]], [1], []], id="an empty column too many"),
        pytest.param([[], [1]], id="a column of no rows"),
        pytest.param([[[]]], id="a repeat of nothing"),
        pytest.param([[[2]], ["milk"], [[]]], id="a repeat of what was never said"),
        pytest.param([[[2]], [1], [[]]], id="a repeat after a number"),
        pytest.param([[["milk"]]], id="a length that is a text"),
        pytest.param([[[1, 1]], [1]], id="two lengths"),
        pytest.param([[[1.0]], [1]], id="a length that is no number"),
        pytest.param([[[2**62, 0]]], id="a time after the end of days"),
        pytest.param([[[0, 10_000]]], id="a time nowhere on earth"),
        pytest.param([[[0, "03:00"]]], id="a place that is a text"),
    ],
)
def test_columns_of_no_rows_are_refused(columns: list[Any]) -> None:
    with pytest.raises(ColumnsError):
        join(columns)


# -- on the wire ----------------------------------------------------------------------------------


def batch(*papers: bytes | None, entries: int | None = None) -> wire.SyncRequest:
    """A stretch from entry 7 on, with these receipts."""
    count = len(papers) if entries is None else entries
    return wire.SyncRequest(
        v=1,
        epoch=1,
        session="s",
        first_seq=7,
        prev=b"p" * 32,
        head=b"h" * 32,
        signature=b"",
        entries=tuple([1_772_476_407 + n, "SALE", None, [], None, []] for n in range(count)),
        receipts=tuple((seq, paper) for seq, paper in enumerate(papers, 7) if paper is not None),
        down={},
        versions={},
        status={},
    )


RECEIPT = document.canonical(document.ReturnDocument("r1", "T1-1-1", "…", (), 1, 2, 3))


@pytest.mark.parametrize(
    "paper",
    [
        pytest.param(RECEIPT, id="as we write it"),
        pytest.param(b"\x02" + RECEIPT[1:], id="of a later version"),
        pytest.param(b"\x01\x93\xcd\x00\x01\xc0\xc0", id="a number longer than need be"),
        pytest.param(b"\x01\xca\x3f\x80\x00\x00\x90", id="no list"),
        pytest.param(b"\x01\x91", id="cut"),
        pytest.param(b"\x01" + b"\x91" * 5_000 + b"\x90", id="deep"),
        pytest.param(b"", id="empty"),
    ],
)
def test_the_bytes_of_a_receipt_come_back_whatever_they_are(paper: bytes) -> None:
    said = batch(RECEIPT, None, paper, RECEIPT)
    assert wire.unpack(wire.SyncRequest, wire.pack(said)) == said


def test_a_stretch_of_a_log_comes_back() -> None:
    said = wire.LogReply(1, 7, batch(RECEIPT, None).entries, ((7, RECEIPT),), more=True)
    assert wire.unpack(wire.LogReply, wire.pack(said)) == said


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(batch(), id="nothing new"),
        pytest.param(batch(RECEIPT, RECEIPT, entries=1), id="a receipt of no entry"),
        pytest.param(
            msgspec.structs.replace(batch(RECEIPT), receipts=((7, b"a"), (7, b"b"))), id="one twice"
        ),
        pytest.param(
            msgspec.structs.replace(batch(None), entries=([1, "SALE", None, [*range(2_000)]],)),
            id="more places than a till writes",
        ),
    ],
)
def test_what_is_no_table_travels_as_it_is(said: wire.SyncRequest) -> None:
    assert wire.unpack(wire.SyncRequest, wire.pack(said)) == said


def test_a_batch_that_was_not_sent_as_columns_is_read_all_the_same() -> None:
    said = batch(RECEIPT)
    rows = wire.zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(said))
    assert wire.unpack(wire.SyncRequest, rows) == said


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([1], id="no row"),
        pytest.param([[]], id="no receipt"),
        pytest.param([[1, "SALE", 1]], id="a receipt that is a number"),
        pytest.param([[1, "SALE", [2**70]]], id="a number that nothing can hold"),
    ],
)
def test_columns_that_are_no_batch_are_refused(rows: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    body = wire.pack(batch(RECEIPT))
    monkeypatch.setattr(wire.columns, "join", lambda _: rows)
    with pytest.raises(wire.WireError):
        wire.unpack(wire.SyncRequest, body)


def test_more_cells_than_any_till_fills_are_refused_and_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    body = wire.pack(batch(RECEIPT))
    monkeypatch.setattr(wire, "CELLS_MAX", 10)
    with pytest.raises(wire.WireError):
        wire.unpack(wire.SyncRequest, body)
    assert wire.unpack(wire.SyncRequest, wire.pack(batch(RECEIPT))) == batch(RECEIPT)


def test_an_entry_travels_and_is_the_same_entry() -> None:
    entry = ledger.Entry("T1", 1, 7, 5, "RELEASE", 1, (), None, "c:1-1-1", ("EXPIRED",))
    body = ledger.canonical(entry)
    said = msgspec.structs.replace(batch(None), entries=(ledger.strip(body),))
    fields = wire.unpack(wire.SyncRequest, wire.pack(said)).entries[0]
    assert ledger.restore(fields, "T1", 1, 7, None) == body
