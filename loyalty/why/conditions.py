"""Why a condition does not hold, and by how much, in sentences (rulebook.md §7).

Each sentence says what is the case and what was asked, so that somebody at the
counter can do something about it: "12.50 ₽ short of 1,000.00 ₽". Nothing of a
customer is repeated but what a rule can name: tier, kind of card, counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from loyalty.amounts import Money, Quantity
from loyalty.conditions import (
    AllOf,
    AnyOf,
    Birthday,
    CardKind,
    Condition,
    Counter,
    Coupon,
    Distinct,
    IsCustomer,
    Measured,
    MonthDay,
    Not,
    Period,
    Place,
    Redeemed,
    Segment,
    Sum,
    Tender,
    Tier,
    Time,
    Weekday,
)
from loyalty.conditions import Quantity as QuantityCondition
from loyalty.stages.conditions import holds, measured, window_day
from loyalty.stages.pricing import Pricing
from loyalty.texts import N_, Text, Written
from loyalty.why.reason import Listed


def why_not(condition: Condition | None, pricing: Pricing) -> list[Text]:
    """What stands in the way of a condition; nothing where it holds."""
    if condition is None or holds(condition, pricing):
        return []
    match condition:
        case AllOf(parts):
            return [reason for part in parts for reason in why_not(part, pricing)]
        case AnyOf(parts):
            reasons = [reason for part in parts for reason in why_not(part, pricing)]
            return reasons if len(reasons) == 1 else [N_("none of these: {reasons}", reasons=Listed(reasons))]
        case Not(part):
            return [N_("must not be, and is: {condition}", condition=_NAMES[type(part)])]
    return [_REASONS[type(condition)](condition, pricing)]


# -- one sentence a condition ---------------------------------------------------------------------


def _period(condition: Period, pricing: Pricing) -> Text:
    start, end = condition.start, condition.end
    if start is not None and (pricing.receipt.at if start.tzinfo else pricing.now) < start:
        return N_("begins only on {moment}", moment=start.isoformat(sep=" ", timespec="minutes"))
    assert end is not None
    return N_("ended on {moment}", moment=end.isoformat(sep=" ", timespec="minutes"))


def _time(condition: Time, pricing: Pricing) -> Text:
    hours = f"{condition.start:%H:%M}–{condition.end:%H:%M}"
    if window_day(condition, pricing.now) is None:
        return N_("it is {now}, outside {hours}", now=f"{pricing.now:%H:%M}", hours=hours)
    return N_("the hours {hours} are not those of this weekday", hours=hours)


def _weekday(condition: Weekday, pricing: Pricing) -> Text:
    days = ", ".join(str(day) for day in sorted(set(condition.days)))
    return N_("today is weekday {today}, not one of {days}", today=pricing.now.isoweekday(), days=days)


def _month_day(condition: MonthDay, pricing: Pricing) -> Text:
    days = ", ".join(str(day) for day in sorted(set(condition.days)))
    return N_("today is day {today} of the month, not one of {days}", today=pricing.now.day, days=days)


def _place(condition: Place, pricing: Pricing) -> Text:
    here = {
        "store": pricing.receipt.store,
        "till": pricing.receipt.till,
        "channel": pricing.receipt.channel,
        "region": pricing.receipt.region,
    }[condition.kind]
    what = _PLACES[condition.kind]
    return N_(
        "{what} is {here}, not one of {names}", what=what, here=here or "–", names=_names(condition.names)
    )


def _tender(condition: Tender, pricing: Pricing) -> Text:
    return N_("not paid by any of {names}", names=_names(condition.names))


def _with_customer(reason: Callable[[Any, Pricing], Text]) -> Callable[[Any, Pricing], Text]:
    def read(condition: Any, pricing: Pricing) -> Text:
        if pricing.receipt.customer is None:
            return N_("there is no customer's card")
        return reason(condition, pricing)

    return read


def _customer(condition: IsCustomer, pricing: Pricing) -> Text:
    return N_("this is not one of the customers named")


def _tier(condition: Tier, pricing: Pricing) -> Text:
    customer = pricing.receipt.customer
    tier = customer.tier if customer is not None else None
    return N_("the tier is {tier}, not one of {names}", tier=tier or "–", names=_names(condition.names))


def _card_kind(condition: CardKind, pricing: Pricing) -> Text:
    customer = pricing.receipt.customer
    kind = customer.card_kind if customer is not None else None
    return N_(
        "the card is of kind {kind}, not one of {names}", kind=kind or "–", names=_names(condition.names)
    )


def _segment(condition: Segment, pricing: Pricing) -> Text:
    return N_("the customer is in none of the segments {names}", names=_names(condition.names))


def _birthday(condition: Birthday, pricing: Pricing) -> Text:
    customer = pricing.receipt.customer
    if customer is None or customer.birthday is None:
        return N_("the birthday is not known")
    return N_("today is not within the days around the birthday")


def _coupon(condition: Coupon, pricing: Pricing) -> Text:
    series = condition.series
    if any(coupon.partition("/")[0] == series for coupon in pricing.receipt.coupons):
        return N_("the coupon of series {series} was used before", series=series)
    return N_("no coupon of series {series} was presented", series=series)


def _redeemed(condition: Redeemed, pricing: Pricing) -> Text:
    if condition.wanted:
        return N_("no points were redeemed on this receipt")
    return N_("points were redeemed on this receipt")


def _range(condition: Measured, pricing: Pricing) -> Text:
    value, write = measured(condition, pricing), _WRITERS[type(condition)]
    what = (
        Text("{name}", {"name": condition.name})
        if isinstance(condition, Counter)
        else _MEASURES[type(condition)]
    )
    if condition.least is not None and value < condition.least:
        return N_(
            "{what}: {missing} short of {least}",
            what=what,
            missing=write(condition.least - value),
            least=write(condition.least),
        )
    most = condition.most if condition.most is not None else value
    return N_("{what}: {surplus} over {most}", what=what, surplus=write(value - most), most=write(most))


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "–"


@dataclass(frozen=True, slots=True)
class _Whole:
    value: int

    def render(self, translate: Callable[[str], str]) -> str:
        return str(self.value)


_WRITERS: Mapping[type, Callable[[int], Written]] = {
    Sum: Money,
    QuantityCondition: Quantity,
    Distinct: _Whole,
    Counter: _Whole,
}
_MEASURES: Mapping[type, Text] = {
    Sum: N_("sum"),
    QuantityCondition: N_("quantity"),
    Distinct: N_("different goods"),
}
_PLACES: Mapping[str, Text] = {
    "store": N_("the store"),
    "till": N_("the till"),
    "channel": N_("the channel"),
    "region": N_("the region"),
}
_NAMES: Mapping[type, Text] = {
    AllOf: N_("all of its conditions"),
    AnyOf: N_("one of its conditions"),
    Not: N_("a condition turned round"),
    Period: N_("the period"),
    Time: N_("the hours"),
    Weekday: N_("the weekday"),
    MonthDay: N_("the day of the month"),
    Place: N_("the place"),
    Tender: N_("the tender"),
    IsCustomer: N_("the customer"),
    Tier: N_("the tier"),
    CardKind: N_("the kind of card"),
    Segment: N_("the segment"),
    Counter: N_("the counter"),
    Birthday: N_("the birthday"),
    Coupon: N_("the coupon"),
    Redeemed: N_("the redemption"),
    Sum: N_("sum"),
    QuantityCondition: N_("quantity"),
    Distinct: N_("different goods"),
}
_REASONS: Mapping[type, Callable[[Any, Pricing], Text]] = {
    Period: _period,
    Time: _time,
    Weekday: _weekday,
    MonthDay: _month_day,
    Place: _place,
    Tender: _tender,
    IsCustomer: _with_customer(_customer),
    Tier: _with_customer(_tier),
    CardKind: _with_customer(_card_kind),
    Segment: _with_customer(_segment),
    Birthday: _with_customer(_birthday),
    Coupon: _coupon,
    Redeemed: _redeemed,
    Sum: _range,
    QuantityCondition: _range,
    Distinct: _range,
    Counter: _with_customer(_range),
}
