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
    """The centre's own log of a bucket in one life of its database; its lock serialises the bucket."""

    b = models.PositiveSmallIntegerField(primary_key=True)
    timeline = models.BigIntegerField(default=0)
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
    rule = models.CharField(max_length=80)  # with its once-key
    undone = models.BooleanField(default=False)  # it came again under a once-key

    class Meta:
        db_table = "lot"


class OnceKey(models.Model):
    """What an account may get once, and the lot that it got (ledger-sync.md §3)."""

    pk = models.CompositePrimaryKey("b", "account", "key")
    b = models.PositiveSmallIntegerField()
    account = models.BigIntegerField()
    key = models.CharField(max_length=80)
    lot = models.CharField(max_length=100)

    class Meta:
        db_table = "once_key"


class Claim(models.Model):
    """A till wanted points at once; asked again by the same id it gets no more than it wanted."""

    pk = models.CompositePrimaryKey("b", "claim")
    b = models.PositiveSmallIntegerField()
    claim = models.CharField(max_length=64)
    account = models.BigIntegerField()
    till = models.CharField(max_length=32)
    want = models.BigIntegerField()
    granted = models.BigIntegerField(default=0)
    recalled = models.JSONField(default=list)
    at_ms = models.BigIntegerField()

    class Meta:
        db_table = "claim"
        indexes = (models.Index(fields=["at_ms"], name="claim_by_age"),)


class Share(models.Model):
    """What one holder may spend of a lot, in hundredths. A share of nothing has no row.

    A holder is FREE, or one life of a till (`ledger.life`).
    `expires_at` repeats the lot's: an index finds what is free and past its day, and nothing else,
    however many lots have lived here before.
    """

    pk = models.CompositePrimaryKey("b", "account", "lot", "holder")
    b = models.PositiveSmallIntegerField()
    account = models.BigIntegerField()
    lot = models.CharField(max_length=100)
    holder = models.CharField(max_length=48)
    points = models.BigIntegerField()
    expires_at = models.CharField(max_length=19, null=True)

    class Meta:
        db_table = "share"
        constraints = (models.CheckConstraint(condition=Q(points__gte=0), name="share_never_below_zero"),)
        indexes = (
            models.Index(fields=["holder", "b", "account"], name="share_by_holder"),
            models.Index(
                fields=["expires_at", "b", "account"],
                condition=Q(holder=FREE, expires_at__isnull=False),
                name="share_free_expires",
            ),
        )


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
    """The end of a downlink (bucket -> till) in one life of the centre; it stays when messages are pruned."""

    pk = models.CompositePrimaryKey("b", "till")
    timeline = models.BigIntegerField(default=0)
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
