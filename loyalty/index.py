"""The compiled rulebook: for this line and this customer, the few rules that could matter.

The idea
--------
A rulebook may hold ten thousand rules; a line of a receipt meets thirty of
them. So rules are filed twice, once, when the rulebook is loaded: by what they
say of goods (sku, category, brand, flag) and by what they ask of the receipt
(`gates.py`). What a rulebook has for one sku at one shelf price is put together
when it is first sold, and kept: a `Shelf`. On a shelf the rules of a stage are
made a plan for each kind of customer that comes (`clauses.py`).

    Compiled ── season(receipt) ──> Season ── shelf(sku, price) ──> Shelf
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
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Generic, TypeVar

from loyalty.catalog import Catalog, Goods
from loyalty.clauses import Clause, EarnPlan, Groups, LinePlan
from loyalty.conditions import Period
from loyalty.effects import GROUP_STAGES, STAGES
from loyalty.money import percent_within
from loyalty.receipt import Receipt
from loyalty.rulebook import Rulebook
from loyalty.selectors import Selector, Token, token

MAX_SHELVES = 20_000
"""Most shelves that are kept at once."""

MAX_PLANS = 64
"""Most kinds of customers for which one shelf keeps a plan."""

NOTHING: frozenset[Token] = frozenset()

Plan = TypeVar("Plan")


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
        found = {clause.number: clause for clause in self._open}
        for asked in shown & self.tokens:
            for clause in self._by_token[asked]:
                found[clause.number] = clause
        return [found[number] for number in sorted(found)]


class Candidates(Generic[Plan]):
    """The rules of one stage that could matter for the goods of one shelf.

    A plan is built once for everybody who shows the same of the tokens that matter here: `clauses`
    are the rules that name these goods, `unnamed` those that name none and may still mean them.
    """

    __slots__ = ("_build", "_clauses", "_plans", "_tokens", "_unnamed")

    def __init__(
        self,
        clauses: Sequence[Clause],
        unnamed: Callable[[frozenset[Token]], list[Clause]],
        build: Callable[[list[Clause]], Plan],
    ) -> None:
        self._clauses = clauses
        self._unnamed = unnamed
        self._build = build
        self._plans: dict[frozenset[Token], Plan] = {}
        self._tokens = NOTHING.union(*(clause.gate for clause in clauses if clause.gate))

    def plan(self, shown: frozenset[Token], shown_unnamed: frozenset[Token]) -> Plan:
        """The plan for a receipt that shows these tokens; `shown_unnamed` of them matter to `unnamed`."""
        key = shown & self._tokens if self._tokens else NOTHING
        if shown_unnamed:
            key |= shown_unnamed
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            clauses = [clause for clause in self._clauses if clause.opens_to(key)]
            clauses += self._unnamed(key)
            clauses.sort(key=_number)
            plan = self._plans[key] = self._build(clauses)
        return plan


class Shelf:
    """What the rulebook says of one sku at one shelf price. Units in kopecks."""

    __slots__ = (
        "earn", "line", "min_price_minor", "no_discount", "no_earn", "no_redeem", "price", "price_minor",
        "receipt", "sets", "sku", "tokens", "unit_floor_minor", "weighed",
    )  # fmt: skip

    price: Candidates[tuple[Clause, ...]]
    sets: Candidates[tuple[Clause, ...]]
    line: Candidates[LinePlan]
    receipt: Candidates[tuple[Clause, ...]]
    earn: Candidates[EarnPlan]

    def __init__(self, sku: str, price_minor: int, compiled: Compiled) -> None:
        goods = compiled.catalog.skus.get(sku, _UNKNOWN)
        settings = compiled.rulebook.settings
        self.sku = sku
        self.price_minor = price_minor
        self.tokens = _tokens(sku, goods, compiled.catalog)
        self.weighed = goods.weighed
        self.min_price_minor = goods.min_price_minor
        self.no_discount = self.is_in(settings.no_discount)
        self.no_redeem = self.is_in(settings.no_redeem)
        self.no_earn = self.is_in(settings.no_earn)
        self.unit_floor_minor = goods.min_price_minor
        if settings.max_line_discount_bp is not None:
            least = price_minor - percent_within(price_minor, settings.max_line_discount_bp)
            self.unit_floor_minor = max(self.unit_floor_minor, least)

    def is_in(self, selector: Selector | None) -> bool:
        """Whether a setting names these goods; one that is absent names none."""
        return selector is not None and selector.hits(self.tokens, self.price_minor)

    def is_meant(self, selector: Selector | None) -> bool:
        """Whether a rule's `items` mean these goods; a rule without `items` means all."""
        return selector is None or selector.hits(self.tokens, self.price_minor)


