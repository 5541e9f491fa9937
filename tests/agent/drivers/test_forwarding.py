"""Mode `forward`: the cash program gets all that is not ours, unchanged and at once; we get our cards."""

from __future__ import annotations

import os
import select
import tty
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.contracts import DeviceState, ReadFailed, ScanData
from agent.drivers.fakes.virtual_scanner import VirtualScanner
from agent.drivers.forwarding import KeyOutlet, PtyOutlet, Unread, Untypable
from agent.drivers.frames import Dropped, Frame, Framed, KeyEvent, Passed
from agent.drivers.keyboard import DOWN, EV_KEY, EV_SYN, UP, KeyboardDecoder
from agent.drivers.link import LinkError
from agent.drivers.msr import Scan
from agent.drivers.scanner import Options, ScannerThread, open_scanner
from tests.agent.drivers.conftest import Inbox

CARD, MILK = "2000000012346", "4607025392408"
SHIFT, A, B, ENTER, F5 = 42, 30, 48, 28, 63


def is_card(scan: Scan) -> bool:
    """The programme of these stories: numbers that begin with 2000, and swipes."""
    return scan.text.startswith("2000") or scan.source == "track2"


@dataclass
class Desktop:
    """The cash program's end of a virtual keyboard: what it has typed, and which keys it believes down."""

    events: list[KeyEvent] = field(default_factory=list)
    broken: bool = False
    closed: bool = False

    def write(self, kind: int, code: int, value: int) -> None:
        if self.broken:
            raise OSError(19, "No such device")
        self.events.append((kind, code, value))

    def close(self) -> None:
        self.closed = True

    @property
    def down(self) -> set[int]:
        held: set[int] = set()
        for kind, code, value in self.events:
            if kind == EV_KEY:
                (held.discard if value == UP else held.add)(code)
        return held

    @property
    def typed(self) -> list[str]:
        decoder = KeyboardDecoder()
        framed: list[Framed] = []
        for event in self.events:
            framed += decoder.feed(*event, 0)
        return [frame.text for frame in framed if isinstance(frame, Frame)]


# ---- a keyboard


def test_keys_go_on_as_they_came_and_every_report_is_closed() -> None:
    desktop = Desktop()
    keys = ((EV_KEY, SHIFT, DOWN), (EV_KEY, A, DOWN), (EV_SYN, 0, 0), (EV_KEY, A, UP), (EV_KEY, SHIFT, UP))
    KeyOutlet(desktop).send(keys)
    assert desktop.events == [*keys, (EV_SYN, 0, 0)]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40))
def test_what_came_as_text_is_typed_so_that_it_reads_the_same(text: str) -> None:
    desktop = Desktop()
    KeyOutlet(desktop).type(text)
    assert desktop.typed == [text]
    assert desktop.down == set()


def test_a_russian_letter_is_on_no_key() -> None:
    desktop = Desktop()
    with pytest.raises(Untypable):
        KeyOutlet(desktop).type("скидка")
    assert desktop.events == []


def test_a_key_that_went_down_there_comes_up_there_though_its_scan_is_kept() -> None:
    """Shift went on before anybody knew that a card follows; left down it would spoil the next goods."""
    desktop = Desktop()
    outlet = KeyOutlet(desktop)
    outlet.send(((EV_KEY, SHIFT, DOWN), (EV_SYN, 0, 0)))
    outlet.swallow(((EV_KEY, A, DOWN), (EV_KEY, A, UP), (EV_KEY, SHIFT, UP), (EV_KEY, ENTER, DOWN)))
    assert desktop.events[2:] == [(EV_KEY, SHIFT, UP), (EV_SYN, 0, 0)]
    outlet.send(((EV_KEY, B, DOWN), (EV_SYN, 0, 0)))
    outlet.close()
    assert desktop.down == set()
    assert desktop.closed


# ---- a pty


@pytest.fixture
def port(tmp_path: Path) -> Iterator[tuple[PtyOutlet, Path]]:
    link = tmp_path / "run" / "scanner"
    outlet = PtyOutlet(link)
    yield outlet, link
    outlet.close()
    assert not link.is_symlink()


