"""docs/rulebook.md is run: every example of the page, by the engine and by the plain evaluator beside it.

The page is for people who write rules, or another engine, from it alone; so what it shows must be so, and no
key may be missing. The convention is said on the page itself: a `json` block states parts of the documents
of one request, blocks under one heading add up, and a block with `quote` or `faults` is a request with its
answer.
"""

from __future__ import annotations

import copy
import importlib
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.quote_command import answer_lines
from loyalty import strictjson
from loyalty.catalog import CATALOG
from loyalty.conditions import CONDITIONS
from loyalty.effects import EFFECTS
from loyalty.receipt import RECEIPT
from loyalty.rulebook import POLICIES, RULEBOOK
from loyalty.walk import Kind, Schema

sys.path.insert(0, str(Path(__file__).parent.parent / "reference"))
evaluate = importlib.import_module("plain_engine").evaluate

Json = dict[str, Any]

PAGE = Path(__file__).parents[2] / "docs" / "rulebook.md"
TEXT = PAGE.read_text("utf-8")
DOCUMENTS = ("rulebook", "catalog", "receipt")
ANSWERS = ("quote", "faults")
WHOLE_MAPS = ("discounts", "earned", "earned_reversed", "rewards")
"""Objects that an example states whole: one rule more would be another answer."""


@dataclass(frozen=True)
class Example:
    """A request of the page and what the page states of its answer."""

    name: str
    request: Json
    answer: Json


# -- the examples of the page ---------------------------------------------------------------------


def examples() -> Iterator[Example]:
    """Every block with an answer, filled up with what the blocks before it under its heading said."""
    heading, number = "", 0
    said: Json = {}
    for part in re.split(r"^(#+ .*|```json\n[\s\S]*?^```)$", TEXT, flags=re.MULTILINE):
        if part.startswith("#"):
            heading, said, number = part.lstrip("# "), {}, 0
        elif part.startswith("```json"):
            block = strictjson.loads(part.removeprefix("```json").removesuffix("```"))
            assert isinstance(block, dict), part
            answer = {key: block.pop(key) for key in ANSWERS if key in block}
            for key, value in block.items():
                assert key in (*DOCUMENTS, "returns", "draw_key"), f"{heading}: {key}"
                said[key] = said.get(key, {}) | value if key in DOCUMENTS else value
            if answer:
                number += 1
                yield Example(f"{heading} {number}", completed(said), answer)


def completed(said: Json) -> Json:
    """The whole request: what the page leaves out of its examples, as its introduction says."""
    said = copy.deepcopy(said)
    request: Json = {
        "rulebook": {"format": 1, "semantics": 1, "id": "shop", "seq": 1, "rules": []},
        "catalog": {"categories": {}, "skus": {}},
        "receipt": {"id": "R1", "till": "T1", "store": "M1", "at": "2026-02-13T12:00:00+03:00", "lines": []},
    }
    for key, value in said.items():
        request[key] = request[key] | value if key in DOCUMENTS else value
    for number, line in enumerate(request["receipt"]["lines"], start=1):
        line.setdefault("id", str(number))
        line.setdefault("quantity", 1000)
    return request


EXAMPLES = list(examples())
QUOTED = [pytest.param(each, id=each.name) for each in EXAMPLES if "quote" in each.answer]
FAULTY = [pytest.param(each, id=each.name) for each in EXAMPLES if "faults" in each.answer]


def differences(stated: Any, actual: Any, place: str = "quote") -> list[str]:
    """Where the answer is not as stated: objects by the keys stated, everything else exactly."""
    if isinstance(stated, dict) and isinstance(actual, dict):
        found = [f"{place}: no {key}" for key in stated if key not in actual]
        if place.rsplit(".", 1)[-1] in WHOLE_MAPS:
            found += [f"{place}: also {key} = {actual[key]}" for key in actual if key not in stated]
        for key in stated:
            if key in actual:
                found += differences(stated[key], actual[key], f"{place}.{key}")
        return found
    if isinstance(stated, list) and isinstance(actual, list) and len(stated) == len(actual):
        pairs = enumerate(zip(stated, actual, strict=True))
        return [one for i, pair in pairs for one in differences(*pair, f"{place}[{i}]")]
    return [] if stated == actual else [f"{place}: the page says {stated}, the answer is {actual}"]


