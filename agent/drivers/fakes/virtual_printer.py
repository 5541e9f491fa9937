"""A receipt printer without a printer: ESC/POS over TCP on the loopback, or over a pty as a serial one.

It serves one connection at a time, decodes what it is sent as a printer would (code page, Chinese mode,
reset), keeps the slips, and can misbehave as real ones do: switched off, silent, slow, hanging up at once,
cover open, paper coming to its end, out of paper before a slip or in the middle of one. What it was sent
without paper it holds, even when the connection is closed, and prints it when paper is loaded. Questions
about its condition (DLE EOT) it answers at any time; `GS r` and `GS ( H` only when it has got that far.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import threading
import time
import tty
from contextlib import suppress
from types import TracebackType

from agent.drivers.fakes.escpos_parser import MAX_SLIPS, EscPosParser, PaperLine, PaperQr
from agent.drivers.fakes.paper import Slip

READ_BYTES = 65536
MAX_HELD_BYTES = 1 << 20
STOP_TIMEOUT_S = 5.0
_REALTIME = re.compile(rb"\x10\x04[\x01-\x04]|\x10\x14\x08\x01\x03\x14\x01\x06\x02\x08", re.DOTALL)
_CLEAR = b"\x10\x14"
_NO_PAPER_ANSWERS = {1: 0x1A, 2: 0x32, 3: 0x12, 4: 0x7E}
_COVER_ANSWERS = {1: 0x1A, 2: 0x16, 3: 0x12, 4: 0x12}
_WELL_ANSWERS = {1: 0x12, 2: 0x12, 3: 0x12, 4: 0x12}
_LOW_PAPER = 0x0C


class VirtualPrinter:
    """A printer that can be reached at `url` from the moment it is made until `close`.

    `silent`: it prints and answers nothing; `slow_bytes_s`: it takes no more than that; `hangs_up`: it closes
    every connection at once; `cover_open`, `paper_low`: what they say.
    """

    def __init__(self, columns: int = 48, port: int = 0, *, serial: bool = False) -> None:
        self.columns = columns
        self.silent = self.hangs_up = self.cover_open = self.paper_low = False
        self.slow_bytes_s: int | None = None
        self._port = port
        self._changed = threading.Condition()
        self._slips: list[Slip] = []
        self._paper = True
        self._paper_bytes: int | None = None  # so many more, and the paper is at its end
        self._held = bytearray()
        self._client: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._master, self._slave = os.openpty() if serial else (-1, -1)
        self._parser = EscPosParser(self._answer, self._cut, self._condition)
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._orders: list[str] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="virtual printer", daemon=True)
        if serial:
            tty.setraw(self._slave)
        self._listen()
        self._thread.start()

    @property
    def url(self) -> str:
        """For the configuration: `tcp:127.0.0.1:port` or `serial:/dev/pts/N`; the same after a power cut."""
        if self._master >= 0:
            return f"serial:{os.ttyname(self._slave)}?baud=115200"
        return f"tcp:127.0.0.1:{self._port}"

    @property
    def slips(self) -> list[Slip]:
        """What has been printed and cut, oldest first."""
        with self._changed:
            return list(self._slips)

    def tear_off(self) -> list[Slip]:
        """Take away what has been printed and cut, oldest first; it is no longer among `slips`."""
        with self._changed:
            slips, self._slips = self._slips, []
            return slips

    @property
    def held(self) -> bytes:
        """What it was sent and has not printed for want of paper."""
        return bytes(self._held)

    @property
    def faults(self) -> list[str]:
        """Commands it did not understand."""
        return list(self._parser.faults)

    @property
    def drawer_opened(self) -> int:
        """How often the cash drawer was opened."""
        return self._parser.drawer_opened

    def wait_for_slips(self, count: int, timeout_s: float = 10.0) -> list[Slip]:
        """The slips, as soon as there are `count`. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._slips) >= count, timeout_s):
                raise TimeoutError(f"{len(self._slips)} slips after {timeout_s} s, {count} were expected")
            return list(self._slips)

    def wait_for_drawer(self, count: int, timeout_s: float = 10.0) -> int:
        """How often the drawer was opened, as soon as it is `count`. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.drawer_opened >= count, timeout_s):
                raise TimeoutError(f"the drawer was opened {self.drawer_opened} times in {timeout_s} s")
            return self.drawer_opened

    def power_off(self) -> None:
        """Connections are refused, the one in hand breaks, what was not printed is forgotten."""
        self._order("off")

    def power_on(self) -> None:
        """Listen again, at the same address, with all settings as after a power cut."""
        self._order("on")

    def paper_out(self, after_bytes: int = 0) -> None:
        """The paper is at its end, now or when so many more bytes have been printed; the rest is held."""
        self._paper_bytes = after_bytes
        if not after_bytes:
            self._order("paper out")

    def load_paper(self) -> None:
        """Print what was held."""
        self._order("paper in")

    def close(self) -> None:
        """Switch off for good."""
        if self._closed:
            return
        self._order("off")
        self._order("end")
        self._thread.join(STOP_TIMEOUT_S)
        self._closed = True
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)

    def __enter__(self) -> VirtualPrinter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    # ---- called by others: hand the thread an order and wait until it is done

    def _order(self, order: str) -> None:
        deadline = time.monotonic() + STOP_TIMEOUT_S
        with self._changed:
            self._orders.append(order)
            self._wake_write.send(b"x")
            if not self._changed.wait_for(
                lambda: order not in self._orders, max(0.0, deadline - time.monotonic())
            ):
                raise TimeoutError(f"the virtual printer did not obey {order!r}")

    # ---- the printer's own thread

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wake_read:
                    self._wake_read.recv(64)
                elif key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._client or key.fileobj == self._master:
                    self._receive()
            if self._obey_orders():
                return

    def _obey_orders(self) -> bool:
        with self._changed:
            orders, self._orders[:] = list(self._orders), []
            for order in orders:
                if order == "off":
                    self._stop_listening()
                    self._hang_up()
                    self._held.clear()
                    faults, drawer = self._parser.faults, self._parser.drawer_opened
                    self._parser = EscPosParser(self._answer, self._cut, self._condition)
                    self._parser.faults, self._parser.drawer_opened = faults, drawer
                elif order == "on":
                    self._listen()
                elif order == "paper out":
                    self._paper, self._paper_bytes = False, None
                elif order == "paper in":
                    self._paper, self._paper_bytes = True, None
                    held, self._held = bytes(self._held), bytearray()
                    self._print(held)
            self._changed.notify_all()
            return "end" in orders

    def _listen(self) -> None:
        if self._master >= 0:
            with suppress(KeyError):  # switched on already
                self._selector.register(self._master, selectors.EVENT_READ)
            return
        if self._listener is not None:
            return
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=4)
        self._port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ)

    def _stop_listening(self) -> None:
        if self._master >= 0:
            with suppress(KeyError):
                self._selector.unregister(self._master)
        if self._listener is not None:
            with suppress(KeyError):  # it is not in there while a client is served
                self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        if self._listener is None:
            return
        self._client, _ = self._listener.accept()
        self._selector.register(self._client, selectors.EVENT_READ)
        self._selector.unregister(self._listener)  # one at a time: others wait to be accepted
        if self.hangs_up:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._client is not None:
            self._selector.unregister(self._client)
            self._client.close()
            self._client = None
            if self._listener is not None:
                self._selector.register(self._listener, selectors.EVENT_READ)

    def _receive(self) -> None:
        size = READ_BYTES if self.slow_bytes_s is None else max(1, self.slow_bytes_s // 100)
        try:
            if self._client is not None:
                data = self._client.recv(size)
            else:
                data = os.read(self._master, size)
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return
        if self.slow_bytes_s is not None:
            time.sleep(len(data) / self.slow_bytes_s)
        if self._paper and not self.cover_open:
            self._print(data)
        else:
            self._hold(self._realtime(data))
        with self._changed:
            self._changed.notify_all()

    def _print(self, data: bytes) -> None:
        if self._paper_bytes is None:
            self._parser.feed(data)
            return
        now, later = data[: self._paper_bytes], data[self._paper_bytes :]
        self._paper_bytes -= len(now)
        self._parser.feed(now)
        if later or not self._paper_bytes:
            self._paper, self._paper_bytes = False, None
            self._hold(self._realtime(later))

    def _hold(self, data: bytes) -> None:
        if len(self._held) + len(data) <= MAX_HELD_BYTES:
            self._held += data

    def _realtime(self, data: bytes) -> bytes:
        """Obey what is obeyed at once, whatever is in the buffers; the rest waits for paper."""
        for command in _REALTIME.findall(data):
            if command.startswith(_CLEAR):
                self._held.clear()
            else:
                self._answer(bytes((self._condition(command[2]),)))
        return _REALTIME.sub(b"", data)

    def _condition(self, number: int) -> int:
        """The answer to DLE EOT `number`."""
        if not self._paper:
            return _NO_PAPER_ANSWERS[number]
        if self.cover_open:
            return _COVER_ANSWERS[number]
        return _WELL_ANSWERS[number] | (_LOW_PAPER if number == 4 and self.paper_low else 0)

    def _answer(self, data: bytes) -> None:
        if self.silent:
            return
        with suppress(OSError):
            if self._client is not None:
                self._client.send(data)
            elif self._master >= 0:
                os.write(self._master, data)

    def _cut(self, parts: tuple[PaperLine | PaperQr, ...]) -> None:
        # An RLock inside Condition: paper loaded by an order prints while the order holds it.
        with self._changed:
            if len(self._slips) < MAX_SLIPS:
                self._slips.append(Slip(parts, self.columns))
            self._changed.notify_all()
