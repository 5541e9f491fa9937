"""Messages between till and office, and their bytes (ledger-sync.md §7).

A message is a MessagePack array in field order, compressed with zstd, version first; a stretch of a log
(SyncRequest, LogReply) travels as columns (`_columnar`). A reader takes what it knows by position and
leaves the rest alone, so a newer program may append fields; where a message carries what must outlive
it (entries, downlink bodies, documents, manifests) it carries the very bytes, or what they are made of
again to the last one, and nothing of them is lost.

Nothing here signs or verifies: `*_signing_bytes` say WHAT is signed, each with a
prefix of its own so that a signature can never be used for another purpose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec
import zstandard
from msgspec import Meta

from loyalty import columns, document, ledger
from loyalty.decoding import UNREADABLE

WIRE_VERSION = 1
CONTENT_TYPE = "application/vnd.kopilka.msgpack+zstd"
BATCH_ENTRIES = 500
MESSAGE_MAX_BYTES = 16 * 1024 * 1024  # unpacked; a message that would be larger is refused unread

# What a 409 says. The till's answer to each stands in agent/sync/machine.py.
GAP, FORK, EPOCH, TIMELINE = "GAP", "FORK", "EPOCH", "TIMELINE"
# And a 404 for a receipt: its till has told of it, and it is another; or has not told so far.
NO_SUCH_RECEIPT, NOT_YET = "NO_SUCH_RECEIPT", "NOT_YET"


# Numbers that do not fit a database column, and a session that does not fit a header, are refused at
# the door: what comes through `unpack` can be stored and shown again.
Whole = Annotated[int, Meta(ge=0, le=2**62)]
Signed = Annotated[int, Meta(ge=-(2**62), le=2**62)]
Bucket = Annotated[int, Meta(ge=0, lt=ledger.BUCKETS)]
Account = Annotated[int, Meta(ge=0, lt=ledger.ACCOUNT_MAX)]
CardKey = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Session = Annotated[str, Meta(pattern=r"^[!-~]{1,256}$")]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]


class WireError(ValueError):
    """These bytes are not the message that was expected."""


class TooLargeError(WireError):
    """A message beyond the largest: the sender says it in pieces."""


class Confidential(msgspec.Struct, array_like=True, frozen=True):
    """A message with a key, a code, a session or a card's hash in it: its repr shows nothing."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class EnrollRequest(Confidential, frozen=True):
    """A new till shows its one-time code and its public key (Ed25519, 32 raw bytes)."""

    v: int
    code: str
    public_key: bytes
    agent_version: str


class EnrollReply(Confidential, frozen=True):
    """Who the till is from now on. The same code and key get the same answer again."""

    till: str
    epoch: Whole
    store: str
    session: Session
    timeline: Whole
    chain_key: Key  # for card_key
    reply_key: Key  # Ed25519 public key that signs sync replies
    channel_keys: dict[str, Key]  # key id -> Ed25519 public key that signs manifests
    keyset_version: Whole
    server_ms: Whole
    down: dict[Bucket, tuple[Whole, bytes]] = {}  # where the downlinks of a till with a past begin


class DownItem(msgspec.Struct, array_like=True, frozen=True):
    """One message of a downlink: `body` is the canonical bytes of a centre's entry, h its chain hash."""

    bucket: Bucket
    gseq: Whole
    body: bytes
    h: bytes


class Echo(msgspec.Struct, array_like=True, frozen=True):
    """What the centre once told a till in one reply, as far as the till applied it (§5.11).

    `statement` = `down_signing_bytes` of that reply, `signature` the centre's under it.
    """

    items: tuple[DownItem, ...]
    statement: bytes
    signature: bytes


class SyncRequest(Confidential, frozen=True):
    """Everything a till has to say, from the server's cursor on.

    `entries[i]` is the entry `first_seq + i` as `ledger.strip` makes it; `receipts`
    are pairs (seq, document bytes). `prev` is the head before the first entry,
    `head` the one after the last (equal when there is none).
    """

    v: int
    epoch: Whole
    session: str
    first_seq: Whole
    prev: bytes
    head: bytes
    signature: bytes
    entries: tuple[list[Any], ...]
    receipts: tuple[tuple[int, bytes], ...]
    down: dict[Bucket, Whole]  # bucket -> last applied gseq; a bucket never heard of is left out
    versions: dict[str, Whole]  # channel -> version in force
    status: dict[str, int | str]
    timeline: Whole = 0  # the life of the centre that the till knows; `down` are cursors of it
    # First words to a centre that was restored. `down` are cursors of the life that the centre remembers
    # (`Refusal.heard_in`), `echo` what it told the till since then and has forgotten.
    adopting: bool = False
    echo: tuple[Echo, ...] = ()


