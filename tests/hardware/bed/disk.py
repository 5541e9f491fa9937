"""A disk with a volatile write cache, served to QEMU by NBD: a power cut loses or tears what was not flushed.

A plain file cannot show a missing fsync: what a killed QEMU had written is in the host's memory, and there
it stays. So the cache is here. A write goes into it, a flush (or a write with FUA) empties it onto the
platter, and `cut` forgets it, or lets a half of its sectors through, as disks do.

Only what QEMU asks for is spoken of the NBD protocol (newstyle, one export, one client).
"""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path
from random import Random

SECTOR_BYTES = 512
_MAGIC, _OPTION_MAGIC, _REPLY_MAGIC = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
_EXPORT_NAME, _GO = 1, 7
_ACK, _INFO, _UNSUPPORTED = 1, 3, 0x80000001
_HAS_FLAGS, _SEND_FLUSH, _SEND_FUA = 1, 4, 8
_FLAGS = _HAS_FLAGS | _SEND_FLUSH | _SEND_FUA
_READ, _WRITE, _END, _FLUSH = 0, 1, 2, 3
_FUA = 1
_REQUEST = struct.Struct(">IHHQQI")
_REQUEST_MAGIC, _ANSWER_MAGIC = 0x25609513, 0x67446698


class VolatileDisk:
    """`content` is what is on the platter at first."""

    def __init__(self, content: bytes) -> None:
        self.platter = bytearray(content)
        self._current = bytearray(content)
        self._dirty: set[int] = set()
        self.flushes = 0

    @property
    def unflushed(self) -> int:
        """Sectors that a power cut would lose."""
        return len(self._dirty)

    def cut(self, random: Random | None = None) -> None:
        """The power fails: the cache is lost; with `random` a half of its sectors has reached the platter."""
        for sector in sorted(self._dirty):
            if random is not None and random.random() < 0.5:
                self._settle(sector)
        self._current = bytearray(self.platter)
        self._dirty.clear()

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._current[offset : offset + length])

    def write(self, offset: int, data: bytes, *, through: bool) -> None:
        self._current[offset : offset + len(data)] = data
        touched = range(offset // SECTOR_BYTES, (offset + len(data) - 1) // SECTOR_BYTES + 1)
        self._dirty.update(touched)
        if through:
            for sector in touched:
                self._settle(sector)
            self._dirty.difference_update(touched)

    def flush(self) -> None:
        self.flushes += 1
        for sector in self._dirty:
            self._settle(sector)
        self._dirty.clear()

    def _settle(self, sector: int) -> None:
        at = sector * SECTOR_BYTES
        self.platter[at : at + SECTOR_BYTES] = self._current[at : at + SECTOR_BYTES]


class DiskServer:
    """Serves a disk on a Unix socket until it is closed."""

    def __init__(self, disk: VolatileDisk, path: Path) -> None:
        self._disk = disk
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; QEMU is dead by then."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _run(self) -> None:
        try:
            client, _ = self._listener.accept()
            with client, client.makefile("rb") as stream:
                self._shake_hands(client, stream)
                self._serve(client, stream)
        except (OSError, EOFError, struct.error):
            return  # QEMU was killed: that is what it is for

    def _shake_hands(self, client: socket.socket, stream) -> None:  # type: ignore[no-untyped-def]
        client.sendall(_MAGIC + _OPTION_MAGIC + struct.pack(">H", 1))
        stream.read(4)  # the client's flags
        while True:
            _, option, length = struct.unpack(">8sII", stream.read(16))
            body = stream.read(length)
            if option == _EXPORT_NAME:
                client.sendall(struct.pack(">QH", len(self._disk.platter), _FLAGS) + bytes(124))
                return
            if option == _GO:
                about = struct.pack(">HQH", 0, len(self._disk.platter), _FLAGS)
                client.sendall(_reply(option, _INFO, about) + _reply(option, _ACK, b""))
                return
            del body
            client.sendall(_reply(option, _UNSUPPORTED, b""))

    def _serve(self, client: socket.socket, stream) -> None:  # type: ignore[no-untyped-def]
        while head := stream.read(_REQUEST.size):
            _, flags, kind, cookie, offset, length = _REQUEST.unpack(head)
            data = b""
            if kind == _READ:
                data = self._disk.read(offset, length)
            elif kind == _WRITE:
                self._disk.write(offset, stream.read(length), through=bool(flags & _FUA))
            elif kind == _FLUSH:
                self._disk.flush()
            elif kind == _END:
                return
            client.sendall(struct.pack(">IIQ", _ANSWER_MAGIC, 0, cookie) + data)


def _reply(option: int, kind: int, body: bytes) -> bytes:
    return struct.pack(">QIII", _REPLY_MAGIC, option, kind, len(body)) + body
