"""Clauses and plans: rules made ready to price with, and what is left of them for one line.

The idea
--------
A `Clause` is a rule whose condition was parted (`gates.py`) and whose place
among all rules is known. The clauses of a stage that could matter for some
goods and some customer are hung into their tree of groups once, a *plan*, and
a plan forgets what cannot win.

What may be forgotten
---------------------
In a group where the best one wins, a percent that stands behind an equal or
greater one on the same base can never be booked. The reverse does not hold: a
smaller percent that stands EARLIER must stay, for under a floor the two come to
the same amount, and then the earlier is booked. So what stays of the percents
of a `best` group rises from clause to clause. In the earn stage nothing clips, and
there the greatest beats the earlier ones too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

from loyalty.effects import Bundle, BuyGet, EarnMultiplier, EarnPercent, NForM, Part, Percent
from loyalty.gates import gate_of, series_named
from loyalty.rulebook import Group, Policy, Rule
from loyalty.selectors import Selector, Token


class Clause:
    """A rule made ready. `number` is its place: rules stand by (priority, id) everywhere (§4).

    `gate`, `periods` and `test` are its condition in parts, `gate_bits` and `period_bit` the bits that
    `index.py` gives to the first two. `selectors` name the goods it may work on, a set's parts each
    their own, and `named_only` says that they do so by names alone; `needs` is how many pieces one use
    of a set takes. `percent` is (bp, what it is counted on) of a percent, `plain` one
    that nothing else can lower on a line: no condition left, no cap there, not only fresh lines.
    """

    __slots__ = (
        "cap", "effect", "fresh", "gate", "gate_bits", "id", "items", "named_only", "needs", "number",
        "over_sets", "percent", "period_bit", "periods", "plain", "rule", "selectors", "series", "stage",
        "test",
    )  # fmt: skip

    def __init__(self, number: int, rule: Rule) -> None:
        self.number = number
        self.rule = rule
        self.id = rule.id
        self.stage = rule.stage
        self.effect = rule.effect
        self.items = rule.items
        self.cap = rule.cap
        self.fresh = rule.fresh
        self.over_sets = rule.over_sets
        self.gate_bits = self.period_bit = self.needs = 0
        gate = gate_of(rule.when)
        self.gate, self.periods, self.test = gate.tokens, gate.periods, gate.rest
        self.series = series_named(rule.when) if rule.when is not None else _NO_SERIES
        self.selectors: tuple[Selector | None, ...] = (rule.items,)
        if rule.stage == "sets":
            parts = parts_of(rule)
            self.selectors = tuple(part.items for part in parts)
            self.needs = sum(part.count for part in parts)
        self.named_only = all(selector is not None and selector.only_names for selector in self.selectors)
        self.percent: tuple[int, object] | None = None
        self.plain = False
        if isinstance(rule.effect, Percent):
            self.percent = (rule.effect.bp, rule.over_sets)
            self.plain = gate.rest is None and not rule.fresh and rule.cap is None
        elif isinstance(rule.effect, EarnPercent):
            self.percent = (rule.effect.bp, rule.effect.on)
            self.plain = gate.rest is None

    @property
    def is_gated(self) -> bool:
        """Whether the rule is not open to every receipt at any time."""
        return self.gate is not None or bool(self.periods)

    def opens_to(self, shown: int) -> bool:
        """Whether a receipt that shows these bits passes the gate, at a time when the periods hold."""
        if self.period_bit and not self.period_bit & shown:
            return False
        return self.gate is None or bool(self.gate_bits & shown)

    def means(self, tokens: frozenset[Token], price_minor: int) -> bool:
        """Whether the rule may work on goods with these tokens at this shelf price."""
        return any(selector is None or selector.hits(tokens, price_minor) for selector in self.selectors)


def parts_of(rule: Rule) -> tuple[Part, ...]:
    """The parts of a set."""
    match rule.effect:
        case Bundle(parts):
            return parts
        case BuyGet(buy, get):
            return (buy, get)
        case NForM(n):
            return (Part(rule.items, n),)
    raise AssertionError(rule.effect)  # the parser lets no other effect into this stage


_NO_SERIES: frozenset[str] = frozenset()

# -- the tree of one stage ------------------------------------------------------------------------


class Branch(NamedTuple):
    """A group with its children in order; empty groups are left out of the tree."""

    policy: Policy
    children: tuple[Node, ...]


Node = Clause | Branch
"""A place in the tree of one stage."""


class Groups:
    """The groups of one stage, and the policy of its root."""

    def __init__(self, groups: Iterable[Group], root_policy: Policy) -> None:
        self.by_id = {group.id: group for group in groups}
        self.root_policy = root_policy

    def tree(self, clauses: Sequence[Clause]) -> Branch:
        """The tree that holds just these clauses; children stand by (priority, id), a rule before a group."""
        if not self.by_id:
            return Branch(self.root_policy, tuple(clauses))
        children: dict[str | None, list[tuple[tuple[int, str, int], Node]]] = {None: []}
        groups_below: dict[str | None, list[Group]] = {}
        for clause in clauses:
            rule, name = clause.rule, clause.rule.group
            if name not in children:
                children[name] = []
                # The way to the root is known to be there, as soon as one group on it is.
                while name is not None:
                    group = self.by_id[name]
                    groups_below.setdefault(group.parent, []).append(group)
                    if group.parent in children:
                        break
                    name = group.parent
                    children[name] = []
            children[rule.group].append(((*rule.order, 0), clause))

        def branch(name: str | None, policy: Policy) -> Branch:
            below = children[name]
            for group in groups_below.get(name, ()):
                below.append(((group.priority, group.id, 1), branch(group.id, group.policy)))
            below.sort(key=lambda child: child[0])
            return Branch(policy, tuple(node for _, node in below))

        return branch(None, self.root_policy)


def clauses_in(branch: Branch) -> list[Clause]:
    """Every clause of a tree, in its order."""
    found: list[Clause] = []
    for child in branch.children:
        if isinstance(child, Clause):
            found.append(child)
        else:
            found += clauses_in(child)
    return found


# -- plans ----------------------------------------------------------------------------------------


class LinePlan:
    """The line stage of one shelf: its tree without what cannot win.

    `percents` is the whole plan where nothing but percents of one base compete for the best: rising.
    `tested` are the clauses with a condition still to be tried.
    """

    __slots__ = ("percents", "root", "tested")

    def __init__(self, clauses: Sequence[Clause], groups: Groups) -> None:
        self.root = _without_beaten(groups.tree(clauses))
        self.tested = _tested(self.root)
        self.percents = _percents_of_one_base(self.root)


def _percents_of_one_base(root: Branch) -> tuple[tuple[Clause, int], ...]:
    """(rule, bp) of the children, where plain percents of what is outside sets compete; else nothing."""
    percents = []
    for child in root.children:
        if not isinstance(child, Clause) or not child.plain or child.over_sets or child.percent is None:
            return ()
        percents.append((child, child.percent[0]))
    return tuple(percents) if root.policy == "best" else ()


class EarnPlan:
    """The earn stage of one shelf: its tree of percents, its multipliers, and what stands outside.

    `only` is the whole plan where one percent is all there is.
    """

    __slots__ = ("multipliers", "only", "outside", "root", "tested")

    def clauses(self) -> list[Clause]:
        """All that is in it."""
        return [*clauses_in(self.root), *self.multipliers, *self.outside]

    def __init__(self, clauses: Sequence[Clause], groups: Groups) -> None:
        percents = [clause for clause in clauses if clause.percent is not None]
        others = (
            [clause for clause in clauses if clause.percent is None] if len(percents) < len(clauses) else []
        )
        self.root = _without_beaten(groups.tree(percents))
        self.multipliers = tuple([c for c in others if isinstance(c.effect, EarnMultiplier)])
        self.outside = tuple([c for c in others if not isinstance(c.effect, EarnMultiplier)])
        self.tested = _tested(self.root) + tuple([clause for clause in others if clause.test is not None])
        only = self.root.children[0] if len(self.root.children) == 1 and not others else None
        self.only = only if isinstance(only, Clause) else None


def _tested(node: Branch) -> tuple[Clause, ...]:
    """The clauses of a tree that have a condition still to be tried."""
    return tuple([clause for clause in clauses_in(node) if clause.test is not None])


def _without_beaten(branch: Branch) -> Branch:
    """The branch without the percents of its `best` groups that can never be booked."""
    children: list[Node] = []
    clauses: list[Clause] = []
    for child in branch.children:
        if isinstance(child, Clause):
            clauses.append(child)
            children.append(child)
        else:
            children.append(_without_beaten(child))
    beaten = beaten_in_best(clauses, _is_plain) if branch.policy == "best" and len(clauses) > 1 else ()
    if beaten:
        children = [child for child in children if child not in beaten]
    return Branch(branch.policy, tuple(children))


def beaten_in_best(clauses: Iterable[Clause], beats: Callable[[Clause], bool]) -> set[Clause]:
    """Of clauses that compete for the best, in order, the percents that another is always booked instead of.

    One that stands earlier and is as great always is. A greater one that stands later is where nothing
    clips what a line may get: in the earn stage. `beats` says of whom one can be sure that it is there.
    """
    beaten: set[Clause] = set()
    greatest: dict[object, int] = {}
    earning: list[Clause] = []
    for clause in clauses:
        percent = clause.percent
        if percent is None:
            continue
        bp, base = percent
        if bp <= greatest.get(base, -1):
            beaten.add(clause)
        elif clause.stage == "earn":
            earning.append(clause)
            if beats(clause):
                greatest[base] = bp
        elif beats(clause):
            greatest[base] = bp
    for clause in earning:
        if clause.percent is not None and clause.percent[0] < greatest.get(clause.percent[1], -1):
            beaten.add(clause)
    return beaten


by_number = attrgetter("number")
_is_plain = attrgetter("plain")
