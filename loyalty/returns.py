"""Returns: what goods given back are worth, after the discounts and points of their sale (rulebook.md §6).

The idea
--------
Everything is counted from the beginning of a line: the money of goods `a` to
`b` is what `b` of them are worth less what `a` of them were. So returns in any
number and order add up to the sale, to the kopeck, and the last piece takes
what rounding left.

Points that were earned have no place on a line that could be divided. Instead
the earn stage runs again, at the original time, over what is left of the sale,
and whatever the customer would now not have earned is taken back, though never
more than is still held. Draws and burned coupons stay as they were.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loyalty.faults import Fault, Refused, at_item, at_key, did_you_mean
from loyalty.money import part_between
from loyalty.receipt import Lot, Return
from loyalty.stages.earn import count_points
from loyalty.stages.pricing import PricedLine, Pricing
from loyalty.texts import N_


@dataclass(frozen=True, slots=True)
class Returned:
    """What one return gives back: kopecks, points in hundredths.

    `lots_back` are (lot, points, is it still live), `earned_reversed` points by rule, `lines` (kopecks,
    points) by line id.
    """

    money_minor: int
    points_back: int
    lots_back: tuple[tuple[str, int, bool], ...]
    earned_reversed: Mapping[str, int]
    lines: Mapping[str, tuple[int, int]]

    def to_builtins(self) -> dict[str, Any]:
        """The result as the JSON object of rulebook.md §6."""
        return {
            "money": self.money_minor,
            "points_back": self.points_back,
            "lots_back": [
                [lot, points, "live" if live else "expired"] for lot, points, live in self.lots_back
            ],
            "earned_reversed": dict(self.earned_reversed),
            "lines": {
                line: {"money": money, "points": points} for line, (money, points) in self.lines.items()
            },
        }


def give_back(pricing: Pricing, returns: Sequence[Return], path: str = "returns") -> tuple[Returned, ...]:
    """What the returns of a priced sale give back, in their order.

    Raises `Refused` with every line that the sale does not have, or of which more is returned than is left.
    """
    _check(pricing, returns, path)
    returned = {line.id: 0 for line in pricing.lines}
    spent = list(pricing.lots_used)
    held = dict(pricing.earned)
    return tuple(_give_back_one(pricing, one, returned, spent, held) for one in returns)


def _check(pricing: Pricing, returns: Sequence[Return], path: str) -> None:
    left = {line.id: line.quantity for line in pricing.lines}
    faults = []
    for i, one in enumerate(returns):
        for line_id, quantity in one.lines.items():
            place = at_key(at_key(at_item(path, i), "lines"), line_id)
            if line_id not in left:
                hint = did_you_mean(line_id, list(left))
                faults.append(Fault(place, N_("the receipt has no such line; {hint}", hint=hint)))
            elif quantity > left[line_id]:
                text = N_("returns {quantity} where {left} are left", quantity=quantity, left=left[line_id])
                faults.append(Fault(place, text))
            else:
                left[line_id] -= quantity
    if faults:
        raise Refused(faults)


def _give_back_one(
    pricing: Pricing,
    one: Return,
    returned: dict[str, int],
    spent: list[tuple[Lot, int]],
    held: dict[str, int],
) -> Returned:
    """One return; `returned` thousandths by line, `spent` and `held` points are brought up to date."""
    lines: dict[str, tuple[int, int]] = {}
    for line in pricing.lines:
        if line.id in one.lines:
            first = returned[line.id]
            last = returned[line.id] = first + one.lines[line.id]
            lines[line.id] = (
                part_between(line.net_minor, first, last, line.quantity),
                part_between(line.redeemed, first, last, line.quantity),
            )
    points = sum(points for _, points in lines.values())
    return Returned(
        money_minor=sum(money for money, _ in lines.values()),
        points_back=points,
        lots_back=_lots_back(spent, points, one.wall_clock),
        earned_reversed=_reverse(pricing, returned, held),
        lines=lines,
    )


def _lots_back(spent: list[tuple[Lot, int]], points: int, now: datetime) -> tuple[tuple[str, int, bool], ...]:
    """Points go back where they came from, the last spent first, with their original expiry."""
    back = []
    for i in reversed(range(len(spent))):
        lot, amount = spent[i]
        part = min(amount, points)
        if part:
            back.append((lot.id, part, lot.expires_at is None or now < lot.expires_at))
            spent[i] = (lot, amount - part)
            points -= part
    return tuple(back)


def _reverse(pricing: Pricing, returned: Mapping[str, int], held: dict[str, int]) -> dict[str, int]:
    """What the rest of the sale would not have earned, taken out of `held`."""
    if not held:
        return {}
    rest = copy.copy(pricing)
    rest.begin_with(
        [_rest_of(line, returned[line.id]) for line in pricing.lines if returned[line.id] < line.quantity]
    )
    again = {clause.id: points for clause, points in count_points(rest).points()}
    taken_back = {}
    for rule, points in held.items():
        less = points - again.get(rule, 0)
        if less > 0:
            taken_back[rule] = less
            held[rule] = points - less
    return taken_back


def _rest_of(line: PricedLine, returned: int) -> PricedLine:
    """The line without what was returned of it."""

    def left(amount: int) -> int:
        return amount - part_between(amount, 0, returned, line.quantity)

    rest = copy.copy(line)
    rest.quantity = line.quantity - returned
    rest.list_minor = left(line.list_minor)
    rest.net_minor = left(line.net_minor)
    rest.redeemed = left(line.redeemed)
    return rest
