"""The receipt stage: discounts on the sum, shared out over the lines (rulebook.md §4, "receipt").

A rule looks at the base amounts of its eligible lines, finds one discount D,
and shares it out by those bases within what each line has above its floor.
The base is what the parent of the rule hands down: the amounts when the stage
began, or, in a chain, the amounts at that moment. Competing rules are tried
out, and compared by what they would really give after capacities.
"""

from __future__ import annotations

from collections.abc import Sequence

from loyalty.index import Node
from loyalty.money import distribute, distribute_clipped, percent_of
from loyalty.rulebook import Rule
from loyalty.stages.policy import winner
from loyalty.stages.pricing import PricedLine, Pricing, hits
from loyalty.vocabulary import ReceiptAmount, ReceiptPercent

Gift = list[tuple[Rule, list[int]]]
"""What rules give, in order: kopecks for each line of the receipt."""


def run(pricing: Pricing) -> None:
    """Give the discounts on the receipt."""
    tree = pricing.compiled.receipt
    live = pricing.live_in(tree)
    if not live:
        return
    net = [line.net_minor for line in pricing.lines]
    for rule, shares in _Stage(pricing.lines, live).gift(tree, net, net):
        for line, share in zip(pricing.lines, shares, strict=True):
            line.take(rule, share)


class _Stage:
    """The stage over one receipt; holds what was so when the stage began."""

    __slots__ = ("floors", "fresh", "lines", "live")

    def __init__(self, lines: Sequence[PricedLine], live: frozenset[str]) -> None:
        self.lines = lines
        self.live = live
        self.floors = [line.floor_minor for line in lines]
        self.fresh = [not line.discounted for line in lines]

    def gift(self, node: Node, base: Sequence[int], net: Sequence[int]) -> Gift:
        """What a node gives on `base` while the lines stand at `net`; neither is changed."""
        if isinstance(node, Rule):
            shares = self._shares(node, base, net)
            return [(node, shares)] if any(shares) else []
        if node.policy in ("sum", "chain"):
            given: Gift = []
            for child in node.children:
                now = _after(net, given)
                given += self.gift(child, now if node.policy == "chain" else base, now)
            return given
        gifts = [self.gift(child, base, net) for child in node.children]
        return winner(node.policy, gifts, _total) or []

    def _shares(self, rule: Rule, base: Sequence[int], net: Sequence[int]) -> list[int]:
        """The discount of one rule for each line."""
        if rule.id not in self.live:
            return []
        weights = [base[i] if self._eligible(rule, i) else 0 for i in range(len(self.lines))]
        capacities = [amount - floor for amount, floor in zip(net, self.floors, strict=True)]
        base_sum = sum(weights)
        match rule.effect:
            case ReceiptPercent(bp, spill):
                discount = percent_of(base_sum, bp)
            case ReceiptAmount(amount_minor, spill):
                discount = amount_minor
            case _:  # the parser lets no other effect into this stage
                raise AssertionError(rule.effect)
        discount = min(discount, base_sum)
        if rule.cap is not None:
            discount = min(discount, rule.cap)
        return (distribute if spill else distribute_clipped)(discount, weights, capacities)

    def _eligible(self, rule: Rule, i: int) -> bool:
        line = self.lines[i]
        return not line.no_discount and (self.fresh[i] or not rule.fresh) and hits(rule.items, line)


def _after(net: Sequence[int], given: Gift) -> list[int]:
    left = list(net)
    for _, shares in given:
        for i, share in enumerate(shares):
            left[i] -= share
    return left


def _total(gift: Gift) -> int:
    return sum(sum(shares) for _, shares in gift)
