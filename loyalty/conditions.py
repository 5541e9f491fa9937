"""The closed vocabulary of conditions: what `when` can say (rulebook.md §3).

The law is a table. A condition is a small frozen class; its line in
`CONDITIONS` names its keys and their kinds. The walker reads by the table,
`loyalty/stages/conditions.py` says when each holds, and nothing else decides
what a rulebook may say. There is no expression language: what is not in the
table cannot be written, so everything that is written can be proved.

Units: amounts in kopecks, quantities in thousandths, days and times of the
shop's wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from types import MappingProxyType
from typing import Any, Literal

from loyalty.selectors import Selector, selector
from loyalty.shapes import Shape, typed
from loyalty.texts import N_
from loyalty.walk import (
    Key,
    Keys,
    Kind,
    Path,
    Walk,
    choice,
    counter_name,
    flag,
    ident,
    list_of,
    moment,
    text_like,
    whole,
)

MAX_DAYS = 36_500
"""Most days that anything may lie ahead or behind: a century, so that no date leaves the calendar."""


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of `of` holds; an empty list holds."""

    of: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
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
class Time:
    """A daily window `start` ≤ now < `end`; over midnight where `end` is the earlier.

    `weekdays` (1 = Monday) name the day on which the window started.
    """

    start: time
    end: time
    weekdays: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Weekday:
    """Today is one of these days; 1 = Monday."""

    days: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MonthDay:
    """Today is one of these days of the month."""

    days: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """The receipt's `kind` is one of these names."""

    kind: Literal["store", "till", "channel", "region"]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tender:
    """Any tender of the receipt is one of these."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IsCustomer:
    """There is a customer, and where `names` are given, one of these."""

    names: tuple[str, ...] | None


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
class Counter:
    """One of the customer's counters is in the range (inclusive); one that is missing is 0."""

    name: str
    least: int | None
    most: int | None


@dataclass(frozen=True, slots=True)
class Birthday:
    """Today lies from `before_days` before a birthday to `after_days` behind it; `feb29` for common years."""

    before_days: int
    after_days: int
    feb29: Literal["02-28", "03-01"]


@dataclass(frozen=True, slots=True)
class Coupon:
    """A coupon of the series was presented and is not used yet."""

    series: str


@dataclass(frozen=True, slots=True)
class Redeemed:
    """Points were redeemed on this receipt, or (`wanted` false) were not."""

    wanted: bool


@dataclass(frozen=True, slots=True)
class Sum:
    """The amounts of the matching lines, at this moment or at list, add up to the range (inclusive)."""

    of: Selector | None
    base: Literal["net", "list"]
    least: int | None
    most: int | None


@dataclass(frozen=True, slots=True)
class Quantity:
    """The quantities of the matching lines add up to the range (inclusive), in thousandths."""

    of: Selector | None
    least: int | None
    most: int | None


@dataclass(frozen=True, slots=True)
class Distinct:
    """So many different skus are among the matching lines (inclusive range)."""

    of: Selector | None
    least: int | None
    most: int | None


Measured = Sum | Quantity | Distinct | Counter
"""Conditions that compare a measured value with a range."""

Condition = (
    AllOf | AnyOf | Not | Period | Time | Weekday | MonthDay | Place | Tender
    | IsCustomer | Tier | CardKind | Segment | Birthday | Coupon | Redeemed | Measured
)  # fmt: skip


def parts_of(condition: Condition) -> tuple[Condition, ...]:
    """What a condition is made of; nothing for one that is not `all`, `any` or `not`."""
    match condition:
        case AllOf(parts) | AnyOf(parts):
            return parts
        case Not(part):
            return (part,)
    return ()


# -- the table ------------------------------------------------------------------------------------


def _read(walk: Walk, raw: object, path: Path) -> Any:
    return _READER.read(walk, raw, path)


condition = Kind(_read, lambda of: _READER.schema(of), "condition")
"""The kind of `when`, and of what `all`, `any` and `not` hold."""

