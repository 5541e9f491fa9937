"""CHOICE: which uses of set rules a receipt gets (rulebook.md §4, "sets").

Of all ways to use the rules so that no unit serves twice, the law wants the one
of greatest total benefit; then with the fewest applications; then with the
smallest sorted list of signatures. Rules that share no usable class do not
disturb each other, so each connected component is chosen for itself.

How it is found
---------------
*A lone n_for_m* needs no search: the units stand in a row, dearest first, and
are cut into blocks of n; the best `limit` blocks are taken.

*A component that is not large* is searched exactly. A state is what is still
free of every class (and of every limit). Look at the dearest class with free
units: either one of the applications that take a unit of it is used, or the
rest of the class stays outside. So each set of applications is met in one order
only, and each state is solved once. A state is one integer with a field for
each class and a spare bit above each field, so that "does it fit" is one
subtraction: a field that ran short borrows its spare bit.

That the answer of a state may be built on the answers of smaller states also
holds for the third criterion: of two sorted lists of equal length the smaller
one stays the smaller when the same application is added to both. So a plan can
be a number too, and comparing two plans is comparing two numbers.

*A large component* is served greedily, rule by rule in order, the best
application again and again. Large is a matter of size, never of time: the
number of states × the number of possible applications is over a million.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod

from loyalty.effects import NForM
from loyalty.stages.set_rules import Application, SetRule, Stock

LARGE = 1_000_000
"""States × possible applications above which a component is large."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The applications of one component, and whether it was too large for an exact search."""

    applications: list[Application]
    large: bool


def choose(rules: Sequence[SetRule], stock: Stock, *, alone: bool) -> Chosen:
    """The applications of one component.

    `rules` are those that find units enough, in order; `alone`: no other rule is tied to the only one.
    `stock` are the units of every class of the component.
    """
    if len(rules) == 1 and isinstance(rules[0].effect, NForM) and (alone or not rules[0].meets_floors):
        # Where no floor is met, a search beside rules that cannot be applied finds the same blocks.
        return Chosen(_blocks(rules[0], stock), large=False)
    states = prod(units + 1 for units in stock)
    possible: list[Application] = []
    for rule in rules:
        for application in rule.applications(stock, lambda: 0):
            possible.append(application)
            if states * len(possible) > LARGE:
                return Chosen(_greedy(rules, stock), large=True)
    return Chosen(_Search(rules, possible, stock).best(), large=False)


def _blocks(rule: SetRule, stock: Stock) -> list[Application]:
    """A lone n_for_m: blocks of n down the class order (of each sku, where it wants one sku)."""
    row = [i for i in rule.usable[0] for _ in range(stock[i])]
    rows = [row]
    if rule.same_sku:
        row.sort(key=lambda i: (rule.skus[i], i))
        rows = [list(run) for _, run in groupby(row, key=lambda i: rule.skus[i])]
    n = rule.needs
    found = []
    for units in rows:
        for start in range(0, len(units) - n + 1, n):
            parts = (tuple(units[start : start + n]),)
            benefit = rule.benefit(parts)
            if benefit > 0:
                found.append(Application(rule.number, parts, benefit))
    if rule.limit is not None and len(found) > rule.limit:
        found.sort(key=lambda application: (-application.benefit, application.signature))
        del found[rule.limit :]
    return found


def _greedy(rules: Sequence[SetRule], stock: Stock) -> list[Application]:
    """A large component: rules in order, each takes its best application again and again."""
    stock = list(stock)
    chosen: list[Application] = []
    for rule in rules:
        left = rule.limit if rule.limit is not None else sum(stock)
        while left > 0 and (best := rule.best(stock)) is not None:
            while left > 0 and _take(best, stock):  # what was the best stays so while it fits
                chosen.append(best)
                left -= 1
    return chosen


def _take(application: Application, stock: Stock) -> bool:
    """Take the units of an application out of the stock, if they are all there."""
    units = [i for part in application.parts for i in part]
    for i in units:
        stock[i] -= 1
    if all(stock[i] >= 0 for i in units):
        return True
    for i in units:
        stock[i] += 1
    return False


