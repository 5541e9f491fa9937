"""The rulebook: the programme's rules as typed values, or every fault of the document at once.

The idea
--------
A rulebook is read whole or refused whole; the old one stays in force. Nothing
is skipped because it is not understood: an unknown type, an unknown key, a
known key where it has no meaning, are faults like any other (rulebook.md §2).
Each fault carries its JSON path and says what to do.

Reading has two parts. The tables here, in `conditions.py` and in `effects.py`
say what may stand where; `loyalty.walk` reads by them. Then a few checks look across items:
repeated ids, groups that hang in a circle or under a group of another stage,
rules in a group that is not there. They look at the raw document, so a rule
that is broken in one way is still checked in the others.

Order is by (priority, id) ascending everywhere, ids as ASCII: "r10" < "r2".

Known ugliness: group ids and rule ids are two name spaces, for the law does
not say that they are one. Where a group and a rule of the same priority and
name stand side by side, the rule comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from loyalty.conditions import Condition, condition
from loyalty.effects import EFFECTS, GROUP_STAGES, STAGES, Effect, effect
from loyalty.faults import did_you_mean
from loyalty.receipt import Receipt, Return, receipt_kind, returns_kind
from loyalty.selectors import Selector, selector
from loyalty.strictjson import MAX_DEPTH, faults_of
from loyalty.texts import N_, Text
from loyalty.walk import (
    Key,
    Keys,
    Kind,
    Path,
    Schema,
    Walk,
    choice,
    constant,
    currency,
    cycles,
    flag,
    ident,
    list_of,
    record,
    sha256_hex,
    title,
    whole,
    written,
)

FORMAT = 1
"""The format of rulebook files that this version reads."""

SEMANTICS = 1
"""The meaning that this version computes; a till refuses a number it does not know."""

MAX_RULES = 50_000
"""Most rules of one rulebook, and most groups."""

Policy = Literal["best", "worst", "sum", "chain", "first"]
POLICIES: tuple[Policy, ...] = ("best", "worst", "sum", "chain", "first")
"""How the children of a group get along (`loyalty/stages/policy.py`)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for the whole programme: goods that are left out, the greatest discount, root policies."""

    no_discount: Selector | None = None
    no_redeem: Selector | None = None
    no_earn: Selector | None = None
    max_line_discount_bp: int | None = None
    policy: Mapping[str, Policy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """A place in the tree of one stage where `policy` says how the children get along."""

    id: str
    stage: str
    parent: str | None
    policy: Policy
    priority: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: when `when` holds, `effect` on the goods of `items`. `cap` is kopecks, in earn points."""

    id: str
    stage: str
    effect: Effect
    title: str = ""
    enabled: bool = True
    priority: int = 100
    group: str | None = None
    when: Condition | None = None
    items: Selector | None = None
    cap: int | None = None
    limit: int | None = None
    over_sets: bool = False
    fresh: bool = False

    @property
    def order(self) -> tuple[int, str]:
        """Where the rule stands among others: priority, then id."""
        return self.priority, self.id


@dataclass(frozen=True, slots=True)
class RulebookTest:
    """A receipt and the part of its quote that the authors of the rulebook expect."""

    title: str
    receipt: Receipt
    returns: tuple[Return, ...]
    expect: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Rulebook:
    """The rules of a programme. `id` never changes, `seq` grows with every publication."""

    id: str
    seq: int
    currency: str
    settings: Settings
    groups: tuple[Group, ...]
    rules: tuple[Rule, ...]
    tests: tuple[RulebookTest, ...]
    draw_commitment: str | None = None


def parse(raw: object, path: str = "") -> Rulebook:
    """The rulebook in a JSON document (as `loyalty.strictjson.loads` gives it).

    Raises `Refused` with every fault; `path` is where the rulebook stands in a
    larger document, for the paths of the faults. Source: rulebook.md §2 to §4.
    """
    walk = Walk()
    values = walk.fields(raw, path, RULEBOOK)
    walk.unique_in(raw, path, "rules")
    walk.unique_in(raw, path, "groups")
    _check_groups(walk, raw, path)
    walk.finish()
    del values["format"], values["semantics"]
    return Rulebook(**values)


# -- one rule -------------------------------------------------------------------------------------

# A known key in a place where it has no meaning: why it has none there (§2).
_KEY_STAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "limit": ("sets",),
        "cap": ("line", "receipt", "earn"),
        "over_sets": ("line",),
        "fresh": ("line", "receipt"),
    }
)
_GROUPED_EARN_EFFECT = "earn_percent"
_EFFECTS_WITHOUT_ITEMS = ("bundle", "buy_get", "round_down")
_STAGES = frozenset(STAGES)
_STAGES_AFTER_REDEEM = ("earn", "reward")


