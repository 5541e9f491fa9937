"""What a customer display of two lines of twenty letters says (UnifiedPOS LineDisplay). Pure.

A display cannot wrap and nobody can scroll it: an amount stands whole at the right, and what is beside it is
cut where there is no room: after a word where most of the name is left, else within one, with a full stop. A
number is never cut, for «930» must not become «93». Its letters are those of a receipt printer (code page
866), so text is taken through the same `substitute`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from agent.drivers.document import substitute
from agent.slip import masked_card
from loyalty.amounts import Amounts
from loyalty.texts import N_, Text

COLUMNS, ROWS = 20, 2

Translate = Callable[[str], str]
Rows = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Closed:
    """Nobody sells here now."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The till waits for a customer."""

    shop: str


@dataclass(frozen=True, slots=True)
class Item:
    """Goods were rung up: what they cost, and what all of it costs now (minor units)."""

    name: str
    amount_minor: int
    total_minor: int


@dataclass(frozen=True, slots=True)
class Total:
    """What is to be paid, and what the discounts and points of it are (minor units)."""

    pay_minor: int
    saved_minor: int = 0


@dataclass(frozen=True, slots=True)
class Recognised:
    """A card was read: its last four, and the points (hundredths) that can be spent here; None: not known."""

    card: str
    available: int | None


@dataclass(frozen=True, slots=True)
class Spends:
    """Points (hundredths) that pay a part, and what is left to pay (minor units)."""

    points: int
    pay_minor: int


@dataclass(frozen=True, slots=True)
class Thanks:
    """It is paid: points earned (hundredths), change (minor units) of cash."""

    earned: int = 0
    change_minor: int = 0


Shown: TypeAlias = Closed | Welcome | Item | Total | Recognised | Spends | Thanks


def rows(shown: Shown, translate: Translate) -> Rows:
    """Two rows of exactly twenty letters."""
    say, amounts = _say(translate), Amounts(translate)
    match shown:
        case Closed():
            return _centred(say(N_("The till is closed"))), _centred(say(N_("Please go to another")))
        case Welcome(shop):
            return _centred(say(N_("Welcome!"))), _centred(shop)
        case Item(name, amount_minor, total_minor):
            return (
                _pair(name, amounts.hundredths(amount_minor)),
                _pair(say(N_("Total")), amounts.hundredths(total_minor)),
            )
        case Total(pay_minor, saved_minor):
            saved = _pair(say(N_("Saved")), amounts.hundredths(saved_minor)) if saved_minor else ""
            return _pair(say(N_("TO PAY")), amounts.hundredths(pay_minor)), _centred(saved)
        case Recognised(card, available):
            points = "" if available is None else _pair(say(N_("Points")), _points(amounts, available))
            return _pair(say(N_("Card")), masked_card(card)), points or _centred("")
        case Spends(points, pay_minor):
            return (
                _pair(say(N_("Points spent")), _points(amounts, -points)),
                _pair(say(N_("TO PAY")), amounts.hundredths(pay_minor)),
            )
        case Thanks(earned, change_minor):
            first = say(N_("Thank you!"))
            if change_minor:
                return (
                    _pair(say(N_("Change")), amounts.hundredths(change_minor)),
                    _earned(say, amounts, earned) or _centred(first),
                )
            return _centred(first), _earned(say, amounts, earned) or _centred("")


def _earned(say: Callable[[Text], str], amounts: Amounts, earned: int) -> str:
    if not earned:
        return ""
    return _pair(say(N_("Earned")), _points(amounts, earned, sign=True))


def _say(translate: Translate) -> Callable[[Text], str]:
    return lambda text: text.render(translate)


def _points(amounts: Amounts, hundredths: int, *, sign: bool = False) -> str:
    return amounts.hundredths(hundredths, sign=sign).removesuffix(amounts.point + "00")


def _centred(text: str) -> str:
    return _cut(substitute(text).strip(), COLUMNS).center(COLUMNS)


def _pair(left: str, right: str) -> str:
    """`right` whole at the right edge, a blank between them; an amount without room is not shown at all."""
    left, right = substitute(left).strip(), substitute(right).strip()
    if len(right) > COLUMNS:
        right = ""
    return _cut(left, COLUMNS - len(right) - 1).ljust(COLUMNS - len(right)) + right


def _cut(text: str, room: int) -> str:
    """At most `room` letters of `text`."""
    if len(text) <= room:
        return text
    words = text[: room + 1].rpartition(" ")[0].rstrip(" ,;:-(\"'")
    word = text[len(words) :].strip().partition(" ")[0]
    if len(words) * 3 >= room * 2 or any(letter.isdigit() for letter in word):
        return words
    return text[: room - 1].rstrip(" ,;:-(\"'.") + "." if room > 1 else ""
