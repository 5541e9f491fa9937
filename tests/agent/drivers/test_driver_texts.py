"""What drivers and slips say has a Russian translation with the same named places."""

from __future__ import annotations

import ast
import string
from pathlib import Path

from babel.messages.pofile import read_po

import agent

ROOM = Path(agent.__file__).parent
RUSSIAN = ROOM.parent / "locale" / "ru" / "LC_MESSAGES" / "agent.po"


def sentences() -> set[str]:
    """Every msgid that a call of N_ in the drivers or the slip names."""
    return {
        node.args[0].value
        for file in (ROOM / "slip.py", *(ROOM / "drivers").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "N_"
        if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    }


def places(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


def test_every_sentence_is_translated_with_its_places() -> None:
    with RUSSIAN.open("rb") as file:
        russian = {str(message.id): str(message.string) for message in read_po(file) if message.id}
    found = sentences()
    assert len(found) > 30
    assert {s for s in found if not russian.get(s)} == set()
    assert {s for s in found if places(s) != places(russian[s])} == set()
