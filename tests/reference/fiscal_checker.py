"""Is this a fiscal receipt of that priced one? Recomputed from till.md §4, without the product's own code.

The product goes from the quote to the lines; this goes back: it reads the lines as a tax inspector would,
with a printer's arithmetic, and says in words whatever cannot be. Nothing of loyalty/fiscal.py or of
loyalty/money.py is used here.

Of kopecks that were moved it does not ask how, but whether they may be where they are, and whether more could
have been moved: a zero line is left, or a flag, only where what all lines together can spare is too little.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any

Json = dict[str, Any]
PIECE = 1000


def product(price: int, quantity: int) -> int:
    """What a printer makes of price and quantity: half a kopeck goes up."""
    return floor(Fraction(price * quantity, PIECE) + Fraction(1, 2))


def nearest_price(total: int, quantity: int) -> int:
    """The unit price of a weighed line (till.md §4)."""
    return floor(Fraction(total * PIECE, quantity) + Fraction(1, 2))


def product_within(total: int, quantity: int) -> int:
    """The greatest product that is not above a sum."""
    price = floor(Fraction(total * PIECE, quantity)) + 1
    while product(price, quantity) <= total:
        price += 1  # less than a kilogram: many prices, one product
    while product(price, quantity) > total:
        price -= 1
    return product(price, quantity)


@dataclass(frozen=True)
class Seen:
    """A line before any kopeck was moved (`plain`), and what was printed of it."""

    line: Json
    plain: int
    parts: list[Json]

    @property
    def total(self) -> int:
        return sum(part["sum"] for part in self.parts)

    @property
    def moved(self) -> int:
        return self.total - self.plain

    @property
    def pieces(self) -> int | None:
        """None = weighed."""
        return (
            None if self.line["weighed"] or self.line["quantity"] % PIECE else self.line["quantity"] // PIECE
        )

    @property
    def least(self) -> int:
        """The minimum price, as far as the engine itself kept it."""
        return min(ceil(Fraction(self.line["min_price"] * self.line["quantity"], PIECE)), self.plain)

    @property
    def kopecks(self) -> int:
        return 1 if self.pieces is None else self.pieces

    @property
    def is_untouchable(self) -> bool:
        return bool(self.line["pay"] == self.line["list"])

    def spare(self, total: int) -> int:
        """What it may give, when it stands at `total`."""
        return 0 if self.is_untouchable else max(0, total - max(self.least, self.kopecks))

    def room(self, total: int) -> int:
        """What may be put on it, when it stands at `total`; any sum is exact on pieces only."""
        return max(0, self.line["list"] - total) if self.pieces and total and not self.is_untouchable else 0


def faults(lines: list[Json], settings: Json, answer: Json) -> list[str]:
    """Everything that cannot be. `lines` = priced ones (id, price, quantity, list, redeemed, pay, min_price,

    weighed); `settings` = bonuses, weighed, zero_lines, full_payment; `answer` = the JSON of the product.
    """
    return list(_faults(lines, settings, answer))


def _faults(lines: list[Json], settings: Json, answer: Json) -> Iterator[str]:
    paid = sum(line["pay"] for line in lines)
    points = sum(line["redeemed"] for line in lines)
    provision = points > 0 and (
        settings["bonuses"] == "counter_provision"
        or (paid == 0 and settings["full_payment"] == "counter_provision")
    )
    due = [{"type": "counter_provision", "amount": points}] if provision else []
    if answer["tenders_due"] != due:
        yield f"tenders_due {answer['tenders_due']}, not {due}"
    if answer["due"] != paid:
        yield f"due {answer['due']}, but the quote says {paid}"
    total = paid + (points if provision else 0)
    printed: defaultdict[str, list[Json]] = defaultdict(list)
    for part in answer["lines"]:
        printed[part["id"]].append(part)
    if not answer["total"] == total == sum(part["sum"] for part in answer["lines"]):
        yield f"total {answer['total']}, lines {sum(part['sum'] for part in answer['lines'])}, due {total}"
    flagged = [part for part in answer["lines"] if part["sum_not_product"]]
    if answer["sum_not_product"] != len(flagged):
        yield f"{answer['sum_not_product']} flags counted, {len(flagged)} are there"
    if list(printed) != [line["id"] for line in lines]:
        yield "the lines are others, or in another order"
        return
    seen = [
        Seen(line, line["pay"] + (line["redeemed"] if provision else 0), printed[line["id"]])
        for line in lines
    ]  # fmt: skip
    for one in seen:
        found = (*_printed(one), *_moved(one, settings), *_left_undone(one, seen, settings))
        yield from (f"line {one.line['id']}: {fault}" for fault in found)
    yield from _wrong_turn(seen, settings)


def _printed(one: Seen) -> Iterator[str]:
    if sum(part["quantity"] for part in one.parts) != one.line["quantity"]:
        yield "not its quantity"
    if one.pieces:
        yield from _pieces(one)
    elif len(one.parts) != 1:
        yield f"weighed in {len(one.parts)} parts"
    else:
        [part] = one.parts
        differs = part["sum"] != product(part["price"], part["quantity"])
        if part["sum_not_product"] != differs:
            yield f"the flag is {part['sum_not_product']}, and the sum differs: {differs}"
        if part["quantity"] and part["price"] != nearest_price(part["sum"], part["quantity"]):
            yield f"at {part['price']}, not {nearest_price(part['sum'], part['quantity'])}"


def _pieces(one: Seen) -> Iterator[str]:
    prices = [part["price"] for part in one.parts]
    if len(prices) > 2 or (len(prices) == 2 and prices[1] - prices[0] != 1):
        yield f"pieces at {prices}"
    for part in one.parts:
        if part["sum_not_product"] or part["sum"] * PIECE != part["price"] * part["quantity"]:
            yield f"pieces that are not exact: {part}"
        if part["quantity"] % PIECE or part["quantity"] == 0:
            yield f"parts of pieces: {part}"
        if one.total >= one.line["min_price"] * one.kopecks and part["price"] < one.line["min_price"]:
            yield f"a piece at {part['price']}, below {one.line['min_price']}"


def _moved(one: Seen, settings: Json) -> Iterator[str]:
    """May the sum be what it is?"""
    fills, fits = settings["zero_lines"] == "shift", settings["weighed"] == "shift"
    is_filled = fills and one.plain == 0 and one.line["quantity"] > 0
    if one.total < one.least:
        yield f"{one.total} is below its minimum of {one.least}"
    if one.total > one.line["list"]:
        yield f"{one.total} is above its price {one.line['list']}"
    if one.moved and one.is_untouchable:
        yield f"{one.total} instead of {one.plain}, though nothing was taken off it"
    if one.moved > 0 and not is_filled and not (fits and one.pieces and one.plain):
        yield f"got {one.moved}, though nothing may be put on it"
    if one.moved > 0 and is_filled and not (fits and one.pieces) and one.total != one.kopecks:
        yield f"a zero line got {one.total}, not a kopeck a piece"
    if one.moved < 0 and not fills and not (fits and one.pieces is None):
        yield f"gave {-one.moved}, though nothing may be taken from it"
    if 0 < one.total < one.kopecks and (one.moved < 0 or one.plain == 0):
        yield f"{one.total} for {one.kopecks} pieces: some of them cost nothing now"
    if one.moved < 0 and one.total == 0:
        yield "became a zero line"
    if one.moved < 0 and not fills and one.total != product_within(one.plain, one.line["quantity"]):
        yield f"{one.total} is not the nearest product below {one.plain}"


def _left_undone(one: Seen, seen: list[Seen], settings: Json) -> Iterator[str]:
    """What is left as it was must be so for a reason that still holds: no line gets richer by giving."""
    if settings["zero_lines"] == "shift" and one.total == 0 < one.line["quantity"]:
        spare = sum(other.spare(other.total) for other in seen)
        if one.line["list"] >= one.kopecks <= spare:
            yield f"stays 0, though the others can spare {spare}"
    if (
        settings["weighed"] == "shift"
        and one.pieces is None
        and one.line["quantity"]
        and not one.is_untouchable
    ):
        below = product_within(one.total, one.line["quantity"])
        room = sum(other.room(other.total) for other in seen)
        if max(one.least, 1) <= below < one.total <= below + room:
            yield f"keeps its flag, though pieces have room for {room}"


def _wrong_turn(seen: list[Seen], settings: Json) -> Iterator[str]:
    """Largest first, ties by position: who gave or took while an earlier one of the queue still could?

    Asked where one line alone was the cause; with several the queue changes on the way.
    """
    filled = [one for one in seen if one.plain == 0 < one.total]
    fitted = [one for one in seen if one.moved < 0]
    if settings["weighed"] == "sum" and len(filled) == 1:
        queue = sorted((one for one in seen if one.spare(one.plain)), key=lambda one: -one.plain)
        left = [one.spare(one.total) for one in queue]
    elif settings["zero_lines"] == "keep" and len(fitted) == 1:
        queue = sorted((one for one in seen if one.room(one.plain)), key=lambda one: -one.room(one.plain))
        left = [one.room(one.total) for one in queue]
    else:
        return
    for place, one in enumerate(queue):
        if one.moved and any(left[:place]):
            yield f"line {one.line['id']}: moved before its turn"
