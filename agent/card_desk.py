"""The card desk: what is asked of a card without a sale (till.md §4): whose is it, and register it.

A card that this till does not know is asked for at the centre by another thread, within the same
second as at the counter; the question waits here meanwhile. What may register itself, and is known
to nobody, gets its provisional account and a REGISTER entry (ledger-sync.md §2); asked again, the
same answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent import replies
from agent.cards import QUOTE_WAIT_MS, Cards
from agent.clock import Clock
from agent.counter import NO_SETTINGS, Counter
from agent.guard import Guard
from agent.health import Health
from agent.inbox import Ask, LookUpCard, Problem, RegisterCard
from agent.offline.engine import InForce
from agent.offline.ledger_db import LedgerDb
from agent.offline.records import LedgerFault
from agent.outside import Outside
from loyalty.sale import Holder


@dataclass(frozen=True, slots=True)
class _Waiting:
    ask: LookUpCard | RegisterCard
    holder: Holder
    due_ms: int  # monotonic


class CardDesk:
    """The till's thread's. `refuse(ask, error)` answers an ask that could not be done after all."""

    def __init__(
        self,
        *,
        till: str,
        ledger_db: LedgerDb,
        cards: Cards,
        counter: Counter,
        guard: Guard,
        outside: Outside,
        health: Health,
        clock: Clock,
        refuse: Callable[[Ask, Exception], None],
    ) -> None:
        self._till = till
        self._ledger = ledger_db
        self._cards = cards
        self._counter = counter
        self._guard = guard
        self._outside = outside
        self._health = health
        self._clock = clock
        self._refuse = refuse
        self._waiting: list[_Waiting] = []

    def ask(self, ask: LookUpCard | RegisterCard) -> None:
        """Answer, or begin to wait for what the centre says. Raises Problem for what is no card of ours."""
        in_force, body = self._counter.in_force, ask.body
        if in_force is None:
            raise Problem(503, "no_settings", NO_SETTINGS)
        holder = self._guard.read(body.number, body.entry, body.operator, in_force)
        if self._cards.ask_centre(holder):
            self._waiting.append(_Waiting(ask, holder, self._clock.monotonic_ms() + QUOTE_WAIT_MS))
        else:
            ask.reply.set_result(self._answer(ask, holder, in_force))

    def next_timer_ms(self) -> int | None:
        """When `ring` is due, in monotonic milliseconds."""
        return min((one.due_ms for one in self._waiting), default=None)

    def ring(self) -> None:
        """The second of some questions is over: answer with what is known."""
        now_ms = self._clock.monotonic_ms()
        self._finish([one for one in self._waiting if one.due_ms <= now_ms])

    def arrived(self, card_key: int) -> None:
        """Nothing more is to be waited for with this card."""
        self._finish([one for one in self._waiting if one.holder.card_key == card_key])

    def _finish(self, over: list[_Waiting]) -> None:
        for one in over:
            self._waiting.remove(one)
            in_force = self._counter.in_force
            assert in_force is not None  # there were settings when it was asked; they never go
            try:
                with self._ledger.reading():
                    one.ask.reply.set_result(self._answer(one.ask, one.holder, in_force))
            except (Problem, LedgerFault) as error:
                self._refuse(one.ask, error)

    def _answer(self, ask: LookUpCard | RegisterCard, holder: Holder, in_force: InForce) -> dict[str, Any]:
        customer = self._cards.customer(holder, "")
        online = self._health.online
        if customer is None:
            unknown = self._cards.is_unknown(holder)
            raise Problem(404, *replies.nobodys_card(unknown=unknown, online=online))
        card = self._cards.registration(holder, customer.member.account)
        registered = card is None or self._ledger.is_registered(card.account)
        if card is not None and not registered and isinstance(ask, RegisterCard):
            with self._ledger.transaction():
                registered = self._ledger.register(self._till, card, self._clock.now_s())
            self._outside.wake_sync()
        reply = replies.customer_reply(holder, customer, in_force, self._clock.now_s(), online=online)
        return {**reply, "registered": registered}
