"""The receipt as the engine sees it (rulebook.md §2).

`at` is stamped by the till when the sale opens: local time with its offset.
The engine has no clock and no time-zone database, so this is the only "now"
there is, and the shop's wall clock is `at` without the offset. In a receipt
`null` means absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from loyalty.texts import N_
from loyalty.walk import (
    ID,
    Key,
    Keys,
    Kind,
    Path,
    Walk,
    absent_nulls,
    counter_name,
    ident,
    list_of,
    map_of,
    moment,
    record,
    sku_id,
    text_like,
    whole,
)

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


@dataclass(frozen=True, slots=True)
class Return:
    """Goods given back at `at`: thousandths by line id of the receipt."""

    at: datetime
    lines: Mapping[str, int]

    @property
    def wall_clock(self) -> datetime:
        """`at` as the clock on the shop's wall shows it, without offset."""
        return self.at.replace(tzinfo=None)


def parse(raw: object, path: str = "") -> Receipt:
    """The receipt in a JSON document.

    Raises `Refused` with every fault; `path` is where the receipt stands in a
    larger document, for the paths of the faults.
    """
    walk = Walk(private=True)
    receipt = receipt_kind.read(walk, raw, path)
    walk.finish()
    assert isinstance(receipt, Receipt)
    return receipt


def parse_returns(raw: object, path: str = "") -> tuple[Return, ...]:
    """The returns in a JSON document: [{at, lines: {line id: thousandths}}, …]. Raises `Refused`."""
    walk = Walk(private=True)
    returns: tuple[Return, ...] = returns_kind.read(walk, raw, path)
    walk.finish()
    return returns


def _read_receipt(walk: Walk, raw: object, path: Path) -> Any:
    receipt = _record.read(walk, raw, path)
    walk.unique_in(raw, path, "lines")
    if isinstance(raw, dict):
        walk.unique_in(raw.get("customer"), (path, "customer"), "lots")
    return receipt


def _read_points_asked(walk: Walk, raw: object, path: Path) -> Any:
    if raw == "max":
        return raw
    if isinstance(raw, str):
        walk.wrong(raw, path, N_('points in hundredths, or "max"'))
        return None
    return _points.read(walk, raw, path)


def _read_birthday(walk: Walk, raw: object, path: Path) -> Any:
    birthday = _MONTH_DAY.read(walk, raw, path)
    if birthday:
        try:
            datetime.fromisoformat(f"2000-{birthday}")  # 2000 was a leap year: 02-29 is a birthday
        except ValueError:
            walk.fault(path, N_("there is no such date or time in the calendar"))
    return birthday


_points = whole()
_MONTH_DAY = text_like(r"[0-9]{2}-[0-9]{2}", N_("a month and day such as 02-29"))
_birthday = Kind(_read_birthday, _MONTH_DAY.schema)
_points_asked = Kind(_read_points_asked, lambda of: {"anyOf": [_points.schema(of), {"const": "max"}]})
_at = moment(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d",
    N_("local time with offset, such as 2026-02-13T12:00:00+03:00"),
    LAST_YEAR,
)
_wall = moment(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", N_("shop time without offset, such as 2026-02-13T12:00:00"))
_coupon = text_like(f"{ID}(/{ID})?", N_("a coupon: series or series/serial"))

_LINE = Keys(
    {
        "id": Key(ident, required=True),
        "sku": Key(sku_id, required=True),
        "price": Key(whole(), required=True, attr="price_minor"),
        "quantity": Key(whole(at_least=1), required=True),
    }
)
_LOT = Keys(
    {
        "id": Key(ident, required=True),
        "amount": Key(whole(), required=True),
        "active_from": Key(_wall),
        "expires_at": Key(_wall),
    }
)
_CUSTOMER = Keys(
    {
        "id": Key(ident, required=True),
        "tier": Key(ident),
        "card_kind": Key(ident),
        "segments": Key(list_of(ident), default=()),
        "counters": Key(map_of(counter_name, whole(at_least=None)), default={}),
        "birthday": Key(_birthday),
        "lots": Key(list_of(record(Lot, _LOT)), default=()),
    }
)
RECEIPT = Keys(
    {
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
)
_RETURN = Keys(
    {
        "at": Key(_at, required=True),
        "lines": Key(map_of(ident, whole(at_least=1)), required=True),
    }
)
_record = record(Receipt, RECEIPT)
receipt_kind = absent_nulls(Kind(_read_receipt, _record.schema))
"""The kind of a receipt, also for documents that hold one (a rulebook's own tests)."""

returns_kind = absent_nulls(list_of(record(Return, _RETURN)))
"""The kind of `returns`: [{at, lines: {line id: thousandths}}, …]."""
