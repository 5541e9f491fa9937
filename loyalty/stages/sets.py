"""The sets stage: three for two, bundles, buy and get (rulebook.md §4, "sets").

Only whole pieces take part. The stage parts the pieces into classes, lets
`set_choice.py` choose among the uses of live rules, and books what each use
takes off on the lines its units came from. Most receipts end at the first
question: is there a rule for which enough pieces were bought at all?
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loyalty.clauses import Clause, by_number
from loyalty.effects import NForM
from loyalty.faults import Fault, Refused
from loyalty.money import full_times, percent_of, pieces_of
from loyalty.stages.pricing import PricedLine, Pricing
from loyalty.stages.set_choice import choose
from loyalty.stages.set_rules import Application, Parts, SetRule, UnitClass
from loyalty.texts import N_

MAX_PIECES = 100_000
"""Most pieces of one component of set rules."""

Use = tuple[tuple[int, Parts], str, int]
"""(signature, rule, kopecks) of one application."""


def run(pricing: Pricing) -> None:
    """Give the set discounts. Raises `Refused` where set rules would have to look at too many pieces."""
    uses: list[Use] = []
    for component in list(_components(_Reach(pricing))):  # all conditions are tried before anything is given
        clause = component.in_reach[0]
        if len(component.lines) == len(component.in_reach) == 1 and isinstance(clause.effect, NForM):
            uses += _on_one_line(pricing.lines[component.lines[0]], clause, clause.effect)
        else:
            uses += _on_lines(pricing, component)
    uses.sort()
    pricing.sets = [(rule, total) for _, rule, total in uses]


def _on_one_line(line: PricedLine, clause: Clause, effect: NForM) -> list[Use]:
    """The commonest set, three of one thing: all units are alike, and all that is given lies on one line."""
    price = line.unit_price_minor
    capacity = max(0, price - line.shelf.unit_floor_minor)
    cut = min(percent_of(price, effect.bp), price)
    free = effect.n - effect.m
    benefit = free * min(cut, capacity) if effect.place == "free" else min(free * cut, effect.n * capacity)
    if not benefit:
        return []
    uses = full_times(pieces_of(line.quantity) or 0, effect.n)
    if clause.rule.limit is not None:
        uses = min(uses, clause.rule.limit)
    line.take(clause.id, uses * benefit)
    line.pieces_in_sets = uses * effect.n
    return [((clause.number, ((0,) * effect.n,)), clause.id, benefit)] * uses


def _on_lines(pricing: Pricing, component: _Component) -> list[Use]:
    units = _classes(pricing, component)
    classes = sorted(units)
    shelves = [pricing.compiled.shelf(each.sku, each.shelf_price_minor) for each in classes]
    rules = {clause.number: SetRule(clause, classes, shelves) for clause in component.in_reach}
    choice = choose(list(rules.values()), [len(units[each]) for each in classes], alone=component.alone)
    if choice.large:
        pricing.large_sets.append(tuple(clause.id for clause in component.in_reach))
    queues = [iter(units[each]) for each in classes]
    uses: list[Use] = []
    for application in sorted(choice.applications, key=lambda application: application.signature):
        rule = rules[application.number]
        _book(pricing, application, rule, queues)
        uses.append((application.signature, rule.clause.id, application.benefit))
    return uses


class _Reach:
    """The pieces on the receipt, and which live rules find enough of them for one use."""

    def __init__(self, pricing: Pricing) -> None:
        self._pricing = pricing
        self._alive: dict[Clause, bool] = {}
        self.pieces: dict[int, int] = {}
        found: dict[Clause, int] = {}
        for i, line in enumerate(pricing.lines):
            plan, shelf = line.plans.sets, line.shelf
            if plan and not shelf.weighed and not shelf.no_discount and (count := pieces_of(line.quantity)):
                self.pieces[i] = count
                for clause in plan:
                    found[clause] = found.get(clause, 0) + count
        self.clauses = [c for c, count in found.items() if count >= c.needs and self.is_alive(c)]
        self.lines: dict[Clause, list[int]] = {}
        if self.clauses:
            for i in self.pieces:
                for clause in pricing.lines[i].plans.sets:
                    self.lines.setdefault(clause, []).append(i)

    def is_alive(self, clause: Clause) -> bool:
        """Whether the rule's condition holds; asked only of rules that others are tied to."""
        alive = self._alive.get(clause)
        if alive is None:
            alive = self._alive[clause] = self._pricing.lives(clause)
        return alive

    def tied_to(self, i: int) -> Iterator[Clause]:
        """The live rules that can use the pieces of a line."""
        return filter(self.is_alive, self._pricing.lines[i].plans.sets)


@dataclass(frozen=True, slots=True)
class _Component:
    """Live rules tied by lines that both can use: those in reach, in order; `lines` by position, in order.

    `alone`: no other rule is tied to the only one, not even one that finds too few pieces.
    """

    in_reach: list[Clause]
    lines: list[int]
    alone: bool


def _components(reach: _Reach) -> Iterator[_Component]:
    """The components in which some rule is in reach."""
    left = set(reach.clauses)
    for start in reach.clauses:
        if start not in left:
            continue
        tied, lines = {start}, set[int]()
        waiting = [start]
        while waiting:
            for i in reach.lines[waiting.pop()]:
                if i not in lines:
                    lines.add(i)
                    more = [c for c in reach.tied_to(i) if c not in tied]
                    tied.update(more)
                    waiting += more
        in_reach = sorted(tied & left, key=by_number)
        left -= tied
        if sum(reach.pieces[i] for i in lines) > MAX_PIECES:
            text = N_("more than {most} pieces that set rules look at; split the receipt", most=MAX_PIECES)
            raise Refused([Fault("receipt.lines", text)])
        yield _Component(in_reach, sorted(lines), alone=len(tied) == 1)


def _classes(pricing: Pricing, component: _Component) -> dict[UnitClass, list[int]]:
    """The pieces by class: the positions of their lines, in order."""
    units: dict[UnitClass, list[int]] = {}
    for i in component.lines:
        line = pricing.lines[i]
        shelf = line.shelf
        unit = UnitClass(-line.unit_price_minor, shelf.sku, shelf.unit_floor_minor, shelf.price_minor)
        units.setdefault(unit, []).extend([i] * (pieces_of(line.quantity) or 0))
    return units


def _book(pricing: Pricing, application: Application, rule: SetRule, queues: list[Iterator[int]]) -> None:
    """Take the units of one use from their classes, and what it gives them off their lines."""
    off: dict[int, int] = {}
    for places, amounts in zip(rule.places(application.parts), rule.amounts(application.parts), strict=True):
        for i, amount in zip(places, amounts, strict=True):
            position = next(queues[i])
            pricing.lines[position].pieces_in_sets += 1
            off[position] = off.get(position, 0) + amount
    for position, amount in off.items():
        pricing.lines[position].take(rule.clause.id, amount)
