"""How a card came to a sale, and whether it may be used there: the limits of limits.py, applied.

What was keyed in is counted and flagged; a card that comes when the total has been said is flagged; a card
beyond a hard limit is nobody's here, and the sale goes on without a customer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from agent.cards import Cards
from agent.clock import Clock
from agent.inbox import Problem
from agent.limits import Over, Sold, Tally, Watch
from agent.offline.engine import InForce
from agent.offline.ledger_db import LedgerDb
from agent.pricing import Customer
from loyalty import document, ledger
from loyalty.sale import Cart, Holder, Offer, Sale
from loyalty.settings import Limits

SALES_A_DAY_MAX = 5_000  # of one till, which limits look back upon
UNLIMITED = Limits()


class Seen(NamedTuple):
    """Who buys, as far as they may; `over`: a limit that this sale goes beyond."""

    customer: Customer | None
    over: Over | None


class Guard:
    """The till's thread's. See the top of this file. `in_force` is what the till lives by now."""

    def __init__(
        self, ledger_db: LedgerDb, cards: Cards, clock: Clock, in_force: Callable[[], InForce | None]
    ) -> None:
        self._ledger = ledger_db
        self._cards = cards
        self._clock = clock
        self._in_force = in_force
        self._watch = Watch(self._paid_since)

    def read(
        self, number: str, entry: str, operator: str | None, in_force: InForce, before: Cart | None = None
    ) -> Holder:
        """A card in what was read or keyed in. Keyed in, it counts, unless `before` had it already.

        Raises Problem for what is no card of ours, and where this operator has keyed in too many.
        """
        tally = self._tally(in_force) if entry == "keyed" else None
        if tally is None:
            return self._cards.identify(number, in_force)
        over = tally.typing(in_force.settings.limits, operator)
        try:
            holder = self._cards.identify(number, in_force)
        except Problem:
            _refuse(over)
            tally.keyed(operator)
            raise
        if before is None or before.holder is None or before.holder.card_key != holder.card_key:
            _refuse(over)
            tally.keyed(operator)
        return holder

    def see(self, cart: Cart | None, sale_id: str) -> Seen:
        """The customer of a cart, with the parcels that `sale_id` may be promised."""
        holder = cart.holder if cart is not None else None
        customer = self._cards.customer(holder, sale_id) if holder is not None else None
        if customer is None or cart is None:
            return Seen(None, None)
        over = self._over(customer.member.account, cart)
        return Seen(None if over is not None and over.is_hard else customer, over)

    def paid(self, offer: Offer) -> None:
        """A sale with a customer was paid, and lies in the ledger: it counts."""
        if offer.customer is not None:
            account = self._ledger.owner(offer.customer.account)
            self._watch.sold(Sold(account, offer.cart.operator))

    def _over(self, account: int, cart: Cart) -> Over | None:
        in_force = self._in_force()
        tally = self._tally(in_force) if in_force is not None else None
        if in_force is None or tally is None:
            return None
        limits = in_force.settings.limits
        over = tally.card(limits, account, cart.operator)
        if over is None and ledger.FLAG_KEYED in cart.remarks:
            typing = tally.typing(limits, cart.operator)
            over = typing if typing is not None and not typing.is_hard else None
        return over

    def _tally(self, in_force: InForce) -> Tally | None:
        """What was counted today; None where nothing is limited, and so nothing counted."""
        if in_force.settings.limits == UNLIMITED:
            self._watch.forget()
            return None
        return self._watch.today(in_force.local(self._clock.now_s()))

    def _paid_since(self, since_s: int) -> Iterator[Sold]:
        """What was paid with a card since then, as the ledger has it."""
        for one in self._ledger.sales(SALES_A_DAY_MAX):
            if one.receipt.entry.at_s < since_s:
                return
            account = one.receipt.entry.account
            paper = document.read_any(one.receipt.document)
            if account is not None and isinstance(paper, document.SaleDocument):
                yield Sold(self._ledger.owner(account), paper.operator)


def _refuse(over: Over | None) -> None:
    if over is not None and over.is_hard:
        raise Problem(409, over.code, over.text)


def remarked(before: Sale, cart: Cart) -> Cart:
    """The cart with the remark, or without it, that its card came when the total had been said.

    The total was said where all these goods had a price without a card, and the payment had begun (tenders
    were named); a cash program that names none before the end is taken to have said it with every price.
    Goods that follow the card, or a payment that begins after it, show that it was none.
    """
    kept = tuple(remark for remark in cart.remarks if remark != ledger.FLAG_CARD_LATE)
    old = before.cart
    if old is None or cart.holder is None or old.lines != cart.lines or (cart.tenders and not old.tenders):
        is_late = False
    elif old.holder is not None:
        is_late = ledger.FLAG_CARD_LATE in old.remarks
    else:
        is_late = before.offer is not None
    return msgspec.structs.replace(cart, remarks=(*kept, *((ledger.FLAG_CARD_LATE,) if is_late else ())))
