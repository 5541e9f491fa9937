"""ledger.db: what this till did. Everything or nothing, never edited, never a number left out."""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from agent.offline import files, heard
from agent.offline.files import FileError
from agent.offline.ledger_db import LedgerDb
from agent.offline.ledger_reader import BATCH_BYTES, Reader
from agent.offline.records import DiskFull, Hold, LedgerFault, Place, Uplink, Written
from loyalty import ledger, wire
from loyalty.document import Receipt, SeenCustomer, SoldLine
from loyalty.ledger import Earned, Entry, LotTerms, Posting, Spent
from loyalty.protocol import moves
from loyalty.sale import Cart, Offer
from loyalty.wire import DownItem
from tests.agent.shop import ACCOUNT, LOT, TILL, enrolment

AT_S = 1_795_000_000
TERMS = LotTerms("2026-01-01T00:00:00", None, "opening")
BUCKET = ledger.bucket(ACCOUNT)
RECEIPT = b"\x01 what was sold"


@pytest.fixture
def book(tmp_path: Path) -> Iterator[LedgerDb]:
    """The ledger of a till that was just enrolled."""
    book = LedgerDb(tmp_path / "ledger.db")
    book.enrol(enrolment(), "http://centre")
    yield book
    book.close()


# ------------------------------------------------------------------- what happens to a till


def sell(
    book: LedgerDb,
    sale_id: str,
    *,
    account: int | None = None,
    spend: list[Spent] | None = None,
    earn: list[Earned] | None = None,
    document: bytes | None = RECEIPT,
    kind: str = "SALE",
    answer: Callable[[Written], bytes] = lambda written: written.ident.encode(),
    **changes: Any,
) -> Written:
    """Commit one sale, as the till does."""

    def build(place: Place) -> tuple[Entry, bytes | None]:
        entry = Entry(
            till=place.till,
            epoch=place.epoch,
            seq=place.seq,
            at_s=AT_S,
            kind=kind,
            account=account,
            postings=moves.sale(place.till, place.epoch, place.seq, spend or [], earn or []),
            document_sha256=hashlib.sha256(document).digest() if document is not None else None,
        )
        return msgspec.structs.replace(entry, **changes), document

    written, _ = book.append(
        TILL, build, sale_id=sale_id, verb="commit", body_sha256=b"asked", at_s=AT_S, answer=answer
    )
    return written


def grant_body(
    gseq: int, points: int = 60_000, *, kind: str = "GRANT", terms: LotTerms | None = TERMS
) -> bytes:
    entry = Entry(
        till=ledger.centre_writer(BUCKET),
        epoch=1,
        seq=gseq,
        at_s=AT_S,
        kind=kind,
        account=ACCOUNT,
        postings=(Posting(ledger.FREE, LOT, -points), Posting(ledger.parcel(TILL), LOT, points, terms)),
    )
    return ledger.canonical(entry)


def downlink(*bodies: bytes, bucket: int = BUCKET) -> tuple[DownItem, ...]:
    """These messages as the centre chains them, from the first on."""
    items, head = [], wire.down_genesis(TILL, bucket, 1)
    for gseq, body in enumerate(bodies, start=1):
        head = ledger.link(head, body)
        items.append(DownItem(bucket, gseq, body, head))
    return tuple(items)


def synced(book: LedgerDb, *down: DownItem, next_seq: int = 1, server_ms: int = 0, durable: int = 0) -> int:
    """The centre answered."""
    answer = heard.Answer(1, 1, "s1", next_seq, durable, server_ms, down, b"signature")
    return heard.synced(book, TILL, answer, AT_S)


def granted(book: LedgerDb, points: int = 60_000) -> None:
    assert synced(book, *downlink(grant_body(1, points))) == 1


def hold(sale_id: str, points: int, *, lot: str = LOT, quote_id: str = "q1") -> Hold:
    cart = Cart(lines=(SoldLine("1", "milk", 10_000, 1_000),))
    offer = Offer(
        quote_id=quote_id,
        cart=cart,
        receipt=Receipt(sale_id, TILL, "S1", None, "pos", "2026-11-18T14:06:40+03:00", cart.lines),
        customer=SeenCustomer(ACCOUNT),
        rulebook_seq=7,
        kill_seq=0,
        catalog_version=3,
        quote=b"{}",
        pay=9_000,
        spends=(Spent(lot, points),),
        earns=(),
        titles={},
    )
    return Hold(sale_id, b"asked", AT_S, AT_S - 5, offer)


