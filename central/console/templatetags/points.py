"""How numbers look to people: 1 234,50 in Russian, 1,234.50 in English."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django import template
from django.utils.translation import get_language, gettext

from loyalty.texts import Text

register = template.Library()

NARROW_SPACE = "\u202f"
MINUS = "\u2212"


@register.filter
def points(hundredths: int) -> str:
    """An amount in hundredths, grouped, with two decimals."""
    whole, rest = divmod(abs(hundredths), 100)
    sign = MINUS if hundredths < 0 else ""
    grouped = f"{whole:,}"
    if get_language() == "en":
        return f"{sign}{grouped}.{rest:02d}"
    return f"{sign}{grouped.replace(',', NARROW_SPACE)},{rest:02d}"


@register.filter
def signed(hundredths: int) -> str:
    """The same with a plus before what was gained."""
    return f"+{points(hundredths)}" if hundredths > 0 else points(hundredths)


@register.filter
def said(text: Text) -> str:
    """A sentence in the language of the page."""
    return text.render(gettext)


@dataclass(frozen=True, slots=True)
class Amount:
    """Points inside a sentence (`loyalty.texts.Written`)."""

    hundredths: int

    def render(self, _translate: Callable[[str], str]) -> str:
        """As `points` writes them."""
        return points(self.hundredths)
