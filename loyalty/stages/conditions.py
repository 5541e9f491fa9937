"""Whether a condition holds now: on the amounts of this moment, at the receipt's time (§3).

There is no third truth value. A condition on the customer is simply false
without one, so its `not` is true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from loyalty.vocabulary import All, Any_, CardKind, Condition, Not, Period, Segment, Sum, Tier

if TYPE_CHECKING:
    from loyalty.stages.pricing import Pricing


def holds(condition: Condition, pricing: Pricing) -> bool:
    """Whether `condition` holds for the receipt as it stands in `pricing`."""
    return _TESTS[type(condition)](condition, pricing)


def _all(condition: All, pricing: Pricing) -> bool:
    return all(holds(part, pricing) for part in condition.of)


def _any(condition: Any_, pricing: Pricing) -> bool:
    return any(holds(part, pricing) for part in condition.of)


def _not(condition: Not, pricing: Pricing) -> bool:
    return not holds(condition.of, pricing)


def _period(condition: Period, pricing: Pricing) -> bool:
    """Half-open; a bound with `Z` is compared with the instant, one without with the shop's clock."""
    receipt = pricing.receipt
    start, end = condition.start, condition.end
    if start is not None and (receipt.at if start.tzinfo else receipt.wall_clock) < start:
        return False
    return end is None or (receipt.at if end.tzinfo else receipt.wall_clock) < end


def _tier(condition: Tier, pricing: Pricing) -> bool:
    customer = pricing.receipt.customer
    return customer is not None and customer.tier in condition.names


def _card_kind(condition: CardKind, pricing: Pricing) -> bool:
    customer = pricing.receipt.customer
    return customer is not None and customer.card_kind in condition.names


def _segment(condition: Segment, pricing: Pricing) -> bool:
    customer = pricing.receipt.customer
    return customer is not None and not set(condition.names).isdisjoint(customer.segments)


def _sum(condition: Sum, pricing: Pricing) -> bool:
    total = 0
    for line in pricing.matching(condition.of):
        total += line.net_minor if condition.base == "net" else line.list_minor
    return _within(total, condition.min_minor, condition.max_minor)


def _within(value: int, least: int | None, most: int | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


_TESTS: Mapping[type, Callable[[Any, Pricing], bool]] = {
    All: _all,
    Any_: _any,
    Not: _not,
    Period: _period,
    Tier: _tier,
    CardKind: _card_kind,
    Segment: _segment,
    Sum: _sum,
}
