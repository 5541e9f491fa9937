"""The closed vocabulary: every stage, effect and condition, and the keys each may have.

The law is a table. An effect or a condition is a small frozen class; beside it
stands its line in a table: the stage it belongs to and the kind of each key.
The walker reads by these tables, the stages compute by these classes, and
nothing else decides what a rulebook may say. There is no expression language:
what is not in the tables cannot be written, so it can always be proved.

`UNSUPPORTED_*` are the names of rulebook.md that this version does not compute
yet. They are refused by name, together with the whole rulebook, for a rule
that is skipped because it is not understood is a wrong price.

Units: amounts in kopecks, percents in basis points (`bp`), points in
hundredths, quantities in thousandths.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from loyalty.faults import at_key
from loyalty.texts import N_, Text
from loyalty.walk import Key, Keys, Walk, choice, flag, ident, list_of, moment, record, sku_id, whole, word

MAX_DAYS = 36_500
"""Longest delay or life of points in days: a century, so that no date leaves the calendar."""

STAGES = ("price", "sets", "line", "receipt", "round", "redeem", "earn", "reward")
"""All stages of the law, in the order in which a receipt goes through them (rulebook.md §4)."""

SUPPORTED_STAGES = ("line", "receipt", "redeem", "earn")
GROUP_STAGES = ("line", "receipt", "earn")

Policy = Literal["best", "worst", "sum", "chain", "first"]
POLICIES = ("best", "worst", "sum", "chain", "first")

# -- selectors ------------------------------------------------------------------------------------

Token = tuple[str, str]
"""A fact about goods that a rule can name: ("sku" | "category" | "brand" | "flag", value)."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Which goods are meant (rulebook.md §3): any of the tokens, a shelf price in range, not `excluded`."""

    tokens: frozenset[Token] = frozenset()
    price_min_minor: int | None = None
    price_max_minor: int | None = None
    excluded: Selector | None = None

    def hits(self, tokens: frozenset[Token], price_minor: int) -> bool:
        """Whether goods with these tokens at this shelf price (kopecks a unit) are meant."""
        if self.tokens and self.tokens.isdisjoint(tokens):
            return False
        if self.price_min_minor is not None and price_minor < self.price_min_minor:
            return False
        if self.price_max_minor is not None and price_minor > self.price_max_minor:
            return False
        return self.excluded is None or not self.excluded.hits(tokens, price_minor)


def _selector(
    sku: tuple[str, ...],
    category: tuple[str, ...],
    brand: tuple[str, ...],
    flag: tuple[str, ...],
    price_min_minor: int | None,
    price_max_minor: int | None,
    excluded: Selector | None,
) -> Selector:
    named = {"sku": sku, "category": category, "brand": brand, "flag": flag}
    tokens = frozenset((kind, name) for kind, names in named.items() for name in names)
    return Selector(tokens, price_min_minor, price_max_minor, excluded)


def selector(walk: Walk, raw: object, path: str) -> Any:
    """The kind of `items`, `of` and the settings that name goods."""
    return _read_selector(walk, raw, path)


SELECTOR_KEYS: Keys = {
    "sku": Key(list_of(sku_id, at_least=1), default=()),
    "category": Key(list_of(ident, at_least=1), default=()),
    "brand": Key(list_of(word, at_least=1), default=()),
    "flag": Key(list_of(ident, at_least=1), default=()),
    "price_min": Key(whole(), attr="price_min_minor"),
    "price_max": Key(whole(), attr="price_max_minor"),
    "not": Key(selector, attr="excluded"),
}
_read_selector = record(_selector, SELECTOR_KEYS)

# -- conditions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class All:
    """Every one of `of` holds; an empty list holds."""

    of: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Any_:  # noqa: N801 - the plain name is taken by typing
    """At least one of `of` holds; an empty list does not."""

    of: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """`of` does not hold. Without a customer a condition on one is false, so its `not` is true."""

    of: Condition


@dataclass(frozen=True, slots=True)
class Period:
    """`start` ≤ now < `end`; naive bounds are shop wall clock, aware ones (`Z`) are absolute."""

    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Tier:
    """The customer's tier is one of these."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CardKind:
    """The customer's card is of one of these kinds."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """The customer is in any of these segments."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    """The amounts of the matching lines, at this moment or at list, add up to the range (inclusive)."""

    of: Selector | None
    base: Literal["net", "list"]
    min_minor: int | None
    max_minor: int | None


Condition = All | Any_ | Not | Period | Tier | CardKind | Segment | Sum


@dataclass(frozen=True, slots=True)
class Shape:
    """One line of a table: the class to make, its keys, and the stage an effect belongs to."""

    make: Callable[..., object]
    keys: Keys
    stage: str = ""


def condition(walk: Walk, raw: object, path: str) -> Any:
    """The kind of `when`, and of what `all`, `any` and `not` hold."""
    return typed(walk, raw, path, CONDITIONS, UNSUPPORTED_CONDITIONS, N_("condition type"))


_INSTANT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?Z?)?\Z")
_instant = moment(_INSTANT, N_("a time such as 2026-02-01T00:00:00 (shop time) or 2026-01-31T21:00:00Z"))
_names: Keys = {"in": Key(list_of(ident), required=True, attr="names")}

