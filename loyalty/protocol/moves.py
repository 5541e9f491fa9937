"""Who gives and who takes: the postings of every kind of entry (ledger-sync.md §3, §5).

Each function answers the question "which accounts of the double entry does this fact move?" and
nothing else. Points are hundredths. Every lot's postings sum to zero, so whatever is taken
stands somewhere else. All that can happen stands in the table FLOWS below; docs/ledger.md and its
picture are printed from it, and tests/protocol/test_moves.py plays every row.
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
class Flow:
    """One way of points in an entry of `kind`, lot by lot: `giver` → `taker`, and when that happens.

    Accounts of the double entry as entries spell them, `till` and `hub` for the name of one.
    """

    kind: str
    giver: str
    taker: str
    when: str


HERE, AT_HUB, OF_A_LIFE, ANY = "parcel:till", "parcel:hub", "parcel:till~epoch", "any account"
FLOWS = (
    Flow("SALE", HERE, SPENT, "points are spent"),
    Flow("SALE", ISSUED, HERE, "points are earned, and may be spent here at once"),
    Flow("SALE", ISSUED, FREE, "points are earned for a later day, or may be had only once"),
    Flow("SALE", DEBT, SPENT, "points are lent (courtesy)"),
    Flow("VOID", SPENT, HERE, "what the sale spent comes back to its till"),
    Flow("VOID", HERE, ISSUED, "what it earned is taken back"),
    Flow("VOID", FREE, ISSUED, "the same, where it lay free"),
    Flow("VOID", DEBT, ISSUED, "the same, where it is gone by now: it is owed"),
    Flow("VOID", SPENT, DEBT, "what was lent is owed no more"),
    Flow(
        "RETURN_GOODS", SPENT, HERE, "what the goods were paid with comes back, to the till that takes them"
    ),
    Flow("RETURN_GOODS", SPENT, DEBT, "what was lent for them is owed no more"),
    Flow("RETURN_GOODS", HERE, ISSUED, "what they earned is taken back"),
    Flow("RETURN_GOODS", FREE, ISSUED, "the same, where its day has not come"),
    Flow("RETURN_GOODS", DEBT, ISSUED, "the same, where it is not here: it is owed"),
    Flow("RELEASE", HERE, FREE, "a till gives back what it should not keep, or was asked for"),
    Flow("HANDOVER", AT_HUB, HERE, "a store's hub gives to another till of the store"),
    Flow("GRANT", FREE, HERE, "the centre places points, or answers a claim"),
    Flow("EXPIRE", FREE, EXPIRED, "the last day is over everywhere"),
    Flow("ADJUST", ADJUSTED, FREE, "an opening balance (no flag)"),
    Flow("ADJUST", FREE, DEBT, "NETTED: free points pay what is owed"),
    Flow("ADJUST", DEBT, OF_A_LIFE, "OVERSPENT: what a till took without having it is owed"),
    Flow(
        "ADJUST",
        DEBT,
        FREE,
        "TAKEN_BACK: what a void or return takes back of free was placed meanwhile;"
        " OVERPAID: what had paid a debt that is none any more comes back",
    ),
    Flow(
        "ADJUST", FREE, ISSUED, "ONCE: what may be had once came again; RETURNED: the office settles a return"
    ),
    Flow("ADJUST", ISSUED, FREE, "ONCE, RETURNED: it had been taken back already, or too much of it"),
    Flow("ADJUST", SPENT, FREE, "RETURNED: points come back by the office"),
    Flow("ADJUST", SPENT, DEBT, "RETURNED: what was lent is owed no more"),
    Flow("ADJUST", DEBT, ISSUED, "RETURNED: what was earned is gone by now"),
    Flow("ADJUST", FREE, SPENT, "RETURNED: the same goods came back twice"),
    Flow("ADJUST", DEBT, SPENT, "RETURNED: the same, and its points are gone"),
    Flow("ADJUST", OF_A_LIFE, FREE, "RESUMED: what a till held in a life that ended comes back"),
    Flow("ADJUST", ANY, ANY, "REVERSED: the opposite of an entry that came too late and was not accepted"),
    Flow("MERGE", ANY, ADJUSTED, "all that an account has goes, as it lies"),
    Flow("MERGE", ADJUSTED, ANY, "and arrives at the account that goes on"),
    Flow("LINK", ANY, ADJUSTED, "the same for a card that a till gave out"),
    Flow("LINK", ADJUSTED, ANY, "and arrives at its lasting account"),
)
STILL = ("REGISTER", "RECALL")
"""Kinds that move nothing."""


def drawing() -> str:
    """FLOWS as a Graphviz digraph: the picture in docs/ledger.md cannot lie about the code."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for flow in FLOWS:
        found = kinds.setdefault((flow.giver, flow.taker), [])
        found += [] if flow.kind in found else [flow.kind]
    rows = []
    for (giver, taker), names in kinds.items():
        by_hand = ", style=dashed" if names == ["ADJUST"] else ""  # the office puts something right
        rows.append(f'  "{giver}" -> "{taker}" [label="{", ".join(names)}"{by_hand}]')
    return "digraph moves {\n" + "\n".join(rows) + "\n}\n"


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
