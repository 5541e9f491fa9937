"""HID POS scanners and HID card readers on a real kernel, by hidraw."""

from __future__ import annotations

from tests.agent.drivers.test_hid import OURS, magtek, report
from tests.hardware.conftest import Till

POS, STRIPE = "hidraw:0c2e:0200", "hidraw:usb-dummy_hcd.3-1/input0"
GOODS = "4607025392408"


def test_a_pos_scanner_says_the_symbology(till: Till) -> None:
    till.listen(f"counter={POS}")
    till.state("counter", "online")
    till.far("report", "pos", report(GOODS.encode()).hex(), report(b"card", b"]Q1").hex())
    assert till.scans(2) == [("counter", GOODS), ("counter", "card")]
    assert [event["symbology"] for event in till.heard() if "data" in event] == ["ean13", "qr"]


def test_a_card_reader_sends_the_whole_swipe_and_not_the_card_before(till: Till) -> None:
    till.listen(f"stripe={STRIPE}")
    till.state("stripe", "online")
    till.far("report", "stripe", bytes(magtek(b"", OURS)).hex())
    assert till.scans(1) == [("stripe", OURS.decode())]


def test_the_numbers_of_the_nodes_change_and_nobody_notices(till: Till) -> None:
    till.listen(f"counter={POS}", f"stripe={STRIPE}")
    till.state("counter", "online")
    till.state("stripe", "online")
    till.unplug("pos", "stripe")
    till.state("counter", "lost")
    till.state("stripe", "lost")
    till.plug("stripe", "pos")  # the other way round
    till.state("counter", "online")
    till.state("stripe", "online")
    till.far("report", "pos", report(GOODS.encode()).hex())
    assert till.scans(1) == [("counter", GOODS)]


def test_a_second_agent_is_kept_out(till: Till) -> None:
    till.listen(f"counter={POS}")
    till.state("counter", "online")
    till.do("mv /run/listen.pid /run/first.pid")
    till.listen(f"second={POS}")
    assert "is held by listen.py" in till.state("second", "busy")["hint"]
