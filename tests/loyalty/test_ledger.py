"""Entries that are added and never edited: they balance, they are chained, and nothing of them is lost."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty import ledger
from loyalty.ledger import (
    DEBT,
    FREE,
    ISSUED,
    SPENT,
    Earned,
    Entry,
    LedgerError,
    LotTerms,
    Posting,
    Spent,
    canonical,
    chain,
    genesis,
    link,
    parse,
    restore,
    strip,
)
from loyalty.protocol import moves

TERMS = LotTerms("2026-01-01T00:00:00", None, "opening")
HERE = ledger.parcel("T1")


def sale(seq: int = 1, postings: tuple[Posting, ...] = (), account: int | None = None, **more: Any) -> Entry:
    return Entry("T1", 1, seq, 1_795_000_000, "SALE", account, postings, **more)


names = st.text(st.characters(codec="utf-8"), max_size=20)
points = st.integers(1, 10**12)
moments = st.datetimes(timezones=st.none()).map(lambda t: t.isoformat(timespec="seconds"))
terms = st.builds(LotTerms, moments, st.none() | moments, names)
spent = st.lists(st.builds(Spent, names, points), max_size=5, unique_by=lambda piece: piece.lot)
earned = st.lists(st.builds(Earned, points, terms, st.booleans()), max_size=5)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Any entry that balances, of a till or of the centre."""
    moves: list[Posting] = []
    for lot in draw(st.lists(names, max_size=4, unique=True)):
        amount = draw(points)
        moves += (
            Posting(draw(names), lot, -amount, draw(st.none() | terms)),
            Posting(draw(names), lot, amount),
        )
    return Entry(
        till=draw(names),
        epoch=draw(st.integers(0, 2**40)),
        seq=draw(st.integers(1, 2**40)),
        at_s=draw(st.integers(0, 2**40)),
        kind=draw(st.sampled_from(sorted(ledger.TILL_KINDS | ledger.CENTRE_KINDS))),
        account=draw(st.integers(0, ledger.ACCOUNT_MAX - 1)),
        postings=tuple(moves),
        ref=draw(st.none() | names),
        flags=tuple(draw(st.lists(names, max_size=3))),
    )


# --------------------------------------------------------------------- points change hands


UNBALANCED = {
    "points out of nowhere": (Posting(FREE, "L", 5),),
    "points into nowhere": (Posting(FREE, "L", -5),),
    "more in than out": (Posting(ISSUED, "L", -5), Posting(FREE, "L", 6)),
    "one lot pays for another": (Posting(ISSUED, "L", -5), Posting(FREE, "M", 5)),
    "a posting of nothing": (Posting(ISSUED, "L", 0),),
    "more than there can be": (Posting(ISSUED, "L", -(2**63)), Posting(FREE, "L", 2**63)),
}


@pytest.mark.parametrize("postings", UNBALANCED.values(), ids=UNBALANCED.keys())
def test_an_entry_whose_points_do_not_balance_is_refused_by_its_name(postings: tuple[Posting, ...]) -> None:
    with pytest.raises(LedgerError, match="entry T1-1-7"):
        canonical(sale(7, postings, account=1))
    packed = ledger.CANONICAL_VERSION + msgspec.msgpack.encode(sale(7))
    assert parse(packed).id == "T1-1-7"


