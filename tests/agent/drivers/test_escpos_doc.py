"""A document becomes ESC/POS, and a printer (ours) reads it back as it was meant."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.document import Cut, Document, Line, Qr, document_lines, substitute
from agent.drivers.escpos_doc import MAX_DOCUMENT_PARTS, PrinterProfile, encode, picture_qr
from agent.drivers.escpos_status import ASK_PROCESSED
from agent.drivers.fakes.escpos_parser import EscPosParser, PaperLine, PaperQr, Style
from agent.drivers.pos_printer import RECOVERY

Paper = tuple[PaperLine | PaperQr, ...]


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


def test_what_is_printed_is_what_was_meant() -> None:
    printed = Printed(encode(SLIP, PrinterProfile()).data)
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


def test_every_slip_sets_the_printer_up_from_nothing() -> None:
    data = encode((Line("Привет"), Cut()), PrinterProfile(page=7)).data
    assert data.startswith(b"\x1b@\x1c.\x1bt\x07" + "Привет\n".encode("cp866"))
    assert b"\x1dV" in data


def test_the_code_page_is_the_configured_one() -> None:
    data = encode((Line("Привет"), Cut()), PrinterProfile(encoding="cp1251", page=46)).data
    assert "Привет".encode("cp1251") in data
    assert Printed(data).lines == ["Привет"]


def test_a_wrong_page_is_seen_on_paper() -> None:
    assert Printed(encode((Line("Привет"), Cut()), PrinterProfile(page=0)).data).lines != ["Привет"]


def test_without_fs_a_clone_prints_chinese() -> None:
    data = encode((Line("Привет"), Cut()), PrinterProfile()).data
    assert Printed(data.replace(b"\x1c.", b"")).lines != ["Привет"]


def test_the_answer_is_asked_for_last() -> None:
    printed = Printed(encode(SLIP, PrinterProfile(), ASK_PROCESSED).data)
    assert printed.answers == [b"\x00"]
    assert Printed(encode(SLIP, PrinterProfile()).data).answers == []


def test_letters_the_page_lacks_are_counted() -> None:
    encoded = encode((Line("Қазақ? 饼"), Cut()), PrinterProfile())
    assert encoded.lost == 3
    assert Printed(encoded.data).lines == ["?аза?? ?"]


def test_a_name_from_outside_cannot_open_the_drawer() -> None:
    printed = Printed(
        encode((Line("Иван\x1bp\x00\x19\x19ов\x10\x14\x7f\u200e"), Cut()), PrinterProfile()).data
    )
    assert printed.lines == ["Иванpов"]
    assert printed.parser.drawer_opened == 0


def test_a_printer_without_knife_or_qr() -> None:
    data = encode(SLIP, PrinterProfile(qr="off", cutter=False)).data
    assert b"\x1dV" not in data
    assert b"\x1d(k" not in data


def test_a_short_slip_is_short() -> None:
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
    assert len(encode((*lines, Cut()), PrinterProfile(), ASK_PROCESSED).data) <= 400


def test_a_document_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="parts in one slip"):
        encode((Line("x"),) * (MAX_DOCUMENT_PARTS + 1), PrinterProfile())


@pytest.mark.parametrize(
    ("wrong", "why"),
    [({"encoding": "koi8-r"}, "use one of cp866"), ({"page": 256}, "0 to 255"), ({"columns": 8}, "from 24")],
)
def test_a_printer_that_cannot_be_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        PrinterProfile(**wrong)


def test_the_bytes_are_those_of_the_library() -> None:
    """python-escpos' own printer, told the same, sends the same: but for its text, which we encode."""
    from escpos.printer import Dummy

    theirs = Dummy()
    theirs.hw("INIT")
    theirs._raw(b"\x1c.\x1bt\x11")
    theirs.set(align="center")
    theirs.set(bold=True)
    theirs.set(custom_size=True, width=2, height=2)
    theirs._raw("Ромашка\n".encode("cp866"))
    theirs.set(bold=False)
    theirs.set(custom_size=True, width=1, height=1)
    theirs.qr("https://example.org/r/1", size=5, native=True)
    theirs._raw(b"\n")
    theirs.set(align="left")
    theirs.cut()
    document: Document = (
        Line("Ромашка", bold=True, align="center", wide=True),
        Qr("https://example.org/r/1"),
        Cut(),
    )
    assert encode(document, PrinterProfile()).data == theirs.output


def test_the_daemon_does_without_the_librarys_printers() -> None:
    """They cost a fifth of a second and fifteen megabytes; we take the constants."""
    program = (
        "import logging, sys; from agent.drivers.document import Cut, Line;"
        "from agent.drivers.escpos_doc import PrinterProfile, encode;"
        "encode((Line('x'), Cut()), PrinterProfile());"
        "assert not {'escpos.printer', 'escpos.capabilities', 'PIL', 'yaml'} & set(sys.modules);"
        "assert logging.getLogger().handlers == []"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@given(st.text(min_size=1, max_size=60))
def test_a_code_as_a_picture_holds_nothing_that_a_printer_obeys(text: str) -> None:
    """A printer obeys 10 04 and 10 14 at once, be they in the middle of a picture."""
    picture = picture_qr(text)
    assert b"\x10\x04" not in picture
    assert b"\x10\x14" not in picture
    printed = Printed(encode((Qr(text), Line("after"), Cut()), PrinterProfile(qr="image")).data)
    assert printed.lines[-1] == "after"
    assert printed.parser.raster_lines > 100
    assert printed.parser.faults == []


def test_half_a_picture_does_not_swallow_the_next_slip() -> None:
    whole = encode(SLIP, PrinterProfile(qr="image")).data
    broken = whole[: whole.index(b"\x1dv0") + 40]
    assert Printed(broken + encode(SLIP, PrinterProfile()).data).slips == []
    again = Printed(broken + RECOVERY + encode(SLIP, PrinterProfile()).data)
    assert again.lines[-1] == "T1-1-17-a1b2c3"


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
def test_what_the_page_has_is_printed_letter_by_letter(text: str) -> None:
    encoded = encode((Line("|" + text), Cut()), PrinterProfile())
    assert encoded.lost == 0
    assert Printed(encoded.data).lines == [substitute("|" + text)[:48]]


@given(cuts=st.lists(st.integers(0, 400), max_size=10))
def test_the_printer_does_not_care_how_bytes_arrive(cuts: list[int]) -> None:
    data = encode(SLIP, PrinterProfile(), ASK_PROCESSED).data
    whole, pieces = Printed(data), Printed(b"")
    edges = sorted({0, len(data), *(c for c in cuts if c < len(data))})
    for start, end in zip(edges, [*edges[1:], len(data)], strict=True):
        pieces.parser.feed(data[start:end])
    merged = ["".join(r.text for r in p.runs) for p in pieces.slips[-1] if isinstance(p, PaperLine)]
    assert merged == whole.lines
    assert pieces.answers == whole.answers
    assert pieces.parser.faults == []


def test_an_unknown_command_is_a_fault_not_a_crash() -> None:
    printed = Printed(b"\x1bZ\x1d(X\x01\x00z\x07ok\n\x1dV\x00")
    assert printed.parser.faults == ["unknown command 1b 5a", "unknown command 1d 28 58", "control byte 07"]
    assert printed.lines == ["ok"]
