"""`make torture`: as many rounds as one likes, with a seed that is said first and can be played again."""

from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
import traceback
from contextlib import closing
from pathlib import Path

import click

from tests.e2e.torture.rounds import MUST, Torture
from tests.e2e.torture.shop import Shop


@click.command()
@click.option(
    "--rounds",
    default=200,
    show_default=True,
    type=click.IntRange(1),
    help="How many; below 40 it may prove too little.",
)
@click.option("--seed", type=int, help="Of a run to be played again. [default: a new one, which is printed]")
def main(rounds: int, seed: int | None) -> None:
    """Kill the till, the centre and the link at random moments of a busy shift; look after each."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    again = f"make torture ROUNDS={rounds} SEED={seed}"
    click.echo(f"{rounds} rounds, seed {seed}; to play them again: {again}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # who is told to end closes the shop too
    directory = Path(tempfile.mkdtemp(prefix="kopilka-torture-"))
    try:
        with closing(Shop(directory)) as shop:
            shop.open()
            torture = Torture(shop, seed, rounds, click.echo)
            torture.run()
    except Exception:  # noqa: BLE001 - whatever it was: the seed, and where to look
        traceback.print_exc()
        click.echo(f"FAILED with seed {seed}; to play it again: {again}; its files: {directory}", err=True)
        sys.exit(1)
    shutil.rmtree(directory)
    for what in MUST:
        click.echo(f"{torture.met[what]:6} times {what}")
    click.echo(f"seed {seed}: {rounds} rounds, {shop.book.answers} answers, and all of them were kept")


if __name__ == "__main__":
    main()
