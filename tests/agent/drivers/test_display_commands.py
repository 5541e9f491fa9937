"""What each make of customer display is sent, byte for byte, and Russian in Latin letters where need be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.display_commands import (
    CHARSETS,
    COMMAND_SETS,
    DisplayProfile,
    clear,
    initialise,
    latin,
    show,
)
from agent.drivers.document import substitute
from agent.drivers.fakes.virtual_display import BLANK, Cells
from agent.line_display import Closed, Item, Recognised, Shown, Spends, Thanks, Total, Welcome, rows
from agent.texts import translator

ROWS = ("Чай             1,00", "Итого           1,00")
TEA, TOTAL = (row.encode("cp866") for row in ROWS)

SENT: dict[str, tuple[DisplayProfile, bytes, bytes, bytes]] = {
    "epson": (
        DisplayProfile("epson", "cp866", 17),
        b"\x0c\x1b@\x1bt\x11\x1f\x01\x1fC\x00\x0c",
        b"\x1f$\x01\x01" + TEA + b"\x1f$\x01\x02" + TOTAL,
        b"\x0c",
    ),
    "aures": (
        DisplayProfile("aures", "cp866", 11),
        b"\x02\x05C1\x03\x1b@\x1bt\x0b\x1f\x01\x0c",
        b"\x1f$\x01\x01" + TEA + b"\x1f$\x01\x02" + TOTAL,
        b"\x0c",
    ),
    "cd5220, told its letters": (
        DisplayProfile("cd5220", "cp866", ord("R"), "R"),
        b"\r\r\x0c\x1b@\x1bfR\x1bcR\x1b\x11\x1b_\x00",
        b"\x1bQA" + TEA + b"\r\x1bQB" + TOTAL + b"\r",
        b"\x0c",
    ),
    "cd5220, whose switches choose the letters": (
        DisplayProfile("cd5220", "cp866"),
        b"\r\r\x0c\x1b@\x1b\x11\x1b_\x00",
        b"\x1bQA" + TEA + b"\r\x1bQB" + TOTAL + b"\r",
        b"\x0c",
    ),
    "dsp800": (
        DisplayProfile("dsp800", "cp866"),
        b"\x04\x01C1X\x17",
        b"\x04\x01P1\x17" + TEA + b"\x04\x01PE\x17" + TOTAL,
        b"\x04\x01C1X\x17",
    ),
}


@pytest.mark.parametrize(("profile", "first", "shown", "cleared"), SENT.values(), ids=SENT)
def test_what_goes_over_the_cable(
    profile: DisplayProfile, first: bytes, shown: bytes, cleared: bytes
) -> None:
    assert initialise(profile) == first
    assert show(profile, ROWS).data == shown
    assert show(profile, ROWS).lost == 0
    assert clear(profile) == cleared


@pytest.mark.parametrize(("profile", "first", "shown", "cleared"), SENT.values(), ids=SENT)
def test_the_display_shows_it_whatever_it_was_told_before(
    profile: DisplayProfile, first: bytes, shown: bytes, cleared: bytes
) -> None:
    """The cable comes back in the middle of whatever was said: the next whole update is right."""
    before = show(profile, ("Остаток  100 000,00 ", "В начале было слово ")).data
    for cut in range(len(before) + 1):
        if profile.commands == "dsp800" and 0 < cut < len(before):
            continue  # inside a frame, or a row, it takes one command more until it is heard
        cells = Cells(profile.commands, page="cp866" if profile.page is None else "cp437")
        cells.feed(initialise(profile))
        cells.feed(before[:cut])
        cells.feed(first + shown)
        assert cells.rows == ROWS, cut
        cells.feed(cleared)
        assert cells.rows == BLANK, cut


def test_a_dsp800_is_right_from_the_second_update_on_at_the_latest() -> None:
    profile = SENT["dsp800"][0]
    before = show(profile, ROWS[::-1]).data
    for cut in range(len(before)):
        cells = Cells("dsp800", page="cp866")
        cells.feed(before[:cut])
        for _ in range(2):
            cells.feed(initialise(profile) + show(profile, ROWS).data)
        assert cells.rows == ROWS, cut


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a language that no display here speaks": ({"commands": "emax"}, "use one of epson"),
    "letters of more than one byte": ({"charset": "utf-8"}, "use one of cp866"),
    "a page that is no byte": ({"charset": "cp866", "page": 866}, "from 0 to 255"),
    "Cyrillic, and nobody says which number it has": ({"charset": "cp866"}, "See its manual"),
    "a page for a display that takes none": ({"commands": "dsp800", "page": 17}, "switches"),
    "a country for a display that takes none": ({"country": "R"}, "cd5220"),
    "a country that would command": ({"commands": "cd5220", "country": "\x1b"}, "one letter"),
}


@pytest.mark.parametrize(("profile", "said"), WRONG.values(), ids=WRONG)
def test_what_no_display_has_is_refused(profile: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DisplayProfile(**profile)


def test_letters_that_the_code_page_lacks_are_counted() -> None:
    encoded = show(DisplayProfile("dsp800", "cp866"), ("茶", "ok"))
    assert encoded.lost == 1
    assert b"?" + b" " * 19 in encoded.data


@given(
    st.sampled_from(COMMAND_SETS),
    st.sampled_from(sorted(CHARSETS)),
    st.text(max_size=40),
    st.text(max_size=40),
)
def test_twenty_cells_a_row_and_no_command_from_within(
    commands: Any, charset: str, upper: str, lower: str
) -> None:
    """Whatever a name holds, the display takes just as many bytes, and its own commands only."""
    page = 17 if commands in ("epson", "aures") else None
    profile = DisplayProfile(commands, charset, page)
    data = show(profile, (upper, lower)).data
    blank = show(profile, BLANK).data
    assert len(data) == len(blank)
    for sent, usual in zip(data, blank, strict=True):
        assert sent == usual if usual != 0x20 else sent >= 0x20


# ------------------------------------------------------------------------- Latin letters

SAID: dict[str, str] = {
    "Молоко 3,2 %": "Moloko 3,2 %",
    "К ОПЛАТЕ": "K OPLATE",
    "Щука, ЩИ, щи": "Shchuka, SHCHI, shchi",
    "Яблоки «Юбилейные»": 'Yabloki "Yubileynye"',
    "ЁЖ Ёж подъезд №5": "YOZH Yozh podezd No.5",
    "Сахар-песок": "Sakhar-pesok",
    "ещЁ": "eshchYo",
    "": "",
}


@pytest.mark.parametrize(("russian", "said"), SAID.items())
def test_russian_in_latin_letters(russian: str, said: str) -> None:
    assert latin(substitute(russian), "ascii") == said


def test_only_what_a_display_lacks_is_written_otherwise() -> None:
    western = DisplayProfile("epson", "cp437", 0).letters
    assert western("Кафе «Café»") == 'Kafe "Café"'
    assert DisplayProfile("epson", "cp866", 17).letters("Кафе") == "Кафе"


LATIN_ROWS: dict[str, tuple[Shown, tuple[str, str]]] = {
    "closed": (Closed(), ("   Kassa zakryta    ", "Proydite v sosednyu.")),
    "welcome": (Welcome("Магазин у дома"), (" Dobro pozhalovat!  ", "   Magazin u doma   ")),
    "goods of a long name": (
        Item("Щётка «Чистюля» жёсткая", 8_990, 123_450),
        ('Shchyotka "Ch. 89,90', "Itogo       1 234,50"),
    ),
    "a large total": (Total(10**12, 10**11), ("K. 10 000 000 000,00", "Vy. 1 000 000 000,00")),
    "a card": (Recognised("…0015", 123_450), ("Karta        ...0015", "Bally       1 234,50")),
    "points": (Spends(10_000, 98_960), ("Spisano ballov  -100", "K OPLATE      989,60")),
    "thanks": (Thanks(3_650, 1_040), ("Sdacha         10,40", "Nachisleno    +36,50")),
}


@pytest.mark.parametrize(("shown", "expected"), LATIN_ROWS.values(), ids=LATIN_ROWS)
def test_rows_for_a_display_without_cyrillic(shown: Shown, expected: tuple[str, str]) -> None:
    assert rows(shown, translator("ru"), DisplayProfile().letters) == expected


RUSSIAN = st.text(alphabet="абвгдеёжзийклмнопрстуфхцчшщъыьэюяАЁЖХЦЧШЩЪЫЬЭЮЯ№«»— 0123456789,.%", max_size=60)


@given(RUSSIAN, st.integers(0, 10**12))
def test_an_amount_stays_whole_whatever_becomes_of_the_name(name: str, amount: int) -> None:
    letters = DisplayProfile().letters
    upper, lower = rows(Item(name, amount, amount), translator("ru"), letters)
    money = letters(f"{amount // 100:,}".replace(",", " ")) + f",{amount % 100:02}"
    assert len(upper) == len(lower) == 20
    assert upper.endswith(" " + money)
    assert lower.endswith(" " + money)
    assert upper.isascii()
