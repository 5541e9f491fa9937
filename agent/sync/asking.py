"""Whom to ask for points that do not lie here, in which order, and for how long (ledger-sync.md §5.4).

**Theory.** A sale that would spend more than this till holds asks, one after the other:

    Begun ──► AskHub ──► AskCentre ──► (another shop gives back: AskCentre again) ──► Done
              300 ms at most, on the LAN                   all of it within one second

Each is asked only for what the one before did not give, so that no more points come here than
the sale wants. Without a hub the order begins at the centre, without a link it ends at the hub.
Every path ends in Done, at the latest when the second is over; then the sale is priced with what
lies here. An answer that comes after its time changes nothing here: its points are this till's
parcels by then, and go back unasked where nobody spends them.

The order stands in `CELLS`, and `drawing()` prints it; docs/ledger.md shows the picture.

No clock and no socket: `now_ms` is monotonic and comes with every event, and `due_ms` says when
TimeOver should come at the latest. One object, one wish.
"""

from __future__ import annotations

from collections.abc import Callable
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
        cell = CELLS.get((self._stage, type(event)))
        return cell.do(self, event, now_ms) if cell is not None else []

    def is_due(self, now_ms: int) -> bool:
        """Is it time for TimeOver?"""
        return self.due_ms is not None and now_ms >= self.due_ms

    def _begin(self, begun: Begun, now_ms: int) -> list[Effect]:
        self._left, self._centre, self._until_ms = begun.want, begun.centre, begun.until_ms
        if begun.want <= 0 or now_ms >= begun.until_ms or not (begun.hub or begun.centre):
            return self._done()
        if not begun.hub:
            return self._ask_centre()
        self._stage, self.due_ms = _Stage.HUB, min(now_ms + HUB_MS, begun.until_ms)
        return [AskHub(begun.want)]

    def _hub_answered(self, event: HubAnswered, _now_ms: int) -> list[Effect]:
        self._left -= event.given
        return self._ask_centre()

    def _hub_failed(self, _: HubFailed, _now_ms: int) -> list[Effect]:
        return self._ask_centre()

    def _time_over(self, _: TimeOver, now_ms: int) -> list[Effect]:
        return self._ask_centre() if self.is_due(now_ms) else []

    def _claim_answered(self, event: ClaimAnswered, now_ms: int) -> list[Effect]:
        if not event.asking or event.granted >= self._left:
            return self._done()
        self._stage, self.due_ms = _Stage.PAUSE, min(now_ms + AGAIN_MS, self._until_ms)
        return []

    def _claim_failed(self, _: ClaimFailed, _now_ms: int) -> list[Effect]:
        return self._done()

    def _ask_centre(self) -> list[Effect]:
        if self._left <= 0 or not self._centre:
            return self._done()
        self._stage, self.due_ms = _Stage.CENTRE, self._until_ms
        return [AskCentre(self._left)]

    def _done(self) -> list[Effect]:
        self._stage, self.due_ms = _Stage.DONE, None
        return [Done()]


@dataclass(frozen=True, slots=True)
class _Cell:
    """What an event does at a stage, and the stages to which it may lead."""

    do: Callable[..., list[Effect]]
    to: tuple[_Stage, ...]


CELLS: dict[tuple[_Stage, type], _Cell] = {
    (_Stage.NEW, Begun): _Cell(Asking._begin, (_Stage.HUB, _Stage.CENTRE, _Stage.DONE)),
    (_Stage.HUB, HubAnswered): _Cell(Asking._hub_answered, (_Stage.CENTRE, _Stage.DONE)),
    (_Stage.HUB, HubFailed): _Cell(Asking._hub_failed, (_Stage.CENTRE, _Stage.DONE)),
    (_Stage.HUB, TimeOver): _Cell(Asking._time_over, (_Stage.CENTRE, _Stage.DONE)),
    (_Stage.CENTRE, ClaimAnswered): _Cell(Asking._claim_answered, (_Stage.PAUSE, _Stage.DONE)),
    (_Stage.CENTRE, ClaimFailed): _Cell(Asking._claim_failed, (_Stage.DONE,)),
    (_Stage.PAUSE, TimeOver): _Cell(Asking._time_over, (_Stage.CENTRE,)),
}
"""While the second lasts; when it is over, whatever comes leads to DONE."""


def drawing() -> str:
    """The cells as a Graphviz digraph."""
    rows = [
        f'  {stage.name.lower()} -> {to.name.lower()} [label="{event.__name__}"]'
        for (stage, event), cell in CELLS.items()
        for to in cell.to
    ]
    asking = [stage.name.lower() for stage in (_Stage.HUB, _Stage.CENTRE, _Stage.PAUSE)]
    over = [f'  {stage} -> done [label="the second is over", style=dashed]' for stage in asking]
    return "digraph asking {\n" + "\n".join([*rows, *over]) + "\n}\n"
