"""What the page of an account says: the balance, where each lot's points are, and every entry.

Entries are paged by their key (time, till, epoch, seq), not by a page number: a new entry moves
nothing on the page that somebody is reading, and the last page costs what the first one costs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet
from django.utils.translation import gettext_noop

from central import clock
from central.ledger.models import FREE, Balance, LedgerEntry, Lot, Share
from central.members.models import Account, Card
from loyalty import ledger

ENTRIES_PER_PAGE = 50
LOTS_MAX = 200

WORDS = {
    "SALE": gettext_noop("Sale"),
    "RETURN_GOODS": gettext_noop("Goods returned"),
    "VOID": gettext_noop("Sale cancelled"),
    "REGISTER": gettext_noop("Card registered"),
    "RELEASE": gettext_noop("Points given back to the office"),
    "HANDOVER": gettext_noop("Points handed to another till"),
    "GRANT": gettext_noop("Points placed in a shop"),
    "RECALL": gettext_noop("Points asked back"),
    "ADJUST": gettext_noop("Adjustment"),
    "EXPIRE": gettext_noop("Points expired"),
    "LINK": gettext_noop("Accounts linked"),
    "MERGE": gettext_noop("Cards merged"),
}
OPENING = gettext_noop("Opening balance")
OVERSPENT = gettext_noop("Spent without being held: became debt")


@dataclass(frozen=True, slots=True)
class LotLine:
    """A lot that still has points: where they are, and when they may be spent."""

    points: int
    free: int
    at_tills: list[tuple[str, int]]
    active_from: datetime | None
    expires_at: datetime | None
    rule: str


@dataclass(frozen=True, slots=True)
class EntryLine:
    """An entry. `change` = what the balance gained or lost; `moved` = points that only changed hands."""

    id: str
    at: datetime
    word: str
    change: int
    moved: int
    till: str | None
    ref: str | None


@dataclass(frozen=True, slots=True)
class AccountPage:
    """Everything the template shows; `older` is the key of the next page, or None."""

    account: Account
    cards: int
    balance: int
    debt: int
    earned: int
    spent: int
    lots: list[LotLine]
    entries: list[EntryLine]
    older: str | None


def account_page(account: Account, before: str | None) -> AccountPage:
    """The page of an account; entries older than the key `before`, newest first."""
    balance = Balance.objects.filter(b=account.b, account=account.account).first()
    rows = list(_entries(account, before)[: ENTRIES_PER_PAGE + 1])
    shown = rows[:ENTRIES_PER_PAGE]
    return AccountPage(
        account=account,
        cards=Card.objects.filter(account=account.account).count(),
        balance=balance.held + balance.debt if balance else 0,
        debt=-balance.debt if balance else 0,
        earned=-balance.issued if balance else 0,
        spent=balance.spent if balance else 0,
        lots=_lots(account),
        entries=[_entry(row) for row in shown],
        older=_key(shown[-1]) if len(rows) > ENTRIES_PER_PAGE else None,
    )


def _lots(account: Account) -> list[LotLine]:
    shares: dict[str, dict[str, int]] = defaultdict(dict)
    for share in Share.objects.filter(b=account.b, account=account.account).order_by("lot", "holder"):
        shares[share.lot][share.holder] = share.points
    # Earliest to expire first, as they are spent; no expiry sorts last.
    lots = Lot.objects.filter(b=account.b, account=account.account, lot__in=shares)
    terms = sorted(lots, key=lambda lot: (lot.expires_at or "~", lot.active_from, lot.lot))[:LOTS_MAX]
    return [
        LotLine(
            points=sum(shares[lot.lot].values()),
            free=shares[lot.lot].pop(FREE, 0),
            at_tills=[(ledger.life_of(who)[0], points) for who, points in shares[lot.lot].items()],
            active_from=datetime.fromisoformat(lot.active_from),
            expires_at=datetime.fromisoformat(lot.expires_at) if lot.expires_at else None,
            rule=lot.rule,
        )
        for lot in terms
    ]


def _entries(account: Account, before: str | None) -> QuerySet[LedgerEntry]:
    entries = LedgerEntry.objects.filter(b=account.b, account=account.account)
    key = _parse_key(before) if before else None
    if key:
        at_s, till, epoch, seq = key
        entries = entries.filter(
            Q(at_s__lt=at_s)
            | Q(at_s=at_s, till__lt=till)
            | Q(at_s=at_s, till=till, epoch__lt=epoch)
            | Q(at_s=at_s, till=till, epoch=epoch, seq__lt=seq)
        )
    return entries.order_by("-at_s", "-till", "-epoch", "-seq")


def _key(row: LedgerEntry) -> str:
    return f"{row.at_s}~{row.till}~{row.epoch}~{row.seq}"


def _parse_key(text: str) -> tuple[int, str, int, int] | None:
    """A key from an address; whatever else stands there shows the first page."""
    at_s, _, rest = text.partition("~")
    till, _, rest = rest.partition("~")
    epoch, _, seq = rest.partition("~")
    numbers = (at_s, epoch, seq)
    if not all(number.isascii() and number.isdigit() and len(number) < 19 for number in numbers):
        return None
    return int(at_s), till, int(epoch), int(seq)


def _entry(row: LedgerEntry) -> EntryLine:
    entry = ledger.parse(bytes(row.body))
    # The balance is what is free, what tills hold and what is owed; the rest is where it came from or went.
    change = ledger.balance_change(entry)
    moved = sum(p.points for p in entry.postings if ledger.is_balance(p.account) and p.points > 0)
    return EntryLine(
        id=entry.id,
        at=clock.utc(entry.at_s * 1000),
        word=_word(entry),
        change=change,
        moved=0 if change else moved,
        till=None if ledger.is_centre(entry.till) else entry.till,
        ref=entry.ref,
    )


def _word(entry: ledger.Entry) -> str:
    if "OVERSPENT" in entry.flags:
        return OVERSPENT
    if entry.kind == "ADJUST" and any(p.terms and p.terms.rule == "opening" for p in entry.postings):
        return OPENING
    return WORDS.get(entry.kind, entry.kind)
