"""A restored centre is shown what it had forgotten, and not all of it fits: what is booked first?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from loyalty import ledger
from loyalty.ledger import FREE, Entry, LotTerms
from loyalty.protocol import centre, moves
from loyalty.protocol.books import AccountBooks, Books
from loyalty.protocol.centre import Facts, Row

ANNA = 1
TIMELINE = 20
HERS, LOST = "c:7-10-1-0", "c:9-10-1-0"
TERMS = LotTerms("2026-01-01T00:00:00", None, "opening")


def test_a_grant_that_lost_its_points_does_not_take_those_of_the_grant_behind_it() -> None:
    """Two cards were made one after the backup, and nobody remembers that: the second card's lot is gone.

    Till T1 was granted both lots and has spent of both. Only the lost lot is owed; the points that are
    left in T1 are what T1 says.
    """
    mine = AccountBooks(ANNA, shares={(HERS, FREE): 80_00}, lots={HERS: TERMS})

    def read(_: Iterable[int]) -> Mapping[int, AccountBooks]:
        return {ANNA: mine}

    books = Books(7, TIMELINE, 1, b"", 0, read, lambda _: 1)
    t1 = ledger.parcel("T1")
    told = [
        Entry("T1", 1, 5, 0, "SALE", ANNA, (*spent(t1, LOST, 10_00), *spent(t1, HERS, 70_00))),
        Entry("c:7", 10, 6, 0, "GRANT", ANNA, granted(t1, LOST, 10_00), ref="T1-1"),
        Entry("c:7", 10, 7, 0, "GRANT", ANNA, granted(t1, HERS, 80_00), ref="T1-1"),
    ]
    rows = [Row(entry, ledger.canonical(entry), ANNA) for entry in told]
    assert centre.arrive(books, rows, Facts(members={ANNA}, fenced=True)).waiting != []
    arrival = centre.arrive(books, rows, Facts(members={ANNA}))
    assert [row.entry.seq for row in arrival.applied] == [6, 7, 5]
    assert mine.held_by("T1~1") == {HERS: 10_00}
    assert (mine.free, mine.totals["debt"]) == ({}, -10_00)
    assert [(note.code, note.entry.id) for note in books.notes] == [("OVERSPENT", "c:7-10-6")]


def spent(holder: str, lot: str, points: int) -> tuple[ledger.Posting, ...]:
    return moves.move(holder, ledger.SPENT, {lot: points})


def granted(holder: str, lot: str, points: int) -> tuple[ledger.Posting, ...]:
    return moves.move(FREE, holder, {lot: points})
