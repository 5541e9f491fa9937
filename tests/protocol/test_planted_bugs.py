"""The machine of test_any_order.py is worth what it catches: each planted bug of the pure protocol."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.protocol.test_any_order import Chain
from tests.sim.bugs import PURE

HUNT = settings(
    max_examples=1_500,  # a bug is found in a few dozen of them, mostly
    stateful_step_count=60,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
)


@pytest.mark.parametrize("bug", PURE)
def test_a_planted_bug_is_caught(bug: str) -> None:
    with PURE[bug](), pytest.raises((AssertionError, KeyError, ValueError, ExceptionGroup)):
        run_state_machine_as_test(Chain, settings=HUNT)
