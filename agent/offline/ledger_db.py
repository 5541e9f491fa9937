"""ledger.db: what this till did, and the only place where a sale becomes real.

**Theory.** A sale is one transaction: entry, document, parcels, hold released, answer.
Before COMMIT nothing happened; after it everything did. The number of an entry and
its link in the chain are computed inside the transaction, so there is never a gap
and never a fork of our own making. Whoever speaks (screen, printer, reply) speaks
after `append` has returned.

**Who.** The till's thread is the only writer. Others (the sync thread, a command) read
through a `Reader` of their own.

**Trouble.** Every failure of the file comes as `LedgerFault`, and nothing was written.
`DiskFull` is the one that mends itself: SQLite rolls the whole transaction back, the
sale is as it was, and the same call succeeds once there is room.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path

import msgspec

from agent.offline import files
from agent.offline.ledger_reader import OFFER_VERSION, Reader
from agent.offline.records import (
    ENROLLED_ALREADY,
    NOT_ENROLLED,
    DiskFull,
    Hold,
    LedgerFault,
    Place,
    Registration,
    Restoring,
    Worked,
    Written,
)
from loyalty import ledger
from loyalty.ledger import Entry, LedgerError, LotTerms, Posting
from loyalty.texts import N_
from loyalty.wire import EnrollReply

log = logging.getLogger(__name__)

WORKED_DAYS = 62  # a whole month, and the one before it
_encode = msgspec.msgpack.Encoder().encode


class LedgerDb(Reader):
    """The one writer of ledger.db. Belongs to the till's thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock(path.with_suffix(".lock"))
        try:
            super().__init__(files.open_writer(path, "ledger"))
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Close the file and let another agent have it."""
        super().close()
        self._lock.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around whatever reads: a page that cannot be read is a LedgerFault like any other."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def _fault(self, error: sqlite3.Error) -> LedgerFault:
        if files.disk_says_no(error):
            return DiskFull(N_("there is no room on the disk of {path}", path=self.path))
        return LedgerFault(N_("{path}: {why}", path=self.path, why=error))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            with files.transaction(self._db):
                yield
        except sqlite3.Error as error:
            raise self._fault(error) from error
        except (LedgerError, OverflowError) as error:
            raise LedgerFault(N_("this cannot be written: {why}", why=error)) from error

    # -- enrolment

    def enrol(self, reply: EnrollReply, server_url: str) -> None:
        """Become the till that the centre answered. A second enrolment is refused."""
        if self.identity() is not None:
            raise LedgerFault(ENROLLED_ALREADY)
        keys = json.dumps({name: key.hex() for name, key in reply.channel_keys.items()})
        with self.transaction():
            self._db.execute(
                "INSERT INTO identity VALUES (1, ?, ?, ?, ?, ?, ?)",
                (reply.till, reply.store, server_url, reply.reply_key, keys, reply.keyset_version),
            )
            self._db.execute(
                "INSERT INTO uplink (one, epoch, timeline, session, server_ms, began_ms)"
                " VALUES (1, ?, ?, ?, ?, ?)",
                (reply.epoch, reply.timeline, reply.session, reply.server_ms, reply.server_ms),
            )
            self._db.executemany(
                "INSERT INTO down_cursor VALUES (?, ?, ?, ?, NULL)",
                [(reply.timeline, bucket, gseq, h) for bucket, (gseq, h) in reply.down.items()],
            )

    # -- one sale

    def append(
        self,
        till: str,
        build: Callable[[Place], tuple[Entry, bytes | None]],
        *,
        sale_id: str,
        verb: str,
        body_sha256: bytes,
        at_s: int,
        answer: Callable[[Written], bytes],
        print_waived: bool = False,
        worked: Worked | None = None,
        register: Registration | None = None,
    ) -> tuple[Written, bytes]:
        """Write one entry, its document and the answer to it, and release the sale's hold: all or nothing.

        `build` makes the entry (and the document's bytes) for the place it will
        have; `answer` makes the JSON that the asker gets now and at every repeat.
        `register` stands before it where nobody has registered that card yet.
        """
        with self.transaction():
            if register is not None:
                self.register(till, register, at_s)
            written = self.write(till, build, sale_id=sale_id)
            self._release(sale_id)
            self._move_parcels(till, written)
            self._count(written, worked)
            said = answer(written)
            self._db.execute(
                "INSERT INTO answer VALUES (?, ?, ?, ?, ?)", (sale_id, verb, body_sha256, at_s, said)
            )
            if print_waived:
                self._note_print(written.entry.epoch, written.entry.seq, at_s, "waived")
        return written, said

    def write(
        self, till: str, build: Callable[[Place], tuple[Entry, bytes | None]], *, sale_id: str | None = None
    ) -> Written:
        """Append one entry with its document. Inside a transaction; parcels are moved by the caller."""
        epoch = self._writing_in()
        last, head = self.head(epoch, till)
        entry, document = build(Place(till, epoch, last + 1))
        body = ledger.canonical(entry)
        digest = hashlib.sha256(document).digest() if document is not None else None
        if (entry.epoch, entry.seq, entry.document_sha256) != (epoch, last + 1, digest):
            raise LedgerFault(N_("entry {id} was not made for its place and receipt", id=entry.id))
        owner = self.owner(entry.account) if entry.account is not None else None
        written = Written(entry, ledger.link(head, body), owner)
        self.insert_entry(entry, body, written.head, document, sale_id)
        if owner is not None:
            self.touch(owner, entry.at_s)
        return written

    def _writing_in(self) -> int:
        """The epoch of new entries. Raises LedgerFault while there is none."""
        row = self._db.execute("SELECT epoch, restore_id FROM uplink").fetchone()
        if row is None:
            raise LedgerFault(NOT_ENROLLED)
        if row[1] is not None:
            raise Restoring
        return int(row[0])

    def is_registered(self, account: int) -> bool:
        """Has this till told of a provisional account, or has the centre given it a lasting one?"""
        told = "SELECT 1 FROM entry WHERE account = ? AND kind = 'REGISTER' LIMIT 1"
        return self.owner(account) != account or self._db.execute(told, (account,)).fetchone() is not None

    def register(self, till: str, card: Registration, now_s: int) -> bool:
        """Tell of a card that was given out here; once a card. Inside a transaction."""
        if self.is_registered(card.account):
            return False
        self.write_moving(till, "REGISTER", card.account, (), now_s=now_s, document=card.document)
        return True

    def _count(self, written: Written, worked: Worked | None) -> None:
        """Remember by which rules a sale was priced, and which did something; or that a sale was none."""
        entry, owner = written.entry, written.owner
        if worked is not None:
            self.note_priced_by(entry, worked.rulebook_seq, worked.catalog_version)
        if owner is None:
            return
        if entry.kind == "VOID" and entry.ref is not None:
            _, epoch, seq = entry.ref.rsplit("-", 2)
            self._db.execute(
                "DELETE FROM worked WHERE account = ? AND epoch = ? AND seq = ? AND lasting = 0",
                (owner, int(epoch), int(seq)),
            )
        if worked is None or not worked.rules:
            return
        self._db.executemany(
            "INSERT INTO worked VALUES (?, ?, ?, ?, ?, ?)",
            [
                (owner, rule, worked.day, entry.epoch, entry.seq, rule in worked.lasting)
                for rule in worked.rules
            ],
        )
        old = date.fromisoformat(worked.day) - timedelta(days=WORKED_DAYS)
        self._db.execute(
            "DELETE FROM worked WHERE day < ? AND (epoch < ? OR seq <= (SELECT acked_seq FROM uplink))",
            (old.isoformat(), entry.epoch),
        )

    def insert_entry(
        self, entry: Entry, body: bytes, head: bytes, document: bytes | None, sale_id: str | None = None
    ) -> None:
        """The rows of one entry. Inside a transaction."""
        self._db.execute(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (entry.epoch, entry.seq, entry.at_s, entry.kind, entry.account, entry.ref, body, head),
        )
        if document is not None:
            self._db.execute(
                "INSERT INTO document VALUES (?, ?, ?, ?)",
                (entry.epoch, entry.seq, sale_id or entry.id, document),
            )

    def note_priced_by(self, entry: Entry, rulebook_seq: int, catalog_version: int) -> None:
        """Remember by which rules and goods a sale was priced. Inside a transaction."""
        self._db.execute(
            "INSERT INTO priced_by VALUES (?, ?, ?, ?) ON CONFLICT (rulebook_seq, catalog_version)"
            " DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq"
            " WHERE (excluded.epoch, excluded.seq) > (epoch, seq)",
            (rulebook_seq, catalog_version, entry.epoch, entry.seq),
        )

    def touch(self, account: int, now_s: int) -> None:
        """The account was served here. Inside a transaction."""
        self._db.execute(
            "INSERT INTO standing VALUES (?, ?, NULL) ON CONFLICT (account)"
            " DO UPDATE SET touched_s = max(touched_s, excluded.touched_s)",
            (account, now_s),
        )

    def note_home(self, account: int, home: bool, now_s: int) -> None:
        """Is this till where the account's points are kept? Written when it changes."""
        if self.standing(account)[0] is not home:
            with self.transaction():
                self.set_home(account, home, now_s)

    def set_home(self, account: int, home: bool, now_s: int) -> None:
        """The same, inside a transaction."""
        self.touch(account, now_s)
        self._db.execute("UPDATE standing SET home = ? WHERE account = ?", (home, account))

    def remember(self, sale_id: str, verb: str, body_sha256: bytes, at_s: int, answer: bytes) -> None:
        """Keep an answer that wrote no entry, so that the same question gets it again."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO answer VALUES (?, ?, ?, ?, ?)", (sale_id, verb, body_sha256, at_s, answer)
            )

    def save_hold(self, hold: Hold) -> None:
        """Promise parcels to a sale, instead of whatever it was promised before.

        Raises LedgerFault where they are not here, or promised to another sale.
        """
        offer = hold.offer
        account = self.owner(offer.customer.account) if offer.customer else None
        with self.transaction():
            self._release(hold.sale_id)
            self._db.execute(
                "INSERT INTO hold VALUES (?, ?, ?, ?, ?, ?)",
                (
                    hold.sale_id,
                    offer.quote_id,
                    hold.body_sha256,
                    hold.at_s,
                    hold.opened_s,
                    OFFER_VERSION + _encode(offer),
                ),
            )
            self._db.executemany(
                "INSERT INTO hold_parcel VALUES (?, ?, ?, ?)",
                [(account, piece.lot, hold.sale_id, piece.points) for piece in offer.spends],
            )
            (over,) = self._db.execute(
                "SELECT count(*) FROM hold_parcel mine LEFT JOIN parcel p USING (account, lot)"
                " WHERE mine.sale_id = ? AND coalesce(p.points, 0) < ("
                " SELECT sum(points) FROM hold_parcel h WHERE h.account = mine.account AND h.lot = mine.lot)",
                (hold.sale_id,),
            ).fetchone()
            if over:
                raise LedgerFault(N_("sale {id} is promised more points than lie here", id=hold.sale_id))

    def release_hold(self, sale_id: str) -> None:
        """The sale's parcels may be promised to others again."""
        with self.transaction():
            self._release(sale_id)

    def _release(self, sale_id: str) -> None:
        self._db.execute("DELETE FROM hold_parcel WHERE sale_id = ?", (sale_id,))
        self._db.execute("DELETE FROM hold WHERE sale_id = ?", (sale_id,))

    def note_print(self, epoch: int, seq: int, at_s: int, outcome: str) -> None:
        """Remember how an attempt to print ended; without room for it the slip is offered once more."""
        try:
            with self.transaction():
                self._note_print(epoch, seq, at_s, outcome)
        except DiskFull as error:
            log.warning("how the slip of entry %d-%d was printed is not noted: %s", epoch, seq, error)

    def _note_print(self, epoch: int, seq: int, at_s: int, outcome: str) -> None:
        self._db.execute(
            "INSERT INTO print_note (epoch, seq, at_s, outcome) VALUES (?, ?, ?, ?)",
            (epoch, seq, at_s, outcome),
        )

    def _move_parcels(self, till: str, written: Written) -> None:
        """Apply what an entry of our own moves into and out of this till's parcels."""
        entry, owner = written.entry, written.owner
        if owner is None:
            return
        here = ledger.parcel(till)
        terms = {posting.lot: posting.terms for posting in entry.postings if posting.terms}
        for posting in entry.postings:
            if posting.account != here:
                continue
            if posting.points < 0:
                self._take(entry, owner, posting.lot, -posting.points)
            else:
                self.put(owner, posting.lot, posting.points, terms.get(posting.lot), why=entry.id)

    def _take(self, entry: Entry, owner: int, lot: str, points: int) -> None:
        changed = self._db.execute(
            "UPDATE parcel SET points = points - ? WHERE account = ? AND lot = ? AND points >= ?",
            (points, owner, lot, points),
        ).rowcount
        if changed != 1:
            raise LedgerFault(
                N_("entry {id} spends points of lot {lot} that this till does not hold", id=entry.id, lot=lot)
            )

    def put(self, owner: int, lot: str, points: int, terms: LotTerms | None, *, why: str) -> None:
        """More of a lot is here to be spent. Inside a transaction."""
        if terms is not None:
            self._db.execute(
                "INSERT INTO parcel VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (account, lot)"
                " DO UPDATE SET points = points + excluded.points",
                (owner, lot, points, terms.active_from, terms.expires_at, terms.rule),
            )
            return
        known = self._db.execute(
            "UPDATE parcel SET points = points + ? WHERE account = ? AND lot = ?", (points, owner, lot)
        ).rowcount
        if not known:
            raise LedgerFault(N_("entry {id} brings lot {lot} without its terms", id=why, lot=lot))

    def write_moving(
        self,
        till: str,
        kind: str,
        account: int | None,
        postings: tuple[Posting, ...],
        *,
        now_s: int,
        ref: str | None = None,
        document: bytes | None = None,
        flags: tuple[str, ...] = (),
    ) -> Written:
        """Write an entry that is about no sale (RELEASE, HANDOVER). Inside a transaction."""
        digest = hashlib.sha256(document).digest() if document is not None else None

        def build(place: Place) -> tuple[Entry, bytes | None]:
            return (
                Entry(place.till, place.epoch, place.seq, now_s, kind, account, postings, digest, ref, flags),
                document,
            )

        written = self.write(till, build)
        self._move_parcels(till, written)
        return written

    # -- sync (what is heard from the centre: offline/heard.py)

    def note_retry(self, attempt: int) -> None:
        """Keep the back-off over a restart; without room for it a restarted till is only less patient."""
        with suppress(DiskFull), self.transaction():
            self._db.execute("UPDATE uplink SET retry_attempt = ?", (attempt,))

    def note_channel(self, channel: str, version: int, manifest_sha256: str, now_s: int) -> None:
        """A new version is noted here before snapshot.db's pointer moves; versions never fall."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO channel VALUES (?, ?, ?, ?) ON CONFLICT (channel) DO UPDATE SET"
                " version = excluded.version, manifest_sha256 = excluded.manifest_sha256,"
                " since_s = excluded.since_s WHERE excluded.version > channel.version",
                (channel, version, manifest_sha256, now_s),
            )


class Lock:
    """A lock file: two agents on one ledger would be two writers."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise LedgerFault(
                N_("another agent works with {path} already; stop it first", path=path.parent)
            ) from error

    def close(self) -> None:
        """Let go; a second time does nothing (the number of the file may be another's by then)."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
