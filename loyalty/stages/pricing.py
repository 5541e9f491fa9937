"""A receipt while it is being priced: the one mutable thing in the law.

Every line carries its list amount, its `net` (what is left to pay at this
moment) and its `floor` (what no discount may go below). The stages lower `net`
through `take` and `redeem` and nothing else, so that at every moment
`list − Σ discounts − redeemed = net`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from loyalty.clauses import Clause
from loyalty.gates import shown_by
from loyalty.index import Compiled, Plans, Shelf
from loyalty.money import amount_of, least_amount_of, percent_within
from loyalty.receipt import Line, Lot, Receipt
from loyalty.selectors import Selector, Token
from loyalty.stages.conditions import holds


class EarnedLot(NamedTuple):
    """Points (hundredths) that one rule gives, and when they live: shop wall clock, half-open."""

    rule: str
    amount: int
    active_from: datetime
    expires_at: datetime | None


class PricedLine:
    """One line of the receipt on its way; all amounts in kopecks.

    `least_minor` is the line at its minimum price, rounded up, and may be above the list amount.
    `pieces_in_sets` counts the units that set rules used.
    """

    __slots__ = (
        "discounts", "floor_minor", "id", "least_minor", "list_minor", "net_minor", "pieces_in_sets", "plans",
        "quantity", "redeemed", "shelf", "unit_price_minor",
    )  # fmt: skip

    def __init__(self, line: Line, shelf: Shelf, plans: Plans, max_discount_bp: int | None) -> None:
        self.id = line.id
        self.shelf = shelf
        self.plans = plans
        self.quantity = quantity = line.quantity
        self.unit_price_minor = price = line.price_minor
        self.list_minor = self.net_minor = list_minor = amount_of(price, quantity)
        self.discounts: dict[str, int] = {}
        self.redeemed = 0
        self.pieces_in_sets = 0
        self.least_minor = self.floor_minor = 0
        if shelf.min_price_minor:
            self.least_minor = least_amount_of(shelf.min_price_minor, quantity)
            self.floor_minor = min(self.least_minor, list_minor)
        if max_discount_bp is not None:
            bound = list_minor - percent_within(list_minor, max_discount_bp)
            self.floor_minor = max(self.floor_minor, bound)
        if shelf.no_discount:
            self.floor_minor = list_minor

    @property
    def before_redeem_minor(self) -> int:
        """What was left to pay before points paid."""
        return self.net_minor + self.redeemed

    def take(self, rule: str, amount_minor: int) -> None:
        """Book a discount; amounts of 0 leave no trace."""
        if amount_minor:
            self.net_minor -= amount_minor
            self.discounts[rule] = self.discounts.get(rule, 0) + amount_minor

    def redeem(self, points: int) -> None:
        """Pay a part of the line with points."""
        self.net_minor -= points
        self.redeemed += points


class Pricing:
    """A compiled rulebook, a receipt, and what the stages have found so far.

    `now` is the shop's wall clock. `redeemer` is the rule by which points paid, `multiplied` the
    multipliers that worked on each earning rule: both matter to coupons. `sets` are (rule, total) in
    the order of signatures.
    """

    __slots__ = (
        "_measures", "bits", "compiled", "day_key", "earned", "earned_lots", "grants", "large_sets", "lines",
        "lots_used", "multiplied", "now", "receipt", "redeemed", "redeemer", "rewards", "sets", "settings",
        "shown",
    )  # fmt: skip

    def __init__(self, compiled: Compiled, receipt: Receipt, day_key: bytes | None = None) -> None:
        self.compiled = compiled
        self.settings = compiled.rulebook.settings
        self.receipt = receipt
        self.now = receipt.wall_clock
        self.day_key = day_key
        self.shown: frozenset[Token] = shown_by(receipt)
        max_discount_bp = self.settings.max_line_discount_bp
        self.bits = bits = compiled.bits_shown(self.shown, receipt.at, self.now)
        self.lines: list[PricedLine] = []
        shelf_of, append = compiled.shelf, self.lines.append
        for line in receipt.lines:
            shelf = shelf_of(line.sku, line.price_minor)
            append(PricedLine(line, shelf, shelf.plans(bits, compiled), max_discount_bp))
        self.sets: list[tuple[str, int]] = []
        self.large_sets: list[tuple[str, ...]] = []
        self.redeemed = 0
        self.redeemer: Clause | None = None
        self.lots_used: list[tuple[Lot, int]] = []
        self.earned: dict[str, int] = {}
        self.multiplied: dict[str, set[str]] = {}
        self.earned_lots: list[tuple[int, EarnedLot]] = []
        self.rewards: dict[str, int] = {}
        self.grants: list[dict[str, object]] = []
        self._measures: dict[tuple[str, Selector | None], int] = {}

    def begin(self) -> None:
        """A stage begins: conditions look at the amounts of this moment."""
        self._measures.clear()

    def begin_with(self, lines: list[PricedLine]) -> None:
        """A stage begins again over other lines; what the receipt shows stays."""
        self.lines = lines
        self._measures = {}

    def lives(self, clause: Clause) -> bool:
        """Whether what is left of a rule's condition holds now; a stage asks when it begins."""
        return clause.test is None or holds(clause.test, self)

    def everywhere(self, stage: str) -> list[Clause]:
        """The live rules of a stage that are not asked line by line, in order."""
        found = self.compiled.rules_everywhere(stage, self.shown, self.bits)
        return [clause for clause in found if self.lives(clause)]

    def dead_among(self, clauses: Iterable[Clause]) -> frozenset[Clause]:
        """Of these rules those whose condition does not hold now."""
        return frozenset(clause for clause in set(clauses) if not self.lives(clause))

    # -- what conditions measure ------------------------------------------------------------------

    def measure(self, what: str, of: Selector | None) -> int:
        """`net` or `list` kopecks, `quantity` thousandths or `distinct` skus of the lines that `of` means."""
        key = (what, of)
        value = self._measures.get(key)
        if value is None:
            value = self._measures[key] = _MEASURES[what](self.meant(of))
        return value

    def meant(self, of: Selector | None) -> Iterator[PricedLine]:
        """The lines a selector means; all of them without a selector."""
        return (line for line in self.lines if line.shelf.is_meant(of))


_MEASURES: Mapping[str, Callable[[Iterable[PricedLine]], int]] = {
    "net": lambda lines: sum(line.net_minor for line in lines),
    "list": lambda lines: sum(line.list_minor for line in lines),
    "quantity": lambda lines: sum(line.quantity for line in lines),
    "distinct": lambda lines: len({line.shelf.sku for line in lines}),
}
