"""Points that lie elsewhere: who is asked, in which order, and never for longer than a second."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sync import asking
from agent.sync.asking import (
    AGAIN_MS,
    HUB_MS,
    AskCentre,
    AskHub,
    Asking,
    Begun,
    ClaimAnswered,
    ClaimFailed,
    Done,
    HubAnswered,
    HubFailed,
    TimeOver,
)

SECOND = 1_000
EVENTS = st.one_of(
    st.builds(HubAnswered, st.integers(0, 150)),
    st.just(HubFailed()),
    st.builds(ClaimAnswered, st.integers(0, 150), st.booleans()),
    st.just(ClaimFailed()),
    st.just(TimeOver()),
)


@dataclass
class Wish:
    """An Asking, its clock, and everything it asked for: (ms, effect)."""

    want: int = 100
    hub: bool = True
    centre: bool = True
    now_ms: int = 0
    asked: list[tuple[int, asking.Effect]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine = Asking()
        self.says(Begun(self.want, self.hub, self.centre, SECOND))

    def says(self, event: asking.Event, after_ms: int = 0) -> list[asking.Effect]:
        """An event, and what the timer brings before it."""
        until_ms = self.now_ms + after_ms
        while self.machine.due_ms is not None and self.machine.due_ms < until_ms:
            self.now_ms = self.machine.due_ms
            self._note(self.machine.step(TimeOver(), self.now_ms))
        self.now_ms = until_ms
        return self._note(self.machine.step(event, self.now_ms))

    def _note(self, effects: list[asking.Effect]) -> list[asking.Effect]:
        self.asked += [(self.now_ms, effect) for effect in effects]
        return effects


def test_the_hub_first_then_the_centre_for_the_rest_then_another_shop() -> None:
    wish = Wish(want=100)
    wish.says(HubAnswered(30), after_ms=20)
    wish.says(ClaimAnswered(10, asking=True), after_ms=30)
    wish.says(ClaimAnswered(10, asking=True), after_ms=AGAIN_MS + 30)
    wish.says(ClaimAnswered(70, asking=True), after_ms=AGAIN_MS + 30)
    assert wish.asked == [
        (0, AskHub(100)),
        (20, AskCentre(70)),
        (50 + AGAIN_MS, AskCentre(70)),
        (80 + 2 * AGAIN_MS, AskCentre(70)),
        (110 + 2 * AGAIN_MS, Done()),
    ]


@pytest.mark.parametrize(
    ("hub", "centre", "answers", "asked"),
    [
        (True, True, [HubAnswered(100)], [AskHub(100), Done()]),
        (True, False, [HubAnswered(30)], [AskHub(100), Done()]),  # no link: what the hub gave must do
        (True, False, [HubFailed()], [AskHub(100), Done()]),
        (False, True, [ClaimAnswered(100, False)], [AskCentre(100), Done()]),
        (False, True, [ClaimAnswered(40, False)], [AskCentre(100), Done()]),  # there is no more anywhere
        (True, True, [HubFailed(), ClaimFailed()], [AskHub(100), AskCentre(100), Done()]),
        (False, False, [], [Done()]),
    ],
)
def test_who_is_asked_for_how_much(
    hub: bool, centre: bool, answers: list[asking.Event], asked: list[asking.Effect]
) -> None:
    wish = Wish(hub=hub, centre=centre)
    for answer in answers:
        wish.says(answer, after_ms=10)
    assert [effect for _, effect in wish.asked] == asked


def test_a_hub_that_says_nothing_costs_a_third_of_the_second() -> None:
    wish = Wish()
    wish.says(ClaimAnswered(100, False), after_ms=HUB_MS + 50)
    assert wish.asked == [(0, AskHub(100)), (HUB_MS, AskCentre(100)), (HUB_MS + 50, Done())]


def test_when_the_second_is_over_the_sale_goes_on() -> None:
    wish = Wish()
    wish.says(TimeOver(), after_ms=5 * SECOND)
    assert wish.asked == [(0, AskHub(100)), (HUB_MS, AskCentre(100)), (SECOND, Done())]
    assert wish.says(ClaimAnswered(100, False)) == []


def test_an_answer_of_the_hub_that_comes_late_does_not_shorten_the_claim() -> None:
    wish = Wish()
    assert wish.says(HubAnswered(100), after_ms=HUB_MS + 1) == []
    wish.says(ClaimAnswered(100, False), after_ms=10)
    assert [effect for _, effect in wish.asked] == [AskHub(100), AskCentre(100), Done()]


@given(
    st.integers(-1, 120),
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(EVENTS, st.integers(0, 400)), max_size=12),
)
def test_whatever_happens(want: int, hub: bool, centre: bool, story: list[tuple[asking.Event, int]]) -> None:
    wish = Wish(want, hub, centre)
    given_by_hub = 0
    for event, after_ms in story:
        before = len(wish.asked)
        finished = any(isinstance(effect, Done) for _, effect in wish.asked)
        wish.says(event, after_ms)
        if isinstance(event, HubAnswered) and wish.now_ms < HUB_MS and before == len(wish.asked) - 1:
            given_by_hub = event.given
        if finished:
            assert len(wish.asked) == before  # a late answer changes nothing
    wish.says(TimeOver(), after_ms=SECOND)
    effects = [effect for _, effect in wish.asked]
    # Every path ends in Done, once, last, and within the second.
    assert effects.count(Done()) == 1
    assert effects[-1] == Done()
    assert wish.asked[-1][0] <= SECOND
    assert wish.machine.due_ms is None
    # The hub is asked first and once; the centre only for what is left, and always for the same.
    hubs = [effect for effect in effects if isinstance(effect, AskHub)]
    claims = [effect for effect in effects if isinstance(effect, AskCentre)]
    assert hubs == ([AskHub(want)] if hub and want > 0 else [])
    assert effects[: len(hubs)] == hubs
    assert not claims or (centre and len({claim.want for claim in claims}) == 1)
    assert all(0 < claim.want <= want for claim in claims)
    assert not claims or not hub or claims[0].want in (want, want - given_by_hub)
    # Nobody is asked again and again: the pauses bound it.
    assert len(claims) <= 1 + SECOND // AGAIN_MS


def test_the_picture_shows_every_way_of_asking_and_no_other() -> None:
    chance = random.Random(7)
    answers: list[asking.Event] = [
        HubAnswered(40), HubAnswered(100), HubFailed(), ClaimAnswered(10, True), ClaimAnswered(100, False),
        ClaimFailed(), TimeOver(),
    ]  # fmt: skip
    seen: set[str] = set()
    for _ in range(1_000):
        of, now_ms = Asking(), 0
        event: asking.Event = Begun(100, chance.random() < 0.7, chance.random() < 0.7, SECOND)
        for _ in range(6):
            before = of._stage.name.lower()
            over = before != "new" and now_ms >= SECOND
            if of.step(event, now_ms) or of._stage.name.lower() != before:
                label = '"the second is over", style=dashed' if over else f'"{type(event).__name__}"'
                seen.add(f"  {before} -> {of._stage.name.lower()} [label={label}]")
            event, now_ms = chance.choice(answers), now_ms + chance.choice([10, HUB_MS, SECOND])
    assert seen == set(asking.drawing().splitlines()[1:-1])
