"""A shop comes from 1C: the same rules, the same kopecks where 1C is right, and what is otherwise here.

For whoever moves a tree of 1C discounts («Скидки, наценки») to Kopilka: what becomes of the ways in which
1C lets discounts act together, of its kinds of benefit, of a sum given on a whole document, and of six habits
of 1C that surprise shopkeepers. docs/1c-discounts.md tells the same in words; its table and its examples are
read here, so the page cannot say what is not so.

1C's side is computed as well, by some thirty lines of our own that do what 1C is known to do: `folded_by_1c`
and `split_by_1c`. Money is in kopecks, and 999_99 reads 999.99.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from itertools import groupby, permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty import catalog, receipt, rulebook
from loyalty.faults import Refused
from loyalty.index import compile_rulebook
from loyalty.money import distribute
from loyalty.quote import quote

Json = dict[str, Any]

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {name: (DOCS / name).read_text("utf-8") for name in ("1c-discounts.md", "1c-discounts.ru.md")}
each_page = pytest.mark.parametrize("page", PAGES)

FRIDAY_NOON = "2026-02-13T12:00:00+03:00"
SHOP: Json = {
    "categories": {"tea": None, "dairy": None},
    "skus": {
        "tea": {"category": "tea"},
        "milk": {"category": "dairy"},
        "cheese": {"category": "dairy"},
    },
}
"""Besides these the shop sells bread, cups and saucers, which belong to no category."""


# -- a sale in our shop ---------------------------------------------------------------------------


def sale(rules: Json | list[Json], lines: list[tuple[Any, ...]], **more: Any) -> Json:
    """What our engine says to `lines` of (sku, price) or (sku, price, pieces).

    `rules` are rules, or an excerpt of a rulebook; of `more`, `policy` is that of the root of all stages,
    `groups`, and `goods` what the catalog knows besides SHOP; the rest are fields of the receipt.
    """
    excerpt = {"rules": rules} if isinstance(rules, list) else rules
    document = {"format": 1, "semantics": 1, "id": "from-1c", "seq": 1} | excerpt
    if "policy" in more:
        policy = more.pop("policy")
        document["settings"] = {"policy": {"line": policy, "receipt": policy}}
    if "groups" in more:
        document["groups"] = more.pop("groups")
    goods = {"categories": SHOP["categories"], "skus": SHOP["skus"] | more.pop("goods", {})}
    sold = [
        {"id": str(i), "sku": sku, "price": price, "quantity": 1000 * (pieces[0] if pieces else 1)}
        for i, (sku, price, *pieces) in enumerate(lines, start=1)
    ]
    bought = {"id": "R1", "till": "T1", "store": "M1", "channel": "pos", "at": FRIDAY_NOON, "lines": sold}
    compiled = compile_rulebook(rulebook.parse(document), catalog.parse(goods))
    return quote(compiled, receipt.parse(bought | more)).to_builtins()


def booked(answer: Json) -> list[dict[str, int]]:
    """Per line: which rule took how much."""
    return [line["discounts"] for line in answer["lines"]]


def taken(answer: Json) -> list[int]:
    """Per line: how much was taken."""
    return [sum(line["discounts"].values()) for line in answer["lines"]]


def percent(name: str, bp: int, **more: Any) -> Json:
    return {"id": name, "stage": "line", "effect": {"type": "percent", "bp": bp}} | more


def off_document(name: str, amount: int, **more: Any) -> Json:
    return {"id": name, "stage": "receipt", "effect": {"type": "receipt_amount", "amount": amount}} | more


# -- what 1C does, in our own words ---------------------------------------------------------------


def rounded(numerator: int, denominator: int) -> int:
    """To the nearest kopeck, halves away from zero (nothing here is below zero)."""
    return (2 * numerator + denominator) // (2 * denominator)


Tree = int | tuple[str, list["Tree"]]
"""A discount of so many basis points, or (mode, children in the order of «упорядочивание»)."""


def folded_by_1c(tree: Tree, amount: int) -> int:
    """What a tree of percents takes off ONE line of `amount`: children first, then their group's mode."""
    if isinstance(tree, int):
        return rounded(amount * tree, 10_000)
    mode, children = tree
    if mode == "Последовательное применение":
        left = amount
        for child in children:
            left -= folded_by_1c(child, left)
        return amount - left
    values = [folded_by_1c(child, amount) for child in children]
    match mode:
        case "Вытеснение":
            return values[0]
        case "Максимум":
            return max(values)
        case "Минимум":
            return min(values)
        case _:
            return sum(values)


