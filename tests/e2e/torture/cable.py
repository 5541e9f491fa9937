"""The line between till and centre: a relay on the loopback that can be pulled in the middle of a word.

The till is enrolled with the relay's address. `pull` breaks every connection and lets none in until `mend`;
`lose_the_next_answer` waits until the centre has done what a sync asked for, and pulls before the till hears
of it. Two threads carry a connection, one each way.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

READ_BYTES = 65536
CONNECT_TIMEOUT_S = 5


class _Wire:
    """One connection of the till, and the one to the centre that continues it."""

    def __init__(self, till: socket.socket, centre: socket.socket) -> None:
        self.till = till
        self.centre = centre
        self.asks = ""  # what the till has asked for here and not been answered: sync, claim, lookup, …

    def cut(self) -> None:
        for end in (self.till, self.centre):
            with suppress(OSError):  # it is cut already
                end.shutdown(socket.SHUT_RDWR)


class Cable:
    """Whole from the moment it is made until it is pulled. `lead_to` says where the centre listens."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._whole = True
        self._lose = False
        self._centre_port = 0
        self._asked: Counter[str] = Counter()
        self._wires: set[_Wire] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, name="cable", daemon=True).start()

    def lead_to(self, port: int) -> None:
        """Where the centre listens."""
        self._centre_port = port

    def pull(self) -> None:
        """No word gets through any more, and those on their way are lost."""
        with self._changed:
            self._pull()

    def lose_the_next_answer(self) -> None:
        """The centre will do what the next sync asks, and the till will not hear of it: then all is cut."""
        with self._changed:
            self._lose = True

    def mend(self) -> None:
        """Put it back."""
        with self._changed:
            self._whole, self._lose = True, False

    def close(self) -> None:
        """Put it away."""
        self.pull()
        self._listener.shutdown(socket.SHUT_RDWR)  # `close` alone would not wake the thread in `accept`
        self._listener.close()

    @property
    def whole(self) -> bool:
        """Does it carry anything?"""
        return self._whole

    def in_flight(self, question: str) -> bool:
        """Has the till asked for this, and not been answered?"""
        with self._changed:
            return any(wire.asks == question for wire in self._wires)

    def wait_for_question(
        self, question: str, timeout_s: float, ask: Callable[[], None] | None = None
    ) -> bool:
        """Return as soon as the till asks for this (`ask` makes it do so). False: it does not."""
        with self._changed:
            before = self._asked[question]
        if ask is not None:
            ask()
        with self._changed:
            return self._changed.wait_for(lambda: self._asked[question] > before, timeout_s)

    def wait_until_pulled(self, timeout_s: float) -> bool:
        """Return when it is pulled, by whatever."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._whole, timeout_s)

    # ---- the relay's own threads

    def _listen(self) -> None:
        while True:
            try:
                till, _ = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._carry, args=(till,), name="wire", daemon=True).start()

    def _carry(self, till: socket.socket) -> None:
        with till:
            try:
                centre = socket.create_connection(("127.0.0.1", self._centre_port), CONNECT_TIMEOUT_S)
            except OSError:
                return  # nobody is there: the till's connection ends
            with centre:
                centre.settimeout(None)
                self._join(_Wire(till, centre))

    def _join(self, wire: _Wire) -> None:
        with self._changed:
            if not self._whole:
                return
            self._wires.add(wire)
        back = threading.Thread(
            target=self._pass_on, args=(wire, wire.centre, wire.till, self._hears), name="wire", daemon=True
        )
        back.start()
        self._pass_on(wire, wire.till, wire.centre, self._asks)
        back.join()
        with self._changed:
            self._wires.remove(wire)

    def _pass_on(
        self,
        wire: _Wire,
        source: socket.socket,
        target: socket.socket,
        passes: Callable[[_Wire, bytes], bool],
    ) -> None:
        with suppress(OSError):  # cut, or one of the ends is gone: what the other hears is the end
            while (data := source.recv(READ_BYTES)) and passes(wire, data):
                target.sendall(data)
        wire.cut()

    def _asks(self, wire: _Wire, data: bytes) -> bool:
        with self._changed:
            if data.startswith((b"POST ", b"GET ")):  # a new question, and not more of the same one
                path = data.split(b" ", 2)[1].partition(b"?")[0]  # POST /v1/tills/T1/sync HTTP/1.1
                wire.asks = path.rpartition(b"/")[2].decode()
                self._asked[wire.asks] += 1
                self._changed.notify_all()
            return self._whole

    def _hears(self, wire: _Wire, data: bytes) -> bool:
        with self._changed:
            if self._lose and wire.asks == "sync":
                self._pull()
            wire.asks = ""
            return self._whole

    def _pull(self) -> None:
        self._whole, self._lose = False, False
        for wire in self._wires:
            wire.cut()
        self._changed.notify_all()
