"""Every sentence the till can say, it can say in Russian, with the same values in it."""

from __future__ import annotations

import ast
import string
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

import agent
from agent.texts import both, language, say
from loyalty.texts import N_

ROOM = Path(agent.__file__).parent
CATALOGUES = ROOM.parent / "locale" / "ru" / "LC_MESSAGES"


def sentences() -> dict[str, str]:
    """Every msgid that a call of N_ in agent/ names, and a place where it stands."""
    found = {}
    for file in sorted(ROOM.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "N_":
                place = f"{file.relative_to(ROOM.parent)}:{node.lineno}"
                msgid = node.args[0]
                assert isinstance(msgid, ast.Constant), f"{place}: N_ needs a plain sentence to translate"
                found[str(msgid.value)] = place
    return found


def places(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


@pytest.fixture(scope="module")
def russian() -> dict[str, str]:
    found: dict[str, str] = {}
    for domain in ("loyalty", "agent"):
        with (CATALOGUES / f"{domain}.po").open("rb") as file:
            found |= {str(message.id): str(message.string) for message in read_po(file) if message.id}
    return found


def test_every_sentence_of_the_till_is_translated(russian: dict[str, str]) -> None:
    missing = {msgid: place for msgid, place in sentences().items() if not russian.get(msgid)}
    assert missing == {}


def test_a_translation_has_the_places_of_its_sentence(russian: dict[str, str]) -> None:
    wrong = {msgid: russian[msgid] for msgid in sentences() if places(msgid) != places(russian[msgid])}
    assert wrong == {}


def test_a_sentence_within_a_sentence_is_in_the_same_language() -> None:
    inner = N_("entry {id} is missing", id="T1-1-2")
    outer = both(N_("this cannot be written: {why}", why=inner))
    assert outer["en"] == "this cannot be written: entry T1-1-2 is missing"
    assert outer["ru"] == "это нельзя записать: записи T1-1-2 не хватает"


@pytest.mark.parametrize(
    ("preferred", "environment", "spoken"),
    [
        (None, None, "ru"),
        (None, "en", "en"),
        ("ru", "en", "ru"),
        ("de", "en", "en"),
        (None, "de", "ru"),
        ("en", "", "en"),
    ],
)
def test_russian_is_spoken_unless_somebody_asks_otherwise(
    monkeypatch: pytest.MonkeyPatch, preferred: str | None, environment: str | None, spoken: str
) -> None:
    monkeypatch.delenv("KOPILKA_LANG", raising=False)
    if environment is not None:
        monkeypatch.setenv("KOPILKA_LANG", environment)
    assert language(preferred) == spoken


def test_a_sentence_nobody_has_translated_is_said_in_english() -> None:
    assert say(N_("no such sentence, {name}", name="Anna"), "ru") == "no such sentence, Anna"
