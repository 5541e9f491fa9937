"""How amounts are written: 1 234,50 in Russian, 1,234.50 in English. Integers in, text out.

`Money`, `Points` and `Quantity` stand in the places of a `Text` and are written
in the language in which the sentence is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loyalty.texts import N_

# Translated by example: a translator writes the same amount as their language does.
_PATTERN = N_("1,234.50").msgid


class Amounts:
    """Writes numbers in the language of `translate` (a gettext function)."""

    def __init__(self, translate: Callable[[str], str]) -> None:
        pattern = translate(_PATTERN)
        self._group, self.point = (pattern[1], pattern[5]) if len(pattern) == len(_PATTERN) else (" ", ",")

    def hundredths(self, value: int, *, sign: bool = False) -> str:
        """Money in minor units, or points: -123450 -> "-1 234,50". `sign`: a plus is written too."""
        whole, rest = divmod(abs(value), 100)
        mark = "-" if value < 0 else "+" if sign else ""
        return f"{mark}{whole:,}".replace(",", self._group) + f"{self.point}{rest:02}"

    def thousandths(self, value: int) -> str:
        """A quantity: 1250 -> "1,25", 2000 -> "2"."""
        whole, rest = divmod(value, 1000)
        return f"{whole}{self.point}{rest:03}".rstrip("0") if rest else str(whole)


@dataclass(frozen=True, slots=True)
class Money:
    """Kopecks, written as roubles."""

    minor: int

    def render(self, translate: Callable[[str], str]) -> str:
        """`1 234,50 ₽`."""
        return f"{Amounts(translate).hundredths(self.minor)}\u00a0₽"


@dataclass(frozen=True, slots=True)
class Points:
    """Hundredths of a point."""

    hundredths: int

    def render(self, translate: Callable[[str], str]) -> str:
        """`44,00`."""
        return Amounts(translate).hundredths(self.hundredths)


@dataclass(frozen=True, slots=True)
class Quantity:
    """Thousandths of a piece or kilogram."""

    thousandths: int

    def render(self, translate: Callable[[str], str]) -> str:
        """`1,25`."""
        return Amounts(translate).thousandths(self.thousandths)


@dataclass(frozen=True, slots=True)
class Percent:
    """Basis points, written as per cent."""

    bp: int

    def render(self, translate: Callable[[str], str]) -> str:
        """`12,5 %`."""
        whole, rest = divmod(self.bp, 100)
        part = f"{Amounts(translate).point}{rest:02}".rstrip("0") if rest else ""
        return f"{whole}{part}\u00a0%"
