"""The receipt as the engine sees it (rulebook.md §2).

`at` is stamped by the till when the sale opens: local time with its offset.
The engine has no clock and no time-zone database, so this is the only "now"
there is, and the shop's wall clock is `at` without the offset. In a receipt
`null` means absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from loyalty.faults import at_key
from loyalty.texts import N_
from loyalty.walk import Key, Keys, Walk, ident, list_of, map_of, moment, names_at, record, sku_id, whole

MAX_LINES = 5_000
"""Most lines of one receipt."""

LAST_YEAR = 9_000
"""Latest year of a receipt: points may live on for two centuries and stay in the calendar."""


@dataclass(frozen=True, slots=True)
class Line:
    """`quantity` thousandths of a sku; `price_minor` is what the cash program asks for one unit."""

    id: str
    sku: str
    price_minor: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Lot:
    """Points (hundredths) that can be spent while `active_from` ≤ shop wall clock < `expires_at`."""

    id: str
    amount: int
    active_from: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """What the till knows of the customer: an account, never a name or a card number."""

    id: str
    tier: str | None = None
    card_kind: str | None = None
    segments: tuple[str, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)
    birthday: str | None = None
    lots: tuple[Lot, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """One sale to be priced. `redeem` is points asked for in hundredths, or "max", or None."""

    id: str
    till: str
    store: str
    at: datetime
    lines: tuple[Line, ...]
    region: str | None = None
    channel: str | None = None
    customer: Customer | None = None
    coupons: tuple[str, ...] = ()
    coupons_used: tuple[str, ...] = ()
    tenders: tuple[str, ...] = ()
    redeem: int | Literal["max"] | None = None
    draws: Mapping[str, int] = field(default_factory=dict)

    @property
    def wall_clock(self) -> datetime:
        """`at` as the clock on the shop's wall shows it, without offset."""
        return self.at.replace(tzinfo=None)


def parse(raw: object, path: str = "") -> Receipt:
    """The receipt in a JSON document.

    Raises `Refused` with every fault; `path` is where the receipt stands in a
    larger document, for the paths of the faults.
    """
    walk = Walk(nulls_are_absent=True, private=True)
    receipt = read_receipt(walk, raw, path)
    walk.finish()
    assert isinstance(receipt, Receipt)
    return receipt


def read_receipt(walk: Walk, raw: object, path: str) -> Any:
    """The kind of a receipt, for documents that hold one (a rulebook's own tests)."""
    nulls_are_absent = walk.nulls_are_absent
    walk.nulls_are_absent = True
    receipt = _read(walk, raw, path)
    walk.unique(names_at(raw, path, "lines"))
    if isinstance(raw, dict):
        walk.unique(names_at(raw.get("customer"), at_key(path, "customer"), "lots"))
    walk.nulls_are_absent = nulls_are_absent
    return receipt


def read_returns(walk: Walk, raw: object, path: str) -> Any:
    """The kind of `returns`: [{at, lines: {line id: quantity}}, …], as pairs (at, lines)."""
    nulls_are_absent = walk.nulls_are_absent
    walk.nulls_are_absent = True
    returns = _returns(walk, raw, path)
    walk.nulls_are_absent = nulls_are_absent
    return returns


def _points_asked(walk: Walk, raw: object, path: str) -> Any:
    if raw == "max":
        return raw
    if isinstance(raw, str):
        walk.wrong(raw, path, N_('points in hundredths, or "max"'))
        return None
    return whole()(walk, raw, path)


def _birthday(walk: Walk, raw: object, path: str) -> Any:
    if isinstance(raw, str) and re.fullmatch(r"\d\d-\d\d", raw):
        try:
            datetime.fromisoformat(f"2000-{raw}")  # 2000 was a leap year: 02-29 is a birthday
        except ValueError:
            walk.fault(path, N_("there is no such date or time in the calendar"))
        return raw
    walk.wrong(raw, path, N_("a month and day such as 02-29"))
    return None


_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d\Z")
_WALL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\Z")
_COUPON = re.compile(r"[A-Za-z0-9_.:-]{1,64}(/[A-Za-z0-9_.:-]{1,64})?\Z")

_at = moment(_AT, N_("local time with offset, such as 2026-02-13T12:00:00+03:00"), LAST_YEAR)
_wall = moment(_WALL, N_("shop time without offset, such as 2026-02-13T12:00:00"))


def _coupon(walk: Walk, raw: object, path: str) -> Any:
    if not (isinstance(raw, str) and _COUPON.match(raw)):
        walk.wrong(raw, path, N_("a coupon: series or series/serial"))
    return raw


_LINE: Keys = {
    "id": Key(ident, required=True),
    "sku": Key(sku_id, required=True),
    "price": Key(whole(), required=True, attr="price_minor"),
    "quantity": Key(whole(at_least=1), required=True),
}
_LOT: Keys = {
    "id": Key(ident, required=True),
    "amount": Key(whole(), required=True),
    "active_from": Key(_wall),
    "expires_at": Key(_wall),
}
_CUSTOMER: Keys = {
    "id": Key(ident, required=True),
    "tier": Key(ident),
    "card_kind": Key(ident),
    "segments": Key(list_of(ident), default=()),
    "counters": Key(map_of(ident, whole(at_least=None)), default={}),
    "birthday": Key(_birthday),
    "lots": Key(list_of(record(Lot, _LOT)), default=()),
}
_RECEIPT: Keys = {
    "id": Key(ident, required=True),
    "till": Key(ident, required=True),
    "store": Key(ident, required=True),
    "region": Key(ident),
    "channel": Key(ident),
    "at": Key(_at, required=True),
    "lines": Key(list_of(record(Line, _LINE), at_most=MAX_LINES), required=True),
    "customer": Key(record(Customer, _CUSTOMER)),
    "coupons": Key(list_of(_coupon), default=()),
    "coupons_used": Key(list_of(_coupon), default=()),
    "tenders": Key(list_of(ident), default=()),
    "redeem": Key(_points_asked),
    "draws": Key(map_of(ident, whole()), default={}),
}
_read = record(Receipt, _RECEIPT)
_RETURN: Keys = {
    "at": Key(_at, required=True),
    "lines": Key(map_of(ident, whole(at_least=1)), required=True),
}
_returns = list_of(record(lambda at, lines: (at, lines), _RETURN))
