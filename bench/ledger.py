"""`make bench`: what the ledger and its sync cost beyond what any program must pay, in one run.

The idea
--------
Figures of one machine on one day say little, so each is a ratio with what it is held against, timed
in turns in the same run (ledger-sync.md, "use them as ratios"): a receipt against a bare SQLite
transaction that writes the same rows (`bench.transaction`), a batch sent again against a new one
(`bench.duplicate`), quotes while a week catches up against quotes before (`bench.catch_up`). The bytes
on the wire are no matter of time: the week of `bench.week` has the same everywhere. What the figures
mean: docs/bench-ledger.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import msgspec

from agent.offline.records import Place
from bench import catch_up, duplicate, report, transaction, week
from bench.figures import Bound
from loyalty import ledger, wire

PAGE = Path(__file__).parents[1] / "docs" / "bench-ledger.md"
RUN = "bench-ledger"
HEADING = "The ledger and its sync. What it means: docs/bench-ledger.md"
SOLD_BEFORE = 10_000
"""Sales of the week before the batch that is weighed: in the middle of it, customers have points."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A batch on the wire, in bytes. `json` = the same message as plain JSON, never sent."""

    entries: int
    lines: int
    entry_bytes: int
    receipt_bytes: int
    json_entry_bytes: int
    json_receipt_bytes: int

    @property
    def an_entry(self) -> float:
        """Bytes of an entry; the message's head is shared by all."""
        return self.entry_bytes / self.entries

    @property
    def a_line(self) -> float:
        """Bytes of a receipt's line; the receipt's head is shared by its lines."""
        return self.receipt_bytes / self.lines


@dataclass(slots=True)
class Figures:
    """Everything one run has found. Times in µs."""

    machine: str
    python: str
    weight: Weight
    receipt_us: float = 0
    plain_us: float = 0
    making_us: float = 0
    new_us: float = 0
    again_us: float = 0
    receipts: int = 0
    took_s: float = 0
    quotes: dict[str, tuple[int, float, float, float]] = field(default_factory=dict)
    """before, meanwhile -> how many, median, p99, slowest."""
    bounds: list[Bound] = field(default_factory=list)

    def to_builtins(self) -> dict[str, Any]:
        """As JSON; every bound with its verdict."""
        document = asdict(self)
        for bound, as_json in zip(self.bounds, document["bounds"], strict=True):
            as_json["ok"] = bound.ok
        return document


# -- measuring ------------------------------------------------------------------------------------


def weigh() -> Weight:
    """A batch of 500 sales in the middle of the week, as it travels."""
    shop = week.Week(week.in_force())
    for _ in shop.sales(SOLD_BEFORE):
        pass
    first = SOLD_BEFORE + 1
    bodies: list[bytes] = []
    papers: list[tuple[int, bytes]] = []
    lines = 0
    for seq, sold in enumerate(shop.sales(wire.BATCH_ENTRIES, first_seq=first), first):
        entry, paper = sold.entry(Place(week.TILL, 1, seq))
        bodies.append(ledger.canonical(entry))
        papers.append((seq, paper))
        lines += len(sold.offer.receipt.lines)
    whole = _request(first, bodies, papers)
    bare = _request(first, bodies, [])
    if wire.unpack(wire.SyncRequest, wire.pack(whole)) != whole:
        raise AssertionError("a batch does not come out as it went in")
    packed = [len(wire.pack(message)) for message in (bare, whole)]
    plain = [len(_json(message)) for message in (bare, whole)]
    return Weight(len(bodies), lines, packed[0], packed[1] - packed[0], plain[0], plain[1] - plain[0])


def _request(first: int, bodies: list[bytes], papers: list[tuple[int, bytes]]) -> wire.SyncRequest:
    """Hashes and signature take their room; which bytes they are does not matter here."""
    noise = bytes(range(64))
    return wire.SyncRequest(
        v=wire.WIRE_VERSION,
        epoch=1,
        session=noise[:16].hex(),
        first_seq=first,
        prev=noise[:32],
        head=noise[32:],
        signature=noise,
        entries=tuple(ledger.strip(body) for body in bodies),
        receipts=tuple(papers),
        down={},
        versions={f"settings.{week.STORE}": 1, "rulebook.all": 1, "catalog.all": 1},
        status={"pending": 10_000},
        timeline=1,
    )


def _json(message: wire.SyncRequest) -> bytes:
    """The message for a person's eyes, receipts opened."""
    document = msgspec.to_builtins(message, builtin_types=(bytes,))
    opened = [(seq, msgspec.msgpack.decode(paper[1:])) for seq, paper in message.receipts]
    whole: bytes = msgspec.json.encode([*document[:8], opened, *document[9:]])
    return whole


