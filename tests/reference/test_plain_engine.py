"""Two readings of one page: the plain evaluator, and the engine of the shop beside it.

The plain evaluator answers the published examples to the kopeck; then chance makes up shops, and both engines
must answer alike. A difference here means that one of us has misread the law.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from large_requests import dense_request, large_request, other_receipt, sets_near_the_bound
from plain_engine import evaluate
from random_requests import random_request
from till_engine import answer, answer_with, compiled, pricing_of, told

from loyalty.conditions import CONDITIONS
from loyalty.effects import EFFECTS
from loyalty.stages.pricing import Pricing

EXAMPLES = Path(__file__).parents[3] / "shared" / "spec" / "examples.jsonl"

Json = dict[str, Any]


def shop(rules: list[Json], lines: list[Json], skus: Json | None = None, **more: Any) -> Json:
    """A request for one sale; `more` are fields of the receipt, but for settings, returns and draw_key."""
    request: Json = {
        "rulebook": {
            "format": 1,
            "semantics": 1,
            "id": "prog",
            "seq": 1,
            "rules": rules,
            "settings": more.pop("settings", {}),
        },
        "catalog": {"categories": {"milk": None}, "skus": skus or {}},
    }
    for key in ("returns", "draw_key"):
        if key in more:
            request[key] = more.pop(key)
    at = "2026-02-13T12:00:00+03:00"
    request["receipt"] = {"id": "R", "till": "T", "store": "M", "at": at, "lines": lines} | more
    return request


def line(number: int, sku: str, price: int, quantity: int = 1000) -> Json:
    return {"id": str(number), "sku": sku, "price": price, "quantity": quantity}


def discounts(answer: Json) -> list[Json]:
    return [each["discounts"] for each in answer["lines"]]


# --- the page's own examples ---------------------------------------------------------------------


@pytest.mark.skipif(not EXAMPLES.exists(), reason="the published examples are not beside this checkout")
def test_every_published_example_gives_exactly_its_quote() -> None:
    for text in EXAMPLES.read_text("utf-8").splitlines():
        example = json.loads(text)
        assert evaluate(example["request"]) == example["quote"]
        assert answer(example["request"]) == example["quote"]


def test_ten_percent_and_then_a_hundred_roubles_over_a_thousand() -> None:
    rules = [
        {"id": "p10", "stage": "line", "effect": {"type": "percent", "bp": 1000}},
        {
            "id": "t",
            "stage": "receipt",
            "when": {"type": "sum", "min": 100000},
            "effect": {"type": "receipt_amount", "amount": 10000},
        },
    ]
    answer = evaluate(shop(rules, [line(1, "a", 60000), line(2, "b", 52000)]))
    assert discounts(answer) == [{"p10": 6000, "t": 5357}, {"p10": 5200, "t": 4643}]
    assert [each["pay"] for each in answer["lines"]] == [48643, 42157]


def test_the_third_milk_is_free_and_the_fourth_gets_its_seven_percent() -> None:
    rules = [
        {
            "id": "n",
            "stage": "sets",
            "items": {"category": ["milk"]},
            "effect": {"type": "n_for_m", "n": 3, "m": 2},
        },
        {"id": "p7", "stage": "line", "effect": {"type": "percent", "bp": 700}},
    ]
    milk = {"m": {"category": "milk"}}
    answer = evaluate(shop(rules, [line(1, "m", 8990, 4000)], milk))
    assert (discounts(answer), answer["pay"]) == ([{"n": 8990, "p7": 629}], 26341)
    singly = evaluate(shop(rules, [line(number, "m", 8990) for number in range(4)], milk))
    assert discounts(singly) == [{"n": 2997}, {"n": 2997}, {"n": 2996}, {"p7": 629}]


def test_points_pay_thirty_percent_in_whole_roubles() -> None:
    redeem = {"type": "redeem", "max_bp": 3000, "of": "eligible", "step": 100}
    member = {"id": "C", "lots": [{"id": "x", "amount": 112050}]}
    answer = evaluate(
        shop(
            [{"id": "r", "stage": "redeem", "effect": redeem}],
            [line(1, "a", 92400)],
            customer=member,
            redeem="max",
        )
    )
    assert (answer["redeemed"], answer["lots_used"]) == (27700, [["x", 27700]])


@pytest.mark.parametrize(
    ("policy", "off"), [("sum", 15000), ("chain", 14500), ("best", 10000), ("worst", 5000), ("first", 5000)]
)
def test_ten_and_five_percent_of_999_99(policy: str, off: int) -> None:
    rules = [
        {"id": "b", "stage": "line", "effect": {"type": "percent", "bp": 1000}},
        {"id": "a", "stage": "line", "effect": {"type": "percent", "bp": 500}},
    ]
    answer = evaluate(shop(rules, [line(1, "s", 99999)], settings={"policy": {"line": policy}}))
    assert answer["discount"] == off


# --- sets ------------------------------------------------------------------------------------------


def test_two_set_rules_share_the_goods_so_that_the_customer_gains_most() -> None:
    """A greedy till would give the pair first and leave nothing for the dearer triple."""
    rules = [
        {
            "id": "pair",
            "stage": "sets",
            "priority": 1,
            "effect": {"type": "bundle", "parts": [{"items": {"sku": ["a"]}, "count": 2}], "amount": 100},
        },
        {
            "id": "triple",
            "stage": "sets",
            "effect": {"type": "bundle", "parts": [{"items": {"sku": ["a"]}, "count": 3}], "amount": 900},
        },
    ]
    assert evaluate(shop(rules, [line(1, "a", 1000, 5000)]))["sets"] == [["pair", 100], ["triple", 900]]
    assert evaluate(shop(rules, [line(1, "a", 1000, 4000)]))["sets"] == [["triple", 900]]


def test_of_equal_choices_the_smallest_signature_is_booked() -> None:
    """Three goods of one price: the set takes the first two skus, whatever the order of the lines."""
    rules = [
        {"id": "n", "stage": "sets", "effect": {"type": "bundle", "parts": [{"count": 2}], "amount": 10}}
    ]
    answer = evaluate(shop(rules, [line(1, "c", 500), line(2, "b", 500), line(3, "a", 500)]))
    assert discounts(answer) == [{}, {"n": 5}, {"n": 5}]


def test_a_bought_unit_stands_before_the_got_one_on_the_receipt() -> None:
    rules = [
        {
            "id": "g",
            "stage": "sets",
            "limit": 1,
            "effect": {"type": "buy_get", "buy": {"count": 2}, "get": {"count": 1, "bp": 5000}},
        }
    ]
    answer = evaluate(shop(rules, [line(number, "a", 1000) for number in range(6)]))
    assert discounts(answer) == [{}, {}, {"g": 500}, {}, {}, {}]


def test_a_component_too_large_to_search_is_served_rule_by_rule() -> None:
    """Forty goods of many prices: the first rule takes its dearest pair again and again."""
    rules = [
        {
            "id": rule,
            "stage": "sets",
            "effect": {"type": "bundle", "parts": [{"count": 2}], "bp": 1000},
        }
        for rule in ("a", "b")
    ]
    lines = [line(number, f"s{number:02}", 1000 + 100 * number) for number in range(40)]
    answer = evaluate(shop(rules, lines))
    assert [rule for rule, _ in answer["sets"]] == ["a"] * 20
    assert answer["discount"] == sum(each["price"] for each in lines) // 10


# --- draws and grants ------------------------------------------------------------------------------


def test_every_card_of_a_deck_is_drawn_once_before_any_comes_again() -> None:
    cards = {"type": "draw_deck", "cards": [[3, 0], [2, 500], [1, 10000]]}
    rules = [{"id": "d", "stage": "reward", "effect": cards}]
    drawn = [
        evaluate(
            shop(rules, [line(1, "a", 1)], customer={"id": "C"}, draws={"d": number}, draw_key="ab" * 32)
        )["rewards"]["d"]
        for number in range(12)
    ]
    assert sorted(drawn[:6]) == [0, 0, 0, 500, 500, 10000]
    assert drawn[6:] == drawn[:6]
    assert drawn[:6] != [0, 0, 0, 500, 500, 10000], "a deck is shuffled"


def test_a_day_has_one_draw_whatever_is_in_the_basket() -> None:
    table = {"type": "draw_table", "table": [[1, points] for points in range(100)]}
    rules = [{"id": "w", "stage": "reward", "effect": table}]

    def points(account: str, basket: list[Json]) -> int:
        answer = evaluate(shop(rules, basket, customer={"id": account}, draw_key="ab" * 32))
        return int(answer["rewards"]["w"])

    assert points("C", [line(1, "a", 1)]) == points("C", [line(1, "b", 999, 3000)])
    assert len({points(f"C{number}", [line(1, "a", 1)]) for number in range(50)}) > 20


# --- returns ---------------------------------------------------------------------------------------


def test_a_sale_given_back_piece_by_piece_leaves_nothing() -> None:
    rules = [
        {"id": "r", "stage": "redeem", "effect": {"type": "redeem", "max_bp": 5000}},
        {"id": "e", "stage": "earn", "effect": {"type": "earn_percent", "bp": 1000, "unit": 1}},
    ]
    lots = [
        {"id": "old", "amount": 400, "expires_at": "2026-03-01T00:00:00"},
        {"id": "new", "amount": 9000},
    ]
    back = [{"at": f"2026-0{month}-01T00:00:00+03:00", "lines": {"1": 1000}} for month in (2, 3, 4)]
    answer = evaluate(
        shop(rules, [line(1, "a", 333, 3000)], customer={"id": "C", "lots": lots}, redeem="max", returns=back)
    )
    returns = answer["returns"]
    assert answer["lots_used"] == [["old", 400], ["new", 99]]
    assert sum(each["money"] for each in returns) == answer["pay"]
    assert sum(each["points_back"] for each in returns) == 499
    assert sum(each["earned_reversed"]["e"] for each in returns) == answer["earned_total"]
    assert [each["lots_back"] for each in returns] == [
        [["new", 99, "live"], ["old", 67, "live"]],
        [["old", 166, "expired"]],
        [["old", 167, "expired"]],
    ]


# --- chance ----------------------------------------------------------------------------------------

BLOCK = 1_000
"""Seeds of one test; 20 such tests are 20,000 shops."""


@pytest.mark.parametrize("block", range(20))
def test_the_till_and_the_plain_evaluator_answer_alike(block: int) -> None:
    worked: Counter[str] = Counter()
    for seed in range(BLOCK * block, BLOCK * block + BLOCK):
        request = random_request(random.Random(seed))
        pricing = pricing_of(compiled(request), request)
        answer = told(pricing, request)
        assert answer == evaluate(request), f"seed {seed}"
        worked.update(words_that_worked(request, pricing, answer))
    # The comparison says something only where the rules did: every word of the page, in every block.
    assert {word: worked[word] for word in (*EFFECTS, *CONDITIONS) if worked[word] < 3} == {}
    assert {word: worked[word] for word in OFTEN if worked[word] < 30} == {}
    assert worked["returns"] > BLOCK // 5
    assert worked["points reversed"] > 15
    assert worked["points back in a lot that expired"] > 0


OFTEN = ("n_for_m", "bundle", "buy_get", "percent", "receipt_percent", "redeem", "earn_percent")
"""Effects on which most shops live."""


def words_that_worked(request: Json, pricing: Pricing, answer: Json) -> Iterator[str]:
    """The effect of every rule that gave something, and the conditions under which it did."""
    ids = {rule for line in answer["lines"] for rule in line["discounts"]}
    ids |= answer["earned"].keys() | {rule for rule, points in answer["rewards"].items() if points}
    ids |= {grant["rule"] for grant in answer["grants"]}
    ids |= {each for rule in answer["earned"] for each in pricing.multiplied.get(rule, ())}
    if pricing.redeemer is not None:
        ids.add(pricing.redeemer.id)
    for rule in request["rulebook"]["rules"]:
        if rule["id"] in ids:
            yield rule["effect"]["type"]
            yield from conditions_in(rule.get("when"))
    for returned in answer.get("returns", ()):
        yield "returns"
        yield from ["points reversed"] * bool(returned["earned_reversed"])
        yield from ["points back in a lot that expired"] * ("expired" in str(returned["lots_back"]))


def conditions_in(when: Json | None) -> Iterator[str]:
    """The condition and what it is made of."""
    if when is not None:
        yield when["type"]
        parts = when.get("of") if when["type"] in ("all", "any", "not") else []
        for part in parts if isinstance(parts, list) else [parts]:
            yield from conditions_in(part)


@pytest.mark.parametrize("block", range(6))
def test_where_a_hundred_percents_compete_the_right_one_is_booked(block: int) -> None:
    worked: Counter[str] = Counter()
    for seed in range(100 * block, 100 * block + 100):
        request = dense_request(random.Random(seed))
        pricing = pricing_of(compiled(request), request)
        answer = told(pricing, request)
        assert answer == evaluate(request), f"seed {seed}"
        worked.update(words_that_worked(request, pricing, answer))
    assert worked["percent"] > 100
    assert worked["earn_percent"] > 50


@pytest.mark.parametrize("block", range(16))
def test_a_large_rulebook_prices_customer_after_customer_as_if_it_were_new(block: int) -> None:
    """Rules are filed, plans are kept, periods pass: nothing of that may show in any answer.

    A compiled rulebook prices seven customers in a random order, some of them again after others.
    """
    for seed in range(3 * block, 3 * block + 3):
        rng = random.Random(seed)
        first = large_request(rng)
        requests = [first, *(other_receipt(rng, first) for _ in range(6))]
        right = [evaluate(request) for request in requests]
        kept = compiled(first)
        for i in rng.sample(range(len(requests)), len(requests)) + rng.choices(range(len(requests)), k=5):
            assert answer_with(kept, requests[i]) == right[i], f"seed {seed}, receipt {i}, kept rulebook"
        for i, request in enumerate(requests):
            assert answer(request) == right[i], f"seed {seed}, receipt {i}, fresh rulebook"


@pytest.mark.parametrize("seed", range(24))
def test_sets_just_below_the_bound_are_searched_and_just_above_it_served_in_order(seed: int) -> None:
    for above in (False, True):
        request = sets_near_the_bound(random.Random(seed), above)
        pricing = pricing_of(compiled(request), request)
        assert told(pricing, request) == evaluate(request)
        assert bool(pricing.large_sets) is above


def test_a_component_is_large_from_one_application_above_a_million() -> None:
    """10 · 20 · 25 · 20 states and 10 possible uses: a million exactly is still searched."""
    pieces = {"a": 9, "b": 19, "c": 24, "d": 19}
    lines = [line(number, sku, 1000, 1000 * count) for number, (sku, count) in enumerate(pieces.items())]

    def bundle(name: str, amount: int, *parts: tuple[str, int]) -> Json:
        goods = [{"items": {"sku": [sku]}, "count": count} for sku, count in parts]
        return {
            "id": name,
            "stage": "sets",
            "effect": {"type": "bundle", "parts": goods, "amount": amount},
        }

    rules = [
        bundle("1", 10, ("a", 8), ("b", 10)),  # whoever takes this first has nothing left for "2"
        bundle("2", 500, ("a", 9)),
        bundle("3", 10, ("b", 12), ("c", 13)),
        bundle("4", 10, ("c", 14), ("d", 11)),
        *(bundle(f"5{count}", 10, ("c", count)) for count in (20, 21, 22, 23, 24)),
        bundle("6", 500, ("d", 19)),
    ]
    exact, greedy = shop(rules, lines), shop([*rules, bundle("7", 1, ("d", 18))], lines)
    assert [bool(pricing_of(compiled(each), each).large_sets) for each in (exact, greedy)] == [False, True]
    assert answer(exact) == evaluate(exact)
    assert answer(greedy) == evaluate(greedy)
    assert ["2", 500] in answer(exact)["sets"]
    assert ["1", 10] in answer(greedy)["sets"]


@pytest.mark.parametrize("block", range(4))
def test_the_laws_that_always_hold(block: int) -> None:
    """§2: list − discounts − redeemed = pay ≥ 0 on every line and on the receipt; returns stay within."""
    for seed in range(100 * block, 100 * block + 100):
        answer = evaluate(random_request(random.Random(seed)))
        for each in answer["lines"]:
            assert each["list"] - sum(each["discounts"].values()) - each["redeemed"] == each["pay"] >= 0
            assert all(amount > 0 for amount in each["discounts"].values())
        for total in ("list", "redeemed", "pay"):
            assert answer[total] == sum(each[total] for each in answer["lines"])
        assert answer["list"] - answer["discount"] - answer["redeemed"] == answer["pay"]
        assert sum(amount for _, amount in answer["lots_used"]) == answer["redeemed"]
        in_sets = sum(total for _, total in answer["sets"])
        assert in_sets <= answer["discount"]
        returns = answer.get("returns", [])
        assert sum(each["money"] for each in returns) <= answer["pay"]
        assert sum(each["points_back"] for each in returns) <= answer["redeemed"]
        for rule, points in answer["earned"].items():
            assert sum(each["earned_reversed"].get(rule, 0) for each in returns) <= points
