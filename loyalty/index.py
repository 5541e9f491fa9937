"""The compiled rulebook: for this line and this customer, the few rules that could matter.

The idea
--------
A rulebook may hold ten thousand rules; a line of a receipt meets thirty of
them. So rules are filed twice, once, when the rulebook is loaded: by what they
say of goods (sku, category, brand, flag) and by what they ask of the receipt
(`gates.py`).

What a rulebook has for all goods of a category is put together at once: a
`Lineage`. What it has for one sku at one shelf price is put together when it is
first sold, and kept: a `Shelf`, which shares the most of it with its lineage.
On both, the rules of a stage are made plans (`clauses.py`).

Not all rules are open to every receipt at every time. Each token that a gate
asks for has a bit, and so has each period; a receipt shows some of them. Plans
are made for a key, the bits shown of those that matter here, so there is one
for each kind of customer, and a period that begins or ends is another key and
builds nothing anew but what it changes.

A compiled rulebook is made from one rulebook and one catalogue, off the till's
thread, and put in force by swapping one reference. It remembers nothing of any
receipt. What is kept is bounded, and what was dropped is built again. Several
threads may price with one compiled rulebook: what they keep is only ever added
to a dict or dropped with the whole dict. Nothing in it points back at it, so it
is gone as soon as the last sale that was opened with it is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from loyalty.catalog import Catalog, Goods
from loyalty.clauses import Clause, EarnPlan, Groups, LinePlan, beaten_in_best, by_number, clauses_in
from loyalty.conditions import Period
from loyalty.effects import GROUP_STAGES, STAGES
from loyalty.money import percent_within
from loyalty.rulebook import Rulebook
from loyalty.selectors import Selector, Token

MAX_KEPT = 4_000_000
"""Most references to rules that are kept in all, some 8 bytes each."""

SHELF_WEIGHT = 100
"""What a shelf or a lineage itself counts among them."""

MAX_PLANS = 64
"""Most kinds of customers for which one shelf keeps its plans."""

LINE_STAGES = ("price", "sets", "line", "receipt", "earn")
"""The stages whose rules are found by the goods of a line."""


class Filed:
    """Rules of one stage filed under the tokens their gates ask for; they are known by number."""

    __slots__ = ("_by_token", "_clauses", "_open", "_tokens")

    def __init__(self, stage_clauses: Iterable[Clause], clauses: Sequence[Clause]) -> None:
        self._clauses = clauses
        self._open: list[int] = []
        self._by_token: dict[Token, list[int]] = {}
        for clause in stage_clauses:
            if clause.gate is None:
                self._open.append(clause.number)
            else:
                for asked in clause.gate:
                    self._by_token.setdefault(asked, []).append(clause.number)
        self._tokens = frozenset(self._by_token)

    def find(self, shown: frozenset[Token]) -> list[Clause]:
        """The rules that open to a receipt which shows these tokens, in order."""
        found = set(self._open)
        for asked in shown & self._tokens:
            found.update(self._by_token[asked])
        clauses = self._clauses
        return [clauses[number] for number in sorted(found)]


class Plans(NamedTuple):
    """What the rules of the stages come to for some goods and one kind of customer.

    `receipt` are only those rules of that stage that have `items`.
    """

    price: tuple[Clause, ...]
    sets: tuple[Clause, ...]
    line: LinePlan
    receipt: tuple[Clause, ...]
    earn: EarnPlan


class Lineage:
    """What the rulebook says of all goods of one category, and of any goods at all.

    `checked` are rules that name a category of theirs and may still leave some of the goods out.
    """

    __slots__ = ("_gated", "_plans", "asked", "checked", "clauses", "tokens")

    def __init__(self, category: str | None, compiled: Compiled) -> None:
        self.tokens = frozenset(("category", name) for name in compiled.catalog.lineage(category))
        named = compiled.without_beaten(compiled.naming(self.tokens))
        self.checked = [clause for clause in named if not clause.named_only]
        self.clauses = [clause for clause in named if clause.named_only]
        if compiled.always:
            self.clauses = sorted([*self.clauses, *compiled.always], key=by_number)
        self._gated = [clause for clause in self.clauses if clause.is_gated]
        self.asked = _bits_asked(self._gated)
        free = [clause for clause in self.clauses if not clause.is_gated]
        self._plans = {0: compiled.with_more(compiled.no_plans, free)}

    def plans(self, shown: int, compiled: Compiled) -> Plans:
        """The plans for a receipt that shows these bits."""
        key = shown & self.asked
        plans = self._plans.get(key)
        if plans is None:
            plans = compiled.with_more(self._plans[0], [c for c in self._gated if c.opens_to(key)])
            if len(self._plans) >= MAX_PLANS:
                self._plans = {0: self._plans[0]}
            self._plans[key] = plans
            compiled.keep(len(self._gated))
        return plans


class Shelf:
    """What the rulebook says of one sku at one shelf price. Units in kopecks."""

    __slots__ = (
        "_asked", "_lineage", "_own", "_plans", "min_price_minor", "no_discount", "no_earn", "no_redeem",
        "price_minor", "sku", "tokens", "unit_floor_minor", "weighed",
    )  # fmt: skip

    def __init__(self, sku: str, price_minor: int, compiled: Compiled) -> None:
        settings = compiled.rulebook.settings
        goods = compiled.catalog.skus.get(sku, _UNKNOWN)
        own_tokens = _own_tokens(sku, goods)
        self.sku = sku
        self.price_minor = price_minor
        self._lineage = compiled.lineage(goods.category)
        self.tokens = self._lineage.tokens.union(own_tokens)
        self.weighed = goods.weighed
        self.min_price_minor = goods.min_price_minor
        self.no_discount = settings.no_discount is not None and self.is_meant(settings.no_discount)
        self.no_redeem = settings.no_redeem is not None and self.is_meant(settings.no_redeem)
        self.no_earn = settings.no_earn is not None and self.is_meant(settings.no_earn)
        self.unit_floor_minor = goods.min_price_minor
        if settings.max_line_discount_bp is not None:
            least = price_minor - percent_within(price_minor, settings.max_line_discount_bp)
            self.unit_floor_minor = max(self.unit_floor_minor, least)
        self._own = self._rules_of_its_own(compiled.naming(own_tokens), compiled.nameless)
        self._asked = self._lineage.asked | _bits_asked(self._own)
        self._plans: dict[int, Plans] = {}

    def is_meant(self, selector: Selector | None) -> bool:
        """Whether a rule's `items` mean these goods; a rule without `items` means all."""
        return selector is None or selector.hits(self.tokens, self.price_minor)

    def plans(self, shown: int, compiled: Compiled) -> Plans:
        """The plans for a receipt that shows these bits."""
        if not self._own:
            return self._lineage.plans(shown, compiled)
        key = shown & self._asked
        plans = self._plans.get(key)
        if plans is None:
            own = [clause for clause in self._own if clause.opens_to(key)]
            plans = compiled.with_more(self._lineage.plans(shown, compiled), own)
            if len(self._plans) >= MAX_PLANS:
                self._plans = {}
            self._plans[key] = plans
            compiled.keep(len(self._own))
        return plans

    def _rules_of_its_own(self, named: list[Clause], nameless: list[Clause]) -> list[Clause]:
        """The rules that mean these goods and not all of their category."""
        others = [*self._lineage.checked, *nameless]
        if not named and not others:
            return []
        found = {*named, *others}.difference(self._lineage.clauses)
        own = [c for c in found if c.named_only or c.means(self.tokens, self.price_minor)]
        return sorted(own, key=by_number)


