"""From the inbox into the ledger: what a till did becomes what the chain knows.

What an entry does to the books, and which one waits, is decided in loyalty/protocol/centre.py; here
rows are read for it, and its answer is written, bucket by bucket.

Twice is once: an entry leaves the inbox (`applied`) in the transaction that puts it into the ledger,
and the ledger's key is the belt to those braces.

Known ugliness: one transaction opens many buckets (books.py, BUCKETS_PER_TRANSACTION).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import transaction
from django.db.models import Q

from central.fleet.models import Centre, Till, TillLife
from central.intake.models import InboxEntry, note
from central.ledger import books as shelf
from central.ledger import settling
from central.ledger.models import Balance, LedgerEntry, Visits
from central.members import accounts, registering
from central.members.models import Account
from loyalty import ledger, wire
from loyalty.document import DocumentError, parse_handover
from loyalty.ledger import Entry, LedgerError
from loyalty.protocol import centre as law
from loyalty.protocol.centre import Facts, Key, Row

ENTRIES_PER_BUCKET = 500
"""So many entries of one bucket are applied in one transaction; the rest in the next."""

BAD_PROOF = "BAD_PROOF"


def apply_waiting(buckets: Iterable[int] | None = None) -> int:
    """Apply what is in the inbox: of these buckets, or of all. How many entries were looked at."""
    todo = sorted(set(buckets) if buckets is not None else _buckets_to_apply())
    done = 0
    for start in range(0, len(todo), shelf.BUCKETS_PER_TRANSACTION):
        group = todo[start : start + shelf.BUCKETS_PER_TRANSACTION]
        while group:
            with transaction.atomic():
                centre = Centre.objects.get()
                counts = {b: _apply_bucket(b, centre) for b in group}
            done += sum(counts.values())
            group = [b for b, count in counts.items() if count == ENTRIES_PER_BUCKET]
    registering.link_new()
    settling.settle_due()
    return done


def try_again() -> int:
    """Look again at what waited for something that comes another way: a fence lifted, a life ended."""
    InboxEntry.objects.filter(applied=False, waiting=True).update(waiting=False)
    return apply_waiting()


def settle_debts() -> None:
    """What was free while the centre was fenced pays what is owed; what was paid for nothing comes back."""
    unsettled = Balance.objects.filter(Q(debt__lt=0, held__gt=0) | Q(debt__gt=0))
    owing = unsettled.order_by("b", "account").values_list("b", "account")
    for b, keys in groupby(owing, key=lambda key: key[0]):
        with transaction.atomic(), shelf.opened(b) as books:
            for _, account in keys:
                law.settle(books, account)


def _buckets_to_apply() -> set[int]:
    found = InboxEntry.objects.filter(applied=False, waiting=False, quarantined_ms=None)
    return {b for b in found.values_list("b", flat=True).distinct() if b is not None}


def _apply_bucket(b: int, centre: Centre) -> int:
    books = shelf.open_bucket(b, centre.timeline)
    ready = InboxEntry.objects.filter(b=b, applied=False, quarantined_ms=None)
    fresh = list(ready.filter(waiting=False).order_by("till", "epoch", "seq")[:ENTRIES_PER_BUCKET])
    if not fresh:
        return 0
    named = {row.account for row in fresh if row.account is not None}
    owners = accounts.owners(named)
    # What waited for these accounts is looked at again: one of the new entries may be the reason.
    family = Q(account__in=named | set(owners.values()))
    waited = list(ready.filter(family, waiting=True))
    owners |= accounts.owners({row.account for row in waited if row.account is not None})
    items = _at_home(b, [*waited, *fresh], owners)
    keys = _keys_of_lives()
    rows = [_row(item, owners, keys) for item in items]
    facts = Facts(
        known=_in_ledger(b, rows),
        members=_members(b, named | set(owners)),
        ended=keys.ended,
        fenced=centre.fenced,
    )
    arrival = law.arrive(books, rows, facts)
    shelf.save(books)
    new = [row for row in arrival.applied if row.key not in facts.known]
    _count_visits(b, new)
    registering.note_new(b, new)
    Account.objects.filter(b=b, account__in={row.owner for row in new}).update(due_s=0)  # placement looks
    _mark(arrival.applied, applied=True, waiting=False)
    _mark(arrival.waiting, applied=False, waiting=True)
    return len(fresh)


def _at_home(b: int, items: Sequence[InboxEntry], owners: dict[int, int]) -> list[InboxEntry]:
    """The items whose owner lives in this bucket; those of accounts merged meanwhile go to theirs."""
    stay: list[InboxEntry] = []
    for item in items:
        home = ledger.bucket(owners[item.account or 0])
        if home == b:
            stay.append(item)
        else:
            InboxEntry.objects.filter(pk=item.pk).update(b=home, waiting=False)
    return stay


@dataclass(frozen=True, slots=True)
class _Keys:
    """The public key of each life of a till that we know of, and which of them have ended."""

    of: dict[tuple[str, int], bytes]
    ended: frozenset[tuple[str, int]]
    tills: dict[str, int]  # the present epoch of each


def _keys_of_lives() -> _Keys:
    ended = {
        (till, epoch): bytes(key)
        for till, epoch, key in TillLife.objects.values_list("till_id", "epoch", "public_key")
    }
    tills = list(Till.objects.values_list("id", "epoch", "public_key"))
    present = {(till, epoch): bytes(key) for till, epoch, key in tills if key is not None}
    return _Keys(present | ended, frozenset(ended), {till: epoch for till, epoch, _ in tills})


def _row(item: InboxEntry, owners: dict[int, int], keys: _Keys) -> Row:
    body = bytes(item.body)
    entry = ledger.parse(body)
    handed = None
    if entry.kind == "HANDOVER" and not entry.postings and item.document is not None:
        handed = _handed(entry, bytes(item.document), keys)
    return Row(entry, body, owners[item.account or 0], handed)


def _handed(entry: Entry, document: bytes, keys: _Keys) -> tuple[Entry, bytes] | None:
    """What another till handed over, as its own signed word says; a word that is not its own is noted.

    A word that is genuine is waited for; one that is not must not keep the till's entries waiting.
    """
    try:
        proof = parse_handover(document)
        given = ledger.parse(proof.body)
        _check_proof(entry, given)
        key = _key_of(given, keys)
        if key is not None:
            Ed25519PublicKey.from_public_bytes(key).verify(
                proof.signature, wire.handed_signing_bytes(proof.body)
            )
    except (DocumentError, LedgerError, InvalidSignature) as error:
        note(entry, BAD_PROOF, f"it says that points were handed over, and cannot show it: {error}")
        return None
    return given, proof.body


def _key_of(given: Entry, keys: _Keys) -> bytes | None:
    """Whose signature it must bear. Raises LedgerError where no life of a till could have said so.

    None: a life that this centre, restored from a backup, has not heard of yet; it will speak.
    """
    key = keys.of.get((given.till, given.epoch))
    if key is None and given.epoch <= keys.tills.get(given.till, given.epoch):
        raise LedgerError(f"no life of till {given.till} could have said so")
    return key


def _check_proof(entry: Entry, given: Entry) -> None:
    """Is `given` what `entry` says it answers, to this till, and of the same account? Raises LedgerError."""
    takers = {posting.account for posting in given.postings if posting.points > 0}
    if (given.kind, given.id, given.account, takers) != (
        "HANDOVER",
        entry.ref,
        entry.account,
        {ledger.parcel(entry.till)},
    ):
        raise LedgerError(f"{given.id} is not the handover that this entry answers")


def _in_ledger(b: int, rows: Sequence[Row]) -> set[Key]:
    """Which entries, of those the rows are or name, the ledger has already."""
    names = {(row.owner, *row.key) for row in rows}
    names |= {
        (row.owner, row.handed[0].till, row.handed[0].epoch, row.handed[0].seq) for row in rows if row.handed
    }
    found = LedgerEntry.objects.filter(pk__in=[(b, *name) for name in names])
    return set(found.values_list("till", "epoch", "seq"))


def _members(b: int, named: Collection[int]) -> set[int]:
    return set(Account.objects.filter(account__in=named).values_list("account", flat=True))


def _mark(rows: Sequence[Row], *, applied: bool, waiting: bool) -> None:
    if rows:
        keys = [row.key for row in rows]
        InboxEntry.objects.filter(pk__in=keys).update(applied=applied, waiting=waiting)


def _count_visits(b: int, rows: Sequence[Row]) -> None:
    """Count (account, store) -> visits; an account moves home when another store has more (placement.py)."""
    visits: dict[tuple[int, str], int] = defaultdict(int)
    sales = [row for row in rows if row.entry.kind == "SALE"]
    stores = dict(Till.objects.filter(id__in={row.entry.till for row in sales}).values_list("id", "store_id"))
    for row in sales:
        visits[row.owner, stores[row.entry.till]] += 1
    owners = {account for account, _ in visits}
    counted = {(row.account, row.store): row for row in Visits.objects.filter(b=b, account__in=owners)}
    homes = dict(Account.objects.filter(b=b, account__in=owners).values_list("account", "home_store"))
    for (account, store), count in sorted(visits.items()):
        here = counted.setdefault((account, store), Visits(b=b, account=account, store=store, visits=0))
        here.visits += count
        home = homes.get(account)
        at_home = counted.get((account, home)) if home else None
        if account in homes and store != home and here.visits > (at_home.visits if at_home else 0):
            homes[account] = store
            Account.objects.filter(b=b, account=account).update(home_store=store)
    Visits.objects.bulk_create(
        [counted[key] for key in sorted(visits)],
        update_conflicts=True,
        unique_fields=["b", "account", "store"],
        update_fields=["visits"],
    )
