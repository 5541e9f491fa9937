"""What a till does with a message of the centre, and what it gives back unasked.

**A till's parcels change by entries only**: its own, which spend, earn and give back, and the
centre's, which come in order by the downlink. `hear` says what one message does here; `tidy`
says what the till should give back now. Both answer with changes and with entries to write; the
shell (agent/offline/ledger_db.py) does them in the same transaction in which it moves the cursor.

**What is promised stays.** Points under a hold belong to a sale that may still be paid; neither
a recall nor an expiry nor a merge takes them away (§5.3).

**When a till lets go** (§5.6, §5.13): what has expired, at once; what it was lent for one sale (a
claim, a handover), and what it earned of a customer whose home is another till, as soon as there
is a link and no open sale; what has lain idle for thirty days. Nothing is released without need
where the link is down: a parcel here is worth more than a message that cannot go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from loyalty import ledger
from loyalty.ledger import Entry, LotTerms, Posting
from loyalty.protocol import moves
from loyalty.protocol.books import is_live, spending_order, told_answer, told_epoch
from loyalty.protocol.centre import merged_into

IDLE_S = 30 * 86_400

# Why points were given back unasked: a flag of the RELEASE, for people who read the ledger.
FLAG_AWAY = "AWAY"  # the account is at home in another store
FLAG_IDLE = "IDLE"  # nobody came with its card for long
FLAG_EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class Held:
    """A lot as a till holds it: `points` in all, of which `promised` to open holds."""

    lot: str
    points: int
    promised: int
    terms: LotTerms

    @property
    def loose(self) -> int:
        """What may be given away."""
        return max(0, self.points - self.promised)


# ----------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class Put:
    """`points` more of a lot are this till's to spend."""

    account: int
    lot: str
    points: int
    terms: LotTerms | None


@dataclass(frozen=True, slots=True)
class Write:
    """Append an entry of our own; its postings take from the parcels."""

    kind: str
    account: int
    postings: tuple[Posting, ...]
    ref: str | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rename:
    """What belongs to `old` is `new`'s from now on: parcels, holds, cards."""

    old: int
    new: int


@dataclass(frozen=True, slots=True)
class AtHome:
    """This till is where the account's points are kept: they were placed here unasked."""

    account: int


Effect: TypeAlias = Put | Write | Rename | AtHome


class UnknownKindError(ValueError):
    """A message of later days: the downlink stops before it until the agent is updated (§5.8)."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"a message of kind {kind!r}")
        self.kind = kind


def hear(
    till: str, epoch: int, message: Entry, held: Sequence[Held], *, applied_before: bool = False
) -> list[Effect]:
    """What a message of the downlink does here. `held` = what this till holds of its account.

    What was meant for another life of this till is not its own. `applied_before` = this very HANDOVER
    came by the LAN already. Raises UnknownKindError.
    """
    account = message.account
    if account is None:
        return []
    if message.kind in ("GRANT", "HANDOVER") and told_epoch(message) not in (0, epoch):
        return []
    match message.kind:
        case "GRANT":
            # Placement tells a till that it is home. Not to believe it would be to give the points back,
            # get them again, and so on.
            placed: list[Effect] = [] if told_answer(message) else [AtHome(account)]
            return [*placed, *take_in(till, message)]
        case "HANDOVER":
            if applied_before:
                return []
            # Our own entry says that it was applied; hearing of it again changes nothing.
            return [Write("HANDOVER", account, (), message.id), *take_in(till, message)]
        case "RECALL":
            return give_back(till, account, held, ref=message.id)
        case "LINK" | "MERGE":
            new = merged_into(message)
            return [Rename(account, new)] if new is not None else []
        case "ADJUST" | "EXPIRE":
            return []  # they move what is free or what is owed, and that is the centre's
    raise UnknownKindError(message.kind)


def take_in(till: str, message: Entry) -> list[Effect]:
    """The pieces of a GRANT or HANDOVER that are this till's."""
    here = ledger.parcel(till)
    if any(posting.account == here and posting.points < 0 for posting in message.postings):
        raise ledger.LedgerError(f"entry {message.id} takes what only this till may give")
    return [
        Put(message.account, posting.lot, posting.points, posting.terms)
        for posting in message.postings
        if posting.account == here and posting.points > 0 and message.account is not None
    ]


def give_back(
    till: str, account: int, held: Sequence[Held], ref: str | None = None, why: str | None = None
) -> list[Effect]:
    """Release all that is not promised. `why` = a flag for people; a RECALL is named by `ref`."""
    postings = moves.release(till, {one.lot: one.loose for one in held})
    return [Write("RELEASE", account, postings, ref, (why,) if why else ())] if postings else []


@dataclass(frozen=True, slots=True)
class Standing:
    """An account as its till sees it when it tidies up.

    `home` = is this till where the account's points are kept (None: never heard); `busy` = an open
    sale has its card; `idle_s` = since its last entry here.
    """

    account: int
    held: tuple[Held, ...]
    home: bool | None
    busy: bool
    idle_s: int


def tidy(till: str, accounts: Sequence[Standing], shop_now: str, *, online: bool) -> list[Effect]:
    """What to release now."""
    effects: list[Effect] = []
    for one in accounts:
        if online and not one.busy and (one.home is False or one.idle_s >= IDLE_S):
            why = FLAG_AWAY if one.home is False else FLAG_IDLE
            effects += give_back(till, one.account, one.held, why=why)
        else:
            expired = [lot for lot in one.held if lot.terms.expires_at and lot.terms.expires_at <= shop_now]
            effects += give_back(till, one.account, expired, why=FLAG_EXPIRED)
    return effects


def hand_over(hub: str, taker: str, held: Sequence[Held], want: int, shop_now: str) -> tuple[Posting, ...]:
    """What a store's hub gives a till of its store for one receipt: live lots, first to expire first."""
    pieces: list[moves.Piece] = []
    live = [one for one in held if is_live(one.terms, shop_now)]
    for one in sorted(live, key=lambda one: spending_order(one.terms, one.lot)):
        points = min(want, one.loose)
        if points > 0:
            pieces.append(moves.Piece(one.lot, points, one.terms))
            want -= points
    return moves.give(ledger.parcel(hub), ledger.parcel(taker), pieces)
