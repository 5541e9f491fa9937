"""What is looked at after every round: the files of till and centre, the paper, and the shop's book.

Everything is read from SQLite by this process; the till's file in one transaction, so that a till that
runs meanwhile cannot change it under our eyes. `expect` says in a sentence what is wrong.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.drivers.fakes.paper import Slip
from agent.offline.ledger_reader import Reader
from agent.offline.records import LedgerFault
from loyalty import ledger
from loyalty.ledger import Entry
from loyalty.wire import down_genesis
from tests.e2e.torture.cashiers import Book, Purchase

TILL = "T1"
ID = f"'{TILL}-' || epoch || '-' || seq"  # of an entry, in SQL
COPY_MARK = "КОПИЯ"
TOTALS = ("issued", "spent", "expired", "adjusted", "debt", "held")  # of a balance


class Broken(AssertionError):  # noqa: N818 - the house's faults have no Error in their names
    """A promise that was not kept."""


def expect(kept: object, sentence: str) -> None:
    """Raise Broken where a promise was not kept."""
    if not kept:
        raise Broken(sentence)


def nothing_in(bad: Collection[object], sentence: str) -> None:
    """Raise Broken, naming the first of what should not be there."""
    expect(not bad, f"{sentence}: {', '.join(str(item) for item in sorted(bad, key=str)[:5])}")


@dataclass
class Log:
    """The till's ledger.db as it stood at one moment."""

    epoch: int
    entries: dict[str, Entry]  # by id
    idents: dict[str, str]  # what stands at the foot of a slip -> entry id
    heads: dict[str, bytes]  # entry id -> the chain's hash after it
    sold: dict[str, str]  # the cash program's id of a sale -> id of its SALE
    voided: dict[str, str]  # id of a SALE -> id of the VOID that takes it back
    returned: dict[str, str]  # id of a SALE -> id of the RETURN_GOODS with its goods
    held: dict[str, str]  # sale -> the quote that is promised to it
    parcels: dict[tuple[int, str], int]
    acked_seq: int
    printed: set[str]  # entries whose slip the printer has confirmed


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """One look at a file, as it is at the first question."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as disk:
        disk.execute("BEGIN")
        yield disk


def wait_for_a_change(path: Path, query: str, timeout_s: float) -> bool:
    """Return as soon as the answer to a query is another one than now. False: it stays as it is."""
    until_s = time.monotonic() + timeout_s
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as disk:
        before = now = disk.execute(query).fetchone()
        while now == before and time.monotonic() < until_s:
            now = disk.execute(query).fetchone()
    return now != before


def journal_of(database: Path) -> Path:
    """What lies beside the centre's file as long as a transaction is under way."""
    return database.with_name(f"{database.name}-journal")


def wait_for_a_journal(database: Path, timeout_s: float) -> None:
    """Return as soon as the centre is in the middle of a transaction."""
    until_s = time.monotonic() + timeout_s
    while not journal_of(database).exists():
        expect(time.monotonic() < until_s, f"the centre wrote nothing in {timeout_s} s")


