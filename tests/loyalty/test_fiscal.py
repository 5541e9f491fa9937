"""Fiscal lines: sums that a fiscal printer can print, whatever discounts and points have made of them.

First the stories, as a shopkeeper would tell them. Then an independent checker
(tests/reference/fiscal_checker.py) recomputes ten thousand random receipts of the real engine, and as many
baskets made to be awkward, in every mode; and it shows on spoiled ones, and on a product with faults planted
in it, that it would notice.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import loyalty.fiscal
from loyalty.fiscal import PricedLine, fiscal
from loyalty.settings import Fiscal
from tests.reference.fiscal_checker import faults
from tests.reference.random_requests import random_request
from tests.reference.till_engine import answer

Json = dict[str, Any]
SEED = 20261127
RECEIPTS = 10_000
MODES = [
    msgspec.convert(dict(zip(Fiscal.__struct_fields__, words, strict=True)), Fiscal)
    for words in itertools.product(
        ("discount", "counter_provision"), ("sum", "shift"), ("keep", "shift"),
        ("counter_provision", "zero_lines"),
    )
]  # fmt: skip


def line(
    pay: int, *, name: str = "1", quantity: int = 1000, price: int = 10_000, redeemed: int = 0, **more: Any
) -> PricedLine:
    list_minor = (2 * price * quantity + 1000) // 2000
    return PricedLine(name, price, quantity, list_minor, redeemed, pay, **more)


def printed(*lines: PricedLine, **settings: Any) -> list[tuple[int, int, int]]:
    """(price, quantity, sum) of each line."""
    receipt = fiscal(lines, Fiscal(**settings))
    return [(part.price_minor, part.quantity, part.sum_minor) for part in receipt.lines]


def sums(*lines: PricedLine, **settings: Any) -> list[int]:
    return [total for *_, total in printed(*lines, **settings)]


def test_three_pieces_for_a_hundred_roubles() -> None:
    """Two at 33.33 and one at 33.34: the customer pays 100.00, and the printer multiplies to 100.00."""
    assert printed(line(10_000, quantity=3000)) == [(3333, 2000, 6666), (3334, 1000, 3334)]


def test_pieces_that_divide_evenly_are_one_line() -> None:
    assert printed(line(9_000, quantity=3000)) == [(3000, 3000, 9000)]


def test_a_third_of_a_kilogram_of_cheese_is_exact() -> None:
    """333 g at 749.00 less 10 %: 224.48. Up to one kilogram there is always a price that makes the sum."""
    cheese = line(22_448, quantity=333, price=74_900, weighed=True)
    assert printed(cheese) == [(67_411, 333, 22_448)]
    assert fiscal([cheese], Fiscal()).sum_not_product == 0


def test_more_than_a_kilogram_goes_by_its_sum_and_says_so() -> None:
    """2.5 kg for 200.01: at 80.00 it would be 200.00, at 80.01 already 200.03."""
    cheese = line(20_001, quantity=2500, weighed=True)
    receipt = fiscal([cheese], Fiscal())
    [part] = receipt.lines
    assert (part.price_minor, part.sum_minor, part.sum_not_product) == (8000, 20_001, True)
    assert (receipt.total_minor, receipt.sum_not_product) == (20_001, 1)


def test_goods_that_are_weighed_are_one_line_even_at_three_kilograms_sharp() -> None:
    """Half a litre of something sold by the piece is weighed as well: it is no whole piece."""
    assert printed(line(10_000, quantity=3000, weighed=True)) == [(3333, 3000, 10_000)]
    assert printed(line(4_000, quantity=500)) == [(8000, 500, 4_000)]


def test_a_printer_that_knows_no_sums_gets_the_kopeck_on_a_line_of_pieces() -> None:
    cheese = line(20_001, quantity=2500, name="cheese", weighed=True)
    milk = line(5_000, name="milk")
    assert fiscal([cheese, milk], Fiscal()).sum_not_product == 1
    shifted = fiscal([cheese, milk], Fiscal(weighed="shift"))
    assert [(part.price_minor, part.sum_minor) for part in shifted.lines] == [(8000, 20_000), (5001, 5001)]
    assert (shifted.sum_not_product, shifted.total_minor) == (0, 25_001)


def test_the_kopeck_goes_where_most_was_taken_off() -> None:
    """Juice has 60.00 of discount, milk 50.00. Of two alike the first gets it."""
    cheese = line(20_001, quantity=2500, name="cheese", weighed=True)
    milk, juice = line(5_000, name="milk"), line(4_000, name="juice")
    assert sums(cheese, milk, juice, weighed="shift") == [20_000, 5_000, 4_001]
    assert sums(cheese, milk, line(5_000, name="kefir"), weighed="shift") == [20_000, 5_001, 5_000]


def test_kopecks_that_are_too_many_for_one_line_are_put_on_several() -> None:
    """Ten kilograms for 800.04: at 80.00 it is 800.00, and each of the others has little room."""
    cheese = line(80_004, quantity=10_000, name="cheese", weighed=True)
    milk, juice = line(9_997, name="milk"), line(9_998, name="juice")
    assert sums(cheese, milk, juice, weighed="shift") == [80_000, 10_000, 9_999]


def test_where_no_line_can_take_the_kopeck_the_flag_stays() -> None:
    """Nothing was taken off the cigarettes: a kopeck on them, and they cost more than the shelf says."""
    cheese = line(20_001, quantity=2500, weighed=True)
    cigarettes = line(21_500, price=21_500, name="cigarettes")
    receipt = fiscal([cheese, cigarettes], Fiscal(weighed="shift"))
    assert [part.sum_minor for part in receipt.lines] == [20_001, 21_500]
    assert receipt.sum_not_product == 1


def test_a_gift_of_zero_takes_no_kopeck_but_one_that_was_filled_may() -> None:
    cheese, gift = line(20_002, quantity=2500, weighed=True), line(0, name="gift")
    assert sums(cheese, gift, weighed="shift") == [20_002, 0]
    assert sums(cheese, gift, weighed="shift", zero_lines="shift") == [20_000, 2]


def test_a_weighed_line_at_its_minimum_price_keeps_its_flag() -> None:
    """Roe, 2.5 kg: where the product below its sum is below its minimum price, it may not give the kopeck."""
    milk = line(5_000, name="milk")
    at_least = line(20_001, quantity=2500, name="roe", weighed=True, min_price_minor=8_000)
    assert sums(at_least, milk, weighed="shift") == [20_000, 5_001]
    above = line(20_004, quantity=2500, name="roe", weighed=True, min_price_minor=8_001)
    assert sums(above, milk, weighed="shift") == [20_003, 5_001]
    tight = line(20_004, quantity=2500, name="roe", weighed=True, min_price_minor=8_002)
    assert sums(tight, milk, weighed="shift") == [20_004, 5_000]


def test_no_weighed_line_is_fitted_down_to_nothing() -> None:
    """2.5 kg for one kopeck: the only product below is 0."""
    assert sums(line(1, quantity=2500, weighed=True), line(5_000, name="milk"), weighed="shift") == [1, 5_000]


def test_points_lower_the_lines_or_are_a_tender() -> None:
    """Milk for 100.00, of which 30.00 with points."""
    milk = line(7_000, redeemed=3_000)
    lowered = fiscal([milk], Fiscal())
    assert (lowered.lines[0].sum_minor, lowered.tenders_due) == (7_000, ())
    provided = fiscal([milk], Fiscal(bonuses="counter_provision"))
    assert (provided.lines[0].sum_minor, provided.tenders_due) == (10_000, (("counter_provision", 3_000),))
    assert (provided.total_minor, provided.pay_minor) == (10_000, 7_000)


def test_points_that_pay_all_are_lines_of_zero_or_a_counter_provision() -> None:
    """By default points are a discount here as well, and the line is 0; or the shop has it as a tender."""
    all_points = line(0, redeemed=10_000)
    receipt = fiscal([all_points], Fiscal(full_payment="counter_provision"))
    assert (receipt.total_minor, receipt.pay_minor) == (10_000, 0)
    assert receipt.tenders_due == (("counter_provision", 10_000),)
    zero = fiscal([all_points], Fiscal(zero_lines="shift"))
    assert (zero.lines[0].sum_minor, zero.total_minor, zero.tenders_due) == (0, 0, ())


def test_a_basket_that_discounts_alone_made_free_is_no_counter_provision() -> None:
    receipt = fiscal([line(0)], Fiscal())
    assert (receipt.total_minor, receipt.tenders_due) == (0, ())


def test_a_gift_gets_its_kopeck_from_the_dearest_line() -> None:
    gift, tea = line(0, name="gift"), line(9_000, name="tea")
    bread = line(2_000, price=3_000, name="bread")
    assert sums(gift, tea, bread) == [0, 9_000, 2_000]
    assert sums(gift, tea, bread, zero_lines="shift") == [1, 8_999, 2_000]
    assert sums(gift, bread, tea, line(9_000, name="coffee"), zero_lines="shift") == [1, 2_000, 8_999, 9_000]


def test_a_line_that_points_pay_as_a_tender_may_give_the_kopeck() -> None:
    gift, milk = line(0, name="gift"), line(7_000, redeemed=3_000, name="milk")
    assert sums(gift, milk, bonuses="counter_provision", zero_lines="shift") == [1, 9_999]


def test_three_gifts_get_a_kopeck_each_and_a_weighed_one_gets_one_in_all() -> None:
    """Of three pens, 3 kopecks; of 333 g of nuts, one. All from the tea."""
    pens, nuts = line(0, quantity=3000, name="pens"), line(0, quantity=333, name="nuts", weighed=True)
    tea = line(9_000, name="tea")
    assert printed(pens, nuts, tea, zero_lines="shift") == [(1, 3000, 3), (3, 333, 1), (8_996, 1000, 8_996)]


def test_a_gift_stays_at_zero_where_the_others_cannot_give_it_whole() -> None:
    """A bun for 2 kopecks can spare one: not enough for two pens, and half a gift helps no printer."""
    pens, bun = line(0, quantity=2000, name="pens"), line(2, name="bun")
    assert sums(pens, bun, zero_lines="shift") == [0, 2]
    assert sums(line(0, name="pen"), bun, zero_lines="shift") == [1, 1]


def test_no_line_gives_below_its_minimum_price_and_none_that_the_law_excludes() -> None:
    gift = line(0, name="gift")
    vodka = line(9_000, name="vodka", min_price_minor=9_000)
    cigarettes = line(10_000, name="cigarettes")
    assert sums(gift, vodka, cigarettes, zero_lines="shift") == [0, 9_000, 10_000]
    assert sums(gift, line(9_001, name="vodka", min_price_minor=9_000), zero_lines="shift") == [1, 9_000]


def test_no_bottle_of_three_is_below_the_minimum_price() -> None:
    """Three for 269.99 at 89.99 at least: two of them stand a kopeck above it, none below."""
    assert printed(line(26_999, quantity=3000, min_price_minor=8_999)) == [
        (8_999, 1000, 8_999), (9_000, 2000, 18_000),
    ]  # fmt: skip


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_nothing_bought_and_nothing_asked_for_it_is_printed_as_it_is(mode: Fiscal) -> None:
    nothing = [
        line(0, name="returned", quantity=0),
        line(0, name="weighed", quantity=0, weighed=True),
        line(0, name="bag", price=0),
        line(0, name="sample", price=0, quantity=50),
    ]
    receipt = fiscal([*nothing, line(9_000, name="tea")], mode)
    assert [part.sum_minor for part in receipt.lines] == [0, 0, 0, 0, 9_000]
    assert fiscal([], mode).to_builtins() == {
        "lines": [], "tenders_due": [], "total": 0, "due": 0, "sum_not_product": 0,
    }  # fmt: skip


def test_a_plain_receipt_is_printed_alike_in_every_mode_of_moving() -> None:
    """Where nothing is weighed and nothing is free, the modes have nothing to do."""
    milk, bread = line(9_000, quantity=3000, name="milk"), line(2_000, name="bread")
    assert len({tuple(printed(milk, bread, **msgspec.structs.asdict(mode))) for mode in MODES}) == 1


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


def engine_lines(rng: random.Random) -> list[Json]:
    request = random_request(rng)
    return priced_lines(request, answer(request))


def awkward_lines(rng: random.Random) -> list[Json]:
    """A basket where kopecks have to move and hardly can: heavy lines, gifts, minimum prices, little room."""
    lines = []
    for number in range(rng.randint(1, 6)):
        weighed = rng.random() < 0.4
        weights, pieces = (0, 50, 333, 1500, 2500, 7777, 50_000), (1000, 1000, 2000, 7000, 500, 2500)
        quantity = rng.choice(weights if weighed else pieces)
        price = rng.choice((0, 1, 2, 3, 99, 100, 10_000))
        full = (2 * price * quantity + 1000) // 2000
        off = rng.choice((0, 0, 1, 2, full // 10, full // 3, full))
        net = max(full - off, 0)
        redeemed = rng.choice((0, 0, 0, 1, net // 2, net))
        min_price = rng.choice((0, 0, price // 3, 9 * price // 10))
        pay = net - min(redeemed, net)
        lines.append(
            {
                "id": str(number), "price": price, "quantity": quantity, "list": full,
                "redeemed": net - pay, "pay": pay, "min_price": min_price, "weighed": weighed,
            }
        )  # fmt: skip
    return lines


@pytest.mark.parametrize("basket", [engine_lines, awkward_lines])
def test_ten_thousand_random_receipts(basket: Callable[[random.Random], list[Json]]) -> None:
    rng = random.Random(SEED)
    seen = {"flagged": 0, "provided": 0, "two prices": 0, "gifts filled": 0, "weighed lines fitted": 0}
    for number in range(RECEIPTS):
        lines = basket(rng)
        mode = MODES[number % len(MODES)]
        told = product(lines, mode)
        assert faults(lines, msgspec.to_builtins(mode), told) == [], (number, mode, lines, told)
        kept = product(lines, msgspec.structs.replace(mode, weighed="sum", zero_lines="keep"))
        seen["flagged"] += told["sum_not_product"] > 0
        seen["provided"] += bool(told["tenders_due"])
        seen["two prices"] += len(told["lines"]) > len(lines)
        if told["lines"] != kept["lines"]:
            seen["gifts filled"] += mode.zero_lines == "shift" and mode.weighed == "sum"
            seen["weighed lines fitted"] += mode.weighed == "shift" and mode.zero_lines == "keep"
    assert min(seen.values()) >= 10, seen  # each way was gone often enough to mean something


def of(told: Json, name: str) -> Json:
    found: Json = next(one for one in told["lines"] if one["id"] == name)
    return found


def move(told: Json, giver: str, taker: str) -> None:
    """A kopeck from one line of a single piece to another."""
    for name, kopeck in ((giver, -1), (taker, 1)):
        for field in ("price", "sum"):
            of(told, name)[field] += kopeck


SPOILED: dict[str, Callable[[Json], object]] = {
    "a kopeck more on a line": lambda told: of(told, "pens").update(sum=6667),
    "a sub-line that is off by one, the total kept": lambda told: (
        told["lines"][0].update(price=3332, sum=6664), told["lines"][1].update(price=3336, sum=3336),
    ),
    "a kopeck less of a price": lambda told: of(told, "cheese").update(price=7999),
    "a flag on pieces": lambda told: of(told, "pens").update(sum_not_product=True),
    "a flag that is missing": lambda told: (
        of(told, "cheese").update(sum_not_product=False), told.update(sum_not_product=0),
    ),
    "a flag where the product is the sum": lambda told: (
        of(told, "ham").update(sum_not_product=True), told.update(sum_not_product=2),
    ),
    "flags that nobody counted": lambda told: told.update(sum_not_product=2),
    "a tender that nobody owes": lambda told: told["tenders_due"].append(
        {"type": "certificate", "amount": 1}
    ),
    "money that the quote does not ask": lambda told: told.update(due=told["due"] + 1),
    "another total": lambda told: told.update(total=told["total"] + 1),
    "a line that is gone": lambda told: told["lines"].pop(),
    "less goods": lambda told: of(told, "pens").update(quantity=1000),
    "tobacco gives": lambda told: move(told, "cigarettes", "tea"),
    "tobacco gets": lambda told: move(told, "tea", "cigarettes"),
    "a kopeck moved, though no mode says so": lambda told: move(told, "tea", "vodka"),
    "a minimum price broken": lambda told: move(told, "vodka", "tea"),
}  # fmt: skip


def shop() -> list[Json]:
    def one(name: str, quantity: int, pay: int, weighed: bool = False, min_price: int = 0) -> Json:
        return {
            "id": name, "price": 10_000, "quantity": quantity, "list": 10 * quantity, "redeemed": 0,
            "pay": pay, "min_price": min_price, "weighed": weighed,
        }  # fmt: skip

    return [
        one("pens", 3000, 10_000),
        one("cheese", 2500, 20_001, weighed=True),
        one("ham", 2500, 20_000, weighed=True),
        one("cigarettes", 1000, 10_000),
        one("vodka", 1000, 9_000, min_price=9_000),
        one("tea", 1000, 9_500),
        one("gift", 1000, 0),
    ]


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_the_checker_notices_a_spoiled_receipt(spoil: Callable[[Json], object]) -> None:
    told = product(shop(), Fiscal())
    settings = msgspec.to_builtins(Fiscal())
    assert faults(shop(), settings, told) == []
    spoil(told)
    assert faults(shop(), settings, told) != []


def test_the_checker_notices_kopecks_that_were_not_moved_or_from_the_wrong_line() -> None:
    still = product(shop(), Fiscal())
    for mode in (Fiscal(zero_lines="shift"), Fiscal(weighed="shift")):
        assert faults(shop(), msgspec.to_builtins(mode), still) != []
    settings = msgspec.to_builtins(Fiscal(zero_lines="shift"))
    told = product(shop(), Fiscal(zero_lines="shift"))
    assert faults(shop(), settings, told) == []
    of(told, "gift").update(price=0, sum=0)  # not from the dearest, which is the cheese, but from the tea
    of(told, "cheese").update(sum=20_001, price=8_000, sum_not_product=True)
    move(told, "tea", "gift")
    told["sum_not_product"] = sum(one["sum_not_product"] for one in told["lines"])
    assert any("turn" in fault for fault in faults(shop(), settings, told))


PLANTED: dict[str, tuple[str, Callable[..., Any]]] = {
    "prices rounded down": ("unit_price_of", lambda amount, quantity: amount * 1000 // quantity),
    "products rounded down": ("amount_of", lambda price, quantity: price * quantity // 1000),
    "minimum prices forgotten": ("least_amount_of", lambda *_: 0),
    "minimum prices rounded down": ("least_amount_of", lambda price, quantity: price * quantity // 1000),
    "one piece too many is dearer": ("even_parts", lambda amount, n: (amount // n, min(amount % n + 1, n))),
    "parts of pieces taken for pieces": ("pieces_of", lambda quantity: quantity // 1000 or None),
    "zero lines left alone": ("_fill_zero_lines", lambda _: None),
    "weighed lines left alone": ("_fit_weighed", lambda _: None),
}


@pytest.mark.parametrize(("name", "fault"), PLANTED.values(), ids=PLANTED)
def test_the_checker_notices_a_fault_in_the_product(
    name: str, fault: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loyalty.fiscal, name, fault)
    rng = random.Random(SEED)
    for number in range(RECEIPTS):
        lines, mode = awkward_lines(rng), MODES[number % len(MODES)]
        if faults(lines, msgspec.to_builtins(mode), product(lines, mode)):
            return
    pytest.fail("nobody noticed")
