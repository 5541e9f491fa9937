"""Printing is done, failed or unknown: the shop must know which, and no slip is printed twice."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agent.drivers.contracts import DeviceState, OutputComplete, OutputFailed, OutputUnknown
from agent.drivers.document import Cut, Document, Line, Qr
from agent.drivers.escpos_status import StatusAnswers
from agent.drivers.fakes.virtual_printer import VirtualPrinter
from agent.drivers.link import UrlError
from agent.drivers.pos_printer import MAX_WAITING_JOBS, EscPosPrinter
from tests.agent.drivers.conftest import Inbox

SLIP: Document = (Line("Карта ...2346"), Line("Баланс  340"), Qr("T1-1-17-a1b2c3"), Cut())
Make = Callable[..., EscPosPrinter]


@pytest.fixture
def paper() -> Iterator[VirtualPrinter]:
    with VirtualPrinter() as printer:
        yield printer


@pytest.fixture
def make(inbox: Inbox, tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def started(url: str, **options: Any) -> EscPosPrinter:
            printer = EscPosPrinter("receipt", url, inbox.post, cache=tmp_path / "cache", **options)
            stack.callback(printer.stop)
            printer.start()
            return printer

        yield started


def test_a_slip_is_printed_and_that_is_proven(make: Make, paper: VirtualPrinter, inbox: Inbox) -> None:
    make(paper.url).submit("sale-17", SLIP)
    assert inbox.next() == DeviceState("receipt", "online")
    assert inbox.next() == OutputComplete("receipt", "sale-17")
    (slip,) = paper.slips
    assert slip.lines[:2] == ["Карта ...2346", "Баланс  340"]
    assert slip.qr == ["T1-1-17-a1b2c3"]
    assert paper.faults == []


def test_slips_come_out_in_order_and_the_second_is_right_after_a_power_cut(
    make: Make, paper: VirtualPrinter, inbox: Inbox
) -> None:
    printer = make(paper.url)
    printer.submit("1", (Line("Раз"), Cut()))
    assert isinstance(inbox.output(), OutputComplete)
    paper.power_off()
    paper.power_on()
    for job in ("2", "3"):
        printer.submit(job, (Line(f"Чек {job}"), Cut()))
        assert inbox.output() == OutputComplete("receipt", job)
    assert [slip.text for slip in paper.slips] == ["Раз", "Чек 2", "Чек 3"]


def test_a_silent_printer_leaves_the_shop_unsure(make: Make, paper: VirtualPrinter, inbox: Inbox) -> None:
    paper.silent = True
    printer = make(paper.url, deadline_ms=100)
    printer.submit("sale-17", SLIP)
    answer = inbox.output()
    assert isinstance(answer, OutputUnknown)
    assert "look whether it is printed" in str(answer.reason)
    assert len(paper.wait_for_slips(1)) == 1


def test_a_printer_without_paper_prints_later_and_once(
    make: Make, paper: VirtualPrinter, inbox: Inbox
) -> None:
    paper.paper_out()
    make(paper.url, deadline_ms=100).submit("sale-17", SLIP)
    assert isinstance(inbox.output(), OutputUnknown)
    assert paper.slips == []
    paper.load_paper()
    assert len(paper.wait_for_slips(1)) == 1


def test_a_printer_that_is_off_has_printed_nothing(
    make: Make, paper: VirtualPrinter, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    paper.power_off()
    printer = make(paper.url)
    with caplog.at_level(logging.INFO, "agent.drivers.pos_printer"):
        for job in ("1", "2"):
            printer.submit(job, SLIP)
            answer = inbox.output()
            assert isinstance(answer, OutputFailed)
            assert "check the address" in str(answer.reason)
        paper.power_on()
        printer.submit("3", SLIP)
        assert inbox.output() == OutputComplete("receipt", "3")
    assert len(paper.slips) == 1
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]  # once when lost, once when back


def test_bytes_are_printed_as_they_are(make: Make, paper: VirtualPrinter, inbox: Inbox) -> None:
    make(paper.url).submit("raw", b"\x1b@\x1c.\x1bt\x11\x8f\xe0\xa8\n\x1dV\x00")
    assert isinstance(inbox.output(), OutputComplete)
    assert paper.slips[0].text == "При"


def test_a_model_that_chokes_on_questions_is_not_asked(
    make: Make, paper: VirtualPrinter, inbox: Inbox
) -> None:
    paper.silent = True
    make(paper.url, proof="none").submit("1", SLIP)
    assert isinstance(inbox.output(), OutputComplete)
    assert len(paper.wait_for_slips(1)) == 1


def test_a_file_takes_slips_too(make: Make, inbox: Inbox, tmp_path: Path) -> None:
    make(f"file:{tmp_path}/slips.bin").submit("1", SLIP)
    assert isinstance(inbox.output(), OutputComplete)
    assert "Карта".encode("cp866") in (tmp_path / "slips.bin").read_bytes()


def test_a_serial_printer_answers_over_its_cable(make: Make, inbox: Inbox) -> None:
    master, slave = os.openpty()
    received = bytearray()

    def printer_at_the_other_end() -> None:
        while not received.endswith(b"\x1dr\x01"):
            received.extend(os.read(master, 1024))
        os.write(master, b"\x12\x00")  # a real-time status first, then the answer

    other_end = threading.Thread(target=printer_at_the_other_end)
    other_end.start()
    try:
        make(f"serial:{os.ttyname(slave)}?baud=115200").submit("1", SLIP)
        assert inbox.output() == OutputComplete("receipt", "1")
    finally:
        other_end.join(10)
        os.close(master)
        os.close(slave)
    assert "Карта".encode("cp866") in received


def test_too_many_slips_are_refused_not_hoarded(paper: VirtualPrinter, inbox: Inbox, tmp_path: Path) -> None:
    printer = EscPosPrinter("receipt", paper.url, inbox.post, cache=tmp_path)  # not started: nothing is taken
    for job in range(MAX_WAITING_JOBS + 1):
        printer.submit(str(job), SLIP)
    answer = inbox.output()
    assert isinstance(answer, OutputFailed)
    assert answer.job_id == str(MAX_WAITING_JOBS)
    assert "Too many" in str(answer.reason)


def test_a_stop_answers_every_job(make: Make, paper: VirtualPrinter, inbox: Inbox) -> None:
    paper.silent = True
    printer = make(paper.url, deadline_ms=300)
    for job in ("1", "2", "3"):
        printer.submit(job, SLIP)
    paper.wait_for_slips(1)  # the first is in hand
    printer.stop()
    printer.submit("4", SLIP)
    answers = {a.job_id: type(a) for a in (inbox.output() for _ in range(4))}
    assert answers == {"1": OutputUnknown, "2": OutputFailed, "3": OutputFailed, "4": OutputFailed}
    printer.stop()


def test_a_slip_that_cannot_be_made_fails_and_the_next_one_prints(
    make: Make, paper: VirtualPrinter, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    printer = make(paper.url)
    printer.submit("1", (Line("Карта 2000000012346"),) * 1_000)
    assert isinstance(inbox.output(), OutputFailed)
    printer.submit("2", SLIP)
    assert isinstance(inbox.output(), OutputComplete)
    assert "2000000012346" not in caplog.text
    assert "ValueError" in caplog.text


def test_a_keyboard_is_no_printer(inbox: Inbox, tmp_path: Path) -> None:
    with pytest.raises(UrlError, match="for scanners"):
        EscPosPrinter("receipt", "evdev:/dev/input/event1", inbox.post, cache=tmp_path)


@pytest.mark.parametrize(
    ("stream", "answered"),
    [
        (b"\x00", True),
        (b"\x0c", True),  # no paper left, but the slip is out
        (b"\x12", False),  # DLE EOT
        (b"\x14\x00\x00\x00", False),  # automatic status: its last three bytes look like an answer
        (b"\x14\x00\x00\x00\x00", True),
        (b"\x37\x22\x31\x32\x33\x34\x00", False),  # a GS ( H block
        (b"\x37\x22\x31\x32\x33\x34\x00\x00", True),
    ],
)
def test_only_the_right_byte_is_the_answer(stream: bytes, answered: bool) -> None:
    assert StatusAnswers().feed(stream) is answered
    in_pieces = StatusAnswers()
    assert any(in_pieces.feed(bytes([byte])) for byte in stream) is answered


def test_the_virtual_printer_draws_its_slips(
    make: Make, paper: VirtualPrinter, inbox: Inbox, tmp_path: Path
) -> None:
    from PIL import Image

    make(paper.url).submit("1", (Line("Ромашка", bold=True, wide=True, align="center"), *SLIP))
    inbox.output()
    with Image.open(paper.slips[0].png(tmp_path / "slip.png")) as picture:
        assert picture.width > 2 * 48 * 12
        assert picture.height > 300
        dark = sum(picture.convert("L").histogram()[:80])
    assert dark > 3_000  # letters and a QR code, not a blank sheet


def test_the_virtual_printer_says_when_slips_do_not_come(paper: VirtualPrinter) -> None:
    with pytest.raises(TimeoutError, match="0 slips"):
        paper.wait_for_slips(1, timeout_s=0.01)
