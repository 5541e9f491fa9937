"""How alternatives compete: `best`, `worst` and `first`, the same in every stage (§4).

An alternative is worth what it would really give. Those worth nothing do not
take part, and of equals the earlier one wins. `sum` and `chain` are no
competition; the stages do them, for they differ in what a base is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from loyalty.rulebook import Policy

Alternative = TypeVar("Alternative")


def winner(
    policy: Policy, alternatives: Iterable[Alternative], worth: Callable[[Alternative], int]
) -> Alternative | None:
    """The alternative that `policy` chooses, or None where all are worth nothing."""
    chosen, chosen_worth = None, 0
    for alternative in alternatives:
        value = worth(alternative)
        if value <= 0:
            continue
        if chosen is None or (value > chosen_worth if policy == "best" else value < chosen_worth):
            chosen, chosen_worth = alternative, value
            if policy == "first":
                break
    return chosen


def best_by_bound(
    alternatives: Sequence[Alternative],
    at_most: Callable[[Alternative], int],
    worth: Callable[[Alternative], int],
) -> Alternative | None:
    """What `winner` chooses by `best`, for where worth is dear to find out: the most promising first."""
    bounds = [at_most(alternative) for alternative in alternatives]
    chosen, chosen_worth = -1, 0
    for i in sorted(range(len(bounds)), key=lambda i: -bounds[i]):
        if bounds[i] < chosen_worth or bounds[i] <= 0:
            break
        if chosen >= 0 and bounds[i] == chosen_worth and i > chosen:
            continue
        value = worth(alternatives[i])
        if value > chosen_worth or (value == chosen_worth and 0 <= i < chosen):
            chosen, chosen_worth = i, value
    return alternatives[chosen] if chosen >= 0 else None
