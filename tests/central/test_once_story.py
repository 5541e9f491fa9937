"""What a customer may get once, two tills give at the same time; the office counts it once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from office import ANNA, TEMPLATES, Office
from real_till import RealTill

from central.ledger.models import Balance, Lot, OnceKey
from tests.agent.shop import RULEBOOK, SETTINGS

WELCOME = {
    "id": "welcome",
    "title": "За знакомство",
    "stage": "earn",
    "when": {"type": "counter", "name": "rule:welcome:ever", "max": 0},
    "effect": {"type": "earn_fixed", "points": 200_00},
}
DAILY = {
    "id": "daily",
    "stage": "earn",
    "when": {"type": "counter", "name": "rule:daily:day", "max": 0},
    "effect": {"type": "earn_fixed", "points": 10_00},
}
RULES = {**RULEBOOK, "rules": [WELCOME, DAILY]}
PROGRAMME = {**SETTINGS, "number_templates": TEMPLATES}


@pytest.fixture
def tills(office: Office, tmp_path: Path) -> Iterator[tuple[RealTill, RealTill, int]]:
    """Two tills of one store that know Anna, and her account; she has bought nothing yet."""
    office.store()
    anna = office.member(ANNA, points="0", home="S1")
    pair = [RealTill(office, tmp_path / name, rulebook=RULES, settings=PROGRAMME) for name in ("a", "b")]
    for till in pair:
        till.sync()
        till.ask(ANNA)
    yield pair[0], pair[1], anna
    for till in pair:
        till.close()


def sell(till: RealTill, sale_id: str) -> dict[str, Any]:
    return till.commit(sale_id, till.put(sale_id, card=ANNA))


def balance(account: int) -> int:
    row = Balance.objects.get(account=account)
    return row.held + row.debt


def test_two_tills_welcome_the_same_customer_and_it_counts_once(
    tills: tuple[RealTill, RealTill, int],
) -> None:
    first, second, anna = tills
    assert sell(first, "r1")["earned"] == 210_00
    assert sell(second, "r2")["earned"] == 210_00  # they cannot know of each other
    for till in (first, second):
        # Nobody spends it before the office has counted.
        assert till.ledger.parcel_points() == 0
    assert sell(first, "r3")["earned"] == 0  # one till can count, without anybody's help
    first.sync()
    second.sync()
    assert balance(anna) == 210_00
    assert set(OnceKey.objects.values_list("key", flat=True)) == {"welcome/ever", "daily/2026-01-01"}


def test_the_slip_and_the_answer_speak_of_the_rule_and_not_of_its_key(
    tills: tuple[RealTill, RealTill, int],
) -> None:
    first, _, _ = tills
    quoted = first.put("r1", card=ANNA)
    assert quoted["quote"]["earned"] == {"daily": 10_00, "welcome": 200_00}
    assert quoted["titles"]["welcome"] == "За знакомство"
    assert "welcome/ever" not in str(first.commit("r1", quoted))


@pytest.mark.parametrize("voided_before", ["the second syncs", "anybody syncs"])
def test_a_void_of_the_second_takes_nothing_more(
    tills: tuple[RealTill, RealTill, int], voided_before: str
) -> None:
    first, second, anna = tills
    sell(first, "r1")
    sell(second, "r2")
    first.sync()
    if voided_before == "the second syncs":
        second.sync()
    second.void("r2")
    second.sync()
    assert balance(anna) == 210_00
    assert Balance.objects.get(account=anna).debt == 0


@pytest.mark.parametrize("second_has_synced", [True, False])
def test_a_void_of_the_one_that_counted_keeps_the_key_used(
    tills: tuple[RealTill, RealTill, int], second_has_synced: bool
) -> None:
    """Else a welcome could be had again and again: buy, take the points, give the goods back."""
    first, second, anna = tills
    sell(first, "r1")
    sell(second, "r2")
    first.sync()
    if second_has_synced:
        second.sync()
    first.void("r1")
    first.sync()
    second.sync()
    row = Balance.objects.get(account=anna)
    # What had been placed with a till by then is owed, and what that till gives back will pay it.
    assert row.held + row.debt == 0
    assert sell(first, "r3")["earned"] == 0
    assert Lot.objects.filter(undone=True).count() == 2  # the second till's, of both rules


def test_the_next_day_is_another_day_and_the_welcome_is_over(
    tills: tuple[RealTill, RealTill, int], office: Office
) -> None:
    first, _, anna = tills
    sell(first, "r1")
    office.days_pass(1)
    first.time_passes(86_400)
    assert sell(first, "r2")["earned"] == 10_00
    first.crash()
    first.link_is_down()
    assert sell(first, "r3")["earned"] == 0  # also after a restart
    first.sync()
    assert balance(anna) == 220_00
    assert first.ask(ANNA) is not None
    assert sell(first, "r4")["earned"] == 0  # and once the office has told what it counts


def test_a_voided_sale_is_no_sale_for_a_limit_on_discounts(office: Office, tmp_path: Path) -> None:
    limited = {
        "id": "first-today",
        "stage": "receipt",
        "when": {"type": "counter", "name": "rule:first-today:day", "max": 0},
        "effect": {"type": "receipt_amount", "amount": 50_00},
    }
    office.store()
    office.member(ANNA, points="0")
    till = RealTill(office, tmp_path / "a", rulebook={**RULEBOOK, "rules": [limited]}, settings=PROGRAMME)
    till.sync()
    till.ask(ANNA)
    discounts = []
    for sale_id in ("r1", "r2", "r3"):
        quoted = till.put(sale_id, card=ANNA)
        discounts.append(quoted["quote"]["discount"])
        till.commit(sale_id, quoted)
        if sale_id == "r2":
            till.void("r1")
    assert discounts == [50_00, 0, 50_00]
    till.close()
