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
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec

from agent.offline import files
from loyalty import ledger
from loyalty.decoding import UNREADABLE
from loyalty.document import DocumentError, priced_by
from loyalty.ledger import Entry, LedgerError, LotTerms, Posting
from loyalty.protocol.till import Held
from loyalty.sale import Offer
from loyalty.texts import N_, Text
from loyalty.wire import EnrollReply, Member, down_genesis

log = logging.getLogger(__name__)

OFFER_VERSION = b"\x01"
WORKED_DAYS = 62  # a whole month, and the one before it
BATCH_BYTES = 4 * 1024 * 1024  # of entries and receipts: a quarter of what a message may be
NOT_ENROLLED = N_("this till is not enrolled; run: kopilka-agent enroll --server URL --code CODE")
ENROLLED_ALREADY = N_(
    "this till is enrolled already; to make another of this box stop the agent and add --anew"
)
RESTORING = N_(
    "this till was restored from a backup, and the centre has not heard of it yet: connect it once"
    " (kopilka-agent sync now); until then the cash program sells without us"
)
_encode = msgspec.msgpack.Encoder().encode
_decode_offer = msgspec.msgpack.Decoder(Offer).decode


class LedgerFault(Exception):  # noqa: N818 - "fault" is the house's word for it
    """The till's file says something impossible; `text` names it and the remedy. Nothing was written."""

    def __init__(self, text: Text) -> None:
        super().__init__(str(text))
        self.text = text


class DiskFull(LedgerFault):
    """No room on the disk: the transaction was rolled back as a whole."""


class Restoring(LedgerFault):
    """The file came from a backup: nothing is written before the centre has opened the till's next life."""

    def __init__(self) -> None:
        super().__init__(RESTORING)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this till is, as the centre answered at enrolment."""

    till: str
    store: str
    server_url: str
    reply_key: bytes
    channel_keys: dict[str, bytes]
    keyset_version: int


@dataclass(frozen=True, slots=True)
class Uplink:
    """Where this till stands with the centre."""

    epoch: int
    timeline: int
    session: str = field(repr=False)
    acked_seq: int
    durable_seq: int
    server_ms: int
    synced_s: int | None
    retry_attempt: int
    restore_id: str | None = None  # restored from a backup, and the centre has not heard of it yet
    quarantined: int = 0  # entries of ours that wait for a person's decision, as the centre said last
    ended: bool = False  # the centre has ended this life: closed by the office, or another disk is the till
    began_ms: int = 0  # when this life began, by the centre's clock

    @property
    def restoring(self) -> bool:
        """Must the centre hear of a restore first?"""
        return self.restore_id is not None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the next entry stands: what `build` needs to make it."""

    till: str
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Written:
    """An entry that is on disk: its id and the chain's head after it."""

    entry: Entry
    head: bytes

    @property
    def ident(self) -> str:
        """`till-epoch-seq-hash6`: the last line of the slip."""
        return f"{self.entry.id}-{ledger.fingerprint(self.head)}"


@dataclass(frozen=True, slots=True)
class Parcel:
    """Points of one lot that this till may still promise (held ones already taken off)."""

    lot: str
    points: int
    active_from: str
    expires_at: str | None
    rule: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A quote that spends something, not yet committed or voided."""

    sale_id: str
    body_sha256: bytes
    at_s: int
    opened_s: int
    offer: Offer


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered once, and to which question."""

    body_sha256: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """An entry that came with a document: the chain's hash after it, and the document's bytes."""

    entry: Entry
    head: bytes
    document: bytes


@dataclass(frozen=True, slots=True)
class Worked:
    """Rules with a counter of their own that did something in a sale of local date `day`.

    Of the `lasting` ones the sale carries a once-key: that is used up, whatever becomes of the sale.
    """

    day: str
    rules: tuple[str, ...]
    lasting: frozenset[str]


