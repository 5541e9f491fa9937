"""A receipt printer without a printer: ESC/POS over TCP on the loopback, as port 9100 of a real one.

It serves one connection at a time, decodes what it is sent as a printer would
(code page, Chinese mode, reset), keeps the slips, and can misbehave: switched
off, silent, out of paper. A slip sent to a printer without paper is printed
when paper is loaded, as real ones do.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from types import TracebackType

from agent.drivers.fakes.escpos_parser import MAX_SLIPS, EscPosParser, PaperLine, PaperQr
from agent.drivers.fakes.paper import Slip

READ_BYTES = 65536
MAX_HELD_BYTES = 1 << 20
STOP_TIMEOUT_S = 5.0


class VirtualPrinter:
    """A printer that listens at `url` from the moment it is made until `close`."""

    def __init__(self, columns: int = 48, port: int = 0) -> None:
        self.columns = columns
        self.silent = False
        self._port = port
        self._changed = threading.Condition()
        self._slips: list[Slip] = []
        self._paper = True
        self._held = bytearray()
        self._client: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._parser = EscPosParser(self._answer, self._cut)
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._orders: list[str] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="virtual printer", daemon=True)
        self._listen()
        self._thread.start()

    @property
    def url(self) -> str:
        """For the configuration: `tcp:127.0.0.1:port`; the same after a power cut."""
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

    def power_off(self) -> None:
        """Connections are refused, the one in hand breaks, what was not printed is forgotten."""
        self._order("off")

    def power_on(self) -> None:
        """Listen again, at the same address, with all settings as after a power cut."""
        self._order("on")

    def paper_out(self) -> None:
        """Take data, print nothing, answer nothing to `GS r`."""
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
                elif key.fileobj is self._client:
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
                    self._parser = EscPosParser(self._answer, self._cut)
                    self._parser.faults, self._parser.drawer_opened = faults, drawer
                elif order == "on":
                    self._listen()
                elif order == "paper out":
                    self._paper = False
                elif order == "paper in":
                    self._paper = True
                    self._parser.feed(bytes(self._held))
                    self._held.clear()
            self._changed.notify_all()
            return "end" in orders

    def _listen(self) -> None:
        if self._listener is not None:
            return
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=4)
        self._port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ)

    def _stop_listening(self) -> None:
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

    def _hang_up(self) -> None:
        if self._client is not None:
            self._selector.unregister(self._client)
            self._client.close()
            self._client = None
            if self._listener is not None:
                self._selector.register(self._listener, selectors.EVENT_READ)

    def _receive(self) -> None:
        if self._client is None:
            return
        try:
            data = self._client.recv(READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._hang_up()
        elif self._paper:
            self._parser.feed(data)
        elif len(self._held) + len(data) <= MAX_HELD_BYTES:
            self._held += data

    def _answer(self, data: bytes) -> None:
        if self._client is not None and not self.silent:
            with suppress(OSError):
                self._client.send(data)

    def _cut(self, parts: tuple[PaperLine | PaperQr, ...]) -> None:
        # An RLock inside Condition: paper loaded by an order prints while the order holds it.
        with self._changed:
            if len(self._slips) < MAX_SLIPS:
                self._slips.append(Slip(parts, self.columns))
            self._changed.notify_all()