CONDITIONS: Mapping[str, Shape] = MappingProxyType(
    {
        "all": Shape(All, {"of": Key(list_of(condition), required=True)}),
        "any": Shape(Any_, {"of": Key(list_of(condition), required=True)}),
        "not": Shape(Not, {"of": Key(condition, required=True)}),
        "period": Shape(Period, {"from": Key(_instant, attr="start"), "to": Key(_instant, attr="end")}),
        "tier": Shape(Tier, _names),
        "segment": Shape(Segment, _names),
        "card_kind": Shape(CardKind, _names),
        "sum": Shape(
            Sum,
            {
                "of": Key(selector),
                "base": Key(choice(N_("base"), "net", "list"), default="net"),
                "min": Key(whole(), attr="min_minor"),
                "max": Key(whole(), attr="max_minor"),
            },
        ),
    }
)
UNSUPPORTED_CONDITIONS = (
    "time",
    "weekday",
    "month_day",
    "store",
    "till",
    "channel",
    "region",
    "tender",
    "customer",
    "counter",
    "birthday",
    "coupon",
    "redeemed",
    "quantity",
    "distinct",
)

# -- effects --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Percent:
    """line: `bp` of the line's base, rounded half up."""

    bp: int


@dataclass(frozen=True, slots=True)
class AmountOff:
    """line: `amount_minor` for each whole unit of quantity, rounded half up."""

    amount_minor: int


@dataclass(frozen=True, slots=True)
class ReceiptPercent:
    """receipt: `bp` of the base of the eligible lines, shared out over them."""

    bp: int
    spill: bool


@dataclass(frozen=True, slots=True)
class ReceiptAmount:
    """receipt: an amount shared out over the eligible lines."""

    amount_minor: int
    spill: bool


@dataclass(frozen=True, slots=True)
class Redeem:
    """redeem: points pay at most `max_bp` of the base, in multiples of `step` hundredths."""

    max_bp: int
    of: Literal["receipt", "eligible"]
    step: int


@dataclass(frozen=True, slots=True)
class EarnPercent:
    """earn: `bp` of what was paid (or another base) in points, whole `unit`s of them, as one lot."""

    bp: int
    on: Literal["paid", "before_redeem", "list"]
    unit: int
    delay_days: int
    ttl_days: int | None


LineEffect = Percent | AmountOff
ReceiptEffect = ReceiptPercent | ReceiptAmount
Effect = LineEffect | ReceiptEffect | Redeem | EarnPercent


def effect(walk: Walk, raw: object, path: str) -> Any:
    """The kind of a rule's `effect`."""
    return typed(walk, raw, path, EFFECTS, UNSUPPORTED_EFFECTS, N_("effect type"))


_bp = Key(whole(), required=True)
_amount = Key(whole(), required=True, attr="amount_minor")

EFFECTS: Mapping[str, Shape] = MappingProxyType(
    {
        "percent": Shape(Percent, {"bp": _bp}, "line"),
        "amount_off": Shape(AmountOff, {"amount": _amount}, "line"),
        "receipt_percent": Shape(ReceiptPercent, {"bp": _bp, "spill": Key(flag, default=False)}, "receipt"),
        "receipt_amount": Shape(
            ReceiptAmount, {"amount": _amount, "spill": Key(flag, default=True)}, "receipt"
        ),
        "redeem": Shape(
            Redeem,
            {
                "max_bp": _bp,
                "of": Key(choice(N_("base"), "receipt", "eligible"), default="receipt"),
                "step": Key(whole(at_least=1), default=1),
            },
            "redeem",
        ),
        "earn_percent": Shape(
            EarnPercent,
            {
                "bp": _bp,
                "on": Key(choice(N_("base"), "paid", "before_redeem", "list"), default="paid"),
                "unit": Key(whole(at_least=1), default=100),
                "delay_days": Key(whole(at_most=MAX_DAYS), default=0),
                "ttl_days": Key(whole(at_most=MAX_DAYS)),
            },
            "earn",
        ),
    }
)
UNSUPPORTED_EFFECTS: Mapping[str, str] = MappingProxyType(
    {
        "fixed_price": "price",
        "n_for_m": "sets",
        "bundle": "sets",
        "buy_get": "sets",
        "unit_price": "line",
        "receipt_every": "receipt",
        "receipt_steps": "receipt",
        "round_down": "round",
        "earn_multiplier": "earn",
        "earn_fixed": "earn",
        "earn_every": "earn",
        "draw_table": "reward",
        "draw_deck": "reward",
        "issue_coupon": "reward",
        "gift": "reward",
        "message": "reward",
    }
)


def stage_of_effect(name: str) -> str | None:
    """The stage an effect type belongs to, supported or not; None for a name nobody knows."""
    shape = EFFECTS.get(name)
    return shape.stage if shape else UNSUPPORTED_EFFECTS.get(name)


def typed(
    walk: Walk,
    raw: object,
    path: str,
    shapes: Mapping[str, Shape],
    unsupported: Collection[str],
    what: Text,
) -> object:
    """An object whose `type` chooses its shape; a type of the law that is not computed yet is named."""
    name = raw.get("type") if isinstance(raw, dict) else None
    if isinstance(name, str) and name in shapes:
        shape = shapes[name]
        keys = {"type": Key(_same), **shape.keys}
        before = walk.fault_count
        values = walk.fields(raw, path, keys)
        values.pop("type", None)
        return shape.make(**values) if walk.fault_count == before else None
    if isinstance(name, str) and name in unsupported:
        text = N_("{what} {name} is not supported by this version", what=what, name=name)
        walk.fault(at_key(path, "type"), text)
    elif not isinstance(raw, dict):
        walk.object_at(raw, path)
    elif "type" not in raw:
        walk.fault(at_key(path, "type"), N_("is missing; it is required here"))
    else:
        walk.one_of(name, at_key(path, "type"), [*shapes, *unsupported], what)
    return None


def _same(walk: Walk, raw: object, path: str) -> object:
    return raw
