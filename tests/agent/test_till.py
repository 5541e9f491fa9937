"""One till, one sale at a time: what the cash program asks, and what stays on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from agent import pricing
from agent.drivers.contracts import OutputComplete, OutputFailed, OutputUnknown
from agent.drivers.document import document_lines
from agent.inbox import LinkChanged, LookedUp, LookupFailed, Problem
from loyalty.faults import Fault, Refused
from loyalty.texts import N_
from tests.agent.shop import ACCOUNT, CARD, LOT, Shop, key_of, milk, scan


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.close()


@pytest.fixture
def regular(shop: Shop) -> Shop:
    """A customer whom the till knows, with 600 points here and 400 elsewhere."""
    shop.till.handle(LinkChanged(None, ""))
    shop.know(balance=100_000)
    shop.grant(60_000)
    return shop


def test_a_sale_without_a_card_gets_its_discount_and_is_written_down(shop: Shop) -> None:
    quoted = shop.put("r1")
    assert quoted["quote"]["pay"] == 90_000
    done = shop.commit("r1", quoted, slip="lines")
    assert done["entry"] == "T1-1-1"
    assert done["state"] == "closed"
    assert any("900,00" in line for line in done["slip"]["lines"])
    assert shop.ledger.verify("T1") == 1


def test_points_are_spent_here_and_earned_for_later(regular: Shop) -> None:
    quoted = regular.put("r1", card=CARD, redeem="max")
    assert quoted["customer"]["card"].endswith("0015")
    assert CARD not in str(quoted)
    assert quoted["quote"]["redeemed"] == 45_000
    assert quoted["quote"]["lots_used"] == [[LOT, 45_000]]
    regular.commit("r1", quoted)
    assert regular.parcels() == {LOT: 15_000}
    entry = regular.ledger.sale_entry("r1")
    assert entry is not None
    assert entry.account == ACCOUNT
    # Earned with a delay of 14 days: they wait at the centre, not in this till's parcel.
    assert [(p.account, p.points) for p in entry.postings] == [
        ("parcel:T1", -45_000), ("spent", 45_000), ("issued", -2_200), ("free", 2_200),
    ]  # fmt: skip


def test_two_sales_never_promise_the_same_points(regular: Shop) -> None:
    first = regular.put("r1", card=CARD, redeem="max")
    second = regular.put("r2", card=CARD, redeem="max")
    assert first["quote"]["redeemed"] + second["quote"]["redeemed"] == 60_000
    assert {held["sale_id"]: held["points"] for held in regular.held()} == {"r1": 45_000, "r2": 15_000}


def test_a_void_before_payment_lets_the_points_go(regular: Shop) -> None:
    regular.put("r1", card=CARD, redeem="max")
    assert regular.void("r1")["state"] == "closed"
    assert regular.held() == []
    assert regular.put("r2", card=CARD, redeem="max")["quote"]["redeemed"] == 45_000


def test_a_void_after_payment_brings_points_back_and_takes_earned_ones(regular: Shop) -> None:
    regular.commit("r1", regular.put("r1", card=CARD, redeem="max"))
    answer = regular.void("r1", "ошибка кассира")
    assert answer["entry"] == "T1-1-2"
    assert regular.parcels() == {LOT: 60_000}
    assert regular.void("r1", "ошибка кассира") == answer
    with pytest.raises(Problem, match="asked otherwise"):
        regular.void("r1", "другая причина")
    assert regular.ledger.verify("T1") == 2


def test_the_same_commit_twice_is_one_sale(regular: Shop) -> None:
    quoted = regular.put("r1", card=CARD, redeem="max")
    first = regular.commit("r1", quoted)
    assert regular.commit("r1", quoted) == first
    assert regular.ledger.head(1, "T1")[0] == 1
    with pytest.raises(Problem) as refused:
        regular.commit("r1", quoted, fiscal_id="другой чек")
    assert (refused.value.status, refused.value.code) == (409, "commit_differs")


def test_paid_otherwise_than_quoted_is_refused_and_nothing_is_lost(regular: Shop) -> None:
    quoted = regular.put("r1", card=CARD, redeem="max")
    with pytest.raises(Problem) as refused:
        regular.commit("r1", quoted, tenders=[{"type": "cash", "amount": 1}])
    assert (refused.value.status, refused.value.code) == (409, "quote_changed")
    assert regular.held()[0]["sale_id"] == "r1"
    assert regular.commit("r1", quoted)["entry"] == "T1-1-1"


def test_a_held_quote_is_honoured_after_a_crash_and_under_other_rules(regular: Shop) -> None:
    quoted = regular.put("r1", card=CARD, redeem="max")
    regular.rulebook = {**regular.rulebook, "seq": 8, "rules": []}
    regular.crash()
    assert regular.held()[0]["sale_id"] == "r1"
    done = regular.commit("r1", quoted)
    assert done["pay"] == quoted["quote"]["pay"]
    assert regular.parcels() == {LOT: 15_000}


def test_the_same_cart_again_is_the_same_quote(regular: Shop) -> None:
    first = regular.put("r1", card=CARD, redeem="max")
    assert regular.put("r1", card=CARD, redeem="max") == first
    regular.crash()
    assert regular.put("r1", card=CARD, redeem="max")["quote_id"] == first["quote_id"]


def test_a_planned_tender_is_a_word_or_an_object(shop: Shop) -> None:
    word = shop.put("r1", tenders=["card"])
    assert shop.put("r1", tenders=[{"type": "card", "amount": 90_000}]) == word


def test_another_cart_is_another_quote_and_the_old_one_is_dead(regular: Shop) -> None:
    first = regular.put("r1", card=CARD, redeem="max")
    second = regular.put("r1", card=CARD, redeem="max", lines=[milk(1_000)])
    assert second["quote_id"] != first["quote_id"]
    assert regular.held()[0]["points"] == second["quote"]["redeemed"] == 4_500
    with pytest.raises(Problem) as refused:
        regular.commit("r1", first)
    assert refused.value.code == "quote_changed"


def test_a_committed_sale_takes_no_more_goods(regular: Shop) -> None:
    regular.commit("r1", regular.put("r1"))
    with pytest.raises(Problem) as refused:
        regular.put("r1")
    assert refused.value.status == 409


@pytest.mark.parametrize("lines", [[milk(0)], [milk(), milk()]], ids=["nothing of it", "one id twice"])
def test_a_cart_that_cannot_be_priced_leaves_the_quote_that_stood(regular: Shop, lines: list[object]) -> None:
    quoted = regular.put("r1", card=CARD, redeem="max")
    with pytest.raises(Problem) as refused:
        regular.put("r1", card=CARD, redeem="max", lines=lines)
    assert (refused.value.status, refused.value.code) == (409, "receipt_refused")
    assert refused.value.details["faults"][0]["path"].startswith("lines[")
    assert regular.get("r1")["quote_id"] == quoted["quote_id"]
    assert regular.commit("r1", quoted)["entry"] == "T1-1-1"


def test_a_commit_of_a_sale_nobody_quoted_is_refused(shop: Shop) -> None:
    quoted = shop.put("r1")
    with pytest.raises(Problem) as refused:
        shop.commit("r2", quoted)
    assert (refused.value.status, refused.value.code) == (409, "sale_none")


# ------------------------------------------------------------------------------ scans


def test_a_scanned_card_goes_to_the_sale_last_touched(regular: Shop) -> None:
    assert regular.put("r1")["customer"] is None
    regular.till.handle(scan(CARD))
    seen = regular.get("r1")
    assert (seen["state"], seen["customer"]["card"]) == ("quoted", "…0015")  # its price is there at once
    assert regular.put("r1", redeem="max")["customer"]["card"].endswith("0015")


@pytest.mark.parametrize(("later_s", "kept"), [(59, True), (61, False)])
def test_a_card_scanned_before_its_sale_waits_a_minute(regular: Shop, later_s: int, kept: bool) -> None:
    regular.till.handle(scan(CARD))
    regular.wall_s += later_s
    assert (regular.put("r1")["customer"] is not None) is kept


def test_card_before_the_goods_after_them_or_twice_is_the_same_total(regular: Shop) -> None:
    regular.till.handle(scan(CARD))
    before = regular.put("r1", redeem=10_000)
    regular.void("r1")
    regular.put("r2", redeem=10_000)
    regular.till.handle(scan(CARD))
    regular.till.handle(scan(CARD))
    after = regular.put("r2", redeem=10_000)
    assert before["quote"] == after["quote"]


def test_the_next_customers_card_does_not_disturb_a_sale_that_is_being_paid(regular: Shop) -> None:
    """They stand close; the first has paid the quoted sum, and the fiscal receipt is out."""
    regular.till.handle(LinkChanged("unreachable", ""))
    quoted = regular.put("r1", card=CARD, redeem=1_000)
    regular.till.handle(scan("2000000000022"))
    trouble = next(t for t in regular.status()["troubles"] if t["code"] == "card")
    assert "…0015" in trouble["ru"]
    assert regular.commit("r1", quoted)["redeemed"] == 1_000
    assert regular.put("r2")["customer"]["card"] == "…0022"  # it waited for its own sale
    assert not [t for t in regular.status()["troubles"] if t["code"] == "card"]


def test_a_second_card_replaces_the_first_when_the_cash_program_says_so(regular: Shop) -> None:
    regular.till.handle(LinkChanged("unreachable", ""))
    regular.put("r1", card=CARD)
    assert regular.put("r1", card="2000000000022")["customer"]["card"] == "…0022"


def test_a_waiting_card_that_the_cash_program_names_waits_for_no_other_sale(regular: Shop) -> None:
    regular.till.handle(LinkChanged("unreachable", ""))  # nobody is asked whose the other card is
    regular.put("r1", card=CARD)
    regular.till.handle(scan("2000000000022"))
    regular.put("r1", card="2000000000022")
    assert regular.put("r2")["customer"] is None


def test_a_scanned_coupon_stays_until_the_cash_program_says_otherwise(regular: Shop) -> None:
    regular.put("r1", card=CARD, redeem=100)
    regular.till.handle(scan("FLYER"))
    coupons = []
    changes: list[dict[str, Any]] = [{}, {"coupons": ["OWN"]}, {"coupons": []}]
    for number, more in enumerate(changes):
        regular.put("r1", lines=[milk((number + 1) * 1000)], card=CARD, redeem=100, **more)
        hold = regular.ledger.hold("r1")
        assert hold is not None
        coupons.append(hold.offer.cart.coupons)
    assert coupons == [("flyer",), ("OWN",), ()]


def test_a_bank_card_is_dropped_and_said(regular: Shop) -> None:
    regular.put("r1")
    regular.till.handle(scan(";4111111111111111=29121011234567890?", "track2"))
    assert regular.get("r1")["customer"] is None
    trouble = next(t for t in regular.status()["troubles"] if t["code"] == "card")
    assert "банковская" in trouble["ru"]
    assert "4111" not in str(regular.status())


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("4111111111111111", "payment_card"),
        ("2000000199993", "card_unknown"),  # our prefix, a range that was never issued
        ("%E?", "card_unreadable"),
        ("9" * 1000, "card_unknown"),
        ("4600000000015", "not_a_card"),
    ],
)
def test_a_number_that_is_no_card_is_refused_and_changes_nothing(
    regular: Shop, number: str, code: str
) -> None:
    quoted = regular.put("r1", card=CARD, redeem="max")
    with pytest.raises(Problem) as refused:
        regular.put("r1", card=number)
    assert (refused.value.status, refused.value.code) == (409, code)
    assert number not in str(refused.value)
    assert regular.get("r1")["quote_id"] == quoted["quote_id"]


# ----------------------------------------------------------------- the centre, within a second


def test_an_unknown_card_waits_for_the_centre_and_its_points_come_along(shop: Shop) -> None:
    shop.till.handle(LinkChanged(None, ""))
    ask = shop.put_later("r1", card=CARD, redeem="max")
    assert not ask.reply.done()
    assert shop.outside.lookups == [key_of(CARD)]
    shop.know(balance=60_000)
    assert not ask.reply.done()  # points were placed here: they are on their way
    shop.grant(54_000)
    assert ask.reply.result(0)["quote"]["redeemed"] == 45_000


def test_a_card_scanned_first_is_looked_up_at_once_and_its_sale_waits_for_the_rest(shop: Shop) -> None:
    shop.till.handle(LinkChanged(None, ""))
    shop.till.handle(scan(CARD))
    assert shop.outside.lookups == [key_of(CARD)]
    shop.know(balance=60_000)
    ask = shop.put_later("r1", redeem="max")
    assert not ask.reply.done()
    shop.grant(54_000)
    assert ask.reply.result(0)["quote"]["redeemed"] == 45_000
    assert shop.outside.lookups == [key_of(CARD)]


def test_after_a_second_the_quote_comes_with_what_is_here(shop: Shop) -> None:
    shop.till.handle(LinkChanged(None, ""))
    ask = shop.put_later("r1", card=CARD, redeem="max")
    shop.clock_ms = 999
    shop.till.ring()
    assert not ask.reply.done()
    shop.clock_ms = 1000
    shop.till.ring()
    reply = ask.reply.result(0)
    assert reply["quote"]["redeemed"] == 0
    assert [m["code"] for m in reply["messages"]] == ["card_not_asked"]  # nobody said that it is unknown
    shop.till.handle(LookedUp(key_of(CARD), None))
    assert [m["code"] for m in shop.get("r1")["messages"]] == ["card_not_found"]


def test_without_a_link_an_unknown_card_does_not_hold_up_the_queue(shop: Shop) -> None:
    reply = shop.put("r1", card=CARD)
    assert reply["state"] == "quoted"
    assert "связи" in reply["messages"][0]["ru"]
    assert shop.outside.lookups == []


def test_a_lookup_that_fails_ends_the_wait(shop: Shop) -> None:
    shop.till.handle(LinkChanged(None, ""))
    ask = shop.put_later("r1", card=CARD)
    shop.till.handle(LookupFailed(key_of(CARD)))
    assert ask.reply.result(0)["state"] == "quoted"


def test_a_price_that_is_refused_after_the_wait_can_be_asked_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is on its way any more: whoever asks again must not wait for it for ever."""
    shop.till.handle(LinkChanged(None, ""))
    first = shop.put_later("r1", card=CARD)
    with monkeypatch.context() as broken:
        broken.setattr(pricing, "make_offer", refuses)
        shop.till.handle(LookupFailed(key_of(CARD)))
    with pytest.raises(Problem, match="cannot be priced"):
        first.reply.result(0)
    again = shop.put_later("r1", card=CARD)
    shop.clock_ms += 1000
    shop.till.ring()
    assert again.reply.result(0)["state"] == "quoted"


