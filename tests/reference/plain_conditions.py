"""Selectors and conditions (rulebook.md §3), read straight off the page.

A condition sees the sale as `Facts`: the receipt as it was sent, and the lines with the amounts of the
moment the stage began. The engine owns no clock: "now" is the receipt's own `at`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

Json = dict[str, Any]


@dataclass(slots=True)
class Line:
    """One line of the receipt and what has become of it so far. Amounts in kopecks."""

    id: str
    sku: str
    price: int
    """Shelf price of one unit: what the cash program asks."""
    quantity: int
    """Thousandths."""
    list: int
    net: int
    floor: int = 0
    min_amount: int = 0
    """ceil(min_price · quantity / 1000): what redemption may not go below."""
    no_discount: bool = False
    unit_price: int = 0
    """Price of one unit after the price stage."""
    pieces_in_sets: int = 0
    redeemed: int = 0
    discounts: dict[str, int] = field(default_factory=dict)

    @property
    def room(self) -> int:
        return self.net - self.floor

    def take(self, rule: Json, amount: int) -> None:
        """Book a discount; zero leaves no trace."""
        if amount > 0:
            self.net -= amount
            self.discounts[rule["id"]] = self.discounts.get(rule["id"], 0) + amount


@dataclass(frozen=True, slots=True)
class Facts:
    """What a condition may look at."""

    receipt: Json
    catalog: Json
    lines: list[Line]
    points_redeemed: int = 0

    @property
    def now(self) -> datetime:
        """Shop wall clock."""
        return datetime.fromisoformat(self.receipt["at"]).replace(tzinfo=None)

    @property
    def customer(self) -> Json | None:
        return self.receipt.get("customer")


# --- selectors ---------------------------------------------------------------------------------------


def hits(selector: Json | None, sku: str, price: int, catalog: Json) -> bool:
    """Does the selector hit goods of this sku at this shelf price? No selector hits everything."""
    if selector is None:
        return True
    goods = goods_of(catalog, sku)
    named: dict[str, set[Any]] = {
        "sku": {sku},
        "category": ancestors(goods.get("category"), catalog),
        "brand": {goods.get("brand")},
        "flag": set(goods.get("flags") or []),
    }
    asked = [key for key in named if selector.get(key) is not None]
    if asked and not any(named[key] & set(selector[key]) for key in asked):
        return False
    low, high = selector.get("price_min"), selector.get("price_max")
    if (low is not None and price < low) or (high is not None and price > high):
        return False
    negated = selector.get("not")
    return negated is None or not hits(negated, sku, price, catalog)


def goods_of(catalog: Json, sku: str) -> Json:
    """What the catalog says of a sku; nothing, where it has none."""
    return (catalog.get("skus") or {}).get(sku) or {}


def ancestors(category: str | None, catalog: Json) -> set[str]:
    """The category and everything above it."""
    found: set[str] = set()
    while category is not None:
        found.add(category)
        category = (catalog.get("categories") or {}).get(category)
    return found


def selected(selector: Json | None, line: Line, catalog: Json) -> bool:
    """Does the selector hit this line?"""
    return hits(selector, line.sku, line.price, catalog)


# --- conditions --------------------------------------------------------------------------------------


def holds(when: Json | None, facts: Facts) -> bool:
    """Is the condition true of these facts? An absent condition is true."""
    if when is None:
        return True
    kind = when["type"]
    if kind == "all":
        return all(holds(part, facts) for part in when["of"])
    if kind == "any":
        return any(holds(part, facts) for part in when["of"])
    if kind == "not":
        return not holds(when["of"], facts)
    if kind in ("sum", "quantity", "distinct"):
        return _between(when, _measure(when, facts))
    if kind in ("period", "time", "weekday", "month_day"):
        return _moment_holds(when, facts)
    if kind in ("store", "till", "channel", "region"):
        return facts.receipt.get(kind) in when["in"]
    if kind == "tender":
        return bool(set(facts.receipt.get("tenders") or []) & set(when["in"]))
    if kind == "coupon":
        return bool(valid_coupons(facts.receipt, when["series"]))
    if kind == "redeemed":
        return bool((facts.points_redeemed > 0) == when["is"])
    return facts.customer is not None and _customer_holds(when, facts.customer, facts.now.date())


def _measure(when: Json, facts: Facts) -> int:
    lines = [line for line in facts.lines if selected(when.get("of"), line, facts.catalog)]
    if when["type"] == "quantity":
        return sum(line.quantity for line in lines)
    if when["type"] == "distinct":
        return len({line.sku for line in lines})
    if when.get("base") == "list":
        return sum(line.list for line in lines)
    return sum(line.net for line in lines)


def _between(when: Json, value: int) -> bool:
    low, high = when.get("min"), when.get("max")
    return (low is None or value >= low) and (high is None or value <= high)


def _moment_holds(when: Json, facts: Facts) -> bool:
    now = facts.now
    if when["type"] == "period":
        start, end = when.get("from"), when.get("to")
        return (start is None or not _before(facts, start)) and (end is None or _before(facts, end))
    if when["type"] == "weekday":
        return now.isoweekday() in when["in"]
    if when["type"] == "month_day":
        return now.day in when["in"]
    start, end = time.fromisoformat(when["from"]), time.fromisoformat(when["to"])
    today, yesterday = now.isoweekday(), (now - timedelta(days=1)).isoweekday()
    if start < end:
        window_day = today if start <= now.time() < end else None
    elif now.time() >= start:
        window_day = today
    else:
        window_day = yesterday if now.time() < end else None
    weekdays = when.get("weekdays")
    return window_day is not None and (weekdays is None or window_day in weekdays)


def _before(facts: Facts, bound: str) -> bool:
    """Is the sale before this bound? A bound that ends in Z is absolute, another is the shop's wall clock."""
    if bound.endswith("Z"):
        return datetime.fromisoformat(facts.receipt["at"]) < datetime.fromisoformat(bound)
    return facts.now < datetime.fromisoformat(bound)


