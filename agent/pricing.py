"""From a cart to an offer: the receipt the engine prices, and what its answer means for parcels.

Nothing here reads a file or a clock; the till's thread brings the parcels it may
promise and the shop's time. The offer that comes out is complete: a commit a week
later, after a restart and under other rules, needs nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from agent.offline.engine import InForce, wall_clock
from agent.offline.records import Parcel, Worked
from loyalty import document
from loyalty.document import Receipt, Result, SaleDocument, SeenCustomer, SeenLot, SoldLine, Tender
from loyalty.faults import Fault, Refused
from loyalty.fiscal import PricedLine, fiscal
from loyalty.ledger import POINTS_MAX, Earned, LotTerms, Spent, once_key, once_rule
from loyalty.once import counters_on, key_day
from loyalty.protocol.books import is_live
from loyalty.sale import Cart, Offer, Paid
from loyalty.settings import Fiscal, earn_waits_days
from loyalty.texts import N_
from loyalty.wire import FLAG_DEBT, Member

TOTAL_MAX_MINOR = 10**12  # more than any till sells at once: a price or a quantity is wrong
COURTESY = "z:courtesy"  # no lot either: what a till may lend beyond what it holds (agent/courtesy.py)
ELSEWHERE = "z:elsewhere"  # no lot: what a till does not hold, spent after all that it does
DATE_CHARS = len("YYYY-MM-DD")
LOTS_MAX = 1_000  # of one customer in one receipt, so that its entry is never too large for the ledger


@dataclass(frozen=True, slots=True)
class Customer:
    """Who buys, as the till knows them now.

    `parcels` are what it may promise; `balance` counts everything, everywhere, as
    of `as_of_s` (UTC seconds) and with this till's own entries since. `worked` = rule ->
    the local dates of those entries, where a rule with a counter did something.
    `new`: the centre has told nothing of this card; all that is known is what happened here.
    `owes`: those entries left a debt. `pending`: of `balance`, what nobody can spend yet; `promised`: what
    lies here and was promised to other sales.
    """

    member: Member
    parcels: Sequence[Parcel]
    balance: int
    as_of_s: int
    worked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    new: bool = False
    owes: bool = False
    pending: int = 0
    promised: int = 0

    @property
    def elsewhere(self) -> int:
        """Points (hundredths) that may be spent, at other tills or at the centre."""
        return self.balance - self.pending - self.promised - sum(parcel.points for parcel in self.parcels)

    def live(self, shop_now: str) -> list[Parcel]:
        """What may be spent at `shop_now` (shop wall-clock)."""
        return [p for p in self.parcels if is_live(LotTerms(p.active_from, p.expires_at, p.rule), shop_now)]

    @property
    def is_flagged(self) -> bool:
        """Does the centre say that the account owes points?"""
        return FLAG_DEBT in self.member.flags


def make_offer(
    sale_id: str,
    till: str,
    cart: Cart,
    opened_s: int,
    customer: Customer | None,
    in_force: InForce,
    may_lend: int = 0,
    lots_live_from_s: int | None = None,
) -> Offer:
    """Price `cart` with what is held here, and after that with what may be lent (hundredths).

    `lots_live_from_s` < `opened_s`: the clock is wrong, and new lots live so much earlier (agent/clock.py).
    Raises loyalty.faults.Refused for a cart the engine refuses.
    """
    receipt = Receipt(
        id=sale_id,
        till=till,
        store=in_force.settings.store.id,
        region=in_force.settings.store.region,
        channel=in_force.settings.channel,
        at=in_force.local(opened_s).isoformat(timespec="seconds"),
        lines=cart.lines,
        coupons=cart.coupons,
        tenders=cart.tenders,
        redeem=cart.redeem,
    )
    seen = _seen(customer, cart, in_force, opened_s, may_lend) if customer else None
    quote, counted = in_force.price(document.engine_receipt(receipt, seen))
    _check(quote)
    used: dict[str, int] = dict(quote["lots_used"])
    lent = used.pop(COURTESY, 0)
    owes = lent > 0 or (customer is not None and (customer.owes or customer.is_flagged))
    offer = Offer(
        quote_id="",
        cart=cart,
        receipt=receipt,
        customer=seen,
        rulebook_seq=in_force.rulebook_seq,
        kill_seq=0,
        catalog_version=in_force.catalog_version,
        quote=msgspec.json.encode(quote),
        pay=quote["pay"],
        spends=tuple(Spent(lot, points) for lot, points in used.items()),
        earns=_earns(quote, in_force, opened_s, owes=owes, ahead_s=opened_s - (lots_live_from_s or opened_s)),
        titles={rule: in_force.titles.get(rule, rule) for rule in _rules_of(quote)},
        counted=counted,
        lent=lent,
    )
    digest = hashlib.sha256(msgspec.msgpack.encode(offer)).hexdigest()
    return msgspec.structs.replace(offer, quote_id=f"q{digest[:16]}")


def missing(sale_id: str, till: str, cart: Cart, opened_s: int, customer: Customer, in_force: InForce) -> int:
    """How many points (hundredths) that lie elsewhere this receipt would spend, if they were here."""
    if customer.elsewhere <= 0:
        return 0
    lot = Parcel(ELSEWHERE, customer.elsewhere, wall_clock(in_force.local(opened_s)), None, "")
    rich = replace(customer, parcels=(*customer.parcels, lot))
    offer = make_offer(sale_id, till, cart, opened_s, rich, in_force)
    return sum(piece.points for piece in offer.spends if piece.lot == ELSEWHERE)


class FiscalPart(NamedTuple):
    """So much (thousandths) of a line, and what is paid for it: minor units, list - … - redeemed = pay."""

    line: SoldLine
    quantity: int
    list_minor: int
    redeemed_minor: int
    pay_minor: int


def fiscal_receipt(offer: Offer, in_force: InForce) -> dict[str, Any]:
    """The offer as lines of a fiscal receipt (loyalty/fiscal.py), as JSON values."""
    priced = {line["id"]: line for line in msgspec.json.decode(offer.quote)["lines"]}
    return fiscal_lines(
        [
            FiscalPart(line, line.quantity, *(priced[line.id][name] for name in ("list", "redeemed", "pay")))
            for line in offer.receipt.lines
        ],
        in_force,
        in_force.settings.fiscal,
    )


def fiscal_lines(parts: Sequence[FiscalPart], in_force: InForce, modes: Fiscal) -> dict[str, Any]:
    """Lines, or parts of them that come back, as a fiscal receipt."""
    skus = in_force.catalog.engine.skus
    lines = [
        PricedLine(
            id=part.line.id,
            price_minor=part.line.price,
            quantity=part.quantity,
            list_minor=part.list_minor,
            redeemed_minor=part.redeemed_minor,
            pay_minor=part.pay_minor,
            min_price_minor=skus[part.line.sku].min_price_minor if part.line.sku in skus else 0,
            weighed=part.line.sku in skus and skus[part.line.sku].weighed,
        )
        for part in parts
    ]
    return fiscal(lines, modes).to_builtins()


def sale_document(offer: Offer, paid: Paid) -> SaleDocument:
    """The document that travels with the SALE entry."""
    quote = msgspec.json.decode(offer.quote)
    return SaleDocument(
        receipt=offer.receipt,
        customer=offer.customer,
        rulebook_seq=offer.rulebook_seq,
        kill_seq=offer.kill_seq,
        catalog_version=offer.catalog_version,
        tenders=tuple(Tender(tender.type, tender.amount) for tender in paid.tenders),
        fiscal_id=paid.fiscal_id,
        paid_at=paid.paid_at,
        operator=offer.cart.operator,
        result=Result(
            digest=document.quote_digest(quote),
            list=quote["list"],
            discount=quote["discount"],
            redeemed=quote["redeemed"],
            pay=quote["pay"],
            earned_total=quote["earned_total"],
        ),
    )


def worked(offer: Offer) -> Worked:
    """What the till remembers of the rules with counters in a sale (offline/ledger_db.py)."""
    keys = {lot.terms.rule for lot in offer.earns if once_key(lot.terms.rule)}
    lasting = frozenset(key.partition("/")[0] for key in keys)
    day = offer.receipt.at[:DATE_CHARS]
    return Worked(day, offer.counted, lasting, offer.rulebook_seq, offer.catalog_version)


def _check(quote: dict[str, Any]) -> None:
    """Refused here, before anybody pays, is what no ledger could take later. Raises Refused."""
    if quote["list"] > TOTAL_MAX_MINOR:
        text = N_(
            "the lines come to more than {max} kopecks; is a price or a quantity wrong?", max=TOTAL_MAX_MINOR
        )
        raise Refused([Fault("lines", text)])
    for lot in quote["earned_lots"]:
        if lot["amount"] > POINTS_MAX:
            text = N_("rule {rule} gives more points than there can be", rule=lot["rule"])
            raise Refused([Fault("lines", text)])


def _seen(customer: Customer, cart: Cart, in_force: InForce, opened_s: int, may_lend: int) -> SeenCustomer:
    """The customer as the engine sees them; of their parcels those that live, the first to be spent first.

    What may be lent is one lot more, of no expiry and so the last to be spent.
    """
    member = customer.member
    now = wall_clock(in_force.local(opened_s))
    told_on = wall_clock(in_force.local(customer.as_of_s))
    live = customer.live(now)
    live.sort(key=lambda p: (p.expires_at is None, p.expires_at or "", p.active_from, p.lot))
    lots = tuple(SeenLot(p.lot, p.points, p.active_from, p.expires_at) for p in live[:LOTS_MAX])
    if may_lend > 0:
        lots += (SeenLot(COURTESY, may_lend, now),)
    return SeenCustomer(
        account=member.account,
        tier=member.tier,
        card_kind=member.card_kind or (cart.holder.card_kind if cart.holder else None),
        segments=member.segments,
        counters=counters_on(now[:DATE_CHARS], member.counters, told_on[:DATE_CHARS], customer.worked),
        birthday=member.birthday,
        lots=lots,
    )


def _earns(
    quote: dict[str, Any], in_force: InForce, opened_s: int, *, owes: bool, ahead_s: int
) -> tuple[Earned, ...]:
    """New lots. One that lives from now on is this till's parcel at once, unless the settings say later.

    What a customer may get once waits at the centre until equal once-keys are merged (§3); what one
    gets who owes goes there too, to pay the debt (§5.2).
    """
    now = wall_clock(in_force.local(opened_s))
    waits_days = earn_waits_days(in_force.settings)
    earns: list[Earned] = []
    for lot in quote["earned_lots"]:
        rule: str = lot["rule"]
        when = in_force.once.get(rule)
        named = rule if when is None else once_rule(rule, key_day(when, now[:DATE_CHARS]))
        terms = _not_before(LotTerms(lot["active_from"], lot.get("expires_at"), named), now, waits_days)
        at_once = waits_days is not None and when is None and not owes and terms.active_from <= now
        earns.append(Earned(lot["amount"], _earlier(terms, ahead_s), at_once))
    return tuple(earns)


def _earlier(terms: LotTerms, by_s: int) -> LotTerms:
    """A lot that begins to live so much earlier; its last day stays, the customer is not to lose by it."""
    if by_s <= 0:
        return terms
    first = datetime.fromisoformat(terms.active_from) - timedelta(seconds=by_s)
    return LotTerms(first.isoformat(timespec="seconds"), terms.expires_at, terms.rule)


def _not_before(terms: LotTerms, now: str, waits_days: int | None) -> LotTerms:
    """A lot that is to live no sooner than so many days from now; it lives as long as its rule says."""
    if not waits_days:
        return terms
    day = date.fromisoformat(now[:DATE_CHARS]) + timedelta(days=waits_days)
    first = f"{day.isoformat()}T00:00:00"
    if terms.active_from >= first:
        return terms
    later = day - date.fromisoformat(terms.active_from[:DATE_CHARS])
    ends = terms.expires_at
    if ends is not None:
        ends = (datetime.fromisoformat(ends) + later).isoformat()
    return LotTerms(first, ends, terms.rule)


def _rules_of(quote: dict[str, Any]) -> list[str]:
    discounts = {rule for line in quote["lines"] for rule in line["discounts"]}
    return sorted(discounts | set(quote["earned"]))
