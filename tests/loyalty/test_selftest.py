"""The tests inside a rulebook: they pass or say where, and their hash is the same everywhere."""

from __future__ import annotations

from typing import Any

import pytest

from loyalty import catalog, rulebook, selftest
from loyalty.faults import Refused
from loyalty.index import Compiled, compile_rulebook

Json = dict[str, Any]

SALE: Json = {
    "id": "R",
    "till": "T1",
    "store": "S1",
    "at": "2026-02-13T12:00:00+03:00",
    "lines": [{"id": "1", "sku": "tea", "price": 10000, "quantity": 2000}],
}


def book(*tests: Json, rules: list[Json] | None = None) -> Compiled:
    ten = {"id": "ten", "stage": "line", "effect": {"type": "percent", "bp": 1000}}
    document = {"format": 1, "id": "shop", "seq": 1, "rules": rules or [ten], "tests": list(tests)}
    return compile_rulebook(rulebook.parse(document), catalog.parse({}))


def faults(compiled: Compiled) -> dict[str, str]:
    return {fault.path: str(fault.text) for fault in selftest.run_tests(compiled).faults}


def test_a_part_of_the_quote_is_enough() -> None:
    run = selftest.run_tests(
        book({"receipt": SALE, "expect": {"pay": 18000, "lines": [{"discounts": {"ten": 2000}}]}})
    )
    assert (run.count, run.failed, run.faults) == (1, 0, ())


def test_a_difference_says_where_what_and_of_which_test() -> None:
    test = {
        "title": "чай",
        "receipt": SALE,
        "expect": {"pay": 17000, "lines": [{"discounts": {"five": 1000}}]},
    }
    assert faults(book(test)) == {
        "tests[0].expect.pay": "чай: expected 17000, got 18000",
        "tests[0].expect.lines[0].discounts.five": "чай: expected 1000, got nothing",
    }


def test_lists_are_compared_whole_and_values_with_their_kind() -> None:
    assert set(faults(book({"receipt": SALE, "expect": {"lines": [], "pay": "18000", "sets": []}}))) == {
        "tests[0].expect.lines",
        "tests[0].expect.pay",
    }


def test_returns_are_tested_too() -> None:
    back = [{"at": "2026-02-14T12:00:00+03:00", "lines": {"1": 1000}}]
    good = {"receipt": SALE, "returns": back, "expect": {"returns": [{"money": 9000}]}}
    assert faults(book(good)) == {}
    too_many = [{"at": "2026-02-14T12:00:00+03:00", "lines": {"1": 3000}}]
    found = faults(book({**good, "returns": too_many}))
    assert set(found) == {'tests[0].returns[0].lines["1"]'}


def test_a_draw_gives_the_same_everywhere() -> None:
    draw = {
        "id": "d",
        "stage": "reward",
        "effect": {"type": "draw_table", "table": [[1, 100], [1, 200], [1, 300]]},
    }
    test = {"receipt": {**SALE, "customer": {"id": "C1"}}, "expect": {"rewards": {"d": 100}}}
    first, second = (selftest.run_tests(book(test, rules=[draw])) for _ in range(2))
    assert first == second


def test_a_draw_that_lacks_its_number_fails_the_test_and_nothing_else() -> None:
    deck = {"id": "d", "stage": "reward", "effect": {"type": "draw_deck", "cards": [[1, 100]]}}
    test = {"receipt": {**SALE, "customer": {"id": "C1"}}, "expect": {}}
    assert set(faults(book(test, rules=[deck]))) == {"tests[0].receipt.draws.d"}


def test_the_hash_is_of_the_results_and_known() -> None:
    one = selftest.run_tests(book({"receipt": SALE, "expect": {}}))
    same = selftest.run_tests(book({"title": "another title", "receipt": SALE, "expect": {"pay": 18000}}))
    assert one.results_sha256 == same.results_sha256
    assert selftest.run_tests(book()).results_sha256 == EMPTY
    cheaper = [{"id": "ten", "stage": "line", "effect": {"type": "percent", "bp": 1100}}]
    assert selftest.run_tests(book({"receipt": SALE, "expect": {}}, rules=cheaper)) != one


EMPTY = "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
"""SHA-256 of `[]`."""


def test_who_must_not_go_on_is_refused() -> None:
    assert selftest.check(book({"receipt": SALE, "expect": {"pay": 18000}})).count == 1
    with pytest.raises(Refused, match=r"tests\[0\].expect.pay"):
        selftest.check(book({"receipt": SALE, "expect": {"pay": 1}}))
