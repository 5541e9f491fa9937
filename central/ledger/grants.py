"""Carrying out the placement: GRANT entries, the shares they move and the downlinks they travel by.

Entry, shares and downlink message are written in one transaction, so a till is never told of points
that the centre has not set aside, and nothing is set aside that the till will not be told of.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from django.db import transaction

from central import clock
from central.fleet.models import Centre, Store
from central.ledger import placement
from central.ledger.books import Books, open_bucket
from central.ledger.models import FREE, DownHead, DownMessage
from central.ledger.placement import PlacedLot
from central.members.models import Account
from loyalty import ledger, wire
from loyalty.ledger import Posting

ACCOUNTS_PER_SYNC = 200
DOWN_PER_REPLY = 500
_SHOP_TIME = "%Y-%m-%dT%H:%M:%S"


def place_due(store: Store) -> int:
    """Place what is due in accounts at home in `store`, up to ACCOUNTS_PER_SYNC. How many were looked at."""
    if store.hub is None:
        return 0
    due = (
        Account.objects.filter(home_store=store.id, due_s__lte=clock.now_s())
        .order_by("b", "account")
        .values_list("b", "account")[:ACCOUNTS_PER_SYNC]
    )
    looked_at = 0
    for b, keys in groupby(due, key=lambda key: key[0]):
        accounts = [account for _, account in keys]
        _place(store, b, accounts)
        looked_at += len(accounts)
    return looked_at


def place_account(store: Store, account: int) -> None:
    """A till of `store` asks for `account`: give it a home if it has none, and place what is due there."""
    b = ledger.bucket(account)
    Account.objects.filter(b=b, account=account, home_store=None).update(home_store=store.id)
    due = Account.objects.filter(b=b, account=account, home_store=store.id, due_s__lte=clock.now_s())
    if store.hub is not None and due.exists():
        _place(store, b, [account])


def down_after(till: str, applied: dict[int, int], turn: int) -> tuple[wire.DownItem, ...]:
    """What a till has not applied yet, in order in each bucket, at most DOWN_PER_REPLY messages.

    `turn` differs from sync to sync: another bucket begins each time, so that one whose till does
    not move (it needs an update first) cannot starve the others.
    """
    heads = list(DownHead.objects.filter(till=till).order_by("b").values_list("b", "gseq"))
    begin = turn % len(heads) if heads else 0
    items: list[wire.DownItem] = []
    for b, last in heads[begin:] + heads[:begin]:
        room = DOWN_PER_REPLY - len(items)
        if room == 0:
            break
        if last > applied.get(b, 0):
            after = DownMessage.objects.filter(b=b, till=till, gseq__gt=applied.get(b, 0)).order_by("gseq")
            items += (wire.DownItem(b, m.gseq, bytes(m.body), bytes(m.h)) for m in after[:room])
    return tuple(items)


@transaction.atomic
def _place(store: Store, b: int, accounts: list[int]) -> None:
    books = open_bucket(b, Centre.objects.get().timeline, clock.now_s())
    books.read(accounts)
    zone = ZoneInfo(store.timezone)
    shop_now = datetime.fromtimestamp(clock.now_s(), UTC).astimezone(zone).strftime(_SHOP_TIME)
    for account in accounts:
        next_look = _place_one(books, store, account, shop_now)
        due_s = None
        if next_look is not None:
            due_s = int(datetime.strptime(next_look, _SHOP_TIME).replace(tzinfo=zone).timestamp())
        Account.objects.filter(b=b, account=account).update(due_s=due_s)
    books.save()


def _place_one(books: Books, store: Store, account: int, shop_now: str) -> str | None:
    hub = store.hub
    if hub is None:
        return None
    mine = books.of(account)
    at_home = mine.held_by(hub)
    lots = [
        PlacedLot(lot, mine.lots[lot], free, at_home.get(lot, 0))
        for lot, free in sorted(mine.held_by(FREE).items())
        if lot in mine.lots
    ]
    postings: list[Posting] = []
    for placed, points in placement.grants(lots, shop_now):
        postings += (
            Posting(ledger.FREE, placed.lot, -points, placed.terms),
            Posting(ledger.parcel(hub), placed.lot, points, placed.terms),
        )
    if postings:
        books.send_down(hub, books.write("GRANT", account, tuple(postings)))
    return placement.next_look(lots, shop_now)
