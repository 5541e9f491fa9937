"""What the till answers about a sale, as JSON values (till.md §4). Pure: facts in, dictionaries out."""

from __future__ import annotations

from typing import Any

import msgspec

from agent import pricing
from agent.drivers.document import document_lines
from agent.limits import Over
from agent.offline.engine import InForce, wall_clock
from agent.offline.records import Hold, Written
from agent.pricing import Customer
from agent.slip import SlipData, Translate, layout
from agent.texts import both
from loyalty.amounts import Points
from loyalty.sale import Cart, Holder, Offer, Sale, State
from loyalty.texts import N_, Text

LINES_COLUMNS = 48  # of slip lines for a cash program's printer, when we have none of our own

DISK_FULL = N_("the till's disk is full: points cannot be spent; free some room, nothing is lost")
NOT_FOUND = N_("the card is not found")
NOT_FOUND_HERE = N_("the card is not known here and there is no link; sell without it or try later")
CLOCK = N_(
    "the clock of this box is wrong: points are spent only with the office's word; set it right (timedatectl)"
)
NOT_ASKED = N_("the office did not say whose card this is; read the card again, or sell without it")
NEW_CARD = N_("this card is new: it is registered with its first sale, and the office confirms it")
ELSEWHERE = N_("some of the points lie at other tills or at the centre; shown is what can be spent here")


def nobodys_card(*, unknown: bool, online: bool) -> tuple[str, Text]:
    """What is said of a card without a customer: a word and a sentence. `unknown` = the centre says so."""
    if unknown:
        return "card_not_found", NOT_FOUND
    return "card_not_asked", NOT_ASKED if online else NOT_FOUND_HERE


def sale_reply(
    sale: Sale,
    in_force: InForce,
    customer: Customer | None,
    *,
    over: Over | None,
    unknown: bool,
    more_elsewhere: bool,
    online: bool,
    disk_full: bool,
) -> dict[str, Any]:
    """How a sale stands that is not committed: its quote, its customer, what the cashier should know.

    `over`: a limit against abuse that the card goes beyond, `customer` being None where it is a hard one.
    `more_elsewhere`: this receipt would spend points that do not lie here.
    """
    cart, offer = sale.cart, sale.offer
    holder = cart.holder if cart else None
    return {
        "sale_id": sale.id,
        "state": sale.state.value,
        "quote_id": offer.quote_id if offer else None,
        "quote": msgspec.json.decode(offer.quote) if offer else None,
        "titles": offer.titles if offer else {},
        "rulebook_seq": offer.rulebook_seq if offer else in_force.rulebook_seq,
        "customer": customer_reply(holder, customer, in_force, sale.opened_s, online=online)
        if holder
        else None,
        "redeem": cart.redeem if cart else None,
        "fiscal": pricing.fiscal_receipt(offer, in_force) if offer else None,
        "messages": [
            {"code": code, **both(text)}
            for code, text in _messages(
                cart,
                offer,
                customer,
                over=over,
                unknown=unknown,
                more_elsewhere=more_elsewhere,
                online=online,
                disk_full=disk_full,
            )
        ],
    }


def commit_reply(
    offer: Offer,
    written: Written,
    slip: SlipData,
    *,
    sale_id: str,
    columns: int | None,
    width: int,
    translate: Translate,
) -> dict[str, Any]:
    """What a commit is answered, now and whenever it is asked again. `columns` None: we do not print;

    `width`: letters in a line of the reply.
    """
    quote = msgspec.json.decode(offer.quote)
    return {
        "sale_id": sale_id,
        "state": (State.COMMITTED if columns else State.CLOSED).value,
        "quote_id": offer.quote_id,
        "entry": written.entry.id,
        "ident": written.ident,
        "pay": offer.pay,
        "redeemed": quote["redeemed"],
        "lent": offer.lent,
        "earned": quote["earned_total"],
        "rewards": quote["rewards"],
        "slip": {
            "mode": "print" if columns else "lines",
            "lines": document_lines(layout(slip, width, translate), width),
            "data": msgspec.to_builtins(slip),
        },
    }


def sold_reply(sale: Sale) -> dict[str, Any]:
    """A committed sale of which no answer is remembered."""
    return {"sale_id": sale.id, "state": sale.state.value, "entry": sale.entry}


def held_reply(holds: list[Hold], now_s: int) -> dict[str, Any]:
    """The quotes that hold points, oldest first."""
    return {
        "sales": [
            {
                "sale_id": hold.sale_id,
                "quote_id": hold.offer.quote_id,
                "pay": hold.offer.pay,
                "points": sum(piece.points for piece in hold.offer.spends) + hold.offer.lent,
                "age_s": now_s - hold.at_s,
            }
            for hold in holds
        ]
    }


def customer_reply(
    holder: Holder, customer: Customer | None, in_force: InForce, now_s: int, *, online: bool
) -> dict[str, Any]:
    """Who buys, and what can be spent here at `now_s`; of a card that nobody knows, only that."""
    reply: dict[str, Any] = {"card": holder.masked, "found": customer is not None}
    if customer is not None:
        reply |= {
            "tier": customer.member.tier,
            "available_here": sum(p.points for p in customer.live(wall_clock(in_force.local(now_s)))),
            "balance": customer.balance,
            "pending": customer.pending,
            "as_of": None if customer.new else in_force.local(customer.as_of_s).isoformat(),
            "provisional": customer.new or not online,
        }
    return reply


def _messages(
    cart: Cart | None,
    offer: Offer | None,
    customer: Customer | None,
    *,
    over: Over | None,
    unknown: bool,
    more_elsewhere: bool,
    online: bool,
    disk_full: bool,
) -> list[tuple[str, Text]]:
    """What the cashier should know beside the price."""
    notes: list[tuple[str, Text]] = []
    if over is not None:
        notes.append((over.code, over.text))
    elif cart is not None and cart.holder is not None and customer is None:
        notes.append(nobodys_card(unknown=unknown, online=online))
    if customer is not None and customer.new:
        notes.append(("card_new", NEW_CARD))
    if more_elsewhere:
        notes.append(("points_elsewhere", ELSEWHERE))
    if cart is not None and cart.redeem is not None and offer is not None and offer.receipt.redeem is None:
        notes.append(("clock", CLOCK))
    if offer is not None and offer.lent:
        text = N_("there is no link: {points} of these points are lent", points=Points(offer.lent))
        notes.append(("lent", text))
    if disk_full:
        notes.append(("disk_full", DISK_FULL))
    return notes
