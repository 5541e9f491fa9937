"""Where points wait: most of them in the shop where their owner is expected.

**Why.** A till can spend without a link only what it holds. So the points of an account are put,
before anybody needs them, where they will most likely be asked for; a part stays free at the centre
for every other shop that has a link (ledger-sync.md §1: 90 % placed at home loses 0.38 % of the
redemptions that a shop would otherwise lose to dead links, refusing all of them 1.07 %).

**Home** of an account is the store of most visits; before the first visit the one that the import
named, else the first store whose till looked the account up.

**How much.** For each lot, of what is still unspent at home and free together, PLACED_BP goes to the
store's hub. Whole hundredths, rounded down: the doubt stays at the centre. A lot is topped up only
when the hub holds less than REFILL_BELOW_BP of that, so a customer who buys often does not make a
grant a purchase.

**When.** The lot must live by the clock of the home store: from `active_from` on, before
`expires_at`. One that starts later stays free until that day, and `next_look` says when.

**Safe by construction.** A grant moves from free to a parcel; free cannot fall below zero, so nothing
can be granted twice. Nothing comes back by a clock, only by a RELEASE of the till.

An account that moves home leaves its parcels in the old store until that till releases them (it
is told at the next look-up that it is not home any more, till.py). Known ugliness: "most visits"
never forgets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from loyalty.ledger import LotTerms

PLACED_BP = 9_000
REFILL_BELOW_BP = 5_000
WHOLE_BP = 10_000


@dataclass(frozen=True, slots=True)
class PlacedLot:
    """A lot as placement sees it: hundredths free at the centre and held by the home store's hub."""

    lot: str
    terms: LotTerms
    free: int
    at_home: int


def grants(
    lots: Iterable[PlacedLot], shop_now: str, placed_bp: int = PLACED_BP
) -> list[tuple[PlacedLot, int]]:
    """What to grant now: (lot, hundredths > 0), never more than is free.

    `shop_now` is the wall clock of the home store, YYYY-MM-DDTHH:MM:SS.
    """
    return [
        (lot, points)
        for lot in lots
        if _lives(lot.terms, shop_now) and (points := _top_up(lot, placed_bp)) > 0
    ]


def next_look(lots: Iterable[PlacedLot], shop_now: str) -> str | None:
    """The shop time at which the next free lot begins to live, or None."""
    later = [lot.terms.active_from for lot in lots if lot.free > 0 and lot.terms.active_from > shop_now]
    return min(later, default=None)


def _lives(terms: LotTerms, shop_now: str) -> bool:
    # Times of one fixed width compare as text.
    return terms.active_from <= shop_now and (terms.expires_at is None or shop_now < terms.expires_at)


def _top_up(lot: PlacedLot, placed_bp: int) -> int:
    target = (lot.free + lot.at_home) * placed_bp // WHOLE_BP
    if lot.at_home * WHOLE_BP >= target * REFILL_BELOW_BP and lot.at_home > 0:
        return 0
    return max(0, min(lot.free, target - lot.at_home))
