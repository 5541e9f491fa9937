"""Slips that wait for the printer, on disk: they outlive a power cut, and none is printed twice.

What lies here has certainly not reached the printer. A slip comes in when the printer cannot take it (no
paper, switched off, unplugged) and goes out, for good, *before* its first byte is sent. So whatever the power
cut meets, a slip is either here and unprinted, or not here and perhaps printed; and the second kind is never
printed again by itself (the till offers it, marked as a copy).

One SQLite file with FULL sync, used by the printer's thread alone. It is no ledger: a file that cannot be
read is laid aside, and a full disk keeps the slips in memory, as long as the agent runs.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.drivers.document import Cut, Document, Line, Qr

log = logging.getLogger(__name__)

WAITING_MAX = 50
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS slip (
    number INTEGER PRIMARY KEY,  -- in the order they came
    job_id TEXT NOT NULL UNIQUE,
    at_s INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
"""


class _Kept(msgspec.Struct, array_like=True):
    """A document as it lies on disk: tag and fields of each part. `raw`: bytes that are ESC/POS already."""

    parts: tuple[tuple[str, str, bool, str, bool], ...] = ()
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Slip:
    """A job that waits since `at_s` (UTC seconds)."""

    job_id: str
    at_s: int
    job: Document | bytes


class Spool:
    """`path` None: in memory only."""

    def __init__(self, path: Path | None) -> None:
        self._db = _open(path)
        self._memory: dict[str, Slip] = {}  # what a full disk did not take

    def add(self, slip: Slip) -> bool:
        """Keep it; False where there is no room for more. The same job twice is once."""
        if len(self.waiting()) >= WAITING_MAX:
            return False
        try:
            with self._db:
                self._db.execute(
                    "INSERT INTO slip (job_id, at_s, body) VALUES (?, ?, ?) ON CONFLICT (job_id) DO NOTHING",
                    (slip.job_id, slip.at_s, _packed(slip.job)),
                )
        except sqlite3.Error as error:
            log.warning("a waiting slip cannot be written down (%s); it is kept in memory", error)
            self._memory.setdefault(slip.job_id, slip)
        return True

    def waiting(self) -> list[Slip]:
        """Everything that waits, in the order it came."""
        try:
            rows = self._db.execute("SELECT job_id, at_s, body FROM slip ORDER BY number").fetchall()
        except sqlite3.Error as error:
            log.warning("waiting slips cannot be read: %s", error)
            rows = []
        found = []
        for job_id, at_s, body in rows:
            job = _unpacked(body)
            if job is not None:
                found.append(Slip(job_id, at_s, job))
        return [*found, *self._memory.values()]

    def take(self, job_id: str) -> bool:
        """It is about to be sent, or will not be: it is here no more. False: that cannot be written down,

        and then it must not be sent either (it is lost with the power, or printed twice).
        """
        if self._memory.pop(job_id, None) is not None:
            return True
        try:
            with self._db:
                self._db.execute("DELETE FROM slip WHERE job_id = ?", (job_id,))
        except sqlite3.Error as error:
            log.warning("a waiting slip cannot be taken out of its file: %s", error)
            return False
        return True

    def close(self) -> None:
        """Give the file back."""
        self._db.close()


def _open(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        try:
            return _connected(str(path))
        except sqlite3.Error as error:
            log.error("%s cannot be used (%s); waiting slips in it are lost", path, error)
            with suppress(OSError):
                path.replace(path.with_name(path.name + ".damaged"))
            with suppress(sqlite3.Error):
                return _connected(str(path))
    return _connected(":memory:")


def _connected(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(name, check_same_thread=False, timeout=5)
    try:
        connection.executescript(_SCHEMA)
        connection.execute("SELECT count(*) FROM slip").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _packed(job: Document | bytes) -> bytes:
    if isinstance(job, bytes):
        return msgspec.msgpack.encode(_Kept(raw=job))
    return msgspec.msgpack.encode(_Kept(parts=tuple(map(_part, job))))


def _part(part: Line | Qr | Cut) -> tuple[str, str, bool, str, bool]:
    match part:
        case Line(text, bold, align, wide):
            kept = ("line", text, bold, str(align), wide)
        case Qr(data):
            kept = ("qr", data, False, "left", False)
        case Cut():
            kept = ("cut", "", False, "left", False)
    return kept


def _unpacked(body: bytes) -> Document | bytes | None:
    try:
        kept = msgspec.msgpack.decode(body, type=_Kept)
    except msgspec.DecodeError:
        return None
    if kept.raw:
        return kept.raw
    document: list[Line | Qr | Cut] = []
    for tag, text, bold, align, wide in kept.parts:
        if tag == "line":
            document.append(
                Line(
                    text,
                    bold,
                    "center" if align == "center" else "right" if align == "right" else "left",
                    wide,
                )
            )
        else:
            document.append(Qr(text) if tag == "qr" else Cut())
    return tuple(document)
