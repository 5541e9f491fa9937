"""What tills have sent, exactly as they sent it, and what was odd about it."""

from __future__ import annotations

import logging

from django.db import models
from django.db.models import Q

from central import clock
from loyalty import ledger
from loyalty.ledger import Entry, LedgerError

log = logging.getLogger(__name__)


class InboxEntry(models.Model):
    """One entry of a till's log, with its document and chain hash: the centre's copy of that log.

    `applied` turns true in the transaction that puts it into its bucket's ledger; an entry without
    an account (a sale without a card) has no bucket and nothing to apply. `b` is the bucket of the
    account that owns the points today (merged cards). `waiting`: something that it rests on has not
    come yet (loyalty/protocol/centre.py); `quarantined_ms`: since then a person should decide.
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
    waiting = models.BooleanField(default=False)
    quarantined_ms = models.BigIntegerField(null=True)

    def sale(self) -> Entry | None:
        """The entry, if it is a SALE."""
        try:
            entry = ledger.parse(bytes(self.body))
        except LedgerError:  # it was kept all the same (loyalty/protocol/intake.py)
            return None
        return entry if entry.kind == "SALE" else None

    class Meta:
        db_table = "inbox"
        indexes = (
            models.Index(fields=["b"], condition=Q(applied=False), name="inbox_to_apply"),
            models.Index(
                fields=["till", "quarantined_ms"],
                condition=Q(quarantined_ms__isnull=False),
                name="inbox_quarantine",
            ),
        )


class Correction(models.Model):
    """A RETURN_GOODS or VOID, to be found by the sale that it corrects (an entry's id).

    `digits` = the six of the slip, where only the slip named the sale. `adjust` = canonical bytes of the
    centre's entry that settled it. `at_ms` = when it came.
    """

    DUE, WAITING, MISSED, DONE, ODD = "due", "waiting", "missed", "done", "odd"

    pk = models.CompositePrimaryKey("till", "epoch", "seq")
    till = models.CharField(max_length=32)
    epoch = models.BigIntegerField()
    seq = models.BigIntegerField()
    sale = models.CharField(max_length=100, db_index=True)
    digits = models.CharField(max_length=6)
    state = models.CharField(max_length=8)  # DUE: the office settles; WAITING, MISSED: its sale is not here
    adjust = models.BinaryField(null=True)  # DONE: nothing is left to do; ODD: it does not count by itself
    at_ms = models.BigIntegerField()

    class Meta:
        db_table = "correction"
        indexes = (
            models.Index(
                fields=["state", "at_ms"], condition=~Q(state__in=("done", "odd")), name="correction_open"
            ),
        )


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


def note(entry: Entry, code: str, detail: str) -> None:
    """Remember what was odd about an entry, once."""
    _, new = Incident.objects.get_or_create(
        till=entry.till,
        epoch=entry.epoch,
        seq=entry.seq,
        code=code,
        defaults={"detail": detail, "at_ms": clock.now_ms()},
    )
    if new:
        log.warning("entry %s: %s (%s)", entry.id, detail, code)
