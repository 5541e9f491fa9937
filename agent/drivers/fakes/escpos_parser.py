"""Reads ESC/POS as a printer does, and keeps what would be on the paper.

Sans-IO: bytes go in, in any pieces; slips and answers come out. It knows the
commands a text slip uses. An unknown one is kept in `faults` with its first
bytes, which is what a test should look at: a real printer would print garbage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from agent.drivers.document import Align

MAX_PENDING_BYTES = 1 << 20
MAX_SLIPS = 1_000
MAX_FAULTS = 100

PAGES = {0: "cp437", 7: "cp866", 10: "cp866", 17: "cp866", 46: "cp1251", 59: "cp866", 73: "cp1251"}

_ESC, _GS, _FS, _DLE, _LF, _CR, _NUL = 0x1B, 0x1D, 0x1C, 0x10, 0x0A, 0x0D, 0
_ALIGN: tuple[Align, Align, Align] = ("left", "center", "right")
_QR_STORE, _QR_PRINT = 80, 81
_NOT_YET = 0


@dataclass(frozen=True, slots=True)
class Style:
    """How letters look: `width` and `height` are multiples of the plain size."""

    bold: bool = False
    width: int = 1
    height: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """Letters of one style."""

    text: str
    style: Style


@dataclass(frozen=True, slots=True)
class PaperLine:
    """One line on the paper."""

    runs: tuple[Run, ...]
    align: Align

    @property
    def cells(self) -> int:
        """Its length in plain letters."""
        return sum(len(run.text) * run.style.width for run in self.runs)


@dataclass(frozen=True, slots=True)
class PaperQr:
    """A QR code on the paper."""

    data: str
    module_dots: int
    align: Align


@dataclass
class _State:
    page: str = "cp437"
    kanji: bool = True  # clones wake up so; FS . ends it
    style: Style = Style()
    align: Align = "left"
    qr_data: str = ""
    qr_module: int = 3
    runs: list[Run] = field(default_factory=list)


class EscPosParser:
    """A printer's head: `answer` is called with what the printer says, `cut` with each finished slip.

    `condition` gives the answer to DLE EOT n.
    """

    def __init__(
        self,
        answer: Callable[[bytes], None],
        cut: Callable[[tuple[PaperLine | PaperQr, ...]], None],
        condition: Callable[[int], int] = lambda _: 0x12,
    ) -> None:
        self._answer, self._cut, self._condition = answer, cut, condition
        self._pending = bytearray()
        self._parts: list[PaperLine | PaperQr] = []
        self._state = _State()
        self.faults: list[str] = []
        self.drawer_opened = 0
        self.raster_lines = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._pending += data
        if len(self._pending) > MAX_PENDING_BYTES:
            self._fault("more than a megabyte of one command")
            self._pending.clear()
        while self._pending:
            used = self._one(self._pending)
            if used == _NOT_YET:
                return
            del self._pending[:used]

    def _one(self, b: bytearray) -> int:
        """Obey the command at the beginning of `b`; the bytes it took, or _NOT_YET."""
        first = b[0]
        if first == _LF:
            self._line_feed()
            return 1
        if first == _CR:
            return 1
        if first in (_ESC, _GS, _FS, _DLE):
            return self._command(b)
        if first == _NUL:
            return 1  # ignored; many of them end a command that broke off
        if first < 0x20:
            self._fault(f"control byte {first:02x}")
            return 1
        end = next((i for i, byte in enumerate(b) if byte < 0x20), len(b))
        self._print(bytes(b[:end]))
        return end

    def _command(self, b: bytearray) -> int:
        if len(b) < 2:
            return _NOT_YET
        name = bytes(b[:2])
        if name == b"\x1d(":
            return self._sized(b)
        if name == b"\x1dv":
            return self._raster(b)
        length = _LENGTHS.get(name, 0)
        if name == b"\x1dV":
            length = 3 if len(b) < 3 or b[2] < 65 else 4
        if not length:
            self._fault(f"unknown command {name.hex(' ')}")
            return 2
        if len(b) < length:
            return _NOT_YET
        self._obey(name, b[2:length])
        return length

    def _obey(self, name: bytes, args: bytearray) -> None:
        state = self._state
        if name == b"\x1b@":
            self._state = _State()
        elif name == b"\x1c.":
            state.kanji = False
        elif name == b"\x1bt":
            if args[0] not in PAGES:
                self._fault(f"unknown code page {args[0]}")
            state.page = PAGES.get(args[0], "cp437")
        elif name == b"\x1bE":
            state.style = replace(state.style, bold=bool(args[0] & 1))
        elif name == b"\x1d!":
            state.style = replace(state.style, width=(args[0] >> 4 & 7) + 1, height=(args[0] & 7) + 1)
        elif name == b"\x1ba":
            state.align = _ALIGN[args[0] % 48 % 3]
        elif name == b"\x1bd":
            self._flush()
            self._parts += [PaperLine((), "left")] * args[0]
        elif name == b"\x1bp" or (name == b"\x10\x14" and args[0] == 1):
            self.drawer_opened += 1
        elif name == b"\x1dV":
            self._finish()
        elif name == b"\x1dr":
            self._answer(b"\x00")
        elif name == b"\x10\x04":
            self._answer(bytes((self._condition(args[0]),)) if 0 < args[0] <= 4 else b"")

    def _sized(self, b: bytearray) -> int:
        """GS ( x pL pH ...: the length is in the command."""
        if len(b) < 5 or len(b) < 5 + b[3] + 256 * b[4]:
            return _NOT_YET
        length = 5 + b[3] + 256 * b[4]
        body = bytes(b[5:length])
        if b[2] == ord("k") and body[:1] == b"1":
            self._qr(body[1], body[2:])
        elif b[2] == ord("H") and body[:2] == b"00":
            self._answer(b"\x37\x22" + body[2:6] + b"\x00")
        else:
            self._fault(f"unknown command {bytes(b[:3]).hex(' ')}")
        return length

    def _raster(self, b: bytearray) -> int:
        """GS v 0 m xL xH yL yH: a picture, which swallows so many bytes whatever they are."""
        if len(b) < 8:
            return _NOT_YET
        length = 8 + (b[4] + 256 * b[5]) * (b[6] + 256 * b[7])
        if len(b) < length:
            return _NOT_YET
        self._flush()
        self.raster_lines += b[6] + 256 * b[7]
        return length

    def _qr(self, function: int, body: bytes) -> None:
        state = self._state
        if function == 67:
            state.qr_module = body[0]
        elif function == _QR_STORE:
            state.qr_data = body[1:].decode("utf-8", "replace")
        elif function == _QR_PRINT:
            self._flush()
            self._parts.append(PaperQr(state.qr_data, state.qr_module, state.align))

    def _print(self, data: bytes) -> None:
        if self._state.kanji and any(byte >= 0x80 for byte in data):
            text = data.decode("gb18030", "replace")  # what such a clone really does to Cyrillic
        else:
            text = data.decode(self._state.page, "replace")
        self._state.runs.append(Run(text, self._state.style))

    def _line_feed(self) -> None:
        self._parts.append(PaperLine(tuple(self._state.runs), self._state.align))
        self._state.runs = []

    def _flush(self) -> None:
        if self._state.runs:
            self._line_feed()

    def _finish(self) -> None:
        self._flush()
        while self._parts and isinstance(last := self._parts[-1], PaperLine) and not last.runs:
            self._parts.pop()  # the feed past the knife
        self._cut(tuple(self._parts))
        self._parts = []

    def _fault(self, what: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(what)


# Command -> its whole length. GS V has two forms, GS ( tells its own length.
_LENGTHS = {
    b"\x1b@": 2,
    b"\x1bt": 3,
    b"\x1c.": 2,
    b"\x1bE": 3,
    b"\x1ba": 3,
    b"\x1d!": 3,
    b"\x1bd": 3,
    b"\x1bp": 5,
    b"\x1dr": 3,
    b"\x10\x04": 3,
    b"\x10\x14": 5,
}
