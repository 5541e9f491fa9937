"""The price stage: a fixed price instead of the shelf price (rulebook.md §4, "price").

For each line the lowest price of a live rule holds, where it is below the shelf
price; a unit never costs less than its floor. What that takes off the line is
booked as the rule's discount.
"""

from __future__ import annotations

from loyalty.effects import FixedPrice
from loyalty.money import amount_of
from loyalty.stages.pricing import Pricing


def run(pricing: Pricing) -> None:
    """Give every line its fixed price."""
    dead = pricing.dead_among(clause for line in pricing.lines for clause in line.plans.price)
    for line in pricing.lines:
        if line.shelf.no_discount:
            continue
        unit_price, chosen = line.unit_price_minor, None
        for clause in line.plans.price:
            assert isinstance(clause.effect, FixedPrice)  # the parser lets no other effect into this stage
            price = max(clause.effect.price_minor, line.shelf.unit_floor_minor)
            if price < unit_price and clause not in dead:
                unit_price, chosen = price, clause
        if chosen is not None:
            line.unit_price_minor = unit_price
            amount = max(amount_of(unit_price, line.quantity), line.floor_minor)
            line.take(chosen.id, line.list_minor - amount)
