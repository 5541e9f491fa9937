"""The cashier's page, from the till's side: what it shows, what is chosen on it, what others hear of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.drivers.contracts import DeviceState, OutputComplete, OutputFailed
from agent.inbox import LinkChanged, Problem
from agent.screen.pages import STATIC
from agent.screen.words import WORDS
from loyalty.texts import N_
from tests.agent.shop import CARD, Shop, milk, scan

OTHER_CARD = "2000000000022"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A till whose only customer has 1000 points here."""
    shop = Shop(tmp_path)
    shop.know()
    shop.grant(100_000)
    shop.till.handle(LinkChanged(None, ""))
    yield shop
    shop.close()


def told(shop: Shop, event: str) -> list[dict[str, Any]]:
    return [data for name, data in shop.outside.told if name == event]


def test_the_page_says_no_more_and_no_less_than_it_has_words_for() -> None:
    scripts = "".join(file.read_text(encoding="utf-8") for file in STATIC.glob("*.js"))
    by_name = {key for key in WORDS if key.startswith("device_")} | {"printer", "scanner", "display"}
    assert {key for key in WORDS if f'"{key}"' not in scripts} == by_name
    assert set(re.findall(r'\bsay\("([a-z_]+)"', scripts)) <= set(WORDS)


def test_nothing_is_open(shop: Shop) -> None:
    page = shop.screen()
    assert (page["sale"], page["last"], page["waiting_card"]) == (None, None, None)
    assert (page["shop"], page["mode"], page["can_print"]) == ("Магазин у дома", "cash_program", True)


def test_a_card_before_its_sale_is_shown_with_what_can_be_spent(shop: Shop) -> None:
    shop.till.handle(scan(CARD))
    card = shop.screen()["waiting_card"]
    assert (card["card"], card["tier"], card["available_here"]) == ("…0015", "silver", 100_000)
    assert told(shop, "card") == [{"card": "…0015", "sale_id": None, "found": True}]


def test_who_how_much_and_why_as_soon_as_the_card_is_read(shop: Shop) -> None:
    shop.put("r1")
    shop.till.handle(scan(CARD))
    sale = shop.screen()["sale"]
    assert (sale["state"], sale["pay"], sale["redeemed"]) == ("quoted", 90_000, 0)
    assert sale["redeem_max"] == 45_000  # half of it may be paid with points, and nothing is promised yet
    assert sale["discounts"] == [{"title": "Молоко -10 %", "amount": 10_000}]
    assert sale["lines"][0]["name"] == "Молоко"
    assert shop.held() == []
    assert told(shop, "sale")[-1] == {"sale_id": "r1", "state": "quoted", "quote_id": sale["quote_id"]}


def test_the_cashier_chooses_to_spend_and_the_cash_program_takes_the_new_quote(shop: Shop) -> None:
    before = shop.put("r1", card=CARD)
    chosen = shop.change("r1", redeem="max")
    assert chosen["quote"]["redeemed"] == 45_000
    with pytest.raises(Exception, match="priced anew"):
        shop.commit("r1", before)
    # The next cart says nothing of points: what was chosen on the page stands.
    again = shop.put("r1", lines=[milk(), milk(1000, "2")])
    assert (again["redeem"], again["quote"]["redeemed"]) == ("max", 49_500)
    # A cart that says something of them is obeyed.
    assert shop.put("r1", lines=[milk()], redeem=None)["quote"]["redeemed"] == 0


def test_another_amount_none_and_without_the_card(shop: Shop) -> None:
    shop.put("r1", card=CARD)
    assert shop.change("r1", redeem=12_300)["quote"]["redeemed"] == 12_300
    assert shop.change("r1", redeem=None)["quote"]["redeemed"] == 0
    assert shop.held() == []
    without = shop.change("r1", card=None)
    assert (without["customer"], without["quote"]["pay"]) == (None, 90_000)


def test_points_asked_for_in_the_cart_are_asked_for_once_only(shop: Shop) -> None:
    """A program that leaves `redeem` out means none, unless the cashier has chosen."""
    assert shop.put("r1", card=CARD, redeem="max")["quote"]["redeemed"] > 0
    assert shop.put("r1", card=CARD)["quote"]["redeemed"] == 0


def test_a_sale_that_is_not_there_or_paid_cannot_be_changed(shop: Shop) -> None:
    with pytest.raises(Problem) as nowhere:
        shop.change("r1", redeem="max")
    assert (nowhere.value.status, nowhere.value.code) == (404, "unknown_sale")
    shop.commit("r1", shop.put("r1"))
    with pytest.raises(Problem) as paid:
        shop.change("r1", redeem="max")
    assert paid.value.status == 409


def test_two_cards_the_second_waits_for_the_next_customer(shop: Shop) -> None:
    shop.put("r1", card=CARD)
    shop.till.handle(scan(OTHER_CARD))
    page = shop.screen()
    assert page["sale"]["customer"]["card"] == "…0015"
    assert page["waiting_card"]["card"] == "…0022"
    assert any("…0015" in trouble["ru"] for trouble in page["troubles"])
    assert told(shop, "trouble") == [{"code": "card"}]


