"""The earn stage: points for the sale (rulebook.md §4, "earn").

Every line has an exact value under every percent, kept as a whole numerator
over a million (base in kopecks × basis points × multiplier in hundredths),
never rounded. The tree of groups chooses per line among these values, the
line's greatest multiplier multiplies what was chosen. Only then each rule's
values are added up over the lines and rounded down, once, to whole units; then
its cap holds. Fixed points and points for every so many roubles stand outside
groups and multipliers.

A return runs the same count again over what is left of the sale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta

from loyalty.clauses import Clause, EarnPlan, Node, by_number
from loyalty.effects import Base, EarnEvery, EarnFixed, EarnMultiplier, EarnPercent
from loyalty.money import BP, down_to, full_times
from loyalty.rulebook import Policy
from loyalty.stages.policy import winner
from loyalty.stages.pricing import EarnedLot, PricedLine, Pricing

Values = list[tuple[Clause, int]]
"""What percents give one line, in ten-thousandths of a hundredth of a point; every value is positive."""

Choose = Callable[[Policy, list[Values], Callable[[Values], int]], Values | None]
"""How a competing group takes one of its offers: `winner`, or somebody who watches it."""

PLAIN_X100 = 100
"""The multiplier of a line for which there is none."""


def run(pricing: Pricing) -> None:
    """Count the points the customer earns, and the lots they come as."""
    if pricing.receipt.customer is None:
        return
    count = count_points(pricing)
    pricing.multiplied = count.multiplied
    for clause, points in count.points():
        effect = clause.effect
        assert isinstance(effect, EarnPercent | EarnFixed | EarnEvery)
        pricing.earned[clause.id] = points
        add_lot(pricing, clause, points, effect.delay_days, effect.ttl_days)


def add_lot(pricing: Pricing, clause: Clause, points: int, delay_days: int, ttl_days: int | None) -> None:
    """The points of a rule become a lot of their own."""
    active_from, expires_at = life(pricing.now, delay_days, ttl_days)
    pricing.earned_lots.append((clause.number, EarnedLot(clause.id, points, active_from, expires_at)))


def life(now: datetime, delay_days: int, ttl_days: int | None) -> tuple[datetime, datetime | None]:
    """(active from, expires at) of points earned `now`, all shop wall clock.

    Without a delay they live at once; with one, and always at their end, they
    change at a midnight counted from the date, not from the hour.
    """
    if delay_days == 0 and ttl_days is None:
        return now, None
    active_from = now if delay_days == 0 else _midnight(now, delay_days)
    return active_from, None if ttl_days is None else _midnight(active_from, ttl_days)


def _midnight(now: datetime, days: int) -> datetime:
    return datetime.combine(now.date() + timedelta(days=days), time.min)


@dataclass(slots=True)
class Count:
    """What rules have come to over the lines seen so far.

    `values` of percents in millionths of a hundredth, `bases` in kopecks of rules that count full
    sums, `fixed` the rules whose goods were met; `multiplied` the multipliers by earning rule.
    """

    values: dict[Clause, int] = field(default_factory=dict)
    bases: dict[Clause, int] = field(default_factory=dict)
    fixed: set[Clause] = field(default_factory=set)
    multiplied: dict[str, set[str]] = field(default_factory=dict)

    def add(self, clause: Clause, value: int, x100: int) -> None:
        """What a percent gives on a line, times the line's multiplier."""
        self.values[clause] = self.values.get(clause, 0) + value * x100

    def points(self) -> list[tuple[Clause, int]]:
        """(rule, points above 0), in order."""
        found: list[tuple[Clause, int]] = []
        for clause in sorted({*self.values, *self.bases, *self.fixed}, key=by_number):
            points = self._points(clause)
            if clause.cap is not None:
                points = min(points, clause.cap)
            if points > 0:
                found.append((clause, points))
        return found

    def _points(self, clause: Clause) -> int:
        match clause.effect:
            case EarnPercent(unit=unit):
                return down_to(full_times(self.values[clause], BP * PLAIN_X100), unit)
            case EarnEvery(every_minor, points):
                return full_times(self.bases[clause], every_minor) * points
            case EarnFixed(points):
                return points
        raise AssertionError(clause.effect)


def count_points(pricing: Pricing) -> Count:
    """Run the rules of the stage over the lines as they stand in `pricing`."""
    lines = [line for line in pricing.lines if not line.shelf.no_earn]
    dead: frozenset[Clause] = frozenset()
    if "earn" in pricing.compiled.tested_stages:
        dead = pricing.dead_among(clause for line in lines for clause in line.plans.earn.tested)
    count = Count()
    for line in lines:
        plan = line.plans.earn
        if plan.only is None or dead:
            _count_line(count, plan, line, dead)
        else:
            count.add(plan.only, value_of(plan.only, line), PLAIN_X100)
    return count


def _count_line(count: Count, plan: EarnPlan, line: PricedLine, dead: frozenset[Clause]) -> None:
    multiplier, x100 = greatest_multiplier(plan.multipliers, dead)
    for clause, value in values_of(plan.root, line, dead):
        count.add(clause, value, x100)
        if multiplier is not None:
            count.multiplied.setdefault(clause.id, set()).add(multiplier.id)
    for clause in plan.outside:
        if clause in dead:
            continue
        if isinstance(clause.effect, EarnEvery):
            count.bases[clause] = count.bases.get(clause, 0) + base_of(line, clause.effect.on)
        else:
            count.fixed.add(clause)


def greatest_multiplier(multipliers: Iterable[Clause], dead: frozenset[Clause]) -> tuple[Clause | None, int]:
    """The largest live multiplier of a line and its x100; of equals the earlier one."""
    chosen, greatest = None, -1
    for clause in multipliers:
        assert isinstance(clause.effect, EarnMultiplier)
        if clause.effect.x100 > greatest and clause not in dead:
            chosen, greatest = clause, clause.effect.x100
    return (chosen, greatest) if chosen is not None else (None, PLAIN_X100)


def values_of(node: Node, line: PricedLine, dead: frozenset[Clause], choose: Choose = winner) -> Values:
    """What a node gives one line; a chain is a sum here, for nothing is taken from any base.

    `choose` says which offer a competing group takes.
    """
    if isinstance(node, Clause):
        value = 0 if node in dead else value_of(node, line)
        return [(node, value)] if value > 0 else []
    offers = [values_of(child, line, dead, choose) for child in node.children]
    if node.policy in ("sum", "chain"):
        return [part for offer in offers for part in offer]
    return choose(node.policy, offers, lambda offer: sum(value for _, value in offer)) or []


def value_of(clause: Clause, line: PricedLine) -> int:
    """The exact value of a percent on a line, in ten-thousandths of a hundredth of a point."""
    assert isinstance(clause.effect, EarnPercent)
    return base_of(line, clause.effect.on) * clause.effect.bp


def base_of(line: PricedLine, on: Base) -> int:
    """What earning counts on, in kopecks."""
    match on:
        case "paid":
            return line.net_minor
        case "before_redeem":
            return line.before_redeem_minor
        case "list":
            return line.list_minor
