"""Every sentence of the law has a Russian translation with the same named places."""

from __future__ import annotations

import ast
import string
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

import loyalty

LAW = Path(loyalty.__file__).parent
RUSSIAN = LAW.parent / "locale" / "ru" / "LC_MESSAGES" / "loyalty.po"


def sentences() -> dict[str, str]:
    """Every msgid that a call of N_ in loyalty/ names, and a place where it stands."""
    found = {}
    for file in sorted(LAW.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "N_":
                place = f"{file.relative_to(LAW.parent)}:{node.lineno}"
                msgid = node.args[0]
                assert isinstance(msgid, ast.Constant), f"{place}: N_ needs a plain sentence to translate"
                found[msgid.value] = place
    return found


def places(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


@pytest.fixture(scope="module")
def russian() -> dict[str, str]:
    with RUSSIAN.open("rb") as file:
        return {str(message.id): str(message.string) for message in read_po(file) if message.id}


def test_every_sentence_of_the_law_is_translated(russian: dict[str, str]) -> None:
    missing = {msgid: place for msgid, place in sentences().items() if not russian.get(msgid)}
    assert missing == {}


def test_no_translation_is_left_of_a_sentence_that_is_gone(russian: dict[str, str]) -> None:
    assert set(russian) - set(sentences()) == set()


def test_a_translation_has_the_places_of_its_sentence(russian: dict[str, str]) -> None:
    wrong = {msgid: text for msgid, text in russian.items() if places(msgid) != places(text)}
    assert wrong == {}
