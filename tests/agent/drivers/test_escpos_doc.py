"""A document becomes ESC/POS, and a printer (ours) reads it back as it was meant."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.document import Cut, Document, Line, Qr, document_lines, substitute
from agent.drivers.escpos_doc import MAX_DOCUMENT_PARTS, PrinterProfile, encode, load_escpos
from agent.drivers.fakes.escpos_parser import EscPosParser, PaperLine, PaperQr, Style

Dummy = Callable[[], Any]
Paper = tuple[PaperLine | PaperQr, ...]


@pytest.fixture(scope="module")
def dummy(tmp_path_factory: pytest.TempPathFactory) -> Dummy:
    return load_escpos(tmp_path_factory.mktemp("escpos"))


class Printed:
    """What a printer makes of these bytes."""

    def __init__(self, data: bytes) -> None:
        self.slips: list[Paper] = []
        self.answers: list[bytes] = []
        self.parser = EscPosParser(self.answers.append, self.slips.append)
        self.parser.feed(data)

    @property
    def lines(self) -> list[str]:
        return ["".join(r.text for r in p.runs) for p in self.slips[-1] if isinstance(p, PaperLine)]


SLIP: Document = (
    Line("Ромашка", bold=True, align="center", wide=True),
    Line("Хлеб «Дарницкий» — 54,90 ₽ №5 ёж"),
    Line("ИТОГО  54,90", bold=True),
    Qr("https://example.org/r/T1-1-17-a1b2c3"),
    Line("T1-1-17-a1b2c3", align="center"),
    Cut(),
)


def test_what_is_printed_is_what_was_meant(dummy: Dummy) -> None:
    printed = Printed(encode(SLIP, PrinterProfile(), dummy).data)
    (slip,) = printed.slips
    big = Style(bold=True, width=2, height=2)
    assert [(r.text, r.style, p.align) for p in slip if isinstance(p, PaperLine) for r in p.runs] == [
        ("Ромашка", big, "center"),
        ('Хлеб "Дарницкий" - 54,90 руб. №5 ёж', Style(), "left"),
        ("ИТОГО  54,90", Style(bold=True), "left"),
        ("T1-1-17-a1b2c3", Style(), "center"),
    ]
    assert [p.data for p in slip if isinstance(p, PaperQr)] == ["https://example.org/r/T1-1-17-a1b2c3"]
    assert printed.parser.faults == []


def test_every_slip_sets_the_printer_up_from_nothing(dummy: Dummy) -> None:
    data = encode((Line("Привет"), Cut()), PrinterProfile(page=7), dummy).data
    assert data.startswith(b"\x1b@\x1c.\x1bt\x07" + "Привет\n".encode("cp866"))
    assert b"\x1dV" in data


def test_the_code_page_is_the_configured_one(dummy: Dummy) -> None:
    data = encode((Line("Привет"), Cut()), PrinterProfile(encoding="cp1251", page=46), dummy).data
    assert "Привет".encode("cp1251") in data
    assert Printed(data).lines == ["Привет"]


def test_a_wrong_page_is_seen_on_paper(dummy: Dummy) -> None:
    assert Printed(encode((Line("Привет"), Cut()), PrinterProfile(page=0), dummy).data).lines != ["Привет"]


def test_without_fs_a_clone_prints_chinese(dummy: Dummy) -> None:
    data = encode((Line("Привет"), Cut()), PrinterProfile(), dummy).data
    assert Printed(data.replace(b"\x1c.", b"")).lines != ["Привет"]


def test_the_answer_is_asked_for_last(dummy: Dummy) -> None:
    printed = Printed(encode(SLIP, PrinterProfile(), dummy, ask_status=True).data)
    assert printed.answers == [b"\x00"]
    assert Printed(encode(SLIP, PrinterProfile(), dummy).data).answers == []


def test_letters_the_page_lacks_are_counted(dummy: Dummy) -> None:
    encoded = encode((Line("Қазақ? 饼"), Cut()), PrinterProfile(), dummy)
    assert encoded.lost == 3
    assert Printed(encoded.data).lines == ["?аза?? ?"]


def test_a_name_from_outside_cannot_open_the_drawer(dummy: Dummy) -> None:
    printed = Printed(
        encode((Line("Иван\x1bp\x00\x19\x19ов\x10\x14\x7f\u200e"), Cut()), PrinterProfile(), dummy).data
    )
    assert printed.lines == ["Иванpов"]
    assert printed.parser.drawer_opened == 0


def test_a_printer_without_knife_or_qr(dummy: Dummy) -> None:
    data = encode(SLIP, PrinterProfile(qr="off", cutter=False), dummy).data
    assert b"\x1dV" not in data
    assert b"\x1d(k" not in data


def test_a_short_slip_is_short(dummy: Dummy) -> None:
    lines = [
        Line("Ромашка", bold=True, align="center", wide=True),
        Line("21.11.2026 14:05     Касса T1"),
        Line("-" * 32),
        Line("Сумма               1 234,50"),
        Line("Скидка по карте      -144,90"),
        Line("ИТОГО               1 089,60", bold=True),
        Line("Карта ...2346        Золотая"),
        Line("Начислено баллов      +36,50"),
        Line("Баланс баллов            340"),
        Line("T1-1-17-a1b2c3", align="center"),
    ]
    assert len(encode((*lines, Cut()), PrinterProfile(), dummy, ask_status=True).data) <= 400


def test_a_document_without_end_is_refused(dummy: Dummy) -> None:
    with pytest.raises(ValueError, match="parts in one slip"):
        encode((Line("x"),) * (MAX_DOCUMENT_PARTS + 1), PrinterProfile(), dummy)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [({"encoding": "koi8-r"}, "use one of cp866"), ({"page": 256}, "0 to 255"), ({"columns": 8}, "from 24")],
)
def test_a_printer_that_cannot_be_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        PrinterProfile(**wrong)


def test_importing_the_library_leaves_no_trace(tmp_path: Path) -> None:
    """python-escpos sets up the root logger and forgets a temporary directory; we let it do neither."""
    cache, temp = tmp_path / "cache", tmp_path / "temp"
    temp.mkdir()
    program = (
        "import logging, pathlib, sys; from agent.drivers.escpos_doc import load_escpos;"
        "assert 'escpos' not in sys.modules;"
        "load_escpos(pathlib.Path(sys.argv[1]))();"
        "assert logging.getLogger().handlers == [], logging.getLogger().handlers"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(cache)], check=True, timeout=60, env={"TMPDIR": str(temp)}
    )
    assert list(temp.iterdir()) == []
    assert [p.suffix for p in cache.iterdir()] == [".pickle"]
    assert logging.getLogger("escpos").handlers == []


def test_plain_lines_for_a_printer_that_is_not_ours() -> None:
    assert document_lines(SLIP, 20) == [
        "      Ромашка",
        "Хлеб «Дарницкий» — 5",
        "ИТОГО  54,90",
        "   T1-1-17-a1b2c3",
    ]
    assert document_lines((Line("x", align="right"),), 4) == ["   x"]


@given(st.text(max_size=60))
def test_substitution_leaves_nothing_a_printer_obeys(text: str) -> None:
    plain = substitute(text)
    assert all(c.isprintable() for c in plain)
    assert substitute(plain) == plain


@given(text=st.text(alphabet=st.characters(codec="cp866", categories=("L", "N", "P", "S")), max_size=40))
def test_what_the_page_has_is_printed_letter_by_letter(dummy: Dummy, text: str) -> None:
    encoded = encode((Line("|" + text), Cut()), PrinterProfile(), dummy)
    assert encoded.lost == 0
    assert Printed(encoded.data).lines == [substitute("|" + text)[:48]]


@given(cuts=st.lists(st.integers(0, 400), max_size=10))
def test_the_printer_does_not_care_how_bytes_arrive(dummy: Dummy, cuts: list[int]) -> None:
    data = encode(SLIP, PrinterProfile(), dummy, ask_status=True).data
    whole, pieces = Printed(data), Printed(b"")
    edges = sorted({0, len(data), *(c for c in cuts if c < len(data))})
    for start, end in zip(edges, [*edges[1:], len(data)], strict=True):
        pieces.parser.feed(data[start:end])
    merged = ["".join(r.text for r in p.runs) for p in pieces.slips[-1] if isinstance(p, PaperLine)]
    assert merged == whole.lines
    assert pieces.answers == whole.answers
    assert pieces.parser.faults == []


@pytest.mark.parametrize("kept", [0, 1, 1000], ids=["emptied", "one byte", "cut"])
def test_a_cache_that_a_full_disk_cut_short_does_not_stop_the_printer(tmp_path: Path, kept: int) -> None:
    """The library reads its cache when it is imported; half a file would fail every slip from now on."""
    program = (
        "import pathlib, sys; from agent.drivers.escpos_doc import load_escpos;"
        "print(len(load_escpos(pathlib.Path(sys.argv[1]))().output))"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
        (pickled,) = tmp_path.glob("*.pickle")
        os.truncate(pickled, kept)


def test_an_unknown_command_is_a_fault_not_a_crash() -> None:
    printed = Printed(b"\x1bZ\x1d(X\x01\x00z\x07ok\n\x1dV\x00")
    assert printed.parser.faults == ["unknown command 1b 5a", "unknown command 1d 28 58", "control byte 07"]
    assert printed.lines == ["ok"]
