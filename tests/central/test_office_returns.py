"""Goods come back at tills that could not see each other; the office makes the points right."""

from __future__ import annotations

import hashlib
import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from office import ANNA, BORIS, Office
from pretend_till import PretendTill, Refused, receipt

from central.fleet import lives
from central.fleet.models import Centre, Till, TillLife
from central.intake import accept
from central.intake.models import Correction, Incident
from central.ledger import applier, settling
from central.ledger.models import Balance, LedgerEntry, Share
from central.members import registering
from central.rules import publishing
from loyalty import document, ledger, repricing, wire
from loyalty.document import ReturnDocument, ReturnedLine, SeenCustomer, SeenLot
from loyalty.ledger import FLAG_PENDING, Earned, Entry, LotTerms, Spent
from loyalty.protocol import goods, moves
from loyalty.quote import quote
from loyalty.receipt import parse as parse_receipt
from loyalty.returns import give_back

RULES = {
    "format": 1,
    "semantics": 1,
    "id": "programme",
    "seq": 7,
    "rules": [
        {"id": "pay", "stage": "redeem", "effect": {"type": "redeem", "max_bp": 5000}},
        {"id": "earn", "stage": "earn", "effect": {"type": "earn_percent", "bp": 1000, "delay_days": 14}},
    ],
}
GOODS = {"format": 1, "currency": "RUB", "categories": {}, "skus": {}}


@pytest.fixture(autouse=True)
def rules(office: Office) -> None:
    """The rules of the day, and those that came after it."""
    publishing.publish(publishing.CATALOG_CHANNEL, {"catalog.json": json.dumps(GOODS).encode()})
    for seq, cut in ((7, RULES["rules"]), (8, [])):
        content = json.dumps({**RULES, "seq": seq, "rules": cut}).encode()
        publishing.publish(publishing.RULEBOOK_CHANNEL, {"rulebook.json": content}, content_seq=seq)


@pytest.fixture
def anna(office: Office) -> int:
    office.store("S1")
    office.store("S2")
    return office.member(ANNA, points="40.00", home="S1")


@pytest.fixture
def first(anna: int, office: Office) -> PretendTill:
    """A till of Anna's shop, which holds 36 of her 40 points."""
    till = office.till("S1")
    till.sync()
    return till


@pytest.fixture
def second(anna: int, office: Office) -> PretendTill:
    return office.till("S2")


def sell(till: PretendTill, account: int, *, points: bool = True) -> Entry:
    """Four loaves for 100.00 at 25.00, as much of it paid with points as the till holds (36.00)."""
    seq = len(till.log) + 1
    lots = tuple(SeenLot(lot, held, "2026-01-01T00:00:00") for lot, held in till.lots(account).items())
    blank = document.parse(receipt(till.id, seq, account))
    line = document.SoldLine("1", "bread", 25_00, 4_000)
    priced = msgspec.structs.replace(blank.receipt, lines=(line,), redeem="max" if points else None)
    customer = SeenCustomer(account, lots=lots)
    compiled = repricing.programme(json.dumps(RULES).encode(), json.dumps(GOODS).encode())
    raw = quote(compiled, parse_receipt(document.engine_receipt(priced, customer))).to_builtins()
    result = document.Result(document.quote_digest(raw), raw["list"], 0, raw["redeemed"], raw["pay"], 0)
    paper = msgspec.structs.replace(
        blank, receipt=priced, customer=customer, rulebook_seq=7, catalog_version=1, result=result
    )
    spent = [Spent(lot, amount) for lot, amount in raw["lots_used"]]
    earned = [
        Earned(lot["amount"], LotTerms(lot["active_from"], None, lot["rule"]), False)
        for lot in raw["earned_lots"]
    ]
    for piece in spent:
        till.parcels[account, piece.lot] -= piece.points
    postings = moves.sale(till.id, till.epoch, seq, spent, earned)
    return till.write("SALE", account, postings, document=document.canonical(paper))


def slip_of(till: PretendTill, sale: Entry) -> str:
    return f"{sale.id}-{ledger.fingerprint(till.head_after(sale.seq))}"


def return_paper(till: PretendTill, sale: str, quantity: int) -> ReturnDocument:
    number = len(till.log) + 1
    lines = (ReturnedLine("1", quantity),)
    return ReturnDocument(f"ret{number}", sale, "2026-01-02T12:00:00+03:00", lines, 0, 0, 0)


