"""The line stage: discounts that look at one line alone (rulebook.md §4, "line").

For each line, in receipt order, the tree of groups makes an offer: a list of
contributions (rule, kopecks). The offer is then clipped to the room above the
line's floor, in its order, and booked. Rules of the whole stage see only two
things of other lines: what is left of their `cap`, and whether they are live.

Known ugliness: what a chain took counts before the clip, so later links of a
chain may be counted on less than was really given. The law says so.
"""

from __future__ import annotations

from loyalty.index import Node
from loyalty.money import amount_of, percent_of
from loyalty.rulebook import Rule
from loyalty.stages.policy import winner
from loyalty.stages.pricing import PricedLine, Pricing, hits
from loyalty.vocabulary import AmountOff, Percent

Offer = list[tuple[Rule, int]]
"""Contributions in the order in which they are clipped and booked; every amount is positive."""


def run(pricing: Pricing) -> None:
    """Give the line discounts of all lines."""
    tree = pricing.compiled.line
    live = pricing.live_in(tree)
    if not live:
        return
    cap_left: dict[str, int] = {}
    for line in pricing.lines:
        visit = _Visit(line, live, cap_left)
        for rule, amount in visit.offer(tree, taken=0):
            given = min(amount, line.room_minor)
            line.take(rule, given)
            if rule.cap is not None:
                cap_left[rule.id] = cap_left.get(rule.id, rule.cap) - given


class _Visit:
    """What the tree offers one line."""

    __slots__ = ("base", "cap_left", "fresh", "line", "live", "room")

    def __init__(self, line: PricedLine, live: frozenset[str], cap_left: dict[str, int]) -> None:
        self.line = line
        self.live = live
        self.cap_left = cap_left
        self.base = line.net_minor  # the whole line: with no sets there is nothing outside or inside
        self.room = line.room_minor
        self.fresh = not line.discounted

    def offer(self, node: Node, taken: int) -> Offer:
        """The contributions of a node on the base less what a chain above it `taken`."""
        if isinstance(node, Rule):
            amount = self._amount(node, max(0, self.base - taken))
            return [(node, amount)] if amount > 0 else []
        if node.policy == "sum":
            return [part for child in node.children for part in self.offer(child, taken)]
        if node.policy == "chain":
            chained: Offer = []
            for child in node.children:
                link = self.offer(child, taken)
                taken += _total(link)
                chained += link
            return chained
        offers = [self.offer(child, taken) for child in node.children]
        return winner(node.policy, offers, lambda offer: min(self.room, _total(offer))) or []

    def _amount(self, rule: Rule, base: int) -> int:
        """What one rule gives on `base`, within [0, base] and what is left of its cap."""
        if rule.id not in self.live or not hits(rule.items, self.line) or (rule.fresh and not self.fresh):
            return 0
        match rule.effect:
            case Percent(bp):
                amount = percent_of(base, bp)
            case AmountOff(amount_minor):
                amount = amount_of(amount_minor, self.line.quantity)
            case _:  # the parser lets no other effect into this stage
                raise AssertionError(rule.effect)
        amount = min(amount, base)
        return amount if rule.cap is None else min(amount, self.cap_left.get(rule.id, rule.cap))


def _total(offer: Offer) -> int:
    return sum(amount for _, amount in offer)
