"""The slip: what the customer carries home about this purchase and their points.

Pure: `SlipData` in, a `Document` out (text lines, perhaps a QR code, a cut), in
the language of `translate`. What it says follows till.md §5: shop, date, card
(its last four), discounts by rule, points used and earned, when they become
active, what expires soon, the balance. Without a link it says «на 14:05» and
«предварительно», and gives what can be spent here: a balance that may be wrong
is not printed. A second print says КОПИЯ. The last line names the ledger entry:
till-epoch-seq-hash6.

Amounts stand in a column at the right edge; a name that does not fit beside its
amount is wrapped, never cut: cutting a rule's title could change its meaning.
Where it wraps, the amount stands beside its last word, not on a line of its own.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

from agent.drivers.document import Cut, Document, Line, Qr, document_lines, printable, substitute
from loyalty.amounts import Amounts
from loyalty.card import masked
from loyalty.texts import N_, Text

__all__ = [
    "Earned",
    "Expiring",
    "ReturnData",
    "SlipData",
    "SlipLine",
    "document_lines",
    "laid_out",
    "layout",
    "layout_return",
    "masked_card",
    "qr_text",
]

WIDTHS = (32, 42, 48)
HANGING = 2  # blanks before the second line of a name that wraps, so that it does not look like a name
MAX_TEXT_CHARS = 200
"""Longest name, title or header line that is printed; dots stand for the rest."""
MAX_QR_CHARS = 300
"""Longest text of a QR code: larger ones are finer than a customer's telephone reads from thermal paper."""
MASK = "…"
MASKED_CHARS = 5  # the dots and the last four

# Blanks at which no line ends: between a number and its unit («930 мл», «10 %»), within a number («1 234,50»)
# or a multiplication («2 x 89,90»), and after «г.» and «ул.».
_BOUND_BLANK = re.compile(
    r"(?<=\d) (?=[^\W\d]{1,2}\b|%|\d{3}\b)|(?<=\d x) (?=\d)"
    r"|(?<=\b[^\W\d]\.) (?=\w)|(?<=\b[^\W\d]{2}\.) (?=\w)"
)
_BOUND = "\N{NO-BREAK SPACE}"

Translate = Callable[[str], str]

# Translated by example: a translator writes the date pattern of their language.
_DATE_PATTERN = N_("%Y-%m-%d").msgid


@dataclass(frozen=True, slots=True)
class SlipLine:
    """One article: price and pay in minor units, quantity in thousandths."""

    name: str
    price_minor: int
    quantity: int
    pay_minor: int


@dataclass(frozen=True, slots=True)
class Earned:
    """Points earned, in hundredths; `active_from` where they cannot be spent at once."""

    points: int
    active_from: date | None = None


@dataclass(frozen=True, slots=True)
class Expiring:
    """Points, in hundredths, whose last day is `last_day`."""

    points: int
    last_day: date


@dataclass(frozen=True, slots=True)
class SlipData:
    """All that a slip says. Money in minor units, points in hundredths, times in the shop's wall clock.

    `redeemed_minor` is the part of the price that `points_used` paid.
    `as_of` is the time of the last news from the office; `offline` says that there is no link now, so that
    points are preliminary and `available` (what can be spent at this till) is given with that time.
    `available` None: say nothing of a balance. `lent` is the part of `points_used` that this till did not
    hold and lent.
    """

    shop: str
    at: datetime
    till: str
    receipt: str
    ident: str
    list_minor: int
    pay_minor: int
    header: tuple[str, ...] = ()
    footer: tuple[str, ...] = ()
    card: str | None = None
    tier: str | None = None
    lines: tuple[SlipLine, ...] = ()
    discounts: tuple[tuple[str, int], ...] = ()
    redeemed_minor: int = 0
    points_used: int = 0
    earned: tuple[Earned, ...] = ()
    expiring: tuple[Expiring, ...] = ()
    available: int | None = None
    as_of: datetime | None = None
    offline: bool = False
    copy: bool = False
    qr: str | None = None
    lent: int = 0


def layout(data: SlipData, columns: int, translate: Translate) -> Document:
    """The slip for a printer of `columns` letters a line (WIDTHS; others work from 24 on)."""
    page = _Page(columns, translate)
    _head(page, data)
    _goods(page, data)
    _points(page, data)
    for text in data.footer:
        page.centre(text)
    parts = list(page.lines)
    if qr := qr_text(data.qr):
        parts.append(Qr(qr))
    parts += [Line(substitute(data.ident), align="center"), Cut()]
    return tuple(parts)


