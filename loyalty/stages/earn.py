"""The earn stage: points for the sale (rulebook.md §4, "earn").

Every line has an exact value under every rule, kept as a whole numerator over
10,000 (base in kopecks × basis points), never rounded. The tree of groups
chooses per line among these values. Only then each rule's values are added up
over the lines and rounded down, once, to whole units; then its cap holds.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta

from loyalty.index import Node, rules_in
from loyalty.money import BP, down_to
from loyalty.rulebook import Rule
from loyalty.stages.policy import winner
from loyalty.stages.pricing import EarnedLot, PricedLine, Pricing, hits
from loyalty.vocabulary import EarnPercent

Values = list[tuple[Rule, int]]
"""What rules give one line, in ten-thousandths of a hundredth of a point; every value is positive."""


def run(pricing: Pricing) -> None:
    """Count the points the customer earns, and the lots they come as."""
    if pricing.receipt.customer is None:
        return
    tree = pricing.compiled.earn
    live = pricing.live_in(tree)
    if not live:
        return
    values: dict[str, int] = {}
    excluded = pricing.settings.no_earn
    for line in pricing.lines:
        if excluded is None or not hits(excluded, line):
            for rule, value in _values(tree, line, live):
                values[rule.id] = values.get(rule.id, 0) + value

    for rule in sorted(rules_in(tree), key=lambda rule: rule.order):
        effect = _effect(rule)
        points = down_to(values.get(rule.id, 0) // BP, effect.unit)
        if rule.cap is not None:
            points = min(points, rule.cap)
        if points > 0:
            active_from, expires_at = life(pricing.receipt.wall_clock, effect.delay_days, effect.ttl_days)
            pricing.earned[rule.id] = points
            pricing.earned_lots.append(EarnedLot(rule.id, points, active_from, expires_at))


def life(now: datetime, delay_days: int, ttl_days: int | None) -> tuple[datetime, datetime | None]:
    """(active from, expires at) of points earned `now`, all shop wall clock.

    Without a delay they live at once; with one, and always at their end, they
    change at a midnight counted from the date, not from the hour.
    """
    active_from = now if delay_days == 0 else _midnight(now, delay_days)
    return active_from, None if ttl_days is None else _midnight(active_from, ttl_days)


def _midnight(now: datetime, days: int) -> datetime:
    return datetime.combine(now.date() + timedelta(days=days), time.min)


def _values(node: Node, line: PricedLine, live: frozenset[str]) -> Values:
    """What a node gives one line; a chain is a sum here, for nothing is taken from any base."""
    if isinstance(node, Rule):
        value = _value(node, line) if node.id in live and hits(node.items, line) else 0
        return [(node, value)] if value > 0 else []
    offers = [_values(child, line, live) for child in node.children]
    if node.policy in ("sum", "chain"):
        return [part for offer in offers for part in offer]
    return winner(node.policy, offers, lambda offer: sum(value for _, value in offer)) or []


def _value(rule: Rule, line: PricedLine) -> int:
    effect = _effect(rule)
    match effect.on:
        case "paid":
            base = line.net_minor
        case "before_redeem":
            base = line.before_redeem_minor
        case "list":
            base = line.list_minor
    return base * effect.bp


def _effect(rule: Rule) -> EarnPercent:
    assert isinstance(rule.effect, EarnPercent)  # the parser lets no other effect into this stage
    return rule.effect
