"""Keyboard scanners on a real kernel: grabbed, told apart, pulled in mid-scan, held by others, handed on."""

from __future__ import annotations

from tests.hardware.conftest import KEYBOARD, TWIN, Till

GOODS, CARD = "4607025392408", "2000000012346"
CONSOLE = "/run/tty1"


def watch_console(till: Till) -> None:
    """Keep what reaches the first virtual terminal, as a login there would get it."""
    till.do(
        f"chvt 1; stty -F /dev/tty1 raw -echo; setsid bash -c 'cat /dev/tty1 > {CONSOLE}' > /dev/null 2>&1 &"
    )


def console(till: Till) -> str:
    return till.do(f"cat {CONSOLE}")


def test_what_is_scanned_is_read_and_nothing_reaches_the_console(till: Till) -> None:
    watch_console(till)
    till.listen(f"counter={KEYBOARD}")
    till.state("counter", "online")
    till.far("type", "scanner", f"{GOODS}\\n")
    till.far("type", "scanner", "%B12^A/B?\\n")
    assert till.scans(2) == [("counter", GOODS), ("counter", "%B12^A/B?")]
    assert console(till) == ""


def test_without_the_grab_it_would_have_reached_the_console(till: Till) -> None:
    """The control of the test above: the same scan, only listened to."""
    watch_console(till)
    till.listen(f"counter={KEYBOARD},listen")
    till.state("counter", "online")
    till.far("type", "scanner", f"{GOODS}\\n")
    assert till.scans(1) == [("counter", GOODS)]
    assert till.wait_for("the console", lambda: console(till)).strip() == GOODS


def test_two_equal_scanners_stay_apart(till: Till) -> None:
    """Same maker, same name, no serial number; they are scanned with at the same time."""
    till.listen(f"left={KEYBOARD}", f"right={TWIN}")
    till.state("left", "online")
    till.state("right", "online")
    both = " & ".join(
        f"python3 /usr/local/lib/far_ends.py type {name} '{code}\\n' --report-ms 4"
        for name, code in (("scanner", GOODS * 2), ("twin", CARD * 2))
    )
    till.do(f"{both} & wait")
    assert sorted(till.scans(2)) == [("left", GOODS * 2), ("right", CARD * 2)]


def test_pulled_in_mid_scan_and_put_back(till: Till) -> None:
    """Half a code is no code; the scanner is back without anybody's help, under whatever number."""
    till.listen(f"counter={KEYBOARD}")
    till.state("counter", "online")
    till.far("type", "scanner", f"{GOODS}\\n", "--stop-after", "6")
    till.unplug("scanner")
    till.state("counter", "lost")
    till.unplug("twin")
    till.plug("twin")  # takes the number that is free now
    till.plug("scanner")
    till.state("counter", "online")
    till.far("type", "scanner", f"{CARD}\\n")
    assert till.scans(1) == [("counter", CARD)]


def test_off_when_the_till_starts(bare_till: Till) -> None:
    bare_till.listen(f"counter={KEYBOARD}")
    bare_till.state("counter", "lost")
    bare_till.plug("scanner")
    bare_till.state("counter", "online")
    bare_till.far("type", "scanner", f"{GOODS}\\n")
    assert bare_till.scans(1) == [("counter", GOODS)]


def test_another_program_has_grabbed_it(till: Till) -> None:
    """It is named; and taken when that program lets go."""
    till.do(
        'PYTHONPATH=/opt/kopilka/site setsid python3 -c "import evdev, time;'
        f" d = evdev.InputDevice('/dev/input/{KEYBOARD.removeprefix('evdev:')}'); d.grab(); time.sleep(999)\""
        " > /dev/null 2>&1 & echo $! > /run/thief.pid; sleep 3"
    )
    till.listen(f"counter={KEYBOARD}")
    held = till.state("counter", "busy")
    assert "is held by python3" in held["hint"]
    till.end("thief")
    till.state("counter", "online")


def test_goods_go_on_to_the_cash_program_and_the_card_stays(till: Till) -> None:
    """Mode forward: the console stands for the cash program that has the keyboard."""
    watch_console(till)
    till.listen(f"counter={KEYBOARD},forward")
    till.state("counter", "online")
    for code in (GOODS, CARD, "Ab-1"):
        till.far("type", "scanner", f"{code}\\n")
    assert till.scans(1) == [("counter", CARD)]
    assert till.wait_for("the goods", lambda: "Ab-1" in console(till) and console(till).split()) == [
        GOODS,
        "Ab-1",
    ]


def test_all_devices_lose_their_power_and_come_back(till: Till) -> None:
    """A hub without power: everything is gone at once, three times."""
    till.listen(f"left={KEYBOARD}", f"right={TWIN}")
    for _ in range(3):
        till.state("left", "online")
        till.state("right", "online")
        till.unplug("scanner", "twin")
        till.state("left", "lost")
        till.state("right", "lost")
        till.plug("scanner", "twin")
    till.state("left", "online")
    till.state("right", "online")
    till.far("type", "twin", f"{GOODS}\\n")
    assert till.scans(1) == [("right", GOODS)]


def test_a_node_that_has_its_rights_a_second_later(till: Till) -> None:
    """The kernel makes the node for root alone; udev gives it to its group afterwards."""
    node = till.do(f"readlink -f /dev/input/{KEYBOARD.removeprefix('evdev:')}").strip()
    till.do(f"chmod 600 {node}; chmod 777 /run")
    till.listen(f"counter={KEYBOARD}", user="setpriv --reuid nobody --regid input --clear-groups env ")
    till.state("counter", "denied")
    till.do(f"chmod 660 {node}")
    till.state("counter", "online")
    till.far("type", "scanner", f"{GOODS}\\n")
    assert till.scans(1) == [("counter", GOODS)]
