"""`make simulate SEED= STEPS=`: chains in which everything goes wrong, from the command line.

A run is one world after another, WORLD_STEPS steps each; every second one has a courtesy K. The seed of
a world is printed before it begins: with it and one world's steps the same story is told again.

Without `--steps` it is two worlds, and up to MORE_WORLDS others while some fault has not happened yet.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sim.world import World

WORLD_STEPS = 2_500
MORE_WORLDS = 3
K = 20_00


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of the first world; default: a new one")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--calm", action="store_true", help="no faults")
    parser.add_argument("--any", action="store_true", help="well done even if some fault never happened")
    parser.add_argument("--trace", action="store_true", help="print every step")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(10**9)
    print(f"seed {first}", flush=True)

    logging.disable(logging.CRITICAL)  # what the programs say of all this is not the story here
    from tests.sim import centre
    from tests.sim.invariants import BrokenError
    from tests.sim.world import FAULTS, World

    fired: Counter[str] = Counter()

    def never() -> list[str]:
        return [name for name in FAULTS if not fired[name]] if not (options.calm or options.any) else []

    left = options.steps or 2 * WORLD_STEPS
    more = MORE_WORLDS if options.steps is None else 0
    seed = first
    try:
        while left > 0 or (more > 0 and never()):
            if left <= 0:
                more, left = more - 1, WORLD_STEPS
            world = World(seed, calm=options.calm, courtesy=K * (seed % 2))
            try:
                _play(world, min(left, WORLD_STEPS), trace=options.trace)
            except BrokenError as broken:
                print(f"seed {seed}: step {world.steps}: {broken}")
                print("\n".join(world.trace[-15:]))
                return 1
            finally:
                world.close()
            fired += world.fired()
            left -= world.steps
            seed += 1
    finally:
        centre.forget()
    print(", ".join(f"{name} {count}" for name, count in sorted(fired.items())))
    if never():
        print(f"never happened: {', '.join(never())}; the run is worth nothing, take more steps")
        return 1
    return 0


def _play(world: World, steps: int, *, trace: bool) -> None:
    print(f"seed {world.seed}: ", end="", flush=True)
    began = time.monotonic()
    for _ in range(steps):
        world.step()
        if trace:
            print(world.trace[-1], flush=True)
    digest = world.digest()
    world.settle_down()
    took_s = time.monotonic() - began
    print(f"{world.steps} steps in {took_s:.0f} s, {world.sales} carts; trace {digest}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
