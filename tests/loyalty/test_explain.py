"""Why: what a rule did on a receipt, said so that somebody at the counter can do something about it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from random_requests import random_request
from till_engine import compiled

from agent.texts import both
from loyalty import receipt
from loyalty.explain import Reason, explain
from loyalty.quote import quote, summed_up

Json = dict[str, Any]

BLOCKS, SEEDS = 6, 150


def why(request: Json, **more: Any) -> list[Json]:
    """The reasons as programs get them, the sentence in English beside the Russian one."""
    key = bytes.fromhex(request["draw_key"]) if "draw_key" in request else None
    _, reasons = explain(compiled(request), receipt.parse(request["receipt"]), key, **more)
    return [reason.to_builtins(both) for reason in reasons]


def shop(rules: list[Json], lines: list[Json], **more: Any) -> Json:
    """A request; `more` are fields of the receipt, but for settings, groups, skus and draw_key."""
    book: Json = {"format": 1, "id": "shop", "seq": 1, "rules": rules}
    book |= {key: more.pop(key) for key in ("settings", "groups") if key in more}
    catalog = {"categories": {"milk": None}, "skus": more.pop("skus", {})}
    request: Json = {"rulebook": book, "catalog": catalog}
    if "draw_key" in more:
        request["draw_key"] = more.pop("draw_key")
    numbered = [{"id": str(i), "quantity": 1000, **line} for i, line in enumerate(lines, start=1)]
    at = "2026-02-13T12:00:00+03:00"
    request["receipt"] = {"id": "R", "till": "T1", "store": "S1", "at": at, "lines": numbered} | more
    return request


def rule(name: str, stage: str, effect: str, **more: Any) -> Json:
    """A rule; keys that belong to the effect are given as e_…"""
    inside = {key[2:]: value for key, value in more.items() if key.startswith("e_")}
    outside = {key: value for key, value in more.items() if not key.startswith("e_")}
    return {"id": name, "stage": stage, "effect": {"type": effect, **inside}, **outside}


def percent(name: str, bp: int, **more: Any) -> Json:
    return rule(name, "line", "percent", e_bp=bp, **more)


TEA = {"sku": "tea", "price": 10000}
MEMBER: Json = {"id": "C1"}


# -- laws -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(BLOCKS))
def test_the_amounts_add_up_to_the_quote_exactly_and_asking_changes_nothing(block: int) -> None:
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        request = random_request(random.Random(seed))
        rules, sale = compiled(request), receipt.parse(request["receipt"])
        key = bytes.fromhex(request["draw_key"])
        pricing, reasons = explain(rules, sale, key)
        answer = summed_up(pricing)
        assert answer == quote(rules, sale, key), f"seed {seed}"

        told = [reason for reason in reasons if reason.outcome == "applied"]
        discounts = {
            (line.id, name): amount for line in answer.lines for name, amount in line.discounts.items()
        }
        assert _by_line(told, *DISCOUNTS) == discounts, f"seed {seed}"
        redeemed = {line.id: line.redeemed for line in answer.lines if line.redeemed}
        assert {line: amount for (line, _), amount in _by_line(told, "redeem").items()} == redeemed
        earned = {one.clause.id: one.amount for one in told if one.clause.stage == "earn" and one.amount}
        assert earned == dict(answer.earned), f"seed {seed}"


DISCOUNTS = ("price", "sets", "line", "receipt", "round")


def _by_line(reasons: list[Reason], *stages: str) -> dict[tuple[str | None, str], int]:
    found = [one for one in reasons if one.clause.stage in stages]
    amounts = {(one.line, one.clause.id): one.amount for one in found}
    assert len(amounts) == len(found), "a rule is told twice on one line"
    return amounts


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_live_rule_that_means_goods_on_the_receipt_is_spoken_of(block: int) -> None:
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        request = random_request(random.Random(seed))
        rules, sale = compiled(request), receipt.parse(request["receipt"])
        pricing, reasons = explain(rules, sale, bytes.fromhex(request["draw_key"]))
        told = {reason.clause.id for reason in reasons}
        for clause in rules.clauses:
            means = any(clause.means(line.shelf.tokens, line.shelf.price_minor) for line in pricing.lines)
            if means:
                assert clause.id in told, f"seed {seed}: {clause.id}"


# -- stories ----------------------------------------------------------------------------------------

STORIES: list[tuple[str, Json, Json]] = [
    (
        "twelve roubles and fifty kopecks are missing",
        shop(
            [rule("t", "receipt", "receipt_amount", e_amount=10000, when={"type": "sum", "min": 100000})],
            [{"sku": "tea", "price": 98750}],
        ),
        {
            "outcome": "failed",
            "ru": "сумма: не хватило 12,50\u00a0₽ до 1 000,00\u00a0₽",
            "en": "sum: 12.50\u00a0₽ short of 1,000.00\u00a0₽",
        },
    ),
    (
        "the better one is taken",
        shop([percent("a", 500), percent("b", 1000)], [TEA]),
        {
            "rule": "a",
            "outcome": "lost",
            "line": "1",
            "wanted": 500,
            "lost_to": ["b"],
            "ru": "взято другое: b",
        },
    ),
    (
        "the minimum price clips",
        shop([percent("a", 5000)], [TEA], skus={"tea": {"min_price": 8000}}),
        {
            "outcome": "applied",
            "amount": 2000,
            "wanted": 5000,
            "ru": "даёт 20,00\u00a0₽: минимальная цена оставляет к оплате 80,00\u00a0₽",
        },
    ),
    (
        "the greatest discount of the shop clips",
        shop([percent("a", 5000)], [TEA], settings={"max_line_discount_bp": 3000}),
        {
            "amount": 3000,
            "wanted": 5000,
            "en": "gives 30.00\u00a0₽: a line is never cheaper by more than 30\u00a0%",
        },
    ),
    (
        "no discounts on tobacco",
        shop(
            [percent("a", 5000)],
            [{"sku": "smokes", "price": 20000}],
            skus={"smokes": {"flags": ["tobacco"]}},
            settings={"no_discount": {"flag": ["tobacco"]}},
        ),
        {"outcome": "nothing", "wanted": 10000, "ru": "на эти товары скидок не бывает"},
    ),
    (
        "the cap is used up on the line before",
        shop([percent("a", 5000, cap=5000)], [TEA, TEA]),
        {"outcome": "nothing", "line": "2", "ru": "предел 50,00\u00a0₽ исчерпан"},
    ),
    (
        "three of a set, and only two are there",
        shop([rule("n", "sets", "n_for_m", e_n=3, e_m=2)], [TEA, TEA]),
        {"outcome": "nothing", "ru": "нужно целых штук: 3, есть: 2"},
    ),
    (
        "all pieces are in a set",
        shop([rule("n", "sets", "n_for_m", e_n=2, e_m=1), percent("a", 500)], [TEA, TEA]),
        {"rule": "a", "outcome": "nothing", "line": "1", "ru": "все штуки строки вошли в наборы"},
    ),
    (
        "another set uses the pieces better",
        shop(
            [
                rule("small", "sets", "bundle", e_parts=[{"count": 2}], e_amount=100),
                rule("big", "sets", "bundle", e_parts=[{"count": 2}], e_amount=900),
            ],
            [TEA, TEA],
        ),
        {"rule": "small", "outcome": "lost", "lost_to": ["big"]},
    ),
    (
        "a receipt discount meets its cap",
        shop([rule("t", "receipt", "receipt_percent", e_bp=1000, cap=700)], [TEA]),
        {
            "outcome": "applied",
            "ru": "даёт 7,00\u00a0₽: доля от 7,00\u00a0₽; было бы 10,00\u00a0₽, но таков предел",
        },
    ),
    (
        "a receipt discount meets minimum prices",
        shop([rule("t", "receipt", "receipt_percent", e_bp=1000)], [TEA], skus={"tea": {"min_price": 9500}}),
        {
            "amount": 500,
            "en": "gives 5.00\u00a0₽: its share of 5.00\u00a0₽,"
            " which would be 10.00\u00a0₽ but for the floors of its goods",
        },
    ),
    (
        "a set is given twice and no more",
        shop(
            [rule("n", "sets", "n_for_m", e_n=2, e_m=1, limit=2)],
            [{"sku": "tea", "price": 100, "quantity": 6000}],
        ),
        {
            "amount": 200,
            "ru": "даёт 2,00\u00a0₽: наборов: 2, вместе 2,00\u00a0₽; больше на один чек не даётся",
        },
    ),
    (
        "a set meets the minimum price",
        shop([rule("n", "sets", "n_for_m", e_n=2, e_m=1)], [TEA, TEA], skus={"tea": {"min_price": 9000}}),
        {
            "line": "1",
            "amount": 1000,
            "en": "gives 10.00\u00a0₽: sets: 1, 20.00\u00a0₽ together;"
            " the minimum price leaves 90.00\u00a0₽ to pay",
        },
    ),
    (
        "a fixed price that is none",
        shop([rule("f", "price", "fixed_price", e_price=12000)], [TEA]),
        {"outcome": "nothing", "ru": "цена и так не выше 120,00\u00a0₽"},
    ),
    (
        "fresh goods only, and these are reduced already",
        shop([rule("f", "price", "fixed_price", e_price=9000), percent("a", 500, fresh=True)], [TEA]),
        {
            "rule": "a",
            "outcome": "nothing",
            "ru": "на строку уже есть скидка, а правило требует, чтобы её не было",
        },
    ),
    (
        "four more roubles to the next hundred",
        shop(
            [rule("e", "receipt", "receipt_every", e_every=10400, e_amount=500)],
            [TEA],
        ),
        {"outcome": "nothing", "ru": "не хватило 4,00\u00a0₽ до 104,00\u00a0₽"},
    ),
    (
        "the first step is out of reach",
        shop([rule("s", "receipt", "receipt_steps", e_steps=[{"min": 20000, "bp": 500}])], [TEA]),
        {"outcome": "nothing", "en": "100.00\u00a0₽ short of 200.00\u00a0₽"},
    ),
    (
        "a round sum already",
        shop([rule("z", "round", "round_down", e_to=100)], [TEA]),
        {"outcome": "nothing", "ru": "сумма и так круглая"},
    ),
    (
        "no card, no points",
        shop([rule("e", "earn", "earn_percent", e_bp=500)], [TEA]),
        {"outcome": "failed", "ru": "нет карты покупателя"},
    ),
    (
        "nobody asked to pay with points",
        shop([rule("r", "redeem", "redeem", e_max_bp=3000)], [TEA], customer=MEMBER),
        {"outcome": "nothing", "ru": "баллами платить не просили"},
    ),
    (
        "thirty per cent is the limit",
        shop(
            [rule("r", "redeem", "redeem", e_max_bp=3000)],
            [TEA],
            customer={"id": "C1", "lots": [{"id": "l", "amount": 90000}]},
            redeem="max",
        ),
        {
            "outcome": "applied",
            "amount": 3000,
            "ru": "баллами оплачено 30,00: не больше 30\u00a0% от 100,00\u00a0₽",
        },
    ),
    (
        "only whole points are given",
        shop([rule("e", "earn", "earn_percent", e_bp=499)], [TEA], customer=MEMBER),
        {
            "outcome": "applied",
            "amount": 400,
            "wanted": 499,
            "ru": "начисляет 4,00 из 4,99: начисляется только целыми по 1,00",
        },
    ),
    (
        "silver is not gold",
        shop(
            [percent("a", 500, when={"type": "tier", "in": ["gold"]})],
            [TEA],
            customer={"id": "C", "tier": "silver"},
        ),
        {"outcome": "failed", "ru": "уровень silver, а нужен из gold"},
    ),
    (
        "that coupon was used before",
        shop(
            [percent("a", 500, when={"type": "coupon", "series": "MAY"})],
            [TEA],
            coupons=["MAY/1"],
            coupons_used=["MAY/1"],
        ),
        {"outcome": "failed", "ru": "купон серии MAY уже использован"},
    ),
    (
        "happy hours come later",
        shop([percent("a", 500, when={"type": "time", "from": "18:00", "to": "20:00"})], [TEA]),
        {"outcome": "failed", "ru": "сейчас 12:00, а часы 18:00–20:00"},
    ),
    (
        "neither of two ways",
        shop(
            [
                percent(
                    "a",
                    500,
                    when={
                        "type": "any",
                        "of": [{"type": "weekday", "in": [1]}, {"type": "store", "in": ["S2"]}],
                    },
                )
            ],
            [TEA],
        ),
        {
            "outcome": "failed",
            "ru": "ни одно не выполнено: сегодня день недели 5, а нужен из 1; магазин: S1, а нужно из S2",
        },
    ),
    (
        "a draw that gave nothing is told too",
        shop(
            [rule("d", "reward", "draw_table", e_table=[[1, 0]])], [TEA], customer=MEMBER, draw_key="00" * 32
        ),
        {"outcome": "applied", "amount": 0, "ru": "выпало 0,00"},
    ),
]


@pytest.mark.parametrize(("request_", "expected"), [pytest.param(r, e, id=name) for name, r, e in STORIES])
def test_a_story(request_: Json, expected: Json) -> None:
    told = [{**one, **one["text"]} for one in why(request_)]
    matching = [one for one in told if all(one.get(key) == value for key, value in expected.items())]
    assert matching, told


def test_a_receipt_share_says_what_the_whole_was() -> None:
    request = shop(
        [rule("t", "receipt", "receipt_amount", e_amount=10000)], [TEA, {"sku": "cup", "price": 30000}]
    )
    told = why(request)
    assert [(one["line"], one["amount"]) for one in told] == [("1", 2500), ("2", 7500)]
    assert told[0]["text"]["ru"] == "даёт 25,00\u00a0₽: доля от 100,00\u00a0₽"


def test_a_till_asks_without_the_draw_of_the_day() -> None:
    request = shop([rule("d", "reward", "draw_table", e_table=[[1, 100]])], [TEA], customer=MEMBER)
    assert why(request, upto_earn=True) == []


def test_sets_too_many_to_search_are_said_to_be_so() -> None:
    rules = [rule(name, "sets", "bundle", e_parts=[{"count": 2}], e_bp=1000) for name in ("a", "b")]
    goods = [{"sku": f"s{number:02}", "price": 1000 + 100 * number} for number in range(40)]
    told = [one["text"]["en"] for one in why(shop(rules, goods)) if one["outcome"] == "note"]
    assert told == ["so many combinations that the rules were served one by one, in order"] * 2
