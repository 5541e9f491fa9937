"""HID card readers: from one report to one swipe.

The whole swipe comes at once: nothing has to be waited for. Where the tracks are, the descriptor tells: by
the standard's usages (page 0x8E, HID Point of Sale Usage Tables 1.02) or by those that MagTek and ID TECH
share (page 0xFF00). Where it does not tell, the size of the report does, by their manuals:

    MagTek      0-2 decode status, 3-5 lengths, 6 encoding, 7/117/227 tracks of 110 bytes
    MagneSafe   the same with tracks of 112 bytes: 7/119/231; more may follow
    ID TECH     0-2 decode status, 3-5 lengths, 6 encoding, 7-8 length of all, 9… what it would type

**Bytes past a track's length are left over from the card before.** They are never looked at, and the report's
buffer is overwritten when it has been read. A track that the reader could not decode becomes `%E?`, `;E?` or
`+E?`, as keyboard readers type it; the law then asks for another swipe.

So does a track that is no text: a reader with keys in it encrypts. It sends the tracks masked as well, and
those are never taken: a masked number is another number, and its check digit may be made to fit. Sans-IO.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from agent.drivers.frames import MAX_FRAME_BYTES, Dropped, Frame, Framed
from agent.drivers.hid_descriptor import Descriptor, Field

USAGE_PAGE, VENDOR_PAGE = 0x8E, 0xFF00
SENTINELS = ("%", ";", "+")
_STANDARD_LENGTHS, _STANDARD_TRACKS = (0x11, 0x12, 0x13), (0x21, 0x22, 0x23)
_STATUSES, _LENGTHS, _TRACKS = (0x20, 0x21, 0x22), (0x28, 0x29, 0x2A), (0x30, 0x31, 0x32)
_IDTECH_TOTAL, _IDTECH_OUTPUT = 0x30, 0x31  # ID TECH uses MagTek's numbers for something else
_IDTECH_TOTAL_BYTES = 2
_IDTECH_SIZES = range(500, 561)
_MAGTEK_TRACK_BYTES, _MAGNESAFE_TRACK_BYTES = 110, 112
_MAGNESAFE_SIZE = 343
_FAILED = 1
_TYPED_TRACK = re.compile(rb"[%;+][^?\r\n]*\?")


@dataclass(frozen=True, slots=True)
class _Place:
    """Bytes of a report, its id not counted."""

    first: int
    size: int

    def number(self, report: bytearray) -> int:
        return int.from_bytes(report[self.first : self.first + self.size], "little")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Three of each, None where there is none. With `total`, tracks[0] is all that would be typed."""

    statuses: Sequence[_Place | None]
    lengths: Sequence[_Place | None]
    tracks: Sequence[_Place | None]
    total: _Place | None = None


_Track = bytes | None
"""What is on a track; None: it could not be decoded."""


def decode(
    report: bytearray, at_ms: int, descriptor: Descriptor | None = None, report_id: int = 0
) -> list[Framed]:
    """The swipe in a report without its id; the report is zeros afterwards."""
    try:
        layout = _told(descriptor, report_id) if descriptor is not None else None
        if layout is None and descriptor is not None and _tells(descriptor):
            return []  # a report of another kind
        layout = layout or _by_size(len(report))
        tracks = _cut(report, layout) if layout is not None else None
        if tracks is None:
            return [Dropped(at_ms)]
        text = "".join(_written(number, track) for number, track in enumerate(tracks))
        if len(text) > MAX_FRAME_BYTES:
            return [Dropped(at_ms)]
        return [Frame(text, at_ms, whole=True)] if text else []
    finally:
        report[:] = bytes(len(report))


# ---- where the tracks are