def open_port(link: Path) -> int:
    """As a cash program opens a serial port: raw."""
    descriptor = os.open(link, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(descriptor)
    return descriptor


def received(descriptor: int) -> bytes:
    assert select.select([descriptor], [], [], 5)[0]
    return os.read(descriptor, 4096)


def test_bytes_reach_the_cash_program_unchanged(port: tuple[PtyOutlet, Path]) -> None:
    outlet, link = port
    reader = open_port(link)
    outlet.send(b"\x02]C1\x1d0104607\r\n")
    assert received(reader) == b"\x02]C1\x1d0104607\r\n"
    outlet.type(MILK)
    assert received(reader) == MILK.encode() + b"\r"
    os.close(reader)


def test_what_nobody_reads_is_not_kept_for_the_next_sale(port: tuple[PtyOutlet, Path]) -> None:
    outlet, link = port
    with pytest.raises(Unread):
        outlet.send(b"never opened\r")
    os.close(open_port(link))
    with pytest.raises(Unread):
        outlet.send(b"hung up\r")
    reader = open_port(link)
    outlet.send(b"heard\r")
    assert received(reader) == b"heard\r"
    os.close(reader)


def test_a_cash_program_that_does_not_read_holds_nobody_up(port: tuple[PtyOutlet, Path]) -> None:
    outlet, link = port
    reader = open_port(link)
    with pytest.raises(Unread):  # the kernel's buffer is full some time
        deque((outlet.send(b"x" * 1_000) for _ in range(100)), maxlen=0)
    os.close(reader)


def test_a_place_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LinkError) as refused:
        PtyOutlet(tmp_path / "file" / "scanner")
    assert "forward_to" in str(refused.value.hint)


def test_a_link_of_an_agent_that_was_killed_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "scanner").symlink_to("/dev/pts/99999")
    outlet = PtyOutlet(tmp_path / "scanner")
    os.close(open_port(tmp_path / "scanner"))
    outlet.close()


# ---- a whole scanner in mode forward


@pytest.fixture
def shop(tmp_path: Path, inbox: Inbox) -> Iterator[tuple[VirtualScanner, Path]]:
    with VirtualScanner(tmp_path / "scanner") as device:
        options = Options(mode="forward", forward_to=tmp_path / "port")
        scanner = open_scanner("counter", device.url, inbox.post, options, is_card)
        scanner.start()
        assert inbox.state() == "online"
        yield device, tmp_path / "port"
        scanner.stop()


def test_our_card_is_kept_and_goods_go_on(shop: tuple[VirtualScanner, Path], inbox: Inbox) -> None:
    device, link = shop
    cash_program = open_port(link)
    device.send(f"{MILK}\r\n{CARD}\r\n96385074\r\n".encode())
    assert inbox.scan() == (CARD, "barcode")
    expected = f"{MILK}\r\n\n96385074\r\n".encode()
    got = b""
    while len(got) < len(expected):
        got += received(cash_program)
    assert got == expected
    assert inbox.events.empty()
    os.close(cash_program)


def test_goods_that_the_cash_program_does_not_read_are_told_by_the_api(
    shop: tuple[VirtualScanner, Path], inbox: Inbox
) -> None:
    shop[0].scan(MILK)
    assert inbox.scan() == (MILK, "barcode")


# ---- a keyboard scanner in mode forward: a reader that a test feeds


class Script:
    """A Reader whose device is a pipe and whose frames the test lays out."""

    def __init__(self, steps: list[list[Framed]]) -> None:
        self.steps = steps
        self.read_end, self.write_end = os.pipe()
        os.write(self.write_end, b"x" * len(steps))

    def fileno(self) -> int:
        return self.read_end

    def read(self) -> list[Framed]:
        os.read(self.read_end, 1)
        return self.steps.pop(0)

    due_ms = None

    def idle(self, now_ms: int) -> list[Framed]:
        del now_ms
        return []

    def close(self) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


def keys(text: str) -> tuple[KeyEvent, ...]:
    """The events of a typed line."""
    desktop = Desktop()
    KeyOutlet(desktop).type(text)
    return tuple(desktop.events)


def frame(text: str, *, by_hand: bool = False) -> Frame:
    return Frame(text, 1_000, by_hand=by_hand, raw=keys(text))


@dataclass
class Counter:
    """A keyboard scanner in mode forward, and the cash program beside it."""

    scanner: ScannerThread
    desktop: Desktop
    grabbed: list[bool]


