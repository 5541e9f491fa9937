"""What the loopback API answers, as types: the second half of the contract with cash programs (till.md §4).

agent/inbox.py has the first half, what they send. Both are published at /openapi.json (agent/openapi.py).
Money is in minor units, points in hundredths, quantities in thousandths; `…_s` are UTC seconds. Replies
themselves are made in replies.py, goods_returns.py and health.py as plain dictionaries, for a reply that was
given once is kept as it was; the tests hold every one of them against these types.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType


class Shape(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A JSON object of the API."""


class Message(Shape):
    """A word for programs and a sentence for people, in both languages."""

    code: str
    ru: str
    en: str


class Said(Shape):
    """A sentence in both languages."""

    ru: str
    en: str


class FaultAt(Shape):
    """What is wrong, and where in the body."""

    path: str
    ru: str
    en: str


class ErrorBody(Shape):
    """Why it was not done. `answered`: of a repeat with another body, what the first one was answered."""

    code: str
    ru: str
    en: str
    faults: list[FaultAt] | UnsetType = UNSET
    skus: list[str] | UnsetType = UNSET
    answered: dict[str, Any] | UnsetType = UNSET


class ErrorReply(Shape):
    """Every answer that is not 200."""

    error: ErrorBody


class QuoteLine(Shape):
    """`list - sum(discounts) - redeemed = pay`; `discounts` = rule -> amount."""

    id: str
    list: int
    discounts: dict[str, int]
    redeemed: int
    pay: int


class EarnedLot(Shape):
    """Points that this receipt will earn, from when, until when (shop wall-clock)."""

    rule: str
    amount: int
    active_from: str
    expires_at: str | UnsetType = UNSET


class Quote(Shape):
    """The price of a receipt (docs/rulebook.md)."""

    lines: tuple[QuoteLine, ...]
    list: int
    discount: int
    redeemed: int
    pay: int
    lots_used: tuple[tuple[str, int], ...]
    earned: dict[str, int]
    earned_total: int
    earned_lots: tuple[EarnedLot, ...]
    rewards: dict[str, int]
    coupons_burned: tuple[str, ...]
    sets: tuple[tuple[str, int], ...]
    grants: tuple[dict[str, Any], ...]


class FiscalLine(Shape):
    """A line for the fiscal printer; `sum_not_product`: print the sum, it is not price times quantity."""

    id: str
    price: int
    quantity: int
    sum: int
    sum_not_product: bool


class TenderDue(Shape):
    """What is paid otherwise than with money: "counter_provision" (points)."""

    type: str
    amount: int


class FiscalReply(Shape):
    """The same receipt as the fiscal printer needs it (docs/fiscal.md). `sum_not_product`: lines with the
    flag; `due`: what is left to be paid with money.
    """

    lines: list[FiscalLine]
    tenders_due: list[TenderDue]
    total: int
    due: int
    sum_not_product: int


class Customer(Shape):
    """Whose card it is. `available_here`: points that can be spent at this till now; `balance`: everywhere,
    as the office said at `as_of`, of which `pending` nobody can spend yet. `provisional`: no link, or a new
    card.
    """

    card: str
    found: bool
    tier: str | UnsetType | None = UNSET
    available_here: int | UnsetType = UNSET
    balance: int | UnsetType = UNSET
    pending: int | UnsetType = UNSET
    as_of: str | UnsetType | None = UNSET
    provisional: bool | UnsetType = UNSET


class CardReply(Customer, kw_only=True):
    """`POST /v1/cards`, `/v1/cards/lookup`. `registered` false: known only as a card that may register."""

    registered: bool


class SaleReply(Shape):
    """A sale that is not paid yet. `titles` = rule -> its name; `messages` are for the cashier."""

    sale_id: str
    state: Literal["open", "waiting", "quoted", "closed"]
    quote_id: str | None
    quote: Quote | None
    fiscal: FiscalReply | None
    titles: dict[str, str]
    rulebook_seq: int
    customer: Customer | None
    redeem: int | str | None
    messages: list[Message]


class SlipReply(Shape):
    """`mode` "print": our printer has it; "lines": print these with the receipt. `data`: as facts."""

    mode: Literal["print", "lines"]
    lines: list[str]
    data: dict[str, Any] | UnsetType = UNSET


class CommitReply(Shape):
    """A sale that is paid and written down; `ident` is the last line of its slip, good for a return anywhere.

    `lent`: points spent beyond what this till held.
    """

    sale_id: str
    state: Literal["committed", "closed"]
    quote_id: str
    entry: str
    ident: str
    pay: int
    redeemed: int
    lent: int
    earned: int
    rewards: dict[str, int]
    slip: SlipReply


class SoldReply(Shape):
    """A sale whose commit this till does not remember word by word (restored, or long ago)."""

    sale_id: str
    state: Literal["committed", "closed"]
    entry: str


class VoidReply(Shape):
    """`entry`: of the VOID, where the sale was paid already; null where nothing was."""

    sale_id: str
    state: Literal["closed"]
    entry: str | None


class ReturnedMoney(Shape):
    """Of one line: money to pay back, and points that come back."""

    money: int
    points: int


