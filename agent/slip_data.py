"""What the slip of a committed sale says: the offer and the customer, made into `SlipData`.

The balance is printed as such only where it is fresh from the centre and counts this
sale; otherwise the slip says what can be spent at this till, and from when it knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from agent.offline.engine import InForce, wall_clock
from agent.offline.records import Parcel
from agent.pricing import Customer
from agent.slip import Earned, Expiring, SlipData, qr_text
from loyalty.sale import Offer

EXPIRES_SOON_DAYS = 30
EXPIRING_SHOWN = 3
IDENT_PLACE = "{ident}"


def slip_data(
    offer: Offer, in_force: InForce, *, ident: str, now_s: int, customer: Customer | None, fresh: bool
) -> SlipData:
    """The slip's facts. `fresh`: the link is up and the customer's balance was heard just now."""
    quote = msgspec.json.decode(offer.quote)
    now = in_force.local(now_s)
    holder = offer.cart.holder
    discounts: dict[str, int] = {}
    for line in quote["lines"]:
        for rule, amount in line["discounts"].items():
            discounts[rule] = discounts.get(rule, 0) + amount
    live = customer.live(wall_clock(now)) if customer else []
    available = None
    if customer is not None:
        available = customer.balance if fresh else sum(parcel.points for parcel in live)
    return SlipData(
        shop=in_force.settings.store.name,
        at=now.replace(tzinfo=None),
        till=offer.receipt.till,
        receipt=offer.receipt.id,
        ident=ident,
        list_minor=quote["list"],
        pay_minor=quote["pay"],
        header=in_force.settings.slip.header,
        footer=in_force.settings.slip.footer,
        card=holder.masked if holder and customer else None,
        tier=customer.member.tier if customer else None,
        discounts=tuple((offer.titles.get(rule, rule), amount) for rule, amount in discounts.items()),
        redeemed_minor=quote["redeemed"],
        points_used=sum(piece.points for piece in offer.spends) + offer.lent,
        lent=offer.lent,
        earned=_earned(offer, now),
        expiring=_expiring(live, now),
        available=available,
        as_of=_as_of(customer, in_force),
        offline=not fresh,
        qr=_qr(in_force.settings.slip.qr, ident),
    )


def _qr(text: str | None, ident: str) -> str | None:
    """The text of the programme with the slip's last line in it; nothing else in it is a place."""
    return qr_text(text.replace(IDENT_PLACE, ident)) if text else None


def _as_of(customer: Customer | None, in_force: InForce) -> datetime | None:
    """When the office last said something of the customer; None where it never did."""
    if customer is None or customer.new:
        return None
    return in_force.local(customer.as_of_s).replace(tzinfo=None)


def as_copy(data: SlipData) -> SlipData:
    """The same slip, marked КОПИЯ."""
    return replace(data, copy=True)


def _earned(offer: Offer, now: datetime) -> tuple[Earned, ...]:
    """Points earned, one line for each day on which they become active."""
    by_day: dict[str, int] = {}
    for lot in offer.earns:
        by_day[lot.terms.active_from] = by_day.get(lot.terms.active_from, 0) + lot.points
    return tuple(
        Earned(points, datetime.fromisoformat(start).date() if start > wall_clock(now) else None)
        for start, points in sorted(by_day.items())
    )


def _expiring(live: Sequence[Parcel], now: datetime) -> tuple[Expiring, ...]:
    horizon = wall_clock(now + timedelta(days=EXPIRES_SOON_DAYS))
    soon = sorted(
        (p.expires_at, p.points) for p in live if p.expires_at is not None and p.expires_at < horizon
    )
    # expires_at is the first moment without the points, so their last day is the one before midnight.
    return tuple(
        Expiring(points, (datetime.fromisoformat(at) - timedelta(seconds=1)).date())
        for at, points in soon[:EXPIRING_SHOWN]
    )
