"""Shares of a database from before: each gets its lot's day, and its holder is a life of a till."""

from django.db import migrations
from django.db.models import OuterRef, Subquery

FREE = "free"


def bring_up(apps, schema_editor):
    share, lot, till = (apps.get_model(*name.split(".")) for name in ("ledger.Share", "ledger.Lot", "fleet.Till"))
    its_lot = lot.objects.filter(b=OuterRef("b"), account=OuterRef("account"), lot=OuterRef("lot"))
    share.objects.update(expires_at=Subquery(its_lot.values("expires_at")[:1]))
    for name, epoch in till.objects.values_list("id", "epoch"):
        share.objects.filter(holder=name).exclude(holder=FREE).update(holder=f"{name}~{epoch}")


class Migration(migrations.Migration):
    dependencies = [("ledger", "0002_protocol"), ("fleet", "0002_protocol")]
    operations = [migrations.RunPython(bring_up, migrations.RunPython.noop, elidable=True)]