def _read_rule(walk: Walk, raw: object, path: Path) -> Any:
    stage = effect_type = None
    if isinstance(raw, dict):
        stage, effect = raw.get("stage"), raw.get("effect")
        effect_type = effect.get("type") if isinstance(effect, dict) else None
        stage = stage if isinstance(stage, str) and stage in _STAGES else None
        effect_type = effect_type if isinstance(effect_type, str) and effect_type in EFFECTS else None
    keys, misplaced = _keys_of(stage, effect_type)
    before = walk.fault_count
    values = walk.fields(raw, path, keys, misplaced)
    if stage is not None and effect_type is not None and EFFECTS[effect_type].stage != stage:
        walk.fault(
            ((path, "effect"), "type"),
            N_(
                "effect {name} belongs to stage {belongs_to}, not {stage}",
                name=effect_type,
                belongs_to=EFFECTS[effect_type].stage,
                stage=stage,
            ),
        )
    if isinstance(raw, dict) and "when" in raw and stage is not None and stage not in _STAGES_AFTER_REDEEM:
        _check_redeemed(walk, raw["when"], (path, "when"), stage)
    return Rule(**values) if walk.fault_count == before else None


@cache
def _keys_of(stage: str | None, effect_type: str | None) -> tuple[Keys, Mapping[str, Text]]:
    """The keys a rule of this stage with this effect may have, and the others, each with why it may not."""
    without: dict[str, Text] = {}
    if stage is not None:
        for key, stages in _KEY_STAGES.items():
            if stage not in stages:
                without[key] = N_("has no meaning in stage {stage}; remove it", stage=stage)
        if stage == "earn" and effect_type not in (None, _GROUPED_EARN_EFFECT):
            without["group"] = N_("has no meaning with effect {name}; remove it", name=effect_type)
        elif stage not in GROUP_STAGES:
            without["group"] = N_("has no meaning in stage {stage}; remove it", stage=stage)
        if effect_type in _EFFECTS_WITHOUT_ITEMS:
            without["items"] = N_("has no meaning with effect {name}; remove it", name=effect_type)
        elif stage == "round":
            without["items"] = N_("has no meaning in stage {stage}; remove it", stage=stage)
    return _RULE.but(*without), MappingProxyType(without)


def _check_redeemed(walk: Walk, raw: object, path: Path, stage: str | None) -> None:
    """`redeemed` is known only once points were paid, so it stands in the last stages only (§3)."""
    left: list[tuple[object, Path]] = [(raw, path)]
    while left:
        raw, path = left.pop()
        kind, of = _peek(raw, "type"), _get(raw, "of")
        if kind == "redeemed":
            walk.fault(
                (path, "type"),
                N_(
                    "redeemed belongs to stages {belongs_to}, not {stage}",
                    belongs_to="earn, reward",
                    stage=stage,
                ),
            )
        elif kind == "not":
            left.append((of, (path, "of")))
        elif kind in ("all", "any") and isinstance(of, list):
            left.extend((part, ((path, "of"), i)) for i, part in enumerate(of))


def _rule_schema(of: Callable[[Kind], Schema]) -> Schema:
    """The table, and for each stage its effects and the keys that have no meaning there."""
    schema = _RULE.schema(of)
    schema["allOf"] = [
        {"if": _has("stage", {"const": stage}), "then": _stage_schema(stage)} for stage in STAGES
    ] + [
        {"if": _has("effect", _has("type", {"const": name})), "then": {"properties": {key: False}}}
        for name, shape in EFFECTS.items()
        for key in _keys_of(shape.stage, name)[1]
        if key not in _keys_of(shape.stage, None)[1]
    ]
    return schema


def _stage_schema(stage: str) -> Schema:
    effects = [name for name, shape in EFFECTS.items() if shape.stage == stage]
    without = _keys_of(stage, None)[1]
    return {
        "properties": {
            "effect": {"properties": {"type": {"enum": effects}}},
            **dict.fromkeys(without, False),
        }
    }


def _has(key: str, value: Schema) -> Schema:
    return {"required": [key], "properties": {key: value}}


# -- groups ---------------------------------------------------------------------------------------


def _check_groups(walk: Walk, raw: object, path: Path) -> None:
    """Parents and memberships: the group is there, in the same stage, and hangs in no circle."""
    groups: dict[str, object] = {}
    for item in _items(raw, "groups"):
        name = _peek(item, "id")
        if name is not None:
            groups.setdefault(name, item)
    known = list(groups)
    parents = {name: _peek(item, "parent") for name, item in groups.items()}
    circular = set(cycles(parents))
    for i, item in enumerate(_items(raw, "groups")):
        place = (((path, "groups"), i), "parent")
        _check_member(walk, item, "parent", place, groups, known)
        name = _peek(item, "id")
        if name in circular and groups[name] is item:
            walk.fault(place, N_("the group is its own ancestor; break the circle of parents"))
        elif name is not None and not circular and _depth(name, parents) > MAX_DEPTH:
            walk.fault(place, N_("nested deeper than {depth} levels; make it flatter", depth=MAX_DEPTH))
    for i, item in enumerate(_items(raw, "rules")):
        if isinstance(item, dict) and "group" in item:
            _check_member(walk, item, "group", (((path, "rules"), i), "group"), groups, known)


