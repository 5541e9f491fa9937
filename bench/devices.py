"""`make bench-devices`: how soon a scan is in the inbox, what a slip costs, how soon a till reads, its size.

The idea
--------
**A scan.** Another process types key events, a report a millisecond, into a pipe that python-evdev reads as
it reads a device (there is no uinput on every machine; the kernel's own part is the same for both sides). In
turns it is read by a bare loop (`select`, `InputDevice.read`, nothing else) and by a scanner of ours, decoded
and posted to an inbox, from which another thread takes it as the till does. The clock runs from the report
with Enter until the bare loop has it, or until the scan is in the inbox.

**A slip** of ten lines, encoded: bytes and time.

**A till** with a million cards and a thousand rules is started as a process: how long until its scanner is
open, and how much memory it has after a hundred quotes.
"""

from __future__ import annotations

import os
import queue
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from unittest import mock

import click
import evdev
import msgspec

from agent.drivers.contracts import ScanData
from agent.drivers.document import Cut, Document, Line
from agent.drivers.escpos_doc import PrinterProfile, encode
from agent.drivers.escpos_status import ASK_PROCESSED
from agent.drivers.fakes.virtual_scanner import VirtualScanner
from agent.drivers.msr import Scan
from agent.drivers.scanner import Mode, Options, open_scanner
from agent.inbox import Inbox
from agent.offline.ledger_db import LedgerDb
from agent.offline.snapshot_db import SnapshotDb
from agent.pos_client import PosClient
from agent.state import StateDir
from bench import api_till, report, workload
from bench.figures import Bound
from bench.timing import Samples
from loyalty import card
from loyalty.manifest import FORMAT, FileRef, Manifest
from loyalty.manifest import encode as encode_manifest
from loyalty.wire import EnrollReply, Member

PAGE = Path(__file__).parents[1] / "docs" / "bench-devices.md"
RUN = "bench-devices"
TURNS = 4
MEDIAN_US, P99_US = 150, 1_000
SLIP_MS, SLIP_BYTES = 1.0, 400
START_S, MEMORY_MB = 0.5, 64
CARDS, RULES, GOODS = 1_000_000, 1_000, 10_000
QUOTES = 100
ENTER_DOWN = (evdev.ecodes.EV_KEY, evdev.ecodes.KEY_ENTER, 1)


# ---- a scan


class PipeDevice(evdev.InputDevice):  # type: ignore[type-arg]
    """python-evdev's own reading of events, from a pipe instead of a device file."""

    def __init__(self, descriptor: int) -> None:
        self.fd = descriptor
        os.set_blocking(descriptor, False)

    def __del__(self) -> None:
        """The pipe is the bench's."""

    def close(self) -> None:
        """Nothing to do."""

    def grab(self) -> None:
        """A pipe has one reader."""

    def active_keys(self, verbose: bool = False) -> list[int]:
        del verbose
        return []

    def leds(self, verbose: bool = False) -> list[int]:
        del verbose
        return []


@contextmanager
def typing(scans: int, seed: int) -> Iterator[tuple[int, Callable[[], list[int]]]]:
    """A pipe that scans are typed into from now on, and how to learn when each Enter was written."""
    read_end, write_end = os.pipe()
    command = [sys.executable, "-m", "bench.typist", str(write_end), str(scans), str(seed)]
    with subprocess.Popen(command, pass_fds=[write_end], stdout=subprocess.PIPE, text=True) as typist:
        os.close(write_end)
        yield read_end, lambda: [int(line) for line in typist.communicate()[0].split()]
    os.close(read_end)


def bare(scans: int, seed: int) -> list[int]:
    """The least that can be done: when each scan's Enter was read, less when it was written."""
    read_ns: list[int] = []
    with typing(scans, seed) as (pipe, entered):
        device = PipeDevice(pipe)
        while len(read_ns) < scans:
            select.select([pipe], [], [])
            for event in device.read():
                if (event.type, event.code, event.value) == ENTER_DOWN:
                    read_ns.append(time.monotonic_ns())  # noqa: PERF401 - when it was read, not later
        return [got - was for got, was in zip(read_ns, entered(), strict=True)]


