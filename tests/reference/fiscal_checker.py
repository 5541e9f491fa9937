"""Is this a fiscal receipt of that priced one? Recomputed from till.md §4, without the product's own code.

The product goes from the quote to the lines; this goes back: it reads the lines as a tax inspector would,
with a printer's arithmetic, and says in words whatever cannot be. Nothing of loyalty/fiscal.py or of
loyalty/money.py is used here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
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
    for line in lines:
        plain = line["pay"] + (line["redeemed"] if provision else 0)
        found = _of_line(line, plain, printed[line["id"]], settings)
        yield from (f"line {line['id']}: {fault}" for fault in found)


def _of_line(line: Json, plain: int, parts: list[Json], settings: Json) -> Iterator[str]:
    total = sum(part["sum"] for part in parts)
    least = ceil(Fraction(line["min_price"] * line["quantity"], PIECE))
    shifts = "shift" in (settings["zero_lines"], settings["weighed"])
    was_lowered = plain < line["list"]  # what nothing was taken off neither gives nor gets
    if total != plain and not (shifts and was_lowered):
        yield f"{total} instead of {plain}, though nothing may move it"
    if sum(part["quantity"] for part in parts) != line["quantity"]:
        yield "not its quantity"
    if total < min(least, plain):
        yield f"{total} is below its minimum of {least}"
    if total > line["list"]:
        yield f"{total} is above its price {line['list']}"
    if line["quantity"] % PIECE == 0 and line["quantity"] > 0 and not line["weighed"]:
        yield from _pieces(line, total >= least, parts)
    else:
        yield from _weighed(plain, parts, settings)


def _pieces(line: Json, is_above_least: bool, parts: list[Json]) -> Iterator[str]:
    prices = [part["price"] for part in parts]
    if len(parts) > 2 or (len(parts) == 2 and prices[1] - prices[0] != 1):
        yield f"pieces at {prices}"
    for part in parts:
        if part["sum_not_product"] or part["sum"] != product(part["price"], part["quantity"]):
            yield f"pieces that are not exact: {part}"
        if part["quantity"] % PIECE or part["quantity"] == 0:
            yield f"parts of pieces: {part}"
        if is_above_least and part["price"] < line["min_price"]:
            yield f"a piece at {part['price']}, below {line['min_price']}"


def _weighed(plain: int, parts: list[Json], settings: Json) -> Iterator[str]:
    if len(parts) != 1:
        yield f"weighed in {len(parts)} parts"
        return
    [part] = parts
    if part["quantity"] == 0:
        return
    differs = part["sum"] != product(part["price"], part["quantity"])
    if part["sum_not_product"] != differs:
        yield f"the flag is {part['sum_not_product']}, and the sum differs: {differs}"
    is_plain = part["sum"] == plain and (settings["weighed"] == "sum" or differs)
    if is_plain and part["price"] != nearest_price(part["sum"], part["quantity"]):
        yield f"at {part['price']}, not {nearest_price(part['sum'], part['quantity'])}"
