"""Whose goods come back: a sale in our own ledger, at the store's hub, or at the centre.

A sale of this till is named by its id or its entry. One of another till is named by the last line of its
slip, all of it: the six digits show that somebody holds the slip. The store's hub is asked for what it
sold itself (≤ 300 ms), and shows what it took back of it. Where the link is up, the centre is asked as
well (≤ 1 s in all), also for a sale of our own: it knows what other tills took back. Its word that there
is no such receipt is the last, but for our own.

A `Search` is a value that waits for their words; the till's loop never does.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from agent.cards import QUOTE_WAIT_MS
from agent.clock import Clock
from agent.health import Health
from agent.inbox import HubReceiptFound, Problem, ReceiptFound
from agent.offline.ledger_db import LedgerDb
from agent.outside import Outside
from agent.sync.asking import HUB_MS, HubPlace
from loyalty import document, ledger
from loyalty.document import ReturnDocument, SaleDocument
from loyalty.ledger import Entry, Ident
from loyalty.texts import N_
from loyalty.wire import NO_SUCH_RECEIPT, WIRE_VERSION, HubReceiptReply, HubReceiptRequest

NO_RECEIPT = N_("there is no such receipt; check the last line of its slip, with all six digits")
WHOLE_LINE = N_("this receipt is another till's: send the whole last line of its slip, with its six digits")


@dataclass(frozen=True, slots=True)
class Sold:
    """A sale whose goods come back: its entry, receipt and last line, and what has corrected it so far."""

    entry: Entry
    paper: SaleDocument
    ident: str
    corrections: tuple[tuple[Entry, bytes | None], ...]
    owner: int | None  # whose points they are today, as far as is known here


@dataclass(frozen=True, slots=True)
class _Found:
    """A sale that was found: canonical document, the slip's six digits, and what others say has corrected it.

    `owner`: whose points they are today, as the finder says.
    """

    entry: Entry
    document: bytes
    digits: str
    told: tuple[tuple[Entry, bytes | None], ...] = ()
    owner: int | None = None

    @property
    def ident(self) -> str:
        """The last line of its slip."""
        return f"{self.entry.id}-{self.digits}"


@dataclass(slots=True)
class _HubAsked:
    """A question to the store's hub, which is waited for until `due_ms` (monotonic) or its answer."""

    request: HubReceiptRequest
    due_ms: int
    over: bool = False
    answer: HubReceiptReply | None = None


@dataclass(slots=True)
class Search:
    """A sale that is looked for until `due_ms` (monotonic): of this till by its id, or any by its slip."""

    sale_id: str | None
    ref: str | None
    due_ms: int
    hub: _HubAsked | None = None
    asked_ref: str | None = None  # at the centre
    heard: ReceiptFound | None = None
    is_late: bool = False  # nothing more is waited for

    @property
    def next_ms(self) -> int:
        """When the next word is not waited for any more."""
        if self.hub is None or self.hub.over:
            return self.due_ms
        return min(self.due_ms, self.hub.due_ms)

    def hear(self, event: ReceiptFound | HubReceiptFound) -> bool:
        """Was it this one's word? What comes after its time is not used."""
        match event:
            case ReceiptFound(ref) if self.asked_ref == ref and self.heard is None:
                self.heard = event
                return True
            case HubReceiptFound(request, answer) if self.hub is not None:
                if self.hub.request == request and not self.hub.over:
                    self.hub.over, self.hub.answer = True, answer
                    return True
        return False

    def look_at_the_clock(self, now_ms: int) -> None:
        """What has not come by now is not waited for."""
        self.is_late = self.is_late or self.due_ms <= now_ms
        if self.hub is not None and self.hub.due_ms <= now_ms:
            self.hub.over = True


