"""The ledger: entries that are added and never edited, and the chain that proves it.

**The idea.** A balance is a bounded counter. Every lot of an account's points is
split into parcels, each held by one named till, plus what is free at the centre.
A holder spends only what it holds, so two local checks (`free >= 0` at the
centre, `parcel >= 0` at the till) keep the global balance from falling below
zero, with no clock, no lease and no vote (ledger-sync.md §1).

**Entries.** One entry is one fact: a sale, a grant, an expiry. It moves points
between accounts of a double entry (`issued spent expired adjusted debt free
parcel:{till}`), and its postings sum to zero: points are neither made nor lost,
they change hands. A correction is a new entry whose `ref` names the old one.

**The chain.** `h = sha256(h_prev || canonical(entry))`. The canonical bytes are
one version byte and a MessagePack array of the fields in their order below, as
msgspec writes it (shortest form of every number). They are what is stored, what
is hashed and, less what the receiver can derive, what travels. A field that a
newer program appended is kept by an older one, for it works on these bytes.

**Who writes.** A till writes one log an epoch, numbered from 1 without a gap. The
centre writes 256 logs, one a bucket; as a writer it is called `c:0` … `c:255` (no
till's id has a colon) and its epoch is its timeline. So (till, epoch, seq) names an
entry for ever.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from loyalty.decoding import UNREADABLE

CANONICAL_VERSION = b"\x01"
BUCKETS = 256
ACCOUNT_MAX = 2**62  # accounts are integers below this (ledger-sync.md, Words)
PROVISIONAL_FROM = 2**61  # accounts from here on are of cards that only a till has seen
# What till and office both hold an entry to, so that nothing one writes can be too much for the other.
POINTS_MAX = 10**12  # of one posting, in hundredths; sums of millions of them fit any database column
POSTINGS_MAX = 10_000
FINGERPRINT_DIGITS = 6  # of the head, printed on the slip as a witness outside the machine

ISSUED, SPENT, EXPIRED, ADJUSTED, DEBT, FREE = "issued", "spent", "expired", "adjusted", "debt", "free"
_PARCEL = "parcel:"

TILL_KINDS = frozenset({"SALE", "RETURN_GOODS", "VOID", "REGISTER", "RELEASE", "HANDOVER"})
CENTRE_KINDS = frozenset({"GRANT", "RECALL", "ADJUST", "EXPIRE", "LINK", "MERGE"})

# Flags an entry may carry; a flag is a remark for the office, never a different meaning.
FLAG_CLOCK = "CLOCK"
FLAG_OFFLINE = "OFFLINE"
FLAG_COURTESY = "COURTESY"  # some of its points were lent beyond what the till held
FLAG_PENDING = "PENDING"  # goods returned without their receipt: the office settles the points
FLAG_KEYED = "KEYED"  # the card's number was typed in, not read
FLAG_CARD_LATE = "CARD_LATE"  # the card came when the total had been said
FLAG_LIMIT = "LIMIT"  # a limit against abuse was reached (settings `limits`)


# The shortest till that fits: six digits of a slip are never taken for a number of an entry.
_IDENT = re.compile(
    r"(?P<till>[!-~]{1,32}?)-(?P<epoch>[0-9]{1,18})-(?P<seq>[0-9]{1,18})(-(?P<digits>[0-9A-Fa-f]{6}))?"
)


def parcel(till: str) -> str:
    """The name of the account of the double entry that `till` holds."""
    return _PARCEL + till


def holder(account: str) -> str | None:
    """The till whose parcel `account` is, or None for any other account."""
    return account.removeprefix(_PARCEL) if account.startswith(_PARCEL) else None


def life(till: str, epoch: int) -> str:
    """The holder of what a till holds in one life of its log: no till's id has a tilde."""
    return f"{till}~{epoch}"


def life_of(holder: str) -> tuple[str, int]:
    """(till, epoch) of such a holder."""
    till, _, epoch = holder.rpartition("~")
    return till, int(epoch)


def provisional_account(card_key: int) -> int:
    """The account of a card that nobody knows, until the centre gives it a lasting one (§2).

    Computed from the 63 bits of the card's key, so that two tills which are cut off give one card one
    account: its first 61 bits under a leading 1. The centre counts its own accounts up from below, and
    two cards that come to one number by chance (2^-61 a pair) are noticed there.
    """
    return PROVISIONAL_FROM | (card_key >> 2)


