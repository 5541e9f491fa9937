"""The published JSON Schema says of a document what the reader says, as far as a schema can."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from random_requests import random_request

from loyalty import catalog, receipt, rulebook
from loyalty.conditions import CONDITIONS
from loyalty.effects import EFFECTS
from loyalty.faults import Refused
from loyalty.schema import DOCUMENTS, schema_of

Json = dict[str, Any]

VALIDATORS = {name: Draft202012Validator(schema_of(name)) for name in DOCUMENTS}
READERS = {
    "rulebook": rulebook.parse,
    "catalog": catalog.parse,
    "receipt": receipt.parse,
    "returns": receipt.parse_returns,
}

BOOK: Json = {
    "format": 1,
    "id": "shop",
    "seq": 1,
    "rules": [
        {
            "id": "milk",
            "stage": "line",
            "when": {"type": "all", "of": [{"type": "tier", "in": ["gold"]}]},
            "items": {"category": ["milk"]},
            "effect": {"type": "percent", "bp": 700},
        },
        {
            "id": "three",
            "stage": "sets",
            "limit": 2,
            "effect": {"type": "n_for_m", "n": 3, "m": 2},
        },
    ],
}
WRONG: list[tuple[str, list[str | int], Any]] = [
    ("a key that nobody knows", ["rulez"], []),
    ("a required key", ["rules", 0, "id"], None),
    ("a number with a point", ["rules", 0, "effect", "bp"], 7.5),
    ("a negative percent", ["rules", 0, "effect", "bp"], -1),
    ("an id with a space", ["rules", 0, "id"], "ten percent"),
    ("an effect of another stage", ["rules", 0, "effect"], {"type": "redeem", "max_bp": 1}),
    ("an effect that nobody knows", ["rules", 0, "effect", "type"], "percentage"),
    ("a condition that nobody knows", ["rules", 0, "when", "of", 0, "type"], "teer"),
    ("an empty selector list", ["rules", 0, "items", "category"], []),
    ("a limit outside sets", ["rules", 0, "limit"], 1),
    ("a cap in sets", ["rules", 1, "cap"], 1),
    ("a weekday that there is not", ["rules", 0, "when"], {"type": "weekday", "in": [8]}),
    ("another format", ["format"], 2),
    ("null, which is no absence in a rulebook", ["rules", 0, "group"], None),
    (
        "items on a bundle",
        ["rules", 1],
        {
            "id": "b",
            "stage": "sets",
            "items": {},
            "effect": {"type": "bundle", "parts": [{"count": 1}], "bp": 1},
        },
    ),
]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_it_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(schema_of(name))


def test_what_is_right_is_right_for_the_schema_too() -> None:
    for seed in range(150):
        request = random_request(random.Random(seed))
        for name in DOCUMENTS:
            if name in request:
                found = [error.message for error in VALIDATORS[name].iter_errors(request[name])]
                assert found == [], f"seed {seed}: {name}"


@pytest.mark.parametrize(("place", "value"), [pytest.param(p, v, id=name) for name, p, v in WRONG])
def test_what_is_wrong_is_wrong_for_both(place: list[str | int], value: Any) -> None:
    document: Any = copy.deepcopy(BOOK)
    assert VALIDATORS["rulebook"].is_valid(document)
    target = document
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    assert not VALIDATORS["rulebook"].is_valid(document)
    with pytest.raises(Refused):
        rulebook.parse(document)


def test_every_word_of_the_vocabulary_is_in_it() -> None:
    named = schema_of("rulebook")["$defs"]
    for kind, words in (("condition", CONDITIONS), ("effect", EFFECTS)):
        assert {one["properties"]["type"]["const"] for one in named[kind]["oneOf"]} == set(words)


def test_null_is_an_absence_in_a_receipt() -> None:
    sale = {
        "id": "R",
        "till": "T",
        "store": "S",
        "at": "2026-02-13T12:00:00+03:00",
        "lines": [],
        "region": None,
    }
    assert VALIDATORS["receipt"].is_valid(sale)
    assert receipt.parse(sale).region is None
    assert not VALIDATORS["receipt"].is_valid({**sale, "till": None})