class Receipts:
    """The till's thread's. See the top of this file."""

    def __init__(
        self,
        *,
        till: str,
        ledger_db: LedgerDb,
        outside: Outside,
        health: Health,
        clock: Clock,
        hub: Callable[[], HubPlace | None],
    ) -> None:
        self._till = till
        self._ledger = ledger_db
        self._outside = outside
        self._health = health
        self._clock = clock
        self._hub = hub

    def search(self, sale_id: str | None, ref: str | None) -> Search:
        """Begin to look for the sale of a return."""
        return Search(sale_id, ref, self._clock.monotonic_ms() + QUOTE_WAIT_MS)

    def awaits(self, search: Search) -> bool:
        """Hub, centre: is there somebody whom we ask now, or have asked and still wait for?

        Raises Problem for a sale that would be here, if it had ever been.
        """
        if search.heard is not None:
            return False
        own = self._own(search)
        ref = own.ident if own is not None else _last_line(search)
        if ref is None:
            return False  # only a person can find it
        if not search.is_late:
            if search.hub is None and own is None:
                self._ask_hub(search, ref)
            if search.hub is not None and not search.hub.over:
                return True
            # Of a sale that the centre has not heard of, nobody else can have heard.
            known_there = own is None or self._ledger.is_acked(own.entry)
            if search.asked_ref is None and self._health.online and known_there:
                search.asked_ref = ref
                self._outside.receipt(ref)
            if search.asked_ref is not None:
                return True
        search.heard = ReceiptFound(ref, None, None)  # what the centre says now comes too late
        return False

    def sold(self, search: Search) -> Sold | None:
        """The sale, with every correction that is known, told or our own, each once; None: nobody has it.

        Raises Problem where it is not ours, and the centre says that there is none; LedgerError and
        DocumentError where it cannot be read.
        """
        found = self._told(search, self._own(search))
        if found is None:
            return None
        ours = self._ledger.corrections(found.entry.id)
        every = {one.id: (one, body) for one, body in [*found.told, *ours]}
        corrections = sorted(every.values(), key=lambda pair: (pair[0].at_s, pair[0].id))
        account = found.entry.account if found.owner is None else found.owner
        return Sold(
            found.entry,
            document.parse(found.document),
            found.ident,
            tuple(corrections),
            None if account is None else self._ledger.owner(account),
        )

    def show(self, ref: str) -> HubReceiptReply | None:
        """A sale of this till, for another one of the shop: this is the hub. None: it is not here.

        A till that was restored shows nothing before the centre has told it what its backup lacks.
        """
        named = ledger.read_ident(ref)
        if named is None or named.till != self._till or named.digits is None:
            return None
        uplink = self._ledger.uplink()
        receipt = self._ledger.receipt(named.epoch, named.seq)
        if receipt is None or receipt.entry.kind != "SALE" or uplink.restoring or uplink.ended:
            return None
        if ledger.fingerprint(receipt.head) != named.digits:
            return None
        entry = receipt.entry
        return HubReceiptReply(
            prev=self._ledger.hash_at(named.epoch, named.seq - 1, self._till),
            entry=ledger.canonical(entry),
            document=receipt.document,
            returns=tuple(
                (ledger.canonical(one), paper or b"") for one, paper in self._ledger.corrections(entry.id)
            ),
            owner=self._ledger.owner(entry.account) if entry.account is not None else None,
        )

    def _own(self, search: Search) -> _Found | None:
        """The sale in our own ledger. Raises Problem for one that would be here, if it had ever been."""
        if search.sale_id is not None:
            entry = self._ledger.sale_entry(search.sale_id)
            if entry is None:
                text = N_(
                    "this till has no sale {id}; send as ref the last line of its slip", id=search.sale_id
                )
                raise Problem(404, "unknown_sale", text)
            named = Ident(entry.till, entry.epoch, entry.seq, None)
        else:
            read = ledger.read_ident(search.ref or "")
            if read is None or read.till != self._till:
                return None
            named = read
        receipt = self._ledger.receipt(named.epoch, named.seq)
        if receipt is None:
            return None  # pruned, perhaps: the centre has it
        digits = ledger.fingerprint(receipt.head)
        if receipt.entry.kind != "SALE" or named.digits not in (None, digits):
            raise Problem(404, "unknown_sale", NO_RECEIPT)
        return _Found(receipt.entry, receipt.document, digits)

    def _told(self, search: Search, own: _Found | None) -> _Found | None:
        """The sale with what the hub and the centre (verified) have told of it."""
        heard = search.heard
        if heard is None:
            return own
        if heard.refused == NO_SUCH_RECEIPT and own is None:
            raise Problem(404, "unknown_sale", NO_RECEIPT)
        hub = search.hub.answer if search.hub is not None else None
        reply = heard.answer or hub  # the centre knows later news of the owner
        if reply is None:
            return own
        since = [*(hub.returns if hub else ()), *(heard.answer.returns if heard.answer else ())]
        told = tuple((ledger.parse(body), paper or None) for body, paper in since)
        if own is not None:
            return replace(own, told=told, owner=reply.owner)
        digits = heard.ref.rpartition("-")[2]
        return _Found(ledger.parse(reply.entry), reply.document, digits, told, reply.owner)

    def _ask_hub(self, search: Search, ref: str) -> None:
        """The hub has the receipts of its own sales, and of no others."""
        place, named = self._hub(), ledger.read_ident(ref)
        if place is None or named is None or place.till != named.till:
            return
        request = HubReceiptRequest(WIRE_VERSION, self._till, ref, secrets.token_bytes(16), b"")
        search.hub = _HubAsked(request, self._clock.monotonic_ms() + HUB_MS)
        self._outside.ask_hub_for_receipt(place, request)


def left_of(paper: SaleDocument, back: Iterable[ReturnDocument]) -> dict[str, int]:
    """Line id -> thousandths of a sale that have not come back."""
    left = {line.id: line.quantity for line in paper.receipt.lines}
    for returned in back:
        for line in returned.lines:
            if line.id in left:
                left[line.id] = max(0, left[line.id] - line.quantity)
    return left


def _last_line(search: Search) -> str | None:
    """The last line of another till's slip; None: it is none. Raises Problem where its digits are missing."""
    named = ledger.read_ident(search.ref or "")
    if named is None:
        return None
    if named.digits is None:
        raise Problem(409, "ref_incomplete", WHOLE_LINE)
    return f"{named.entry_id}-{named.digits}"
