"""Who gives and who takes: the postings of every kind of entry (ledger-sync.md §3, §5).

Each function answers the question "which accounts of the double entry does this fact move?" and
nothing else. Points are hundredths. Every lot's postings sum to zero, so whatever is taken
stands somewhere else.

    SALE          parcel:till → spent · issued → parcel:till or free · debt → spent (lent)
    VOID          the SALE backwards
    RETURN_GOODS  spent → debt (lent), parcel:till · parcel:till, free or debt → issued (goods.py)
    RELEASE       parcel:till → free
    HANDOVER      parcel:hub → parcel:till
    GRANT         free → parcel:till
    EXPIRE        free → expired
    ADJUST        adjusted ↔ free · free → debt (netted) · debt → parcel, free (covered)
                  parcel:till~epoch → free (of a life that ended)
                  spent → free, debt · free, debt → issued (a return that the office settles)
    MERGE, LINK   every account of the one → adjusted → the same account of the other
    REGISTER, RECALL   nothing
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from loyalty.ledger import (
    ADJUSTED,
    DEBT,
    EXPIRED,
    FREE,
    ISSUED,
    SPENT,
    Earned,
    Entry,
    LotTerms,
    Posting,
    Spent,
    lot_id,
    parcel,
)


@dataclass(frozen=True, slots=True)
class Piece:
    """`points` of one lot, with the lot's terms for whoever sees it for the first time."""

    lot: str
    points: int
    terms: LotTerms


def sale(
    till: str, epoch: int, seq: int, spent: Sequence[Spent], earned: Sequence[Earned], lent: int = 0
) -> tuple[Posting, ...]:
    """Spent parcels out of this till, new lots in (§5.2); `lent` points become debt (courtesy, §5.4).

    A lot whose first day lies ahead, and one that a customer may get only once, stays free at
    the centre.
    """
    here = parcel(till)
    postings: list[Posting] = []
    for piece in spent:
        postings += (Posting(here, piece.lot, -piece.points), Posting(SPENT, piece.lot, piece.points))
    for n, new in enumerate(earned):
        lot = lot_id(till, epoch, seq, n)
        target = here if new.spendable_here else FREE
        postings += (Posting(ISSUED, lot, -new.points, new.terms), Posting(target, lot, new.points))
    if lent:
        lot = lot_id(till, epoch, seq, len(earned))
        postings += (Posting(DEBT, lot, -lent), Posting(SPENT, lot, lent))
    return tuple(postings)


def void(
    sold: Entry, left_of: Callable[[str], int], terms_of: Callable[[str], LotTerms]
) -> tuple[Posting, ...]:
    """What takes a SALE back: points spent return to this till, points earned go (§5.12).

    `left_of(lot)` = what this till can still take of a lot it earned here; what is
    missing was spent since and becomes the account's debt. `terms_of(lot)` = the
    terms of a lot that comes back.
    """
    here = parcel(sold.till)
    postings: list[Posting] = []
    for posting in sold.postings:
        lot, points = posting.lot, posting.points
        if posting.account == here and points < 0:
            postings += (Posting(here, lot, -points, terms_of(lot)), Posting(SPENT, lot, points))
        elif posting.account == FREE:
            postings += (Posting(ISSUED, lot, points), Posting(FREE, lot, -points))
        elif posting.account == here:
            postings += take_back(sold.till, lot, points, left_of(lot))
        elif posting.account == DEBT:
            postings += (Posting(DEBT, lot, -points), Posting(SPENT, lot, points))
    return tuple(postings)


def take_back(till: str, lot: str, points: int, held: int) -> list[Posting]:
    """Points that were earned are taken back: of what this till holds, and the rest is owed."""
    taken = min(points, held)
    postings = [Posting(ISSUED, lot, points)]
    postings += [Posting(parcel(till), lot, -taken)] if taken else []
    postings += [Posting(DEBT, lot, taken - points)] if taken < points else []
    return postings


def give(giver: str, taker: str, pieces: Iterable[Piece]) -> tuple[Posting, ...]:
    """GRANT, HANDOVER: pieces change hands, with their terms."""
    postings: list[Posting] = []
    for piece in pieces:
        postings += (
            Posting(giver, piece.lot, -piece.points, piece.terms),
            Posting(taker, piece.lot, piece.points, piece.terms),
        )
    return tuple(postings)


def move(giver: str, taker: str, points_of: Mapping[str, int]) -> tuple[Posting, ...]:
    """RELEASE, EXPIRE, ADJUST: points of known lots (lot -> points) change hands."""
    postings: list[Posting] = []
    for lot, points in sorted(points_of.items()):
        if points:
            postings += (Posting(giver, lot, -points), Posting(taker, lot, points))
    return tuple(postings)


def release(till: str, points_of: Mapping[str, int]) -> tuple[Posting, ...]:
    """A till gives parcels back to the centre."""
    return move(parcel(till), FREE, points_of)


def expire(points_of: Mapping[str, int]) -> tuple[Posting, ...]:
    """What is free dies."""
    return move(FREE, EXPIRED, points_of)


def net(points_of: Mapping[str, int]) -> tuple[Posting, ...]:
    """What is free pays what is owed."""
    return move(FREE, DEBT, points_of)


def merge_out(rows: Mapping[tuple[str, str], int]) -> tuple[Posting, ...]:
    """All that an account has, (account of the double entry, lot) -> points, goes to `adjusted`."""
    postings: list[Posting] = []
    for (account, lot), points in sorted(rows.items()):
        if points:
            postings += (Posting(account, lot, -points), Posting(ADJUSTED, lot, points))
    return tuple(postings)


def merge_in(rows: Mapping[tuple[str, str], int], terms: Mapping[str, LotTerms]) -> tuple[Posting, ...]:
    """The same, arriving at the account that goes on."""
    postings: list[Posting] = []
    for (account, lot), points in sorted(rows.items()):
        if points:
            known = terms.get(lot)
            postings += (Posting(ADJUSTED, lot, -points, known), Posting(account, lot, points, known))
    return tuple(postings)