def measure(receipts: int, batches: int, week_receipts: int, quotes: int) -> Figures:
    """All figures."""
    found = Figures(report.machine(), sys.version.split()[0], weigh())
    times = transaction.measure(receipts)
    found.receipt_us, found.plain_us = times.till.median_us, times.plain.median_us
    found.making_us = times.making.median_us
    new, again = duplicate.measure(batches)
    found.new_us, found.again_us = new.median_us, again.median_us
    caught = catch_up.measure(week_receipts, quotes)
    found.receipts, found.took_s = caught.receipts, caught.took_s
    for name, samples in (("before", caught.before), ("meanwhile", caught.meanwhile)):
        found.quotes[name] = (len(samples.ns), samples.median_us, samples.p99_us, samples.at(1))
    found.bounds = list(bounds_of(found))
    return found


def bounds_of(figures: Figures) -> Iterator[Bound]:
    """The figures that must be kept."""
    before, meanwhile = figures.quotes["before"], figures.quotes["meanwhile"]
    yield Bound("bytes of an entry on the wire", figures.weight.an_entry, 32, unit="B")
    yield Bound("bytes of a receipt's line, its head shared", figures.weight.a_line, 10, unit="B")
    yield Bound("a receipt's transaction to a bare one", figures.receipt_us / figures.plain_us, 1.3)
    yield Bound("a batch sent again to a new one", figures.again_us / figures.new_us, 0.1)
    yield Bound("quotes during the catch-up, median to median", meanwhile[1] / before[1], 2)
    yield Bound("quotes during the catch-up, p99 to p99", meanwhile[2] / before[2], 2)


# -- the report -----------------------------------------------------------------------------------


def tables(figures: Figures) -> str:
    """Everything that was found, as Markdown."""
    weight = figures.weight
    bytes_table = report.table(
        ["on the wire", "B an entry", "B a receipt", "B a line", "B together"],
        [
            _bytes("as it travels", weight, weight.entry_bytes, weight.receipt_bytes),
            _bytes("as plain JSON", weight, weight.json_entry_bytes, weight.json_receipt_bytes),
        ],
    )
    times = report.table(
        ["what", "median µs"],
        [
            ["a receipt: the ledger's transaction", f"{figures.receipt_us:,.0f}"],
            ["the same rows by plain sqlite3", f"{figures.plain_us:,.0f}"],
            ["made meanwhile: document, slip, answer", f"{figures.making_us:,.0f}"],
            ["a batch of 500 sales at the centre, new", f"{figures.new_us:,.0f}"],
            ["the same batch, sent again", f"{figures.again_us:,.0f}"],
        ],
    )
    quotes = report.table(
        ["quotes", "count", "median µs", "p99 µs", "slowest µs"],
        [
            [name, f"{count:,}", f"{median:,.0f}", f"{p99:,.0f}", f"{slowest:,.0f}"]
            for name, (count, median, p99, slowest) in figures.quotes.items()
        ],
    )
    speed = (
        f"{figures.receipts:,} receipts caught up in {figures.took_s:,.0f} s:"
        f" {figures.receipts / figures.took_s:,.0f} entries a second."
    )
    preface = f"{figures.machine}, Python {figures.python}."
    return "\n\n".join([preface, bytes_table, times, quotes, speed, report.bounds_table(figures.bounds)])


def _bytes(name: str, weight: Weight, entries: int, receipts: int) -> list[str]:
    return [
        name,
        f"{entries / weight.entries:.1f}",
        f"{receipts / weight.entries:.1f}",
        f"{receipts / weight.lines:.2f}",
        f"{entries + receipts:,}",
    ]


# -- the command ----------------------------------------------------------------------------------


@click.command()
@click.option("--receipts", default=1_000, help="Receipts written, each twice.", show_default=True)
@click.option("--batches", default=8, help="Batches sent to the centre, each twice.", show_default=True)
@click.option("--week", "week_receipts", default=20_000, help="Receipts that catch up.", show_default=True)
@click.option("--quotes", default=500, help="Quotes timed before the catch-up.", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there as JSON.")
@click.option("--markdown", is_flag=True, help="Print only what stands between the marks of the page.")
@click.option("--write", is_flag=True, help="Put it there, in docs/bench-ledger.md.")
@click.option("--strict", is_flag=True, help="Exit with 1 when a bound is missed.")
def main(
    receipts: int,
    batches: int,
    week_receipts: int,
    quotes: int,
    json_file: Path | None,
    markdown: bool,
    write: bool,
    strict: bool,
) -> None:
    """Time the ledger and its sync; takes some minutes, best on a machine that does nothing else."""
    figures = measure(receipts, batches, week_receipts, quotes)
    text = tables(figures)
    click.echo(text if markdown else f"{HEADING}\n\n{text}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures.to_builtins(), indent=2) + "\n", encoding="utf-8")
    if write:
        report.replace_in_page({"figures": text}, PAGE, RUN)
    if strict and not all(bound.ok for bound in figures.bounds):
        sys.exit(1)


if __name__ == "__main__":
    main()
