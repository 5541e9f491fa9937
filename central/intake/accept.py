"""A batch from a till is judged and kept: the shell round loyalty/protocol/intake.py.

Under the lock of the till's one row (`TillCursor`) a batch is judged, its new part is stored in the
inbox and the row moves on, in ONE transaction. What comes after (ledger, balances) may fail and is
repeated; what was answered here stays.

A till whose life has ended may still tell it to its end: `TillLife` is the row then. What a dead or
stolen till tells so is kept apart for a person to decide (central/fleet/lives.py).

Raises `Refused` (the word of a 4xx); then nothing has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.db import transaction

from central import clock
from central.fleet import lives, sessions, timeline
from central.fleet.models import Centre, Till, TillCursor, TillLife
from central.home import Home
from central.intake import corrections
from central.intake.models import InboxEntry, Incident, note
from central.members import accounts, registering
from loyalty import ledger, wire
from loyalty.protocol import intake as law
from loyalty.protocol.intake import Cursor, Link, Refused, Session

log = logging.getLogger(__name__)

STATUS_KEYS_MAX = 64
STATUS_TEXT_MAX_CHARS = 200
LATE = "LATE"
LIMIT = "LIMIT"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Where the till stands now; `buckets` have something to apply."""

    timeline: int
    next_seq: int
    durable_seq: int
    session: str
    new_entries: int
    buckets: frozenset[int]
    late: bool = False  # of a life that has ended: there is nothing to send down
    again: bool = False  # it was said before, and its answer was lost


class TimelineChanged(Refused):
    """The centre has begun another life since the till spoke: `down` = what it remembers of before."""

    def __init__(
        self, timeline: int, heard_in: int, down: dict[int, int], epochs: dict[int, int], next_seq: int
    ) -> None:
        super().__init__(
            409, wire.TIMELINE, "the centre was restored from a backup; send again, and echo", next_seq
        )
        self.timeline = timeline
        self.heard_in = heard_in
        self.down = down
        self.epochs = epochs


def accept(till: Till, request: wire.SyncRequest) -> Accepted:
    """Store what is new in a batch. Raises Refused."""
    law.check_shape(request)
    life = TillLife.objects.filter(till=till, epoch=request.epoch).first()
    _check_signature(till, life, request)
    try:
        if life is not None:
            return _accept_late(life, request)
        return _accept(till, request)
    except Refused as refusal:
        if refusal.code == wire.FORK:
            _remember(till.id, till.epoch, refusal.next_seq, wire.FORK, str(refusal))
        raise


@transaction.atomic
def _accept(till: Till, request: wire.SyncRequest) -> Accepted:
    row = TillCursor.objects.select_for_update().get(till=till)
    now = Centre.objects.get().timeline
    if request.epoch > till.epoch and request.timeline != now:
        raise _timeline_changed(till, now, row)  # it may know of a life that we have forgotten
    if request.epoch > till.epoch and request.adopting:
        # It was restored from a backup itself, after ours was made.
        lives.catch_up(till, request.epoch)
        row.refresh_from_db()
    if request.epoch != till.epoch:
        raise Refused(
            409, wire.EPOCH, f"this is epoch {request.epoch} of a till in epoch {till.epoch}", row.next_seq
        )
    if request.timeline != now or (row.timeline != now and not request.adopting):
        raise _timeline_changed(till, now, row)
    session = _session_shown(till, row, now, request)
    verdict = _judge(_cursor(till, row), request, session)
    adopted = timeline.Adopted(frozenset(), ())
    if row.timeline != now:
        adopted = timeline.adopt(till, request)
        row.timeline, row.adopted_no = now, row.session_no + 1
    for forgotten in adopted.merges:
        registering.merge_again(forgotten, till.id)
    new = _store(till.id, verdict.new)
    moved = verdict.cursor
    row.next_seq, row.head = moved.next_seq, moved.head
    row.last_first_seq, row.last_prev, row.last_head = (
        moved.last_first_seq,
        moved.last_prev,
        moved.last_head,
    )
    if verdict.rotate:
        row.session_no += 1
    row.last_sync_ms = clock.now_ms()
    row.versions = dict(list(request.versions.items())[:STATUS_KEYS_MAX])
    row.status = _short(request.status)
    row.save()
    return Accepted(
        timeline=now,
        next_seq=row.next_seq,
        durable_seq=row.durable_seq,
        session=_session(till, row.session_no, now),
        new_entries=len(verdict.new),
        buckets=new | adopted.buckets,
        again=not verdict.rotate and not verdict.new,
    )