def _told(descriptor: Descriptor, report_id: int) -> _Layout | None:
    """As the descriptor says of this report; None where it does not say."""

    def places(page: int, usages: Sequence[int]) -> list[_Place | None]:
        return [_place(descriptor.find(page, usage, report_id)) for usage in usages]

    if any(tracks := places(USAGE_PAGE, _STANDARD_TRACKS)):
        return _Layout((None,) * 3, places(USAGE_PAGE, _STANDARD_LENGTHS), tracks)
    statuses, lengths = places(VENDOR_PAGE, _STATUSES), places(VENDOR_PAGE, _LENGTHS)
    total, output = places(VENDOR_PAGE, (_IDTECH_TOTAL, _IDTECH_OUTPUT))
    if total is not None and total.size == _IDTECH_TOTAL_BYTES:
        return _Layout(statuses, lengths, (output, None, None), total)
    if any(tracks := places(VENDOR_PAGE, _TRACKS)):
        return _Layout(statuses, lengths, tracks)
    return None


def _tells(descriptor: Descriptor) -> bool:
    return any(_told(descriptor, report_id) for report_id in {one.report_id for one in descriptor.fields})


def _place(found: Field | None) -> _Place | None:
    return _Place(found.first_bit // 8, found.bits // 8) if found and not found.first_bit % 8 else None


def _by_size(size: int) -> _Layout | None:
    """As the makers' manuals say of a report of this size; None for one that is too short for any."""
    if size < 7:
        return None
    statuses = [_Place(number, 1) for number in range(3)]
    lengths = [_Place(3 + number, 1) for number in range(3)]
    if size in _IDTECH_SIZES:
        return _Layout(statuses, lengths, (_Place(9, size - 9), None, None), _Place(7, 2))
    room = _MAGNESAFE_TRACK_BYTES if size >= _MAGNESAFE_SIZE else _MAGTEK_TRACK_BYTES
    starts = [7 + number * room for number in range(3)]
    return _Layout(statuses, lengths, [_Place(at, max(0, min(room, size - at))) for at in starts])


# ---- what is on them


def _cut(report: bytearray, layout: _Layout) -> list[_Track] | None:
    """The tracks; None where a length is longer than its room."""
    failed = [place is not None and bool(place.number(report) & _FAILED) for place in layout.statuses]
    lengths = [place.number(report) if place is not None else 0 for place in layout.lengths]
    if layout.total is not None:
        typed = _beginning(report, layout.tracks[0], layout.total.number(report))
        tracks = _parted(typed, lengths) if typed is not None else None
    else:
        tracks = []
        for number, place in enumerate(layout.tracks):
            track = b"" if failed[number] else _beginning(report, place, lengths[number])
            if track is None:
                return None
            tracks.append(track)
    if tracks is None:
        return None
    return [None if failed[number] else track for number, track in enumerate(tracks)]


def _beginning(report: bytearray, place: _Place | None, length: int) -> bytes | None:
    """The first `length` bytes there; None where there are not so many."""
    if not length:
        return b""
    if place is None or length > place.size or place.first + length > len(report):
        return None
    return bytes(report[place.first : place.first + length])


def _parted(typed: bytes, lengths: Sequence[int]) -> list[bytes] | None:
    """What an ID TECH reader would type, as three tracks.

    With nothing before, between and behind them the lengths part the tracks; else (a preamble, Enter after
    each) their sentinels do. None where neither fits.
    """
    if len(typed) == sum(lengths):
        second, third = lengths[0], lengths[0] + lengths[1]
        return [typed[:second], typed[second:third], typed[third:]]
    tracks = [b"", b"", b""]
    for track in _TYPED_TRACK.findall(typed):
        number = b"%;+".index(track[:1])
        tracks[2 if tracks[number] else number] = track
    return tracks if any(tracks) and len(typed) > sum(lengths) else None


def _written(number: int, track: _Track) -> str:
    """As a keyboard reader types it: with its sentinels, and nothing behind them (some send the LRC)."""
    text = (track or b"").strip(b"\r\n\0").decode("latin-1")
    if track is None or not (text.isascii() and text.isprintable()):
        return f"{SENTINELS[number]}E?"
    if not text:
        return ""
    if text[0] not in "%;+":
        text = SENTINELS[number] + text
    return text.partition("?")[0] + "?"
