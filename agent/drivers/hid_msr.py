"""HID card readers: from one report to one swipe.

The whole swipe comes at once: nothing has to be waited for. Three layouts (MagTek's and ID TECH's manuals):

    MagTek      0-2 decode status, 3-5 lengths, 6 encoding, 7/117/227 tracks of 110 bytes
    MagneSafe   the same with tracks of 112 bytes: 7/119/231
    ID TECH     0-2 decode status, 3-5 lengths, 6 encoding, 7-8 length of all, 9… the tracks in a row

and the standard one (usage page 0x8E), whose places the descriptor tells.

**Bytes past a track's length are left over from the card before.** They are never looked at, and the report's
buffer is overwritten when it has been read. A track that the reader could not decode becomes `%E?`, `;E?` or
`+E?`, as keyboard readers type it; the law then asks for another swipe. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.drivers.frames import Dropped, Frame, Framed
from agent.drivers.hid_descriptor import Descriptor

USAGE_PAGE, VENDOR_PAGE = 0x8E, 0xFF00
SENTINELS = ("%", ";", "+")
_STATUS, _LENGTHS, _TRACKS, _IDTECH_TRACKS = 0, 3, 7, 9
_MAGTEK_BYTES, _MAGNESAFE_BYTES = 110, 112
_MAGNESAFE_REPORT, _IDTECH_REPORT = 343, 500
_LENGTH_USAGES, _DATA_USAGES = (0x11, 0x12, 0x13), (0x20, 0x21, 0x22)
_FAILED = 1


def decode(report: bytearray, at_ms: int, descriptor: Descriptor | None = None) -> list[Framed]:
    """The swipe in a report without its id; the report is zeros afterwards."""
    try:
        tracks = _standard(report, descriptor) if descriptor is not None else None
        if tracks is None:
            tracks = _vendor(report)
        if tracks is None:
            return [Dropped(at_ms)]
        text = "".join(_written(number, track) for number, track in enumerate(tracks))
        return [Frame(text, at_ms, whole=True)] if text else []
    finally:
        report[:] = bytes(len(report))


Track = bytes | None
"""What is on a track; None: it could not be decoded."""


def _vendor(report: bytearray) -> list[Track] | None:
    if len(report) < _TRACKS:
        return None
    lengths = list(report[_LENGTHS : _LENGTHS + 3])
    if len(report) >= _IDTECH_REPORT:
        first = _IDTECH_TRACKS
        places = [first, first + lengths[0], first + lengths[0] + lengths[1]]
        rooms = [len(report) - place for place in places]
    else:
        room = _MAGNESAFE_BYTES if len(report) >= _MAGNESAFE_REPORT else _MAGTEK_BYTES
        places = [_TRACKS + number * room for number in range(3)]
        rooms = [min(room, max(0, len(report) - place)) for place in places]
    return _cut(report, lengths, places, rooms)


def _cut(
    report: bytearray,
    lengths: Sequence[int],
    places: Sequence[int],
    rooms: Sequence[int],
) -> list[Track] | None:
    """The tracks by their places; None where a length is longer than its room."""
    status = report[_STATUS : _STATUS + 3]
    if any(length > room for length, room in zip(lengths, rooms, strict=True)):
        return None
    return [
        None if status[n] & _FAILED else bytes(report[places[n] : places[n] + lengths[n]]) for n in range(3)
    ]


def _standard(report: bytearray, descriptor: Descriptor) -> list[Track] | None:
    """By the usages of page 0x8E; None where the device has none of them."""
    found = {f.usage: f for f in descriptor.fields if f.usage_page == USAGE_PAGE and f.first_bit % 8 == 0}
    if not set(_DATA_USAGES) & set(found):
        return None
    tracks: list[Track] = []
    for length_usage, data_usage in zip(_LENGTH_USAGES, _DATA_USAGES, strict=True):
        data, length = found.get(data_usage), found.get(length_usage)
        if data is None or length is None:
            tracks.append(b"")
            continue
        count = int.from_bytes(_field(report, length.first_bit, length.bits), "little")
        if count > data.bits // 8:
            return None
        tracks.append(_field(report, data.first_bit, 8 * count))
    return tracks


def _field(report: bytearray, first_bit: int, bits: int) -> bytes:
    return bytes(report[first_bit // 8 : (first_bit + bits) // 8])


def _written(number: int, track: Track) -> str:
    """As a keyboard reader types it: with its sentinels."""
    if track is None:
        return f"{SENTINELS[number]}E?"
    text = track.decode("ascii", "replace").strip("\r\n\0")
    if not text:
        return ""
    if text[0] not in "%;+":
        text = SENTINELS[number] + text
    return text if text.endswith("?") else f"{text}?"
