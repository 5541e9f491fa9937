"""The compiled rulebook: for this line and this customer, the few rules that could matter.

The idea
--------
A rulebook may hold ten thousand rules; a line of a receipt meets thirty of
them. So rules are filed twice, once, when the rulebook is loaded: by what they
say of goods (sku, category, brand, flag) and by what they ask of the receipt
(`gates.py`). What a rulebook has for one sku at one shelf price is put together
when it is first sold, and kept: a `Shelf`. On a shelf the rules of a stage are
made a plan for each kind of customer that comes (`clauses.py`): the tokens that
gates of such rules ask for have a bit each, and a kind of customer is a number.

    Compiled ── season(at, now) ──> Season ── shelf(sku, price) ──> Shelf
        everything that never        what is in force until       what the rulebook
        changes                      a bound of a period passes   says of these goods

A compiled rulebook is made from one rulebook and one catalogue, off the till's
thread, and put in force by swapping one reference. It remembers nothing of any
receipt. What is kept is bounded, and what was dropped is built again. Several
threads may price with one compiled rulebook: what they keep is only ever added
to a dict or dropped with the whole dict.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from loyalty.catalog import Catalog, Goods
from loyalty.clauses import Clause, EarnPlan, Groups, LinePlan, beaten_in_best
from loyalty.conditions import Period
from loyalty.effects import GROUP_STAGES, STAGES
from loyalty.money import percent_within
from loyalty.rulebook import Rulebook
from loyalty.selectors import Selector, Token, token

MAX_SHELVES = 20_000
"""Most shelves that are kept at once."""

MAX_PLANS = 64
"""Most kinds of customers for which one shelf keeps a plan."""

NOTHING: frozenset[Token] = frozenset()

_number = attrgetter("number")

NO_LINE_PLAN = LinePlan((), Groups((), "best"))
NO_EARN_PLAN = EarnPlan((), Groups((), "best"))


class Filed:
    """Rules of one stage filed under the tokens their gates ask for."""

    __slots__ = ("_by_token", "_open", "tokens")

    def __init__(self, clauses: Iterable[Clause] = ()) -> None:
        self._open: list[Clause] = []
        self._by_token: dict[Token, list[Clause]] = {}
        for clause in clauses:
            if clause.gate is None:
                self._open.append(clause)
            else:
                for asked in clause.gate:
                    self._by_token.setdefault(asked, []).append(clause)
        self.tokens = frozenset(self._by_token)

    def find(self, shown: frozenset[Token]) -> list[Clause]:
        """The rules that open to a receipt which shows these tokens, in order."""
        asked_for = shown & self.tokens
        if not asked_for:
            return self._open
        found = set(self._open)
        for asked in asked_for:
            found.update(self._by_token[asked])
        return sorted(found, key=_number)


@dataclass(frozen=True, slots=True)
class Plans:
    """What the rules of the stages come to for the goods of one shelf and one kind of customer.

    `receipt` are only those rules of that stage that have `items`.
    """

    price: tuple[Clause, ...]
    sets: tuple[Clause, ...]
    line: LinePlan
    receipt: tuple[Clause, ...]
    earn: EarnPlan


class Shelf:
    """What the rulebook says of one sku at one shelf price. Units in kopecks."""

    __slots__ = (
        "_asked", "_clauses", "_plans", "_season", "min_price_minor", "no_discount", "no_earn",
        "no_redeem", "price_minor", "sku", "tokens", "unit_floor_minor", "weighed",
    )  # fmt: skip

    def __init__(self, sku: str, price_minor: int, season: Season) -> None:
        catalog, settings = season.compiled.catalog, season.compiled.rulebook.settings
        goods = catalog.skus.get(sku, _UNKNOWN)
        self.sku = sku
        self.price_minor = price_minor
        self.tokens = season.compiled.tokens_of(sku, goods)
        self.weighed = goods.weighed
        self.min_price_minor = goods.min_price_minor
        self.no_discount = settings.no_discount is not None and self.is_meant(settings.no_discount)
        self.no_redeem = settings.no_redeem is not None and self.is_meant(settings.no_redeem)
        self.no_earn = settings.no_earn is not None and self.is_meant(settings.no_earn)
        self.unit_floor_minor = goods.min_price_minor
        if settings.max_line_discount_bp is not None:
            least = price_minor - percent_within(price_minor, settings.max_line_discount_bp)
            self.unit_floor_minor = max(self.unit_floor_minor, least)
        self._season = season
        self._clauses = [
            clause
            for clause in season.awake(season.compiled.naming(self.tokens))
            if clause.named_only or clause.means(self.tokens, price_minor)
        ]
        self._asked = season.compiled.unnamed_bits
        for clause in self._clauses:
            self._asked |= clause.gate_bits
        self._plans: dict[int, Plans] = {}

    def is_meant(self, selector: Selector | None) -> bool:
        """Whether a rule's `items` mean these goods; a rule without `items` means all."""
        return selector is None or selector.hits(self.tokens, self.price_minor)

    def plans(self, shown_bits: int, shown: frozenset[Token]) -> Plans:
        """The plans for a receipt that shows these tokens: built once for all that show the same of those
        that matter here.
        """
        key = shown_bits & self._asked
        plans = self._plans.get(key)
        if plans is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            plans = self._plans[key] = self._plan(key, shown)
        return plans

    def _plan(self, key: int, shown: frozenset[Token]) -> Plans:
        season = self._season
        clauses = [clause for clause in self._clauses if clause.gate is None or clause.gate_bits & key]
        unnamed = season.awake(season.compiled.unnamed.find(shown))
        if unnamed:
            clauses += [clause for clause in unnamed if clause.means(self.tokens, self.price_minor)]
            clauses.sort(key=_number)
        by_stage: dict[str, list[Clause]] = {stage: [] for stage in LINE_STAGES}
        for clause in clauses:
            by_stage[clause.stage].append(clause)
        groups = season.compiled.groups
        return Plans(
            price=tuple(by_stage["price"]),
            sets=tuple(by_stage["sets"]),
            line=LinePlan(by_stage["line"], groups["line"]) if by_stage["line"] else NO_LINE_PLAN,
            receipt=tuple(by_stage["receipt"]),
            earn=EarnPlan(by_stage["earn"], groups["earn"]) if by_stage["earn"] else NO_EARN_PLAN,
        )