def ours(scans: int, seed: int, mode: Mode) -> list[int]:
    """The same through a scanner of ours: when each scan was in the inbox."""
    posted_ns: list[int] = []
    inbox = Inbox()
    done = threading.Event()

    def post(event: Any) -> None:
        inbox.post(event)
        if isinstance(event, ScanData):
            posted_ns.append(time.monotonic_ns())
            if len(posted_ns) == scans:
                done.set()

    def keeps(scan: Scan) -> bool:
        card.read(scan.text, scan.source, (), scan.symbology)
        return True

    def take() -> None:
        while inbox.take(1.0) is not None or not done.is_set():
            pass

    till = threading.Thread(target=take)
    till.start()
    with typing(scans, seed) as (pipe, entered), _in_place_of_devices(pipe):
        way_on = Path(tempfile.mkdtemp()) / "pty" if mode == "forward" else None
        options = Options(mode=mode, repeat_ms=0, forward_to=way_on)
        scanner = open_scanner("bench", "evdev:/dev/input/event0", post, options, keeps)
        scanner.start()
        done.wait()
        scanner.stop()
        times = entered()
    till.join()
    return [got - was for got, was in zip(posted_ns, times, strict=True)]


@contextmanager
def _in_place_of_devices(pipe: int) -> Iterator[None]:
    with mock.patch.object(evdev, "InputDevice", return_value=PipeDevice(pipe)):
        yield


