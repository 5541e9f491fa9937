"""Fiscal lines: sums that a fiscal printer can print, whatever discounts and points have made of them.

An independent checker (tests/reference/fiscal_checker.py) recomputes ten thousand random receipts of the real
engine in every mode, and shows on spoiled ones that it would notice.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from loyalty.fiscal import PricedLine, fiscal
from loyalty.settings import Fiscal
from tests.reference.fiscal_checker import faults
from tests.reference.random_requests import random_request
from tests.reference.till_engine import answer

Json = dict[str, Any]
SEED = 20261127
RECEIPTS = 10_000
MODES = [
    Fiscal(bonuses=bonuses, weighed=weighed, zero_lines=zero, full_payment=full)
    for bonuses, weighed, zero, full in itertools.product(
        ("discount", "counter_provision"), ("sum", "shift"), ("keep", "shift"),
        ("counter_provision", "zero_lines"),
    )
]  # fmt: skip


def line(
    pay: int, *, name: str = "1", quantity: int = 1000, price: int = 10_000, redeemed: int = 0, **more: Any
) -> PricedLine:
    list_minor = more.pop("list_minor", price * quantity // 1000)
    return PricedLine(name, price, quantity, list_minor, redeemed, pay, **more)


def printed(*lines: PricedLine, **settings: Any) -> list[tuple[int, int, int]]:
    """(price, quantity, sum) of each line."""
    receipt = fiscal(lines, Fiscal(**settings))
    return [(part.price_minor, part.quantity, part.sum_minor) for part in receipt.lines]


def test_three_pieces_for_a_hundred_roubles() -> None:
    assert printed(line(10_000, quantity=3000)) == [(3333, 2000, 6666), (3334, 1000, 3334)]


def test_pieces_that_divide_evenly_are_one_line() -> None:
    assert printed(line(9_000, quantity=3000)) == [(3000, 3000, 9000)]


def test_a_weighed_line_goes_by_its_sum_and_says_so() -> None:
    cheese = line(67_411, quantity=1333, price=74_900, list_minor=99_842, weighed=True)
    receipt = fiscal([cheese], Fiscal())
    [part] = receipt.lines
    assert (part.price_minor, part.sum_minor) == (50_571, 67_411)
    assert part.sum_not_product is (50_571 * 1333 // 1000 != 67_411)
    whole = line(149_800, quantity=2000, price=74_900, weighed=True)  # exactly two kilograms
    assert fiscal([whole], Fiscal()).sum_not_product == 0


def test_a_printer_that_knows_no_sums_gets_the_kopeck_on_a_line_of_pieces() -> None:
    cheese = line(20_001, quantity=2500, price=10_000, name="cheese", weighed=True)
    milk = line(5_000, quantity=1000, name="milk")
    assert fiscal([cheese, milk], Fiscal()).sum_not_product == 1
    shifted = fiscal([cheese, milk], Fiscal(weighed="shift"))
    assert shifted.sum_not_product == 0
    assert [(part.price_minor, part.sum_minor) for part in shifted.lines] == [(8000, 20_000), (5001, 5001)]
    assert shifted.total_minor == 25_001


def test_where_no_line_can_take_the_kopeck_the_flag_stays() -> None:
    cheese = line(20_001, quantity=2500, price=10_000, weighed=True)
    cigarettes = line(
        21_500, price=21_500, name="cigarettes"
    )  # nothing was taken off it: nothing is put on it
    assert fiscal([cheese, cigarettes], Fiscal(weighed="shift")).sum_not_product == 1


def test_points_lower_the_lines_or_are_a_tender() -> None:
    milk = line(7_000, redeemed=3_000)
    lowered = fiscal([milk], Fiscal())
    assert (lowered.lines[0].sum_minor, lowered.tenders_due) == (7_000, ())
    provided = fiscal([milk], Fiscal(bonuses="counter_provision"))
    assert (provided.lines[0].sum_minor, provided.tenders_due) == (10_000, (("counter_provision", 3_000),))
    assert (provided.total_minor, provided.pay_minor) == (10_000, 7_000)


def test_points_that_pay_all_are_a_counter_provision() -> None:
    """Nothing is left to be paid with money: by the tax service's letter the lines keep their price then."""
    all_points = line(0, redeemed=10_000)
    receipt = fiscal([all_points], Fiscal())
    assert (receipt.total_minor, receipt.pay_minor) == (10_000, 0)
    assert receipt.tenders_due == (("counter_provision", 10_000),)
    assert printed(all_points, full_payment="zero_lines") == [(0, 1000, 0)]


