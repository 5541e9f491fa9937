"""snapshot.db: what the centre told us. Disposable, and therefore written without FULL sync.

One writer, the sync thread; the till reads members through a `Members` of its own.
A version of a channel comes into force in three steps, each safe to repeat after a
crash: the files are stored here; ledger.db notes the version (it may never fall);
the pointer here moves. At start the two are compared and the rest is done again.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.offline import files
from loyalty.manifest import Manifest
from loyalty.wire import Member

log = logging.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_decode_member = msgspec.msgpack.Decoder(Member).decode
VERSIONS_KEPT = 3  # of each channel; open sales use at most the last ones


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored version: the manifest's exact bytes and its files by role."""

    version: int
    manifest: bytes
    files: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class KnownMember:
    """A member as last heard from the centre, at `heard_s` (UTC seconds)."""

    member: Member
    heard_s: int


class Members:
    """Reading members; one object a thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, path: Path) -> Members:
        """A reader with a query_only connection of its own."""
        return cls(files.open_reader(path))

    def close(self) -> None:
        """Give the connection back."""
        self._db.close()

    def by_card(self, card_key: int) -> KnownMember | None:
        """Whose card this is, if the till has heard of it."""
        row = self._db.execute(
            "SELECT member.body, member.heard_s FROM card JOIN member USING (account) WHERE card_key = ?",
            (card_key,),
        ).fetchone()
        return KnownMember(_decode_member(row[0]), row[1]) if row else None


class SnapshotDb(Members):
    """The one writer of snapshot.db. Belongs to the sync thread (to main before threads start)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(_open(path))

    def learn(self, card_key: int, member: Member, now_s: int) -> None:
        """Remember what a look-up answered; without room on the disk it is simply asked again next time."""
        try:
            self._learn(card_key, member, now_s)
        except sqlite3.OperationalError as error:
            log.warning("a card that was looked up is not remembered: %s", error)

    def _learn(self, card_key: int, member: Member, now_s: int) -> None:
        with files.transaction(self._db):
            self._db.execute(
                "INSERT INTO member VALUES (?, ?, ?) ON CONFLICT (account)"
                " DO UPDATE SET body = excluded.body, heard_s = excluded.heard_s",
                (member.account, _encode(member), now_s),
            )
            self._db.execute(
                "INSERT INTO card VALUES (?, ?) ON CONFLICT (card_key)"
                " DO UPDATE SET account = excluded.account",
                (card_key, member.account),
            )

    def has_file(self, sha256: str) -> bool:
        """Is the content with this hash here already?"""
        return self._db.execute("SELECT 1 FROM file WHERE sha256 = ?", (sha256,)).fetchone() is not None

    def stage(self, manifest: Manifest, body: bytes, contents: dict[str, bytes]) -> None:
        """Store a verified version and its files; nothing is in force yet."""
        with files.transaction(self._db):
            for name, content in contents.items():
                self._db.execute(
                    "INSERT INTO file VALUES (?, ?) ON CONFLICT (sha256) DO NOTHING",
                    (manifest.files[name].sha256, content),
                )
            self._db.execute(
                "INSERT INTO manifest VALUES (?, ?, ?) ON CONFLICT (channel, version)"
                " DO UPDATE SET body = excluded.body",
                (manifest.channel, manifest.version, body),
            )

    def point(self, channel: str, version: int) -> None:
        """`version` is in force; older ones beyond VERSIONS_KEPT are let go."""
        with files.transaction(self._db):
            self._db.execute(
                "INSERT INTO pointer VALUES (?, ?) ON CONFLICT (channel)"
                " DO UPDATE SET version = excluded.version",
                (channel, version),
            )
            self._db.execute(
                "DELETE FROM manifest WHERE channel = ? AND version <= ?", (channel, version - VERSIONS_KEPT)
            )
            self._drop_orphans()

    def _drop_orphans(self) -> None:
        kept = {
            ref.sha256
            for (body,) in self._db.execute("SELECT body FROM manifest").fetchall()
            for ref in msgspec.json.decode(body, type=Manifest).files.values()
        }
        stored = self._db.execute("SELECT sha256 FROM file").fetchall()
        self._db.executemany(
            "DELETE FROM file WHERE sha256 = ?", [(sha256,) for (sha256,) in stored if sha256 not in kept]
        )

    def version(self, channel: str) -> int:
        """The version in force here (0 = none)."""
        row = self._db.execute("SELECT version FROM pointer WHERE channel = ?", (channel,)).fetchone()
        return row[0] if row else 0

    def channels(self) -> list[str]:
        """Every channel that has a version in force here."""
        return [name for (name,) in self._db.execute("SELECT channel FROM pointer ORDER BY channel")]

    def newest(self, kind: str) -> Stored | None:
        """What is in force of one kind of channel ("rulebook" of `rulebook.all`)."""
        channel = next((name for name in self.channels() if name.startswith(f"{kind}.")), None)
        return self.stored(channel, self.version(channel)) if channel else None

    def stored(self, channel: str, version: int) -> Stored | None:
        """A stored version with its files, or None if it or a file of it is not here."""
        row = self._db.execute(
            "SELECT body FROM manifest WHERE channel = ? AND version = ?", (channel, version)
        ).fetchone()
        if row is None:
            return None
        contents: dict[str, bytes] = {}
        for name, ref in msgspec.json.decode(row[0], type=Manifest).files.items():
            file = self._db.execute("SELECT body FROM file WHERE sha256 = ?", (ref.sha256,)).fetchone()
            if file is None:
                return None
            contents[name] = file[0]
        return Stored(version, row[0], contents)


def _open(path: Path) -> sqlite3.Connection:
    """The file; where it cannot be used, a new one: everything in it can be fetched again."""
    try:
        return files.open_writer(path, "snapshot", synchronous="NORMAL")
    except files.FileError as error:
        log.warning("what the centre told us is fetched anew: %s", error)
    for part in ("", "-wal", "-shm"):
        path.with_name(path.name + part).unlink(missing_ok=True)
    return files.open_writer(path, "snapshot", synchronous="NORMAL")