def take_back(till: PretendTill, sale: Entry, seller: PretendTill, quantity: int) -> Entry:
    """A return with its receipt at hand, by a till that knows of no other return."""
    paper = return_paper(till, sale.id, quantity)
    sold = document.parse(seller.documents[sale.seq])
    compiled = repricing.programme(json.dumps(RULES).encode(), json.dumps(GOODS).encode())
    (now,) = give_back(repricing.reprice(compiled, sold), repricing.asked_back([paper], sold))
    postings = goods.take_goods(
        goods.read_sale(sale), till.id, (), now, goods.done_by([]),
        held={}, shop_now="2026-01-02T12:00:00", terms=goods.terms_of(sold, lambda _: None),
    )  # fmt: skip
    for posting in postings:
        if posting.account == ledger.parcel(till.id):
            till.parcels[sale.account or 0, posting.lot] += posting.points
    return till.write("RETURN_GOODS", sale.account, postings, document=document.canonical(paper), ref=sale.id)


def take_back_unseen(till: PretendTill, said: str, quantity: int) -> Entry:
    """A return whose receipt could not be had: no points, and the office is to settle it."""
    body = document.canonical(return_paper(till, said, quantity))
    named = ledger.read_ident(said)
    entry = Entry(
        till.id, till.epoch, len(till.log) + 1, 1_767_300_000, "RETURN_GOODS", None, (),
        hashlib.sha256(body).digest(), named.entry_id if named else None, (FLAG_PENDING,),
    )  # fmt: skip
    till.log.append(ledger.canonical(entry))
    till.documents[entry.seq] = body
    return entry


def balance(account: int) -> int:
    row = Balance.objects.get(account=account)
    return row.held + row.debt


def state_of(entry: Entry) -> str:
    return Correction.objects.get(till=entry.till, epoch=entry.epoch, seq=entry.seq).state


def adjusts(account: int) -> list[Entry]:
    bodies = LedgerEntry.objects.filter(account=account, kind="ADJUST").order_by("seq")
    found = [ledger.parse(bytes(row.body)) for row in bodies]
    return [entry for entry in found if goods.FLAG_RETURNED in entry.flags]


def incidents() -> list[tuple[str, str]]:
    return [(f"{i.till}-{i.epoch}-{i.seq}", i.code) for i in Incident.objects.order_by("id")]


# ------------------------------------------------------------------ the receipt is asked for


def ask(till: PretendTill, ref: str) -> wire.ReceiptReply:
    reply = till.ask_receipt(ref)
    key = Ed25519PublicKey.from_public_bytes(till.enrolment.reply_key)
    key.verify(reply.signature, wire.receipt_signing_bytes(till.id, ref, reply))
    return reply


def test_another_shop_reads_the_receipt_by_the_last_line_of_its_slip(
    first: PretendTill, second: PretendTill, anna: int
) -> None:
    sale = sell(first, anna)
    first.sync()
    second.sync()
    reply = ask(second, slip_of(first, sale))
    assert ledger.parse(reply.entry) == sale
    assert reply.document == first.documents[sale.seq]
    assert (reply.returns, reply.owner) == ((), anna)


def test_the_receipt_says_what_came_back_since_and_whose_points_they_are_today(
    first: PretendTill, second: PretendTill, anna: int, office: Office
) -> None:
    sale = sell(first, anna)
    boris = office.member(BORIS, points="0")
    back = take_back(first, sale, first, 1_000)
    first.sync()
    second.sync()
    registering.merge(anna, boris, "MERGE")
    reply = ask(second, slip_of(first, sale))
    assert [ledger.parse(body) for body, _ in reply.returns] == [back]
    assert reply.returns[0][1] == first.documents[back.seq]
    assert reply.owner == boris


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        (lambda ref: ref[:-6] + "000000", "404 NO_SUCH_RECEIPT"),
        (lambda ref: ref.replace("-1-1-", "-1-2-"), "404 NO_SUCH_RECEIPT"),
        (lambda ref: ref.replace("-1-1-", "-1-9-"), "404 NOT_YET"),
        (lambda ref: "T77" + ref[2:], "404 NOT_YET"),
        (lambda ref: ref[:-7], "400 BAD_MESSAGE"),
        (lambda _: "receipt17", "400 BAD_MESSAGE"),
    ],
)
def test_receipts_cannot_be_counted_through(
    first: PretendTill, second: PretendTill, anna: int, changed: object, refused: str
) -> None:
    sale = sell(first, anna)
    first.write("RELEASE", anna)
    first.sell(None)
    first.sync()
    second.sync()
    assert callable(changed)
    with pytest.raises(Refused, match=refused):
        ask(second, changed(slip_of(first, sale)))


