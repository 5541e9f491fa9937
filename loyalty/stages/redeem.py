"""The redeem stage: paying with points (rulebook.md §4, "redeem").

One hundredth of a point pays one kopeck. The rule that lets the customer pay
most is chosen; what is paid is shared out over the eligible lines; and the
points are taken from the live lots, the first to expire first. Discounts'
floors do not bind here: only the minimum price does.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from loyalty.money import distribute, down_to, percent_within
from loyalty.receipt import Lot
from loyalty.rulebook import Rule
from loyalty.stages.pricing import PricedLine, Pricing, hits, total_net
from loyalty.vocabulary import Redeem


def run(pricing: Pricing) -> None:
    """Redeem the points that were asked for, as far as rules, lots and lines allow."""
    for line in pricing.lines:
        line.before_redeem_minor = line.net_minor
    customer, asked = pricing.receipt.customer, pricing.receipt.redeem
    if customer is None or asked is None:
        return
    lots = live_lots(customer.lots, pricing.receipt.wall_clock)
    balance = sum(lot.amount for lot in lots)
    wanted = balance if asked == "max" else min(asked, balance)

    amount, chosen = 0, None
    live = pricing.live(pricing.compiled.redeem)
    for rule in pricing.compiled.redeem:
        if rule.id in live and (possible := _possible(rule, pricing, wanted)) > amount:
            amount, chosen = possible, rule
    if chosen is None:
        return

    lines = _eligible(chosen, pricing)
    shares = distribute(amount, [line.net_minor for line in lines], [_capacity(line) for line in lines])
    for line, share in zip(lines, shares, strict=True):
        line.redeem(share)
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


def _possible(rule: Rule, pricing: Pricing, wanted: int) -> int:
    """How many points one rule lets the customer spend."""
    assert isinstance(rule.effect, Redeem)  # the parser lets no other effect into this stage
    eligible = _eligible(rule, pricing)
    base = total_net(pricing.lines if rule.effect.of == "receipt" else eligible)
    possible = min(
        wanted, percent_within(base, rule.effect.max_bp), sum(_capacity(line) for line in eligible)
    )
    return down_to(possible, rule.effect.step)


def _eligible(rule: Rule, pricing: Pricing) -> list[PricedLine]:
    excluded = pricing.settings.no_redeem
    return [line for line in pricing.matching(rule.items) if excluded is None or not hits(excluded, line)]


def _capacity(line: PricedLine) -> int:
    return max(0, line.net_minor - line.least_minor)


def _spend(amount: int, lots: list[Lot]) -> list[tuple[str, int]]:
    used = []
    for lot in lots:
        spent = min(amount, lot.amount)
        if spent:
            used.append((lot.id, spent))
            amount -= spent
    return used