class Season:
    """What is in force while no bound of a period passes, with the shelves that were asked for."""

    __slots__ = ("_shelves", "_sleeping", "compiled")

    def __init__(self, compiled: Compiled, at: datetime, now: datetime) -> None:
        self.compiled = compiled
        self._sleeping = frozenset(
            clause.number
            for clause in compiled.with_period
            if not all(in_period(period, at, now) for period in clause.periods)
        )
        self._shelves: dict[tuple[str, int], Shelf] = {}

    def shelf(self, sku: str, price_minor: int) -> Shelf:
        """The shelf of a sku at a price in kopecks a unit."""
        shelf = self._shelves.get((sku, price_minor))
        if shelf is None:
            if len(self._shelves) >= MAX_SHELVES:
                self._shelves.clear()
            shelf = self._shelves[(sku, price_minor)] = Shelf(sku, price_minor, self)
        return shelf

    def everywhere(self, stage: str, shown: frozenset[Token]) -> list[Clause]:
        """The rules of a stage that are not found by the goods of a line, open to these tokens, in order."""
        return self.awake(self.compiled.everywhere[stage].find(shown))

    def awake(self, clauses: list[Clause]) -> list[Clause]:
        """Of these rules those whose period is now."""
        sleeping = self._sleeping
        return [clause for clause in clauses if clause.number not in sleeping] if sleeping else clauses


LINE_STAGES = ("price", "sets", "line", "receipt", "earn")
"""The stages whose rules are found by the goods of a line."""


