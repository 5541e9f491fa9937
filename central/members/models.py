"""Accounts and cards."""

from __future__ import annotations

from django.db import models

CARD_KIND_MAX_CHARS = 64


class Account(models.Model):
    """Who owns points. `b` = ledger.bucket(account), first in the key as in every table of a bucket.

    `home_store` = where it is seen most (placement.py); `due_s` = when placement should look at its
    free lots again (UTC seconds), None while there is nothing to place.
    """

    pk = models.CompositePrimaryKey("b", "account")
    b = models.PositiveSmallIntegerField()
    account = models.BigIntegerField()
    tier = models.CharField(max_length=64, null=True)
    card_kind = models.CharField(max_length=CARD_KIND_MAX_CHARS, null=True)
    segments = models.JSONField(default=list)
    home_store = models.CharField(max_length=32, null=True)
    due_s = models.BigIntegerField(null=True)
    merged_into = models.BigIntegerField(null=True, db_index=True)  # the account that goes on
    registers = models.BigIntegerField(null=True)  # a provisional account: the key of its card
    created_ms = models.BigIntegerField()

    class Meta:
        indexes = (models.Index(fields=["home_store", "due_s"], name="account_due"),)


class Card(models.Model):
    """A key to an account: the keyed hash of a number, never the number (ledger-sync.md §2)."""

    card_key = models.BigIntegerField(primary_key=True)
    account = models.BigIntegerField(db_index=True)
    created_ms = models.BigIntegerField()
