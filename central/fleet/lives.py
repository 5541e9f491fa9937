"""Lives of tills that end: a disk restored from a backup, a till that is dead or stolen (§5.9, §5.10).

A life is an epoch of a till's log. When it ends, what it held is suspended: the till of today cannot
spend it, and it does not come back by itself, for a lost disk may have spent it already. An operator,
or RESUME_AFTER, lets it come back.

What such a life still has to tell is never dropped. From a till that was restored it is the rest of
its own log, and is taken as it comes. From a dead or stolen one it is quarantined: an operator accepts
it or reverses it, and after QUARANTINE_DAYS it is accepted.

Nothing has to be moved for that: a share's holder is a life, not a till (loyalty/protocol/books.py).
"""

from __future__ import annotations

from itertools import groupby

from django.db import transaction

from central import clock
from central.errors import Trouble
from central.fleet.models import Centre, Store, Till, TillCursor, TillLife
from central.intake import corrections
from central.intake.models import InboxEntry
from central.ledger import applier
from central.ledger import books as shelf
from central.ledger.models import DownHead, DownMessage, Share
from central.rules import store_settings
from loyalty import ledger, wire
from loyalty.protocol import centre as law
from loyalty.texts import N_

RESUME_AFTER_MS = 14 * clock.DAY_S * 1000
QUARANTINE_MS = 14 * clock.DAY_S * 1000


class LifeError(Trouble):
    """Nothing has changed; `text` says why and what to do."""


@transaction.atomic
def end(till: Till, *, trusted: bool, restore_id: str | None = None) -> TillLife:
    """The present life of a till is over; what waited for its word may be looked at again."""
    cursor = TillCursor.objects.select_for_update().get(till=till)
    assert till.public_key is not None
    return TillLife.objects.create(
        till=till,
        epoch=till.epoch,
        public_key=till.public_key,
        next_seq=cursor.next_seq,
        head=cursor.head,
        last_first_seq=cursor.last_first_seq,
        last_prev=cursor.last_prev,
        last_head=cursor.last_head,
        ended_ms=clock.now_ms(),
        trusted=trusted,
        restore_id=restore_id,
    )


def close(till_id: str) -> TillLife:
    """A till is dead, stolen or gone: its life ends, and it needs a new code. Raises LifeError."""
    with transaction.atomic():
        till = Till.objects.select_for_update().filter(id=till_id).first()
        if till is None:
            raise LifeError(N_("There is no till {till}.", till=till_id))
        if till.closed_ms is not None or not till.epoch:
            raise LifeError(N_("Till {till} is closed already, or was never enrolled.", till=till_id))
        life = end(till, trusted=False)
        till.closed_ms = clock.now_ms()
        till.public_key = None
        till.save()
        # Grants go to an open till of the store, or wait.
        heir = till.store.tills.filter(closed_ms=None, epoch__gt=0).exclude(id=till.id).order_by("id").first()
        Store.objects.filter(id=till.store_id, hub=till.id).update(
            hub=heir.id if heir else None, hub_url=None
        )
        # From the next settings on, no till of the store believes it.
        store_settings.publish_store(Store.objects.get(id=till.store_id))
    applier.try_again()
    from central.fleet import timeline

    timeline.lift_fence()
    return life


def resume(life: TillLife) -> int:
    """What is still suspended of a life comes back to the centre; how many points (hundredths)."""
    past = ledger.life(life.till_id, life.epoch)
    keys = sorted(set(Share.objects.filter(holder=past).values_list("b", "account")))
    points = 0
    for b, group in groupby(keys, key=lambda key: key[0]):
        with transaction.atomic(), shelf.opened(b) as books:
            for _, account in group:
                points += law.resume(books, account, life.till_id, life.epoch)
    TillLife.objects.filter(pk=life.pk).update(resumed_ms=clock.now_ms())
    return points


def begin(till: Till) -> None:
    """The next life of a till: an empty log, and downlinks that go on where they are."""
    timeline = Centre.objects.get().timeline
    for head in DownHead.objects.filter(till=till.id).exclude(timeline=timeline):
        DownMessage.objects.filter(b=head.b, till=till.id).delete()  # they were for the life before
        fresh = shelf.new_downlink(head.b, till.id, timeline)
        DownHead.objects.filter(pk=head.pk).update(timeline=timeline, gseq=0, h=fresh.h)
    _begin(till, till.epoch + 1, timeline)