def measure_scans(scans: int) -> dict[str, Samples]:
    """In turns: bare, own, forward."""
    found = {"bare": Samples(), "own": Samples(), "forward": Samples()}
    for turn in range(TURNS):
        found["bare"].ns += bare(scans // TURNS, turn)
        found["own"].ns += ours(scans // TURNS, turn, "own")
        found["forward"].ns += ours(scans // TURNS, turn, "forward")
    return found


# ---- a slip

SLIP: Document = (
    Line("Магазин у дома", bold=True, align="center"),
    Line("27.11.2026 12:04   Карта ...0015"),
    Line("Молоко 3,2%                          89,90"),
    Line("Скидка: молочное 10%                 -8,99"),
    Line("Списано баллов                      -40,00"),
    Line("К оплате                             40,91", bold=True),
    Line("Начислено 4,00, действуют с 28.11"),
    Line("Баланс на 12:00                     215,50"),
    Line("Сгорит 31.12                         15,00"),
    Line("T1-1-7-89880b"),
    Cut(),
)


def measure_slip(rounds: int) -> tuple[int, Samples]:
    """Bytes of the slip, and the times of making them."""
    profile, samples, size = PrinterProfile(), Samples(), 0
    for _ in range(rounds):
        began = time.perf_counter_ns()
        size = len(encode(SLIP, profile, ASK_PROCESSED).data)
        samples.ns.append(time.perf_counter_ns() - began)
    return size, samples


# ---- a till


def furnish(directory: Path, cards: int) -> tuple[Path, VirtualScanner]:
    """A till that knows `cards` cards, RULES rules and GOODS goods, with nobody to sync with."""
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
    drawn = workload.draw([RULES], [20], 10)
    skus = {sku: {"name": sku, "unit": "шт", **goods} for sku, goods in drawn.catalog["skus"].items()}
    catalog = {"format": 1, "currency": "RUB", "categories": drawn.catalog["categories"], "skus": skus}
    stage(
        state.snapshot,
        {
            "settings.S1": ("settings.json", msgspec.json.encode(api_till.SETTINGS)),
            "rulebook.all": ("rulebook.json", drawn.rulebooks[RULES].encode()),
            "catalog.all": ("catalog.json", msgspec.json.encode(catalog)),
        },
        cards,
    )
    scanner = VirtualScanner(directory / "scanner")
    config = directory / "agent.toml"
    config.write_text(
        f'state_dir = "till"\n[api]\nport = 0\n[[scanners]]\nurl = "{scanner.url}"\n'
        '[printer]\nurl = "tcp:127.0.0.1:9"\n',
        encoding="utf-8",
    )
    return config, scanner


def stage(snapshot: Path, contents: dict[str, tuple[str, bytes]], cards: int = 0) -> None:
    """A snapshot.db with these channels in force (name -> file name and content), and so many members."""
    shelf = SnapshotDb(snapshot)
    for channel, (name, content) in contents.items():
        ref = FileRef(sha256(content).hexdigest(), len(content))
        manifest = Manifest(FORMAT, channel, 1, None, 1, 0, 2**40, 2**40, {name: ref}, 1)
        shelf.stage(manifest, encode_manifest(manifest), {name: content})
        shelf.point(channel, 1)
    body = msgspec.msgpack.Encoder()
    with shelf._writing():
        shelf._db.executemany(
            "INSERT INTO member VALUES (?, ?, 0)",
            ((n, body.encode(Member(n, tier="silver", balance=100 * n))) for n in range(cards)),
        )
        shelf._db.executemany("INSERT INTO card VALUES (?, ?)", ((n * 7_919, n) for n in range(cards)))
    shelf.close()


def start_till(config: Path) -> tuple[float, float]:
    """Seconds from the start of the process to an open scanner; MB that it has after QUOTES quotes."""
    command = [str(Path(sys.executable).with_name("kopilka-agent")), "run", "--config", str(config)]
    # As the unit has it, and with compiled modules as pip leaves them, whatever this shell says.
    environment = {
        **os.environ,
        "MALLOC_ARENA_MAX": "1",
        "PYTHONPYCACHEPREFIX": str(config.parent / "compiled"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as agent:
        said: queue.Queue[str] = queue.Queue()
        assert agent.stderr is not None
        reader = threading.Thread(target=_hand_over, args=(agent.stderr, said))
        reader.start()
        try:
            _wait_for(said, "scanner scanner: online")
            opened_s = time.monotonic() - began
            _wait_for(said, "is open; API on")
            client = PosClient(config.parent / "till")
            for number in range(QUOTES):
                lines = api_till.bodies()[number]["lines"] if number < QUOTES else []
                client.quote(f"r{number}", lines)
                client.void(f"r{number}", "bench")
            status = Path(f"/proc/{agent.pid}/status").read_text()
        finally:
            agent.terminate()
            agent.wait()
            reader.join()
    kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return opened_s, kilobytes / 1024


def _hand_over(lines: IO[str], said: queue.Queue[str]) -> None:
    for line in lines:
        said.put(line)


def _wait_for(said: queue.Queue[str], words: str) -> None:
    while words not in said.get(timeout=60):
        pass


# ---- all of it


def tables(
    scans: dict[str, Samples], slip: tuple[int, Samples], tills: list[tuple[float, float]]
) -> tuple[str, list[Bound]]:
    """The page's part, and its bounds."""
    least, size = scans["bare"], slip[0]
    rows = [[name, *(f"{us:,.0f}" for us in (s.median_us, s.p99_us, s.at(1)))] for name, s in scans.items()]
    bounds = []
    for mode in ("own", "forward"):
        more = scans[mode].median_us - least.median_us
        bounds.append(Bound(f"a scan in mode {mode}: median above the bare read", more, MEDIAN_US, unit="µs"))
        more = scans[mode].p99_us - least.p99_us
        bounds.append(Bound(f"a scan in mode {mode}: p99 above the bare read", more, P99_US, unit="µs"))
    bounds += [
        Bound("a slip of ten lines: median", slip[1].median_us / 1_000, SLIP_MS, unit="ms", strict=True),
        Bound("a slip of ten lines", size, SLIP_BYTES, unit="bytes"),
        Bound(
            "from the start of the process to an open scanner", min(s for s, _ in tills), START_S, unit="s"
        ),
        Bound(
            f"memory with {CARDS:,} cards and {RULES:,} rules",
            max(mb for _, mb in tills),
            MEMORY_MB,
            unit="MB",
        ),
    ]
    preface = f"{report.machine()}, Python {sys.version.split()[0]}: {len(least.ns)} scans each."
    figures = report.table(["from Enter to the inbox", "median µs", "p99 µs", "slowest µs"], rows)
    return "\n\n".join([preface, figures, report.bounds_table(bounds)]), bounds


@click.command()
@click.option("--scans", default=1_000, show_default=True, help="How many, of each kind.")
@click.option("--cards", default=CARDS, show_default=True, help="How many the till knows.")
@click.option("--starts", default=3, show_default=True, help="How often the till is started.")
@click.option("--strict", is_flag=True, help="End with 1 where a bound is missed.")
@click.option("--write", is_flag=True, help="Put the tables into docs/bench-devices.md.")
def main(scans: int, cards: int, starts: int, strict: bool, write: bool) -> None:
    """Time scanners, slips and the start of a till; best on a machine that does nothing else."""
    with tempfile.TemporaryDirectory() as made:
        timed = measure_scans(scans)
        slip = measure_slip(500)
        config, scanner = furnish(Path(made), cards)
        with scanner:
            start_till(config)  # this one compiles
            tills = [start_till(config) for _ in range(starts)]
    text, bounds = tables(timed, slip, tills)
    click.echo(text)
    if write:
        report.replace_in_page({"figures": text}, PAGE, RUN)
    if strict and not all(bound.ok for bound in bounds):
        sys.exit(1)


if __name__ == "__main__":
    main()
