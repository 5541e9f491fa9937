"""Whether a condition holds now: on the amounts of this moment, at the receipt's time (rulebook.md §3).

There is no third truth value. A condition on the customer is simply false
without one, so its `not` is true.

Much of what is asked here never reaches a large rulebook's rules: gates and
periods were taken out when it was compiled (`loyalty/gates.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

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
    Quantity,
    Redeemed,
    Segment,
    Sum,
    Tender,
    Tier,
    Time,
    Weekday,
)
from loyalty.gates import ANYBODY
from loyalty.index import in_period

if TYPE_CHECKING:
    from loyalty.stages.pricing import Pricing


def holds(condition: Condition, pricing: Pricing) -> bool:
    """Whether `condition` holds for the receipt as it stands in `pricing`."""
    return _TESTS[type(condition)](condition, pricing)


def measured(condition: Measured, pricing: Pricing) -> int:
    """The value that a condition compares with its range."""
    match condition:
        case Sum():
            return pricing.measure(condition.base, condition.of)
        case Quantity(of):
            return pricing.measure("quantity", of)
        case Distinct(of):
            return pricing.measure("distinct", of)
        case Counter(name):
            customer = pricing.receipt.customer
            return customer.counters.get(name, 0) if customer is not None else 0


def days_from_birthday(birthday: str, feb29: str, today: date) -> list[int]:
    """How many days ago (negative: ahead) the birthday of last, this and next year is."""
    days = []
    for year in range(max(today.year - 1, date.min.year), today.year + 2):
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        month, day = (feb29 if birthday == "02-29" and not leap else birthday).split("-")
        days.append((today - date(year, int(month), int(day))).days)
    return days


def window_day(condition: Time, now: datetime) -> int | None:
    """The weekday (1 = Monday) on which the window around `now` started; None outside it."""
    start, end, clock = condition.start, condition.end, now.time()
    today = now.isoweekday()
    if start < end:
        return today if start <= clock < end else None
    if clock >= start:
        return today
    return (today - 2) % 7 + 1 if clock < end else None


# -- one test a condition -------------------------------------------------------------------------


def _all(condition: AllOf, pricing: Pricing) -> bool:
    return all(holds(part, pricing) for part in condition.of)


def _any(condition: AnyOf, pricing: Pricing) -> bool:
    return any(holds(part, pricing) for part in condition.of)


def _not(condition: Not, pricing: Pricing) -> bool:
    return not holds(condition.of, pricing)


def _period(condition: Period, pricing: Pricing) -> bool:
    return in_period(condition, pricing.receipt.at, pricing.now)


def _time(condition: Time, pricing: Pricing) -> bool:
    day = window_day(condition, pricing.now)
    return day is not None and (condition.weekdays is None or day in condition.weekdays)


def _weekday(condition: Weekday, pricing: Pricing) -> bool:
    return pricing.now.isoweekday() in condition.days


def _month_day(condition: MonthDay, pricing: Pricing) -> bool:
    return pricing.now.day in condition.days


def _named(kind: str) -> Callable[[Any, Pricing], bool]:
    """A condition that asks for one of its names among the tokens the receipt shows."""
    return lambda condition, pricing: any((kind, name) in pricing.shown for name in condition.names)


def _place(condition: Place, pricing: Pricing) -> bool:
    return any((condition.kind, name) in pricing.shown for name in condition.names)


def _customer(condition: IsCustomer, pricing: Pricing) -> bool:
    if condition.names is None:
        return ANYBODY in pricing.shown
    return any(("customer", name) in pricing.shown for name in condition.names)


def _coupon(condition: Coupon, pricing: Pricing) -> bool:
    return ("coupon", condition.series) in pricing.shown


def _birthday(condition: Birthday, pricing: Pricing) -> bool:
    customer = pricing.receipt.customer
    if customer is None or customer.birthday is None:
        return False
    days = days_from_birthday(customer.birthday, condition.feb29, pricing.now.date())
    return any(-condition.before_days <= ago <= condition.after_days for ago in days)


def _redeemed(condition: Redeemed, pricing: Pricing) -> bool:
    return (pricing.redeemed > 0) == condition.wanted


def _sum(condition: Sum, pricing: Pricing) -> bool:
    value = pricing.measure(condition.base, condition.of)
    return (condition.least is None or value >= condition.least) and (
        condition.most is None or value <= condition.most
    )


def _in_range(condition: Measured, pricing: Pricing) -> bool:
    value = measured(condition, pricing)
    return (condition.least is None or value >= condition.least) and (
        condition.most is None or value <= condition.most
    )


def _counter(condition: Counter, pricing: Pricing) -> bool:
    return pricing.receipt.customer is not None and _in_range(condition, pricing)


_TESTS: Mapping[type, Callable[[Any, Pricing], bool]] = {
    AllOf: _all,
    AnyOf: _any,
    Not: _not,
    Period: _period,
    Time: _time,
    Weekday: _weekday,
    MonthDay: _month_day,
    Place: _place,
    Tender: _named("tender"),
    IsCustomer: _customer,
    Tier: _named("tier"),
    CardKind: _named("card_kind"),
    Segment: _named("segment"),
    Counter: _counter,
    Birthday: _birthday,
    Coupon: _coupon,
    Redeemed: _redeemed,
    Sum: _sum,
    Quantity: _in_range,
    Distinct: _in_range,
}
