"""What a customer display of two lines of twenty letters says (UnifiedPOS LineDisplay). Pure.

A display cannot wrap and nobody can scroll it: an amount stands whole at the right, and what is beside it is
cut where there is no room: after a word where most of the name is left, else within one, with a full stop. A
number is never cut, for «930» must not become «93». Its letters are those of a receipt printer (code page
866), so text is taken through the same `substitute`; a display that has no Cyrillic brings its own `letters`,
which come before the rows are laid out, for one letter may become two.
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
Letters = Callable[[str], str]
"""Text as a display can show it, without control characters; it may grow longer."""
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


def rows(shown: Shown, translate: Translate, letters: Letters = substitute) -> Rows:
    """Two rows of exactly twenty letters. `letters`: what this display can show (display_commands.py)."""
    return _Rows(translate, letters).of(shown)


class _Rows:
    """Rows in one language, in the letters of one display."""

    def __init__(self, translate: Translate, letters: Letters) -> None:
        self._translate, self._letters = translate, letters
        self._amounts = Amounts(translate)

    def of(self, shown: Shown) -> Rows:
        money = self._amounts.hundredths
        match shown:
            case Closed():
                return self._said(N_("The till is closed")), self._said(N_("Please go to another"))
            case Welcome(shop):
                return self._said(N_("Welcome!")), self._centred(shop)
            case Item(name, amount_minor, total_minor):
                return self._pair(name, money(amount_minor)), self._say(N_("Total"), money(total_minor))
            case Total(pay_minor, saved_minor):
                saved = self._say(N_("Saved"), money(saved_minor)) if saved_minor else self._centred("")
                return self._say(N_("TO PAY"), money(pay_minor)), saved
            case Recognised(card, available):
                points = self._centred("")
                if available is not None:
                    points = self._say(N_("Points"), self._points(available))
                return self._say(N_("Card"), masked_card(card)), points
            case Spends(points_spent, pay_minor):
                return (
                    self._say(N_("Points spent"), self._points(-points_spent)),
                    self._say(N_("TO PAY"), money(pay_minor)),
                )
            case Thanks(earned, change_minor):
                thanks = self._said(N_("Thank you!"))
                said = self._say(N_("Earned"), self._points(earned, sign=True)) if earned else None
                if change_minor:
                    return self._say(N_("Change"), money(change_minor)), said or thanks
                return thanks, said or self._centred("")

    def _points(self, hundredths: int, *, sign: bool = False) -> str:
        return self._amounts.hundredths(hundredths, sign=sign).removesuffix(self._amounts.point + "00")

    def _said(self, text: Text) -> str:
        return self._centred(text.render(self._translate))

    def _say(self, text: Text, right: str) -> str:
        return self._pair(text.render(self._translate), right)

    def _centred(self, text: str) -> str:
        return _cut(self._letters(text).strip(), COLUMNS).center(COLUMNS)

    def _pair(self, left: str, right: str) -> str:
        """`right` whole at the right edge, a blank between; an amount without room is not shown at all."""
        left, right = self._letters(left).strip(), self._letters(right).strip()
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
