"""Laws that hold for every receipt, whatever its rules: tried on shops that chance makes up."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from large_requests import large_request, other_receipt
from random_requests import ALL_STAGES, random_request
from till_engine import answer, answer_with, compiled

from loyalty import index, receipt
from loyalty.quote import quote

Json = dict[str, Any]

unhurried = settings(deadline=None, database=None, max_examples=150)
seeds = st.integers(min_value=0, max_value=2**32)

ROOT = Path(__file__).parents[2]


def shop(seed: int, stages: tuple[str, ...] = ALL_STAGES) -> Json:
    """A request from a seed, without returns; a test that wants some asks for its own."""
    request = random_request(random.Random(seed), stages)
    request.pop("returns", None)
    return request


def with_returns(request: Json, *returns: dict[str, int]) -> Json:
    """The request with these goods given back, one after the other, on the day of the sale."""
    at = request["receipt"]["at"]
    return {**request, "returns": [{"at": at, "lines": lines} for lines in returns]}


def quantities(request: Json) -> dict[str, int]:
    return {line["id"]: line["quantity"] for line in request["receipt"]["lines"]}


# -- sums and floors ------------------------------------------------------------------------------


@unhurried
@given(seeds)
def test_amounts_add_up_and_nothing_goes_below_zero(seed: int) -> None:
    told = answer(shop(seed))
    for line in told["lines"]:
        assert all(amount > 0 for amount in line["discounts"].values())
        assert line["list"] - sum(line["discounts"].values()) - line["redeemed"] == line["pay"] >= 0
    assert told["list"] - told["discount"] - told["redeemed"] == told["pay"]
    for total in ("list", "redeemed", "pay"):
        assert told[total] == sum(line[total] for line in told["lines"])
    assert sum(amount for _, amount in told["lots_used"]) == told["redeemed"]
    assert all(amount > 0 for _, amount in told["lots_used"])
    assert sum(told["earned"].values()) == told["earned_total"]
    assert all(points > 0 for points in told["earned"].values())
    drawn = {rule: points for rule, points in told["rewards"].items() if points > 0}
    assert {lot["rule"]: lot["amount"] for lot in told["earned_lots"]} == told["earned"] | drawn


@unhurried
@given(seeds)
def test_what_sets_took_off_is_what_stands_on_the_lines(seed: int) -> None:
    request = shop(seed)
    in_sets = {rule["id"] for rule in request["rulebook"]["rules"] if rule["stage"] == "sets"}
    told = answer(request)
    sets: Counter[str] = Counter()
    for rule, total in told["sets"]:
        assert total > 0
        sets[rule] += total
    booked: Counter[str] = Counter()
    for line in told["lines"]:
        booked.update({rule: amount for rule, amount in line["discounts"].items() if rule in in_sets})
    assert sets == booked


@unhurried
@given(seeds)
def test_no_discount_takes_a_line_under_its_floor_and_no_point_under_its_minimum_price(seed: int) -> None:
    request = shop(seed)
    most_bp = request["rulebook"]["settings"].get("max_line_discount_bp", 10_000)
    told = answer(request)
    for sold, line in zip(request["receipt"]["lines"], told["lines"], strict=True):
        goods = request["catalog"]["skus"].get(sold["sku"], {})
        least = min(-(-goods.get("min_price", 0) * sold["quantity"] // 1000), line["list"])
        discount = sum(line["discounts"].values())
        assert line["list"] - discount >= least
        assert discount * 10_000 <= line["list"] * most_bp
        assert line["pay"] >= least


@unhurried
@given(seeds)
def test_a_cap_holds_on_the_whole_receipt(seed: int) -> None:
    request = shop(seed)
    told = answer(request)
    for rule in request["rulebook"]["rules"]:
        if "cap" in rule:
            given_off = sum(line["discounts"].get(rule["id"], 0) for line in told["lines"])
            assert given_off <= rule["cap"]
            assert told["earned"].get(rule["id"], 0) <= rule["cap"]


@unhurried
@given(seeds)
def test_a_rule_that_is_switched_off_might_as_well_not_be_there(seed: int) -> None:
    request = shop(seed)
    rules = request["rulebook"]["rules"]
    off = {
        **request,
        "rulebook": {**request["rulebook"], "rules": [*rules[1:], {**rules[0], "enabled": False}]},
    }
    gone = {**request, "rulebook": {**request["rulebook"], "rules": rules[1:]}}
    assert answer(off) == answer(gone)


# -- order does not matter ------------------------------------------------------------------------


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same JSON with the keys of every object in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], rng) for key in rng.sample(list(value), len(value))}
    return [shuffled(each, rng) for each in value] if isinstance(value, list) else value


@unhurried
@given(seeds)
def test_the_order_of_anything_but_the_lines_changes_nothing(seed: int) -> None:
    """Rules, groups, steps, segments, coupons, tenders, lots, names in a selector or condition, keys."""
    request = random_request(random.Random(seed))
    rng = random.Random(seed)
    other = shuffled(json.loads(json.dumps(request)), rng)
    customer = other["receipt"].get("customer", {})
    book = other["rulebook"]
    lists = [book["rules"], book["groups"], customer.get("segments", []), customer.get("lots", [])]
    lists += [other["receipt"].get(key, []) for key in ("coupons", "coupons_used", "tenders")]
    for rule in book["rules"]:
        lists += [rule["effect"].get("steps", []), rule.get("items", {}).get("sku", [])]
        lists += [rule.get("when", {}).get("in", [])]
        if rule.get("when", {}).get("type") in ("all", "any"):
            lists.append(rule["when"]["of"])
    for each in lists:
        rng.shuffle(each)
    assert answer(other) == answer(request)


@unhurried
@given(seeds)
def test_which_line_is_rung_up_first_changes_no_total_where_nothing_runs_out_and_nothing_ties(
    seed: int,
) -> None:
    """Without caps each line stands for itself in the stages price and line; its place is only a name."""
    request = shop(seed, ("price", "line", "earn"))
    for rule in request["rulebook"]["rules"]:
        rule.pop("cap", None)
    lines = request["receipt"]["lines"]
    random.Random(seed).shuffle(other := list(lines))
    before, after = answer(request), answer({**request, "receipt": {**request["receipt"], "lines": other}})
    by_id = {line["id"]: line for line in after["lines"]}
    assert [by_id[line["id"]] for line in before["lines"]] == before["lines"]
    assert {**before, "lines": []} == {**after, "lines": []}


@unhurried
@given(seeds)
def test_sets_are_worth_the_same_however_the_goods_are_rung_up(seed: int) -> None:
    """Two packs of one line, or two lines; the dear first, or the cheap: the pieces are the same pieces."""
    request = shop(seed, ("price", "sets"))
    for rule in request["rulebook"]["rules"]:
        rule.pop("when", None)  # a threshold sees the lines, and what rounding at their floors made of them
    before = answer(request)
    rng = random.Random(seed)
    pieces = []
    for line in request["receipt"]["lines"]:
        if line["quantity"] % 1000:
            pieces.append(line)
            continue
        left, number = line["quantity"] // 1000, 0
        while left:
            count = rng.randint(1, left)
            pieces.append({**line, "id": f"{line['id']}.{number}", "quantity": count * 1000})
            left, number = left - count, number + 1
    rng.shuffle(pieces)
    after = answer({**request, "receipt": {**request["receipt"], "lines": pieces}})
    assert sorted(before["sets"]) == sorted(after["sets"])
    in_sets = {rule["id"] for rule in request["rulebook"]["rules"] if rule["stage"] == "sets"}

    def by_sku(told: Json, lines: list[Json]) -> Counter[tuple[str, int, str]]:
        found: Counter[tuple[str, int, str]] = Counter()
        for line, priced in zip(lines, told["lines"], strict=True):
            for rule in in_sets & priced["discounts"].keys():
                found[(line["sku"], line["price"], rule)] += priced["discounts"][rule]
        return found

    def spread(rules: list[Json]) -> bool:
        """Where a kopeck of a spread falls may depend on the line; which goods get it may not."""
        return any(rule["effect"].get("place") != "free" for rule in rules if rule["stage"] == "sets")

    assert sum(by_sku(before, request["receipt"]["lines"]).values()) == sum(by_sku(after, pieces).values())
    if not spread(request["rulebook"]["rules"]):
        assert by_sku(before, request["receipt"]["lines"]) == by_sku(after, pieces)


# -- returns --------------------------------------------------------------------------------------


@unhurried
@given(seeds)
def test_who_brings_everything_back_gets_everything_back(seed: int) -> None:
    request = shop(seed)
    told = answer(with_returns(request, quantities(request)))
    (back,) = told["returns"]
    assert back["money"] == told["pay"]
    assert back["points_back"] == told["redeemed"] == sum(points for _, points, _ in back["lots_back"])
    assert Counter({lot: points for lot, points, _ in back["lots_back"]}) == Counter(dict(told["lots_used"]))
    assert back["earned_reversed"] == told["earned"]
    assert {line["id"]: (line["pay"], line["redeemed"]) for line in told["lines"]} == {
        line: (part["money"], part["points"]) for line, part in back["lines"].items()
    }


def split(request: Json, rng: random.Random) -> list[dict[str, int]]:
    """Everything that was bought, in up to five returns."""
    left = quantities(request)
    returns = []
    for _ in range(rng.randint(0, 4)):
        part = {line: rng.randint(1, each) for line, each in left.items() if each and rng.random() < 0.6}
        for line, quantity in part.items():
            left[line] -= quantity
        returns.append(part)
    return [*returns, {line: quantity for line, quantity in left.items() if quantity}]


@unhurried
@given(seeds)
def test_returns_in_any_parts_and_any_order_add_up_to_one(seed: int) -> None:
    request = shop(seed)
    rng = random.Random(seed)
    parts = split(request, rng)
    told = answer(with_returns(request, *parts))
    money: Counter[str] = Counter()
    points: Counter[str] = Counter()
    reversed_: Counter[str] = Counter()
    lots: Counter[str] = Counter()
    for back in told["returns"]:
        assert back["money"] == sum(line["money"] for line in back["lines"].values()) >= 0
        assert back["points_back"] == sum(line["points"] for line in back["lines"].values()) >= 0
        money.update({line: part["money"] for line, part in back["lines"].items()})
        points.update({line: part["points"] for line, part in back["lines"].items()})
        reversed_.update(back["earned_reversed"])
        lots.update({lot: amount for lot, amount, _ in back["lots_back"]})
    assert all(money[line["id"]] == line["pay"] for line in told["lines"])
    assert all(points[line["id"]] == line["redeemed"] for line in told["lines"])
    assert reversed_ == Counter(told["earned"])
    assert lots == Counter(dict(told["lots_used"]))
    # What was given back by then does not depend on the order: only on how much of each line it was.
    rng.shuffle(parts)
    other = answer(with_returns(request, *parts))["returns"]
    assert sum(back["money"] for back in other) == told["pay"]
    assert sum(back["points_back"] for back in other) == told["redeemed"]


@unhurried
@given(seeds)
def test_no_return_takes_more_points_than_are_held_nor_any_twice(seed: int) -> None:
    request = shop(seed)
    told = answer(with_returns(request, *split(request, random.Random(seed))))
    held = dict(told["earned"])
    for back in told["returns"]:
        for rule, points in back["earned_reversed"].items():
            assert 0 < points <= held[rule]
            held[rule] -= points


# -- the same again -------------------------------------------------------------------------------


@unhurried
@given(seeds)
def test_the_same_receipt_gives_the_same_quote_again(seed: int) -> None:
    request = random_request(random.Random(seed))
    rules = compiled(request)
    first = answer_with(rules, request)
    assert answer_with(rules, request) == first == answer(request)


@settings(deadline=None, database=None, max_examples=10)
@given(seeds)
def test_who_was_served_before_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    request = large_request(rng)
    others = [other_receipt(rng, request) for _ in range(4)]
    cold = answer(request)
    rules = compiled(request)
    for other in others:
        answer_with(rules, other)
    assert answer_with(rules, request) == cold


@settings(deadline=None, database=None, max_examples=5)
@given(seeds)
def test_what_is_kept_may_be_dropped_at_any_time(seed: int) -> None:
    """Shelves and plans are bounded; a till of a thousand goods drops them and builds them again."""
    rng = random.Random(seed)
    requests = [large_request(rng)]
    requests += [other_receipt(rng, requests[0]) for _ in range(4)]
    right = [answer(request) for request in requests]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "MAX_KEPT", 500)
        patch.setattr(index, "MAX_PLANS", 1)
        rules = compiled(requests[0])
        for _ in range(2):
            assert [answer_with(rules, request) for request in requests] == right


@unhurried
@given(seeds)
def test_an_open_sale_is_priced_as_the_paid_one_will_be_but_for_draws_and_grants(seed: int) -> None:
    """Nobody may shop for a better draw: before the commit there is none, and no key is asked for."""
    request = shop(seed)
    sale = receipt.parse(request["receipt"])
    opened = quote(compiled(request), sale, upto_earn=True).to_builtins()
    paid = answer(request)
    assert (opened["rewards"], opened["grants"]) == ({}, [])
    lots = [lot for lot in paid["earned_lots"] if lot["rule"] not in paid["rewards"]]
    assert opened == {**paid, "rewards": {}, "grants": [], "earned_lots": lots}


@unhurried
@given(seeds)
def test_null_in_a_receipt_or_a_catalog_is_the_same_as_nothing(seed: int) -> None:
    request = random_request(random.Random(seed))
    other = json.loads(json.dumps(request))
    sale = other["receipt"]
    nulls = ("region", "channel", "customer", "coupons", "coupons_used", "tenders", "redeem", "draws")
    other["receipt"] = dict.fromkeys(nulls) | sale
    if "customer" in sale:
        keys = ("tier", "card_kind", "segments", "counters", "birthday", "lots")
        sale["customer"] = dict.fromkeys(keys) | sale["customer"]
        for lot in sale["customer"]["lots"] or ():
            lot |= dict.fromkeys(("active_from", "expires_at")) | lot
        other["receipt"]["customer"] = sale["customer"]
    for sku, goods in other["catalog"]["skus"].items():
        keys = ("category", "brand", "flags", "min_price", "weighed")
        other["catalog"]["skus"][sku] = dict.fromkeys(keys) | goods
    assert answer(other) == answer(request)


@settings(deadline=None, database=None, max_examples=25)
@given(seeds)
def test_titles_tests_and_the_number_of_a_publication_do_not_price(seed: int) -> None:
    request = shop(seed)
    book = request["rulebook"]
    rules = [{**rule, "title": f"Правило {number}"} for number, rule in enumerate(book["rules"])]
    other = {**book, "seq": book["seq"] + 1, "tests": [], "rules": rules}
    assert answer({**request, "rulebook": other}) == answer(request)


DIGEST = """
import hashlib, json, random, sys
sys.path.insert(0, "tests/reference")
from large_requests import large_request
from random_requests import random_request
from till_engine import answer
digest = hashlib.sha256()
for seed in range(150):
    digest.update(json.dumps(answer(random_request(random.Random(seed)))).encode())
