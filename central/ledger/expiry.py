"""Points whose day has passed: what is free of them dies (ledger-sync.md §5.13).

A lot is live by the clock of the shop where it is spent. So the centre waits until its day has passed
in the westernmost store, whose clock is the last to get there. What a till holds is not touched: the
till gives it back unasked, and a sale that was promised these points may still be paid with them.

Which lot dies is decided in loyalty/protocol/centre.py; here its rows are found, by the index of free
shares that expire, and handled bucket by bucket, each in a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from django.db import transaction

from central.fleet.models import Centre, Store
from central.ledger import books as shelf
from central.ledger import grants
from central.ledger.models import FREE, Share
from loyalty.protocol import centre as law

ACCOUNTS_AT_ONCE = 5_000


def expire_due() -> int:
    """Let die what is due; how many points (hundredths).

    Nothing while the centre is fenced: what looks free may be at a till that has not spoken yet.
    """
    west_now = westernmost_now()
    if west_now is None or Centre.objects.get().fenced:
        return 0
    points = 0
    while due := _due(west_now):
        gone = _expire(due, west_now)
        if not gone:  # somebody else was here; what is left is for the next time
            break
        points += gone
    return points


def westernmost_now() -> str | None:
    """The wall clock of the store that lives furthest behind; None where there is no store."""
    zones = {store.timezone: store for store in Store.objects.all()}
    return min((grants.shop_now(store) for store in zones.values()), default=None)


def _due(west_now: str) -> list[tuple[int, int]]:
    """Some (bucket, account) with something to expire."""
    found = Share.objects.filter(holder=FREE, expires_at__lte=west_now).values_list("b", "account")
    return sorted(set(found[:ACCOUNTS_AT_ONCE]))


def _expire(due: Sequence[tuple[int, int]], west_now: str) -> int:
    points = 0
    for b, keys in groupby(due, key=lambda key: key[0]):
        accounts = [account for _, account in keys]
        with transaction.atomic(), shelf.opened(b) as books:
            books.open(accounts)
            points += sum(law.expire(books, account, west_now) for account in accounts)
    return points
