"""Points are claimed at a counter: what is free at once, what another shop gives back a moment later."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from django.db import connections
from office import ANNA, Office, card_key
from pretend_till import PretendTill

from central.asgi import application
from central.fleet import polls
from central.intake.listening import LongPolls
from loyalty import ledger, wire
from loyalty.ledger import Posting

WAIT_S = 10
T = TypeVar("T")


@pytest.fixture
def shops(office: Office) -> tuple[int, PretendTill, PretendTill]:
    """Anna is at home in S1, whose till holds nine tenths of her 150 points; she stands in S2."""
    office.store("S1")
    office.store("S2")
    anna = office.member(ANNA, points="150.00", home="S1")
    at_home, away = office.till("S1"), office.till("S2")
    at_home.sync()
    away.sync()
    return anna, at_home, away


def claim(till: PretendTill, account: int, want: int, claim_id: str = "c1") -> wire.ClaimReply:
    down = till.down.get(ledger.bucket(account), 0)
    request = wire.ClaimRequest(wire.WIRE_VERSION, claim_id, account, want, down)
    return till._call("POST", f"/v1/tills/{till.id}/claim", request, wire.ClaimReply)


def gives_back(till: PretendTill, account: int) -> None:
    """What a till does with a RECALL."""
    till.sync()
    for lot, points in till.lots(account).items():
        back = (Posting(ledger.parcel(till.id), lot, -points), Posting(ledger.FREE, lot, points))
        till.parcels[account, lot] -= points
        till.write("RELEASE", account, back)
    till.sync()


# ------------------------------------------------------------------------------- claims


def test_what_is_free_is_granted_at_once_and_nobody_is_asked_who_does_not_listen(
    shops: tuple[int, PretendTill, PretendTill],
) -> None:
    anna, at_home, away = shops
    reply = claim(away, anna, 50_00)
    assert (reply.granted, reply.asking) == (15_00, False)
    assert at_home.sync().down == ()


def test_who_has_just_shown_her_card_finds_nothing_on_its_way_to_the_hub(office: Office) -> None:
    """Her first visit, at a till that is not the hub; the shop's other till syncs at that very moment."""
    office.store()
    hub, counter = office.till(), office.till()
    anna = office.member(ANNA, points="150.00")
    counter.lookup(card_key(ANNA))
    hub.sync()
    assert claim(counter, anna, 100_00).granted == 100_00
    office.minutes_pass(1)
    hub.sync()
    assert hub.held(anna) == 45_00  # nine tenths of the rest


def test_points_that_come_back_for_a_claim_are_not_placed_again_under_its_hands(
    office: Office, shops: tuple[int, PretendTill, PretendTill], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, at_home, away = shops
    monkeypatch.setattr(polls, "open_now", lambda: frozenset({at_home.id}))
    assert claim(away, anna, 100_00).asking
    gives_back(at_home, anna)  # and this sync places what is due in its store
    reply = claim(away, anna, 100_00)
    assert (reply.granted, reply.asking) == (100_00, False)
    at_home.sync()
    assert at_home.held(anna) == 0
    office.minutes_pass(1)
    at_home.sync()
    assert at_home.held(anna) == 45_00  # of the 50 that are left; she is still at home here


def test_a_claim_that_never_gets_its_points_does_not_hold_them_for_ever(
    office: Office, shops: tuple[int, PretendTill, PretendTill], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, at_home, away = shops
    monkeypatch.setattr(polls, "open_now", lambda: frozenset({at_home.id}))
    claim(away, anna, 1000_00)
    gives_back(at_home, anna)
    office.minutes_pass(1)
    at_home.sync()
    assert at_home.held(anna) == 121_50  # nine tenths of the 135 that came back


# ------------------------------------------------------------------------------ long polls


class Poll:
    """A long poll of a till; `gone` = it has hung up."""

    def __init__(self, till: PretendTill, query: str, wait_s: float = WAIT_S) -> None:
        self.gone = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/v1/tills/{till.id}/events",
            "query_string": query.encode(),
            "headers": [(b"authorization", f"Kopilka {till.id}:{till.session}".encode())],
        }
        self.task = asyncio.create_task(LongPolls(application, wait_s)(scope, self._receive, self._send))

    async def answer(self) -> tuple[int, wire.EventsReply | wire.Refusal]:
        await asyncio.wait_for(self.task, WAIT_S)
        start, body = self.sent
        kind = wire.EventsReply if start["status"] == 200 else wire.Refusal
        return start["status"], wire.unpack(kind, body["body"])

    async def _receive(self) -> dict[str, str]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)