def _begin(till: Till, epoch: int, spoke_in: int) -> None:
    till.epoch = epoch
    till.closed_ms = None
    till.save()
    genesis = ledger.genesis(till.id, till.epoch)
    TillCursor.objects.update_or_create(
        till=till,
        defaults={
            "next_seq": 1,
            "head": genesis,
            "session_no": 1,
            "durable_seq": 0,
            "last_first_seq": 1,
            "last_prev": genesis,
            "last_head": genesis,
            "timeline": spoke_in,
            "adopted_no": None,
            "began_in": spoke_in,
            "began_at": {
                row.b: [row.gseq, bytes(row.h).hex()] for row in DownHead.objects.filter(till=till.id)
            },
        },
    )


def downlinks(till: Till) -> tuple[int, dict[int, tuple[int, bytes]]]:
    """In which life of the centre, and where, the downlinks of a till's present life begin."""
    cursor = TillCursor.objects.get(till=till)
    began = {int(b): (gseq, bytes.fromhex(h)) for b, (gseq, h) in cursor.began_at.items()}
    return cursor.began_in, began


def restored(till: Till, request: wire.RestoreRequest) -> TillLife:
    """A till was restored from a backup: its life ends where the centre has it. Raises LifeError."""
    done = TillLife.objects.filter(till=till, restore_id=request.restore_id).first()
    if done is not None:  # the answer was lost on the way
        return done
    with transaction.atomic():
        till = Till.objects.select_for_update().get(id=till.id)
        life = end(till, trusted=True, restore_id=request.restore_id)
        begin(till)
    applier.try_again()
    return life


def catch_up(till: Till, epoch: int) -> None:
    """The till is in a later life than this restored centre remembers; it has yet to speak in it."""
    end(till, trusted=True)
    _begin(till, epoch, spoke_in=0)
    applier.try_again()


# --------------------------------------------------------------------------- quarantine


def quarantined(till: Till) -> int:
    """How many entries of a till wait for a person's decision."""
    return InboxEntry.objects.filter(till=till.id, quarantined_ms__isnull=False).count()


def accept_late(life: TillLife) -> int:
    """What a life told after its end is taken like any other entry; how many."""
    return _release(life)


def reverse_late(life: TillLife) -> int:
    """The same, and at once undone by ADJUSTs that name each entry: seen, kept, and without effect."""
    late = InboxEntry.objects.filter(till=life.till_id, epoch=life.epoch, quarantined_ms__isnull=False)
    keys = list(late.exclude(account=None).values_list("till", "epoch", "seq"))
    count = _release(life)
    for till, epoch, seq in keys:
        _undo(till, epoch, seq)
        corrections.forget(till, epoch, seq)
    return count


def _release(life: TillLife) -> int:
    late = InboxEntry.objects.filter(till=life.till_id, epoch=life.epoch, quarantined_ms__isnull=False)
    count = late.update(quarantined_ms=None)
    corrections.look_again(life.till_id, life.epoch)
    applier.apply_waiting()
    return count


def _undo(till: str, epoch: int, seq: int) -> None:
    from central.members import accounts

    row = InboxEntry.objects.get(till=till, epoch=epoch, seq=seq)
    entry = ledger.parse(bytes(row.body))
    owner = accounts.owner(row.account or 0)
    with transaction.atomic(), shelf.opened(ledger.bucket(owner)) as books:
        law.undo(books, owner, entry)


def tend() -> None:
    """What time decides: late entries are accepted, suspended parcels come back."""
    now_ms = clock.now_ms()
    due = InboxEntry.objects.filter(quarantined_ms__lt=now_ms - QUARANTINE_MS)
    for till, epoch in set(due.values_list("till", "epoch")):
        accept_late(TillLife.objects.get(till_id=till, epoch=epoch))
    for life in TillLife.objects.filter(resumed_ms=None, ended_ms__lt=now_ms - RESUME_AFTER_MS):
        resume(life)