def is_provisional(account: int) -> bool:
    """Was this account computed at a till, and not given by the centre?"""
    return account >= PROVISIONAL_FROM


def once_rule(rule: str, when: str) -> str:
    """The rule of a lot that a customer may get once: `when` is a day (YYYY-MM-DD) or "ever"."""
    return f"{rule}/{when}"


def once_key(rule: str) -> str | None:
    """The once-key of a lot's rule, unique with its account (§3, Once); None for a lot like any other.

    No rule's id has a slash, so the key needs no field of its own in a format that is on disks.
    """
    return rule if "/" in rule else None


def is_balance(account: str) -> bool:
    """Does `account` of the double entry count into what the customer owns? (Debt stands below zero.)"""
    return account in (FREE, DEBT) or account.startswith(_PARCEL)


def balance_change(entry: Entry) -> int:
    """What an entry adds to what the customer owns (hundredths); 0 where points only change hands."""
    return sum(posting.points for posting in entry.postings if is_balance(posting.account))


WallClock = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$")]


class LotTerms(msgspec.Struct, array_like=True, frozen=True):
    """From when a lot lives and until when, in shop wall-clock, half-open; and the rule that made it."""

    active_from: WallClock
    expires_at: WallClock | None
    rule: str


class Posting(msgspec.Struct, array_like=True, frozen=True):
    """`points` (hundredths) into (+) or out of (-) an account of the double entry.

    The first posting of a lot, and every GRANT, carries its terms: whoever sees
    the lot for the first time sees them there.
    """

    account: str
    lot: str
    points: int
    terms: LotTerms | None = None


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One fact. The field order is the canonical order and never changes; new fields go to the end."""

    till: str
    epoch: int
    seq: int
    at_s: int  # UTC seconds; for people and the clock guard, no invariant rests on it
    kind: str
    account: int | None  # whose points; None for a sale without a card
    postings: tuple[Posting, ...] = ()
    document_sha256: bytes | None = None
    ref: str | None = None  # the id of the entry that this one corrects or answers
    flags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """`{till}-{epoch}-{seq}`, as printed on the slip."""
        return f"{self.till}-{self.epoch}-{self.seq}"


class LedgerError(ValueError):
    """These bytes or numbers cannot be a ledger; the message says which entry and why."""


_encode = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode


def canonical(entry: Entry) -> bytes:
    """The bytes of an entry that are stored and hashed. Raises LedgerError if it does not balance."""
    check(entry)
    return CANONICAL_VERSION + _encode(entry)


def parse(body: bytes) -> Entry:
    """The entry in canonical bytes. Raises LedgerError where they are not an entry of a known version."""
    if body[:1] != CANONICAL_VERSION:
        raise LedgerError(f"an entry of version {body[:1].hex() or 'none'}; this program knows 01")
    try:
        entry = _decode_entry(body[1:])
    except UNREADABLE as error:
        raise LedgerError(f"not an entry: {error}") from error
    check(entry)
    return entry


def check(entry: Entry) -> None:
    """The law of one entry: postings sum to zero lot by lot, none is empty, and nothing is too large."""
    sums: dict[str, int] = defaultdict(int)
    if len(entry.postings) > POSTINGS_MAX:
        raise LedgerError(f"entry {entry.id}: {len(entry.postings)} postings; at most {POSTINGS_MAX}")
    for posting in entry.postings:
        if posting.points == 0:
            raise LedgerError(f"entry {entry.id}: a posting of 0 points on lot {posting.lot}")
        if abs(posting.points) > POINTS_MAX:
            raise LedgerError(f"entry {entry.id}: a posting of more than {POINTS_MAX} hundredths of a point")
        sums[posting.lot] += posting.points
    for lot, total in sums.items():
        if total != 0:
            raise LedgerError(f"entry {entry.id}: postings of lot {lot} sum to {total}, not to 0")
    if entry.postings and entry.account is None:
        raise LedgerError(f"entry {entry.id}: points move but no account is named")
    if entry.account is not None and not 0 <= entry.account < ACCOUNT_MAX:
        raise LedgerError(f"entry {entry.id}: the account is outside 0 … 2^62")


def genesis(till: str, epoch: int) -> bytes:
    """The hash before the first entry of one life of a log."""
    return hashlib.sha256(b"kopilka-chain-1\0" + _encode((till, epoch))).digest()


def link(previous: bytes, body: bytes) -> bytes:
    """The hash after the entry with canonical bytes `body`."""
    return hashlib.sha256(previous + body).digest()


def chain(previous: bytes, bodies: Iterable[bytes]) -> bytes:
    """The head after all of `bodies`, in order."""
    for body in bodies:
        previous = link(previous, body)
    return previous


def fingerprint(head: bytes) -> str:
    """The six hex digits that the slip shows."""
    return head.hex()[:FINGERPRINT_DIGITS]


class Ident(NamedTuple):
    """An entry as people name it; `digits` = the six of the slip, lower case, where they were given."""

    till: str
    epoch: int
    seq: int
    digits: str | None

    @property
    def entry_id(self) -> str:
        """`{till}-{epoch}-{seq}`."""
        return f"{self.till}-{self.epoch}-{self.seq}"


def read_ident(text: str) -> Ident | None:
    """What `till-epoch-seq`, with or without the six digits of the slip, names; None: of another form."""
    found = _IDENT.fullmatch(text.strip())
    if found is None:
        return None
    digits = found["digits"]
    return Ident(found["till"], int(found["epoch"]), int(found["seq"]), digits.lower() if digits else None)


def lot_id(till: str, epoch: int, seq: int, n: int) -> str:
    """The n-th lot (from 0) that entry (till, epoch, seq) makes."""
    return f"{till}-{epoch}-{seq}-{n}"


def maker(lot: str) -> str:
    """The writer of the entry that made a lot."""
    return lot.rsplit("-", 3)[0]


def bucket(account: int) -> int:
    """Which of the centre's 256 shards an account lives in: the top byte of a Fibonacci hash."""
    return (account * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 56


def centre_writer(bucket: int) -> str:
    """The name under which the centre writes the log of one bucket."""
    return f"c:{bucket}"


def is_centre(writer: str) -> bool:
    """Did the centre write this entry, and not a till?"""
    return writer.startswith("c:")


# ----------------------------------------------------------------------- what a sale moves
# Which accounts it moves stands in protocol/moves.py.


class Spent(msgspec.Struct, array_like=True, frozen=True):
    """Points (hundredths) taken from one lot."""

    lot: str
    points: int


class Earned(msgspec.Struct, array_like=True, frozen=True):
    """A new lot of points (hundredths); `spendable_here` = it becomes this till's parcel at once."""

    points: int
    terms: LotTerms
    spendable_here: bool


# ------------------------------------------------------------------------- on the wire
# What a batch says once (till, epoch, consecutive seq) or lets the receiver compute (the
# document's hash) is left out of each entry. Working on the raw array keeps fields we do not know.

_DERIVED = (0, 1, 2, 7)  # till, epoch, seq, document_sha256
_BEFORE_DIGEST = 4  # fields that travel and stand before the document's hash


def strip(body: bytes) -> list[Any]:
    """An entry's array for a batch: the canonical array less what the batch says once.

    `body` is the canonical bytes of an entry of ours; nothing else may be given.
    """
    fields = msgspec.msgpack.decode(body[1:])
    return [value for index, value in enumerate(fields) if index not in _DERIVED]


def restore(fields: Sequence[Any], till: str, epoch: int, seq: int, document: bytes | None) -> bytes:
    """The canonical bytes again; whether they are an entry, `parse` says. Raises LedgerError."""
    if len(fields) < _BEFORE_DIGEST:
        raise LedgerError(f"not an entry: {len(fields)} fields arrived")
    digest = hashlib.sha256(document).digest() if document is not None else None
    try:
        return CANONICAL_VERSION + _encode(
            [till, epoch, seq, *fields[:_BEFORE_DIGEST], digest, *fields[_BEFORE_DIGEST:]]
        )
    except (RecursionError, OverflowError) as error:
        raise LedgerError(f"not an entry: {error}") from error
