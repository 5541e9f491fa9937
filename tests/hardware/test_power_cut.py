"""The plug is pulled while the till sells: every sale that was answered is there afterwards.

The disk has a volatile write cache (bed/disk.py). The power of the whole guest is cut, again and again on the
same disk; once what was not flushed is lost whole, once a half of it is torn out. Beside it the same disk
under SQLite with `synchronous = NORMAL`, which must lose rows: a bed that cannot lose any proves nothing.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import msgspec
import pytest

from agent.offline.ledger_db import LedgerDb
from agent.state import StateDir
from bench.devices import stage
from loyalty.wire import EnrollReply
from tests.hardware.bed.disk import DiskServer, VolatileDisk
from tests.hardware.bed.guest import Guest
from tests.hardware.conftest import BED, PYTHON

DISK_MB = 48
SALES, ROWS = 40, 300
SETTINGS = {
    "format": 1,
    "store": {"id": "S1", "name": "Магазин"},
    "offsets": [[0, 180]],
    "channels": {"rulebook": "rulebook.all", "catalog": "catalog.all"},
}
NETWORK = (
    "dev=$(ls /sys/class/net | grep -v lo | head -1);"
    " ip link set $dev up; ip addr replace 10.0.2.15/24 dev $dev"
)
HOST = "10.0.2.2"


@pytest.fixture
def platter(tmp_path: Path) -> bytes:
    """A file system with a till in it that knows its shop and has no link."""
    directory = tmp_path / "data"
    state = StateDir(directory / "till")
    state.make()
    state.make_key()
    state.save_chain_key(bytes(32))
    ledger = LedgerDb(state.ledger)
    ledger.enrol(
        EnrollReply("T1", 1, "S1", "s0", 1, bytes(32), bytes(32), {"k1": bytes(32)}, 1, 0),
        "http://127.0.0.1:9",
    )
    ledger.close()
    stage(state.snapshot, {"settings.S1": ("settings.json", msgspec.json.encode(SETTINGS))})
    (directory / "agent.toml").write_text('state_dir = "till"\nlanguage = "en"\n[api]\nport = 0\n')
    image = tmp_path / "data.img"
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", str(directory), str(image), f"{DISK_MB}M"], check=True
    )
    return image.read_bytes()


class Bench:
    """The guest on this disk, from power-on to power cut."""

    def __init__(self, guest: Guest, disk: VolatileDisk, directory: Path) -> None:
        self.guest, self.disk = guest, disk
        self._directory = directory
        self._times = 0

    @contextmanager
    def power(self, random: Random | None) -> Iterator[Guest]:
        """The guest runs with the disk mounted at /data; at the end its power fails."""
        self.guest.cut_power()
        self._times += 1
        path = self._directory / f"disk{self._times}"
        server = DiskServer(self.disk, path)
        self.guest.boot("made")
        try:
            self.guest.add_disk(f"data{self._times}", str(path))
            name = f"/dev/disk/by-id/virtio-data{self._times}"
            self.guest.do(f"mkdir -p /data; until [ -e {name} ]; do sleep 0.1; done; mount {name} /data")
            self.guest.do(NETWORK)
            yield self.guest
        finally:
            self.guest.cut_power()
            self.disk.cut(random)
            server.close()


def answered(guest: Guest, command: str, count: int) -> list[str]:
    """Start a program in the guest; what it has told of when there are `count`, and it goes on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        guest.do(f"setsid bash -c '{command.format(host=HOST, port=port)}' > /run/seller.log 2>&1 &")
        listener.settimeout(120)
        wire, _ = listener.accept()
        wire.settimeout(120)
        with wire, wire.makefile("r") as lines:
            return [lines.readline().split()[0] for _ in range(count)]


@pytest.fixture
def bench(bed: Guest, platter: bytes, tmp_path: Path) -> Iterator[Bench]:
    yield Bench(bed, VolatileDisk(platter), tmp_path)
    bed.cut_power()
    bed.boot("made")


PUT = {name: (BED / name).read_bytes() for name in ("sell.py", "insert.py")}
AGENT = "setsid /opt/kopilka/.venv/bin/kopilka-agent run --config /data/agent.toml > /run/agent.log 2>&1 &"
VERIFY = "/opt/kopilka/.venv/bin/kopilka-agent ledger verify --config /data/agent.toml"
SELL = PYTHON + " /usr/local/lib/sell.py {{host}} {{port}} {first}"
MISSING = """
import sys
from pathlib import Path
from agent.offline.ledger_reader import Reader
reader = Reader.open(Path("/data/till/ledger.db"))
print(" ".join(sale for sale in sys.argv[1:] if reader.sale_entry(sale) is None))
"""


@pytest.mark.parametrize("torn", [False, True], ids=["lost", "torn"])
def test_every_answered_sale_is_there_after_the_power_cut(bench: Bench, torn: bool) -> None:
    random = Random(20_261_127) if torn else None
    sales: list[str] = []
    for round_ in range(2):
        with bench.power(random) as guest:
            guest.put("/usr/local/lib/sell.py", PUT["sell.py"])
            guest.do(AGENT)
            guest.do("until grep -q 'is open; API on' /run/agent.log; do sleep 0.2; done", 120)
            sales += answered(guest, SELL.format(first=round_ * 100_000), SALES)
    assert bench.disk.flushes > SALES
    with bench.power(None) as guest:
        missing = guest.do(f"{PYTHON} -c '{MISSING}' {' '.join(sales)}").split()
        verified = guest.do(
            "/opt/kopilka/.venv/bin/kopilka-agent ledger verify --config /data/agent.toml", 120
        )
    assert missing == []
    assert "none is missing" in verified


def test_without_full_sync_rows_would_be_lost(bench: Bench) -> None:
    """The control."""
    with bench.power(None) as guest:
        guest.put("/usr/local/lib/insert.py", PUT["insert.py"])
        rows = answered(guest, "python3 /usr/local/lib/insert.py {host} {port} NORMAL", ROWS)
    look = (
        "import sqlite3, sys; d = sqlite3.connect('/data/rows.db');"
        "print(*[r for r in sys.argv[1:] if not d.execute('SELECT 1 FROM sqlite_master').fetchone()"
        " or not d.execute('SELECT 1 FROM row WHERE id = ?', (r,)).fetchone()])"
    )
    with bench.power(None) as guest:
        lost = guest.do(f'python3 -c "{look}" {" ".join(rows)}').split()
    assert lost
