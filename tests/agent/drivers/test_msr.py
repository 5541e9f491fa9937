"""One swipe is one scan, though a reader sends it in up to three lines."""

from __future__ import annotations

from agent.drivers.frames import Frame
from agent.drivers.msr import SWIPE_WINDOW_MS, Scan, SwipeAssembler

T1, T2, T3 = "%S20^KOPILKA/DEMO?", ";20=9912?", "+E?"


def test_a_barcode_passes_at_once() -> None:
    assembler = SwipeAssembler()
    assert assembler.feed(Frame("4607", 10)) == [Scan("4607", "barcode", 10)]
    assert assembler.due_ms is None


def test_tracks_wait_until_the_reader_is_quiet() -> None:
    assembler = SwipeAssembler()
    assert assembler.feed(Frame(T1, 0)) == []
    assembler.heard(140)  # half of track 2 is typed
    assert assembler.idle(SWIPE_WINDOW_MS + 1) == []
    assembler.heard(280)
    assert assembler.feed(Frame(T2, 290)) == []
    assert assembler.due_ms == 290 + SWIPE_WINDOW_MS
    assert assembler.idle(assembler.due_ms) == [Scan(T1 + T2, "track2", 0)]
    assert assembler.due_ms is None


def test_three_tracks_are_all_there_is() -> None:
    assembler = SwipeAssembler()
    assembler.feed(Frame(T1, 0))
    assembler.feed(Frame(T2, 1))
    assert assembler.feed(Frame(T3, 2)) == [Scan(T1 + T2 + T3, "track2", 0)]


def test_three_tracks_in_one_line_do_not_wait() -> None:
    assert SwipeAssembler().feed(Frame(T1 + T2 + T3, 3)) == [Scan(T1 + T2 + T3, "track2", 3)]


def test_a_barcode_after_a_swipe_ends_it() -> None:
    assembler = SwipeAssembler()
    assembler.feed(Frame(T2, 0))
    assert assembler.feed(Frame("4607", 20)) == [Scan(T2, "track2", 0), Scan("4607", "barcode", 20)]


def test_a_swipe_and_a_barcode_in_one_line_are_two() -> None:
    assembler = SwipeAssembler()
    line = Frame("%B1234^Ab?4006381333931", 5)
    assert assembler.feed(line) == [Scan("%B1234^Ab?", "track2", 5), Scan("4006381333931", "barcode", 5)]
    assert assembler.due_ms is None


def test_a_scan_hides_its_text() -> None:
    assert "9912" not in repr(Scan(T2, "track2", 0))
