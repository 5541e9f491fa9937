"""Whose points an account's are: its own, or those of the account it was merged into (§5.15)."""

from __future__ import annotations

from collections.abc import Collection

from central.members.models import Account
from loyalty import ledger


def owners(accounts: Collection[int]) -> dict[int, int]:
    """account -> the account that owns its points today."""
    found = dict(
        Account.objects.filter(
            b__in={ledger.bucket(account) for account in accounts},
            account__in=accounts,
            merged_into__isnull=False,
        ).values_list("account", "merged_into")
    )
    return {account: found.get(account) or account for account in accounts}


def owner(account: int) -> int:
    """The same for one."""
    return owners([account])[account]
