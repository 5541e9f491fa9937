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
from django.db.models import QuerySet

from central import clock
from central.errors import Trouble
from central.fleet import timeline
from central.fleet.models import Centre, Store, Till, TillCursor, TillLife
from central.intake import corrections
from central.intake.models import InboxEntry
from central.ledger import applier
from central.ledger import books as shelf
from central.ledger.models import DownHead, DownMessage, Share
from central.members import accounts
from central.members.models import Account
from central.rules import store_settings
from loyalty import ledger, wire
from loyalty.faults import did_you_mean
from loyalty.protocol import centre as law
from loyalty.protocol.intake import Refused
from loyalty.texts import N_

RESUME_AFTER_MS = 14 * clock.DAY_S * 1000
QUARANTINE_MS = 14 * clock.DAY_S * 1000


class LifeError(Trouble):
    """Nothing has changed; `text` says why and what to do."""


def _end(till: Till, *, trusted: bool, restore_id: str | None = None) -> TillLife:
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
        durable_seq=cursor.durable_seq,
        ended_ms=clock.now_ms(),
        trusted=trusted,
        restore_id=restore_id,
    )


def close(till_id: str) -> TillLife:
    """A till is dead, stolen or gone: its life ends, and it needs a new code. Raises LifeError."""
    the_till(till_id)
    with transaction.atomic():
        till = Till.objects.select_for_update().get(id=till_id)
        if not till.epoch:
            raise LifeError(
                N_("Till {till} was never enrolled; its code ends by itself after a day.", till=till_id)
            )
        if till.closed_ms is not None:
            raise LifeError(
                N_(
                    "Till {till} is closed already. A new code for it: "
                    "kopilka-central till add {store} --id {till}",
                    till=till_id,
                    store=till.store_id,
                )
            )
        life = _end(till, trusted=False)
        till.closed_ms = clock.now_ms()
        till.public_key = None
        till.save()
        _place_anew(life)
        # Grants go to an open till of the store, or wait.
        heir = till.store.tills.filter(closed_ms=None, epoch__gt=0).exclude(id=till.id).order_by("id").first()
        Store.objects.filter(id=till.store_id, hub=till.id).update(
            hub=heir.id if heir else None, hub_url=None
        )
        # From the next settings on, no till of the store believes it.
        store_settings.publish_store(Store.objects.get(id=till.store_id))
    applier.try_again()
    timeline.lift_fence()  # it does not wait for this one any more
    return life


def _place_anew(life: TillLife) -> None:
    """Placement looks at the accounts whose points this life held: what is free may go elsewhere."""
    held = Share.objects.filter(holder=ledger.life(life.till_id, life.epoch)).order_by("b")
    for b, keys in groupby(sorted(set(held.values_list("b", "account"))), key=lambda key: key[0]):
        Account.objects.filter(b=b, account__in=[account for _, account in keys]).update(due_s=0)


def the_till(till_id: str) -> Till:
    """The till of this id. Raises LifeError naming the nearest."""
    till = Till.objects.filter(id=till_id).first()
    if till is None:
        known = list(Till.objects.order_by("id").values_list("id", flat=True)[:1000])
        raise LifeError(
            N_("There is no till {till}: {hint}.", till=till_id, hint=did_you_mean(till_id, known))
        )
    return till


def the_life(till_id: str, epoch: int) -> TillLife:
    """A life of a till that has ended. Raises LifeError naming those that have."""
    till = the_till(till_id)
    life = TillLife.objects.filter(till=till, epoch=epoch).first()
    if life is None:
        ended = ", ".join(str(e) for e in till.lives.order_by("epoch").values_list("epoch", flat=True))
        raise LifeError(
            N_(
                "Life {epoch} of till {till} has not ended. Those that have: {ended}.",
                epoch=epoch,
                till=till_id,
                ended=ended or "—",
            )
        )
    return life


def suspended(life: TillLife) -> QuerySet[Share]:
    """What a life that has ended still holds."""
    return Share.objects.filter(holder=ledger.life(life.till_id, life.epoch))


def resume(life: TillLife) -> int:
    """What is still suspended of a life comes back to the centre; how many points (hundredths)."""
    keys = sorted(set(suspended(life).values_list("b", "account")))
    points = 0
    for b, group in groupby(keys, key=lambda key: key[0]):
        with transaction.atomic(), shelf.opened(b) as books:
            accounts_here = [account for _, account in group]
            for account in accounts_here:
                points += law.resume(books, account, life.till_id, life.epoch)
            Account.objects.filter(b=b, account__in=accounts_here).update(due_s=0)  # placement looks
    TillLife.objects.filter(pk=life.pk).update(resumed_ms=clock.now_ms())
    return points


def begin(till: Till, after: int = 0) -> None:
    """The next life of a till: an empty log, and downlinks that begin in this life of the centre.

    Its epoch is above `after`.
    """
    now = Centre.objects.get().timeline
    DownMessage.objects.filter(till=till.id, gseq__lt=0).delete()
    for head in DownHead.objects.filter(till=till.id).exclude(timeline=now):
        DownMessage.objects.filter(b=head.b, till=till.id).delete()  # they were for the life before
        fresh = shelf.new_downlink(head.b, till.id, now)
        DownHead.objects.filter(pk=head.pk).update(timeline=now, gseq=0, h=fresh.h)
    _begin(till, max(till.epoch, after) + 1, now)


