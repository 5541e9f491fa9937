"""The till's clock has gone wrong, and the office answers: with its word points are spent."""

from __future__ import annotations

from pathlib import Path

from office import ANNA, TEMPLATES, Office
from real_till import RealTill

from loyalty.ledger import FLAG_CLOCK
from tests.agent.shop import SETTINGS


def test_a_claim_for_nothing_is_answered_with_the_time(office: Office, tmp_path: Path) -> None:
    office.store()
    office.member(ANNA, points="500.00", home="S1")
    till = RealTill(office, tmp_path / "a", settings={**SETTINGS, "number_templates": TEMPLATES})
    till.ask(ANNA)
    till.sync()
    till.wall_s = 0
    till.crash()
    till.link_is_up()
    till.ask(ANNA)
    asked = till.put_later("r1", card=ANNA, redeem=100_00)
    till.claims_are_answered()
    quoted = asked.reply.result(0)
    assert quoted["quote"]["redeemed"] == 100_00
    till.commit("r1", quoted)
    assert FLAG_CLOCK in till.ledger.entries(1)[0][0].flags
    till.close()