def read_log(path: Path) -> Log:
    """Read the till's ledger and check all that it says of itself: the chain, and that nothing is half."""
    with reading(path) as disk:
        reader = Reader(disk)
        try:
            reader.verify(TILL)
        except LedgerFault as fault:
            raise Broken(f"the till's chain does not verify: {fault}") from fault
        _nothing_half(disk)
        uplink, holds = reader.uplink(), reader.holds()
        chained = [(ledger.parse(body), h) for body, h in disk.execute("SELECT body, h FROM entry")]
        sales = disk.execute(
            f"SELECT sale_id, {ID} FROM document JOIN entry USING (epoch, seq) WHERE kind = 'SALE'"
        ).fetchall()
        voids = [(entry.ref, entry.id) for entry, _ in chained if entry.kind == "VOID"]
        returns = [(entry.ref, entry.id) for entry, _ in chained if entry.kind == "RETURN_GOODS"]
        nothing_in(_twice(sale_id for sale_id, _ in sales), "a sale stands in the ledger twice")
        nothing_in(_twice(sale for sale, _ in voids), "a sale was taken back twice")
        nothing_in(_twice(sale for sale, _ in returns), "the same goods came back twice")
        promised = {(hold.sale_id, piece.lot, piece.points) for hold in holds for piece in hold.offer.spends}
        kept = _table(disk, "SELECT sale_id, lot, points FROM hold_parcel")
        nothing_in(promised ^ kept, "quotes that hold other points than they promise")
        parcels = disk.execute("SELECT account, lot, points FROM parcel").fetchall()
        printed = disk.execute(f"SELECT {ID} FROM print_note WHERE outcome = 'printed'").fetchall()
        log = Log(
            epoch=uplink.epoch,
            entries={entry.id: entry for entry, _ in chained},
            heads={entry.id: h for entry, h in chained},
            idents={f"{entry.id}-{ledger.fingerprint(h)}": entry.id for entry, h in chained},
            sold=dict(sales),
            voided=dict(voids),
            returned=dict(returns),
            held={hold.sale_id: hold.offer.quote_id for hold in holds},
            parcels={(account, lot): points for account, lot, points in parcels},
            acked_seq=uplink.acked_seq,
            printed={ident for (ident,) in printed},
        )
        granted = _downlink(disk, uplink.timeline)
    _parcels_are_their_log(log, granted)
    return log


def _nothing_half(disk: sqlite3.Connection) -> None:
    """Whatever one transaction writes is there as a whole or not at all."""
    halves = {
        "a document without its entry": "SELECT epoch, seq FROM document EXCEPT SELECT epoch, seq FROM entry",
        "a sale or return without its document": "SELECT epoch, seq FROM entry"
        " WHERE kind IN ('SALE', 'RETURN_GOODS') EXCEPT SELECT epoch, seq FROM document",
        "a sale or return without the answer to it": "SELECT sale_id FROM document"
        " EXCEPT SELECT sale_id FROM answer WHERE verb IN ('commit', 'return')",
        "an answer without its sale or return": "SELECT sale_id FROM answer"
        " WHERE verb IN ('commit', 'return') EXCEPT SELECT sale_id FROM document",
        "promised points without their quote": "SELECT sale_id FROM hold_parcel"
        " EXCEPT SELECT sale_id FROM hold",
        "a quote that is held without its points": "SELECT sale_id FROM hold"
        " EXCEPT SELECT sale_id FROM hold_parcel",
        "a sale that is paid and still holds points": "SELECT sale_id FROM hold"
        " INTERSECT SELECT sale_id FROM document",
        "points that are promised and do not lie here": "SELECT account, lot FROM hold_parcel h"
        " GROUP BY 1, 2 HAVING sum(points) > coalesce((SELECT points FROM parcel p"
        " WHERE p.account = h.account AND p.lot = h.lot), 0)",
    }
    for what, query in halves.items():
        nothing_in(disk.execute(query).fetchall(), f"in ledger.db is {what}")


def _downlink(disk: sqlite3.Connection, timeline: int) -> list[Entry]:
    """What the centre sent down: without a gap, chained, and the cursor at its end."""
    found: list[Entry] = []
    heads: dict[int, tuple[int, bytes]] = {}
    query = "SELECT bucket, gseq, body, h FROM downlink WHERE timeline = ? ORDER BY bucket, gseq"
    for bucket, gseq, body, h in disk.execute(query, (timeline,)):
        last, head = heads.get(bucket, (0, down_genesis(TILL, bucket, timeline)))
        whole = gseq == last + 1 and ledger.link(head, body) == h
        expect(whole, f"downlink {bucket} is broken at message {gseq}")
        heads[bucket] = (gseq, h)
        found.append(ledger.parse(body))
    query = "SELECT bucket, gseq, h FROM down_cursor WHERE timeline = ?"
    cursors = {bucket: (gseq, h) for bucket, gseq, h in disk.execute(query, (timeline,))}
    expect(cursors == heads, "a cursor of the downlink does not stand at its end")
    return found


