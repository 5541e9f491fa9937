"""The customer's display: what is wanted stands on it, whatever happens to its cable and its power."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers import line_display
from agent.drivers.contracts import DeviceState
from agent.drivers.display_commands import CommandSet, DisplayProfile, Rows, initialise, show
from agent.drivers.fakes.virtual_display import BLANK, VirtualDisplay
from agent.drivers.line_display import REFRESH_MS, UPDATE_MS, LineDisplayThread, Pace, Update
from agent.drivers.link import LoopLink, UrlError
from tests.agent.drivers.conftest import Inbox

MILK = ("Молоко         89,90", "Итого          89,90")
TOTAL = ("К ОПЛАТЕ       89,90", " " * 20)
CLOSED = ("   Касса закрыта    ", "Пройдите в соседнюю ")
PROFILES: dict[CommandSet, DisplayProfile] = {
    "epson": DisplayProfile("epson", "cp866", 17),
    "aures": DisplayProfile("aures", "cp866", 11),
    "cd5220": DisplayProfile("cd5220", "cp866", ord("R")),
    "dsp800": DisplayProfile("dsp800", "cp866"),
}
Make = Callable[..., LineDisplayThread]


@pytest.fixture
def make(inbox: Inbox) -> Iterator[Make]:
    with ExitStack() as stack:

        def started(display: VirtualDisplay | str, **options: Any) -> LineDisplayThread:
            url = display if isinstance(display, str) else display.url
            options.setdefault("profile", PROFILES["epson"])
            thread = LineDisplayThread("customer", url, inbox.post, **options)
            stack.callback(thread.stop)
            thread.start()
            return thread

        yield started


@pytest.fixture
def display(tmp_path: Path) -> Iterator[VirtualDisplay]:
    with VirtualDisplay("epson", tmp_path / "display") as display:
        yield display


@pytest.mark.parametrize("commands", PROFILES)
def test_a_customer_reads_what_is_rung_up_and_then_what_is_to_be_paid(
    make: Make, inbox: Inbox, commands: CommandSet, tmp_path: Path
) -> None:
    switches = "cp866" if commands == "dsp800" else "cp437"
    with VirtualDisplay(commands, tmp_path / "display", switches) as display:
        till = make(display, profile=PROFILES[commands])
        for rows in (MILK, TOTAL, MILK):
            till.show(rows)
            display.wait_for(rows)
        till.stop()
        display.wait_for(BLANK)
        assert display.faults == []
    assert inbox.next() == DeviceState("customer", "online")
    assert inbox.events.empty()


def test_it_is_cleared_at_the_start_for_the_till_may_have_died(make: Make, display: VirtualDisplay) -> None:
    of_a_former_life = os.open(display.url.removeprefix("serial:"), os.O_WRONLY | os.O_NOCTTY)
    os.write(of_a_former_life, initialise(PROFILES["epson"]) + show(PROFILES["epson"], MILK).data)
    os.close(of_a_former_life)
    display.wait_for(MILK)
    make(display)
    display.wait_for(BLANK)


def test_it_says_that_the_till_is_closed_where_that_was_chosen(make: Make, display: VirtualDisplay) -> None:
    till = make(display, at_stop=CLOSED)
    till.show(MILK)
    display.wait_for(MILK)
    till.stop()
    till.stop()
    display.wait_for(CLOSED)
    till.show(TOTAL)  # too late, and harmless
    assert display.rows == CLOSED


def test_the_cable_is_pulled_and_put_back(
    make: Make, display: VirtualDisplay, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "agent.drivers"):
        till = make(display)
        assert inbox.state() == "online"
        till.show(MILK)
        display.wait_for(MILK)
        display.unplug()
        assert inbox.state() == "lost"
        till.show(TOTAL)
        display.plug()
        till.look_again()
        assert inbox.state() == "online"
        display.wait_for(TOTAL)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]
    assert display.faults == []


def test_a_display_that_is_plugged_in_later_shows_what_was_wanted_last(
    make: Make, display: VirtualDisplay, inbox: Inbox
) -> None:
    display.unplug()
    till = make(display)
    assert inbox.state() == "lost"
    till.show(MILK)
    till.show(TOTAL)
    display.plug()
    till.look_again()
    display.wait_for(TOTAL)
    assert inbox.state() == "online"


def test_without_power_it_has_forgotten_its_letters_and_is_told_again(
    make: Make, display: VirtualDisplay
) -> None:
    till = make(display, refresh_ms=50)
    till.show(MILK)
    display.wait_for(MILK)
    display.power_cycle()  # nobody can see that
    display.wait_for(MILK)
    assert display.faults == []


def test_a_display_that_refuses_everything_is_told_of(make: Make, inbox: Inbox, tmp_path: Path) -> None:
    with VirtualDisplay("dsp800", tmp_path / "display", "cp866") as display:
        display.refuse(always=True)
        till = make(display, profile=PROFILES["dsp800"], refresh_ms=50)
        assert inbox.state() == "online"  # the cable is there
        state = inbox.next()
        assert isinstance(state, DeviceState)
        assert state.state == "degraded"
        assert "command set" in str(state.hint)
        display.refuse(always=False)  # somebody has set its switches
        assert inbox.state() == "online"
        till.show(MILK)
        display.wait_for(MILK)


def test_one_command_lost_in_noise_is_sent_again(make: Make, inbox: Inbox, tmp_path: Path) -> None:
    with VirtualDisplay("dsp800", tmp_path / "display", "cp866") as display:
        till = make(display, profile=PROFILES["dsp800"])
        till.show(MILK)
        display.wait_for(MILK)
        display.power_cycle()
        display.say(b"\x15")
        display.wait_for(MILK)
        till.stop()
    assert inbox.state() == "online"
    assert inbox.events.empty()


def test_a_display_behind_a_serial_server(make: Make, inbox: Inbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        till = make(f"tcp:127.0.0.1:{server.getsockname()[1]}")
        connection, _ = server.accept()
        connection.settimeout(10)
        till.show(MILK)
        received = b""
        while "Молоко".encode("cp866") not in received:
            received += connection.recv(1024)
        assert inbox.state() == "online"
        connection.close()
        assert inbox.state() == "lost"


def test_a_display_that_holds_its_cable_busy_is_off(
    make: Make, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With flow=rts a display that is switched off takes nothing, for as long as it is off."""
    is_off = [True]

    class Held(LoopLink):
        def write(self, data: bytes, timeout_ms: int = 0) -> int:
            return 0 if is_off[0] else len(data)

    monkeypatch.setattr(line_display, "open_link", lambda _: Held())
    till = make("loop:")
    state = inbox.next()
    assert isinstance(state, DeviceState)
    assert state.state == "lost"
    assert "switched on" in str(state.hint)
    is_off[0] = False
    till.look_again()
    assert inbox.state() == "online"