def engine(request: Json) -> Json:
    """What `kopilka-agent quote --jsonl` answers."""
    out = io.BytesIO()
    answer_lines(io.BytesIO(json.dumps(request).encode() + b"\n"), out, lambda text: text)
    answer: Json = json.loads(out.getvalue())
    return answer


@pytest.mark.parametrize("example", QUOTED)
def test_the_engine_answers_as_the_page_says(example: Example) -> None:
    answer = engine(example.request)
    assert "error" not in answer, answer["error"]
    assert differences(example.answer["quote"], answer) == []


@pytest.mark.parametrize("example", QUOTED)
def test_the_plain_evaluator_answers_as_the_page_says(example: Example) -> None:
    assert differences(example.answer["quote"], evaluate(example.request)) == []


@pytest.mark.parametrize("example", FAULTY)
def test_the_faults_are_those_of_the_page(example: Example) -> None:
    places = {text.split(": ")[0] for text in engine(example.request)["error"]}
    assert sorted(places) == sorted(example.answer["faults"])


# -- nothing is missing ---------------------------------------------------------------------------


def test_the_examples_show_every_effect_condition_and_policy() -> None:
    words: set[str] = set()
    for example in EXAMPLES:
        if "quote" in example.answer:
            words |= set(strings(example.request["rulebook"]))
    assert len(EXAMPLES) >= 40
    assert sorted({*EFFECTS, *CONDITIONS, *POLICIES} - words) == []


@pytest.mark.parametrize("name", [*CONDITIONS, *EFFECTS])
def test_every_type_has_a_row_with_all_its_keys(name: str) -> None:
    rows = [row for row in TEXT.splitlines() if row.startswith(f"| `{name}` |")]
    shape = CONDITIONS.get(name) or EFFECTS[name]
    assert any(all(f"`{key}`" in row for key in shape.keys) for row in rows), rows


@pytest.mark.parametrize("document", [RULEBOOK, CATALOG, RECEIPT], ids=DOCUMENTS)
def test_every_key_and_every_choice_of_the_documents_is_named(document: Any) -> None:
    named = set(re.findall(r"[A-Za-z0-9_-]+", " ".join(re.findall(r"`([^`\n]+)`", TEXT))))
    assert sorted(words_of(document.schema(expanded(set()))) - named) == []


def test_every_key_of_a_quote_is_named() -> None:
    quote = engine(completed({"receipt": {"lines": [{"sku": "tea", "price": 100}]}}))
    assert [key for key in (*quote, *quote["lines"][0]) if not re.search(rf"`[^`\n]*\b{key}\b", TEXT)] == []


def test_links_within_the_page_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, flags=re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert len(anchors) == len(headings), "two headings of one name"
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors


def strings(document: Any) -> Iterator[str]:
    """Every string value in a document."""
    if isinstance(document, str):
        yield document
    else:
        for part in document.values() if isinstance(document, dict) else document:
            if isinstance(part, str | dict | list):
                yield from strings(part)


def expanded(seen: set[str]) -> Any:
    """How the schema of an inner kind is written: in place, but a named one only once."""

    def of(kind: Kind) -> Schema:
        if kind.name in seen:
            return {}
        if kind.name:
            seen.add(kind.name)
        return kind.schema(of)

    return of


def words_of(schema: Any) -> set[str]:
    """The keys and the closed choices of a JSON Schema."""
    found: set[str] = set()
    if isinstance(schema, dict):
        found |= set(schema.get("properties", ()))
        found |= {word for word in (*schema.get("enum", ()), schema.get("const")) if isinstance(word, str)}
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            found |= words_of(part)
    return found