def _parcels_are_their_log(log: Log, granted: Iterable[Entry]) -> None:
    """What lies here is what the entries and the downlink have moved, to the hundredth of a point."""
    moved: dict[tuple[int, str], int] = defaultdict(int)
    for entry in (*log.entries.values(), *granted):
        for posting in entry.postings:
            if posting.account == ledger.parcel(TILL):
                moved[entry.account, posting.lot] += posting.points
    wrong = {key for key in moved.keys() | log.parcels.keys() if moved.get(key, 0) != log.parcels.get(key, 0)}
    nothing_in(wrong, "parcels (account, lot) differ from what the log and the downlink moved")


def compare_with_the_book(log: Log, book: Book) -> None:
    """What was answered is there, once and as it was answered; what was promised is kept."""
    nothing_in(book.refused, "the till refused what it had promised")
    nothing_in(log.sold.keys() - book.purchases.keys(), "sales in the ledger that nobody has asked for")
    for purchase in book.purchases.values():
        _sale_is_as_answered(log, purchase)
        _promise_is_kept(log, purchase)


def _sale_is_as_answered(log: Log, purchase: Purchase) -> None:
    sale = log.sold.get(purchase.id)
    if purchase.paid is not None:
        paid = purchase.paid
        expect(sale == paid["entry"], f"sale {purchase.id} was answered {paid['entry']}, there is {sale}")
        expect(log.idents.get(paid["ident"]) == sale, f"{paid['ident']} of a slip is not in the ledger")
    elif sale is not None:
        expect(purchase.in_doubt == "commit", f"sale {purchase.id} was written, and nobody asked for it")
    for what, answer, found in (
        ("void", purchase.taken_back, log.voided.get(sale or "")),
        ("return", purchase.returned, log.returned.get(sale or "")),
    ):
        if answer is not None:
            told = f"the {what} of {purchase.id} was answered {answer['entry']}, there is {found}"
            expect(found is not None and found == answer["entry"], told)
        elif found is not None:
            expect(purchase.in_doubt == what, f"nobody has asked for the {what} of {purchase.id}")


def _promise_is_kept(log: Log, purchase: Purchase) -> None:
    held, doubt = log.held.get(purchase.id), purchase.in_doubt
    if not purchase.promised:
        nobody_knows = held is None or doubt in ("quote", "change", "same")
        expect(nobody_knows, f"sale {purchase.id} holds points that nobody asked for")
        return
    kept = held == purchase.quoted["quote_id"]
    done = (doubt == "commit" and purchase.id in log.sold) or (doubt == "void" and held is None)
    expect(kept or done or doubt == "change", f"the quote promised to {purchase.id} is not held any more")


@dataclass
class Paper:
    """Every slip that came out of the printer, by the line at its foot."""

    originals: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)

    def take(self, slips: Iterable[Slip]) -> None:
        """Count what was torn off."""
        for slip in slips:
            feet = [line.strip() for line in slip.lines if line.strip().startswith(f"{TILL}-")]
            expect(len(feet) == 1, f"a slip with {len(feet)} feet:\n{slip.text}")
            (self.copies if COPY_MARK in slip.text else self.originals)[feet[0]] += 1

    def compare(self, log: Log, book: Book) -> None:
        """Nothing is on paper that is not in the ledger, and nothing twice without the mark of a copy."""
        there = log.idents
        nothing_in((self.originals.keys() | self.copies.keys()) - there.keys(), "slips of no entry")
        nothing_in([ident for ident, n in self.originals.items() if n > 1], "slips printed twice")
        asked = {log.sold[p.id]: p.prints for p in book.purchases.values() if p.id in log.sold}
        more = [ident for ident, n in self.copies.items() if n > asked.get(there[ident], 0)]
        nothing_in(more, "copies that nobody asked for")


def compare_with_the_paper(log: Log, paper: Paper) -> None:
    """What the printer has confirmed did come out. `paper` was looked at after the log."""
    on_paper = {log.idents.get(ident) for ident in (paper.originals.keys() | paper.copies.keys())}
    nothing_in(log.printed - on_paper, "slips noted as printed that are not on paper")


