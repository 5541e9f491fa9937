"""The few divisions of the law (rulebook.md §1 and §5), written out the long way.

Everything is an integer: kopecks, thousandths of a piece, basis points. A `Fraction` appears only where
the page says "exactly", and it is always brought back to integers by the rounding the page names.
"""

from fractions import Fraction

PIECE = 1000
"""Thousandths in one piece or one kilogram."""
WHOLE_BP = 10000
"""Basis points in 100 %."""


def half_up(a: int, b: int) -> int:
    """a/b rounded to the nearest integer, halves up; a ≥ 0 (§1)."""
    return (2 * a + b) // (2 * b)


def ceil_div(a: int, b: int) -> int:
    """a/b rounded up."""
    return -(-a // b)


def percent(amount: int, bp: int) -> int:
    """`bp` basis points of an amount, half up (§1)."""
    return half_up(amount * bp, WHOLE_BP)


def amount_of(price: int, quantity: int) -> int:
    """What a quantity in thousandths costs at a unit price, half up (§1)."""
    return half_up(price * quantity, PIECE)


def distribute(total: int, weights: list[int], capacities: list[int]) -> list[int]:
    """Split `total` over weights, nobody above its capacity (§5). Places in = places out; what fits
    nowhere is not given."""
    given = [0] * len(weights)
    open_places = [i for i, w in enumerate(weights) if w > 0 and capacities[i] > 0]
    left = min(total, sum(capacities[i] for i in open_places))
    while open_places:
        weight = sum(weights[i] for i in open_places)
        quota = {i: Fraction(left * weights[i], weight) for i in open_places}
        full = [i for i in open_places if quota[i] > capacities[i]]
        if not full:
            break
        for i in full:  # all at once: their quotas were counted together
            given[i] = capacities[i]
            left -= capacities[i]
        open_places = [i for i in open_places if i not in full]
    if not open_places:
        return given
    for i in open_places:
        given[i] = int(quota[i])  # the floor: quotas are never negative
    spare = left - sum(given[i] for i in open_places)
    by_claim = sorted(open_places, key=lambda i: (-(quota[i] - given[i]), -weights[i], i))
    for i in by_claim[:spare]:
        given[i] += 1
    return given


def distribute_without_spill(total: int, weights: list[int], capacities: list[int]) -> list[int]:
    """`spill=false`: everyone's share as if nobody were limited, then clipped; the rest is lost (§5)."""
    shares = distribute(total, weights, weights)
    return [min(share, max(0, c)) for share, c in zip(shares, capacities, strict=True)]
