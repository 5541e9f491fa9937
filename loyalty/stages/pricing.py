"""A receipt while it is being priced: the one mutable thing in the law.

Every line carries its list amount, its `net` (what is left to pay at this
moment) and its `floor` (what no discount may go below). The stages lower `net`
through `take` and `redeem` and nothing else, so that at every moment
`list − Σ discounts − redeemed = net`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from loyalty.index import Compiled, Facts, Node, rules_in
from loyalty.money import amount_of, least_amount_of, percent_within
from loyalty.receipt import Line, Receipt
from loyalty.rulebook import Rule, Settings
from loyalty.stages.conditions import holds
from loyalty.vocabulary import Selector, Token


@dataclass(frozen=True, slots=True)
class EarnedLot:
    """Points (hundredths) that one rule gives, and when they live: shop wall clock, half-open."""

    rule: str
    amount: int
    active_from: datetime
    expires_at: datetime | None


@dataclass(slots=True)
class PricedLine:
    """One line of the receipt on its way; all amounts in kopecks."""

    id: str
    tokens: frozenset[Token]
    price_minor: int
    quantity: int
    list_minor: int
    least_minor: int
    """The line at its minimum price, rounded up; may be above `list_minor`."""
    floor_minor: int
    net_minor: int
    no_discount: bool
    before_redeem_minor: int = 0
    redeemed: int = 0
    discounts: dict[str, int] = field(default_factory=dict)

    @property
    def room_minor(self) -> int:
        """What discounts may still take from the line."""
        return self.net_minor - self.floor_minor

    @property
    def discounted(self) -> bool:
        """Whether any discount has been given on the line."""
        return bool(self.discounts)

    def take(self, rule: Rule, amount_minor: int) -> None:
        """Book a discount of `rule`; amounts of 0 leave no trace."""
        if amount_minor:
            self.net_minor -= amount_minor
            self.discounts[rule.id] = self.discounts.get(rule.id, 0) + amount_minor

    def redeem(self, points: int) -> None:
        """Pay a part of the line with points."""
        self.net_minor -= points
        self.redeemed += points


class Pricing:
    """A compiled rulebook, a receipt, and what the stages have found so far."""

    __slots__ = ("compiled", "earned", "earned_lots", "lines", "lots_used", "receipt", "settings")

    def __init__(self, compiled: Compiled, receipt: Receipt) -> None:
        self.compiled = compiled
        self.settings = compiled.rulebook.settings
        self.receipt = receipt
        self.lines = [_line(line, compiled.facts(line.sku), self.settings) for line in receipt.lines]
        self.lots_used: list[tuple[str, int]] = []
        self.earned: dict[str, int] = {}
        self.earned_lots: list[EarnedLot] = []

    def live(self, rules: Iterable[Rule]) -> frozenset[str]:
        """The ids of the rules whose `when` holds now; a stage asks this once, when it begins."""
        return frozenset(rule.id for rule in rules if rule.when is None or holds(rule.when, self))

    def live_in(self, tree: Node) -> frozenset[str]:
        """The same for all rules of a tree."""
        return self.live(rules_in(tree))

    def matching(self, selector: Selector | None) -> Iterator[PricedLine]:
        """The lines a selector means; all of them without a selector."""
        for line in self.lines:
            if hits(selector, line):
                yield line


def hits(selector: Selector | None, line: PricedLine) -> bool:
    """Whether a rule's `items` mean this line; a rule without `items` means every line."""
    return selector is None or selector.hits(line.tokens, line.price_minor)


def total_net(lines: Sequence[PricedLine]) -> int:
    """What is left to pay on these lines."""
    return sum(line.net_minor for line in lines)


def _line(line: Line, facts: Facts, settings: Settings) -> PricedLine:
    """The line as it enters the first stage: at list, with its floor (§4)."""
    list_minor = amount_of(line.price_minor, line.quantity)
    least_minor = least_amount_of(facts.min_price_minor, line.quantity)
    floor_minor = min(least_minor, list_minor)
    no_discount = settings.no_discount is not None and settings.no_discount.hits(
        facts.tokens, line.price_minor
    )
    if no_discount:
        floor_minor = list_minor
    elif settings.max_line_discount_bp is not None:
        floor_minor = max(floor_minor, list_minor - percent_within(list_minor, settings.max_line_discount_bp))
    return PricedLine(
        id=line.id,
        tokens=facts.tokens,
        price_minor=line.price_minor,
        quantity=line.quantity,
        list_minor=list_minor,
        least_minor=least_minor,
        floor_minor=floor_minor,
        net_minor=list_minor,
        no_discount=no_discount,
    )
