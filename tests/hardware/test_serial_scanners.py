"""Serial scanners (USB-CDC) on a real kernel."""

from __future__ import annotations

from tests.hardware.conftest import SERIAL, Till

GOODS = "4607025392408"


def sent(text: str) -> str:
    return text.encode().hex()


def test_every_suffix_a_scanner_may_have(till: Till) -> None:
    till.listen(f"counter={SERIAL}")
    till.state("counter", "online")
    for suffix in ("\r", "\n", "\r\n", "\x03", ""):
        till.far("send", "serial", sent(("\x02" if suffix == "\x03" else "") + GOODS + suffix))
    assert till.scans(5) == [("counter", GOODS)] * 5


def test_it_comes_back_under_its_own_name(till: Till) -> None:
    """A descriptor that is kept open would make it ttyACM1."""
    till.listen(f"counter={SERIAL}")
    till.state("counter", "online")
    till.unplug("serial")
    till.state("counter", "lost")
    till.plug("serial")
    till.state("counter", "online")
    assert till.do("ls /dev/ttyACM*").split() == ["/dev/ttyACM0"]
    till.far("send", "serial", sent(f"{GOODS}\r"))
    assert till.scans(1) == [("counter", GOODS)]


def test_a_second_reader_is_kept_out_and_named(till: Till) -> None:
    till.listen(f"counter={SERIAL}")
    till.state("counter", "online")
    nobody = till.run("setpriv --reuid nobody --regid dialout --clear-groups cat /dev/ttyACM0")
    assert "busy" in nobody.err.lower()
    till.do("mv /run/listen.pid /run/first.pid")
    till.listen(f"second={SERIAL}")
    assert "is held by listen.py" in till.state("second", "busy")["hint"]