def _check_member(
    walk: Walk, item: object, key: str, place: Path, groups: Mapping[str, object], known: list[str]
) -> None:
    name = _peek(item, key)
    if name is None:
        return
    if name not in groups:
        walk.fault(
            place,
            N_(
                "there is no group {name}; {hint}",
                name=walk.shown(name),
                hint=did_you_mean(name, known),
            ),
        )
        return
    stage, group_stage = _peek(item, "stage"), _peek(groups[name], "stage")
    if stage in GROUP_STAGES and group_stage in GROUP_STAGES and stage != group_stage:
        walk.fault(
            place,
            N_(
                "group {name} belongs to stage {belongs_to}, not {stage}",
                name=walk.shown(name),
                belongs_to=group_stage,
                stage=stage,
            ),
        )


def _depth(name: str | None, parents: Mapping[str, str | None]) -> int:
    depth = 0
    while name is not None and depth <= MAX_DEPTH:
        depth, name = depth + 1, parents.get(name)
    return depth


def _get(raw: object, key: str) -> object:
    return raw.get(key) if isinstance(raw, dict) else None


def _peek(raw: object, key: str) -> str | None:
    value = _get(raw, key)
    return value if isinstance(value, str) else None


def _items(raw: object, key: str) -> list[object]:
    value = _get(raw, key)
    return value if isinstance(value, list) else []


# -- the rest of the document ---------------------------------------------------------------------


def _read_expect(walk: Walk, raw: object, path: Path) -> Any:
    """Any part of a quote: free shape, but of JSON that the law allows."""
    for fault in faults_of(walk.object_at(raw, path), written(path)):
        walk.fault(fault.path, fault.text)
    return raw


_expect = Kind(_read_expect, lambda _: {"type": "object"})
_policy = choice(N_("policy"), *POLICIES)
_SETTINGS = Keys(
    {
        "no_discount": Key(selector),
        "no_redeem": Key(selector),
        "no_earn": Key(selector),
        "max_line_discount_bp": Key(whole()),
        "policy": Key(
            record(dict, Keys({stage: Key(_policy, default="best") for stage in GROUP_STAGES})), default={}
        ),
    }
)
_GROUP = Keys(
    {
        "id": Key(ident, required=True),
        "stage": Key(choice(N_("stage of a group"), *GROUP_STAGES), required=True),
        "parent": Key(ident),
        "policy": Key(_policy, default="best"),
        "priority": Key(whole(at_least=None), default=100),
    }
)
_RULE = Keys(
    {
        "id": Key(ident, required=True),
        "title": Key(title, default=""),
        "enabled": Key(flag, default=True),
        "stage": Key(choice(N_("stage"), *STAGES), required=True),
        "priority": Key(whole(at_least=None), default=100),
        "group": Key(ident),
        "when": Key(condition),
        "items": Key(selector),
        "effect": Key(effect, required=True),
        "cap": Key(whole()),
        "limit": Key(whole(at_least=1)),
        "over_sets": Key(flag, default=False),
        "fresh": Key(flag, default=False),
    }
)
rule_kind = Kind(_read_rule, _rule_schema, "rule")
_TEST = Keys(
    {
        "title": Key(title, default=""),
        "receipt": Key(receipt_kind, required=True),
        "returns": Key(returns_kind, default=()),
        "expect": Key(_expect, required=True),
    }
)
RULEBOOK = Keys(
    {
        "format": Key(constant(FORMAT, N_("format")), required=True),
        "semantics": Key(constant(SEMANTICS, N_("semantics")), default=SEMANTICS),
        "id": Key(ident, required=True),
        "seq": Key(whole(), required=True),
        "currency": Key(currency, default="RUB"),
        "settings": Key(record(Settings, _SETTINGS), default=Settings()),
        "groups": Key(list_of(record(Group, _GROUP), at_most=MAX_RULES), default=()),
        "rules": Key(list_of(rule_kind, at_most=MAX_RULES), required=True),
        "tests": Key(list_of(record(RulebookTest, _TEST)), default=()),
        "draw_commitment": Key(sha256_hex),
    }
)
"""The table of the whole document; `loyalty/schema.py` publishes it."""