def test_nobody_reads_a_receipt_without_a_session(first: PretendTill, anna: int) -> None:
    sale = sell(first, anna)
    first.sync()
    first.session = "guessed"
    with pytest.raises(Refused, match="401"):
        ask(first, slip_of(first, sale))


# --------------------------------------------------------------------- the office settles


def test_a_return_with_its_receipt_needs_no_office(first: PretendTill, anna: int) -> None:
    before = balance(anna)
    sale = sell(first, anna)
    back = take_back(first, sale, first, 4_000)
    first.sync()
    assert (balance(anna), state_of(back), adjusts(anna), incidents()) == (before, "done", [], [])


def test_goods_that_came_back_without_their_receipt_bring_their_points_all_the_same(
    first: PretendTill, second: PretendTill, anna: int
) -> None:
    sale = sell(first, anna)
    first.sync()
    assert balance(anna) == 40_00 - 36_00 + 6_00
    back = take_back_unseen(second, slip_of(first, sale), 2_000)
    second.sync()
    (adjust,) = adjusts(anna)
    assert adjust.ref == back.id
    assert state_of(back) == "done"
    assert balance(anna) == 40_00 - 18_00 + 3_00
    assert list(goods.done_by([adjust]).back.values()) == [18_00]
    # The rest comes back at the till of the sale, which knows nothing of the other; nothing is lost.
    take_back(first, sale, first, 2_000)
    first.sync()
    assert balance(anna) == 40_00
    assert incidents() == []


def test_a_return_that_came_before_its_sale_waits_for_it(
    first: PretendTill, second: PretendTill, anna: int, office: Office
) -> None:
    sale = sell(first, anna)  # and the link of that shop is down
    back = take_back_unseen(second, slip_of(first, sale), 4_000)
    second.sync()
    assert (state_of(back), incidents()) == ("waiting", [])
    office.days_pass(15)
    second.sync()
    assert (state_of(back), incidents()) == ("missed", [(back.id, "RETURN_NO_SALE")])
    first.sync()
    assert (state_of(back), balance(anna)) == ("done", 40_00)
    assert len(incidents()) == 1


def test_the_same_goods_at_two_tills_bring_points_once(
    first: PretendTill, second: PretendTill, anna: int
) -> None:
    sale = sell(first, anna)
    take_back(first, sale, first, 4_000)
    again = take_back(second, sale, first, 3_000)
    first.sync()
    second.sync()
    assert balance(anna) == 40_00
    (adjust,) = adjusts(anna)
    assert adjust.ref == again.id
    assert incidents() == [(again.id, "RETURNED_TWICE")]
    # The second till may spend what it was given back; so much is owed, and what is free has paid it.
    assert Share.objects.get(holder__startswith=second.id).points == 27_00
    assert Balance.objects.get(account=anna).spent == 0
    assert Balance.objects.get(account=anna).issued == 0


def test_a_sale_that_was_voided_at_home_and_returned_elsewhere(
    first: PretendTill, second: PretendTill, anna: int
) -> None:
    sale = sell(first, anna)
    take_back(second, sale, first, 1_000)
    terms = LotTerms("2026-01-01T00:00:00", None, "opening")
    voided = moves.void(sale, lambda _: 0, lambda _: terms)
    void = first.write("VOID", anna, voided, ref=sale.id)
    second.sync()
    first.sync()
    assert balance(anna) == 40_00
    assert incidents() == [(void.id, "RETURNED_TWICE")]


def test_a_merged_card_gets_its_points_under_the_account_that_goes_on(
    first: PretendTill, second: PretendTill, anna: int, office: Office
) -> None:
    sale = sell(first, anna)
    first.sync()
    boris = office.member(BORIS, points="0")
    registering.merge(anna, boris, "MERGE")
    take_back_unseen(second, slip_of(first, sale), 4_000)
    second.sync()
    assert balance(boris) == 40_00


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (lambda ref: ref[:-6] + "000000", "RETURN_WRONG_SLIP"),
        (lambda _: "фискальный чек 17", "RETURN_NO_SALE"),
        (lambda ref: ref.replace("-1-1-", "-1-2-"), "RETURN_NO_SALE"),
    ],
)
def test_what_nobody_can_find_is_for_a_person(
    first: PretendTill, second: PretendTill, anna: int, said: object, code: str
) -> None:
    sale = sell(first, anna)
    first.write("RELEASE", anna)
    first.sync()
    before = balance(anna)
    assert callable(said)
    back = take_back_unseen(second, said(slip_of(first, sale)), 1_000)
    second.sync()
    assert (state_of(back), incidents(), balance(anna)) == ("odd", [(back.id, code)], before)


