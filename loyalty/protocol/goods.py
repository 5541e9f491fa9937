"""Goods that come back: what becomes of the points of their sale (ledger-sync.md §5.12).

What a return is worth is the engine's (loyalty/returns.py): so many points back, so many taken back
of each rule. Here is who gives and who takes them.

**Points spent come back** first where they were lent (the debt of a courtesy), then to the lots they
came from, the last one spent first, as parcels of the till that takes the goods, with the terms they
had. A lot that has expired meanwhile comes back too; the till gives it up like any expired parcel.

**Points earned are taken back** of `free`, where the sale put them there for a later day that has not
come, so that nobody can have had them; of the till's parcel of that lot; and what is missing, spent or
lying elsewhere, is owed. It is never taken from the money.

**Never more than there was.** What earlier corrections of the sale have given and taken is read from
their entries, and no lot gives back more than was spent of it, or loses more than was earned. Two
tills that cannot see each other may still give the same goods back twice; the office then knows both,
and `settle` books the difference, whichever way it goes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from loyalty import ledger
from loyalty.document import SaleDocument
from loyalty.ledger import DEBT, FREE, ISSUED, SPENT, Entry, LotTerms, Posting, Spent, parcel
from loyalty.protocol import moves
from loyalty.returns import Returned

FLAG_RETURNED = "RETURNED"  # why an ADJUST of the centre's own was written: goods came back
RULE_NOT_KNOWN = "?"  # in the terms of a lot that this till has never held; the centre knows them better


@dataclass(frozen=True, slots=True)
class Credit:
    """A lot that a sale made. `later`: it lies free at the centre, not in the till's parcel."""

    lot: str
    points: int
    terms: LotTerms
    later: bool

    @property
    def rule(self) -> str:
        """The rule that gave it, without the day of a once-key."""
        return self.terms.rule.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Sold:
    """What a SALE did to the points of its account: `spent` in the order of spending, `lent` (0 or more)

    points of the lot `lent_lot` beyond what the till held, and what was earned.
    """

    till: str
    spent: tuple[Spent, ...]
    lent: int
    lent_lot: str
    earned: tuple[Credit, ...]

    def part(self, first: int, last: int) -> list[Spent]:
        """The points from `first` to `last` of all that come back, by lot: lent ones, then the last spent."""
        pieces: list[Spent] = []
        begin = 0
        lent = [Spent(self.lent_lot, self.lent)] if self.lent else []
        for piece in [*lent, *reversed(self.spent)]:
            end = begin + piece.points
            points = min(end, last) - max(begin, first)
            if points > 0:
                pieces.append(Spent(piece.lot, points))
            begin = end
        return pieces


@dataclass(frozen=True, slots=True)
class Done:
    """What corrections of a sale have moved so far, by lot: points given back, points taken back."""

    back: Mapping[str, int]
    reversed: Mapping[str, int]


def read_sale(entry: Entry) -> Sold:
    """What a SALE entry says that was spent and earned."""
    by_account: dict[str, dict[str, int]] = defaultdict(dict)
    for posting in entry.postings:
        by_account[posting.account][posting.lot] = posting.points
    spent = [Spent(lot, points) for lot, points in by_account[SPENT].items() if lot not in by_account[DEBT]]
    lent = [(lot, points) for lot, points in by_account[SPENT].items() if lot in by_account[DEBT]]
    earned = [
        Credit(posting.lot, -posting.points, posting.terms, posting.lot in by_account[FREE])
        for posting in entry.postings
        if posting.account == ISSUED and posting.terms is not None
    ]
    return Sold(
        entry.till,
        tuple(spent),
        sum(points for _, points in lent),
        lent[0][0] if lent else "",
        tuple(earned),
    )


def done_by(corrections: Iterable[Entry]) -> Done:
    """What RETURN_GOODS, VOID and the centre's ADJUST entries of one sale have given and taken back."""
    back: dict[str, int] = defaultdict(int)
    taken: dict[str, int] = defaultdict(int)
    for entry in corrections:
        for posting in entry.postings:
            if posting.account == SPENT:
                back[posting.lot] -= posting.points
            elif posting.account == ISSUED:
                taken[posting.lot] += posting.points
    return Done(dict(back), dict(taken))


def terms_of(paper: SaleDocument, known: Callable[[str], LotTerms | None]) -> Callable[[str], LotTerms]:
    """The terms of a lot that the sale spent: as this till knows them, else as the document does."""
    seen = {lot.id: lot for lot in paper.customer.lots} if paper.customer else {}

    def terms(lot: str) -> LotTerms:
        found = known(lot)
        if found is not None:
            return found
        if lot not in seen:
            raise ledger.LedgerError(f"receipt {paper.receipt.id} does not name the lot {lot} that was spent")
        start = seen[lot].active_from or paper.receipt.at[: len("2026-01-01T00:00:00")]
        return LotTerms(start, seen[lot].expires_at, RULE_NOT_KNOWN)

    return terms


