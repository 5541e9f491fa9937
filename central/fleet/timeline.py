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

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from central import clock
from central.fleet.models import Centre, Till, TillCursor
from central.home import public_bytes
from central.intake.models import InboxEntry
from central.ledger import applier
from central.ledger import books as shelf
from central.ledger.models import DownHead, DownMessage
from central.members import accounts
from loyalty import ledger, wire
from loyalty.ledger import Entry, LedgerError
from loyalty.protocol.intake import Refused

NUMBERS_LEFT_OUT = 10_000_000
"""Accounts that may have been given out since the backup was made: tills know whose they are, we do not."""

EPOCHS_LEFT_OUT = 1_000
"""Lives that may have been begun by a code since then: no other machine may write entries of their names."""


def begin_anew(after: int = 0) -> int:
    """This database was restored: begin its next life, fenced. The new timeline.

    `after`: a life that is known to have been, where the backup does not know of it.
    """
    with transaction.atomic():
        centre = Centre.objects.select_for_update().get()
        centre.timeline = max(clock.now_s(), centre.timeline + 1, after + 1)
        centre.fenced = _unheard(centre.timeline).exists()
        centre.next_account += NUMBERS_LEFT_OUT
        centre.epochs_left_out += EPOCHS_LEFT_OUT
        centre.save()
    return centre.timeline


def unheard() -> list[str]:
    """The open tills that have not spoken in this life of the centre: the fence waits for them."""
    now = Centre.objects.get().timeline
    return list(_unheard(now).order_by("till_id").values_list("till_id", flat=True))


def known_downlinks(till: Till) -> tuple[int, dict[int, int]]:
    """The life in which a till's downlinks are remembered, and how far: bucket -> the last message."""
    heads = DownHead.objects.filter(till=till.id)
    heard_in = max(heads.values_list("timeline", flat=True), default=0)
    return heard_in, dict(heads.filter(timeline=heard_in).values_list("b", "gseq"))


@dataclass(frozen=True, slots=True)
class Adopted:
    """What an echo left to be done: buckets with something to apply, accounts to be merged again."""

    buckets: frozenset[int]
    merges: tuple[Entry, ...]


def adopt(till: Till, request: wire.SyncRequest) -> Adopted:
    """A till speaks for the first time in this life: take in its echo, begin its downlinks anew.

    Raises Refused for an echo that is not ours. Inside the transaction that accepts its batch.

    A till that was itself restored may lack a stretch. What it was granted there it can no more spend
    than show; what it did spend comes with its entries, as a debt that the points pay, which are still
    free here.
    """
    echoed = _verified(till, request)
    ours = [(item, entry) for item, entry in echoed if ledger.is_centre(entry.till)]
    grants = [(item, entry) for item, entry in ours if entry.kind == "GRANT"]
    buckets = frozenset(_to_the_inbox(item, entry) for item, entry in grants)
    _begin_downlinks(till, request, {entry.id for _, entry in echoed})
    return Adopted(buckets, tuple(entry for _, entry in ours if entry.kind in ("LINK", "MERGE")))


def _to_the_inbox(item: wire.DownItem, entry: Entry) -> int:
    """An entry of our own that we have forgotten is applied like any that arrives; its bucket."""
    b = ledger.bucket(accounts.owner(entry.account or 0))
    InboxEntry.objects.get_or_create(
        till=entry.till,
        epoch=entry.epoch,
        seq=entry.seq,
        defaults={
            "b": b,
            "account": entry.account,
            "body": item.body,
            "h": item.h,
            "received_ms": clock.now_ms(),
        },
    )
    return b


def _begin_downlinks(till: Till, request: wire.SyncRequest, echoed: Collection[str]) -> None:
    """What the till was told and had not applied when we forgot the rest, and what was meant for it since.

    (It stood beside the old downlinks, central/ledger/books.py.) It is told of both in new ones.
    """
    now = Centre.objects.get().timeline
    told = DownMessage.objects.filter(till=till.id)
    old = DownHead.objects.filter(till=till.id).exclude(timeline=now)
    kept = told.filter(gseq__lt=0)
    for b in sorted(set(old.values_list("b", flat=True)) | set(kept.values_list("b", flat=True))):
        rest = told.filter(b=b, gseq__gt=request.down.get(b, 0)).order_by("gseq")
        bodies = [bytes(message.body) for message in [*rest, *kept.filter(b=b).order_by("-gseq")]]
        told.filter(b=b).delete()
        head = shelf.new_downlink(b, till.id, now)
        messages = []
        for body in bodies:
            if ledger.parse(body).id not in echoed:  # told again in a life that we have forgotten
                head.gseq += 1
                head.h = ledger.link(bytes(head.h), body)
                messages.append(DownMessage(b=b, till=till.id, gseq=head.gseq, body=body, h=head.h))
        DownMessage.objects.bulk_create(messages)
        DownHead.objects.update_or_create(
            b=b, till=till.id, defaults={"timeline": now, "gseq": head.gseq, "h": head.h}
        )


def _verified(till: Till, request: wire.SyncRequest) -> list[tuple[wire.DownItem, Entry]]:
    """The messages of an echo, each signed by us for this till. Raises Refused."""
    key = Ed25519PublicKey.from_public_bytes(public_bytes(settings.HOME.reply_key))
    found: list[tuple[wire.DownItem, Entry]] = []
    for echo in request.echo:
        try:
            key.verify(echo.signature, echo.statement)
            told, _, named = wire.read_down_statement(echo.statement)
            for item in echo.items:
                if (
                    item.bucket,
                    item.gseq,
                    hashlib.sha256(item.body).digest(),
                ) not in named or told != till.id:
                    raise Refused(400, "BAD_ECHO", f"downlink {item.bucket}: not what this centre signed")
                found.append((item, ledger.parse(item.body)))
        except (InvalidSignature, wire.WireError, LedgerError) as error:
            raise Refused(400, "BAD_ECHO", "an echo that this centre did not sign") from error
    return found


def _unheard(timeline: int) -> QuerySet[TillCursor]:
    open_tills = TillCursor.objects.filter(till__epoch__gt=0, till__closed_ms=None)
    return open_tills.exclude(timeline=timeline)


def lift_fence() -> None:
    """Give points out again, if every open till has spoken; then look at what waited."""
    with transaction.atomic():
        centre = Centre.objects.select_for_update().get()
        if not centre.fenced or _unheard(centre.timeline).exists():
            return
        centre.fenced = False
        centre.save(update_fields=["fenced"])
    applier.try_again()
    applier.settle_debts()
