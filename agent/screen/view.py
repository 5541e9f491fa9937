"""What the cashier's page shows, as JSON values (shapes.ScreenReply). Pure: facts in, dictionaries out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.texts import both
from loyalty.sale import Cart
from loyalty.texts import N_

ONLINE = N_("on line")
HERE = N_("no link: points are spent from what the shop holds")
EARN_ONLY = N_("points are only earned")


@dataclass(frozen=True, slots=True)
class Screen:
    """How this box is used: beside a cash program, or by itself; and which language it begins with."""

    mode: str = "cash_program"  # | stand_alone
    language: str = "ru"


def page(
    screen: Screen,
    report: Mapping[str, Any],
    *,
    shop: str,
    disk_full: bool,
    sale: dict[str, Any] | None,
    waiting_card: dict[str, Any] | None,
    last: dict[str, Any] | None,
    open_sales: Sequence[dict[str, Any]],
    can_print: bool,
) -> dict[str, Any]:
    """Everything; `report` as for `GET /v1/status`."""
    return {
        "till": report["till"],
        "shop": shop,
        "mode": screen.mode,
        "language": screen.language,
        "link": _link(report, disk_full=disk_full),
        "devices": report["devices"],
        "troubles": report["troubles"],
        "sale": sale,
        "waiting_card": waiting_card,
        "last": last,
        "open_sales": list(open_sales),
        "can_print": can_print,
    }


def _link(report: Mapping[str, Any], *, disk_full: bool) -> dict[str, Any]:
    """One of three, in plain words. A till that may promise no points only lets them be earned."""
    if disk_full or report["restoring"] or report["ended"]:
        return {"state": "earn_only", **both(EARN_ONLY)}
    if report["link"]["state"] == "online":
        return {"state": "online", **both(ONLINE)}
    codes = {trouble["code"] for trouble in report["troubles"]}
    if "clock" in codes:
        return {"state": "earn_only", **both(EARN_ONLY)}
    return {"state": "here", **both(HERE)}


def sale(
    reply: Mapping[str, Any],
    cart: Cart | None,
    names: Mapping[str, str],
    *,
    redeem_max_minor: int,
    lent: int,
) -> dict[str, Any]:
    """The sale last touched, as the cash program is answered (`reply`), with names and sums for people."""
    quote = reply["quote"] or {}
    priced = {line["id"]: line for line in quote.get("lines", ())}
    lines = cart.lines if cart else ()
    return {
        "sale_id": reply["sale_id"],
        "state": reply["state"],
        "quote_id": reply["quote_id"],
        "list": quote.get("list", 0),
        "pay": quote.get("pay", 0),
        "redeemed": quote.get("redeemed", 0),
        "redeem": reply["redeem"],
        "redeem_max": redeem_max_minor,
        "lent": lent,
        "earns": quote.get("earned_total", 0),
        "lines": [
            {
                "id": line.id,
                "sku": line.sku,
                "name": names.get(line.sku, line.sku),
                "quantity": line.quantity,
                "price": line.price,
                "list": priced[line.id]["list"] if line.id in priced else 0,
                "pay": priced[line.id]["pay"] if line.id in priced else 0,
            }
            for line in lines
        ],
        "discounts": _discounts(quote, reply["titles"]),
        "customer": reply["customer"],
        "tenders": list(cart.tenders) if cart else [],
        "messages": reply["messages"],
    }


def _discounts(quote: Mapping[str, Any], titles: Mapping[str, str]) -> list[dict[str, Any]]:
    given: dict[str, int] = {}
    for line in quote.get("lines", ()):
        for rule, amount in line["discounts"].items():
            given[rule] = given.get(rule, 0) + amount
    return [{"title": titles.get(rule, rule), "amount": amount} for rule, amount in given.items()]
