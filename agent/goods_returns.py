"""Goods that come back at this till (till.md §4, ledger-sync.md §5.12).

    POST ──► whose sale? ──► check ──► its rules of then ──► price again ──► write ──► answer, slip
             │ own ledger                │ in force still
             │ hub (≤ 300 ms)            │ compiled before
             │ centre (≤ 1 s in all)     │ from snapshot.db, on a thread of its own
             └ nowhere: pending          └ not here: pending

**Pending.** Goods on the counter are a fact. Where their receipt cannot be had, or cannot be priced as
it was, the return is written down with what came back and of which receipt; the slip says that the
office will return the points, and the office does (central/ledger/settling.py).

**The till's loop never waits.** A return that needs somebody else's word lies in `_in_hand` with a
deadline; the word comes back as an event. The price is computed at the end, from what the ledger says
then, so two returns of one sale cannot give the same points.

Whose sale it is, and what others took back of it, receipts.py finds out.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from agent import pricing
from agent.cards import Cards
from agent.clock import Clock
from agent.counter import NO_CLOCK, Counter, Job
from agent.drivers.document import document_lines
from agent.health import Health
from agent.inbox import (
    Ask,
    HubReceiptFound,
    PastRulesReady,
    Problem,
    ReceiptFound,
    ReturnBody,
    ReturnGoods,
)
from agent.offline.engine import InForce, PastRules, wall_clock, without_settings
from agent.offline.ledger_db import LedgerDb
from agent.offline.records import LedgerFault, Place, Written, return_key
from agent.outside import Outside
from agent.receipts import Receipts, Search, Sold, left_of
from agent.replies import LINES_COLUMNS
from agent.slip import ReturnData, Translate, layout_return
from agent.texts import both
from loyalty import document, ledger, repricing
from loyalty.amounts import Quantity
from loyalty.document import DocumentError, ReturnDocument, ReturnedLine, SaleDocument
from loyalty.faults import Fault, Refused, at_item, at_key, did_you_mean
from loyalty.index import Compiled
from loyalty.ledger import Entry, LedgerError, LotTerms, Posting
from loyalty.manifest import CATALOG, RULEBOOK
from loyalty.protocol import goods
from loyalty.returns import Returned, give_back
from loyalty.texts import N_

log = logging.getLogger(__name__)

RULES_WAIT_MS = 6_000  # a large rulebook on a slow box; the cash program waits for ten seconds
COMPILED_KEPT = 2

DIFFERS = N_("this was done already, and asked otherwise then; nothing was done now")
PRICE_DIFFERS = N_(
    "a receipt does not come to its old price with the rules that lie here; the office settles its return"
)


@dataclass(slots=True)
class _InHand:
    """A return on its way, and whoever waits for its answer."""

    asks: list[ReturnGoods]
    lines: dict[str, int]
    search: Search
    asked_rules: PastRules | None = None
    rules_due_ms: int = 0  # until when they are waited for (monotonic)
    rules: PastRulesReady | None = None

    @property
    def body(self) -> ReturnBody:
        """What was asked; all who wait asked the same."""
        return self.asks[0].body

    @property
    def next_ms(self) -> int:
        """When the next thing is not waited for any more."""
        return self.search.next_ms if self.asked_rules is None else self.rules_due_ms


@dataclass(frozen=True, slots=True)
class _Priced:
    """What a return comes to. `postings` move the points."""

    now: Returned
    postings: tuple[Posting, ...]


class GoodsReturns:
    """The till's thread's. See the top of this file. `refuse(ask, error)` answers with an error."""

    def __init__(
        self,
        *,
        till: str,
        ledger_db: LedgerDb,
        cards: Cards,
        counter: Counter,
        receipts: Receipts,
        outside: Outside,
        health: Health,
        clock: Clock,
        translate: Translate,
        refuse: Callable[[Ask, Exception], None],
    ) -> None:
        self._till = till
        self._ledger = ledger_db
        self._cards = cards
        self._counter = counter
        self._receipts = receipts
        self._outside = outside
        self._health = health
        self._clock = clock
        self._translate = translate
        self._refuse = refuse
        self._in_hand: dict[str, _InHand] = {}
        self._past: OrderedDict[PastRules, Compiled] = OrderedDict()  # the last few that were needed

    # ------------------------------------------------------------------------- what happens

    def take(self, ask: ReturnGoods) -> None:
        """Goods come back. Raises Problem."""
        body = ask.body
        if self._repeated(ask):
            return
        known = self._in_hand.get(body.return_id)
        if known is not None:
            if known.body != body:
                raise Problem(409, "return_differs", DIFFERS)
            known.asks.append(ask)
            return
        lines = _lines(body)
        if (body.sale_id is None) == (body.ref is None):
            raise Problem(422, "bad_return", N_("say which sale: either sale_id or ref"))
        current = _InHand([ask], lines, self._receipts.search(body.sale_id, body.ref))
        self._in_hand[body.return_id] = current
        self._go_on(current)

    def found(self, event: ReceiptFound | HubReceiptFound) -> None:
        """The centre or the store's hub has answered for a receipt."""
        for current in list(self._in_hand.values()):
            if current.search.hear(event):
                self._go_on(current)

    def rules_ready(self, event: PastRulesReady) -> None:
        """Rules of former days are compiled, or do not lie here."""
        if event.compiled is not None:
            self._past[event.asked] = event.compiled
            while len(self._past) > COMPILED_KEPT:
                self._past.popitem(last=False)
        for current in list(self._in_hand.values()):
            if current.asked_rules == event.asked:
                current.rules = event
                self._go_on(current)

    def next_timer_ms(self) -> int | None:
        """When `ring` is due, in monotonic milliseconds."""
        return min((current.next_ms for current in self._in_hand.values()), default=None)

    def ring(self) -> None:
        """What has not come in its time is not waited for: the office settles those returns."""
        now_ms = self._clock.monotonic_ms()
        for current in list(self._in_hand.values()):
            if current.next_ms <= now_ms:
                current.search.look_at_the_clock(now_ms)
                self._go_on(current)

    def _go_on(self, current: _InHand) -> None:
        """As far as it goes now: to an answer, a refusal, or to waiting for somebody's word."""
        try:
            with self._ledger.reading():
                self._try(current)
        except (Problem, Refused, LedgerFault) as error:
            self._in_hand.pop(current.body.return_id, None)
            for ask in current.asks:
                self._refuse(ask, error)

    def _try(self, current: _InHand) -> None:
        sale: Sold | None = None
        priced: _Priced | None = None
        try:
            if self._receipts.awaits(current.search):
                return
            sale = self._receipts.sold(current.search)
            if sale is not None:
                self._check(current, sale)
                compiled = self._compiled(sale.paper) or (current.rules.compiled if current.rules else None)
                if compiled is None and self._await_rules(current, sale.paper):
                    return
                priced = self._price(current, sale, compiled) if compiled is not None else None
        except (LedgerError, DocumentError) as error:
            log.error("a receipt cannot be read, the office settles its return: %s", error)
        self._write(current, sale, priced)

    def _repeated(self, ask: ReturnGoods) -> bool:
        """Was this asked before? The same question gets the same answer, another one a refusal."""
        before = self._ledger.answer(return_key(ask.body.return_id), "return")
        if before is None:
            return False
        said = msgspec.json.decode(before.body)
        if before.body_sha256 != _sha256(ask.body):
            raise Problem(409, "return_differs", DIFFERS, {"answered": said})
        ask.reply.set_result(said)
        return True

    # --------------------------------------------------------------------------- checks

    def _check(self, current: _InHand, sale: Sold) -> None:
        """Can these goods come back of this sale? Raises Problem with every fault and its path."""
        if any(entry.kind == "VOID" for entry, _ in sale.corrections):
            raise Problem(409, "already_void", N_("this sale was voided already"))
        self._check_card(current.body, sale)
        left = left_of(sale.paper, _papers(sale))
        faults: list[Fault] = []
        for path, line_id, quantity in _placed(current.body):
            if line_id not in left:
                hint = did_you_mean(line_id, list(left))
                faults.append(Fault(path, N_("the receipt has no such line; {hint}", hint=hint)))
            elif quantity > left[line_id]:
                text = N_(
                    "returns {quantity} where {left} are left",
                    quantity=Quantity(quantity),
                    left=Quantity(left[line_id]),
                )
                faults.append(Fault(path, text))
        if faults:
            raise _refused(faults)

    def _check_card(self, body: ReturnBody, sale: Sold) -> None:
        in_force = self._counter.in_force
        if body.card is None or in_force is None:
            return
        customer = self._cards.customer(self._cards.identify(body.card, in_force), "")
        if customer is not None and self._ledger.owner(customer.member.account) != sale.owner:
            text = N_("this card is not the one of that sale; return without a card, or take the other one")
            raise Problem(409, "other_account", text)

    # ---------------------------------------------------------------------------- price

    def _compiled(self, paper: SaleDocument) -> Compiled | None:
        """The rules and goods that the receipt names, if they lie here ready for use."""
        in_force = self._counter.in_force
        named = (paper.rulebook_seq, paper.catalog_version)
        if in_force is not None and (in_force.rulebook_seq, in_force.catalog_version) == named:
            return in_force.compiled
        return self._past.get(self._named(paper))

    def _named(self, paper: SaleDocument) -> PastRules:
        channels = self._counter.in_force.settings.channels if self._counter.in_force is not None else {}
        return PastRules(
            channels.get(RULEBOOK), paper.rulebook_seq, channels.get(CATALOG), paper.catalog_version
        )

    def _await_rules(self, current: _InHand, paper: SaleDocument) -> bool:
        """Do they come from snapshot.db, where we ask for them once?"""
        if current.asked_rules is None:
            current.asked_rules = self._named(paper)
            current.rules_due_ms = self._clock.monotonic_ms() + RULES_WAIT_MS
            self._outside.past_rules(current.asked_rules)
        return current.rules is None and self._clock.monotonic_ms() < current.rules_due_ms

    def _price(self, current: _InHand, sale: Sold, compiled: Compiled) -> _Priced | None:
        """What the goods are worth; None where the receipt does not come to its old price here."""
        in_force, now_s = self._in_force(sale), self._clock.now_s()
        local = in_force.local(now_s)
        this = _paper(current, sale.entry.id, local, None, ())
        try:
            pricing = repricing.reprice(compiled, sale.paper)
            *before, now = give_back(pricing, repricing.asked_back([*_papers(sale), this], sale.paper))
        except (repricing.PriceDiffersError, Refused) as error:
            log.error("entry %s cannot be priced again: %s", sale.entry.id, error)
            self._health.alert("return_price", PRICE_DIFFERS, now_s)
            return None
        self._health.clear("return_price")
        account = sale.owner
        if account is None:
            return _Priced(now, ())
        postings = goods.take_goods(
            goods.read_sale(sale.entry),
            self._till,
            before,
            now,
            goods.done_by(entry for entry, _ in sale.corrections),
            held={one.lot: one.loose for one in self._ledger.held(account)},
            shop_now=wall_clock(local),
            terms=goods.terms_of(sale.paper, lambda lot: self._terms(account, lot)),
        )
        return _Priced(now, postings)

    def _terms(self, account: int, lot: str) -> LotTerms | None:
        parcel = self._ledger.parcel(account, lot)
        return LotTerms(parcel.active_from, parcel.expires_at, parcel.rule) if parcel else None

    # ---------------------------------------------------------------------------- write

    def _write(self, current: _InHand, sale: Sold | None, priced: _Priced | None) -> None:
        """One transaction; then the answer, the slip, the sync. `priced` None: the office settles it."""
        body = current.body
        in_force, now_s = self._in_force(sale), self._clock.now_s()
        local = in_force.local(now_s)
        named = ledger.read_ident(body.ref or "")
        sold = sale.entry.id if sale else (body.ref or body.sale_id or "").strip()
        paper = _paper(
            current, sold, local, priced.now if priced else None, priced.postings if priced else ()
        )
        flags = self._counter.remarks() if priced else (*self._counter.remarks(), ledger.FLAG_PENDING)
        columns = self._outside.printer_columns if body.slip == "print" else None
        slips: list[ReturnData] = []

        def build(place: Place) -> tuple[Entry, bytes]:
            raw = document.canonical(paper)
            entry = Entry(
                till=place.till,
                epoch=place.epoch,
                seq=place.seq,
                at_s=now_s,
                kind="RETURN_GOODS",
                account=sale.owner if sale else None,
                postings=priced.postings if priced else (),
                document_sha256=hashlib.sha256(raw).digest(),
                ref=sale.entry.id if sale else named.entry_id if named else None,
                flags=flags,
            )
            return entry, raw

        def answer(written: Written) -> bytes:
            slips.append(self._slip(current, sale, priced, written, in_force, local))
            return msgspec.json.encode(self._reply(body, sale, priced, written, slips[0], columns))

        written, said = self._ledger.append(
            self._till,
            build,
            sale_id=return_key(body.return_id),
            verb="return",
            body_sha256=_sha256(body),
            at_s=now_s,
            answer=answer,
            print_waived=columns is None,
        )
        self._in_hand.pop(body.return_id, None)
        self._health.clear("disk_full")
        for ask in current.asks:
            ask.reply.set_result(msgspec.json.decode(said))
        if columns is not None:
            job = Job(written.entry.epoch, written.entry.seq, body.return_id)
            self._counter.print_document(
                written.entry.id, job, layout_return(slips[0], columns, self._translate)
            )
        self._outside.wake_sync()

    def _reply(
        self,
        body: ReturnBody,
        sale: Sold | None,
        priced: _Priced | None,
        written: Written,
        slip: ReturnData,
        columns: int | None,
    ) -> dict[str, Any]:
        now = priced.now if priced else None
        width = body.columns or self._outside.printer_columns or LINES_COLUMNS
        return {
            "return_id": body.return_id,
            "entry": written.entry.id,
            "ident": written.ident,
            "sale": sale.entry.id if sale else body.ref,
            "pending": priced is None,
            "money": now.money_minor if now else None,
            "lines": {line: {"money": money, "points": points} for line, (money, points) in now.lines.items()}
            if now
            else None,
            "fiscal": self._fiscal(sale, now, body) if sale is not None and now is not None else None,
            "points_back": slip.points_back,
            "points_taken_back": slip.points_taken,
            "debt": slip.debt,
            "slip": {
                "mode": "print" if columns else "lines",
                "lines": document_lines(layout_return(slip, width, self._translate), width),
            },
        }

    def _fiscal(self, sale: Sold, now: Returned, body: ReturnBody) -> dict[str, Any]:
        """What is given back as fiscal lines: the money and the points of a line, as they were paid.

        A line that points paid whole was a line of 0, unless they had paid the whole receipt.
        """
        in_force = self._in_force(sale)
        modes = in_force.settings.fiscal
        if sale.paper.result.pay > 0:
            modes = msgspec.structs.replace(modes, full_payment="zero_lines")
        sold, given = {line.id: line for line in sale.paper.receipt.lines}, _lines(body)
        return pricing.fiscal_lines(
            [
                pricing.FiscalPart(sold[line], given[line], money + points, points, money)
                for line, (money, points) in now.lines.items()
                if line in given
            ],
            in_force,
            modes,
        )

    def _slip(
        self,
        current: _InHand,
        sale: Sold | None,
        priced: _Priced | None,
        written: Written,
        in_force: InForce,
        local: datetime,
    ) -> ReturnData:
        skus = {line.id: line.sku for line in sale.paper.receipt.lines} if sale else {}
        moved = goods.done_by([written.entry])
        money = priced.now.lines if priced else {}
        return ReturnData(
            shop=in_force.settings.store.name,
            at=local.replace(tzinfo=None),
            till=self._till,
            ident=written.ident,
            returned=current.body.return_id,
            sale=sale.ident if sale else (current.body.ref or "").strip(),
            lines=tuple(
                (
                    in_force.catalog.name_of(skus.get(line, line)) or skus.get(line, line),
                    quantity,
                    money[line][0] if line in money else 0,
                )
                for line, quantity in current.lines.items()
            ),
            money_minor=priced.now.money_minor if priced else 0,
            header=in_force.settings.slip.header,
            footer=in_force.settings.slip.footer,
            card=self._masked(current.body),
            points_back=sum(moved.back.values()),
            points_taken=sum(moved.reversed.values()),
            debt=goods.debt_made(written.entry.postings),
            pending=priced is None,
        )

    def _masked(self, body: ReturnBody) -> str | None:
        in_force = self._counter.in_force
        if body.card is None or in_force is None:
            return None
        return self._cards.identify(body.card, in_force).masked

    def _in_force(self, sale: Sold | None) -> InForce:
        """What the till lives by; where its settings are lost, the clock of the sale's own receipt."""
        if self._counter.in_force is not None:
            return self._counter.in_force
        return without_settings(
            sale.paper.receipt.store if sale else "", sale.paper.receipt.at if sale else NO_CLOCK
        )


