"""Members as tills and the console find them: by card key, or by account."""

from __future__ import annotations

from django.db.models import Sum

from central import clock
from central.fleet.models import Store, Till, TillCursor
from central.intake.models import InboxEntry
from central.ledger import grants
from central.ledger.models import FREE, Balance, Lot, OnceKey, Share
from central.members import accounts, numbers
from central.members.models import Account, Card
from loyalty import ledger, wire
from loyalty.once import counters_of


def by_card_key(card_key: int) -> Account | None:
    """The account that a card opens."""
    found = Card.objects.filter(card_key=card_key).values_list("account", flat=True).first()
    return None if found is None else by_account(accounts.owner(found))


def by_account(account: int) -> Account | None:
    """The account of this number."""
    return Account.objects.filter(b=ledger.bucket(account), account=account).first()


def by_number(number: str) -> Account | None:
    """The account of a card number as a person types it."""
    key = numbers.card_key(number, numbers.templates())
    return None if key is None else by_card_key(key)


def member(account: Account, asking: Till) -> wire.Member:
    """What `asking` may know of a member (ledger-sync.md §2), with the balance as of now.

    `included_seq` says which of the till's own entries that balance counts, so that the till
    adds the later ones and no entry counts twice. Call it inside a transaction: the balance
    and the position must be of one moment.
    """
    balance = Balance.objects.filter(b=account.b, account=account.account).first()
    return wire.Member(
        account=account.account,
        tier=account.tier,
        card_kind=account.card_kind,
        segments=tuple(account.segments),
        counters=_counters(account, asking),
        flags=(wire.FLAG_DEBT,) if balance and balance.debt < 0 else (),
        balance=balance.held + balance.debt if balance else 0,
        as_of_ms=clock.now_ms(),
        included_seq=_included_seq(asking, account.b),
        home=Store.objects.filter(id=account.home_store).values_list("hub", flat=True).first(),
        pending=_pending(account, grants.shop_now(asking.store)),
    )


def _pending(account: Account, shop_now: str) -> int:
    """Hundredths that nobody can spend yet: they lie free until their first day."""
    mine = {"b": account.b, "account": account.account}
    ahead = Lot.objects.filter(**mine, active_from__gt=shop_now).values("lot")
    free = Share.objects.filter(**mine, holder=FREE, lot__in=ahead)
    return free.aggregate(points=Sum("points"))["points"] or 0


def _counters(account: Account, asking: Till) -> dict[str, int]:
    """How often rules that work once did, today by the clock of the till's shop (loyalty/once.py)."""
    keys = OnceKey.objects.filter(b=account.b, account=account.account).values_list("key", flat=True)
    return counters_of(keys, grants.shop_now(asking.store)[: len("YYYY-MM-DD")])


def _included_seq(till: Till, b: int) -> int:
    """The last entry of a till's log whose points the ledger of bucket `b` surely has."""
    waiting = (
        InboxEntry.objects.filter(till=till.id, epoch=till.epoch, b=b, applied=False)
        .order_by("seq")
        .values_list("seq", flat=True)
        .first()
    )
    if waiting is not None:
        return waiting - 1
    return TillCursor.objects.get(till=till).next_seq - 1
