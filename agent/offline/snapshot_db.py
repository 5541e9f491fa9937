"""snapshot.db: what the centre told us. Disposable, and therefore written without FULL sync.

One writer, the sync thread; the till reads members through a `Members` of its own.
A version of a channel comes into force in three steps, each safe to repeat after a
crash: the files are stored here; ledger.db notes the version (it may never fall);
the pointer here moves. At start the two are compared and the rest is done again.

**Damage.** A page that cannot be read must not stop a till. Whoever meets one takes what is
asked for as not there; the writer lays the file aside (`snapshot.db.damaged`), begins a new one
with the versions in force that can still be read whole, and the centre tells the rest again.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.offline import files
from loyalty.decoding import UNREADABLE
from loyalty.manifest import CATALOG, MAIN_FILE, RULEBOOK, Manifest
from loyalty.wire import Member

log = logging.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_decode_member = msgspec.msgpack.Decoder(Member).decode
VERSIONS_KEPT = 3  # of each channel; open sales use at most the last ones
NAMED_BYTES_MAX = 128 * 1024 * 1024  # of older versions of a channel that receipts name
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


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

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._db = connection
        self._said = False

    @classmethod
    def open(cls, path: Path) -> Members:
        """A reader with a query_only connection of its own."""
        return cls(files.open_reader(path), path)

    def close(self) -> None:
        """Give the connection back."""
        self._db.close()

    def by_card(self, card_key: int) -> KnownMember | None:
        """Whose card this is, if the till has heard of it and can still read it."""
        try:
            return self._by_card(card_key)
        except (sqlite3.DatabaseError, *UNREADABLE) as error:
            return self._read_anew(card_key, error)

    def _by_card(self, card_key: int) -> KnownMember | None:
        row = self._db.execute(
            "SELECT member.body, member.heard_s FROM card JOIN member USING (account) WHERE card_key = ?",
            (card_key,),
        ).fetchone()
        return KnownMember(_decode_member(row[0]), row[1]) if row else None

    def _read_anew(self, card_key: int, error: Exception) -> KnownMember | None:
        """The writer may have begun a new file since; where it has not, the card is not known here."""
        if not self._said:
            log.error("members cannot be read (%s); the centre is asked", type(error).__name__)
        self._said = True
        with suppress(files.FileError, sqlite3.DatabaseError, *UNREADABLE):
            fresh = files.open_reader(self.path)
            self._db.close()
            self._db = fresh
            return self._by_card(card_key)
        return None


class Versions:
    """Reading the stored versions of channels; one object a thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, path: Path) -> Versions:
        """A reader with a query_only connection of its own."""
        return cls(files.open_reader(path))

    def close(self) -> None:
        """Give the connection back."""
        self._db.close()

    def stored(self, channel: str, version: int) -> Stored | None:
        """A stored version with its files, or None if it or a file of it is not here as it was signed."""
        row = self._db.execute(
            "SELECT body FROM manifest WHERE channel = ? AND version = ?", (channel, version)
        ).fetchone()
        if row is None:
            return None
        contents: dict[str, bytes] = {}
        for name, ref in _manifest(row[0]).files.items():
            content = self._file(ref.sha256)
            if content is None or hashlib.sha256(content).hexdigest() != ref.sha256:
                return None
            contents[name] = content
        return Stored(version, row[0], contents)

    def rulebook(self, channel: str, seq: int) -> Stored | None:
        """The newest stored version of a channel whose rulebook has this `seq`."""
        for version, body in self.older(channel):
            if self.seq_of(body) == seq:
                return self.stored(channel, version)
        return None

    def older(self, channel: str, than: int = 2**62) -> list[tuple[int, bytes]]:
        """(version, manifest) of the stored versions before `than`, the newest first."""
        return self._db.execute(
            "SELECT version, body FROM manifest WHERE channel = ? AND version < ? ORDER BY version DESC",
            (channel, than),
        ).fetchall()

    def seq_of(self, manifest: bytes) -> int | None:
        """The rulebook's own number in a version, if there is a rulebook in it."""
        ref = _manifest(manifest).files.get(MAIN_FILE[RULEBOOK])
        content = self._file(ref.sha256) if ref else None
        try:
            return msgspec.json.decode(content, type=_Numbered).seq if content is not None else None
        except UNREADABLE:
            return None

    def _file(self, sha256: str) -> bytes | None:
        row = self._db.execute("SELECT body FROM file WHERE sha256 = ?", (sha256,)).fetchone()
        return row[0] if row else None


class _Numbered(msgspec.Struct):
    """A rulebook, as far as its number."""

    seq: int


