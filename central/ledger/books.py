"""The books of one bucket, open for one transaction: read once, moved in memory, written once.

Whoever opens a bucket locks its row of `BucketLog` first, so all changes of a bucket stand in one
line; several buckets are always opened in ascending order, so nobody waits in a circle.

Everything the books know is a sum over entries: a share is the sum of the postings into one parcel
(or into free), a balance the sums of an account. There is no other way to change them than `post`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from central.ledger.models import FREE, Balance, BucketLog, DownHead, DownMessage, LedgerEntry, Lot, Share
from loyalty import ledger, wire
from loyalty.ledger import Entry, LotTerms, Posting

TOTALS = ("issued", "spent", "expired", "adjusted", "debt")
"""Accounts of the double entry that belong to nobody's parcel; each is a column of Balance."""


def holder_of(account: str) -> str | None:
    """Whose share a posting into `account` changes: a till, FREE, or None for a total."""
    return FREE if account == ledger.FREE else ledger.holder(account)


def knows(entry: Entry) -> bool:
    """Does this version know every account of the double entry that `entry` posts to?"""
    return all(holder_of(posting.account) or posting.account in TOTALS for posting in entry.postings)


@dataclass(slots=True)
class AccountBooks:
    """One account: its sums, who holds how much of each lot, and the terms of its lots."""

    balance: Balance
    shares: dict[tuple[str, str], int] = field(default_factory=dict)  # (lot, holder) -> points
    lots: dict[str, LotTerms] = field(default_factory=dict)
    changed: set[tuple[str, str]] = field(default_factory=set)

    def held_by(self, holder: str) -> dict[str, int]:
        """Lot -> points of one holder; nothing is left out but nothing."""
        return {lot: points for (lot, who), points in self.shares.items() if who == holder and points}

    def overdrawn(self) -> list[tuple[str, str, int]]:
        """(lot, holder, missing) for every share that was just taken below zero."""
        return [
            (lot, who, -self.shares[lot, who])
            for lot, who in sorted(self.changed)
            if self.shares[lot, who] < 0
        ]


