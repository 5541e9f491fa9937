"""`make bench-api`: how soon the till answers a cash program, and what it does when asked ten times too much.

The idea
--------
Quotes of 20 lines under 1,000 rules are asked for at a steady rate over kept connections, from another
process, by the clock and not by the answers (an answer that is late makes the next one later still, and that
counts). The time of a quote runs from the moment it was due until its last byte is here. It is held against
the engine's own time for the same receipts, measured in the same run, in the till's process, before.

Then ten times as many are asked. What is too much must be refused at once with 503; meanwhile a cash program
sells on, and every sale it was told of must be there at the end, once.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import msgspec

from bench import api_till, report
from bench.figures import Bound
from bench.timing import Samples

PAGE = Path(__file__).parents[1] / "docs" / "bench-api.md"
RUN = "bench-api"
HEADING = "The loopback API: quotes at a steady rate, and ten times as many. docs/bench-api.md"
CONNECTIONS, FLOOD_CONNECTIONS = 8, 64
FLOOD = 10
OK, BUSY = 200, 503
SLEEP_IS_LATE_S = 0.002  # the loop's own timer counts in milliseconds: the last two are waited for awake


@dataclass(slots=True)
class Asked:
    """What came of asking at a rate."""

    rate: int
    seconds: float
    samples: Samples = field(default_factory=Samples)
    statuses: dict[int, int] = field(default_factory=dict)

    def note(self, status: int, ns: int) -> None:
        """One answer. Only quotes are timed; a refusal is not what was asked for."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == OK:
            self.samples.ns.append(ns)


@dataclass(slots=True)
class Figures:
    """Everything one run has found."""

    machine: str
    python: str
    engine_us: float = 0
    steady: Asked | None = None
    flood: Asked | None = None
    paid: int = 0
    kept: int = 0
    bounds: list[Bound] = field(default_factory=list)

    def to_builtins(self) -> dict[str, Any]:
        """As JSON; every bound with its verdict."""
        document = asdict(self)
        for bound, as_json in zip(self.bounds, document["bounds"], strict=True):
            as_json["ok"] = bound.ok
        return document