@pytest.mark.parametrize(
    "postings",
    [
        pytest.param(
            (Posting(ISSUED, "a", -ledger.POINTS_MAX - 1), Posting(FREE, "a", ledger.POINTS_MAX + 1)),
            id="more points than there can be",
        ),
        pytest.param(
            (Posting(ISSUED, "a", -1), Posting(FREE, "a", 1)) * (ledger.POSTINGS_MAX // 2 + 1),
            id="postings without end",
        ),
    ],
)
def test_an_entry_that_no_office_would_take_is_never_written(postings: tuple[Posting, ...]) -> None:
    """A till that wrote one could not sync any more: whatever stands behind it would wait for ever."""
    with pytest.raises(LedgerError, match="entry T1-1-1"):
        canonical(sale(postings=postings, account=7))


def test_points_never_move_without_an_account() -> None:
    moves = (Posting(ISSUED, "L", -5), Posting(FREE, "L", 5))
    with pytest.raises(LedgerError, match="no account"):
        canonical(sale(postings=moves))
    canonical(sale(postings=moves, account=0))


@pytest.mark.parametrize("account", [-1, 2**62])
def test_an_account_lies_within_its_bounds(account: int) -> None:
    with pytest.raises(LedgerError, match="account"):
        canonical(sale(account=account))


def test_a_sale_spends_what_lies_here_and_issues_what_it_earns() -> None:
    postings = moves.sale("T1", 1, 9, [Spent("L", 300)], [Earned(20, TERMS, True), Earned(10, TERMS, False)])
    assert [(p.account, p.lot, p.points) for p in postings] == [
        (HERE, "L", -300), (SPENT, "L", 300),
        (ISSUED, "T1-1-9-0", -20), (HERE, "T1-1-9-0", 20),
        (ISSUED, "T1-1-9-1", -10), (FREE, "T1-1-9-1", 10),
    ]  # fmt: skip
    # Whoever sees a lot for the first time sees its terms there.
    assert [p.terms for p in postings if p.account == ISSUED] == [TERMS, TERMS]


@given(spent=spent, earned=earned)
def test_every_sale_balances(spent: list[Spent], earned: list[Earned]) -> None:
    canonical(sale(9, moves.sale("T1", 1, 9, spent, earned), account=1))


@given(spent=spent, earned=earned, left=st.integers(0, 10**12))
def test_a_void_balances_and_leaves_the_customer_with_what_they_had(
    spent: list[Spent], earned: list[Earned], left: int
) -> None:
    sold = sale(9, moves.sale("T1", 1, 9, spent, earned), account=1)
    back = moves.void(sold, lambda _: left, lambda _: TERMS)
    canonical(Entry("T1", 1, 10, 0, "VOID", 1, back, ref=sold.id))
    balance: Counter[str] = Counter()
    for posting in (*sold.postings, *back):
        if ledger.is_balance(posting.account):
            balance[posting.lot] += posting.points
    assert not +balance
    assert not -balance


def test_points_that_were_spent_since_become_a_debt() -> None:
    sold = sale(1, moves.sale("T1", 1, 1, [], [Earned(500, TERMS, True)]), account=1)
    back = moves.void(sold, lambda _: 200, lambda _: TERMS)
    assert [(p.account, p.points) for p in back] == [(ISSUED, 500), (HERE, -200), (DEBT, -300)]


def test_a_lot_that_comes_back_brings_its_terms() -> None:
    """The till may have forgotten it, and the office must see where it belongs."""
    sold = sale(1, moves.sale("T1", 1, 1, [Spent("L", 5)], []), account=1)
    (returned, _) = moves.void(sold, lambda _: 0, lambda _: TERMS)
    assert (returned.account, returned.points, returned.terms) == (HERE, 5, TERMS)


# ------------------------------------------------------------------------------ the bytes


@given(entries())
def test_what_is_written_is_what_is_read(entry: Entry) -> None:
    assert parse(canonical(entry)) == entry


@given(entry=entries(), document=st.none() | st.binary(max_size=50))
def test_what_travels_becomes_the_same_bytes_again(entry: Entry, document: bytes | None) -> None:
    digest = hashlib.sha256(document).digest() if document is not None else None
    body = canonical(msgspec.structs.replace(entry, document_sha256=digest))
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(strip(body)))
    assert restore(sent, entry.till, entry.epoch, entry.seq, document) == body


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | names | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(entry=entries(), newer=st.lists(json_like, min_size=1, max_size=3))
def test_fields_of_a_newer_program_are_kept(entry: Entry, newer: list[Any]) -> None:
    """An older office passes on what it does not understand, and its hash still holds."""
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(entry))
    body = ledger.CANONICAL_VERSION + msgspec.msgpack.encode([*fields, *newer])
    assert parse(body) == entry
    again = restore(strip(body), entry.till, entry.epoch, entry.seq, None)
    assert again == body
    assert msgspec.msgpack.decode(again[1:])[-len(newer) :] == msgspec.msgpack.decode(
        msgspec.msgpack.encode(newer)
    )


@given(entry=entries(), data=st.data())
def test_bytes_that_were_cut_or_changed_fail_in_one_way_or_break_the_chain(
    entry: Entry, data: st.DataObject
) -> None:
    body = bytearray(canonical(entry))
    if data.draw(st.booleans(), label="cut"):
        del body[data.draw(st.integers(0, len(body) - 1), label="at") :]
    else:
        body[data.draw(st.integers(0, len(body) - 1), label="at")] ^= data.draw(st.integers(1, 255))
    try:
        parse(bytes(body))
    except LedgerError:
        return
    assert link(genesis("T1", 1), bytes(body)) != link(genesis("T1", 1), canonical(entry))


@given(st.binary(max_size=200))
def test_bytes_of_anything_else_are_refused_in_one_way(noise: bytes) -> None:
    for body in (noise, b"\x01" + noise):
        try:
            parse(body)
        except LedgerError:
            continue


NOT_ENTRIES = {
    "nothing": b"",
    "a later version": b"\x02" + canonical(sale())[1:],
    "text that is not UTF-8": b"\x01\x9a\xa1\xff" + canonical(sale())[4:],
    "nested without end": b"\x01" + b"\x91" * 100_000,
    "not an array": b"\x01\xc0",
    "too few fields": b"\x01\x91\xa2T1",
}


@pytest.mark.parametrize("body", NOT_ENTRIES.values(), ids=NOT_ENTRIES.keys())
def test_what_is_no_entry_says_so(body: bytes) -> None:
    with pytest.raises(LedgerError):
        parse(body)


