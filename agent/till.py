"""The till: one loop that owns every sale and is the only writer of ledger.db.

    take an event ──► look up ──► loyalty.sale.step ──► save ──► release the effects

**Rules.** What is written is written before anything is said. A sale in memory moves
to its next state only after the writing effects of the step have succeeded, so a full
disk leaves it where it was. The loop never waits on a socket: what must be asked of
the centre is asked by another thread, and comes back as an event; the sale that waits
has a timer of one second in all.

**Where things are.** The table of states: loyalty/sale.py. What an event carries:
inbox.py. The price: pricing.py. The file: offline/ledger_db.py. What the outside does
for us (sync, look-ups, printer) is `Outside`, put together in main.py.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import msgspec

from agent import health, pricing
from agent.drivers.contracts import (
    DeviceState,
    OutputComplete,
    OutputFailed,
    OutputUnknown,
    ReadFailed,
    ScanData,
)
from agent.drivers.document import Document
from agent.inbox import (
    ApplyAsked,
    Ask,
    ChannelAlarm,
    CommitSale,
    Event,
    GetSale,
    Inbox,
    LineBody,
    LinkChanged,
    ListHeld,
    LoadBatchAsked,
    LookedUp,
    LookupFailed,
    NewInForce,
    PrintSale,
    Problem,
    PutSale,
    RetryNoted,
    SaleBody,
    StatusAsked,
    Stop,
    SyncAsked,
    VoidSale,
)
from agent.offline.engine import InForce
from agent.offline.ledger_db import DiskFull, Hold, Identity, LedgerDb, LedgerFault, Place, Uplink, Written
from agent.offline.snapshot_db import Members
from agent.slip import SlipData, document_lines, layout
from agent.slip_data import as_copy, slip_data
from agent.texts import both, translator
from loyalty import card, ledger, sale
from loyalty.document import SoldLine, Tender, canonical
from loyalty.faults import Refused
from loyalty.ledger import Entry, LotTerms
from loyalty.sale import Cart, Holder, Offer, Sale, State
from loyalty.texts import N_, Text
from loyalty.wire import Member

log = logging.getLogger(__name__)

QUOTE_WAIT_MS = 1_000  # ledger-sync.md §5.4: one second in all
CARD_WAITS_S = 60  # a card scanned before its sale (till.md §3)
MEMBER_FRESH_S = 300  # older than this, a known card is asked about again, without waiting
CARDS_REMEMBERED = 256
JOBS_REMEMBERED = 64


class Outside(Protocol):
    """What other threads do for the till; no call blocks."""

    def wake_sync(self, *, force: bool = False, done: Callable[[], None] | None = None) -> None:
        """There is something to send."""

    def lookup(self, card_key: int) -> None:
        """Ask the centre whose card this is; LookedUp or LookupFailed follows."""

    def learn(self, card_key: int, member: Member) -> None:
        """Keep what a look-up answered."""

    def print_slip(self, job_id: str, document: Document) -> None:
        """Print; an output event follows."""

    @property
    def printer_columns(self) -> int | None:
        """Columns of our own printer; None when there is none."""


@dataclass(slots=True)
class OpenSale:
    """A sale in hand, with the rules it was opened under and whoever waits for its quote."""

    sale: Sale
    in_force: InForce
    waiting: list[PutSale] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Job:
    """A slip on its way to the printer."""

    sale_id: str
    epoch: int
    seq: int


class Till:
    """See the top of this file. `wall_s` is the box's clock (UTC seconds), `monotonic_ms` never jumps."""

    def __init__(
        self,
        *,
        identity: Identity,
        chain_key: bytes,
        ledger_db: LedgerDb,
        members: Members,
        in_force: InForce | None,
        inbox: Inbox,
        outside: Outside,
        wall_s: Callable[[], int],
        monotonic_ms: Callable[[], int],
        language: str,
        version: str,
    ) -> None:
        self._identity = identity
        self._chain_key = chain_key
        self._ledger = ledger_db
        self._members = members
        self._in_force = in_force
        self._inbox = inbox
        self._outside = outside
        self._wall_s = wall_s
        self._monotonic_ms = monotonic_ms
        self._translate = translator(language)
        self._open: OrderedDict[str, OpenSale] = OrderedDict()  # the sale last touched stands last
        self._timers: dict[str, int] = {}  # sale id -> monotonic ms
        self._heard: OrderedDict[int, tuple[Member | None, int]] = OrderedDict()
        self._coming: dict[int, int] = {}  # card -> until when (monotonic ms) an answer is worth waiting for
        self._scanned: tuple[Holder, int] | None = None  # a card that waits for its sale, since
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._floor_s = ledger_db.latest_at_s()
        self._health = health.Health(version)

    # ------------------------------------------------------------------------ the loop

    def run(self) -> None:
        """Take events until Stop."""
        while True:
            event = self._inbox.take(self._next_timer_s())
            if isinstance(event, Stop):
                return
            if event is not None:
                self.handle(event)
            self._ring_timers()

    def handle(self, event: Event) -> None:
        """One event, to its end. A disk or ledger that refuses stops this event, never the loop."""
        try:
            self._dispatch(event)
        except LedgerFault as fault:
            log.error("%s: %s", type(event).__name__, fault)
            code, text = ("disk_full", DISK_FULL) if isinstance(fault, DiskFull) else ("ledger", fault.text)
            self._health.alert(code, text, self._now_s())
            reply = getattr(event, "reply", None)
            if reply is not None and not reply.done():
                reply.set_exception(fault)

    def _dispatch(self, event: Event) -> None:
        match event:
            case PutSale():
                self._answer(event, self._put)
            case CommitSale():
                self._answer(event, self._commit)
            case VoidSale():
                self._answer(event, self._void)
            case PrintSale():
                self._answer(event, self._print_again)
            case GetSale():
                self._answer(event, self._get)
            case ListHeld():
                self._answer(event, self._list_held)
            case StatusAsked():
                self._answer(event, self._status)
            case SyncAsked():
                done = partial(event.reply.set_result, {})
                self._outside.wake_sync(force=True, done=done)
            case LoadBatchAsked():
                self._load_batch(event)
            case ApplyAsked():
                self._apply(event)
            case RetryNoted(attempt):
                self._ledger.note_retry(attempt)
            case LinkChanged(word, detail):
                self._health.link(word, detail, self._now_s())
            case LookedUp(card_key, member):
                self._looked_up(card_key, member)
            case LookupFailed(card_key):
                self._arrived(card_key)
            case NewInForce():
                self._new_in_force(event)
            case ChannelAlarm(channel, word, detail):
                self._health.channel(channel, word, detail)
            case ScanData():
                self._scan(event)
            case ReadFailed(device, reason):
                self._health.alert("read_failed", reason, self._now_s())
                log.info("device %s: a scan could not be read", device)
            case DeviceState():
                self._health.device(event)
            case OutputComplete() | OutputFailed() | OutputUnknown():
                self._output(event)

    def _answer(self, ask: Ask, handler: Callable[[Any], None]) -> None:
        """Run a handler; whatever it refuses goes back to whoever asked."""
        try:
            handler(ask)
        except Problem as problem:
            ask.reply.set_exception(problem)
        except sale.Refusal as refusal:
            ask.reply.set_exception(Problem(409, refusal.code, refusal.text))
        except Refused as refused:
            faults = [{"path": fault.path, **both(fault.text)} for fault in refused.faults]
            text = N_("the receipt cannot be priced: {first}", first=refused.faults[0].text)
            ask.reply.set_exception(Problem(422, "receipt_refused", text, {"faults": faults}))
        except DiskFull:
            self._health.alert("disk_full", DISK_FULL, self._now_s())
            ask.reply.set_exception(Problem(507, "disk_full", DISK_FULL))
        except LedgerFault as fault:
            log.error("%s", fault)
            text = N_("the till's ledger refuses: {why}; call support, sell on without cards", why=fault.text)
            ask.reply.set_exception(Problem(500, "ledger_fault", text))

    def _now_s(self) -> int:
        """UTC seconds: the box's clock, but never below what was written or heard before (§5.16)."""
        self._floor_s = max(self._floor_s, self._wall_s())
        return self._floor_s

    def _next_timer_s(self) -> float | None:
        if not self._timers:
            return None
        return max(0, min(self._timers.values()) - self._monotonic_ms()) / 1000

    def _ring_timers(self) -> None:
        now_ms = self._monotonic_ms()
        for sale_id in [sale_id for sale_id, at_ms in self._timers.items() if at_ms <= now_ms]:
            del self._timers[sale_id]
            self._finish_waiting(partial(_is_sale, sale_id))
        self._coming = {key: until_ms for key, until_ms in self._coming.items() if until_ms > now_ms}

    # ------------------------------------------------------------------- cart and quote

    def _put(self, ask: PutSale) -> None:
        current = self._sale_in_hand(ask.sale_id)
        cart = self._cart(ask.body, current)
        changed, effects = sale.step(current.sale, sale.CartChanged(cart, self._now_s()))
        self._carry_out(current, changed, effects)
        self._keep(current)
        self._quote(current, ask)

    def _quote(self, current: OpenSale, ask: PutSale) -> None:
        if current.sale.offer is not None and current.sale.state is State.QUOTED:
            ask.reply.set_result(self._sale_reply(current))
            return
        cart = current.sale.cart
        wait = self._ask_centre(cart.holder if cart else None)
        event = sale.QuoteAsked(self._offer(current), wait)
        current.waiting.append(ask)
        try:
            self._advance(current, event)
        except BaseException:
            current.waiting.remove(ask)
            raise

    def _advance(self, current: OpenSale, event: sale.QuoteAsked | sale.Answered) -> None:
        """To a quote (or to WAITING). Without room for a hold: no points, but a price (§9, disk full)."""
        priced, effects = sale.step(current.sale, event)
        try:
            self._carry_out(current, priced, effects)
        except DiskFull:
            if current.sale.cart is None or current.sale.cart.redeem is None:
                raise
            self._health.alert("disk_full", DISK_FULL, self._now_s())
            cart = msgspec.structs.replace(current.sale.cart, redeem=None)
            current.sale = replace(current.sale, cart=cart)
            self._advance(current, replace(event, offer=self._offer(current)))

    def _finish_waiting(self, which: Callable[[OpenSale], bool]) -> None:
        """Price the waiting sales with what is held now, and answer whoever waited."""
        for current in [o for o in self._open.values() if o.sale.state is State.WAITING and which(o)]:
            self._timers.pop(current.sale.id, None)
            asks = list(current.waiting)
            try:
                self._advance(current, sale.Answered(self._offer(current)))
            except (Refused, LedgerFault) as error:
                current.waiting.clear()
                for ask in asks:
                    self._answer(ask, partial(_raise, error))

    def _carry_out(self, current: OpenSale, after: Sale, effects: list[sale.Effect]) -> None:
        """Do the effects of a step that writes no entry; the sale moves on when the writing is done."""
        for effect in effects:
            match effect:
                case sale.SaveHold(offer):
                    hold = Hold(after.id, _cart_sha256(offer.cart), self._now_s(), after.opened_s, offer)
                    self._ledger.save_hold(hold)
                    self._health.clear("disk_full")
                case sale.ReleaseHold():
                    self._ledger.release_hold(after.id)
        current.sale = after
        for effect in effects:
            match effect:
                case sale.StartTimer():
                    self._timers[after.id] = self._monotonic_ms() + QUOTE_WAIT_MS
                case sale.Reply():
                    for ask in current.waiting:
                        ask.reply.set_result(self._sale_reply(current))
                    current.waiting.clear()

    def _offer(self, current: OpenSale) -> Offer:
        cart = current.sale.cart
        if cart is None:
            raise LedgerFault(N_("sale {id} has no cart", id=current.sale.id))
        customer = self._customer(cart.holder, current.sale.id) if cart.holder else None
        return pricing.make_offer(
            current.sale.id, self._identity.till, cart, current.sale.opened_s, customer, current.in_force
        )

    def _cart(self, body: SaleBody, current: OpenSale) -> Cart:
        """The cart in a request. Raises Problem where a code in it cannot be used."""
        if body.certificates:
            raise Problem(422, "no_certificates", NO_CERTIFICATES)
        if body.card is msgspec.UNSET:
            holder = current.sale.cart.holder if current.sale.cart else self._take_scanned()
        elif body.card is None:
            holder = None
        else:
            holder = self._identify(str(body.card))
        return Cart(
            lines=tuple(self._line(line, current.in_force) for line in body.lines),
            holder=holder,
            coupons=body.coupons,
            tenders=tuple(tender.type for tender in body.tenders),
            redeem=body.redeem,
            operator=body.operator,
        )

    def _line(self, line: LineBody, in_force: InForce) -> SoldLine:
        if (line.sku is None) == (line.barcode is None):
            raise Problem(422, "bad_line", N_("line {id}: give either sku or barcode", id=line.id))
        sku = line.sku
        if line.barcode is not None:
            offers = in_force.catalog.skus_by_barcode(line.barcode)
            if len(offers) > 1:
                text = N_("line {id}: this barcode belongs to several goods; send the sku", id=line.id)
                raise Problem(422, "barcode_ambiguous", text, {"skus": list(offers)})
            # Goods that our catalog lacks are sold all the same; rules by category just do not see them.
            sku = offers[0] if offers else line.barcode
        return SoldLine(line.id, str(sku), line.price, line.quantity)

    # ------------------------------------------------------------------ cards and members

    def _identify(self, text: str) -> Holder:
        """The card in what a cash program sent, wherever it was read. Raises Problem."""
        in_force = self._rules()
        found = card.read(text, "barcode", in_force.templates)
        if not isinstance(found, card.Card | card.PaymentCard):
            keyed = card.read(text, "keyed", in_force.templates)
            found = keyed if isinstance(keyed, card.Card) else found
        match found:
            case card.Card():
                return self._holder(found)
            case card.PaymentCard():
                raise Problem(422, "payment_card", PAYMENT_CARD)
            case card.ReadError(reason):
                raise Problem(422, "card_unreadable", reason)
            case card.Unknown(reason):
                raise Problem(422, "card_unknown", reason)
            case _:
                raise Problem(422, "not_a_card", N_("this is not a card; send it among lines or coupons"))

    def _holder(self, found: card.Card) -> Holder:
        key = card.card_key(self._chain_key, found.kind, found.number)
        return Holder(key, found.masked, found.kind, found.card_kind, found.auto_register)

    def _scan(self, scan: ScanData) -> None:
        """What a scanner of ours read: a card goes to the sale last touched, else it waits a minute."""
        if self._in_force is None:
            self._health.alert("no_settings", NO_SETTINGS, self._now_s())
            return
        found = card.read(scan.data, scan.source, self._in_force.templates, scan.symbology)
        match found:
            case card.Card():
                self._health.clear("card")
                self._attach(self._holder(found))
            case card.PaymentCard():
                log.info("device %s: a payment card was rejected", scan.device)
                self._health.alert("card", PAYMENT_CARD, self._now_s())
            case card.ReadError(reason) | card.Unknown(reason):
                self._health.alert("card", reason, self._now_s())
            case card.Coupon():
                self._add_coupon(found.written)
            case card.ProductCode():
                log.debug("device %s: goods; the cash program sells them", scan.device)

    def _attach(self, holder: Holder) -> None:
        current = self._last_touched()
        if current is None:
            self._scanned = (holder, self._now_s())
            self._ask_centre(holder)
            return
        self._change(current, holder=holder)

    def _add_coupon(self, written: str) -> None:
        current = self._last_touched()
        if current is not None and current.sale.cart is not None:
            self._change(current, coupons=tuple(sorted({*current.sale.cart.coupons, written})))

    def _change(self, current: OpenSale, **changes: Any) -> None:
        """Change the cart from the till's side; whoever waits for a quote gets the new one."""
        cart = msgspec.structs.replace(current.sale.cart or Cart(), **changes)
        changed, effects = sale.step(current.sale, sale.CartChanged(cart, self._now_s()))
        self._carry_out(current, changed, effects)
        asks, current.waiting = current.waiting, []
        for ask in asks:
            self._answer(ask, partial(self._quote, current))
        if not asks:
            self._ask_centre(cart.holder)

    def _last_touched(self) -> OpenSale | None:
        return next(reversed(self._open.values()), None)

    def _take_scanned(self) -> Holder | None:
        scanned, self._scanned = self._scanned, None
        if scanned is None or self._now_s() - scanned[1] > CARD_WAITS_S:
            return None
        return scanned[0]

    def _known(self, card_key: int) -> tuple[Member, int] | None:
        """The member of a card and when the till heard it: just now, or from snapshot.db."""
        heard = self._heard.get(card_key)
        if heard is not None:
            return (heard[0], heard[1]) if heard[0] is not None else None
        stored = self._members.by_card(card_key)
        return (stored.member, stored.heard_s) if stored else None

    def _customer(self, holder: Holder, sale_id: str) -> pricing.Customer | None:
        known = self._known(holder.card_key)
        if known is None:
            return None
        member = known[0]
        epoch = self._ledger.uplink().epoch
        own = self._ledger.own_change(member.account, epoch, member.included_seq)
        parcels = self._ledger.parcels(member.account, but_for=sale_id)
        return pricing.Customer(member, parcels, member.balance + own, member.as_of_ms // 1000)

    def _ask_centre(self, holder: Holder | None) -> bool:
        """Ask about a card we do not know, or have not heard of lately. Should a quote wait for the answer?

        It should while the answer (or the points that come with it) is less than a
        second away; a card that is known already never holds up the queue.
        """
        if holder is None or not self._health.online:
            return False
        key, now_ms = holder.card_key, self._monotonic_ms()
        known = self._known(key)
        if self._coming.get(key, now_ms) > now_ms:
            return True
        if key in self._heard and self._now_s() - self._heard[key][1] < MEMBER_FRESH_S:
            return False
        if known is None:
            self._coming[key] = now_ms + QUOTE_WAIT_MS
        elif self._now_s() - known[1] < MEMBER_FRESH_S:
            return False
        self._outside.lookup(key)
        return known is None

    def _looked_up(self, card_key: int, member: Member | None) -> None:
        self._heard[card_key] = (member, self._now_s())
        self._heard.move_to_end(card_key)
        while len(self._heard) > CARDS_REMEMBERED:
            self._heard.popitem(last=False)
        if member is not None:
            self._outside.learn(card_key, member)
            if member.balance > 0 and not self._ledger.parcels(member.account):
                # The centre has just placed points here; they come by the downlink, within our second.
                self._outside.wake_sync(force=True)
                return
        self._arrived(card_key)

    def _arrived(self, card_key: int) -> None:
        """Nothing more is to be waited for with this card."""
        self._coming.pop(card_key, None)
        self._finish_waiting(lambda current: _card_key(current) == card_key)

    # ------------------------------------------------------------------- commit and void

    def _commit(self, ask: CommitSale) -> None:
        asked = _body_sha256(ask.body)
        if self._repeated(ask, "commit", asked):
            return
        current = self._sale_in_hand(ask.sale_id)
        body = ask.body
        if body.slip not in ("print", "lines"):
            raise Problem(422, "bad_slip", N_("slip is print or lines, not {got}", got=body.slip))
        tenders = tuple(Tender(tender.type, tender.amount) for tender in body.tenders)
        paid = sale.Paid(body.quote_id, tenders, body.fiscal_id, body.paid_at)
        committed, _ = sale.step(current.sale, paid)
        offer = current.sale.offer
        assert offer is not None
        prints = body.slip == "print" and self._outside.printer_columns is not None
        now_s = self._now_s()
        slips: list[SlipData] = []

        def answer(written: Written) -> bytes:
            slips.append(self._slip(offer, written, now_s, current.in_force))
            return msgspec.json.encode(self._commit_reply(committed, offer, written, slips[0], prints))

        written, said = self._ledger.append(
            self._identity.till,
            partial(self._sale_entry, offer, paid, now_s),
            sale_id=ask.sale_id,
            verb="commit",
            body_sha256=asked,
            at_s=now_s,
            answer=answer,
            print_waived=not prints,
        )
        self._forget(ask.sale_id)
        self._health.clear("disk_full")
        ask.reply.set_result(msgspec.json.decode(said))
        if prints:
            self._print(written.entry.id, Job(ask.sale_id, written.entry.epoch, written.entry.seq), slips[0])
        self._outside.wake_sync()

    def _sale_entry(self, offer: Offer, paid: sale.Paid, now_s: int, place: Place) -> tuple[Entry, bytes]:
        body = canonical(pricing.sale_document(offer, paid))
        entry = Entry(
            till=place.till,
            epoch=place.epoch,
            seq=place.seq,
            at_s=now_s,
            kind="SALE",
            account=offer.customer.account if offer.customer else None,
            postings=ledger.sale_postings(place.till, place.epoch, place.seq, offer.spends, offer.earns),
            document_sha256=hashlib.sha256(body).digest(),
            flags=() if self._health.online else (ledger.FLAG_OFFLINE,),
        )
        return entry, body

    def _void(self, ask: VoidSale) -> None:
        asked = _body_sha256(ask.body)
        if self._repeated(ask, "void", asked):
            return
        current = self._sale_in_hand(ask.sale_id)
        if current.sale.state is State.NONE:
            # Nothing of it ever reached us, so nothing is held: the cash program may go on.
            ask.reply.set_result({"sale_id": ask.sale_id, "state": State.CLOSED.value})
            return
        closed, effects = sale.step(current.sale, sale.Voided(ask.body.reason))
        take_back = next((effect for effect in effects if isinstance(effect, sale.AppendVoid)), None)
        reply = {"sale_id": ask.sale_id, "state": closed.state.value, "entry": None}
        if take_back is None:
            self._carry_out(current, closed, effects)
            for waiting in current.waiting:
                waiting.reply.set_exception(Problem(409, "voided", N_("the sale was voided meanwhile")))
        else:
            reply = self._append_void(ask, asked, reply)
            self._outside.wake_sync()
        self._forget(ask.sale_id)
        ask.reply.set_result(reply)

    def _append_void(self, ask: VoidSale, asked: bytes, reply: dict[str, Any]) -> dict[str, Any]:
        sold = self._ledger.sale_entry(ask.sale_id)
        if sold is None or self._ledger.corrected(sold.id):
            raise Problem(409, "already_void", N_("this sale was voided already"))
        now_s = self._now_s()
        _, said = self._ledger.append(
            self._identity.till,
            partial(self._void_entry, sold, now_s),
            sale_id=ask.sale_id,
            verb="void",
            body_sha256=asked,
            at_s=now_s,
            answer=lambda written: msgspec.json.encode({**reply, "entry": written.entry.id}),
        )
        decoded: dict[str, Any] = msgspec.json.decode(said)
        return decoded

    def _void_entry(self, sold: Entry, now_s: int, place: Place) -> tuple[Entry, None]:
        account = sold.account
        left = {p.lot: p.points for p in self._ledger.parcels(account)} if account is not None else {}
        return Entry(
            till=place.till,
            epoch=place.epoch,
            seq=place.seq,
            at_s=now_s,
            kind="VOID",
            account=account,
            postings=ledger.void_postings(
                sold, lambda lot: left.get(lot, 0), lambda lot: self._terms(sold, lot)
            ),
            ref=sold.id,
        ), None

    def _terms(self, sold: Entry, lot: str) -> LotTerms:
        parcel = self._ledger.parcel(sold.account, lot) if sold.account is not None else None
        if parcel is None:
            raise LedgerFault(
                N_("entry {id} spent lot {lot}, and this till does not know its terms", id=sold.id, lot=lot)
            )
        return LotTerms(parcel.active_from, parcel.expires_at, parcel.rule)

    def _repeated(self, ask: CommitSale | VoidSale | PrintSale, verb: str, asked: bytes) -> bool:
        """Was this asked before? The same question gets the same answer, another one a refusal."""
        before = self._ledger.answer(ask.sale_id, verb)
        if before is None:
            return False
        if before.body_sha256 != asked:
            text = N_("this was done already, and asked otherwise then; nothing was done now")
            raise Problem(409, f"{verb}_differs", text, msgspec.json.decode(before.body))
        ask.reply.set_result(msgspec.json.decode(before.body))
        return True

    # ---------------------------------------------------------------------------- slips

    def _slip(self, offer: Offer, written: Written, now_s: int, in_force: InForce) -> SlipData:
        """Called inside the sale's transaction, so its own entry counts already."""
        holder = offer.cart.holder
        customer = self._customer(holder, offer.receipt.id) if holder and offer.customer else None
        fresh = customer is not None and self._health.online and now_s - customer.as_of_s < MEMBER_FRESH_S
        return slip_data(
            offer,
            in_force,
            ident=written.ident,
            now_s=now_s,
            customer=customer,
            fresh=fresh,
        )

    def _print(self, job_id: str, job: Job, data: SlipData) -> None:
        columns = self._outside.printer_columns
        assert columns is not None
        self._jobs[job_id] = job
        while len(self._jobs) > JOBS_REMEMBERED:
            self._jobs.popitem(last=False)
        self._outside.print_slip(job_id, layout(data, columns, self._translate))

    def _print_again(self, ask: PrintSale) -> None:
        verb = f"print:{ask.body.print_id}"
        asked = _body_sha256(ask.body)
        if self._repeated(ask, verb, asked):
            return
        sold = self._ledger.sale_entry(ask.sale_id)
        before = self._ledger.answer(ask.sale_id, "commit")
        if sold is None or before is None:
            raise Problem(404, "unknown_sale", N_("there is no committed sale {id}", id=ask.sale_id))
        if self._outside.printer_columns is None:
            raise Problem(409, "no_printer", N_("this till has no printer of its own; ask for slip lines"))
        data = msgspec.convert(msgspec.json.decode(before.body)["slip"]["data"], SlipData)
        reply = {"sale_id": ask.sale_id, "print_id": ask.body.print_id, "copy": True}
        self._ledger.remember(ask.sale_id, verb, asked, self._now_s(), msgspec.json.encode(reply))
        job = Job(ask.sale_id, sold.epoch, sold.seq)
        self._print(f"{sold.id}/{ask.body.print_id}", job, as_copy(data))
        ask.reply.set_result(reply)

    def _output(self, event: OutputComplete | OutputFailed | OutputUnknown) -> None:
        job = self._jobs.pop(event.job_id, None)
        if job is None:
            return
        match event:
            case OutputComplete():
                outcome: sale.Event = sale.Printed()
            case OutputFailed(_, _, reason):
                outcome = sale.PrintTrouble(maybe=False, reason=reason)
            case OutputUnknown(_, _, reason):
                outcome = sale.PrintTrouble(maybe=True, reason=reason)
        _, effects = sale.step(self._sale_in_hand(job.sale_id).sale, outcome)
        for effect in effects:
            match effect:
                case sale.NotePrint(word):
                    self._ledger.note_print(job.epoch, job.seq, self._now_s(), word)
                case sale.Alert(text):
                    self._health.alert("print", text, self._now_s())
        if isinstance(event, OutputComplete):
            self._health.clear("print")

    # --------------------------------------------------------------------- sales in hand

    def _sale_in_hand(self, sale_id: str) -> OpenSale:
        """The sale as it stands: in memory, held on disk, committed on disk, or new."""
        current = self._open.get(sale_id)
        if current is not None:
            return current
        hold = self._ledger.hold(sale_id)
        if hold is not None:
            held = Sale(sale_id, State.QUOTED, hold.offer.cart, hold.opened_s, hold.offer)
            return OpenSale(held, self._rules())
        entry = self._ledger.sale_entry(sale_id)
        if entry is not None:
            return OpenSale(Sale(sale_id, self._committed_state(entry), entry=entry.id), self._rules())
        return OpenSale(Sale(sale_id), self._rules())

    def _committed_state(self, entry: Entry) -> State:
        if self._ledger.corrected(entry.id):
            return State.CLOSED
        printed = self._ledger.print_outcome(entry.epoch, entry.seq) in ("printed", "waived")
        return State.CLOSED if printed else State.COMMITTED

    def _keep(self, current: OpenSale) -> None:
        """Remember an open sale as the one last touched; one too many lets the oldest without a hold go."""
        self._open[current.sale.id] = current
        self._open.move_to_end(current.sale.id)
        if len(self._open) <= sale.OPEN_SALES_MAX:
            return
        for sale_id, other in self._open.items():
            if other.sale.state is not State.WAITING and sale_id != current.sale.id:
                # A held one can go too: it lies in ledger.db, and comes back when it is asked for.
                del self._open[sale_id]
                return

    def _forget(self, sale_id: str) -> None:
        self._open.pop(sale_id, None)
        self._timers.pop(sale_id, None)

    def _rules(self) -> InForce:
        if self._in_force is None:
            raise Problem(503, "no_settings", NO_SETTINGS)
        return self._in_force

    # ----------------------------------------------------------------------------- sync

    def _load_batch(self, ask: LoadBatchAsked) -> None:
        batch = self._ledger.batch(self._identity.till, ask.limit)
        ask.reply.set_result(self._health.batch_to_send(batch, self._ledger, self._now_s()))

    def _apply(self, ask: ApplyAsked) -> None:
        effect = ask.effect
        before = self._ledger.uplink()
        uplink = Uplink(
            epoch=before.epoch,
            timeline=effect.timeline,
            session=effect.session,
            acked_seq=effect.next_seq - 1,
            durable_seq=effect.durable_seq,
            server_ms=effect.server_ms,
            synced_s=None,
            retry_attempt=0,
        )
        moved = self._ledger.synced(
            self._identity.till,
            uplink=uplink,
            next_seq=effect.next_seq,
            down=effect.down,
            now_s=self._now_s(),
        )
        self._floor_s = max(self._floor_s, effect.server_ms // 1000)
        self._health.synced(effect.server_ms, self._wall_s())
        ask.reply.set_result(moved)
        for card_key in [key for key in self._coming if self._has_parcels(key)]:
            self._arrived(card_key)

    def _has_parcels(self, card_key: int) -> bool:
        known = self._known(card_key)
        return known is not None and bool(self._ledger.parcels(known[0].account))

    def _new_in_force(self, event: NewInForce) -> None:
        self._ledger.note_channel(event.channel, event.version, event.manifest_sha256, self._now_s())
        self._in_force = event.in_force
        event.reply.set_result(True)

    # -------------------------------------------------------------------------- replies

    def _get(self, ask: GetSale) -> None:
        current = self._sale_in_hand(ask.sale_id)
        if current.sale.state is State.NONE:
            raise Problem(404, "unknown_sale", N_("the till does not know sale {id}", id=ask.sale_id))
        before = self._ledger.answer(ask.sale_id, "commit")
        if before is not None:
            reply = msgspec.json.decode(before.body)
            reply["state"] = current.sale.state.value
            ask.reply.set_result(reply)
        else:
            ask.reply.set_result(self._sale_reply(current))

    def _list_held(self, ask: ListHeld) -> None:
        now_s = self._now_s()
        held = [
            {
                "sale_id": hold.sale_id,
                "quote_id": hold.offer.quote_id,
                "pay": hold.offer.pay,
                "points": sum(piece.points for piece in hold.offer.spends),
                "age_s": now_s - hold.at_s,
            }
            for hold in self._ledger.holds()
        ]
        ask.reply.set_result({"sales": held})

    def _status(self, ask: StatusAsked) -> None:
        ask.reply.set_result(
            self._health.report(self._identity, self._ledger, self._in_force, self._now_s(), self._wall_s())
        )

    def _sale_reply(self, current: OpenSale) -> dict[str, Any]:
        cart, offer = current.sale.cart, current.sale.offer
        holder = cart.holder if cart else None
        customer = self._customer(holder, current.sale.id) if holder else None
        return {
            "sale_id": current.sale.id,
            "state": current.sale.state.value,
            "quote_id": offer.quote_id if offer else None,
            "quote": msgspec.json.decode(offer.quote) if offer else None,
            "titles": offer.titles if offer else {},
            "rulebook_seq": offer.rulebook_seq if offer else current.in_force.rulebook_seq,
            "customer": self._customer_reply(holder, customer, current.in_force) if holder else None,
            "messages": self._messages(cart, holder, customer),
        }

    def _customer_reply(
        self, holder: Holder, customer: pricing.Customer | None, in_force: InForce
    ) -> dict[str, Any]:
        reply: dict[str, Any] = {"card": holder.masked, "found": customer is not None}
        if customer is not None:
            reply |= {
                "tier": customer.member.tier,
                "available_here": sum(parcel.points for parcel in customer.parcels),
                "balance": customer.balance,
                "as_of": in_force.local(customer.as_of_s).isoformat(),
                "provisional": not self._health.online,
            }
        return reply

    def _messages(
        self, cart: Cart | None, holder: Holder | None, customer: pricing.Customer | None
    ) -> list[dict[str, str]]:
        """What the cashier should know beside the price."""
        notes: list[tuple[str, Text]] = []
        if holder is not None and customer is None:
            notes.append(("card_not_found", CARD_NOT_FOUND if self._health.online else CARD_NOT_HERE))
        if cart is not None and cart.redeem is not None and customer is not None:
            here = sum(parcel.points for parcel in customer.parcels)
            asked = customer.balance if cart.redeem == "max" else int(cart.redeem)
            if asked > here and customer.balance > here:
                notes.append(("points_elsewhere", POINTS_ELSEWHERE))
        if self._health.has("disk_full"):
            notes.append(("disk_full", DISK_FULL))
        return [{"code": code, **both(text)} for code, text in notes]

    def _commit_reply(
        self, committed: Sale, offer: Offer, written: Written, slip: SlipData, prints: bool
    ) -> dict[str, Any]:
        columns = self._outside.printer_columns or LINES_COLUMNS
        quote = msgspec.json.decode(offer.quote)
        return {
            "sale_id": committed.id,
            "state": committed.state.value if prints else State.CLOSED.value,
            "quote_id": offer.quote_id,
            "entry": written.entry.id,
            "ident": written.ident,
            "pay": offer.pay,
            "redeemed": quote["redeemed"],
            "earned": quote["earned_total"],
            "rewards": quote["rewards"],
            "slip": {
                "mode": "print" if prints else "lines",
                "lines": document_lines(layout(slip, columns, self._translate), columns),
                "data": msgspec.to_builtins(slip),
            },
        }


LINES_COLUMNS = 48

DISK_FULL = N_("the till's disk is full: points cannot be spent; free some room, nothing is lost")
PAYMENT_CARD = N_("this is a bank card; it was not kept; take the shop's card")
NO_SETTINGS = N_("the till has no settings yet: connect it to the centre once (kopilka-agent sync now)")
NO_CERTIFICATES = N_("this version takes no gift certificates; sell without them")
CARD_NOT_FOUND = N_("the card is not found")
CARD_NOT_HERE = N_("the card is not known here and there is no link; sell without it or try later")
POINTS_ELSEWHERE = N_(
    "some of the points lie at other tills or at the centre; shown is what can be spent here"
)


def _card_key(current: OpenSale) -> int | None:
    holder = current.sale.cart.holder if current.sale.cart else None
    return holder.card_key if holder else None


def _is_sale(sale_id: str, current: OpenSale) -> bool:
    return current.sale.id == sale_id


def _cart_sha256(cart: Cart) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode(cart)).digest()


def _body_sha256(body: msgspec.Struct) -> bytes:
    return hashlib.sha256(msgspec.json.encode(body)).digest()


def _raise(error: Exception, _: object) -> None:
    raise error