_instant = moment(
    r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?Z?)?",
    N_("a time such as 2026-02-01T00:00:00 (shop time) or 2026-01-31T21:00:00Z"),
)
_HH_MM = text_like(
    "([01][0-9]|2[0-3]):[0-5][0-9]", N_("a time of day from 00:00 to 23:59, midnight being 00:00")
)


def _time_of_day(walk: Walk, raw: object, path: Path) -> time | None:
    written = _HH_MM.read(walk, raw, path)
    return time.fromisoformat(written) if written else None


_clock = Kind(_time_of_day, _HH_MM.schema)


def _window_has_length(walk: Walk, raw: Mapping[str, Any], path: Path) -> None:
    if isinstance(raw.get("from"), str) and raw["from"] == raw.get("to"):
        walk.fault((path, "to"), N_("is the same as from; remove the condition to mean all day"))


_names = Keys({"in": Key(list_of(ident), required=True, attr="names")})
_weekday = whole(1, 7)
_range: dict[str, Key] = {"min": Key(whole(), attr="least"), "max": Key(whole(), attr="most")}
_any_range: dict[str, Key] = {"min": Key(whole(None), attr="least"), "max": Key(whole(None), attr="most")}


def _place(kind: Literal["store", "till", "channel", "region"]) -> Shape:
    return Shape(lambda names: Place(kind, names), _names)


CONDITIONS: Mapping[str, Shape] = MappingProxyType(
    {
        "all": Shape(AllOf, Keys({"of": Key(list_of(condition), required=True)})),
        "any": Shape(AnyOf, Keys({"of": Key(list_of(condition), required=True)})),
        "not": Shape(Not, Keys({"of": Key(condition, required=True)})),
        "period": Shape(Period, Keys({"from": Key(_instant, attr="start"), "to": Key(_instant, attr="end")})),
        "time": Shape(
            Time,
            Keys(
                {
                    "from": Key(_clock, required=True, attr="start"),
                    "to": Key(_clock, required=True, attr="end"),
                    "weekdays": Key(list_of(_weekday)),
                }
            ),
            check=_window_has_length,
        ),
        "weekday": Shape(Weekday, Keys({"in": Key(list_of(_weekday), required=True, attr="days")})),
        "month_day": Shape(MonthDay, Keys({"in": Key(list_of(whole(1, 31)), required=True, attr="days")})),
        "store": _place("store"),
        "till": _place("till"),
        "channel": _place("channel"),
        "region": _place("region"),
        "tender": Shape(Tender, _names),
        "customer": Shape(IsCustomer, Keys({"in": Key(list_of(ident), attr="names")})),
        "tier": Shape(Tier, _names),
        "card_kind": Shape(CardKind, _names),
        "segment": Shape(Segment, _names),
        "counter": Shape(Counter, Keys({"name": Key(counter_name, required=True), **_any_range})),
        "birthday": Shape(
            Birthday,
            Keys(
                {
                    "before": Key(whole(at_most=MAX_DAYS), default=0, attr="before_days"),
                    "after": Key(whole(at_most=MAX_DAYS), default=0, attr="after_days"),
                    "feb29": Key(choice(N_("day"), "02-28", "03-01"), default="02-28"),
                }
            ),
        ),
        "coupon": Shape(Coupon, Keys({"series": Key(ident, required=True)})),
        "redeemed": Shape(Redeemed, Keys({"is": Key(flag, required=True, attr="wanted")})),
        "sum": Shape(
            Sum,
            Keys(
                {"of": Key(selector), "base": Key(choice(N_("base"), "net", "list"), default="net"), **_range}
            ),
        ),
        "quantity": Shape(Quantity, Keys({"of": Key(selector), **_range})),
        "distinct": Shape(Distinct, Keys({"of": Key(selector), **_range})),
    }
)
_READER: Kind = typed(CONDITIONS, N_("condition type"), "condition")
