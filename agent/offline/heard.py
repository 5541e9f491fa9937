"""What a till hears from the centre, written into ledger.db: all of one answer, or nothing of it.

What a message does is decided in loyalty/protocol/till.py; here its effects are rows. Whatever the
till answers to a message (a RELEASE to a RECALL) is an entry of its own in the same transaction.

**Lives.** The centre's database has lives (timelines), each with downlinks of its own; what was
applied under an old one stays, with the centre's signature, for a centre that has forgotten it. This
till's log has lives (epochs): after a restore from a backup, what the backup lacks of the old one is
fetched from the centre, and what the centre lacks of it is still sent.

Everything here is called by the till's thread, like all writing of ledger.db.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from agent.offline.ledger_db import LedgerDb
from agent.offline.ledger_reader import Reader
from agent.offline.records import LedgerFault, return_key
from loyalty import document, ledger, wire
from loyalty.ledger import Entry, LedgerError, LotTerms
from loyalty.protocol import till as law
from loyalty.protocol.till import Held, Standing
from loyalty.texts import N_
from loyalty.wire import DownItem, Echo

UNREADABLE_KIND = "?"  # a message of the centre in a form of later days
LOOKED_AT_ONCE = 100  # accounts, when the till tidies up: quotes wait for no longer than 20 ms
RULE_UNKNOWN = "unknown"  # that made a lot, where only a receipt is left of it


@dataclass(frozen=True, slots=True)
class Answer:
    """A verified answer of the centre to a batch of `epoch`."""

    epoch: int
    timeline: int
    session: str
    next_seq: int
    durable_seq: int
    server_ms: int
    down: tuple[DownItem, ...]
    down_signature: bytes
    epochs: Mapping[int, int] | None = None  # a restored centre: epoch -> next seq that it has
    quarantined: int = 0
    ended: bool = False


def synced(db: LedgerDb, till: str, answer: Answer, now_s: int) -> int:
    """Apply an answer: cursors, session, and the downlink in order. How many messages were new.

    A message already applied changes nothing. An unknown kind stops its bucket there: what comes
    behind it waits, the other buckets, selling and earning go on (§5.8). Raises LedgerFault for a
    message out of order or one that cannot be booked; then nothing was applied.
    """
    with db.transaction():
        before = db.uplink()
        new_life = answer.timeline != before.timeline
        acked, durable = answer.next_seq - 1, answer.durable_seq
        if new_life:  # the centre was restored: what it has is what it says, and no more
            db.execute("UPDATE past_epoch SET acked_seq = 0, durable_after = ?", (acked + 1,))
            for epoch, next_seq in (answer.epochs or {}).items():
                db.execute(
                    "UPDATE past_epoch SET acked_seq = ?, durable_after = ? WHERE epoch = ?",
                    (next_seq - 1, acked + 1, epoch),
                )
        if answer.epoch != before.epoch:
            # What the centre takes of the present life from now on, it has after this.
            db.execute(
                "UPDATE past_epoch SET acked_seq = max(acked_seq, ?), durable_after = ? WHERE epoch = ?",
                (acked, before.acked_seq + 1, answer.epoch),
            )
            acked, durable = before.acked_seq, before.durable_seq
        elif not new_life:
            acked, durable = max(acked, before.acked_seq), max(durable, before.durable_seq)
        db.execute(
            "UPDATE uplink SET timeline = ?, session = ?, acked_seq = ?, durable_seq = ?,"
            " server_ms = max(server_ms, ?), synced_s = ?, retry_attempt = 0, quarantined = ?, ended = ?",
            (
                answer.timeline,
                answer.session,
                acked,
                durable,
                answer.server_ms,
                now_s,
                answer.quarantined,
                answer.ended and answer.epoch == before.epoch,
            ),
        )
        return _apply_all(db, till, answer.timeline, answer.down, answer.down_signature, now_s)


def claimed(
    db: LedgerDb, till: str, timeline: int, down: tuple[DownItem, ...], signature: bytes, now_s: int
) -> int:
    """Apply what came with the answer to a claim; nothing where it was given to another life.

    The centre's, by its timeline; or this till's own, where the disk waits for its next one.
    """
    uplink = db.uplink()
    if uplink.restoring or timeline != uplink.timeline:
        return 0
    with db.transaction():
        return _apply_all(db, till, timeline, down, signature, now_s)


def _apply_all(
    db: LedgerDb, till: str, timeline: int, down: tuple[DownItem, ...], signature: bytes, now_s: int
) -> int:
    reply: int | None = None
    epoch = db.uplink().epoch
    applied = 0
    stopped: set[int] = set()
    for item in down:
        if item.bucket in stopped:
            continue
        gseq, head = db.down_head(item.bucket, till, timeline)
        if item.gseq <= gseq:
            continue
        _check_follows(item, gseq, head)
        entry = _known(item.body)
        effects = None
        if not isinstance(entry, str):
            try:
                effects = _effects(db, till, entry)
            except law.UnknownKindError as error:
                entry = error.kind
        if effects is None or isinstance(entry, str):
            db.execute(
                "INSERT INTO down_cursor VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (timeline, bucket) DO UPDATE SET stopped_by = excluded.stopped_by",
                (timeline, item.bucket, gseq, head, str(entry)),
            )
            stopped.add(item.bucket)
            continue
        if reply is None:
            statement = wire.down_signing_bytes(till, timeline, down)
            reply = db.execute(
                "INSERT INTO down_reply (statement, signature, at_s, epoch, seq) VALUES (?, ?, ?, ?, ?)",
                (statement, signature, now_s, epoch, db.head(epoch, till)[0]),
            ).lastrowid
        db.execute(
            "INSERT INTO downlink VALUES (?, ?, ?, ?, ?, ?)",
            (timeline, item.bucket, item.gseq, item.body, item.h, reply),
        )
        _set_cursor(db, timeline, item.bucket, item.gseq, item.h)
        _carry_out(db, till, entry, effects, now_s)
        applied += 1
    return applied


def _check_follows(item: DownItem, gseq: int, head: bytes) -> None:
    if item.gseq != gseq + 1 or ledger.link(head, item.body) != item.h:
        raise LedgerFault(
            N_(
                "message {gseq} of downlink {bucket} does not follow message {last}",
                gseq=item.gseq,
                bucket=item.bucket,
                last=gseq,
            )
        )


def _set_cursor(db: LedgerDb, timeline: int, bucket: int, gseq: int, h: bytes) -> None:
    db.execute(
        "INSERT INTO down_cursor VALUES (?, ?, ?, ?, NULL) ON CONFLICT (timeline, bucket)"
        " DO UPDATE SET gseq = excluded.gseq, h = excluded.h, stopped_by = NULL",
        (timeline, bucket, gseq, h),
    )


def _known(body: bytes) -> Entry | str:
    """The entry in a message; else the word for what this program cannot read."""
    try:
        return ledger.parse(body)
    except LedgerError:
        return UNREADABLE_KIND


def _effects(db: LedgerDb, till: str, entry: Entry) -> list[law.Effect]:
    held: list[Held] = db.held(entry.account) if entry.account is not None else []
    before = entry.kind == "HANDOVER" and db.answers(entry.id, "HANDOVER")
    return law.hear(till, db.uplink().epoch, entry, held, applied_before=before)


def _carry_out(db: LedgerDb, till: str, why: Entry, effects: list[law.Effect], now_s: int) -> None:
    for effect in effects:
        match effect:
            case law.Put(account, lot, points, terms):
                db.put(db.owner(account), lot, points, terms, why=why.id)
                db.touch(db.owner(account), now_s)
            case law.Write(kind, account, postings, ref, flags):
                db.write_moving(till, kind, account, postings, ref=ref, flags=flags, now_s=now_s)
            case law.Rename(old, new):
                _rename(db, old, new)
            case law.AtHome(account):
                db.set_home(db.owner(account), True, now_s)


def _rename(db: LedgerDb, old: int, new: int) -> None:
    """Parcels, holds and standing of `old` are those of the account that goes on."""
    new = db.owner(new)
    db.execute(
        "INSERT INTO parcel SELECT ?, lot, points, active_from, expires_at, rule FROM parcel"
        " WHERE account = ? ON CONFLICT (account, lot) DO UPDATE SET points = points + excluded.points",
        (new, old),
    )
    db.execute("DELETE FROM parcel WHERE account = ?", (old,))
    db.execute("UPDATE hold_parcel SET account = ? WHERE account = ?", (new, old))
    db.execute("UPDATE worked SET account = ? WHERE account = ?", (new, old))
    db.execute("DELETE FROM standing WHERE account = ?", (old,))
    db.execute("UPDATE alias SET owner = ? WHERE owner = ?", (new, old))
    db.execute("INSERT OR REPLACE INTO alias VALUES (?, ?)", (old, new))


# ------------------------------------------------------------------------- tidying up


def tidy(db: LedgerDb, till: str, shop_now: str, now_s: int, *, online: bool, busy: Collection[int]) -> int:
    """Give back what the till should not keep (loyalty/protocol/till.py); how many entries it wrote."""
    idle_since_s = now_s - law.IDLE_S
    # CROSS JOIN: standing first, by its index; the other way round every parcel would be looked at.
    rows = db.execute(
        "SELECT account FROM parcel WHERE points > 0 AND expires_at <= ? UNION"
        " SELECT account FROM standing CROSS JOIN parcel USING (account)"
        "  WHERE points > 0 AND home = 0 AND ? UNION"
        " SELECT account FROM standing CROSS JOIN parcel USING (account)"
        "  WHERE points > 0 AND touched_s <= ? AND ?"
        " LIMIT ?",
        (shop_now, online, idle_since_s, online, LOOKED_AT_ONCE),
    ).fetchall()
    standings = []
    for (account,) in rows:
        home, touched_s = db.standing(account)
        held = tuple(db.held(account))
        promised = any(one.promised for one in held)
        standings.append(Standing(account, held, home, promised or account in busy, now_s - touched_s))
    effects = law.tidy(till, standings, shop_now, online=online)
    if effects:
        with db.transaction():
            for effect in effects:
                if isinstance(effect, law.Write):
                    db.write_moving(
                        till, effect.kind, effect.account, effect.postings, flags=effect.flags, now_s=now_s
                    )
    return len(effects)


# ------------------------------------------------------------------- a handover on the LAN


def hand_over(
    db: LedgerDb, hub: str, request: wire.HandoverRequest, shop_now: str, now_s: int
) -> bytes | None:
    """The hub's HANDOVER for one receipt of another till: its canonical bytes, None where nothing is here.

    Asked again for the same receipt, the same answer.
    """
    ref = wire.handover_ref(request)
    before = db.entry_with_ref(ref, "HANDOVER")
    if before is not None:
        return before
    postings = law.hand_over(hub, request.till, db.held(request.account), request.want, shop_now)
    if not postings:
        return None
    with db.transaction():
        written = db.write_moving(hub, "HANDOVER", request.account, postings, ref=ref, now_s=now_s)
    return ledger.canonical(written.entry)


def take_over(db: LedgerDb, till: str, body: bytes, signature: bytes, now_s: int) -> int:
    """Apply the hub's (verified) answer, with its word as proof in our own log.

    How many points (hundredths) came; 0 where it was applied before.
    """
    given = ledger.parse(body)
    if db.answers(given.id, "HANDOVER"):
        return 0
    proof = document.canonical(document.HandoverDocument(body, signature))
    with db.transaction():
        db.write_moving(till, "HANDOVER", given.account, (), ref=given.id, now_s=now_s, document=proof)
        came = law.take_in(till, given)
        _carry_out(db, till, given, came, now_s)
    return sum(effect.points for effect in came if isinstance(effect, law.Put))


def handovers(db: Reader, account: int) -> int:
    """How many handovers of an account this till has applied: what tells one wish of a sale from the next."""
    row = db.execute(
        "SELECT count(*) FROM entry WHERE account = ? AND kind = 'HANDOVER'", (account,)
    ).fetchone()
    return int(row[0])


def heard_in_all(db: Reader) -> int:
    """How many messages of the centre's present life were applied, in all downlinks."""
    row = db.execute("SELECT coalesce(sum(gseq), 0) FROM down_cursor JOIN uplink USING (timeline)").fetchone()
    return int(row[0])


