"""What the customer reads, and when: from what happens at the counter to one `Shown` at a time.

The till's thread tells it of every quote, payment and card; it decides, and hands on what the display shows
(agent/line_display.py lays it out, agent/drivers/line_display.py brings it there). One thing at a time:

    a card is read         whose it is, for three seconds; then the price, if there is one
    one line has changed   these goods, and what everything costs now
    points are spent       how many, and what is left to pay
    anything else, or the payment has begun     the total, and what is saved
    paid                   thanks, what was earned, the change; ten seconds later the welcome

It follows the sale last touched, as the cashier's page does. A sale that nobody touches for five minutes (it
is parked, or its customer has gone) is not shown any longer, nor is a card that has waited its minute:
nobody's balance stays for the next one to read.

Known ugliness: what a customer gave is known only where it is sent: as a planned tender of a quote that
stands already (the amounts planned before it are what somebody expected to be due).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from agent.line_display import Item, Recognised, Shown, Spends, Thanks, Total, Welcome
from agent.pricing import COURTESY
from loyalty.document import SoldLine
from loyalty.sale import Offer, Sale

CARD_MS = 3_000
THANKS_MS = 10_000
WAITING_CARD_MS = 60_000
FORGOTTEN_MS = 5 * 60_000

NameOf = Callable[[str], str | None]


@dataclass(slots=True)
class _OnDisplay:
    """The sale that the customer sees, as it was shown last."""

    sale_id: str
    quote_id: str = ""
    card_key: int | None = None
    lines: dict[str, SoldLine] = field(default_factory=dict)
    was_there: bool = False  # this quote, before it was asked for last
    given_minor: int = 0


class CustomerDisplay:
    """The till's thread's. `show` must not block; `shop`: its name now; `now_ms`: monotonic."""

    def __init__(
        self, show: Callable[[Shown], None], shop: Callable[[], str], now_ms: Callable[[], int]
    ) -> None:
        self._show = show
        self._shop = shop
        self._now_ms = now_ms
        self._sale: _OnDisplay | None = None
        self._paid = ""  # the sale that is thanked for
        self._then: Shown | None = None  # follows when it is due; None: the welcome
        self._due_ms: int | None = None
        self._welcomed: str | None = None  # the name; None: nothing was ever shown

    # -------------------------------------------------------------------- what happens

    def quoted(self, sale: Sale, name_of: NameOf) -> None:
        """The sale last touched has a price."""
        cart, offer = sale.cart, sale.offer
        if cart is None or offer is None:
            return
        seen = self._sale if self._sale is not None and self._sale.sale_id == sale.id else _OnDisplay(sale.id)
        seen.was_there = seen.quote_id == offer.quote_id
        self._sale, self._paid = seen, ""
        if seen.was_there:
            if self._then is None:
                self._due_ms = self._now_ms() + FORGOTTEN_MS
            return
        price = _price(offer, seen.lines, name_of)
        new_card = cart.holder if cart.holder and cart.holder.card_key != seen.card_key else None
        seen.quote_id, seen.given_minor = offer.quote_id, 0
        seen.lines = {line.id: line for line in cart.lines}
        seen.card_key = cart.holder.card_key if cart.holder else None
        if new_card is not None and not cart.tenders:
            card = Recognised(new_card.masked, _available(offer))
            self._say(card, CARD_MS if price else FORGOTTEN_MS, then=price)
        elif price is not None:
            self._say(price, FORGOTTEN_MS)
        else:
            self._welcome()

    def given(self, sale: Sale, amount_minor: int) -> None:
        """Tenders of so much (minor units) were planned with the cart just quoted."""
        seen = self._sale
        if seen is not None and seen.sale_id == sale.id and seen.was_there:
            seen.given_minor = amount_minor

    def paid(self, sale_id: str, offer: Offer) -> None:
        """The sale is paid, and written down."""
        seen, self._sale, self._paid = self._sale, None, sale_id
        given = seen.given_minor if seen is not None and seen.quote_id == offer.quote_id else 0
        earned = sum(lot.points for lot in offer.earns)
        self._say(Thanks(earned, max(0, given - offer.pay)), THANKS_MS)

    def dropped(self, sale_id: str) -> None:
        """The sale is given up, or taken back after it was paid."""
        if sale_id in (self._paid, self._sale.sale_id if self._sale else ""):
            self._welcome()

    def card(self, masked: str, available: int | None) -> None:
        """A card waits for its sale; `available`: hundredths that can be spent here, None: not known.

        Whoever is served now still reads what they have to pay.
        """
        if self._sale is None:
            self._paid = ""
            self._say(Recognised(masked, available), WAITING_CARD_MS)

    # ----------------------------------------------------------------------- the clock

    def next_timer_ms(self) -> int | None:
        """When `ring` is due, in monotonic milliseconds."""
        return self._due_ms

    def ring(self) -> None:
        """What was shown for a while is over. Called after every event too: of them the first brings the

        welcome (a display that is there says so), and the shop may have a new name.
        """
        if self._due_ms is None:
            if self._welcomed != self._shop():
                self._welcome()
        elif self._now_ms() >= self._due_ms:
            if self._then is None:
                self._welcome()
            else:
                self._say(self._then, FORGOTTEN_MS)

    def _say(self, shown: Shown, for_ms: int, then: Shown | None = None) -> None:
        self._then, self._due_ms = then, self._now_ms() + for_ms
        self._show(shown)

    def _welcome(self) -> None:
        self._sale, self._paid = None, ""
        self._then = self._due_ms = None
        self._welcomed = self._shop()
        self._show(Welcome(self._welcomed))


def _price(offer: Offer, before: dict[str, SoldLine], name_of: NameOf) -> Shown | None:
    """What is to be said of the price; None: there is nothing in the cart."""
    cart = offer.cart
    if not cart.lines:
        return None
    spent = sum(piece.points for piece in offer.spends) + offer.lent
    if spent:
        return Spends(spent, offer.pay)
    quote = msgspec.json.decode(offer.quote)
    changed = [line for line in cart.lines if before.get(line.id) != line]
    gone = before.keys() - {line.id for line in cart.lines}
    if len(changed) == 1 and not gone and not cart.tenders:
        (line,) = changed
        (priced,) = (one for one in quote["lines"] if one["id"] == line.id)
        # Goods that nobody here knows have a price only: the digits of a barcode tell a customer nothing.
        return Item(name_of(line.sku) or "", priced["pay"] + priced["redeemed"], offer.pay)
    return Total(offer.pay, quote["list"] - offer.pay)


def _available(offer: Offer) -> int | None:
    """Hundredths that this customer could spend here; None: nobody knows the card."""
    if offer.customer is None:
        return None
    return sum(lot.amount for lot in offer.customer.lots if lot.id != COURTESY)