def qr_text(text: str | None) -> str | None:
    """What a QR code can say: `text` without control characters; None where nothing is left, or too much."""
    clean = printable(text or "")
    return clean if 0 < len(clean) <= MAX_QR_CHARS else None


def masked_card(card: str) -> str:
    """At most its last four, whatever was given: facts may come from a file that somebody else wrote."""
    return card if card.startswith(MASK) and len(card) <= MASKED_CHARS else masked(card)


def _head(page: _Page, data: SlipData) -> None:
    page.title(data.shop)
    for text in data.header:
        page.centre(text)
    if data.copy:
        page.title(page.say(N_("COPY")))
    page.pair(f"{page.date(data.at)} {data.at:%H:%M}", page.say(N_("Till {till}", till=data.till)))
    page.pair(page.say(N_("Receipt {receipt}", receipt=data.receipt)), "")
    page.rule()


def _goods(page: _Page, data: SlipData) -> None:
    for line in data.lines:
        amount = page.money(line.pay_minor)
        if line.quantity == 1000:
            page.pair(line.name, amount)
        else:
            page.pair(line.name, "")
            page.pair(f"  {page.quantity(line.quantity)} x {page.money(line.price_minor)}", amount)
    if data.lines:
        page.rule()
    if data.discounts:
        page.pair(page.say(N_("Without discounts")), page.money(data.list_minor))
    for title, amount_minor in data.discounts:
        page.pair(title, page.money(-amount_minor))
    if data.redeemed_minor:
        page.pair(page.say(N_("Paid with points")), page.money(-data.redeemed_minor))
    page.pair(page.say(N_("TOTAL")), page.money(data.pay_minor), bold=True)


def _points(page: _Page, data: SlipData) -> None:
    page.rule()
    if data.card is None:
        return
    page.pair(page.say(N_("Card {card}", card=masked_card(data.card))), data.tier or "")
    if data.points_used:
        page.pair(page.say(N_("Points used")), page.points(-data.points_used))
    if data.lent:
        page.pair("  " + page.say(N_("of these lent")), page.points(-data.lent))
    for earned in data.earned:
        if data.offline:
            page.pair(page.say(N_("Points earned (preliminary)")), page.points(earned.points, sign=True))
        else:
            page.pair(page.say(N_("Points earned")), page.points(earned.points, sign=True))
        if earned.active_from:
            page.pair("  " + page.say(N_("to be spent from {date}", date=page.date(earned.active_from))), "")
    if data.available is not None and data.offline:
        when = page.moment(data.as_of or data.at, data.at)
        page.pair(page.say(N_("Available here at {time}", time=when)), page.points(data.available), bold=True)
        page.pair("  " + page.say(N_("preliminary: no link to the office")), "")
    elif data.available is not None:
        page.pair(page.say(N_("Points balance")), page.points(data.available), bold=True)
    for expiring in data.expiring:
        text = N_("Use by {date}", date=page.date(expiring.last_day))
        page.pair(page.say(text), page.points(expiring.points))
    page.rule()


@dataclass(frozen=True, slots=True)
class ReturnData:
    """All that the slip of a return says; units as in SlipData. Lines are (name, quantity, kopecks).

    `pending`: the receipt could not be had, so neither money nor points are known here.
    """

    shop: str
    at: datetime
    till: str
    ident: str
    returned: str
    sale: str
    lines: tuple[tuple[str, int, int], ...]
    money_minor: int = 0
    header: tuple[str, ...] = ()
    footer: tuple[str, ...] = ()
    card: str | None = None
    points_back: int = 0
    points_taken: int = 0
    debt: int = 0
    pending: bool = False


def layout_return(data: ReturnData, columns: int, translate: Translate) -> Document:
    """The slip of goods that were given back."""
    page = _Page(columns, translate)
    page.title(data.shop)
    for text in data.header:
        page.centre(text)
    page.title(page.say(N_("RETURN")))
    page.pair(f"{page.date(data.at)} {data.at:%H:%M}", page.say(N_("Till {till}", till=data.till)))
    page.pair(page.say(N_("Return {id}", id=data.returned)), "")
    page.pair(page.say(N_("Receipt {receipt}", receipt=data.sale)), "")
    page.rule()
    for name, quantity, money_minor in data.lines:
        page.pair(name, "")
        page.pair(f"  {page.quantity(quantity)}", "" if data.pending else page.money(money_minor))
    if data.pending:
        page.rule()
        page.pair(page.say(N_("the office will return the points")), "", bold=True)
    else:
        page.pair(page.say(N_("TO BE PAID BACK")), page.money(data.money_minor), bold=True)
        _points_returned(page, data)
    page.rule()
    for text in data.footer:
        page.centre(text)
    return (*page.lines, Line(substitute(data.ident), align="center"), Cut())


