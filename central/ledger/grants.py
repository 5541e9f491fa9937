"""Points on their way to tills: placement, claims, and the downlinks they travel by.

What is granted is decided in loyalty/protocol/centre.py. Entry, shares and downlink message are
written in one transaction, so a till is never told of points that the centre has not set aside, and
nothing is set aside that the till will not be told of.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from itertools import groupby
from zoneinfo import ZoneInfo

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import transaction
from django.db.models import F

from central import clock
from central.fleet import polls
from central.fleet.models import Centre, Store, Till
from central.home import Home
from central.ledger import books as shelf
from central.ledger.models import Claim, DownHead, DownMessage
from central.members import accounts
from central.members.models import Account
from loyalty import ledger, wire
from loyalty.protocol import centre as law
from loyalty.protocol.intake import Refused

ACCOUNTS_PER_SYNC = 200
DOWN_PER_REPLY = 500
CLAIM_WAITS_S = 3  # so long is nothing placed that a till at a counter may be about to ask for
CLAIM_LIFE_MS = 30 * clock.DAY_S * 1000
_SHOP_TIME = "%Y-%m-%dT%H:%M:%S"


def place_due(store: Store) -> int:
    """Place what is due in accounts at home in `store`, up to ACCOUNTS_PER_SYNC. How many were looked at."""
    if store.hub is None or Centre.objects.get().fenced:
        return 0
    due = (
        Account.objects.filter(home_store=store.id, due_s__lte=clock.now_s(), merged_into=None)
        .order_by("b", "account")
        .values_list("b", "account")[:ACCOUNTS_PER_SYNC]
    )
    buckets = [(b, [account for _, account in keys]) for b, keys in groupby(due, key=lambda key: key[0])]
    for start in range(0, len(buckets), shelf.BUCKETS_PER_TRANSACTION):
        with transaction.atomic():
            for b, numbers in buckets[start : start + shelf.BUCKETS_PER_TRANSACTION]:
                _place(store, b, numbers)
    return sum(len(numbers) for _, numbers in buckets)


def place_account(till: Till, account: int) -> None:
    """`till` asks for `account`: give it a home if it has none, and place what is due at that shop.

    Where the till is not its shop's hub, placement waits for a claim: the customer stands at this till,
    and points that had just set out for the hub would be neither free nor there yet.
    """
    b, store, now_s = ledger.bucket(account), till.store, clock.now_s()
    Account.objects.filter(b=b, account=account, home_store=None).update(home_store=store.id)
    due = Account.objects.filter(b=b, account=account, home_store=store.id, due_s__lte=now_s)
    if till.id != store.hub:
        due.update(due_s=now_s + CLAIM_WAITS_S)
    elif due.exists() and not Centre.objects.get().fenced:
        with transaction.atomic():
            granted = _place(store, b, [account])
        if granted:
            polls.wake(till.id)  # here before the cashier has scanned the goods


def _place(store: Store, b: int, numbers: list[int]) -> bool:
    """Place what is due. Inside a transaction. Was anything granted?"""
    zone, now = ZoneInfo(store.timezone), shop_now(store)
    with shelf.opened(b) as books:
        hub = Store.objects.values_list("hub", flat=True).get(id=store.id)  # as it is under the lock
        if hub is None:
            return False
        claimed = _claimed_now(b, numbers)
        Account.objects.filter(b=b, account__in=claimed).update(due_s=clock.now_s() + CLAIM_WAITS_S)
        numbers = [account for account in numbers if account not in claimed]
        books.open(numbers)
        looks: dict[str | None, list[int]] = defaultdict(list)
        for account in numbers:
            looks[law.place(books, account, hub, now)].append(account)
        for next_look, looked_at in looks.items():
            due_s = None
            if next_look is not None:
                due_s = int(datetime.strptime(next_look, _SHOP_TIME).replace(tzinfo=zone).timestamp())
            Account.objects.filter(b=b, account__in=looked_at).update(due_s=due_s)
    return bool(books.down)


def _claimed_now(b: int, numbers: list[int]) -> set[int]:
    """Accounts for which a till at a counter waits now: what comes back is not placed before it has asked."""
    since_ms = clock.now_ms() - CLAIM_WAITS_S * 1000
    open_claims = Claim.objects.filter(b=b, account__in=numbers, granted__lt=F("want"), at_ms__gt=since_ms)
    return set(open_claims.values_list("account", flat=True))


def shop_now(store: Store) -> str:
    """The wall clock of a store."""
    zone = ZoneInfo(store.timezone)
    return datetime.fromtimestamp(clock.now_s(), UTC).astimezone(zone).strftime(_SHOP_TIME)


def claim(till: Till, request: wire.ClaimRequest) -> wire.ClaimReply:
    """Points for a till that wants them now (§5.4), with its downlink of that bucket. Raises Refused."""
    owner = accounts.owner(request.account)
    b = ledger.bucket(owner)
    with transaction.atomic():
        centre = Centre.objects.get()
        with shelf.opened(b) as books:  # its lock stands before the row of the claim
            row, _ = Claim.objects.get_or_create(
                b=b,
                claim=request.claim_id,
                defaults={
                    "account": owner,
                    "till": till.id,
                    "want": request.want,
                    "at_ms": clock.now_ms(),
                },
            )
            if (row.till, row.want) != (till.id, request.want) or row.account != owner:
                raise Refused(409, "CLAIM_DIFFERS", "this claim was made before, for something else")
            asked = law.Claim(row.claim, owner, till.id, row.want, row.granted, set(row.recalled))
            law.claim(books, asked, shop_now(till.store), polls.open_now(), fenced=centre.fenced)
            row.granted, row.recalled = asked.granted, sorted(asked.recalled)
            row.save()
    for hub in asked.recalled:
        polls.wake(hub)
    down = down_after(till.id, {b: request.down}, turn=0, only=b)
    reply = wire.ClaimReply(
        claim_id=request.claim_id,
        granted=asked.granted,
        asking=asked.granted < asked.want and bool(asked.recalled),
        timeline=centre.timeline,
        server_ms=clock.now_ms(),
        down=down,
        down_signature=sign_down(till.id, centre.timeline, down),
        signature=b"",
    )
    signature = _reply_key().sign(wire.claim_signing_bytes(till.id, reply))
    return msgspec.structs.replace(reply, signature=signature)


def forget_old_claims() -> None:
    """A claim is remembered for thirty days."""
    Claim.objects.filter(at_ms__lt=clock.now_ms() - CLAIM_LIFE_MS).delete()


def down_after(
    till: str, applied: dict[int, int], turn: int, only: int | None = None
) -> tuple[wire.DownItem, ...]:
    """What a till has not applied yet, in order in each bucket, at most DOWN_PER_REPLY messages.

    `turn` differs from sync to sync: another bucket begins each time, so that one whose till does
    not move (it needs an update first) cannot starve the others. `only`: of one bucket.
    """
    found = DownHead.objects.filter(till=till).order_by("b")
    heads = list((found if only is None else found.filter(b=only)).values_list("b", "gseq"))
    begin = turn % len(heads) if heads else 0
    items: list[wire.DownItem] = []
    for b, last in heads[begin:] + heads[:begin]:
        room = DOWN_PER_REPLY - len(items)
        if room == 0:
            break
        if last > applied.get(b, 0):
            after = DownMessage.objects.filter(b=b, till=till, gseq__gt=applied.get(b, 0)).order_by("gseq")
            items += (wire.DownItem(b, m.gseq, bytes(m.body), bytes(m.h)) for m in after[:room])
    return tuple(items)


def sent(till: str) -> int:
    """How many messages were ever sent down to a till, in all its downlinks."""
    return sum(DownHead.objects.filter(till=till).values_list("gseq", flat=True))


def sign_down(till: str, timeline: int, down: tuple[wire.DownItem, ...]) -> bytes:
    """The centre's word for what it sends down: a till keeps it, in case the centre forgets (§5.11)."""
    return _reply_key().sign(wire.down_signing_bytes(till, timeline, down)) if down else b""


def _reply_key() -> Ed25519PrivateKey:
    home: Home = settings.HOME
    return home.reply_key
