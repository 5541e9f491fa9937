"""Documents from outside: what is wrong in them, where, and what to do, all of it at once."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from loyalty import catalog, receipt, rulebook, strictjson
from loyalty.conditions import CONDITIONS
from loyalty.effects import EFFECTS, MAX_CARDS
from loyalty.faults import MAX_FAULTS, Fault, Refused
from loyalty.index import compile_rulebook
from loyalty.quote import quote

Document = dict[str, Any]

RULEBOOK: Document = {
    "format": 1,
    "semantics": 1,
    "id": "shop",
    "seq": 7,
    "currency": "RUB",
    "settings": {
        "no_discount": {"flag": ["tobacco"]},
        "no_redeem": {"sku": ["gift#100"]},
        "no_earn": {"brand": ["b"]},
        "max_line_discount_bp": 5000,
        "policy": {"line": "sum", "receipt": "chain", "earn": "worst"},
    },
    "groups": [
        {"id": "top", "stage": "line", "policy": "best", "priority": 10},
        {"id": "below", "stage": "line", "parent": "top", "policy": "chain"},
        {"id": "tail", "stage": "receipt", "policy": "first"},
        {"id": "points", "stage": "earn", "policy": "sum"},
    ],
    "rules": [
        {
            "id": "ten",
            "title": "Десять процентов",
            "enabled": True,
            "stage": "line",
            "priority": 5,
            "group": "below",
            "when": {
                "type": "all",
                "of": [
                    {"type": "tier", "in": ["gold"]},
                    {"type": "not", "of": {"type": "sum", "of": {"sku": ["x#1"]}, "base": "list", "max": 5}},
                    {"type": "period", "from": "2026-01-01", "to": "2026-12-31T21:00:00Z"},
                ],
            },
            "items": {"category": ["food"], "price_min": 1, "not": {"brand": ["Простоквашино"]}},
            "effect": {"type": "percent", "bp": 1000},
            "cap": 50000,
            "over_sets": True,
            "fresh": False,
        },
        {"id": "off", "stage": "line", "effect": {"type": "amount_off", "amount": 100}},
        {"id": "p", "stage": "receipt", "effect": {"type": "receipt_percent", "bp": 300, "spill": True}},
        {"id": "a", "stage": "receipt", "effect": {"type": "receipt_amount", "amount": 1}, "fresh": True},
        {"id": "pay", "stage": "redeem", "effect": {"type": "redeem", "max_bp": 3000, "of": "eligible"}},
        {"id": "get", "stage": "earn", "effect": {"type": "earn_percent", "bp": 500, "delay_days": 14}},
    ],
    "tests": [{"title": "t", "receipt": {}, "returns": [], "expect": {"pay": 90}}],
    "draw_commitment": "0" * 64,
}
EVERY_EFFECT: dict[str, Document] = {
    "fixed_price": {"price": 7990},
    "n_for_m": {"n": 3, "m": 2, "bp": 5000, "place": "free", "same_sku": True},
    "bundle": {"parts": [{"items": {"sku": ["a"]}, "count": 1}, {"count": 2}], "price": 19900},
    "buy_get": {"buy": {"items": {"sku": ["a"]}, "count": 2}, "get": {"count": 1, "bp": 5000}},
    "percent": {"bp": 15000},
    "amount_off": {"amount": 0},
    "unit_price": {"price": 1},
    "receipt_percent": {"bp": 300, "spill": True},
    "receipt_amount": {"amount": 1, "spill": False},
    "receipt_every": {"every": 100000, "amount": 10000, "times": 2, "spill": False},
    "receipt_steps": {"steps": [{"min": 1000, "bp": 500}, {"min": 0, "amount": 7}], "spill": True},
    "round_down": {"to": 100},
    "redeem": {"max_bp": 3000, "of": "eligible", "step": 100},
    "earn_percent": {"bp": 500, "on": "list", "unit": 1, "delay_days": 14, "ttl_days": 365},
    "earn_multiplier": {"x100": 0},
    "earn_fixed": {"points": 500, "delay_days": 1, "ttl_days": 0},
    "earn_every": {"every": 5000, "points": 100, "on": "paid", "delay_days": 0, "ttl_days": 1},
    "draw_table": {"table": [[90, 0], [10, 500]], "delay_days": 1, "ttl_days": 30},
    "draw_deck": {"cards": [[90, 0], [10, 500]], "delay_days": 1, "ttl_days": 30},
    "issue_coupon": {"series": "SPRING", "ttl_days": 14},
    "gift": {"sku": "mug#red", "quantity": 1000},
    "message": {"text": "Спасибо!"},
}
"""Every effect with every key it may have."""

EVERY_CONDITION: dict[str, Document] = {
    "all": {"of": [{"type": "any", "of": []}, {"type": "customer"}]},
    "any": {"of": [{"type": "all", "of": []}]},
    "not": {"of": {"type": "customer", "in": ["C1"]}},
    "period": {"from": "2026-01-01T00:00:00", "to": "2026-12-31T21:00:00Z"},
    "time": {"from": "22:00", "to": "02:00", "weekdays": [1, 7]},
    "weekday": {"in": [1, 7]},
    "month_day": {"in": [1, 31]},
    "store": {"in": ["M1"]},
    "till": {"in": ["T1"]},
    "channel": {"in": ["pos"]},
    "region": {"in": ["north"]},
    "tender": {"in": ["cash"]},
    "customer": {"in": ["C1"]},
    "tier": {"in": ["gold"]},
    "card_kind": {"in": ["app"]},
    "segment": {"in": ["vip"]},
    "counter": {"name": "rule:ten:day", "min": -1, "max": 0},
    "birthday": {"before": 3, "after": 3, "feb29": "03-01"},
    "coupon": {"series": "SPRING"},
    "redeemed": {"is": True},
    "sum": {"of": {"flag": ["own"]}, "base": "list", "min": 0, "max": 5},
    "quantity": {"of": {"flag": ["own"]}, "min": 1, "max": 5},
    "distinct": {"of": {"flag": ["own"]}, "min": 1, "max": 5},
}
"""Every condition with every key it may have."""


def book_of(*rules: Document) -> Document:
    """A rulebook of these rules; what a rule leaves out of id, stage and effect is filled in."""
    plain = {"stage": "line", "effect": {"type": "percent", "bp": 1}}
    return {
        "format": 1,
        "id": "b",
        "seq": 1,
        "rules": [{"id": f"r{number}", **plain, **rule} for number, rule in enumerate(rules)],
    }


def rule_with(effect: str, **changes: object) -> Document:
    """A rule with this effect whole but for the changes; `...` leaves a key out."""
    keys = {**EVERY_EFFECT[effect], **changes}
    kept = {key: value for key, value in keys.items() if value is not ...}
    return {"stage": EFFECTS[effect].stage, "effect": {"type": effect, **kept}}


def when(condition: str, **changes: object) -> Document:
    """An earning rule (where every condition may stand) under this condition, but for the changes."""
    keys = {**EVERY_CONDITION[condition], **changes}
    kept = {key: value for key, value in keys.items() if value is not ...}
    return {
        "stage": "earn",
        "effect": {"type": "earn_fixed", "points": 1},
        "when": {"type": condition, **kept},
    }


def named(rule: Document, path: str) -> str:
    """The name of a test: what the rule is about, and where its fault lies."""
    about = rule["when"]["type"] if "when" in rule else rule["effect"]["type"]
    return f"{about} {path}"


RECEIPT: Document = {
    "id": "R1",
    "till": "T1",
    "store": "M1",
    "region": None,
    "channel": "pos",
    "at": "2026-02-13T12:00:00+03:00",
    "lines": [{"id": "1", "sku": "x#1", "price": 100, "quantity": 1000}],
    "customer": {
        "id": "C1",
        "tier": "gold",
        "card_kind": "app",
        "segments": ["vip"],
        "counters": {"visits": 3, "gone": None},
        "birthday": "02-29",
        "lots": [{"id": "a", "amount": 5, "active_from": "2026-01-01T00:00:00", "expires_at": None}],
    },
    "coupons": ["SPRING", "GIFT/000123"],
    "coupons_used": None,
    "tenders": ["cash"],
    "redeem": "max",
    "draws": {"wheel": 4},
}
CATALOG: Document = {
    "categories": {"food": None, "dairy": "food"},
    "skus": {
        "x#1": {"category": "dairy", "brand": "b", "flags": ["own"], "min_price": 5, "weighed": True},
        "y": {"brand": None},
        "gone": None,
    },
}
RULEBOOK["tests"][0]["receipt"] = RECEIPT

PARSERS: dict[str, tuple[Document, Callable[[object], object]]] = {
    "rulebook": (RULEBOOK, rulebook.parse),
    "receipt": (RECEIPT, receipt.parse),
    "catalog": (CATALOG, catalog.parse),
}


def changed(document: Document, place: str, value: object) -> Document:
    """A copy with the value at `place` (such as rules.0.effect.bp) replaced; `...` removes it."""
    document = copy.deepcopy(document)
    *way, last = place.split(".")
    target: Any = document
    for step in way:
        target = target[int(step)] if isinstance(target, list) else target[step]
    if value is ...:
        del target[last]
    elif isinstance(target, list):
        target[int(last)] = value
    else:
        target[last] = value
    return document


def faults_of(kind: str, document: object) -> dict[str, str]:
    with pytest.raises(Refused) as refused:
        PARSERS[kind][1](document)
    return {fault.path: str(fault.text) for fault in refused.value.faults}


@pytest.mark.parametrize("kind", PARSERS)
def test_a_document_with_every_key_there_is_is_read(kind: str) -> None:
    document, parse = PARSERS[kind]
    assert parse(document)


def test_defaults_are_those_of_the_law() -> None:
    book = rulebook.parse(
        {
            "format": 1,
            "id": "b",
            "seq": 0,
            "rules": [
                {"id": "e", "stage": "earn", "effect": {"type": "earn_percent", "bp": 1}},
                {"id": "p", "stage": "receipt", "effect": {"type": "receipt_percent", "bp": 1}},
                {"id": "a", "stage": "receipt", "effect": {"type": "receipt_amount", "amount": 1}},
                {"id": "r", "stage": "redeem", "effect": {"type": "redeem", "max_bp": 1}},
            ],
        }
    )
    assert (book.currency, book.settings.policy, book.groups) == ("RUB", {}, ())
    earn, percent, amount, redeem = (rule.effect for rule in book.rules)
    assert earn == EFFECTS["earn_percent"].make(bp=1, on="paid", unit=100, delay_days=0, ttl_days=None)
    assert percent == EFFECTS["receipt_percent"].make(bp=1, spill=False)
    assert amount == EFFECTS["receipt_amount"].make(amount_minor=1, spill=True)
    assert redeem == EFFECTS["redeem"].make(max_bp=1, of="receipt", step=1)
    assert book.rules[0].order == (100, "e")
    assert not (book.rules[0].over_sets or book.rules[0].fresh)
    sets, every, steps, born = rulebook.parse(
        book_of(
            {"stage": "sets", "effect": {"type": "n_for_m", "n": 3, "m": 2}},
            {"stage": "receipt", "effect": {"type": "receipt_every", "every": 1, "amount": 1}},
            {"stage": "receipt", "effect": {"type": "receipt_steps", "steps": [{"min": 0, "bp": 1}]}},
            {"when": {"type": "birthday"}},
        )
    ).rules
    assert sets.effect == EFFECTS["n_for_m"].make(n=3, m=2, bp=10_000, place="spread", same_sku=False)
    assert every.effect == EFFECTS["receipt_every"].make(
        every_minor=1, amount_minor=1, times=None, spill=True
    )
    assert steps.effect.spill is None
    assert born.when == CONDITIONS["birthday"].make(before_days=0, after_days=0, feb29="02-28")


def test_null_means_absent_in_a_receipt_and_nothing_at_all_in_a_rulebook() -> None:
    sale = receipt.parse(RECEIPT)
    assert sale.region is None
    assert sale.coupons_used == ()
    assert sale.customer is not None
    assert dict(sale.customer.counters) == {"visits": 3}
    assert sale.customer.lots[0].expires_at is None
    assert set(catalog.parse(CATALOG).skus) == {"x#1", "y"}
    assert faults_of("rulebook", changed(RULEBOOK, "rules.0.group", None)) == {
        "rules[0].group": "must be a text, not null"
    }


FAULTS = [
    # what somebody wrote, where the fault is, what is said of it
    ("rulebook", "format", 2, "format", "knows format 1 only"),
    ("rulebook", "semantics", 2, "semantics", "knows semantics 1 only"),
    ("rulebook", "format", True, "format", "knows format 1 only"),
    ("rulebook", "seq", ..., "seq", "is missing"),
    ("rulebook", "seq", "7", "seq", 'must be a whole number, not "7"'),
    ("rulebook", "id", "no spaces", "id", "must be an id"),
    ("rulebook", "id", "x" * 65, "id", "must be an id"),
    ("rulebook", "id", "имя", "id", "must be an id"),
    ("rulebook", "currency", "roubles", "currency", "three capital letters"),
    ("rulebook", "rulez", [], "rulez", "did you mean rules?"),
    ("rulebook", "rules", {}, "rules", "must be a list, not an object"),
    ("rulebook", "settings.polici", {}, "settings.polici", "did you mean policy?"),
    ("rulebook", "settings.policy.line", "bets", "settings.policy.line", "did you mean best?"),
    ("rulebook", "settings.policy.sets", "best", "settings.policy.sets", "unknown key"),
    ("rulebook", "settings.max_line_discount_bp", -1, "settings.max_line_discount_bp", "at least 0"),
    ("rulebook", "settings.no_earn", {"tag": ["x"]}, "settings.no_earn.tag", "unknown key; "),
    ("rulebook", "groups.0.stage", "sets", "groups[0].stage", "unknown stage of a group"),
    ("rulebook", "groups.1.id", "top", "groups[1].id", "stands already at groups[0].id"),
    ("rulebook", "groups.1.parent", "topp", "groups[1].parent", "did you mean top?"),
    ("rulebook", "groups.1.parent", "tail", "groups[1].parent", "belongs to stage receipt, not line"),
    ("rulebook", "groups.1.parent", "below", "groups[1].parent", "its own ancestor"),
    ("rulebook", "rules.1.id", "ten", "rules[1].id", "stands already at rules[0].id"),
    ("rulebook", "rules.1.id", ..., "rules[1].id", "is missing"),
    ("rulebook", "rules.1.stage", "lien", "rules[1].stage", "did you mean line?"),
    ("rulebook", "rules.1.stage", "sets", "rules[1].effect.type", "belongs to stage line, not sets"),
    ("rulebook", "rules.1.stage", "receipt", "rules[1].effect.type", "belongs to stage line, not receipt"),
    ("rulebook", "rules.1.group", "tail", "rules[1].group", "belongs to stage receipt, not line"),
    ("rulebook", "rules.1.group", "nowhere", "rules[1].group", 'there is no group "nowhere"'),
    ("rulebook", "rules.1.limit", 1, "rules[1].limit", "has no meaning in stage line"),
    ("rulebook", "rules.4.cap", 1, "rules[4].cap", "has no meaning in stage redeem"),
    ("rulebook", "rules.4.group", "top", "rules[4].group", "has no meaning in stage redeem"),
    ("rulebook", "rules.4.fresh", False, "rules[4].fresh", "has no meaning in stage redeem"),
    ("rulebook", "rules.2.over_sets", True, "rules[2].over_sets", "has no meaning in stage receipt"),
    ("rulebook", "rules.5.fresh", True, "rules[5].fresh", "has no meaning in stage earn"),
    ("rulebook", "rules.1.enabled", 1, "rules[1].enabled", "must be true or false, not 1"),
    ("rulebook", "rules.1.effect", "percent", "rules[1].effect", "must be an object"),
    ("rulebook", "rules.1.effect.type", "amount_of", "rules[1].effect.type", "did you mean amount_off?"),
    ("rulebook", "rules.1.effect.type", ..., "rules[1].effect.type", "is missing"),
    ("rulebook", "rules.1.effect.amount", ..., "rules[1].effect.amount", "is missing"),
    ("rulebook", "rules.1.effect.amount", 1.0, "rules[1].effect.amount", "not a number with a decimal point"),
    ("rulebook", "rules.1.effect.amount", True, "rules[1].effect.amount", "not true or false"),
    ("rulebook", "rules.1.effect.amount", 2**63, "rules[1].effect.amount", "must be at most"),
    ("rulebook", "rules.1.effect.spill", True, "rules[1].effect.spill", "unknown key"),
    ("rulebook", "rules.4.effect.step", 0, "rules[4].effect.step", "must be at least 1"),
    ("rulebook", "rules.4.effect.of", "recipt", "rules[4].effect.of", "did you mean receipt?"),
    ("rulebook", "rules.5.effect.unit", 0, "rules[5].effect.unit", "must be at least 1"),
    ("rulebook", "rules.5.effect.ttl_days", 10**6, "rules[5].effect.ttl_days", "must be at most"),
    ("rulebook", "rules.0.items.category", [], "rules[0].items.category", "the list is empty"),
    ("rulebook", "rules.0.items.category", "food", "rules[0].items.category", "must be a list"),
    ("rulebook", "rules.0.items.not.sku", ["a b"], "rules[0].items.not.sku[0]", "must be a sku"),
    ("rulebook", "rules.0.when.type", "al", "rules[0].when.type", "did you mean all?"),
    ("rulebook", "rules.0.when.of.0.in", ..., "rules[0].when.of[0].in", "is missing"),
    ("rulebook", "rules.0.when.of.1.of.base", "nett", "rules[0].when.of[1].of.base", "did you mean net?"),
    ("rulebook", "rules.0.when.of.2.from", "2026-02-30", "rules[0].when.of[2].from", "no such date"),
    ("rulebook", "rules.0.when.of.2.from", "1 May", "rules[0].when.of[2].from", "must be a time such as"),
    ("rulebook", "tests.0.receipt.till", ..., "tests[0].receipt.till", "is missing"),
    ("rulebook", "tests.0.expect", ..., "tests[0].expect", "is missing"),
    ("rulebook", "tests.0.expect.pay", 0.5, "tests[0].expect.pay", "must be a whole number"),
    ("rulebook", "tests.0.returns", [{"lines": {"1": 0}}], "tests[0].returns[0].lines[\"1\"]", "at least 1"),
    ("rulebook", "draw_commitment", "abc", "draw_commitment", "64 hexadecimal digits"),
    ("receipt", "at", "2026-02-13T12:00:00", "at", "local time with offset"),
    ("receipt", "at", "2026-02-13T12:00:00.5+03:00", "at", "local time with offset"),
    ("receipt", "at", "2026-02-13T12:00:00Z", "at", "local time with offset"),
    ("receipt", "at", "2026-02-30T12:00:00+03:00", "at", "no such date"),
    ("receipt", "at", "9999-02-01T12:00:00+03:00", "at", "must be at most 9000"),
    ("receipt", "store", None, "store", "is missing"),
    ("receipt", "lines.0.quantity", 0, "lines[0].quantity", "must be at least 1"),
    ("receipt", "lines.0.price", -1, "lines[0].price", "must be at least 0"),
    ("receipt", "lines.0.price", 1.5, "lines[0].price", "not a number with a decimal point"),
    ("receipt", "lines.0.discount", 5, "lines[0].discount", "unknown key"),
    ("receipt", "redeem", "all", "redeem", 'points in hundredths, or "max"'),
    ("receipt", "redeem", -5, "redeem", "must be at least 0"),
    ("receipt", "coupons.1", "A/B/C", "coupons[1]", "series or series/serial"),
    ("receipt", "customer.id", ..., "customer.id", "is missing"),
    ("receipt", "customer.birthday", "02-30", "customer.birthday", "no such date"),
    ("receipt", "customer.birthday", "29.02", "customer.birthday", "a month and day such as"),
    ("receipt", "customer.lots.0.expires_at", "2026-01-01", "customer.lots[0].expires_at", "shop time"),
    ("catalog", "skus.y.min_price", -1, "skus.y.min_price", "must be at least 0"),
    ("catalog", "skus.y.colour", "red", "skus.y.colour", "unknown key"),
    ("catalog", "skus.y.flags", ["not ok"], "skus.y.flags[0]", "must be an id"),
    ("catalog", "categories.food", "dairy", "categories.food", "its own ancestor"),
    ("catalog", "categories.dairy", 5, "categories.dairy", "must be a text, not 5"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "place", "value", "path", "said"), FAULTS)
def test_a_fault_says_where_and_what(kind: str, place: str, value: object, path: str, said: str) -> None:
    found = faults_of(kind, changed(PARSERS[kind][0], place, value))
    assert path in found
    assert said in found[path]


# -- the whole vocabulary -------------------------------------------------------------------------


def test_every_effect_and_every_condition_is_read_with_every_key_it_may_have() -> None:
    assert set(EVERY_EFFECT) == set(EFFECTS)
    assert set(EVERY_CONDITION) == set(CONDITIONS)
    for name, keys in EVERY_EFFECT.items():
        assert set(EFFECTS[name].keys) - set(keys) <= ({"bp", "amount"} if name == "bundle" else set())
    for name, keys in EVERY_CONDITION.items():
        assert set(CONDITIONS[name].keys) == set(keys)
    rules = [rule_with(name) for name in EFFECTS] + [when(name) for name in CONDITIONS]
    assert len(rulebook.parse(book_of(*rules)).rules) == len(rules)


EVERY_KEY = [
    *((rule_with(name, **{key: 0.5}), f"effect.{key}") for name in EFFECTS for key in EVERY_EFFECT[name]),
    *((when(name, **{key: 0.5}), f"when.{key}") for name in CONDITIONS for key in EVERY_CONDITION[name]),
]


@pytest.mark.parametrize(("rule", "path"), [pytest.param(*each, id=named(*each)) for each in EVERY_KEY])
def test_every_key_of_the_vocabulary_refuses_a_number_with_a_point(rule: Document, path: str) -> None:
    found = faults_of("rulebook", book_of(rule))
    assert set(found) == {f"rules[0].{path}"}
    assert "not a number with a decimal point" in found[f"rules[0].{path}"]


REQUIRED = [
    *(
        (rule_with(name, **{key: ...}), f"effect.{key}")
        for name in EFFECTS
        for key in EFFECTS[name].keys.required
    ),
    *(
        (when(name, **{key: ...}), f"when.{key}")
        for name in CONDITIONS
        for key in CONDITIONS[name].keys.required
    ),
]


@pytest.mark.parametrize(("rule", "path"), [pytest.param(*each, id=named(*each)) for each in REQUIRED])
def test_every_required_key_that_is_missing_is_named(rule: Document, path: str) -> None:
    assert faults_of("rulebook", book_of(rule)) == {f"rules[0].{path}": "is missing; it is required here"}


def test_what_is_required_is_what_the_law_gives_no_default_for() -> None:
    required = {name: set(shape.keys.required) for name, shape in (*EFFECTS.items(), *CONDITIONS.items())}
    assert {name for name, keys in required.items() if not keys} == {
        *("period", "customer", "birthday", "sum", "quantity", "distinct")
    }
    assert required["n_for_m"] == {"n", "m"}
    assert required["bundle"] == {"parts"}
    assert required["receipt_every"] == {"every", "amount"}
    assert required["counter"] == {"name"}
    assert required["time"] == {"from", "to"}


PLACES = ("store", "till", "channel", "region")
RULE_FAULTS = [
    # price, sets
    (rule_with("fixed_price", price=-1), "effect.price", "at least 0"),
    (rule_with("n_for_m", n=0), "effect.n", "at least 1"),
    (rule_with("n_for_m", m=-1), "effect.m", "at least 0"),
    (rule_with("n_for_m", m=3), "effect.m", "must be less than n"),
    (rule_with("n_for_m", n=1, m=1), "effect.m", "must be less than n"),
    (rule_with("n_for_m", bp=-1), "effect.bp", "at least 0"),
    (rule_with("n_for_m", place="fre"), "effect.place", "did you mean free?"),
    (rule_with("n_for_m", same_sku="yes"), "effect.same_sku", "must be true or false"),
    (rule_with("bundle", price=...), "effect", "give exactly one of price, bp, amount"),
    (rule_with("bundle", bp=1000), "effect", "give exactly one of price, bp, amount"),
    (rule_with("bundle", price=..., bp=1, amount=1), "effect", "give exactly one of price, bp, amount"),
    (rule_with("bundle", price=..., amount=-1), "effect.amount", "at least 0"),
    (rule_with("bundle", parts=[]), "effect.parts", "the list is empty"),
    (rule_with("bundle", parts=[{"count": 0}]), "effect.parts[0].count", "at least 1"),
    (rule_with("bundle", parts=[{"count": 1}, {"items": {}}]), "effect.parts[1].count", "is missing"),
    (rule_with("bundle", parts=[{"count": 1, "bp": 5}]), "effect.parts[0].bp", "unknown key"),
    (rule_with("bundle", parts=[{"count": 1, "items": {"sku": []}}]), "effect.parts[0].items.sku", "empty"),
    (rule_with("n_for_m", n=501), "effect.n", "at most 500"),
    (rule_with("bundle", parts=[{"count": 501}]), "effect.parts[0].count", "at most 500"),
    (rule_with("bundle", parts=[{"count": 300}, {"count": 201}]), "effect.parts", "501 pieces together"),
    (rule_with("buy_get", buy={"count": 300}, get={"count": 201}), "effect", "501 pieces together"),
    (rule_with("buy_get", buy={"count": 0}), "effect.buy.count", "at least 1"),
    (rule_with("buy_get", buy={"count": 1, "bp": 5}), "effect.buy.bp", "unknown key"),
    (rule_with("buy_get", get={"count": 0}), "effect.get.count", "at least 1"),
    (rule_with("buy_get", get={"bp": 5}), "effect.get.count", "is missing"),
    (rule_with("buy_get", get={"count": 1, "bp": -1}), "effect.get.bp", "at least 0"),
    # line, receipt
    (rule_with("percent", bp=-1), "effect.bp", "at least 0"),
    (rule_with("percent", bp=2**63), "effect.bp", "at most"),
    (rule_with("amount_off", amount=-1), "effect.amount", "at least 0"),
    (rule_with("unit_price", price=-1), "effect.price", "at least 0"),
    (rule_with("receipt_percent", bp=-1), "effect.bp", "at least 0"),
    (rule_with("receipt_amount", amount=-1), "effect.amount", "at least 0"),
    (rule_with("receipt_every", every=0), "effect.every", "at least 1"),
    (rule_with("receipt_every", times=0), "effect.times", "at least 1"),
    (rule_with("receipt_every", amount=-1), "effect.amount", "at least 0"),
    (rule_with("receipt_steps", steps=[]), "effect.steps", "the list is empty"),
    (rule_with("receipt_steps", steps=[{"min": 0}]), "effect.steps[0]", "give exactly one of bp, amount"),
    (
        rule_with("receipt_steps", steps=[{"min": 0, "bp": 1, "amount": 1}]),
        "effect.steps[0]",
        "give exactly one of bp, amount",
    ),
    (rule_with("receipt_steps", steps=[{"min": -1, "bp": 1}]), "effect.steps[0].min", "at least 0"),
    (rule_with("receipt_steps", steps=[{"bp": 1}]), "effect.steps[0].min", "is missing"),
    (
        rule_with("receipt_steps", steps=[{"min": 5, "bp": 1}, {"min": 9, "bp": 2}, {"min": 5, "amount": 3}]),
        "effect.steps[2].min",
        "stands already at rules[0].effect.steps[0].min",
    ),
    # round, redeem, earn
    (rule_with("round_down", to=0), "effect.to", "at least 1"),
    (rule_with("redeem", max_bp=-1), "effect.max_bp", "at least 0"),
    (rule_with("redeem", of="recipt"), "effect.of", "did you mean receipt?"),
    (rule_with("redeem", step=0), "effect.step", "at least 1"),
    (rule_with("earn_percent", on="payed"), "effect.on", "did you mean paid?"),
    (rule_with("earn_percent", unit=0), "effect.unit", "at least 1"),
    (rule_with("earn_percent", delay_days=-1), "effect.delay_days", "at least 0"),
    (rule_with("earn_percent", ttl_days=36_501), "effect.ttl_days", "at most 36500"),
    (rule_with("earn_multiplier", x100=-1), "effect.x100", "at least 0"),
    (rule_with("earn_fixed", points=-1), "effect.points", "at least 0"),
    (rule_with("earn_every", every=0), "effect.every", "at least 1"),
    (rule_with("earn_every", on="net"), "effect.on", "unknown base"),
    # reward
    (rule_with("draw_table", table=[]), "effect.table", "the list is empty"),
    (rule_with("draw_table", table=[[0, 5]]), "effect.table[0][0]", "at least 1"),
    (rule_with("draw_table", table=[[1, -5]]), "effect.table[0][1]", "at least 0"),
    (rule_with("draw_table", table=[[1, 0], [1]]), "effect.table[1]", "must be a pair [weight, points]"),
    (rule_with("draw_table", table=[[1, 2, 3]]), "effect.table[0]", "must be a pair [weight, points]"),
    (rule_with("draw_table", table={"1": 5}), "effect.table", "must be a list"),
    (rule_with("draw_deck", cards=[]), "effect.cards", "the list is empty"),
    (rule_with("draw_deck", cards=[[0, 5]]), "effect.cards[0][0]", "at least 1"),
    (rule_with("draw_deck", cards=["1,5"]), "effect.cards[0]", "must be a pair [count, points]"),
    (rule_with("draw_deck", cards=[[MAX_CARDS, 0], [1, 5]]), "effect.cards", "has 100001 entries"),
    (rule_with("draw_deck", delay_days=-1), "effect.delay_days", "at least 0"),
    (rule_with("issue_coupon", series="A/1"), "effect.series", "must be an id"),
    (rule_with("issue_coupon", ttl_days=-1), "effect.ttl_days", "at least 0"),
    (rule_with("gift", sku="red mug"), "effect.sku", "must be a sku"),
    (rule_with("gift", quantity=0), "effect.quantity", "at least 1"),
    (rule_with("message", text=""), "effect.text", "1 to 1000 printable characters"),
    (rule_with("message", text="two\nlines"), "effect.text", "printable characters"),
    # conditions
    (when("all", of={}), "when.of", "must be a list"),
    (when("any", of=[{"type": "custmer"}]), "when.of[0].type", "did you mean customer?"),
    (when("any", of=[{}]), "when.of[0].type", "is missing"),
    (when("not", of=[]), "when.of", "must be an object"),
    (when("period", **{"from": "2026-02-29"}), "when.from", "no such date"),
    (when("period", to="2026-02-13T12:00:00+03:00"), "when.to", "must be a time such as"),
    (when("time", to="22:00"), "when.to", "is the same as from"),
    (when("time", **{"from": "24:00"}), "when.from", "a time of day from 00:00 to 23:59"),
    (when("time", to="9:00"), "when.to", "a time of day from 00:00 to 23:59"),
    (when("time", weekdays=[0]), "when.weekdays[0]", "at least 1"),
    (when("time", weekdays=[1, 8]), "when.weekdays[1]", "at most 7"),
    (when("weekday", **{"in": [0]}), "when.in[0]", "at least 1"),
    (when("weekday", **{"in": [8]}), "when.in[0]", "at most 7"),
    (when("weekday", **{"in": ["Monday"]}), "when.in[0]", "must be a whole number"),
    (when("month_day", **{"in": [0]}), "when.in[0]", "at least 1"),
    (when("month_day", **{"in": [32]}), "when.in[0]", "at most 31"),
    *((when(kind, **{"in": "M1"}), "when.in", "must be a list") for kind in PLACES),
    *((when(kind, **{"in": ["a b"]}), "when.in[0]", "must be an id") for kind in ("tender", "customer")),
    *((when(kind, **{"in": [5]}), "when.in[0]", "not 5") for kind in ("tier", "card_kind", "segment")),
    (when("counter", name=""), "when.name", "must be a counter"),
    (when("counter", name="visits this year"), "when.name", "must be a counter"),
    (when("counter", name="x" * 81), "when.name", "must be a counter"),
    (when("counter", min="1"), "when.min", "must be a whole number"),
    (when("birthday", before=-1), "when.before", "at least 0"),
    (when("birthday", after=36_501), "when.after", "at most 36500"),
    (when("birthday", feb29="02-29"), "when.feb29", "did you mean 02-28?"),
    (when("coupon", series="SPRING/1"), "when.series", "must be an id"),
    (when("redeemed", **{"is": "yes"}), "when.is", "must be true or false"),
    (when("sum", base="gross"), "when.base", "unknown base"),
    (when("sum", min=-1), "when.min", "at least 0"),
    (when("sum", of={"tag": ["x"]}), "when.of.tag", "unknown key"),
    (when("quantity", max=-1), "when.max", "at least 0"),
    (when("quantity", of={"flag": []}), "when.of.flag", "the list is empty"),
    (when("distinct", min=-1), "when.min", "at least 0"),
    (when("distinct", base="net"), "when.base", "unknown key"),
    # the rule itself
    ({**rule_with("percent"), "stage": "sets"}, "effect.type", "belongs to stage line, not sets"),
    ({"effect": {"type": "gift"}, "stage": "reward"}, "effect.sku", "is missing"),
    ({**rule_with("n_for_m"), "limit": 0}, "limit", "at least 1"),
    ({**rule_with("percent"), "cap": -1}, "cap", "at least 0"),
    ({**rule_with("percent"), "over_sets": 1}, "over_sets", "must be true or false"),
    ({**rule_with("percent"), "priority": "high"}, "priority", "must be a whole number"),
    ({**rule_with("percent"), "items": {"price_min": -1}}, "items.price_min", "at least 0"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "path", "said"),
    [pytest.param(*each, id=f"{named(*each[:2])} {each[2]}") for each in RULE_FAULTS],
)
def test_a_fault_of_a_rule_says_where_and_what(rule: Document, path: str, said: str) -> None:
    found = faults_of("rulebook", book_of(rule))
    assert f"rules[0].{path}" in found
    assert said in found[f"rules[0].{path}"]
    assert all(place.startswith(f"rules[0].{path.split('.')[0]}") for place in found)


def test_every_effect_and_every_condition_has_a_fault_line_of_its_own() -> None:
    tried = {rule["effect"]["type"] for rule, _, _ in RULE_FAULTS}
    tried |= {rule["when"]["type"] for rule, _, _ in RULE_FAULTS if "when" in rule}
    assert tried == {*EFFECTS, *CONDITIONS}


SETS, LINE = ("n_for_m", "bundle", "buy_get"), ("percent", "amount_off", "unit_price")
RECEIPTS = ("receipt_percent", "receipt_amount", "receipt_every", "receipt_steps")
EARN = ("earn_percent", "earn_multiplier", "earn_fixed", "earn_every")
HAS_MEANING: dict[str, tuple[object, tuple[str, ...]]] = {
    "limit": (1, SETS),
    "cap": (1, (*LINE, *RECEIPTS, *EARN)),
    "over_sets": (True, LINE),
    "fresh": (False, (*LINE, *RECEIPTS)),
    "group": ("g-", (*LINE, *RECEIPTS, "earn_percent")),
    "items": ({}, tuple(name for name in EFFECTS if name not in ("bundle", "buy_get", "round_down"))),
}
"""A value for each key that has a meaning with some effects only, and these effects (rulebook.md §2)."""


@pytest.mark.parametrize("key", HAS_MEANING)
@pytest.mark.parametrize("effect", EFFECTS)
def test_a_key_is_read_where_it_has_a_meaning_and_refused_where_it_has_none(key: str, effect: str) -> None:
    value, allowed = HAS_MEANING[key]
    rule = rule_with(effect)
    stage = rule["stage"] if rule["stage"] in ("line", "receipt", "earn") else "line"
    document = book_of({**rule, key: f"g-{stage}" if key == "group" else value})
    document["groups"] = [{"id": f"g-{name}", "stage": name} for name in ("line", "receipt", "earn")]
    if effect in allowed:
        assert rulebook.parse(document)
    else:
        found = faults_of("rulebook", document)
        assert set(found) == {f"rules[0].{key}"}
        assert "has no meaning" in found[f"rules[0].{key}"]


@pytest.mark.parametrize(
    "effect", [name for name in EFFECTS if EFFECTS[name].stage not in ("earn", "reward")]
)
def test_redeemed_is_not_known_before_points_were_paid_however_deep_it_hides(effect: str) -> None:
    redeemed = {"type": "redeemed", "is": True}
    hidden = {
        "type": "all",
        "of": [{"type": "customer"}, {"type": "not", "of": {"type": "any", "of": [redeemed]}}],
    }
    found = faults_of("rulebook", book_of({**rule_with(effect), "when": hidden}))
    assert set(found) == {"rules[0].when.of[1].of.of[0].type"}
    assert "redeemed belongs to stages earn, reward, not" in next(iter(found.values()))


@pytest.mark.parametrize("effect", [name for name in EFFECTS if EFFECTS[name].stage in ("earn", "reward")])
def test_redeemed_may_be_asked_once_points_were_paid(effect: str) -> None:
    assert rulebook.parse(book_of({**rule_with(effect), "when": {"type": "redeemed", "is": False}}))


def test_a_counter_of_a_rule_with_the_longest_id_can_be_named() -> None:
    assert rulebook.parse(book_of(when("counter", name=f"rule:{'x' * 64}:month")))


def test_a_deck_of_the_greatest_size_is_read() -> None:
    assert rulebook.parse(book_of(rule_with("draw_deck", cards=[[MAX_CARDS - 1, 0], [1, 5]])))


def test_twenty_different_faults_in_one_rulebook_are_twenty_lines() -> None:
    document = copy.deepcopy(RULEBOOK)
    document["semantics"] = 3  # 1
    document["curency"] = "RUB"  # 2
    document["settings"]["no_earn"] = {"sku": []}  # 3
    document["settings"]["policy"]["round"] = "best"  # 4
    document["groups"][1]["parent"] = "below"  # 5
    document["groups"][2]["priority"] = "1"  # 6
    document["rules"][0]["when"]["of"][0] = {"type": "redeemed", "is": True}  # 7
    document["rules"][0]["cap"] = -5  # 8
    document["rules"][1]["id"] = "ten"  # 9
    document["rules"][1]["effect"]["amount"] = 1.5  # 10
    document["rules"] = [
        *document["rules"][:2],
        {**rule_with("n_for_m", m=7), "id": "r2"},  # 11
        {**rule_with("bundle", amount=1), "id": "r3", "items": {}},  # 12, 13
        {**rule_with("receipt_steps", steps=[{"min": 1, "bp": 1}, {"min": 1, "bp": 2}]), "id": "r4"},  # 14
        {
            **rule_with("round_down"),
            "id": "r5",
            "when": {"type": "time", "from": "09:00", "to": "09:00"},
        },  # 15
        {**rule_with("earn_fixed"), "id": "r6", "group": "points"},  # 16
        {**rule_with("draw_table", table=[[1, 2], [3]]), "id": "r7", "enabled": "no"},  # 17, 18
        {"id": "r8", "stage": "reward", "effect": {"type": "mesage", "text": "!"}},  # 19
    ]
    document["tests"][0]["receipt"]["lines"][0]["quantity"] = 0  # 20
    assert sorted(faults_of("rulebook", document)) == sorted(
        [
            "semantics",
            "curency",
            "settings.no_earn.sku",
            "settings.policy.round",
            "groups[1].parent",
            "groups[2].priority",
            "rules[0].when.of[0].type",
            "rules[0].cap",
            "rules[1].id",
            "rules[1].effect.amount",
            "rules[2].effect.m",
            "rules[3].effect",
            "rules[3].items",
            "rules[4].effect.steps[1].min",
            "rules[5].when.to",
            "rules[6].group",
            "rules[7].effect.table[1]",
            "rules[7].enabled",
            "rules[8].effect.type",
            "tests[0].receipt.lines[0].quantity",
        ]
    )


def test_each_of_the_faults_of_one_document_is_told_once() -> None:
    rules = [{**rule, "id": f"r{number}"} for number, (rule, _, _) in enumerate(RULE_FAULTS)]
    with pytest.raises(Refused) as refused:
        rulebook.parse(book_of(*rules))
    paths = [fault.path for fault in refused.value.faults]
    assert len(set(paths)) == len(paths)
    assert {f"rules[{number}].{path}" for number, (_, path, _) in enumerate(RULE_FAULTS)} <= set(paths)


# -- several faults, and faults across items ------------------------------------------------------


def test_a_rulebook_with_three_faults_lists_three() -> None:
    document = changed(RULEBOOK, "rules.0.effect.bp", "10%")
    document = changed(document, "rules.3.id", "ten")
    document = changed(document, "groups.0.polisy", "best")
    found = faults_of("rulebook", document)
    assert set(found) == {"rules[0].effect.bp", "rules[3].id", "groups[0].polisy"}
    assert "did you mean policy?" in found["groups[0].polisy"]


def test_a_broken_rule_is_still_checked_in_every_other_way() -> None:
    broken = {"id": "ten", "stage": "line", "group": "gone", "effect": {"type": "percent", "bp": -1}, "x": 1}
    assert set(faults_of("rulebook", changed(RULEBOOK, "rules.1", broken))) == {
        "rules[1].id",
        "rules[1].group",
        "rules[1].effect.bp",
        "rules[1].x",
    }


def test_a_circle_of_groups_names_each_of_its_members_and_nobody_else() -> None:
    document = changed(RULEBOOK, "groups.0.parent", "below")
    document["groups"].append({"id": "hangs-on", "stage": "line", "parent": "below"})
    assert set(faults_of("rulebook", document)) == {"groups[0].parent", "groups[1].parent"}


def test_ids_repeat_only_among_their_own_kind() -> None:
    document = changed(RULEBOOK, "groups.2.id", "ten")
    assert rulebook.parse(document).groups[2].id == "ten"


def test_two_lines_or_two_lots_of_one_name_are_faults() -> None:
    document = copy.deepcopy(RECEIPT)
    document["lines"] *= 2
    document["customer"]["lots"] *= 3
    assert set(faults_of("receipt", document)) == {
        "lines[1].id",
        "customer.lots[1].id",
        "customer.lots[2].id",
    }


def test_faults_of_a_part_carry_the_path_of_the_whole() -> None:
    with pytest.raises(Refused) as refused:
        receipt.parse({}, "receipt")
    assert [str(fault) for fault in refused.value.faults][:2] == [
        "receipt.id: is missing; it is required here",
        "receipt.till: is missing; it is required here",
    ]
    assert Fault("[0].x", refused.value.faults[0].text).under("returns").path == "returns[0].x"


def test_what_a_receipt_says_of_a_customer_does_not_come_back_in_an_error() -> None:
    document = changed(RECEIPT, "customer.id", "4276 1234 5678 9010")
    document["customer"]["tier"] = 4276123456789010
    document["customer"]["lots"][0]["id"] = "Иван Петров"
    with pytest.raises(Refused) as refused:
        receipt.parse(document)
    assert len(refused.value.faults) == 3
    assert "4276" not in repr(refused.value) + str(refused.value)
    assert "Иван" not in repr(refused.value) + str(refused.value)


@pytest.mark.parametrize("document", [None, 5, "text", [], True, [{"id": "x"}]])
@pytest.mark.parametrize("kind", PARSERS)
def test_something_else_altogether_is_refused_in_one_sentence(kind: str, document: object) -> None:
    found = faults_of(kind, document)
    assert list(found) == [""]
    assert "must be an object" in found[""]


def test_a_hopeless_document_gets_a_bounded_list() -> None:
    with pytest.raises(Refused) as refused:
        rulebook.parse(changed(RULEBOOK, "rules", [{}] * (MAX_FAULTS * 2)))
    assert len(refused.value.faults) == MAX_FAULTS


def test_nesting_has_a_bound() -> None:
    when: Document = {"type": "all", "of": []}
    goods: Document = {"sku": ["x"]}
    for _ in range(500):
        when = {"type": "not", "of": when}
        goods = {"not": goods}
    for key, value in (("when", when), ("items", goods)):
        found = faults_of("rulebook", changed(RULEBOOK, f"rules.1.{key}", value))
        assert len(found) == 1
        assert "nested deeper than" in next(iter(found.values()))


def test_groups_may_hang_sixty_four_deep_and_no_deeper() -> None:
    document = book_of({"group": "g63", "effect": {"type": "percent", "bp": 1000}})
    chain = [{"id": f"g{i}", "stage": "line", **({"parent": f"g{i - 1}"} if i else {})} for i in range(66)]
    document["groups"] = chain[:64]
    sale = receipt.parse(RECEIPT)
    assert quote(compile_rulebook(rulebook.parse(document), catalog.parse({})), sale).discount_minor == 10
    document["groups"] = chain
    found = faults_of("rulebook", document)
    assert set(found) == {"groups[64].parent", "groups[65].parent"}
    assert "nested deeper than 64 levels" in found["groups[65].parent"]


# -- the file before the document -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON: Expecting property name"),
        (b'{"a": 1,}', "line 1, column"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[" * 100_000, "nested deeper"),
        (b"9" * 10_000, "thousands of digits"),
    ],
)
def test_what_is_not_json_says_so(data: bytes, said: str) -> None:
    with pytest.raises(Refused, match=re.escape(said)):
        strictjson.loads(data)


def test_a_key_that_stands_twice_is_a_fault_and_not_a_silent_last_word() -> None:
    text = json.dumps(RULEBOOK).replace('"bp": 300,', '"bp": 300, "bp": 900,')
    found = faults_of("rulebook", strictjson.loads(text))
    assert found == {"rules[2].effect": 'key "bp" stands twice; keep one'}


def test_keys_that_stand_twice_are_found_at_every_depth_of_a_rule() -> None:
    """In the effect's parts, in a step, in a condition inside a condition, in a selector, in a map."""
    rules = """[
      {"id": "a", "stage": "sets", "effect": {
        "type": "bundle", "price": 1, "parts": [{"count": 1, "count": 2}]}},
      {"id": "b", "stage": "receipt", "effect": {
        "type": "receipt_steps", "steps": [{"min": 1, "bp": 1, "bp": 1}]}},
      {"id": "c", "stage": "line", "effect": {"type": "percent", "bp": 1},
        "when": {"type": "not", "of": {"type": "any", "of": [], "of": []}},
        "items": {"sku": ["a"], "sku": ["a"]}}
    ]"""
    book = strictjson.loads('{"format": 1, "id": "b", "seq": 1, "rules": ' + rules + "}")
    assert faults_of("rulebook", book) == {
        "rules[0].effect.parts[0]": 'key "count" stands twice; keep one',
        "rules[1].effect.steps[0]": 'key "bp" stands twice; keep one',
        "rules[2].when.of": 'key "of" stands twice; keep one',
        "rules[2].items": 'key "sku" stands twice; keep one',
    }
    sale = json.dumps(RECEIPT).replace('"wheel": 4', '"wheel": 4, "wheel": 5')
    assert faults_of("receipt", strictjson.loads(sale)) == {"draws": 'key "wheel" stands twice; keep one'}