@transaction.atomic
def _accept_late(life: TillLife, request: wire.SyncRequest) -> Accepted:
    """What a life that has ended still tells."""
    row = TillLife.objects.select_for_update().get(pk=life.pk)
    now = Centre.objects.get().timeline
    if request.timeline != now and row.trusted:
        raise _timeline_changed(row.till, now, TillCursor.objects.get(till=row.till))
    verdict = _judge(_cursor(row.till, row), request, Session.ENDED)
    quarantined_ms = None if row.trusted else clock.now_ms()
    new = _store(row.till_id, verdict.new, quarantined_ms)
    row.next_seq, row.head = verdict.cursor.next_seq, verdict.cursor.head
    row.save()
    if verdict.new and quarantined_ms is not None:
        text = f"{len(verdict.new)} entries of a life that had ended; accept or reverse them"
        _remember(row.till_id, row.epoch, verdict.new[0].seq, LATE, text)
    return Accepted(
        timeline=now,
        next_seq=row.next_seq,
        durable_seq=row.durable_seq,
        session=request.session,
        new_entries=len(verdict.new),
        buckets=frozenset() if quarantined_ms else new,
        late=True,
    )


def restore(till: Till, request: wire.RestoreRequest) -> wire.RestoreReply:
    """A till was restored from a backup: its next life (§5.9). Raises Refused."""
    if till.public_key is None:
        raise Refused(401, "NOT_ENROLLED", "this till is closed; it needs a new code")
    _verify(bytes(till.public_key), request.signature, wire.restore_signing_bytes(till.id, request))
    cursor = TillCursor.objects.get(till=till)
    done = TillLife.objects.filter(till=till, restore_id=request.restore_id).exists()
    if not done:
        if request.epoch > till.epoch:
            lives.catch_up(till, request.epoch)
            cursor.refresh_from_db()
        if request.epoch != till.epoch:
            raise Refused(409, wire.EPOCH, f"the backup is of epoch {request.epoch}, not {till.epoch}")
        # A backup may also be newer than what the centre has: the rest of that life comes after (late).
        known = request.seq < cursor.next_seq
        if known and _head_after(till.id, till.epoch, request.seq) != request.head:
            raise Refused(409, wire.FORK, "the backup's log is not the one we hold", cursor.next_seq)
    life = lives.restored(till, request)
    till.refresh_from_db()
    cursor = TillCursor.objects.get(till=till)
    began_in, down = lives.downlinks(till)
    reply = wire.RestoreReply(
        epoch=till.epoch,
        session=_session(till, cursor.session_no, began_in),
        timeline=began_in,
        log_to=life.next_seq - 1,
        down=down,
        server_ms=clock.now_ms(),
        signature=b"",
    )
    home: Home = settings.HOME
    signature = home.reply_key.sign(wire.restored_signing_bytes(till.id, request, reply))
    return msgspec.structs.replace(reply, signature=signature)


def log_of(till: Till, epoch: int, first_seq: int) -> wire.LogReply:
    """A stretch of a till's own log, from `first_seq` on."""
    rows = list(
        InboxEntry.objects.filter(till=till.id, epoch=epoch, seq__gte=first_seq).order_by("seq")[
            : wire.BATCH_ENTRIES + 1
        ]
    )
    shown = rows[: wire.BATCH_ENTRIES]
    return wire.LogReply(
        epoch=epoch,
        first_seq=first_seq,
        entries=tuple(ledger.strip(bytes(row.body)) for row in shown),
        receipts=tuple((row.seq, bytes(row.document)) for row in shown if row.document is not None),
        more=len(rows) > len(shown),
    )


def authorised(shown: str) -> Till:
    """The till whose `Authorization` this is, for calls that carry no batch. Raises Refused."""
    scheme, _, rest = shown.partition(" ")
    name, _, session = rest.partition(":")
    if scheme == "Kopilka" and name and session:
        till: Till | None = Till.objects.select_related("store").filter(id=name).first()
        if till is not None and _is_session(till, session):
            return till
    raise Refused(401, "SESSION", "no valid session; sync first")


def own_till(shown: str, till: str) -> Till:
    """The same, where a till may ask for itself only. Raises Refused."""
    found = authorised(shown)
    if found.id != till:
        raise Refused(403, "FORBIDDEN", "a till asks for itself only")
    return found


def _is_session(till: Till, shown: str) -> bool:
    cursor = TillCursor.objects.filter(till=till).first()
    if cursor is None or till.closed_ms is not None:
        return False
    now = Centre.objects.get().timeline
    return _which_session(till, cursor, now, shown) is not Session.OTHER


