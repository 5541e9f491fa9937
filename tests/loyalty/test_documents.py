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
from loyalty.faults import MAX_FAULTS, Fault, Refused
from loyalty.vocabulary import EFFECTS, UNSUPPORTED_CONDITIONS, UNSUPPORTED_EFFECTS

Document = dict[str, Any]

RULEBOOK: Document = {
    "format": 1,
    "semantics": 1,
    "id": "shop",
    "seq": 7,
    "currency": "RUB",
    "settings": {
        "no_discount": {"flag": ["tobacco"]},
        "max_line_discount_bp": 5000,
        "policy": {"line": "sum", "receipt": "chain"},
    },
    "groups": [
        {"id": "top", "stage": "line", "policy": "best", "priority": 10},
        {"id": "below", "stage": "line", "parent": "top", "policy": "chain"},
        {"id": "tail", "stage": "receipt", "policy": "first"},
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
    ("rulebook", "rules.1.stage", "sets", "rules[1].stage", "stage sets is not supported by this version"),
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


@pytest.mark.parametrize(("name", "stage"), UNSUPPORTED_EFFECTS.items())
def test_an_effect_of_the_law_that_is_not_computed_yet_is_refused_by_name(name: str, stage: str) -> None:
    rule = {"id": "new", "stage": stage, "effect": {"type": name, "n": 3, "m": 2}}
    found = faults_of("rulebook", changed(RULEBOOK, "rules.1", rule))
    assert found.pop("rules[1].effect.type") == f"effect type {name} is not supported by this version"
    assert found.pop("rules[1].stage", None) in (None, f"stage {stage} is not supported by this version")
    assert not found


@pytest.mark.parametrize("name", UNSUPPORTED_CONDITIONS)
def test_a_condition_of_the_law_that_is_not_computed_yet_is_refused_by_name(name: str) -> None:
    document = changed(RULEBOOK, "rules.0.when.of.1", {"type": "not", "of": {"type": name, "in": []}})
    assert faults_of("rulebook", document) == {
        "rules[0].when.of[1].of.type": f"condition type {name} is not supported by this version"
    }


def test_keys_without_meaning_are_faults_even_beside_what_is_not_supported() -> None:
    document = changed(
        RULEBOOK,
        "rules.1",
        {"id": "b", "stage": "sets", "items": {}, "cap": 1, "limit": 2, "effect": {"type": "bundle"}},
    )
    assert set(faults_of("rulebook", document)) == {
        "rules[1].stage",
        "rules[1].effect.type",
        "rules[1].items",
        "rules[1].cap",
    }


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
    for _ in range(500):
        when = {"type": "not", "of": when}
    found = faults_of("rulebook", changed(RULEBOOK, "rules.1.when", when))
    assert len(found) == 1
    assert "nested deeper than" in next(iter(found.values()))


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