def test_letters_that_are_lost_are_said_once(
    make: Make, display: VirtualDisplay, caplog: pytest.LogCaptureFixture
) -> None:
    till = make(display)
    with caplog.at_level(logging.WARNING, "agent.drivers"):
        for tea in ("茶", "茶茶"):
            till.show((tea, ""))
            display.wait_for((("?" * len(tea)).ljust(20), " " * 20))
    assert len(caplog.records) == 1
    assert "1 letters are not in cp866" in caplog.text


@pytest.mark.parametrize(
    "url", ["file:/tmp/display", "evdev:by-id/kbd", "lp:/dev/usb/lp0", "usb:04b8:0e15", "auto"]
)
def test_what_is_no_display_is_refused(url: str, inbox: Inbox) -> None:
    with pytest.raises(UrlError):
        LineDisplayThread("customer", url, inbox.post, profile=DisplayProfile())


def test_a_display_that_was_never_started_can_be_stopped(inbox: Inbox) -> None:
    display = LineDisplayThread("customer", "loop:", inbox.post, profile=DisplayProfile())
    assert display.name == "customer"
    assert display.profile.charset == "latin"
    display.stop()


# ------------------------------------------------------------------------------- the pace


def test_a_new_display_is_made_ready_before_anything_is_wanted() -> None:
    pace = Pace()
    assert pace.take(0) == Update(None, whole=True)
    assert pace.take(REFRESH_MS - 1) is None
    assert pace.due_ms(REFRESH_MS - 1) == REFRESH_MS


def test_everything_is_said_again_once_a_minute_idle_or_not() -> None:
    pace = Pace()
    pace.want(MILK)
    assert pace.take(0) == Update(MILK, whole=True)
    pace.want(TOTAL)
    assert pace.take(30_000) == Update(TOTAL, whole=False)
    assert pace.take(60_000) == Update(TOTAL, whole=True)
    assert pace.take(60_001) is None


def test_of_many_that_come_at_once_the_last_is_shown() -> None:
    pace = Pace()
    pace.take(0)
    pace.want(MILK)
    pace.want(TOTAL)
    assert pace.take(UPDATE_MS - 1) is None
    assert pace.take(UPDATE_MS) == Update(TOTAL, whole=False)


def test_what_stands_there_already_is_not_sent() -> None:
    pace = Pace()
    pace.want(MILK)
    pace.take(0)
    pace.want(TOTAL)
    pace.want(MILK)
    assert pace.take(1_000) is None


WANTED = st.integers(0, 5).map(lambda n: (f"{n:20}", f"{n:20}"))
MOMENTS = st.lists(st.tuples(st.integers(0, 300), st.none() | WANTED | st.just("lost")), max_size=60)


@given(MOMENTS)
def test_never_more_than_five_a_second_and_never_anything_old(moments: list[tuple[int, Any]]) -> None:
    pace = Pace()
    now_ms = 0
    wanted: Rows | None = None
    sent: list[int] = []
    needs_whole = True
    for later_ms, what in moments:
        now_ms += later_ms
        if what == "lost":
            pace.anew()
            needs_whole = True
        elif what is not None:
            wanted = what
            pace.want(what)
        update = pace.take(now_ms)
        if update is not None:
            assert update.rows == wanted
            assert update.whole or not needs_whole
            needs_whole = False
            sent.append(now_ms)
    assert all(later - earlier >= UPDATE_MS for earlier, later in pairwise(sent))
    now_ms = pace.due_ms(now_ms)
    last = pace.take(now_ms)
    assert last is not None
    assert last.rows == wanted
