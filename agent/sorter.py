"""What of a scan is ours, for scanners in mode `forward`: asked in the reader's own thread.

Ours are the cards and coupons of the programme in force. A payment card is nobody's: it goes neither on nor
into any file, and the till says so. A stripe that could not be read is for us to say, too; everything else
is the cash program's, unchanged.

Before the rules are loaded (the first half second of the agent) nothing but payment cards is known, and the
cash program gets all the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty import card
from loyalty.card import Card, Coupon, PaymentCard, ReadError

if TYPE_CHECKING:
    from agent.drivers.msr import Scan
    from agent.till import Till


class Sorter:
    """`till` is set when there is one; read by every scanner's thread."""

    def __init__(self) -> None:
        self.till: Till | None = None

    def keeps(self, scan: Scan) -> bool:
        """Is it for the till?"""
        till = self.till
        templates = till.templates if till is not None else ()
        found = card.read(scan.text, scan.source, templates, scan.symbology)
        return isinstance(found, Card | Coupon | PaymentCard | ReadError)
