"""One receipt, twice: by the till, and by plain sqlite3 with the same rows.

The till's side is `LedgerDb.append` as a commit calls it: place in the log, checks, hash and chain,
parcels, hold and answer. The other side has every value ready: it only begins, writes the same rows into
a file of the same schema (triggers, indexes, pragmas), and commits. So the distance is what the ledger
costs beyond the disk. What the counter makes while the transaction stands open (the document of the
offer, the slip's lines, the answer's JSON) is no work of the ledger's and is timed by itself.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agent import pricing, replies
from agent.offline import files
from agent.offline.engine import InForce
from agent.offline.ledger_db import LedgerDb
from agent.offline.records import Hold, Parcel, Place, Written
from agent.slip_data import slip_data
from bench import week
from bench.timing import Samples
from bench.week import Sold
from loyalty.document import Tender
from loyalty.ledger import Entry, LotTerms
from loyalty.sale import Cart, Holder, Paid
from loyalty.wire import EnrollReply, Member

LOTS = {"A-1-1-0": 100, "A-1-2-0": 200}
"""What the customer of each receipt has here, and spends: two lots (hundredths)."""
TERMS = LotTerms("2026-01-01T00:00:00", "2027-01-01T00:00:00", "earn5")
WARM_UP = 20


class DisagreementError(Exception):
    """The two sides did not write the same; their times are worth nothing."""


@dataclass(slots=True)
class Transactions:
    """Wall times of the two sides, of the same receipts; `making` = what the counter makes meanwhile."""

    till: Samples = field(default_factory=Samples)
    plain: Samples = field(default_factory=Samples)
    making: Samples = field(default_factory=Samples)


def measure(count: int, directory: Path | None = None) -> Transactions:
    """`count` receipts on the disk of `directory`, by the till and plainly in turns."""
    found = Transactions()
    programme = week.in_force()
    with tempfile.TemporaryDirectory(prefix="kopilka-bench-", dir=directory) as name:
        ledger = LedgerDb(Path(name) / "ledger.db")
        plain = files.open_writer(Path(name) / "plain.db", "ledger")
        try:
            ledger.enrol(_enrolment(), "http://centre")
            baskets = week.Week(programme)
            for number in range(count + WARM_UP):
                sold = _receipt(baskets, programme, number)
                _promise(ledger, plain, sold)
                samples = found if number >= WARM_UP else Transactions()
                _by_the_till(ledger, sold, programme, samples)
                samples.plain.ns.append(_plainly(plain, written_by(ledger, sold)))
            _check(ledger, plain)
        finally:
            ledger.close()
            plain.close()
    return found


def _enrolment() -> EnrollReply:
    return EnrollReply(week.TILL, 1, week.STORE, "session", 1, b"c" * 32, b"r" * 32, {}, 1, 0)


def _receipt(baskets: week.Week, programme: InForce, number: int) -> Sold:
    """A paid sale of a customer of its own: two lots spent, one earned."""
    at_s = week.BEGINS_S + 30 * number
    lots = [
        Parcel(lot, points, TERMS.active_from, TERMS.expires_at, TERMS.rule) for lot, points in LOTS.items()
    ]
    customer = pricing.Customer(Member(1_001 + number, tier="silver"), lots, sum(LOTS.values()), at_s)
    holder = Holder(number, "2000•••0015", "card", "plastic", False)
    while True:  # a basket that is worth points enough
        cart = Cart(lines=baskets.lines(), holder=holder, redeem="max", operator="Иванова")
        offer = pricing.make_offer(f"K1-{number:06}", week.TILL, cart, at_s, customer, programme)
        if len(offer.spends) == len(LOTS) and len(offer.earns) == 1:
            break
    paid = Paid(offer.quote_id, (Tender("card", offer.pay),), f"{number}", None)
    return Sold(offer, paid, at_s)


def _account(sold: Sold) -> int:
    assert sold.offer.customer is not None
    return sold.offer.customer.account


def _promise(ledger: LedgerDb, plain: sqlite3.Connection, sold: Sold) -> None:
    """On both sides the customer's lots lie here, and are promised to the sale."""
    account, sale_id = _account(sold), sold.offer.receipt.id
    with ledger.transaction():
        for lot, points in LOTS.items():
            ledger.put(account, lot, points, TERMS, why=sale_id)
    ledger.save_hold(Hold(sale_id, b"h" * 32, sold.at_s, sold.at_s, sold.offer))
    with files.transaction(plain):
        for table, where, value in (
            ("parcel", "account", account),
            ("hold", "sale_id", sale_id),
            ("hold_parcel", "sale_id", sale_id),
        ):
            for row in ledger.execute(f"SELECT * FROM {table} WHERE {where} = ?", (value,)).fetchall():
                plain.execute(*_insertion(table, row))


