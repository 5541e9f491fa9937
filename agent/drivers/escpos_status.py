"""What a printer says back: several kinds of answers on one wire, told apart by their fixed bits.

    0xx1xx10                    answer to DLE EOT (real-time status)
    0xx1xx00 + three bytes      automatic status, sent whenever something changes
    37 22 d1-d4 00              answer to GS ( H: the job with this number is printed
    35/37/3B/3D/5F … 00         other blocks that end with NUL
    0xx0xxxx                    answer to GS r: all that was sent before it is done

Real-time answers bear no number: they come in the order in which they were asked for. Sans-IO; an answer may
come in pieces. Source: the makers' ESC/POS references.
"""

from __future__ import annotations

from dataclasses import dataclass

ASK = b"\x10\x04\x01\x10\x04\x02\x10\x04\x04"
"""DLE EOT 1, 2 and 4: three answers, which are a `Condition`."""
ASK_PROCESSED = b"\x1dr\x01"
JOB_NUMBER_BYTES = 4
BLOCK_MAX_BYTES = 256

_REALTIME_MASK, _REALTIME, _AUTOMATIC = 0x93, 0x12, 0x10
_AUTOMATIC_REST = 3
_BLOCK_STARTS = frozenset((0x35, 0x37, 0x3B, 0x3D, 0x5F))
_GS_R_MASK = 0x90
_PRINTED = b"\x37\x22"

_DRAWER, _OFFLINE = 0x04, 0x08  # DLE EOT 1
_COVER, _PAPER_END, _ERROR = 0x04, 0x20, 0x40  # DLE EOT 2
_LOW, _OUT = 0x0C, 0x60  # DLE EOT 4


def ask_printed(number: bytes) -> bytes:
    """GS ( H, function 48: say `number` (four characters) when all before it is printed."""
    return b"\x1d(H\x06\x0000" + number


@dataclass(frozen=True, slots=True)
class Condition:
    """How the printer is. `drawer_high`: the level of the drawer's switch, which means open on some."""

    offline: bool = False
    cover_open: bool = False
    paper_out: bool = False
    paper_low: bool = False
    error: bool = False
    drawer_high: bool = False

    @property
    def can_print(self) -> bool:
        return not (self.offline or self.cover_open or self.paper_out or self.error)


def condition_of(answers: bytes) -> Condition:
    """What the three answers to ASK say."""
    first, second, fourth = answers
    return Condition(
        offline=bool(first & _OFFLINE),
        cover_open=bool(second & _COVER),
        paper_out=bool(second & _PAPER_END) or fourth & _OUT == _OUT,
        paper_low=bool(fourth & _LOW),
        error=bool(second & _ERROR),
        drawer_high=bool(first & _DRAWER),
    )


class StatusAnswers:
    """Sorts what comes; `feed` keeps it in the attributes until somebody takes it."""

    def __init__(self) -> None:
        self.processed = 0
        self.printed: list[bytes] = []
        self.realtime = bytearray()
        self._skip = 0
        self._block: bytearray | None = None

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; True if an answer to GS r is among them."""
        before = self.processed
        for byte in data:
            if self._skip:
                self._skip -= 1
            elif self._block is not None:
                self._in_block(byte)
            elif byte in _BLOCK_STARTS:
                self._block = bytearray((byte,))
            elif byte & _REALTIME_MASK == _REALTIME:
                self.realtime.append(byte)
                del self.realtime[:-BLOCK_MAX_BYTES]
            elif byte & _REALTIME_MASK == _AUTOMATIC:
                self._skip = _AUTOMATIC_REST
            elif byte & _GS_R_MASK == 0:
                self.processed += 1
        return self.processed > before

    def _in_block(self, byte: int) -> None:
        assert self._block is not None
        if byte == 0 or len(self._block) >= BLOCK_MAX_BYTES:
            if self._block.startswith(_PRINTED):
                self.printed = [*self.printed[-7:], bytes(self._block[len(_PRINTED) :])]
            self._block = None
        else:
            self._block.append(byte)
