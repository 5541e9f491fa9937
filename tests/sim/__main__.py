"""`make simulate SEED= STEPS=`: the chain in which everything goes wrong, from the command line."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one")
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--calm", action="store_true", help="no faults")
    parser.add_argument("--trace", action="store_true", help="print every step")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**9)
    print(f"seed {seed}", flush=True)

    logging.disable(logging.CRITICAL)  # what the programs say of all this is not the story here
    from tests.sim import centre
    from tests.sim.invariants import BrokenError
    from tests.sim.world import FAULTS, World

    began = time.monotonic()
    world = World(seed, calm=options.calm)
    try:
        for _ in range(options.steps):
            world.step()
            if options.trace:
                print(world.trace[-1], flush=True)
        digest, fired = world.digest(), world.fired()
    except BrokenError as broken:
        print(f"seed {seed}: step {world.steps}: {broken}")
        print("\n".join(world.trace[-15:]))
        return 1
    finally:
        world.close()
        centre.forget()
    took_s = time.monotonic() - began
    print(f"{world.steps} steps in {took_s:.0f} s, {world.sales} carts; trace {digest}")
    print(", ".join(f"{name} {count}" for name, count in sorted(fired.items())))
    never = [name for name in FAULTS if not fired[name]]
    if never and not options.calm:
        print(f"never happened: {', '.join(never)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