def refuses(*_: Any, **__: Any) -> NoReturn:
    raise Refused([Fault("lines", N_("too much"))])


def test_points_whose_day_is_over_are_not_said_to_be_available(regular: Shop) -> None:
    regular.grant(700, lot="c:233-1-2-0", expires_at="2026-11-18T12:00:00")  # it is past two o'clock
    assert regular.parcels() == {LOT: 60_000, "c:233-1-2-0": 700}
    assert regular.put("r1", card=CARD)["customer"]["available_here"] == 60_000


def test_what_was_promised_to_another_sale_lies_here(shop: Shop) -> None:
    """Two receipts of one customer: the second asks nobody for what the first one was promised."""
    shop.till.handle(LinkChanged(None, ""))
    shop.know(balance=60_000)
    shop.grant(60_000)
    shop.put_later("r1", card=CARD, redeem="max", lines=[milk(10_000)]).reply.result(0)  # 450.00 of it
    second = shop.put_later("r2", card=CARD, redeem="max", lines=[milk(10_000)]).reply.result(0)
    assert second["quote"]["redeemed"] == 15_000
    assert (shop.outside.claims, second["messages"]) == ([], [])


def test_points_that_this_receipt_cannot_use_are_not_named(regular: Shop) -> None:
    """A cashier with a queue reads what matters: 450.00 may be paid with points, and 600.00 are here."""
    reply = regular.put("r1", card=CARD, redeem="max", lines=[milk(10_000)])
    assert reply["quote"]["redeemed"] == 45_000
    assert reply["customer"]["balance"] == 100_000
    assert reply["messages"] == []


