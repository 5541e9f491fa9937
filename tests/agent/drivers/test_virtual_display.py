"""The display that stands in for a display forgets, scrolls and turns a deaf ear as real ones do."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.display_commands import (
    COMMAND_SETS,
    CommandSet,
    DisplayProfile,
    initialise,
    show,
)
from agent.drivers.fakes.virtual_display import BLANK, FAULTS_MAX, Cells, VirtualDisplay

ROWS = ("Молоко        89,90 ", "Итого          89,90")
BY_PAGE = {
    "epson": DisplayProfile("epson", "cp866", 17),
    "aures": DisplayProfile("aures", "cp866", 11),
    "cd5220": DisplayProfile("cd5220", "cp866", ord("R")),
}


@pytest.mark.parametrize("profile", BY_PAGE.values(), ids=BY_PAGE)
def test_without_power_it_forgets_its_letters(profile: DisplayProfile) -> None:
    cells = Cells(profile.commands)
    cells.feed(initialise(profile) + show(profile, ROWS).data)
    assert cells.rows == ROWS
    cells.power_cycle()
    assert cells.rows == BLANK
    cells.feed(show(profile, ROWS).data)
    assert cells.rows != ROWS  # the right bytes, and nobody told it the code page again
    cells.feed(initialise(profile) + show(profile, ROWS).data)
    assert cells.rows == ROWS
    assert cells.faults == []


def test_a_line_feed_pushes_the_upper_row_away() -> None:
    cells = Cells("epson")
    cells.feed(b"upper".ljust(20) + b"lower".ljust(20) + b"\n")
    assert cells.rows == ("lower".ljust(20), " " * 20)


def test_in_overwrite_mode_it_begins_anew_at_the_top() -> None:
    cells = Cells("epson")
    cells.feed(b"\x1f\x01" + b"upper".ljust(20) + b"lower".ljust(20) + b"again")
    assert cells.rows == ("again".ljust(20), "lower".ljust(20))


def test_after_a_whole_row_a_cd5220_obeys_nothing_until_it_is_cleared() -> None:
    cells = Cells("cd5220")
    cells.feed(b"\x1bQA" + b"upper".ljust(20) + b"\r")
    cells.feed(b"\x1b@\x1bcR\x1bl\x01\x02text\x0b\n\r")
    assert cells.rows == ("upper".ljust(20), " " * 20)
    cells.feed(b"\x1bQB" + b"lower".ljust(20) + b"\r")
    assert cells.rows == ("upper".ljust(20), "lower".ljust(20))
    cells.feed(b"\x18\x1bl\x01\x02text")
    assert cells.rows == (" " * 20, "textr".ljust(20))
    assert cells.faults == []


def test_a_row_that_is_too_long_for_a_cd5220_is_its_fault() -> None:
    cells = Cells("cd5220")
    cells.feed(b"\x1bQA" + b"x" * 21 + b"\r")
    assert cells.faults == ["a row of more than twenty cells"]


def test_an_aures_speaks_another_language_at_first() -> None:
    cells = Cells("aures")
    cells.feed(b"\x1f\x01hello")
    assert cells.rows == BLANK
    cells.feed(b"\x02\x05C1\x03hello")
    assert cells.rows == ("hello".ljust(20), " " * 20)


def test_an_aures_keeps_its_page_when_it_is_initialised() -> None:
    cells = Cells("aures")
    cells.feed(b"\x02\x05C1\x03\x1bt\x0b\x1b@" + "Чай".encode("cp866"))
    assert cells.rows[0].rstrip() == "Чай"


def test_a_dsp800_says_whether_it_has_understood() -> None:
    said = bytearray()
    cells = Cells("dsp800", said.extend)
    cells.feed(b"\x04\x01C1X\x17\x04\x01P1\x17text\x04\x01PE\x17\x04\x01A1\x17")
    assert said == b"\x06\x06\x06\x06"
    cells.feed(b"\x04\x01P0\x17\x04\x01Z\x17")
    assert said[4:] == b"\x15\x15"
    assert len(cells.faults) == 2


@given(st.sampled_from(COMMAND_SETS), st.lists(st.binary(max_size=64), max_size=20))
def test_noise_breaks_nothing_and_fills_nothing(commands: CommandSet, noise: list[bytes]) -> None:
    cells = Cells(commands)
    for data in noise:
        cells.feed(data)
    assert [len(row) for row in cells.rows] == [20, 20]
    assert len(cells.faults) <= FAULTS_MAX


def test_it_hangs_on_a_cable_that_can_be_pulled(tmp_path: Path) -> None:
    with VirtualDisplay("dsp800", tmp_path / "display", page="cp866") as display:
        profile = DisplayProfile("dsp800", "cp866")
        for _ in range(2):
            port = os.open(tmp_path / "display", os.O_RDWR | os.O_NOCTTY)
            os.write(port, initialise(profile) + show(profile, ROWS).data)
            display.wait_for(ROWS)
            assert select.select([port], [], [], 10)[0]
            assert set(os.read(port, 64)) == {0x06}
            display.unplug()
            assert display.rows == BLANK
            assert not (tmp_path / "display").exists()
            os.close(port)
            display.plug()
        with pytest.raises(TimeoutError):
            display.wait_for(ROWS, timeout_s=0.01)
