"""HID POS scanners (usage page 0x8C): from reports to frames.

No keyboard is made of such a scanner, so nothing can leak to a console, no layout matters, and it says the
symbology by itself. Where a scanner offers this mode it is the best one.

A report as Honeywell, Metrologic and Zebra send it, 64 bytes:

    id  length  ] c m  data…        …  more
    id  ] c m  length  data…        …  more       (some put the AIM identifier first)

`more` (the last byte) says that the code goes on in the next report. Sans-IO.
"""

from __future__ import annotations

from agent.drivers.frames import MAX_FRAME_BYTES, Dropped, Frame, Framed
from loyalty.symbology import split, symbology_of

USAGE_PAGE = 0x8C
_BRACKET = 0x5D
_HEAD = 5  # id, length, AIM identifier
_TAIL = 3  # the maker's own symbology, a reserved byte, `more`
_ENDS = "\r\n\t\0"


class PosDecoder:
    """One scanner's reports. `feed` takes a whole report, its id first."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._aim = ""
        self._discarding = False

    def feed(self, report: bytes, at_ms: int) -> list[Framed]:
        """The code that ends with this report, if one does."""
        if len(report) < _HEAD + _TAIL:
            return []
        has_more = report[-1] & 1
        aim, data = _parts(report)
        if data is None or len(self._data) + len(data) > MAX_FRAME_BYTES:
            self._discarding = True
        elif not self._discarding:
            self._aim = self._aim or aim
            self._data += data
        if has_more:
            return []
        return self._end(at_ms)

    def _end(self, at_ms: int) -> list[Framed]:
        text, aim, is_lost = self._data.decode("utf-8", "replace").strip(_ENDS), self._aim, self._discarding
        self._data.clear()
        self._aim, self._discarding = "", False
        if is_lost:
            return [Dropped(at_ms)]
        return [Frame(text, at_ms, symbology_of(split(aim)[0]))] if text else []


def _parts(report: bytes) -> tuple[str, bytes | None]:
    """AIM identifier and data; no data where the length cannot be right."""
    if report[1] == _BRACKET and report[2] != _BRACKET:
        aim, length = report[1:4], report[4]
    else:
        length, aim = report[1], report[2:5]
    if length > len(report) - _HEAD - _TAIL:
        return "", None
    return aim.decode("ascii", "replace"), report[_HEAD : _HEAD + length]
