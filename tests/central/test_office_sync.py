"""Batches arrive late, twice, cut, forged, out of order; what the centre knows stays what happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import call_command
from django.db import connections
from django.test import Client
from office import ANNA, Office
from pretend_till import AT_S, PretendTill, Refused, in_process, terms

from central.fleet.models import TillCursor
from central.intake.models import InboxEntry, Incident
from central.ledger import applier
from central.ledger.models import Balance, LedgerEntry, Share
from central.members.models import Account
from loyalty import ledger, wire
from loyalty.ledger import Posting, Spent
from loyalty.protocol import centre as law
from loyalty.protocol import intake


def balance(account: int) -> int:
    row = Balance.objects.get(account=account)
    return row.held + row.debt


def everything() -> dict[str, list[tuple[object, ...]]]:
    """What the centre knows, cursors and sync times left out."""
    tables = (InboxEntry, Incident, LedgerEntry, Balance, Share, Account)
    return {table.__name__: sorted(table.objects.values_list(), key=repr) for table in tables}


@pytest.fixture
def till(office: Office) -> PretendTill:
    office.store()
    return office.till()


@pytest.fixture
def anna(till: PretendTill, office: Office) -> int:
    return office.member(ANNA, points="0")


def test_a_sale_earns_and_the_office_knows(till: PretendTill, anna: int) -> None:
    till.sell(anna, earn=150_00)
    reply = till.sync()
    assert (reply.next_seq, reply.durable_seq) == (2, 0)
    assert balance(anna) == 150_00
    assert Share.objects.get().holder == ledger.life(till.id, 1)
    stored = InboxEntry.objects.get()
    assert bytes(stored.body) == till.log[0]
    assert bytes(stored.document or b"") == till.documents[1]


def test_the_same_batch_a_hundred_times_is_one_sale(till: PretendTill, anna: int) -> None:
    till.sell(anna, earn=150_00)
    batch = till.batch()
    first = till.post(batch)
    after_one = everything()
    answers = {(reply.next_seq, reply.session) for reply in (till.post(batch) for _ in range(99))}
    assert answers == {(first.next_seq, first.session)}
    assert everything() == after_one
    assert balance(anna) == 150_00


def test_a_batch_that_is_said_again_begins_no_work(till: PretendTill, anna: int) -> None:
    till.sell(anna, earn=150_00, spendable_here=False)
    till.post(till.batch())  # the answer is lost
    Account.objects.filter(account=anna).update(due_s=0)  # meanwhile something is to be looked at
    after_one = everything()
    till.sync()  # the same batch
    assert everything() == after_one
    till.sync()
    assert Account.objects.get(account=anna).due_s is None


def test_a_till_that_missed_an_answer_sends_it_again_with_what_happened_since(
    till: PretendTill, anna: int
) -> None:
    till.sell(anna, earn=10_00)
    till.post(till.batch())  # the answer is lost
    till.sell(anna, earn=5_00)
    assert till.sync().next_seq == 3
    assert balance(anna) == 15_00
    till.sell(anna, earn=1_00)
    assert till.sync().next_seq == 4


def test_a_till_that_missed_an_answer_may_go_on_from_the_cursor(till: PretendTill, anna: int) -> None:
    till.sell(anna, earn=10_00)
    missed = till.post(till.batch())
    till.sell(anna, earn=5_00)
    till.acknowledged = missed.next_seq - 1  # it learnt the cursor, not the session
    assert till.sync().next_seq == 3


def test_more_than_a_batch_goes_in_two(till: PretendTill, anna: int) -> None:
    for _ in range(wire.BATCH_ENTRIES + 7):
        till.sell(anna, earn=1)
    assert till.sync().next_seq == wire.BATCH_ENTRIES + 1
    assert till.sync().next_seq == wire.BATCH_ENTRIES + 8
    assert balance(anna) == wire.BATCH_ENTRIES + 7


def test_a_sale_without_a_card_is_kept_and_moves_no_points(till: PretendTill) -> None:
    till.sell(None)
    till.sync()
    assert InboxEntry.objects.get().document is not None
    assert not LedgerEntry.objects.exists()


def test_a_gap_names_the_entry_that_is_missing(till: PretendTill, anna: int) -> None:
    till.sell(anna, earn=1_00)
    till.sync()
    till.sell(anna, earn=2_00)
    till.sell(anna, earn=3_00)
    before = everything()
    with pytest.raises(Refused, match="409 GAP") as refused:
        till.post(till.batch(first_seq=3))
    assert refused.value.next_seq == 2
    assert everything() == before
    till.sync()
    assert balance(anna) == 6_00


def cloned(till: PretendTill) -> PretendTill:
    """The same disk in another machine."""
    return PretendTill(
        till.id,
        till.epoch,
        till.store,
        till.session,
        till.timeline,
        till.key,
        till.enrolment,
        log=list(till.log),
        documents=dict(till.documents),
        acknowledged=till.acknowledged,
    )


def test_a_cloned_disk_is_found_out_at_its_first_sale(till: PretendTill, anna: int) -> None:
    till.sell(anna, earn=1_00)
    till.sync()
    clone = cloned(till)
    till.sell(anna, earn=2_00)
    till.sync()
    clone.sell(anna, earn=99_00)
    with pytest.raises(Refused, match="409 FORK"):
        clone.sync()
    till.sell(anna, earn=3_00)
    till.sync()
    with pytest.raises(Refused, match="409 FORK"):
        clone.sync()
    assert balance(anna) == 6_00
    assert {i.code for i in Incident.objects.all()} == {wire.FORK}


def test_another_past_is_a_fork(till: PretendTill, anna: int) -> None:
    till.sell(anna, earn=1_00)
    till.sell(anna, earn=2_00)
    till.sync()
    till.log.clear()
    till.sell(anna, earn=7_00)
    till.sell(anna, earn=2_00)
    till.sell(anna, earn=2_00)
    for first in (1, 2, 3):
        with pytest.raises(Refused, match="409 FORK"):
            till.post(till.batch(first_seq=first))
    assert balance(anna) == 3_00


def test_an_old_epoch_is_told_so(till: PretendTill) -> None:
    till.epoch = 2
    with pytest.raises(Refused, match="409 EPOCH"):
        till.sync()


def forged(till: PretendTill) -> wire.SyncRequest:
    till.key = Ed25519PrivateKey.generate()
    return till.batch()


def with_another_receipt(till: PretendTill) -> wire.SyncRequest:
    changed = till.documents[1].replace(b"bread", b"bribe")
    return till.signed(msgspec.structs.replace(till.batch(), receipts=((1, changed),)))


def with_a_receipt_of_nothing(till: PretendTill) -> wire.SyncRequest:
    batch = till.batch()
    return till.signed(msgspec.structs.replace(batch, receipts=(*batch.receipts, (2, b"?"))))


def with_the_same_receipt_twice(till: PretendTill) -> wire.SyncRequest:
    batch = till.batch()
    return till.signed(msgspec.structs.replace(batch, receipts=batch.receipts * 2))


def changed_after_signing(till: PretendTill) -> wire.SyncRequest:
    batch = till.batch()
    fields = [*batch.entries[0]]
    fields[0] += 1  # a second later
    return msgspec.structs.replace(batch, entries=(fields,))


def without_receipt(till: PretendTill) -> wire.SyncRequest:
    return till.signed(msgspec.structs.replace(till.batch(), receipts=()))


def points_from_nowhere(till: PretendTill) -> wire.SyncRequest:
    batch = till.batch()
    fields = [*batch.entries[0]]
    fields[3] = fields[3][1:]  # the posting that paid for the other
    return msgspec.structs.replace(batch, entries=(fields,))


def of_a_newer_wire(till: PretendTill) -> wire.SyncRequest:
    return till.signed(msgspec.structs.replace(till.batch(), v=wire.WIRE_VERSION + 1))


@pytest.mark.parametrize(
    ("spoil", "answer"),
    [
        (forged, "401 SIGNATURE"),
        (with_another_receipt, "400 BAD_CHAIN"),
        (with_a_receipt_of_nothing, "400 BAD_MESSAGE"),
        (with_the_same_receipt_twice, "400 BAD_MESSAGE"),
        (changed_after_signing, "400 BAD_CHAIN"),
        (points_from_nowhere, "400 BAD_CHAIN"),
        (without_receipt, "400 BAD_CHAIN"),
        (of_a_newer_wire, "400 TOO_NEW"),
    ],
)
def test_a_batch_that_cannot_be_true_changes_nothing(
    till: PretendTill, anna: int, spoil: Callable[[PretendTill], wire.SyncRequest], answer: str
) -> None:
    till.sell(anna, earn=150_00)
    before = everything()
    with pytest.raises(Refused, match=answer):
        till.post(spoil(till))
    assert everything() == before
    assert TillCursor.objects.get().next_seq == 1


@pytest.mark.parametrize("kept", [0, 1, 20, 0.5, -1])
def test_a_message_cut_on_the_way_is_refused_whole(till: PretendTill, anna: int, kept: float) -> None:
    till.sell(anna, earn=150_00)
    body = wire.pack(till.batch())
    cut = body[: int(len(body) * kept) if isinstance(kept, float) else kept]
    status, answer = in_process("POST", f"/v1/tills/{till.id}/sync", cut, {})
    assert (status, wire.unpack(wire.Refusal, answer).code) == (400, "BAD_MESSAGE")
    assert not InboxEntry.objects.exists()
    till.sync()
    assert balance(anna) == 150_00


def test_a_body_larger_than_any_message_is_refused(till: PretendTill) -> None:
    status, answer = in_process("POST", "/v1/enroll", b"x" * 70_000, {})
    assert (status, wire.unpack(wire.Refusal, answer).code) == (413, "TOO_LARGE")
    status, answer = in_process("POST", f"/v1/tills/{till.id}/sync", b"x" * (wire.MESSAGE_MAX_BYTES + 1), {})
    assert (status, wire.unpack(wire.Refusal, answer).code) == (413, "TOO_LARGE")


def test_a_message_that_unpacks_to_more_than_any_message_is_to_be_sent_in_pieces(till: PretendTill) -> None:
    """Not BAD_MESSAGE: a till would try the same again for ever."""
    till.write("SALE", None, document=bytes(wire.MESSAGE_MAX_BYTES))
    with pytest.raises(Refused, match="413 TOO_LARGE"):
        till.sync()


def test_a_batch_of_a_till_nobody_knows(till: PretendTill) -> None:
    batch = till.batch()
    till.id = "T99"
    with pytest.raises(Refused, match="401 NOT_ENROLLED"):
        till.post(batch)


def test_wrong_method_and_wrong_address(visitor: Client) -> None:
    assert visitor.get("/v1/enroll").status_code == 405
    answer = visitor.get("/v1/nothing")
    assert (answer.status_code, wire.unpack(wire.Refusal, answer.content).code) == (404, "NOT_FOUND")


def test_points_spent_without_being_held_become_debt_and_a_note(till: PretendTill, anna: int) -> None:
    sale = till.sell(anna, earn=10_00)
    lot = ledger.lot_id(till.id, 1, sale.seq, 0)
    till.sell(anna, spend=[Spent(lot, 25_00)])
    assert till.sync().next_seq == 3  # accepted: the customer has left the shop
    row = Balance.objects.get()
    assert (row.held, row.debt, row.spent) == (0, -15_00, 25_00)
    assert Incident.objects.get().code == law.OVERSPENT
    booked = ledger.parse(bytes(LedgerEntry.objects.get(kind="ADJUST").body))
    assert booked.ref == f"{till.id}-1-2"
    assert ledger.Posting(ledger.DEBT, lot, -15_00) in booked.postings


def test_odd_entries_are_kept_and_noted(till: PretendTill, anna: int, office: Office) -> None:
    other = office.till()
    other.sell(anna, earn=10_00)
    other.sync()
    lot = ledger.lot_id(other.id, 1, 1, 0)
    theirs = ledger.parcel(other.id)
    till.write("SALE_OF_TOMORROW", anna, (Posting(theirs, lot, -4_00), Posting(ledger.SPENT, lot, 4_00)))
    till.write("RELEASE", 4711, (Posting("moon", "l", -1), Posting(ledger.FREE, "l", 1)))
    assert till.sync().next_seq == 3
    assert balance(anna) == 6_00
    noted = {(i.seq, i.code) for i in Incident.objects.all()}
    assert noted == {
        (1, law.UNKNOWN_KIND),
        (1, law.FOREIGN),
        (1, law.OVERSPENT),  # what it took was not its own, and so was not there
        (2, law.UNKNOWN_MEMBER),
        (2, law.UNKNOWN_POSTING),
    }
    assert LedgerEntry.objects.filter(account=4711).count() == 1


def entry_of(till: PretendTill, **said: Any) -> list[Any]:
    """The fields of the next entry, as a broken program might write them."""
    plain: dict[str, Any] = {
        "till": till.id, "epoch": till.epoch, "seq": len(till.log) + 1, "at_s": AT_S, "kind": "RELEASE",
        "account": None, "postings": [], "document_sha256": None, "ref": None, "flags": [],
    }  # fmt: skip
    return list({**plain, **said}.values())


LONG = "x" * 300
UNREADABLE: dict[str, dict[str, Any]] = {
    "postings that do not sum to zero": {"account": 7, "postings": [["free", "l", 5]]},
    "points of nobody": {"postings": [["free", "l", 5], ["issued", "l", -5]]},
    "a kind that is no text": {"kind": 17},
    "a time that is no time": {"at_s": -1},
    "a name that no column holds": {"kind": LONG},
    "a lot that no column holds": {"account": 7, "postings": [["free", LONG, 5], ["issued", LONG, -5]]},
    "an account beyond all": {"account": 2**63},
    "a word as its reference": {"ref": 5},
    "a reference that no column holds": {"kind": "VOID", "ref": LONG},
    "a holder that is no life": {"account": 7, "postings": [["parcel:T~x", "l", 5], ["issued", "l", -5]]},
    "a life beyond all": {
        "account": 7, "postings": [[f"parcel:T~{'9' * 25}", "l", 5], ["issued", "l", -5]]
    },
}  # fmt: skip


@pytest.mark.parametrize("said", UNREADABLE.values(), ids=UNREADABLE)
def test_an_entry_that_cannot_be_booked_is_kept_and_stops_nobody(
    till: PretendTill, anna: int, said: dict[str, Any], clerk: Client
) -> None:
    """A broken program wrote it and signed it; a till that could never tell on would be the worse harm."""
    till.sell(anna, earn=10_00)
    poison = ledger.CANONICAL_VERSION + msgspec.msgpack.encode(entry_of(till, **said))
    till.log.append(poison)
    till.sell(anna, earn=20_00)
    assert till.sync().next_seq == 4
    assert bytes(InboxEntry.objects.get(seq=2).body) == poison
    assert balance(anna) == 30_00
    assert {i.code for i in Incident.objects.filter(till=till.id, seq=2)} & {
        intake.UNREADABLE,
        law.UNKNOWN_POSTING,
    }
    assert "не умеет учесть" in clerk.get("/").content.decode()
    with pytest.raises(Refused, match="404 NO_SUCH_RECEIPT"):
        till.ask_receipt(f"{till.id}-1-2-{ledger.fingerprint(till.head_after(2))}")
    till.sell(anna, earn=5_00)
    till.sync()
    assert balance(anna) == 35_00


def test_a_sale_that_came_without_its_receipt_counts_and_is_noted(till: PretendTill, anna: int) -> None:
    """The sale has happened; what it cannot have is a return with its receipt."""
    lot = ledger.lot_id(till.id, 1, 1, 0)
    postings = (Posting(ledger.ISSUED, lot, -10_00), Posting(ledger.parcel(till.id), lot, 10_00, terms()))
    till.write("SALE", anna, postings)
    assert till.sync().next_seq == 2
    assert balance(anna) == 10_00
    assert [i.code for i in Incident.objects.all()] == [intake.NO_DOCUMENT]


def test_a_cancelled_sale_gives_everything_back(till: PretendTill, anna: int) -> None:
    first = till.sell(anna, earn=10_00)
    lot = ledger.lot_id(till.id, 1, 1, 0)
    second = till.sell(anna, spend=[Spent(lot, 4_00)], earn=1_00)
    back = tuple(Posting(p.account, p.lot, -p.points) for p in second.postings)
    till.write("VOID", anna, back, ref=second.id)
    till.sync()
    row = Balance.objects.get()
    assert (row.held, row.spent, row.issued) == (10_00, 0, -10_00)
    assert dict(Share.objects.values_list("lot", "points")) == {lot: 10_00}
    assert first.id == "T1-1-1"


def test_a_cancelled_sale_takes_back_the_points_that_wait_at_the_centre(till: PretendTill, anna: int) -> None:
    """Every day's business: nobody need look at it."""
    sale = till.sell(anna, earn=30_00, lot_terms=terms("2026-01-04T00:00:00"), spendable_here=False)
    till.write("VOID", anna, tuple(Posting(p.account, p.lot, -p.points) for p in sale.postings), ref=sale.id)
    till.sync()
    assert balance(anna) == 0
    assert not Incident.objects.exists()


