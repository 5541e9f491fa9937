"""From the inbox into the ledger: what a till did becomes what the chain knows.

Each entry's postings are applied as they stand, whatever its kind: they balance, so points only
change hands. What arrives has HAPPENED at a counter; the office cannot undo it by refusing. Where it
does not fit (a till spent a parcel that it does not hold) the entry is kept, the missing points are
booked as the account's debt by an ADJUST of the centre that names the entry, and an incident tells
a person. So a share never falls below zero and the balance stays what the ledger says (I1, I8).

Twice is once: an entry leaves the inbox (`applied`) in the transaction that puts it into the ledger,
and the ledger's key is the belt to those braces.

Known ugliness: one transaction opens up to BUCKETS_PER_TRANSACTION buckets. On one SQLite file a
transaction each would cost a sync of the disk each; a sharded centre sets it to 1.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable

from django.db import transaction

from central import clock
from central.fleet.models import Centre, Till
from central.intake.models import InboxEntry, Incident
from central.ledger.books import AccountBooks, Books, knows, open_bucket
from central.ledger.models import LedgerEntry, Visits
from central.members.models import Account
from loyalty import ledger
from loyalty.ledger import Entry, Posting

log = logging.getLogger(__name__)

BUCKETS_PER_TRANSACTION = 32
ENTRIES_PER_BUCKET = 500
"""So many entries of one bucket are applied in one transaction; the rest in the next."""

OVERSPENT = "OVERSPENT"
FOREIGN = "FOREIGN_PARCEL"
UNKNOWN_KIND = "UNKNOWN_KIND"
UNKNOWN_MEMBER = "UNKNOWN_MEMBER"
UNKNOWN_POSTING = "UNKNOWN_POSTING"


def apply_waiting(buckets: Iterable[int] | None = None) -> int:
    """Apply what waits in the inbox: of these buckets, or of all. How many entries that were."""
    todo = sorted(set(buckets) if buckets is not None else _waiting_buckets())
    done = 0
    for start in range(0, len(todo), BUCKETS_PER_TRANSACTION):
        group = todo[start : start + BUCKETS_PER_TRANSACTION]
        while group:
            with transaction.atomic():
                centre = Centre.objects.get()
                counts = {b: _apply_bucket(b, centre.timeline) for b in group}
            done += sum(counts.values())
            group = [b for b, count in counts.items() if count == ENTRIES_PER_BUCKET]
    return done


def _waiting_buckets() -> set[int]:
    found = InboxEntry.objects.filter(applied=False).values_list("b", flat=True).distinct()
    return {b for b in found if b is not None}


def _apply_bucket(b: int, timeline: int) -> int:
    books = open_bucket(b, timeline, clock.now_s())
    waiting = list(
        InboxEntry.objects.filter(b=b, applied=False).order_by("till", "epoch", "seq")[:ENTRIES_PER_BUCKET]
    )
    if not waiting:
        return 0
    accounts = {row.account for row in waiting if row.account is not None}
    books.read(accounts)
    there = _already_in_ledger(b, waiting)
    homes = dict(Account.objects.filter(b=b, account__in=accounts).values_list("account", "home_store"))
    visits: dict[tuple[int, str], int] = defaultdict(int)
    stores = dict(Till.objects.filter(id__in={row.till for row in waiting}).values_list("id", "store_id"))
    for row in waiting:
        if (row.till, row.epoch, row.seq) in there:
            continue
        body = bytes(row.body)
        entry = ledger.parse(body)
        _apply(books, entry, body, known_member=row.account in homes)
        if entry.kind == "SALE" and row.account is not None:
            visits[row.account, stores[row.till]] += 1
    books.save()
    _count_visits(b, visits, homes)
    Account.objects.filter(b=b, account__in=accounts).update(due_s=0)  # placement looks again
    InboxEntry.objects.filter(pk__in=[row.pk for row in waiting]).update(applied=True)
    return len(waiting)


def _already_in_ledger(b: int, waiting: list[InboxEntry]) -> set[tuple[str, int, int]]:
    keys = [(b, row.account, row.till, row.epoch, row.seq) for row in waiting]
    return set(LedgerEntry.objects.filter(pk__in=keys).values_list("till", "epoch", "seq"))


def _apply(books: Books, entry: Entry, body: bytes, *, known_member: bool) -> None:
    if entry.account is None:
        return
    books.post(entry, body)
    if not known_member:
        note(entry, UNKNOWN_MEMBER, "no member has this account; the entry is kept")
    if entry.kind not in ledger.TILL_KINDS:
        note(entry, UNKNOWN_KIND, f"a till does not write {entry.kind!r}; its postings were applied")
    if not knows(entry):
        note(entry, UNKNOWN_POSTING, "it posts to an account this version does not know; nothing was moved")
        return
    if _takes_from_others(entry):
        note(entry, FOREIGN, "it takes points that this till does not hold")
    _cover(books, books.of(entry.account), entry)


def _takes_from_others(entry: Entry) -> bool:
    """Does it take points that its till neither holds nor made? (A void takes back what its sale made.)"""
    own = ledger.parcel(entry.till)
    return any(
        p.points < 0
        and p.account != own
        and (
            ledger.holder(p.account) is not None
            or (p.account == ledger.FREE and ledger.maker(p.lot) != entry.till)
        )
        for p in entry.postings
    )


def _cover(books: Books, account: AccountBooks, entry: Entry) -> None:
    """Book what an entry took without having it as debt of the account."""
    missing = account.overdrawn()
    if not missing or entry.account is None:
        return
    postings: list[Posting] = []
    for lot, who, points in missing:
        share = ledger.FREE if who == ledger.FREE else ledger.parcel(who)
        postings += (Posting(ledger.DEBT, lot, -points), Posting(share, lot, points))
    books.write("ADJUST", entry.account, tuple(postings), ref=entry.id, flags=(OVERSPENT,))
    total = sum(points for _, _, points in missing)
    note(entry, OVERSPENT, f"{total} hundredths of a point were spent that were not held; booked as debt")


def _count_visits(b: int, visits: dict[tuple[int, str], int], homes: dict[int, str | None]) -> None:
    """Count (account, store) -> visits; an account moves home when another store has more (placement.py)."""
    accounts = {account for account, _ in visits}
    rows = {(row.account, row.store): row for row in Visits.objects.filter(b=b, account__in=accounts)}
    for (account, store), count in sorted(visits.items()):
        row = rows.setdefault((account, store), Visits(b=b, account=account, store=store, visits=0))
        row.visits += count
        home = homes.get(account)
        at_home = rows.get((account, home)) if home else None
        if account in homes and store != home and row.visits > (at_home.visits if at_home else 0):
            homes[account] = store
            Account.objects.filter(b=b, account=account).update(home_store=store)
    Visits.objects.bulk_create(
        [rows[key] for key in sorted(visits)],
        update_conflicts=True,
        unique_fields=["b", "account", "store"],
        update_fields=["visits"],
    )


def note(entry: Entry, code: str, detail: str) -> None:
    """Remember what was odd about an entry, once."""
    _, new = Incident.objects.get_or_create(
        till=entry.till,
        epoch=entry.epoch,
        seq=entry.seq,
        code=code,
        defaults={"detail": detail, "at_ms": clock.now_ms()},
    )
    if new:
        log.warning("entry %s: %s (%s)", entry.id, detail, code)
