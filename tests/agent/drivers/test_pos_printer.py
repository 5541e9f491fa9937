"""Printing is done, failed or unknown: the shop must know which, and no slip is printed twice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agent.drivers import pos_printer
from agent.drivers.contracts import (
    DeviceState,
    OutputComplete,
    OutputFailed,
    OutputUnknown,
    OutputWaiting,
)
from agent.drivers.document import Cut, Document, Line, Qr
from agent.drivers.escpos_doc import PrinterProfile
from agent.drivers.escpos_status import StatusAnswers
from agent.drivers.fakes.virtual_printer import VirtualPrinter
from agent.drivers.link import UrlError
from agent.drivers.pos_printer import KEEP_S, EscPosPrinter
from agent.drivers.spool import WAITING_MAX
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
            printer = EscPosPrinter("receipt", url, inbox.post, **options)
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


@pytest.mark.parametrize("proof", ["status", "id"])
def test_a_silent_printer_leaves_the_shop_unsure(
    make: Make, paper: VirtualPrinter, inbox: Inbox, proof: Any
) -> None:
    paper.silent = True
    make(paper.url, profile=PrinterProfile(proof=proof), deadline_ms=100).submit("sale-17", SLIP)
    answer = inbox.output()
    assert isinstance(answer, OutputUnknown)
    assert "look whether it is printed" in str(answer.reason)
    assert len(paper.wait_for_slips(1)) == 1


# ---- no paper: whenever it ends, one slip comes out, and the till hears of it

PROOFS = [PrinterProfile(), PrinterProfile(proof="id")]


@pytest.mark.parametrize("profile", PROOFS, ids=["GS r", "GS ( H"])
def test_no_paper_before_the_slip(
    make: Make, paper: VirtualPrinter, inbox: Inbox, profile: PrinterProfile
) -> None:
    paper.paper_out()
    make(paper.url, profile=profile).submit("sale-17", SLIP)
    waiting = inbox.output()
    assert isinstance(waiting, OutputWaiting)
    assert "new roll" in str(waiting.reason)
    assert paper.held == b""  # nothing was sent
    paper.load_paper()
    assert inbox.output() == OutputComplete("receipt", "sale-17")
    assert len(paper.slips) == 1


@pytest.mark.parametrize("profile", PROOFS, ids=["GS r", "GS ( H"])
@pytest.mark.parametrize("after_bytes", [1, 40, 80])
def test_the_paper_ends_in_the_middle_of_the_slip(
    make: Make, paper: VirtualPrinter, inbox: Inbox, profile: PrinterProfile, after_bytes: int
) -> None:
    """The printer holds the rest and prints it after the new roll; we neither repeat it nor forget it."""
    paper.paper_out(after_bytes)
    printer = make(paper.url, profile=profile, deadline_ms=100)
    printer.submit("sale-17", SLIP)
    assert isinstance(inbox.output(), OutputUnknown)
    printer.submit("sale-18", (Line("Следующий"), Cut()))
    assert isinstance(inbox.output(), OutputWaiting)
    assert paper.slips == []
    paper.load_paper()
    assert inbox.output() == OutputComplete("receipt", "sale-17")
    assert inbox.output() == OutputComplete("receipt", "sale-18")
    assert [slip.lines[0] for slip in paper.slips] == ["Карта ...2346", "Следующий"]


def test_a_printer_that_was_switched_off_has_lost_the_slip(
    make: Make, paper: VirtualPrinter, inbox: Inbox
) -> None:
    """Nobody knows how much of it is on paper: it stays unknown, and the next one is printed."""
    paper.paper_out(40)
    printer = make(paper.url, deadline_ms=100)
    printer.submit("sale-17", SLIP)
    assert isinstance(inbox.output(), OutputUnknown)
    paper.power_off()
    paper.load_paper()
    paper.power_on()
    printer.submit("sale-18", (Line("Следующий"), Cut()))
    assert inbox.completed() == "sale-18"
    assert [slip.text for slip in paper.slips] == ["Следующий"]


def test_a_printer_that_is_well_and_silent_about_a_slip_has_lost_it(
    make: Make, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a serial cable nobody hears that the printer was switched off and on."""
    monkeypatch.setattr(pos_printer, "GRACE_MS", 100)
    with VirtualPrinter(serial=True) as paper:
        paper.paper_out(40)
        printer = make(paper.url, deadline_ms=100)
        printer.submit("sale-17", SLIP)
        assert isinstance(inbox.output(), OutputUnknown)
        paper.power_off()
        paper.load_paper()
        paper.power_on()
        printer.submit("sale-18", (Line("Следующий"), Cut()))
        assert inbox.completed() == "sale-18"
        assert [slip.text for slip in paper.slips] == ["Следующий"]


@pytest.mark.parametrize("trouble", ["cover_open", "hangs_up"])
def test_other_troubles_before_a_slip_end_and_it_is_printed(
    make: Make, paper: VirtualPrinter, inbox: Inbox, trouble: str
) -> None:
    setattr(paper, trouble, True)
    printer = make(paper.url, deadline_ms=100)
    printer.submit("sale-17", SLIP)
    first = inbox.output()
    if trouble == "cover_open":
        assert isinstance(first, OutputWaiting)
        assert "cover" in str(first.reason)
        paper.cover_open = False
        assert inbox.completed() == "sale-17"
    else:
        assert isinstance(first, OutputWaiting | OutputUnknown)  # did the bytes reach it before it hung up?


