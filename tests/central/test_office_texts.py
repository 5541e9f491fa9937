"""Everything the office says to people has its Russian sentence, with the same places to fill in."""

from __future__ import annotations

import io
import re
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_python
from babel.messages.pofile import read_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).parents[2]
KEYWORDS = {"N_": None, "gettext": None, "gettext_noop": None, "ngettext": (1, 2)}
PLACE = re.compile(r"%\(\w+\)s|\{\w*\}")


def catalogue() -> Catalog:
    with (ROOT / "locale/ru/LC_MESSAGES/django.po").open("rb") as file:
        return read_po(file, abort_invalid=True)


def spoken() -> set[str]:
    """Every msgid of the office's code and templates."""
    sources = [path.read_text() for path in (ROOT / "central").rglob("*.py")]
    sources += [templatize(path.read_text()) for path in (ROOT / "central").rglob("*.html")]
    found: set[str] = set()
    for source in sources:
        for _, _, message, _ in extract_python(io.BytesIO(source.encode()), KEYWORDS, [], {}):
            if message and message[0]:  # not a call without a literal
                found.add(message if isinstance(message, str) else message[0])
    return found


def test_nothing_is_missing_and_nothing_is_left_over() -> None:
    translated = {m.id[0] if isinstance(m.id, tuple) else m.id for m in catalogue() if m.id}
    assert spoken() - translated == set()
    assert translated - spoken() == set()


def test_no_sentence_is_empty_vague_or_short_of_a_place() -> None:
    for message in catalogue():
        if not message.id:
            continue
        assert not message.fuzzy
        sentence, forms = message.id, message.string
        singular = sentence[0] if isinstance(sentence, tuple) else sentence
        for form in forms if isinstance(forms, tuple) else (forms,):
            assert form, singular
            assert sorted(PLACE.findall(form)) == sorted(PLACE.findall(singular)), singular
