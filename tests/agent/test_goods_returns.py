"""Customers bring goods back: after paying with points, bit by bit, in another shop, without a link."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.drivers.contracts import OutputComplete
from agent.inbox import (
    HubReceiptAsked,
    HubReceiptFound,
    Inbox,
    LinkChanged,
    LoadBatchAsked,
    NewInForce,
    PastRulesReady,
    Problem,
    ReceiptFound,
)
from agent.main import compile_past
from agent.offline import heard
from agent.offline.engine import InForce, PastRules, build
from agent.offline.snapshot_db import SnapshotDb
from loyalty import document, ledger, manifest, wire
from loyalty.document import ReturnDocument
from loyalty.ledger import Entry
from loyalty.manifest import FileRef, Manifest
from loyalty.wire import HubReceiptReply, HubReceiptRequest, ReceiptReply
from tests.agent.shop import ACCOUNT, CARD, CATALOG, LOT, RULEBOOK, SETTINGS, Shop, in_force, milk

EARN_NOW = json.loads(json.dumps(RULEBOOK))
del EARN_NOW["rules"][2]["effect"]["delay_days"]  # points that are spendable at once


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    made.till.handle(LinkChanged(None, ""))
    made.know(balance=100_000)
    made.grant(60_000)
    yield made
    made.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Shop]:
    """A till of another shop, which has never seen this customer."""
    directory = tmp_path / "other"
    directory.mkdir()
    made = Shop(directory, name="T2")
    made.till.handle(LinkChanged(None, ""))
    yield made
    made.close()


def sell(shop: Shop, sale_id: str = "r1", **cart: Any) -> dict[str, Any]:
    return shop.commit(sale_id, shop.put(sale_id, **({"card": CARD, "redeem": "max"} | cart)))


def newest(shop: Shop) -> Entry:
    return shop.ledger.entries(1)[0][0]


def postings(entry: Entry) -> list[tuple[str, int]]:
    return [(posting.account, posting.points) for posting in entry.postings]


# ------------------------------------------------------------------- a sale of this till


def test_all_of_it_comes_back_and_everything_is_as_before(shop: Shop) -> None:
    done = sell(shop)
    assert shop.parcels() == {LOT: 15_000}
    answer = shop.take_back("ret1", sale_id="r1")
    assert answer["money"] == done["pay"] == 45_000
    assert answer["lines"] == {"1": {"money": 45_000, "points": 45_000}}
    assert (answer["points_back"], answer["points_taken_back"], answer["debt"]) == (45_000, 2_200, 0)
    assert answer["pending"] is False
    assert shop.parcels() == {LOT: 60_000}
    entry = newest(shop)
    assert (entry.kind, entry.ref, entry.account) == ("RETURN_GOODS", "T1-1-1", ACCOUNT)
    # The points of the sale were to live in a fortnight: they lie free at the centre, and go from there.
    assert postings(entry) == [
        ("parcel:T1", 45_000), ("spent", -45_000), ("free", -2_200), ("issued", 2_200),
    ]  # fmt: skip
    assert shop.ledger.verify("T1") == 2


def test_three_steps_are_as_good_as_one(shop: Shop) -> None:
    sell(shop)
    answers = [
        shop.take_back(f"ret{n}", {"1": part}, sale_id="r1") for n, part in enumerate((3_333, 3_334, 3_333))
    ]
    assert sum(answer["money"] for answer in answers) == 45_000
    assert sum(answer["points_back"] for answer in answers) == 45_000
    assert sum(answer["points_taken_back"] for answer in answers) == 2_200
    assert shop.parcels() == {LOT: 60_000}


def test_the_slip_says_what_came_back(shop: Shop) -> None:
    sell(shop)
    answer = shop.take_back("ret1", sale_id="r1", card=CARD, slip="lines")
    text = "\n".join(answer["slip"]["lines"])
    for said in ("ВОЗВРАТ", "Молоко", "450,00", "Возвращено баллов", "+450", "Снято баллов", "-22", "0015"):
        assert said in text
    assert answer["ident"] in text
    assert CARD not in json.dumps(answer)
    assert shop.outside.slips[-1][0] != answer["entry"]  # the cash program prints it


def test_the_slip_is_printed_like_that_of_a_sale(shop: Shop) -> None:
    sell(shop)
    answer = shop.take_back("ret1", sale_id="r1")
    job, _ = shop.outside.slips[-1]
    assert job == answer["entry"]
    assert shop.ledger.print_outcome(1, 2) is None
    shop.till.handle(OutputComplete("printer", job))
    assert shop.ledger.print_outcome(1, 2) == "printed"


def test_the_same_question_gets_the_same_answer_also_after_a_power_cut(shop: Shop) -> None:
    sell(shop)
    answer = shop.take_back("ret1", {"1": 4_000}, sale_id="r1")
    assert shop.take_back("ret1", {"1": 4_000}, sale_id="r1") == answer
    shop.crash()
    assert shop.take_back("ret1", {"1": 4_000}, sale_id="r1") == answer
    assert shop.ledger.head(1, "T1")[0] == 2
    with pytest.raises(Problem) as refused:
        shop.take_back("ret1", {"1": 5_000}, sale_id="r1")
    assert (refused.value.status, refused.value.code) == (409, "return_differs")
    assert refused.value.details["answered"] == answer


def test_a_return_may_have_the_number_of_a_sale(shop: Shop) -> None:
    sell(shop)
    assert shop.take_back("r1", sale_id="r1")["entry"] == "T1-1-2"
    assert shop.get("r1")["entry"] == "T1-1-1"


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"lines": {"2": 1_000}, "sale_id": "r1"}, "return_refused", 'lines["2"]'),
        ({"lines": {"1": 10_001}, "sale_id": "r1"}, "return_refused", 'lines["1"]'),
        ({"lines": [{"id": "1", "quantity": 0}], "sale_id": "r1"}, "return_refused", "lines[0]"),
        (
            {"lines": [{"id": "1", "quantity": 1}, {"id": "1", "quantity": 1}], "sale_id": "r1"},
            "return_refused",
            "lines[1]",
        ),
        ({"lines": {"1": 1}}, "bad_return", None),
        ({"lines": {"1": 1}, "sale_id": "r1", "ref": "T1-1-1"}, "bad_return", None),
        ({"lines": {"1": 1}, "sale_id": "r9"}, "unknown_sale", None),
        ({"lines": {"1": 1}, "ref": "T1-1-1-000000"}, "unknown_sale", None),
        ({"lines": {"1": 1}, "ref": "T2-1-1"}, "ref_incomplete", None),
    ],
)
def test_what_cannot_be_is_refused_in_words_and_changes_nothing(
    shop: Shop, body: dict[str, Any], code: str, path: str | None
) -> None:
    sell(shop)
    with pytest.raises(Problem) as refused:
        shop.take_back("ret1", **body)
    assert refused.value.code == code
    if path is not None:
        assert [fault["path"] for fault in refused.value.details["faults"]] == [path]
    assert shop.ledger.head(1, "T1")[0] == 1
    assert shop.take_back("ret1", sale_id="r1")["money"] == 45_000


def test_no_more_comes_back_than_was_sold(shop: Shop) -> None:
    sell(shop)
    shop.take_back("ret1", {"1": 6_000}, sale_id="r1")
    with pytest.raises(Problem, match="4 are left") as refused:
        shop.take_back("ret2", {"1": 5_000}, ref="T1-1-1")
    assert refused.value.status == 409


def test_a_voided_sale_has_no_goods_to_bring_back_and_the_reverse(shop: Shop) -> None:
    sell(shop)
    sell(shop, "r2", redeem=None)
    shop.void("r1")
    with pytest.raises(Problem) as voided:
        shop.take_back("ret1", sale_id="r1")
    assert voided.value.code == "already_void"
    shop.take_back("ret2", {"1": 1_000}, sale_id="r2")
    with pytest.raises(Problem) as returned:
        shop.void("r2")
    assert returned.value.code == "goods_returned"
    assert shop.parcels() == {LOT: 60_000}


def test_a_card_that_is_not_the_one_of_the_sale_is_noticed(shop: Shop) -> None:
    sell(shop, card=None, redeem=None)
    with pytest.raises(Problem) as refused:
        shop.take_back("ret1", sale_id="r1", card=CARD)
    assert (refused.value.status, refused.value.code) == (409, "other_account")
    assert shop.take_back("ret1", sale_id="r1")["money"] == 90_000


def test_points_earned_and_spent_since_are_owed(tmp_path: Path) -> None:
    shop = Shop(tmp_path, rulebook=EARN_NOW)
    shop.know()
    sell(shop, redeem=None)
    earned = shop.parcels()
    assert earned == {"T1-1-1-0": 4_500}
    sell(shop, "r2", lines=[milk(quantity=1_000)])
    assert "T1-1-1-0" not in shop.parcels()
    answer = shop.take_back("ret1", sale_id="r1")
    assert (answer["money"], answer["points_taken_back"], answer["debt"]) == (90_000, 4_500, 4_500)
    assert ("debt", -4_500) in postings(newest(shop))
    assert "вычтем из новых" in "\n".join(answer["slip"]["lines"])
    shop.close()


def test_points_that_have_expired_come_back_and_are_given_up(shop: Shop) -> None:
    shop.grant(1_000, lot="c:233-1-9-0", expires_at="2026-12-01T00:00:00")
    sell(shop, lines=[milk(quantity=200)], redeem=900)
    assert shop.parcels() == {LOT: 60_000, "c:233-1-9-0": 100}
    shop.time_passes(30 * 86_400)
    answer = shop.take_back("ret1", {"1": 200}, sale_id="r1")
    assert answer["points_back"] == 900
    assert shop.parcels()["c:233-1-9-0"] == 1_000
    shop.reply()
    shop.till.handle(LoadBatchAsked(500))
    assert newest(shop).kind == "RELEASE"
    assert shop.parcels() == {LOT: 60_000}


# ---------------------------------------------------------------- rules of former days


def tomorrow(seq: int = 8) -> InForce:
    """Milk is dearer, points are fewer, and the catalogue is a new one."""
    rules = {**RULEBOOK, "seq": seq, "rules": []}
    return build(
        json.dumps(SETTINGS).encode(),
        json.dumps(rules).encode(),
        json.dumps(CATALOG).encode(),
        versions={"settings.S1": 1, "rulebook.all": 5, "catalog.all": 4},
    )


def new_rules(shop: Shop) -> None:
    shop.till.handle(NewInForce("rulebook.all", 5, "00" * 32, tomorrow()))


def test_a_return_is_priced_by_the_rules_of_its_sale(shop: Shop) -> None:
    sell(shop)
    new_rules(shop)
    ask = shop.take_back_later("ret1", sale_id="r1")
    again = shop.take_back_later("ret1", sale_id="r1")  # the cash program is impatient
    assert not ask.reply.done()
    (asked,) = shop.outside.past
    assert (asked.rulebook_channel, asked.rulebook_seq) == ("rulebook.all", 7)
    assert (asked.catalog_channel, asked.catalog_version) == ("catalog.all", 3)
    shop.till.handle(PastRulesReady(asked, in_force().compiled))
    assert ask.reply.result(0)["money"] == 45_000
    assert again.reply.result(0) == ask.reply.result(0)
    # They are kept: the next one is answered at once.
    sell(shop, "r2", redeem=None, card=None)
    assert shop.ledger.priced_by() == {(7, 3), (8, 4)}


@pytest.mark.parametrize("ready", ["not here", "too late", "other rules"])
def test_goods_are_taken_back_also_where_the_old_price_cannot_be_had(shop: Shop, ready: str) -> None:
    sell(shop)
    new_rules(shop)
    ask = shop.take_back_later("ret1", sale_id="r1")
    (asked,) = shop.outside.past
    if ready == "not here":
        shop.till.handle(PastRulesReady(asked, None))
    elif ready == "other rules":
        shop.till.handle(PastRulesReady(asked, tomorrow().compiled))
        assert "return_price" in [trouble["code"] for trouble in shop.status()["troubles"]]
    else:
        shop.clock_ms += 6_000
        shop.till.ring()
    answer = ask.reply.result(0)
    assert (answer["pending"], answer["money"], answer["lines"]) == (True, None, None)
    entry = newest(shop)
    assert (entry.flags, entry.postings, entry.ref) == ((ledger.FLAG_PENDING,), (), "T1-1-1")
    assert "баллы вернёт офис" in "\n".join(answer["slip"]["lines"])


# --------------------------------------------------------------------- another till's sale


def told(shop: Shop, sale_id: str = "r1", owner: int | None = ACCOUNT) -> tuple[str, ReceiptReply]:
    """What the centre answers for a sale of `shop`: the last line of its slip, and the receipt."""
    entry = shop.ledger.sale_entry(sale_id)
    assert entry is not None
    receipt = shop.ledger.receipt(entry.epoch, entry.seq)
    assert receipt is not None
    since = tuple((ledger.canonical(one), paper or b"") for one, paper in shop.ledger.corrections(entry.id))
    ident = f"{entry.id}-{ledger.fingerprint(receipt.head)}"
    return ident, ReceiptReply(ledger.canonical(entry), receipt.document, since, owner)


def test_goods_come_back_in_another_shop(shop: Shop, other: Shop) -> None:
    sell(shop)
    ident, reply = told(shop)
    ask = other.take_back_later("ret1", ref=f" {ident} ")
    assert other.outside.receipts == [ident]
    assert not ask.reply.done()
    other.till.handle(ReceiptFound(ident, reply, None))
    answer = ask.reply.result(0)
    assert (answer["sale"], answer["money"], answer["points_back"]) == ("T1-1-1", 45_000, 45_000)
    assert other.parcels() == {LOT: 45_000}
    assert other.ledger.parcel(ACCOUNT, LOT) is not None
    # What that sale earned lies free until its first day: nobody can have spent it, and nothing is owed.
    assert (answer["points_taken_back"], answer["debt"]) == (2_200, 0)
    assert other.ledger.verify("T2") == 1
    paper = document.parse_any(other.ledger.corrections("T1-1-1")[0][1] or b"")
    assert isinstance(paper, ReturnDocument)
    assert (paper.money, paper.points_back, paper.reversed_total) == (45_000, 45_000, 2_200)


def test_what_came_back_before_is_known_wherever_it_was(shop: Shop, other: Shop) -> None:
    sell(shop)
    shop.take_back("ret1", {"1": 7_000}, sale_id="r1")
    ident, reply = told(shop)
    ask = other.take_back_later("ret2", {"1": 4_000}, ref=ident)
    other.till.handle(ReceiptFound(ident, reply, None))
    with pytest.raises(Problem, match="3 are left"):
        ask.reply.result(0)
    ask = other.take_back_later("ret2", {"1": 3_000}, ref=ident)
    other.till.handle(ReceiptFound(ident, reply, None))
    assert ask.reply.result(0)["money"] == 13_500
    assert shop.parcels()[LOT] + other.parcels()[LOT] == 60_000


def test_points_come_back_to_the_account_that_goes_on(shop: Shop, other: Shop) -> None:
    sell(shop)
    ident, reply = told(shop, owner=2002)
    ask = other.take_back_later("ret1", ref=ident)
    other.till.handle(ReceiptFound(ident, reply, None))
    ask.reply.result(0)
    assert newest(other).account == 2002
    assert [parcel.points for parcel in other.ledger.parcels(2002)] == [45_000]


def test_a_receipt_that_the_centre_does_not_have_is_a_mistyped_one(other: Shop) -> None:
    ask = other.take_back_later("ret1", ref="T1-1-1-abcdef")
    other.till.handle(ReceiptFound("T1-1-1-abcdef", None, "NO_SUCH_RECEIPT"))
    with pytest.raises(Problem, match="six digits") as refused:
        ask.reply.result(0)
    assert refused.value.status == 404
    assert other.ledger.head(1, "T2")[0] == 0


@pytest.mark.parametrize("why", ["no link", "no answer", "not synced", "no slip"])
def test_goods_come_back_without_their_receipt_and_the_office_returns_the_points(
    other: Shop, why: str
) -> None:
    ref = "T1-1-1-abcdef" if why != "no slip" else "фискальный чек 17 от 3 мая"
    if why == "no link":
        other.till.handle(LinkChanged("unreachable", ""))
    ask = other.take_back_later("ret1", {"1": 2_000}, ref=ref, reason="брак")
    if why == "no answer":
        assert not ask.reply.done()
        other.clock_ms += 1_000
        other.till.ring()
    if why == "not synced":
        other.till.handle(ReceiptFound(ref, None, "NOT_YET"))
    answer = ask.reply.result(0)
    assert (answer["pending"], answer["money"], answer["points_back"], answer["sale"]) == (True, None, 0, ref)
    assert "баллы вернёт офис" in "\n".join(answer["slip"]["lines"])
    entry = newest(other)
    assert ledger.FLAG_PENDING in entry.flags
    assert (entry.account, entry.postings) == (None, ())
    assert entry.ref == (None if why == "no slip" else "T1-1-1")
    receipt = other.ledger.receipt(1, 1)
    assert receipt is not None
    paper = document.parse_any(receipt.document)
    assert isinstance(paper, ReturnDocument)
    assert (paper.sale, paper.lines[0].quantity, paper.reason) == (ref, 2_000, "брак")
    other.till.handle(ReceiptFound(ref, None, None))  # late: nobody waits any more
    assert other.take_back("ret1", {"1": 2_000}, ref=ref, reason="брак") == answer


def test_the_centres_word_for_a_receipt_is_signed() -> None:
    reply = ReceiptReply(b"entry", b"document", (), 1)
    said = {
        wire.receipt_signing_bytes(till, ref, changed)
        for till, ref, changed in [
            ("T2", "T1-1-1-abcdef", reply),
            ("T3", "T1-1-1-abcdef", reply),
            ("T2", "T1-1-2-abcdef", reply),
            ("T2", "T1-1-1-abcdef", msgspec.structs.replace(reply, owner=2)),
            ("T2", "T1-1-1-abcdef", msgspec.structs.replace(reply, document=b"other")),
            ("T2", "T1-1-1-abcdef", msgspec.structs.replace(reply, returns=((b"e", b""),))),
        ]
    }
    assert len(said) == 6


def test_a_receipt_that_was_pruned_names_no_rules_any_more(shop: Shop) -> None:
    sell(shop)
    assert shop.ledger.priced_by() == {(7, 3)}
    with shop.ledger.transaction():
        shop.ledger.execute("INSERT INTO pruned VALUES (1, 1, ?)", (bytes(32),))
    assert shop.ledger.priced_by() == frozenset()


@pytest.mark.parametrize(
    ("seq", "goods_version", "here"), [(7, 3, True), (0, 0, True), (6, 3, False), (7, 2, False)]
)
def test_rules_of_former_days_are_compiled_from_what_lies_here(
    tmp_path: Path, seq: int, goods_version: int, here: bool
) -> None:
    with closing(SnapshotDb(tmp_path / "snapshot.db")) as shelf:
        for channel, version, name, content in (
            ("rulebook.all", 4, "rulebook.json", RULEBOOK),
            ("catalog.all", 3, "catalog.json", CATALOG),
        ):
            raw = json.dumps(content).encode()
            ref = FileRef(hashlib.sha256(raw).hexdigest(), len(raw))
            made = Manifest(1, channel, version, None, 1, 0, 10, 20, {name: ref}, 1)
            shelf.stage(made, manifest.encode(made), {name: raw})
    inbox, asked = Inbox(), PastRules("rulebook.all", seq, "catalog.all", goods_version)
    compile_past(inbox, tmp_path / "snapshot.db", asked)
    event = inbox.take(0)
    assert isinstance(event, PastRulesReady)
    assert (event.asked, event.compiled is not None) == (asked, here)


def test_a_snapshot_that_cannot_be_read_is_no_reason_not_to_take_goods_back(tmp_path: Path) -> None:
    (tmp_path / "snapshot.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 8192)
    inbox = Inbox()
    compile_past(inbox, tmp_path / "snapshot.db", PastRules("rulebook.all", 7, "catalog.all", 3))
    event = inbox.take(0)
    assert isinstance(event, PastRulesReady)
    assert event.compiled is None


# ------------------------------------------------------------------------------- the store's hub

IN_ONE_SHOP = {
    "hub": {"till": "T1", "url": "http://192.168.1.10:7720"},
    "tills": {"T1": "11" * 32, "T2": "22" * 32},
}


@pytest.fixture
def neighbour(tmp_path: Path) -> Iterator[Shop]:
    """A till of the same shop, whose hub `shop` is; the link to the office is down."""
    directory = tmp_path / "neighbour"
    directory.mkdir()
    made = Shop(directory, name="T2", settings=IN_ONE_SHOP)
    yield made
    made.close()


def shown(hub: Shop, ref: str) -> HubReceiptReply | None:
    """What the hub's till answers. (Signatures are checked before a till's thread hears of it.)"""
    ask = HubReceiptAsked(HubReceiptRequest(1, "T2", ref, bytes(16), b""))
    hub.till.handle(ask)
    return ask.reply.result(0)


def hub_answers(till: Shop, answer: HubReceiptReply | None) -> None:
    till.till.handle(HubReceiptFound(till.outside.hub_receipts.pop(), answer))


def test_without_a_link_the_hub_shows_its_receipt(shop: Shop, neighbour: Shop) -> None:
    sell(shop)
    shop.take_back("ret1", {"1": 6_000}, sale_id="r1")
    ident, _ = told(shop)
    ask = neighbour.take_back_later("ret2", {"1": 4_000}, ref=ident)
    assert neighbour.outside.receipts == []
    assert not ask.reply.done()
    hub_answers(neighbour, shown(shop, ident))
    answer = ask.reply.result(0)
    assert (answer["pending"], answer["money"], answer["points_back"]) == (False, 18_000, 18_000)
    assert shop.parcels()[LOT] + neighbour.parcels()[LOT] == 60_000
    # The hub tells of what it took back itself, the till knows what it took back: no more comes back.
    ask = neighbour.take_back_later("ret3", {"1": 1}, ref=ident)
    hub_answers(neighbour, shown(shop, ident))
    with pytest.raises(Problem, match="0 are left"):
        ask.reply.result(0)


def test_with_a_link_the_office_says_what_came_back_elsewhere(
    shop: Shop, neighbour: Shop, other: Shop
) -> None:
    sell(shop)
    ident, reply = told(shop)
    far = other.take_back_later("ret1", {"1": 7_000}, ref=ident)
    other.till.handle(ReceiptFound(ident, reply, None))
    far.reply.result(0)
    elsewhere = [(ledger.canonical(one), paper or b"") for one, paper in other.ledger.corrections("T1-1-1")]
    neighbour.till.handle(LinkChanged(None, ""))
    ask = neighbour.take_back_later("ret2", {"1": 4_000}, ref=ident)
    hub_answers(neighbour, shown(shop, ident))  # which has heard nothing of it
    assert neighbour.outside.receipts == [ident]
    assert not ask.reply.done()
    reply = msgspec.structs.replace(reply, returns=tuple(elsewhere))
    neighbour.till.handle(ReceiptFound(ident, reply, None))
    with pytest.raises(Problem, match="3 are left"):
        ask.reply.result(0)


def test_with_a_link_the_office_is_asked_what_came_back_elsewhere_of_our_own_sale(
    shop: Shop, other: Shop
) -> None:
    """Else the same goods are paid back twice: first over there, then here."""
    sell(shop)
    ident, reply = told(shop)
    shop.reply(next_seq=2)
    far = other.take_back_later("ret1", {"1": 7_000}, ref=ident)
    other.till.handle(ReceiptFound(ident, reply, None))
    far.reply.result(0)
    elsewhere = tuple((ledger.canonical(e), paper or b"") for e, paper in other.ledger.corrections("T1-1-1"))
    ask = shop.take_back_later("ret2", {"1": 4_000}, sale_id="r1")
    assert shop.outside.receipts == [ident]
    assert not ask.reply.done()
    shop.till.handle(ReceiptFound(ident, msgspec.structs.replace(reply, returns=elsewhere), None))
    with pytest.raises(Problem, match="3 are left"):
        ask.reply.result(0)


@pytest.mark.parametrize("said", ["nothing", "NO_SUCH_RECEIPT", "NOT_YET"])
def test_our_own_sale_needs_nobody_elses_word(shop: Shop, said: str) -> None:
    sell(shop)
    ident, _ = told(shop)
    shop.reply(next_seq=2)
    ask = shop.take_back_later("ret1", sale_id="r1")
    if said == "nothing":
        shop.clock_ms += 1_000
        shop.till.ring()
    else:
        shop.till.handle(ReceiptFound(ident, None, said))  # an office that was restored, perhaps
    assert ask.reply.result(0)["points_back"] == 45_000


def test_a_sale_that_the_office_has_not_heard_of_is_the_hubs_to_show(shop: Shop, neighbour: Shop) -> None:
    sell(shop)
    ident, _ = told(shop)
    neighbour.till.handle(LinkChanged(None, ""))
    ask = neighbour.take_back_later("ret1", ref=ident)
    hub_answers(neighbour, shown(shop, ident))
    neighbour.till.handle(ReceiptFound(ident, None, "NOT_YET"))
    assert ask.reply.result(0)["points_back"] == 45_000


def test_the_office_has_the_last_word_on_what_was_never_sold(shop: Shop, neighbour: Shop) -> None:
    sell(shop)
    ident, _ = told(shop)
    neighbour.till.handle(LinkChanged(None, ""))
    ask = neighbour.take_back_later("ret1", ref=ident)
    hub_answers(neighbour, shown(shop, ident))  # a copied disk, perhaps
    neighbour.till.handle(ReceiptFound(ident, None, "NO_SUCH_RECEIPT"))
    with pytest.raises(Problem, match="six digits"):
        ask.reply.result(0)


@pytest.mark.parametrize("link", [True, False])
def test_a_hub_that_is_silent_costs_three_tenths_of_a_second(shop: Shop, neighbour: Shop, link: bool) -> None:
    sell(shop)
    ident, reply = told(shop)
    if link:
        neighbour.till.handle(LinkChanged(None, ""))
    ask = neighbour.take_back_later("ret1", ref=ident)
    assert neighbour.till._returns.next_timer_ms() == 300
    neighbour.clock_ms = 299
    neighbour.till.ring()
    assert (neighbour.outside.receipts, ask.reply.done()) == ([], False)
    neighbour.clock_ms = 300
    neighbour.till.ring()
    if link:
        assert neighbour.outside.receipts == [ident]
        neighbour.till.handle(ReceiptFound(ident, reply, None))
    assert ask.reply.result(0)["pending"] is not link
    hub_answers(neighbour, shown(shop, ident))  # too late: nothing comes of it
    assert neighbour.ledger.head(1, "T2")[0] == 1


def test_a_receipt_of_the_hub_waits_for_its_rules_and_not_for_the_office_again(
    shop: Shop, neighbour: Shop
) -> None:
    sell(shop)
    ident, _ = told(shop)
    neighbour.till.handle(LinkChanged(None, ""))
    neighbour.till.handle(NewInForce("rulebook.all", 5, "00" * 32, tomorrow()))
    neighbour.till._counter.in_force = dataclasses.replace(
        tomorrow(), settings=in_force(settings={**SETTINGS, **IN_ONE_SHOP}).settings
    )
    ask = neighbour.take_back_later("ret1", ref=ident)
    hub_answers(neighbour, shown(shop, ident))
    neighbour.clock_ms = 1_000
    neighbour.till.ring()  # the office has said nothing
    (asked,) = neighbour.outside.past
    neighbour.till.handle(PastRulesReady(asked, in_force().compiled))
    assert ask.reply.result(0)["money"] == 45_000


def test_a_sale_of_a_third_till_is_not_asked_of_the_hub(neighbour: Shop) -> None:
    assert neighbour.take_back("ret1", ref="T3-1-1-abcdef")["pending"] is True
    assert neighbour.outside.hub_receipts == []


@pytest.mark.parametrize(
    "change",
    [
        lambda ref: ref[:-6] + "000000",
        lambda ref: ref[:-7],
        lambda ref: ref.replace("T1", "T3"),
        lambda ref: ref.replace("-1-1-", "-1-2-"),
        lambda _: "receipt 17",
    ],
)
def test_the_hub_shows_no_receipt_to_whoever_has_not_its_slip(
    shop: Shop, change: Callable[[str], str]
) -> None:
    sell(shop)
    shop.take_back("ret1", {"1": 1}, sale_id="r1")
    ident, _ = told(shop)
    assert shown(shop, ident) is not None
    assert shown(shop, change(ident)) is None


def test_a_restored_hub_shows_nothing_before_it_knows_what_its_backup_lacks(shop: Shop) -> None:
    sell(shop)
    ident, _ = told(shop)
    heard.begin_restore(shop.ledger, "restore-1")
    assert shown(shop, ident) is None


def test_what_is_paid_back_comes_as_fiscal_lines(shop: Shop) -> None:
    sell(shop)
    back = shop.take_back("ret1", {"1": 3_000}, sale_id="r1")
    fiscal = back["fiscal"]
    assert (fiscal["total"], fiscal["due"]) == (back["money"], back["money"])
    assert sum(line["quantity"] for line in fiscal["lines"]) == 3_000
    assert {line["id"] for line in fiscal["lines"]} == {"1"}
    shop.till.handle(LinkChanged("unreachable", ""))
    pending = shop.take_back("ret2", {"1": 1_000}, ref="T9-1-1-000000")
    assert (pending["pending"], pending["fiscal"]) == (True, None)


def test_a_line_that_points_paid_comes_back_as_it_was_printed(tmp_path: Path) -> None:
    """The milk was paid with points, the bag with money: no full payment, so the milk was a line of 0."""
    redeem = {"id": "pay", "stage": "redeem", "items": {"sku": ["milk-1"]},
              "effect": {"type": "redeem", "max_bp": 10_000, "of": "eligible"}}  # fmt: skip
    shop = Shop(
        tmp_path,
        rulebook=RULEBOOK | {"rules": [redeem]},
        settings={"fiscal": {"full_payment": "counter_provision"}},
    )
    shop.know()
    shop.grant(100_000)
    bag = {"id": "2", "sku": "bag", "price": 1_000, "quantity": 1000}
    for sale_id, lines in (("mixed", [milk(1000), bag]), ("all", [milk(1000)])):
        quoted = shop.put(sale_id, lines=lines, card=CARD, redeem="max")
        shop.commit(sale_id, quoted, **({} if quoted["quote"]["pay"] else {"tenders": []}))
        back = shop.take_back(f"back-{sale_id}", {"1": 1000}, sale_id=sale_id)
        sold = [line for line in quoted["fiscal"]["lines"] if line["id"] == "1"]
        assert back["fiscal"]["lines"] == sold
        assert bool(back["fiscal"]["tenders_due"]) is (sale_id == "all")
    shop.close()
