"""What a scan is of, with the scanner's identifier before it, beside it, or without: held against biip."""

from __future__ import annotations

import biip
import pytest

from loyalty import card
from loyalty.card import ProductCode
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