def test_a_price_that_the_office_cannot_repeat_is_for_a_person(
    first: PretendTill, second: PretendTill, anna: int
) -> None:
    sale = first.sell(anna, earn=5_00)  # its receipt says that it was sold without rules, and gives points
    first.sync()
    back = take_back_unseen(second, slip_of(first, sale), 1_000)
    second.sync()
    assert incidents() == [(back.id, "RETURN_NOT_PRICED")]
    assert balance(anna) == 45_00


@pytest.mark.parametrize("paper", [b"", b"no document", document.VERSION + b"\x93\xa6return\x01"])
def test_a_return_whose_document_cannot_be_read_stops_nobody(
    first: PretendTill, second: PretendTill, anna: int, paper: bytes
) -> None:
    """It is for a person; the sale's other return, and every other till's sync, go on."""
    sale = sell(first, anna)
    first.sync()
    odd = second.write("RETURN_GOODS", None, document=paper or None, ref=sale.id)
    second.sync()
    seen = take_back_unseen(second, slip_of(first, sale), 1_000)
    second.sync()
    first.sync()
    assert (state_of(odd), state_of(seen)) == (Correction.DONE, Correction.DONE)
    assert (seen.id, settling.NOT_PRICED) in incidents()
    assert adjusts(anna) == []


@pytest.mark.parametrize(
    "paper",
    [
        b"",
        b"no document",
        document.canonical(document.RegisterDocument(2**64 - 1, "card", None)),
        document.canonical(document.RegisterDocument(17, "card", "k" * 300)),
    ],
)
def test_a_new_card_whose_document_cannot_be_read_stops_nobody(first: PretendTill, paper: bytes) -> None:
    account = ledger.provisional_account(4711)
    odd = first.write("REGISTER", account, document=paper or None)
    first.sell(account, earn=5_00)
    assert first.sync().next_seq == 3
    assert incidents() == [(odd.id, registering.NO_CARD)]
    assert balance(account) == 5_00


def test_goods_of_a_sale_without_a_card_move_no_points(first: PretendTill, second: PretendTill) -> None:
    sale = first.sell(None)
    first.sync()
    back = take_back_unseen(second, slip_of(first, sale), 1_000)
    twice = take_back_unseen(second, slip_of(first, sale), 1_000)
    second.sync()
    assert (state_of(back), state_of(twice)) == ("done", "done")
    assert incidents() == [(twice.id, "RETURNED_TWICE")]


def test_the_batch_again_settles_nothing_again(first: PretendTill, second: PretendTill, anna: int) -> None:
    sale = sell(first, anna)
    first.sync()
    take_back_unseen(second, slip_of(first, sale), 4_000)
    batch = second.batch()
    for _ in range(3):
        second.post(batch)
    assert (len(adjusts(anna)), balance(anna)) == (1, 40_00)


def test_a_centre_that_was_restored_settles_when_it_knows_what_it_gave(
    first: PretendTill, second: PretendTill, anna: int
) -> None:
    sale = sell(first, anna)
    first.sync()
    Centre.objects.update(fenced=True)
    back = take_back_unseen(second, slip_of(first, sale), 4_000)

    accept.accept(Till.objects.get(id=second.id), second.batch())

    applier.apply_waiting()
    assert state_of(back) == "due"
    Centre.objects.update(fenced=False)
    applier.apply_waiting()
    assert (state_of(back), balance(anna)) == ("done", 40_00)


@pytest.mark.parametrize("accepted", [True, False])
def test_a_return_of_a_stolen_till_counts_when_somebody_says_so(
    first: PretendTill, second: PretendTill, anna: int, accepted: bool
) -> None:
    sale = sell(first, anna)
    first.sync()
    before = balance(anna)
    second.sync()
    life = lives.close(second.id)
    back = take_back(second, sale, first, 4_000)
    second.post(second.batch())
    assert balance(anna) == before
    if accepted:
        lives.accept_late(TillLife.objects.get(pk=life.pk))
        assert balance(anna) == 40_00
    else:
        lives.reverse_late(TillLife.objects.get(pk=life.pk))
        assert (balance(anna), state_of(back)) == (before, "odd")
