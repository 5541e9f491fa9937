"""Of which sale were these goods? `POST /v1/returns/find`: what a cashier needs to begin a return.

With the slip: its last line names a sale of any till, which is asked of the hub and the centre as a return
would ask (receipts.py). Without it: sales of this till by the customer's card, or by goods that were in them,
the newest first. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agent import replies
from agent.cards import Cards
from agent.clock import Clock
from agent.counter import NO_SETTINGS, Counter
from agent.inbox import Ask, FindBody, FindSales, HubReceiptFound, Problem, ReceiptFound
from agent.offline.engine import InForce
from agent.offline.ledger_db import LedgerDb
from agent.offline.records import LedgerFault
from agent.receipts import Receipts, Search, left_of
from loyalty import document, ledger
from loyalty.document import DocumentError, ReturnDocument, SaleDocument
from loyalty.ledger import Entry, LedgerError
from loyalty.texts import N_

FOUND_MAX = 20  # receipts to choose from
LOOKED_AT_MAX = 500  # of the newest ones, where goods are looked for
NOWHERE = N_(
    "this receipt cannot be had now; take the goods back by its last line, the office settles the points"
)


@dataclass(slots=True)
class _Looking:
    ask: FindSales
    search: Search


class Finding:
    """The till's thread's. `refuse(ask, error)` answers an ask that could not be done after all."""

    def __init__(
        self,
        *,
        ledger_db: LedgerDb,
        cards: Cards,
        counter: Counter,
        receipts: Receipts,
        clock: Clock,
        refuse: Callable[[Ask, Exception], None],
    ) -> None:
        self._ledger = ledger_db
        self._cards = cards
        self._counter = counter
        self._receipts = receipts
        self._clock = clock
        self._refuse = refuse
        self._looking: list[_Looking] = []

    def find(self, ask: FindSales) -> None:
        """Answer, or begin to wait for hub and centre. Raises Problem."""
        body = ask.body
        if body.ref is not None or body.sale_id is not None:
            looking = _Looking(ask, self._receipts.search(None if body.ref else body.sale_id, body.ref))
            self._looking.append(looking)
            self._go_on(looking)
        else:
            ask.reply.set_result({"sales": self._here(body)})

    def found(self, event: ReceiptFound | HubReceiptFound) -> None:
        """The centre or the store's hub has answered for a receipt."""
        for looking in list(self._looking):
            if looking.search.hear(event):
                self._go_on(looking)

    def next_timer_ms(self) -> int | None:
        """When `ring` is due, in monotonic milliseconds."""
        return min((looking.search.next_ms for looking in self._looking), default=None)

    def ring(self) -> None:
        """What has not come in its time is not waited for."""
        now_ms = self._clock.monotonic_ms()
        for looking in list(self._looking):
            if looking.search.next_ms <= now_ms:
                looking.search.look_at_the_clock(now_ms)
                self._go_on(looking)

    def _go_on(self, looking: _Looking) -> None:
        try:
            with self._ledger.reading():
                if self._receipts.awaits(looking.search):
                    return
                answer = self._named(looking.search)
        except (Problem, LedgerFault) as error:
            self._looking.remove(looking)
            self._refuse(looking.ask, error)
            return
        self._looking.remove(looking)
        looking.ask.reply.set_result(answer)

    def _named(self, search: Search) -> dict[str, Any]:
        """The sale that was named by its id or its slip. Raises Problem."""
        try:
            sold = self._receipts.sold(search)
        except (LedgerError, DocumentError):
            sold = None
        if sold is None:
            raise Problem(404, "receipt_not_had", NOWHERE)
        shown = _shown(search.sale_id, sold.ident, sold.paper, sold.corrections, self._in_force())
        return {"sales": [shown] if shown is not None else []}

    def _here(self, body: FindBody) -> list[dict[str, Any]]:
        """Sales of this till by card or goods. Raises Problem."""
        in_force = self._in_force()
        account, skus = self._account(body, in_force), _skus(body, in_force)
        if account is None and not skus:
            text = N_("say what is known: the card, goods that were bought, the sale's id or its last line")
            raise Problem(422, "bad_search", text)
        found: list[dict[str, Any]] = []
        for one in self._ledger.sales(LOOKED_AT_MAX, account):
            entry, paper = one.receipt.entry, document.read_any(one.receipt.document)
            if not isinstance(paper, SaleDocument):
                continue
            if skus and not any(line.sku in skus for line in paper.receipt.lines):
                continue
            ident = f"{entry.id}-{ledger.fingerprint(one.receipt.head)}"
            shown = _shown(one.id, ident, paper, self._ledger.corrections(entry.id), in_force)
            if shown is not None:
                found.append(shown)
            if len(found) >= FOUND_MAX:
                break
        return found

    def _account(self, body: FindBody, in_force: InForce) -> int | None:
        if body.card is None:
            return None
        customer = self._cards.customer(self._cards.identify(body.card, in_force), "")
        if customer is None:
            raise Problem(404, "card_not_found", replies.NOT_FOUND)
        return customer.member.account

    def _in_force(self) -> InForce:
        if self._counter.in_force is None:
            raise Problem(503, "no_settings", NO_SETTINGS)
        return self._counter.in_force


def _skus(body: FindBody, in_force: InForce) -> frozenset[str]:
    named = {body.sku} if body.sku is not None else set()
    if body.barcode is not None:
        named |= {body.barcode, *in_force.catalog.skus_by_barcode(body.barcode)}
    return frozenset(named)


def _shown(
    sale_id: str | None,
    ident: str,
    paper: SaleDocument,
    corrections: Sequence[tuple[Entry, bytes | None]],
    in_force: InForce,
) -> dict[str, Any] | None:
    """A sale with what is left of it; None where nothing is, or it was voided."""
    if any(correction.kind == "VOID" for correction, _ in corrections):
        return None
    back = [document.read_any(body) for _, body in corrections]
    left = left_of(paper, [one for one in back if isinstance(one, ReturnDocument)])
    if not any(left.values()):
        return None
    return {
        "sale_id": sale_id,
        "ref": ident,
        "at": paper.receipt.at,
        "pay": paper.result.pay,
        "card": paper.customer is not None,
        "lines": [
            {
                "id": line.id,
                "sku": line.sku,
                "name": in_force.catalog.name_of(line.sku) or line.sku,
                "quantity": line.quantity,
                "left": left[line.id],
                "price": line.price,
            }
            for line in paper.receipt.lines
        ],
    }
