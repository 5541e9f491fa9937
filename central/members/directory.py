"""Members as tills and the console find them: by card key, or by account."""

from __future__ import annotations

from central import clock
from central.ledger.models import Balance
from central.members import numbers
from central.members.models import Account, Card
from loyalty import ledger, wire

FLAG_DEBT = "debt"


def by_card_key(card_key: int) -> Account | None:
    """The account that a card opens."""
    found = Card.objects.filter(card_key=card_key).values_list("account", flat=True).first()
    return None if found is None else by_account(found)


def by_account(account: int) -> Account | None:
    """The account of this number."""
    return Account.objects.filter(b=ledger.bucket(account), account=account).first()


def by_number(number: str) -> Account | None:
    """The account of a card number as a person types it."""
    key = numbers.card_key(number, numbers.templates())
    return None if key is None else by_card_key(key)


def member(account: Account) -> wire.Member:
    """What a till may know of a member (ledger-sync.md §2), the balance as of now included."""
    balance = Balance.objects.filter(b=account.b, account=account.account).first()
    return wire.Member(
        account=account.account,
        tier=account.tier,
        card_kind=account.card_kind,
        segments=tuple(account.segments),
        flags=(FLAG_DEBT,) if balance and balance.debt < 0 else (),
        balance=balance.held + balance.debt if balance else 0,
        as_of_ms=clock.now_ms(),
    )
