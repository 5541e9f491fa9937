"""The counter: what is done with a sale. The till's thread calls it; loyalty/sale.py is its law.

Each handler looks things up, asks the table what the event does, writes, and only then
speaks. A cart that cannot be priced is refused before anything of the sale changes: the
quote that stood, and the points it holds, stand on.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec

from agent import pricing, replies
from agent.cards import PAYMENT_CARD, QUOTE_WAIT_MS, Cards
from agent.clock import AGREE_S, Clock
from agent.courtesy import may_lend
from agent.customer_display import CustomerDisplay
from agent.drivers.contracts import (
    OutputComplete,
    OutputEvent,
    OutputFailed,
    OutputUnknown,
    OutputWaiting,
    ScanData,
)
from agent.drivers.document import Document
from agent.guard import Guard, remarked
from agent.health import Health
from agent.inbox import (
    Ask,
    ChangeSale,
    CommitSale,
    GetSale,
    LineBody,
    ListHeld,
    PrintSale,
    Problem,
    PutSale,
    SaleBody,
    TenderBody,
    VoidSale,
)
from agent.limits import Over
from agent.offline import heard
from agent.offline.engine import InForce, wall_clock, without_settings
from agent.offline.ledger_db import LedgerDb
from agent.offline.pruning import pruned
from agent.offline.records import DiskFull, Hold, LedgerFault, Place, Registration, Written
from agent.outside import CustomerFacing, Outside
from agent.readings import reading
from agent.slip import SlipData, Translate, layout
from agent.slip_data import as_copy, slip_data
from agent.sync import asking
from agent.sync.asking import Asking, HubPlace
from loyalty import card, document, ledger, sale
from loyalty.bank_card import looks_like_payment
from loyalty.document import SoldLine, Tender, canonical
from loyalty.faults import Refused
from loyalty.ledger import Entry, LotTerms
from loyalty.protocol import moves
from loyalty.sale import Cart, Holder, Offer, Sale, State
from loyalty.settings import till_key
from loyalty.texts import N_
from loyalty.wire import WIRE_VERSION, ClaimReply, ClaimRequest, HandoverRequest

log = logging.getLogger(__name__)

CARD_WAITS_S = 60  # a card scanned before its sale (till.md §3)
JOBS_REMEMBERED = 64
TOLD = (State.WAITING, State.QUOTED, State.CLOSED)  # states of an open sale that listeners hear of
CASH = "cash"  # the type of a tender that goes into the drawer
NOT_KEPT = "-"  # instead of a code that must not be written down
NO_CLOCK = "1970-01-01T00:00:00+00:00"

NO_SETTINGS = N_("the till has no settings yet: connect it to the centre once (kopilka-agent sync now)")
GOODS_RETURNED = N_("goods of this sale were given back; it cannot be voided, return the rest of them")
SLIP_WAITS = N_("the slip of this sale waits for the printer, and is printed by itself when it is ready")
NO_CERTIFICATES = N_("this version takes no gift certificates; sell without them")


@dataclass(slots=True)
class OpenSale:
    """A sale in hand, with the rules it was opened under and whoever waits for its quote, until when."""

    sale: Sale
    in_force: InForce
    waiting: list[PutSale | ChangeSale] = field(default_factory=list)
    due_ms: int | None = None  # while WAITING: its second is over then (monotonic)
    chosen: bool = False  # the cashier chose on the page how many points are spent
    wish: Wish | None = None  # while WAITING: points that were asked for elsewhere
    word: ClaimRequest | None = None  # while WAITING: a claim by which the centre says the time


@dataclass(slots=True)
class Wish:
    """Points that lie elsewhere and were asked for, for one quote."""

    asking: Asking
    account: int
    hub: HubPlace | None
    question: HandoverRequest | None = None  # to the hub
    claim: ClaimRequest | None = None  # at the centre
    is_heard: bool = False  # the claim was answered, with points, without, or by a refusal


@dataclass(frozen=True, slots=True)
class Job:
    """A slip on its way to the printer."""

    epoch: int
    seq: int
    sale_id: str


@dataclass(frozen=True, slots=True)
class Paid:
    """The sale that was paid last: its job says which entry."""

    job: Job
    ident: str
    pay: int


class Counter:
    """All open sales of one till. `refuse(ask, error)` answers an ask that could not be done after all."""

    def __init__(
        self,
        *,
        till: str,
        ledger_db: LedgerDb,
        cards: Cards,
        guard: Guard,
        in_force: InForce | None,
        outside: Outside,
        health: Health,
        clock: Clock,
        translate: Translate,
        refuse: Callable[[Ask, Exception], None],
    ) -> None:
        self.in_force = in_force
        self._till = till
        self._ledger = ledger_db
        self._cards = cards
        self._guard = guard
        self._outside = outside
        self._health = health
        self._clock = clock
        self._translate = translate
        self._refuse = refuse
        self._open: OrderedDict[str, OpenSale] = OrderedDict()  # the sale last touched stands last
        self._scanned: tuple[Holder, int] | None = None  # a card that waits for its sale, since
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self.on_cash: Callable[[str], None] = lambda _: None  # a sale was paid in cash
        self._waits: dict[str, str] = {}  # sale -> the job of its slip that waits for the printer
        self._in_time: set[str] = set()  # open sales for which the centre has said the time
        self._last: Paid | None = None
        self._display = CustomerDisplay(
            outside.show if isinstance(outside, CustomerFacing) else lambda _: None,
            lambda: self.in_force.settings.store.name if self.in_force is not None else "",
            clock.monotonic_ms,
        )

    # ------------------------------------------------------------------- cart and quote

    def put(self, ask: PutSale) -> None:
        """The cart of a sale: price it, or begin to wait for what the price needs."""
        current = self._in_hand(ask.sale_id)
        chosen = current.chosen and ask.body.redeem is msgspec.UNSET
        self._price(current, self._cart(ask.body, current), [ask])
        current.chosen = chosen
        self._display.given(current.sale, _sum(ask.body.tenders))

    def change(self, ask: ChangeSale) -> None:
        """The cashier's choice, of a sale in hand: another card or none, points, tenders."""
        current, body = self._in_hand(ask.sale_id), ask.body
        if current.sale.state is State.NONE:
            raise Problem(404, "unknown_sale", N_("the till does not know sale {id}", id=ask.sale_id))
        before = current.sale.cart or Cart()
        holder, remarks = before.holder, before.remarks
        if body.card is None:
            holder, remarks = None, ()
        elif body.card is not msgspec.UNSET:
            holder, remarks = self._read(body.card, body.card_entry, before.operator, current)
        tenders = before.tenders if body.tenders is msgspec.UNSET else _types(body.tenders)
        redeem = before.redeem if body.redeem is msgspec.UNSET else body.redeem
        cart = msgspec.structs.replace(before, holder=holder, tenders=tenders, redeem=redeem, remarks=remarks)
        self._price(current, remarked(current.sale, cart), [ask])
        current.chosen = current.chosen or body.redeem is not msgspec.UNSET
        if body.tenders is not msgspec.UNSET:
            self._display.given(current.sale, _sum(body.tenders))

    def _price(self, current: OpenSale, cart: Cart, asks: Sequence[PutSale | ChangeSale]) -> None:
        """The sale has this cart now: price it, for whoever asked."""
        if asks and current.sale.state is State.WAITING and current.sale.cart == cart:
            current.waiting += asks  # asked again; the answer on its way is for this cart
            return
        changed, effects = sale.step(current.sale, sale.CartChanged(cart, self._clock.opening_s()))
        rules = self._rules(current, changed)
        offer = changed.offer or self._offer(changed, rules)  # refused here, nothing has changed
        self._carry_out(current, changed, effects)
        current.in_force = rules
        self._is_taken(cart.holder)
        self._keep(current)
        self._quote(current, asks, offer)

    def _quote(self, current: OpenSale, asks: Sequence[PutSale | ChangeSale], offer: Offer) -> None:
        current.waiting += asks
        try:
            if current.sale.state is State.QUOTED:
                self._advance(current, sale.QuoteAsked(offer))
            else:
                holder = current.sale.cart.holder if current.sale.cart else None
                wait = self._cards.ask_centre(holder) or self._ask_for_points(current)
                self._advance(current, sale.QuoteAsked(offer, wait=wait))
        except BaseException:
            current.waiting = [other for other in current.waiting if other not in asks]
            raise

    def _advance(self, current: OpenSale, event: sale.QuoteAsked | sale.Answered) -> None:
        """To a quote (or to WAITING). Without room for a hold: no points, but a price (§9, disk full)."""
        priced, effects = sale.step(current.sale, event)
        try:
            self._carry_out(current, priced, effects)
        except DiskFull:
            if current.sale.cart is None or current.sale.cart.redeem is None:
                raise
            self._health.alert("disk_full", replies.DISK_FULL, self._clock.now_s())
            cart = msgspec.structs.replace(current.sale.cart, redeem=None)
            current.sale = replace(current.sale, cart=cart)
            offer = self._offer(current.sale, current.in_force)
            self._advance(current, replace(event, offer=offer))

    def _carry_out(self, current: OpenSale, after: Sale, effects: list[sale.Effect]) -> None:
        """Do the effects of a step that writes no entry; the sale moves on when the writing is done."""
        for effect in effects:
            match effect:
                case sale.SaveHold(offer):
                    now_s = self._clock.now_s()
                    self._ledger.save_hold(Hold(after.id, _sha256(offer.cart), now_s, after.opened_s, offer))
                    self._health.clear("disk_full")
                case sale.ReleaseHold():
                    self._ledger.release_hold(after.id)
        before, current.sale, current.due_ms = current.sale, after, None
        if after.state in TOLD and after != before:
            self._tell(after)
        if after.state is not State.WAITING:
            current.wish = current.word = None
        for effect in effects:
            match effect:
                case sale.StartTimer():
                    current.due_ms = self._clock.monotonic_ms() + QUOTE_WAIT_MS
                case sale.Reply():
                    for ask in current.waiting:
                        ask.reply.set_result(self._sale_reply(current))
                    current.waiting.clear()
        if after.state is State.QUOTED and self._last_touched() is current:
            self._display.quoted(after, current.in_force.catalog.name_of)

    def _rules(self, current: OpenSale, changed: Sale) -> InForce:
        """Those under which the sale was opened; of a parked one that opens anew, those of now."""
        opened_anew = current.sale.opened_s not in (0, changed.opened_s)
        return self.in_force if opened_anew and self.in_force is not None else current.in_force

    def _offer(self, priced: Sale, in_force: InForce, *, cut_off: bool = False) -> Offer:
        """Price it. `cut_off`: the centre has not answered for this sale, whatever the sync thread thinks."""
        cart = priced.cart
        if cart is None:
            raise LedgerFault(N_("sale {id} has no cart", id=priced.id))
        customer = self._guard.see(cart, priced.id).customer
        if cart.redeem is not None and self._clock.is_off and priced.id not in self._in_time:
            cart = msgspec.structs.replace(cart, redeem=None)  # by this clock no lot can be judged (§5.16)
        lend = 0
        if customer is not None and cart.redeem is not None and (cut_off or not self._health.online):
            lend = may_lend(self._ledger, customer, priced.id, in_force.settings.courtesy_points)
        return pricing.make_offer(
            priced.id,
            self._till,
            cart,
            priced.opened_s,
            customer,
            in_force,
            lend,
            lots_live_from_s=self._clock.lots_live_from_s(priced.opened_s),
        )

    def _cart(self, body: SaleBody, current: OpenSale) -> Cart:
        """The cart in a request. Raises Problem where a code in it cannot be used."""
        if body.certificates:
            raise Problem(409, "no_certificates", NO_CERTIFICATES)
        before = current.sale.cart
        lines = tuple(_line(line, current.in_force) for line in body.lines)
        holder: Holder | None = None
        remarks: tuple[str, ...] = ()
        if body.card is msgspec.UNSET:
            holder = before.holder if before else self._take_scanned()
            remarks = before.remarks if before else ()
        elif body.card is not None:
            holder, remarks = self._read(body.card, body.card_entry, body.operator, current)
        if body.coupons is not msgspec.UNSET and any(map(looks_like_payment, body.coupons)):
            raise Problem(409, "payment_card", PAYMENT_CARD)
        scanned = before.coupons if before else ()
        chosen = before.redeem if before and current.chosen else None
        redeem = chosen if body.redeem is msgspec.UNSET else body.redeem
        cart = Cart(
            lines=lines,
            holder=holder,
            coupons=scanned if body.coupons is msgspec.UNSET else body.coupons,
            tenders=_types(body.tenders),
            redeem=redeem,
            operator=body.operator,
            remarks=remarks,
        )
        return remarked(current.sale, cart)

    def _read(
        self, number: str, entry: str, operator: str | None, current: OpenSale
    ) -> tuple[Holder, tuple[str, ...]]:
        """The card in what was read or keyed in, with the remark that it was keyed. Raises Problem."""
        holder = self._guard.read(number, entry, operator, current.in_force, current.sale.cart)
        return holder, (ledger.FLAG_KEYED,) if entry == "keyed" else ()

    # ------------------------------------------------------------------ points elsewhere

    def _ask_for_points(self, current: OpenSale) -> bool:
        """More is asked than lies here: ask where it may lie (asking.py). Should the quote wait?"""
        cart = current.sale.cart
        hub = self.hub()
        if cart is None or cart.holder is None or cart.redeem is None:
            return False
        if hub is None and not self._health.online:
            return False
        customer = self._guard.see(cart, current.sale.id).customer
        if customer is None:
            return False
        if self._clock.is_off and current.sale.id not in self._in_time:
            return self._ask_for_the_time(current, customer)
        want = self._missing(current, cart, customer)
        if want <= 0:
            return False
        current.wish = Wish(Asking(), customer.member.account, hub)
        until_ms = current.due_ms or self._clock.monotonic_ms() + QUOTE_WAIT_MS
        self._ask(current, current.wish, asking.Begun(want, hub is not None, self._health.online, until_ms))
        return True

    def hub(self) -> HubPlace | None:
        """The till of the shop that may have what is missing here, if it is another and can be asked."""
        settings = self.in_force.settings if self.in_force is not None else None
        hub = settings.hub if settings is not None else None
        if settings is None or hub is None or hub.url is None or hub.till == self._till:
            return None
        key = till_key(settings, hub.till)
        return HubPlace(hub.till, hub.url, key) if key is not None else None

    def _ask(self, current: OpenSale, wish: Wish, event: asking.Event) -> None:
        for effect in wish.asking.step(event, self._clock.monotonic_ms()):
            match effect:
                case asking.AskHub(want) if wish.hub is not None:
                    wish.question = self._question(current.sale.id, wish.account, want)
                    self._outside.ask_hub(wish.hub, wish.question)
                case asking.AskCentre(want):
                    wish.claim = wish.claim or self._claim(wish.account, want)
                    self._outside.claim(wish.claim)
                case asking.Done():
                    self._finish(current)

    def _question(self, sale_id: str, account: int, want: int) -> HandoverRequest:
        """A wish for the hub. The same wish of a sale has the same receipt, so that an answer lost on the

        way is given again; one for more, or one after a handover of this account has come, has another.
        """
        receipt = f"{sale_id}/{account}/{heard.handovers(self._ledger, account)}/{want}"
        epoch = self._ledger.uplink().epoch
        return HandoverRequest(WIRE_VERSION, self._till, epoch, receipt, account, want, b"")

    def _claim(self, account: int, want: int) -> ClaimRequest:
        timeline = self._ledger.uplink().timeline
        gseq, _ = self._ledger.down_head(ledger.bucket(account), self._till, timeline)
        return ClaimRequest(WIRE_VERSION, secrets.token_hex(16), account, want, gseq)

    def _ask_for_the_time(self, current: OpenSale, customer: pricing.Customer) -> bool:
        """The answer to a claim, be it for nothing, says the time. Should the quote wait for it?"""
        if not self._health.online:
            return False
        current.word = self._claim(customer.member.account, 0)
        self._outside.claim(current.word)
        return True

    def _told_the_time(self, current: OpenSale) -> None:
        """The centre has said the time for this sale: it may spend points, and opened by that time."""
        current.word = None
        self._in_time.add(current.sale.id)
        now_s = self._clock.opening_s()
        if abs(now_s - current.sale.opened_s) > AGREE_S:
            current.sale = replace(current.sale, opened_s=now_s)
        if not self._asks_after_all(current):
            self._finish(current)

    def claimed(self, request: ClaimRequest, reply: ClaimReply | None, *, refused: bool = False) -> None:
        """What was claimed has come (it lies in ledger.db already), or will not."""
        for current in [o for o in self._open.values() if o.word == request]:
            if reply is None:
                self._finish(current)
            else:
                self._told_the_time(current)
        for current in list(self._open.values()):
            wish = current.wish
            if wish is not None and wish.claim is not None and wish.claim.claim_id == request.claim_id:
                wish.is_heard = reply is not None or refused
                event = asking.ClaimAnswered(reply.granted, reply.asking) if reply else asking.ClaimFailed()
                self._ask(current, wish, event)

    def handed_over(self, request: HandoverRequest, given: int | None) -> None:
        """The hub gave so many hundredths (they lie in ledger.db already); None: nothing, or no answer."""
        for current in list(self._open.values()):
            wish = current.wish
            if wish is not None and wish.question == request:
                event = asking.HubFailed() if given is None else asking.HubAnswered(given)
                self._ask(current, wish, event)

    def busy_accounts(self) -> set[int]:
        """Accounts whose card is on an open sale: nothing of theirs is given back now."""
        holders = [o.sale.cart.holder for o in self._open.values() if o.sale.cart and o.sale.cart.holder]
        known = [self._cards.customer(holder, "") for holder in holders]
        return {customer.member.account for customer in known if customer is not None}

    # ----------------------------------------------------------------------- the second

    def next_timer_ms(self) -> int | None:
        """When `ring` is due, in monotonic milliseconds."""
        times = [o.due_ms for o in self._open.values()]
        times += [o.wish.asking.due_ms for o in self._open.values() if o.wish is not None]
        times.append(self._display.next_timer_ms())
        return min((ms for ms in times if ms is not None), default=None)

    def ring(self) -> None:
        """The second of some sales is over: price them with what is held now."""
        now_ms = self._clock.monotonic_ms()
        for current in list(self._open.values()):
            if current.due_ms is not None and current.due_ms <= now_ms:
                self._finish(current)
            elif current.wish is not None and current.wish.asking.is_due(now_ms):
                self._ask(current, current.wish, asking.TimeOver())
        self._display.ring()

    def arrived(self, card_key: int) -> None:
        """What was to be heard of this card is here: price the sales that waited, or ask for their points."""
        for current in list(self._open.values()):
            holder = current.sale.cart.holder if current.sale.cart else None
            if holder is None or holder.card_key != card_key or current.sale.state is not State.WAITING:
                continue
            if current.wish is None and current.word is None and not self._asks_after_all(current):
                self._finish(current)

    def _asks_after_all(self, current: OpenSale) -> bool:
        try:
            return self._ask_for_points(current)
        except (Refused, LedgerFault):
            return False  # the price, which is asked for next, says why

    def _finish(self, current: OpenSale) -> None:
        if current.sale.state is not State.WAITING:
            return
        current.due_ms = None
        asks = list(current.waiting)
        cut_off = current.wish is not None and current.wish.claim is not None and not current.wish.is_heard
        try:
            with self._ledger.reading():
                offer = self._offer(current.sale, current.in_force, cut_off=cut_off)
                self._advance(current, sale.Answered(offer))
        except (Refused, LedgerFault) as error:
            # Nothing is on its way any more: the same cart again is a new question.
            current.sale = replace(current.sale, state=State.OPEN)
            current.wish = current.word = None
            current.waiting.clear()
            for ask in asks:
                self._refuse(ask, error)

    # ------------------------------------------------------------------------------ scans

    def scan(self, scan: ScanData) -> None:
        """What a scanner of ours read: a card goes to the sale last touched, else it waits a minute."""
        if self.in_force is None:
            self._health.alert("no_settings", NO_SETTINGS, self._clock.now_s())
            return
        found = card.read(scan.data, scan.source, self.in_force.templates, scan.symbology)
        self._outside.tell("read", reading(scan, found, self._clock.now_s()))
        match found:
            case card.Card():
                self._health.clear("card")
                self._attach(self._cards.holder(found))
                self._tell_card()
            case card.PaymentCard():
                log.info("device %s: a payment card was rejected", scan.device)
                self._health.alert("card", PAYMENT_CARD, self._clock.now_s())
            case card.ReadError(reason) | card.Unknown(reason):
                self._health.alert("card", reason, self._clock.now_s())
            case card.Coupon():
                self._add_coupon(found.written)
            case card.ProductCode():
                log.debug("device %s: goods; the cash program sells them", scan.device)
                self._outside.tell("scan", {"data": found.code, "symbology": scan.symbology})

    def _attach(self, holder: Holder) -> None:
        """A card goes to the sale last touched. Where that has another one, it waits for the next sale:

        it may be the next customer's, and the first one has perhaps paid already (ledger-sync.md §2).
        """
        current = self._last_touched()
        has = current.sale.cart.holder if current is not None and current.sale.cart else None
        if current is not None and (has is None or has.card_key == holder.card_key):
            self._change(current, holder=holder)
            return
        self._scanned = (holder, self._clock.now_s())
        self._cards.ask_centre(holder)
        if has is not None:
            text = N_("another card was read; this sale keeps {card}, the new one waits", card=has.masked)
            self._health.alert("card", text, self._clock.now_s())

    def _add_coupon(self, written: str) -> None:
        current = self._last_touched()
        if current is not None and current.sale.cart is not None:
            self._change(current, coupons=tuple(sorted({*current.sale.cart.coupons, written})))

    def _change(self, current: OpenSale, **changes: Any) -> None:
        """Change the cart from the till's side; whoever waits for a quote gets the new one."""
        cart = remarked(current.sale, msgspec.structs.replace(current.sale.cart or Cart(), **changes))
        asks, current.waiting = current.waiting, []
        try:
            with self._ledger.reading():
                self._price(current, cart, asks)
        except (Refused, LedgerFault) as error:
            if not asks and isinstance(error, LedgerFault):
                raise  # nobody waits for an answer: the till's trouble is told by its loop
            for ask in asks:
                self._refuse(ask, error)

    def _last_touched(self) -> OpenSale | None:
        return next(reversed(self._open.values()), None)

    def _is_taken(self, holder: Holder | None) -> None:
        """A sale has got the card that waits: it is not for the next one."""
        if holder is not None and self._scanned is not None and self._scanned[0].card_key == holder.card_key:
            self._take_scanned()

    def _take_scanned(self) -> Holder | None:
        scanned, self._scanned = self._scanned, None
        if scanned is None or self._clock.now_s() - scanned[1] > CARD_WAITS_S:
            return None
        self._health.clear("card")
        return scanned[0]

    # ------------------------------------------------------------------- commit and void

    def commit(self, ask: CommitSale) -> None:
        """The sale is paid: write it, answer, print, send."""
        if self._repeated(ask, "commit"):
            return
        body = ask.body
        current = self._in_hand(ask.sale_id)
        tenders = tuple(Tender(tender.type, tender.amount) for tender in body.tenders)
        paid = sale.Paid(body.quote_id, tenders, body.fiscal_id, body.paid_at)
        _, effects = sale.step(current.sale, paid)
        offer = next(effect.offer for effect in effects if isinstance(effect, sale.AppendSale))
        columns = self._outside.printer_columns if body.slip == "print" else None
        now_s = self._clock.now_s()
        over = self._guard.see(offer.cart, "").over
        slips: list[SlipData] = []

        def answer(written: Written) -> bytes:
            # Inside the transaction: the sale's own entry counts in what the slip says.
            slips.append(self._slip(offer, written, now_s, current.in_force))
            reply = replies.commit_reply(
                offer,
                written,
                slips[0],
                sale_id=ask.sale_id,
                columns=columns,
                width=body.columns or self._outside.printer_columns or replies.LINES_COLUMNS,
                translate=self._translate,
            )
            return msgspec.json.encode(reply)

        written, said = self._ledger.append(
            self._till,
            partial(self._sale_entry, offer, paid, now_s, over),
            sale_id=ask.sale_id,
            verb="commit",
            body_sha256=_sha256(body),
            at_s=now_s,
            answer=answer,
            print_waived=columns is None,
            worked=pricing.worked(offer),
            register=self._registration(offer),
        )
        self._forget(ask.sale_id)
        self._health.clear("disk_full")
        ask.reply.set_result(msgspec.json.decode(said))
        job = Job(written.entry.epoch, written.entry.seq, ask.sale_id)
        if columns is not None:
            self._print(written.entry.id, job, slips[0], columns)
        self._outside.wake_sync()
        self._last = Paid(job, written.ident, offer.pay)
        self._guard.paid(offer)
        if over is not None:
            self._health.alert("limit", over.text, self._clock.now_s())
        else:
            self._health.clear("limit")
        self._tell(Sale(ask.sale_id, State.COMMITTED))
        self._display.paid(ask.sale_id, offer)
        if any(tender.type == CASH for tender in ask.body.tenders):
            self.on_cash(ask.sale_id)

    def _registration(self, offer: Offer) -> Registration | None:
        holder, seen = offer.cart.holder, offer.customer
        return self._cards.registration(holder, seen.account) if holder and seen else None

    def _sale_entry(
        self, offer: Offer, paid: sale.Paid, now_s: int, over: Over | None, place: Place
    ) -> tuple[Entry, bytes]:
        body = canonical(pricing.sale_document(offer, paid))
        entry = Entry(
            till=place.till,
            epoch=place.epoch,
            seq=place.seq,
            at_s=now_s,
            kind="SALE",
            account=offer.customer.account if offer.customer else None,
            postings=moves.sale(place.till, place.epoch, place.seq, offer.spends, offer.earns, offer.lent),
            document_sha256=hashlib.sha256(body).digest(),
            flags=(
                *self.remarks(),
                *((ledger.FLAG_COURTESY,) if offer.lent else ()),
                *offer.cart.remarks,
                *((ledger.FLAG_LIMIT,) if over is not None else ()),
            ),
        )
        return entry, body

    def remarks(self) -> tuple[str, ...]:
        """Remarks for the office on an entry of this moment."""
        clock = (ledger.FLAG_CLOCK,) if self._clock.is_off else ()
        return clock if self._health.online else (*clock, ledger.FLAG_OFFLINE)

    def void(self, ask: VoidSale) -> None:
        """The sale is given up, or taken back after it was paid."""
        if self._repeated(ask, "void"):
            return
        current = self._in_hand(ask.sale_id)
        if current.sale.state is State.NONE:
            if self._ledger.was_pruned(ask.sale_id):
                raise Problem(409, "pruned", pruned(ask.sale_id))
            # Nothing of it ever reached us, so nothing is held: the cash program may go on.
            ask.reply.set_result({"sale_id": ask.sale_id, "state": State.CLOSED.value, "entry": None})
            return
        closed, effects = sale.step(current.sale, sale.Voided(ask.body.reason))
        reply: dict[str, Any] = {"sale_id": ask.sale_id, "state": closed.state.value, "entry": None}
        if any(isinstance(effect, sale.AppendVoid) for effect in effects):
            reply = self._append_void(ask, reply)
            self._outside.wake_sync()
        else:
            waiting, current.waiting = current.waiting, []
            self._carry_out(current, closed, effects)
            for late in waiting:
                self._refuse(late, Problem(409, "voided", N_("the sale was voided meanwhile")))
        self._forget(ask.sale_id)
        self._display.dropped(ask.sale_id)
        ask.reply.set_result(reply)

    def _append_void(self, ask: VoidSale, reply: dict[str, Any]) -> dict[str, Any]:
        sold = self._ledger.sale_entry(ask.sale_id)
        if sold is None or self._ledger.corrected(sold.id):
            raise Problem(409, "already_void", N_("this sale was voided already"))
        if self._ledger.answers(sold.id, "RETURN_GOODS"):
            raise Problem(409, "goods_returned", GOODS_RETURNED)
        now_s = self._clock.now_s()
        _, said = self._ledger.append(
            self._till,
            partial(self._void_entry, sold, now_s),
            sale_id=ask.sale_id,
            verb="void",
            body_sha256=_sha256(ask.body),
            at_s=now_s,
            answer=lambda written: msgspec.json.encode({**reply, "entry": written.entry.id}),
        )
        decoded: dict[str, Any] = msgspec.json.decode(said)
        return decoded

    def _void_entry(self, sold: Entry, now_s: int, place: Place) -> tuple[Entry, None]:
        account = sold.account
        left = {p.lot: p.points for p in self._ledger.parcels(account)} if account is not None else {}
        entry = Entry(
            till=place.till,
            epoch=place.epoch,
            seq=place.seq,
            at_s=now_s,
            kind="VOID",
            account=account,
            postings=moves.void(sold, lambda lot: left.get(lot, 0), lambda lot: self._terms(sold, lot)),
            ref=sold.id,
            flags=self.remarks(),
        )
        return entry, None

    def _terms(self, sold: Entry, lot: str) -> LotTerms:
        parcel = self._ledger.parcel(sold.account, lot) if sold.account is not None else None
        if parcel is None:
            raise LedgerFault(
                N_("entry {id} spent lot {lot}, and this till does not know its terms", id=sold.id, lot=lot)
            )
        return LotTerms(parcel.active_from, parcel.expires_at, parcel.rule)

    def _repeated(self, ask: CommitSale | VoidSale | PrintSale, verb: str) -> bool:
        """Was this asked before? The same question gets the same answer, another one a refusal."""
        before = self._ledger.answer(ask.sale_id, verb)
        if before is None:
            return False
        said = msgspec.json.decode(before.body)
        if before.body_sha256 != _sha256(ask.body):
            text = N_("this was done already, and asked otherwise then; nothing was done now")
            raise Problem(409, f"{verb.partition(':')[0]}_differs", text, {"answered": said})
        ask.reply.set_result(said)
        return True

    # ------------------------------------------------------------------------------ slips

    def _slip(self, offer: Offer, written: Written, now_s: int, in_force: InForce) -> SlipData:
        holder = offer.cart.holder
        customer = self._cards.customer(holder, offer.receipt.id) if holder and offer.customer else None
        fresh = customer is not None and self._cards.is_fresh(customer)
        return slip_data(offer, in_force, ident=written.ident, now_s=now_s, customer=customer, fresh=fresh)

    def _print(self, job_id: str, job: Job, data: SlipData, columns: int) -> None:
        self.print_document(job_id, job, layout(data, columns, self._translate))

    def print_document(self, job_id: str, job: Job, document: Document) -> None:
        """Send a slip to our own printer; `printed` hears how it ended."""
        self._jobs[job_id] = job
        while len(self._jobs) > JOBS_REMEMBERED:
            self._jobs.popitem(last=False)
        self._outside.print_slip(job_id, document)

    def print_again(self, ask: PrintSale) -> None:
        """The slip of a committed sale once more, marked КОПИЯ."""
        verb = f"print:{ask.body.print_id}"
        if self._repeated(ask, verb):
            return
        sold = self._ledger.sale_entry(ask.sale_id)
        before = self._ledger.answer(ask.sale_id, "commit")
        if sold is None or before is None:
            raise Problem(404, "unknown_sale", N_("there is no committed sale {id}", id=ask.sale_id))
        if ask.sale_id in self._waits:
            raise Problem(409, "slip_waits", SLIP_WAITS)
        columns = self._outside.printer_columns
        if columns is None:
            raise Problem(409, "no_printer", N_("this till has no printer of its own; ask for slip lines"))
        data = msgspec.convert(msgspec.json.decode(before.body)["slip"]["data"], SlipData)
        reply = {"sale_id": ask.sale_id, "print_id": ask.body.print_id, "copy": True}
        now_s = self._clock.now_s()
        self._ledger.remember(ask.sale_id, verb, _sha256(ask.body), now_s, msgspec.json.encode(reply))
        job = Job(sold.epoch, sold.seq, ask.sale_id)
        self._print(f"{sold.id}/{ask.body.print_id}", job, as_copy(data), columns)
        ask.reply.set_result(reply)

    def _job_before(self, job_id: str) -> Job | None:
        """The job of a slip that waited when the agent ended: its id begins with the entry's."""
        found = self._ledger.sale_of_entry(job_id.partition("/")[0])
        return Job(*found) if found is not None else None

    def printed(self, event: OutputEvent) -> None:
        """The printer says how a slip ended."""
        job = self._jobs.get(event.job_id) or self._job_before(event.job_id)
        if job is None:
            return
        match event:
            case OutputWaiting(_, _, reason):
                self._jobs[event.job_id] = job
                self._waits[job.sale_id] = event.job_id
                self._health.alert("print", reason, self._clock.now_s())
                self._outside.tell("print", {"sale_id": job.sale_id, "outcome": "waiting"})
                return
            case OutputComplete():
                outcome: sale.Event = sale.Printed()
                self._jobs.pop(event.job_id, None)
                self._health.clear("print")
            case OutputFailed(_, _, reason):
                outcome = sale.PrintTrouble(maybe=False, reason=reason)
            case OutputUnknown(_, _, reason):
                outcome = sale.PrintTrouble(maybe=True, reason=reason)
        if self._waits.get(job.sale_id) == event.job_id:
            del self._waits[job.sale_id]
        self._outside.tell("print", {"sale_id": job.sale_id, "outcome": _outcome(event)})
        # What is printed was committed; voided since or not, how the print ended is noted.
        _, effects = sale.step(Sale(event.job_id, State.COMMITTED), outcome)
        for effect in effects:
            match effect:
                case sale.NotePrint(word):
                    self._ledger.note_print(job.epoch, job.seq, self._clock.now_s(), word)
                case sale.Alert(text):
                    self._health.alert("print", text, self._clock.now_s())

    # -------------------------------------------------------------------- sales in hand

    def get(self, ask: GetSale) -> None:
        """How a sale stands."""
        current = self._in_hand(ask.sale_id)
        if current.sale.state is State.NONE:
            raise Problem(404, "unknown_sale", N_("the till does not know sale {id}", id=ask.sale_id))
        before = self._ledger.answer(ask.sale_id, "commit")
        if before is None:
            is_sold = current.sale.entry is not None
            ask.reply.set_result(replies.sold_reply(current.sale) if is_sold else self._sale_reply(current))
        else:
            ask.reply.set_result({**msgspec.json.decode(before.body), "state": current.sale.state.value})

    def held(self, ask: ListHeld) -> None:
        """Which quotes hold points."""
        ask.reply.set_result(replies.held_reply(self._ledger.holds(), self._clock.now_s()))

    def _tell(self, current: Sale) -> None:
        quote_id = current.offer.quote_id if current.offer else None
        self._outside.tell(
            "sale", {"sale_id": current.id, "state": current.state.value, "quote_id": quote_id}
        )

    def tell_waiting_card(self) -> None:
        """More is known of a card that waits for its sale."""
        if self.waiting_card() is not None:
            self._tell_card()

    def _tell_card(self) -> None:
        """A card was read: whose, as far as it is known here, and for which sale."""
        current = self._last_touched()
        waits = self._scanned[0] if self._scanned else None
        holder = waits or (current.sale.cart.holder if current and current.sale.cart else None)
        if holder is None:
            return
        sale_id = current.sale.id if current is not None and waits is None else None
        customer = self._cards.customer(holder, "")
        self._outside.tell("card", {"card": holder.masked, "sale_id": sale_id, "found": customer is not None})
        if waits is not None and self.in_force is not None:
            shop_now = wall_clock(self.in_force.local(self._clock.now_s()))
            here = sum(parcel.points for parcel in customer.live(shop_now)) if customer else None
            self._display.card(waits.masked, here)

    # ----------------------------------------------------------------- for the cashier's page

    def in_hand(self) -> list[OpenSale]:
        """The open sales, the one last touched first."""
        return list(reversed(self._open.values()))

    def waiting_card(self) -> Holder | None:
        """A card that was read and waits for its sale."""
        if self._scanned is None or self._clock.now_s() - self._scanned[1] > CARD_WAITS_S:
            return None
        return self._scanned[0]

    def slip_waits(self, sale_id: str) -> bool:
        """Does its slip wait for the printer?"""
        return sale_id in self._waits

    def last_paid(self) -> Paid | None:
        """The sale that was paid last, in this life of the program or before."""
        if self._last is None:
            for one in self._ledger.sales(1):
                entry, paper = one.receipt.entry, document.read_any(one.receipt.document)
                if isinstance(paper, document.SaleDocument):
                    ident = f"{entry.id}-{ledger.fingerprint(one.receipt.head)}"
                    self._last = Paid(Job(entry.epoch, entry.seq, one.id), ident, paper.result.pay)
        return self._last

    def reply_of(self, current: OpenSale) -> dict[str, Any]:
        """How a sale in hand stands, as the cash program would be answered."""
        return self._sale_reply(current)

    def redeemable(self, current: OpenSale) -> int:
        """How much of it (minor units) could be paid with the points that are here; nothing is promised."""
        cart = current.sale.cart
        if cart is None or not cart.lines or self._guard.see(cart, current.sale.id).customer is None:
            return 0
        most = replace(current.sale, cart=msgspec.structs.replace(cart, redeem="max"))
        try:
            quote = msgspec.json.decode(self._offer(most, current.in_force).quote)
        except Refused:
            return 0
        return int(quote["redeemed"])

    def _sale_reply(self, current: OpenSale) -> dict[str, Any]:
        cart = current.sale.cart
        holder = cart.holder if cart else None
        customer, over = self._guard.see(cart, current.sale.id)
        return replies.sale_reply(
            current.sale,
            current.in_force,
            customer,
            over=over,
            unknown=holder is not None and self._cards.is_unknown(holder),
            more_elsewhere=customer is not None and self._wants_more(current, customer),
            online=self._health.online,
            disk_full=self._health.has("disk_full"),
        )

    def _wants_more(self, current: OpenSale, customer: pricing.Customer) -> bool:
        """Would this quote spend points that do not lie here? (One that the disk remembers does not say.)"""
        cart, offer = current.sale.cart, current.sale.offer
        if cart is None or offer is None or offer.receipt.redeem is None:
            return False
        return self._open.get(current.sale.id) is current and self._missing(current, cart, customer) > 0

    def _missing(self, current: OpenSale, cart: Cart, customer: pricing.Customer) -> int:
        opened_s = current.sale.opened_s
        return pricing.missing(current.sale.id, self._till, cart, opened_s, customer, current.in_force)

    def _in_hand(self, sale_id: str) -> OpenSale:
        """The sale as it stands: in memory, held on disk, committed on disk, or new."""
        current = self._open.get(sale_id)
        if current is not None:
            return current
        hold = self._ledger.hold(sale_id)
        if hold is not None:
            held = Sale(
                sale_id, State.QUOTED, hold.offer.cart, hold.opened_s, hold.offer, touched_s=hold.at_s
            )
            receipt = hold.offer.receipt
            return OpenSale(held, self.in_force or without_settings(receipt.store, receipt.at))
        entry = self._ledger.sale_entry(sale_id)
        if entry is not None:
            sold = Sale(sale_id, self._committed_state(entry), entry=entry.id)
            return OpenSale(sold, self.in_force or without_settings("", NO_CLOCK))
        if self.in_force is None:
            raise Problem(503, "no_settings", NO_SETTINGS)
        return OpenSale(Sale(sale_id), self.in_force)

    def _committed_state(self, entry: Entry) -> State:
        if self._ledger.corrected(entry.id):
            return State.CLOSED
        printed = self._ledger.print_outcome(entry.epoch, entry.seq) in ("printed", "waived")
        return State.CLOSED if printed else State.COMMITTED

    def _keep(self, current: OpenSale) -> None:
        """Remember an open sale as the one last touched. One too many lets the oldest go.

        A quote that holds points lies in ledger.db and comes back when it is asked for;
        any other has promised nothing, and its cart can be sent again.
        """
        self._open[current.sale.id] = current
        self._open.move_to_end(current.sale.id)
        if len(self._open) > sale.OPEN_SALES_MAX:
            others = [other for other in self._open.values() if other is not current]
            oldest = next((o for o in others if o.sale.state is not State.WAITING), others[0])
            self._finish(oldest)  # where all of them wait, this one gets its price before its second is over
            self._forget(oldest.sale.id)

    def _forget(self, sale_id: str) -> None:
        self._open.pop(sale_id, None)
        self._in_time.discard(sale_id)


