"""The till's one inbox: everything that can happen to it, as values.

Devices post what they saw; the loopback API posts questions with a reply slot; the
sync thread posts what the centre answered. One thread takes them out, one by one,
so no sale is ever looked at by two.
"""

from __future__ import annotations

import logging
import queue
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from agent.drivers.contracts import DeviceEvent
from agent.offline.engine import InForce, PastRules
from agent.sync.machine import Adoption, Apply, ApplyRestore, BatchToSend, StoreLog
from loyalty.index import Compiled
from loyalty.texts import N_, Text
from loyalty.wire import (
    ClaimReply,
    ClaimRequest,
    HandoverReply,
    HandoverRequest,
    HubReceiptReply,
    HubReceiptRequest,
    Member,
    ReceiptReply,
)

log = logging.getLogger(__name__)

INBOX_MAX = 1024


class Problem(Exception):  # noqa: N818 - it is the answer to whoever asked
    """A request that cannot be done: HTTP status, a word for programs, a sentence for people.

    Nothing was changed by the request that got it.
    """

    def __init__(self, status: int, code: str, text: Text, details: dict[str, Any] | None = None) -> None:
        super().__init__(str(text))
        self.status = status
        self.code = code
        self.text = text
        self.details = details or {}


# ------------------------------------------------------------- what the cash program sends


# More than any shop sells or owes, and less than any file or database refuses to hold.
AMOUNT_MAX = 10**15
Amount = Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX)]
SALE_ID = r"[A-Za-z0-9_.:-]{1,64}"
Name = Annotated[str, msgspec.Meta(pattern=f"^{SALE_ID}$")]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Number = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]  # of a card: up to three tracks
Redeem = Amount | Literal["max"] | None
SlipMode = Literal["print", "lines"]
SlipColumns = Literal[32, 42, 48]
CardEntry = Literal["scanned", "keyed"]


def _just_one(*names: str) -> dict[str, Any]:
    """For the published schema: exactly one of these is there, and is not null."""
    return {"oneOf": [{"required": [one], "properties": {one: {"type": "string"}}} for one in names]}


class LineBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line: exactly one of sku and barcode; price in minor units, quantity in thousandths."""

    id: Name
    price: Amount
    quantity: Amount
    sku: Word | None = None
    barcode: Word | None = None


Line = Annotated[LineBody, msgspec.Meta(extra_json_schema=_just_one("sku", "barcode"))]


class TenderBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How it is, or will be, paid; amount in minor units."""

    type: Word
    amount: Amount = 0


class SaleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`PUT /v1/sales/{id}`: the whole cart. `card`: left out = keep the scanned one; null = without card.

    `card_entry`: how the number came in. `redeem`: points to spend in hundredths, or "max"; left out = what
    the cashier has chosen on the page; null = none. A planned tender is its type ("cash"), or an object with
    type and amount as in the commit; with the first one the payment has begun.
    """

    lines: tuple[Line, ...]
    card: Number | msgspec.UnsetType | None = msgspec.UNSET
    card_entry: CardEntry = "scanned"
    coupons: tuple[Word, ...] | msgspec.UnsetType = msgspec.UNSET
    certificates: tuple[Word, ...] = ()
    tenders: tuple[TenderBody | Word, ...] = ()
    redeem: Redeem | msgspec.UnsetType = msgspec.UNSET
    operator: Word | None = None

    def __repr__(self) -> str:
        return f"SaleBody({len(self.lines)} lines)"  # a card number stays out of tracebacks


class ChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`PATCH /v1/sales/{id}`: change this of the cart in hand, and price it anew. Fields as in the PUT."""

    card: Number | msgspec.UnsetType | None = msgspec.UNSET
    card_entry: CardEntry = "scanned"
    redeem: Redeem | msgspec.UnsetType = msgspec.UNSET
    tenders: tuple[TenderBody | Word, ...] | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        return "ChangeBody(…)"


class CommitBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST …/commit`: the receipt is paid. `slip`: "print" on our printer, or "lines" for the fiscal one.

    `columns`: letters in one of these lines; left out: those of our printer, else 48.
    """

    quote_id: Word
    tenders: tuple[TenderBody, ...]
    fiscal_id: Word | None = None
    paid_at: Word | None = None
    slip: SlipMode = "print"
    columns: SlipColumns | None = None


class VoidBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST …/void`: the sale is given up or, after it was paid, taken back."""

    reason: Annotated[str, msgspec.Meta(max_length=200)]


class GoodsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Goods given back: thousandths of a line of the sale."""

    id: Word
    quantity: Amount


