"""From frames to scans: the lines of one swipe become one.

A magstripe reader that types sends one to three tracks, each perhaps with an
Enter of its own: `%B...?` `;...?` `+...?`. Deciding on the first line would take
half a swipe for the whole, so track lines are held until the device has been
quiet for SWIPE_WINDOW_MS. (Quiet, not "until the next line is there": a slow
reader types track 2 for half a second.) Everything else passes at once, as a
barcode. Sans-IO, like the framers.

A combined reader may send a swipe without an Enter and a barcode right behind it,
in one line: `%B...?4006381333931`. The last end sentinel parts the two. (One or two
characters behind it are a check character that some readers pass on.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from agent.drivers.contracts import Source
from agent.drivers.frames import Frame, KeyEvent, Raw

SWIPE_WINDOW_MS = 150
MAX_TRACKS = 3

_SENTINELS = ("%", ";", "+")
_TRACK_LINE = re.compile(r"[%;+].*\?\Z", re.DOTALL)
_SWIPE_THEN_CODE = re.compile(r"((?:[%;+][^?]*\?){1,3})([^%;+?].{2,})\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Scan:
    """One barcode, or one whole swipe; hidden from repr.

    `raw` is what it was read from; None where that cannot be parted from another scan's.
    """

    text: str = field(repr=False)
    source: Source
    at_ms: int
    symbology: str | None = None
    raw: Raw | None = field(default=None, repr=False, compare=False)


class SwipeAssembler:
    """Holds the lines of a swipe until they are all there."""

    def __init__(self) -> None:
        self._lines: list[Frame] = []
        self._heard_ms = 0

    def heard(self, at_ms: int) -> None:
        """The device sent something at `at_ms`, be it half a line: a swipe in hand is not over."""
        self._heard_ms = max(self._heard_ms, at_ms)

    def feed(self, frame: Frame) -> list[Scan]:
        """The scans that are complete now."""
        self.heard(frame.at_ms)
        is_stripe = frame.text.startswith(_SENTINELS)
        both = _SWIPE_THEN_CODE.match(frame.text) if is_stripe else None
        if both:
            self._lines.append(Frame(both[1], frame.at_ms))
            return [*self._flush(), Scan(both[2], "barcode", frame.at_ms)]
        if not (is_stripe and _TRACK_LINE.match(frame.text)):
            return [*self._flush(), Scan(frame.text, "barcode", frame.at_ms, frame.symbology, frame.raw)]
        if frame.whole:
            return [*self._flush(), Scan(frame.text, "track2", frame.at_ms, raw=frame.raw)]
        self._lines.append(frame)
        return self._flush() if self._tracks() >= MAX_TRACKS else []

    @property
    def due_ms(self) -> int | None:
        """When the swipe in hand is taken as whole."""
        return self._heard_ms + SWIPE_WINDOW_MS if self._lines else None

    def idle(self, now_ms: int) -> list[Scan]:
        """The swipe whose window has passed by `now_ms`, if any."""
        due = self.due_ms
        return self._flush() if due is not None and now_ms >= due else []

    def _tracks(self) -> int:
        return sum(line.text.count("?") for line in self._lines)

    def _flush(self) -> list[Scan]:
        if not self._lines:
            return []
        text = "".join(line.text for line in self._lines)
        scan = Scan(text, "track2", self._lines[0].at_ms, raw=_joined([line.raw for line in self._lines]))
        self._lines = []
        return [scan]


def _joined(raws: list[Raw | None]) -> Raw | None:
    """The lines of a swipe as one; they are all of one device, so all bytes or all key events."""
    keys: list[KeyEvent] = []
    data = bytearray()
    for raw in raws:
        if raw is None:
            return None
        if isinstance(raw, bytes):
            data += raw
        else:
            keys += raw
    return tuple(keys) if keys else bytes(data)