def _papers(sale: Sold) -> list[ReturnDocument]:
    """What came back of a sale before, in order, also where the office has yet to settle it."""
    found = (document.parse_any(body) for _, body in sale.corrections if body is not None)
    return [paper for paper in found if isinstance(paper, ReturnDocument)]


def _paper(
    current: _InHand, sold: str, local: datetime, now: Returned | None, postings: Sequence[Posting]
) -> ReturnDocument:
    body = current.body
    return ReturnDocument(
        return_id=body.return_id,
        sale=sold,
        at=local.isoformat(timespec="seconds"),
        lines=tuple(ReturnedLine(line, quantity) for line, quantity in current.lines.items()),
        money=now.money_minor if now else 0,
        points_back=-sum(p.points for p in postings if p.account == ledger.SPENT),
        reversed_total=sum(p.points for p in postings if p.account == ledger.ISSUED),
        reason=body.reason,
        operator=body.operator,
    )


def _placed(body: ReturnBody) -> list[tuple[str, str, int]]:
    """(path, line id, thousandths), whichever way they were sent."""
    if isinstance(body.lines, dict):
        return [(at_key("lines", line), line, quantity) for line, quantity in body.lines.items()]
    return [(at_item("lines", n), line.id, line.quantity) for n, line in enumerate(body.lines)]


def _lines(body: ReturnBody) -> dict[str, int]:
    """Line id -> thousandths. Raises Problem with every fault and its path."""
    placed = _placed(body)
    faults: list[Fault] = []
    lines: dict[str, int] = {}
    for path, line, quantity in placed:
        if quantity == 0:
            faults.append(Fault(path, N_("nothing of this line comes back; leave it out")))
        if line in lines:
            faults.append(Fault(path, N_("this line stands there twice; send its whole quantity once")))
        lines[line] = quantity
    if faults:
        raise _refused(faults)
    return lines


def _refused(faults: Sequence[Fault]) -> Problem:
    said = [{"path": fault.path, **both(fault.text)} for fault in faults]
    text = N_("these goods cannot come back: {first}", first=faults[0].text)
    return Problem(409, "return_refused", text, {"faults": said})


def _sha256(asked: msgspec.Struct) -> bytes:
    """What makes a question the same question."""
    return hashlib.sha256(msgspec.json.encode(asked)).digest()