@pytest.fixture
def counter(inbox: Inbox, request: pytest.FixtureRequest) -> Iterator[Counter]:
    desktop, grabbed = Desktop(), []
    steps: list[list[Framed]] = request.param

    def open_reader(*, grab: bool) -> Script:
        grabbed.append(grab)
        return Script([steps.pop(0)] if steps else [])

    def open_outlet() -> KeyOutlet:
        return KeyOutlet(desktop)

    scanner = ScannerThread(
        "counter", open_reader, inbox.post, Options(mode="forward"), open_outlet=open_outlet, keeps=is_card
    )
    yield Counter(scanner, desktop, grabbed)
    scanner.stop()


HOT_KEY = ((EV_KEY, F5, DOWN), (EV_SYN, 0, 0), (EV_KEY, F5, UP), (EV_SYN, 0, 0))


@pytest.mark.parametrize(
    "counter",
    [[[frame(MILK), Passed(HOT_KEY), frame("2000111", by_hand=True), Frame("ё", 1_000), frame(CARD)]]],
    indirect=True,
)
def test_goods_hot_keys_and_typing_go_on_and_the_card_stays(counter: Counter, inbox: Inbox) -> None:
    counter.scanner.start()
    assert inbox.state() == "online"
    event = inbox.next()
    assert isinstance(event, ReadFailed)  # a HID code in Russian: no key types it
    assert inbox.scan() == (CARD, "barcode")
    assert counter.desktop.typed == [MILK, "2000111"]
    assert all(event in counter.desktop.events for event in HOT_KEY)


@pytest.mark.parametrize("counter", [[[frame(MILK)], [frame(CARD)]]], indirect=True)
def test_when_keys_cannot_be_handed_on_the_scanner_is_let_go(counter: Counter, inbox: Inbox) -> None:
    """The shop goes on: the cash program has its keys again, and we listen beside it."""
    counter.desktop.broken = True
    counter.scanner.start()
    assert inbox.state() == "online"
    let_go = inbox.next()
    assert isinstance(let_go, DeviceState)
    assert (let_go.state, "only listens" in str(let_go.hint)) == ("degraded", True)
    assert inbox.scan() == (CARD, "barcode")
    assert counter.grabbed == [True, False]


def test_without_a_virtual_keyboard_we_listen_and_say_what_to_install(inbox: Inbox) -> None:
    grabbed = []

    def open_reader(*, grab: bool) -> Script:
        grabbed.append(grab)
        return Script([[frame(CARD)]])

    def no_uinput() -> KeyOutlet:
        from loyalty.texts import N_

        raise LinkError("denied", N_("no uinput"))

    scanner = ScannerThread(
        "counter", open_reader, inbox.post, Options(mode="forward"), open_outlet=no_uinput
    )
    scanner.start()
    state = inbox.next()
    assert isinstance(state, DeviceState)
    assert (state.state, str(state.hint)) == ("degraded", "no uinput")
    assert inbox.scan() == (CARD, "barcode")
    scanner.stop()
    assert grabbed == [False]


@pytest.mark.parametrize("counter", [[[Passed(((EV_KEY, SHIFT, DOWN),)), Dropped(1_000)]]], indirect=True)
def test_a_scan_that_lost_keys_leaves_none_down(counter: Counter, inbox: Inbox) -> None:
    counter.scanner.start()
    assert inbox.state() == "online"
    assert isinstance(inbox.next(), ReadFailed)
    assert counter.desktop.down == set()


# ---- own


@pytest.mark.parametrize(
    ("options", "heard"),
    [
        pytest.param(Options(), ["ReadFailed", "4607", "4607"], id="a person's typing is refused"),
        pytest.param(Options(takes_typing=True), ["2000111", "4607", "4607"], id="a slow scanner"),
        pytest.param(Options(mode="listen"), ["4607", "4607"], id="typing into the cash program"),
        pytest.param(Options(repeat_ms=2_000), ["ReadFailed", "4607"], id="a trigger pulled twice"),
    ],
)
def test_typing_by_hand_and_a_double_trigger(inbox: Inbox, options: Options, heard: list[str]) -> None:
    goods = [Frame("4607", 5_000), Frame("4607", 5_290), Frame("4607", 6_600)]
    typed = Frame("2000111", 1_000, by_hand=True)
    scanner = ScannerThread("s", lambda *, grab: Script([[typed, *goods]]), inbox.post, options)
    scanner.start()
    assert inbox.state() == "online"
    events = [inbox.next() for _ in heard]
    scanner.stop()
    assert [e.data if isinstance(e, ScanData) else type(e).__name__ for e in events] == heard
    assert inbox.events.empty()