REF_MAX_CHARS = 100
AT_LEAST_ONE = msgspec.Meta(min_length=1)


class ReturnBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/returns`: goods come back, of a sale of this till (`sale_id`) or any (`ref`: its slip's last

    line). `lines` is a list of {id, quantity}, or an object {line id: quantity}. `card`: of the customer, if
    the cashier has read it; it must be the sale's. The same `return_id` never takes goods back twice.
    """

    return_id: Name
    lines: Annotated[tuple[GoodsBody, ...], AT_LEAST_ONE] | Annotated[dict[str, Amount], AT_LEAST_ONE]
    sale_id: Name | None = None
    ref: Annotated[str, msgspec.Meta(min_length=1, max_length=REF_MAX_CHARS)] | None = None
    card: Number | None = None
    reason: Word | None = None
    operator: Word | None = None
    slip: SlipMode = "print"
    columns: SlipColumns | None = None

    def __repr__(self) -> str:
        return f"ReturnBody({len(self.lines)} lines)"  # a card number stays out of tracebacks


# Where msgspec's own words do not reach: what the document says of these bodies, and the till refuses as 422.
EXTRA_SCHEMA: dict[str, dict[str, Any]] = {
    "ReturnBody": _just_one("sale_id", "ref"),
    "FindBody": {
        "anyOf": [
            {"required": [one], "properties": {one: {"type": "string"}}}
            for one in ("card", "sku", "barcode", "sale_id", "ref")
        ]
    },
}


class PrintBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST …/print`: the slip once more, marked КОПИЯ. The same `print_id` never prints twice."""

    print_id: Name


class FindBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/returns/find`: what has been sold, and what of it may still come back.

    A sale of any till by the last line of its slip (`ref`), of this one by its `sale_id`; where there is no
    receipt, sales of this till by the customer's `card`, by goods that were in them (`sku` or `barcode`), or
    by both, the newest first.
    """

    card: Number | None = None
    sku: Word | None = None
    barcode: Word | None = None
    sale_id: Name | None = None
    ref: Annotated[str, msgspec.Meta(min_length=1, max_length=REF_MAX_CHARS)] | None = None

    def __repr__(self) -> str:
        return "FindBody(…)"


class GoodsLookupBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/goods`: what carries this barcode, or the shop's own code, or is this sku."""

    barcode: Word


class CardBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/cards` and `/v1/cards/lookup`: a card, as it was read or keyed in."""

    number: Number
    entry: CardEntry = "scanned"
    operator: Word | None = None

    def __repr__(self) -> str:
        return "CardBody(…)"


Reply: TypeAlias = "Future[dict[str, Any]]"


@dataclass(frozen=True, slots=True)
class PutSale:
    """The cart of a sale, to be priced."""

    sale_id: str
    body: SaleBody
    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class ChangeSale:
    """What the cashier chose on the page: of one sale in hand."""

    sale_id: str
    body: ChangeBody
    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class CommitSale:
    """A sale was paid."""

    sale_id: str
    body: CommitBody
    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class VoidSale:
    """A sale is given up or taken back."""

    sale_id: str
    body: VoidBody
    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class ReturnGoods:
    """Goods of a sale come back."""

    body: ReturnBody
    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class PrintSale:
    """The slip once more."""

    sale_id: str
    body: PrintBody
    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class GetSale:
    """How does this sale stand?"""

    sale_id: str
    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class ListHeld:
    """Which quotes hold points?"""

    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class ListOpen:
    """Which sales are in hand?"""

    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class FindSales:
    """Of which sale may these goods be?"""

    body: FindBody
    reply: Reply = field(default_factory=Future)


class DrawerBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /v1/drawer`: who opens the drawer, and why; `act_id` makes a repeated call one act."""

    act_id: Name
    operator: Word
    reason: Word


@dataclass(frozen=True, slots=True)
class OpenDrawer:
    """Open the cash drawer."""

    body: DrawerBody
    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class LookUpGoods:
    """What is this barcode?"""

    body: GoodsLookupBody
    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class ScreenAsked:
    """What does the cashier's page show?"""

    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class LookUpCard:
    """Whose card is this, and what can be spent here?"""

    body: CardBody
    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class RegisterCard:
    """A card is given out: it shall be known from now on."""

    body: CardBody
    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class StatusAsked:
    """How does the till stand?"""

    reply: Reply = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class SyncAsked:
    """A person wants a sync now; answered when it is over, well or not."""

    reply: Reply = field(default_factory=Future)


