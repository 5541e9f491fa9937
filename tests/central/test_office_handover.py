"""Points that a hub gave to a till of its shop: the office hears of it from both, in either order, once."""

from __future__ import annotations

import dataclasses

import pytest
from office import ANNA, BORIS, Office
from pretend_till import PretendTill

from central.fleet import lives
from central.intake.models import InboxEntry, Incident
from central.ledger.models import Balance, Share
from loyalty import document, ledger
from loyalty.ledger import Posting, Spent

POINTS = 135_00  # nine tenths of 150


@dataclasses.dataclass
class Shop:
    """A hub that holds Anna's points, and a till beside it that holds Boris's."""

    anna: int
    boris: int
    hub: PretendTill
    till: PretendTill


@pytest.fixture
def shop(office: Office) -> Shop:
    office.store()
    anna = office.member(ANNA, points="150.00", home="S1")
    hub, till = office.till(), office.till()
    hub.sync()
    till.sync()
    boris = office.member(BORIS, points="0")
    return Shop(anna, boris, hub, till)


def shares(account: int) -> tuple[int, int]:
    """Hundredths that the second till holds, and those of everybody else (the hub is topped up)."""
    held = {"T2~1": 0, "others": 0}
    for share in Share.objects.filter(account=account):
        held[share.holder if share.holder in held else "others"] += share.points
    return held["T2~1"], held["others"]


def spends_all(till: PretendTill, account: int) -> None:
    till.sell(account, spend=[Spent(lot, points) for lot, points in till.lots(account).items()])


def incidents() -> list[str]:
    return list(Incident.objects.order_by("code").values_list("code", flat=True))


def test_the_hub_speaks_first(shop: Shop) -> None:
    shop.till.take_over(*shop.hub.hand_over(shop.till, shop.anna))
    spends_all(shop.till, shop.anna)
    shop.hub.sync()
    assert shares(shop.anna) == (POINTS, 15_00)
    shop.till.sync()
    assert shares(shop.anna) == (0, 15_00)
    assert Balance.objects.get(account=shop.anna).spent == POINTS
    assert incidents() == []


def test_the_taker_speaks_first_and_only_what_rests_on_the_hub_waits(shop: Shop) -> None:
    shop.till.take_over(*shop.hub.hand_over(shop.till, shop.anna))
    spends_all(shop.till, shop.anna)
    shop.till.sell(shop.boris, earn=5_00)
    shop.till.sell(None)
    shop.till.sync()
    waiting = InboxEntry.objects.filter(waiting=True).values_list("account", "seq")
    assert list(waiting) == [(shop.anna, 1), (shop.anna, 2)]
    assert shares(shop.boris) == (5_00, 0)
    assert shares(shop.anna) == (0, 15_00 + POINTS)
    shop.hub.sync()
    assert shares(shop.anna) == (0, 15_00)
    assert not InboxEntry.objects.filter(applied=False).exists()
    assert incidents() == []


def test_a_hub_that_never_comes_back_is_closed_and_its_signed_word_counts(shop: Shop) -> None:
    shop.till.take_over(*shop.hub.hand_over(shop.till, shop.anna))
    spends_all(shop.till, shop.anna)
    shop.till.sync()
    lives.close(shop.hub.id)
    assert shares(shop.anna) == (0, 15_00)
    assert not InboxEntry.objects.filter(applied=False).exists()
    assert incidents() == []


@pytest.mark.parametrize("closed", [False, True], ids=["the hub lives", "the hub is closed"])
def test_a_forged_word_is_an_incident_and_holds_up_nobody(shop: Shop, closed: bool) -> None:
    body, _ = shop.hub.hand_over(shop.till, shop.anna)
    if closed:
        lives.close(shop.hub.id)
    shop.till.take_over(body, bytes(64))
    spends_all(shop.till, shop.anna)
    shop.till.sync()
    assert not InboxEntry.objects.filter(applied=False).exists()
    assert incidents() == ["BAD_PROOF", "OVERSPENT"]
    # It spent what was not its own: the customer owes it, and nothing that is held was touched.
    balance = Balance.objects.get(account=shop.anna)
    assert (balance.spent, balance.held + balance.debt) == (POINTS, 15_00)


@pytest.mark.parametrize("change", ["account", "taker", "entry"])
def test_a_genuine_word_about_something_else_is_no_proof(shop: Shop, change: str) -> None:
    body, signature = shop.hub.hand_over(shop.till, shop.anna)
    given = ledger.parse(body)
    match change:
        case "account":
            shop.till.write("HANDOVER", shop.boris, document=proof(body, signature), ref=given.id)
        case "taker":
            third = shop.hub  # the hub's own till shows what it said to another
            third.write("HANDOVER", shop.anna, document=proof(body, signature), ref=given.id)
            third.sync()
        case "entry":
            shop.till.write("HANDOVER", shop.anna, document=proof(body, signature), ref="T1-1-77")
    shop.till.sync()
    assert incidents() == ["BAD_PROOF"]


def proof(body: bytes, signature: bytes) -> bytes:
    return document.canonical(document.HandoverDocument(body, signature))


def test_a_lost_answer_comes_by_the_downlink_and_is_applied_once(shop: Shop) -> None:
    body, signature = shop.hub.hand_over(shop.till, shop.anna)  # the answer is lost on the way
    shop.hub.sync()
    shop.till.sync()
    assert shop.till.held(shop.anna) == POINTS
    shop.till.take_over(body, signature)  # asked again, the hub said the same
    assert shop.till.held(shop.anna) == POINTS
    spends_all(shop.till, shop.anna)
    shop.till.sync()
    assert shares(shop.anna) == (0, 15_00)
    assert incidents() == []


def test_what_came_by_the_lan_and_again_by_the_downlink_is_there_once(shop: Shop) -> None:
    shop.till.take_over(*shop.hub.hand_over(shop.till, shop.anna))
    shop.hub.sync()
    shop.till.sync()
    assert shop.till.held(shop.anna) == POINTS
    assert shares(shop.anna) == (POINTS, 15_00)
    lot, points = next(iter(shop.till.lots(shop.anna).items()))
    back = (Posting(ledger.parcel("T2"), lot, -points), Posting(ledger.FREE, lot, points))
    shop.till.write("RELEASE", shop.anna, back)
    shop.till.sync()
    assert shares(shop.anna) == (0, 15_00 + POINTS)
    assert incidents() == []
