"""Goods returned and sales voided, found by their sale: what a receipt says was given back since.

A row is written in the transaction that takes the entry in. A return settles itself where its till had
the receipt and was alone with it; it is DUE for the office (central/ledger/settling.py) where it was
PENDING, or where another correction of the same sale is here, for its till may not have known of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from central import clock
from central.intake.models import Correction, InboxEntry, note
from loyalty import ledger, wire
from loyalty.document import ReturnDocument, read_any
from loyalty.ledger import FLAG_PENDING, Entry
from loyalty.protocol.intake import Link, Refused

KINDS = frozenset({"RETURN_GOODS", "VOID"})
NO_SALE = "RETURN_NO_SALE"
WRONG_SLIP = "RETURN_WRONG_SLIP"


def note_new(new: Sequence[Link]) -> None:
    """Entries were taken in: remember what corrects a sale, and what a correction waited for."""
    for link in new:
        if link.entry.kind in KINDS:
            _note(link.entry, bytes(link.document or b""))
    sales = [link.entry.id for link in new if link.entry.kind == "SALE"]
    waiting = Correction.objects.filter(state__in=(Correction.WAITING, Correction.MISSED))
    if sales and waiting.exists():
        waiting.filter(sale__in=sales).update(state=Correction.DUE)


def _note(entry: Entry, paper: bytes) -> None:
    named = ledger.read_ident(entry.ref or "")
    sale, digits = named.entry_id if named is not None else "", ""
    if FLAG_PENDING in entry.flags:
        told = ledger.read_ident(_slip_line(paper))
        digits = told.digits or "" if told is not None else ""
    others = Correction.objects.filter(sale=sale).exists()
    due = FLAG_PENDING in entry.flags or others
    state = Correction.DUE if due else Correction.DONE
    if not sale:
        state = Correction.ODD
        if entry.kind == "RETURN_GOODS":
            note(entry, NO_SALE, "it does not say which sale; settle it by hand")
    Correction.objects.create(
        till=entry.till,
        epoch=entry.epoch,
        seq=entry.seq,
        sale=sale,
        digits=digits,
        state=state,
        at_ms=clock.now_ms(),
    )


def _slip_line(paper: bytes) -> str:
    """What the customer's slip said, in the document of a return."""
    told = read_any(paper)
    return told.sale if isinstance(told, ReturnDocument) else ""


def look_again(till: str, epoch: int) -> None:
    """Late entries of this life are taken now (central/fleet/lives.py)."""
    Correction.objects.filter(till=till, epoch=epoch, state=Correction.WAITING).update(state=Correction.DUE)


def forget(till: str, epoch: int, seq: int) -> None:
    """A correction was reversed: it counts no more, and the sale's others are looked at again."""
    found = Correction.objects.filter(till=till, epoch=epoch, seq=seq).first()
    if found is None:
        return
    Correction.objects.filter(pk=found.pk).update(state=Correction.ODD)
    last = Correction.objects.filter(sale=found.sale, state=Correction.DONE).order_by("at_ms").last()
    if last is not None:
        Correction.objects.filter(pk=last.pk).update(state=Correction.DUE)


def receipt(ref: str) -> wire.ReceiptReply:
    """The receipt that the last line of a slip names, unsigned. Raises Refused.

    Every till of the chain may ask; the six digits show that somebody holds the slip.
    """
    named = ledger.read_ident(ref)
    if named is None or named.digits is None or named.epoch > 2**62 or named.seq > 2**62:
        raise Refused(400, "BAD_MESSAGE", "name the receipt by the last line of its slip, with its digits")
    row = InboxEntry.objects.filter(till=named.till, epoch=named.epoch, seq=named.seq).first()
    if (
        row is None
        and not InboxEntry.objects.filter(till=named.till, epoch=named.epoch, seq__gt=named.seq).exists()
    ):
        raise Refused(404, wire.NOT_YET, "that till has not told of it so far")
    if row is not None and row.quarantined_ms is not None:
        raise Refused(404, wire.NOT_YET, "somebody has to decide about that till's late entries first")
    entry = row.sale() if row is not None else None
    if row is None or entry is None or row.document is None:
        raise Refused(404, wire.NO_SUCH_RECEIPT, "there is no such receipt")
    if ledger.fingerprint(bytes(row.h)) != named.digits:
        raise Refused(404, wire.NO_SUCH_RECEIPT, "there is no such receipt")
    return wire.ReceiptReply(
        entry=bytes(row.body),
        document=bytes(row.document),
        returns=tuple((bytes(one.body), bytes(one.document or b"")) for one in _of(entry.id)),
    )


def _of(sale: str) -> list[InboxEntry]:
    """The corrections of a sale that count, in the order in which they came."""
    rows = Correction.objects.filter(sale=sale).exclude(state=Correction.ODD).order_by("at_ms", "till", "seq")
    keys = [(row.till, row.epoch, row.seq) for row in rows]
    found = {one.pk: one for one in InboxEntry.objects.filter(pk__in=keys, quarantined_ms=None)}
    return [found[key] for key in keys if key in found]
