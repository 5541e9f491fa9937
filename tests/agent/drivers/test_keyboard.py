"""A keyboard scanner types; the layout of the session, Caps Lock and lost events must not change a code."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.frames import MAX_FRAME_BYTES, Dropped, Frame, Framed
from agent.drivers.keyboard import KeyboardDecoder
from tests.recordings.make import ENTER, EV_KEY, EV_SYN, HID, LEFT_SHIFT, events

Event = tuple[int, int, int]
KP = (82, 79, 80, 81, 75, 76, 77, 71, 72, 73)
RIGHT_SHIFT, CTRL, ALT, CAPS, NUM = 54, 29, 56, 58, 69


def typed(text: str) -> list[Event]:
    return [(kind, code, value) for _, kind, code, value in events(text)]


def press(*codes: int) -> list[Event]:
    """Keys pressed together: down in order, up in the other."""
    downs = [(EV_KEY, code, 1) for code in codes]
    return downs + [(EV_KEY, code, 0) for code in reversed(codes)]


def run(stream: list[Event], decoder: KeyboardDecoder | None = None) -> list[Framed]:
    decoder = decoder or KeyboardDecoder()
    return [f for kind, code, value in stream for f in decoder.feed(kind, code, value, 5)]


def texts(stream: list[Event], decoder: KeyboardDecoder | None = None) -> list[str]:
    return [f.text if isinstance(f, Frame) else "dropped" for f in run(stream, decoder)]


def test_a_card_is_typed() -> None:
    assert texts(typed("2000000012346\n")) == ["2000000012346"]


def test_a_swipe_is_typed_with_either_shift() -> None:
    swipe = "%S2000000012346^KOPILKA/DEMO?\n"
    right = [(k, RIGHT_SHIFT if code == LEFT_SHIFT else code, v) for k, code, v in typed(swipe)]
    assert texts(typed(swipe)) == texts(right) == [swipe.strip()]


def test_every_sign_of_the_keyboard() -> None:
    plain = [*range(2, 14), *range(16, 28), *range(30, 42), *range(43, 54), 57]
    stream = [e for code in plain for e in press(code)] + [
        e for code in plain for e in press(LEFT_SHIFT, code)
    ]
    assert texts(stream + press(ENTER)) == [
        "1234567890-=qwertyuiop[]asdfghjkl;'`\\zxcvbnm,./ !@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:\"~|ZXCVBNM<>? "
    ]


def test_keypad_digits_are_digits_whatever_num_lock_says() -> None:
    digits = [e for code in KP for e in press(code)]
    assert texts(digits + press(NUM) + digits + press(96)) == ["01234567890123456789"]


@pytest.mark.parametrize("caps_first", [True, False])
def test_caps_lock_turns_letters_only(caps_first: bool) -> None:
    decoder = KeyboardDecoder(caps_lock=caps_first)
    stream = [] if caps_first else press(CAPS)
    stream += press(30) + press(LEFT_SHIFT, 30) + press(2) + press(LEFT_SHIFT, 2) + press(ENTER)
    assert texts(stream, decoder) == ["Aa1!"]


@pytest.mark.parametrize("end", [(ENTER,), (96,), (15,), (108,), (CTRL, 36), (CTRL, 50)])
def test_every_terminator_ends_a_scan(end: tuple[int, ...]) -> None:
    assert texts(press(2) + press(*end) + press(*end)) == ["1"]


def test_fnc1_comes_in_three_forms() -> None:
    by_ctrl = press(2) + press(CTRL, 27) + press(3) + press(ENTER)
    alt_029 = [(EV_KEY, ALT, 1), *press(KP[0]), *press(KP[2]), *press(KP[9]), (EV_KEY, ALT, 0)]
    by_alt, by_f8 = [*press(2), *alt_029, *press(3), *press(ENTER)], press(2) + press(66) + press(3)
    assert texts(by_ctrl) == texts(by_alt) == texts(by_f8 + press(ENTER)) == ["1\x1d2"]


def test_a_key_that_hangs_does_not_repeat() -> None:
    assert texts([(EV_KEY, 2, 1), *[(EV_KEY, 2, 2)] * 25, (EV_KEY, 2, 0), *press(ENTER)]) == ["1"]


def test_two_shifts_in_a_row() -> None:
    stream = press(LEFT_SHIFT, 30) + press(RIGHT_SHIFT, 48) + press(46) + press(ENTER)
    assert texts(stream) == ["ABc"]
    both = [(EV_KEY, LEFT_SHIFT, 1), (EV_KEY, RIGHT_SHIFT, 1), (EV_KEY, LEFT_SHIFT, 0), *press(30)]
    assert texts(both + press(ENTER)) == ["A"]


def test_lost_events_never_make_a_short_code() -> None:
    """As seen on a real kernel: the buffer ran over, and "31" with an Enter survived."""
    lost = [*typed("4006"), (EV_SYN, 3, 0), *typed("31\n")]
    assert run(lost) == [Dropped(5)]
    assert texts(lost + typed("2000000012346\n")) == ["dropped", "2000000012346"]


def test_a_shift_whose_release_was_lost_is_released() -> None:
    assert texts([(EV_KEY, LEFT_SHIFT, 1), (EV_SYN, 3, 0), *press(ENTER), *press(2), *press(ENTER)]) == [
        "dropped",
        "1",
    ]


def test_a_scan_met_in_its_middle_is_thrown_away() -> None:
    decoder = KeyboardDecoder()
    decoder.discard()
    assert texts(typed("331\n4607\n"), decoder) == ["dropped", "4607"]


def test_a_keyboard_without_end_is_capped() -> None:
    assert texts(press(2) * (MAX_FRAME_BYTES + 5) + press(ENTER) + typed("7\n")) == ["dropped", "7"]


def test_silence_ends_a_scan_where_the_scanner_has_no_suffix() -> None:
    decoder = KeyboardDecoder(silence_ms=120)
    assert texts(typed("4607"), decoder) == []
    assert decoder.due_ms == 125
    assert decoder.idle(124) == []
    assert [f.text for f in decoder.idle(125) if isinstance(f, Frame)] == ["4607"]


@given(
    texts_typed=st.lists(
        st.text(alphabet="".join(k for k in HID if k != "\n"), min_size=1, max_size=20), max_size=4
    ),
    caps=st.booleans(),
)
def test_what_a_scanner_types_is_what_is_read(texts_typed: list[str], caps: bool) -> None:
    stream = typed("".join(t + "\n" for t in texts_typed))
    if not caps:
        assert texts(stream) == texts_typed
    else:  # a scanner that does not know of Caps Lock: digits and signs still stand
        read = texts(stream, KeyboardDecoder(caps_lock=True))
        assert [t.upper() for t in read] == texts_typed


def timed(text: str, gap_ms: int) -> list[Framed]:
    """`text`, a character every `gap_ms`."""
    decoder = KeyboardDecoder()
    framed: list[Framed] = []
    for number, character in enumerate(text):
        for kind, code, value in typed(character):
            framed += decoder.feed(kind, code, value, 1_000 + number * gap_ms)
    return framed


@pytest.mark.parametrize(
    ("gap_ms", "by_hand"),
    [
        pytest.param(2, False, id="a quick scanner"),
        pytest.param(16, False, id="a usual scanner"),
        pytest.param(60, False, id="a scanner set to wait between characters"),
        pytest.param(90, True, id="a quick typist"),
        pytest.param(250, True, id="a cashier"),
    ],
)
def test_a_person_is_told_from_a_scanner_by_the_kernels_times(gap_ms: int, by_hand: bool) -> None:
    (frame,) = timed("2000000012346\n", gap_ms)
    assert isinstance(frame, Frame)
    assert frame.by_hand is by_hand


def test_a_scan_that_stalls_once_is_a_scan() -> None:
    """A busy hub held one report back for half a second."""
    decoder = KeyboardDecoder()
    first = [decoder.feed(*event, 1_000 + n * 8) for n, event in enumerate(typed("200000"))]
    rest = [f for event in typed("0012346\n") for f in decoder.feed(*event, 1_700)]
    assert not any(first)
    assert [f.by_hand for f in rest if isinstance(f, Frame)] == [False]


# ---- the layout of the session


class _Names(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("rules", "model", "layout", "variant", "options")]


def as_the_desktop_reads(stream: list[Event], layout: str) -> str:
    """What a desktop of this layout makes of the keys: libxkbcommon, as every Wayland session has it."""
    xkb = ctypes.CDLL("libxkbcommon.so.0")
    for name in ("xkb_context_new", "xkb_keymap_new_from_names", "xkb_state_new"):
        getattr(xkb, name).restype = ctypes.c_void_p
    context = ctypes.c_void_p(xkb.xkb_context_new(0))
    names = _Names(layout=layout.encode())
    keymap = ctypes.c_void_p(xkb.xkb_keymap_new_from_names(context, ctypes.byref(names), 0))
    state = ctypes.c_void_p(xkb.xkb_state_new(keymap))
    text, buffer = "", ctypes.create_string_buffer(16)
    for kind, code, value in stream:
        if kind != EV_KEY:
            continue
        key = code + 8  # X11's numbering
        if value == 1 and xkb.xkb_state_key_get_utf8(state, key, buffer, len(buffer)):
            text += buffer.value.decode()
        xkb.xkb_state_update_key(state, key, value)
    return text


def test_a_russian_desktop_would_have_spoilt_the_swipe() -> None:
    swipe = "%S2000000012346^KOPILKA?;20=9912?\n"
    assert as_the_desktop_reads(typed(swipe), "us").rstrip() == swipe.rstrip()
    assert as_the_desktop_reads(typed(swipe), "ru").startswith("%Ы2000000012346:ЛЩЗШДЛФ,")
    assert texts(typed(swipe)) == [swipe.rstrip()]
