"""What a printer says back: several kinds of answers on one wire, told apart by their fixed bits.

    0xx1xx10                    answer to DLE EOT (real-time status)
    0xx1xx00 + three bytes      automatic status, sent whenever something changes
    37 22 ... 00, 35/3B/3D/5F   blocks that end with NUL
    0xx0xxxx                    answer to GS r: all that was sent before it is done

Source: field/devices.md §3.2. Sans-IO; an answer may come in pieces.
"""

from __future__ import annotations

_REALTIME_MASK, _REALTIME, _AUTOMATIC = 0x93, 0x12, 0x10
_AUTOMATIC_REST = 3
_BLOCK_STARTS = frozenset((0x35, 0x37, 0x3B, 0x3D, 0x5F))
_GS_R_MASK = 0x90


class StatusAnswers:
    """Watches the stream for the answer to GS r."""

    def __init__(self) -> None:
        self._skip = 0
        self._in_block = False

    def feed(self, data: bytes) -> bool:
        """True if the answer to GS r is among `data`."""
        found = False
        for byte in data:
            if self._skip:
                self._skip -= 1
            elif self._in_block:
                self._in_block = byte != 0
            elif byte in _BLOCK_STARTS:
                self._in_block = True
            elif byte & _REALTIME_MASK == _AUTOMATIC:
                self._skip = _AUTOMATIC_REST
            elif byte & _GS_R_MASK == 0:
                found = True
        return found