def left(book: Reader, but_for: str = "") -> dict[str, int]:
    return {parcel.lot: parcel.points for parcel in book.parcels(ACCOUNT, but_for)}


def contents(path: Path) -> dict[str, list[Any]]:
    """Every row of every table, to see that nothing changed."""
    with closing(sqlite3.connect(path)) as raw:
        tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: raw.execute(f"SELECT * FROM {name}").fetchall() for name in tables}


# ----------------------------------------------------------------- numbers and the chain


def test_entries_are_numbered_from_one_without_a_gap_and_chained(book: LedgerDb) -> None:
    assert book.head(1, TILL) == (0, ledger.genesis(TILL, 1))
    heads = [sell(book, f"r{n}").head for n in range(1, 6)]
    newest_first = book.entries(10)
    assert [entry.id for entry, _ in newest_first] == [f"T1-1-{seq}" for seq in range(5, 0, -1)]
    bodies = [ledger.canonical(entry) for entry, _ in reversed(newest_first)]
    assert [ledger.chain(ledger.genesis(TILL, 1), bodies[:n]) for n in range(1, 6)] == heads
    assert book.verify(TILL) == 5
    assert [book.hash_at(1, seq, TILL) for seq in range(1, 6)] == heads


def test_the_slip_names_the_entry_and_its_hash(book: LedgerDb) -> None:
    written = sell(book, "r1")
    assert written.ident == f"T1-1-1-{written.head.hex()[:6]}"


@pytest.mark.parametrize(
    "wrong",
    [{"seq": 5}, {"seq": 0}, {"epoch": 2}, {"document_sha256": b"x" * 32}, {"document_sha256": None}],
    ids=str,
)
def test_an_entry_that_was_not_made_for_its_place_and_receipt_is_refused(
    book: LedgerDb, wrong: dict[str, Any]
) -> None:
    before = contents(book.path)
    with pytest.raises(LedgerFault, match="not made for its place"):
        sell(book, "r1", **wrong)
    assert contents(book.path) == before


def test_an_entry_that_does_not_balance_is_refused(book: LedgerDb) -> None:
    before = contents(book.path)
    with pytest.raises(LedgerFault, match="cannot be written"):
        sell(book, "r1", account=ACCOUNT, postings=(Posting(ledger.FREE, LOT, 5),))
    assert contents(book.path) == before


# ------------------------------------------------------------- all of a sale, or nothing


def boom(_: Written) -> bytes:
    raise RuntimeError("the power fails here")


def test_a_failure_in_the_middle_leaves_nothing_of_the_sale(book: LedgerDb) -> None:
    """The answer is made last, inside the transaction: entry, document, parcels and hold stand behind it."""
    granted(book)
    book.save_hold(hold("r1", 45_000))
    before = contents(book.path)
    with pytest.raises(RuntimeError):
        sell(book, "r1", account=ACCOUNT, spend=[Spent(LOT, 45_000)], answer=boom)
    assert contents(book.path) == before
    # And the same commit again does all of it.
    sell(book, "r1", account=ACCOUNT, spend=[Spent(LOT, 45_000)])
    assert left(book) == {LOT: 15_000}
    assert book.hold("r1") is None
    assert book.sale_entry("r1") is not None
    assert book.answer("r1", "commit") is not None


def test_a_sale_is_committed_once(book: LedgerDb) -> None:
    sell(book, "r1")
    before = contents(book.path)
    with pytest.raises(LedgerFault):
        sell(book, "r1")
    assert contents(book.path) == before


def test_an_answer_is_given_again_word_for_word(book: LedgerDb) -> None:
    written = sell(book, "r1")
    kept = book.answer("r1", "commit")
    assert kept is not None
    assert (kept.body_sha256, kept.body) == (b"asked", written.ident.encode())
    assert book.answer("r1", "void") is None
    book.remember("r1", "print:p1", b"asked too", AT_S, b"{}")
    with pytest.raises(LedgerFault):
        book.remember("r1", "print:p1", b"asked otherwise", AT_S, b"{}")


