"""What a scan is of, with the scanner's identifier before it, beside it, or without: held against biip."""

from __future__ import annotations

import biip
import pytest
from biip.gtin import Gtin
from hypothesis import given
from hypothesis import strategies as st

from loyalty import card
from loyalty.card import ProductCode
from loyalty.check_digits import gtin_ok
from loyalty.symbology import split, symbology_of

GS = "\x1d"
SCANS = [
    "]E04607025392408",
    "]E0036000291452",
    "]E496385074",
    f"]C1{GS}0104607025392408",
    "]C10104607025392408",
    f"]C1010460702539240821abc{GS}10LOT",
    f"]d2{GS}0104607025392408215abc{GS}93ab",
    "]Q30104607025392408",
    "]e00104607025392408",
    "]e00114607025392405",
    "4607025392408",
    "96385074",
]


def theirs(text: str) -> str:
    """The GTIN in a scan as biip reads it. (It takes no leading FNC1: the identifier has said GS1.)"""
    identifier, rest = split(text)
    found = biip.parse(f"]{identifier}{rest.lstrip(GS)}" if identifier else rest)
    if found.gtin is not None:
        return found.gtin.as_gtin_14()
    assert found.gs1_message is not None
    (gtin,) = [one.gtin for one in found.gs1_message.element_strings if one.gtin is not None]
    return gtin.as_gtin_14()


@pytest.mark.parametrize("text", SCANS)
def test_the_same_goods_as_biip_reads(text: str) -> None:
    identifier, rest = split(text)
    before = card.read(text, "barcode", ())
    beside = card.read(rest, "barcode", (), symbology_of(identifier))
    assert isinstance(before, ProductCode)
    assert before == beside
    assert before.code.zfill(14) == theirs(text)


@pytest.mark.parametrize(
    ("text", "identifier", "name", "rest"),
    [
        ("]E04607", "E0", "ean13", "4607"),
        ("]A7X", "A7", "code39", "X"),
        ("]Z6X", "Z6", None, "X"),
        ("]", None, None, "]"),
        ("]]E0", None, None, "]]E0"),
        ("4607", None, None, "4607"),
    ],
)
def test_an_identifier_is_taken_off(text: str, identifier: str | None, name: str | None, rest: str) -> None:
    assert split(text) == (identifier, rest)
    assert symbology_of(identifier) == name


@given(st.text())
def test_nothing_is_lost_or_added(text: str) -> None:
    identifier, rest = split(text)
    assert text == ("" if identifier is None else f"]{identifier}") + rest


@given(st.sampled_from((7, 11, 12, 13)).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n)))
def test_a_number_of_goods_has_one_form(digits: str) -> None:
    number = next(f"{digits}{check}" for check in range(10) if gtin_ok(f"{digits}{check}"))
    assert card.product_code(number).code.zfill(14) == Gtin.parse(number).as_gtin_14()


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(f"010460702539240810LOT7{GS}21A5", id="a lot before the serial number"),
        pytest.param("01046070253924083103001250", id="goods that were weighed"),
    ],
)
def test_where_we_read_less_than_biip(code: str) -> None:
    """Of GS1 elements behind a GTIN we follow a serial number alone; with others it is an internal code."""
    assert theirs(f"]C1{code}") == "04607025392408"
    assert card.read(f"]C1{code}", "barcode", ()) == ProductCode(code, "internal")
