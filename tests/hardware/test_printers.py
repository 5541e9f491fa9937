"""A USB printer on a real kernel, by usblp and by libusb: found, printed on, pulled, held by others.

Its far end is our printer's head: it prints into a file and answers as a printer does.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.hardware.bed.guest import GuestError
from tests.hardware.conftest import FAR, HEARD, PYTHON, Till

PAPER = "/run/paper"
URLS = ["lp:04b8:0e15", "usb:04b8:0e15", "auto"]
PAPER_OUT, WELL = "0x38", "0x18"


def printer(till: Till, *more: str) -> None:
    """Somebody reads what the printer is sent, and answers."""
    command = f"exec {FAR} print printer {PAPER} {' '.join(more)}"
    till.do(f"setsid bash -c '{command}' > /run/printer.log 2>&1 & echo $! > /run/printer.pid")


def start(till: Till, url: str, slips: int = 1) -> None:
    """A printer of ours in the guest, and slips for it."""
    till.spawn(f"{PYTHON} /usr/local/lib/print_slips.py {HEARD} '{url}' {slips}", "print_slips")


def ended(till: Till, count: int) -> list[tuple[str, str]]:
    """How the slips ended, as soon as so many have: job and word, in the order it was said."""

    def look() -> list[tuple[str, str]] | None:
        found = [(event["job"], event["ended"]) for event in till.heard() if "ended" in event]
        return found if len(found) >= count else None

    result: list[tuple[str, str]] = till.wait_for(f"{count} ends", look)
    return result


def paper(till: Till) -> str:
    """What was printed, as letters."""
    return till.do(f"cat {PAPER} 2>/dev/null | iconv -f cp866 -t utf-8 2>/dev/null || true")


@pytest.mark.parametrize("url", URLS)
def test_a_slip_is_printed_and_proven(till: Till, url: str) -> None:
    printer(till)
    start(till, url)
    assert ended(till, 1) == [("1", "complete")]
    assert paper(till).count("Чек 1") == 1


@pytest.mark.parametrize("url", URLS)
def test_off_at_first_then_plugged_in_then_pulled_and_back(bare_till: Till, url: str) -> None:
    """The scanner's raw node takes a number of the printer's: it is lp1 or lp2, and nobody cares."""
    till = bare_till
    start(till, url, slips=2)
    assert ended(till, 2) == [("1", "waiting"), ("2", "waiting")]
    till.plug("pos", "printer")
    printer(till)
    assert ended(till, 4)[2:] == [("1", "complete"), ("2", "complete")]
    assert "/dev/usb/lp0" not in till.do("ls /dev/usb/lp*").split()


@pytest.mark.parametrize("url", URLS[:2])
def test_no_paper_and_a_new_roll(till: Till, url: str) -> None:
    """The port says that there is no paper: nothing is sent; then it is printed, once."""
    printer(till, "--status", PAPER_OUT)
    till.wait_for("the far end", lambda: till.run("pgrep -f 'print printer'").code == 0)
    start(till, url)
    assert ended(till, 1) == [("1", "waiting")]
    assert paper(till) == ""
    till.end("printer")
    printer(till, "--status", WELL)
    assert ended(till, 2)[1:] == [("1", "complete")]
    assert paper(till).count("Чек 1") == 1


@pytest.mark.parametrize("url", URLS[:2])
def test_pulled_while_a_slip_is_printed(till: Till, url: str) -> None:
    """It is unknown, and not printed again by itself; the next one comes out when the cable is back."""
    printer(till, "--mute")
    start(till, url)
    assert ended(till, 1) == [("1", "unknown")]
    till.unplug("printer")
    till.end("printer")
    till.plug("printer")
    printer(till)
    till.do(f"rm -f {PAPER}; echo 2 > /run/more")
    # Where the slip is quicker than the cable, it waits first.
    till.wait_for("the second slip", lambda: ended(till, 2)[-1] == ("2", "complete"))
    assert [end for end in ended(till, 2) if end not in (("1", "unknown"), ("2", "waiting"))] == [
        ("2", "complete")
    ]
    assert "Чек 1" not in paper(till)


def test_another_program_prints_on_it(till: Till) -> None:
    """Neither way steals it; both name who has it."""
    printer(till)
    till.do("setsid bash -c 'exec 3<>/dev/usb/lp*; exec -a cupsd sleep 999' > /dev/null 2>&1 & sleep 2")
    for url in URLS[:2]:
        start(till, url)
        assert ended(till, 1) == [("1", "waiting")]
        held = [event for event in till.heard() if event.get("state") == "busy"]
        assert held, till.heard()
        assert "is held by" in held[-1]["hint"]
        till.end("print_slips")


def test_usblp_has_its_printer_back_afterwards(till: Till) -> None:
    printer(till)
    before = till.do("ls /dev/usb/lp*").split()
    start(till, "usb:04b8:0e15")
    assert ended(till, 1) == [("1", "complete")]
    till.wait_for("usblp", lambda: till.run("ls /dev/usb/lp*").out.split() == before)


def test_what_it_says_it_is(till: Till) -> None:
    program = (
        "from agent.drivers.usb_link import UsbLink; from agent.drivers.link import parse_url;"
        "print(UsbLink(parse_url('usb:04b8:0e15')).device_id())"
    )
    told = till.do(f'{PYTHON} -c "{program}"')
    assert "MDL:TM-T20" in told


def test_the_list_names_everything(till: Till) -> None:
    rows: list[dict[str, Any]] = json.loads(
        till.do("/opt/kopilka/.venv/bin/kopilka-agent devices list --json")
    )
    found = {(row["kind"], row["url"]) for row in rows if row["likely"]}
    assert found == {
        ("keyboard", "evdev:by-path/platform-dummy_hcd.0-usb-0:1:1.0-event-kbd"),
        ("keyboard", "evdev:by-path/platform-dummy_hcd.1-usb-0:1:1.0-event-kbd"),
        ("hid_pos", "hidraw:usb-dummy_hcd.2-1/input0"),
        ("hid_msr", "hidraw:usb-dummy_hcd.3-1/input0"),
        ("serial", "serial:/dev/serial/by-path/platform-dummy_hcd.4-usb-0:1:1.0"),
        ("printer", "lp:04b8:0e15"),
    }
    if not all(row["allowed"] for row in rows):
        raise GuestError(f"root may use everything: {rows}")