def test_a_full_disk_refuses_the_whole_sale_and_takes_it_once_there_is_room(book: LedgerDb) -> None:
    granted(book)
    book.save_hold(hold("r1", 45_000))
    (pages,) = book._db.execute("PRAGMA page_count").fetchone()
    book._db.execute(f"PRAGMA max_page_count = {pages}")
    before = contents(book.path)
    with pytest.raises(DiskFull):
        sell(book, "r1", account=ACCOUNT, spend=[Spent(LOT, 45_000)], document=b"\x01" + b"x" * 20_000)
    assert contents(book.path) == before
    assert book.verify(TILL) == 0
    # What only looks after itself does not fall over a full disk.
    book.note_retry(3)
    book.note_print(1, 1, AT_S, "printed")
    book._db.execute("PRAGMA max_page_count = 1000000")
    sell(book, "r1", account=ACCOUNT, spend=[Spent(LOT, 45_000)], document=b"\x01" + b"x" * 20_000)
    assert (left(book), book.verify(TILL)) == ({LOT: 15_000}, 1)


def test_a_full_disk_refuses_what_the_centre_sends_as_a_whole(book: LedgerDb) -> None:
    (pages,) = book._db.execute("PRAGMA page_count").fetchone()
    book._db.execute(f"PRAGMA max_page_count = {pages}")
    lots = [Posting(ledger.parcel(TILL), f"lot-{n}", 5, TERMS) for n in range(300)]
    back = [Posting(ledger.FREE, f"lot-{n}", -5) for n in range(300)]
    entry = Entry("c:1", 1, 1, AT_S, "GRANT", ACCOUNT, (*lots, *back))
    with pytest.raises(DiskFull):
        synced(book, *downlink(ledger.canonical(entry)), next_seq=1)
    assert (book.uplink().session, left(book)) == ("s0", {})


# ---------------------------------------------------------------------- parcels and holds


def test_a_till_never_spends_what_it_does_not_hold(book: LedgerDb) -> None:
    granted(book, 100)
    before = contents(book.path)
    for lot, points in ((LOT, 101), ("another", 1)):
        with pytest.raises(LedgerFault, match="does not hold"):
            sell(book, "r1", account=ACCOUNT, spend=[Spent(lot, points)])
    with pytest.raises(LedgerFault, match="does not hold"):
        sell(book, "r1", account=ACCOUNT + 1, spend=[Spent(LOT, 1)])
    assert contents(book.path) == before


def test_points_earned_here_can_be_spent_here_unless_their_day_lies_ahead(book: LedgerDb) -> None:
    sell(book, "r1", account=ACCOUNT, earn=[Earned(500, TERMS, True), Earned(70, TERMS, False)])
    assert left(book) == {"T1-1-1-0": 500}
    sell(book, "r2", account=ACCOUNT, spend=[Spent("T1-1-1-0", 500)])
    assert left(book) == {}
    spent_up = book.parcel(ACCOUNT, "T1-1-1-0")
    assert spent_up is not None  # its terms are remembered for a void
    assert (spent_up.points, spent_up.active_from, spent_up.rule) == (0, "2026-01-01T00:00:00", "opening")


def test_what_is_promised_to_one_sale_is_not_promised_to_another(book: LedgerDb) -> None:
    granted(book)
    book.save_hold(hold("r1", 45_000))
    assert left(book) == {LOT: 15_000}
    assert left(book, but_for="r1") == {LOT: 60_000}
    with pytest.raises(LedgerFault, match="promised more points"):
        book.save_hold(hold("r2", 15_001))
    book.save_hold(hold("r2", 15_000))
    assert left(book) == {}
    assert [held.sale_id for held in book.holds()] == ["r1", "r2"]


def test_a_new_quote_of_a_sale_takes_the_place_of_the_old_promise(book: LedgerDb) -> None:
    granted(book)
    book.save_hold(hold("r1", 60_000))
    book.save_hold(hold("r1", 20_000, quote_id="q2"))
    kept = book.hold("r1")
    assert kept is not None
    assert (kept, left(book)) == (hold("r1", 20_000, quote_id="q2"), {LOT: 40_000})


def test_a_promise_that_cannot_be_kept_leaves_the_one_before(book: LedgerDb) -> None:
    granted(book)
    book.save_hold(hold("r1", 10_000))
    with pytest.raises(LedgerFault):
        book.save_hold(hold("r1", 10_000, lot="nowhere", quote_id="q2"))
    assert book.hold("r1") == hold("r1", 10_000)


def test_a_promise_that_is_released_can_be_made_again(book: LedgerDb) -> None:
    granted(book)
    book.save_hold(hold("r1", 60_000))
    book.release_hold("r1")
    book.release_hold("never held")
    assert (left(book), book.holds()) == ({LOT: 60_000}, [])


