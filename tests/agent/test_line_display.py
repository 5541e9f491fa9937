"""The customer's display: two rows of twenty letters, in Russian and English."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.line_display import (
    COLUMNS,
    Closed,
    Item,
    Recognised,
    Shown,
    Spends,
    Thanks,
    Total,
    Welcome,
    rows,
)
from agent.texts import translator

CASES: dict[str, tuple[Shown, tuple[str, str], tuple[str, str]]] = {
    "closed": (
        Closed(),
        ("   Касса закрыта    ", "Пройдите в соседнюю "),
        (" The till is closed ", "Please go to another"),
    ),
    "welcome": (
        Welcome("Магазин у дома"),
        (" Добро пожаловать!  ", "   Магазин у дома   "),
        ("      Welcome!      ", "   Магазин у дома   "),
    ),
    "goods": (
        Item("Молоко «Простоквашино» 3,2 %", 8990, 123_450),
        ("Молоко \"Прост. 89,90", "Итого       1 234,50"),
        ("Молоко \"Прост. 89.90", "Total       1,234.50"),
    ),
    "goods whose name is cut after a word": (
        Item("Набор конфет «Вечерний звон»", 8_990, 8_990),
        ("Набор конфет   89,90", "Итого          89,90"),
        ("Набор конфет   89.90", "Total          89.90"),
    ),
    "goods whose weight has no room": (
        Item("Кофе в зёрнах 1000 г", 8990, 8990),
        ("Кофе в зёрнах  89,90", "Итого          89,90"),
        ("Кофе в зёрнах  89.90", "Total          89.90"),
    ),
    "a name that would command the display": (
        Item("\x1b@Чай\n\t\x00 ёжик", 100, 100),
        ("@Чай ёжик       1,00", "Итого           1,00"),
        ("@Чай ёжик       1.00", "Total           1.00"),
    ),
    "an amount that has no room is not shown, rather than a part of it": (
        Item("Чай", 10**16, 10**10),
        ("Чай                 ", "Итого 100 000 000,00"),
        ("Чай                 ", "Total 100,000,000.00"),
    ),
    "the total": (
        Total(98_960, 24_490),
        ("К ОПЛАТЕ      989,60", "Выгода        244,90"),
        ("TO PAY        989.60", "Saved         244.90"),
    ),
    "the total, and nothing saved": (
        Total(98_960),
        ("К ОПЛАТЕ      989,60", "                    "),
        ("TO PAY        989.60", "                    "),
    ),
    "a card": (
        Recognised("…0015", 123_450),
        ("Карта        ...0015", "Баллы       1 234,50"),
        ("Card         ...0015", "Points      1,234.50"),
    ),
    "a card whose number nobody has masked": (
        Recognised("2000000000015", 0),
        ("Карта        ...0015", "Баллы              0"),
        ("Card         ...0015", "Points             0"),
    ),
    "a card of which no points are known": (
        Recognised("…0015", None),
        ("Карта        ...0015", " " * 20),
        ("Card         ...0015", " " * 20),
    ),
    "points are spent": (
        Spends(10_000, 98_960),
        ("Списано баллов  -100", "К ОПЛАТЕ      989,60"),
        ("Points spent    -100", "TO PAY        989.60"),
    ),
    "thanks": (
        Thanks(3_650),
        ("      Спасибо!      ", "Начислено     +36,50"),
        ("     Thank you!     ", "Earned        +36.50"),
    ),
    "thanks, with points and change": (
        Thanks(3_650, 1_040),
        ("Сдача          10,40", "Начислено     +36,50"),
        ("Change         10.40", "Earned        +36.50"),
    ),
    "thanks and nothing else": (
        Thanks(),
        ("      Спасибо!      ", " " * 20),
        ("     Thank you!     ", " " * 20),
    ),
    "thanks and change": (
        Thanks(0, 1_040),
        ("Сдача          10,40", "      Спасибо!      "),
        ("Change         10.40", "     Thank you!     "),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("shown", "ru", "en"), CASES.values(), ids=CASES)
def test_what_the_customer_reads(shown: Shown, ru: tuple[str, str], en: tuple[str, str]) -> None:
    assert rows(shown, translator("ru")) == ru
    assert rows(shown, translator("en")) == en


@given(st.text(max_size=60), st.integers(-(10**15), 10**15))
def test_it_never_shows_more_than_it_has_room_for_nor_obeys_a_name(text: str, amount: int) -> None:
    for shown in (Welcome(text), Item(text, amount, amount), Recognised(text, amount), Total(amount, amount)):
        for row in rows(shown, translator("ru")):
            assert len(row) == COLUMNS
            assert row.isprintable()
