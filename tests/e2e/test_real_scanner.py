"""A recorded USB scanner types a card; the agent's sale has it. Real evdev, replayed by umockdev."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.demo.cash_program import CashProgram
from agent.demo.stage import Office, StageError, TillBox, wait_for
from tests.recordings.replay import CARD, RECORDED, SWIPE, UMOCKDEV_RUN, Recording

MILK = {"4600000000015": (8990, 1000)}
SWIPES = 3
TYPED_WITHIN_S = 10

pytestmark = pytest.mark.skipif(UMOCKDEV_RUN is None, reason="umockdev is not installed")


def issue(office: Office, directory: Path, number: str) -> None:
    """The programme issues a card with this number."""
    template = {
        "id": "cards", "what": "card", "media": ["barcode", "track2"], "length": len(number),
        "from": number, "to": number, "check": "ean",
        "track2": {"prefix": ";", "suffix": "?", "delimiter": "=", "block": 1},
    }  # fmt: skip
    (directory / "templates.json").write_text(json.dumps([template]))
    office.command("import", "templates", str(directory / "templates.json"))
    (directory / "more.csv").write_text(f"number,points\n{number},500.00\n")
    office.command("import", "members", str(directory / "more.csv"))


def scanned(till: TillBox) -> tuple[CashProgram, dict[str, Any]]:
    """Start the till with its scanner, and wait for the sale that has the card.

    The replay types in its own time. On a machine that is busy with other things it may pause inside a swipe
    for longer than any reader does, and two halves of a card are no card: then the customer swipes again.
    """
    for swipe in range(SWIPES):
        till.start()
        till.command("sync", "now")  # the centre is there to say whose card it is
        cash = CashProgram(till.state)

        def sold(cash: CashProgram = cash) -> dict[str, Any] | None:
            # The card may be scanned before the sale is there (it waits) or after (it joins).
            quoted = cash.quote("r1", MILK)
            return quoted if quoted["customer"] else None

        try:
            return cash, wait_for("the scanned card", sold, TYPED_WITHIN_S)
        except StageError:
            if swipe == SWIPES - 1:
                raise
            till.switch_off()
    raise AssertionError("unreachable")


@pytest.mark.parametrize(
    ("recording", "number"),
    [(CARD, "2000000012346"), (SWIPE, "2000000012346"), (RECORDED, "4006381333931")],
    ids=["our own scanner", "our own stripe reader", "the shared recording"],
)
def test_what_the_scanner_types_becomes_the_sales_card(
    office: Office,
    till: TillBox,
    tmp_path: Path,
    recording: Recording,
    number: str,
) -> None:
    if not recording.here:
        pytest.skip("the shared recordings do not lie beside this checkout")
    issue(office, tmp_path, number)
    till.command("sync", "now")  # the cards are known before a scanner is plugged in that types once
    till.switch_off()
    till.use_scanner(recording.url, recording.command)
    cash, quoted = scanned(till)
    customer = quoted["customer"]
    assert isinstance(customer, dict)
    assert customer["card"].endswith(number[-4:])
    assert customer["found"]
    cash.pay("r1", quoted)
    (entry,) = [till.command("ledger", "tail")]
    assert entry["account"] is not None
    assert number not in till.said()