# ------------------------------------------------------------------------ lives that end


def echo(db: Reader, heard_in: int, remembered: Mapping[int, int]) -> tuple[Echo, ...]:
    """What this till applied beyond what a restored centre remembers, reply by reply, as it was signed.

    The centre remembers its life `heard_in` up to a message in each bucket, and nothing of later ones.
    """
    rows = db.execute(
        "SELECT reply, statement, signature, timeline, bucket, gseq, body, h"
        " FROM downlink JOIN down_reply ON reply = id WHERE timeline >= ?"
        " ORDER BY reply, bucket, gseq",
        (heard_in,),
    )
    replies: dict[int, tuple[bytes, bytes, list[DownItem]]] = {}
    for reply, statement, signature, timeline, bucket, gseq, body, h in rows:
        if timeline > heard_in or gseq > remembered.get(bucket, 0):
            item = DownItem(bucket, gseq, body, h)
            replies.setdefault(reply, (statement, signature, []))[2].append(item)
    return tuple(Echo(tuple(items), statement, signature) for statement, signature, items in replies.values())


def begin_restore(db: LedgerDb, restore_id: str) -> None:
    """This file came from a backup: nothing of it may be spent, and nothing written, before the centre

    has opened the till's next life (§5.9).
    """
    with db.transaction():
        db.execute("UPDATE uplink SET restore_id = ?", (restore_id,))
        db.execute("DELETE FROM hold_parcel")
        db.execute("DELETE FROM hold")
        db.execute("UPDATE parcel SET points = 0")