def test_a_hold_of_a_later_agent_is_refused_by_name_not_misread(book: LedgerDb) -> None:
    granted(book)
    book.save_hold(hold("r1", 1))
    for damaged, says in ((b"\x02rest", "version 02"), (b"\x01\xff", "cannot be read")):
        book._db.execute("UPDATE hold SET offer = ?", (damaged,))
        with pytest.raises(LedgerFault, match=says):
            book.holds()


# -------------------------------------------------------------- never edited, never deleted


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET at_s = 0",
        "UPDATE document SET body = x'00'",
        "UPDATE downlink SET body = x'00'",
        "DELETE FROM entry",
        "DELETE FROM document",
        "DELETE FROM downlink",
    ],
)
def test_the_file_itself_forbids_to_edit_and_to_delete(book: LedgerDb, statement: str) -> None:
    granted(book)
    sell(book, "r1")
    before = contents(book.path)
    with closing(sqlite3.connect(book.path)) as raw, pytest.raises(sqlite3.IntegrityError, match="never"):
        raw.execute(statement)
    assert contents(book.path) == before


TRIGGERS = [f"{table}_is_never_{done}" for table in ("entry", "document") for done in ("edited", "deleted")]
TAMPERED: dict[str, tuple[str, str]] = {
    "a byte of an entry": (
        "UPDATE entry SET body = CAST(replace(CAST(body AS TEXT), 'SALE', 'SALF') AS BLOB) WHERE seq = 2",
        "T1-1-2 is not what was written",
    ),
    "a hash": ("UPDATE entry SET h = zeroblob(32) WHERE seq = 3", "T1-1-3 is not what was written"),
    "an entry in the middle": ("DELETE FROM entry WHERE seq = 2", "T1-1-2 is missing"),
    "the first entry": ("DELETE FROM entry WHERE seq = 1", "T1-1-1 is missing"),
    "the newest, which the centre has": ("DELETE FROM entry WHERE seq = 4", "T1-1-4 is missing"),
    "all of them": ("DELETE FROM entry", "T1-1-1 is missing"),
    "a receipt": ("UPDATE document SET body = x'0102' WHERE seq = 2", "receipt of entry T1-1-2"),
    "a receipt that is gone": ("DELETE FROM document WHERE seq = 3", "receipt of entry T1-1-3"),
    "two entries that changed places": (
        "UPDATE entry SET seq = CASE seq WHEN 2 THEN 9 WHEN 3 THEN 2 ELSE seq END WHERE seq IN (2, 3);"
        "UPDATE entry SET seq = 3 WHERE seq = 9",
        "T1-1-2 is not what was written",
    ),
}


@pytest.mark.parametrize(("statements", "says"), TAMPERED.values(), ids=TAMPERED.keys())
def test_whoever_breaks_the_file_open_is_found_and_the_place_is_named(
    book: LedgerDb, statements: str, says: str
) -> None:
    for n in range(1, 5):
        sell(book, f"r{n}")
    synced(book, next_seq=5)
    assert book.verify(TILL) == 4
    with closing(sqlite3.connect(book.path)) as raw:
        for trigger in TRIGGERS:
            raw.execute(f"DROP TRIGGER {trigger}")
        raw.executescript(statements)
    with pytest.raises(LedgerFault, match=says):
        book.verify(TILL)


def test_an_entry_that_cannot_be_read_is_named_not_a_crash(book: LedgerDb) -> None:
    sell(book, "r1")
    with closing(sqlite3.connect(book.path)) as raw:
        raw.execute("DROP TRIGGER entry_is_never_edited")
        raw.execute("UPDATE entry SET body = x'01ff'")
        raw.commit()
    with pytest.raises(LedgerFault, match="cannot be read"):
        book.entries(5)
    with pytest.raises(LedgerFault, match="cannot be read"):
        book.sale_entry("r1")


def test_a_pruned_ledger_is_verified_from_where_it_begins(book: LedgerDb) -> None:
    """Pruning keeps the head of what it drops, so nothing can be slipped in behind it."""
    heads = {n: sell(book, f"r{n}").head for n in range(1, 6)}
    book._db.execute("INSERT INTO pruned VALUES (1, 3, ?)", (heads[3],))
    book._db.execute("DELETE FROM document WHERE seq <= 3")
    book._db.execute("DELETE FROM entry WHERE seq <= 3")
    with pytest.raises(sqlite3.IntegrityError, match="never"):
        book._db.execute("DELETE FROM entry WHERE seq = 4")
    assert book.verify(TILL) == 2
    assert sell(book, "r6").entry.id == "T1-1-6"
    assert book.verify(TILL) == 3


