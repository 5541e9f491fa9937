"""A USB printer by the kernel's own driver (usblp): /dev/usb/lpN.

N is shared with other devices and changes when something is plugged in, so the node is found by the printer's
ids or its port. Only one program can have it open (EBUSY), nothing is reset and nothing detached: of the two
ways to a USB printer this is the gentler one.

**It is opened for blocking writes.** With O_NONBLOCK usblp reports success before the transfer is over and
drops the rest when it is closed: of 44,000 bytes "written" 40,000 came out. A write that blocks for ever
(paper out, and 80 KB in its buffers) happens in a thread of its own; who waits for it gives up at the
deadline. LPABORT makes it end with an error when the printer says that it has no paper.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import threading
from contextlib import suppress
from pathlib import Path

from agent.drivers.link import READ_BYTES, WRITE_TIMEOUT_MS, DeviceUrl, LinkError, open_error
from agent.drivers.plugged import DEV, SYS, printer_node
from loyalty.texts import N_

_LPGETSTATUS, _LPABORT = 0x060B, 0x0604
PIECE_BYTES = 8192


class LpLink:
    """A printer at an lp URL. Raises LinkError."""

    def __init__(self, url: DeviceUrl, sys_root: Path = SYS, dev_root: Path = DEV) -> None:
        node = printer_node(url, sys_root, dev_root)
        try:
            self._fd = os.open(node, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise LinkError(
                    "denied", N_("No right to use {url}: add the service user to group lp.", url=str(url))
                ) from None
            raise open_error(url, error.errno) from None
        with suppress(OSError):
            fcntl.ioctl(self._fd, _LPABORT, 1)
        self._writing: _Write | None = None

    def fileno(self) -> int:
        return self._fd

    def read(self) -> bytes:
        data = os.read(self._fd, READ_BYTES)
        if not data:
            return b""
        return data

    def read_within(self, timeout_ms: int) -> bytes:
        return self.read() if select.select([self._fd], [], [], timeout_ms / 1000)[0] else b""

    def write(self, data: bytes, timeout_ms: int = WRITE_TIMEOUT_MS) -> int:
        self._writing = _Write(self._fd, data)
        return self._writing.sent_within(timeout_ms / 1000)

    def port_status(self) -> int | None:
        """The port's status byte: 0x20 no paper, 0x10 selected, 0x08 no error; None: it does not say."""
        status = bytearray(4)
        try:
            fcntl.ioctl(self._fd, _LPGETSTATUS, status)
        except OSError:
            return None
        return status[0]

    def close(self) -> None:
        if self._writing is not None and self._writing.close_when_done(self._fd):
            return  # the write that hangs has it, and closes it when it ends
        with suppress(OSError):
            os.close(self._fd)


class _Write:
    """One write in a thread of its own."""

    def __init__(self, descriptor: int, data: bytes) -> None:
        self._descriptor, self._data = descriptor, data
        self._sent = 0
        self._lock = threading.Lock()
        self._is_done = False
        self._to_close: int | None = None
        self._thread = threading.Thread(target=self._run, name="printer write", daemon=True)
        self._thread.start()

    def sent_within(self, timeout_s: float) -> int:
        self._thread.join(timeout_s)
        return self._sent

    def close_when_done(self, descriptor: int) -> bool:
        """True: the write is still under way, and will close the descriptor itself."""
        with self._lock:
            if self._is_done:
                return False
            self._to_close = descriptor
            return True

    def _run(self) -> None:
        try:
            while self._sent < len(self._data):
                piece = self._data[self._sent : self._sent + PIECE_BYTES]
                self._sent += os.write(self._descriptor, piece)
        except OSError:
            pass  # how much has left says `sent_within`
        with self._lock:
            self._is_done = True
            if self._to_close is not None:
                with suppress(OSError):
                    os.close(self._to_close)
