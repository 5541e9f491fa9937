"""The centre's tables by bucket. `b` stands first in every key, so one transaction touches one shard.

`Share` is the escrow: the live points of a lot are the sum of its shares, each held by one till or
free at the centre. A share can be spent only by its holder, and the database itself refuses one
below zero. `Balance` repeats the ledger's sums per account, signed as the postings are, and the
database refuses a row that does not add up to zero: points change hands and are never made.
"""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

FREE = "free"
"""The holder of what no till holds. A till cannot be called so (fleet)."""


class BucketLog(models.Model):
    """The centre's own log of a bucket: the next seq and the head. Its lock serialises the bucket."""

    b = models.PositiveSmallIntegerField(primary_key=True)
    next_seq = models.BigIntegerField(default=1)
    head = models.BinaryField(max_length=32)

    class Meta:
        db_table = "bucket_log"


class LedgerEntry(models.Model):
    """An entry of an account, whoever wrote it, as its canonical bytes (loyalty/ledger.py)."""

    pk = models.CompositePrimaryKey("b", "account", "till", "epoch", "seq")
    b = models.PositiveSmallIntegerField()
    account = models.BigIntegerField()
    till = models.CharField(max_length=32)
    epoch = models.BigIntegerField()
    seq = models.BigIntegerField()
    at_s = models.BigIntegerField()
    kind = models.CharField(max_length=32)
    body = models.BinaryField()

    class Meta:
        db_table = "ledger"
        indexes = (
            models.Index(fields=["b", "account", "at_s", "till", "epoch", "seq"], name="ledger_by_time"),
        )


class Balance(models.Model):
    """Sums of an account's postings in hundredths: `held` = free + all parcels; `debt` < 0 = it owes."""

    pk = models.CompositePrimaryKey("b", "account")
    b = models.PositiveSmallIntegerField()
    account = models.BigIntegerField()
    issued = models.BigIntegerField(default=0)
    spent = models.BigIntegerField(default=0)
    expired = models.BigIntegerField(default=0)
    adjusted = models.BigIntegerField(default=0)
    debt = models.BigIntegerField(default=0)
    held = models.BigIntegerField(default=0)

    class Meta:
        db_table = "balance"
        constraints = (
            models.CheckConstraint(
                condition=Q(held=0 - F("issued") - F("spent") - F("expired") - F("adjusted") - F("debt")),
                name="balance_adds_up",
            ),
        )


class Lot(models.Model):
    """The terms of a lot, from the first posting that carried them (shop wall-clock, half-open)."""

    pk = models.CompositePrimaryKey("b", "account", "lot")
    b = models.PositiveSmallIntegerField()
    account = models.BigIntegerField()
    lot = models.CharField(max_length=100)
    active_from = models.CharField(max_length=19)
    expires_at = models.CharField(max_length=19, null=True)
    rule = models.CharField(max_length=64)

    class Meta:
        db_table = "lot"


class Share(models.Model):
    """What one holder may spend of a lot, in hundredths. A share of nothing has no row."""

    pk = models.CompositePrimaryKey("b", "account", "lot", "holder")
    b = models.PositiveSmallIntegerField()
    account = models.BigIntegerField()
    lot = models.CharField(max_length=100)
    holder = models.CharField(max_length=32)
    points = models.BigIntegerField()

    class Meta:
        db_table = "share"
        constraints = (models.CheckConstraint(condition=Q(points__gte=0), name="share_never_below_zero"),)


class Visits(models.Model):
    """How often an account bought in a store: decides its home."""

    pk = models.CompositePrimaryKey("b", "account", "store")
    b = models.PositiveSmallIntegerField()
    account = models.BigIntegerField()
    store = models.CharField(max_length=32)
    visits = models.PositiveIntegerField()

    class Meta:
        db_table = "visits"


class DownHead(models.Model):
    """The end of one downlink: bucket -> till. It stays when delivered messages are pruned."""

    pk = models.CompositePrimaryKey("b", "till")
    b = models.PositiveSmallIntegerField()
    till = models.CharField(max_length=32, db_index=True)
    gseq = models.BigIntegerField()
    h = models.BinaryField(max_length=32)

    class Meta:
        db_table = "down_head"


class DownMessage(models.Model):
    """A message of a downlink: gseq is contiguous per (till, bucket), h chains the bodies."""

    pk = models.CompositePrimaryKey("b", "till", "gseq")
    b = models.PositiveSmallIntegerField()
    till = models.CharField(max_length=32)
    gseq = models.BigIntegerField()
    body = models.BinaryField()
    h = models.BinaryField(max_length=32)

    class Meta:
        db_table = "downlog"