class Compiled:
    """A rulebook with its catalogue, ready for `loyalty.quote`.

    `everywhere` are the rules of a stage that are not found by goods, `unnamed` those of the other
    stages that name no goods; `stages` are the stages that have a rule at all, `tested_stages` those with
    a rule of which a condition is left after its gate.
    """

    __slots__ = (
        "_bits", "_by_goods", "_instants", "_lineages", "_season", "_wall_clocks", "catalog", "clauses",
        "everywhere", "groups", "receipt_by_goods", "rulebook", "stages", "tested_stages", "unnamed",
        "unnamed_bits", "with_period",
    )  # fmt: skip

    def __init__(self, rulebook: Rulebook, catalog: Catalog) -> None:
        self.rulebook = rulebook
        self.catalog = catalog
        rules = [rule for rule in rulebook.rules if rule.enabled]
        rules.sort(key=lambda rule: (rule.priority, rule.id))
        self.clauses = [Clause(number, rule) for number, rule in enumerate(rules)]
        self.groups = {
            stage: Groups(
                (group for group in rulebook.groups if group.stage == stage),
                rulebook.settings.policy.get(stage, "best"),
            )
            for stage in GROUP_STAGES
        }
        unnamed: list[Clause] = []
        everywhere: dict[str, list[Clause]] = {stage: [] for stage in STAGES}
        self._by_goods: dict[Token, list[int]] = {}
        for clause in self.clauses:
            if clause.stage not in LINE_STAGES or (clause.stage == "receipt" and clause.items is None):
                everywhere[clause.stage].append(clause)
            elif all(selector is not None and selector.tokens for selector in clause.selectors):
                for selector in clause.selectors:
                    for named in selector.tokens if selector is not None else ():
                        self._by_goods.setdefault(named, []).append(clause.number)
            else:
                unnamed.append(clause)
        for named, numbers in self._by_goods.items():
            self._by_goods[named] = self._without_beaten(numbers)
        self.unnamed = Filed(unnamed)
        self._bits: dict[Token, int] = {}
        for clause in self.clauses:
            if clause.gate and clause.stage in LINE_STAGES:
                for asked in clause.gate:
                    clause.gate_bits |= self._bits.setdefault(asked, 1 << len(self._bits))
        self.unnamed_bits = self.bits_of(self.unnamed.tokens)
        self.everywhere = {stage: Filed(clauses) for stage, clauses in everywhere.items()}
        self.stages = frozenset(clause.stage for clause in self.clauses)
        self.tested_stages = frozenset(clause.stage for clause in self.clauses if clause.test is not None)
        self.receipt_by_goods = any(c.stage == "receipt" and c.items is not None for c in self.clauses)
        self._lineages: dict[str | None, frozenset[Token]] = {}
        self.with_period = [clause for clause in self.clauses if clause.periods]
        bounds = {b for c in self.with_period for p in c.periods for b in (p.start, p.end) if b is not None}
        self._wall_clocks = sorted(bound for bound in bounds if bound.tzinfo is None)
        self._instants = sorted(bound for bound in bounds if bound.tzinfo is not None)
        self._season: tuple[tuple[int, int], Season | None] = ((-1, -1), None)

    def season(self, at: datetime, now: datetime) -> Season:
        """What is in force at an instant, when the shop's wall clock shows `now`."""
        key = (bisect_right(self._wall_clocks, now), bisect_right(self._instants, at))
        kept, season = self._season
        if season is None or kept != key:
            season = Season(self, at, now)
            self._season = (key, season)
        return season

    def _without_beaten(self, numbers: list[int]) -> list[int]:
        """Of the rules that name the same goods, those that are not beaten wherever these goods are."""
        for stage in ("line", "earn"):
            if self.groups[stage].root_policy == "best":
                rivals = [
                    c for n in numbers if (c := self.clauses[n]).stage == stage and c.rule.group is None
                ]
                if len(rivals) > 1:
                    beaten = {clause.number for clause in beaten_in_best(rivals, _is_always_there)}
                    numbers = [number for number in numbers if number not in beaten]
        return numbers

    def bits_of(self, tokens: frozenset[Token]) -> int:
        """The bits of those tokens that gates of rules which are asked line by line ask for."""
        bits = 0
        for shown in tokens:
            bits |= self._bits.get(shown, 0)
        return bits

    def tokens_of(self, sku: str, goods: Goods) -> frozenset[Token]:
        """Everything that a selector can name of these goods; of an unknown sku that is its own name."""
        lineage = self._lineages.get(goods.category)
        if lineage is None:
            lineage = frozenset(token("category", name) for name in self.catalog.lineage(goods.category))
            self._lineages[goods.category] = lineage
        own = [("sku", sku), *[("flag", flag) for flag in goods.flags]]
        if goods.brand is not None:
            own.append(("brand", goods.brand))
        return lineage.union(own)

    def naming(self, tokens: frozenset[Token]) -> list[Clause]:
        """The rules that name goods by one of these tokens, in order."""
        numbers: set[int] = set()
        for named in tokens:
            numbers.update(self._by_goods.get(named, ()))
        clauses = self.clauses
        return [clauses[number] for number in sorted(numbers)]


def compile_rulebook(rulebook: Rulebook, catalog: Catalog) -> Compiled:
    """Make `rulebook` ready to price receipts of goods from `catalog`."""
    return Compiled(rulebook, catalog)


def in_period(period: Period, at: datetime, now: datetime) -> bool:
    """Half-open; a bound with `Z` is compared with the instant, one without with the shop's clock (§3)."""
    start, end = period.start, period.end
    if start is not None and (at if start.tzinfo else now) < start:
        return False
    return end is None or (at if end.tzinfo else now) < end


def _is_always_there(clause: Clause) -> bool:
    """Whether a percent holds for every receipt, at any time, wherever the goods it names are."""
    return clause.plain and clause.named_only and clause.gate is None and not clause.periods


_UNKNOWN = Goods()
