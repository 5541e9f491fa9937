"""The till: one loop that owns every sale and is the only writer of ledger.db.

    take an event ──► look up ──► loyalty.sale.step ──► save ──► release the effects

**Rules.** What is written is written before anything is said. A sale in memory moves
to its next state only after the writing effects of the step have succeeded, so a full
disk leaves it where it was. The loop never waits on a socket: what must be asked of
the centre is asked by another thread, and comes back as an event; the sale that waits
has a timer of one second in all.

**Where things are.** The table of states: loyalty/sale.py. What an event carries:
inbox.py. What is done with a sale: counter.py, with goods that come back:
goods_returns.py and receipts.py (whose they were), with a card alone: card_desk.py;
with them cards.py (who buys), pricing.py (what it costs) and replies.py (what is
answered). The file: offline/ledger_db.py. What others do for us: outside.py, put together in main.py.
Here: the loop, and the events that are not about a sale.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from agent.card_desk import CardDesk
from agent.cards import Cards
from agent.cashier import Cashier
from agent.clock import Clock
from agent.counter import Counter
from agent.drawer import Drawer
from agent.drivers.contracts import (
    DeviceState,
    OutputComplete,
    OutputFailed,
    OutputUnknown,
    OutputWaiting,
    ReadFailed,
    ScanData,
)
from agent.finding import Finding
from agent.goods_returns import GoodsReturns
from agent.guard import Guard
from agent.health import Health
from agent.inbox import (
    ApplyAsked,
    Ask,
    ChangeSale,
    ChannelAlarm,
    Claimed,
    CommitSale,
    Event,
    FindSales,
    GetSale,
    HandedOver,
    HandoverAsked,
    HubReceiptAsked,
    HubReceiptFound,
    Inbox,
    LinkChanged,
    ListHeld,
    ListOpen,
    LoadBatchAsked,
    LookedUp,
    LookUpCard,
    LookupFailed,
    LookUpGoods,
    NewInForce,
    OpenDrawer,
    PastRulesReady,
    PrintSale,
    Problem,
    PutSale,
    ReceiptFound,
    RegisterCard,
    RetryNoted,
    ReturnGoods,
    ScreenAsked,
    StatusAsked,
    Stop,
    SyncAsked,
    VoidSale,
)
from agent.offline import heard, pruning
from agent.offline.engine import InForce, wall_clock
from agent.offline.heard import Answer
from agent.offline.ledger_db import LedgerDb
from agent.offline.records import RESTORING, DiskFull, Identity, LedgerFault, Restoring
from agent.offline.snapshot_db import Members
from agent.outside import Outside
from agent.receipts import Receipts
from agent.replies import DISK_FULL
from agent.screen.view import Screen
from agent.sync.machine import Apply, ApplyRestore, StoreLog
from agent.texts import both, translator
from loyalty.card import NumberTemplate
from loyalty.faults import Refused
from loyalty.sale import Refusal
from loyalty.settings import Settings
from loyalty.texts import N_, Text
from loyalty.wire import WIRE_VERSION, RestoreRequest

log = logging.getLogger(__name__)

BESIDE_A_CASH_PROGRAM = Screen()


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
        screen: Screen = BESIDE_A_CASH_PROGRAM,
        has_drawer: bool = False,
    ) -> None:
        self._identity = identity
        self._ledger = ledger_db
        self._inbox = inbox
        self._outside = outside
        self._clock = Clock(
            wall_s, monotonic_ms, at_least_s=ledger_db.latest_at_s(), known_s=ledger_db.known_s()
        )
        self._health = Health(version, self._clock, outside.tell)
        self._cards = Cards(identity.till, chain_key, members, ledger_db, outside, self._health, self._clock)
        guard = Guard(ledger_db, self._cards, self._clock, lambda: self._counter.in_force)
        self._counter = Counter(
            till=identity.till,
            ledger_db=ledger_db,
            cards=self._cards,
            guard=guard,
            in_force=in_force,
            outside=outside,
            health=self._health,
            clock=self._clock,
            translate=translator(language),
            refuse=self._refuse,
        )
        self._receipts = Receipts(
            till=identity.till,
            ledger_db=ledger_db,
            outside=outside,
            health=self._health,
            clock=self._clock,
            hub=self._counter.hub,
        )
        self._returns = GoodsReturns(
            till=identity.till,
            ledger_db=ledger_db,
            cards=self._cards,
            counter=self._counter,
            receipts=self._receipts,
            outside=outside,
            health=self._health,
            clock=self._clock,
            translate=translator(language),
            refuse=self._refuse,
        )
        self._card_desk = CardDesk(
            till=identity.till,
            ledger_db=ledger_db,
            cards=self._cards,
            counter=self._counter,
            guard=guard,
            outside=outside,
            health=self._health,
            clock=self._clock,
            refuse=self._refuse,
        )
        self._finding = Finding(
            ledger_db=ledger_db,
            cards=self._cards,
            counter=self._counter,
            receipts=self._receipts,
            clock=self._clock,
            refuse=self._refuse,
        )
        self._drawer = Drawer(outside, has_drawer=has_drawer)
        if screen.mode == "stand_alone":
            self._counter.on_cash = self._drawer.paid
        self._cashier = Cashier(
            identity=identity,
            ledger_db=ledger_db,
            cards=self._cards,
            counter=self._counter,
            outside=outside,
            health=self._health,
            clock=self._clock,
            screen=screen,
        )

    @property
    def settings(self) -> Settings | None:
        """The settings in force; read by any thread."""
        in_force = self._counter.in_force
        return in_force.settings if in_force is not None else None

    @property
    def templates(self) -> tuple[NumberTemplate, ...]:
        """What our cards look like; read by any thread."""
        in_force = self._counter.in_force
        return in_force.templates if in_force is not None else ()

    def alert(self, code: str, text: Text) -> None:
        """Something a person should know, found before the loop runs."""
        self._health.alert(code, text, self._clock.now_s())

    def run(self) -> None:
        """Take events until Stop."""
        while True:
            event = self._inbox.take(self._patience_s())
            if isinstance(event, Stop):
                return
            if event is not None:
                self.handle(event)
            self.ring()

    def handle(self, event: Event) -> None:
        """One event, to its end. A disk or ledger that refuses stops this event, never the loop."""
        try:
            with self._ledger.reading():
                self._dispatch(event)
        except LedgerFault as fault:
            self._trouble(type(event).__name__, fault)
            reply = getattr(event, "reply", None)
            if reply is not None and not reply.done():
                reply.set_exception(fault)

    def ring(self) -> None:
        """What was waited for, and has not come in its second, is not waited for any more."""
        try:
            with self._ledger.reading():
                self._counter.ring()
                self._returns.ring()
                self._finding.ring()
                self._card_desk.ring()
        except LedgerFault as fault:
            self._trouble("a quote that waited", fault)
        self._cards.forget_late()

    def _trouble(self, what: str, fault: LedgerFault) -> None:
        code, text = ("disk_full", DISK_FULL) if isinstance(fault, DiskFull) else ("ledger", fault.text)
        if not self._health.has(code):
            log.error("%s: %s", what, fault)
        self._health.alert(code, text, self._clock.now_s())

    def _patience_s(self) -> float | None:
        desks = (self._counter, self._returns, self._finding, self._card_desk)
        timers = [desk.next_timer_ms() for desk in desks]
        due_ms = min((ms for ms in timers if ms is not None), default=None)
        return None if due_ms is None else max(0, due_ms - self._clock.monotonic_ms()) / 1000

    def _dispatch(self, event: Event) -> None:
        counter = self._counter
        match event:
            case PutSale():
                self._answer(event, counter.put)
            case ChangeSale():
                self._answer(event, counter.change)
            case CommitSale():
                self._answer(event, counter.commit)
            case VoidSale():
                self._answer(event, counter.void)
            case ReturnGoods():
                self._answer(event, self._returns.take)
            case PrintSale():
                self._answer(event, counter.print_again)
            case GetSale():
                self._answer(event, counter.get)
            case ListHeld():
                self._answer(event, counter.held)
            case ListOpen():
                self._answer(event, self._cashier.open_sales)
            case FindSales():
                self._answer(event, self._finding.find)
            case OpenDrawer():
                self._answer(event, self._drawer.ask)
            case LookUpGoods():
                self._answer(event, self._cashier.goods)
            case ScreenAsked():
                self._answer(event, self._cashier.show)
            case LookUpCard() | RegisterCard():
                self._answer(event, self._card_desk.ask)
            case StatusAsked():
                self._answer(event, self._status)
            case SyncAsked():
                self._outside.wake_sync(force=True, done=partial(event.reply.set_result, {}))
            case ScanData():
                counter.scan(event)
            case ReadFailed(device, reason):
                log.info("device %s: a scan could not be read", device)
                self._health.alert("read_failed", reason, self._clock.now_s())
            case DeviceState():
                self._health.device(event)
                self._outside.tell("device", {"name": event.device, "state": event.state})
            case OutputComplete() | OutputFailed() | OutputUnknown() | OutputWaiting():
                if not self._drawer.opened(event):
                    counter.printed(event)
            case LookedUp(card_key, member):
                if self._cards.looked_up(card_key, member):
                    self._arrived(card_key)
                counter.tell_waiting_card()
            case LookupFailed(card_key):
                self._arrived(card_key)
            case Claimed():
                self._claimed(event)
            case ReceiptFound() | HubReceiptFound():
                self._returns.found(event)
                self._finding.found(event)
            case PastRulesReady():
                self._returns.rules_ready(event)
            case HandedOver():
                self._handed_over(event)
            case HandoverAsked():
                self._hand_over(event)
            case HubReceiptAsked(request, reply):
                reply.set_result(self._receipts.show(request.ref))
            case LoadBatchAsked():
                self._load_batch(event)
            case ApplyAsked():
                self._apply(event)
            case RetryNoted(attempt):
                self._ledger.note_retry(attempt)
            case LinkChanged(word, detail):
                self._health.link(word, detail, self._clock.now_s())
                self._outside.tell("sync", {"state": "online" if word is None else "offline"})
            case NewInForce():
                self._new_in_force(event)
            case ChannelAlarm(channel, word, detail):
                self._health.channel(channel, word, detail)

    # ----------------------------------------------------------------- questions and answers

    def _answer(self, ask: Ask, handler: Callable[[Any], None]) -> None:
        """Run a handler; whatever it refuses goes back to whoever asked."""
        try:
            with self._ledger.reading():
                handler(ask)
        except (Problem, Refusal, Refused, LedgerFault) as error:
            self._refuse(ask, error)

    def _refuse(self, ask: Ask, error: Exception) -> None:
        """Answer `ask` with an error that a program and a person understand."""
        match error:
            case Refusal():
                problem = Problem(409, error.code, error.text)
            case Refused():
                faults = [{"path": fault.path, **both(fault.text)} for fault in error.faults]
                text = N_("the receipt cannot be priced: {first}", first=error.faults[0].text)
                problem = Problem(409, "receipt_refused", text, {"faults": faults})
            case DiskFull():
                self._trouble(type(ask).__name__, error)
                problem = Problem(507, "disk_full", DISK_FULL)
            case Restoring():
                problem = Problem(503, "restoring", RESTORING)
            case LedgerFault():
                self._trouble(type(ask).__name__, error)
                text = N_(
                    "the till's ledger refuses: {why}; call support, sell on without cards", why=error.text
                )
                problem = Problem(500, "ledger_fault", text)
            case Problem():
                problem = error
            case _:
                raise error
        ask.reply.set_exception(problem)

    def _status(self, ask: StatusAsked) -> None:
        report = self._health.report(
            self._identity,
            self._ledger,
            self._counter.in_force,
            self._clock.now_s(),
        )
        ask.reply.set_result(report)

    # --------------------------------------------------------------------------------- sync

    def _load_batch(self, ask: LoadBatchAsked) -> None:
        """What there is to send; what this till should not keep is given back first."""
        in_force, now_s, adopt = self._counter.in_force, self._clock.now_s(), ask.adopt
        uplink = self._ledger.uplink()
        # By a wrong clock, what lives looks expired, and who was here yesterday idle.
        if in_force is not None and not uplink.restoring and not self._clock.is_off:
            shop_now = wall_clock(in_force.local(now_s))
            heard.tidy(
                self._ledger,
                self._identity.till,
                shop_now,
                now_s,
                online=self._health.online,
                busy=self._counter.busy_accounts(),
            )
        batch = self._ledger.batch(self._identity.till, ask.limit, adopt.epochs if adopt else None)
        message = self._health.batch_to_send(batch, self._ledger, in_force, now_s)
        if uplink.restore_id is not None:
            seq, head = self._ledger.head(uplink.epoch, self._identity.till)
            restore = RestoreRequest(WIRE_VERSION, uplink.restore_id, uplink.epoch, seq, head, b"")
            message = replace(message, restore=restore)
        elif adopt is not None:
            message = replace(
                message,
                timeline=adopt.timeline,
                adopting=True,
                down=self._ledger.down_cursors(adopt.heard_in),
                echo=heard.echo(self._ledger, adopt.heard_in, adopt.down),
            )
        else:
            message = replace(message, missing_log=heard.missing_log(self._ledger))
        ask.reply.set_result(message)

    def _apply(self, ask: ApplyAsked) -> None:
        """Store a verified reply of the centre; sales that waited for its points get their quote."""
        till, now_s = self._identity.till, self._clock.now_s()
        match ask.effect:
            case ApplyRestore(life):
                heard.begin_life(self._ledger, till, life)
                ask.reply.set_result(0)
            case StoreLog(stretch):
                heard.store_log(self._ledger, till, stretch)
                ask.reply.set_result(0)
            case Apply() as effect:
                answer = Answer(
                    epoch=effect.epoch,
                    timeline=effect.timeline,
                    session=effect.session,
                    next_seq=effect.next_seq,
                    durable_seq=effect.durable_seq,
                    server_ms=effect.server_ms,
                    down=effect.down,
                    down_signature=effect.down_signature,
                    epochs=effect.epochs,
                    quarantined=effect.quarantined,
                    ended=effect.ended,
                )
                moved = heard.synced(self._ledger, till, answer, now_s)
                self._clock.heard(effect.server_ms // 1000)
                self._health.synced()
                ask.reply.set_result(moved)
                self._supplied()
                pruning.step(self._ledger, effect.server_ms // 1000)

    def _claimed(self, event: Claimed) -> None:
        """The centre answered to a claim; its points are this till's, whatever becomes of the sale."""
        reply = event.answer
        if reply is not None:
            heard.claimed(
                self._ledger,
                self._identity.till,
                reply.timeline,
                reply.down,
                reply.down_signature,
                self._clock.now_s(),
            )
            self._clock.heard(reply.server_ms // 1000)
        self._counter.claimed(event.request, reply, refused=event.refused)
        self._supplied()

    def _handed_over(self, event: HandedOver) -> None:
        """The hub answered; its points are this till's, whatever becomes of the sale."""
        reply = event.answer
        given = 0
        if reply is not None:
            given = heard.take_over(
                self._ledger, self._identity.till, reply.body, reply.signature, self._clock.now_s()
            )
        self._counter.handed_over(event.request, given if reply is not None else None)
        self._supplied()

    def _hand_over(self, ask: HandoverAsked) -> None:
        """Another till of the shop wants points that lie here."""
        in_force, now_s = self._counter.in_force, self._clock.now_s()
        if in_force is None:
            ask.reply.set_result(b"")
            return
        shop_now = wall_clock(in_force.local(now_s))
        given = heard.hand_over(self._ledger, self._identity.till, ask.request, shop_now, now_s)
        ask.reply.set_result(given or b"")
        if given is not None:
            self._outside.wake_sync()

    def _supplied(self) -> None:
        for card_key in self._cards.supplied():
            self._arrived(card_key)

    def _arrived(self, card_key: int) -> None:
        """Nothing more is to be waited for with this card."""
        self._cards.arrived(card_key)
        self._counter.arrived(card_key)
        self._card_desk.arrived(card_key)

    def _new_in_force(self, event: NewInForce) -> None:
        """A version is noted in ledger.db first; then one reference is swapped."""
        now_s = self._clock.now_s()
        self._ledger.note_channel(event.channel, event.version, event.manifest_sha256, now_s)
        self._counter.in_force = event.in_force
        event.reply.set_result(True)
