"""How time is taken: the clock, the collector, the order of measuring, and the unit `touch`.

The idea
--------
Figures in µs belong to one machine on one day. So every figure is also given in
units of `touch`: about the least that any pricing of a receipt must do, timed
in the same run, in turns with what it is compared to. A machine that slows down
for a moment slows down both.

The clock is the processor time of this process, so other programs on the machine
take no part in it; on an idle machine it is the wall clock. Reading it costs
about a microsecond, which stays in the figure of a receipt; `touch`, which takes
not much more than that, is timed for a slice of receipts at once, which it has
just seen: the unit is the same whatever ran before. The garbage collector is
stopped and has its heap frozen while receipts are timed.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, Generic, TypeVar

from loyalty.receipt import Receipt

Item = TypeVar("Item")

clock = time.process_time_ns

SLICE = 50
"""Receipts that one competitor prices before the next has its turn."""


@dataclass(slots=True)
class Samples:
    """Times in nanoseconds."""

    ns: list[int] = field(default_factory=list)

    def at(self, share: float) -> float:
        """The time in µs that this share of the samples does not exceed."""
        return sorted(self.ns)[min(len(self.ns) - 1, int(len(self.ns) * share))] / 1_000

    @property
    def median_us(self) -> float:
        return self.at(0.5)

    @property
    def p99_us(self) -> float:
        return self.at(0.99)


@contextmanager
def collector_frozen() -> Iterator[None]:
    """No garbage collection in this block, and nothing for it to look through afterwards."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@dataclass(frozen=True, slots=True)
class Competitor(Generic[Item]):
    """Something to time on the items of a pool.

    `together` does a slice of them twice and times the second pass: its mean.
    """

    work: Callable[[Item], object]
    together: bool = False
    samples: Samples = field(default_factory=Samples)

    def run(self, items: Sequence[Item]) -> None:
        """Do the work on all items and keep the times."""
        work, ns = self.work, self.samples.ns
        if self.together:
            for item in items:
                work(item)
            begin = clock()
            for item in items:
                work(item)
            ns.append((clock() - begin) // len(items))
            return
        for item in items:
            begin = clock()
            work(item)
            ns.append(clock() - begin)


def in_turns(
    competitors: Sequence[Competitor[Item]], pool: Sequence[Item], seconds: float, rounds: int
) -> None:
    """Time all competitors on the items of the pool, a slice each in turn, until time or rounds are up."""
    items, end = cycle(pool), time.monotonic() + seconds
    for _ in range(rounds):
        chosen = list(islice(items, min(SLICE, len(pool))))
        for competitor in competitors:
            competitor.run(chosen)
        if time.monotonic() > end:
            break


def touch(catalog: Mapping[str, Any]) -> Callable[[Receipt], object]:
    """The unit: for each line six dict look-ups, one list amount, one percent, one compare, one tuple.

    The look-ups are `get`: a till has to bear a sku that its catalogue lacks.
    """
    category_of = {sku: goods["category"] for sku, goods in catalog["skus"].items()}
    least_of = {sku: goods.get("min_price", 0) for sku, goods in catalog["skus"].items()}
    weighed = {sku: goods.get("weighed", False) for sku, goods in catalog["skus"].items()}
    parent_of = catalog["categories"]
    bp_of = dict.fromkeys(parent_of, 500)

    def run(receipt: Receipt) -> object:
        out = []
        for line in receipt.lines:
            leaf = category_of.get(line.sku)
            middle = parent_of.get(leaf)
            bp = bp_of.get(parent_of.get(middle), 0)
            least = least_of.get(line.sku, 0)
            whole = not weighed.get(line.sku)
            amount = (2 * line.price_minor * line.quantity + 1_000) // 2_000
            off = (2 * amount * bp + 10_000) // 20_000
            if off > least:
                off -= least
            out.append((line.sku, whole, amount, off))
        return out

    return run
