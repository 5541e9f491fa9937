"""`make bench-rules`: how long a receipt takes under 10 to 10,000 rules, and whether that is good enough.

The idea
--------
One run measures everything that belongs together (rulebook.md §10): the price
of a receipt by number of rules and of lines, in µs and in `touch`; the same by
a plain loop, whose answers must be the engine's before anything is timed; what
it takes to load 10,000 rules; and the first receipt after that. Then it holds
the figures against the bounds and says `ok` or `MISSED` for each.

The shop is drawn in `bench.workload`, time is taken in `bench.timing`, the plain
loop is `bench.naive`, other people's engines are in `bench.peers`, and
`bench.report` writes the tables. What the figures mean: docs/bench-rules.md.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

import click

from bench import peers, report, workload
from bench.figures import Cell, Figures, Load, bounds_of
from bench.naive import Answer, PlainLoop
from bench.timing import Competitor, clock, collector_frozen, in_turns, touch
from loyalty import catalog, receipt, rulebook, strictjson
from loyalty.heap import paused_collector
from loyalty.index import Compiled, compile_rulebook
from loyalty.quote import Quote, quote
from loyalty.receipt import Receipt

CHECKED = 5
"""Receipts of every size on which plain loop and engine must agree."""

ROUNDS = 100
"""Most turns of `bench.timing.SLICE` receipts for one figure."""

LOADS = 5
"""How often the largest rulebook is loaded, and loaded anew for a first receipt of each size."""


class DisagreementError(Exception):
    """Two programs that must give the same answer do not; nothing is timed."""


# -- measuring ------------------------------------------------------------------------------------


def measure(rule_counts: Sequence[int], line_counts: Sequence[int], receipts: int, seconds: float) -> Figures:
    """All figures without the peers; `seconds` is for each number of lines, the rest takes about as long."""
    shop = workload.draw(rule_counts, line_counts, receipts)
    goods = catalog.parse(shop.catalog)
    engines = {count: _load(text, goods) for count, text in shop.rulebooks.items()}
    loops = {count: PlainLoop(json.loads(text), shop.catalog) for count, text in shop.rulebooks.items()}
    pools = {count: [receipt.parse(raw) for raw in raws] for count, raws in shop.receipts.items()}
    for pool in pools.values():
        Random(workload.SEED).shuffle(pool)
        for count, engine in engines.items():
            check(engine, loops[count], pool[:CHECKED])

    figures = Figures(report.machine(), sys.version.split()[0])
    unit = touch(shop.catalog)
    for lines, pool in pools.items():
        figures.touch_us[lines], cells = _cells(lines, pool, unit, engines, loops, seconds)
        figures.cells += cells
    largest = max(rule_counts)
    del engines, loops
    figures.load = _loading(largest, shop.rulebooks[largest], goods, pools)
    figures.first_ratio = {
        lines: _first(shop.rulebooks[largest], goods, pool[:LOADS]) for lines, pool in pools.items()
    }
    figures.bounds = bounds_of(figures)
    return figures


def _load(text: str, goods: catalog.Catalog) -> Compiled:
    with paused_collector():  # as the till does
        return compile_rulebook(rulebook.parse(strictjson.loads(text)), goods)


def check(engine: Compiled, loop: PlainLoop, receipts: Sequence[Receipt]) -> None:
    """The engine's answers are the plain loop's, or `DisagreementError`."""
    for each in receipts:
        ours, plain = _answer(quote(engine, each)), loop.quote(each)
        if ours != plain:
            raise DisagreementError(f"receipt {each.id}: engine {ours}, plain loop {plain}")


def _answer(found: Quote) -> Answer:
    return Answer(
        [(line.id, dict(line.discounts), line.pay_minor) for line in found.lines],
        [(rule, total) for rule, total in found.sets],
        dict(found.earned),
    )


def _cells(
    lines: int,
    pool: Sequence[Receipt],
    unit: Callable[[Receipt], object],
    engines: Mapping[int, Compiled],
    loops: Mapping[int, PlainLoop],
    seconds: float,
) -> tuple[float, list[Cell]]:
    """`touch` in µs for receipts of this size, and a cell for each rulebook."""

    def pricing(engine: Compiled) -> Competitor[Receipt]:
        return Competitor(lambda each: quote(engine, each))

    touching = Competitor(unit, together=True)
    ours = {count: pricing(engine) for count, engine in engines.items()}
    plain = {count: Competitor(loop.quote) for count, loop in loops.items()}
    for engine in engines.values():
        for each in pool:
            quote(engine, each)  # what an engine keeps per sku is there: a till is warm after its first sales
    with collector_frozen():
        in_turns([touching, *ours.values()], pool, seconds, ROUNDS)
        for competitor in plain.values():
            in_turns([competitor], pool, seconds / (2 * len(plain)), ROUNDS)
    touch_us = touching.samples.median_us
    return touch_us, [
        Cell(
            rules=count,
            lines=lines,
            receipts=len(competitor.samples.ns),
            median_us=competitor.samples.median_us,
            p99_us=competitor.samples.p99_us,
            touches=competitor.samples.median_us / touch_us,
            plain_us=plain[count].samples.median_us,
        )
        for count, competitor in ours.items()
    ]


def _loading(rules: int, text: str, goods: catalog.Catalog, pools: Mapping[int, Sequence[Receipt]]) -> Load:
    """Time and memory of loading a rulebook, the collector paused as it is in a till."""
    fastest: tuple[int, int, int] | None = None
    for _ in range(LOADS):
        with paused_collector():
            begin = clock()
            document = strictjson.loads(text)
            decoded = clock()
            parsed = rulebook.parse(document)
            read = clock()
            compile_rulebook(parsed, goods)
            times = (decoded - begin, read - decoded, clock() - read)
            del document, parsed
        if fastest is None or sum(times) < sum(fastest):
            fastest = times
    assert fastest is not None
    json_s, parse_s, compile_s = (ns / 1e9 for ns in fastest)
    kept, kept_warm = _memory(text, goods, pools)
    return Load(rules, len(text.encode()), json_s, parse_s, compile_s, kept, kept_warm)


def _memory(text: str, goods: catalog.Catalog, pools: Mapping[int, Sequence[Receipt]]) -> tuple[int, int]:
    """Bytes that a loaded rulebook keeps: at once, and when all receipts of the run have been priced."""
    gc.collect()
    tracemalloc.start()
    try:
        engine = _load(text, goods)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        for pool in pools.values():
            for each in pool:
                quote(engine, each)
        gc.collect()
        return kept, tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def _first(text: str, goods: catalog.Catalog, receipts: Sequence[Receipt]) -> float:
    """How much longer the first receipt after a load takes than the same one warm: the median of several."""
    ratios = []
    for each in receipts:
        engine = _load(text, goods)
        with collector_frozen():
            times = []
            for _ in range(10):
                begin = clock()
                quote(engine, each)
                times.append(clock() - begin)
        ratios.append(times[0] / statistics.median(times[1:]))
    return statistics.median(ratios)


# -- the command ----------------------------------------------------------------------------------


def _numbers(_: click.Context, __: click.Parameter, value: str) -> list[int]:
    try:
        return [int(word.replace("_", "")) for word in value.split(",")]
    except ValueError:
        raise click.BadParameter("numbers with commas between, such as 10,100") from None


@click.command()
@click.option("--rules", default="10,100,1000,10000", callback=_numbers, help="Numbers of rules.")
@click.option("--lines", default="5,20,100", callback=_numbers, help="Numbers of lines.")
@click.option("--receipts", default=200, help="Different receipts of each size.", show_default=True)
@click.option("--seconds", default=12.0, help="Time for each number of lines.", show_default=True)
@click.option("--peers", "with_peers", is_flag=True, help="Time other engines too (needs the extra `bench`).")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there as JSON.")
@click.option("--markdown", is_flag=True, help="Print only what stands between the marks of the page.")
@click.option("--write", is_flag=True, help="Put it there, in docs/bench-rules.md.")
@click.option("--strict", is_flag=True, help="Exit with 1 when a bound is missed.")
def main(
    rules: list[int],
    lines: list[int],
    receipts: int,
    seconds: float,
    with_peers: bool,
    json_file: Path | None,
    markdown: bool,
    write: bool,
    strict: bool,
) -> None:
    """Time the rule engine; takes about three minutes, best on a machine that does nothing else."""
    figures = measure(rules, lines, receipts, seconds)
    if with_peers:
        figures.peers, figures.peers_skipped = peers.compare(lines, seconds)
    parts = report.tables(figures)
    text = "\n\n".join(parts.values())
    click.echo(text if markdown else f"{report.HEADING}\n\n{text}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures.to_builtins(), indent=2) + "\n", encoding="utf-8")
    if write:
        report.replace_in_page(parts)
    if strict and not all(bound.ok for bound in figures.bounds):
        sys.exit(1)


if __name__ == "__main__":
    main()
