"""Receipts travel: what was sold can be read, and priced again, years later."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty import document, receipt
from loyalty.document import (
    DocumentError,
    Receipt,
    Result,
    SaleDocument,
    SeenCustomer,
    SeenLot,
    SoldLine,
    Tender,
    canonical,
    engine_receipt,
    parse,
    quote_digest,
)

RECEIPT = Receipt(
    id="r1",
    till="T1",
    store="S1",
    region="RU-MOW",
    channel="pos",
    at="2026-11-18T14:26:40+03:00",
    lines=(SoldLine("1", "milk-1", 10_000, 2_000),),
    coupons=("SPRING",),
    tenders=("cash",),
    redeem="max",
)
CUSTOMER = SeenCustomer(
    account=1001,
    tier="silver",
    card_kind="plastic",
    segments=("mothers",),
    counters={"visits": 3},
    birthday="03-08",
    lots=(SeenLot("L1", 60_000, "2026-01-01T00:00:00"), SeenLot("L2", 5, None, "2027-01-01T00:00:00")),
)


def sold(customer: SeenCustomer | None = CUSTOMER, **more: Any) -> SaleDocument:
    fields: dict[str, Any] = {
        "receipt": RECEIPT,
        "customer": customer,
        "rulebook_seq": 7,
        "kill_seq": 0,
        "catalog_version": 3,
        "tenders": (Tender("cash", 15_000),),
        "fiscal_id": "9960440300000001/17",
        "paid_at": "2026-11-18T14:27:00+03:00",
        "operator": "7",
        "result": Result(b"12345678", 20_000, 2_000, 3_000, 15_000, 750),
    }
    return SaleDocument(**{**fields, **more})


@pytest.mark.parametrize("customer", [CUSTOMER, None, SeenCustomer(0)])
def test_what_is_written_is_what_is_read(customer: SeenCustomer | None) -> None:
    assert parse(canonical(sold(customer))) == sold(customer)


def test_an_older_program_reads_a_newer_document() -> None:
    fields = msgspec.msgpack.decode(canonical(sold())[1:])
    body = document.VERSION + msgspec.msgpack.encode([*fields, {"printed_on": "paper"}])
    assert parse(body) == sold()


NOT_DOCUMENTS = {
    "nothing": b"",
    "a later version": b"\x02" + canonical(sold())[1:],
    "cut": canonical(sold())[:-1],
    "another kind": document.VERSION + msgspec.msgpack.encode(["return", 1]),
    "text that is not UTF-8": canonical(sold()).replace(b"milk-1", b"milk-\xff"),
    "nested without end": document.VERSION + b"\x91" * 100_000,
}


@pytest.mark.parametrize("body", NOT_DOCUMENTS.values(), ids=NOT_DOCUMENTS.keys())
def test_what_is_no_document_says_so(body: bytes) -> None:
    with pytest.raises(DocumentError):
        parse(body)


@given(st.data())
def test_a_damaged_document_fails_in_one_way(data: st.DataObject) -> None:
    body = bytearray(canonical(sold()))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        parse(bytes(body))
    except DocumentError:
        return


# ----------------------------------------------------------------- to be priced once more


def test_the_engine_gets_everything_it_priced_with() -> None:
    """Every field of the rulebook's receipt comes back as it was; what was not there is not made up."""
    assert engine_receipt(RECEIPT, CUSTOMER) == {
        "id": "r1", "till": "T1", "store": "S1", "region": "RU-MOW", "channel": "pos",
        "at": "2026-11-18T14:26:40+03:00",
        "lines": [{"id": "1", "sku": "milk-1", "price": 10_000, "quantity": 2_000}],
        "coupons": ["SPRING"], "tenders": ["cash"], "redeem": "max",
        "customer": {
            "id": "1001", "tier": "silver", "card_kind": "plastic", "birthday": "03-08",
            "segments": ["mothers"], "counters": {"visits": 3},
            "lots": [
                {"id": "L1", "amount": 60_000, "active_from": "2026-01-01T00:00:00"},
                {"id": "L2", "amount": 5, "expires_at": "2027-01-01T00:00:00"},
            ],
        },
    }  # fmt: skip


def test_points_asked_for_as_a_number_stay_a_number_even_none() -> None:
    assert engine_receipt(msgspec.structs.replace(RECEIPT, redeem=0), None)["redeem"] == 0
    assert "redeem" not in engine_receipt(msgspec.structs.replace(RECEIPT, redeem=None), None)


@pytest.mark.parametrize("customer", [CUSTOMER, SeenCustomer(5), None])
def test_the_engine_takes_what_it_gets(customer: SeenCustomer | None) -> None:
    again = parse(canonical(sold(customer)))
    parsed = receipt.parse(engine_receipt(again.receipt, again.customer))
    assert parsed.id == "r1"
    assert (parsed.customer is None) == (customer is None)


def test_a_difference_between_two_quotes_is_seen_at_once() -> None:
    quote = {"pay": 15_000, "lines": [{"id": "1", "discounts": {"milk": 2_000}}]}
    shuffled = {"lines": [{"discounts": {"milk": 2_000}, "id": "1"}], "pay": 15_000}
    assert quote_digest(quote) == quote_digest(shuffled)
    assert len(quote_digest(quote)) == document.DIGEST_BYTES
    assert quote_digest(quote) != quote_digest({**quote, "pay": 15_001})
