"""What the cashier's page asks of the till (till.md §6): questions that only look, and change nothing.

What the page shows is put together here from what the counter has in hand, and laid out by screen/view.py.
"""

from __future__ import annotations

from typing import Any

from agent import replies
from agent.cards import Cards
from agent.clock import Clock
from agent.counter import NO_SETTINGS, Counter, OpenSale
from agent.health import Health
from agent.inbox import ListOpen, LookUpGoods, Problem, ScreenAsked
from agent.offline.engine import InForce
from agent.offline.ledger_db import LedgerDb
from agent.offline.records import Identity
from agent.outside import Outside
from agent.screen import view
from loyalty.sale import Holder

PRODUCT_CODES_MAX = 20


class Cashier:
    """The till's thread's. See the top of this file."""

    def __init__(
        self,
        *,
        identity: Identity,
        ledger_db: LedgerDb,
        cards: Cards,
        counter: Counter,
        outside: Outside,
        health: Health,
        clock: Clock,
        screen: view.Screen,
    ) -> None:
        self._identity = identity
        self._ledger = ledger_db
        self._cards = cards
        self._counter = counter
        self._outside = outside
        self._health = health
        self._clock = clock
        self._screen = screen

    # ---------------------------------------------------------------------------- the page

    def show(self, ask: ScreenAsked) -> None:
        """Everything on the page."""
        in_force, now_s = self._counter.in_force, self._clock.now_s()
        report = self._health.report(self._identity, self._ledger, in_force, now_s)
        sales = self._counter.in_hand()
        card = self._counter.waiting_card()
        ask.reply.set_result(
            view.page(
                self._screen,
                report,
                shop=in_force.settings.store.name if in_force else self._identity.store,
                disk_full=self._health.has("disk_full"),
                sale=self._sale(sales[0]) if sales else None,
                waiting_card=self._customer(card, in_force) if card and in_force else None,
                last=self._last(),
                open_sales=[self._open(one) for one in sales],
                can_print=self._outside.printer_columns is not None,
            )
        )

    def _sale(self, current: OpenSale) -> dict[str, Any]:
        reply = self._counter.reply_of(current)
        cart, catalog = current.sale.cart, current.in_force.catalog
        names = {line.sku: catalog.name_of(line.sku) or line.sku for line in cart.lines} if cart else {}
        most = self._counter.redeemable(current)
        return view.sale(reply, cart, names, redeem_max_minor=most, lent=_lent(current))

    def _customer(self, holder: Holder, in_force: InForce) -> dict[str, Any]:
        customer = self._cards.customer(holder, "")
        online = self._health.online
        return replies.customer_reply(holder, customer, in_force, self._clock.now_s(), online=online)

    def _last(self) -> dict[str, Any] | None:
        paid = self._counter.last_paid()
        if paid is None:
            return None
        outcome = self._ledger.print_outcome(paid.job.epoch, paid.job.seq)
        entry_id = paid.ident.rpartition("-")[0]
        return {
            "sale_id": paid.job.sale_id,
            "ident": paid.ident,
            "pay": paid.pay,
            "print": "waiting" if self._counter.slip_waits(paid.job.sale_id) else outcome,
            "void": self._ledger.corrected(entry_id),
        }

    def _open(self, current: OpenSale) -> dict[str, Any]:
        cart, now_s = current.sale.cart, self._clock.now_s()
        return {
            "sale_id": current.sale.id,
            "state": current.sale.state.value,
            "pay": current.sale.offer.pay if current.sale.offer else None,
            "lines": len(cart.lines) if cart else 0,
            "card": cart.holder.masked if cart and cart.holder else None,
            "age_s": max(0, now_s - current.sale.opened_s),
            "parked": current.sale.is_parked(now_s),
        }

    def open_sales(self, ask: ListOpen) -> None:
        """The sales in hand, the one last touched first."""
        ask.reply.set_result({"sales": [self._open(one) for one in self._counter.in_hand()]})

    # --------------------------------------------------------------------------- the goods

    def goods(self, ask: LookUpGoods) -> None:
        """What carries this barcode or code, or is this sku; several offers are for the cashier to choose."""
        catalog, asked = self._in_force().catalog, ask.body.barcode
        skus = catalog.skus_by_barcode(asked) or catalog.skus_by_code(asked)
        if not skus and catalog.article(asked) is not None:
            skus = (asked,)
        found = []
        for sku in skus[:PRODUCT_CODES_MAX]:
            article, goods = catalog.articles[sku], catalog.engine.skus[sku]
            found.append(
                {
                    "sku": sku,
                    "name": article.name,
                    "unit": article.unit,
                    "price": article.price_minor,
                    "weighed": goods.weighed,
                }
            )
        ask.reply.set_result({"goods": found})

    def _in_force(self) -> InForce:
        if self._counter.in_force is None:
            raise Problem(503, "no_settings", NO_SETTINGS)
        return self._counter.in_force


def _lent(current: OpenSale) -> int:
    return current.sale.offer.lent if current.sale.offer else 0