def test_repeated_keys_and_points_are_found_in_free_shapes_too() -> None:
    twice = '"expect": {"pay": 90, "x": {"a": 1, "a": 1e2}}'
    text = json.dumps(RULEBOOK).replace('"expect": {"pay": 90}', twice)
    assert set(faults_of("rulebook", strictjson.loads(text))) == {
        "tests[0].expect.x",
        "tests[0].expect.x.a",
    }


def test_a_byte_order_mark_of_a_windows_editor_is_no_fault() -> None:
    assert rulebook.parse(strictjson.loads(b"\xef\xbb\xbf" + json.dumps(RULEBOOK).encode())).id == "shop"


# -- the published catalogue ----------------------------------------------------------------------

PUBLISHED: Document = {
    "format": 1,
    "currency": "RUB",
    "categories": {"food": None},
    "skus": {
        "milk": {
            "name": "Молоко 3,2 %",
            "unit": "шт",
            "barcodes": ["4600000000015", "4600000000015"],
            "codes": ["17"],
            "price": 8990,
            "vat": "vat10",
            "category": "food",
            "min_price": 8000,
        },
        "bread": {"name": "Хлеб\u00a0ржаной", "unit": "шт", "barcodes": ["4600000000015"], "codes": []},
    },
}


def test_the_published_catalogue_serves_engine_and_till() -> None:
    published = catalog.parse_published(PUBLISHED)
    assert published.name_of("milk") == "Молоко 3,2 %"
    assert (published.price_of("milk"), published.price_of("bread")) == (8990, None)
    assert published.name_of("tea") is None
    assert published.article("tea") is None
    assert published.skus_by_barcode("4600000000015") == ("bread", "milk")
    assert published.skus_by_barcode("0") == ()
    assert published.skus_by_code("17") == ("milk",)
    assert published.engine == catalog.parse(
        {"categories": {"food": None}, "skus": {"milk": {"category": "food", "min_price": 8000}, "bread": {}}}
    )


def test_the_published_catalogue_is_read_as_strictly_as_the_rest() -> None:
    document = changed(PUBLISHED, "skus.milk.name", ...)
    document["skus"]["bread"]["wieght"] = 1
    document["format"] = 2
    with pytest.raises(Refused) as refused:
        catalog.parse_published(document)
    assert {fault.path for fault in refused.value.faults} == {
        "format",
        "skus.milk.name",
        "skus.bread.wieght",
    }


def test_the_shop_clock_is_the_local_time_without_its_offset() -> None:
    assert receipt.parse(RECEIPT).wall_clock == datetime.fromisoformat("2026-02-13T12:00:00")
