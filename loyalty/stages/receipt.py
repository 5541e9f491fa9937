"""The receipt stage: discounts on the sum, shared out over the lines (rulebook.md §4, "receipt").

A rule looks at the base amounts of its eligible lines, finds one discount D,
and shares it out by those bases within what each line has above its floor.
The base is what the parent of the rule hands down: the amounts when the stage
began, or, in a chain, the amounts at that moment. Competing rules are compared
by what they would really give after capacities; where that is known without
sharing out, nothing is shared out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from loyalty.clauses import Branch, Clause, Node, by_number
from loyalty.effects import ReceiptAmount, ReceiptEvery, ReceiptPercent, ReceiptSteps
from loyalty.money import distribute, distribute_clipped, full_times, percent_of
from loyalty.stages.policy import best_by_bound, winner
from loyalty.stages.pricing import PricedLine, Pricing

Gift = list[tuple[Clause, list[tuple[int, int]]]]
"""What rules give, in order: (position of the line, kopecks above 0)."""

Worth = Callable[[Clause | Gift], int]
"""What an alternative would really give, or a bound of it."""


def run(pricing: Pricing) -> None:
    """Give the discounts on the receipt."""
    clauses = pricing.everywhere("receipt")
    hit = hit_by_items(pricing)
    if hit:
        clauses = sorted([*clauses, *(clause for clause in hit if pricing.lives(clause))], key=by_number)
    if not clauses:
        return
    tree = pricing.compiled.groups["receipt"].tree(clauses)
    net = [line.net_minor for line in pricing.lines]
    for clause, shares in Sharing(pricing.lines, hit).gift(tree, net, net):
        for i, share in shares:
            pricing.lines[i].take(clause.id, share)


def hit_by_items(pricing: Pricing) -> dict[Clause, list[int]]:
    """The positions of the lines that the `items` of rules mean."""
    hit: dict[Clause, list[int]] = {}
    if pricing.compiled.receipt_by_goods:
        for i, line in enumerate(pricing.lines):
            for clause in line.plans.receipt:
                hit.setdefault(clause, []).append(i)
    return hit


def asked(clause: Clause, base: int) -> tuple[int, bool]:
    """(D before anything limits it, does it spill) of a rule on a base in kopecks."""
    match clause.effect:
        case ReceiptPercent(bp, spill):
            return percent_of(base, bp), spill
        case ReceiptAmount(amount_minor, spill):
            return amount_minor, spill
        case ReceiptEvery(every_minor, amount_minor, times, spill):
            full = full_times(base, every_minor)
            return (full if times is None else min(full, times)) * amount_minor, spill
        case ReceiptSteps(steps, spill_of_all):
            reached = [step for step in steps if step.least_minor <= base]
            if not reached:
                return 0, True
            step = max(reached, key=lambda step: step.least_minor)
            if step.bp is not None:
                return percent_of(base, step.bp), bool(spill_of_all)
            return step.amount_minor or 0, spill_of_all is not False
    raise AssertionError(clause.effect)  # the parser lets no other effect into this stage


class Pool:
    """The lines that one rule may work on, with their weights and capacities."""

    __slots__ = ("_shares", "base", "capacities", "capacity", "clips", "lines", "weights")

    def __init__(
        self, lines: Sequence[int], base: Sequence[int], net: Sequence[int], floors: Sequence[int]
    ) -> None:
        self.lines = lines
        self._shares: dict[Clause, list[tuple[int, int]]] = {}
        self.weights = [base[i] for i in lines]
        self.capacities = [net[i] - floors[i] for i in lines]
        self.base = sum(self.weights)
        pairs = list(zip(self.weights, self.capacities, strict=True))
        self.capacity = sum([capacity for weight, capacity in pairs if weight])
        self.clips = any(capacity < weight for weight, capacity in pairs)

    def discount(self, clause: Clause) -> tuple[int, bool]:
        """(D within base and cap, does it spill)."""
        amount, spill = asked(clause, self.base)
        most = self.base if clause.cap is None or clause.cap > self.base else clause.cap
        return (amount if amount < most else most), spill

    def worth(self, clause: Clause) -> int:
        """What the rule would really give."""
        amount, spill = self.discount(clause)
        if not self.clips:
            return amount
        if spill:
            return min(amount, self.capacity)
        return sum([share for _, share in self.shares(clause)])

    def shares(self, clause: Clause) -> list[tuple[int, int]]:
        """The discount of the rule, line by line."""
        shares = self._shares.get(clause)
        if shares is None:
            amount, spill = self.discount(clause)
            split = (distribute if spill else distribute_clipped)(amount, self.weights, self.capacities)
            shares = [(i, share) for i, share in zip(self.lines, split, strict=True) if share]
            self._shares[clause] = shares
        return shares


class Sharing:
    """The stage over one receipt; holds what was so when the stage began."""

    __slots__ = ("_eligible", "_every", "_floors", "_fresh", "_hit", "_lines")

    def __init__(self, lines: Sequence[PricedLine], hit: Mapping[Clause, list[int]]) -> None:
        self._lines = lines
        self._hit = hit
        self._floors = [line.floor_minor for line in lines]
        self._every = [i for i, line in enumerate(lines) if not line.shelf.no_discount]
        self._fresh = [i for i in self._every if not lines[i].discounts]
        self._eligible: dict[Clause, list[int]] = {}

    def gift(self, node: Node, base: Sequence[int], net: Sequence[int]) -> Gift:
        """What a node gives on `base` while the lines stand at `net`; neither is changed."""
        if isinstance(node, Clause):
            shares = self.pool(node, base, net, {}).shares(node)
            return [(node, shares)] if shares else []
        if node.policy in ("sum", "chain"):
            given: Gift = []
            for child in node.children:
                now = _after(net, given)
                given += self.gift(child, now if node.policy == "chain" else base, now)
            return given
        return self._best_gift(node, base, net)

    def _best_gift(self, branch: Branch, base: Sequence[int], net: Sequence[int]) -> Gift:
        known: dict[int, Pool] = {}

        def worth(alternative: Clause | Gift) -> int:
            if isinstance(alternative, Clause):
                return self.pool(alternative, base, net, known).worth(alternative)
            return total_of(alternative)

        def at_most(alternative: Clause | Gift) -> int:
            if isinstance(alternative, Clause):
                return self.pool(alternative, base, net, known).discount(alternative)[0]
            return total_of(alternative)

        alternatives: list[Clause | Gift] = [
            child if isinstance(child, Clause) else self.gift(child, base, net) for child in branch.children
        ]
        chosen = self.choose(branch, alternatives, worth, at_most)
        if isinstance(chosen, Clause):
            return [(chosen, self.pool(chosen, base, net, known).shares(chosen))]
        return chosen or []

    def choose(
        self, branch: Branch, alternatives: list[Clause | Gift], worth: Worth, at_most: Worth
    ) -> Clause | Gift | None:
        """The alternative that a competing group takes."""
        if branch.policy == "best":
            return best_by_bound(alternatives, at_most, worth)
        return winner(branch.policy, alternatives, worth)

    def pool(self, clause: Clause, base: Sequence[int], net: Sequence[int], known: dict[int, Pool]) -> Pool:
        """The lines that a rule may work on, on this base and while the lines stand at `net`.

        `known` are the pools of this base and `net`, by their list of lines: most rules mean the same one.
        """
        lines = self.lines_of(clause)
        pool = known.get(id(lines))
        if pool is None:
            pool = known[id(lines)] = Pool(lines, base, net, self._floors)
        return pool

    def lines_of(self, clause: Clause) -> list[int]:
        """The positions of the eligible lines; one list for all rules that mean every line."""
        if clause.items is None:
            return self._fresh if clause.fresh else self._every
        lines = self._eligible.get(clause)
        if lines is None:
            allowed = set(self._fresh if clause.fresh else self._every)
            lines = self._eligible[clause] = [i for i in self._hit[clause] if i in allowed]
        return lines


def _after(net: Sequence[int], given: Gift) -> list[int]:
    left = list(net)
    for _, shares in given:
        for i, share in shares:
            left[i] -= share
    return left


def total_of(gift: Gift) -> int:
    """What a gift comes to."""
    return sum(share for _, shares in gift for _, share in shares)