def test_paper_that_comes_to_its_end_is_said_and_printed_on(
    make: Make, paper: VirtualPrinter, inbox: Inbox
) -> None:
    paper.paper_low = True
    make(paper.url).submit("sale-17", SLIP)
    low = inbox.next()
    assert isinstance(low, DeviceState)
    assert (low.state, "new roll ready" in str(low.hint)) == ("degraded", True)
    assert inbox.completed() == "sale-17"


def test_a_slow_printer_is_waited_for(make: Make, paper: VirtualPrinter, inbox: Inbox) -> None:
    paper.slow_bytes_s = 2_000
    make(paper.url, deadline_ms=5_000).submit("sale-17", SLIP)
    assert inbox.completed() == "sale-17"


# ---- switched off, and the agent too


def test_slips_wait_for_a_printer_that_is_off(
    make: Make, paper: VirtualPrinter, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    paper.power_off()
    printer = make(paper.url)
    with caplog.at_level(logging.INFO, "agent.drivers.telling"):
        for job in ("1", "2"):
            printer.submit(job, SLIP)
            assert isinstance(inbox.output(), OutputWaiting)
        paper.power_on()
        assert [inbox.completed(), inbox.completed()] == ["1", "2"]
    assert len(paper.slips) == 2
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]  # once when lost, once when back


def test_slips_that_waited_when_the_agent_ended_are_printed_once(
    make: Make, paper: VirtualPrinter, inbox: Inbox, tmp_path: Path
) -> None:
    paper.power_off()
    printer = make(paper.url, spool=tmp_path / "spool.db")
    printer.submit("T1-1-7", SLIP)
    assert isinstance(inbox.output(), OutputWaiting)
    printer.stop()
    paper.power_on()
    make(paper.url, spool=tmp_path / "spool.db")
    assert inbox.completed() == "T1-1-7"
    make(paper.url, spool=tmp_path / "spool.db").submit("T1-1-8", SLIP)
    assert inbox.completed() == "T1-1-8"
    assert len(paper.slips) == 2


def test_a_slip_whose_customer_has_gone_is_not_printed_any_more(
    make: Make, paper: VirtualPrinter, inbox: Inbox
) -> None:
    now = [1_000.0]
    paper.power_off()
    printer = make(paper.url, wall_s=lambda: now[0])
    printer.submit("1", SLIP)
    assert isinstance(inbox.output(), OutputWaiting)
    now[0] += KEEP_S + 1
    paper.power_on()
    answer = inbox.output()
    assert isinstance(answer, OutputFailed)
    assert "print a copy" in str(answer.reason)
    assert paper.slips == []


def test_the_drawer_opens_by_its_own_act_and_now(make: Make, paper: VirtualPrinter, inbox: Inbox) -> None:
    printer = make(paper.url)
    printer.open_drawer("act-1")
    assert inbox.completed() == "act-1"
    paper.wait_for_drawer(1)  # sent is not arrived yet
    paper.power_off()
    printer.open_drawer("act-2")  # an impulse that waited would open it when nobody stands there
    assert isinstance(inbox.output(), OutputFailed)
    paper.power_on()
    printer.submit("sale-17", SLIP)
    assert inbox.completed() == "sale-17"
    assert paper.drawer_opened == 1


def test_bytes_are_printed_as_they_are(make: Make, paper: VirtualPrinter, inbox: Inbox) -> None:
    make(paper.url).submit("raw", b"\x1b@\x1c.\x1bt\x11\x8f\xe0\xa8\n\x1dV\x00")
    assert isinstance(inbox.output(), OutputComplete)
    assert paper.slips[0].text == "При"


def test_a_model_that_chokes_on_questions_is_not_asked(
    make: Make, paper: VirtualPrinter, inbox: Inbox
) -> None:
    paper.silent = True
    make(paper.url, profile=PrinterProfile(proof="none")).submit("1", SLIP)
    assert isinstance(inbox.output(), OutputComplete)
    assert len(paper.wait_for_slips(1)) == 1


def test_a_file_takes_slips_too(make: Make, inbox: Inbox, tmp_path: Path) -> None:
    make(f"file:{tmp_path}/slips.bin").submit("1", SLIP)
    assert isinstance(inbox.output(), OutputComplete)
    assert "Карта".encode("cp866") in (tmp_path / "slips.bin").read_bytes()


def test_a_serial_printer_answers_over_its_cable(make: Make, inbox: Inbox) -> None:
    with VirtualPrinter(serial=True) as paper:
        make(paper.url).submit("1", SLIP)
        assert inbox.completed() == "1"
        assert paper.slips[0].lines[0] == "Карта ...2346"


def test_too_many_slips_are_refused_not_hoarded(make: Make, paper: VirtualPrinter, inbox: Inbox) -> None:
    paper.power_off()
    printer = make(paper.url)
    for job in range(WAITING_MAX + 1):
        printer.submit(str(job), SLIP)
        answer = inbox.output()
    assert isinstance(answer, OutputFailed)
    assert answer.job_id == str(WAITING_MAX)
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
    with pytest.raises(UrlError, match="is for scanners"):
        EscPosPrinter("receipt", "evdev:/dev/input/event1", inbox.post)


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