def begin_life(db: LedgerDb, till: str, reply: wire.RestoreReply) -> None:
    """The centre has opened the till's next life."""
    with db.transaction():
        old = db.uplink()
        # Whatever the centre takes of the next life it takes after it had all this of the lives before.
        db.execute(
            "UPDATE past_epoch SET durable_after = CASE WHEN durable_after <= ? THEN 0 ELSE 1 END",
            (old.durable_seq,),
        )
        db.execute(
            "INSERT OR REPLACE INTO past_epoch VALUES (?, ?, ?, 1)", (old.epoch, reply.log_to, reply.log_to)
        )
        db.execute(
            "UPDATE uplink SET epoch = ?, timeline = ?, session = ?, acked_seq = 0, durable_seq = 0,"
            " server_ms = max(server_ms, ?), restore_id = NULL, ended = 0, began_ms = ?",
            (reply.epoch, reply.timeline, reply.session, reply.server_ms, reply.server_ms),
        )
        for bucket, (gseq, h) in reply.down.items():
            _set_cursor(db, reply.timeline, bucket, gseq, h)


def missing_log(db: Reader) -> tuple[int, int] | None:
    """(epoch, first seq) of our own log that only the centre has."""
    row = db.execute(
        "SELECT epoch, coalesce((SELECT max(seq) FROM entry e WHERE e.epoch = p.epoch), 0) + 1 AS next"
        " FROM past_epoch p WHERE next <= log_to ORDER BY epoch LIMIT 1"
    ).fetchone()
    return (row[0], row[1]) if row else None


