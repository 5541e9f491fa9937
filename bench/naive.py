"""The plain loop: the same answers without an index; every rule is asked about every line.

What a careful programmer writes first: the rules are read and sorted once, a
sku's categories are known, and for each receipt the program walks the rules of
a stage and tries them on each line. It computes the law (rulebook.md §4) for
the vocabulary of `bench.workload` and no more: set offers (n for m, spread),
category percents, percents on the receipt, earning on what is paid, and the
policy `best` everywhere. That makes it faster than a plain loop of the whole
law would be; the measured distance is to the credit of the index alone.

The set offers of a receipt that can use the same goods are chosen together, by
trying everything. Receipts of this workload have a sku on one line only, and
give no component that the law calls large, so its greedy rule is not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loyalty.money import (
    BP,
    THOUSANDTHS,
    amount_of,
    distribute,
    distribute_clipped,
    down_to,
    least_amount_of,
    percent_of,
)
from loyalty.receipt import Line, Receipt

Json = dict[str, Any]

POINTS_UNIT = 100
"""Earned points are rounded down to whole ones."""

Units = tuple[int, ...]
"""Units of goods as sorted numbers of classes."""

Plan = tuple[int, int, tuple[tuple[int, Units], ...]]
"""(−benefit, how many applications, they themselves as sorted (rule, units)): the smallest is the choice."""


@dataclass(slots=True)
class Answer:
    """A quote, as far as this workload has one: discounts and amount left of each line, sets, points."""

    lines: list[tuple[str, Mapping[str, int], int]]
    sets: list[tuple[str, int]]
    earned: dict[str, int]


@dataclass(slots=True)
class _Line:
    """A line on its way. `single` is how many of its pieces are in no set."""

    line: Line
    categories: frozenset[str]
    net: int
    floor: int
    single: int
    discounts: dict[str, int] = field(default_factory=dict)

    def take(self, rule: str, amount: int) -> None:
        if amount:
            self.net -= amount
            self.discounts[rule] = self.discounts.get(rule, 0) + amount


class PlainLoop:
    """A rulebook and a catalogue of the workload, as lists to walk."""

    def __init__(self, rulebook: Json, catalog: Json) -> None:
        rules = sorted(rulebook["rules"], key=lambda rule: (rule.get("priority", 100), rule["id"]))

        def of(stage: str) -> list[Json]:
            return [rule for rule in rules if rule["stage"] == stage]

        self._sets = [
            (rule["id"], frozenset(rule["items"]["sku"]), rule["effect"]["n"], rule["effect"]["m"])
            for rule in of("sets")
        ]
        self._line = [
            (rule["id"], rule["effect"]["bp"], rule["items"]["category"][0], _tier(rule))
            for rule in of("line")
        ]
        self._receipt = [
            (rule["id"], rule["effect"]["bp"], *_segment_and_sum(rule)) for rule in of("receipt")
        ]
        self._earn = [(rule["id"], rule["effect"]["bp"], rule["items"]["category"][0]) for rule in of("earn")]
        parents = catalog["categories"]
        self._categories = {
            sku: _lineage(goods["category"], parents) for sku, goods in catalog["skus"].items()
        }
        self._least = {sku: goods.get("min_price", 0) for sku, goods in catalog["skus"].items()}
        self._weighed = {sku for sku, goods in catalog["skus"].items() if goods.get("weighed")}

    def quote(self, receipt: Receipt) -> Answer:
        """Price one receipt, stage after stage."""
        lines = [self._begin(line) for line in receipt.lines]
        sets = self._give_sets(lines)
        self._give_percents(lines, receipt)
        self._give_on_receipt(lines, receipt)
        earned = self._points(lines)
        return Answer([(each.line.id, each.discounts, each.net) for each in lines], sets, earned)

    def _begin(self, line: Line) -> _Line:
        amount = amount_of(line.price_minor, line.quantity)
        least = least_amount_of(self._least[line.sku], line.quantity)
        return _Line(line, self._categories[line.sku], amount, min(least, amount), line.quantity)

    # -- sets -------------------------------------------------------------------------------------

    def _give_sets(self, lines: list[_Line]) -> list[tuple[str, int]]:
        """Choose the set offers, book what they take off, and say which were applied."""
        classes = [
            each
            for each in lines
            if each.line.quantity % THOUSANDTHS == 0 and each.line.sku not in self._weighed
        ]
        classes.sort(key=lambda each: (-each.line.price_minor, each.line.sku))
        prices = [each.line.price_minor for each in classes]
        pieces = [each.line.quantity // THOUSANDTHS for each in classes]
        usable: dict[int, list[int]] = {}
        for order, (_, skus, _, _) in enumerate(self._sets):
            for number, each in enumerate(classes):
                if each.line.sku in skus:
                    usable.setdefault(order, []).append(number)

        chosen: list[tuple[int, Units]] = []
        for rules in _components(usable):
            possible = [
                (order, units, _benefit(units, prices, self._sets[order][3]))
                for order in rules
                for units in _units(usable[order], self._sets[order][2], pieces)
            ]
            chosen += _choice(possible, tuple(pieces), {})[2]

        totals = []
        for order, units in sorted(chosen):
            rule, _, _, m = self._sets[order]
            weights = [prices[number] for number in units]
            total = _benefit(units, prices, m)
            for number, share in zip(units, distribute(total, weights, weights), strict=True):
                classes[number].take(rule, share)
                classes[number].single -= THOUSANDTHS
            totals.append((rule, total))
        return totals

    # -- line, receipt, earn ----------------------------------------------------------------------

    def _give_percents(self, lines: list[_Line], receipt: Receipt) -> None:
        tier = receipt.customer.tier if receipt.customer else None
        for each in lines:
            sets_took_nothing = each.single == each.line.quantity
            base = each.net if sets_took_nothing else amount_of(each.line.price_minor, each.single)
            room, categories = each.net - each.floor, each.categories
            best, winner = 0, ""
            for rule, bp, category, wanted_tier in self._line:
                if category in categories and (wanted_tier is None or wanted_tier == tier):
                    amount = min(percent_of(base, bp), base, room)
                    if amount > best:
                        best, winner = amount, rule
            each.take(winner, best)

    def _give_on_receipt(self, lines: list[_Line], receipt: Receipt) -> None:
        segments = receipt.customer.segments if receipt.customer else ()
        base = [each.net for each in lines]
        rooms = [each.net - each.floor for each in lines]
        total = sum(base)
        best, winner, shares = 0, "", [0] * len(lines)
        for rule, bp, segment, least in self._receipt:
            if segment in segments and total >= least:
                offer = distribute_clipped(min(percent_of(total, bp), total), base, rooms)
                if sum(offer) > best:
                    best, winner, shares = sum(offer), rule, offer
        for each, share in zip(lines, shares, strict=True):
            each.take(winner, share)

    def _points(self, lines: list[_Line]) -> dict[str, int]:
        values: dict[str, int] = {}
        for each in lines:
            best, winner = 0, ""
            for rule, bp, category in self._earn:
                if category in each.categories and each.net * bp > best:
                    best, winner = each.net * bp, rule
            if best:
                values[winner] = values.get(winner, 0) + best
        points = {rule: down_to(values.get(rule, 0) // BP, POINTS_UNIT) for rule, _, _ in self._earn}
        return {rule: amount for rule, amount in points.items() if amount}


def _components(usable: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """The rules in groups that share no class of goods."""
    components: list[tuple[set[int], list[int]]] = []
    for order, numbers in usable.items():
        classes, rules = set(numbers), [order]
        apart = []
        for other in components:
            if other[0].isdisjoint(classes):
                apart.append(other)
            else:
                classes |= other[0]
                rules += other[1]
        components = [*apart, (classes, rules)]
    return [sorted(rules) for _, rules in components]


def _units(usable: Sequence[int], count: int, pieces: Sequence[int]) -> list[Units]:
    """Every way to take `count` units out of the pieces of these classes."""
    if count == 0:
        return [()]
    if not usable:
        return []
    first, others = usable[0], usable[1:]
    return [
        (first,) * taken + rest
        for taken in range(min(count, pieces[first]), -1, -1)
        for rest in _units(others, count - taken, pieces)
    ]


def _benefit(units: Units, prices: Sequence[int], m: int) -> int:
    """All but the `m` dearest units are free."""
    return sum(prices[number] for number in units[m:])


def _choice(
    possible: Sequence[tuple[int, Units, int]], pieces: tuple[int, ...], known: dict[tuple[int, ...], Plan]
) -> Plan:
    """The best plan for the pieces that are left; `known` remembers those that were computed."""
    if pieces in known:
        return known[pieces]
    best: Plan = (0, 0, ())
    for order, units, benefit in possible:
        left = list(pieces)
        for number in units:
            left[number] -= 1
        if min(left) >= 0:
            minus_benefit, count, applications = _choice(possible, tuple(left), known)
            plan = (minus_benefit - benefit, count + 1, tuple(sorted((*applications, (order, units)))))
            best = min(best, plan)
    known[pieces] = best
    return best


def _lineage(category: str | None, parents: Mapping[str, str | None]) -> frozenset[str]:
    found = set()
    while category is not None:
        found.add(category)
        category = parents[category]
    return frozenset(found)


def _tier(rule: Json) -> str | None:
    return rule["when"]["in"][0] if "when" in rule else None


def _segment_and_sum(rule: Json) -> tuple[str, int]:
    segment, enough = rule["when"]["of"]
    return segment["in"][0], enough["min"]
