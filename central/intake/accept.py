"""A batch from a till: is it the next piece of the log we know, and if so, keep it.

Exactly-once rests on one row a till (`TillCursor`): the next seq and the head of the chain. Under its
lock a batch is judged, its new part is stored in the inbox and the row moves on, in ONE transaction.
What comes after (ledger, balances) may fail and is repeated; what was answered here stays.

**The log.** A batch says where it starts (`first_seq`, `prev`) and where it ends (`head`). It may
start earlier than our cursor: what we have already is compared by its chain hashes and dropped. It
may not start later (GAP), and where it differs from what we hold, two machines have written one log
(FORK). The hashes cover the documents too, so a changed receipt breaks the chain.

**The session.** Each accepted batch gives the till a new session, the n-th of its row. The current
one is always welcome. The one before is welcome from a till that missed our answer: it sends the last
accepted batch again, or that and what happened since, or only the latter, and is given the current
session again, as often as it asks. Anything else under it, or an older session, is another disk with
the same till on it: FORK. So a clone is found at its second word, at the latest at its first sale.

Raises `Refused` (the word of a 4xx); then nothing has changed. What is odd about the CONTENT of an
entry is never refused here: the sale has happened (applier.py).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.db import transaction

from central import clock
from central.fleet import sessions
from central.fleet.models import Centre, Till, TillCursor
from central.home import Home
from central.intake import limits
from central.intake.models import InboxEntry, Incident
from loyalty import ledger, wire
from loyalty.ledger import LedgerError

log = logging.getLogger(__name__)

WITH_DOCUMENT = frozenset({"SALE", "RETURN_GOODS"})
STATUS_KEYS_MAX = 64
STATUS_TEXT_MAX_CHARS = 200


class Refused(Exception):  # noqa: N818 - it is the answer that travels
    """The batch is not taken: `http` status, `code` for the program, the message for its log."""

    def __init__(self, http: int, code: str, detail: str, next_seq: int = 0) -> None:
        super().__init__(detail)
        self.http = http
        self.code = code
        self.next_seq = next_seq


@dataclass(frozen=True, slots=True)
class Accepted:
    """Where the till stands now; `buckets` have something to apply."""

    timeline: int
    next_seq: int
    durable_seq: int
    session: str
    new_entries: int
    buckets: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Link:
    """An entry of the batch in its place in the chain."""

    seq: int
    entry: ledger.Entry
    body: bytes
    document: bytes | None
    h: bytes


def accept(till: Till, request: wire.SyncRequest) -> Accepted:
    """Store what is new in a batch. Raises Refused."""
    _check_shape(request)
    _check_signature(till, request)
    try:
        return _accept(till, request)
    except Refused as refusal:
        if refusal.code == wire.FORK:
            _remember_fork(till, str(refusal), refusal.next_seq)
        raise


@transaction.atomic
def _accept(till: Till, request: wire.SyncRequest) -> Accepted:
    cursor = TillCursor.objects.select_for_update().get(till=till)
    if request.epoch != till.epoch:
        raise Refused(
            409, wire.EPOCH, f"this is epoch {request.epoch} of a till in epoch {till.epoch}", cursor.next_seq
        )
    timeline = Centre.objects.get().timeline
    current = _is_current_session(till, cursor, timeline, request.session)
    if request.first_seq > cursor.next_seq:
        raise Refused(
            409, wire.GAP, f"starts at {request.first_seq}; {cursor.next_seq} is next", cursor.next_seq
        )
    # Where the cursor says we are, the batch must agree before anything of it is believed.
    _check_start(till, cursor, request)
    batch = _chain(till, request)
    _check_overlap(till, cursor, request, batch)
    if not current:
        _check_retry(cursor, request, batch)
    new = [link for link in batch if link.seq >= cursor.next_seq]
    _store(till, new)
    if new:
        cursor.next_seq, cursor.head = new[-1].seq + 1, new[-1].h
    if current or new:
        cursor.last_first_seq, cursor.last_prev, cursor.last_head = (
            request.first_seq,
            request.prev,
            request.head,
        )
    if current:
        cursor.session_no += 1
    cursor.last_sync_ms = clock.now_ms()
    cursor.versions = dict(list(request.versions.items())[:STATUS_KEYS_MAX])
    cursor.status = _short(request.status)
    cursor.save()
    return Accepted(
        timeline=timeline,
        next_seq=cursor.next_seq,
        durable_seq=cursor.durable_seq,
        session=_session(till, cursor.session_no, timeline),
        new_entries=len(new),
        buckets=frozenset(ledger.bucket(x.entry.account) for x in new if x.entry.account is not None),
    )


def is_session(till: Till, shown: str) -> bool:
    """Is this the current or the previous session of the till? For calls that carry no batch."""
    cursor = TillCursor.objects.filter(till=till).first()
    if cursor is None:
        return False
    timeline = Centre.objects.get().timeline
    current, previous = (
        sessions.same(shown, _session(till, number, timeline))
        for number in (cursor.session_no, cursor.session_no - 1)
    )
    return current or previous


def _check_shape(request: wire.SyncRequest) -> None:
    if request.v < wire.WIRE_VERSION:
        raise Refused(
            426, "TOO_OLD", f"wire {request.v} is too old; update the agent to wire {wire.WIRE_VERSION}"
        )
    if request.v > wire.WIRE_VERSION:
        raise Refused(400, "TOO_NEW", f"wire {request.v} is newer than this centre; update the centre first")
    if len(request.entries) > wire.BATCH_ENTRIES:
        raise Refused(
            413, "TOO_LARGE", f"{len(request.entries)} entries; send at most {wire.BATCH_ENTRIES} a batch"
        )
    if request.first_seq < 1 or len(request.prev) != 32 or len(request.head) != 32:
        raise Refused(400, "BAD_MESSAGE", "first_seq starts at 1; prev and head are 32 bytes each")


def _check_signature(till: Till, request: wire.SyncRequest) -> None:
    if till.public_key is None:
        raise Refused(401, "NOT_ENROLLED", "this till has not been enrolled")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes(till.public_key))
        key.verify(request.signature, wire.sync_signing_bytes(till.id, request))
    except InvalidSignature as error:
        raise Refused(
            401, "SIGNATURE", "the signature is not this till's, or the batch was changed"
        ) from error


def _is_current_session(till: Till, cursor: TillCursor, timeline: int, shown: str) -> bool:
    if sessions.same(shown, _session(till, cursor.session_no, timeline)):
        return True
    if sessions.same(shown, _session(till, cursor.session_no - 1, timeline)):
        return False
    raise Refused(409, wire.FORK, "an unknown session: two machines are using this till", cursor.next_seq)


def _session(till: Till, number: int, timeline: int) -> str:
    home: Home = settings.HOME
    return sessions.session(home.session_key, till.id, till.epoch, timeline, number)


def _check_retry(cursor: TillCursor, request: wire.SyncRequest, batch: Sequence[_Link]) -> None:
    """Under the previous session: the last accepted batch again, that and more, or what follows it."""
    start = (request.first_seq, request.prev)
    reached = {request.prev, *(link.h for link in batch)}
    again = start == (cursor.last_first_seq, bytes(cursor.last_prev)) and bytes(cursor.last_head) in reached
    follows = start == (cursor.next_seq, bytes(cursor.head))
    if not (again or follows):
        raise Refused(
            409,
            wire.FORK,
            "the previous session with another batch: two machines use this till",
            cursor.next_seq,
        )


def _chain(till: Till, request: wire.SyncRequest) -> list[_Link]:
    """The entries restored and chained from `prev` to `head`."""
    documents = _documents(request)
    links: list[_Link] = []
    h = request.prev
    for seq, fields in enumerate(request.entries, request.first_seq):
        document = documents.get(seq)
        entry, body = _entry(till, request.epoch, seq, fields, document)
        h = ledger.link(h, body)
        links.append(_Link(seq, entry, body, document, h))
    if h != request.head:
        raise Refused(
            400, "BAD_CHAIN", "the entries and receipts do not lead from prev to head; something was changed"
        )
    return links


def _documents(request: wire.SyncRequest) -> dict[int, bytes]:
    documents = dict(request.receipts)
    stray = [seq for seq in documents if not 0 <= seq - request.first_seq < len(request.entries)]
    if stray or len(documents) != len(request.receipts):
        raise Refused(
            400, "BAD_MESSAGE", "each receipt belongs to one entry of the batch, and each comes once"
        )
    return documents


def _entry(
    till: Till, epoch: int, seq: int, fields: list[Any], document: bytes | None
) -> tuple[ledger.Entry, bytes]:
    try:
        body = ledger.restore(fields, till.id, epoch, seq, document)
        entry = ledger.parse(body)
    except LedgerError as error:
        raise Refused(400, "BAD_ENTRY", f"seq {seq}: {error}") from error
    if document is None and entry.kind in WITH_DOCUMENT:
        raise Refused(400, "NO_DOCUMENT", f"entry {entry.id}: a {entry.kind} comes with its receipt")
    fault = limits.fault(entry)
    if fault:
        raise Refused(400, "BAD_ENTRY", fault)
    return entry, body


def _check_start(till: Till, cursor: TillCursor, request: wire.SyncRequest) -> None:
    known = _head_before(till, cursor, request.first_seq)
    if request.prev != known:
        raise Refused(
            409, wire.FORK, f"the log before seq {request.first_seq} is not the one we hold", cursor.next_seq
        )


def _check_overlap(till: Till, cursor: TillCursor, request: wire.SyncRequest, batch: Sequence[_Link]) -> None:
    """What we have already must be the same; one hash covers all before it."""
    known = [link for link in batch if link.seq < cursor.next_seq]
    if known and known[-1].h != _head_before(till, cursor, known[-1].seq + 1):
        raise Refused(
            409,
            wire.FORK,
            f"seq {request.first_seq}…{known[-1].seq} differ from what we hold",
            cursor.next_seq,
        )


def _head_before(till: Till, cursor: TillCursor, seq: int) -> bytes:
    if seq == cursor.next_seq:
        return bytes(cursor.head)
    if seq == 1:
        return ledger.genesis(till.id, till.epoch)
    return bytes(InboxEntry.objects.get(till=till.id, epoch=till.epoch, seq=seq - 1).h)


def _store(till: Till, new: Sequence[_Link]) -> None:
    now_ms = clock.now_ms()
    InboxEntry.objects.bulk_create(
        [
            InboxEntry(
                till=till.id,
                epoch=till.epoch,
                seq=link.seq,
                b=None if link.entry.account is None else ledger.bucket(link.entry.account),
                account=link.entry.account,
                body=link.body,
                document=link.document,
                h=link.h,
                received_ms=now_ms,
                applied=link.entry.account is None,
            )
            for link in new
        ]
    )


def _short(status: dict[str, int | str]) -> dict[str, int | str]:
    """What a till says of itself, bounded and printable: it is shown on a page."""
    first = list(status.items())[:STATUS_KEYS_MAX]
    return {_plain(key): _plain(value) if isinstance(value, str) else value for key, value in first}


def _plain(text: str) -> str:
    return "".join(c for c in text[:STATUS_TEXT_MAX_CHARS] if c.isprintable())


def _remember_fork(till: Till, detail: str, seq: int) -> None:
    _, new = Incident.objects.get_or_create(
        till=till.id,
        epoch=till.epoch,
        seq=seq,
        code=wire.FORK,
        defaults={"detail": detail, "at_ms": clock.now_ms()},
    )
    if new:
        log.error("till %s: %s", till.id, detail)
