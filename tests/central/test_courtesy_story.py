"""Two shops that are cut off lend to one customer; the office nets it, and nobody loses more than K each."""

from __future__ import annotations

from pathlib import Path

import pytest
from office import ANNA, TEMPLATES, Office
from real_till import RealTill

from central.intake.models import Incident
from central.ledger.models import FREE, Balance, Share
from tests.agent.shop import SETTINGS


@pytest.mark.parametrize("k", [0, 300_00])
def test_what_cut_off_tills_lend_is_at_most_k_each_and_is_paid_from_what_is_free(
    office: Office, tmp_path: Path, k: int
) -> None:
    programme = {**SETTINGS, "number_templates": TEMPLATES, "courtesy_points": k}
    office.store("S1")
    office.store("S2")
    anna = office.member(ANNA, points="500.00", home="S1")
    tills = [
        RealTill(office, tmp_path / name, store=store, settings=programme)
        for name, store in (("a", "S1"), ("b", "S2"), ("c", "S2"))
    ]
    for till in tills:
        till.ask(ANNA)
        till.sync()
    assert tills[0].ledger.parcel_points() == 450_00
    paid = [till.commit("r", till.put("r", card=ANNA, redeem="max"))["redeemed"] for till in tills]
    assert paid == [450_00, min(k, 450_00), min(k, 450_00)]
    for till in tills:
        till.sync()
    row = Balance.objects.get(account=anna)
    earned_for_later = -row.issued
    assert row.held + row.debt == 500_00 + earned_for_later - sum(paid)
    # Whatever was free has paid: nobody owes while points of theirs lie at the office.
    assert row.debt == 0 or not Share.objects.filter(holder=FREE).exists()
    assert max(0, sum(paid) - 500_00) <= 2 * k
    assert not Incident.objects.exists()
    for till in tills:
        till.close()