class SnapshotDb(Members):
    """The one writer of snapshot.db. Belongs to the sync thread (to main before threads start).

    `named` says by which (rulebook seq, catalog version) the receipts in ledger.db were priced.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(_open(path), path)
        self.named: Callable[[], Collection[tuple[int, int]]] = tuple

    def by_card(self, card_key: int) -> KnownMember | None:
        """Whose card this is, as the last look-up said."""
        return self._by_card(card_key)

    def learn(self, card_key: int, member: Member, now_s: int) -> None:
        """Remember what a look-up answered; where that cannot be, it is simply asked again next time."""
        try:
            with self._writing():
                self._learn(card_key, member, now_s)
        except sqlite3.DatabaseError as error:
            log.warning("a card that was looked up is not remembered: %s", error)

    def _learn(self, card_key: int, member: Member, now_s: int) -> None:
        self._db.execute(
            "INSERT INTO member VALUES (?, ?, ?) ON CONFLICT (account)"
            " DO UPDATE SET body = excluded.body, heard_s = excluded.heard_s",
            (member.account, _encode(member), now_s),
        )
        self._db.execute(
            "INSERT INTO card VALUES (?, ?) ON CONFLICT (card_key) DO UPDATE SET account = excluded.account",
            (card_key, member.account),
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction; a file that proves damaged is replaced before the error goes on."""
        try:
            with files.transaction(self._db):
                yield
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                self.renew()
            raise

    def renew(self) -> None:
        """Lay the file aside and begin a new one, with the versions in force that can be read whole."""
        saved: list[tuple[str, Stored]] = []
        with suppress(sqlite3.DatabaseError):
            for channel in self.versions():
                with suppress(sqlite3.DatabaseError):
                    stored = self.stored(channel, self.version(channel))
                    saved += [(channel, stored)] if stored else []
        self._db.close()
        self._db = _begin_anew(self.path)
        for channel, stored in saved:
            self.stage(_manifest(stored.manifest), stored.manifest, stored.files)
            self.point(channel, stored.version)

    def forget(self, channel: str) -> None:
        """Nothing of this channel is in force here any more: it is to be fetched."""
        with self._writing():
            self._db.execute("DELETE FROM pointer WHERE channel = ?", (channel,))

    def has_file(self, sha256: str) -> bool:
        """Is the content with this hash here already?"""
        return self._db.execute("SELECT 1 FROM file WHERE sha256 = ?", (sha256,)).fetchone() is not None

    def stage(self, manifest: Manifest, body: bytes, contents: dict[str, bytes]) -> None:
        """Store a verified version and its files; nothing is in force yet."""
        with self._writing():
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
        """`version` is in force; older ones beyond VERSIONS_KEPT are let go, if no receipt names them."""
        try:
            named: Collection[tuple[int, int]] | None = self.named()
        except sqlite3.Error as error:
            log.warning(
                "which versions receipts name cannot be read (%s); all are kept", type(error).__name__
            )
            named = None
        with self._writing():
            self._db.execute(
                "INSERT INTO pointer VALUES (?, ?) ON CONFLICT (channel)"
                " DO UPDATE SET version = excluded.version",
                (channel, version),
            )
            if named is not None:
                self._let_go(channel, version, named)
            self._drop_orphans()

    def _let_go(self, channel: str, version: int, named: Collection[tuple[int, int]]) -> None:
        """Delete what is older than VERSIONS_KEPT, but for what a receipt names: its goods may come back.

        Of versions with the same rules (signed again) the newest is enough; NAMED_BYTES_MAX for all.
        """
        versions = Versions(self._db)
        of_rules = channel.startswith(f"{RULEBOOK}.")
        wanted: set[int | None] = {rules if of_rules else goods for rules, goods in named}
        room = NAMED_BYTES_MAX
        for number, body in versions.older(channel, version + 1):
            content = versions.seq_of(body) if of_rules else number
            if number > version - VERSIONS_KEPT:
                wanted.discard(content)
                continue
            useful = content in wanted and (of_rules or channel.startswith(f"{CATALOG}."))
            room -= sum(ref.size for ref in _manifest(body).files.values()) if useful else 0
            if useful and room >= 0:
                wanted.discard(content)
            else:
                self._db.execute("DELETE FROM manifest WHERE channel = ? AND version = ?", (channel, number))

    def _drop_orphans(self) -> None:
        kept = {
            ref.sha256
            for (body,) in self._db.execute("SELECT body FROM manifest").fetchall()
            for ref in _manifest(body).files.values()
        }
        stored = self._db.execute("SELECT sha256 FROM file").fetchall()
        self._db.executemany(
            "DELETE FROM file WHERE sha256 = ?", [(sha256,) for (sha256,) in stored if sha256 not in kept]
        )

    def version(self, channel: str) -> int:
        """The version in force here (0 = none)."""
        row = self._db.execute("SELECT version FROM pointer WHERE channel = ?", (channel,)).fetchone()
        return row[0] if row else 0

    def versions(self) -> dict[str, int]:
        """Channel -> the version in force here."""
        return dict(self._db.execute("SELECT channel, version FROM pointer").fetchall())

    def stored(self, channel: str, version: int) -> Stored | None:
        """A stored version with its files, or None if it or a file of it is not here as it was signed."""
        return Versions(self._db).stored(channel, version)


def is_damage(error: BaseException) -> bool:
    """Is the file itself broken, and not only full, locked or out of reach?"""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return (code & 0xFF) in _DAMAGE


def _manifest(body: bytes) -> Manifest:
    return msgspec.json.decode(body, type=Manifest)


def _open(path: Path) -> sqlite3.Connection:
    """The file; where it is damaged, or of a newer agent, a new one. Raises FileError."""
    try:
        return files.open_writer(path, "snapshot", synchronous="NORMAL")
    except files.FileError as error:
        if error.__cause__ is not None and not is_damage(error.__cause__):
            raise  # no room, no right: a new file would not help, and this one may be whole
    return _begin_anew(path)


def _begin_anew(path: Path) -> sqlite3.Connection:
    log.warning("%s cannot be used; it is laid aside, and what the centre told us is fetched anew", path)
    for part in ("-wal", "-shm"):
        path.with_name(path.name + part).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        path.replace(path.with_name(path.name + ".damaged"))
    return files.open_writer(path, "snapshot", synchronous="NORMAL")
