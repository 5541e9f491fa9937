"""`make fuzz`: a million random streams through every framer and decoder, on every core."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import count
from random import SystemRandom

from rich.progress import Progress

from tests.fuzz.targets import TARGETS, fuzz

STREAMS = 1_000_000
STRIDE = 20_000


def stretch(name: str, first: int, length: int) -> tuple[int, str] | None:
    return fuzz(name, iter(range(first, first + length)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--streams", type=int, default=STREAMS, help="through each target")
    parser.add_argument("--seed", type=int, default=None, help="of the first stream; default: a new one")
    parser.add_argument("--target", choices=list(TARGETS), action="append", help="only this one")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else SystemRandom().randrange(10**9)
    names = options.target or list(TARGETS)
    print(f"seed {first}", flush=True)
    began = time.monotonic()
    broken = _run(names, first, options.streams)
    for name, seed, why in broken:
        print(f"{name}: seed {seed}: {why}")
        print(f"    again: make fuzz STREAMS=1 SEED={seed} TARGET='{name}'")
    spent_s = time.monotonic() - began
    print(f"{len(names)} targets, {options.streams} streams each, {len(broken)} broken laws, {spent_s:.0f} s")
    return 1 if broken else 0


def _run(names: list[str], first: int, streams: int) -> list[tuple[str, int, str]]:
    broken: list[tuple[str, int, str]] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool, Progress(disable=not sys.stdout.isatty()) as progress:
        jobs = {}
        for name in names:
            bar = progress.add_task(name, total=streams)
            for start in range(0, streams, STRIDE):
                length = min(STRIDE, streams - start)
                jobs[pool.submit(stretch, name, first + start, length)] = (name, bar, length)
        done = count()
        for job in as_completed(jobs):
            name, bar, length = jobs[job]
            progress.advance(bar, length)
            if (found := job.result()) is not None:
                broken.append((name, *found))
            if not sys.stdout.isatty() and next(done) % 50 == 49:
                print(f"{name}: …", flush=True)
    return broken


if __name__ == "__main__":
    sys.exit(main())
