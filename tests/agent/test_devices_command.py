"""`kopilka-agent devices` and `doctor`: what store IT sees, and what is written into the box's file."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from click.testing import CliRunner, Result

from agent import devices_command
from agent.cli import main
from agent.config import load
from agent.drivers import plugged as plugged_devices
from agent.drivers.fakes.virtual_printer import VirtualPrinter
from agent.drivers.fakes.virtual_scanner import VirtualScanner
from agent.drivers.plugged import Plugged
from tests.recordings.replay import CARD, UMOCKDEV_RUN

PROGRAM = str(Path(sys.executable).with_name("kopilka-agent"))
EMPTY = '# the shop\'s own words\nstate_dir = "till"\nlanguage = "en"\n[api]\nport = 0\n'


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "till").mkdir()
    path = tmp_path / "agent.toml"
    path.write_text(EMPTY)
    return path


def run(box: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(box)], env={"KOPILKA_LANG": "en"})


@pytest.fixture
def scanner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualScanner]:
    """A serial scanner is plugged in."""
    with VirtualScanner(tmp_path / "scanner") as device:
        node = os.path.realpath(device.url.removeprefix("serial:"))
        found = [Plugged("serial", device.url, node, "Newland HR22", 0x1EAB, 6, "1-2", likely=True)]
        monkeypatch.setattr(plugged_devices, "plugged", lambda: found)
        yield device


def test_the_list_says_how_to_name_a_device(box: Path, scanner: VirtualScanner) -> None:
    (row,) = json.loads(run(box, "devices", "list", "--json").output)
    assert (row["kind"], row["url"], row["ids"]) == ("serial", scanner.url, "1eab:0006")
    assert (row["allowed"], row["configured"]) == (True, False)
    said = run(box, "devices", "list").output
    assert f'url = "{scanner.url}"' in said
    box.write_text(EMPTY + f'[[scanners]]\nurl = "{scanner.url}"\n')
    assert "in the configuration" in run(box, "devices", "list").output


def test_nothing_is_plugged_in(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugged_devices, "plugged", list)
    assert "nothing is plugged in" in run(box, "devices", "list").output
    refused = run(box, "devices", "learn")
    assert refused.exit_code == 1
    assert "plug it in" in refused.output


@pytest.mark.parametrize("suffix", ["\r", ""], ids=["with a suffix", "without"])
def test_the_scanner_that_is_scanned_with_is_bound(
    box: Path, scanner: VirtualScanner, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """The rest of the file stays as it was; a scanner without a suffix gets its silence."""
    first_scan = devices_command._first_scan

    def scanned(*ready: Any) -> Any:
        scanner.send(f"4607025392408{suffix}".encode())  # the readers are open
        return first_scan(*ready)

    monkeypatch.setattr(devices_command, "_first_scan", scanned)
    done = run(box, "devices", "learn", "--name", "counter")
    assert done.exit_code == 0, done.output
    assert "4607025392408" not in done.output
    assert box.read_text().startswith(EMPTY)
    (bound,) = load(box).scanners
    assert (bound.name, bound.url) == ("counter", scanner.url)
    assert bound.silence_ms == (None if suffix else devices_command.NO_SUFFIX_MS)


def test_nobody_scans(box: Path, scanner: VirtualScanner) -> None:
    assert scanner.url
    refused = run(box, "devices", "learn", "--seconds", "0")
    assert refused.exit_code == 1
    assert "nothing was scanned" in refused.output
    assert box.read_text() == EMPTY


def lines_of(stream: IO[str], into: queue.Queue[dict[str, Any]]) -> None:
    for line in stream:
        into.put(json.loads(line))


@pytest.mark.parametrize(
    ("sent", "kind", "shown"),
    [
        ("4607025392408", "goods", {"data": "4607025392408", "symbology": None}),
        ("]E04607025392408", "goods", {"data": "4607025392408", "symbology": "ean13"}),
        (";4539578763621486=29122017613948257?", "payment_card", {"masked": "…"}),
        ("%E?", "unreadable", {"masked": "…"}),
    ],
)
def test_each_scan_is_a_line(box: Path, tmp_path: Path, sent: str, kind: str, shown: dict[str, Any]) -> None:
    with VirtualScanner(tmp_path / "scanner") as device:
        box.write_text(EMPTY + f'[[scanners]]\nname = "counter"\nurl = "{device.url}"\n')
        command = [
            str(Path(sys.executable).with_name("kopilka-agent")),
            "devices",
            "watch",
            "--config",
            str(box),
        ]
        events: queue.Queue[dict[str, Any]] = queue.Queue()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            reader = threading.Thread(target=lines_of, args=(watching.stdout, events))
            reader.start()
            assert events.get(timeout=30)["state"] == "online"
            device.scan(sent)
            event = events.get(timeout=10)
            watching.terminate()
            reader.join()
    assert (event["device"], event["kind"]) == ("counter", kind)
    assert {key: event[key] for key in shown} == shown
    assert event["at"].startswith("20")


@pytest.mark.skipif(UMOCKDEV_RUN is None, reason="the Debian package umockdev is missing")
def test_a_recorded_keyboard_scanner_is_listed(box: Path) -> None:
    """umockdev's /sys through our reading of it."""
    command = CARD.command([PROGRAM, "devices", "list", "--json", "--config", str(box)])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert ("keyboard", "Kopilka Paper Scanner") in {(row["kind"], row["name"]) for row in found}


# ---- doctor


def examined(box: Path) -> dict[str, list[dict[str, Any]]]:
    report = json.loads(run(box, "doctor", "--json").output)
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in report["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return found


def test_every_fault_has_its_remedy(box: Path) -> None:
    box.write_text(
        EMPTY
        + '[[scanners]]\nname = "counter"\nurl = "serial:/dev/ttyACM77"\n'
        + '[printer]\nurl = "tcp:127.0.0.1:1"\n'
    )
    found = examined(box)
    assert found["scanner"][0]["level"] == found["printer"][0]["level"] == "fault"
    assert "plugged in" in found["scanner"][0]["remedy"]["en"]
    assert "address and port" in found["printer"][0]["remedy"]["en"]
    assert found["enrolment"][0]["level"] == "fault"
    assert found["agent"][0]["level"] == "warning"
    for findings in found.values():
        for finding in findings:
            assert finding["text"]["ru"], finding
            assert finding["level"] == "ok" or finding["remedy"], finding
    assert run(box, "doctor").exit_code == 1


def test_what_is_well_is_said_to_be(box: Path, tmp_path: Path) -> None:
    with VirtualScanner(tmp_path / "scanner") as device, VirtualPrinter() as printer:
        box.write_text(
            EMPTY
            + f'[[scanners]]\nname = "counter"\nurl = "{device.url}"\n'
            + f'[printer]\nurl = "{printer.url}"\nmodel = "rongta-rp326"\n'
        )
        found = examined(box)
    assert [found[check][0]["level"] for check in ("scanner", "printer", "disk")] == ["ok"] * 3
    assert "code page 7" in found["code_page"][0]["text"]["en"]


def test_secrets_that_others_can_read_are_a_fault(box: Path) -> None:
    key = box.parent / "till" / "till.key"
    key.write_text("x")
    key.chmod(0o644)
    (finding,) = examined(box)["secrets"]
    assert finding["remedy"]["en"] == f"chmod 600 {key}"
