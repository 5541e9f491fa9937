"""A customer display without a display: two rows of twenty cells, and a pty that leads to them.

`Cells` obeys the bytes of one command set as the device does, and keeps what can be read on it: code page and
mode are forgotten without power, a display that scrolls pushes its upper row away, a cd5220 that was sent a
whole row obeys nothing else until it is cleared, a dsp800 answers every command. A display of another make
wakes up in another mode; this one wakes up in the least convenient one (it scrolls, and has no Cyrillic).
"""

from __future__ import annotations

import os
import select
import threading
import tty
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from agent.drivers.display_commands import ACK, COLUMNS, NAK, CommandSet, Rows

CELLS = 2 * COLUMNS
FAULTS_MAX = 100
READ_BYTES = 4096
STOP_TIMEOUT_S = 5.0
WAKES_UP_WITH = "cp437"
PAGES: Mapping[CommandSet, Mapping[int, str]] = {
    "epson": {0: "cp437", 17: "cp866", 19: "cp858"},
    "aures": {0: "cp437", 11: "cp866", 12: "cp1251", 19: "cp858"},
    "cd5220": {ord("A"): "ascii", ord("R"): "cp866"},
    "dsp800": {},
}

BLANK: Rows = (" " * COLUMNS, " " * COLUMNS)
_ROW_OF_CD5220 = {ord("A"): 0, ord("B"): COLUMNS}
_DSP_FIRST, _DSP_LAST = 0x31, 0x58
_Bytes = Generator[None, int, None]


