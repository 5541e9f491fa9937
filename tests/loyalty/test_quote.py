"""What a receipt costs: cases that a shopkeeper can read, told to the engine and to the plain evaluator."""

from __future__ import annotations

from typing import Any

import pytest
from plain_engine import evaluate
from quote_cases import Case, differences, load
from till_engine import answer

CASES = load()


@pytest.mark.parametrize("case", [pytest.param(case, id=case.title) for case in CASES])
def test_a_case(case: Case) -> None:
    told = answer(case.request)
    assert differences(case.expect, told) == []
    # The same case, for the second engine: the case itself may be what is wrong.
    assert evaluate(case.request) == told


def test_no_two_cases_have_one_title() -> None:
    titles = [case.title for case in CASES]
    assert len(set(titles)) == len(titles)


def test_the_quote_has_every_key_of_the_law_even_when_nothing_happened() -> None:
    documents: dict[str, Any] = {
        "rulebook": {"format": 1, "id": "none", "seq": 1, "rules": []},
        "catalog": {},
        "receipt": {
            "id": "R1",
            "till": "T1",
            "store": "M1",
            "at": "2026-02-13T12:00:00+03:00",
            "lines": [{"id": "1", "sku": "S1", "price": 100, "quantity": 500}],
        },
    }
    assert answer(documents) == {
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
