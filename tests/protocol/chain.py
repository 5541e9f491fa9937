"""A chain made of dictionaries: the pure protocol with nothing under it but values.

Tills, centre and the way between them are lists and dictionaries here; what each does with what it
hears is decided by loyalty/protocol, as it is in the agent and at the office.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from loyalty import ledger
from loyalty.ledger import Earned, Entry, LotTerms, Posting, Spent
from loyalty.protocol import centre, moves, till
from loyalty.protocol.books import AccountBooks, Books
from loyalty.protocol.centre import Claim, Facts, Row
from loyalty.protocol.till import Held

EVER = LotTerms("2026-01-01T00:00:00", None, "earn")
NOW = "2026-06-01T12:00:00"
TIMELINE = 1


@dataclass
class PureTill:
    """A till: its log, and what it holds."""

    id: str
    log: list[Entry] = field(default_factory=list)
    parcels: dict[tuple[int, str], int] = field(default_factory=lambda: defaultdict(int))
    terms: dict[str, LotTerms] = field(default_factory=dict)
    promised: dict[tuple[int, str], int] = field(default_factory=lambda: defaultdict(int))
    heard: int = 0  # messages of its downlink
    told: int = 0  # entries that the centre has

    def held(self, account: int) -> list[Held]:
        return [
            Held(lot, points, self.promised[account, lot], self.terms[lot])
            for (owner, lot), points in sorted(self.parcels.items())
            if owner == account and points
        ]

    def write(self, kind: str, account: int, postings: tuple[Posting, ...], ref: str | None = None) -> Entry:
        entry = Entry(self.id, 1, len(self.log) + 1, 0, kind, account, postings, None, ref)
        ledger.check(entry)
        self.log.append(entry)
        for posting in postings:
            if posting.terms:
                self.terms.setdefault(posting.lot, posting.terms)
            if posting.account == ledger.parcel(self.id):
                self.parcels[account, posting.lot] += posting.points
                assert self.parcels[account, posting.lot] >= 0
        return entry

    def sell(self, account: int, spend: Mapping[str, int], earn: int, *, here: bool) -> Entry:
        spent = [Spent(lot, points) for lot, points in spend.items() if points]
        earned = [Earned(earn, EVER, here)] if earn else []
        return self.write("SALE", account, moves.sale(self.id, 1, len(self.log) + 1, spent, earned))

    def hear(self, message: Entry) -> None:
        account = message.account
        assert account is not None
        before = any(entry.ref == message.id and entry.kind == "HANDOVER" for entry in self.log)
        self.carry_out(till.hear(self.id, 1, message, self.held(account), applied_before=before))

    def carry_out(self, effects: Iterable[till.Effect]) -> None:
        for effect in effects:
            match effect:
                case till.Put(account, lot, points, terms):
                    assert terms is not None
                    self.terms.setdefault(lot, terms)
                    self.parcels[account, lot] += points
                case till.Write(kind, account, postings, ref):
                    self.write(kind, account, postings, ref)
                case till.Rename(old, new):
                    for owner, lot in list(self.parcels):
                        if owner == old:
                            self.parcels[new, lot] += self.parcels.pop((owner, lot))


@dataclass
class PureCentre:
    """The office: the books of all accounts in one bucket, its inbox, and a downlink for each till."""

    tills: tuple[str, ...]
    accounts: dict[int, AccountBooks] = field(default_factory=dict)
    known: dict[centre.Key, Entry] = field(default_factory=dict)
    inbox: list[Entry] = field(default_factory=list)
    down: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    claims: dict[str, Claim] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    next_seq: int = 1

    def books(self) -> Books:
        def read(wanted: Iterable[int]) -> Mapping[int, AccountBooks]:
            return {account: self.accounts.setdefault(account, AccountBooks(account)) for account in wanted}

        return Books(7, TIMELINE, self.next_seq, b"", 0, read, lambda _: 1)

    def keep(self, books: Books) -> None:
        self.next_seq = books.next_seq
        for entry, _, _ in books.entries:
            assert centre_key(entry) not in self.known, f"{entry.id} twice"
            self.known[centre_key(entry)] = entry
        for who, body in books.down:
            self.down[who].append(ledger.parse(body))
        self.notes += [note.code for note in books.notes]
        for mine in self.accounts.values():
            mine.changed.clear()
            mine.begun.clear()
            mine.counted.clear()
            mine.repeats.clear()

    def open_account(self, account: int, points: int) -> None:
        books = self.books()
        lot = books.next_lot()
        opening = (Posting(ledger.ADJUSTED, lot, -points, EVER), Posting(ledger.FREE, lot, points))
        books.of(account)
        books.write("ADJUST", account, opening)
        self.keep(books)

    def receive(self, entries: Iterable[Entry], logs: Mapping[str, list[Entry]]) -> None:
        """Entries that are new here, or not; those that wait are tried again."""
        named = {centre_key(entry) for entry in self.inbox}
        self.inbox += [e for e in entries if centre_key(e) not in self.known and centre_key(e) not in named]
        books = self.books()
        rows = [
            Row(entry, ledger.canonical(entry), entry.account or 0, self._handed(entry, logs))
            for entry in self.inbox
        ]
        facts = Facts(known=set(self.known), members=set(self.accounts))
        arrival = centre.arrive(books, rows, facts)
        self.keep(books)
        self.inbox = [row.entry for row in arrival.waiting]

    def _handed(self, entry: Entry, logs: Mapping[str, list[Entry]]) -> tuple[Entry, bytes] | None:
        if entry.kind != "HANDOVER" or entry.postings:
            return None
        giver, _, seq = (entry.ref or "").split("-")
        given = logs[giver][int(seq) - 1]
        return given, ledger.canonical(given)

    def claim(self, name: str, account: int, who: str, want: int, listening: set[str]) -> int:
        books = self.books()
        asked = self.claims.setdefault(name, Claim(name, account, who, want))
        centre.claim(books, asked, NOW, listening)
        self.keep(books)
        return asked.granted

    def place(self, account: int, hub: str) -> None:
        books = self.books()
        centre.place(books, account, hub, NOW)
        self.keep(books)


def centre_key(entry: Entry) -> centre.Key:
    return (entry.till, entry.epoch, entry.seq)