def _points_returned(page: _Page, data: ReturnData) -> None:
    if data.card is None and not data.points_back and not data.points_taken:
        return
    page.rule()
    if data.card is not None:
        page.pair(page.say(N_("Card {card}", card=masked_card(data.card))), "")
    if data.points_back:
        page.pair(page.say(N_("Points given back")), page.points(data.points_back, sign=True))
    if data.points_taken:
        page.pair(page.say(N_("Points of the purchase taken back")), page.points(-data.points_taken))
    if data.debt:
        page.pair("  " + page.say(N_("of these spent before, to be earned again")), page.points(data.debt))


def laid_out(data: SlipData | ReturnData, columns: int, translate: Translate) -> Document:
    """The slip of a sale, or of goods that were given back."""
    if isinstance(data, ReturnData):
        return layout_return(data, columns, translate)
    return layout(data, columns, translate)


def _clean(text: str) -> str:
    """What a printer can show of a text, and not more than a slip has room for."""
    clean = substitute(text)
    return clean if len(clean) <= MAX_TEXT_CHARS else clean[: MAX_TEXT_CHARS - 3].rstrip() + "..."


def _wrapped(text: str, columns: int, right: str | None = None) -> list[str]:
    """Lines of at most `columns`; a number keeps its unit.

    With `right`, lines after the first hang; where it has no room beside the last one, the last word goes
    down to it.
    """
    indent = "" if right is None else " " * (len(text) - len(text.lstrip()) + HANGING)
    lines = textwrap.wrap(_BOUND_BLANK.sub(_BOUND, text), columns, subsequent_indent=indent)
    if lines and right and len(lines[-1]) + 1 + len(right) > columns:
        head, _, word = lines[-1].rpartition(" ")
        if head.strip() and len(indent) + len(word) + 1 + len(right) <= columns:
            lines[-1:] = [head.rstrip(), indent + word]
    return [line.replace(_BOUND, " ") for line in lines]


class _Page:
    """Lines of one width in one language."""

    def __init__(self, columns: int, translate: Translate) -> None:
        self.columns, self.translate = columns, translate
        self.lines: list[Line | Qr | Cut] = []
        self._amounts = Amounts(translate)

    def say(self, text: Text) -> str:
        return text.render(self.translate)

    def title(self, text: str) -> None:
        """Large where it fits in one line of large letters, else bold."""
        clean = _clean(text)
        if len(clean) <= self.columns // 2:
            self.lines.append(Line(clean, bold=True, align="center", wide=True))
        else:
            self.lines += [Line(t, bold=True, align="center") for t in _wrapped(clean, self.columns)]

    def centre(self, text: str) -> None:
        self.lines += [Line(t, align="center") for t in _wrapped(_clean(text), self.columns)]

    def rule(self) -> None:
        self.lines.append(Line("-" * self.columns))

    def pair(self, left: str, right: str, *, bold: bool = False) -> None:
        """`left` at the left edge, `right` at the right one; what is too long for one line is wrapped."""
        left, right = _clean(left), _clean(right)
        wrapped = _wrapped(left, self.columns, right) or [""]
        for piece in textwrap.wrap(right, self.columns):
            if len(wrapped[-1]) + 1 + len(piece) > self.columns:
                wrapped.append("")
            wrapped[-1] += piece.rjust(self.columns - len(wrapped[-1]))
        self.lines += [Line(text, bold=bold) for text in wrapped]

    def date(self, day: date) -> str:
        return day.strftime(self.translate(_DATE_PATTERN))

    def moment(self, time: datetime, now: datetime) -> str:
        """The time; with its date where it is another day."""
        clock = f"{time:%H:%M}"
        return clock if time.date() == now.date() else f"{self.date(time)} {clock}"

    def money(self, minor: int) -> str:
        return self._amounts.hundredths(minor)

    def points(self, hundredths: int, *, sign: bool = False) -> str:
        """Points; whole ones without decimals."""
        return self._amounts.hundredths(hundredths, sign=sign).removesuffix(self._amounts.point + "00")

    def quantity(self, thousandths: int) -> str:
        return self._amounts.thousandths(thousandths)