class Cells:
    """What a display shows. `answer` takes what it says; `page`: what its switches choose at power-on.

    While it `refuses`, a dsp800 obeys no command and says so.
    """

    def __init__(
        self,
        commands: CommandSet,
        answer: Callable[[bytes], None] = lambda _: None,
        page: str = WAKES_UP_WITH,
    ) -> None:
        self.faults: list[str] = []
        self.refuses = False
        self._commands: CommandSet = commands
        self._answer = answer
        self._power_on_page = page
        self.power_cycle()

    def power_cycle(self) -> None:
        """It was without power: nothing is on it, and nothing is remembered of how it was set."""
        self._cells = [" "] * CELLS
        self._at = 0
        self._page = self._power_on_page
        self._scrolls = True
        self._whole_rows = False  # a cd5220 after ESC Q
        self._obeys = {
            "epson": self._epson,
            "aures": self._aures,
            "cd5220": self._cd5220,
            "dsp800": self._dsp800,
        }[self._commands]()
        next(self._obeys)

    def feed(self, data: bytes) -> None:
        """Obey."""
        for byte in data:
            self._obeys.send(byte)

    @property
    def rows(self) -> Rows:
        """What can be read on it."""
        return "".join(self._cells[:COLUMNS]), "".join(self._cells[COLUMNS:])

    # ------------------------------------------------------------------ the command sets

    def _epson(self) -> _Bytes:
        while True:
            yield from self._escpos((yield))

    def _aures(self) -> _Bytes:
        """Speaks another language until it is told to speak this one; ESC @ leaves its page."""
        said = bytearray()
        while not said.endswith(b"\x02\x05C1\x03"):
            said = said[-8:] + bytes([(yield)])
        while True:
            byte = yield
            if byte == 0x02:
                for _ in range(4):
                    yield
            else:
                yield from self._escpos(byte)

    def _escpos(self, byte: int) -> _Bytes:
        match byte:
            case 0x0C:
                self._clear()
            case 0x0B:
                self._at = 0
            case 0x0A:
                self._line_feed()
            case 0x0D:
                self._at = min(self._at, CELLS - 1) // COLUMNS * COLUMNS
            case 0x18:
                self._clear_row()
            case 0x1B:
                yield from self._escape()
            case 0x1F:
                match (yield):
                    case 0x01:
                        self._scrolls = False
                    case 0x02 | 0x03:
                        self._scrolls = True
                    case 0x24:
                        column = yield
                        self._go(column, (yield))
                    case 0x43 | 0x58:  # cursor, brightness
                        yield
                    case other:
                        self._fault(f"US {other:02X}")
            case _:
                self._write(byte)

    def _escape(self) -> _Bytes:
        match (yield):
            case 0x40:
                page = self._page
                self._reset()
                if self._commands == "aures":
                    self._page = page
            case 0x74:
                self._choose((yield))
            case 0x52:
                yield
            case other:
                self._fault(f"ESC {other:02X}")

    def _cd5220(self) -> _Bytes:
        while True:
            byte = yield
            match byte:
                case 0x0C:
                    self._whole_rows = False
                    self._clear()
                case 0x18:
                    self._whole_rows = False
                    self._clear_row()
                case 0x1B:
                    yield from self._cd5220_escape()
                case _ if self._whole_rows:
                    pass
                case 0x0B:
                    self._at = 0
                case 0x0A:
                    self._line_feed()
                case 0x0D:
                    self._at = min(self._at, CELLS - 1) // COLUMNS * COLUMNS
                case _:
                    self._write(byte)

    def _cd5220_escape(self) -> _Bytes:
        command = yield
        if command == ord("Q"):
            yield from self._cd5220_row()
            return
        takes = {"l": 2, "f": 1, "c": 1, "_": 1, "*": 1, "=": 1}.get(chr(command), 0)
        taken = bytearray()
        while len(taken) < takes:
            taken.append((yield))
        if self._whole_rows:
            return  # heard, and not obeyed
        match chr(command), list(taken):
            case "@", _:
                self._reset()
            case "\x11", _:
                self._scrolls = False
            case "\x12" | "\x13", _:
                self._scrolls = True
            case "l", [column, row]:
                self._go(column, row)
            case "c", [page]:
                self._choose(page)
            case "f" | "_" | "*" | "=", _:
                pass
            case _:
                self._fault(f"ESC {command:02X}")

    def _cd5220_row(self) -> _Bytes:
        start = _ROW_OF_CD5220.get((yield))
        letters = bytearray()
        while (byte := (yield)) != 0x0D:
            letters.append(byte)
            if len(letters) > COLUMNS:
                self._fault("a row of more than twenty cells")
                return
        if start is None:
            self._fault("ESC Q of a row that there is not")
            return
        self._whole_rows = True
        for at, letter in enumerate(letters.ljust(COLUMNS)):
            self._cells[start + at] = self._glyph(letter)

    def _dsp800(self) -> _Bytes:
        while True:
            byte = yield
            if byte == 0x04:
                yield from self._dsp800_frame()
            else:
                self._write(byte)

    def _dsp800_frame(self) -> _Bytes:
        frame = bytearray()
        while (byte := (yield)) != 0x17:
            frame.append(byte)
            if len(frame) > CELLS:
                break
        known = not self.refuses
        match list(frame):
            case _ if self.refuses:
                pass
            case [0x01, 0x50, cell] if _DSP_FIRST <= cell <= _DSP_LAST:
                self._at = cell - _DSP_FIRST
            case [0x01, 0x43, first, last] if _DSP_FIRST <= first <= last <= _DSP_LAST:
                for cell in range(first - _DSP_FIRST, last - _DSP_FIRST + 1):
                    self._cells[cell] = " "
            case [0x01, 0x41, _]:
                pass
            case _:
                known = False
                self._fault(f"frame {frame.hex(' ')}")
        self._answer(bytes([ACK if known else NAK]))

    # ------------------------------------------------------------------------- the cells

    def _reset(self) -> None:
        self._page, self._scrolls = self._power_on_page, True
        self._clear()

    def _clear(self) -> None:
        self._cells, self._at = [" "] * CELLS, 0

    def _clear_row(self) -> None:
        start = min(self._at, CELLS - 1) // COLUMNS * COLUMNS
        self._cells[start : start + COLUMNS] = " " * COLUMNS
        self._at = start

    def _go(self, column: int, row: int) -> None:
        if 1 <= column <= COLUMNS and row in (1, 2):
            self._at = (row - 1) * COLUMNS + column - 1
        else:
            self._fault(f"there is no place {column}, {row}")

    def _line_feed(self) -> None:
        if self._at < COLUMNS:
            self._at += COLUMNS
        elif self._scrolls:
            self._scroll()
        else:
            self._at -= COLUMNS

    def _scroll(self) -> None:
        self._cells = self._cells[COLUMNS:] + [" "] * COLUMNS
        self._at = COLUMNS

    def _write(self, byte: int) -> None:
        if byte < 0x20:
            self._fault(f"{byte:02X}")
            return
        if self._at >= CELLS and self._scrolls:
            self._scroll()
        self._at %= CELLS
        self._cells[self._at] = self._glyph(byte)
        self._at += 1

    def _choose(self, page: int) -> None:
        if page in PAGES[self._commands]:
            self._page = PAGES[self._commands][page]
        else:
            self._fault(f"code page {page}")

    def _glyph(self, byte: int) -> str:
        return bytes([byte]).decode(self._page, "replace")

    def _fault(self, what: str) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(what)


