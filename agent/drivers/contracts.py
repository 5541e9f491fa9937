"""What the drivers promise to the till, in the words of UnifiedPOS.

A device runs in a thread of its own and speaks to the till in events: it hands
each one to a `post` callable, which must not block (the till's inbox). A
scanner is *enabled* by `start` and *released* by `stop`; a printer takes jobs
and says how each ends: OutputComplete, OutputFailed or OutputUnknown. Before
that one may be OutputWaiting; and one that is unknown may prove complete later.

The difference between failed and unknown is money: a slip that *failed* never
reached the printer and may be printed again; one that is *unknown* may hang on
the paper already, and a second one would be a second receipt. The till shows
both and repeats neither by itself (till.md §5). One that *waits* has certainly
not been sent, and is printed when the printer is ready.

`data` of a scan is hidden from repr: it may be a card number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from agent.drivers.document import Document
from loyalty.texts import Text

Source = Literal["barcode", "track2"]
Condition = Literal["online", "degraded", "lost", "busy", "denied"]


@dataclass(frozen=True, slots=True)
class ScanData:
    """One scan or swipe, terminators taken off, otherwise as the device sent it.

    `source` is "track2" for anything that looks like a swipe (`data` then holds all its tracks, sentinels
    included). `at_ms` is monotonic milliseconds: the kernel's for evdev, else the time of reading.
    """

    device: str
    data: str = field(repr=False)
    source: Source
    at_ms: int
    symbology: str | None = None


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """The device read something and lost it; `reason` asks for another scan."""

    device: str
    reason: Text
    at_ms: int


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device came or went. `hint` says what to do; None when nothing is to be done.

    "degraded": it works, and not as it should; "busy": another program has it; "denied": no right to use it.
    """

    device: str
    state: Condition
    hint: Text | None = None


@dataclass(frozen=True, slots=True)
class OutputComplete:
    """The job is on paper (or, for a printer that cannot say so, has left this machine whole)."""

    device: str
    job_id: str


@dataclass(frozen=True, slots=True)
class OutputFailed:
    """Nothing of the job reached the printer."""

    device: str
    job_id: str
    reason: Text


@dataclass(frozen=True, slots=True)
class OutputUnknown:
    """The job was sent, and nobody knows whether it is on paper: look at the printer."""

    device: str
    job_id: str
    reason: Text


@dataclass(frozen=True, slots=True)
class OutputWaiting:
    """Nothing of the job was sent: it waits until the printer can take it, and ends like any other then."""

    device: str
    job_id: str
    reason: Text


OutputEvent = OutputComplete | OutputFailed | OutputUnknown | OutputWaiting
DeviceEvent = ScanData | ReadFailed | DeviceState | OutputEvent
Post = Callable[[DeviceEvent], None]


class Scanner(Protocol):
    """A barcode scanner or card reader."""

    @property
    def name(self) -> str:
        """As the configuration calls it."""
        ...

    def start(self) -> None:
        """Begin to read; a device that is not there yet is waited for. Returns at once."""
        ...

    def stop(self) -> None:
        """Release the device and end its thread. Safe to call twice."""
        ...


class LineDisplay(Protocol):
    """A customer's display of two rows of twenty letters."""

    @property
    def name(self) -> str:
        """As the configuration calls it."""
        ...

    def start(self) -> None:
        """Begin to show; a display that is not there yet is waited for. Returns at once."""
        ...

    def show(self, rows: tuple[str, str]) -> None:
        """Show these rows; of those that come faster than it can show them, the last. Never blocks."""
        ...

    def look_again(self) -> None:
        """Something was plugged in."""
        ...

    def stop(self) -> None:
        """Leave what is to stand on it at the end, and end the thread. Safe to call twice."""
        ...


class POSPrinter(Protocol):
    """A receipt printer."""

    @property
    def name(self) -> str:
        """As the configuration calls it."""
        ...

    def start(self) -> None:
        """Begin to take jobs; the printer itself is connected to anew for each. Returns at once."""
        ...

    def submit(self, job_id: str, job: Document | bytes) -> None:
        """Print `job` once. Never blocks, never raises; output events follow."""
        ...

    def open_drawer(self, act_id: str) -> None:
        """Open the cash drawer that hangs on it. Never blocks, never raises; an output event follows."""
        ...

    def look_again(self) -> None:
        """Something was plugged in."""
        ...

    def stop(self) -> None:
        """Finish the job in hand, keep the waiting ones, end the thread. Safe to call twice."""
        ...