def split_by_1c(total: int, amounts: list[int]) -> list[int]:
    """A sum on the document, line after line: each line's part of what is left, by what is left of the lines.

    Every part is rounded, and the next line sees what the rounding left. A rest goes to the largest line.
    """
    rest, rest_of_lines, shares = total, sum(amounts), list[int]()
    for amount in amounts:
        shares.append(rounded(amount * rest, rest_of_lines) if rest_of_lines else 0)
        rest -= shares[-1]
        rest_of_lines -= amount
    shares[amounts.index(max(amounts))] += rest
    return shares


def given_by_1c(shares: list[int], amounts: list[int]) -> list[int]:
    """Only when the discounts are put on the lines does 1C see that a line cannot cost less than nothing."""
    return [min(share, amount) for share, amount in zip(shares, amounts, strict=True)]


# -- five ways of acting together -----------------------------------------------------------------

MODES = {
    "Вытеснение": "first",
    "Максимум": "best",
    "Минимум": "worst",
    "Сложение": "sum",
    "Последовательное применение": "chain",
}


@pytest.mark.parametrize(
    ("mode", "ten_then_five", "five_then_ten"),
    [
        ("Вытеснение", {"ten": 100_00}, {"five": 50_00}),
        ("Максимум", {"ten": 100_00}, {"ten": 100_00}),
        ("Минимум", {"five": 50_00}, {"five": 50_00}),
        ("Сложение", {"ten": 100_00, "five": 50_00}, {"five": 50_00, "ten": 100_00}),
        ("Последовательное применение", {"ten": 100_00, "five": 45_00}, {"five": 50_00, "ten": 95_00}),
    ],
)
def test_ten_and_five_percent_of_999_99_in_each_mode_and_in_both_orders(
    mode: str, ten_then_five: dict[str, int], five_then_ten: dict[str, int]
) -> None:
    ten, five = 1000, 500
    for first, second, expected in [(ten, five, ten_then_five), (five, ten, five_then_ten)]:
        names = {ten: "ten", five: "five"}
        rules = [percent(names[first], first, priority=1), percent(names[second], second, priority=2)]
        answer = sale(rules, [("tea", 999_99)], policy=MODES[mode])
        assert booked(answer) == [expected]
        assert answer["discount"] == folded_by_1c((mode, [first, second]), 999_99)


@pytest.mark.parametrize(("bp", "price", "discount"), [(330, 14_95, 49), (1000, 4, 0)])
def test_a_percent_is_rounded_once_a_line_and_halves_go_up(bp: int, price: int, discount: int) -> None:
    """3.3 % of 14.95 is 0.49335, so 0.49; 10 % of 0.04 is less than half a kopeck, so nothing."""
    assert sale([percent("p", bp)], [("tea", price)])["discount"] == discount == folded_by_1c(bp, price)


def test_the_winner_is_chosen_for_each_line_and_not_for_the_receipt() -> None:
    fifty = {"id": "fifty", "stage": "line", "effect": {"type": "amount_off", "amount": 50_00}}
    answer = sale([percent("ten", 1000), fifty], [("cup", 100_00), ("tea", 999_99)], policy="best")
    assert booked(answer) == [{"fifty": 50_00}, {"ten": 100_00}]


def test_of_equal_discounts_the_one_that_stands_earlier_is_booked() -> None:
    for policy in ("best", "worst", "first"):
        rules = [percent("a-later", 500, priority=2), percent("z-earlier", 500, priority=1)]
        assert booked(sale(rules, [("tea", 100_00)], policy=policy)) == [{"z-earlier": 5_00}]


def test_a_discount_that_gives_nothing_does_not_displace_one_that_gives() -> None:
    """1C may let 0.00 win a «Минимум»; here what is worth nothing does not take part."""
    rules = [percent("ten", 1000, priority=1), percent("half", 5000, priority=2)]
    assert folded_by_1c(("Минимум", [1000, 5000]), 4) == 0
    for policy in ("worst", "first"):
        assert booked(sale(rules, [("bag", 4)], policy=policy)) == [{"half": 2}]


def test_where_no_mode_is_named_1c_adds_up_and_we_take_the_best() -> None:
    rules = [percent("ten", 1000), percent("five", 500)]
    assert sale(rules, [("tea", 999_99)])["discount"] == 100_00