class Books:
    """One bucket inside one transaction. Open it with `open_bucket`, end with `save`."""

    def __init__(self, log: BucketLog, timeline: int, now_s: int) -> None:
        self.b = log.b
        self._log = log
        self._timeline = timeline
        self._now_s = now_s
        self._accounts: dict[int, AccountBooks] = {}
        self._entries: list[LedgerEntry] = []
        self._new_lots: list[Lot] = []
        self._down: list[DownMessage] = []
        self._heads: dict[str, DownHead] = {}

    def read(self, accounts: Iterable[int]) -> None:
        """Fetch these accounts in three queries instead of three each."""
        wanted = sorted(set(accounts) - self._accounts.keys())
        for account in wanted:
            self._accounts[account] = AccountBooks(Balance(b=self.b, account=account))
        for balance in Balance.objects.filter(b=self.b, account__in=wanted):
            self._accounts[balance.account].balance = balance
        for share in Share.objects.filter(b=self.b, account__in=wanted):
            self._accounts[share.account].shares[share.lot, share.holder] = share.points
        for lot in Lot.objects.filter(b=self.b, account__in=wanted):
            self._accounts[lot.account].lots[lot.lot] = LotTerms(lot.active_from, lot.expires_at, lot.rule)

    def of(self, account: int) -> AccountBooks:
        """The books of one account."""
        self.read([account])
        return self._accounts[account]

    def post(self, entry: Entry, body: bytes) -> None:
        """Add an entry to the ledger and move its points."""
        if entry.account is None:
            raise ValueError(f"entry {entry.id} has no account and so no bucket")
        self._entries.append(
            LedgerEntry(
                b=self.b,
                account=entry.account,
                till=entry.till,
                epoch=entry.epoch,
                seq=entry.seq,
                at_s=entry.at_s,
                kind=entry.kind,
                body=body,
            )
        )
        if not knows(entry):  # kept whole; a version that knows the account sums the ledger again
            return
        books = self.of(entry.account)
        for posting in entry.postings:
            if posting.terms is not None and posting.lot not in books.lots:
                books.lots[posting.lot] = posting.terms
                self._new_lots.append(self._lot(entry.account, posting.lot, posting.terms))
            who = holder_of(posting.account)
            if who is None:
                total = getattr(books.balance, posting.account) + posting.points
                setattr(books.balance, posting.account, total)
            else:
                books.shares[posting.lot, who] = books.shares.get((posting.lot, who), 0) + posting.points
                books.changed.add((posting.lot, who))
                books.balance.held += posting.points

    def write(
        self,
        kind: str,
        account: int,
        postings: tuple[Posting, ...],
        *,
        ref: str | None = None,
        flags: tuple[str, ...] = (),
    ) -> bytes:
        """Append an entry of the centre's own to the bucket's log and post it; its canonical bytes."""
        entry = Entry(
            till=ledger.centre_writer(self.b),
            epoch=self._timeline,
            seq=self._log.next_seq,
            at_s=self._now_s,
            kind=kind,
            account=account,
            postings=postings,
            ref=ref,
            flags=flags,
        )
        body = ledger.canonical(entry)
        self._log.next_seq += 1
        self._log.head = ledger.link(bytes(self._log.head), body)
        self.post(entry, body)
        return body

    def next_lot(self, n: int = 0) -> str:
        """The id of the n-th lot that the next entry of the centre may make."""
        return ledger.lot_id(ledger.centre_writer(self.b), self._timeline, self._log.next_seq, n)

    def send_down(self, till: str, body: bytes) -> None:
        """Append `body` to the downlink of `till`."""
        head = self._heads.get(till)
        if head is None:
            head = DownHead.objects.select_for_update().filter(b=self.b, till=till).first()
            if head is None:
                genesis = wire.down_genesis(till, self.b, self._timeline)
                head = DownHead(b=self.b, till=till, gseq=0, h=genesis)
            self._heads[till] = head
        head.gseq += 1
        head.h = ledger.link(bytes(head.h), body)
        self._down.append(DownMessage(b=self.b, till=till, gseq=head.gseq, body=body, h=head.h))

    def save(self) -> None:
        """Write everything. The database refuses a share below zero or a balance that does not add up."""
        if not self._entries:
            return
        LedgerEntry.objects.bulk_create(self._entries)
        Lot.objects.bulk_create(self._new_lots)
        kept, gone = [], []
        for account, books in self._accounts.items():
            for lot, who in sorted(books.changed):
                points = books.shares[lot, who]
                if points:
                    kept.append(Share(b=self.b, account=account, lot=lot, holder=who, points=points))
                else:
                    gone.append((self.b, account, lot, who))
        if gone:
            Share.objects.filter(pk__in=gone).delete()
        Share.objects.bulk_create(
            kept,
            update_conflicts=True,
            unique_fields=["b", "account", "lot", "holder"],
            update_fields=["points"],
        )
        Balance.objects.bulk_create(
            [books.balance for _, books in sorted(self._accounts.items())],
            update_conflicts=True,
            unique_fields=["b", "account"],
            update_fields=[*TOTALS, "held"],
        )
        DownMessage.objects.bulk_create(self._down)
        DownHead.objects.bulk_create(
            [self._heads[till] for till in sorted(self._heads)],
            update_conflicts=True,
            unique_fields=["b", "till"],
            update_fields=["gseq", "h"],
        )
        self._log.save()

    def _lot(self, account: int, lot: str, terms: LotTerms) -> Lot:
        return Lot(
            b=self.b,
            account=account,
            lot=lot,
            active_from=terms.active_from,
            expires_at=terms.expires_at,
            rule=terms.rule,
        )


def open_bucket(b: int, timeline: int, now_s: int) -> Books:
    """Lock a bucket and open its books. Call it inside a transaction, buckets in ascending order."""
    BucketLog.objects.get_or_create(b=b, defaults={"head": ledger.genesis(ledger.centre_writer(b), timeline)})
    return Books(BucketLog.objects.select_for_update().get(b=b), timeline, now_s)