class Season:
    """What is in force while no bound of a period passes, with the shelves that were asked for."""

    __slots__ = ("_compiled", "_shelves", "_sleeping", "unnamed_tokens")

    def __init__(self, compiled: Compiled, receipt: Receipt) -> None:
        self._compiled = compiled
        self._sleeping = frozenset(
            clause.number
            for clause in compiled.with_period
            if not all(in_period(period, receipt) for period in clause.periods)
        )
        self._shelves: dict[tuple[str, int], Shelf] = {}

    def shelf(self, sku: str, price_minor: int) -> Shelf:
        """The shelf of a sku at a price in kopecks a unit."""
        shelf = self._shelves.get((sku, price_minor))
        if shelf is None:
            if len(self._shelves) >= MAX_SHELVES:
                self._shelves.clear()
            shelf = self._shelves[(sku, price_minor)] = self._stock(Shelf(sku, price_minor, self._compiled))
        return shelf

    def everywhere(self, stage: str, shown: frozenset[Token]) -> list[Clause]:
        """The rules of a stage that are not asked line by line, open to these tokens, in order."""
        return self._awake(self._compiled.everywhere[stage].find(shown))

    def _awake(self, clauses: list[Clause]) -> list[Clause]:
        sleeping = self._sleeping
        return [clause for clause in clauses if clause.number not in sleeping] if sleeping else clauses

    def _stock(self, shelf: Shelf) -> Shelf:
        compiled = self._compiled
        named = compiled.naming(shelf.tokens)
        by_stage: dict[str, list[Clause]] = {stage: [] for stage in LINE_STAGES}
        for clause in self._awake(named):
            if clause.means(shelf.tokens, shelf.price_minor):
                by_stage[clause.rule.stage].append(clause)

        def candidates(stage: str, build: Callable[[list[Clause]], Plan]) -> Candidates[Plan]:
            def unnamed(shown: frozenset[Token]) -> list[Clause]:
                found = self._awake(compiled.unnamed[stage].find(shown))
                return [clause for clause in found if clause.means(shelf.tokens, shelf.price_minor)]

            return Candidates(by_stage[stage], unnamed, build)

        shelf.price = candidates("price", tuple)
        shelf.sets = candidates("sets", tuple)
        shelf.line = candidates("line", lambda clauses: LinePlan(clauses, compiled.groups["line"]))
        shelf.receipt = candidates("receipt", tuple)
        shelf.earn = candidates("earn", lambda clauses: EarnPlan(clauses, compiled.groups["earn"]))
        return shelf


LINE_STAGES = ("price", "sets", "line", "receipt", "earn")
"""The stages whose rules are found by the goods of a line."""


class Compiled:
    """A rulebook with its catalogue, ready for `loyalty.quote`."""

    __slots__ = (
        "_by_goods", "_instants", "_season", "_wall_clocks", "catalog", "clauses", "everywhere", "groups",
        "rulebook", "unnamed", "with_period",
    )  # fmt: skip

    def __init__(self, rulebook: Rulebook, catalog: Catalog) -> None:
        self.rulebook = rulebook
        self.catalog = catalog
        rules = sorted((rule for rule in rulebook.rules if rule.enabled), key=lambda rule: rule.order)
        self.clauses = [Clause(number, rule) for number, rule in enumerate(rules)]
        self.groups = {
            stage: Groups(
                (group for group in rulebook.groups if group.stage == stage),
                rulebook.settings.policy.get(stage, "best"),
            )
            for stage in GROUP_STAGES
        }
        unnamed: dict[str, list[Clause]] = {stage: [] for stage in LINE_STAGES}
        everywhere: dict[str, list[Clause]] = {stage: [] for stage in STAGES}
        self._by_goods: dict[Token, list[Clause]] = {}
        for clause in self.clauses:
            stage = clause.rule.stage
            if stage not in LINE_STAGES or (stage == "receipt" and clause.items is None):
                everywhere[stage].append(clause)
            elif all(selector is not None and selector.tokens for selector in clause.selectors):
                for selector in clause.selectors:
                    for named in selector.tokens if selector is not None else ():
                        self._by_goods.setdefault(named, []).append(clause)
            else:
                unnamed[stage].append(clause)
        self.unnamed = {stage: Filed(clauses) for stage, clauses in unnamed.items()}
        self.everywhere = {stage: Filed(clauses) for stage, clauses in everywhere.items()}
        self.with_period = [clause for clause in self.clauses if clause.periods]
        bounds = {b for c in self.with_period for p in c.periods for b in (p.start, p.end) if b is not None}
        self._wall_clocks = sorted(bound for bound in bounds if bound.tzinfo is None)
        self._instants = sorted(bound for bound in bounds if bound.tzinfo is not None)
        self._season: tuple[tuple[int, int], Season | None] = ((-1, -1), None)

    def season(self, receipt: Receipt) -> Season:
        """What is in force at the receipt's time."""
        key = (bisect_right(self._wall_clocks, receipt.wall_clock), bisect_right(self._instants, receipt.at))
        kept, season = self._season
        if season is None or kept != key:
            season = Season(self, receipt)
            self._season = (key, season)
        return season

    def naming(self, tokens: frozenset[Token]) -> list[Clause]:
        """The rules that name goods by one of these tokens, in order."""
        found = {c.number: c for named in tokens for c in self._by_goods.get(named, ())}
        return [found[number] for number in sorted(found)]


def compile_rulebook(rulebook: Rulebook, catalog: Catalog) -> Compiled:
    """Make `rulebook` ready to price receipts of goods from `catalog`."""
    return Compiled(rulebook, catalog)


def in_period(period: Period, receipt: Receipt) -> bool:
    """Half-open; a bound with `Z` is compared with the instant, one without with the shop's clock (§3)."""
    start, end = period.start, period.end
    return (start is None or not _is_before(receipt, start)) and (end is None or _is_before(receipt, end))


def _is_before(receipt: Receipt, bound: datetime) -> bool:
    return (receipt.at if bound.tzinfo else receipt.wall_clock) < bound


def _number(clause: Clause) -> int:
    return clause.number


def _tokens(sku: str, goods: Goods, catalog: Catalog) -> frozenset[Token]:
    """Everything that a selector can name of these goods; of an unknown sku that is its own name."""
    tokens = {token("sku", sku)}
    tokens.update(token("category", category) for category in catalog.lineage(goods.category))
    tokens.update(token("flag", flag) for flag in goods.flags)
    if goods.brand is not None:
        tokens.add(token("brand", goods.brand))
    return frozenset(tokens)


_UNKNOWN = Goods()
