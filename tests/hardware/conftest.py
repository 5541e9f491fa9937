"""`make test-hardware`: one guest for all of these tests, brought back to the same state for each.

Outside of `make test-hardware` nothing here runs: it needs QEMU and two minutes to build the guest.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hardware.bed.far_ends import DEVICES
from tests.hardware.bed.guest import Guest, GuestError
from tests.hardware.bed.image import CHECKOUT, image

collect_ignore_glob = [] if os.environ.get("KOPILKA_HARDWARE") else ["test_*.py"]

BED = Path(__file__).parent / "bed"
ROOMS = ("agent", "loyalty", "locale", "systemd")
PYTHON = "PYTHONPATH=/opt/kopilka:/opt/kopilka/site python3"
FAR = "python3 /usr/local/lib/far_ends.py"
HEARD = "/run/heard"
WAIT_S = 30.0
POLL_S = 0.2

KEYBOARD = "evdev:by-path/platform-dummy_hcd.0-usb-0:1:1.0-event-kbd"
TWIN = "evdev:by-path/platform-dummy_hcd.1-usb-0:1:1.0-event-kbd"
SERIAL = "serial:/dev/serial/by-path/platform-dummy_hcd.4-usb-0:1:1.0"


class Till:
    """The guest as a till's box with its devices."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.do, self.run = guest.do, guest.run

    def far(self, act: str, *words: str) -> str:
        """The far end of a cable does something."""
        return self.do(" ".join([FAR, act, *(f"'{word}'" for word in words)]))

    def plug(self, *names: str) -> None:
        """Cables are put in; returns when udev is done with them."""
        self.do(" && ".join([*(f"{FAR} plug {name}" for name in names), "udevadm settle"]))

    def unplug(self, *names: str) -> None:
        """Cables are pulled."""
        self.do(" && ".join(f"{FAR} unplug {name}" for name in names))

    def listen(self, *scanners: str, user: str = "") -> None:
        """Start scanners of ours (NAME=URL[,MODE]); `user`: a command that changes who runs them."""
        words = " ".join(f"'{scanner}'" for scanner in scanners)
        self.spawn(f"{user}{PYTHON} /usr/local/lib/listen.py {HEARD} {words}", "listen")

    def spawn(self, command: str, name: str) -> None:
        """Run something beside the test."""
        beside = f'setsid bash -c "{command}" > /run/{name}.log 2>&1 & echo $! > /run/{name}.pid'
        self.do(f"rm -f {HEARD}; touch {HEARD}; chmod 666 {HEARD}; {beside}")

    def end(self, name: str) -> None:
        """End what was spawned, with all it has started."""
        self.do(f"kill -- -$(cat /run/{name}.pid)")

    def heard(self) -> list[dict[str, Any]]:
        """All that our scanners have said."""
        return [json.loads(line) for line in self.do(f"cat {HEARD}").splitlines()]

    def scans(self, count: int) -> list[tuple[str, str]]:
        """Device and data of the scans, as soon as there are `count`."""

        def look() -> list[tuple[str, str]] | None:
            found = [(event["device"], event["data"]) for event in self.heard() if "data" in event]
            return found if len(found) >= count else None

        return self.wait_for(f"{count} scans", look)

    def state(self, device: str, state: str) -> dict[str, Any]:
        """The device's last word, as soon as it says `state`."""

        def look() -> dict[str, Any] | None:
            said = [event for event in self.heard() if event["device"] == device and "state" in event]
            return said[-1] if said and said[-1]["state"] == state else None

        return self.wait_for(f"{device} to be {state}", look)

    def wait_for(self, what: str, look: Any) -> Any:
        """Look again and again; a failure shows what there was instead."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            if found := look():
                return found
            time.sleep(POLL_S)
        said = self.run(f"cat {HEARD} /run/*.log").out[-2_000:]
        raise GuestError(f"waited in vain for {what}\n{said}\n{self.guest.console()}")


def checkout() -> bytes:
    """What is tested: the working tree's rooms, with their translations."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for room in ROOMS:
            tar.add(CHECKOUT / room, room, filter=lambda item: None if "__pycache__" in item.name else item)
    return packed.getvalue()


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """The guest with our checkout; its devices made and unplugged ("made"), and plugged in ("plugged")."""
    with Guest(image(), tmp_path_factory.mktemp("bed")) as guest:
        guest.put("/run/checkout.tar.gz", checkout())
        guest.do("tar -xzf /run/checkout.tar.gz -C /opt/kopilka && rm /run/checkout.tar.gz")
        guest.do(f"{PYTHON} -m compileall -q /opt/kopilka/agent /opt/kopilka/loyalty", 120)
        for file in ("far_ends.py", "listen.py", "print_slips.py"):
            guest.put(f"/usr/local/lib/{file}", (BED / file).read_bytes())
        guest.do(f"{FAR} setup")
        guest.save("made")
        guest.do(" && ".join([*(f"{FAR} plug {name}" for name in DEVICES), "udevadm settle", "sync"]))
        guest.save("plugged")
        yield guest


@pytest.fixture
def till(bed: Guest) -> Till:
    """Everything is plugged in, nothing runs."""
    bed.resume("plugged")
    return Till(bed)


@pytest.fixture
def bare_till(bed: Guest) -> Till:
    """Nothing is plugged in."""
    bed.resume("made")
    return Till(bed)


def pytest_configure() -> None:
    if os.environ.get("KOPILKA_HARDWARE"):
        subprocess.run(["qemu-system-x86_64", "--version"], check=True, capture_output=True)
