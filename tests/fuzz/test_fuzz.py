"""Twenty thousand random streams through every framer and decoder; `make fuzz` plays a million of each."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.targets import TARGETS, check, fuzz

STREAMS = 20_000
SEED = 20_261_127
FOUND: dict[str, tuple[int, ...]] = {}
"""Seeds that once broke a law, by target; they are played first."""


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_every_law_holds(name: str) -> None:
    assert fuzz(name, iter([*FOUND.get(name, ()), *range(SEED, SEED + STREAMS)])) is None


def test_a_broken_law_is_found_and_can_be_played_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def dislikes_tabs(data: bytes, random: Random) -> None:
        del random
        check(b"\t" not in data, "no tabs")

    monkeypatch.setitem(TARGETS, "planted", dislikes_tabs)
    found = fuzz("planted", iter(range(1_000)))
    assert found is not None
    assert found[1] == "AssertionError: no tabs"
    assert fuzz("planted", iter([found[0]])) == found
