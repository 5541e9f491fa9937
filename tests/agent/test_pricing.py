"""From a cart to an offer, and from an offer to what travels and to the slip: nothing is lost on the way."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import msgspec
import pytest

from agent.offline.records import Parcel
from agent.pricing import Customer, make_offer, sale_document
from agent.slip_data import as_copy, slip_data
from loyalty import document, quote, receipt
from loyalty.document import SoldLine, Tender
from loyalty.faults import Refused
from loyalty.ledger import Spent
from loyalty.sale import Cart, Holder, Offer, Paid
from loyalty.wire import Member
from tests.agent.shop import ACCOUNT, LOT, OPENED_S, RULEBOOK, in_force

RULES = in_force()
HOLDER = Holder(5, "…0015", "card", "plastic", False)
MEMBER = Member(ACCOUNT, tier="silver", segments=("mothers",), counters={"visits": 3}, balance=100_000)
HERE = (
    Parcel(LOT, 60_000, "2026-01-01T00:00:00", "2026-12-01T00:00:00", "opening"),
    Parcel("later", 7_000, "2027-01-01T00:00:00", None, "opening"),
)
CUSTOMER = Customer(MEMBER, HERE, balance=100_000, as_of_s=OPENED_S - 60)


def cart(**changes: Any) -> Cart:
    fields: dict[str, Any] = {
        "lines": (SoldLine("1", "milk-1", 10_000, 10_000),),
        "holder": HOLDER,
        "redeem": "max",
        "operator": "7",
    }
    return Cart(**{**fields, **changes})


def offer(customer: Customer | None = CUSTOMER, **changes: Any) -> Offer:
    return make_offer("r1", "T1", cart(**changes), OPENED_S, customer, RULES)


def test_an_offer_says_all_that_a_commit_a_week_later_needs() -> None:
    made = offer()
    assert (made.pay, made.spends) == (45_000, (Spent(LOT, 45_000),))
    assert (made.rulebook_seq, made.catalog_version) == (7, 3)
    assert made.titles == {"milk": "Молоко -10 %", "earn": "earn"}
    assert made.receipt.at == "2026-11-18T14:06:40+03:00"  # the shop's clock, not the box's
    (earned,) = made.earns
    assert (earned.points, earned.terms.active_from, earned.spendable_here) == (
        2_200,
        "2026-12-02T00:00:00",
        False,
    )


def test_the_same_cart_has_the_same_quote_id_and_any_other_has_another() -> None:
    ids = {
        offer().quote_id,
        offer(redeem=100).quote_id,
        offer(lines=(SoldLine("1", "milk-1", 10_000, 9_000),)).quote_id,
        offer(None).quote_id,
        offer(operator="8").quote_id,
    }
    assert offer().quote_id == offer().quote_id
    assert len(ids) == 5


def test_points_that_are_not_yet_active_are_not_spent() -> None:
    only_later = Customer(MEMBER, HERE[1:], balance=100_000, as_of_s=OPENED_S)
    assert offer(only_later).spends == ()


def test_points_earned_at_once_are_this_tills_unless_the_settings_say_later() -> None:
    earn_now = {"id": "earn", "stage": "earn", "effect": {"type": "earn_percent", "bp": 500}}
    now = in_force({**RULEBOOK, "rules": [earn_now]})
    made = make_offer("r1", "T1", cart(), OPENED_S, CUSTOMER, now)
    assert [lot.spendable_here for lot in made.earns] == [True]


def test_a_cart_the_engine_refuses_is_no_offer() -> None:
    with pytest.raises(Refused):
        offer(lines=(SoldLine("1", "milk-1", 10_000, 0),))


@pytest.mark.parametrize("customer", [CUSTOMER, None])
def test_what_travels_can_be_priced_again_to_the_same_kopeck(customer: Customer | None) -> None:
    """The office prices every receipt once more: the document must hold all that the till knew."""
    made = offer(customer)
    paid = Paid(made.quote_id, (Tender("cash", made.pay),), "fiscal-1", "2026-11-18T14:07:00+03:00")
    travelled = document.parse(document.canonical(sale_document(made, paid)))
    again = quote.quote(
        RULES.compiled, receipt.parse(document.engine_receipt(travelled.receipt, travelled.customer))
    ).to_builtins()
    assert again == msgspec.json.decode(made.quote)
    assert document.quote_digest(again) == travelled.result.digest
    assert (travelled.result.pay, travelled.result.list) == (again["pay"], 100_000)
    assert (travelled.tenders, travelled.fiscal_id, travelled.operator) == (paid.tenders, "fiscal-1", "7")
    assert "0015" not in str(travelled)  # not even the last four of a card


# ------------------------------------------------------------------------------ the slip


def slip(*, fresh: bool, customer: Customer | None = CUSTOMER, made: Offer | None = None) -> Any:
    return slip_data(
        made or offer(customer), RULES, ident="T1-1-1-abc123", now_s=OPENED_S, customer=customer, fresh=fresh
    )


def test_on_line_the_slip_shows_the_balance() -> None:
    data = slip(fresh=True)
    assert (data.available, data.offline, data.card, data.tier) == (100_000, False, "…0015", "silver")
    assert (data.list_minor, data.redeemed_minor, data.points_used, data.pay_minor) == (
        100_000,
        45_000,
        45_000,
        45_000,
    )
    assert data.discounts == (("Молоко -10 %", 10_000),)


def test_off_line_the_slip_shows_what_can_be_spent_here_and_since_when_it_knows() -> None:
    data = slip(fresh=False)
    assert (data.available, data.offline) == (60_000, True)  # not what becomes active next year
    assert data.as_of is not None
    assert f"{data.as_of:%H:%M}" == "14:05"


def test_points_that_expire_soon_are_shown_with_their_last_day() -> None:
    """Until midnight of 1 December means: the last day is 30 November."""
    (expiring,) = slip(fresh=True).expiring
    assert (expiring.points, expiring.last_day) == (60_000, date(2026, 11, 30))


def test_points_earned_say_when_they_become_active() -> None:
    (earned,) = slip(fresh=True).earned
    assert (earned.points, earned.active_from) == (2_200, date(2026, 12, 2))


def test_without_a_card_nothing_is_said_of_points() -> None:
    data = slip(fresh=False, customer=None, made=offer(None, holder=None, redeem=None))
    assert (data.card, data.available, data.earned, data.expiring) == (None, None, (), ())


def test_a_copy_differs_in_one_word() -> None:
    data = slip(fresh=True)
    assert as_copy(data) == replace(data, copy=True)
