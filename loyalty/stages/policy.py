"""How alternatives compete: `best`, `worst` and `first`, the same in every stage (§4).

An alternative is worth what it would really give. Those worth nothing do not
take part, and of equals the earlier one wins. `sum` and `chain` are no
competition; the stages do them, for they differ in what a base is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from loyalty.rulebook import Policy

Alternative = TypeVar("Alternative")


def winner(
    policy: Policy,
    alternatives: Iterable[Alternative],
    worth: Callable[[Alternative], int],
    at_most: Callable[[Alternative], int] | None = None,
) -> Alternative | None:
    """The alternative that `policy` chooses, or None where all are worth nothing.

    `at_most` bounds what an alternative is worth, where its worth itself is dear to find out.
    """
    chosen, chosen_worth = None, 0
    for alternative in alternatives:
        if policy == "best" and at_most is not None and at_most(alternative) <= chosen_worth:
            continue
        value = worth(alternative)
        if value <= 0:
            continue
        if chosen is None or (value > chosen_worth if policy == "best" else value < chosen_worth):
            chosen, chosen_worth = alternative, value
            if policy == "first":
                break
    return chosen