# ------------------------------------------------------------------------- up to the centre


def test_a_batch_is_what_the_centre_has_not_yet_taken(book: LedgerDb) -> None:
    heads = [sell(book, f"r{n}", document=b"\x01" + bytes([n])).head for n in range(1, 6)]
    synced(book, *downlink(grant_body(1)), next_seq=3)
    book.note_channel("rulebook.all", 4, "ab", AT_S)
    batch = book.batch(TILL, 2)
    assert (batch.first_seq, batch.prev) == (3, heads[1])
    assert [ledger.parse(body).seq for body in batch.bodies] == [3, 4]
    assert batch.documents == ((3, b"\x01\x03"), (4, b"\x01\x04"))
    assert batch.down == {BUCKET: 1}
    assert ledger.chain(batch.prev, batch.bodies) == heads[3]
    assert book.pending() == (3, AT_S)


def test_a_till_with_nothing_new_has_an_empty_batch(book: LedgerDb) -> None:
    batch = book.batch(TILL, 500)
    assert (batch.first_seq, batch.prev, batch.bodies) == (1, ledger.genesis(TILL, 1), ())
    assert book.pending() == (0, None)


class SaysNo:
    """The till's file on a disk that fails one statement."""

    def __init__(self, connection: sqlite3.Connection, statement: str) -> None:
        self._connection = connection
        self._statement = statement

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        if sql == self._statement:
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(sql, values)


def test_a_batch_that_the_disk_cut_short_does_not_keep_the_till_from_selling(book: LedgerDb) -> None:
    sell(book, "r1")
    sound = book._db
    book._db = SaysNo(sound, "COMMIT")  # type: ignore[assignment]
    with pytest.raises(sqlite3.OperationalError):
        book.batch(TILL, 500)
    book._db = sound
    sell(book, "r2")
    assert len(book.batch(TILL, 500).bodies) == 2


