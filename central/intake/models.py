"""What tills have sent, exactly as they sent it, and what was odd about it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class InboxEntry(models.Model):
    """One entry of a till's log, with its document and chain hash: the centre's copy of that log.

    `applied` turns true in the transaction that puts it into its bucket's ledger; an entry without
    an account (a sale without a card) has no bucket and nothing to apply.
    """

    pk = models.CompositePrimaryKey("till", "epoch", "seq")
    till = models.CharField(max_length=32)
    epoch = models.BigIntegerField()
    seq = models.BigIntegerField()
    b = models.PositiveSmallIntegerField(null=True)
    account = models.BigIntegerField(null=True)
    body = models.BinaryField()
    document = models.BinaryField(null=True)
    h = models.BinaryField(max_length=32)
    received_ms = models.BigIntegerField()
    applied = models.BooleanField(default=False)

    class Meta:
        db_table = "inbox"
        indexes = (models.Index(fields=["b"], condition=Q(applied=False), name="inbox_to_apply"),)


class Incident(models.Model):
    """Something a person should look at: what was odd about a sale that has happened all the same."""

    till = models.CharField(max_length=32)
    epoch = models.BigIntegerField()
    seq = models.BigIntegerField()
    code = models.CharField(max_length=32)
    detail = models.TextField()  # English, without numbers of cards
    at_ms = models.BigIntegerField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["till", "epoch", "seq", "code"], name="said_once"),)
