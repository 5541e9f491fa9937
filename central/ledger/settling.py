"""The office settles what tills could not: goods that came back without their receipt, or twice.

What all corrections of a sale together should come to is the engine's answer for all the goods that came
back, each once, by the rules and goods that the receipt names. What they did come to stands in their
entries. The difference is one ADJUST that names the return (loyalty/protocol/goods.py, `settle`): points
go to `free`, or are taken from there, and what is missing is owed.

A return whose sale has not come waits for it; after MISSED_AFTER_MS a person is told, and it is still
settled when the sale comes. What cannot be priced as its till did, or names no line of the receipt, is a
person's to settle. Nothing is settled while the centre does not know what it gave away (§5.11).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from django.db import transaction

from central import clock
from central.fleet.models import Centre
from central.intake import corrections
from central.intake.models import Correction, InboxEntry, note
from central.ledger import books as shelf
from central.members import accounts
from central.members.models import Account
from central.rules import publishing
from central.rules.models import PublicationFile
from loyalty import ledger, repricing
from loyalty.document import DocumentError, ReturnDocument, SaleDocument, parse, read_any
from loyalty.faults import Refused
from loyalty.index import Compiled
from loyalty.ledger import Entry, LedgerError
from loyalty.manifest import CATALOG, MAIN_FILE, RULEBOOK
from loyalty.protocol import centre as law
from loyalty.protocol import goods
from loyalty.returns import Returned, give_back

SETTLED_AT_ONCE = 50
MISSED_AT_ONCE = 20
MISSED_AFTER_MS = 14 * clock.DAY_S * 1000
COMPILED_KEPT = 2

TOO_MUCH = "RETURNED_TWICE"
NOT_PRICED = "RETURN_NOT_PRICED"


@dataclass(frozen=True, slots=True)
class _Case:
    """A correction to be settled, the sale it is about, and what has corrected that before."""

    entry: Entry
    sold: Entry
    paper: SaleDocument
    every: tuple[tuple[Entry, ReturnDocument | None], ...]  # with this one, in the order of their times
    adjusts: tuple[Entry, ...]


def settle_due() -> int:
    """Settle what can be settled now, and tell of what has waited too long. How many were looked at."""
    if Centre.objects.get().fenced:
        return 0
    due = Correction.objects.filter(state=Correction.DUE).order_by("at_ms", "till", "epoch", "seq")
    rows = list(due[:SETTLED_AT_ONCE])
    for row in rows:
        _settle(row)
    _tell_of_missed()
    return len(rows)


def _settle(row: Correction) -> None:
    case = _case(row)
    if case is None:
        return
    try:
        _post(row, case, _target(case))
    except (repricing.PriceDiffersError, Refused, LookupError, LedgerError) as error:
        note(case.entry, NOT_PRICED, f"its receipt cannot be priced again, settle it by hand: {error}")
        _close(row, Correction.DONE)
        return
    if _is_too_much(case):
        note(case.entry, TOO_MUCH, "more goods came back than were sold; their points count once")


def _post(row: Correction, case: _Case, target: Sequence[Returned] | None) -> None:
    """Raises LedgerError for what no ledger holds."""
    if case.sold.account is None:
        _close(row, Correction.DONE)
        return
    with transaction.atomic():
        owner = accounts.owner(case.sold.account)
        with shelf.opened(ledger.bucket(owner)) as books:
            if _case(row) != case:
                return  # something came meanwhile; the next pass sees it
            mine = books.of(owner)
            postings = goods.settle(
                goods.read_sale(case.sold),
                target,
                goods.done_by([*(entry for entry, _ in case.every), *case.adjusts]),
                free=mine.free,
                gone=mine.undone,
                terms=goods.terms_of(case.paper, mine.lots.get),
            )
            adjust: bytes | None = None
            if postings:
                books.write("ADJUST", owner, postings, ref=case.entry.id, flags=(goods.FLAG_RETURNED,))
                adjust = books.entries[-1][1]
                law.settle(books, owner)
                Account.objects.filter(b=books.b, account=owner).update(due_s=0)
            _close(row, Correction.DONE, adjust)


def _case(row: Correction) -> _Case | None:
    """What is known of it; None where it cannot be settled now, and then its row says why."""
    mine, sale = _inbox(row.till, row.epoch, row.seq), None
    named = ledger.read_ident(row.sale)
    if named is not None:
        sale = _inbox(named.till, named.epoch, named.seq)
    if mine is None or sale is None:
        _close(row, Correction.WAITING)
        return None
    entry, sold = ledger.parse(bytes(mine.body)), sale.sale()
    try:
        paper = parse(bytes(sale.document or b""))
    except DocumentError:
        paper = None
    if paper is None or sold is None:
        note(entry, corrections.NO_SALE, "what it names is no sale; settle it by hand")
        _close(row, Correction.ODD)
        return None
    if row.digits and row.digits != ledger.fingerprint(bytes(sale.h)):
        note(entry, corrections.WRONG_SLIP, "the digits of the slip are another sale's; settle it by hand")
        _close(row, Correction.ODD)
        return None
    every, adjusts = _corrections(row)
    return _Case(entry, sold, paper, every, adjusts)


def _inbox(till: str, epoch: int, seq: int) -> InboxEntry | None:
    """An entry that counts: it is here, and nobody has yet to decide about it."""
    return InboxEntry.objects.filter(till=till, epoch=epoch, seq=seq, quarantined_ms=None).first()


def _corrections(
    row: Correction,
) -> tuple[tuple[tuple[Entry, ReturnDocument | None], ...], tuple[Entry, ...]]:
    """What is settled of the sale and this one, in order, and what the office has adjusted for it."""
    rows = Correction.objects.filter(sale=row.sale)
    counted = [one for one in rows if one.state == Correction.DONE or one.pk == row.pk]
    keys = [(one.till, one.epoch, one.seq) for one in counted]
    items = InboxEntry.objects.filter(pk__in=keys, quarantined_ms=None)
    found = [(ledger.parse(bytes(item.body)), _told(item)) for item in items]
    found.sort(key=lambda pair: (pair[0].at_s, pair[0].id))
    adjusts = tuple(ledger.parse(bytes(one.adjust)) for one in rows if one.adjust is not None)
    return tuple(found), adjusts


def _told(item: InboxEntry) -> ReturnDocument | None:
    told = read_any(bytes(item.document or b""))
    return told if isinstance(told, ReturnDocument) else None


def _target(case: _Case) -> Sequence[Returned] | None:
    """What all of them should come to; None = all goes back. Raises what pricing raises, and LookupError."""
    if case.sold.account is None:
        return ()
    if any(entry.kind == "VOID" for entry, _ in case.every):
        return None
    papers = [paper for _, paper in case.every if paper is not None]
    if len(papers) < len(case.every):
        raise LookupError("what came back once cannot be read")
    pricing = repricing.reprice(_programme_of(case.paper), case.paper)
    return give_back(pricing, repricing.asked_back(papers, case.paper))


def _is_too_much(case: _Case) -> bool:
    """Did more come back than was sold, a line that was not, or goods of a sale that was voided?"""
    left = {line.id: line.quantity for line in case.paper.receipt.lines}
    for _, paper in case.every:
        for line in paper.lines if paper is not None else ():
            left[line.id] = left.get(line.id, 0) - line.quantity
    voids = sum(entry.kind == "VOID" for entry, _ in case.every)
    return min(left.values(), default=0) < 0 or (voids > 0 and len(case.every) > 1)


def _programme_of(paper: SaleDocument) -> Compiled:
    return _programme(
        _published(publishing.RULEBOOK_CHANNEL, MAIN_FILE[RULEBOOK], content_seq=paper.rulebook_seq)
        if paper.rulebook_seq
        else None,
        _published(publishing.CATALOG_CHANNEL, MAIN_FILE[CATALOG], version=paper.catalog_version)
        if paper.catalog_version
        else None,
    )


@lru_cache(maxsize=COMPILED_KEPT)
def _programme(rulebook: str | None, catalog: str | None) -> Compiled:
    """By the hashes of their files."""
    return repricing.programme(_content(rulebook), _content(catalog))


def _content(sha256: str | None) -> bytes | None:
    if sha256 is None:
        return None
    return bytes(PublicationFile.objects.filter(blob_id=sha256).select_related("blob")[0].blob.content)


def _published(channel: str, name: str, **which: int) -> str:
    """The hash of a file as it was published. Raises LookupError."""
    wanted = {f"publication__{field}": value for field, value in which.items()}
    found = PublicationFile.objects.filter(publication__channel=channel, name=name, **wanted).first()
    if found is None:
        raise LookupError(f"{channel}: {which} was not published here")
    return str(found.blob_id)


def _close(row: Correction, state: str, adjust: bytes | None = None) -> None:
    changes: dict[str, object] = {"state": state}
    if adjust is not None:
        changes["adjust"] = adjust
    Correction.objects.filter(pk=row.pk).update(**changes)


def _tell_of_missed() -> None:
    """Sales that never came; a person is told once. (And one that came at the same moment is found.)"""
    old = Correction.objects.filter(state=Correction.WAITING, at_ms__lt=clock.now_ms() - MISSED_AFTER_MS)
    for row in old.order_by("at_ms")[:MISSED_AT_ONCE]:
        _settle(row)
        if Correction.objects.get(pk=row.pk).state == Correction.WAITING:
            mine = InboxEntry.objects.get(till=row.till, epoch=row.epoch, seq=row.seq)
            note(ledger.parse(bytes(mine.body)), corrections.NO_SALE, "the sale that it names has not come")
            _close(row, Correction.MISSED)
