"""The centre's books of a few accounts, open for one step: read, moved in memory, written down.

Everything the books know is a sum over entries: a share is the sum of the postings into one
parcel (or into free), a total the sum of the postings into `issued`, `spent`, `expired`,
`adjusted` or `debt`. There is no other way to change them than `post`. What a step changed
lies in the lists and sets below until the shell has written it, in one transaction.

**Lives.** Entries speak of `parcel:{till}`; a holder is one LIFE of a till, `{till}~{epoch}`. So what a
till held in a life that has ended (§5.9, §5.10) is not its own any more in the moment in which the next
one begins: the till of today cannot spend it, and a late entry of the old life can. Which life an entry
means stands in the entry: its own, where it speaks of its writer; else its `ref` says so
(`{till}-{epoch}`, and what it answers behind a colon: GRANT, HANDOVER).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from loyalty import ledger
from loyalty.ledger import Entry, LotTerms, Posting

TOTALS = ("issued", "spent", "expired", "adjusted", "debt")
"""Accounts of the double entry that belong to nobody's parcel."""
_NUMBER = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Note:
    """Something a person should look at: what was odd about an entry."""

    entry: Entry
    code: str
    detail: str


@dataclass(slots=True)
class AccountBooks:
    """One account: its sums, who holds how much of each lot, and the terms of its lots.

    `once` = the lot that counts for each once-key; `undone` = lots that came again under one.
    """

    account: int
    totals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOTALS, 0))
    shares: dict[tuple[str, str], int] = field(default_factory=dict)  # (lot, holder) -> points
    lots: dict[str, LotTerms] = field(default_factory=dict)
    once: dict[str, str] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)
    changed: set[tuple[str, str]] = field(default_factory=set)
    begun: list[str] = field(default_factory=list)  # lots that are new to the books
    counted: list[str] = field(default_factory=list)  # once-keys that are new to the books
    repeats: list[str] = field(default_factory=list)  # lots that were undone in this step

    @property
    def held(self) -> int:
        """Points that somebody may spend: free and all parcels."""
        return sum(self.shares.values())

    @property
    def balance(self) -> int:
        """What the customer owns: held less what is owed (debt stands below zero)."""
        return self.held + self.totals["debt"]

    def held_by(self, holder: str) -> dict[str, int]:
        """Lot -> points of one holder, where there are any."""
        return {lot: points for (lot, who), points in self.shares.items() if who == holder and points}

    @property
    def free(self) -> dict[str, int]:
        """Lot -> points that no till holds."""
        return self.held_by(ledger.FREE)

    def live_free(self, shop_now: str) -> list[str]:
        """Free lots that may be spent at a shop's wall clock, in the order in which they are spent."""
        live = [lot for lot in self.free if lot in self.lots and is_live(self.lots[lot], shop_now)]
        return sorted(live, key=lambda lot: spending_order(self.lots[lot], lot))


def is_live(terms: LotTerms, shop_now: str) -> bool:
    """May a lot be spent at `shop_now`? Times of one fixed width compare as text."""
    return terms.active_from <= shop_now and (terms.expires_at is None or shop_now < terms.expires_at)


def spending_order(terms: LotTerms, lot: str) -> tuple[bool, str, str, str]:
    """The first to expire first; no expiry comes last."""
    return (terms.expires_at is None, terms.expires_at or "", terms.active_from, lot)


