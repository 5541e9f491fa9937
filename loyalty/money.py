"""Rounding and distribution: the only divisions in the house (rulebook.md §1 and §5).

Money is whole kopecks, quantities are whole thousandths, percents are whole
basis points and points are whole hundredths. Nothing here knows a float, a
Decimal or a Fraction: a fraction is either rounded at once, as the law says,
or kept as a whole numerator over a denominator that everybody shares. "Half up"
is (2a + b) // (2b) for a/b, written out in place: it is asked once a line and rule.
"""

from __future__ import annotations

from collections.abc import Sequence

THOUSANDTHS = 1_000
"""Thousandths in one piece or one kilogram."""

BP = 10_000
"""Basis points in the whole: 100 %."""


def amount_of(price_minor: int, quantity: int) -> int:
    """Kopecks for `quantity` thousandths at `price_minor` a unit, rounded half up."""
    return (2 * price_minor * quantity + THOUSANDTHS) // (2 * THOUSANDTHS)


def least_amount_of(min_price_minor: int, quantity: int) -> int:
    """The least kopecks that keep `quantity` thousandths at or above a minimum price: rounded up."""
    return -(-min_price_minor * quantity // THOUSANDTHS)


def unit_price_of(amount_minor: int, quantity: int) -> int:
    """Kopecks a unit for which `quantity` thousandths (> 0) cost an amount, rounded half up."""
    return (2 * amount_minor * THOUSANDTHS + quantity) // (2 * quantity)


def percent_of(amount_minor: int, bp: int) -> int:
    """`bp` basis points of an amount, rounded half up: how discounts are counted."""
    return (2 * amount_minor * bp + BP) // (2 * BP)


def percent_within(amount_minor: int, bp: int) -> int:
    """`bp` basis points of an amount, rounded down: how limits are counted."""
    return amount_minor * bp // BP


def full_times(amount: int, every: int) -> int:
    """How often `every` fits into an amount as a whole."""
    return amount // every


def pieces_of(quantity: int) -> int | None:
    """The whole pieces in `quantity` thousandths; None where a part of one is left."""
    pieces, rest = divmod(quantity, THOUSANDTHS)
    return None if rest else pieces


def even_parts(amount: int, count: int) -> tuple[int, int]:
    """`count` parts of an amount as even as can be: the lower part, and how many are one kopeck more."""
    return divmod(amount, count)


def part_between(amount: int, first: int, last: int, quantity: int) -> int:
    """The part of an amount that goes with the goods from `first` to `last` of `quantity` (§6).

    Counted from the beginning each time, so that parts in any order add up to the whole.
    """
    return amount * last // quantity - amount * first // quantity


def down_to(amount: int, step: int) -> int:
    """The greatest multiple of `step` that is not above `amount`."""
    return amount - amount % step


def distribute(total: int, weights: Sequence[int], capacities: Sequence[int]) -> list[int]:
    """Share `total` over lines in proportion to `weights`, no line above its capacity (§5).

    A line takes part where weight and capacity are both positive; what does not
    fit into all of them together is not shared out. Lines whose exact quota
    exceeds their capacity are filled, all at once, and the rest is shared again
    over the others. Then every line gets the whole part of its quota, and the
    kopecks left go one each by greater remainder, greater weight, earlier
    position. The shares, in the order of `weights`, add up to exactly what was
    shared out.
    """
    shares = [0] * len(weights)
    open_lines = [i for i, weight in enumerate(weights) if weight > 0 and capacities[i] > 0]
    left = min(total, sum([capacities[i] for i in open_lines]))
    while open_lines:
        weight_sum = sum([weights[i] for i in open_lines])
        full = {i for i in open_lines if left * weights[i] > capacities[i] * weight_sum}
        if not full:
            break
        for i in full:
            shares[i] = capacities[i]
            left -= capacities[i]
        open_lines = [i for i in open_lines if i not in full]
    _share_out(left, weights, open_lines, shares)
    return shares


def distribute_clipped(total: int, weights: Sequence[int], capacities: Sequence[int]) -> list[int]:
    """Share `total` by `weights` alone, then clip at the capacities: what is clipped is lost."""
    shares = [0] * len(weights)
    open_lines = [i for i, weight in enumerate(weights) if weight > 0]
    _share_out(min(total, sum(weights)), weights, open_lines, shares)
    return [min(share, capacity) for share, capacity in zip(shares, capacities, strict=True)]


def _share_out(total: int, weights: Sequence[int], lines: Sequence[int], shares: list[int]) -> None:
    """Put into `shares` the whole part of each line's quota, and the kopecks left where they belong."""
    if total <= 0 or not lines:
        return
    weight_sum = sum([weights[i] for i in lines])
    kopecks = total
    remainders: list[tuple[int, int, int]] = []
    for i in lines:
        weight = weights[i]
        share, remainder = divmod(total * weight, weight_sum)
        shares[i] = share
        kopecks -= share
        remainders.append((-remainder, -weight, i))
    if kopecks:
        remainders.sort()
        for _, _, i in remainders[:kopecks]:
            shares[i] += 1