def test_points_that_nobody_can_spend_yet_are_asked_of_nobody(shop: Shop) -> None:
    """Earned a week ago, to be spent in another: no cashier waits for them, and no other shop is asked."""
    shop.till.handle(LinkChanged(None, ""))
    shop.know(balance=60_000, pending=40_000)
    shop.grant(20_000)
    first = shop.put_later("r1", card=CARD, redeem="max", lines=[milk(10_000)]).reply.result(0)
    assert shop.outside.claims == []
    assert (first["quote"]["redeemed"], first["messages"]) == (20_000, [])
    assert first["customer"]["pending"] == 40_000
    shop.commit("r1", first)
    again = shop.put_later("r2", card=CARD, redeem="max", lines=[milk(10_000)]).reply.result(0)
    assert shop.outside.claims == []
    assert (
        again["customer"]["pending"] == again["customer"]["balance"] == 40_000 + 3_500
    )  # and what r1 earned


def test_more_points_than_lie_here_are_not_promised_but_named(regular: Shop) -> None:
    reply = regular.put("r1", card=CARD, redeem="max", lines=[milk(20_000)])
    assert reply["quote"]["redeemed"] == 60_000
    assert reply["customer"]["balance"] == 100_000
    assert "points_elsewhere" in [m["code"] for m in reply["messages"]]