def _customer_holds(when: Json, customer: Json, today: date) -> bool:
    kind = when["type"]
    if kind == "customer":
        return when.get("in") is None or customer["id"] in when["in"]
    if kind in ("tier", "card_kind"):
        return customer.get(kind) in when["in"]
    if kind == "segment":
        return bool(set(customer.get("segments") or []) & set(when["in"]))
    if kind == "counter":
        return _between(when, (customer.get("counters") or {}).get(when["name"], 0))
    if kind == "birthday":
        return customer.get("birthday") is not None and _near_birthday(when, customer["birthday"], today)
    raise AssertionError(f"the page has no condition {kind!r}")


def _near_birthday(when: Json, birthday: str, today: date) -> bool:
    before, after = timedelta(days=when.get("before") or 0), timedelta(days=when.get("after") or 0)
    for year in (today.year - 1, today.year, today.year + 1):
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        day = (when.get("feb29") or "02-28") if birthday == "02-29" and not leap else birthday
        occurs = date.fromisoformat(f"{year:04}-{day}")
        if occurs - before <= today <= occurs + after:
            return True
    return False


# --- coupons -----------------------------------------------------------------------------------------


def valid_coupons(receipt: Json, series: str) -> set[str]:
    """The coupons of a series that were presented and not used before."""
    presented = set(receipt.get("coupons") or []) - set(receipt.get("coupons_used") or [])
    return {coupon for coupon in presented if coupon.split("/")[0] == series}


def named_coupons(when: Json | None, receipt: Json) -> set[str]:
    """The presented coupons a condition names through all/any, whichever branch held (§7)."""
    if when is None:
        return set()
    if when["type"] == "coupon":
        return valid_coupons(receipt, when["series"])
    if when["type"] in ("all", "any"):
        return {coupon for part in when["of"] for coupon in named_coupons(part, receipt)}
    return set()