class SyncReply(Confidential, frozen=True):
    """`next_seq`: the first entry the centre lacks; `durable_seq`: the last one safe on two disks."""

    timeline: Whole
    next_seq: Whole
    durable_seq: Whole
    session: Session
    down: tuple[DownItem, ...]
    signature: bytes
    manifests: dict[str, Whole]  # channel -> newest version
    server_ms: Whole
    min_delay_s: Whole
    quarantined: Whole  # entries of this till that wait for a person's decision
    down_signature: bytes = b""  # under the heads of `down`, for an echo; empty where nothing moved
    ended: bool = False  # this life of the till has ended: what it tells is kept, and nothing comes down


class Refusal(msgspec.Struct, array_like=True, frozen=True):
    """The body of a 4xx: a word for the program, an English sentence for the log, the server's cursor.

    With TIMELINE: the new life of the centre; what it still knows of the till's downlinks (bucket ->
    gseq) and of which life they are; and how far it has each life of the till's log (epoch -> next seq).
    """

    code: str
    detail: str
    next_seq: Whole = 0
    timeline: Whole = 0
    down: dict[Bucket, Whole] = {}
    heard_in: Whole = 0
    epochs: dict[Whole, Whole] = {}


class ClaimRequest(Confidential, frozen=True):
    """Points are wanted now: `want` hundredths of an account. The same id is the same claim for 30 days."""

    v: int
    claim_id: Session
    account: Account
    want: Whole
    down: Whole  # of the account's downlink: the last message applied


class ClaimReply(Confidential, frozen=True):
    """`granted` of the claim so far; `asking`: more was asked back from another shop, ask again.

    `down` is the account's downlink from the till's cursor on, the grants of this claim among it.
    """

    claim_id: Session
    granted: Whole
    asking: bool
    timeline: Whole
    server_ms: Whole
    down: tuple[DownItem, ...]
    down_signature: bytes
    signature: bytes


class RestoreRequest(Confidential, frozen=True):
    """This till was restored from a backup: its log ends at (epoch, seq, head). One id, one restore."""

    v: int
    restore_id: Session
    epoch: Whole
    seq: Whole
    head: bytes
    signature: bytes


class RestoreReply(Confidential, frozen=True):
    """The till's next life. `log_to`: the last entry that the centre has of the one that ended."""

    epoch: Whole
    session: Session
    timeline: Whole
    log_to: Whole
    down: dict[Bucket, tuple[Whole, bytes]]
    server_ms: Whole
    signature: bytes


class LogReply(Confidential, frozen=True):
    """A stretch of a till's own log as the centre has it, in the form of a batch."""

    epoch: Whole
    first_seq: Whole
    entries: tuple[list[Any], ...]
    receipts: tuple[tuple[int, bytes], ...]
    more: bool


class HandoverRequest(Confidential, frozen=True):
    """A till of the store wants points that its hub holds, for one receipt (§5.5). Signed by the till."""

    v: int
    till: str
    epoch: Whole
    receipt: str
    account: Account
    want: Whole
    signature: bytes


class HandoverReply(Confidential, frozen=True):
    """The hub's HANDOVER entry, signed by the hub; empty where it has nothing to give."""

    body: bytes
    signature: bytes


class EventsReply(msgspec.Struct, array_like=True, frozen=True):
    """The end of a long poll: is there something for the till to sync for?"""

    sync: bool
    server_ms: Whole


class ReceiptReply(Confidential, frozen=True):
    """A sale that another till made, for a return: its entry and receipt, and what was returned since.

    `owner` = whose points they are today (merged cards), None for a sale without a card.
    """

    entry: bytes
    document: bytes
    returns: tuple[tuple[bytes, bytes], ...]  # (entry, document or empty) of each RETURN_GOODS or VOID
    owner: Account | None = None
    signature: bytes = b""


