"""A person says that two cards are one customer's (ledger-sync.md §5.15)."""

from __future__ import annotations

from dataclasses import dataclass

from central.errors import Trouble
from central.ledger.models import Balance
from central.members import accounts, directory, registering
from central.members.models import Account, Card
from loyalty.texts import N_

ACCOUNT_DIGITS = 18


class MergeError(Trouble):
    """Nothing has changed; `text` says why and what to do."""


@dataclass(frozen=True, slots=True)
class Merged:
    """`moved` = hundredths that came from `old`; `balance` and `cards` of `new` afterwards."""

    old: int
    new: int
    moved: int
    balance: int
    cards: int


def merge(old: str, new: str) -> Merged:
    """All that the account of `old` has is the account's of `new`. Raises MergeError.

    Both are numbers of cards or of accounts, as a person writes them. A number never stands in the error.
    """
    source, target = _find(old, "OLD_CARD"), _find(new, "NEW_CARD")
    if source == target:
        raise MergeError(N_("Both are account {account} already; there is nothing to merge.", account=target))
    moved = _balance(source)
    registering.merge(source, target)
    cards = Card.objects.filter(account=target).count()
    return Merged(source, target, moved, _balance(target), cards)


def find(query: str) -> Account | None:
    """The account of a card's number, or of its own."""
    found = directory.by_number(query) if query else None
    if found is None and query.isascii() and query.isdigit() and len(query) <= ACCOUNT_DIGITS:
        found = directory.by_account(int(query))
    return found


def _find(query: str, which: str) -> int:
    found = find(query.strip())
    if found is None:
        raise MergeError(
            N_(
                "{which}: no account has this card or number. Check the digits, or import the card first.",
                which=which,
            )
        )
    return accounts.owner(found.account)


def _balance(account: int) -> int:
    row = Balance.objects.filter(account=account).first()
    return row.held + row.debt if row else 0
