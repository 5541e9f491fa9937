"""Which rules a customer gets once, and what counters say on a day."""

from __future__ import annotations

from typing import Any

import pytest

from loyalty import rulebook
from loyalty.once import counted_rules, counters_of, counters_on, once_rules


def rules(when: Any, **more: Any) -> rulebook.Rulebook:
    rule = {"id": "w", "stage": "earn", "when": when, "effect": {"type": "earn_fixed", "points": 100}}
    return rulebook.parse({"format": 1, "semantics": 1, "id": "p", "seq": 1, "rules": [{**rule, **more}]})


def counter(name: str, **bounds: int) -> dict[str, Any]:
    return {"type": "counter", "name": name, **bounds}


NEVER_BEFORE = counter("rule:w:ever", max=0)
NOT_TODAY = counter("rule:w:day", max=0)
SILVER = {"type": "tier", "in": ["silver"]}
CASES = [
    (NEVER_BEFORE, "ever"),
    (NOT_TODAY, "day"),
    (counter("rule:w:month", max=0), "month"),
    ({"type": "not", "of": counter("rule:w:ever", min=1)}, "ever"),
    ({"type": "not", "of": counter("rule:w:ever", min=1, max=5)}, None),
    ({"type": "not", "of": counter("rule:w:ever", min=2)}, None),
    ({"type": "all", "of": [SILVER, NOT_TODAY]}, "day"),
    ({"type": "all", "of": [NOT_TODAY, NEVER_BEFORE]}, "ever"),
    ({"type": "any", "of": [SILVER, NEVER_BEFORE]}, None),
    ({"type": "any", "of": [NOT_TODAY, {"type": "all", "of": [SILVER, NEVER_BEFORE]}]}, "day"),
    ({"type": "any", "of": []}, None),
    (counter("rule:w:ever", max=1), None),
    (counter("rule:w:ever", min=1), None),
    (counter("rule:other:ever", max=0), None),
    (counter("visits", max=0), None),
    (counter("rule:w:year", max=0), None),
]


@pytest.mark.parametrize(("when", "limit"), CASES, ids=str)
def test_a_rule_is_once_where_its_condition_cannot_hold_again(when: Any, limit: str | None) -> None:
    assert once_rules(rules(when).rules) == ({"w": limit} if limit else {})


@pytest.mark.parametrize(
    "more",
    [
        {"enabled": False},
        {"stage": "receipt", "effect": {"type": "receipt_amount", "amount": 5}},
        {"effect": {"type": "earn_multiplier", "x100": 200}},
    ],
)
def test_what_makes_no_lot_has_no_once_key(more: dict[str, Any]) -> None:
    assert once_rules(rules(NEVER_BEFORE, **more).rules) == {}


def test_only_rules_that_somebody_counts_are_remembered() -> None:
    named = rules({"type": "all", "of": [counter("rule:a:b:day", max=3), counter("visits", min=1)]})
    assert counted_rules(named.rules) == {"a:b"}


def test_counters_of_another_day_are_over_and_our_own_sales_are_added() -> None:
    told = {"visits": 7, "rule:w:day": 1, "rule:w:month": 4, "rule:w:ever": 9}
    own = {"w": ["2026-02-28", "2026-03-01"]}
    assert counters_on("2026-02-28", told, "2026-02-28", {}) == told
    assert counters_on("2026-03-01", told, "2026-02-28", own) == {
        "visits": 7,
        "rule:w:ever": 11,
        "rule:w:month": 1,
        "rule:w:day": 1,
    }


def test_used_keys_say_how_often_a_rule_worked() -> None:
    keys = ["d/2026-02-28", "d/2026-03-01", "m/2026-03", "w/ever"]
    assert counters_of(keys, "2026-03-01") == {
        "rule:d:ever": 2,
        "rule:d:month": 1,
        "rule:d:day": 1,
        "rule:m:ever": 1,
        "rule:m:month": 1,
        "rule:w:ever": 1,
    }
