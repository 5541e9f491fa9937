"""The office writes number templates; every mistake is named at once, with its place."""

from __future__ import annotations

from typing import Any

import pytest

from loyalty.card_templates import NumberTemplate, Stripe, parse_templates
from loyalty.faults import Refused

CARD = {"id": "c", "what": "card", "prefix": "20", "length": 13}


def faults(*templates: object) -> dict[str, str]:
    with pytest.raises(Refused) as refused:
        parse_templates(list(templates))
    return {fault.path.removeprefix("number_templates"): str(fault.text) for fault in refused.value.faults}


def test_a_short_template_means_what_its_defaults_say() -> None:
    (template,) = parse_templates([CARD])
    assert template == NumberTemplate("c", "card", prefix="20", length=13)
    assert template.media == ("barcode", "keyed")
    assert template.kind == "card"


def test_phones_have_a_number_space_of_their_own() -> None:
    (template,) = parse_templates([{"id": "p", "what": "phone"}])
    assert (template.kind, template.media) == ("phone", ("keyed",))


FAULTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("a misspelt field", {"lenght": 13}, "[0].lenght", "did you mean length?"),
    ("a field of another sort", {"series": "S"}, "[0].series", "unknown here"),
    ("an unknown medium", {"media": ["barcod"]}, "[0].media[0]", "did you mean barcode?"),
    ("a medium twice", {"media": ["keyed", "keyed"]}, "[0].media[1]", "twice"),
    ("no media", {"media": []}, "[0].media", "list"),
    ("an unknown check", {"check": "mod10"}, "[0].check", "ean, luhn, none"),
    ("an unknown symbology", {"symbology": "ean-13"}, "[0].symbology", "did you mean ean13?"),
    ("true is not a number", {"length": True}, "[0].length", "whole number"),
    ("half a range", {"from": "2000000000000"}, "[0].to", "both ends"),
    ("ends of two lengths", {"from": "2000000000000", "to": "21"}, "[0].to", "as long as"),
    ("length against range", {"length": 12, "from": "2" * 13, "to": "3" * 13}, "[0].length", "length of"),
    ("range outside the prefix", {"from": "3" * 13, "to": "4" * 13}, "[0].from", "begin with the prefix"),
    ("ends the wrong way", {"from": "2" + "09" * 6, "to": "2" + "01" * 6}, "[0].to", "less than"),
    ("length shorter than the prefix", {"length": 1}, "[0].length", "shorter"),
    ("EAN of eleven digits", {"length": 11, "check": "ean"}, "[0].check", "8, 12, 13 or 14"),
    ("Luhn of letters", {"prefix": "K", "check": "luhn"}, "[0].check", "digits"),
    ("Cyrillic", {"prefix": "К"}, "[0].prefix", "ASCII"),
    ("auto_register in words", {"auto_register": "yes"}, "[0].auto_register", "true or false"),
    ("a layout without the medium", {"track2": {}}, "[0].track2", "no meaning"),
    (
        "a long delimiter",
        {"media": ["track2"], "track2": {"delimiter": "=="}},
        "[0].track2.delimiter",
        "one character",
    ),
    (
        "a misspelt layout",
        {"media": ["track2"], "track2": {"blok": 1}},
        "[0].track2.blok",
        "did you mean block?",
    ),
]


@pytest.mark.parametrize(("change", "path", "why"), [c[1:] for c in FAULTS], ids=[c[0] for c in FAULTS])
def test_names_the_place_and_the_remedy(change: dict[str, Any], path: str, why: str) -> None:
    assert why in faults({**CARD, **change})[path]


def test_every_fault_is_said_at_once() -> None:
    found = faults({"what": "cart"}, 7, {"id": "w", "what": "card"}, CARD, CARD)
    assert set(found) == {"[0].what", "[0].id", "[0]", "[1]", "[2]", "[4].id"}
    assert "every number" in found["[2]"]


def test_a_list_is_wanted_and_it_has_an_end() -> None:
    with pytest.raises(Refused, match="list"):
        parse_templates({"id": "c"})
    with pytest.raises(Refused, match="at most"):
        parse_templates([CARD] * 1000)


def card(**fields: Any) -> dict[str, Any]:
    return {"id": "a", "what": "card", **fields}


def coupon(**fields: Any) -> dict[str, Any]:
    return {"id": "b", "what": "coupon", **fields}


MEETING = [
    ("prefix in prefix", card(prefix="20"), coupon(prefix="209")),
    ("range in prefix", card(**{"from": "2090", "to": "2099"}), coupon(prefix="209")),
    ("range in range", card(**{"from": "1000", "to": "2000"}), coupon(**{"from": "2000", "to": "3000"})),
    ("length only", card(length=4), coupon(prefix="7", length=4)),
    ("a phone in a card's range", card(prefix="79", length=11), {"id": "p", "what": "phone"}),
    (
        "a phone with 8",
        card(**{"from": "80000000000", "to": "89999999999"}),
        {"id": "p", "what": "phone"},
    ),
]
APART = [
    ("two prefixes", card(prefix="20"), coupon(prefix="21")),
    ("two lengths", card(prefix="20", length=8), coupon(prefix="20", length=13)),
    ("two ranges", card(**{"from": "1000", "to": "1999"}), coupon(**{"from": "2000", "to": "2999"})),
    ("two media", card(prefix="20", media=["track2"]), coupon(prefix="20", media=["barcode"])),
    (
        "two symbologies",
        card(prefix="20", media=["barcode"], symbology="ean13"),
        coupon(prefix="20", media=["barcode"], symbology="code128"),
    ),
    ("one meaning", card(prefix="20"), {**card(prefix="200"), "id": "b"}),
    (
        "letters and digits",
        card(**{"from": "K0001", "to": "K9999"}),
        coupon(**{"from": "10001", "to": "19999"}),
    ),
]


@pytest.mark.parametrize(("one", "other"), [m[1:] for m in MEETING], ids=[m[0] for m in MEETING])
def test_ambiguity_is_found_when_the_settings_are_written(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert "separate their ranges" in faults(one, other)["[1]"]
    assert "separate their ranges" in faults(other, one)["[1]"]


@pytest.mark.parametrize(("one", "other"), [a[1:] for a in APART], ids=[a[0] for a in APART])
def test_templates_that_cannot_meet_stand_side_by_side(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert len(parse_templates([one, other])) == 2


STRIPES: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("1C's default", {}, ";6277=49121?", "6277"),
    ("no delimiter on the track", {}, ";6277?", "6277"),
    ("the second block", {"block": 2}, ";6277=49121?", "49121"),
    ("no second block", {"block": 2}, ";6277?", None),
    ("a part of a block", {"block": 2, "first": 2, "field_length": 3}, ";6277=49121?", "912"),
    ("a block too short for the part", {"first": 3, "field_length": 5}, ";6277=1?", None),
    ("an empty delimiter", {"delimiter": ""}, ";6277=49121?", "6277=49121"),
    ("delimiters in a row", {"block": 3}, ";6277==49121?", "49121"),
    ("an empty block", {"block": 2}, ";6277==49121?", None),
    ("missing sentinel", {}, "6277=49121", None),
    ("sentinels taken off, and expected so", {"prefix": "", "suffix": ""}, "6277=49121", "6277"),
    ("nothing but a sentinel", {}, ";", None),
]


@pytest.mark.parametrize(("layout", "track", "number"), [s[1:] for s in STRIPES], ids=[s[0] for s in STRIPES])
def test_the_magnetic_template_finds_the_number(
    layout: dict[str, Any], track: str, number: str | None
) -> None:
    assert Stripe(**layout).number_of(track) == number
