"""The compiled rulebook: rules put in order and hung into their trees, ready to price receipts.

What can be settled once is settled here, so that a receipt is priced without
looking anything up twice: disabled rules fall away, every stage gets its rules
in order, the groups of a stage become one tree, and the facts of a sku (its
tokens, its minimum price) are put together when it is first sold and kept.

A compiled rulebook is made from one rulebook and one catalogue and is never
changed; the kept facts are bounded by the catalogue and hold nothing of any
receipt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from loyalty.catalog import Catalog
from loyalty.rulebook import Group, Rule, Rulebook
from loyalty.vocabulary import Policy, Token


@dataclass(frozen=True, slots=True)
class Branch:
    """A group with its children in order; empty groups are left out of the tree."""

    policy: Policy
    children: tuple[Node, ...]


Node = Rule | Branch


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules can know of one sku."""

    tokens: frozenset[Token]
    min_price_minor: int = 0


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rulebook with its catalogue, ready for `loyalty.quote.quote`."""

    rulebook: Rulebook
    catalog: Catalog
    line: Branch
    receipt: Branch
    redeem: tuple[Rule, ...]
    earn: Branch
    _facts: dict[str, Facts] = field(default_factory=dict, repr=False, compare=False)

    def facts(self, sku: str) -> Facts:
        """The facts of a sku; one that the catalogue lacks has no category, brand or flag."""
        facts = self._facts.get(sku)
        if facts is None:
            facts = _facts_of(sku, self.catalog)
            if sku in self.catalog.skus:
                self._facts[sku] = facts
        return facts


def compile_rulebook(rulebook: Rulebook, catalog: Catalog) -> Compiled:
    """Make `rulebook` ready to price receipts of goods from `catalog`."""
    return Compiled(
        rulebook=rulebook,
        catalog=catalog,
        line=_tree(rulebook, "line"),
        receipt=_tree(rulebook, "receipt"),
        redeem=tuple(sorted(_enabled(rulebook, "redeem"), key=lambda rule: rule.order)),
        earn=_tree(rulebook, "earn"),
    )


def rules_in(node: Node) -> Iterable[Rule]:
    """Every rule of a tree."""
    if isinstance(node, Rule):
        yield node
    else:
        for child in node.children:
            yield from rules_in(child)


def _enabled(rulebook: Rulebook, stage: str) -> list[Rule]:
    return [rule for rule in rulebook.rules if rule.enabled and rule.stage == stage]


def _tree(rulebook: Rulebook, stage: str) -> Branch:
    """The groups and rules of one stage as a tree; children stand by (priority, id), rules first."""
    groups: dict[str | None, list[Group]] = {}
    rules: dict[str | None, list[Rule]] = {}
    for group in rulebook.groups:
        if group.stage == stage:
            groups.setdefault(group.parent, []).append(group)
    for rule in _enabled(rulebook, stage):
        rules.setdefault(rule.group, []).append(rule)

    def branch(name: str | None, policy: Policy) -> Branch:
        children: list[tuple[tuple[int, str, int], Node]] = [
            ((rule.priority, rule.id, 0), rule) for rule in rules.get(name, ())
        ]
        for group in groups.get(name, ()):
            below = branch(group.id, group.policy)
            if below.children:
                children.append(((group.priority, group.id, 1), below))
        children.sort(key=lambda child: child[0])
        return Branch(policy, tuple(node for _, node in children))

    return branch(None, rulebook.settings.policy.get(stage, "best"))


def _facts_of(sku: str, catalog: Catalog) -> Facts:
    goods = catalog.skus.get(sku)
    if goods is None:
        return Facts(frozenset({("sku", sku)}))
    tokens: set[Token] = {("sku", sku)}
    tokens.update(("category", category) for category in catalog.lineage(goods.category))
    tokens.update(("flag", flag) for flag in goods.flags)
    if goods.brand is not None:
        tokens.add(("brand", goods.brand))
    return Facts(frozenset(tokens), goods.min_price_minor)