for seed in range(3):
    digest.update(json.dumps(answer(large_request(random.Random(seed)))).encode())
print(digest.hexdigest())
"""


def test_every_byte_of_the_answers_is_the_same_whatever_seed_python_hashes_with() -> None:
    """A set or a dict by hash would show in another process; two tills must print one quote."""
    digest = hashlib.sha256()
    for seed in range(150):
        digest.update(json.dumps(answer(random_request(random.Random(seed)))).encode())
    for seed in range(3):
        digest.update(json.dumps(answer(large_request(random.Random(seed)))).encode())
    for hash_seed in ("0", "1", "4242"):
        ran = subprocess.run(
            [sys.executable, "-c", DIGEST],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.strip() == digest.hexdigest(), f"PYTHONHASHSEED {hash_seed}"


# -- laws that need a shop of their own -----------------------------------------------------------


@pytest.mark.parametrize("policy", ["best", "worst", "sum", "chain", "first"])
def test_more_room_above_the_floor_never_gives_less(policy: str) -> None:
    """A lower minimum price can only help the customer, whatever the policy of the lines."""
    rules = [
        {"id": "a", "stage": "line", "effect": {"type": "percent", "bp": 1000}},
        {"id": "b", "stage": "line", "effect": {"type": "amount_off", "amount": 170}},
        {"id": "c", "stage": "line", "effect": {"type": "unit_price", "price": 950}},
    ]
    paid = []
    for least in range(1000, -1, -25):
        request = {
            "rulebook": {
                "format": 1,
                "id": "b",
                "seq": 1,
                "settings": {"policy": {"line": policy}},
                "rules": rules,
            },
            "catalog": {"skus": {"gin": {"min_price": least}}},
            "receipt": {
                "id": "R",
                "till": "T",
                "store": "M",
                "at": "2026-02-13T12:00:00+03:00",
                "lines": [{"id": "1", "sku": "gin", "price": 1000, "quantity": 1000}],
            },
        }
        paid.append(answer(request)["pay"])
    assert paid == sorted(paid, reverse=True)
