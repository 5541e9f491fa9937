"""Rounding and sharing out: the parts always make the whole."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty.money import (
    amount_of,
    distribute,
    distribute_clipped,
    down_to,
    least_amount_of,
    percent_of,
    percent_within,
)

unhurried = settings(deadline=None, database=None)
amounts = st.integers(min_value=0, max_value=2_000)
shelves = st.lists(st.tuples(amounts, amounts), max_size=8)


@pytest.mark.parametrize(
    ("amount", "bp", "rounded"),
    [(0, 5_000, 0), (1, 5_000, 1), (1, 3_333, 0), (1, 6_667, 1), (3, 5_000, 2), (149, 100, 1), (150, 100, 2)],
)
def test_halves_go_up(amount: int, bp: int, rounded: int) -> None:
    assert percent_of(amount, bp) == rounded


@pytest.mark.parametrize(
    ("price", "quantity", "amount", "least"),
    [(9990, 1264, 12627, 12628), (3333, 2816, 9386, 9386), (1, 500, 1, 1), (1, 499, 0, 1), (0, 1000, 0, 0)],
)
def test_a_line_rounds_to_the_nearest_and_its_minimum_rounds_up(
    price: int, quantity: int, amount: int, least: int
) -> None:
    assert amount_of(price, quantity) == amount
    assert least_amount_of(price, quantity) == least


def test_discounts_round_half_up_and_limits_round_down() -> None:
    assert percent_of(99_999, 500) == 5_000
    assert percent_within(99_999, 500) == 4_999
    assert down_to(27_720, 100) == 27_700


def test_the_worked_example_of_the_law() -> None:
    assert distribute(10_000, [54_000, 46_800], [54_000, 46_800]) == [5_357, 4_643]
    assert distribute(8_990, [8_990, 8_990, 8_990], [8_990, 8_990, 8_990]) == [2_997, 2_997, 2_996]


def test_lines_that_overflow_are_filled_all_at_once_and_the_rest_is_shared_again() -> None:
    # Quotas of 100 over equal weights are 25 each: two lines overflow together, and 80 go to the others.
    assert distribute(100, [1, 1, 1, 1], [10, 10, 100, 100]) == [10, 10, 40, 40]
    # After the first filling the third overflows as well.
    assert distribute(100, [10, 10, 10], [5, 40, 200]) == [5, 40, 55]


def test_the_last_kopeck_goes_by_remainder_then_weight_then_position() -> None:
    assert distribute(1, [1, 2, 2], [9, 9, 9]) == [0, 1, 0]
    # Remainders of 1/2 each: the heavier line gets it though it stands later.
    assert distribute(2, [1, 3], [9, 9]) == [0, 2]
    assert distribute(1, [5, 5], [9, 9]) == [1, 0]


def test_without_spill_the_clipped_part_is_lost() -> None:
    assert distribute_clipped(100, [50, 50], [10, 50]) == [10, 50]
    assert distribute(100, [50, 50], [10, 90]) == [10, 90]


@unhurried
@given(st.integers(min_value=0, max_value=10_000), shelves)
def test_shares_add_up_and_respect_capacities(total: int, lines: list[tuple[int, int]]) -> None:
    weights, capacities = [w for w, _ in lines], [c for _, c in lines]
    shares = distribute(total, weights, capacities)
    open_capacity = sum(c for w, c in lines if w > 0)
    assert sum(shares) == min(total, open_capacity)
    for share, weight, capacity in zip(shares, weights, capacities, strict=True):
        assert 0 <= share <= capacity
        assert share == 0 or weight > 0


@unhurried
@given(st.integers(min_value=0, max_value=10_000), st.lists(amounts, min_size=1, max_size=8))
def test_where_nothing_overflows_every_share_is_within_a_kopeck_of_its_exact_quota(
    total: int, weights: list[int]
) -> None:
    total = min(total, sum(weights))
    for share, weight in zip(distribute(total, weights, weights), weights, strict=True):
        assert abs(share - Fraction(total * weight, sum(weights) or 1)) < 1


@unhurried
@given(amounts, shelves)
def test_without_spill_nobody_gets_more_than_with_all_the_room_in_the_world(
    total: int, lines: list[tuple[int, int]]
) -> None:
    weights, capacities = [w for w, _ in lines], [c for _, c in lines]
    clipped = distribute_clipped(total, weights, capacities)
    for share, free, capacity in zip(clipped, distribute(total, weights, weights), capacities, strict=True):
        assert share == min(free, capacity)
