"""ledger.db as anybody may read it: what this till holds, has promised, sold and told.

The till's thread reads through its `LedgerDb`, which is a Reader; every other thread and command opens one
of its own. Nothing here writes.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from agent.offline import files
from agent.offline.records import (
    NOT_ENROLLED,
    Answer,
    Batch,
    Hold,
    Identity,
    LedgerFault,
    Parcel,
    Receipt,
    Sale,
    Uplink,
)
from loyalty import ledger
from loyalty.decoding import UNREADABLE
from loyalty.ledger import Entry, LedgerError, LotTerms
from loyalty.protocol.till import Held
from loyalty.sale import Offer
from loyalty.texts import N_
from loyalty.wire import Member, down_genesis

OFFER_VERSION = b"\x01"
BATCH_BYTES = 4 * 1024 * 1024  # of entries and receipts: a quarter of what a message may be
_SALES = (
    "SELECT d.sale_id, e.body, e.h, d.body FROM entry e JOIN document d USING (epoch, seq)"
    " WHERE e.kind = 'SALE' {whose} ORDER BY e.epoch DESC, e.seq DESC LIMIT ?"
)
_decode_offer = msgspec.msgpack.Decoder(Offer).decode


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
        return parse_entry(row[0]) if row else None

    def sale_of_entry(self, entry_id: str) -> tuple[int, int, str] | None:
        """(epoch, seq, sale id) of a sale of ours by its entry's id, such as T1-1-7."""
        _, _, numbers = entry_id.partition("-")
        epoch, _, seq = numbers.rpartition("-")
        if not (epoch.isdecimal() and seq.isdecimal()):
            return None
        row = self._db.execute(
            "SELECT sale_id FROM document WHERE epoch = ? AND seq = ?", (int(epoch), int(seq))
        ).fetchone()
        return (int(epoch), int(seq), str(row[0])) if row and row[0] else None

    def sales(self, limit: int, account: int | None = None) -> Iterator[Sale]:
        """Committed sales of this till, newest first and at most `limit`; `account`: of one customer.

        They are read one by one as they are asked for: who needs only today's stops at yesterday's.
        """
        if account is None:
            rows = self._db.execute(_SALES.format(whose=""), (limit,))
        else:
            rows = self._db.execute(_SALES.format(whose="AND e.account = ?"), (account, limit))
        for sale_id, body, h, paper in rows:
            yield Sale(sale_id, Receipt(parse_entry(body), h, paper))

    def receipt(self, epoch: int, seq: int) -> Receipt | None:
        """An entry of ours with its document; None where it is not here (any more), or has none."""
        row = self._db.execute(
            "SELECT e.body, e.h, d.body FROM entry e JOIN document d USING (epoch, seq)"
            " WHERE e.epoch = ? AND e.seq = ?",
            (epoch, seq),
        ).fetchone()
        return Receipt(parse_entry(row[0]), row[1], row[2]) if row else None

    def corrections(self, entry_id: str) -> list[tuple[Entry, bytes | None]]:
        """Our RETURN_GOODS and VOID entries about a sale, here or elsewhere made, with their documents."""
        rows = self._db.execute(
            "SELECT e.body, d.body FROM entry e LEFT JOIN document d USING (epoch, seq)"
            " WHERE e.ref = ? AND e.kind IN ('RETURN_GOODS', 'VOID') ORDER BY e.epoch, e.seq",
            (entry_id,),
        ).fetchall()
        return [(parse_entry(body), paper) for body, paper in rows]

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
        entries = (parse_entry(body) for (body,) in rows)
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
        for entry in (parse_entry(body) for (body,) in rows):
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
        return [(parse_entry(body), h) for body, h in rows]

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
            if digest != parse_entry(body).document_sha256:
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
        entries = (parse_entry(body) for (body,) in rows)
        sure = next((entry.at_s for entry in entries if ledger.FLAG_CLOCK not in entry.flags), 0)
        return max(said[0] // 1000 if said else 0, sure)


def _hold(row: tuple[str, bytes, int, int, bytes]) -> Hold:
    sale_id, body_sha256, at_s, opened_s, offer = row
    return Hold(sale_id, body_sha256, at_s, opened_s, _parse_offer(offer))


def parse_entry(body: bytes) -> Entry:
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
