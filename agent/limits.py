"""Limits against abuse at the till, which hold without a link (settings `limits`).

A cashier who swipes a card of their own on other people's purchases, or tries card numbers at the keyboard,
does it often. So it is counted, for the day of the shop: sales of one card by one operator, sales of one card
at this till, numbers keyed in by one operator. Above a soft limit the sale goes on, and the office hears of
it (a flag on the entry, an alert); above a hard one the card is refused and the sale goes on without it.

**What is counted.** Sales that were paid, from the ledger itself, so that neither a restart nor a void
forgets them. Keyed numbers are counted in memory: whoever cuts the power to try a few more numbers loses
minutes for each. A new day of the shop begins at nought.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from loyalty.settings import Limit, Limits
from loyalty.texts import N_, Text

OPERATORS_MAX = 1_000  # names that a till counts apart in one day; more are counted as one
NOBODY = ""


@dataclass(frozen=True, slots=True)
class Over:
    """A limit that the next use goes beyond."""

    name: str
    is_hard: bool
    text: Text

    @property
    def code(self) -> str:
        """A word for programs."""
        return f"limit_{self.name}" if self.is_hard else f"limit_{self.name}_soon"


@dataclass(frozen=True, slots=True)
class Sold:
    """A paid sale with a card."""

    account: int
    operator: str | None


class Tally:
    """What was counted on one day of the shop (YYYY-MM-DD)."""

    def __init__(self, day: str, sold: Iterable[Sold] = ()) -> None:
        self.day = day
        self._sales: Counter[int] = Counter()
        self._by_operator: Counter[tuple[int, str]] = Counter()
        self._keyed: Counter[str] = Counter()
        for sale in sold:
            self.sold(sale)

    def sold(self, sale: Sold) -> None:
        """A sale was paid."""
        self._sales[sale.account] += 1
        self._by_operator[sale.account, sale.operator or NOBODY] += 1

    def keyed(self, operator: str | None) -> None:
        """A number was keyed in, found or not."""
        name = operator or NOBODY
        if name not in self._keyed and len(self._keyed) >= OPERATORS_MAX:
            name = NOBODY
        self._keyed[name] += 1

    def card(self, limits: Limits, account: int, operator: str | None) -> Over | None:
        """May this card be used once more? The hard word comes first."""
        by_operator = self._by_operator[account, operator or NOBODY]
        found = [
            _over("card_per_shift", limits.card_per_shift, by_operator),
            _over("receipts_per_day", limits.receipts_per_day, self._sales[account]),
        ]
        return min((one for one in found if one), key=lambda one: not one.is_hard, default=None)

    def typing(self, limits: Limits, operator: str | None) -> Over | None:
        """May this operator key in one number more?"""
        return _over("manual_per_shift", limits.manual_per_shift, self._keyed[operator or NOBODY])


def _over(name: str, limit: Limit, before: int) -> Over | None:
    if limit.hard is not None and before >= limit.hard:
        return Over(name, True, _refusal(name, limit.hard))
    if limit.soft is not None and before >= limit.soft:
        return Over(name, False, _warning(name, before + 1))
    return None


def _refusal(name: str, most: int) -> Text:
    match name:
        case "card_per_shift":
            return N_(
                "uses of this card by this cashier today: {most}, which is the limit: sell without it;"
                " the office can change the limit",
                most=most,
            )
        case "receipts_per_day":
            return N_(
                "uses of this card at this till today: {most}, which is the limit: sell without it;"
                " the office can change the limit",
                most=most,
            )
    return N_(
        "card numbers keyed in by this cashier today: {most}, which is the limit: read the card with the"
        " scanner, or sell without it",
        most=most,
    )


def _warning(name: str, count: int) -> Text:
    match name:
        case "card_per_shift":
            return N_("use {count} of this card by this cashier today; the office is told", count=count)
        case "receipts_per_day":
            return N_("use {count} of this card at this till today; the office is told", count=count)
    return N_("card number {count} keyed in by this cashier today; the office is told", count=count)


class Watch:
    """The tally of today, kept by the till's thread; it is made anew from the ledger when the day begins."""

    def __init__(self, paid_since: Callable[[int], Iterable[Sold]]) -> None:
        self._paid_since = paid_since
        self._tally: Tally | None = None

    def today(self, now: datetime) -> Tally:
        """The tally of the shop's day; `now` is its local time."""
        day = now.date().isoformat()
        if self._tally is None or self._tally.day != day:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
            self._tally = Tally(day, self._paid_since(int(midnight.timestamp())))
        return self._tally

    def sold(self, sale: Sold) -> None:
        """A sale was paid. (A tally that is made later finds it in the ledger.)"""
        if self._tally is not None:
            self._tally.sold(sale)

    def forget(self) -> None:
        """Nothing is limited any more."""
        self._tally = None