def test_parked_sales_are_listed_and_recalled(shop: Shop) -> None:
    shop.put("r1", card=CARD)
    shop.time_passes(31 * 60)
    shop.put("r2")
    parked = {one["sale_id"]: one["parked"] for one in shop.screen()["open_sales"]}
    assert parked == {"r2": False, "r1": True}
    assert shop.put("r1")["customer"]["card"] == "…0015"
    assert shop.screen()["sale"]["sale_id"] == "r1"


def test_the_last_sale_can_be_printed_again_also_after_a_restart(shop: Shop) -> None:
    done = shop.commit("r1", shop.put("r1", card=CARD))
    shop.till.handle(OutputFailed("printer", done["entry"], N_("out of paper")))
    last = shop.screen()["last"]
    assert (last["sale_id"], last["ident"], last["print"]) == ("r1", done["ident"], "failed")
    shop.crash()
    assert shop.screen()["last"] == last
    shop.print_again("r1", "p1")
    job, _ = shop.outside.slips[-1]
    shop.till.handle(OutputComplete("printer", job))
    assert (shop.screen()["last"]["print"], shop.screen()["last"]["void"]) == ("printed", False)
    shop.void("r1")
    assert shop.screen()["last"]["void"] is True
    assert told(shop, "print") == [{"sale_id": "r1", "outcome": "printed"}]


LINKS: dict[str, tuple[list[Any], str]] = {
    "the office answers": ([LinkChanged(None, "")], "online"),
    "the cable is out": ([LinkChanged("unreachable", "")], "here"),
}


@pytest.mark.parametrize(("events", "state"), LINKS.values(), ids=LINKS)
def test_the_link_in_plain_words(shop: Shop, events: list[Any], state: str) -> None:
    for event in events:
        shop.till.handle(event)
    assert shop.screen()["link"]["state"] == state


def test_by_a_wrong_clock_points_are_only_earned(shop: Shop) -> None:
    shop.till.handle(LinkChanged("unreachable", ""))
    shop.wall_s += 3 * 24 * 3600
    assert shop.screen()["link"]["state"] == "earn_only"


def test_devices_with_what_to_do(shop: Shop) -> None:
    shop.till.handle(DeviceState("printer", "lost", N_("check the cable of the printer")))
    [lamp] = shop.screen()["devices"]
    assert (lamp["name"], lamp["state"], lamp["hint"]["en"]) == (
        "printer", "lost", "check the cable of the printer",
    )  # fmt: skip
    assert told(shop, "device") == [{"name": "printer", "state": "lost"}]


def test_goods_of_a_scanner_are_told_and_looked_up(shop: Shop) -> None:
    shop.till.handle(scan("4600000000015"))
    assert told(shop, "scan") == [{"data": "4600000000015", "symbology": None}]
    [goods] = shop.goods("4600000000015")
    assert (goods["sku"], goods["name"], goods["price"], goods["weighed"]) == (
        "milk-1",
        "Молоко",
        None,
        False,
    )
    assert shop.goods("4600000000999") == []


def test_a_sale_without_its_receipt_is_found_by_card_or_goods(shop: Shop) -> None:
    first = shop.commit("r1", shop.put("r1", card=CARD, redeem="max"))
    shop.commit("r2", shop.put("r2"))
    assert [one["sale_id"] for one in shop.find(card=CARD)] == ["r1"]
    assert [one["sale_id"] for one in shop.find(barcode="4600000000015")] == ["r2", "r1"]
    shop.take_back("b1", {"1": 4_000}, sale_id="r1")
    [found] = shop.find(ref=first["ident"])
    assert (found["lines"][0]["quantity"], found["lines"][0]["left"]) == (10_000, 6_000)
    shop.take_back("b2", {"1": 6_000}, sale_id="r1")
    assert shop.find(card=CARD) == []  # nothing of it is left
    shop.void("r2")
    assert shop.find(sku="milk-1") == []


NOT_FOUND: dict[str, tuple[dict[str, Any], str]] = {
    "nothing is known": ({}, "bad_search"),
    "nobody's card": ({"card": OTHER_CARD}, "card_not_found"),
    "a sale that never was": ({"sale_id": "r9"}, "unknown_sale"),
    "a slip with other digits": ({"ref": "T1-1-1-000000"}, "unknown_sale"),
    "a slip of another till, and no link": ({"ref": "T7-1-1-000000"}, "receipt_not_had"),
}


@pytest.mark.parametrize(("known", "code"), NOT_FOUND.values(), ids=NOT_FOUND)
def test_what_cannot_be_found_is_said(shop: Shop, known: dict[str, Any], code: str) -> None:
    shop.till.handle(LinkChanged("unreachable", ""))
    shop.commit("r1", shop.put("r1"))
    with pytest.raises(Problem) as refused:
        shop.find(**known)
    assert refused.value.code == code
