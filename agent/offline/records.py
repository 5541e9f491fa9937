"""What ledger.db keeps, as values, and how it says no: `LedgerFault` and its kin."""

from __future__ import annotations

from dataclasses import dataclass, field

from loyalty import ledger
from loyalty.ledger import Entry
from loyalty.sale import Offer
from loyalty.texts import N_, Text

NOT_ENROLLED = N_("this till is not enrolled; run: kopilka-agent enroll --server URL --code CODE")
ENROLLED_ALREADY = N_(
    "this till is enrolled already; to make another of this box stop the agent and add --anew"
)
RESTORING = N_(
    "this till was restored from a backup, and the centre has not heard of it yet: connect it once"
    " (kopilka-agent sync now); until then the cash program sells without us"
)


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
    """An entry that is on disk: its id, the chain's head after it, and whose points it moves today."""

    entry: Entry
    head: bytes
    owner: int | None

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
class Sale:
    """A committed sale by the cash program's own id of it."""

    id: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Worked:
    """By which rules and goods a sale of local date `day` was priced, and what of them is remembered apart:

    `rules` with a counter of their own that did something; of the `lasting` ones the sale carries a
    once-key: that is used up, whatever becomes of the sale.
    """

    day: str
    rules: tuple[str, ...]
    lasting: frozenset[str]
    rulebook_seq: int
    catalog_version: int


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