@pytest.mark.parametrize("fields", [[], [1, "SALE"], ["x"] * 6, [1, "SALE", None, [["a", "L", 1]], None, []]])
def test_what_arrives_and_is_no_entry_says_so(fields: list[Any]) -> None:
    with pytest.raises(LedgerError):
        parse(restore(fields, "T1", 1, 1, None))


def test_nesting_without_end_is_refused_on_arrival_too() -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(LedgerError):
        restore([1, "SALE", None, [], None, [], deep], "T1", 1, 1, None)


@pytest.mark.parametrize("moment", ["", "2026-01-01", "2026-01-01T00:00:00+03:00", "tomorrow"])
def test_terms_are_in_the_shops_wall_clock_or_refused(moment: str) -> None:
    moves = (Posting(ISSUED, "L", -5, LotTerms(moment, None, "r")), Posting(FREE, "L", 5))
    with pytest.raises(LedgerError, match="not an entry"):
        parse(canonical(sale(postings=moves, account=1)))


# ------------------------------------------------------------------------------ the chain


@given(st.lists(entries(), min_size=1, max_size=6), st.data())
def test_one_changed_byte_anywhere_changes_the_head(log: list[Entry], data: st.DataObject) -> None:
    bodies = [canonical(entry) for entry in log]
    head = chain(genesis("T1", 1), bodies)
    n = data.draw(st.integers(0, len(bodies) - 1))
    at = data.draw(st.integers(0, len(bodies[n]) - 1))
    changed = bytearray(bodies[n])
    changed[at] ^= 1
    assert chain(genesis("T1", 1), [*bodies[:n], bytes(changed), *bodies[n + 1 :]]) != head
    assert chain(genesis("T1", 1), bodies[:n] + bodies[n + 1 :]) != head


@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(0, 8))
def test_a_chain_can_be_taken_up_where_it_was_left(bodies: list[bytes], cut: int) -> None:
    start = genesis("T1", 1)
    assert chain(chain(start, bodies[:cut]), bodies[cut:]) == chain(start, bodies)


def test_each_life_of_each_log_begins_with_a_hash_of_its_own() -> None:
    starts = {genesis("T1", 1), genesis("T1", 2), genesis("T2", 1), genesis("T", 11)}
    assert len(starts) == 4
    assert link(genesis("T1", 1), b"x") != link(genesis("T2", 1), b"x")


def test_the_slip_shows_six_digits_of_the_head() -> None:
    assert ledger.fingerprint(bytes.fromhex("ab12cd" + "00" * 29)) == "ab12cd"


# --------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("T1-1-5", ("T1", 1, 5, None)),
        ("T1-1-5-aB12cd", ("T1", 1, 5, "ab12cd")),
        (" T1-1-5-123456 ", ("T1", 1, 5, "123456")),
        ("north-2-1-5", ("north-2", 1, 5, None)),
        ("T1-1", None),
        ("T1-1-5-12345", ("T1-1", 5, 12345, None)),
        ("T1-1-x", None),
        ("", None),
        ("фискальный чек 17", None),
    ],
)
def test_the_last_line_of_a_slip_names_its_entry(line: str, named: tuple[object, ...] | None) -> None:
    found = ledger.read_ident(line)
    assert (tuple(found) if found else None) == named
    assert found is None or found.entry_id == f"{found.till}-{found.epoch}-{found.seq}"


def test_a_parcel_is_named_by_its_holder() -> None:
    assert ledger.holder(ledger.parcel("T1")) == "T1"
    assert ledger.holder(FREE) is None
    assert [a for a in (HERE, FREE, DEBT, SPENT, ISSUED, "expired", "adjusted") if ledger.is_balance(a)] == [
        HERE, FREE, DEBT,
    ]  # fmt: skip


@given(st.integers(0, ledger.ACCOUNT_MAX - 1))
def test_every_account_has_one_bucket(account: int) -> None:
    assert 0 <= ledger.bucket(account) < ledger.BUCKETS


def test_accounts_in_a_row_spread_over_all_buckets() -> None:
    """Numbers given out one after another are the usual case; no shard may be hot."""
    load = Counter(ledger.bucket(account) for account in range(25_600))
    assert len(load) == ledger.BUCKETS
    assert max(load.values()) < 2 * 100


def test_the_centres_logs_can_never_be_taken_for_a_tills() -> None:
    writer = ledger.centre_writer(7)
    assert writer == "c:7"
    assert ledger.is_centre(writer)
    assert not ledger.is_centre("c7")


@pytest.mark.parametrize("writer", ["T1", "till-7-b", ledger.centre_writer(233)])
def test_a_lot_says_who_made_it(writer: str) -> None:
    assert ledger.maker(ledger.lot_id(writer, 1, 20, 3)) == writer