def _types(tenders: Sequence[TenderBody | str]) -> tuple[str, ...]:
    return tuple(one if isinstance(one, str) else one.type for one in tenders)


def _sum(tenders: Sequence[TenderBody | str]) -> int:
    """What tenders come to (minor units); one without an amount counts nothing."""
    return sum(one.amount for one in tenders if isinstance(one, TenderBody))


def _outcome(event: OutputEvent) -> str:
    match event:
        case OutputComplete():
            return "printed"
        case OutputFailed():
            return "failed"
    return "unknown"


def _line(line: LineBody, in_force: InForce) -> SoldLine:
    if (line.sku is None) == (line.barcode is None):
        raise Problem(422, "bad_line", N_("line {id}: give either sku or barcode", id=line.id))
    sku = line.sku
    if line.barcode is not None:
        offers = in_force.catalog.skus_by_barcode(line.barcode)
        if len(offers) > 1:
            text = N_("line {id}: this barcode belongs to several goods; send the sku", id=line.id)
            raise Problem(409, "barcode_ambiguous", text, {"skus": list(offers)})
        # Goods that our catalog lacks are sold all the same; rules by category just do not see them.
        sku = offers[0] if offers else line.barcode
    if in_force.catalog.article(str(sku)) is None and looks_like_payment(str(sku)):
        sku = NOT_KEPT  # a bank card was scanned as goods; the sale goes on, the number does not
    return SoldLine(line.id, str(sku), line.price, line.quantity)


def _sha256(asked: msgspec.Struct) -> bytes:
    """What makes a question the same question."""
    return hashlib.sha256(msgspec.json.encode(asked)).digest()
