"""A priced receipt as lines of a fiscal one (54-FZ; till.md §4, docs/fiscal.md).

A fiscal printer takes price and quantity a line, and its own law is that what stands on the lines adds up to
what is paid. A discount makes sums that no price times quantity gives, so

    pieces    n pieces for a sum s: (n - r) at u and r at u + 1 kopeck, u = s // n, r = s % n: exact, always
    weighed   one line at the nearest price; where price times quantity is not the sum, it carries the sum
              and says so (`sum_not_product`), or, for printers that know no sums, is lowered to the nearest
              product below, and the kopecks left over go to lines of pieces, where any sum is exact

Points lower the lines, as a discount; where the shop's accountant wants it otherwise, or points pay the whole
receipt, they are a tender of their own, a counter-provision, and the lines stay as they were before them.

**What moves never.** A line that nothing was taken off (tobacco, whatever the law excludes) neither gives nor
gets a kopeck. No line falls under its minimum price, and none rises above its price without discounts. The
total is the same in every mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from loyalty.money import THOUSANDTHS, amount_of, even_parts, least_amount_of, pieces_of, unit_price_of
from loyalty.settings import Fiscal

COUNTER_PROVISION = "counter_provision"


@dataclass(frozen=True, slots=True)
class PricedLine:
    """A line of a quote: minor units, thousandths. `list - discounts - redeemed = pay`."""

    id: str
    price_minor: int
    quantity: int
    list_minor: int
    redeemed_minor: int
    pay_minor: int
    min_price_minor: int = 0
    weighed: bool = False


@dataclass(frozen=True, slots=True)
class FiscalLine:
    """A line for the printer. `sum_not_product`: print `sum_minor`, for price times quantity is not it."""

    id: str
    price_minor: int
    quantity: int
    sum_minor: int
    sum_not_product: bool = False


@dataclass(frozen=True, slots=True)
class FiscalReceipt:
    """The lines, and how they are paid: `tenders_due` otherwise than with money, `pay_minor` with money.

    `total_minor` is both together and the sum of the lines; `sum_not_product` counts lines with that flag.
    """

    lines: tuple[FiscalLine, ...]
    tenders_due: tuple[tuple[str, int], ...]
    total_minor: int
    pay_minor: int
    sum_not_product: int

    def to_builtins(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "lines": [
                {
                    "id": line.id,
                    "price": line.price_minor,
                    "quantity": line.quantity,
                    "sum": line.sum_minor,
                    "sum_not_product": line.sum_not_product,
                }
                for line in self.lines
            ],
            "tenders_due": [{"type": kind, "amount": amount} for kind, amount in self.tenders_due],
            "total": self.total_minor,
            "due": self.pay_minor,
            "sum_not_product": self.sum_not_product,
        }


def fiscal(lines: Sequence[PricedLine], settings: Fiscal) -> FiscalReceipt:
    """The fiscal receipt of a priced one."""
    pay_minor = sum(line.pay_minor for line in lines)
    redeemed_minor = sum(line.redeemed_minor for line in lines)
    is_whole = pay_minor == 0 and settings.full_payment == COUNTER_PROVISION
    provided = redeemed_minor if is_whole or settings.bonuses == COUNTER_PROVISION else 0
    ways = [_Way.of(line, with_points=provided > 0) for line in lines]
    if settings.zero_lines == "shift":
        _fill_zero_lines(ways)
    if settings.weighed == "shift":
        _fit_weighed(ways)
    printed = tuple(part for way in ways for part in way.parts())
    return FiscalReceipt(
        lines=printed,
        tenders_due=((COUNTER_PROVISION, provided),) if provided else (),
        total_minor=pay_minor + provided,
        pay_minor=pay_minor,
        sum_not_product=sum(part.sum_not_product for part in printed),
    )


@dataclass(slots=True)
class _Way:
    """A line on its way to the printer. `pieces` None: weighed."""

    line: PricedLine
    pieces: int | None
    sum_minor: int
    least_minor: int

    @classmethod
    def of(cls, line: PricedLine, *, with_points: bool) -> _Way:
        sum_minor = line.pay_minor + (line.redeemed_minor if with_points else 0)
        return cls(
            line=line,
            pieces=None if line.weighed else pieces_of(line.quantity),
            sum_minor=sum_minor,
            least_minor=min(least_amount_of(line.min_price_minor, line.quantity), sum_minor),
        )

    @property
    def kopecks(self) -> int:
        """The least sum that is no zero line: a kopeck a piece."""
        return 1 if self.pieces is None else self.pieces

    @property
    def was_lowered(self) -> bool:
        return self.line.pay_minor < self.line.list_minor

    @property
    def can_give(self) -> int:
        """Kopecks above the minimum price and above a kopeck a piece."""
        return max(self.sum_minor - max(self.least_minor, self.kopecks), 0) if self.was_lowered else 0

    @property
    def can_take(self) -> int:
        """Kopecks below the price without discounts; pieces only, for there any sum is exact."""
        return self.line.list_minor - self.sum_minor if self.pieces and self.sum_minor else 0

    def parts(self) -> Iterable[FiscalLine]:
        line, sum_minor = self.line, self.sum_minor
        if line.quantity == 0:
            yield FiscalLine(line.id, line.price_minor, 0, sum_minor)
        elif self.pieces is not None:
            yield from _split(line, self.pieces, sum_minor)
        else:
            # A line that was fitted gets back the very price it was fitted to: above one kilogram a product
            # has one price, and up to one kilogram every sum is a product and nothing is fitted.
            price = unit_price_of(sum_minor, line.quantity)
            differs = amount_of(price, line.quantity) != sum_minor
            yield FiscalLine(line.id, price, line.quantity, sum_minor, differs)


def _split(line: PricedLine, pieces: int, sum_minor: int) -> Iterable[FiscalLine]:
    low_minor, dearer = even_parts(sum_minor, pieces)
    for price, count in ((low_minor, pieces - dearer), (low_minor + 1, dearer)):
        if count:
            yield FiscalLine(line.id, price, count * THOUSANDTHS, price * count)


def _fill_zero_lines(ways: Sequence[_Way]) -> None:
    """A kopeck a piece for lines of 0, from those that have most; where it is not there, the line stays 0."""
    for way in ways:
        needed = way.kopecks
        if way.sum_minor != 0 or way.line.quantity == 0 or way.line.list_minor < needed:
            continue
        givers = sorted((other for other in ways if other.can_give), key=lambda other: -other.sum_minor)
        if sum(giver.can_give for giver in givers) < needed:
            continue
        way.sum_minor = needed
        for giver in givers:
            given = min(needed, giver.can_give)
            giver.sum_minor -= given
            needed -= given


def _fit_weighed(ways: Sequence[_Way]) -> None:
    """Weighed lines to products of price and quantity, where lines of pieces can take what is left over."""
    for way in ways:
        quantity = way.line.quantity
        if way.pieces is not None or quantity == 0 or not way.was_lowered:
            continue
        price = unit_price_of(way.sum_minor, quantity)
        product = amount_of(price, quantity)
        if product > way.sum_minor:
            product = amount_of(price - 1, quantity)  # the price was the nearest: one kopeck less is below
        left = way.sum_minor - product
        takers = sorted((other for other in ways if other.can_take), key=lambda other: -other.can_take)
        # No weighed line becomes a zero line for the sake of a kopeck.
        if product < max(way.least_minor, 1) or left > sum(taker.can_take for taker in takers):
            continue
        way.sum_minor = product
        for taker in takers:
            taken = min(left, taker.can_take)
            taker.sum_minor += taken
            left -= taken