def trees() -> st.SearchStrategy[Tree]:
    """Trees of at most eight percents of 1 to 10 %, so that no line is ever given away whole."""
    leaves: st.SearchStrategy[Tree] = st.integers(100, 1000)
    return st.recursive(
        leaves,
        lambda below: st.tuples(st.sampled_from(list(MODES)), st.lists(below, min_size=1, max_size=3)),
        max_leaves=8,
    )


def moved_here(tree: Tree) -> tuple[list[Json], list[Json]]:
    """The same tree as groups and rules: 1C's order among siblings becomes the priority."""
    groups, rules = list[Json](), list[Json]()

    def move(node: Tree, priority: int, within: Json) -> None:
        name = f"n{len(groups) + len(rules)}"
        if isinstance(node, int):
            rules.append(percent(name, node, priority=priority) | within)
            return
        mode, children = node
        parent = {"parent": within["group"]} if within else {}
        groups.append({"id": name, "stage": "line", "policy": MODES[mode], "priority": priority} | parent)
        for place, child in enumerate(children):
            move(child, place, {"group": name})

    move(tree, 0, {})
    return groups, rules


@settings(deadline=None, database=None)
@given(trees(), st.lists(st.integers(10_00, 99_999_99), min_size=1, max_size=3))
def test_any_tree_of_percents_takes_from_each_line_what_1c_takes(tree: Tree, prices: list[int]) -> None:
    groups, rules = moved_here(tree)
    answer = sale(rules, [("tea", price) for price in prices], groups=groups)
    assert taken(answer) == [folded_by_1c(tree, price) for price in prices]


# -- a sum on the whole document ------------------------------------------------------------------

VECTORS = [
    # sum, amounts of the lines, what 1C's split makes of it
    (100_00, [33_33, 33_33, 33_34], [33_33, 33_33, 33_34]),
    (100_00, [10_00, 20_00, 1], [33_32, 66_65, 3]),
    (1_00, [99, 99, 99], [33, 34, 33]),
    (5, [100_00] * 7, [1, 1, 1, 1, 0, 1, 0]),
    (50_00, [999_90, 10, 49_99], [47_61, 0, 2_39]),
    (333_33, [199_99, 59_90, 1250_00, 1], [44_15, 13_22, 275_96, 0]),
]
each_vector = pytest.mark.parametrize(("total", "amounts", "by_1c"), VECTORS)


@each_vector
def test_our_sketch_of_1c_splits_as_1c_does(total: int, amounts: list[int], by_1c: list[int]) -> None:
    assert split_by_1c(total, amounts) == by_1c


@each_vector
def test_a_sum_on_the_document_is_shared_by_largest_remainders(
    total: int, amounts: list[int], by_1c: list[int]
) -> None:
    ours = sale([off_document("sum", total)], [("tea", amount) for amount in amounts])
    assert taken(ours) == distribute(total, amounts, amounts)
    assert ours["discount"] == min(total, sum(amounts)) == sum(given_by_1c(by_1c, amounts))
    # And never a whole kopeck away from what each line is due, which 1C's split does not promise.
    if total <= sum(amounts):
        for amount, share in zip(amounts, taken(ours), strict=True):
            assert abs(share * sum(amounts) - total * amount) < sum(amounts)


Split = Callable[[int, list[int]], list[int]]


def by_any_order(split: Split, total: int, amounts: list[int]) -> set[tuple[tuple[int, int], ...]]:
    """Which amount got what, in all the orders in which the goods may be scanned."""
    orders = map(list, set(permutations(amounts)))
    return {tuple(sorted(zip(order, split(total, order), strict=True))) for order in orders}


@pytest.mark.parametrize(("total", "amounts"), [(total, amounts) for total, amounts, _ in VECTORS])
def test_however_the_lines_stand_each_amount_gets_the_same(total: int, amounts: list[int]) -> None:
    assert len(by_any_order(lambda d, w: distribute(d, w, w), total, amounts)) == 1


def test_in_1c_the_order_of_the_lines_moves_kopecks() -> None:
    total, amounts, _ = VECTORS[-1]
    largest_first = [1250_00, 199_99, 59_90, 1]
    assert split_by_1c(total, amounts)[2] == 275_96
    assert split_by_1c(total, largest_first)[0] == 275_95
    assert taken(sale([off_document("sum", total)], [("tea", a) for a in largest_first]))[0] == 275_96
    assert len(by_any_order(split_by_1c, total, amounts)) == 3


