"""What the till makes of whatever is scanned, swiped or keyed in."""

from __future__ import annotations

import hashlib
import hmac
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.card import (
    Card,
    CardSource,
    Coupon,
    PaymentCard,
    ProductCode,
    ReadError,
    ReadResult,
    Unknown,
    card_key,
    masked,
    parse_templates,
    product_code,
    read,
)
from loyalty.check_digits import gtin_ok, luhn_ok

# One shop: plastic cards with an EAN-13 and the same number on track 2, staff cards in Code 128,
# phones, coupons, and an old magnetic series numbered exactly like a payment card.
SHOP = parse_templates(
    [
        {
            "id": "plastic",
            "what": "card",
            "card_kind": "gold",
            "media": ["barcode", "keyed", "track2"],
            "prefix": "2000",
            "from": "2000000000008",
            "to": "2000000999999",
            "check": "ean",
            "auto_register": True,
        },
        {"id": "staff", "what": "card", "media": ["barcode"], "symbology": "code128", "prefix": "STAFF-"},
        {"id": "phone", "what": "phone", "auto_register": True},
        {"id": "spring", "what": "coupon", "series": "SPRING", "prefix": "991", "length": 13, "check": "ean"},
        {"id": "flyer", "what": "coupon", "prefix": "FLYER", "length": 5},
        {
            "id": "old",
            "what": "card",
            "media": ["track2", "keyed"],
            "from": "4276000000000000",
            "to": "4276000000009999",
        },
    ]
)
PLASTIC = Card("card", "2000000012346", "gold", auto_register=True)
GS = "\x1d"
PAN = "4111111111111111"
MIR = "2200000000000004"

CASES: list[tuple[str, str, CardSource, ReadResult]] = [
    ("a plastic card, scanned", "2000000012346", "barcode", PLASTIC),
    ("with an AIM identifier", "]E02000000012346", "barcode", PLASTIC),
    ("with the scanner's CR LF still on", "2000000012346\r\n", "barcode", PLASTIC),
    ("keyed in groups", "2000 0000 12346", "keyed", PLASTIC),
    ("the same card swiped", ";2000000012346=991210100000?", "track2", PLASTIC),
    ("swiped on a keyboard reader", "%S2000000012346?;2000000012346=99?", "barcode", PLASTIC),
    ("a swipe in three lines", "%E?\r;2000000012346?\r+E?", "track2", PLASTIC),
    ("a staff card", "STAFF-017", "barcode", Card("card", "STAFF-017")),
    ("a staff card, Code 128 said", "]C0STAFF-017", "barcode", Card("card", "STAFF-017")),
    ("a staff number in a QR is not a card", "]Q1STAFF-017", "barcode", ProductCode("STAFF-017", "internal")),
    ("a phone with 8", "8 (916) 123-45-67", "keyed", Card("phone", "79161234567", auto_register=True)),
    ("a phone with +7", "+7 916 1234567", "keyed", Card("phone", "79161234567", auto_register=True)),
    ("a numbered coupon", "9910000000423", "barcode", Coupon("SPRING", "0000000423")),
    ("a coupon without numbers", "FLYER", "barcode", Coupon("flyer")),
    ("goods", "4607025392408", "barcode", ProductCode("4607025392408", "ean13")),
    ("goods, EAN-8", "96385074", "barcode", ProductCode("96385074", "ean8")),
    ("goods, UPC-A", "036000291452", "barcode", ProductCode("0036000291452", "ean13")),
    ("goods, a GTIN-14 of one piece", "04607025392408", "barcode", ProductCode("4607025392408", "ean13")),
    ("goods, a box of twelve", "14607025392405", "barcode", ProductCode("14607025392405", "gtin14")),
    (
        "marked goods",
        f"]d2{GS}010460702539240821abcDEF{GS}91EE06{GS}92sig",
        "barcode",
        ProductCode("4607025392408", "ean13"),
    ),
    (
        "goods that pass Luhn and begin like Visa",
        "4000000000006",
        "barcode",
        ProductCode("4000000000006", "ean13"),
    ),
    ("an internal code", "00123", "keyed", ProductCode("00123", "internal")),
    ("a payment card keyed in", "4111 1111 1111 1111", "keyed", PaymentCard()),
    ("a payment card's barcode", MIR, "barcode", PaymentCard()),
    (
        "a payment card swiped",
        f"%B{PAN}^IVANOV/IVAN^29122011000?;{PAN}=29122011000?",
        "track2",
        PaymentCard(),
    ),
    ("Amex writes blanks", "%B3782 822463 10005^A/B^2912101?", "track2", PaymentCard()),
    ("only its track 2", f";{PAN}=29122011000?", "barcode", PaymentCard()),
    ("its track 2 of an unknown issuer", ";9000000000000001=29122011000?", "track2", PaymentCard()),
    ("its first track, the second unread", f"%B{PAN}^A/B^2912?;E?", "track2", PaymentCard()),
    ("sentinels taken off by the reader", f"{PAN}=2912201", "track2", PaymentCard()),
    ("and by one that says it is a barcode", f"{PAN}=2912201000", "barcode", PaymentCard()),
    ("its first track, typed in", f"B{PAN}^A/B^2912201000", "keyed", PaymentCard()),
    (
        "goods that have an = in their code",
        "4607025392408=15",
        "barcode",
        ProductCode("4607025392408=15", "internal"),
    ),
    (
        "a card of ours numbered like Visa",
        ";4276000000000006=29122011000?",
        "track2",
        Card("card", "4276000000000006"),
    ),
]