@dataclass(frozen=True, slots=True)
class Registration:
    """A card that nobody knew: its provisional account and the document that tells of it."""

    account: int
    document: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries from the server's cursor on, as the sync machine sends them."""

    uplink: Uplink
    epoch: int
    first_seq: int
    prev: bytes
    bodies: tuple[bytes, ...]
    documents: tuple[tuple[int, bytes], ...]
    more: bool  # there are entries behind these
    down: dict[int, int]


RETURN = "return/"


def return_key(return_id: str) -> str:
    """Under which a return lies beside the sales; no sale's id has a slash."""
    return RETURN + return_id


def told_id(key: str) -> str:
    """The cash program's id of a sale or return, as people say it."""
    return key.removeprefix(RETURN)


class Reader:
    """Reading, by whoever; one object a thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, path: Path) -> Reader:
        """A reader with a query_only connection of its own."""
        return cls(files.open_reader(path))

    def close(self) -> None:
        """Give the connection back."""
        self._db.close()

    def identity(self) -> Identity | None:
        """Who this till is; None before it was enrolled."""
        row = self._db.execute(
            "SELECT till, store, server_url, reply_key, channel_keys, keyset_version FROM identity"
        ).fetchone()
        if row is None:
            return None
        keys = {name: bytes.fromhex(value) for name, value in json.loads(row[4]).items()}
        return Identity(row[0], row[1], row[2], row[3], keys, row[5])

    def uplink(self) -> Uplink:
        """Where the till stands with the centre. Raises LedgerFault before enrolment."""
        row = self._db.execute(
            "SELECT epoch, timeline, session, acked_seq, durable_seq, server_ms, synced_s, retry_attempt,"
            " restore_id, quarantined, ended, began_ms FROM uplink"
        ).fetchone()
        if row is None:
            raise LedgerFault(NOT_ENROLLED)
        return Uplink(*row)

    def head(self, epoch: int, till: str) -> tuple[int, bytes]:
        """(seq, chain hash) of the newest entry of `epoch`; (0, genesis) before the first."""
        row = self._db.execute(
            "SELECT seq, h FROM entry WHERE epoch = ? ORDER BY seq DESC LIMIT 1", (epoch,)
        ).fetchone()
        return (row[0], row[1]) if row else (0, ledger.genesis(till, epoch))

    def hash_at(self, epoch: int, seq: int, till: str) -> bytes:
        """The chain's hash after entry `seq`."""
        if seq == 0:
            return ledger.genesis(till, epoch)
        row = self._db.execute(
            "SELECT h FROM entry WHERE epoch = ? AND seq = ?"
            " UNION ALL SELECT h FROM pruned WHERE epoch = ? AND to_seq = ?",
            (epoch, seq, epoch, seq),
        ).fetchone()
        if row is None:
            raise LedgerFault(N_("entry {id} is not in this ledger", id=f"{till}-{epoch}-{seq}"))
        return bytes(row[0])

    def pending(self) -> tuple[int, int | None]:
        """How many entries the centre has not yet committed, and the oldest one's time (UTC seconds)."""
        lives = self._db.execute(
            "SELECT epoch, acked_seq FROM uplink UNION ALL SELECT epoch, acked_seq FROM past_epoch"
        ).fetchall()
        count, oldest_s = 0, None
        for epoch, acked_seq in lives:
            first = self._db.execute(
                "SELECT seq, at_s FROM entry WHERE epoch = ? AND seq > ? ORDER BY seq LIMIT 1",
                (epoch, acked_seq),
            ).fetchone()
            if first is not None:
                # A log has no gap, so its ends say how long it is: a week of sales is not read to be counted.
                (last,) = self._db.execute("SELECT max(seq) FROM entry WHERE epoch = ?", (epoch,)).fetchone()
                count += last - first[0] + 1
                oldest_s = first[1] if oldest_s is None else min(oldest_s, first[1])
        return count, oldest_s

    def batch(self, till: str, limit: int, has: Mapping[int, int] | None = None) -> Batch:
        """Entries after the acknowledged one with their documents, in one snapshot.

        `has` (epoch -> next seq): a restored centre says how far it has this log; what was acknowledged
        does not count then.

        At most `limit` of them and, beyond the first, no more than BATCH_BYTES.
        """
        with files.transaction(self._db, reading=True):
            uplink = self.uplink()
            epoch, after = (
                self._to_tell(uplink) if has is None else (uplink.epoch, has.get(uplink.epoch, 1) - 1)
            )
            rows = self._db.execute(
                "SELECT e.seq, e.body, d.body FROM entry e LEFT JOIN document d USING (epoch, seq)"
                " WHERE e.epoch = ? AND e.seq > ? ORDER BY e.seq LIMIT ?",
                (epoch, after, limit),
            )
            bodies: list[bytes] = []
            documents: list[tuple[int, bytes]] = []
            room = BATCH_BYTES
            for seq, body, document in rows:
                room -= len(body) + len(document or b"")
                if room < 0 and bodies:
                    break
                bodies.append(body)
                documents += [(seq, document)] if document is not None else []
            more = self.head(epoch, till)[0] > after + len(bodies)
            down = self.down_cursors(uplink.timeline)
            prev = self.hash_at(epoch, after, till)
        return Batch(uplink, epoch, after + 1, prev, tuple(bodies), tuple(documents), more, down)

    def _to_tell(self, uplink: Uplink) -> tuple[int, int]:
        """(epoch, seq): the life whose log is told now, the oldest first, and how far the centre has it."""
        row = self._db.execute(
            "SELECT epoch, acked_seq FROM past_epoch p WHERE acked_seq <"
            " (SELECT max(seq) FROM entry e WHERE e.epoch = p.epoch) ORDER BY epoch LIMIT 1"
        ).fetchone()
        return (row[0], row[1]) if row else (uplink.epoch, uplink.acked_seq)

    def down_cursors(self, timeline: int) -> dict[int, int]:
        """Bucket -> the last message applied, in one life of the centre."""
        rows = self._db.execute("SELECT bucket, gseq FROM down_cursor WHERE timeline = ?", (timeline,))
        return dict(rows.fetchall())

    def down_head(self, bucket: int, till: str, timeline: int) -> tuple[int, bytes]:
        """(gseq, hash) of the newest applied message of one downlink."""
        row = self._db.execute(
            "SELECT gseq, h FROM down_cursor WHERE timeline = ? AND bucket = ?", (timeline, bucket)
        ).fetchone()
        return (row[0], row[1]) if row else (0, down_genesis(till, bucket, timeline))

    def down_stopped(self) -> str | None:
        """The kind of message that stopped a downlink, if one did: the agent must be updated."""
        row = self._db.execute(
            "SELECT stopped_by FROM down_cursor JOIN uplink USING (timeline)"
            " WHERE stopped_by IS NOT NULL LIMIT 1"
        ).fetchone()
        return row[0] if row else None

    def owner(self, account: int) -> int:
        """Whose points an account's are today (LINK, MERGE): mostly its own."""
        row = self._db.execute("SELECT owner FROM alias WHERE account = ?", (account,)).fetchone()
        return int(row[0]) if row else account

    def held(self, account: int) -> list[Held]:
        """What this till holds of an account, with what of it is promised (loyalty/protocol/till.py)."""
        rows = self._db.execute(
            "SELECT p.lot, p.points, coalesce((SELECT sum(h.points) FROM hold_parcel h"
            "   WHERE h.account = p.account AND h.lot = p.lot), 0), p.active_from, p.expires_at, p.rule"
            " FROM parcel p WHERE p.account = ? AND p.points > 0 ORDER BY p.lot",
            (self.owner(account),),
        )
        return [Held(lot, points, promised, LotTerms(*terms)) for lot, points, promised, *terms in rows]

    def parcels(self, account: int, but_for: str = "") -> list[Parcel]:
        """What this till may promise of an account's points: parcels less the holds of other sales."""
        rows = self._db.execute(
            "SELECT p.lot, p.points - coalesce((SELECT sum(h.points) FROM hold_parcel h"
            "   WHERE h.account = p.account AND h.lot = p.lot AND h.sale_id <> ?), 0) AS left_points,"
            " p.active_from, p.expires_at, p.rule"
            " FROM parcel p WHERE p.account = ? ORDER BY p.lot",
            (but_for, self.owner(account)),
        ).fetchall()
        return [Parcel(*row) for row in rows if row[1] > 0]

    def parcel(self, account: int, lot: str) -> Parcel | None:
        """A lot that this till has ever held, with its terms and what is left of it here."""
        row = self._db.execute(
            "SELECT lot, points, active_from, expires_at, rule FROM parcel WHERE account = ? AND lot = ?",
            (self.owner(account), lot),
        ).fetchone()
        return Parcel(*row) if row else None

    def parcel_points(self) -> int:
        """All points this till holds (hundredths)."""
        return self.parcel_sum()[0]

    def parcel_sum(self) -> tuple[int, int]:
        """All points this till holds (hundredths), and of how many accounts."""
        row = self._db.execute(
            "SELECT coalesce(sum(points), 0), count(*) FROM"
            " (SELECT sum(points) AS points FROM parcel WHERE points > 0 GROUP BY account)"
        ).fetchone()
        return (row[0], row[1])

    def served_since(self, since_s: int) -> int:
        """How many accounts were served here after `since_s` (UTC seconds)."""
        row = self._db.execute("SELECT count(*) FROM standing WHERE touched_s > ?", (since_s,)).fetchone()
        return int(row[0])

    def is_acked(self, entry: Entry) -> bool:
        """Has the centre taken this entry of ours? (One of a life that has ended counts as taken.)"""
        uplink = self.uplink()
        return entry.epoch != uplink.epoch or entry.seq <= uplink.acked_seq

    def was_restored(self) -> bool:
        """Has this till's log lives that ended?"""
        return self._db.execute("SELECT 1 FROM past_epoch").fetchone() is not None

    def hold(self, sale_id: str) -> Hold | None:
        """The saved quote of a sale, if it spends something and is still open."""
        row = self._db.execute(
            "SELECT sale_id, body_sha256, at_s, opened_s, offer FROM hold WHERE sale_id = ?", (sale_id,)
        ).fetchone()
        return _hold(row) if row else None

    def holds(self) -> list[Hold]:
        """Every open hold, oldest first."""
        rows = self._db.execute(
            "SELECT sale_id, body_sha256, at_s, opened_s, offer FROM hold ORDER BY at_s, sale_id"
        ).fetchall()
        return [_hold(row) for row in rows]

    def answer(self, sale_id: str, verb: str) -> Answer | None:
        """What was answered to this question before."""
        row = self._db.execute(
            "SELECT body_sha256, body FROM answer WHERE sale_id = ? AND verb = ?", (sale_id, verb)
        ).fetchone()
        return Answer(*row) if row else None

    def sale_entry(self, sale_id: str) -> Entry | None:
        """The SALE entry of the cash program's sale, once committed."""
        row = self._db.execute(
            "SELECT e.body FROM document d JOIN entry e USING (epoch, seq) WHERE d.sale_id = ?", (sale_id,)
        ).fetchone()
        return _parse_entry(row[0]) if row else None

    def receipt(self, epoch: int, seq: int) -> Receipt | None:
        """An entry of ours with its document; None where it is not here (any more), or has none."""
        row = self._db.execute(
            "SELECT e.body, e.h, d.body FROM entry e JOIN document d USING (epoch, seq)"
            " WHERE e.epoch = ? AND e.seq = ?",
            (epoch, seq),
        ).fetchone()
        return Receipt(_parse_entry(row[0]), row[1], row[2]) if row else None

    def corrections(self, entry_id: str) -> list[tuple[Entry, bytes | None]]:
        """Our RETURN_GOODS and VOID entries about a sale, here or elsewhere made, with their documents."""
        rows = self._db.execute(
            "SELECT e.body, d.body FROM entry e LEFT JOIN document d USING (epoch, seq)"
            " WHERE e.ref = ? AND e.kind IN ('RETURN_GOODS', 'VOID') ORDER BY e.epoch, e.seq",
            (entry_id,),
        ).fetchall()
        return [(_parse_entry(body), paper) for body, paper in rows]

    def priced_by(self) -> frozenset[tuple[int, int]]:
        """(rulebook seq, catalog version) of every receipt that still lies here."""
        rows = self._db.execute(
            "SELECT rulebook_seq, catalog_version FROM priced_by n WHERE NOT EXISTS"
            " (SELECT 1 FROM pruned p WHERE p.epoch = n.epoch AND p.to_seq >= n.seq)"
        ).fetchall()
        return frozenset((seq, version) for seq, version in rows)

    def was_pruned(self, sale_id: str) -> bool:
        """Was this a sale of ours, long ago (offline/pruning.py)?"""
        row = self._db.execute("SELECT 1 FROM pruned_sale WHERE sale_id = ?", (sale_id,)).fetchone()
        return row is not None

    def corrected(self, entry_id: str) -> bool:
        """Is there an entry that takes this one back?"""
        return self.answers(entry_id, "VOID")

    def own_change(self, account: int, epoch: int, after_seq: int) -> int:
        """By how much this till's own entries after `after_seq` changed an account's balance (hundredths)."""
        return self._own_sum(account, epoch, after_seq, ledger.is_balance)

    def own_debt(self, account: int, epoch: int, after_seq: int) -> int:
        """The same of what it owes: below zero where they left a debt."""
        return self._own_sum(account, epoch, after_seq, lambda name: name == ledger.DEBT)

    def own_pending(self, account: int, epoch: int, after_seq: int) -> int:
        """How many points of such entries' sales went to the centre, to live later (hundredths)."""
        kinds = ("SALE", "VOID", "RETURN_GOODS")
        return self._own_sum(account, epoch, after_seq, lambda name: name == ledger.FREE, kinds)

    def _own_sum(
        self,
        account: int,
        epoch: int,
        after_seq: int,
        counts: Callable[[str], bool],
        kinds: Collection[str] = ledger.TILL_KINDS,
    ) -> int:
        rows = self._db.execute(
            "SELECT body FROM entry WHERE epoch = ? AND seq > ? AND"
            " (account = ? OR account IN (SELECT account FROM alias WHERE owner = ?))",
            (epoch, after_seq, account, account),
        ).fetchall()
        entries = (_parse_entry(body) for (body,) in rows)
        return sum(
            posting.points
            for entry in entries
            if entry.kind in kinds
            for posting in entry.postings
            if counts(posting.account)
        )

    def counted_seq(self, member: Member) -> int:
        """The last entry of this till's present life that the centre's word of a member counts."""
        return member.included_seq if member.as_of_ms >= self.uplink().began_ms else 0

    def lent(self, account: int) -> int:
        """Points lent to an account in entries that the centre has not acknowledged (hundredths)."""
        rows = self._db.execute(
            "SELECT entry.body FROM entry JOIN uplink LEFT JOIN past_epoch USING (epoch)"
            " WHERE (account = ? OR account IN (SELECT account FROM alias WHERE owner = ?))"
            " AND entry.seq > CASE WHEN entry.epoch = uplink.epoch THEN uplink.acked_seq"
            " ELSE past_epoch.acked_seq END ORDER BY entry.epoch, entry.seq",
            (account, account),
        ).fetchall()
        lent: dict[str, int] = {}
        for entry in (_parse_entry(body) for (body,) in rows):
            debts = [posting.points for posting in entry.postings if posting.account == ledger.DEBT]
            if ledger.FLAG_COURTESY in entry.flags:
                lent[entry.id] = -sum(debts)
            elif entry.ref in lent:  # taken back, whole or in part
                lent[entry.ref] -= sum(points for points in debts if points > 0)
        return sum(lent.values())

    def worked(self, account: int, epoch: int, after_seq: int) -> dict[str, list[str]]:
        """Rule -> local dates of this till's own sales after `after_seq` in which it did something."""
        found: dict[str, list[str]] = {}
        for rule, day in self._db.execute(
            "SELECT rule, day FROM worked WHERE account = ? AND epoch = ? AND seq > ?",
            (self.owner(account), epoch, after_seq),
        ):
            found.setdefault(rule, []).append(day)
        return found

    def standing(self, account: int) -> tuple[bool | None, int]:
        """Is the account at home here (None: never heard), and when was it served last (UTC seconds)?"""
        row = self._db.execute(
            "SELECT home, touched_s FROM standing WHERE account = ?", (account,)
        ).fetchone()
        return (None if row[0] is None else bool(row[0]), row[1]) if row else (None, 0)

    def answers(self, entry_id: str, kind: str) -> bool:
        """Is there an entry of ours of this kind that answers another one?"""
        return self.entry_with_ref(entry_id, kind) is not None

    def entry_with_ref(self, ref: str, kind: str) -> bytes | None:
        """The canonical bytes of our entry of this kind with this `ref`."""
        row = self._db.execute("SELECT body FROM entry WHERE ref = ? AND kind = ?", (ref, kind)).fetchone()
        return row[0] if row else None

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """One statement, for offline/heard.py."""
        return self._db.execute(sql, values)

    def print_outcome(self, epoch: int, seq: int) -> str | None:
        """How the latest attempt to print this entry's slip ended; None = never noted."""
        row = self._db.execute(
            "SELECT outcome FROM print_note WHERE epoch = ? AND seq = ? ORDER BY n DESC LIMIT 1", (epoch, seq)
        ).fetchone()
        return row[0] if row else None

    def entries(self, limit: int) -> list[tuple[Entry, bytes]]:
        """The newest entries with the chain's hash after each, newest first."""
        rows = self._db.execute(
            "SELECT body, h FROM entry ORDER BY epoch DESC, seq DESC LIMIT ?", (limit,)
        ).fetchall()
        return [(_parse_entry(body), h) for body, h in rows]

    def verify(self, till: str) -> int:
        """Walk every chain from its beginning, or from where it was pruned; the number of entries.

        Each entry is what was written (its hash), none is missing, each receipt is the one that its
        entry names, and nothing is gone that the centre has acknowledged. Raises LedgerFault at the
        first lie.
        """
        count, epoch_now, last, head = 0, -1, 0, b""
        rows = self._db.execute(
            "SELECT e.epoch, e.seq, e.body, e.h, d.body FROM entry e LEFT JOIN document d USING (epoch, seq)"
            " ORDER BY e.epoch, e.seq"
        )
        for epoch, seq, body, h, document in rows:
            if epoch != epoch_now:
                epoch_now = epoch
                last, head = self.chain_start(till, epoch)
            ident = f"{till}-{epoch}-{seq}"
            if seq != last + 1:
                raise LedgerFault(N_("entry {id} is missing", id=f"{till}-{epoch}-{last + 1}"))
            last, head, count = seq, ledger.link(head, body), count + 1
            if head != h:
                raise LedgerFault(N_("entry {id} is not what was written: its hash differs", id=ident))
            digest = hashlib.sha256(document).digest() if document is not None else None
            if digest != _parse_entry(body).document_sha256:
                raise LedgerFault(N_("the receipt of entry {id} is not the one that was sold", id=ident))
        uplink = self.uplink()
        if uplink.restoring:
            return count  # what the backup lacks comes back from the centre
        newest = max(self.head(uplink.epoch, till)[0], self.chain_start(till, uplink.epoch)[0])
        if newest < uplink.acked_seq:
            raise LedgerFault(N_("entry {id} is missing", id=f"{till}-{uplink.epoch}-{newest + 1}"))
        return count

    def chain_start(self, till: str, epoch: int) -> tuple[int, bytes]:
        """(seq, hash) after which the entries of an epoch lie here: 0, or the end of what was pruned."""
        row = self._db.execute(
            "SELECT to_seq, h FROM pruned WHERE epoch = ? ORDER BY to_seq DESC LIMIT 1", (epoch,)
        ).fetchone()
        return (row[0], row[1]) if row else (0, ledger.genesis(till, epoch))

    def channels(self) -> dict[str, int]:
        """Every channel that was ever in force here, with its highest version."""
        return dict(self._db.execute("SELECT channel, version FROM channel").fetchall())

    def channel_version(self, channel: str) -> int:
        """The highest version of a channel that was ever in force here (0 = none)."""
        row = self._db.execute("SELECT version FROM channel WHERE channel = ?", (channel,)).fetchone()
        return row[0] if row else 0

    def latest_at_s(self) -> int:
        """The time of the last entry, or the latest the centre has said (UTC seconds): it is not earlier."""
        row = self._db.execute("SELECT at_s FROM entry ORDER BY epoch DESC, seq DESC LIMIT 1").fetchone()
        said = self._db.execute("SELECT server_ms FROM uplink").fetchone()
        return max(row[0] if row else 0, said[0] // 1000 if said else 0)

    def known_s(self) -> int:
        """The latest time that was surely so: of the centre, or of an entry whose clock nobody doubted."""
        said = self._db.execute("SELECT server_ms FROM uplink").fetchone()
        rows = self._db.execute(
            "SELECT body FROM entry WHERE kind IN ('SALE', 'VOID') ORDER BY epoch DESC, seq DESC"
        )
        entries = (_parse_entry(body) for (body,) in rows)
        sure = next((entry.at_s for entry in entries if ledger.FLAG_CLOCK not in entry.flags), 0)
        return max(said[0] // 1000 if said else 0, sure)


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
            self._move_parcels(till, written.entry)
            self._count(written.entry, worked)
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
        uplink = self.uplink()
        if uplink.restoring:
            raise Restoring
        epoch = uplink.epoch
        last, head = self.head(epoch, till)
        entry, document = build(Place(till, epoch, last + 1))
        body = ledger.canonical(entry)
        digest = hashlib.sha256(document).digest() if document is not None else None
        if (entry.epoch, entry.seq, entry.document_sha256) != (epoch, last + 1, digest):
            raise LedgerFault(N_("entry {id} was not made for its place and receipt", id=entry.id))
        written = Written(entry, ledger.link(head, body))
        self.insert_entry(entry, body, written.head, document, sale_id)
        if entry.account is not None:
            self.touch(self.owner(entry.account), entry.at_s)
        return written

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

    def _count(self, entry: Entry, worked: Worked | None) -> None:
        """Remember which rules did something in a sale, or that a sale was none. Inside its transaction."""
        if entry.account is None:
            return
        owner = self.owner(entry.account)
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
            self._note_versions(entry, document)

    def _note_versions(self, entry: Entry, body: bytes) -> None:
        """Remember by which rules and goods a sale was priced."""
        if entry.kind != "SALE":
            return
        with suppress(DocumentError):  # of a newer agent: it knows what to keep for it
            rulebook_seq, catalog_version = priced_by(body)
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

    def _move_parcels(self, till: str, entry: Entry) -> None:
        """Apply what an entry of our own moves into and out of this till's parcels."""
        if entry.account is None:
            return
        here, owner = ledger.parcel(till), self.owner(entry.account)
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
        self._move_parcels(till, written.entry)
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


def _hold(row: tuple[str, bytes, int, int, bytes]) -> Hold:
    sale_id, body_sha256, at_s, opened_s, offer = row
    return Hold(sale_id, body_sha256, at_s, opened_s, _parse_offer(offer))


def _parse_entry(body: bytes) -> Entry:
    try:
        return ledger.parse(body)
    except LedgerError as error:
        raise LedgerFault(N_("an entry on this disk cannot be read: {why}", why=error)) from error


def _parse_offer(body: bytes) -> Offer:
    if body[:1] != OFFER_VERSION:
        raise LedgerFault(
            N_("a hold of version {got}; this agent knows 01: update the agent", got=body[:1].hex())
        )
    try:
        return _decode_offer(body[1:])
    except UNREADABLE as error:
        raise LedgerFault(N_("a hold on this disk cannot be read: {why}", why=error)) from error


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