class HubReceiptRequest(Confidential, frozen=True):
    """A till of the store wants a receipt of its hub's, by the last line of its slip. Signed by the till.

    `nonce` = 16 random bytes: an answer of yesterday, which knows of fewer returns, is no answer today.
    """

    v: int
    till: str
    ref: str
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]
    signature: bytes


class HubReceiptReply(Confidential, frozen=True):
    """A sale of the hub's own, as ReceiptReply; `returns` are those that the hub itself has written.

    `prev` = the chain's hash before the entry, from which the asker makes the slip's six digits.
    """

    prev: Key
    entry: bytes
    document: bytes
    returns: tuple[tuple[bytes, bytes], ...]
    owner: Account | None
    signature: bytes = b""


class LookupRequest(Confidential, frozen=True):
    """Whose card is this? By keyed hash; the number never leaves the till."""

    v: int
    card_key: CardKey


FLAG_DEBT = "debt"  # of a member: the account owes points


class Member(msgspec.Struct, array_like=True, frozen=True):
    """What a till may know of a member (ledger-sync.md §2).

    `balance` counts the asking till's entries up to `included_seq`; the till adds its own later ones.
    """

    account: Account
    tier: str | None = None
    card_kind: str | None = None
    segments: tuple[str, ...] = ()
    counters: dict[str, int] = {}
    flags: tuple[str, ...] = ()
    birthday: str | None = None
    display_name: str | None = None
    balance: Signed = 0  # hundredths, everywhere, at `as_of_ms`
    as_of_ms: Whole = 0
    included_seq: Whole = 0  # of the asking till's current epoch
    home: str | None = None  # the till where this account's points are kept, if it has a home
    pending: Whole = 0  # of `balance`: points whose first day is ahead in the asking till's shop


class LookupReply(msgspec.Struct, array_like=True, frozen=True):
    """`member` is None for a card that the centre does not know."""

    member: Member | None
    server_ms: Whole


class ManifestReply(msgspec.Struct, array_like=True, frozen=True):
    """The exact bytes of a manifest, and the detached signatures over them: key id -> signature."""

    manifest: bytes
    signatures: dict[str, bytes]


def sync_signing_bytes(till: str, request: SyncRequest) -> bytes:
    """What the till signs, once a batch. `head` covers every entry and, by their hashes, every receipt."""
    return b"kopilka-sync-1\0" + _encode(
        (
            till,
            request.v,
            request.epoch,
            request.session,
            request.first_seq,
            request.prev,
            request.head,
            sorted(request.down.items()),
            request.timeline,
            request.adopting,
            hashlib.sha256(_encode(request.echo)).digest(),
        )
    )


def reply_signing_bytes(till: str, request: SyncRequest, reply: SyncReply) -> bytes:
    """What the centre signs: the answer to THIS request, with the head of every downlink it moved.

    The request's session is part of it: an idle till sends the same head for hours, and yesterday's
    answer must not pass for today's.
    """
    heads = {item.bucket: (item.gseq, item.h) for item in reply.down}
    return b"kopilka-reply-1\0" + _encode(
        (
            till,
            reply.timeline,
            request.session,
            request.head,
            reply.next_seq,
            reply.durable_seq,
            reply.session,
            sorted(heads.items()),
            sorted(reply.manifests.items()),
            reply.server_ms,
        )
    )


def down_signing_bytes(till: str, timeline: int, items: Sequence[DownItem]) -> bytes:
    """What the centre signs of the messages that it sends down in one reply: each by its hash."""
    named = [(item.bucket, item.gseq, hashlib.sha256(item.body).digest()) for item in items]
    return b"kopilka-down-1\0" + _encode((till, timeline, named))


_DownStatement = tuple[str, int, set[tuple[int, int, bytes]]]


def read_down_statement(statement: bytes) -> _DownStatement:
    """(till, timeline, {(bucket, gseq, sha256 of the body)}) of `down_signing_bytes`. Raises WireError."""
    prefix, _, rest = statement.partition(b"\0")
    if prefix != b"kopilka-down-1":
        raise WireError("not a statement of a downlink")
    try:
        told: _DownStatement = msgspec.msgpack.decode(rest, type=_DownStatement)
    except UNREADABLE as error:
        raise WireError("not a statement of a downlink") from error
    return told


