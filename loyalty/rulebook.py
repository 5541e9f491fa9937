"""The rulebook: the programme's rules as typed values, or every fault of the document at once.

The idea
--------
A rulebook is read whole or refused whole; the old one stays in force. Nothing
is skipped because it is not understood: an unknown type, an unknown key, a
known key where it has no meaning, are faults like any other (rulebook.md §2).
Each fault carries its JSON path and says what to do.

Reading has two parts. The tables here and in `vocabulary.py` say what may
stand where; `loyalty.walk` reads by them. Then a few checks look across items:
repeated ids, groups that hang in a circle or under a group of another stage,
rules in a group that is not there. They look at the raw document, so a rule
that is broken in one way is still checked in the others.

Order is by (priority, id) ascending everywhere, ids as ASCII: "r10" < "r2".

Known ugliness: group ids and rule ids are two name spaces, for the law does
not say that they are one. Where a group and a rule of the same priority and
name stand side by side, the rule comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from loyalty.faults import at_item, at_key, did_you_mean
from loyalty.receipt import read_receipt, read_returns
from loyalty.strictjson import MAX_DEPTH, faults_of
from loyalty.texts import N_, Text
from loyalty.vocabulary import (
    EFFECTS,
    GROUP_STAGES,
    POLICIES,
    STAGES,
    SUPPORTED_STAGES,
    UNSUPPORTED_EFFECTS,
    Condition,
    Effect,
    Policy,
    Selector,
    condition,
    effect,
    selector,
    stage_of_effect,
)
from loyalty.walk import (
    Key,
    Keys,
    Walk,
    choice,
    currency,
    cycles,
    flag,
    ident,
    list_of,
    names_at,
    record,
    sha256_hex,
    title,
    whole,
)

FORMAT = 1
"""The format of rulebook files that this version reads."""

SEMANTICS = 1
"""The meaning that this version computes; a till refuses a number it does not know."""

MAX_RULES = 50_000
"""Most rules of one rulebook, and most groups."""


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
    receipt: Any
    returns: Any
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
    values = walk.fields(raw, path, _RULEBOOK)
    walk.unique(names_at(raw, path, "rules"))
    walk.unique(names_at(raw, path, "groups"))
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


def _rule(walk: Walk, raw: object, path: str) -> Any:
    stage, effect_type = _peek(raw, "stage"), _peek(_get(raw, "effect"), "type")
    misplaced = _misplaced(stage, effect_type)
    keys = {name: key for name, key in _RULE.items() if name not in misplaced}
    before = walk.fault_count
    values = walk.fields(raw, path, keys, misplaced)
    belongs_to = stage_of_effect(effect_type) if effect_type else None
    if belongs_to and stage in STAGES and stage != belongs_to:
        walk.fault(
            at_key(at_key(path, "effect"), "type"),
            N_(
                "effect {name} belongs to stage {belongs_to}, not {stage}",
                name=effect_type,
                belongs_to=belongs_to,
                stage=stage,
            ),
        )
    values.pop("limit", None)
    return Rule(**values) if walk.fault_count == before else None


def _misplaced(stage: str | None, effect_type: str | None) -> dict[str, Text]:
    """The keys that mean nothing in a rule of this stage with this effect, each with why."""
    if stage not in STAGES:
        return {}
    without: dict[str, Text] = {}
    for key, stages in _KEY_STAGES.items():
        if stage not in stages:
            without[key] = N_("has no meaning in stage {stage}; remove it", stage=stage)
    if stage == "earn" and effect_type != _GROUPED_EARN_EFFECT:
        if effect_type in EFFECTS or effect_type in UNSUPPORTED_EFFECTS:
            without["group"] = N_("has no meaning with effect {name}; remove it", name=effect_type)
    elif stage not in GROUP_STAGES:
        without["group"] = N_("has no meaning in stage {stage}; remove it", stage=stage)
    if effect_type in _EFFECTS_WITHOUT_ITEMS:
        without["items"] = N_("has no meaning with effect {name}; remove it", name=effect_type)
    elif stage == "round":
        without["items"] = N_("has no meaning in stage {stage}; remove it", stage=stage)
    return without


def _stage(walk: Walk, raw: object, path: str) -> Any:
    if raw in STAGES and raw not in SUPPORTED_STAGES:
        walk.fault(path, N_("{what} {name} is not supported by this version", what=N_("stage"), name=raw))
        return None
    return walk.one_of(raw, path, SUPPORTED_STAGES, N_("stage"))


# -- groups ---------------------------------------------------------------------------------------


def _check_groups(walk: Walk, raw: object, path: str) -> None:
    """Parents and memberships: the group is there, in the same stage, and hangs in no circle."""
    groups: dict[str, object] = {}
    for item in _items(raw, "groups"):
        name = _peek(item, "id")
        if name is not None:
            groups.setdefault(name, item)
    parents = {name: _peek(item, "parent") for name, item in groups.items()}
    circular = set(cycles(parents))
    for i, item in enumerate(_items(raw, "groups")):
        place = at_key(at_item(at_key(path, "groups"), i), "parent")
        _check_member(walk, item, "parent", place, groups)
        name = _peek(item, "id")
        if name in circular and groups[name] is item:
            walk.fault(place, N_("the group is its own ancestor; break the circle of parents"))
        elif name is not None and not circular and _depth(name, parents) > MAX_DEPTH:
            walk.fault(place, N_("nested deeper than {depth} levels; make it flatter", depth=MAX_DEPTH))
    for i, item in enumerate(_items(raw, "rules")):
        place = at_key(at_item(at_key(path, "rules"), i), "group")
        _check_member(walk, item, "group", place, groups)


def _check_member(walk: Walk, item: object, key: str, place: str, groups: Mapping[str, object]) -> None:
    name = _peek(item, key)
    if name is None:
        return
    if name not in groups:
        walk.fault(
            place,
            N_(
                "there is no group {name}; {hint}",
                name=walk.shown(name),
                hint=did_you_mean(name, list(groups)),
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


def _version(known: int, what: Text) -> Any:
    def read(walk: Walk, raw: object, path: str) -> object:
        if type(raw) is not int or raw != known:
            walk.fault(path, N_("this version knows {what} {known} only; update it", what=what, known=known))
        return raw

    return read


def _expect(walk: Walk, raw: object, path: str) -> Any:
    """Any part of a quote: free shape, but of JSON that the law allows."""
    for fault in faults_of(walk.object_at(raw, path), path):
        walk.fault(fault.path, fault.text)
    return raw


_policy = choice(N_("policy"), *POLICIES)
_SETTINGS: Keys = {
    "no_discount": Key(selector),
    "no_redeem": Key(selector),
    "no_earn": Key(selector),
    "max_line_discount_bp": Key(whole()),
    "policy": Key(record(dict, {stage: Key(_policy, default="best") for stage in GROUP_STAGES}), default={}),
}
_GROUP: Keys = {
    "id": Key(ident, required=True),
    "stage": Key(choice(N_("stage of a group"), *GROUP_STAGES), required=True),
    "parent": Key(ident),
    "policy": Key(_policy, default="best"),
    "priority": Key(whole(at_least=None), default=100),
}
_RULE: Keys = {
    "id": Key(ident, required=True),
    "title": Key(title, default=""),
    "enabled": Key(flag, default=True),
    "stage": Key(_stage, required=True),
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
_TEST: Keys = {
    "title": Key(title, default=""),
    "receipt": Key(read_receipt, required=True),
    "returns": Key(read_returns, default=()),
    "expect": Key(_expect, required=True),
}
_RULEBOOK: Keys = {
    "format": Key(_version(FORMAT, N_("format")), required=True),
    "semantics": Key(_version(SEMANTICS, N_("semantics")), default=SEMANTICS),
    "id": Key(ident, required=True),
    "seq": Key(whole(), required=True),
    "currency": Key(currency, default="RUB"),
    "settings": Key(record(Settings, _SETTINGS), default=Settings()),
    "groups": Key(list_of(record(Group, _GROUP), at_most=MAX_RULES), default=()),
    "rules": Key(list_of(_rule, at_most=MAX_RULES), required=True),
    "tests": Key(list_of(record(RulebookTest, _TEST)), default=()),
    "draw_commitment": Key(sha256_hex),
}