@pytest.mark.parametrize(("text", "source", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_reads(text: str, source: CardSource, expected: ReadResult) -> None:
    assert read(text, source, SHOP) == expected


UNKNOWN: list[tuple[str, str, CardSource, str]] = [
    ("outside every issued range", "2000001000005", "barcode", "outside every issued range"),
    ("a card with a wrong check digit", "2000000012345", "barcode", "check digit"),
    ("outside the range, swiped", ";2000001000005?", "track2", "outside every issued range"),
    ("a stripe of another shop", ";7700012=1?", "track2", "not one of our cards"),
    ("a payment number with a wrong digit", "4111111111111112", "keyed", "No card and no goods"),
    ("Cyrillic in a QR", "Привет", "barcode", "characters"),
    ("a control character", "12\x1b34", "barcode", "characters"),
    ("three kilobytes", "1" * 3000, "barcode", "too long"),
    ("nothing", "\r\n", "barcode", "Nothing"),
    ("only an AIM identifier", "]E0", "barcode", "Nothing"),
]


@pytest.mark.parametrize(("text", "source", "why"), [c[1:] for c in UNKNOWN], ids=[c[0] for c in UNKNOWN])
def test_says_why_it_is_unknown(text: str, source: CardSource, why: str) -> None:
    result = read(text, source, SHOP)
    assert isinstance(result, Unknown)
    assert why in str(result.reason)


@pytest.mark.parametrize(
    ("text", "track"),
    [("%E?", 1), (";E?", 2), ("%E?;E?", 2), ("%A12?+E?", 3), ("%A12345", None), (";2000000", None)],
)
def test_a_swipe_that_failed_asks_for_another(text: str, track: int | None) -> None:
    result = read(text, "track2", SHOP)
    assert isinstance(result, ReadError)
    assert result.track == track


def test_the_same_number_is_one_card_however_it_is_read() -> None:
    keys = {
        card_key(b"chain", card.kind, card.number)
        for text in ("2000000012346", ";2000000012346=1?", "]E02000000012346")
        if isinstance(card := read(text, "barcode", SHOP), Card)
    }
    assert len(keys) == 1


def test_card_key_is_63_bits_of_the_hmac() -> None:
    digest = hmac.new(b"k" * 32, b"card\x002000000012346", hashlib.sha256).digest()
    bits = "".join(f"{byte:08b}" for byte in digest)[:63]
    assert card_key(b"k" * 32, "card", "2000000012346") == int(bits, 2)
    assert card_key(b"k" * 32, "phone", "2000000012346") != int(bits, 2)


def test_a_receipt_writes_coupons_as_the_rulebook_does() -> None:
    assert Coupon("SPRING", "042").written == "SPRING/042"
    assert Coupon("SPRING").written == "SPRING"


@pytest.mark.parametrize(
    ("number", "shown"), [("2000000012346", "…2346"), ("1234", "…34"), ("7", "…"), ("79161234567", "…4567")]
)
def test_a_mask_shows_four_digits_and_never_the_whole(number: str, shown: str) -> None:
    assert masked(number) == shown


# ---- laws

_any_text = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789;=?%^+B E\r\x1d]", max_size=60),
    st.from_regex(r"[%;]B?[0-9]{10,19}[=^][0-9]{4,12}\?", fullmatch=True),
)


@given(text=_any_text, source=st.sampled_from(["barcode", "track2", "keyed"]))
def test_reading_never_raises(text: str, source: CardSource) -> None:
    assert isinstance(read(text, source, SHOP), ReadResult)


def _with_luhn(body: str) -> str:
    return next(body + d for d in "0123456789" if luhn_ok(body + d))


@given(
    pan=st.builds(
        lambda iin, rest: _with_luhn(iin + rest),
        st.sampled_from(["2202", "4999", "5105", "2221", "3530", "6200", "6011", "6304"]),
        st.text(alphabet="0123456789", min_size=11, max_size=11),
    ),
    shape=st.sampled_from(
        ["{}", "%B{}^A/B^2912101?", ";{}=29122010000?", "%B{}^A^2912?;{}=2912201?", ";{}=?"]
    ),
    source=st.sampled_from(["barcode", "track2", "keyed"]),
)
def test_no_digit_of_a_payment_card_comes_out(pan: str, shape: str, source: CardSource) -> None:
    result = read(shape.replace("{}", pan), source, SHOP)
    assert result == PaymentCard()
    assert not any(c.isdigit() for c in repr(result))


@given(body=st.text(alphabet="0123456789", min_size=12, max_size=12))
def test_goods_with_a_right_check_digit_are_never_taken_for_payment(body: str) -> None:
    code = next(body + d for d in "0123456789" if gtin_ok(body + d))
    assert not isinstance(read(code, "barcode", SHOP), PaymentCard)
    assert product_code("0" + code) == product_code(code)


def test_numbers_do_not_leak_through_repr_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = [read(text, source, SHOP) for _, text, source, _ in CASES]
    with caplog.at_level(logging.DEBUG):
        for value in seen:
            logging.getLogger("test").info("read %r %s", value, value)
    for secret in ("2000000012346", "79161234567", "0000000423", PAN, MIR, "4276"):
        assert secret not in caplog.text
