"""The line stage: discounts that look at one line alone (rulebook.md §4, "line").

For each line, in receipt order, the tree of groups makes an offer: a list of
contributions (rule, kopecks). The offer is then clipped to the room above the
line's floor, in its order, and booked. Rules of the whole stage see only two
things of other lines: what is left of their `cap`, and whether they are live.

Known ugliness: what a chain took counts before the clip, so later links of a
chain may be counted on less than was really given. The law says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from loyalty.clauses import Branch, Clause, Node
from loyalty.effects import AmountOff, Percent, UnitPrice
from loyalty.money import THOUSANDTHS, amount_of, percent_of
from loyalty.stages.policy import winner
from loyalty.stages.pricing import PricedLine, Pricing

Offer = list[tuple[Clause, int]]
"""Contributions in the order in which they are clipped and booked; every amount is positive."""


def run(pricing: Pricing) -> None:
    """Give the line discounts of all lines."""
    dead: frozenset[Clause] = frozenset()
    if "line" in pricing.compiled.tested_stages:
        dead = pricing.dead_among(clause for line in pricing.lines for clause in line.plans.line.tested)
    cap_left: dict[Clause, int] = {}
    for line in pricing.lines:
        plan, room = line.plans.line, line.net_minor - line.floor_minor
        if room <= 0:
            continue
        if plan.percents:
            _take_best(plan.percents, line, room)
        elif plan.root.children:
            offer = Visit(line, room, dead, cap_left).offer(plan.root, taken=0)
            for clause, amount in offer:
                given = min(amount, line.net_minor - line.floor_minor)
                line.take(clause.id, given)
                if clause.cap is not None:
                    cap_left[clause] = cap_left.get(clause, clause.cap) - given


def _take_best(percents: Sequence[tuple[Clause, int]], line: PricedLine, room: int) -> None:
    """The greatest percent wins; of those that come to the same on this line, the earliest is booked.

    They rise from first to last, so it is enough to go back from the last while nothing is lost.
    """
    base = outside_sets(line) if line.pieces_in_sets else line.net_minor
    most = base if base < room else room
    best, chosen = 0, None
    for clause, bp in reversed(percents):
        amount = percent_of(base, bp)
        if amount > most:
            amount = most
        if amount < best or amount == 0:
            break
        best, chosen = amount, clause
    if chosen is not None:
        line.take(chosen.id, best)


def outside_sets(line: PricedLine) -> int:
    """What the part of the line outside set applications costs; the whole line where there are none."""
    if not line.pieces_in_sets:
        return line.net_minor
    return amount_of(line.unit_price_minor, line.quantity - line.pieces_in_sets * THOUSANDTHS)


class Visit:
    """What the tree offers one line."""

    __slots__ = ("cap_left", "dead", "fresh", "line", "outside", "room", "whole")

    def __init__(
        self, line: PricedLine, room: int, dead: frozenset[Clause], cap_left: dict[Clause, int]
    ) -> None:
        self.line = line
        self.room = room
        self.dead = dead
        self.cap_left = cap_left
        self.fresh = not line.discounts
        self.whole = (line.net_minor, line.quantity)
        self.outside = (outside_sets(line), line.quantity - line.pieces_in_sets * THOUSANDTHS)

    def offer(self, node: Node, taken: int) -> Offer:
        """The contributions of a node on the base less what a chain above it `taken`."""
        if isinstance(node, Clause):
            amount = self.amount(node, taken)
            return [(node, amount)] if amount > 0 else []
        if node.policy == "sum":
            return [part for child in node.children for part in self.offer(child, taken)]
        if node.policy == "chain":
            chained: Offer = []
            for child in node.children:
                link = self.offer(child, taken)
                taken += total_of(link)
                chained += link
            return chained
        return self.choose(node, [self.offer(child, taken) for child in node.children])

    def choose(self, branch: Branch, offers: list[Offer]) -> Offer:
        """The offer that a competing group takes."""
        return winner(branch.policy, offers, lambda offer: min(self.room, total_of(offer))) or []

    def amount(self, clause: Clause, taken: int) -> int:
        """What one rule gives, within its base and what is left of its cap."""
        amount = self.uncapped(clause, taken)
        return amount if clause.cap is None else min(amount, self.cap_left.get(clause, clause.cap))

    def uncapped(self, clause: Clause, taken: int) -> int:
        """What one rule gives, within its base."""
        if clause in self.dead or (clause.fresh and not self.fresh):
            return 0
        base, quantity = self.whole if clause.over_sets else self.outside
        base = max(0, base - taken)
        match clause.effect:
            case Percent(bp):
                amount = percent_of(base, bp)
            case AmountOff(amount_minor):
                amount = amount_of(amount_minor, quantity)
            case UnitPrice(price_minor):
                amount = base - amount_of(price_minor, quantity)
            case _:  # the parser lets no other effect into this stage
                raise AssertionError(clause.effect)
        return min(amount, base)


def total_of(offer: Offer) -> int:
    """What an offer comes to, before any clip."""
    return sum(amount for _, amount in offer)
