"""Cards that tills gave out without asking, and accounts that become one (§2, §5.15).

A till that is cut off gives a new card a provisional account, computed from the card's key, so that
two tills give one card the same. When its REGISTER arrives, the card gets an account of the centre's
own, or is found to have one; a LINK makes the provisional one part of it, and is sent to the tills.

Two accounts change in one transaction, and their buckets are locked in ascending order.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.db import transaction

from central import clock
from central.fleet.models import Centre
from central.intake.models import InboxEntry, note
from central.ledger import books as shelf
from central.ledger.models import LedgerEntry
from central.members import accounts
from central.members.models import CARD_KIND_MAX_CHARS, Account, Card
from loyalty import document, ledger
from loyalty.ledger import Entry
from loyalty.protocol import centre as law
from loyalty.protocol.centre import Row

SAME_NUMBER = "SAME_NUMBER"
NO_CARD = "REGISTER_NO_CARD"


def note_new(b: int, rows: Sequence[Row]) -> None:
    """Accounts of cards that were registered at a till; `link_new` gives each its lasting one."""
    for row in rows:
        if row.entry.kind != "REGISTER" or row.entry.account is None:
            continue
        paper = InboxEntry.objects.get(till=row.entry.till, epoch=row.entry.epoch, seq=row.entry.seq).document
        told = document.read_any(bytes(paper or b""))
        if not isinstance(told, document.RegisterDocument) or len(told.card_kind or "") > CARD_KIND_MAX_CHARS:
            note(row.entry, NO_CARD, "it does not say of which card; give that account its card by hand")
            continue
        if row.owner != row.entry.account:
            # It was linked before. (The till is told: protocol/centre.py.) A centre that was restored may
            # know that from another till's echo only, and not know the card yet.
            defaults = {"account": row.owner, "created_ms": clock.now_ms()}
            Card.objects.get_or_create(card_key=told.card_key, defaults=defaults)
            continue
        made, new = Account.objects.get_or_create(
            b=b,
            account=row.entry.account,
            defaults={
                "card_kind": told.card_kind,
                "registers": told.card_key,
                "created_ms": clock.now_ms(),
            },
        )
        if not new and made.registers != told.card_key:
            note(row.entry, SAME_NUMBER, "two cards came to one provisional account; part them by hand")


def link_new() -> int:
    """Give the cards that were registered at tills their lasting accounts; how many.

    A restored centre waits until every till has spoken: one of them may know the account already.
    """
    if Centre.objects.get().fenced:
        return 0
    count = 0
    provisional = Account.objects.filter(registers__isnull=False, merged_into=None)
    for number, card_key, kind in provisional.values_list("account", "registers", "card_kind"):
        assert card_key is not None
        with transaction.atomic():
            card = Card.objects.select_for_update().filter(card_key=card_key).first()
            lasting = card.account if card else _new_account(card_key, kind)
        merge(number, accounts.owner(lasting), "LINK")
        count += 1
    return count


def _new_account(card_key: int, card_kind: str | None) -> int:
    centre = Centre.objects.select_for_update().get()
    number = centre.next_account
    centre.next_account += 1
    centre.save()
    now_ms = clock.now_ms()
    Account.objects.create(b=ledger.bucket(number), account=number, card_kind=card_kind, created_ms=now_ms)
    Card.objects.create(card_key=card_key, account=number, created_ms=now_ms)
    return number


@transaction.atomic
def merge_again(told: Entry, till: str) -> None:
    """A LINK or MERGE that a till echoes to a restored centre, which may have forgotten both accounts."""
    old, new = told.account, law.merged_into(told)
    if old is None or new is None:
        return
    for number in (old, new):
        defaults = {"created_ms": clock.now_ms()}
        Account.objects.get_or_create(b=ledger.bucket(number), account=number, defaults=defaults)
    before, after = accounts.owner(old), accounts.owner(new)
    if before == old:
        merge(old, after, told.kind, [till])
    elif before != after:  # it was linked anew meanwhile, to another number
        merge(after, before, "MERGE", [till])


@transaction.atomic
def merge(old: int, new: int, kind: str = "MERGE", told: Collection[str] = ()) -> None:
    """All that `old` has is `new`'s from now on, and tills that know it are told. Again changes nothing."""
    centre = Centre.objects.get()
    giving_b, taking_b = ledger.bucket(old), ledger.bucket(new)
    opened = {b: shelf.open_bucket(b, centre.timeline) for b in sorted({giving_b, taking_b})}
    source = Account.objects.select_for_update().get(b=giving_b, account=old)
    if source.merged_into is not None or old == new:
        return
    told = {*told, *_tills_that_know(giving_b, old)}
    giving, taking = opened[giving_b], opened[taking_b]
    law.merge(giving, taking, old, new, kind, told=told, fenced=centre.fenced)
    for books in opened.values():
        shelf.save(books)
    Account.objects.filter(merged_into=old).update(merged_into=new)
    source.merged_into = new
    source.save(update_fields=["merged_into"])
    Card.objects.filter(account=old).update(account=new)
    Account.objects.filter(b=taking_b, account=new).update(due_s=0)


def _tills_that_know(b: int, account: int) -> Collection[str]:
    """Tills that wrote entries for an account: they have its card."""
    writers = LedgerEntry.objects.filter(b=b, account=account).values_list("till", flat=True).distinct()
    return {till for till in writers if not ledger.is_centre(till)}
