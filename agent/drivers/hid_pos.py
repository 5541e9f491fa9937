"""HID POS scanners (usage page 0x8C): from reports to frames.

No keyboard is made of such a scanner, so nothing can leak to a console, no layout matters, and it says the
symbology by itself. Where a scanner offers this mode it is the best one.

Where the parts of a report are, its descriptor tells (HID Point of Sale Usage Tables 1.02): the AIM
identifier, the code, a count of its bytes (or zeros behind it), and whether it goes on in the next report.
Where a descriptor does not tell, the report is taken for what Honeywell, Metrologic and Zebra send, 64 bytes:

    id  length  ] c m  data…        …  more
    id  ] c m  length  data…        …  more       (some put the AIM identifier first)

A code whose next report does not come, or comes from another code, is lost and said to be: what is joined
wrongly would be a wrong code that looks right. Sans-IO.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.drivers.frames import MAX_FRAME_BYTES, Dropped, Frame, Framed
from agent.drivers.hid_descriptor import Descriptor, Field
from loyalty.symbology import split, symbology_of

USAGE_PAGE = 0x8C
CONTINUED_MS = 1_000
_GENERIC_PAGE, _BYTE_COUNT = 0x01, 0x3B
_AIM_1, _DATA, _CONTINUED = 0xFB, 0xFE, 0xFF
_AIM = re.compile(rb"\][A-Za-z][0-9A-Za-z]")
_BRACKET = 0x5D
_HEAD = 5  # id, length, AIM identifier
_TAIL = 3  # the maker's own symbology, a reserved byte, `more`
_ENDS = "\r\n\t\0"


@dataclass(frozen=True, slots=True)
class _Piece:
    """One report's part of a code. `data` is None where its length cannot be right."""

    aim: str
    data: bytes | None
    has_more: bool


class PosDecoder:
    """One scanner's reports. `feed` takes a whole report, its id first (where the device has ids)."""

    def __init__(self, descriptor: Descriptor | None = None) -> None:
        self._layout = _layout(descriptor) if descriptor is not None else None
        self._data = bytearray()
        self._aim = ""
        self._discarding = False
        self._due_ms: int | None = None

    def feed(self, report: bytes, at_ms: int) -> list[Framed]:
        """The code that ends with this report, if one does."""
        out = self.idle(at_ms)
        piece = self._layout.piece(report) if self._layout is not None else _guessed(report)
        if piece is None:
            return out
        if self._due_ms is not None and piece.aim and self._aim and piece.aim != self._aim:
            out += self._lost(at_ms)
        if piece.data is None or len(self._data) + len(piece.data) > MAX_FRAME_BYTES:
            self._discarding = True
            self._data.clear()
        elif not self._discarding:
            self._aim = self._aim or piece.aim
            self._data += piece.data
        if piece.has_more:
            self._due_ms = at_ms + CONTINUED_MS
            return out
        return out + (self._lost(at_ms) if self._discarding else self._end(at_ms))

    @property
    def due_ms(self) -> int | None:
        """When a code that was to go on is given up, in monotonic milliseconds."""
        return self._due_ms

    def idle(self, now_ms: int) -> list[Framed]:
        """Gives a code up whose next report has not come by `now_ms`."""
        return self._lost(now_ms) if self._due_ms is not None and now_ms >= self._due_ms else []

    def _end(self, at_ms: int) -> list[Framed]:
        text, aim = self._data.decode("utf-8", "replace").strip(_ENDS), self._aim
        self._forget()
        return [Frame(text, at_ms, symbology_of(split(aim)[0]))] if text else []

    def _lost(self, at_ms: int) -> list[Framed]:
        self._forget()
        return [Dropped(at_ms)]

    def _forget(self) -> None:
        self._data.clear()
        self._aim, self._discarding, self._due_ms = "", False, None


# ---- where the descriptor tells


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the parts are, in bytes from the beginning of the report; `more` is a byte and a bit of it."""

    report_id: int | None
    data: int
    room: int
    aim: int | None
    count: slice | None
    more: tuple[int, int] | None

    def piece(self, report: bytes) -> _Piece | None:
        """None: a report of another kind."""
        if self.report_id is not None and report[:1] != bytes((self.report_id,)):
            return None
        data = report[self.data : self.data + self.room]
        if len(data) < self.room:
            return _Piece("", None, has_more=False)
        aim = _aim(report[self.aim : self.aim + 3]) if self.aim is not None else ""
        byte, bit = self.more or (len(report), 0)
        has_more = byte < len(report) and bool(report[byte] >> bit & 1)
        if self.count is None:
            return _Piece(aim, data.rstrip(b"\0"), has_more)
        length = int.from_bytes(report[self.count], "little")
        return _Piece(aim, data[:length] if length <= self.room else None, has_more)


def _layout(descriptor: Descriptor) -> _Layout | None:
    data = descriptor.find(USAGE_PAGE, _DATA)
    if data is None or data.first_bit % 8 or data.bits < 8:
        return None
    aim = descriptor.find(USAGE_PAGE, _AIM_1, data.report_id)
    count = descriptor.find(_GENERIC_PAGE, _BYTE_COUNT, data.report_id)
    more = descriptor.find(USAGE_PAGE, _CONTINUED, data.report_id)
    before = 8 if descriptor.has_ids else 0
    return _Layout(
        report_id=data.report_id if descriptor.has_ids else None,
        data=(before + data.first_bit) // 8,
        room=data.bits // 8,
        aim=(before + aim.first_bit) // 8 if aim is not None else None,
        count=_bytes_of(count, before) if count is not None else None,
        more=divmod(before + more.first_bit, 8) if more is not None else None,
    )


def _bytes_of(found: Field, before: int) -> slice:
    return slice((before + found.first_bit) // 8, (before + found.first_bit + found.bits) // 8)


def _aim(data: bytes) -> str:
    """An AIM identifier; what is none says nothing."""
    return data.decode("ascii") if _AIM.fullmatch(data) else ""


# ---- where it does not


def _guessed(report: bytes) -> _Piece | None:
    if len(report) < _HEAD + _TAIL:
        return None
    if report[1] == _BRACKET and report[2] != _BRACKET:
        aim, length = report[1:4], report[4]
    else:
        length, aim = report[1], report[2:5]
    has_more = bool(report[-1] & 1)
    if length > len(report) - _HEAD - _TAIL:
        return _Piece("", None, has_more)
    return _Piece(_aim(aim), report[_HEAD : _HEAD + length], has_more)