Ask: TypeAlias = (
    PutSale
    | ChangeSale
    | CommitSale
    | VoidSale
    | ReturnGoods
    | PrintSale
    | GetSale
    | ListHeld
    | ListOpen
    | FindSales
    | LookUpGoods
    | OpenDrawer
    | LookUpCard
    | RegisterCard
    | ScreenAsked
    | StatusAsked
    | SyncAsked
)

# ------------------------------------------------------------------ what the sync threads say


@dataclass(frozen=True, slots=True)
class LoadBatchAsked:
    """The sync machine wants what there is to send."""

    limit: int
    adopt: Adoption | None = None
    reply: Future[BatchToSend] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class ApplyAsked:
    """A verified reply of the centre is to be stored."""

    effect: Apply | ApplyRestore | StoreLog
    reply: Future[int] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class RetryNoted:
    """So many attempts have failed in a row."""

    attempt: int


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """`word` None: the centre answers. Else what is wrong."""

    word: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The centre said whose card this is; None = it does not know the card."""

    card_key: int = field(repr=False)
    member: Member | None


@dataclass(frozen=True, slots=True)
class LookupFailed:
    """The centre did not say in time."""

    card_key: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What the centre (verified) answered to a claim; None: nothing, or (`refused`) nothing of use."""

    request: ClaimRequest
    answer: ClaimReply | None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class ReceiptFound:
    """A receipt of another till (verified), or None; `refused` = the centre's word for why not."""

    ref: str
    answer: ReceiptReply | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class PastRulesReady:
    """They are compiled; None: they do not lie here (any more)."""

    asked: PastRules
    compiled: Compiled | None


@dataclass(frozen=True, slots=True)
class HandedOver:
    """What the store's hub (verified) answered to a question; None: nothing, or not in its time."""

    request: HandoverRequest
    answer: HandoverReply | None


@dataclass(frozen=True, slots=True)
class HandoverAsked:
    """Another till of the shop (verified) wants points of this one, which is the hub.

    The reply is the HANDOVER's canonical bytes, empty where there is nothing to give.
    """

    request: HandoverRequest
    reply: Future[bytes] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class HubReceiptFound:
    """A receipt that the store's hub (verified) showed; None: it has none such, or not in its time."""

    request: HubReceiptRequest
    answer: HubReceiptReply | None


@dataclass(frozen=True, slots=True)
class HubReceiptAsked:
    """Another till of the shop (verified) wants a receipt of this one, which is the hub. None: not here."""

    request: HubReceiptRequest
    reply: Future[HubReceiptReply | None] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class NewInForce:
    """A new version of a channel was verified and compiled."""

    channel: str
    version: int
    manifest_sha256: str
    in_force: InForce
    reply: Future[bool] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class ChannelAlarm:
    """A version was refused (`word`), or the channel is well again (None)."""

    channel: str
    word: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The agent ends."""


Event: TypeAlias = (
    Ask
    | LoadBatchAsked
    | ApplyAsked
    | RetryNoted
    | LinkChanged
    | LookedUp
    | LookupFailed
    | Claimed
    | ReceiptFound
    | PastRulesReady
    | HandedOver
    | HandoverAsked
    | HubReceiptFound
    | HubReceiptAsked
    | NewInForce
    | ChannelAlarm
    | DeviceEvent
    | Stop
)


class Inbox:
    """A bounded queue. `post` never blocks: a device's reader must not stall (64-event kernel buffer).

    The bound is looked at before an event is put in, so threads that post at one moment may pass it by one
    each: that is cheaper than the lock of a queue that counts, and a reader's thread pays for every scan.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def post(self, event: Event) -> None:
        """Put `event` in. A full inbox answers a question with 503 and drops a device's event.

        For Stop there is always room: an agent that does not hear it would never end.
        """
        if self._queue.qsize() < INBOX_MAX or isinstance(event, Stop):
            self._queue.put(event)
            return
        reply = getattr(event, "reply", None)
        if reply is not None:
            reply.set_exception(overloaded())
        else:
            log.error("the till is overloaded; a %s was dropped", type(event).__name__)

    def take(self, timeout_s: float | None) -> Event | None:
        """The next event, or None when `timeout_s` is over."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None


def overloaded() -> Problem:
    """Too much is asked at once; nothing of this was done."""
    return Problem(503, "overloaded", N_("the till is busy; ask again in a second"))