def take_goods(
    sold: Sold,
    till: str,
    before: Sequence[Returned],
    now: Returned,
    done: Done,
    *,
    held: Mapping[str, int],
    shop_now: str,
    terms: Callable[[str], LotTerms],
) -> tuple[Posting, ...]:
    """The postings of a RETURN_GOODS written by `till`.

    `before` = the engine's answer for the returns of this sale up to now, `now` for this one; `done` =
    what their entries moved (nothing yet, where one waits for the office); `held` = lot -> points that
    this till can give; `shop_now` = the shop's wall clock.
    """
    postings: list[Posting] = []
    first = sum(one.points_back for one in before)
    most = {piece.lot: piece.points for piece in sold.part(0, first + now.points_back)}
    for piece in sold.part(first, first + now.points_back):
        points = min(piece.points, most[piece.lot] - done.back.get(piece.lot, 0))
        if points > 0:
            postings += _back(sold, parcel(till), piece.lot, points, terms)
    due = dict(now.earned_reversed)
    for credit in sold.earned:
        points = min(due.get(credit.rule, 0), credit.points - done.reversed.get(credit.lot, 0))
        if points <= 0:
            continue
        due[credit.rule] -= points
        if credit.later and shop_now < credit.terms.active_from:
            postings += moves.move(FREE, ISSUED, {credit.lot: points})
        else:
            postings += moves.take_back(till, credit.lot, points, held.get(credit.lot, 0))
    return tuple(postings)


def settle(
    sold: Sold,
    target: Sequence[Returned] | None,
    done: Done,
    *,
    free: Mapping[str, int],
    gone: Collection[str] = (),
    terms: Callable[[str], LotTerms],
) -> tuple[Posting, ...]:
    """What the centre still has to book, so that all corrections together come to `target`.

    `target` = the engine's answer for all returns that are known, None where the sale was voided: then
    everything goes back. `free` = lot -> points that no till holds; `gone` = lots that came under a
    once-key a second time and were taken back for that. What was given or taken twice is put right too;
    what cannot be had of `free` is owed.
    """
    postings: list[Posting] = []
    whole = sum(piece.points for piece in sold.part(0, 2**62))
    back = whole if target is None else sum(one.points_back for one in target)
    wanted = {piece.lot: piece.points for piece in sold.part(0, back)}
    for piece in sold.part(0, whole):
        more = wanted.get(piece.lot, 0) - done.back.get(piece.lot, 0)
        if more > 0:
            postings += _back(sold, FREE, piece.lot, more, terms)
        elif more < 0:
            postings += _taken(sold, piece.lot, -more, free)
    for credit in sold.earned:
        if credit.lot in gone:
            continue
        points = credit.points if target is None else _reversed(credit, target)
        more = points - done.reversed.get(credit.lot, 0)
        if more > 0:
            there = min(more, free.get(credit.lot, 0))
            postings += moves.move(FREE, ISSUED, {credit.lot: there})
            postings += moves.move(DEBT, ISSUED, {credit.lot: more - there})
        elif more < 0:
            postings += moves.move(ISSUED, FREE, {credit.lot: -more})
    return tuple(postings)


def debt_made(postings: Iterable[Posting]) -> int:
    """Points (hundredths) that the account owes by these postings."""
    return -sum(posting.points for posting in postings if posting.account == DEBT and posting.points < 0)


def _reversed(credit: Credit, target: Sequence[Returned]) -> int:
    return min(credit.points, sum(one.earned_reversed.get(credit.rule, 0) for one in target))


def _back(
    sold: Sold, taker: str, lot: str, points: int, terms: Callable[[str], LotTerms]
) -> tuple[Posting, ...]:
    """Points that were spent come back."""
    if lot == sold.lent_lot:
        return moves.move(SPENT, DEBT, {lot: points})
    return (Posting(taker, lot, points, terms(lot)), Posting(SPENT, lot, -points))


def _taken(sold: Sold, lot: str, points: int, free: Mapping[str, int]) -> tuple[Posting, ...]:
    """Points that came back twice are taken again."""
    there = 0 if lot == sold.lent_lot else min(points, free.get(lot, 0))
    return (*moves.move(FREE, SPENT, {lot: there}), *moves.move(DEBT, SPENT, {lot: points - there}))
