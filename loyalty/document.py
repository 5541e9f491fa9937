"""Receipts travel: what was sold, as it was priced, beside every SALE entry.

A document holds everything the engine needs to price the same receipt again, at
the office, years later, and get the same kopecks: the receipt, the customer as
the till saw them, and which rulebook, kill list and catalog were in force. What
the engine answered is not repeated line by line (it can be computed); a digest
and the totals are, so that a difference is seen at once.

Its bytes are one version byte and a MessagePack array; their sha256 stands in
the entry, so the entry's chain protects the receipt too.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from loyalty.decoding import UNREADABLE

VERSION = b"\x01"
DIGEST_BYTES = 8


class DocumentError(ValueError):
    """These bytes are not a document this program can read."""


class SoldLine(msgspec.Struct, array_like=True, frozen=True):
    """One line: price in minor units for one piece or kilogram, quantity in thousandths."""

    id: str
    sku: str
    price: int
    quantity: int


class SeenLot(msgspec.Struct, array_like=True, frozen=True):
    """A lot as the till could spend it: points in hundredths, times in shop wall-clock."""

    id: str
    amount: int
    active_from: str | None = None
    expires_at: str | None = None


class SeenCustomer(msgspec.Struct, array_like=True, frozen=True):
    """The customer as the till saw them: no name, no number, nothing but what pricing needs."""

    account: int
    tier: str | None = None
    card_kind: str | None = None
    segments: tuple[str, ...] = ()
    counters: dict[str, int] = {}
    birthday: str | None = None  # MM-DD, only with consent
    lots: tuple[SeenLot, ...] = ()


class Tender(msgspec.Struct, array_like=True, frozen=True):
    """How a part of the receipt was paid: type as in the rulebook's `tender`, amount in minor units."""

    type: str
    amount: int


class Receipt(msgspec.Struct, array_like=True, frozen=True):
    """The receipt as priced (rulebook.md §2), without its customer."""

    id: str
    till: str
    store: str
    region: str | None
    channel: str
    at: str  # local time with offset, whole seconds
    lines: tuple[SoldLine, ...]
    coupons: tuple[str, ...] = ()
    coupons_used: tuple[str, ...] = ()
    tenders: tuple[str, ...] = ()
    redeem: int | str | None = None  # points asked for in hundredths, or "max"
    draws: dict[str, int] = {}


class Result(msgspec.Struct, array_like=True, frozen=True):
    """What the till's engine answered: enough to see at once whether another engine agrees."""

    digest: bytes  # first 8 bytes of sha256 over the canonical quote
    list: int
    discount: int
    redeemed: int
    pay: int
    earned_total: int


class SaleDocument(msgspec.Struct, array_like=True, frozen=True, tag="sale"):
    """A sale. New fields go to the end."""

    receipt: Receipt
    customer: SeenCustomer | None
    rulebook_seq: int  # 0 = sold without rules
    kill_seq: int
    catalog_version: int
    tenders: tuple[Tender, ...]
    fiscal_id: str | None
    paid_at: str | None
    operator: str | None
    result: Result


class ReturnedLine(msgspec.Struct, array_like=True, frozen=True):
    """Goods given back: thousandths of a line of the sale."""

    id: str
    quantity: int


class ReturnDocument(msgspec.Struct, array_like=True, frozen=True, tag="return"):
    """Goods given back. `sale` = id of the SALE entry, or what the customer's slip said of it.

    `money`, `points_back` and `reversed_total` are what this return gave and took (minor units and
    hundredths); all 0 where the receipt could not be had (flag PENDING): the office settles that.
    """

    return_id: str
    sale: str
    at: str  # local time with offset, whole seconds
    lines: tuple[ReturnedLine, ...]
    money: int
    points_back: int
    reversed_total: int
    reason: str | None = None
    operator: str | None = None


class RegisterDocument(msgspec.Struct, array_like=True, frozen=True, tag="register"):
    """A card that nobody knew was given out at a till: its keyed hash, never its number."""

    card_key: Annotated[int, Meta(ge=0, le=2**63 - 1)]  # 63 bits
    kind: str
    card_kind: str | None


class HandoverDocument(msgspec.Struct, array_like=True, frozen=True, tag="handover"):
    """The hub's signed HANDOVER, in the log of the till that took it: proof, if the hub never syncs."""

    body: bytes
    signature: bytes


Document: TypeAlias = SaleDocument | ReturnDocument | RegisterDocument | HandoverDocument

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Document).decode


def canonical(document: Document) -> bytes:
    """The bytes that are stored, hashed and sent."""
    return VERSION + _encode(document)


def parse_any(body: bytes) -> Document:
    """The document in `body`, whatever it tells. Raises DocumentError."""
    if body[:1] != VERSION:
        raise DocumentError(f"a document of version {body[:1].hex() or 'none'}; this program knows 01")
    try:
        document: Document = _decode(body[1:])
    except UNREADABLE as error:
        raise DocumentError(f"not a document: {error}") from error
    return document


def read_any(body: bytes | None) -> Document | None:
    """The same where it is no fault that there is none, or none that this program can read: None."""
    try:
        return parse_any(body) if body is not None else None
    except DocumentError:
        return None


def parse_handover(body: bytes) -> HandoverDocument:
    """What another till handed over, in `body`. Raises DocumentError."""
    document = parse_any(body)
    if not isinstance(document, HandoverDocument):
        raise DocumentError("not a document of a handover")
    return document


def parse(body: bytes) -> SaleDocument:
    """The sale in `body`. Raises DocumentError."""
    document = parse_any(body)
    if not isinstance(document, SaleDocument):
        raise DocumentError("not a document of a sale")
    return document


def quote_digest(quote: dict[str, Any]) -> bytes:
    """First 8 bytes of sha256 over the quote as JSON with sorted keys and no blanks."""
    return hashlib.sha256(msgspec.json.encode(quote, order="sorted")).digest()[:DIGEST_BYTES]


def engine_receipt(receipt: Receipt, customer: SeenCustomer | None) -> dict[str, Any]:
    """The receipt as the engine's JSON (rulebook.md §2), to price it again."""
    raw: dict[str, Any] = {
        "id": receipt.id,
        "till": receipt.till,
        "store": receipt.store,
        "channel": receipt.channel,
        "at": receipt.at,
        "lines": [msgspec.structs.asdict(line) for line in receipt.lines],
    }
    for name in ("region", "coupons", "coupons_used", "tenders", "redeem", "draws"):
        value = getattr(receipt, name)
        if value is not None and value not in ((), {}):
            raw[name] = list(value) if isinstance(value, tuple) else value
    if customer is not None:
        seen: dict[str, Any] = {"id": str(customer.account)}
        for name in ("tier", "card_kind", "birthday"):
            if getattr(customer, name) is not None:
                seen[name] = getattr(customer, name)
        if customer.segments:
            seen["segments"] = list(customer.segments)
        if customer.counters:
            seen["counters"] = customer.counters
        seen["lots"] = [
            {key: value for key, value in msgspec.structs.asdict(lot).items() if value is not None}
            for lot in customer.lots
        ]
        raw["customer"] = seen
    return raw
