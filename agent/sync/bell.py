"""The centre's bell: a long poll that wakes the sync when there is something for this till (§7, `events`).

Every till that has a link holds one, not the hubs alone: any till may hold points that are wanted
elsewhere, and news should not wait for the next sync of anybody.

The centre compares what it has sent with what this till has applied (`heard`), so nothing is missed
between two polls. A poll that says "sync" when the sync before has brought nothing forward (a
downlink that waits for an update of the agent) is followed by a pause, and so is one that fails. The
pause ends when a sync finds the link back: the shop's points may be wanted elsewhere at once.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Protocol

from agent.sync.client import CentreRefusal, LinkError
from loyalty.wire import EventsReply

log = logging.getLogger(__name__)

PAUSE_FIRST_S = 1.0
PAUSE_MAX_S = 60.0
SYNC_WAIT_S = 60.0  # how long a round that the bell has started may take


class Events(Protocol):
    """The centre, as this thread asks it."""

    def events(self, heard: int, session: str) -> EventsReply:
        """Wait until the centre has something to say, or has nothing for a while."""

    def close(self) -> None:
        """Let the connection go."""


class BellThread:
    """`session` = the newest one ("" before the first sync); `heard` = messages applied in all.

    `wake(done)` starts a sync at once; `done` is to be called when its round has ended, well or not.
    """

    def __init__(
        self,
        centre: Events,
        session: Callable[[], str],
        heard: Callable[[], int],
        wake: Callable[[Callable[[], None]], None],
    ) -> None:
        self._centre = centre
        self._session = session
        self._heard = heard
        self._wake = wake
        self._random = random.SystemRandom()
        self._stopping = threading.Event()
        self._link_is_back = threading.Event()
        self._in_vain = 0  # polls in a row that failed, or moved nothing
        self._fault = ""  # of the poll before, so that the same one is logged once
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End. A poll in flight is not waited for: it may stand for half a minute, and touches nothing."""
        self._stopping.set()
        self._link_is_back.set()

    def link_is_back(self) -> None:
        """A sync got through after some that did not. Any thread."""
        self._link_is_back.set()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._poll()
                if self._in_vain and self._link_is_back.wait(self._pause_s()):
                    self._in_vain = 0
                self._link_is_back.clear()
        finally:
            self._centre.close()

    def _pause_s(self) -> float:
        return self._random.uniform(0, min(PAUSE_MAX_S, PAUSE_FIRST_S * 2 ** min(self._in_vain, 10)))

    def _poll(self) -> None:
        """One poll to its end. The top of this thread: it outlives every fault."""
        session = self._session()
        if not session:
            self._in_vain = 1  # the first sync is on its way
            return
        try:
            heard = self._heard()
            called = self._centre.events(heard, session).sync
            if called and not self._stopping.is_set():
                self._sync()
                self._in_vain = 0 if self._heard() > heard else self._in_vain + 1
            else:
                self._in_vain = 0
            self._fault = ""
        except (LinkError, CentreRefusal):
            self._in_vain += 1
        except Exception as error:
            self._in_vain += 1
            if type(error).__name__ != self._fault:
                self._fault = type(error).__name__
                log.exception("the centre's bell could not be heard; it is tried again")

    def _sync(self) -> None:
        over = threading.Event()
        self._wake(over.set)
        over.wait(SYNC_WAIT_S)