def store_log(db: LedgerDb, till: str, reply: wire.LogReply) -> None:
    """Our own entries that a backup lacked. Their points are not ours any more: no parcel moves.

    Sales among them can be voided and returned like any other: they are known by the cash program's id,
    and their lots by their terms. Their slips were printed then.
    """
    documents = dict(reply.receipts)
    with db.transaction():
        seq, head = db.head(reply.epoch, till)
        if reply.first_seq != seq + 1:
            return
        if not reply.entries:  # a restored centre has forgotten them too: nobody has them any more
            db.execute("UPDATE past_epoch SET log_to = ? WHERE epoch = ?", (seq, reply.epoch))
        for fields in reply.entries:
            seq += 1
            receipt = documents.get(seq)
            body = ledger.restore(fields, till, reply.epoch, seq, receipt)
            head = ledger.link(head, body)
            entry = ledger.parse(body)
            told = document.read_any(receipt)
            db.insert_entry(entry, body, head, receipt, _sale_id(db, told))
            if isinstance(told, document.SaleDocument):
                db.note_priced_by(entry, told.rulebook_seq, told.catalog_version)
            if entry.kind == "SALE":
                db.execute(
                    "INSERT INTO print_note (epoch, seq, at_s, outcome) VALUES (?, ?, ?, 'waived')",
                    (entry.epoch, entry.seq, entry.at_s),
                )
            _remember_lots(db, entry, told)


def _sale_id(db: Reader, told: document.Document | None) -> str | None:
    """The cash program's id in a document. None where a document of ours has it already."""
    match told:
        case document.SaleDocument(receipt=receipt):
            sale_id = receipt.id
        case document.ReturnDocument(return_id=return_id):
            sale_id = return_key(return_id)
        case _:
            return None
    return sale_id if db.sale_entry(sale_id) is None else None


def _remember_lots(db: LedgerDb, entry: Entry, told: document.Document | None) -> None:
    """Terms of the lots that an entry moved, for whoever takes it back: rows of 0 points."""
    if entry.account is None:
        return
    terms = {posting.lot: posting.terms for posting in entry.postings if posting.terms}
    if isinstance(told, document.SaleDocument) and told.customer is not None:
        for lot in told.customer.lots:
            if lot.active_from is not None:
                terms.setdefault(lot.id, LotTerms(lot.active_from, lot.expires_at, RULE_UNKNOWN))
    owner = db.owner(entry.account)
    for name in {posting.lot for posting in entry.postings} & terms.keys():
        lot_terms = terms[name]
        db.execute(
            "INSERT OR IGNORE INTO parcel VALUES (?, ?, 0, ?, ?, ?)",
            (owner, name, lot_terms.active_from, lot_terms.expires_at, lot_terms.rule),
        )