def test_a_gift_gets_its_kopeck_from_the_dearest_line() -> None:
    gift, tea, bread = (
        line(0, name="gift"), line(9_000, name="tea"), line(2_000, quantity=1000, price=3_000, name="bread"),
    )  # fmt: skip
    assert [total for *_, total in printed(gift, tea, bread)] == [0, 9_000, 2_000]
    assert [total for *_, total in printed(gift, tea, bread, zero_lines="shift")] == [1, 8_999, 2_000]


def test_no_line_gives_below_its_minimum_price_and_none_that_the_law_excludes() -> None:
    gift = line(0, name="gift")
    vodka = line(9_000, name="vodka", min_price_minor=9_000)
    cigarettes = line(10_000, name="cigarettes")
    assert [total for *_, total in printed(gift, vodka, cigarettes, zero_lines="shift")] == [
        0, 9_000, 10_000,
    ]  # fmt: skip


def priced_lines(request: Json, quote: Json) -> list[Json]:
    goods = request["catalog"].get("skus", {})
    sold = {one["id"]: one for one in request["receipt"]["lines"]}
    return [
        {
            "id": one["id"],
            "price": sold[one["id"]]["price"],
            "quantity": sold[one["id"]]["quantity"],
            "list": one["list"],
            "redeemed": one["redeemed"],
            "pay": one["pay"],
            "min_price": goods.get(sold[one["id"]]["sku"], {}).get("min_price") or 0,
            "weighed": bool(goods.get(sold[one["id"]]["sku"], {}).get("weighed")),
        }
        for one in quote["lines"]
    ]


def product(lines: list[Json], mode: Fiscal) -> Json:
    """What the product answers, by way of its JSON."""
    found = [
        PricedLine(
            one["id"], one["price"], one["quantity"], one["list"], one["redeemed"], one["pay"],
            one["min_price"], one["weighed"],
        )
        for one in lines
    ]  # fmt: skip
    told: Json = fiscal(found, mode).to_builtins()
    return told


def random_lines(rng: random.Random) -> list[Json]:
    request = random_request(rng)
    return priced_lines(request, answer(request))


def test_ten_thousand_random_receipts() -> None:
    rng = random.Random(SEED)
    seen = {"flagged": 0, "provided": 0, "two prices": 0, "moved": 0}
    for number in range(RECEIPTS):
        lines = random_lines(rng)
        mode = MODES[number % len(MODES)]
        told = product(lines, mode)
        assert faults(lines, msgspec.to_builtins(mode), told) == [], (number, mode, lines, told)
        seen["flagged"] += told["sum_not_product"] > 0
        seen["provided"] += bool(told["tenders_due"])
        seen["two prices"] += len(told["lines"]) > len(lines)
        seen["moved"] += sum(one["sum"] for one in told["lines"][:1]) != lines[0]["pay"]
    assert min(seen.values()) > 50, seen  # each way was gone often enough to mean something


SPOILED: dict[str, Callable[[Json], None]] = {
    "a kopeck more on a line": lambda told: told["lines"][0].update(sum=told["lines"][0]["sum"] + 1),
    "a kopeck less of a price": lambda told: told["lines"][0].update(price=told["lines"][0]["price"] - 1),
    "a flag on pieces": lambda told: told["lines"][0].update(sum_not_product=True),
    "flags that nobody counted": lambda told: told.update(sum_not_product=told["sum_not_product"] + 1),
    "a tender that nobody owes": lambda told: told["tenders_due"].append(
        {"type": "certificate", "amount": 1}
    ),
    "money that the quote does not ask": lambda told: told.update(due=told["due"] + 1),
    "a line that is gone": lambda told: told["lines"].pop(),
    "less goods": lambda told: told["lines"][0].update(quantity=told["lines"][0]["quantity"] - 1000),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_the_checker_notices(spoil: Callable[[Json], None]) -> None:
    lines = [
        {"id": "1", "price": 10_000, "quantity": 3000, "list": 30_000, "redeemed": 500, "pay": 20_000,
         "min_price": 0, "weighed": False},
        {"id": "2", "price": 10_000, "quantity": 2500, "list": 25_000, "redeemed": 0, "pay": 20_001,
         "min_price": 0, "weighed": True},
    ]  # fmt: skip
    told = product(lines, Fiscal())
    settings = msgspec.to_builtins(Fiscal())
    assert faults(lines, settings, told) == []
    spoil(told)
    assert faults(lines, settings, told) != []