class Books:
    """Some accounts of one bucket inside one step, and the centre's log of that bucket."""

    def __init__(
        self,
        b: int,
        timeline: int,
        next_seq: int,
        head: bytes,
        now_s: int,
        read: Callable[[Iterable[int]], Mapping[int, AccountBooks]],
        epoch_of: Callable[[str], int],
    ) -> None:
        self.b = b
        self.timeline = timeline
        self.next_seq = next_seq
        self.head = head
        self.now_s = now_s
        self.epoch_of = epoch_of  # till -> its present life
        self.accounts: dict[int, AccountBooks] = {}
        self.entries: list[tuple[Entry, bytes, int]] = []  # and whose points they moved
        self.down: list[tuple[str, bytes]] = []  # (till, body): for its downlink, in order
        self.notes: list[Note] = []
        self._read = read

    def open(self, accounts: Iterable[int]) -> None:
        """Have these accounts read, all at once."""
        wanted = sorted(set(accounts) - self.accounts.keys())
        if wanted:
            self.accounts.update(self._read(wanted))

    def of(self, account: int) -> AccountBooks:
        """The books of one account."""
        self.open([account])
        return self.accounts[account]

    def deltas(self, entry: Entry) -> dict[tuple[str, str], int]:
        """(lot, holder) -> what `entry` adds to the share."""
        found: dict[tuple[str, str], int] = {}
        for posting in entry.postings:
            who = self.holder_of(entry, posting.account)
            if who is not None:
                found[posting.lot, who] = found.get((posting.lot, who), 0) + posting.points
        return found

    def overdraws(self, entry: Entry, owner: int) -> bool:
        """Would `entry` take from a holder what it does not have?"""
        shares = self.of(owner).shares
        return any(points + shares.get(key, 0) < 0 for key, points in self.deltas(entry).items())

    def holder_of(self, entry: Entry, account: str) -> str | None:
        """Whose share a posting of `entry` changes: a holder, FREE, or None for a total.

        See Lives, at the top of this file.
        """
        return holder_of(entry, account)

    def life_of(self, till: str) -> str:
        """The holder that a till is today."""
        return ledger.life(till, self.epoch_of(till))

    def post(self, entry: Entry, body: bytes, owner: int | None = None) -> None:
        """Add an entry to the ledger and move its points in the books of `owner` (merged cards, §5.15)."""
        if entry.account is None:
            raise ValueError(f"entry {entry.id} has no account and so no bucket")
        owner = entry.account if owner is None else owner
        self.entries.append((entry, body, owner))
        if not knows(entry):  # kept whole; a version that knows the account sums the ledger again
            return
        books = self.of(owner)
        for posting in entry.postings:
            if posting.terms is not None and posting.lot not in books.lots:
                books.lots[posting.lot] = posting.terms
                books.begun.append(posting.lot)
            who = self.holder_of(entry, posting.account)
            if who is None:
                books.totals[posting.account] += posting.points
            else:
                key = (posting.lot, who)
                books.shares[key] = books.shares.get(key, 0) + posting.points
                books.changed.add(key)

    def write(
        self,
        kind: str,
        account: int,
        postings: tuple[Posting, ...],
        *,
        ref: str | None = None,
        flags: tuple[str, ...] = (),
        owner: int | None = None,
    ) -> Entry:
        """Append an entry of the centre's own to the bucket's log and post it."""
        entry = Entry(
            till=ledger.centre_writer(self.b),
            epoch=self.timeline,
            seq=self.next_seq,
            at_s=self.now_s,
            kind=kind,
            account=account,
            postings=postings,
            ref=ref,
            flags=flags,
        )
        body = ledger.canonical(entry)
        self.next_seq += 1
        self.head = ledger.link(self.head, body)
        self.post(entry, body, owner)
        return entry

    def write_to(
        self, till: str, kind: str, account: int, postings: tuple[Posting, ...], answers: str = ""
    ) -> Entry:
        """The same, for the present life of `till`, which is told of it."""
        entry = self.write(kind, account, postings, ref=told_life(till, self.epoch_of(till), answers))
        self.send_down(till, self.entries[-1][1])
        return entry

    def next_lot(self, n: int = 0) -> str:
        """The id of the n-th lot that the next entry of the centre may make."""
        return ledger.lot_id(ledger.centre_writer(self.b), self.timeline, self.next_seq, n)

    def send_down(self, till: str, body: bytes) -> None:
        """Append `body` to the downlink of `till`."""
        self.down.append((till, body))

    def note(self, entry: Entry, code: str, detail: str) -> None:
        """A person should look at this."""
        self.notes.append(Note(entry, code, detail))


def told_life(till: str, epoch: int, answers: str = "") -> str:
    """The `ref` of an entry that speaks of another's parcel: whose life, and what it answers."""
    return f"{till}-{epoch}:{answers}" if answers else f"{till}-{epoch}"


def told_epoch(entry: Entry) -> int:
    """The epoch in such a `ref`; 0, which no life has, where there is none."""
    epoch = (entry.ref or "").partition(":")[0].rpartition("-")[2]
    return int(epoch) if _NUMBER.fullmatch(epoch) else 0


def told_answer(entry: Entry) -> str:
    """What such a `ref` answers: a claim, a receipt; empty for what was told unasked."""
    return (entry.ref or "").partition(":")[2]


def holder_of(entry: Entry, account: str) -> str | None:
    """Whose share a posting of `entry` into `account` changes: a life of a till, FREE, or None."""
    who = ledger.FREE if account == ledger.FREE else ledger.holder(account)
    if who is None or who == ledger.FREE or "~" in who:
        return who
    return ledger.life(who, entry.epoch if who == entry.till else told_epoch(entry))


def knows(entry: Entry) -> bool:
    """Does this version know every account of the double entry that `entry` posts to?"""
    return all(
        posting.account == ledger.FREE or posting.account in TOTALS or _is_parcel(posting.account)
        for posting in entry.postings
    )


def _is_parcel(account: str) -> bool:
    till, tilde, epoch = (ledger.holder(account) or "").partition("~")
    return bool(till) and (not tilde or _NUMBER.fullmatch(epoch) is not None)