class VirtualDisplay:
    """A display on a pty.

    With `link` (a path that does not exist yet) the URL is a symlink that stays the same over `unplug` and
    `plug`, as /dev/serial/by-id does; without it the URL is the pty itself. Unplugged, it loses its power.
    """

    def __init__(self, commands: CommandSet, link: Path | None = None, page: str = WAKES_UP_WITH) -> None:
        self._link = link
        self._master = self._slave = -1
        self._changed = threading.Condition()
        self._updates = 0
        self._cells = Cells(commands, self._say, page)
        self.plug()

    @property
    def url(self) -> str:
        """For the configuration: `serial:...`."""
        return f"serial:{self._link or self._path}"

    @property
    def rows(self) -> Rows:
        """What can be read on it now."""
        with self._changed:
            return self._cells.rows

    @property
    def faults(self) -> list[str]:
        """What it did not understand."""
        with self._changed:
            return list(self._cells.faults)

    def wait_for(self, rows: Rows, timeout_s: float = 10.0) -> None:
        """Until it shows them. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._cells.rows == rows, timeout_s):
                raise TimeoutError(f"after {timeout_s} s it shows {self._cells.rows}, not {rows}")

    def refuse(self, *, always: bool) -> None:
        """A dsp800 answers NAK to all it is told, from now on or no more."""
        with self._changed:
            self._cells.refuses = always

    def power_cycle(self) -> None:
        """Its mains plug was pulled and put back; the computer cannot see that."""
        with self._changed:
            self._cells.power_cycle()
            self._changed.notify_all()

    def say(self, data: bytes) -> None:
        """Send bytes of its own: noise, an answer out of turn."""
        with self._changed:
            self._say(data)

    def unplug(self) -> None:
        """The cable is pulled; the program at the other end gets an error."""
        if self._master < 0:
            return
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        os.write(self._quit_write, b"x")
        self._thread.join(STOP_TIMEOUT_S)
        with self._changed:
            for fd in (self._master, self._slave, self._quit_read, self._quit_write):
                os.close(fd)
            self._master = self._slave = -1
            self._cells.power_cycle()
            self._changed.notify_all()

    def plug(self) -> None:
        """The cable is back (without `link` perhaps under another name: read `url` again)."""
        if self._master >= 0:
            return
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)  # no echo: what it is sent must not go back
        os.set_blocking(self._master, False)
        self._path = os.ttyname(self._slave)
        self._quit_read, self._quit_write = os.pipe()
        self._thread = threading.Thread(
            target=self._listen, args=(self._master, self._quit_read), name="virtual display", daemon=True
        )
        self._thread.start()
        if self._link is not None:
            self._link.symlink_to(self._path)

    close = unplug

    def __enter__(self) -> VirtualDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self, master: int, quit_read: int) -> None:
        """The display's own thread, until it is unplugged."""
        while quit_read not in select.select([master, quit_read], [], [])[0]:
            data = os.read(master, READ_BYTES)
            with self._changed:
                self._cells.feed(data)
                self._changed.notify_all()

    def _say(self, data: bytes) -> None:
        with suppress(BlockingIOError):  # nobody reads what it says
            os.write(self._master, data)
