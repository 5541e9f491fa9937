"""The simulator in short, and how good it is: `make simulate` plays longer runs with new seeds.

Each runs as a program of its own: the office's application reads its settings once a process, and this
one has another home.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.bugs import SEEDS

ROOT = Path(__file__).parents[2]
SEED = 22


def played(module: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.timeout(600)
def test_everything_goes_wrong_and_nothing_is_lost_or_spent_twice() -> None:
    """Two worlds and more, one with a courtesy K; a fault that never happened fails the run too."""
    said = played("tests.sim", "--seed", str(SEED))
    assert said.startswith(f"seed {SEED}\n")


@pytest.mark.timeout(300)
def test_a_seed_tells_the_same_story_again() -> None:
    once, again = (
        [line.partition("trace ")[2] for line in played("tests.sim", *WORDS).splitlines()] for _ in range(2)
    )
    assert any(once)
    assert once == again


WORDS = ("--seed", "7", "--steps", "300", "--any")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bugs", [list(SEEDS)[n::4] for n in range(4)], ids=lambda bugs: f"{len(bugs)} bugs")
def test_planted_bugs_are_caught(bugs: list[str]) -> None:
    """What the simulator would not notice it does not prove."""
    played("tests.sim.hunt", *(word for bug in bugs for word in ("--bug", bug)))