class _Search:
    """The exact search over one component. Applications are known by their place in signature order."""

    def __init__(self, rules: Sequence[SetRule], possible: list[Application], stock: Stock) -> None:
        self.possible = sorted(possible, key=lambda application: application.signature)
        self._fields: dict[int, int] = {}  # class -> where its field begins
        self._class_at: list[int] = []  # bit -> class
        self._spare = 0
        self._start = 0
        for i in sorted({i for rule in rules for i in rule.touches}):
            self._fields[i] = self._add_field(stock[i])
            self._class_at += [i] * (len_of(stock[i]) + 1)
        self._class_bits = (1 << len(self._class_at)) - 1
        limits = {
            rule.number: self._add_field(min(rule.limit, sum(stock)))
            for rule in rules
            if rule.limit is not None
        }
        self._takes = [0] * len(self.possible)
        self._first: dict[int, list[int]] = {i: [] for i in self._fields}
        for place, application in enumerate(self.possible):
            units = [i for part in application.parts for i in part]
            self._takes[place] = sum(1 << self._fields[i] for i in units)
            if application.number in limits:
                self._takes[place] += 1 << limits[application.number]
            self._first[min(units)].append(place)
        self._mask = {i: ((1 << len_of(stock[i])) - 1) << begin for i, begin in self._fields.items()}
        # One score for the first two criteria: an application more costs less than a kopeck.
        kopeck = sum(stock) + 1
        self._gains = [application.benefit * kopeck - 1 for application in self.possible]
        self._count_bits = len_of(sum(stock))
        self._solved: dict[int, tuple[int, int]] = {}  # state -> (score, plan)

    def _add_field(self, value: int) -> int:
        """A field that holds `value`, with a spare bit above it; returns where it begins."""
        begin = self._spare.bit_length()
        self._start |= value << begin
        self._spare |= 1 << (begin + len_of(value))
        return begin

    def best(self) -> list[Application]:
        """The applications of CHOICE."""
        waiting = [self._start]
        while waiting:
            state = waiting[-1]
            if state in self._solved:
                waiting.pop()
                continue
            steps = self._steps(state)
            unsolved = [after for _, after in steps if after not in self._solved]
            if unsolved:
                waiting += unsolved
            else:
                self._solved[state] = self._best_step(steps)
                waiting.pop()
        return self._applications_in(self._solved[self._start][1])

    def _steps(self, state: int) -> list[tuple[int, int]]:
        """(place of an application or -1, state after it) for the dearest class with free units."""
        free = state & self._class_bits
        if not free:
            return []
        dearest = self._class_at[(free & -free).bit_length() - 1]
        steps = [(-1, state & ~self._mask[dearest])]
        spare = self._spare
        for place in self._first[dearest]:
            after = (state | spare) - self._takes[place]
            if after & spare == spare:
                steps.append((place, after ^ spare))
        return steps

    def _best_step(self, steps: list[tuple[int, int]]) -> tuple[int, int]:
        """(score, plan): of equal scores the greater plan, for it has the smaller signatures."""
        best_score, best_plan = 0, 0
        for place, after in steps:
            score, plan = self._solved[after]
            if place >= 0:
                score += self._gains[place]
                if score >= best_score:
                    plan += self._use_of(place)
            if score > best_score or (score == best_score and plan > best_plan):
                best_score, best_plan = score, plan
        return best_score, best_plan

    def _use_of(self, place: int) -> int:
        """One use of an application, as a plan. A plan is a number with a field for how often each is used,
        the first in signature order in front: of two plans with as many uses, the sorted list of
        signatures of the greater number is the smaller one.
        """
        return 1 << (len(self.possible) - 1 - place) * self._count_bits

    def _applications_in(self, plan: int) -> list[Application]:
        chosen: list[Application] = []
        for application in reversed(self.possible):
            chosen += [application] * (plan & ((1 << self._count_bits) - 1))
            plan >>= self._count_bits
        return chosen


def len_of(value: int) -> int:
    """Bits of a field that holds up to `value`."""
    return max(1, value.bit_length())
