"""How alternatives compete: `best`, `worst` and `first`, the same in every stage (§4).

An alternative is worth what it would really give. Those worth nothing do not
take part, and of equals the earlier one wins. `sum` and `chain` are no
competition; the stages do them, for they differ in what a base is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from loyalty.rulebook import Policy

Alternative = TypeVar("Alternative")


def winner(
    policy: Policy, alternatives: Sequence[Alternative], worth: Callable[[Alternative], int]
) -> Alternative | None:
    """The alternative that `policy` chooses, or None where all are worth nothing."""
    running = [(worth(alternative), alternative) for alternative in alternatives]
    running = [(value, alternative) for value, alternative in running if value > 0]
    if not running:
        return None
    if policy == "best":
        return max(running, key=lambda pair: pair[0])[1]
    if policy == "worst":
        return min(running, key=lambda pair: pair[0])[1]
    return running[0][1]
