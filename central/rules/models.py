"""Publications: what was published on which channel, byte by byte."""

from __future__ import annotations

from django.db import models


class Programme(models.Model):
    """One row: what the whole chain shares and no other channel carries."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    number_templates = models.JSONField(default=list)
    courtesy_points = models.BigIntegerField(default=0)  # K: what a cut-off till may lend an account
    earn_spendable = models.CharField(
        max_length=32, default="now"
    )  # loyalty/settings.py says what is allowed
    fiscal = models.JSONField(default=dict)  # as the settings carry it; {} = as they are by default
    limits = models.JSONField(default=dict)
    slip_qr = models.CharField(max_length=200, default="", blank=True)


class Blob(models.Model):
    """Content by its sha256 (64 hex digits)."""

    sha256 = models.CharField(primary_key=True, max_length=64)
    content = models.BinaryField()


class Publication(models.Model):
    """One version of one channel. `manifest` holds the very bytes that were signed."""

    channel = models.CharField(max_length=80)
    version = models.PositiveBigIntegerField()
    manifest = models.BinaryField()
    signatures = models.JSONField()  # key id -> signature in hex
    content_seq = models.PositiveBigIntegerField(null=True)  # of a rulebook: its seq
    published_ms = models.BigIntegerField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["channel", "version"], name="one_version"),)


class PublicationFile(models.Model):
    """A file of a publication: which channels a content belongs to, so who may read it."""

    publication = models.ForeignKey(Publication, on_delete=models.PROTECT, related_name="files")
    name = models.CharField(max_length=200)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="uses")
