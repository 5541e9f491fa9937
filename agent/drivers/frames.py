"""From bytes to frames: where one scan ends and the next begins.

Sans-IO: time comes in as `at_ms`, nothing is read or waited for here, so a
recorded stream gives the same frames however it was cut into reads.

A frame ends at CR, LF, TAB or ETX, or after `silence_ms` without a byte (for
scanners that send no suffix). STX and empty frames are dropped, so that CR LF
is one end. A frame longer than MAX_FRAME_BYTES is not a scan: it is discarded
up to its end, and said to be so.

Every frame carries what it was read from, byte for byte (`raw`): a scanner in
mode `forward` hands on what is not ours as it came. What belongs to no frame
(the LF after a CR) is `Passed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

MAX_FRAME_BYTES = 4096
SILENCE_MS = 40

_ENDS = frozenset(b"\r\n\t\x03")
_STX = 0x02

KeyEvent: TypeAlias = tuple[int, int, int]
"""Type, code and value, as in linux/input.h."""
Raw: TypeAlias = bytes | tuple[KeyEvent, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """One scan's text; hidden from repr, for it may be a card number.

    `symbology` where the device says it beside the text (HID POS); `whole`: all of a swipe, no line of it is
    to come (a HID card reader sends its tracks in one report); `by_hand`: a person typed it on the scanner's
    keyboard; `by_silence`: no suffix ended it. `raw` is what was read; None where it is nothing that could be
    handed on as it is (HID reports).
    """

    text: str = field(repr=False)
    at_ms: int
    symbology: str | None = None
    whole: bool = False
    by_hand: bool = False
    by_silence: bool = False
    raw: Raw | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Dropped:
    """Characters were lost or made no scan; the person should scan again."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Passed:
    """Read, and part of no scan: for mode `forward`."""

    raw: Raw = field(repr=False)


Framed: TypeAlias = Frame | Dropped | Passed


class Framer:
    """Cuts a stream of bytes into frames."""

    def __init__(self, silence_ms: int | None = SILENCE_MS) -> None:
        self._silence_ms = silence_ms
        self._buffer = bytearray()
        self._raw = bytearray()
        self._discarding = False
        self._last_ms = 0

    def feed(self, data: bytes, at_ms: int) -> list[Framed]:
        """The frames that end in `data`, which was read at `at_ms`."""
        out: list[Framed] = []
        self._last_ms = at_ms
        for byte in data:
            if not self._discarding:
                self._raw.append(byte)
            if byte in _ENDS:
                out += self._end(at_ms)
            elif self._discarding or (byte == _STX and not self._buffer):
                continue
            elif len(self._buffer) >= MAX_FRAME_BYTES:
                self._buffer.clear()
                self._raw.clear()
                self._discarding = True
            else:
                self._buffer.append(byte)
        return out

    @property
    def due_ms(self) -> int | None:
        """When `idle` has something to do, if nothing more comes; None: never."""
        if self._silence_ms is None or not (self._buffer or self._discarding):
            return None
        return self._last_ms + self._silence_ms

    def idle(self, now_ms: int) -> list[Framed]:
        """The frame that silence has ended by `now_ms`, if any."""
        due = self.due_ms
        return self._end(self._last_ms, by_silence=True) if due is not None and now_ms >= due else []

    def _end(self, at_ms: int, *, by_silence: bool = False) -> list[Framed]:
        raw = bytes(self._raw)
        self._raw.clear()
        if self._discarding:
            self._discarding = False
            return [Dropped(at_ms)]
        text = self._buffer.decode("utf-8", "replace")
        self._buffer.clear()
        return [Frame(text, at_ms, by_silence=by_silence, raw=raw)] if text else [Passed(raw)]