def received(database: Path) -> int:
    """The last entry of the till that the centre has."""
    with reading(database) as disk:
        ((next_seq,),) = disk.execute(
            "SELECT next_seq FROM till_cursor WHERE till_id = ?", (TILL,)
        ).fetchall()
    return next_seq - 1


def compare_with_the_centre(log: Log, database: Path) -> None:
    """The centre has a beginning of the till's log, and all that the till believes it has."""
    with reading(database) as disk:
        ((next_seq, head),) = disk.execute(
            "SELECT next_seq, head FROM till_cursor WHERE till_id = ?", (TILL,)
        ).fetchall()
        incidents = disk.execute("SELECT till, epoch, seq, code, detail FROM intake_incident").fetchall()
    nothing_in(incidents, "the centre noted incidents")
    expect(
        next_seq > log.acked_seq,
        f"the till believes entry {log.acked_seq} sent; the centre has {next_seq - 1}",
    )
    ours = log.heads.get(f"{TILL}-{log.epoch}-{next_seq - 1}", ledger.genesis(TILL, log.epoch))
    expect(bytes(head) == ours, f"at entry {next_seq - 1} the centre has another log than the till")


def compare_ledgers(log: Log, till_file: Path, database: Path) -> None:
    """The link is there and all is sent: both ledgers and both ideas of who holds what are equal."""
    with reading(till_file) as disk:
        query = (
            "SELECT seq, e.body, h, d.body FROM entry e LEFT JOIN document d USING (epoch, seq) ORDER BY 1"
        )
        sent = disk.execute(query).fetchall()
    with reading(database) as disk:
        query = "SELECT seq, body, h, document FROM inbox WHERE till = ? ORDER BY seq"
        expect(disk.execute(query, (TILL,)).fetchall() == sent, "the centre has not what the till wrote")
        waiting = disk.execute("SELECT seq FROM inbox WHERE NOT applied").fetchall()
        nothing_in(waiting, "entries that the centre took and did not apply")
        shares = _table(disk, "SELECT account, lot, holder, points FROM share")
        balances = _table(disk, f"SELECT account, {', '.join(TOTALS)} FROM balance")
        bodies = [bytes(body) for (body,) in disk.execute("SELECT body FROM ledger")]
    entries = [ledger.parse(body) for body in bodies]
    ours = Counter(ident for ident, entry in log.entries.items() if entry.account is not None)
    theirs = Counter(entry.id for entry in entries if entry.till == TILL)
    expect(theirs == ours, "the centre's ledger has not each entry of the till once")
    us = ledger.life(TILL, log.epoch)
    held, sums = _sums(entries, us)
    nothing_in(held ^ shares, "shares that no entry made")
    nothing_in(
        sums ^ {row for row in balances if any(row[1:])}, "balances that are not the sums of the entries"
    )
    here = {(account, lot, points) for (account, lot), points in log.parcels.items() if points}
    there = {(account, lot, points) for account, lot, holder, points in shares if holder == us}
    nothing_in(here ^ there, "till and centre disagree on who holds (account, lot, points)")


def _sums(entries: Iterable[Entry], us: str) -> tuple[set[Any], set[Any]]:
    """What entries make of shares and balances, as rows; rows of nothing are left out."""
    shares: Counter[tuple[int, str, str]] = Counter()
    totals: dict[int, Counter[str]] = defaultdict(Counter)
    holders = {ledger.FREE: ledger.FREE, ledger.parcel(TILL): us}
    for entry in entries:
        for posting in entry.postings:
            who = holders.get(posting.account)
            totals[entry.account]["held" if who else posting.account] += posting.points
            if who:
                shares[entry.account, posting.lot, who] += posting.points
    rows = {(account, *(sums[name] for name in TOTALS)) for account, sums in totals.items()}
    return {(*key, points) for key, points in shares.items() if points}, {row for row in rows if any(row[1:])}


def _table(disk: sqlite3.Connection, query: str) -> set[Any]:
    return set(disk.execute(query).fetchall())


def _twice(items: Iterable[Any]) -> list[Any]:
    return [item for item, times in Counter(items).items() if times > 1]
