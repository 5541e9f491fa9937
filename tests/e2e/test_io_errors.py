"""A disk that lies: below SQLite reads, writes and syncs of a real till fail at random (libfiu).

What was answered is on the disk, once. What was refused was refused in words, has left nothing behind, and
is one sale when it is asked for again.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from agent.demo.cash_program import CashProgram
from agent.demo.stage import TillBox, wait_for
from tests.e2e.test_returns import CARD, MILK

# What SQLite calls and Python's imports do not: it is the disk of the data that fails.
FAULTS = ("posix/io/rw/pread*", "posix/io/rw/pwrite*", "posix/io/sync/*")
PROBABILITY = 0.02
SALES = 60
IN_WORDS = ("disk_full", "ledger_fault")

pytestmark = pytest.mark.skipif(
    shutil.which("fiu-run") is None, reason="needs Debian's fiu-utils (scripts/setup.sh installs it for root)"
)


class Disk:
    """The disk under one process."""

    def __init__(self, till: TillBox, fifo: Path) -> None:
        self._till = till
        self._fifo = fifo

    def fails_at_random(self) -> None:
        for fault in FAULTS:
            self._say(f"enable_random name={fault},probability={PROBABILITY}")

    def is_mended(self) -> None:
        for fault in FAULTS:
            self._say(f"disable name={fault}")

    def _say(self, word: str) -> None:
        subprocess.run(["fiu-ctrl", "-f", self._fifo, "-c", word, str(self._till.pid)], check=True)


@pytest.fixture
def disk(till: TillBox, tmp_path: Path) -> Disk:
    """The till runs on, on a disk that can be told to fail."""
    till.switch_off()
    fifo = tmp_path / "fiu"
    till.use_scanner(till.scanner.url, lambda words: ["fiu-run", "-x", "-f", str(fifo), *words])
    till.start()
    return Disk(till, fifo)


@pytest.mark.timeout(300)
def test_a_disk_that_fails_now_and_then_loses_nothing_and_doubles_nothing(till: TillBox, disk: Disk) -> None:
    cash = CashProgram(till.state)
    answered: set[str] = set()
    refused: list[str] = []
    disk.fails_at_random()
    for n in range(SALES):
        sale_id = f"r{n}"
        try:
            sell(cash, sale_id)
            answered.add(sale_id)
        except RuntimeError as error:
            if str(error).partition(":")[0] not in IN_WORDS:
                raise
            refused.append(sale_id)
    print(f"{len(answered)} sales were answered, {len(refused)} refused")
    assert answered
    assert refused, "the disk has never failed"

    disk.is_mended()
    for sale_id in refused:
        sell(cash, sale_id)
    assert till.command("ledger", "verify")["entries"] >= SALES
    till.command("sync", "now")
    with closing(sqlite3.connect(f"file:{till.state}/ledger.db?mode=ro", uri=True)) as file:
        rows = file.execute("SELECT sale_id FROM document").fetchall()
    assert sorted(sale_id for (sale_id,) in rows) == sorted([*answered, *refused])
    wait_for("the office to have everything", lambda: till.command("status")["pending"] == 0)


def sell(cash: CashProgram, sale_id: str) -> None:
    cash.pay(sale_id, cash.quote(sale_id, {MILK: (8990, 1000)}, card=CARD, redeem="max"))
