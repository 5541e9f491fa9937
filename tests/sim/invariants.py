"""What must be true after every step (ledger-sync.md §9, I1 to I8), looked at from outside, on the disks.

The witness keeps what it has seen: every entry that any box has ever written, with the box's parcels as
those entries and the centre's messages make them. It does not ask the programs how they stand; it adds
up what they wrote, and compares.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from central.fleet.models import Centre, Till, TillCursor
from central.intake.models import InboxEntry, Incident
from central.ledger.models import FREE, Balance, DownHead, DownMessage, LedgerEntry, Share
from loyalty import ledger
from loyalty.ledger import Entry

if TYPE_CHECKING:
    from agent.offline.records import Uplink
    from tests.sim.till import SimTill
    from tests.sim.world import World

Life = tuple[str, int]


class BrokenError(AssertionError):
    """An invariant does not hold; the message begins with its name."""


def expect(name: str, holds: bool, why: str) -> None:
    if not holds:
        raise BrokenError(f"{name}: {why}")


@dataclass
class Box:
    """One disk of a till, as the witness has seen it grow."""

    log: dict[Life, list[tuple[bytes, bytes | None]]] = field(default_factory=lambda: defaultdict(list))
    heard: dict[tuple[int, int], int] = field(default_factory=dict)  # (timeline, bucket) -> gseq
    parcels: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # of the present life
    epoch: int = 0


class Witness:
    """See the top of this file."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.boxes: dict[SimTill, Box] = {}
        self.entries: dict[tuple[str, int, int, bytes], Entry] = {}  # by name and head: a clone's beside
        self.tainted: set[str] = set()  # lots that a clone or a lost disk may have spent unseen
        self.spent: dict[str, int] = defaultdict(int)
        self.issued: dict[str, int] = defaultdict(int)
        self._parsed: dict[tuple[str, int, int], Entry] = {}
        self._handed: dict[str, Entry] = {}  # HANDOVERs of hubs, by the entry's id
        self._inbox: dict[Life, int] = {}

    def box(self, till: SimTill) -> Box:
        return self.boxes.setdefault(till, Box())

    # ---- a new or restored disk

    def restored(self, till: SimTill) -> None:
        """What it held is nobody's; what it wrote and did not tell before may be lost."""
        box = self.box(till)
        box.parcels.clear()
        till.answered.clear()
        rows = till.disk.execute("SELECT epoch, max(seq) FROM entry GROUP BY epoch")
        box.log = defaultdict(
            list,
            {
                (till.till_id, epoch): box.log[till.till_id, epoch][:seq]
                for epoch, seq in rows.fetchall()
                if (till.till_id, epoch) in box.log
            },
        )
        box.heard.clear()
        box.heard.update(self._cursors(till))

    def cloned(self, source: SimTill, clone: SimTill) -> None:
        """Two disks with one past."""
        mine, box = self.box(clone), self.box(source)
        mine.log = defaultdict(list, {life: list(rows) for life, rows in box.log.items()})
        mine.heard, mine.parcels, mine.epoch = dict(box.heard), defaultdict(int, box.parcels), box.epoch
        self.tainted |= set(box.parcels)

    def saw_the_log(self, till: SimTill) -> None:
        """What a box that is not looked at any more has written meanwhile."""
        self._read_log(till, self.box(till))

    def lost(self, till: SimTill) -> None:
        """A disk is gone with what it held."""
        self.tainted |= set(self.box(till).parcels)

    def received(self) -> set[tuple[str, int, int]]:
        """What the centre has of tills' logs."""
        return set(InboxEntry.objects.values_list("till", "epoch", "seq"))

    def forgotten(self, before: set[tuple[str, int, int]]) -> None:
        """The centre's disk is gone, and with it what stood on no other: two disks died of that one."""
        elsewhere = self.received()
        for till in self.world.boxes:
            path = till.directory / "ledger.db"
            with closing(sqlite3.connect(path)) as disk:
                rows = disk.execute("SELECT epoch, seq FROM entry").fetchall()
            elsewhere |= {(till.till_id, epoch, seq) for epoch, seq in rows}
        for name in before - elsewhere:
            entry = self._parsed.get(name)
            self.tainted |= {posting.lot for posting in entry.postings} if entry else set()

    def last_words(self, till: SimTill) -> None:
        """A box that nobody looks at any more has written something after all."""
        if till.is_up:
            self._read_log(till, self.box(till))

    def _cursors(self, till: SimTill) -> dict[tuple[int, int], int]:
        rows = till.disk.execute("SELECT timeline, bucket, gseq FROM down_cursor")
        return {(timeline, b): gseq for timeline, b, gseq in rows.fetchall()}

    # ---- after every step

    def look(self) -> None:
        """Everything. Raises BrokenError."""
        for till in self.world.boxes:
            if till.is_up:
                self._look_at_till(till)
        if self.world.centre.is_up:
            self._look_at_centre()
            for till in self.world.boxes:
                if till.is_up:
                    self._compare(till)

    def _look_at_till(self, till: SimTill) -> None:
        db, box = till.disk, self.box(till)
        uplink = till.uplink()
        if uplink.epoch != box.epoch:
            box.epoch = uplink.epoch
            box.parcels.clear()
            box.heard.update(self._cursors(till))
        self._read_log(till, box)
        self._read_downlink(till, box)
        here = dict(
            db.execute("SELECT lot, sum(points) FROM parcel WHERE points > 0 GROUP BY lot").fetchall()
        )
        for (lot,) in db.execute("SELECT lot FROM parcel WHERE points < 0"):
            raise BrokenError(f"I1: {till.name} holds less than nothing of {lot}")
        for lot, promised in db.execute("SELECT lot, sum(points) FROM hold_parcel GROUP BY lot"):
            expect(
                "I1", promised <= here[lot], f"{till.name} promises {promised} of {lot}, holds {here[lot]}"
            )
        sold = {
            sale_id
            for (sale_id,) in db.execute("SELECT sale_id FROM document UNION SELECT sale_id FROM pruned_sale")
        }
        lost = till.answered.keys() - sold
        expect("I6", not lost, f"{till.name} answered for {sorted(lost)}, and has no such sale")
        safe = self.world.centre.safe.get((till.till_id, uplink.epoch), 0)
        text = f"{till.name} may forget up to {uplink.durable_seq}; on two disks are {safe}"
        expect("I4", uplink.durable_seq <= safe or till in self.world.suspects, text)
        mine = {lot: points for lot, points in box.parcels.items() if points}
        expect("I2", mine == here, f"{till.name} holds {here}, its entries and grants say {mine}")
        self._lends_no_more_than_k(till, box, uplink)
        (half,) = db.execute(
            "SELECT count(*) FROM entry LEFT JOIN document USING (epoch, seq)"
            " WHERE kind IN ('SALE', 'RETURN_GOODS') AND document.body IS NULL"
        ).fetchone()
        expect("I6", half == 0, f"{till.name} has an entry without its document")

    def _lends_no_more_than_k(self, till: SimTill, box: Box, uplink: Uplink) -> None:
        """I5: K an account and outage, that is, in what the centre has not acknowledged."""
        lent: dict[int, int] = defaultdict(int)
        for body, _ in box.log[till.till_id, uplink.epoch][uplink.acked_seq :]:
            entry = ledger.parse(body)
            for posting in entry.postings:
                if entry.kind == "SALE" and posting.account == ledger.DEBT and entry.account is not None:
                    lent[entry.account] -= posting.points
        most = max(lent.values(), default=0)
        expect("I5", most <= self.world.courtesy, f"{till.name} has lent {most} of {self.world.courtesy}")

    def _read_log(self, till: SimTill, box: Box) -> None:
        db = till.disk
        known = {life: len(rows) for life, rows in box.log.items()}
        for epoch, last in db.execute("SELECT epoch, max(seq) FROM entry GROUP BY epoch").fetchall():
            life = (till.till_id, epoch)
            expect("I3", last >= known.get(life, 0), f"{till.name} has forgotten entries of epoch {epoch}")
            rows = db.execute(
                "SELECT e.seq, e.body, d.body FROM entry e LEFT JOIN document d USING (epoch, seq)"
                " WHERE e.epoch = ? AND e.seq > ? ORDER BY e.seq",
                (epoch, known.get(life, 0)),
            )
            for seq, body, document in rows.fetchall():
                box.log[life].append((body, document))
                expect("I3", len(box.log[life]) == seq, f"{till.name} left out an entry before {seq}")
                entry = ledger.parse(body)
                digest = hashlib.sha256(document).digest() if document is not None else None
                expect("I6", digest == entry.document_sha256, f"{entry.id} is not of its document")
                self._count(entry, body)
                if epoch == box.epoch:
                    self._book(box, till.till_id, entry)

    def _book(self, box: Box, till_id: str, entry: Entry) -> None:
        given = self._handed.get(entry.ref or "") if entry.kind == "HANDOVER" else None
        for posting in (*entry.postings, *(given.postings if given else ())):
            if posting.account == ledger.parcel(till_id):
                box.parcels[posting.lot] += posting.points

    def _count(self, entry: Entry, body: bytes) -> None:
        """What customers really got and spent, whoever has it on disk today."""
        key = (entry.till, entry.epoch, entry.seq, hashlib.sha256(body).digest())
        if key in self.entries:
            return
        self.entries[key] = entry
        if entry.kind == "HANDOVER" and entry.postings:
            self._handed[entry.id] = entry
        for posting in entry.postings:
            if posting.account == ledger.SPENT:
                self.spent[posting.lot] += posting.points
            elif (
                posting.account in _made_of(entry)
                and posting.points < 0
                and entry.kind not in ("LINK", "MERGE")
            ):
                self.issued[posting.lot] -= posting.points
        for posting in entry.postings:
            lot = posting.lot
            if posting.account == ledger.SPENT and posting.points > 0 and lot not in self.tainted:
                lent = any(p.account == ledger.DEBT for p in entry.postings if p.lot == lot)
                text = f"{self.spent[lot]} of lot {lot} were spent, {self.issued[lot]} were given"
                expect("I5", lent or self.spent[lot] <= self.issued[lot], text)

    def _read_downlink(self, till: SimTill, box: Box) -> None:
        db = till.disk
        timeline = till.uplink().timeline
        for b, gseq in db.execute(
            "SELECT bucket, max(gseq) FROM downlink WHERE timeline = ? GROUP BY bucket", (timeline,)
        ).fetchall():
            known = box.heard.get((timeline, b), 0)
            rows = db.execute(
                "SELECT body FROM downlink WHERE timeline = ? AND bucket = ? AND gseq > ? ORDER BY gseq",
                (timeline, b, known),
            ).fetchall()
            for (body,) in rows:
                entry = ledger.parse(body)
                self._count(entry, body)
                if entry.kind == "GRANT" and entry.ref and _life(entry.ref) == box.epoch:
                    self._book(box, till.till_id, entry)
            box.heard[timeline, b] = max(known, gseq)

    # ---- the centre

    def _look_at_centre(self) -> None:
        self._centre_knows_a_prefix()
        sums: dict[tuple[int, str], int] = defaultdict(int)
        shares: dict[tuple[int, str, str], int] = defaultdict(int)
        for account, till, epoch, seq, body in LedgerEntry.objects.values_list(
            "account", "till", "epoch", "seq", "body"
        ):
            entry = self._parsed.get((till, epoch, seq))
            # Of two clones, a centre that was restored may hear the other one.
            if entry is None or ledger.is_centre(till) or ledger.canonical(entry) != bytes(body):
                entry = self._parsed[till, epoch, seq] = ledger.parse(bytes(body))
                if ledger.is_centre(till):
                    self._count(entry, bytes(body))
            for posting in entry.postings:
                who = _holder(entry, posting.account)
                if who is None:
                    sums[account, posting.account] += posting.points
                else:
                    shares[account, posting.lot, who] += posting.points
        self.shares = {key: points for key, points in shares.items() if points}
        there = {
            (account, lot, who): points
            for account, lot, who, points in Share.objects.values_list("account", "lot", "holder", "points")
        }
        expect("I8", there == self.shares, f"shares are {_differ(there, self.shares)}, the ledger says so")
        expect("I1", all(points >= 0 for points in there.values()), "a share below zero")
        for balance in Balance.objects.all():
            for name in ("issued", "spent", "expired", "adjusted", "debt"):
                found, says = getattr(balance, name), sums[balance.account, name]
                expect("I8", found == says, f"{name} of {balance.account} is {found}, the ledger says {says}")
            held = sum(points for (account, _, _), points in there.items() if account == balance.account)
            expect("I8", balance.held == held, f"account {balance.account} holds {held}, says {balance.held}")
            if not Centre.objects.get().fenced:
                expect("I8", balance.debt <= 0, f"account {balance.account} has paid more than it owes")
        for incident in Incident.objects.filter(code="OVERSPENT"):
            entry = self._parsed.get((incident.till, incident.epoch, incident.seq))
            lots = {p.lot for p in entry.postings} if entry else set()
            expect("I5", bool(lots & self.tainted), f"{incident}: {incident.detail} ({entry and entry.id})")

    def _centre_knows_a_prefix(self) -> None:
        logs: dict[Life, list[list[tuple[bytes, bytes | None]]]] = defaultdict(list)
        for box in (*self.boxes.values(), *self.world.graveyard):
            for life, rows in box.log.items():
                logs[life].append(rows)
        found: dict[Life, list[tuple[bytes, bytes | None]]] = defaultdict(list)
        for till, epoch, seq, body, document in (
            InboxEntry.objects.exclude(till__startswith="c:")
            .order_by("till", "epoch", "seq")
            .values_list("till", "epoch", "seq", "body", "document")
        ):
            rows = found[till, epoch]
            rows.append((bytes(body), None if document is None else bytes(document)))
            expect("I3", len(rows) == seq, f"the centre left out an entry of {till} before {seq}")
        for life, rows in found.items():
            fits = any(log[: len(rows)] == rows for log in logs[life])
            expect("I3", fits, f"what the centre has of {life} is no log that any box wrote")

    # ---- both

    def _compare(self, till: SimTill) -> None:
        """The centre's share of a till, with what is under way, is what the till holds."""
        uplink = till.uplink()
        centre = Centre.objects.get()
        row = Till.objects.get(id=till.till_id)
        cursor = TillCursor.objects.get(till=row)
        if (
            uplink.timeline != centre.timeline
            or cursor.timeline != centre.timeline
            or row.epoch != uplink.epoch
            or uplink.restore_id is not None
            or till in self.world.suspects
        ):
            return  # they have yet to find each other
        box = self.box(till)
        says: dict[str, int] = defaultdict(int)
        for (_, lot, who), points in self.shares.items():
            if who == f"{till.till_id}~{uplink.epoch}":
                says[lot] += points
        life = (till.till_id, uplink.epoch)
        known = set(LedgerEntry.objects.filter(till=life[0], epoch=life[1]).values_list("seq", flat=True))
        for seq, (body, _) in enumerate(box.log[life], 1):
            if seq not in known:
                for posting in ledger.parse(body).postings:
                    if posting.account == ledger.parcel(till.till_id):
                        says[posting.lot] += posting.points
        # What its hub has handed to it: booked and not heard here, or the other way round.
        taken = {
            entry.ref
            for entry in map(ledger.parse, (body for body, _ in box.log[life]))
            if entry.kind == "HANDOVER"
        }
        for given in self._handed.values():
            here = ledger.parcel(till.till_id)
            if not given.ref or _life(given.ref) != uplink.epoch:
                continue
            booked = LedgerEntry.objects.filter(till=given.till, epoch=given.epoch, seq=given.seq).exists()
            for posting in given.postings:
                if posting.account == here and given.till != till.till_id:
                    says[posting.lot] += posting.points * ((given.id in taken) - booked)
        # What it was granted before the centre forgot, and the centre has not booked again yet.
        for (body,) in InboxEntry.objects.filter(till__startswith="c:", applied=False).values_list("body"):
            entry = ledger.parse(bytes(body))
            booked = LedgerEntry.objects.filter(till=entry.till, epoch=entry.epoch, seq=entry.seq).exists()
            if not booked and entry.ref and entry.kind == "GRANT" and _life(entry.ref) == uplink.epoch:
                for posting in entry.postings:
                    if posting.account == ledger.parcel(till.till_id):
                        says[posting.lot] += posting.points
        for head in DownHead.objects.filter(till=till.till_id, timeline=centre.timeline):
            applied = box.heard.get((centre.timeline, head.b), 0)
            for message in DownMessage.objects.filter(b=head.b, till=till.till_id, gseq__gt=applied):
                entry = ledger.parse(bytes(message.body))
                if entry.kind == "GRANT" and entry.ref and _life(entry.ref) == uplink.epoch:
                    for posting in entry.postings:
                        if posting.account == ledger.parcel(till.till_id):
                            says[posting.lot] -= posting.points
        mine = {lot: points for lot, points in box.parcels.items() if points and lot not in self.tainted}
        theirs = {lot: points for lot, points in says.items() if points and lot not in self.tainted}
        expect(
            "I2", mine == theirs, f"{till.name} holds {_differ(mine, theirs)}: the centre and the way say so"
        )


def _made_of(entry: Entry) -> tuple[str, ...]:
    """Accounts out of which new points come."""
    plain = (ledger.ISSUED, ledger.ADJUSTED)
    return (*plain, ledger.DEBT) if "OVERPAID" in entry.flags else plain


def _holder(entry: Entry, account: str) -> str | None:
    """A second reading of whose share a posting moves (see loyalty/protocol/books.py, Lives)."""
    if account == ledger.FREE:
        return FREE
    if not account.startswith("parcel:"):
        return None
    who = account.removeprefix("parcel:")
    if "~" in who:
        return who
    if who == entry.till:
        return f"{who}~{entry.epoch}"
    return f"{who}~{_life(entry.ref or '')}"


def _life(ref: str) -> int:
    return int(ref.split(":")[0].rsplit("-", 1)[1])


def _differ(a: dict[object, int], b: dict[object, int]) -> str:
    keys = sorted({key for key in {*a, *b} if a.get(key) != b.get(key)}, key=str)
    return ", ".join(f"{key}: {a.get(key, 0)} and not {b.get(key, 0)}" for key in keys[:5])