def test_a_batch_is_bounded_in_bytes_too(book: LedgerDb) -> None:
    """After an outage: receipts that together are more than one message may be."""
    for number in range(3):
        sell(book, f"r{number}", document=bytes(BATCH_BYTES // 2 - 500))
    sell(book, "huge", document=bytes(2 * BATCH_BYTES))
    sizes = []
    while True:
        batch = book.batch(TILL, 500)
        sizes.append((len(batch.bodies), len(batch.documents), batch.more))
        if not batch.more:
            break
        synced(book, next_seq=batch.first_seq + len(batch.bodies))
    assert sizes == [(2, 2, True), (1, 1, True), (1, 1, False)]


def test_what_the_centre_took_stays_taken(book: LedgerDb) -> None:
    """A late or doubled answer never moves a cursor or the clock back."""
    for n in range(1, 4):
        sell(book, f"r{n}")
    synced(book, next_seq=4, durable=2, server_ms=9_000)
    synced(book, next_seq=2, durable=1, server_ms=5_000)
    uplink = book.uplink()
    assert (uplink.acked_seq, uplink.durable_seq, uplink.server_ms, uplink.synced_s) == (3, 2, 9_000, AT_S)


def test_back_off_survives_a_restart_and_ends_with_an_answer(book: LedgerDb) -> None:
    book.note_retry(7)
    with closing(Reader.open(book.path)) as reader:
        assert reader.uplink().retry_attempt == 7
    synced(book)
    assert book.uplink().retry_attempt == 0


def test_time_never_goes_below_what_was_written_or_heard(book: LedgerDb) -> None:
    assert book.latest_at_s() == 0
    synced(book, server_ms=5_000_999)
    assert book.latest_at_s() == 5_000
    sell(book, "r1")
    assert book.latest_at_s() == AT_S


# ----------------------------------------------------------------------- down from the centre


def test_grants_come_in_order_and_once(book: LedgerDb) -> None:
    items = downlink(grant_body(1, 100), grant_body(2, 20), grant_body(3, 3))
    assert synced(book, *items[:2]) == 2
    assert synced(book, *items) == 1  # the centre had not heard that the first two arrived
    assert synced(book, *items) == 0
    assert left(book) == {LOT: 123}
    assert book.down_head(BUCKET, TILL, 1) == (3, items[2].h)


GAPS: dict[str, Callable[[tuple[DownItem, ...]], tuple[DownItem, ...]]] = {
    "a message left out": lambda items: (items[0], items[2]),
    "the first left out": lambda items: items[1:],
    "out of order": lambda items: (items[1], items[0]),
    "a changed grant": lambda items: (
        items[0],
        msgspec.structs.replace(items[1], body=grant_body(2, 10**9)),
    ),
    "a number twice": lambda items: (items[0], msgspec.structs.replace(items[1], gseq=3)),
    "of another bucket": lambda items: (msgspec.structs.replace(items[0], bucket=BUCKET - 1),),
}


@pytest.mark.parametrize("wrong", GAPS.values(), ids=GAPS.keys())
def test_a_gap_in_the_downlink_is_said_and_the_whole_answer_refused(
    book: LedgerDb, wrong: Callable[[tuple[DownItem, ...]], tuple[DownItem, ...]]
) -> None:
    items = downlink(grant_body(1, 100), grant_body(2, 20), grant_body(3, 3))
    before = contents(book.path)
    with pytest.raises(LedgerFault, match="does not follow"):
        synced(book, *wrong(items), next_seq=1, server_ms=9)
    assert contents(book.path) == before
    assert synced(book, *items) == 3


@pytest.mark.parametrize(
    "body",
    [
        grant_body(1, terms=None),
        ledger.canonical(
            Entry("c:1", 1, 1, AT_S, "GRANT", ACCOUNT, (
                Posting(ledger.parcel(TILL), LOT, -5), Posting(ledger.FREE, LOT, 5),
            ))
        ),
    ],
    ids=["a lot nobody knows, without its terms", "takes what is not here"],
)  # fmt: skip
def test_a_grant_that_cannot_be_booked_is_said(book: LedgerDb, body: bytes) -> None:
    with pytest.raises(LedgerFault):
        synced(book, *downlink(body))
    assert left(book) == {}


def test_a_claim_of_the_life_that_was_lost_gives_nothing_to_the_next(book: LedgerDb) -> None:
    """Its answer reaches a disk on which a backup was put back: the centre suspends those points."""
    told = downlink(grant_body(1))
    heard.begin_restore(book, "restore-1")
    assert heard.claimed(book, TILL, 1, told, b"", AT_S) == 0
    assert left(book) == {}


def test_a_parcel_never_grows_beyond_what_the_file_holds(book: LedgerDb) -> None:
    """Millions of grants of all the points there can be: the one that fits no column is refused whole."""
    items = downlink(grant_body(1), grant_body(2))
    synced(book, items[0])
    book._db.execute("UPDATE parcel SET points = ?", (2**63 - 1,))
    with pytest.raises(LedgerFault):
        synced(book, *items)
    assert (left(book), book.down_head(BUCKET, TILL, 1)[0]) == ({LOT: 2**63 - 1}, 1)


UNKNOWN: dict[str, tuple[bytes, str]] = {
    "a kind of later days": (grant_body(2, kind="GIFT"), "GIFT"),
    "a form of later days": (b"\x02" + grant_body(2)[1:], "?"),
}


@pytest.mark.parametrize(("body", "kind"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_an_unknown_kind_stops_its_bucket_and_nothing_else(book: LedgerDb, body: bytes, kind: str) -> None:
    """«Обновите агент»: what stands behind it waits, sales and the other buckets go on."""
    mine = downlink(grant_body(1, 100), body, grant_body(3, 3))
    other = downlink(grant_body(1, 7), bucket=BUCKET - 1)
    sell(book, "r1")
    assert synced(book, *mine, *other, next_seq=2) == 2
    assert book.down_stopped() == kind
    assert (left(book), book.uplink().acked_seq) == ({LOT: 107}, 1)
    assert synced(book, *mine[1:], next_seq=2) == 0  # the centre sends it again, with every sync
    assert book.batch(TILL, 5).down == {BUCKET: 1, BUCKET - 1: 1}
    sell(book, "r2", account=ACCOUNT, spend=[Spent(LOT, 107)])
    assert book.verify(TILL) == 2


def test_an_updated_agent_goes_on_where_the_old_one_stopped(book: LedgerDb) -> None:
    synced(book, *downlink(grant_body(1, 100), b"\x02 of later days"))
    assert book.down_stopped() == "?"
    synced(book, *downlink(grant_body(1, 100), grant_body(2, 5)))  # what the updated one can read
    assert (book.down_stopped(), left(book)) == (None, {LOT: 105})


# -------------------------------------------------------------------------------- channels


def test_the_versions_of_channels_never_fall(book: LedgerDb) -> None:
    for version in (4, 9, 3):
        book.note_channel("rulebook.all", version, f"sha-{version}", AT_S)
    book.note_channel("catalog.all", 1, "sha", AT_S)
    assert (book.channel_version("rulebook.all"), book.channel_version("catalog.all")) == (9, 1)
    assert book.channel_version("directory.all") == 0


# --------------------------------------------------------------------- one till, one agent


def test_a_till_before_its_enrolment_says_what_to_do(tmp_path: Path) -> None:
    with closing(LedgerDb(tmp_path / "ledger.db")) as book:
        assert book.identity() is None
        with pytest.raises(LedgerFault, match="kopilka-agent enroll"):
            book.uplink()
        with pytest.raises(LedgerFault, match="kopilka-agent enroll"):
            sell(book, "r1")


def test_a_till_is_enrolled_once(book: LedgerDb) -> None:
    before = contents(book.path)
    with pytest.raises(LedgerFault, match="enrolled already"):
        book.enrol(msgspec.structs.replace(enrolment(), till="T2"), "http://other")
    assert contents(book.path) == before
    identity = book.identity()
    assert identity is not None
    assert (identity.till, identity.server_url, identity.channel_keys) == (
        TILL,
        "http://centre",
        {"k1": bytes(32)},
    )


def test_a_second_agent_on_the_same_directory_is_refused(book: LedgerDb) -> None:
    with pytest.raises(LedgerFault, match="another agent works with"):
        LedgerDb(book.path)
    sell(book, "r1")


def _refused(path: Path, answer: Any) -> None:
    try:
        LedgerDb(path).close()
    except LedgerFault as fault:
        answer.put(str(fault))
    else:
        answer.put("opened")


def test_so_is_one_in_another_process_until_the_first_has_ended(book: LedgerDb) -> None:
    spawn = multiprocessing.get_context("spawn")
    answer = spawn.Queue()
    for expected in ("another agent", "opened"):
        other = spawn.Process(target=_refused, args=(book.path, answer))
        other.start()
        assert expected in answer.get(timeout=30)
        other.join(30)
        book.close()
    answer.close()
    answer.join_thread()


def test_a_reader_reads_while_the_till_writes_and_cannot_write(book: LedgerDb) -> None:
    with closing(Reader.open(book.path)) as reader:
        sell(book, "r1")
        assert reader.verify(TILL) == 1
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._db.execute("DELETE FROM answer")


def test_a_reader_never_makes_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no file"):
        Reader.open(tmp_path / "ledger.db")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- upgrades and age


@pytest.fixture
def schemas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The schema files in a directory of their own, where the next one can be put."""
    copy = tmp_path / "schema"
    shutil.copytree(files.SCHEMA, copy)
    monkeypatch.setattr(files, "SCHEMA", copy)
    return copy


def test_before_an_upgrade_the_old_file_is_kept_beside_the_new(book: LedgerDb, schemas: Path) -> None:
    sell(book, "r1")
    book.close()
    (schemas / "ledger_v3.sql").write_text(
        "CREATE TABLE bell (rung INTEGER NOT NULL) STRICT;\nINSERT INTO bell VALUES (7);\n", encoding="utf-8"
    )
    with closing(LedgerDb(book.path)) as again:
        assert again._db.execute("SELECT rung FROM bell").fetchone() == (7,)
        assert again.verify(TILL) == 1
        assert sell(again, "r2").entry.id == "T1-1-2"
    with closing(sqlite3.connect(book.path.with_name("ledger.db.v2"))) as old:
        assert old.execute("SELECT count(*) FROM entry").fetchone() == (1,)
        assert old.execute("PRAGMA user_version").fetchone() == (2,)
        assert old.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(book: LedgerDb, schemas: Path) -> None:
    sell(book, "r1")
    book.close()
    third = schemas / "ledger_v3.sql"
    third.write_text("CREATE TABLE bell (rung INTEGER);\nINSERT INTO bel VALUES (7);\n", encoding="utf-8")
    with pytest.raises(FileError, match="no such table: bel"):
        LedgerDb(book.path)
    assert "bell" not in contents(book.path)
    third.unlink()
    with closing(LedgerDb(book.path)) as again:
        assert again.verify(TILL) == 1


def test_a_file_of_a_newer_agent_is_refused_and_left_alone(book: LedgerDb) -> None:
    book._db.execute("PRAGMA user_version = 3")
    book.close()
    before = book.path.read_bytes()
    with pytest.raises(FileError, match="update this agent"):
        LedgerDb(book.path)
    assert book.path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("photos of the shop " * 100, encoding="utf-8")
    with pytest.raises(FileError, match="restore it from a backup"):
        LedgerDb(path)
    assert path.read_text(encoding="utf-8").startswith("photos")


def test_the_file_is_written_for_keeps(book: LedgerDb) -> None:
    """WAL, every commit on the platter, no mmap: what a power cut and a bug of SQLite ask for."""
    pragmas = {name: book._db.execute(f"PRAGMA {name}").fetchone()[0] for name in
               ("journal_mode", "synchronous", "foreign_keys", "mmap_size")}  # fmt: skip
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "mmap_size": 0}


# ---------------------------------------------------------------------------------- slips


def test_how_a_slip_was_printed_is_what_was_noted_last(book: LedgerDb) -> None:
    entry = sell(book, "r1").entry
    assert book.print_outcome(entry.epoch, entry.seq) is None
    for outcome in ("failed", "unknown", "printed"):
        book.note_print(entry.epoch, entry.seq, AT_S, outcome)
        assert book.print_outcome(entry.epoch, entry.seq) == outcome
    with pytest.raises(LedgerFault):
        book.note_print(entry.epoch, entry.seq, AT_S, "perhaps")


# ---------------------------------------------------------- any order of a shop's day


class ShopDay(RuleBasedStateMachine):
    """Grants, quotes, sales and voids in any order: parcels are what entries and grants make of them."""

    sales = Bundle("sales")

    @initialize()
    def open_shop(self) -> None:
        self.temporary = tempfile.TemporaryDirectory()
        self.path = Path(self.temporary.name) / "ledger.db"
        self.book = LedgerDb(self.path)
        self.book.enrol(enrolment(), "http://centre")
        self.bodies: list[bytes] = []
        self.count = 0

    @rule(points=st.integers(1, 1_000))
    def grant(self, points: int) -> None:
        self.bodies.append(grant_body(len(self.bodies) + 1, points))
        assert synced(self.book, *downlink(*self.bodies)) == 1

    @rule(target=sales, share=st.integers(0, 120))
    def quote(self, share: int) -> Any:
        self.count += 1
        sale_id = f"r{self.count}"
        here = left(self.book).get(LOT, 0)
        points = here * share // 100
        if points == 0:
            return multiple()
        if points > here:
            with pytest.raises(LedgerFault):
                self.book.save_hold(hold(sale_id, points))
            return multiple()
        self.book.save_hold(hold(sale_id, points))
        return sale_id

    @rule(sale_id=consumes(sales), earn=st.integers(1, 500), here=st.booleans())
    def commit(self, sale_id: str, earn: int, here: bool) -> None:
        kept = self.book.hold(sale_id)
        assert kept is not None
        earned = [Earned(earn, TERMS, here)]
        sell(self.book, sale_id, account=ACCOUNT, spend=list(kept.offer.spends), earn=earned)

    @rule(sale_id=consumes(sales))
    def give_up(self, sale_id: str) -> None:
        self.book.release_hold(sale_id)

    @rule()
    def crash(self) -> None:
        self.book.close()
        self.book = LedgerDb(self.path)

    @invariant()
    def parcels_are_what_was_granted_less_what_was_spent(self) -> None:
        here = ledger.parcel(TILL)
        own = [entry for entry, _ in self.book.entries(1_000)]
        entries = [*own, *map(ledger.parse, self.bodies)]
        expected: dict[str, int] = {}
        for entry in entries:
            for posting in entry.postings:
                if posting.account == here:
                    expected[posting.lot] = expected.get(posting.lot, 0) + posting.points
        held: dict[str, int] = {}
        for kept in self.book.holds():
            for piece in kept.offer.spends:
                held[piece.lot] = held.get(piece.lot, 0) + piece.points
        assert min(expected.values(), default=0) >= 0
        assert left(self.book) == {
            lot: points - held.get(lot, 0) for lot, points in expected.items() if points > held.get(lot, 0)
        }
        assert self.book.verify(TILL) == len(own)

    def teardown(self) -> None:
        self.book.close()
        self.temporary.cleanup()


TestShopDay = ShopDay.TestCase
TestShopDay.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


def test_reader_and_writer_agree_on_who_the_till_is(book: LedgerDb) -> None:
    with closing(Reader.open(book.path)) as reader:
        assert reader.identity() == book.identity()
        assert reader.uplink() == Uplink(1, 1, "s0", 0, 0, 0, None, 0)
        assert "s0" not in repr(reader.uplink())  # a session is a secret