class Connection:
    """One kept connection. HTTP by hand: the asking side must cost little, for it has the other core."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body."""
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        size = int(answer.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        return int(answer[9:12]), await self._reader.readexactly(size)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def ask_at(
    till: dict[str, Any], rate: int, seconds: float, connections: int, sales: list[bytes]
) -> Asked:
    """`rate` quotes a second, due by the clock; whichever connection is free asks the next."""
    asked = Asked(rate, seconds)
    count = int(rate * seconds)
    numbers = iter(range(count))
    began = time.perf_counter_ns() + 100_000_000

    async def one(connection: Connection) -> None:
        for number in numbers:
            due = began + number * 1_000_000_000 // rate
            while (early_s := (due - time.perf_counter_ns()) / 1e9) > 0:
                await asyncio.sleep(max(0.0, early_s - SLEEP_IS_LATE_S))
            status, _ = await connection.ask("PUT", f"/v1/sales/q{number % 16}", sales[number % len(sales)])
            asked.note(status, time.perf_counter_ns() - due)

    opened = [Connection(till["port"], till["token"]) for _ in range(connections)]
    for connection in opened:
        await connection.open()
    await asyncio.gather(*(one(connection) for connection in opened))
    for connection in opened:
        connection.close()
    return asked


async def sell_on(till: dict[str, Any], sales: list[bytes], until: asyncio.Event) -> list[str]:
    """Sales, one after the other, as a cash program would in a flood: asked again where it is told to."""
    connection = Connection(till["port"], till["token"])
    await connection.open()
    paid: list[str] = []
    while not until.is_set():
        sale_id = f"paid{len(paid)}"
        quote = await insist(connection, "PUT", f"/v1/sales/{sale_id}", sales[len(paid) % len(sales)])
        tender = {"type": "cash", "amount": quote["quote"]["pay"]}
        body = {"quote_id": quote["quote_id"], "tenders": [tender], "slip": "lines"}
        await insist(connection, "POST", f"/v1/sales/{sale_id}/commit", msgspec.json.encode(body))
        paid.append(sale_id)
        await asyncio.sleep(0.1)  # a customer's time, shortened
    connection.close()
    return paid


async def insist(connection: Connection, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
    """The same question until it is taken in."""
    while True:
        status, answer = await connection.ask(method, path, body)
        if status != BUSY:
            if status != OK:
                raise AssertionError(f"{method} {path}: {status} {answer[:200]!r}")
            decoded: dict[str, Any] = msgspec.json.decode(answer)
            return decoded
        await asyncio.sleep(0.02)


async def measure_at(
    till: dict[str, Any], figures: Figures, rate: int, seconds: float, flood_s: float
) -> None:
    """The steady rate, the flood, and what became of the sales."""
    sales = [msgspec.json.encode(body) for body in api_till.bodies()]
    await ask_at(till, rate, min(2.0, seconds), CONNECTIONS, sales)  # warm
    figures.steady = await ask_at(till, rate, seconds, CONNECTIONS, sales)
    over = asyncio.Event()
    selling = asyncio.create_task(sell_on(till, sales, over))
    figures.flood = await ask_at(till, rate * FLOOD, flood_s, FLOOD_CONNECTIONS, sales)
    over.set()
    paid = await selling
    connection = Connection(till["port"], till["token"])
    await connection.open()
    states = [(await insist(connection, "GET", f"/v1/sales/{sale_id}"))["state"] for sale_id in paid]
    status = await insist(connection, "GET", "/v1/status")
    connection.close()
    figures.paid = len(paid)
    figures.kept = min(states.count("closed"), status["pending"])


def measure(rate: int, seconds: float, flood_s: float) -> Figures:
    """All figures."""
    figures = Figures(report.machine(), sys.version.split()[0])
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.api_till"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        till = json.loads(process.stdout.readline())
        figures.engine_us = till["engine_us"]
        asyncio.run(measure_at(till, figures, rate, seconds, flood_s))
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
    figures.bounds = bounds_of(figures)
    return figures


def bounds_of(figures: Figures) -> list[Bound]:
    """What must be kept."""
    assert figures.steady is not None
    assert figures.flood is not None
    most_ms = (3 * figures.engine_us + 5_000) / 1_000
    others = sum(count for status, count in figures.flood.statuses.items() if status not in (OK, BUSY))
    return [
        Bound("p99 of a quote", figures.steady.samples.p99_us / 1_000, most_ms, unit="ms"),
        Bound("quotes refused at the steady rate", refused(figures.steady), 0, unit=""),
        Bound("answers in the flood that are neither a quote nor 503", others, 0, unit=""),
        Bound("sales paid in the flood that are not there", figures.paid - figures.kept, 0, unit=""),
    ]


def refused(asked: Asked) -> int:
    """Answers that were no quote."""
    return sum(count for status, count in asked.statuses.items() if status != OK)


def tables(figures: Figures) -> str:
    """Everything that was found, as Markdown."""
    rows = []
    for name, asked in (("steady", figures.steady), ("the flood", figures.flood)):
        assert asked is not None
        rows.append(
            [
                name, f"{asked.rate:,}", f"{asked.seconds:g}", f"{asked.statuses.get(OK, 0):,}",
                f"{asked.statuses.get(BUSY, 0):,}", f"{asked.samples.median_us / 1_000:.2f}",
                f"{asked.samples.p99_us / 1_000:.2f}", f"{asked.samples.at(1) / 1_000:.2f}",
            ]
        )  # fmt: skip
    heads = ["", "asked a second", "seconds", "quotes", "503", "median ms", "p99 ms", "slowest ms"]
    preface = (
        f"{figures.machine}, Python {figures.python}. The engine alone: {figures.engine_us:,.0f} µs a receipt"
        f" of {api_till.LINES} lines under {api_till.RULES:,} rules. Sales paid meanwhile: {figures.paid}."
    )
    return "\n\n".join([preface, report.table(heads, rows), report.bounds_table(figures.bounds)])


@click.command()
@click.option("--rate", default=200, help="Quotes a second.", show_default=True)
@click.option("--seconds", default=60.0, help="How long at that rate.", show_default=True)
@click.option("--flood-seconds", default=10.0, help="How long at ten times that.", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there as JSON.")
@click.option("--write", is_flag=True, help="Put the tables into docs/bench-api.md.")
@click.option("--strict", is_flag=True, help="Exit with 1 when a bound is missed.")
def main(
    rate: int, seconds: float, flood_seconds: float, json_file: Path | None, write: bool, strict: bool
) -> None:
    """Time the loopback API; takes a minute and a half, best on a machine that does nothing else."""
    figures = measure(rate, seconds, flood_seconds)
    text = tables(figures)
    click.echo(f"{HEADING}\n\n{text}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures.to_builtins(), indent=2) + "\n", encoding="utf-8")
    if write:
        report.replace_in_page({"figures": text}, PAGE, RUN)
    if strict and not all(bound.ok for bound in figures.bounds):
        sys.exit(1)


if __name__ == "__main__":
    main()