def test_points_that_another_till_made_are_not_taken_back_in_silence(
    till: PretendTill, anna: int, office: Office
) -> None:
    other = office.till()
    theirs = other.sell(anna, earn=30_00, lot_terms=terms("2026-01-04T00:00:00"), spendable_here=False)
    other.sync()
    lot = ledger.lot_id(other.id, 1, theirs.seq, 0)
    till.write("VOID", anna, (Posting(ledger.ISSUED, lot, 30_00), Posting(ledger.FREE, lot, -30_00)))
    till.sync()
    assert {i.code for i in Incident.objects.all()} == {law.FOREIGN}


def test_what_a_crash_left_in_the_inbox_is_applied_later_and_once(
    till: PretendTill, anna: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    till.sell(anna, earn=150_00)
    with monkeypatch.context() as crash:
        crash.setattr(applier, "apply_waiting", lambda _buckets: None)  # the process dies after the commit
        till.sync()
    assert not Balance.objects.exists()
    assert applier.apply_waiting() == 1
    assert applier.apply_waiting() == 0
    InboxEntry.objects.update(applied=False)  # even if that was forgotten, the ledger's key holds
    assert applier.apply_waiting() == 1
    assert balance(anna) == 150_00


def test_a_lot_that_begins_later_waits_at_the_centre(till: PretendTill, anna: int) -> None:
    till.sell(anna, earn=30_00, lot_terms=terms("2026-01-04T00:00:00"), spendable_here=False)
    reply = till.sync()
    assert reply.down == ()
    assert Share.objects.get().holder == "free"


def test_the_database_itself_refuses_a_share_below_zero(till: PretendTill, anna: int) -> None:
    till.sell(anna, earn=1_00)
    till.sync()
    with connections["default"].cursor() as cursor, pytest.raises(Exception, match="share_never_below_zero"):
        cursor.execute("UPDATE share SET points = -1")
    with connections["default"].cursor() as cursor, pytest.raises(Exception, match="balance_adds_up"):
        cursor.execute("UPDATE balance SET held = held + 1")


def test_the_migrations_hold_what_the_models_say(office: Office) -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
    call_command("check", fail_level="WARNING")
