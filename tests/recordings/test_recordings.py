"""The real keyboard scanner code, fed by recorded scanners through a real python-evdev (umockdev)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.recordings.make import HERE, files
from tests.recordings.replay import CARD, RECORDED, SWIPE, UMOCKDEV_RUN, Recording

needs_umockdev = pytest.mark.skipif(UMOCKDEV_RUN is None, reason="the Debian package umockdev is missing")

# Runs under umockdev-run: our scanner thread, from opening the device to ScanData, as the agent uses it.
# The first argument is the URL, the second how many scans to wait for, the third the mode.
READ_SCANS = """
import json, queue, sys
from agent.drivers.contracts import DeviceState, ScanData
from agent.drivers.scanner import Options, open_scanner

events = queue.Queue()
scanner = open_scanner("counter", sys.argv[1], events.put, Options(mode=sys.argv[3]))
scanner.start()
states, scans = [], []
while len(scans) < int(sys.argv[2]):
    event = events.get(timeout=20)
    if isinstance(event, ScanData):
        scans.append([event.data, event.source])
    else:
        states.append(event.state if isinstance(event, DeviceState) else repr(event))
scanner.stop()
json.dump({"states": states, "scans": scans}, sys.stdout)
"""


def read(recording: Recording, mode: str = "own", scans: int = 1) -> dict[str, object]:
    command = [sys.executable, "-c", READ_SCANS, recording.url, str(scans), mode]
    done = subprocess.run(recording.command(command), capture_output=True, timeout=60, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@needs_umockdev
@pytest.mark.parametrize("mode", ["own", "listen"])
def test_a_card_typed_by_a_keyboard_scanner(mode: str) -> None:
    assert read(CARD, mode) == {"states": ["online"], "scans": [["2000000012346", "barcode"]]}


@needs_umockdev
def test_a_swipe_typed_in_two_lines() -> None:
    swipe = "%S2000000012346^KOPILKA/DEMO?;2000000012346=991210100000?"
    assert read(SWIPE) == {"states": ["online"], "scans": [[swipe, "track2"]]}


@needs_umockdev
@pytest.mark.skipif(not RECORDED.here, reason="the shared recordings do not lie beside this checkout")
def test_a_scanner_recorded_from_a_real_kernel() -> None:
    scans = [["%B1234^Ab?", "track2"], ["4006381333931", "barcode"]]
    assert read(RECORDED, scans=2) == {"states": ["online"], "scans": scans}


@pytest.mark.parametrize("name", sorted(files()))
def test_the_recordings_are_what_the_script_makes(name: str) -> None:
    assert (HERE / name).read_text() == files()[name]