def test_on_the_receipt_the_winner_is_chosen_for_the_whole_receipt() -> None:
    """Document sums stand in a stage of their own; there a group compares what the receipt would get."""
    rules = [
        off_document("hundred", 100_00),
        {"id": "twelve", "stage": "receipt", "effect": {"type": "receipt_percent", "bp": 1200}},
    ]
    lines = [("cup", 100_00), ("tea", 800_00)]
    assert booked(sale(rules, lines, policy="best")) == [{"twelve": 12_00}, {"twelve": 96_00}]
    assert booked(sale(rules, lines, policy="worst")) == [{"hundred": 11_11}, {"hundred": 88_89}]


# -- six habits of 1C -----------------------------------------------------------------------------


def test_habit_a_what_the_rules_are_said_to_give_adds_up_to_what_was_given() -> None:
    """60 % and 50 % add up to more than the line: 1C notes both in full, we note what was taken."""
    notes_of_1c = [folded_by_1c(bp, 100_00) for bp in (6000, 5000)]
    assert sum(notes_of_1c) == 110_00

    rules = [percent("sixty", 6000, priority=1), percent("fifty", 5000, priority=2)]
    answer = sale([*rules, off_document("sum", 30_00)], [("tea", 100_00), ("cup", 10_00)], policy="sum")
    assert booked(answer) == [{"sixty": 60_00, "fifty": 40_00}, {"sixty": 6_00, "fifty": 4_00}]
    for line in answer["lines"]:
        assert line["list"] - sum(line["discounts"].values()) == line["pay"] == 0
    assert answer["list"] - answer["pay"] == answer["discount"] == 110_00


def test_habit_b_a_sum_for_some_goods_is_spread_over_those_goods_only() -> None:
    """100.00 off dairy: in 1C the bread gets its part, here it does not."""
    lines = [("bread", 200_00), ("milk", 300_00), ("cheese", 500_00)]
    assert split_by_1c(100_00, [price for _, price in lines]) == [20_00, 30_00, 50_00]

    dairy = {"category": ["dairy"]}
    enough = {"type": "sum", "of": dairy, "base": "list", "min": 800_00}
    rule = off_document("dairy", 100_00, items=dairy, when=enough)
    assert booked(sale([rule], lines)) == [{}, {"dairy": 37_50}, {"dairy": 62_50}]
    assert sale([rule], lines[:2])["discount"] == 0


def test_habit_c_a_kit_is_counted_and_its_discount_stays_on_its_pieces() -> None:
    """Two sets of tea and cup are twice 50.00; the third tea and the saucer are no part of a set."""
    parts = [{"items": {"sku": ["tea"]}, "count": 1}, {"items": {"sku": ["cup"]}, "count": 1}]
    kit = {"id": "kit", "stage": "sets", "effect": {"type": "bundle", "parts": parts, "amount": 50_00}}
    lines = [("tea", 300_00, 3), ("cup", 200_00, 2), ("saucer", 90_00, 1)]
    answer = sale([kit], lines)
    assert booked(answer) == [{"kit": 2 * 30_00}, {"kit": 2 * 20_00}, {}]
    assert answer["sets"] == [["kit", 50_00], ["kit", 50_00]]
    # A percent for all goods that comes after it sees only what stands outside the sets.
    answer = sale([kit, percent("ten", 1000)], lines)
    assert booked(answer) == [{"kit": 60_00, "ten": 30_00}, {"kit": 40_00}, {"ten": 9_00}]
    # Once a receipt, as in 1C, has to be said.
    assert sale([kit | {"limit": 1}], lines)["sets"] == [["kit", 50_00]]


@pytest.mark.parametrize(
    ("at", "holds"),
    [
        ("2026-02-13T21:59:59", False),
        ("2026-02-13T22:00:00", True),
        ("2026-02-14T00:00:00", True),
        ("2026-02-14T05:59:59", True),
        ("2026-02-14T06:00:00", False),
        ("2026-02-14T22:00:00", False),  # Saturday's own night has not been promised
        ("2026-02-13T05:00:00", False),  # and Friday before dawn is still Thursday's
    ],
)
def test_habit_d_a_night_is_one_window_and_its_end_is_no_part_of_it(at: str, holds: bool) -> None:
    """The night of Friday, 22:00 to 06:00: one rule here, two in 1C, where it cannot cross midnight."""
    night = {"type": "time", "from": "22:00", "to": "06:00", "weekdays": [5]}
    answer = sale([percent("night", 1000, when=night)], [("tea", 100_00)], at=f"{at}+03:00")
    assert answer["discount"] == (10_00 if holds else 0)