def claim_signing_bytes(till: str, reply: ClaimReply) -> bytes:
    """What the centre signs of the answer to a claim, beside the downlink in it."""
    return b"kopilka-claim-1\0" + _encode(
        (till, reply.claim_id, reply.granted, reply.asking, reply.timeline, reply.server_ms)
    )


def receipt_signing_bytes(till: str, ref: str, reply: ReceiptReply) -> bytes:
    """What the centre signs of a receipt that `till` asked for by `ref`."""
    return b"kopilka-receipt-1\0" + _encode(
        (till, ref, reply.entry, reply.document, reply.returns, reply.owner)
    )


def hub_receipt_signing_bytes(request: HubReceiptRequest) -> bytes:
    """What a till signs that asks the hub for a receipt."""
    return b"kopilka-hub-receipt-ask-1\0" + _encode((request.till, request.ref, request.nonce))


def hub_receipt_reply_signing_bytes(hub: str, request: HubReceiptRequest, reply: HubReceiptReply) -> bytes:
    """What the hub signs: the receipt, as the answer to this very question."""
    told = (reply.prev, reply.entry, reply.document, reply.returns, reply.owner)
    return b"kopilka-hub-receipt-1\0" + _encode((hub, request.till, request.ref, request.nonce, *told))


def restore_signing_bytes(till: str, request: RestoreRequest) -> bytes:
    """What a restored till signs."""
    return b"kopilka-restore-1\0" + _encode(
        (till, request.restore_id, request.epoch, request.seq, request.head)
    )


def restored_signing_bytes(till: str, request: RestoreRequest, reply: RestoreReply) -> bytes:
    """What the centre answers it."""
    return b"kopilka-restored-1\0" + _encode(
        (till, request.restore_id, reply.epoch, reply.session, reply.timeline, sorted(reply.down.items()))
    )


def handover_ref(request: HandoverRequest) -> str:
    """The `ref` of the HANDOVER that answers a question: whose, in which life, and for which receipt."""
    return f"{request.till}-{request.epoch}:{request.receipt}"


def handover_signing_bytes(request: HandoverRequest) -> bytes:
    """What the asking till signs."""
    return b"kopilka-ask-1\0" + _encode(
        (request.till, request.epoch, request.receipt, request.account, request.want)
    )


def handed_signing_bytes(body: bytes) -> bytes:
    """What the hub signs: the canonical bytes of its HANDOVER."""
    return b"kopilka-handed-1\0" + body


def down_genesis(till: str, bucket: int, timeline: int) -> bytes:
    """The hash before the first message of one downlink; then `h = ledger.link(h, body)`."""
    return ledger.genesis(f"{till}@{bucket}", timeline)


def manifest_signing_bytes(manifest: bytes) -> bytes:
    """What the channel key signs: the exact bytes of a manifest."""
    return b"kopilka-manifest-1\0" + manifest


_encode = msgspec.msgpack.Encoder().encode
T = TypeVar("T", bound=msgspec.Struct)


def pack(message: msgspec.Struct) -> bytes:
    """The bytes of a message as they travel."""
    parts = _columnar(message) if isinstance(message, SyncRequest | LogReply) else None
    if parts is None:
        return zstandard.ZstdCompressor(level=PLAIN_LEVEL).compress(_encode(message))
    return _compress(parts)


def unpack(kind: type[T], body: bytes, max_bytes: int = MESSAGE_MAX_BYTES) -> T:
    """The message in `body`. Raises WireError, or TooLargeError for one that is too long."""
    try:
        # The frame says its size before anything is unpacked, so a small body cannot become a large one.
        size = zstandard.get_frame_parameters(body).content_size
        if size > max_bytes:  # an unknown size reads as 2**64 - 1
            raise TooLargeError(
                f"a message of more than {max_bytes} bytes, or one that does not say its size"
            )
        raw = zstandard.ZstdDecompressor().decompress(body, max_output_size=max_bytes)
        if kind in (SyncRequest, LogReply) and raw[:1] == _PARTS:
            return _of_parts(kind, _decode_parts(raw))
        return msgspec.msgpack.decode(raw, type=kind)
    except (zstandard.ZstdError, columns.ColumnsError, *UNREADABLE) as error:
        raise WireError(f"not a whole {kind.__name__}: {error}") from error


