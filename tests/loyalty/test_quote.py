"""What a receipt costs: cases that a shopkeeper can read, and laws that hold for every receipt."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_engine import naive_quote
from quote_cases import Case, differences, load
from random_shop import request

from loyalty import catalog, receipt, rulebook
from loyalty.index import compile_rulebook
from loyalty.quote import Quote, quote

SEEDS = 3_000

unhurried = settings(deadline=None, database=None)
seeds = st.integers(min_value=0, max_value=2**32)


def priced(documents: dict[str, Any]) -> Quote:
    compiled = compile_rulebook(rulebook.parse(documents["rulebook"]), catalog.parse(documents["catalog"]))
    return quote(compiled, receipt.parse(documents["receipt"]))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.title) for case in load()])
def test_a_case(case: Case) -> None:
    documents = {"rulebook": case.rulebook, "catalog": case.catalog, "receipt": case.receipt}
    answer = priced(documents).to_builtins()
    assert differences(case.expect, answer) == []
    # The same case, for the second engine: the case itself may be what is wrong.
    assert differences(case.expect, naive_quote(**documents)) == []


def test_the_two_engines_agree_on_every_kopeck_lot_and_booking() -> None:
    done = {"discount": 0, "redeemed": 0, "earned_total": 0}
    for seed in range(SEEDS):
        documents = request(seed)
        answer = priced(documents).to_builtins()
        assert answer == naive_quote(**documents), f"seed {seed}"
        for key in done:
            done[key] += answer[key] > 0
    # The comparison says something only if the receipts made the rules work.
    assert done["discount"] > SEEDS // 3
    assert done["redeemed"] > SEEDS // 50
    assert done["earned_total"] > SEEDS // 20


@unhurried
@given(seeds)
def test_amounts_add_up_and_nothing_goes_below_zero(seed: int) -> None:
    answer = priced(request(seed)).to_builtins()
    for part in answer["lines"]:
        assert all(amount > 0 for amount in part["discounts"].values())
        assert part["list"] - sum(part["discounts"].values()) - part["redeemed"] == part["pay"] >= 0
    assert answer["list"] - answer["discount"] - answer["redeemed"] == answer["pay"]
    for total in ("list", "redeemed", "pay"):
        assert answer[total] == sum(part[total] for part in answer["lines"])
    assert sum(amount for _, amount in answer["lots_used"]) == answer["redeemed"]
    assert sum(answer["earned"].values()) == answer["earned_total"]
    assert {lot["rule"]: lot["amount"] for lot in answer["earned_lots"]} == answer["earned"]
    assert all(amount > 0 for amount in answer["earned"].values())


@unhurried
@given(seeds)
def test_no_discount_takes_a_line_under_its_floor_and_no_point_under_its_minimum_price(seed: int) -> None:
    documents = request(seed)
    most_bp = documents["rulebook"]["settings"].get("max_line_discount_bp", 10_000)
    answer = priced(documents).to_builtins()
    for sold, part in zip(documents["receipt"]["lines"], answer["lines"], strict=True):
        goods = documents["catalog"]["skus"].get(sold["sku"], {})
        least = min(-(-goods.get("min_price", 0) * sold["quantity"] // 1000), part["list"])
        discount = sum(part["discounts"].values())
        assert part["list"] - discount >= least
        assert discount * 10_000 <= part["list"] * most_bp
        assert part["pay"] >= least


@unhurried
@given(seeds)
def test_the_order_of_anything_but_the_lines_changes_nothing(seed: int) -> None:
    documents = request(seed)
    before = priced(documents).to_builtins()
    shuffle = random.Random(seed).shuffle
    for part in (documents["rulebook"]["rules"], documents["rulebook"]["groups"]):
        shuffle(part)
    customer = documents["receipt"].get("customer", {})
    for part in (customer.get("segments", []), customer.get("lots", [])):
        shuffle(part)
    documents["receipt"]["coupons"] = ["B/1", "A"]
    documents = {name: dict(reversed(document.items())) for name, document in documents.items()}
    assert priced(documents).to_builtins() == before


@unhurried
@given(seeds)
def test_the_same_receipt_gives_the_same_quote_again(seed: int) -> None:
    documents = request(seed)
    compiled = compile_rulebook(rulebook.parse(documents["rulebook"]), catalog.parse(documents["catalog"]))
    sale = receipt.parse(documents["receipt"])
    assert quote(compiled, sale) == quote(compiled, sale)


def test_the_quote_has_every_key_of_the_law_even_when_nothing_happened() -> None:
    documents = request(0) | {"rulebook": {"format": 1, "id": "none", "seq": 1, "rules": []}}
    documents["receipt"] = documents["receipt"] | {
        "lines": [{"id": "1", "sku": "S1", "price": 100, "quantity": 500}]
    }
    assert priced(documents).to_builtins() == {
        "lines": [{"id": "1", "list": 50, "discounts": {}, "redeemed": 0, "pay": 50}],
        "list": 50,
        "discount": 0,
        "redeemed": 0,
        "pay": 50,
        "lots_used": [],
        "earned": {},
        "earned_total": 0,
        "earned_lots": [],
        "rewards": {},
        "coupons_burned": [],
        "sets": [],
        "grants": [],
    }