def test_habit_e_no_discount_goes_below_the_minimum_price() -> None:
    goods = {"vodka": {"min_price": 349_00}}
    thirty, sum_off = percent("thirty", 3000), off_document("sum", 120_00)
    assert booked(sale([thirty], [("vodka", 400_00)], goods=goods)) == [{"thirty": 51_00}]
    # What the guarded line cannot take of a sum goes to the others, and only what nobody can take is kept.
    answer = sale([sum_off], [("vodka", 400_00), ("tea", 200_00)], goods=goods)
    assert booked(answer) == [{"sum": 51_00}, {"sum": 69_00}]
    assert sale([sum_off], [("vodka", 400_00), ("tea", 20_00)], goods=goods)["discount"] == 71_00
    # Another kind of price stops there too.
    cheap = {"id": "cheap", "stage": "price", "effect": {"type": "fixed_price", "price": 300_00}}
    assert booked(sale([cheap], [("vodka", 400_00)], goods=goods)) == [{"cheap": 51_00}]


def test_habit_f_less_than_a_kopeck_leaves_no_trace_and_one_kopeck_goes_to_one_line() -> None:
    assert booked(sale([percent("ten", 1000)], [("bag", 4), ("tea", 100_00)])) == [{}, {"ten": 10_00}]

    lines = [("tea", 1_00), ("cup", 2_00), ("milk", 1_00)]
    assert split_by_1c(1, [price for _, price in lines]) == [0, 1, 0]
    assert booked(sale([off_document("kopeck", 1)], lines)) == [{}, {"kopeck": 1}, {}]


# -- 1C's kinds of benefit, moved here ------------------------------------------------------------

GOLD = {"id": "member", "card_kind": "gold", "segments": ["wholesale"]}
Lines = list[tuple[Any, ...]]
MOVED: dict[str, tuple[Lines, Json, list[int], Json]] = {
    # first rule of the example: what is sold, more of the receipt, taken per line, more of the quote
    "week": ([("tea", 999_99), ("bread", 100_00)], {"customer": GOLD}, [150_00, 12_00], {}),
    "dairy-100": ([("bread", 200_00), ("milk", 300_00), ("cheese", 500_00)], {}, [0, 37_50, 62_50], {}),
    "ten-off-a-pack": ([("tea", 300_00, 3), ("bread", 60_00)], {}, [30_00, 0], {}),
    "wholesale-tea": ([("tea", 300_00, 2), ("bread", 60_00)], {"customer": GOLD}, [102_00, 0], {}),
    "wholesale-or-action": ([("tea", 300_00, 2)], {"customer": GOLD}, [102_00], {}),
    "third-free": ([("milk", 90_00, 7)], {}, [90_00], {"sets": [["third-free", 90_00]]}),
    "tea-and-cup": ([("tea", 300_00, 3), ("cup", 200_00, 2)], {}, [60_00, 40_00], {}),
    "saucer-with-cup": ([("cup", 200_00, 2), ("saucer", 90_00)], {}, [0, 90_00], {}),
    "cup-over-2000": ([("tea", 300_00, 7)], {"customer": GOLD}, [0], {}),
    "whole-roubles": ([("tea", 299_90), ("milk", 89_95)], {}, [65, 20], {"pay": 389_00}),
    "bonus-5": ([("tea", 999_99)], {"customer": GOLD}, [0], {"earned": {"bonus-5": 49_00}}),
    "night": ([("tea", 100_00)], {"at": "2026-02-14T02:00:00+03:00"}, [10_00], {}),
}


def examples(page: str) -> dict[str, Json]:
    """The rule examples of a page, by the id of their first rule."""
    blocks = map(json.loads, re.findall(r"^```json\n(.*?)^```", PAGES[page], re.S | re.M))
    return {block["rules"][0]["id"]: block for block in blocks}


def test_both_pages_show_the_same_examples_and_each_is_sold_here() -> None:
    english, russian = (examples(page) for page in PAGES)
    assert english == russian
    assert set(english) == set(MOVED)


