"""The centre was restored from a backup: a new life of its database (§5.11).

It has forgotten what it wrote since: entries of tills (they send them again, from the cursor it still
has) and its own grants (tills echo them, with its signature under them). Until it has heard every open
till, it does not know what of `free` it has given away already; so it is FENCED: it takes in
everything, and gives out nothing. (The specification fences the store that has not synced; but the
points that such a store holds are missing from every other's claim, so all of them must have spoken.)
A till that will never speak again is closed by an operator, and the fence does not wait for it.

The downlinks of the old life end; in the new one each till's begin with what it had not applied yet.
"""

from __future__ import annotations

from collections import defaultdict

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.db import transaction

from central import clock
from central.fleet.models import Centre, Till, TillCursor
from central.home import public_bytes
from central.intake.models import InboxEntry
from central.ledger import applier
from central.ledger import books as shelf
from central.ledger.models import DownHead, DownMessage
from central.members import accounts
from loyalty import ledger, wire
from loyalty.protocol.intake import Refused


def begin_anew() -> int:
    """This database was restored: begin its next life, fenced. The new timeline."""
    with transaction.atomic():
        centre = Centre.objects.select_for_update().get()
        centre.timeline = max(clock.now_s(), centre.timeline + 1)
        centre.fenced = _unheard(centre.timeline)
        centre.save()
    return centre.timeline


def known_downlinks(till: Till) -> dict[int, int]:
    """Bucket -> the last message of the old life that the centre remembers."""
    return dict(DownHead.objects.filter(till=till.id).values_list("b", "gseq"))


def adopt(till: Till, request: wire.SyncRequest) -> None:
    """A till speaks for the first time in this life: take in its echo, begin its downlinks anew.

    `request.echo` holds what it applied beyond what we remember. Raises Refused for an echo that is not
    ours. Inside the transaction that accepts its batch.

    A till that was itself restored may lack a stretch. What it was granted there it can no more spend
    than show; what it did spend comes with its entries, as a debt that the points pay, which are still
    free here.
    """
    forgotten = _verified(till, request)
    now_ms = clock.now_ms()
    for items in forgotten.values():
        for item in items:
            entry = ledger.parse(item.body)
            owner = accounts.owner(entry.account or 0)
            InboxEntry.objects.get_or_create(
                till=entry.till,
                epoch=entry.epoch,
                seq=entry.seq,
                defaults={
                    "b": ledger.bucket(owner),
                    "account": entry.account,
                    "body": item.body,
                    "h": item.h,
                    "received_ms": now_ms,
                },
            )
    timeline = Centre.objects.get().timeline
    # What we told it and it had not applied when we forgot the rest: it is told again.
    for head in DownHead.objects.filter(till=till.id).exclude(timeline=timeline).order_by("b"):
        applied = request.down.get(head.b, 0)
        rest = DownMessage.objects.filter(b=head.b, till=till.id, gseq__gt=applied).order_by("gseq")
        bodies = [bytes(message.body) for message in rest]
        DownMessage.objects.filter(b=head.b, till=till.id).delete()
        fresh = shelf.new_downlink(head.b, till.id, timeline)
        messages = []
        for body in bodies:
            fresh.gseq += 1
            fresh.h = ledger.link(bytes(fresh.h), body)
            messages.append(DownMessage(b=head.b, till=till.id, gseq=fresh.gseq, body=body, h=fresh.h))
        DownMessage.objects.bulk_create(messages)
        DownHead.objects.filter(b=head.b, till=till.id).update(timeline=timeline, gseq=fresh.gseq, h=fresh.h)


def _verified(till: Till, request: wire.SyncRequest) -> dict[int, list[wire.DownItem]]:
    """Bucket -> messages beyond what we remember, each leading by its hash to a head that we signed."""
    key = Ed25519PublicKey.from_public_bytes(public_bytes(settings.HOME.reply_key))
    signed: dict[int, dict[int, bytes]] = defaultdict(dict)
    items: dict[int, dict[int, wire.DownItem]] = defaultdict(dict)
    for echo in request.echo:
        try:
            key.verify(echo.signature, echo.statement)
            told, timeline, heads = wire.read_down_statement(echo.statement)
        except (InvalidSignature, wire.WireError) as error:
            raise Refused(400, "BAD_ECHO", "an echo that this centre did not sign") from error
        if (told, timeline) != (till.id, request.adopting):
            raise Refused(400, "BAD_ECHO", "an echo of another till, or of another life")
        for b, (gseq, h) in heads.items():
            signed[b][gseq] = h
        for item in echo.items:
            items[item.bucket][item.gseq] = item
    remembered = {row.b: (row.gseq, bytes(row.h)) for row in DownHead.objects.filter(till=till.id)}
    forgotten: dict[int, list[wire.DownItem]] = {}
    for b, found in items.items():
        gseq, h = remembered.get(b) or (0, wire.down_genesis(till.id, b, request.adopting))
        run: list[wire.DownItem] = []
        while gseq + 1 in found:
            gseq, h = gseq + 1, ledger.link(h, found[gseq + 1].body)
            run.append(found[gseq])
        if run and signed[b].get(gseq) != h:
            raise Refused(
                400, "BAD_ECHO", f"downlink {b}: it does not lead to a head that this centre signed"
            )
        forgotten[b] = run
    return forgotten


def _unheard(timeline: int) -> bool:
    """Is there an open till that has not spoken in this life of the centre?"""
    open_tills = TillCursor.objects.filter(till__epoch__gt=0, till__closed_ms=None)
    return open_tills.exclude(timeline=timeline).exists()


def lift_fence() -> None:
    """Give points out again, if every open till has spoken; then look at what waited."""
    with transaction.atomic():
        centre = Centre.objects.select_for_update().get()
        if not centre.fenced or _unheard(centre.timeline):
            return
        centre.fenced = False
        centre.save(update_fields=["fenced"])
    applier.try_again()
    applier.settle_debts()
