"""The sets stage: three for two, bundles, buy and get (rulebook.md §4, "sets").

Only whole pieces take part. The stage parts the pieces into classes, lets
`set_choice.py` choose among the uses of live rules, and books what each use
takes off on the lines its units came from. Most receipts end at the first
question: is there a rule for which enough pieces were bought at all?
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loyalty.clauses import Clause
from loyalty.faults import Fault, Refused
from loyalty.money import pieces_of
from loyalty.stages.pricing import Pricing
from loyalty.stages.set_choice import choose
from loyalty.stages.set_rules import Application, SetRule, UnitClass
from loyalty.texts import N_

MAX_PIECES = 100_000
"""Most pieces of one receipt that set rules may look at."""


def run(pricing: Pricing) -> None:
    """Give the set discounts. Raises `Refused` where set rules would have to look at too many pieces."""
    chosen: list[tuple[Application, SetRule, list[Iterator[int]]]] = []
    for component in _components(_Reach(pricing)):
        units = _classes(pricing, component)
        classes = sorted(units)
        shelves = [pricing.season.shelf(each.sku, each.shelf_price_minor) for each in classes]
        rules = {c.number: SetRule(c, classes, shelves) for c in component.in_reach}
        stock = [len(units[each]) for each in classes]
        choice = choose(list(rules.values()), stock, alone=component.alone)
        queues = [iter(units[each]) for each in classes]
        chosen += [(application, rules[application.number], queues) for application in choice.applications]
        if choice.large:
            pricing.large_sets.append(tuple(clause.id for clause in component.in_reach))
    chosen.sort(key=lambda use: use[0].signature)
    for application, rule, queues in chosen:
        _book(pricing, application, rule, queues)


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
        in_reach = sorted(tied & left, key=lambda clause: clause.number)
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
    pricing.sets.append((rule.clause.id, application.benefit))