@pytest.mark.parametrize("name", MOVED)
def test_an_example_of_the_page_is_a_rulebook_and_gives_what_the_page_says(name: str) -> None:
    lines, more, discounts, rest = MOVED[name]
    answer = sale(examples("1c-discounts.md")[name], lines, **more)
    assert taken(answer) == discounts
    assert {key: answer[key] for key in rest} == rest


def test_a_present_is_handed_out_and_the_bonuses_wait_and_burn() -> None:
    of_the_page = examples("1c-discounts.md")
    (present,) = sale(of_the_page["cup-over-2000"], [("tea", 300_00, 7)], customer=GOLD)["grants"]
    assert (present["rule"], present["sku"], present["quantity"]) == ("cup-over-2000", "cup", 1000)

    (lot,) = sale(of_the_page["bonus-5"], [("tea", 999_99)], customer=GOLD)["earned_lots"]
    assert (lot["active_from"], lot["expires_at"]) == ("2026-02-27T00:00:00", "2026-05-28T00:00:00")


def test_a_price_above_the_shelf_price_raises_nothing_and_a_markup_is_refused() -> None:
    dear = {"id": "dear", "stage": "price", "effect": {"type": "fixed_price", "price": 400_00}}
    assert sale([dear], [("tea", 300_00)])["pay"] == 300_00
    with pytest.raises(Refused, match="bp"):
        sale([percent("markup", -500)], [("tea", 300_00)])


def test_an_amount_off_is_for_each_piece_where_1c_gives_it_once_a_line() -> None:
    each = {"id": "each", "stage": "line", "effect": {"type": "amount_off", "amount": 10_00}}
    assert taken(sale([each], [("tea", 300_00, 3), ("cup", 200_00)])) == [30_00, 10_00]


def test_more_than_is_written_as_one_kopeck_more_and_amounts_before_discounts_as_list() -> None:
    """1C asks for the amount before any discount: 1000.00 at list is 900.00 after 10 %."""
    for base, discount in [("list", 100_00 + 45_00), ("net", 100_00)]:
        over = {"type": "sum", "base": base, "min": 999_99 + 1}
        five = {"id": "five", "stage": "receipt", "effect": {"type": "receipt_percent", "bp": 500}}
        rules = [percent("ten", 1000), five | {"when": over}]
        assert sale(rules, [("tea", 1000_00)])["discount"] == discount
    assert sale([percent("ten", 1000, when=over)], [("tea", 999_99)])["discount"] == 0


# -- the page -------------------------------------------------------------------------------------


def shown(amounts: Iterable[int], point: str = ".") -> str:
    """Amounts as the page writes them: 3 × 0.99, and a dot between different ones."""
    runs = [(f"{value // 100}{point}{value % 100:02}", len(list(run))) for value, run in groupby(amounts)]
    return " · ".join(text if count == 1 else f"{count} × {text}" for text, count in runs)


def rows(page: str) -> list[list[str]]:
    """The rows of the page's table that begin with a sum."""
    lines = re.findall(r"^\|(.*)\|$", PAGES[page], re.M)
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [row for row in cells if re.fullmatch(r"\d+[.,]\d\d", row[0])]


@each_page
def test_the_table_of_splits_is_what_is_computed(page: str) -> None:
    point = "," if page.endswith(".ru.md") else "."
    expected = []
    for total, amounts, _ in VECTORS:
        by_1c = split_by_1c(total, amounts)
        cut = given_by_1c(by_1c, amounts)
        theirs = shown(by_1c, point) + (f" → {shown(cut, point)}" if cut != by_1c else "")
        ours = taken(sale([off_document("sum", total)], [("tea", amount) for amount in amounts]))
        expected.append([shown([total], point), shown(amounts, point), theirs, shown(ours, point)])
    assert [row[:4] for row in rows(page)] == expected
    assert all(row[4] for row in rows(page)), "each row says why"


@each_page
def test_the_page_tells_of_all_six_habits_and_names_their_tests(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGES[page]))
    assert named == {name for name in globals() if name.startswith("test_habit_")}
    assert len(named) == 6


@each_page
def test_the_page_maps_every_mode(page: str) -> None:
    for mode, policy in MODES.items():
        assert re.search(rf"^\|.*{mode}.*`{policy}`", PAGES[page], re.M)
