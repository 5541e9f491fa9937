"""Shares of a database that is older than `Share.expires_at` get their lot's day."""

from django.db import migrations
from django.db.models import OuterRef, Subquery


def copy_days(apps, schema_editor):
    share, lot = apps.get_model("ledger", "Share"), apps.get_model("ledger", "Lot")
    its_lot = lot.objects.filter(b=OuterRef("b"), account=OuterRef("account"), lot=OuterRef("lot"))
    share.objects.update(expires_at=Subquery(its_lot.values("expires_at")[:1]))


class Migration(migrations.Migration):
    dependencies = [("ledger", "0002_protocol")]
    operations = [migrations.RunPython(copy_days, migrations.RunPython.noop, elidable=True)]
