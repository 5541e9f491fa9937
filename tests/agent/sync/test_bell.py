"""The long poll that wakes the sync: at once when there is something, and never in circles."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from agent.sync import bell
from agent.sync.bell import BellThread
from agent.sync.client import CentreRefusal, LinkError
from loyalty.wire import EventsReply

WAIT_S = 10


@dataclass
class Till:
    """A centre whose polls end as the test says, and a sync that is only counted."""

    polls: queue.SimpleQueue[tuple[int, str]] = field(default_factory=queue.SimpleQueue)
    ends: queue.SimpleQueue[bool | Exception] = field(default_factory=queue.SimpleQueue)
    syncs: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)
    pauses: queue.SimpleQueue[float] = field(default_factory=queue.SimpleQueue)
    session: str = "s1"
    heard: int = 0
    brings: int = 1  # messages that a sync applies
    closed: threading.Event = field(default_factory=threading.Event)

    def events(self, heard: int, session: str) -> EventsReply:
        self.polls.put((heard, session))
        end = self.ends.get(timeout=WAIT_S)
        if isinstance(end, Exception):
            raise end
        return EventsReply(end, 0)

    def close(self) -> None:
        self.closed.set()

    def wake(self, done: Callable[[], None]) -> None:
        self.heard += self.brings
        self.syncs.put(self.heard)
        done()


@pytest.fixture
def till(monkeypatch: pytest.MonkeyPatch) -> Iterator[Till]:
    till = Till()
    thread = BellThread(till, lambda: till.session, lambda: till.heard, till.wake)

    def pause_s() -> float:
        till.pauses.put(thread._in_vain)
        return 0.0

    monkeypatch.setattr(thread, "_pause_s", pause_s)
    thread.start()
    yield till
    thread.stop()
    till.ends.put(False)
    assert till.closed.wait(WAIT_S)


def test_the_bell_wakes_the_sync_and_listens_on_from_there(till: Till) -> None:
    assert till.polls.get(timeout=WAIT_S) == (0, "s1")
    till.ends.put(True)
    assert till.syncs.get(timeout=WAIT_S) == 1
    assert till.polls.get(timeout=WAIT_S) == (1, "s1")
    till.ends.put(False)  # nothing for a while: again, at once
    assert till.polls.get(timeout=WAIT_S) == (1, "s1")
    assert till.syncs.empty()
    assert till.pauses.empty()


@pytest.mark.parametrize("trouble", [LinkError("down"), CentreRefusal(401, None, None), RuntimeError("ours")])
def test_a_centre_that_is_away_is_asked_more_and_more_seldom(till: Till, trouble: Exception) -> None:
    for failed in (1, 2, 3):
        till.polls.get(timeout=WAIT_S)
        till.ends.put(trouble)
        assert till.pauses.get(timeout=WAIT_S) == failed
    till.polls.get(timeout=WAIT_S)
    till.ends.put(False)
    till.polls.get(timeout=WAIT_S)
    assert till.pauses.empty()


def test_a_bell_that_rings_for_what_cannot_be_heard_does_not_ring_in_circles(till: Till) -> None:
    till.brings = 0  # the downlink has stopped: the agent must be updated
    for failed in (1, 2):
        till.polls.get(timeout=WAIT_S)
        till.ends.put(True)
        assert till.pauses.get(timeout=WAIT_S) == failed
    till.polls.get(timeout=WAIT_S)


def test_a_link_that_is_back_ends_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an outage another shop may want points from here at once, and not in a minute."""
    till = Till()
    thread = BellThread(till, lambda: till.session, lambda: till.heard, till.wake)

    def pause_s() -> float:
        till.pauses.put(thread._in_vain)
        return 3600.0

    monkeypatch.setattr(thread, "_pause_s", pause_s)
    thread.start()
    till.polls.get(timeout=WAIT_S)
    till.ends.put(LinkError("down"))
    assert till.pauses.get(timeout=WAIT_S) == 1
    thread.link_is_back()
    till.polls.get(timeout=WAIT_S)
    till.ends.put(LinkError("down after all"))
    assert till.pauses.get(timeout=WAIT_S) == 1  # it counts anew
    thread.stop()
    assert till.closed.wait(WAIT_S)


def test_pauses_have_a_bound() -> None:
    thread = BellThread(Till(), str, int, lambda _: None)
    thread._in_vain = 10_000
    assert 0 <= thread._pause_s() <= bell.PAUSE_MAX_S


def test_before_the_first_sync_there_is_nobody_to_listen_as() -> None:
    till = Till(session="")
    thread = BellThread(till, lambda: till.session, lambda: till.heard, till.wake)
    thread.start()
    till.session = "s1"
    assert till.polls.get(timeout=WAIT_S) == (0, "s1")
    thread.stop()
    till.ends.put(False)
    assert till.closed.wait(WAIT_S)
