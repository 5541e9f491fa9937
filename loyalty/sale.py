"""The life of one sale: a table of states, and what each event makes the till do.

**Theory.** A sale is a value. `step(sale, event)` looks up (state, kind of event) in
`TABLE` and returns the next sale and a list of effects; it does nothing itself.
The till (agent/till.py) looks things up before (who is the card, what is held
here, what does the engine say) and carries the effects out after. Effects that
write stand first in the list, and nothing is said before they are on disk.

**Rules.** A missing cell is a refusal with its reason: the table is the whole law
(till.md §3). One edge enters COMMITTED. Points that a quote spends are *held*
from the moment the quote is answered until the sale is committed or voided, for
the customer may pay the quoted sum at any later time.

**One row more than till.md §3.** A card that this till has never seen is looked up
at the centre while the sale is WAITING, within the same one second that the spec
gives a claim; so WAITING is entered by `QuoteAsked(wait=...)`, whatever is waited
for, and left by an answer or the timer, always towards a quote.

**Parked.** A sale that nobody has touched for PARKED_S is recalled when its cart comes
again. What was held for it stays as it was answered; any other quote was a price of
that hour, and the sale opens anew: its `at` and its rules are those of now.

`drawing()` prints the table as a graph; ARCHITECTURE.md shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

import msgspec

from loyalty.document import Receipt, SeenCustomer, SoldLine, Tender
from loyalty.ledger import Earned, Spent
from loyalty.texts import N_, Text

OPEN_SALES_MAX = 20
PARKED_S = 30 * 60  # a sale left alone for so long was parked (till.md §3)


class State(Enum):
    """Where a sale stands. NONE = the till has never heard of it."""

    NONE = "none"
    OPEN = "open"
    WAITING = "waiting"
    QUOTED = "quoted"
    COMMITTED = "committed"
    CLOSED = "closed"


class Holder(msgspec.Struct, array_like=True, frozen=True):
    """The card on a sale: its keyed hash and how it may be shown; never its number."""

    card_key: int
    masked: str
    kind: str
    card_kind: str | None
    auto_register: bool

    def __repr__(self) -> str:
        return f"Holder({self.masked})"  # the hash stays out of logs and tracebacks


class Cart(msgspec.Struct, array_like=True, frozen=True):
    """What the cash program, or the cashier, wants to sell. Its form on disk is final (holds keep it)."""

    lines: tuple[SoldLine, ...] = ()
    holder: Holder | None = None
    coupons: tuple[str, ...] = ()
    tenders: tuple[str, ...] = ()
    redeem: int | str | None = None
    operator: str | None = None
    remarks: tuple[str, ...] = ()  # flags that its entry will carry


class Offer(msgspec.Struct, array_like=True, frozen=True):
    """A quote as it was answered: everything a later commit needs, whatever has changed meanwhile.

    `quote` is the engine's answer as JSON bytes; `spends` are the parcels promised
    to this sale; `titles` name the rules on the slip; `counted` are rules with a
    counter that did something here; `lent` are points (hundredths) spent beyond
    what was held here (courtesy, ledger-sync.md §5.4). New fields go to the end: holds lie on disks.
    """

    quote_id: str
    cart: Cart
    receipt: Receipt
    customer: SeenCustomer | None
    rulebook_seq: int
    kill_seq: int
    catalog_version: int
    quote: bytes
    pay: int
    spends: tuple[Spent, ...]
    earns: tuple[Earned, ...]
    titles: dict[str, str]
    counted: tuple[str, ...] = ()
    lent: int = 0

    @property
    def promises(self) -> bool:
        """Does it spend something, so that it is to be saved before it is answered?"""
        return bool(self.spends) or self.lent > 0


@dataclass(frozen=True, slots=True)
class Sale:
    """One sale as it stands. `entry` is the id of its SALE entry once committed; `touched_s` (UTC seconds)

    is when its cart came last.
    """

    id: str
    state: State = State.NONE
    cart: Cart | None = None
    opened_s: int = 0
    offer: Offer | None = None
    entry: str | None = None
    touched_s: int = 0

    def is_parked(self, now_s: int) -> bool:
        """Was it left alone for so long that a cart which comes now recalls it?"""
        return self.touched_s > 0 and now_s - self.touched_s >= PARKED_S


# ------------------------------------------------------------------------------ events


@dataclass(frozen=True, slots=True)
class CartChanged:
    """Lines, card, coupons, tenders or points asked for are now `cart`."""

    cart: Cart
    now_s: int


@dataclass(frozen=True, slots=True)
class QuoteAsked:
    """The price is asked. `offer` is priced with what is held here now; `wait` = an answer is on its way."""

    offer: Offer
    wait: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """What was waited for has come, or the second is over: price with what is held now."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class Paid:
    """The receipt is paid and fiscalised: the point of no return."""

    quote_id: str
    tenders: tuple[Tender, ...]
    fiscal_id: str | None = None
    paid_at: str | None = None