# ------------------------------------------------------------------------------- slips


def test_a_printed_slip_closes_the_sale(regular: Shop) -> None:
    done = regular.commit("r1", regular.put("r1", card=CARD))
    assert regular.get("r1")["state"] == "committed"
    (job_id, document), = regular.outside.slips  # fmt: skip
    assert document_lines(document, 48) == done["slip"]["lines"]
    regular.till.handle(OutputComplete("printer", job_id))
    assert regular.get("r1")["state"] == "closed"


@pytest.mark.parametrize("event", [OutputFailed, OutputUnknown])
def test_a_slip_that_is_not_proven_is_not_printed_again_by_itself(regular: Shop, event: type) -> None:
    regular.commit("r1", regular.put("r1", card=CARD))
    regular.till.handle(event("printer", regular.outside.slips[0][0], N_("no paper")))
    assert regular.get("r1")["state"] == "committed"
    assert len(regular.outside.slips) == 1
    assert any(t["code"] == "print" for t in regular.status()["troubles"])


def test_after_a_crash_before_the_print_a_copy_is_offered_never_made(regular: Shop) -> None:
    regular.commit("r1", regular.put("r1", card=CARD))
    regular.crash()
    assert regular.get("r1")["state"] == "committed"
    assert regular.outside.slips == []
    regular.print_again("r1", "p1")
    regular.print_again("r1", "p1")  # the cash program asks twice on a bad link
    (job_id, document), = regular.outside.slips  # fmt: skip
    assert any("КОПИЯ" in line for line in document_lines(document, 48))
    regular.till.handle(OutputComplete("printer", job_id))
    assert regular.get("r1")["state"] == "closed"


def test_a_grant_that_comes_twice_is_one_grant(regular: Shop) -> None:
    assert regular.reply() == 0
    assert regular.parcels() == {LOT: 60_000}
