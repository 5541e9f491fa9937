"""What the page of an account says: the balance, where each lot's points are, and every entry.

Entries are paged by their key (time, till, epoch, seq), not by a page number: a new entry moves
nothing on the page that somebody is reading, and the last page costs what the first one costs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from central import clock
from central.console.entry_words import Words, words
from central.fleet.models import Store, Till
from central.ledger import grants
from central.ledger.models import FREE, Balance, LedgerEntry, Lot, Share
from central.members.models import Account, Card
from loyalty import ledger

ENTRIES_PER_PAGE = 50
LOTS_MAX = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Points at a till. `ended` = it held them in a life that is over: nobody can spend them now."""

    till: str
    epoch: int
    ended: bool
    points: int


@dataclass(frozen=True, slots=True)
class LotLine:
    """A lot that still has points: where they are, and when they may be spent.

    `once` = a customer gets it once ("ever", or a day); `waits` = its first day lies ahead, `dead` = its
    last one is over, by the clock of the home store.
    """

    points: int
    free: int
    at_tills: list[Place]
    active_from: datetime | None
    expires_at: datetime | None
    rule: str
    once: str
    waits: bool
    dead: bool


@dataclass(frozen=True, slots=True)
class EntryLine:
    """An entry. `change` = what the balance gained or lost; `moved` = points that only changed hands."""

    id: str
    at: datetime
    words: Words
    change: int
    moved: int
    till: str | None
    corrects: str | None  # the entry that this one takes back


@dataclass(frozen=True, slots=True)
class AccountPage:
    """Everything the template shows; `older` is the key of the next page, or None."""

    account: Account
    cards: int
    balance: int
    debt: int
    earned: int
    spent: int
    expired: int
    free: int
    at_tills: int
    suspended: int
    lots: list[LotLine]
    entries: list[EntryLine]
    older: str | None


def account_page(account: Account, before: str | None) -> AccountPage:
    """The page of an account; entries older than the key `before`, newest first."""
    balance = Balance.objects.filter(b=account.b, account=account.account).first()
    rows = list(_entries(account, before)[: ENTRIES_PER_PAGE + 1])
    shown = rows[:ENTRIES_PER_PAGE]
    lots = _lots(account)
    places = [place for lot in lots for place in lot.at_tills]
    return AccountPage(
        account=account,
        cards=Card.objects.filter(account=account.account).count(),
        balance=balance.held + balance.debt if balance else 0,
        debt=-balance.debt if balance else 0,
        earned=-balance.issued if balance else 0,
        spent=balance.spent if balance else 0,
        expired=balance.expired if balance else 0,
        free=sum(lot.free for lot in lots),
        at_tills=sum(place.points for place in places if not place.ended),
        suspended=sum(place.points for place in places if place.ended),
        lots=lots[:LOTS_MAX],
        entries=[_entry(row) for row in shown],
        older=_key(shown[-1]) if len(rows) > ENTRIES_PER_PAGE else None,
    )


def _lots(account: Account) -> list[LotLine]:
    shares: dict[str, dict[str, int]] = defaultdict(dict)
    for share in Share.objects.filter(b=account.b, account=account.account).order_by("lot", "holder"):
        shares[share.lot][share.holder] = share.points
    tills = {ledger.life_of(who)[0] for held in shares.values() for who in held if who != FREE}
    present = set(Till.objects.filter(id__in=tills, closed_ms=None).values_list("id", "epoch"))
    known = {lot.lot: lot for lot in Lot.objects.filter(b=account.b, account=account.account, lot__in=shares)}
    home = Store.objects.filter(id=account.home_store).first() or Store.objects.order_by("id").first()
    now = grants.shop_now(home) if home else ""
    lines = [(known.get(name), name) for name in shares]
    # Earliest to expire first, as they are spent; no expiry sorts last.
    lines.sort(key=lambda line: (_day(line[0]), line[1]))
    return [_lot(lot, shares[name], present, now) for lot, name in lines]


def _day(lot: Lot | None) -> tuple[str, str]:
    return (lot.expires_at or "~", lot.active_from) if lot else ("~", "")


def _lot(lot: Lot | None, held: dict[str, int], present: set[tuple[str, int]], now: str) -> LotLine:
    places = []
    for who, points in held.items():
        if who != FREE:
            till, epoch = ledger.life_of(who)
            places.append(Place(till, epoch, (till, epoch) not in present, points))
    rule, _, once = lot.rule.partition("/") if lot else ("", "", "")
    return LotLine(
        points=sum(held.values()),
        free=held.get(FREE, 0),
        at_tills=places,
        active_from=datetime.fromisoformat(lot.active_from) if lot else None,
        expires_at=datetime.fromisoformat(lot.expires_at) if lot and lot.expires_at else None,
        rule=rule,
        once=once,
        waits=lot is not None and lot.active_from > now,
        dead=lot is not None and lot.expires_at is not None and lot.expires_at <= now,
    )


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
        words=words(entry),
        change=change,
        moved=0 if change else moved,
        till=None if ledger.is_centre(entry.till) else entry.till,
        corrects=entry.ref if entry.kind in ("VOID", "RETURN_GOODS") else None,
    )