@dataclass(frozen=True, slots=True)
class Voided:
    """The sale is given up (before payment) or taken back (after)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Printed:
    """The slip is proven to be on paper, or was waived."""


@dataclass(frozen=True, slots=True)
class PrintTrouble:
    """The slip failed (`maybe` False: not a dot was printed) or nobody knows (`maybe` True)."""

    maybe: bool
    reason: Text


Event: TypeAlias = CartChanged | QuoteAsked | Answered | Paid | Voided | Printed | PrintTrouble

# ----------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class SaveHold:
    """Write the offer and the parcels it spends before anybody hears of it."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class ReleaseHold:
    """The parcels promised to this sale are free again."""


@dataclass(frozen=True, slots=True)
class AppendSale:
    """Entry, document, parcels, hold and answer in one transaction."""

    offer: Offer
    paid: Paid


@dataclass(frozen=True, slots=True)
class AppendVoid:
    """A VOID entry with `ref`: points spent come back here, points earned are taken back."""

    ref: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer whoever asked, with the sale as it is now."""


@dataclass(frozen=True, slots=True)
class StartTimer:
    """One second in all is what a quote may wait (ledger-sync.md §5.4)."""


@dataclass(frozen=True, slots=True)
class PrintSlip:
    """Send the slip to the printer; `copy` marks it КОПИЯ."""

    copy: bool = False


@dataclass(frozen=True, slots=True)
class WakeSync:
    """There is something new to send."""


@dataclass(frozen=True, slots=True)
class NotePrint:
    """Write down how the print ended."""

    outcome: str  # printed | failed | unknown


@dataclass(frozen=True, slots=True)
class Alert:
    """Tell the cashier."""

    text: Text


Effect: TypeAlias = (
    SaveHold
    | ReleaseHold
    | AppendSale
    | AppendVoid
    | Reply
    | StartTimer
    | PrintSlip
    | WakeSync
    | NotePrint
    | Alert
)


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error of ours
    """This event cannot be in this state. `code` for programs, `text` for people; nothing has changed."""

    def __init__(self, code: str, text: Text) -> None:
        super().__init__(str(text))
        self.code = code
        self.text = text


Step: TypeAlias = tuple[Sale, list[Effect]]

# ------------------------------------------------------------------------------- cells


def _open(sale: Sale, event: CartChanged) -> Step:
    opened_s = event.now_s if sale.is_parked(event.now_s) else sale.opened_s or event.now_s
    opened = replace(
        sale, state=State.OPEN, cart=event.cart, opened_s=opened_s, touched_s=event.now_s, offer=None
    )
    return opened, []


def _reopen(sale: Sale, event: CartChanged) -> Step:
    promised = bool(_release(sale))
    if sale.cart == event.cart and (promised or not sale.is_parked(event.now_s)):
        # The same cart again is the same quote (the row "QUOTED, QuoteAsked").
        return replace(sale, touched_s=event.now_s), []
    reopened, _ = _open(sale, event)
    return reopened, _release(sale)


def _release(sale: Sale) -> list[Effect]:
    return [ReleaseHold()] if sale.offer and sale.offer.promises else []


def _price(sale: Sale, event: QuoteAsked | Answered) -> Step:
    hold: list[Effect] = [SaveHold(event.offer)] if event.offer.promises else []
    return replace(sale, state=State.QUOTED, offer=event.offer), [*hold, Reply()]


def _ask(sale: Sale, event: QuoteAsked) -> Step:
    if event.wait:
        return replace(sale, state=State.WAITING), [StartTimer()]
    return _price(sale, event)


def _again(sale: Sale, _: QuoteAsked) -> Step:
    return sale, [Reply()]


def _commit(sale: Sale, event: Paid) -> Step:
    offer = sale.offer
    if offer is None or event.quote_id != offer.quote_id:
        raise Refusal(
            "quote_changed",
            N_("this receipt was priced anew since; take the new quote and pay that"),
        )
    paid = sum(tender.amount for tender in event.tenders)
    if paid != offer.pay:
        raise Refusal(
            "quote_changed",
            N_(
                "paid {paid} kopecks, but the quote says {pay}; quote again and pay what it says",
                paid=paid,
                pay=offer.pay,
            ),
        )
    return replace(sale, state=State.COMMITTED), [AppendSale(offer, event), Reply(), PrintSlip(), WakeSync()]


def _abandon(sale: Sale, _: Voided) -> Step:
    return replace(sale, state=State.CLOSED, offer=None), [*_release(sale), Reply()]


def _take_back(sale: Sale, event: Voided) -> Step:
    if sale.entry is None:
        raise Refusal("unknown_sale", N_("there is no entry of this sale to take back"))
    return replace(sale, state=State.CLOSED), [AppendVoid(sale.entry, event.reason), Reply(), WakeSync()]


def _printed(sale: Sale, _: Printed) -> Step:
    return replace(sale, state=State.CLOSED), [NotePrint("printed")]


def _print_trouble(sale: Sale, event: PrintTrouble) -> Step:
    return sale, [NotePrint("unknown" if event.maybe else "failed"), Alert(event.reason)]


def _copied(sale: Sale, _: Printed) -> Step:
    return sale, [NotePrint("printed")]


Cell: TypeAlias = Callable[..., Step]

TABLE: dict[tuple[State, type], Cell] = {
    (State.NONE, CartChanged): _open,
    (State.OPEN, CartChanged): _open,
    (State.OPEN, QuoteAsked): _ask,
    (State.OPEN, Voided): _abandon,
    (State.WAITING, CartChanged): _open,
    (State.WAITING, Answered): _price,
    (State.WAITING, Voided): _abandon,
    (State.QUOTED, CartChanged): _reopen,
    (State.QUOTED, QuoteAsked): _again,
    (State.QUOTED, Paid): _commit,
    (State.QUOTED, Voided): _abandon,
    (State.COMMITTED, Printed): _printed,
    (State.COMMITTED, PrintTrouble): _print_trouble,
    (State.COMMITTED, Voided): _take_back,
    (State.CLOSED, Voided): _take_back,
    (State.CLOSED, Printed): _copied,
    (State.CLOSED, PrintTrouble): _print_trouble,
}

_REASONS: dict[State, Text] = {
    State.NONE: N_("the till does not know this sale; send its cart first"),
    State.OPEN: N_("this sale has no quote yet; ask for one first"),
    State.WAITING: N_("this sale is waiting for the centre; its quote comes within a second"),
    State.QUOTED: N_("this sale is quoted and not yet paid"),
    State.COMMITTED: N_("this sale is paid and written down; it can only be voided or returned"),
    State.CLOSED: N_("this sale is closed; it can only be voided or returned"),
}


def step(sale: Sale, event: Event) -> Step:
    """The next sale and what to do, in order. Raises Refusal where the table has no cell."""
    cell = TABLE.get((sale.state, type(event)))
    if cell is None:
        raise Refusal(f"sale_{sale.state.value}", _REASONS[sale.state])
    return cell(sale, event)


def drawing() -> str:
    """The table as a Graphviz digraph: the picture in ARCHITECTURE.md cannot lie about the code."""
    targets = {
        _open: ["open"],
        _reopen: ["open", "quoted"],  # the same cart again leaves its quote as it is
        _ask: ["quoted", "waiting"],
        _price: ["quoted"],
        _again: ["quoted"],
        _commit: ["committed"],
        _abandon: ["closed"],
        _take_back: ["closed"],
        _printed: ["closed"],
    }
    rows = [
        f'  {state.value} -> {target} [label="{event.__name__}"]'
        for (state, event), cell in TABLE.items()
        for target in targets.get(cell, [state.value])
    ]
    return "digraph sale {\n" + "\n".join(rows) + "\n}\n"