class ReturnReply(Shape):
    """`money` to pay back; `points_back` were spent then and are the customer's again; `points_taken_back`
    were earned then; `debt` of these was spent meanwhile. `pending`: the receipt could not be had, the office
    settles the points; pay back by your own receipt then. `fiscal`: the lines of the fiscal receipt of the
    return, null where it is pending.
    """

    return_id: str
    entry: str
    ident: str
    sale: str | None
    pending: bool
    money: int | None
    lines: dict[str, ReturnedMoney] | None
    fiscal: FiscalReply | None
    points_back: int
    points_taken_back: int
    debt: int
    slip: SlipReply


class SoldLineReply(Shape):
    """A line of a sale of before: how much of it has not come back."""

    id: str
    sku: str
    name: str
    quantity: int
    left: int
    price: int


class FoundSale(Shape):
    """A sale whose goods may come back. `sale_id` null: of another till; return by `ref`."""

    sale_id: str | None
    ref: str
    at: str
    pay: int
    card: bool
    lines: list[SoldLineReply]


class FoundReply(Shape):
    """`POST /v1/returns/find`, the newest first."""

    sales: list[FoundSale]


class PrintReply(Shape):
    """The copy is on its way to the printer."""

    sale_id: str
    print_id: str
    copy: bool


class HeldSale(Shape):
    """A quote that holds points."""

    sale_id: str
    quote_id: str
    pay: int
    points: int
    age_s: int


class HeldReply(Shape):
    """`GET /v1/sales?state=held`, the oldest first."""

    sales: list[HeldSale]


class OpenSaleReply(Shape):
    """A sale in hand."""

    sale_id: str
    state: Literal["open", "waiting", "quoted"]
    pay: int | None
    lines: int
    card: str | None
    age_s: int
    parked: bool


class OpenReply(Shape):
    """`GET /v1/sales?state=open`, the one last touched first."""

    sales: list[OpenSaleReply]


class GoodsReply(Shape):
    """What carries a barcode or code. `price`: of the catalog, null where it has none."""

    sku: str
    name: str
    unit: str
    price: int | None
    weighed: bool


class GoodsFound(Shape):
    """`POST /v1/goods`: none, one, or several to choose from."""

    goods: list[GoodsReply]


class DrawerReply(Shape):
    """`POST /v1/drawer`: it has got the impulse."""

    act_id: str


class SyncReply(Shape):
    """The exchange is over, well or not: see `GET /v1/status`."""


class LinkReply(Shape):
    """How the link to the office is; `word` says what is wrong."""

    state: Literal["online", "offline"]
    word: str | None
    since_s: int | None
    synced_s: int | None


class HoldReply(Shape):
    """An open quote that holds points."""

    sale_id: str
    age_s: int
    points: int


class DeviceReply(Shape):
    """A device, and what to do where it does not work."""

    name: str
    state: Literal["online", "degraded", "lost", "busy", "denied"]
    hint: Said | None


class StatusReply(Shape):
    """How the till stands; every trouble says what to do."""

    till: str
    store: str
    epoch: int
    timeline: int
    restored: bool
    restoring: bool
    ended: bool
    version: str
    time_s: int
    link: LinkReply
    pending: int
    oldest_s: int | None
    acked_seq: int
    durable_seq: int
    quarantined: int
    parcel_points: int
    parcel_accounts: int
    exposure_points: int
    holds: list[HoldReply]
    rulebook_seq: int | None
    catalog_version: int | None
    devices: list[DeviceReply]
    down_stopped: str | None
    clock_offset_ms: int
    disk_free_bytes: int
    troubles: list[Message]


class InviteReply(Shape):
    """`POST /v1/screen`: a URL that opens the cashier's page once, within `expires_s`."""

    path: Annotated[str, Meta(pattern="^/screen/enter/")]
    expires_s: int


# ------------------------------------------------------------------------- the cashier's page


class ScreenLine(Shape):
    """A line as the cashier reads it."""

    id: str
    sku: str
    name: str
    quantity: int
    price: int
    list: int
    pay: int


class Given(Shape):
    """A rule's name, and what it gives."""

    title: str
    amount: int


class ScreenSale(Shape):
    """The sale last touched: who, how much, and why. `redeem_max`: what could be paid with points here."""

    sale_id: str
    state: Literal["open", "waiting", "quoted"]
    list: int
    pay: int
    redeemed: int
    redeem: int | str | None
    redeem_max: int
    lent: int
    earns: int
    lines: tuple[ScreenLine, ...]
    discounts: tuple[Given, ...]
    customer: Customer | None
    tenders: tuple[str, ...]
    messages: tuple[Message, ...]
    quote_id: str | None


class ScreenLast(Shape):
    """The sale that was paid last; `print`: printed, failed, unknown, waived, or null while it is printed;

    `void`: it was taken back since.
    """

    sale_id: str
    ident: str
    pay: int
    print: str | None
    void: bool


class ScreenLink(Shape):
    """One of three: "online", "here" (points of this shop can be spent), "earn_only"."""

    state: Literal["online", "here", "earn_only"]
    ru: str
    en: str


class ScreenReply(Shape):
    """Everything on the cashier's page."""

    till: str
    shop: str
    mode: Literal["cash_program", "stand_alone"]
    language: Literal["ru", "en"]
    link: ScreenLink
    devices: list[DeviceReply]
    troubles: list[Message]
    sale: ScreenSale | None
    waiting_card: Customer | None
    last: ScreenLast | None
    open_sales: list[OpenSaleReply]
    can_print: bool
