"""What the customer reads on the display while they are served: stories at one till."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.counter import CARD_WAITS_S
from agent.customer_display import CARD_MS, FORGOTTEN_MS, THANKS_MS, WAITING_CARD_MS, CustomerDisplay
from agent.inbox import LinkChanged, LookedUp, NewInForce, Problem
from agent.line_display import Item, Recognised, Shown, Spends, Thanks, Total, Welcome
from tests.agent.shop import ACCOUNT, CARD, SETTINGS, Shop, in_force, key_of, milk, scan

WELCOME = Welcome("Магазин у дома")
OTHER_CARD = "2000000000022"


class ServedShop(Shop):
    """A till whose loop rings, as the real one does; `read` is what the customer has read since the last."""

    def read(self) -> list[Shown]:
        self.till.ring()
        shown, self.outside.shown = self.outside.shown, []
        return shown

    def later(self, milliseconds: int) -> list[Shown]:
        self.clock_ms += milliseconds
        self.wall_s += milliseconds // 1000
        return self.read()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[ServedShop]:
    shop = ServedShop(tmp_path)
    assert shop.read() == [WELCOME]
    yield shop
    shop.close()


@pytest.fixture
def regular(shop: ServedShop) -> ServedShop:
    """A customer whom the till knows, with 600 points here and 400 elsewhere."""
    shop.till.handle(LinkChanged(None, ""))
    shop.know(balance=100_000)
    shop.grant(60_000)
    return shop


def test_goods_are_rung_up_one_by_one_and_paid(shop: ServedShop) -> None:
    shop.put("r1", lines=[milk(1_000)])
    assert shop.read() == [Item("Молоко", 9_000, 9_000)]
    shop.put("r1", lines=[milk(1_000), milk(2_000, "2")])
    assert shop.read() == [Item("Молоко", 18_000, 27_000)]
    shop.put("r1", lines=[milk(3_000), milk(2_000, "2")])
    assert shop.read() == [Item("Молоко", 27_000, 45_000)]
    quoted = shop.put("r1", lines=[milk(3_000), milk(2_000, "2")], tenders=["cash"])
    assert shop.read() == [Total(45_000, saved_minor=5_000)]
    shop.commit("r1", quoted)
    assert shop.read() == [Thanks()]
    assert shop.later(THANKS_MS - 1) == []
    assert shop.later(1) == [WELCOME]
    assert shop.later(1_000_000) == []


def test_a_cash_program_that_sends_the_whole_cart_at_the_end(shop: ServedShop) -> None:
    shop.put("r1", lines=[milk(1_000), milk(2_000, "2")])
    assert shop.read() == [Total(27_000, saved_minor=3_000)]


def test_a_line_that_is_taken_away_leaves_the_total(shop: ServedShop) -> None:
    shop.put("r1", lines=[milk(1_000), milk(2_000, "2")])
    shop.put("r1", lines=[milk(1_000)])
    assert shop.read()[-1] == Total(9_000, saved_minor=1_000)


def test_goods_that_the_catalog_lacks_show_their_price_and_no_digits(shop: ServedShop) -> None:
    shop.put("r1", lines=[{"id": "1", "barcode": "4609999999999", "price": 5_000, "quantity": 1_000}])
    assert shop.read() == [Item("", 5_000, 5_000)]


def test_a_card_that_is_put_on_a_sale_is_greeted_and_then_comes_the_price(regular: ServedShop) -> None:
    regular.put("r1")
    regular.read()
    regular.till.handle(scan(CARD))
    assert regular.read() == [Recognised("…0015", 60_000)]
    assert regular.later(CARD_MS - 1) == []
    assert regular.later(1) == [Total(90_000, saved_minor=10_000)]


def test_who_goes_on_ringing_up_is_not_held_up_by_the_greeting(regular: ServedShop) -> None:
    regular.put("r1", lines=[milk(1_000)])
    regular.till.handle(scan(CARD))
    regular.put("r1", lines=[milk(1_000), milk(1_000, "2")])
    assert regular.read()[-1] == Item("Молоко", 9_000, 18_000)
    assert regular.later(CARD_MS) == []


def test_points_pay_a_part_and_others_are_earned(regular: ServedShop) -> None:
    regular.put("r1", card=CARD)
    regular.read()
    quoted = regular.change("r1", redeem="max")
    assert regular.read() == [Spends(45_000, 45_000)]
    regular.change("r1", redeem=None)
    assert regular.read() == [Total(90_000, saved_minor=10_000)]
    quoted = regular.change("r1", redeem="max")
    regular.commit("r1", quoted)
    assert regular.read() == [Spends(45_000, 45_000), Thanks(earned=2_200)]


def test_a_card_before_its_goods_waits_its_minute_and_no_longer(regular: ServedShop) -> None:
    regular.till.handle(scan(CARD))
    assert regular.read() == [Recognised("…0015", 60_000)]
    assert WAITING_CARD_MS == CARD_WAITS_S * 1000
    assert regular.later(WAITING_CARD_MS) == [WELCOME]


def test_a_card_of_which_nothing_is_known_yet(shop: ServedShop) -> None:
    shop.till.handle(LinkChanged(None, ""))
    shop.till.handle(scan(CARD))
    assert shop.read() == [Recognised("…0015", None)]
    shop.know(balance=0, home="T2")
    assert shop.read() == [Recognised("…0015", 0)]


def test_a_card_of_nobody_has_no_points_to_show(shop: ServedShop) -> None:
    shop.till.handle(LookedUp(key_of(CARD), None))
    shop.put("r1", card=CARD)
    assert shop.read() == [Recognised("…0015", None)]


def test_the_next_customers_card_does_not_hide_what_this_one_has_to_pay(regular: ServedShop) -> None:
    regular.put("r1", card=CARD, tenders=["cash"])
    assert regular.read() == [Total(90_000, saved_minor=10_000)]
    regular.till.handle(scan(OTHER_CARD))
    assert regular.read() == []


def test_the_quote_that_had_to_wait_is_shown_when_it_is_there(shop: ServedShop) -> None:
    shop.till.handle(LinkChanged(None, ""))
    shop.put_later("r1", card=CARD)
    assert shop.read() == []
    shop.know(balance=0, home="T2")
    assert shop.read() == [Recognised("…0015", 0)]
    assert shop.later(CARD_MS) == [Item("Молоко", 90_000, 90_000)]


def test_a_sale_given_up_and_one_taken_back(shop: ServedShop) -> None:
    shop.put("r1")
    shop.void("r1")
    assert shop.read()[-1] == WELCOME
    shop.commit("r2", shop.put("r2"))
    shop.void("r2")
    assert shop.read()[-2:] == [Thanks(), WELCOME]
    shop.put("r3")
    shop.read()
    shop.void("r2000")  # never heard of
    assert shop.read() == []


def test_a_parked_sale_is_not_shown_for_ever_and_is_shown_again_when_it_is_recalled(shop: ServedShop) -> None:
    shop.put("r1", lines=[milk(1_000), milk(1_000, "2")])
    assert shop.read() == [Total(18_000, saved_minor=2_000)]
    shop.put("r2", lines=[milk(1_000)])
    assert shop.read() == [Item("Молоко", 9_000, 9_000)]
    assert shop.later(FORGOTTEN_MS) == [WELCOME]
    shop.put("r1", lines=[milk(1_000), milk(1_000, "2")])
    assert shop.read() == [Total(18_000, saved_minor=2_000)]


def test_the_same_cart_again_is_no_news(shop: ServedShop) -> None:
    shop.put("r1")
    shop.read()
    assert shop.later(FORGOTTEN_MS - 1) == []
    shop.put("r1")
    assert shop.later(FORGOTTEN_MS - 1) == []
    assert shop.later(1) == [WELCOME]


def test_a_cart_that_is_refused_leaves_the_price_that_stands(shop: ServedShop) -> None:
    shop.put("r1")
    shop.read()
    with pytest.raises(Problem):
        shop.put("r1", lines=[milk(quantity=10**15)])
    assert shop.read() == []


GIVEN: dict[str, tuple[list[Any], list[Any], int]] = {
    "a note that is worth more": (["cash"], [{"type": "cash", "amount": 100_000}], 10_000),
    "the sum itself": (["cash"], [{"type": "cash", "amount": 90_000}], 0),
    "nobody said how much": (["cash"], ["cash"], 0),
    "what was expected before the discount is no money given": ([], [{"type": "cash", "amount": 100_000}], 0),
}


@pytest.mark.parametrize(("planned", "given", "change"), GIVEN.values(), ids=GIVEN)
def test_the_change(shop: ServedShop, planned: list[Any], given: list[Any], change: int) -> None:
    shop.put("r1", tenders=planned)
    quoted = shop.put("r1", tenders=given)
    shop.commit("r1", quoted)
    assert shop.read()[-1] == Thanks(0, change)


def test_money_is_given_on_the_cashiers_page(shop: ServedShop) -> None:
    shop.put("r1", tenders=["cash"])
    quoted = shop.change("r1", tenders=[{"type": "cash", "amount": 95_000}])
    shop.commit("r1", quoted)
    assert shop.read()[-1] == Thanks(0, 5_000)


def test_a_shop_that_gets_another_name_welcomes_by_it(shop: ServedShop) -> None:
    settings = SETTINGS | {"store": {"id": "S1", "name": "Магазин на углу"}}
    shop.till.handle(NewInForce("settings.S1", 2, "00" * 32, in_force(settings=settings)))
    assert shop.read() == [Welcome("Магазин на углу")]
    assert shop.read() == []


def test_after_a_restart_it_welcomes_whatever_is_held(regular: ServedShop) -> None:
    quoted = regular.put("r1", card=CARD, redeem="max")
    regular.crash()
    assert regular.read() == [WELCOME]
    regular.commit("r1", quoted)
    assert regular.read() == [Thanks(earned=2_200)]
    assert regular.ledger.parcels(ACCOUNT)[0].points == 15_000


def test_a_till_without_settings_welcomes_without_a_name() -> None:
    shown: list[Shown] = []
    display = CustomerDisplay(shown.append, lambda: "", lambda: 0)
    display.ring()
    assert shown == [Welcome("")]
    assert display.next_timer_ms() is None
