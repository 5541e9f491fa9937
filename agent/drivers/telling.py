"""How a device says that it is lost or back: once each, however often it is found again.

A loose cable or a drawer's magnet can make a device come and go all day. Whoever shows its
state hears every change; the log hears LOGGED_MAX of them and is then quiet until the device
has been steady for QUIET_MS.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from agent.drivers.contracts import DeviceState, Post

log = logging.getLogger(__name__)

LOGGED_MAX = 6
QUIET_MS = 60_000


def monotonic_ms() -> int:
    """The clock of every `at_ms`."""
    return time.monotonic_ns() // 1_000_000


class Teller:
    """One device's voice; `kind` is the log's word for it. Used by the device's own thread only."""

    def __init__(self, kind: str, name: str, post: Post, now_ms: Callable[[], int] = monotonic_ms) -> None:
        self._kind, self._name = kind, name
        self._post = post
        self._now_ms = now_ms
        self._state: DeviceState | None = None
        self._logged = 0
        self._changed_ms = 0

    @property
    def last_state(self) -> str | None:
        """What was said last."""
        return self._state.state if self._state is not None else None

    def say(self, state: DeviceState) -> None:
        """Post and log `state`, if it is news."""
        if state == self._state:
            return
        self._log(state)
        self._state = state
        self._post(state)

    def _log(self, state: DeviceState) -> None:
        now_ms = self._now_ms()
        if now_ms - self._changed_ms > QUIET_MS:
            self._logged = 0
        self._changed_ms = now_ms
        self._logged += 1
        if self._logged > LOGGED_MAX:
            return
        if state.state == "online":
            log.info("%s %s: online", self._kind, self._name)
        else:
            log.warning("%s %s: %s: %s", self._kind, self._name, state.state, state.hint)
        if self._logged == LOGGED_MAX:
            log.warning("%s %s comes and goes: check its cable; not logged any more", self._kind, self._name)
