"""The slip as the customer sees it. The expected slips lie in test_slip_golden/; look at them.

KOPILKA_GOLDEN=write pytest tests/agent/test_slip.py     writes them anew after a change that is meant
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.document import Cut, Line, Qr
from agent.slip import WIDTHS, SlipLine, document_lines, laid_out, layout
from agent.slip_samples import OFFLINE, ONLINE, SAMPLES, at

GOLDEN = Path(__file__).parent / "test_slip_golden"
LOCALE = Path(__file__).parents[2] / "locale" / "ru" / "LC_MESSAGES"


@lru_cache
def _catalogue() -> dict[str, str]:
    found = {}
    for name in ("agent.po", "loyalty.po"):
        with (LOCALE / name).open("rb") as file:
            found.update({str(m.id): str(m.string) for m in read_po(file) if m.id and m.string})
    return found


def russian(msgid: str) -> str:
    return _catalogue()[msgid]  # a sentence without a translation fails the test


def english(msgid: str) -> str:
    return msgid


LANGUAGES: dict[str, Callable[[str], str]] = {"ru": russian, "en": english}


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("slip", SAMPLES)
def test_the_slip_looks_as_agreed(slip: str, language: str, columns: int) -> None:
    document = laid_out(SAMPLES[slip], columns, LANGUAGES[language])
    lines = document_lines(document, columns)
    assert max(map(len, lines)) <= columns
    assert all(line.isprintable() for line in lines)
    text = "\n".join(lines) + "\n"
    golden = GOLDEN / f"{slip}.{language}.{columns}.txt"
    if os.environ.get("KOPILKA_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()


def test_offline_it_is_preliminary_and_says_as_of_when() -> None:
    text = "\n".join(document_lines(layout(OFFLINE, 48, russian), 48))
    assert "Доступно здесь на 12:40" in text
    assert "предварительно" in text
    assert "Баланс" not in text


def test_news_of_yesterday_has_its_date() -> None:
    old = replace(OFFLINE, as_of=at(20, 23, 59))
    assert "на 20.11.2026 23:59" in "\n".join(document_lines(layout(old, 48, russian), 48))


def test_what_is_not_known_is_not_printed() -> None:
    text = "\n".join(document_lines(layout(replace(ONLINE, available=None), 48, russian), 48))
    assert "Баланс" not in text


def test_a_copy_is_marked_large() -> None:
    document = laid_out(SAMPLES["copy"], 48, russian)
    assert Line("КОПИЯ", bold=True, align="center", wide=True) in document
    assert not any("КОПИЯ" in line for line in document_lines(layout(ONLINE, 48, russian), 48))


def test_it_ends_with_its_entry_and_a_cut() -> None:
    document = layout(ONLINE, 48, russian)
    assert document[-3:] == (Qr(ONLINE.qr or ""), Line("T1-1-17-a1b2c3", align="center"), Cut())


def test_a_title_from_the_office_cannot_command_the_printer() -> None:
    slip = replace(ONLINE, discounts=(("Скидка\x1bp\x00\x19\x19\n\r", 100),), tier="VIP\x1d")
    for part in layout(slip, 48, russian):
        if isinstance(part, Line):
            assert part.text.isprintable()


_name = st.text(max_size=250)
_amount = st.integers(-(10**9), 10**12)


@given(
    columns=st.sampled_from(WIDTHS),
    shop=_name,
    name=_name,
    title=_name,
    tier=_name,
    footer=_name,
    amount=_amount,
    quantity=st.integers(0, 10**9),
)
def test_no_line_is_longer_than_the_paper_is_wide(
    columns: int, shop: str, name: str, title: str, tier: str, footer: str, amount: int, quantity: int
) -> None:
    slip = replace(
        OFFLINE,
        shop=shop,
        tier=tier,
        footer=(footer,),
        lines=(SlipLine(name, amount, quantity, amount),),
        discounts=((title, amount),),
        pay_minor=amount,
        points_used=amount,
    )
    for part in layout(slip, columns, russian):
        if isinstance(part, Line):
            assert len(part.text) <= (columns // 2 if part.wide else columns)
