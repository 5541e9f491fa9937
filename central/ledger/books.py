"""The books of one bucket in the database: read for one step of the protocol, written down after it.

What a step may do stands in loyalty/protocol/centre.py; here is only how its values lie in tables.
Whoever opens a bucket locks its row of `BucketLog` first, so all changes of a bucket stand in one
line; several buckets are always opened in ascending order, so nobody waits in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

from central import clock
from central.fleet.models import Centre, Till, TillCursor
from central.intake.models import note
from central.ledger.models import (
    Balance,
    BucketLog,
    DownHead,
    DownMessage,
    LedgerEntry,
    Lot,
    OnceKey,
    Share,
)
from loyalty import ledger, wire
from loyalty.ledger import LotTerms
from loyalty.protocol.books import TOTALS, AccountBooks, Books

BUCKETS_PER_TRANSACTION = 32
"""On one SQLite file a transaction each would cost a sync of the disk each; a sharded centre sets it to 1."""


def open_bucket(b: int, timeline: int) -> Books:
    """Lock a bucket and open its books. Call it inside a transaction, buckets in ascending order."""
    genesis = ledger.genesis(ledger.centre_writer(b), timeline)
    BucketLog.objects.get_or_create(b=b, defaults={"timeline": timeline, "head": genesis})
    log = BucketLog.objects.select_for_update().get(b=b)
    # A new life of the centre begins a new log: what it forgot of the old one has those numbers.
    next_seq, head = (log.next_seq, bytes(log.head)) if log.timeline == timeline else (1, genesis)
    return Books(b, timeline, next_seq, head, clock.now_s(), _reader(b), epoch_of)


@contextmanager
def opened(b: int) -> Iterator[Books]:
    """The same, and written down at the end. Inside a transaction."""
    books = open_bucket(b, Centre.objects.get().timeline)
    yield books
    save(books)


def epoch_of(till: str) -> int:
    """The present life of a till; 0 = there is none."""
    return Till.objects.filter(id=till).values_list("epoch", flat=True).first() or 0


def _reader(b: int) -> Callable[[Iterable[int]], Mapping[int, AccountBooks]]:
    def read(accounts: Iterable[int]) -> Mapping[int, AccountBooks]:
        found = {account: AccountBooks(account) for account in accounts}
        for balance in Balance.objects.filter(b=b, account__in=found):
            found[balance.account].totals = {name: getattr(balance, name) for name in TOTALS}
        for share in Share.objects.filter(b=b, account__in=found):
            found[share.account].shares[share.lot, share.holder] = share.points
        for lot in Lot.objects.filter(b=b, account__in=found):
            found[lot.account].lots[lot.lot] = LotTerms(lot.active_from, lot.expires_at, lot.rule)
            if lot.undone:
                found[lot.account].undone.add(lot.lot)
        for once in OnceKey.objects.filter(b=b, account__in=found):
            found[once.account].once[once.key] = once.lot
        return found

    return read


def save(books: Books) -> None:
    """Write everything. The database refuses a share below zero or a balance that does not add up."""
    if not books.entries:
        return
    LedgerEntry.objects.bulk_create(
        [
            LedgerEntry(
                b=books.b,
                account=owner,
                till=entry.till,
                epoch=entry.epoch,
                seq=entry.seq,
                at_s=entry.at_s,
                kind=entry.kind,
                body=body,
            )
            for entry, body, owner in books.entries
        ]
    )
    _save_lots(books)
    _save_shares(books)
    Balance.objects.bulk_create(
        [
            Balance(b=books.b, account=mine.account, held=mine.held, **mine.totals)
            for _, mine in sorted(books.accounts.items())
        ],
        update_conflicts=True,
        unique_fields=["b", "account"],
        update_fields=[*TOTALS, "held"],
    )
    _send_down(books)
    for odd in books.notes:
        note(odd.entry, odd.code, odd.detail)
    BucketLog.objects.filter(b=books.b).update(
        timeline=books.timeline, next_seq=books.next_seq, head=books.head
    )


def _save_lots(books: Books) -> None:
    Lot.objects.bulk_create(
        [
            Lot(
                b=books.b,
                account=mine.account,
                lot=lot,
                active_from=mine.lots[lot].active_from,
                expires_at=mine.lots[lot].expires_at,
                rule=mine.lots[lot].rule,
            )
            for mine in books.accounts.values()
            for lot in mine.begun
        ]
    )
    OnceKey.objects.bulk_create(
        [
            OnceKey(b=books.b, account=mine.account, key=key, lot=mine.once[key])
            for mine in books.accounts.values()
            for key in mine.counted
        ]
    )
    for mine in books.accounts.values():
        if mine.repeats:
            Lot.objects.filter(b=books.b, account=mine.account, lot__in=mine.repeats).update(undone=True)


def _save_shares(books: Books) -> None:
    changed = [
        Share(
            b=books.b,
            account=mine.account,
            lot=lot,
            holder=who,
            points=mine.shares[lot, who],
            expires_at=mine.lots[lot].expires_at if lot in mine.lots else None,
        )
        for mine in books.accounts.values()
        for lot, who in sorted(mine.changed | _shares_of(mine, mine.begun))
    ]
    gone = [share.pk for share in changed if not share.points]
    if gone:
        Share.objects.filter(pk__in=gone).delete()
    Share.objects.bulk_create(
        [share for share in changed if share.points],
        update_conflicts=True,
        unique_fields=["b", "account", "lot", "holder"],
        update_fields=["points", "expires_at"],
    )


def _shares_of(mine: AccountBooks, lots: Collection[str]) -> set[tuple[str, str]]:
    """The shares of some lots: a lot whose terms come late had shares before it had a day to die."""
    return {key for key in mine.shares if key[0] in lots}


def _send_down(books: Books) -> None:
    tills = sorted({till for till, _ in books.down})
    spoke_in = dict(TillCursor.objects.filter(till__in=tills).values_list("till_id", "timeline"))
    behind = {till for till in tills if spoke_in.get(till) != books.timeline}
    _keep_for_later(books, behind)
    heads: dict[str, DownHead] = {}
    for till in tills:
        if till not in behind:
            found = DownHead.objects.select_for_update().filter(b=books.b, till=till).first()
            heads[till] = found or new_downlink(books.b, till, books.timeline)
    messages: list[DownMessage] = []
    for till, body in books.down:
        if till in behind:
            continue
        head = heads[till]
        head.gseq += 1
        head.h = ledger.link(bytes(head.h), body)
        messages.append(DownMessage(b=books.b, till=till, gseq=head.gseq, body=body, h=head.h))
    DownMessage.objects.bulk_create(messages)
    DownHead.objects.bulk_create(
        heads.values(),
        update_conflicts=True,
        unique_fields=["b", "till"],
        update_fields=["timeline", "gseq", "h"],
    )


def _keep_for_later(books: Books, tills: Collection[str]) -> None:
    """What is meant for tills that have not spoken in this life of the centre yet.

    Their downlinks are still those of the old life, of which they know more than we do; so it stands
    beside them, numbered -1, -2, …, until the till's own first words (central/fleet/timeline.py).
    """
    for till in sorted(tills):
        bodies = [body for who, body in books.down if who == till]
        last = DownMessage.objects.filter(b=books.b, till=till, gseq__lt=0).order_by("gseq").first()
        below = last.gseq if last else 0
        DownMessage.objects.bulk_create(
            DownMessage(b=books.b, till=till, gseq=below - n, body=body, h=b"")
            for n, body in enumerate(bodies, 1)
        )


def new_downlink(b: int, till: str, timeline: int) -> DownHead:
    """A downlink that has not begun."""
    return DownHead(b=b, till=till, timeline=timeline, gseq=0, h=wire.down_genesis(till, b, timeline))