def _begin(till: Till, epoch: int, spoke_in: int) -> None:
    """`spoke_in` 0: it has yet to say to this restored centre what it was told before."""
    till.epoch = epoch
    till.closed_ms = None
    till.save()
    heads = DownHead.objects.filter(till=till.id)
    heard_in = max(heads.values_list("timeline", flat=True), default=spoke_in)
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
            "began_in": heard_in,
            "began_at": {row.b: [row.gseq, bytes(row.h).hex()] for row in heads.filter(timeline=heard_in)},
        },
    )


def downlinks(till: Till) -> tuple[int, dict[int, tuple[int, bytes]]]:
    """In which life of the centre, and where, the downlinks of a till's present life begin."""
    cursor = TillCursor.objects.get(till=till)
    began = {int(b): (gseq, bytes.fromhex(h)) for b, (gseq, h) in cursor.began_at.items()}
    return cursor.began_in, began


def restored(till: Till, request: wire.RestoreRequest) -> TillLife:
    """A till was restored from a backup: its life ends where the centre has it, and the next begins.

    Raises Refused where that life has ended meanwhile.
    """
    done = TillLife.objects.filter(till=till, restore_id=request.restore_id).first()
    if done is not None:  # the answer was lost on the way
        return done
    with transaction.atomic():
        till = Till.objects.select_for_update().get(id=till.id)
        if till.epoch != request.epoch:
            raise Refused(409, wire.EPOCH, f"epoch {request.epoch} has ended by another request just now")
        spoken = TillCursor.objects.get(till=till).timeline == Centre.objects.get().timeline
        life = _end(till, trusted=True, restore_id=request.restore_id)
        if spoken:
            begin(till)
        else:
            _begin(till, till.epoch + 1, spoke_in=0)
        _place_anew(life)
    applier.try_again()
    return life


def catch_up(till: Till, epoch: int) -> None:
    """The till is in a later life than this restored centre remembers; it has yet to speak in it.

    The lives between, of which we remember nothing, have ended too: the till tells them from the beginning.
    Raises Refused where there would be more of them than a box is ever restored.
    """
    if epoch - till.epoch > timeline.EPOCHS_LEFT_OUT:
        text = f"epoch {epoch} of a till in epoch {till.epoch}; close it and enrol it anew"
        raise Refused(409, wire.EPOCH, text)
    for later in range(till.epoch + 1, epoch + 1):
        _end(till, trusted=True)
        _begin(till, later, spoke_in=0)
    applier.try_again()


# --------------------------------------------------------------------------- quarantine


def quarantined(till: Till) -> int:
    """How many entries of a till wait for a person's decision."""
    return InboxEntry.objects.filter(till=till.id, quarantined_ms__isnull=False).count()


def late_entries(life: TillLife) -> QuerySet[InboxEntry]:
    """What a life told after its end and nobody has decided about."""
    return InboxEntry.objects.filter(till=life.till_id, epoch=life.epoch, quarantined_ms__isnull=False)


def accept_late(life: TillLife) -> int:
    """What a life told after its end is taken like any other entry; how many."""
    return _release(life)


@transaction.atomic  # half of it would be entries that are taken for good
def reverse_late(life: TillLife) -> int:
    """The same, and at once undone by ADJUSTs that name each entry: seen, kept, and without effect."""
    keys = list(late_entries(life).exclude(account=None).order_by("-seq").values_list("till", "epoch", "seq"))
    count = _release(life)
    for till, epoch, seq in keys:
        _undo(till, epoch, seq)
        corrections.forget(till, epoch, seq)
    return count


def _release(life: TillLife) -> int:
    count = late_entries(life).update(quarantined_ms=None)
    corrections.look_again(life.till_id, life.epoch)
    applier.apply_waiting()
    return count


def _undo(till: str, epoch: int, seq: int) -> None:
    row = InboxEntry.objects.get(till=till, epoch=epoch, seq=seq)
    entry = ledger.parse(bytes(row.body))
    owner = accounts.owner(row.account or 0)
    with transaction.atomic(), shelf.opened(ledger.bucket(owner)) as books:
        law.undo(books, owner, entry)


def tend() -> None:
    """What time decides: late entries are accepted, suspended parcels come back."""
    now_ms = clock.now_ms()
    due = InboxEntry.objects.filter(quarantined_ms__lte=now_ms - QUARANTINE_MS)
    for till, epoch in sorted(set(due.values_list("till", "epoch"))):
        accept_late(TillLife.objects.get(till_id=till, epoch=epoch))
    if Centre.objects.get().fenced:
        return
    for life in TillLife.objects.filter(ended_ms__lte=now_ms - RESUME_AFTER_MS):
        # What it tells later may put points there once more; what is undecided may spend them.
        if suspended(life).exists() and not late_entries(life).exists():
            resume(life)
