"""Whom to ask for points that do not lie here, in which order, and for how long (ledger-sync.md §5.4).

**Theory.** A sale that would spend more than this till holds asks, one after the other:

    Begun ──► AskHub ──► AskCentre ──► (another shop gives back: AskCentre again) ──► Done
              300 ms at most, on the LAN                   all of it within one second

Each is asked only for what the one before did not give, so that no more points come here than
the sale wants. Without a hub the order begins at the centre, without a link it ends at the hub.
Every path ends in Done, at the latest when the second is over; then the sale is priced with what
lies here. An answer that comes after its time changes nothing here: its points are this till's
parcels by then, and go back unasked where nobody spends them.

No clock and no socket: `now_ms` is monotonic and comes with every event, and `due_ms` says when
TimeOver should come at the latest. One object, one wish.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

HUB_MS = 300
AGAIN_MS = 100  # between two questions to the centre while another shop gives back


@dataclass(frozen=True, slots=True)
class HubPlace:
    """The hub to ask: which till it is, where it listens, and its public key (raw Ed25519)."""

    till: str
    url: str
    key: bytes


# ------------------------------------------------------------------------------ events


@dataclass(frozen=True, slots=True)
class Begun:
    """`want` hundredths are missing. `hub`, `centre` = can be asked; until `until_ms` and no longer."""

    want: int
    hub: bool
    centre: bool
    until_ms: int


@dataclass(frozen=True, slots=True)
class HubAnswered:
    """The hub gave so many hundredths (they lie here already), or 0."""

    given: int


@dataclass(frozen=True, slots=True)
class HubFailed:
    """No answer of the hub, or none that can be believed."""


@dataclass(frozen=True, slots=True)
class ClaimAnswered:
    """The centre has granted so many hundredths of this claim so far.

    `asking` = it asks another shop for the rest.
    """

    granted: int
    asking: bool


@dataclass(frozen=True, slots=True)
class ClaimFailed:
    """No answer of the centre, or none that can be believed."""


@dataclass(frozen=True, slots=True)
class TimeOver:
    """It is `due_ms` or later."""


Event: TypeAlias = Begun | HubAnswered | HubFailed | ClaimAnswered | ClaimFailed | TimeOver

# ----------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class AskHub:
    """Ask the store's hub for `want` hundredths."""

    want: int


@dataclass(frozen=True, slots=True)
class AskCentre:
    """Claim `want` hundredths at the centre; asked again, it is the same claim."""

    want: int


@dataclass(frozen=True, slots=True)
class Done:
    """Price the sale with what lies here now."""


Effect: TypeAlias = AskHub | AskCentre | Done


class _Stage(Enum):
    NEW = auto()
    HUB = auto()
    CENTRE = auto()
    PAUSE = auto()  # before the centre is asked again
    DONE = auto()


class Asking:
    """See the top of this file."""

    def __init__(self) -> None:
        self._stage = _Stage.NEW
        self._left = 0
        self._centre = False
        self._until_ms = 0
        self.due_ms: int | None = None  # when TimeOver should come

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        """What to do after `event`. An event that nobody waits for any more does nothing."""
        if self._stage in (_Stage.HUB, _Stage.CENTRE, _Stage.PAUSE) and now_ms >= self._until_ms:
            return self._done()  # whatever has come: its points, if any, are here, and the sale goes on
        match (self._stage, event):
            case (_Stage.NEW, Begun(want, hub, centre, until_ms)):
                return self._begin(want, hub, centre, until_ms, now_ms)
            case (_Stage.HUB, HubAnswered(given)):
                self._left -= given
                return self._ask_centre()
            case (_Stage.HUB, HubFailed()):
                return self._ask_centre()
            case (_Stage.HUB, TimeOver()) if self.is_due(now_ms):
                return self._ask_centre()
            case (_Stage.CENTRE, ClaimAnswered(granted, asking)) if asking and granted < self._left:
                self._stage, self.due_ms = _Stage.PAUSE, min(now_ms + AGAIN_MS, self._until_ms)
                return []
            case (_Stage.CENTRE, ClaimAnswered() | ClaimFailed()):
                return self._done()
            case (_Stage.PAUSE, TimeOver()) if self.is_due(now_ms):
                return self._ask_centre()
        return []

    def is_due(self, now_ms: int) -> bool:
        """Is it time for TimeOver?"""
        return self.due_ms is not None and now_ms >= self.due_ms

    def _begin(self, want: int, hub: bool, centre: bool, until_ms: int, now_ms: int) -> list[Effect]:
        self._left, self._centre, self._until_ms = want, centre, until_ms
        if want <= 0 or now_ms >= until_ms or not (hub or centre):
            return self._done()
        if not hub:
            return self._ask_centre()
        self._stage, self.due_ms = _Stage.HUB, min(now_ms + HUB_MS, until_ms)
        return [AskHub(want)]

    def _ask_centre(self) -> list[Effect]:
        if self._left <= 0 or not self._centre:
            return self._done()
        self._stage, self.due_ms = _Stage.CENTRE, self._until_ms
        return [AskCentre(self._left)]

    def _done(self) -> list[Effect]:
        self._stage, self.due_ms = _Stage.DONE, None
        return [Done()]
