"""Limits against abuse: a card swiped for strangers, numbers tried at the keyboard, a card after the total.

They hold without a link and explain themselves; above a soft limit the office is told, above a hard one the
card is refused, and the sale goes on without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.inbox import CardBody, ChangeBody, ChangeSale, LookUpCard, NewInForce, Problem
from loyalty.ledger import Entry
from tests.agent.shop import CARD, SETTINGS, Shop, in_force, milk, scan

OTHER_CARD = "2000000000022"
DAY_S = 24 * 3600


def a_shop(directory: Path, **limits: Any) -> Shop:
    shop = Shop(directory, settings={"limits": limits})
    shop.know()
    shop.grant(100_000)
    return shop


def sell(shop: Shop, sale_id: str, **body: Any) -> dict[str, Any]:
    """A whole sale; its quote is given back."""
    quoted = shop.put(sale_id, **{"card": CARD, "operator": "Иванова", **body})
    shop.commit(sale_id, quoted)
    return quoted


def entry_of(shop: Shop, sale_id: str) -> Entry:
    entry = shop.ledger.sale_entry(sale_id)
    assert entry is not None
    return entry


def codes(quoted: dict[str, Any]) -> set[str]:
    return {message["code"] for message in quoted["messages"]}


def test_a_cashier_who_swipes_one_card_all_day_is_told_about_and_then_refused(tmp_path: Path) -> None:
    shop = a_shop(tmp_path, card_per_shift={"soft": 2, "hard": 3})
    assert [codes(sell(shop, f"r{n}")) for n in range(2)] == [set(), set()]

    third = sell(shop, "r2")
    assert codes(third) == {"limit_card_per_shift_soon"}
    assert third["customer"]["found"] is True
    assert entry_of(shop, "r2").flags == ("OFFLINE", "LIMIT")
    assert "limit" in {trouble["code"] for trouble in shop.status()["troubles"]}

    fourth = sell(shop, "r3")
    [said] = fourth["messages"]
    assert said["code"] == "limit_card_per_shift"
    assert "раз: 3" in said["ru"]
    assert (fourth["customer"]["found"], fourth["state"]) == (False, "quoted")  # the sale goes on
    assert entry_of(shop, "r3").account is None
    assert "LIMIT" in entry_of(shop, "r3").flags

    # Another cashier may still take this card: the limit is one of a cashier's shift.
    assert codes(sell(shop, "r4", operator="Петрова")) == set()
    assert "limit" not in {trouble["code"] for trouble in shop.status()["troubles"]}  # it was told of before
    shop.close()


def test_a_restart_a_void_and_a_new_day(tmp_path: Path) -> None:
    shop = a_shop(tmp_path, card_per_shift={"hard": 1})
    sell(shop, "r1")
    shop.void("r1")
    shop.crash()
    shop.know()
    assert codes(shop.put("r2", card=CARD, operator="Иванова")) == {"limit_card_per_shift"}
    shop.time_passes(DAY_S)
    shop.know()
    assert codes(shop.put("r3", card=CARD, operator="Иванова")) == set()
    shop.close()


def test_a_limit_that_comes_at_noon_counts_the_morning_too(tmp_path: Path) -> None:
    shop = a_shop(tmp_path)
    sell(shop, "r1")
    shop.till.handle(
        NewInForce("settings.S1", 2, "", in_force(settings=with_limits(card_per_shift={"hard": 2})))
    )
    sell(shop, "r2")
    assert codes(shop.put("r3", card=CARD, operator="Иванова")) == {"limit_card_per_shift"}
    shop.till.handle(NewInForce("settings.S1", 3, "", in_force(settings=with_limits())))
    assert codes(shop.put("r4", card=CARD, operator="Иванова")) == set()
    shop.close()


def with_limits(**limits: Any) -> dict[str, Any]:
    return SETTINGS | {"limits": limits}


def test_receipts_a_day_are_counted_whoever_sells(tmp_path: Path) -> None:
    shop = a_shop(tmp_path, receipts_per_day={"hard": 2})
    sell(shop, "r1")
    sell(shop, "r2", operator="Петрова")
    assert codes(shop.put("r3", card=CARD, operator="Сидорова")) == {"limit_receipts_per_day"}
    shop.close()


def test_a_promise_that_was_given_is_kept_though_the_limit_is_reached_meanwhile(tmp_path: Path) -> None:
    shop = a_shop(tmp_path, receipts_per_day={"hard": 1})
    promised = shop.put("r1", card=CARD, redeem=10_000)
    sell(shop, "r2")
    done = shop.commit("r1", promised)
    assert done["redeemed"] == 10_000
    shop.close()


def test_numbers_tried_at_the_keyboard(tmp_path: Path) -> None:
    shop = a_shop(tmp_path, manual_per_shift={"soft": 1, "hard": 3})
    keyed = shop.put("r1", card=CARD, card_entry="keyed", operator="Иванова")
    assert shop.put("r1", card=CARD, card_entry="keyed", operator="Иванова") == keyed  # the same one again
    shop.commit("r1", keyed)
    assert "KEYED" in entry_of(shop, "r1").flags

    with pytest.raises(Problem) as wrong:
        shop.put("r2", card="2000000199993", card_entry="keyed", operator="Иванова")
    assert wrong.value.code == "card_unknown"
    look_up(shop, OTHER_CARD)
    keyed = {"card": CARD, "card_entry": "keyed", "operator": "Петрова"}
    shop.put("r5", **keyed)
    for _ in range(2):
        look_up(shop, OTHER_CARD, operator="Петрова")
    for operator in ("Иванова", "Петрова"):
        with pytest.raises(Problem) as refused:
            look_up(shop, OTHER_CARD, operator=operator)
        assert (refused.value.status, refused.value.code) == (409, "limit_manual_per_shift")
    shop.put("r5", **keyed, tenders=["cash"])  # the card that is on the sale already is no new number
    # What a scanner reads is not keyed in, and another cashier has a count of their own.
    assert shop.put("r2", card=CARD, operator="Иванова")["customer"]["found"]
    assert shop.put("r3", card=CARD, card_entry="keyed", operator="Сидорова")["customer"]["found"]
    shop.close()


def look_up(shop: Shop, number: str, operator: str = "Иванова") -> None:
    ask = LookUpCard(CardBody(number, entry="keyed", operator=operator))
    shop.till.handle(ask)
    try:
        ask.reply.result(0)
    except Problem as problem:
        if problem.code.startswith("limit"):
            raise


WHEN_THE_CARD_CAME: dict[str, tuple[list[dict[str, Any]], bool]] = {
    "before the goods": ([{"card": CARD}, {"card": CARD, "tenders": ["cash"]}], False),
    "between the goods": (
        [{"lines": [milk()]}, {"lines": [milk()], "card": CARD},
         {"lines": [milk(), milk(1000, "2")], "card": CARD, "tenders": ["cash"]}],
        False,
    ),
    "after the goods, before the payment": ([{}, {"card": CARD}, {"card": CARD, "tenders": ["cash"]}], False),
    "after the only price, of a program that never says when payment begins": ([{}, {"card": CARD}], True),
    "after the payment had begun": ([{"tenders": ["cash"]}, {"card": CARD, "tenders": ["cash"]}], True),
    "after the goods of a program that says when payment begins": (
        [{}, {"card": CARD, "tenders": ["cash"]}], False,
    ),
    "after the total, but more goods followed": (
        [{"tenders": ["cash"]}, {"card": CARD, "tenders": ["cash"]},
         {"lines": [milk(), milk(1000, "2")], "card": CARD, "tenders": ["cash"]}],
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("carts", "late"), WHEN_THE_CARD_CAME.values(), ids=WHEN_THE_CARD_CAME)
def test_a_card_after_the_total_is_flagged(tmp_path: Path, carts: list[dict[str, Any]], late: bool) -> None:
    shop = a_shop(tmp_path)
    for cart in carts:
        quoted = shop.put("r1", **cart)
    shop.commit("r1", quoted)
    assert ("CARD_LATE" in entry_of(shop, "r1").flags) is late
    shop.close()


def test_a_card_scanned_or_chosen_on_the_page_after_the_total_is_flagged_too(tmp_path: Path) -> None:
    shop = a_shop(tmp_path)
    shop.put("r1", tenders=["cash"])
    shop.till.handle(scan(CARD))
    shop.commit("r1", shop.get("r1"))
    assert "CARD_LATE" in entry_of(shop, "r1").flags

    shop.put("r2", tenders=["cash"])
    ask = ChangeSale("r2", msgspec.convert({"card": CARD, "card_entry": "keyed"}, ChangeBody))
    shop.till.handle(ask)
    shop.commit("r2", ask.reply.result(0))
    assert {"CARD_LATE", "KEYED"} <= set(entry_of(shop, "r2").flags)
    shop.close()