# ------------------------------------------------------------------ a stretch of a log
# Entries and receipts are most of what ever travels. They go as columns (loyalty/columns.py): an array
# of the message without them and, one by one, the columns of the rows: an entry's fields, its receipt.

PLAIN_LEVEL = 3
COLUMNS_LEVEL = 15
COLUMNS_MAX = 1_000  # a sale has sixty
CELLS_MAX = 2_000_000  # more than a batch of the largest receipts; joining as many takes a second
_BLOCK_BYTES = 256  # a column from this size on is compressed with a statistic of its own
_PARTS = b"\xdd"  # array of 32-bit length: msgspec writes the messages themselves in a shorter form
_decode_parts = msgspec.msgpack.Decoder(
    Annotated[list[msgspec.Raw], Meta(min_length=2, max_length=COLUMNS_MAX + 1)]
).decode
_decode_cells = msgspec.msgpack.Decoder(list[Any]).decode


def _columnar(message: SyncRequest | LogReply) -> list[bytes] | None:
    """The parts of a message as columns; None: it travels as it is.

    That is one without entries, one whose receipts are not each of one of its entries, and one with
    more places or more in them than any till writes.
    """
    papers = dict(message.receipts)
    last = message.first_seq + len(message.entries)
    if not message.entries or len(papers) < len(message.receipts):
        return None
    if any(not message.first_seq <= seq < last for seq in papers):
        return None
    cells = columns.split(
        [*fields, _opened(papers.get(seq))] for seq, fields in enumerate(message.entries, message.first_seq)
    )
    if len(cells) > COLUMNS_MAX or sum(map(len, cells)) > CELLS_MAX:
        return None
    rest = msgspec.structs.replace(message, entries=(), receipts=())
    length = (len(cells) + 1).to_bytes(4, "big")
    return [_PARTS + length + _encode(rest), *map(_encode, cells)]


def _of_parts(kind: type[T], parts: list[msgspec.Raw]) -> T:
    message = msgspec.msgpack.decode(parts[0], type=kind)
    assert isinstance(message, SyncRequest | LogReply)
    entries: list[list[Any]] = []
    receipts: list[tuple[int, bytes]] = []
    cells = [_decode_cells(part) for part in parts[1:]]
    if sum(map(len, cells)) > CELLS_MAX:
        raise columns.ColumnsError(f"more than {CELLS_MAX} cells")
    rows = columns.join(cells)
    for seq, row in enumerate(rows, message.first_seq):
        if not isinstance(row, list) or not row:
            raise columns.ColumnsError("a row is an entry and its receipt")
        entries.append(row[:-1])
        paper = _closed(row[-1])
        receipts += [(seq, paper)] if paper is not None else []
    return msgspec.structs.replace(message, entries=tuple(entries), receipts=tuple(receipts))


def _opened(paper: bytes | None) -> Any:
    """A receipt's fields, where its very bytes can be made of them again; else its bytes."""
    if paper is None or paper[:1] != document.VERSION:
        return paper
    try:
        fields = msgspec.msgpack.decode(paper[1:])
    except UNREADABLE:
        return paper
    return fields if isinstance(fields, list) and _closed(fields) == paper else paper


def _closed(fields: Any) -> bytes | None:
    """The bytes of a receipt again. Raises ColumnsError."""
    if fields is None or isinstance(fields, bytes):
        return fields
    if not isinstance(fields, list):
        raise columns.ColumnsError("a receipt is fields or bytes")
    try:
        return document.VERSION + _encode(fields)
    except (RecursionError, OverflowError, TypeError) as error:
        raise columns.ColumnsError(f"not a receipt: {error}") from error


def _compress(parts: Sequence[bytes]) -> bytes:
    """One frame that says its size; each large part has a block of its own."""
    frame = zstandard.ZstdCompressor(level=COLUMNS_LEVEL).compressobj(size=sum(map(len, parts)))
    found: list[bytes] = []
    for part in parts:
        found.append(frame.compress(part))
        if len(part) >= _BLOCK_BYTES:
            found.append(frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    return b"".join([*found, frame.flush()])