async def elsewhere(do: Callable[..., T], *values: Any) -> T:
    """Something that reads the database, on a thread of its own."""

    def work() -> T:
        try:
            return do(*values)
        finally:
            connections.close_all()

    return await asyncio.to_thread(work)


async def listening(till: PretendTill, yes: bool = True) -> None:
    async with asyncio.timeout(WAIT_S):
        while (till.id in polls.open_now()) is not yes:
            await asyncio.sleep(0.005)  # another task is at it


def test_a_hub_that_listens_is_asked_and_hears_it_at_once(
    shops: tuple[int, PretendTill, PretendTill],
) -> None:
    anna, at_home, away = shops

    async def story() -> None:
        poll = Poll(at_home, f"heard={sum(at_home.down.values())}")
        await listening(at_home)
        reply = await elsewhere(claim, away, anna, 100_00)
        assert (reply.granted, reply.asking) == (15_00, True)
        status, answer = await poll.answer()
        assert (status, answer.sync) == (200, True)
        await elsewhere(gives_back, at_home, anna)
        assert (await elsewhere(claim, away, anna, 100_00)).granted == 100_00

    asyncio.run(story())


def test_a_poll_ends_with_nothing_when_nothing_comes(shops: tuple[int, PretendTill, PretendTill]) -> None:
    _, at_home, _ = shops

    async def story() -> None:
        status, answer = await Poll(at_home, f"heard={sum(at_home.down.values())}", wait_s=0.01).answer()
        assert (status, answer.sync) == (200, False)
        assert at_home.id not in polls.open_now()

    asyncio.run(story())


def test_what_a_till_missed_between_two_polls_is_found(shops: tuple[int, PretendTill, PretendTill]) -> None:
    _, at_home, _ = shops

    async def story() -> None:
        status, answer = await Poll(at_home, "heard=0").answer()
        assert (status, answer.sync) == (200, True)

    asyncio.run(story())


def test_a_till_that_has_gone_is_not_asked_any_more(shops: tuple[int, PretendTill, PretendTill]) -> None:
    anna, at_home, away = shops

    async def story() -> None:
        poll = Poll(at_home, f"heard={sum(at_home.down.values())}")
        await listening(at_home)
        poll.gone.set()
        await asyncio.wait_for(poll.task, WAIT_S)
        assert poll.sent == []
        assert not (await elsewhere(claim, away, anna, 100_00)).asking

    asyncio.run(story())


def test_a_centre_that_stops_lets_nobody_wait(
    shops: tuple[int, PretendTill, PretendTill], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, at_home, _ = shops
    monkeypatch.setattr(polls, "_closing", threading.Event())

    async def story() -> None:
        poll = Poll(at_home, f"heard={sum(at_home.down.values())}")
        await listening(at_home)
        polls.close()
        assert not (await poll.answer())[1].sync
        late = Poll(at_home, f"heard={sum(at_home.down.values())}")
        assert not (await late.answer())[1].sync

    asyncio.run(story())


@pytest.mark.parametrize("query", ["", "heard=", "heard=-1", "heard=many", f"heard={10**20}"])
def test_a_poll_that_cannot_be_understood(shops: tuple[int, PretendTill, PretendTill], query: str) -> None:
    async def story() -> None:
        assert (await Poll(shops[1], query).answer())[0] == 400

    asyncio.run(story())


def test_a_poll_of_somebody_else(shops: tuple[int, PretendTill, PretendTill]) -> None:
    _, at_home, away = shops

    async def story() -> None:
        at_home.session = "guessed"
        assert (await Poll(at_home, "heard=0").answer())[0] == 401
        away.id, other = at_home.id, away.id
        assert (await Poll(away, "heard=0").answer())[0] == 401  # its session, under another's name
        away.id = other

    asyncio.run(story())
