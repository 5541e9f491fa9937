"""The round stage: the total comes down to a round sum (rulebook.md §4, "round").

Only the first live rule counts, whether it finds room or not: half a rounding
would be worse than none.
"""

from __future__ import annotations

from loyalty.effects import RoundDown
from loyalty.money import distribute, down_to
from loyalty.stages.pricing import Pricing


def run(pricing: Pricing) -> None:
    """Take off what stands above the round sum, if the lines have room for all of it."""
    rules = pricing.everywhere("round")
    if not rules:
        return
    clause, lines = rules[0], pricing.lines
    assert isinstance(clause.effect, RoundDown)  # the parser lets no other effect into this stage
    total = sum(line.net_minor for line in lines)
    discount = total - down_to(total, clause.effect.to_minor)
    capacities = [line.net_minor - line.floor_minor for line in lines]
    if discount <= sum(capacities):
        shares = distribute(discount, [line.net_minor for line in lines], capacities)
        for line, share in zip(lines, shares, strict=True):
            line.take(clause.id, share)
