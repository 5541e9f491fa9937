"""Is this batch the next piece of the log we know? The judge of a sync, on plain values.

Exactly-once rests on one row a till (`Cursor`): the next seq and the head of the chain.

**The log.** A batch says where it starts (`first_seq`, `prev`) and where it ends (`head`). It may
start earlier than our cursor: what we have already is compared by its chain hashes and dropped. It
may not start later (GAP), and where it differs from what we hold, two machines have written one log
(FORK). The hashes cover the documents too, so a changed receipt breaks the chain.

**The session.** Each accepted batch gives the till a new session, the n-th of its row. The current
one is always welcome. The one before is welcome from a till that missed our answer: it sends the last
accepted batch again, or that and what happened since, or only the latter, and is given the current
session again, as often as it asks. Anything else under it, or an older session, is another disk with
the same till on it: FORK. So a clone is found at its second word, at the latest at its first sale.

**A life that has ended** (§5.9, §5.10) may still be told to its end: the same judge, on that life's
own cursor, without a session (its last one was lost with it). What becomes of such entries is
decided afterwards, by people.

What is odd about the CONTENT of an entry is never refused: the sale has happened (centre.py). Not even
an entry that cannot be read: its till signed it and chains on from it, and would have to say it for ever.
Its bytes are kept, nothing moves, and a person is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from loyalty import ledger, wire
from loyalty.ledger import Entry, LedgerError
from loyalty.protocol import limits

WITH_DOCUMENT = frozenset({"SALE", "RETURN_GOODS"})

UNREADABLE = "UNREADABLE"
NO_DOCUMENT = "NO_DOCUMENT"


class Refused(Exception):  # noqa: N818 - it is the answer that travels
    """The batch is not taken: `http` status, `code` for the program, the message for its log."""

    def __init__(self, http: int, code: str, detail: str, next_seq: int = 0) -> None:
        super().__init__(detail)
        self.http = http
        self.code = code
        self.next_seq = next_seq


class Session(Enum):
    """Whose session a batch shows."""

    CURRENT = auto()
    PREVIOUS = auto()
    OTHER = auto()
    ENDED = auto()  # of a life that has ended: none is asked for


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far one life of a till has told its log; `last_*` = the last batch that was accepted."""

    till: str
    epoch: int
    next_seq: int
    head: bytes
    last_first_seq: int
    last_prev: bytes
    last_head: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """An entry of the batch in its place in the chain. `odd`: a code and why, for a person to look at.

    Where `body` cannot be read, `entry` is but its name, without an account.
    """

    seq: int
    entry: Entry
    body: bytes
    document: bytes | None
    h: bytes
    odd: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is new, and where the cursor stands after it. `rotate`: the till gets a new session."""

    new: tuple[Link, ...]
    cursor: Cursor
    rotate: bool


def check_shape(request: wire.SyncRequest) -> None:
    """Can this be a batch at all? Raises Refused."""
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


def heads_needed(cursor: Cursor, request: wire.SyncRequest) -> frozenset[int]:
    """After which entries `judge` must know our chain's hash, beyond the cursor's own."""
    overlap = min(request.first_seq + len(request.entries), cursor.next_seq) - 1
    return frozenset({request.first_seq - 1, overlap} - {0, cursor.next_seq - 1})


def judge(cursor: Cursor, request: wire.SyncRequest, session: Session, heads: Mapping[int, bytes]) -> Verdict:
    """What of the batch is new. `heads`: seq -> our hash after it, for `heads_needed`. Raises Refused."""
    if session is Session.OTHER:
        raise _fork(cursor, "an unknown session: two machines are using this till")
    if request.first_seq > cursor.next_seq:
        text = f"starts at {request.first_seq}; {cursor.next_seq} is next"
        raise Refused(409, wire.GAP, text, cursor.next_seq)

    def head_after(seq: int) -> bytes:
        if seq == cursor.next_seq - 1:
            return cursor.head
        return heads[seq] if seq else ledger.genesis(cursor.till, cursor.epoch)

    # Where the cursor says we are, the batch must agree before anything of it is believed.
    if request.prev != head_after(request.first_seq - 1):
        raise _fork(cursor, f"the log before seq {request.first_seq} is not the one we hold")
    batch = _chain(cursor, request)
    known = [link for link in batch if link.seq < cursor.next_seq]
    if known and known[-1].h != head_after(known[-1].seq):  # one hash covers all before it
        raise _fork(cursor, f"seq {request.first_seq}…{known[-1].seq} differ from what we hold")
    if session is Session.PREVIOUS:
        _check_retry(cursor, request, batch)
    new = tuple(batch[len(known) :])
    next_seq, head = (new[-1].seq + 1, new[-1].h) if new else (cursor.next_seq, cursor.head)
    moved = replace(cursor, next_seq=next_seq, head=head)
    if new or session is Session.CURRENT:
        moved = replace(
            moved, last_first_seq=request.first_seq, last_prev=request.prev, last_head=request.head
        )
    return Verdict(new, moved, session is Session.CURRENT)


def _check_retry(cursor: Cursor, request: wire.SyncRequest, batch: Sequence[Link]) -> None:
    """Under the previous session: the last accepted batch again, that and more, or what follows it."""
    start = (request.first_seq, request.prev)
    reached = {request.prev, *(link.h for link in batch)}
    again = start == (cursor.last_first_seq, cursor.last_prev) and cursor.last_head in reached
    follows = start == (cursor.next_seq, cursor.head)
    if not (again or follows):
        raise _fork(cursor, "the previous session with another batch: two machines use this till")


def _fork(cursor: Cursor, detail: str) -> Refused:
    return Refused(409, wire.FORK, detail, cursor.next_seq)


def _chain(cursor: Cursor, request: wire.SyncRequest) -> list[Link]:
    """The entries restored and chained from `prev` to `head`."""
    documents = _documents(request)
    links: list[Link] = []
    h = request.prev
    for seq, fields in enumerate(request.entries, request.first_seq):
        document = documents.get(seq)
        try:
            body = ledger.restore(fields, cursor.till, cursor.epoch, seq, document)
        except LedgerError as error:
            raise Refused(400, "BAD_CHAIN", f"seq {seq} cannot be hashed: {error}") from error
        h = ledger.link(h, body)
        entry, odd = _read(cursor, seq, body, document)
        links.append(Link(seq, entry, body, document, h, odd))
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


def _read(
    cursor: Cursor, seq: int, body: bytes, document: bytes | None
) -> tuple[Entry, tuple[str, str] | None]:
    """The entry, and what is odd about it."""
    try:
        entry = ledger.parse(body)
        limits.check(entry)
    except LedgerError as error:
        return Entry(cursor.till, cursor.epoch, seq, 0, "", None), (UNREADABLE, f"it moves nothing: {error}")
    if document is None and entry.kind in WITH_DOCUMENT:
        return entry, (NO_DOCUMENT, f"a {entry.kind} came without its document")
    return entry, None
