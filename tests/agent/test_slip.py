"""The slip as the customer sees it. The expected slips lie in test_slip_golden/; look at them.

KOPILKA_GOLDEN=write pytest tests/agent/test_slip.py     writes them anew after a change that is meant
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.document import Cut, Document, Line, Qr, preview_lines, substitute
from agent.slip import MAX_QR_CHARS, WIDTHS, SlipLine, document_lines, laid_out, layout
from agent.slip_data import _qr
from agent.slip_samples import OFFLINE, ONLINE, RETURN, SAMPLES, at

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
    lines = preview_lines(document, columns)
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


# ------------------------------------------------------------------------------ lines for another's printer


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("slip", SAMPLES)
def test_lines_for_a_fiscal_printer_fit_and_hold_nothing_it_would_obey(slip: str, columns: int) -> None:
    lines = document_lines(laid_out(SAMPLES[slip], columns, russian), columns)
    assert max(map(len, lines)) <= columns
    assert all(line.isprintable() for line in lines)
    assert not any(line.strip().startswith("[QR") for line in lines)  # a mark for people who preview


@given(
    text=st.text(max_size=80), align=st.sampled_from(("left", "center", "right")), columns=st.integers(1, 64)
)
def test_no_document_at_all_makes_a_line_too_long(text: str, align: Any, columns: int) -> None:
    document: Document = (Line(text, align=align, wide=True), Line(text, bold=True), Qr(text), Cut())
    for line in document_lines(document, columns):
        assert len(line) <= columns
        assert all(c.isprintable() or c == "\u00a0" for c in line)


def test_a_large_title_becomes_a_centred_line() -> None:
    assert document_lines((Line("ВОЗВРАТ", bold=True, align="center", wide=True),), 32) == [
        " " * 12 + "ВОЗВРАТ"
    ]


@pytest.mark.parametrize(
    ("says", "columns", "line"),
    [
        ("https://shop.example/T1-1-17-a1", 32, ["https://shop.example/T1-1-17-a1"]),
        ("https://shop.example/T1-1-17-a1", 42, [" " * 5 + "https://shop.example/T1-1-17-a1"]),
        ("https://shop.example/r/T1-1-17-a1b", 32, []),  # half an address leads nowhere
        ("t=20261121&s=989.60", 48, []),  # for machines only
        ("https://магазин.example", 48, []),  # a printer might lack its letters
    ],
)
def test_a_qr_code_becomes_an_address_that_can_be_typed_or_nothing(
    says: str, columns: int, line: list[str]
) -> None:
    assert document_lines((Qr(says),), columns) == line


# ------------------------------------------------------------------------------ what a layout takes care of


def _lines(slip: Any, columns: int = 32) -> list[str]:
    return document_lines(laid_out(slip, columns, russian), columns)


def test_an_amount_stands_beside_the_last_word_of_a_name_that_wraps() -> None:
    lines = _lines(replace(ONLINE, discounts=(("Золотая карта: 10 % на кофе", 14490),)))
    assert lines[lines.index("Золотая карта: 10 % на") + 1] == "  кофе                   -144,90"


@pytest.mark.parametrize(
    ("name", "wrapped"),
    [
        ("Молоко Простоквашино топлён 3,2 %", ["Молоко Простоквашино топлён", "3,2 %"]),
        ("Приз за покупку в этом месяце 1 000", ["Приз за покупку в этом месяце", "1 000"]),
        ("ООО Ромашка, город Тула, ул. Мира", ["ООО Ромашка, город Тула,", "ул. Мира"]),
        ("Сок яблочный осветлённый в 930 мл", ["Сок яблочный осветлённый в", "930 мл"]),
    ],
)
def test_a_number_keeps_its_unit(name: str, wrapped: list[str]) -> None:
    lines = [line.strip() for line in _lines(replace(ONLINE, header=(name,)))]
    assert lines[1:3] == wrapped


def test_of_a_card_at_most_the_last_four_are_printed() -> None:
    for slip in (replace(ONLINE, card="2000000002346"), replace(RETURN, card="…2000000002346")):
        text = "\n".join(_lines(slip))
        assert "Карта ...2346" in text
        assert "02346" not in text


def test_a_text_too_long_for_any_slip_ends_in_dots() -> None:
    lines = _lines(replace(ONLINE, header=("очень " * 60,)))
    assert sum("очень" in line for line in lines) < 10
    assert any(line.endswith("...") for line in lines)


@pytest.mark.parametrize(
    ("says", "printed"),
    [
        ("https://shop.example/r/T1", "https://shop.example/r/T1"),
        ("https://shop.example/\x1bp\x00\n", "https://shop.example/p"),
        ("x" * MAX_QR_CHARS, "x" * MAX_QR_CHARS),
        ("x" * (MAX_QR_CHARS + 1), None),
        ("\n", None),
        ("", None),
        (None, None),
    ],
)
def test_a_qr_code_is_printable_and_bounded(says: str | None, printed: str | None) -> None:
    codes = [part.data for part in layout(replace(ONLINE, qr=says), 48, russian) if isinstance(part, Qr)]
    assert codes == ([printed] if printed else [])


def test_only_the_last_line_of_the_slip_is_put_into_the_qr_code() -> None:
    assert _qr("https://shop.example/{ident}?{till}&{0}%s", "T1-1-17-a1b2c3") == (
        "https://shop.example/T1-1-17-a1b2c3?{till}&{0}%s"
    )
    assert _qr(None, "T1-1-17-a1b2c3") is None
    assert _qr("x" * MAX_QR_CHARS + "{ident}", "T1-1-17-a1b2c3") is None


def test_a_letter_written_as_two_is_printed_as_one() -> None:
    assert substitute("чита\u0438\u0306ка за\u0301мок 1½ л ®") == "читайка замок 11/2 л (R)"