def _by_the_till(ledger: LedgerDb, sold: Sold, programme: InForce, samples: Transactions) -> None:
    """One commit. What the counter makes for it (document, slip, answer) is timed by itself."""
    making = 0

    def build(place: Place) -> tuple[Entry, bytes]:
        nonlocal making
        began = time.perf_counter_ns()
        made = sold.entry(place)
        making += time.perf_counter_ns() - began
        return made

    def answer(written: Written) -> bytes:
        nonlocal making
        began = time.perf_counter_ns()
        slip = slip_data(
            sold.offer, programme, ident=written.ident, now_s=sold.at_s, customer=None, fresh=False
        )
        reply = replies.commit_reply(
            sold.offer, written, slip, sale_id=sold.offer.receipt.id, columns=None, width=48, translate=str
        )
        said = msgspec.json.encode(reply)
        making += time.perf_counter_ns() - began
        return said

    worked = pricing.worked(sold.offer)
    began = time.perf_counter_ns()
    ledger.append(
        week.TILL,
        build,
        sale_id=sold.offer.receipt.id,
        verb="commit",
        body_sha256=b"b" * 32,
        at_s=sold.at_s,
        answer=answer,
        print_waived=True,
        worked=worked,
    )
    took = time.perf_counter_ns() - began
    samples.till.ns.append(took - making)
    samples.making.ns.append(making)


Statement = tuple[str, tuple[Any, ...]]


def written_by(ledger: LedgerDb, sold: Sold) -> list[Statement]:
    """Everything that the commit has written, as statements with their values ready."""
    sale_id, account = sold.offer.receipt.id, _account(sold)
    epoch, seq = ledger.execute("SELECT epoch, seq FROM document WHERE sale_id = ?", (sale_id,)).fetchone()
    (earned,) = ledger.execute(
        "SELECT lot FROM parcel WHERE account = ? AND points > 0", (account,)
    ).fetchone()

    def row(table: str, where: str, *values: Any) -> tuple[Any, ...]:
        found: tuple[Any, ...] = ledger.execute(f"SELECT * FROM {table} WHERE {where}", values).fetchone()
        return found

    statements = [
        _insertion("entry", row("entry", "epoch = ? AND seq = ?", epoch, seq)),
        _insertion("document", row("document", "epoch = ? AND seq = ?", epoch, seq)),
        ("INSERT OR REPLACE INTO priced_by VALUES (?, ?, ?, ?)", row("priced_by", "seq = ?", seq)),
        _insertion("standing", row("standing", "account = ?", account)),
        ("DELETE FROM hold_parcel WHERE sale_id = ?", (sale_id,)),
        ("DELETE FROM hold WHERE sale_id = ?", (sale_id,)),
    ]
    for lot in LOTS:
        _, _, points, *_ = row("parcel", "account = ? AND lot = ?", account, lot)
        statements.append(
            ("UPDATE parcel SET points = ? WHERE account = ? AND lot = ?", (points, account, lot))
        )
    statements += [
        _insertion("parcel", row("parcel", "account = ? AND lot = ?", account, earned)),
        _insertion("answer", row("answer", "sale_id = ?", sale_id)),
        _insertion("print_note", row("print_note", "epoch = ? AND seq = ?", epoch, seq)),
    ]
    return statements


def _insertion(table: str, row: tuple[Any, ...]) -> Statement:
    return f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row


def _plainly(plain: sqlite3.Connection, statements: list[Statement]) -> int:
    """Nanoseconds of one bare transaction."""
    began = time.perf_counter_ns()
    plain.execute("BEGIN IMMEDIATE")
    for sql, values in statements:
        plain.execute(sql, values)
    plain.execute("COMMIT")
    return time.perf_counter_ns() - began


def _check(ledger: LedgerDb, plain: sqlite3.Connection) -> None:
    """Nothing is compared that did not do the same: every table holds the same rows."""
    for (table,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        if table in ("identity", "uplink") or table.startswith(("sqlite_", "_")):
            continue
        rows = f"SELECT * FROM {table} ORDER BY 1, 2"
        if sorted(plain.execute(rows).fetchall()) != sorted(ledger.execute(rows).fetchall()):
            raise DisagreementError(f"the two files differ in {table}")
