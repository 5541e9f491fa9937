"""The redeem stage: paying with points (rulebook.md §4, "redeem").

One hundredth of a point pays one kopeck. The rule that lets the customer pay
most is chosen; what is paid is shared out over the eligible lines; and the
points are taken from the live lots, the first to expire first. Discounts'
floors do not bind here: only the minimum price does.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from loyalty.clauses import Clause
from loyalty.effects import Redeem
from loyalty.money import distribute, down_to, percent_within
from loyalty.receipt import Lot
from loyalty.stages.pricing import PricedLine, Pricing


def run(pricing: Pricing) -> None:
    """Redeem the points that were asked for, as far as rules, lots and lines allow."""
    customer, asked = pricing.receipt.customer, pricing.receipt.redeem
    if customer is None or asked is None:
        return
    lots = live_lots(customer.lots, pricing.now)
    balance = sum(lot.amount for lot in lots)
    wanted = balance if asked == "max" else min(asked, balance)

    amount = 0
    for clause in pricing.everywhere("redeem"):
        if (possible := possible_for(clause, pricing, wanted)) > amount:
            amount, pricing.redeemer = possible, clause
    if pricing.redeemer is None:
        return

    lines = eligible_for(pricing.redeemer, pricing)
    shares = distribute(amount, [line.net_minor for line in lines], [_capacity(line) for line in lines])
    for line, share in zip(lines, shares, strict=True):
        line.redeem(share)
    pricing.redeemed = amount
    pricing.lots_used = _spend(amount, lots)


def live_lots(lots: Iterable[Lot], now: datetime) -> list[Lot]:
    """The lots that can be spent at shop wall clock `now`, in the order in which they are spent."""
    live = [
        lot
        for lot in lots
        if (lot.active_from is None or lot.active_from <= now)
        and (lot.expires_at is None or now < lot.expires_at)
    ]
    live.sort(
        key=lambda lot: (
            (lot.expires_at is None, lot.expires_at or now),  # no expiry: last
            (lot.active_from is not None, lot.active_from or now),  # live from ever: first
            lot.id,
        )
    )
    return live


def possible_for(clause: Clause, pricing: Pricing, wanted: int) -> int:
    """How many points one rule lets the customer spend of those `wanted`."""
    assert isinstance(clause.effect, Redeem)  # the parser lets no other effect into this stage
    eligible = eligible_for(clause, pricing)
    counted = pricing.lines if clause.effect.of == "receipt" else eligible
    limit = percent_within(sum(line.net_minor for line in counted), clause.effect.max_bp)
    possible = min(wanted, limit, sum(_capacity(line) for line in eligible))
    return down_to(possible, clause.effect.step)


def eligible_for(clause: Clause, pricing: Pricing) -> list[PricedLine]:
    """The lines that points may pay by this rule."""
    return [line for line in pricing.meant(clause.items) if not line.shelf.no_redeem]


def _capacity(line: PricedLine) -> int:
    return max(0, line.net_minor - line.least_minor)


def _spend(amount: int, lots: list[Lot]) -> list[tuple[Lot, int]]:
    used = []
    for lot in lots:
        spent = min(amount, lot.amount)
        if spent:
            used.append((lot, spent))
            amount -= spent
    return used