def _check_signature(till: Till, life: TillLife | None, request: wire.SyncRequest) -> None:
    key = life.public_key if life is not None else till.public_key
    if key is None:
        raise Refused(401, "NOT_ENROLLED", "this till has not been enrolled")
    _verify(bytes(key), request.signature, wire.sync_signing_bytes(till.id, request))


def _verify(key: bytes, signature: bytes, message: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature as error:
        raise Refused(
            401, "SIGNATURE", "the signature is not this till's, or the batch was changed"
        ) from error


def _timeline_changed(till: Till, now: int, row: TillCursor) -> TimelineChanged:
    epochs = dict(TillLife.objects.filter(till=till).values_list("epoch", "next_seq"))
    epochs[till.epoch] = row.next_seq
    return TimelineChanged(now, *timeline.known_downlinks(till), epochs, row.next_seq)


def _session_shown(till: Till, cursor: TillCursor, now: int, request: wire.SyncRequest) -> Session:
    """Whose session a batch shows. First words in this life of the centre are known by the chain alone,

    and may be said again as long as nothing followed them (their answer was lost).
    """
    if request.adopting and cursor.timeline != now:
        return Session.CURRENT
    if request.adopting and cursor.adopted_no == cursor.session_no:
        return Session.PREVIOUS
    return _which_session(till, cursor, now, request.session)


def _which_session(till: Till, cursor: TillCursor, timeline: int, shown: str) -> Session:
    if sessions.same(shown, _session(till, cursor.session_no, timeline)):
        return Session.CURRENT
    if sessions.same(shown, _session(till, cursor.session_no - 1, timeline)):
        return Session.PREVIOUS
    return Session.OTHER


def _session(till: Till, number: int, timeline: int) -> str:
    home: Home = settings.HOME
    return sessions.session(home.session_key, till.id, till.epoch, timeline, number)


def _cursor(till: Till, row: TillCursor | TillLife) -> Cursor:
    epoch = row.epoch if isinstance(row, TillLife) else till.epoch
    return Cursor(
        till.id,
        epoch,
        row.next_seq,
        bytes(row.head),
        row.last_first_seq,
        bytes(row.last_prev),
        bytes(row.last_head),
    )


def _judge(cursor: Cursor, request: wire.SyncRequest, session: Session) -> law.Verdict:
    needed = law.heads_needed(cursor, request)
    heads = {seq: _head_after(cursor.till, cursor.epoch, seq) for seq in needed if seq < cursor.next_seq}
    return law.judge(cursor, request, session, heads)


def _head_after(till: str, epoch: int, seq: int) -> bytes:
    if seq == 0:
        return ledger.genesis(till, epoch)
    return bytes(InboxEntry.objects.get(till=till, epoch=epoch, seq=seq).h)


def _store(till: str, new: Sequence[Link], quarantined_ms: int | None = None) -> frozenset[int]:
    """Put what is new into the inbox; the buckets that have something to apply."""
    now_ms = clock.now_ms()
    owners = accounts.owners({link.entry.account for link in new if link.entry.account is not None})
    buckets = {account: ledger.bucket(owner) for account, owner in owners.items()}
    InboxEntry.objects.bulk_create(
        [
            InboxEntry(
                till=till,
                epoch=link.entry.epoch,
                seq=link.seq,
                b=None if link.entry.account is None else buckets[link.entry.account],
                account=link.entry.account,
                body=link.body,
                document=link.document,
                h=link.h,
                received_ms=now_ms,
                applied=link.entry.account is None,
                quarantined_ms=quarantined_ms,
            )
            for link in new
        ]
    )
    for link in new:
        if link.odd is not None:
            note(link.entry, *link.odd)
        if ledger.FLAG_LIMIT in link.entry.flags:
            note(link.entry, LIMIT, "a limit against abuse was reached at the till")
    corrections.note_new(new)
    return frozenset(buckets.values())


def _short(status: dict[str, int | str]) -> dict[str, int | str]:
    """What a till says of itself, bounded and printable: it is shown on a page."""
    first = list(status.items())[:STATUS_KEYS_MAX]
    return {_plain(key): _plain(value) if isinstance(value, str) else value for key, value in first}


def _plain(text: str) -> str:
    return "".join(c for c in text[:STATUS_TEXT_MAX_CHARS] if c.isprintable())


def _remember(till: str, epoch: int, seq: int, code: str, detail: str) -> None:
    _, new = Incident.objects.get_or_create(
        till=till, epoch=epoch, seq=seq, code=code, defaults={"detail": detail, "at_ms": clock.now_ms()}
    )
    if new:
        log.error("till %s: %s", till, detail)
