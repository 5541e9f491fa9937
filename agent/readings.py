"""A scan as store IT may see it: which device, what it was, and never a card's number.

The running agent tells it on its stream of events (`read`), `kopilka-agent devices watch` prints it. Goods
are shown as they were read; of a card the last four; of a payment card, a coupon or an unknown code nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from agent.drivers.contracts import ScanData
from loyalty.card import Card, Coupon, PaymentCard, ProductCode, ReadError, ReadResult
from loyalty.symbology import split, symbology_of

_HIDDEN = "…"


def reading(scan: ScanData, found: ReadResult, now_s: float) -> dict[str, Any]:
    """{device, kind, symbology, data or masked, at}: what `found` says of `scan`."""
    shown = {"device": scan.device, "kind": _kind(found), "symbology": _symbology(scan)}
    at = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds")
    if isinstance(found, ProductCode):
        return {**shown, "data": found.code, "at": at}
    return {**shown, "masked": found.masked if isinstance(found, Card) else _HIDDEN, "at": at}


def _symbology(scan: ScanData) -> str | None:
    """As the device says it, or as it stands before the code."""
    return scan.symbology or symbology_of(split(scan.data)[0])


def _kind(found: ReadResult) -> str:
    match found:
        case Card():
            return "card"
        case Coupon():
            return "coupon"
        case ProductCode():
            return "goods"
        case PaymentCard():
            return "payment_card"
        case ReadError():
            return "unreadable"
    return "unknown"
