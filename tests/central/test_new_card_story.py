"""A customer takes a card from the rack while the shop has no link: points at once, and one account."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from office import ANNA, BORIS, TEMPLATES, Office
from real_till import RealTill

from agent.inbox import CardBody, LookUpCard, Problem, RegisterCard
from central.fleet import timeline
from central.intake.models import Incident
from central.ledger.models import Balance
from central.members.models import Account, Card
from loyalty import ledger
from tests.agent.shop import SETTINGS

EARN_NOW = {
    "format": 1,
    "semantics": 1,
    "id": "programme",
    "seq": 7,
    "rules": [
        {"id": "pay", "stage": "redeem", "effect": {"type": "redeem", "max_bp": 5000, "step": 100}},
        {"id": "earn", "stage": "earn", "effect": {"type": "earn_percent", "bp": 1000}},
        {
            "id": "welcome",
            "stage": "earn",
            "when": {"type": "counter", "name": "rule:welcome:ever", "max": 0},
            "effect": {"type": "earn_fixed", "points": 200_00},
        },
    ],
}
PROGRAMME = {**SETTINGS, "number_templates": [{**TEMPLATES[0], "auto_register": True}]}
PRICE = 1_000_00  # of the cart that every sale here sells; it earns a tenth


@pytest.fixture
def tills(office: Office, tmp_path: Path) -> Iterator[tuple[RealTill, RealTill]]:
    office.store()
    pair = [RealTill(office, tmp_path / name, rulebook=EARN_NOW, settings=PROGRAMME) for name in ("a", "b")]
    for till in pair:
        till.sync()
    yield pair[0], pair[1]
    for till in pair:
        till.close()


def buy(till: RealTill, sale_id: str, number: str = ANNA, **cart: object) -> dict[str, object]:
    return till.commit(sale_id, till.put(sale_id, card=number, **cart))


def register(till: RealTill, number: str) -> dict[str, object]:
    ask = RegisterCard(CardBody(number))
    till.till.handle(ask)
    return ask.reply.result(0)


def lookup(till: RealTill, number: str) -> dict[str, object]:
    ask = LookUpCard(CardBody(number))
    till.till.handle(ask)
    return ask.reply.result(0)


def balance(account: int) -> int:
    row = Balance.objects.get(account=account)
    return row.held + row.debt


def kinds(till: RealTill) -> list[str]:
    return [entry.kind for entry, _ in reversed(till.ledger.entries(20))]


def test_points_for_a_first_time_customer_at_two_tills_become_one_account(
    tills: tuple[RealTill, RealTill],
) -> None:
    first, second = tills
    quoted = first.put("r1", card=ANNA)
    assert (quoted["customer"]["found"], quoted["customer"]["as_of"]) == (True, None)
    assert "card_new" in {message["code"] for message in quoted["messages"]}
    first.commit("r1", quoted)
    buy(second, "r2")
    assert buy(first, "r3", redeem=40_00)["redeemed"] == 40_00  # what this till holds, it may spend
    assert kinds(first) == ["REGISTER", "SALE", "SALE"]
    first.sync()
    second.sync()
    (card,) = Card.objects.all()
    assert not ledger.is_provisional(card.account)
    # 100 + 100 - 40 + 96, and the welcome once.
    assert balance(card.account) == 100_00 + 100_00 - 40_00 + 96_00 + 200_00
    assert Account.objects.filter(merged_into=None).count() == 1
    assert not Incident.objects.exists()
    for till in tills:  # each has heard whose card it is, and goes on with it
        assert till.ledger.owner(ledger.provisional_account(till.key_of(ANNA))) == card.account
        assert till.put("again", card=ANNA)["quote"]["earned"]["earn"] == 100_00
    buy(second, "r4", redeem="max")
    second.sync()
    assert kinds(second).count("REGISTER") == 1
    assert not Incident.objects.exists()


def test_both_tills_sync_before_either_hears_of_the_other(tills: tuple[RealTill, RealTill]) -> None:
    first, second = tills
    for till, sale_id in ((first, "r1"), (second, "r2"), (first, "r3"), (second, "r4")):
        buy(till, sale_id)
        if sale_id in ("r3", "r4"):
            till.sync()
    (card,) = Card.objects.all()
    assert balance(card.account) == 4 * 100_00 + 200_00
    assert not Incident.objects.exists()


def test_a_quote_made_for_the_provisional_account_is_paid_after_the_link(
    tills: tuple[RealTill, RealTill],
) -> None:
    first, _ = tills
    buy(first, "r1")
    held = first.put("r2", card=ANNA, redeem=50_00)
    first.sync()
    (card,) = Card.objects.all()
    first.commit("r2", held)
    assert first.ledger.own_change(card.account, 1, 0) == 100_00 + 200_00 - 50_00 + 95_00
    first.sync()
    assert balance(card.account) == 345_00
    first.void("r2")
    first.sync()
    assert balance(card.account) == 300_00
    assert not Incident.objects.exists()


def test_a_card_that_only_this_till_did_not_know_is_not_welcomed_again(
    tills: tuple[RealTill, RealTill], office: Office
) -> None:
    first, second = tills
    anna = office.member(ANNA, points="0")
    first.ask(ANNA)
    buy(first, "r1")
    first.sync()
    buy(second, "r2")  # it never heard of Anna
    second.sync()
    assert balance(anna) == 2 * 100_00 + 200_00
    second.void("r2")
    second.sync()
    assert balance(anna) == 100_00 + 200_00
    assert Balance.objects.get(account=anna).debt == 0


def test_a_card_is_registered_by_hand_once_and_answered_the_same(tills: tuple[RealTill, RealTill]) -> None:
    first, _ = tills
    assert lookup(first, BORIS)["registered"] is False
    answer = register(first, BORIS)
    assert (answer["found"], answer["registered"], answer["available_here"]) == (True, True, 0)
    assert BORIS not in str(answer)
    first.crash()
    first.link_is_down()
    assert register(first, BORIS) == answer
    buy(first, "r1", BORIS)
    assert kinds(first) == ["REGISTER", "SALE"]
    first.sync()
    assert Card.objects.count() == 1


def test_the_desk_waits_for_the_office_and_gives_a_known_card_its_state(
    tills: tuple[RealTill, RealTill], office: Office
) -> None:
    first, _ = tills
    office.member(ANNA, points="150.00", home="S1")
    first.link_is_up()
    ask = RegisterCard(CardBody(ANNA))
    first.till.handle(ask)
    assert not ask.reply.done()
    first.ask(ANNA)
    first.sync()
    state = ask.reply.result(0)
    assert (state["balance"], state["available_here"], state["registered"]) == (150_00, 135_00, True)
    assert kinds(first) == []


def test_the_desk_waits_a_second_and_no_longer(tills: tuple[RealTill, RealTill]) -> None:
    first, _ = tills
    first.link_is_up()
    ask = LookUpCard(CardBody(ANNA))
    first.till.handle(ask)
    first.clock_ms += 1_000
    first.till.ring()
    assert ask.reply.result(0)["registered"] is False


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("4111111111111111", "payment_card"),
        ("4600000000015", "not_a_card"),
        ("2900000000002", "card_unknown"),
    ],
)
def test_what_is_no_card_of_ours_is_refused_in_words(
    tills: tuple[RealTill, RealTill], number: str, code: str
) -> None:
    with pytest.raises(Problem) as refused:
        register(tills[0], number)
    assert (refused.value.code, refused.value.status) == (code, 409)
    assert kinds(tills[0]) == []


def test_a_card_that_does_not_register_itself_is_not_found(office: Office, tmp_path: Path) -> None:
    office.store()
    till = RealTill(office, tmp_path / "c", settings={**SETTINGS, "number_templates": TEMPLATES})
    for ask in (register, lookup):
        with pytest.raises(Problem) as refused:
            ask(till, ANNA)
        assert (refused.value.code, refused.value.status) == ("card_not_asked", 404)
    till.link_is_up()
    till.ask(ANNA)  # now the office has said that it does not know her
    for ask in (register, lookup):
        with pytest.raises(Problem) as refused:
            ask(till, ANNA)
        assert (refused.value.code, refused.value.status) == ("card_not_found", 404)
    assert till.put("r1", card=ANNA)["customer"]["found"] is False
    till.close()


def test_a_restored_office_hears_of_a_link_from_the_till_and_gives_the_number_to_nobody_else(
    tills: tuple[RealTill, RealTill], office: Office, tmp_path: Path
) -> None:
    first, second = tills
    backup = tmp_path / "backup.sqlite3"
    connections.close_all()
    shutil.copyfile(office.home.database, backup)
    buy(first, "r1")
    first.sync()
    lasting = Card.objects.get().account
    connections.close_all()
    shutil.copyfile(backup, office.home.database)
    timeline.begin_anew()
    buy(second, "r2")  # the same card; and nobody has told this till of the link
    second.sync()
    assert not Card.objects.exists()  # not before every till has spoken
    first.sync()
    second.sync()
    (card,) = Card.objects.all()
    assert card.account == lasting
    assert balance(lasting) == 2 * 100_00 + 200_00
    buy(first, "r3", BORIS)
    first.sync()
    assert Card.objects.exclude(account=lasting).get().account > lasting + 1
    assert not Incident.objects.exists()