class Compiled:
    """A rulebook with its catalogue, ready for `loyalty.quote`.

    `everywhere` are the rules of a stage that are not found by goods, `always` those of the other stages
    that mean any goods, `nameless` those that mean some and name none; `stages` are the stages that have
    a rule at all, `tested_stages` those with a rule of which a condition is left after its gate.
    """

    __slots__ = (
        "__weakref__", "_bits", "_by_goods", "_instants", "_kept", "_lineages", "_now", "_periods",
        "_shelves", "_wall_clocks", "always", "catalog", "clauses", "everywhere", "groups", "nameless",
        "no_plans", "receipt_by_goods", "rulebook", "stages", "tested_stages",
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
        self.no_plans = Plans(
            (), (), LinePlan((), self.groups["line"]), (), EarnPlan((), self.groups["earn"])
        )
        self.stages = frozenset(clause.stage for clause in self.clauses)
        self.tested_stages = frozenset(clause.stage for clause in self.clauses if clause.test is not None)
        self.receipt_by_goods = any(c.stage == "receipt" and c.items is not None for c in self.clauses)
        self._file()
        self._give_bits()
        self._shelves: dict[tuple[str, int], Shelf] = {}
        self._lineages: dict[str | None, Lineage] = {}
        self._kept = 0
        for category in catalog.categories:
            self.lineage(category)
            if self._kept > MAX_KEPT // 2:
                break

    # -- what a receipt asks ----------------------------------------------------------------------

    def bits_shown(self, shown: frozenset[Token], at: datetime, now: datetime) -> int:
        """The bits of tokens and periods that a receipt shows at an instant; `now` is the shop's clock."""
        bits = self._periods_at(at, now) if self._periods else 0
        for token in shown:
            bits |= self._bits.get(token, 0)
        return bits

    def shelf(self, sku: str, price_minor: int) -> Shelf:
        """The shelf of a sku at a price in kopecks a unit."""
        shelf = self._shelves.get((sku, price_minor))
        if shelf is None:
            shelf = self._shelves[(sku, price_minor)] = Shelf(sku, price_minor, self)
            self.keep(SHELF_WEIGHT)
        return shelf

    def lineage(self, category: str | None) -> Lineage:
        """What is said of all goods of a category."""
        lineage = self._lineages.get(category)
        if lineage is None:
            lineage = self._lineages[category] = Lineage(category, self)
            self.keep(SHELF_WEIGHT + 2 * len(lineage.clauses))
        return lineage

    def rules_everywhere(self, stage: str, shown: frozenset[Token], bits: int) -> list[Clause]:
        """The rules of a stage that are not found by the goods of a line, open to the receipt, in order."""
        found = self.everywhere[stage].find(shown)
        if self._periods:
            return [clause for clause in found if not clause.period_bit or clause.period_bit & bits]
        return found

    # -- what shelves are made of -----------------------------------------------------------------

    def naming(self, tokens: Iterable[Token]) -> list[Clause]:
        """The rules that name goods by one of these tokens, in order."""
        numbers: set[int] = set()
        for named in tokens:
            numbers.update(self._by_goods.get(named, ()))
        return [self.clauses[number] for number in sorted(numbers)]

    def with_more(self, plans: Plans, clauses: list[Clause]) -> Plans:
        """The plans with more rules in them; only the stages of these rules are made anew."""
        if not clauses:
            return plans
        more: dict[str, list[Clause]] = {}
        for clause in clauses:
            more.setdefault(clause.stage, []).append(clause)
        price, sets, line, receipt, earn = plans
        if "price" in more:
            price = _merged(price, more["price"])
        if "sets" in more:
            sets = _merged(sets, more["sets"])
        if "line" in more:
            line = LinePlan(_merged(clauses_in(line.root), more["line"]), self.groups["line"])
        if "receipt" in more:
            receipt = _merged(receipt, more["receipt"])
        if "earn" in more:
            earn = EarnPlan(_merged(earn.clauses(), more["earn"]), self.groups["earn"])
        return Plans(price, sets, line, receipt, earn)

    def without_beaten(self, clauses: list[Clause]) -> list[Clause]:
        """Of rules that name the same goods, those that are not beaten wherever these goods are."""
        for stage in ("line", "earn"):
            if self.groups[stage].root_policy == "best":
                rivals = [c for c in clauses if c.stage == stage and c.rule.group is None]
                if len(rivals) > 1:
                    beaten = beaten_in_best(rivals, _is_always_there)
                    clauses = [clause for clause in clauses if clause not in beaten]
        return clauses

    def keep(self, references: int) -> None:
        """Somebody keeps so many references more; where they are too many, everything is built again."""
        self._kept += references
        if self._kept > MAX_KEPT:
            self._shelves, self._lineages, self._kept = {}, {}, 0

    # -- filing -----------------------------------------------------------------------------------

    def _file(self) -> None:
        """Put every rule where it will be looked for."""
        everywhere: dict[str, list[Clause]] = {stage: [] for stage in STAGES}
        self.always: list[Clause] = []
        self.nameless: list[Clause] = []
        self._by_goods: dict[Token, list[int]] = {}
        for clause in self.clauses:
            if clause.stage not in LINE_STAGES or (clause.stage == "receipt" and clause.items is None):
                everywhere[clause.stage].append(clause)
            elif None in clause.selectors:
                self.always.append(clause)
            elif any(not selector.tokens for selector in clause.selectors if selector is not None):
                self.nameless.append(clause)
            else:
                for selector in clause.selectors:
                    for named in selector.tokens if selector is not None else ():
                        self._by_goods.setdefault(named, []).append(clause.number)
        self.everywhere = {stage: Filed(clauses, self.clauses) for stage, clauses in everywhere.items()}

    def _give_bits(self) -> None:
        """A bit for each token that a gate asks for line by line, and for each period."""
        self._bits: dict[Token, int] = {}
        self._periods: dict[tuple[Period, ...], int] = {}
        bit = 1
        for clause in self.clauses:
            if clause.gate and clause.stage in LINE_STAGES:
                for asked in clause.gate:
                    if asked not in self._bits:
                        self._bits[asked] = bit
                        bit <<= 1
                    clause.gate_bits |= self._bits[asked]
            if clause.periods:
                if clause.periods not in self._periods:
                    self._periods[clause.periods] = bit
                    bit <<= 1
                clause.period_bit = self._periods[clause.periods]
        bounds = {b for all_of in self._periods for p in all_of for b in (p.start, p.end) if b is not None}
        self._wall_clocks = sorted(bound for bound in bounds if bound.tzinfo is None)
        self._instants = sorted(bound for bound in bounds if bound.tzinfo is not None)
        self._now: tuple[tuple[int, int], int] = ((-1, -1), 0)

    def _periods_at(self, at: datetime, now: datetime) -> int:
        """The bits of the periods that hold; found anew only when a bound of one has passed."""
        between = (bisect_right(self._wall_clocks, now), bisect_right(self._instants, at))
        known, bits = self._now
        if between != known:
            bits = 0
            for all_of, bit in self._periods.items():
                if all(in_period(period, at, now) for period in all_of):
                    bits |= bit
            self._now = (between, bits)
        return bits


def compile_rulebook(rulebook: Rulebook, catalog: Catalog) -> Compiled:
    """Make `rulebook` ready to price receipts of goods from `catalog`."""
    return Compiled(rulebook, catalog)


def in_period(period: Period, at: datetime, now: datetime) -> bool:
    """Half-open; a bound with `Z` is compared with the instant, one without with the shop's clock (§3)."""
    start, end = period.start, period.end
    if start is not None and (at if start.tzinfo else now) < start:
        return False
    return end is None or (at if end.tzinfo else now) < end


def _merged(clauses: Iterable[Clause], more: list[Clause]) -> tuple[Clause, ...]:
    return tuple(sorted([*clauses, *more], key=by_number))


def _bits_asked(clauses: Iterable[Clause]) -> int:
    bits = 0
    for clause in clauses:
        bits |= clause.gate_bits | clause.period_bit
    return bits


def _is_always_there(clause: Clause) -> bool:
    """Whether a percent holds for every receipt, at any time, wherever the goods it names are."""
    return clause.plain and clause.named_only and not clause.is_gated


def _own_tokens(sku: str, goods: Goods) -> list[Token]:
    """What a selector can name of these goods beside their category; of an unknown sku that is its name."""
    tokens = [("sku", sku), *[("flag", flag) for flag in goods.flags]]
    if goods.brand is not None:
        tokens.append(("brand", goods.brand))
    return tokens


_UNKNOWN = Goods()
