"""Stores, tills, one-time codes and the one cursor row of each till."""

from __future__ import annotations

from django.db import models

ID_PATTERN = r"[A-Za-z0-9_-]{1,32}"
"""Ids of stores and tills. No dot and no colon: they stand in channel names and in `Authorization`."""


class Centre(models.Model):
    """One row: this database, in this one of its lives (ledger-sync.md, Timeline)."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    timeline = models.BigIntegerField()
    created_ms = models.BigIntegerField()
    next_account = models.BigIntegerField(default=1)
    epochs_left_out = models.PositiveIntegerField(default=0)  # a till that is enrolled begins above them
    # Restored from a backup, and some till has not yet said what it was granted before (§5.11).
    fenced = models.BooleanField(default=False)
    backed_up_ms = models.BigIntegerField(null=True)
    backed_up_to = models.TextField(blank=True)  # the file
    backed_up_apart = models.BooleanField(default=False)  # and it lies on another disk than this database


class Store(models.Model):
    """A shop: its name and place as slips and rules see them, its clock, and its hub till."""

    id = models.CharField(primary_key=True, max_length=32)
    name = models.CharField(max_length=200)
    timezone = models.CharField(max_length=64)
    region = models.CharField(max_length=64, null=True)
    slip_header = models.JSONField(default=list)
    slip_footer = models.JSONField(default=list)
    hub = models.CharField(max_length=32, null=True)  # the till to which the store's grants go
    hub_url = models.CharField(max_length=200, null=True)  # where it listens on the shop's network
    created_ms = models.BigIntegerField()


class Till(models.Model):
    """A till; it becomes one when it shows its code and its public key. Its id is in every entry for ever."""

    id = models.CharField(primary_key=True, max_length=32)
    store = models.ForeignKey(Store, on_delete=models.PROTECT, related_name="tills")
    epoch = models.PositiveIntegerField(default=0)  # 0 = not enrolled yet
    public_key = models.BinaryField(max_length=32, null=True)
    agent_version = models.CharField(max_length=64, blank=True)
    created_ms = models.BigIntegerField()
    enrolled_ms = models.BigIntegerField(null=True)
    closed_ms = models.BigIntegerField(null=True)  # by an operator: dead, stolen or gone; a new code opens it


class TillLife(models.Model):
    """A life of a till that has ended, and how far it was told (ledger-sync.md §5.9, §5.10).

    `trusted`: the till itself says so (restored from a backup), and what it still has to tell of that
    life is taken as it comes; else it is quarantined. `resumed_ms`: its suspended parcels came back.
    """

    pk = models.CompositePrimaryKey("till", "epoch")
    till = models.ForeignKey(Till, on_delete=models.PROTECT, related_name="lives")
    epoch = models.PositiveIntegerField()
    public_key = models.BinaryField(max_length=32)
    next_seq = models.BigIntegerField()
    head = models.BinaryField(max_length=32)
    last_first_seq = models.BigIntegerField()
    last_prev = models.BinaryField(max_length=32)
    last_head = models.BinaryField(max_length=32)
    durable_seq = models.BigIntegerField(default=0)
    ended_ms = models.BigIntegerField()
    trusted = models.BooleanField()
    restore_id = models.CharField(max_length=64, null=True)
    resumed_ms = models.BigIntegerField(null=True)

    class Meta:
        db_table = "till_life"


class EnrolmentCode(models.Model):
    """A one-time code, by its keyed hash. `used_key`, `used_epoch`: for whom it was good."""

    code_hash = models.BinaryField(primary_key=True, max_length=32)
    till = models.ForeignKey(Till, on_delete=models.PROTECT, related_name="codes")
    expires_ms = models.BigIntegerField()
    used_key = models.BinaryField(max_length=32, null=True)
    used_epoch = models.PositiveIntegerField(null=True)


class TillCursor(models.Model):
    """How far a till has synced: the row that makes exactly-once true (ledger-sync.md §1, §7, §8).

    `last_*` describe the last accepted batch, against which a retry is judged.
    """

    till = models.OneToOneField(Till, primary_key=True, on_delete=models.PROTECT, related_name="cursor")
    next_seq = models.BigIntegerField(default=1)
    head = models.BinaryField(max_length=32)
    durable_seq = models.BigIntegerField(default=0)
    session_no = models.BigIntegerField(default=1)
    last_first_seq = models.BigIntegerField(default=1)
    last_prev = models.BinaryField(max_length=32)
    last_head = models.BinaryField(max_length=32)
    last_sync_ms = models.BigIntegerField(null=True)
    timeline = models.BigIntegerField(default=0)  # the life of the centre in which it spoke last
    # Where its downlinks stood when this life of the till began, and in which life of the centre: what it
    # is told when it asks once more, however much has been sent to it since.
    began_in = models.BigIntegerField(default=0)
    began_at = models.JSONField(default=dict)  # bucket -> [gseq, hash in hex]
    adopted_no = models.BigIntegerField(null=True)  # session_no when it spoke for the first time in that life
    versions = models.JSONField(default=dict)
    status = models.JSONField(default=dict)

    class Meta:
        db_table = "till_cursor"
