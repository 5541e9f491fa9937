"""A card that is used too often at a till: the office hears of it with the next sync."""

from __future__ import annotations

from pathlib import Path

from office import ANNA, TEMPLATES, Office
from real_till import RealTill

from central.console import incidents
from central.intake.models import Incident
from tests.agent.shop import SETTINGS


def test_the_office_is_told_of_a_limit_once_a_sale(office: Office, tmp_path: Path) -> None:
    programme = {
        **SETTINGS, "number_templates": TEMPLATES, "limits": {"card_per_shift": {"soft": 1, "hard": 2}},
    }  # fmt: skip
    office.store("S1")
    office.member(ANNA, points="500.00", home="S1")
    till = RealTill(office, tmp_path / "a", settings=programme)
    till.ask(ANNA)
    till.sync()
    for sale_id in ("r1", "r2", "r3"):  # well, with an alert, without the card
        till.commit(sale_id, till.put(sale_id, card=ANNA, operator="Иванова"))
    till.sync()
    till.sync()
    assert [(one.seq, one.code) for one in Incident.objects.order_by("seq")] == [(2, "LIMIT"), (3, "LIMIT")]
    assert all("limit" in line.word for line in incidents.newest())
    till.close()
