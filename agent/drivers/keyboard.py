"""From key events to frames: the decoder of keyboard scanners.

A keyboard scanner types. The session's keyboard layout must not matter (under a
Russian one `;` arrives as `ж`), so codes are read by a fixed US table, which is
what scanners are set to out of the box. Sans-IO: `feed` takes evdev's (type,
code, value) with a time and returns the frames that end there.

Rules:
 * Shift of either hand; Caps Lock turns the case of letters only. Keypad digits
   are digits whatever Num Lock says. Autorepeat (value 2) never types.
 * A frame ends at Enter, keypad Enter, Tab, Down (a typed LF), Ctrl+J or Ctrl+M.
 * Ctrl+], F8 and Alt+029 on the keypad are GS (FNC1); Alt with other digits is that
   ASCII character.
 * SYN_DROPPED: the kernel's buffer holds 64 events, ten characters, and what did
   not fit is gone. The survivors often look like a short, well-ended, wrong
   code. Everything up to and including the next end is discarded, and said so.
 * A scanner types a character in two to sixty milliseconds, a person in more. A
   frame whose characters came HAND_MS apart on average was typed by hand, and says
   so; the kernel's own times are taken, for a late reader gets all of it at once.

Known ugliness: if the lost events held the end itself, the next scan is
discarded too. Two scans lost are better than one wrong.
"""

from __future__ import annotations

from agent.drivers.frames import MAX_FRAME_BYTES, Dropped, Frame, Framed

EV_SYN, EV_KEY = 0, 1
SYN_REPORT, SYN_DROPPED = 0, 3
UP, DOWN, REPEAT = 0, 1, 2

_SHIFTS, _CTRLS, _ALTS = (42, 54), (29, 97), (56, 100)
_CAPS = 58
_ENDS = frozenset((28, 96, 15, 108))  # Enter, keypad Enter, Tab, Down
_CTRL_ENDS = frozenset((36, 50))  # J, M
_RIGHT_BRACE, _F8 = 27, 66
HAND_MS = 70
GS = "\x1d"

_ROWS = (  # first key code, plain, with Shift
    (2, "1234567890-=", "!@#$%^&*()_+"),
    (16, "qwertyuiop[]", "QWERTYUIOP{}"),
    (30, "asdfghjkl;'`", 'ASDFGHJKL:"~'),
    (43, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
)
_PLAIN: dict[int, str] = {57: " "}
_SHIFTED: dict[int, str] = {57: " "}
for _first, _row, _shifted_row in _ROWS:
    _PLAIN.update(enumerate(_row, _first))
    _SHIFTED.update(enumerate(_shifted_row, _first))
_KEYPAD = dict(zip((82, 79, 80, 81, 75, 76, 77, 71, 72, 73), "0123456789", strict=True))
_KEYPAD_SIGNS = {55: "*", 74: "-", 78: "+", 83: ".", 98: "/"}


class KeyboardDecoder:
    """One keyboard's state. Make a new one whenever the device is opened: a lost key-up never comes."""

    def __init__(self, *, caps_lock: bool = False, silence_ms: int | None = None) -> None:
        self._caps = caps_lock
        self._silence_ms = silence_ms
        self._held: set[int] = set()
        self._text: list[str] = []
        self._alt_digits = ""
        self._discarding = False
        self._ignoring = False
        self._first_ms = self._typed_ms = self._last_ms = 0

    @property
    def is_in_scan(self) -> bool:
        """Is what has come the beginning of a scan, or of one that is being thrown away?"""
        return bool(self._text or self._alt_digits or self._discarding)

    @property
    def is_ignoring(self) -> bool:
        """Between `ignore` and the next end."""
        return self._ignoring

    @property
    def is_discarding(self) -> bool:
        """Is a scan being thrown away?"""
        return self._discarding

    @property
    def has_caps_lock(self) -> bool:
        """Are letters turned?"""
        return self._caps

    @property
    def last_ms(self) -> int:
        """When the last key came."""
        return self._last_ms

    def ignore(self) -> None:
        """What has come is a person typing: no frame comes of it, nor of what follows up to the next end."""
        self._text.clear()
        self._alt_digits = ""
        self._ignoring = True

    def heed(self) -> None:
        """The next character begins a scan again."""
        self._ignoring = False

    def discard(self) -> None:
        """Begin in the middle of a scan: throw away what comes up to and including its end."""
        self._text.clear()
        self._alt_digits = ""
        self._held.clear()
        self._discarding = True

    def feed(self, kind: int, code: int, value: int, at_ms: int) -> list[Framed]:
        """The frames that end with this event. `kind`, `code`, `value` as in linux/input.h."""
        if kind == EV_SYN and code == SYN_DROPPED:
            self.discard()
            return []
        if kind != EV_KEY:
            return []
        self._last_ms = at_ms
        if value == DOWN:
            return self._down(code, at_ms)
        if value == UP:
            self._up(code, at_ms)
        return []

    @property
    def due_ms(self) -> int | None:
        """When `idle` has something to do; None: never (a scanner that sends a suffix)."""
        pending = self._text or self._discarding
        return self._last_ms + self._silence_ms if self._silence_ms is not None and pending else None

    def idle(self, now_ms: int) -> list[Framed]:
        """The frame that silence has ended by `now_ms`, if any."""
        due = self.due_ms
        return self._end(self._last_ms, by_silence=True) if due is not None and now_ms >= due else []

    def _down(self, code: int, at_ms: int) -> list[Framed]:
        if code in _SHIFTS or code in _CTRLS or code in _ALTS:
            self._held.add(code)
            return []
        if code == _CAPS:
            self._caps = not self._caps
            return []
        ctrl, alt = self._holds(_CTRLS), self._holds(_ALTS)
        if code in _ENDS or (ctrl and code in _CTRL_ENDS):
            return self._end(at_ms)
        if alt:
            self._alt_digits += _KEYPAD.get(code, "")
        elif ctrl:
            self._type(GS if code == _RIGHT_BRACE else "", at_ms)
        else:
            self._type(GS if code == _F8 else self._character(code), at_ms)
        return []

    def _up(self, code: int, at_ms: int) -> None:
        self._held.discard(code)
        if code in _ALTS and self._alt_digits:
            number = int(self._alt_digits[-4:])
            self._alt_digits = ""
            self._type(chr(number) if number < 128 else "", at_ms)

    def _character(self, code: int) -> str:
        if code in _KEYPAD:
            return _KEYPAD[code]
        if code in _KEYPAD_SIGNS:
            return _KEYPAD_SIGNS[code]
        shifted = self._holds(_SHIFTS)
        if self._caps and _PLAIN.get(code, "").isalpha():
            shifted = not shifted
        return (_SHIFTED if shifted else _PLAIN).get(code, "")

    def _type(self, character: str, at_ms: int) -> None:
        if self._discarding or self._ignoring:
            return
        if len(self._text) >= MAX_FRAME_BYTES:
            self.discard()
        elif character:
            if not self._text:
                self._first_ms = at_ms
            self._typed_ms = at_ms
            self._text.append(character)

    def _holds(self, keys: tuple[int, ...]) -> bool:
        return not self._held.isdisjoint(keys)

    def _end(self, at_ms: int, *, by_silence: bool = False) -> list[Framed]:
        self._ignoring = False
        if self._discarding:
            self._discarding = False
            return [Dropped(at_ms)]
        text = "".join(self._text)
        self._text.clear()
        by_hand = self._typed_ms - self._first_ms > HAND_MS * max(1, len(text) - 1)
        return [Frame(text, at_ms, by_hand=by_hand, by_silence=by_silence)] if text else []


def keys_of(text: str) -> list[int] | None:
    """The key codes that type `text` on a US keyboard, each with SHIFTED added where Shift is held.

    None where a character of it is on no key.
    """
    codes = [_KEYS.get(character) for character in text]
    return None if None in codes else [code for code in codes if code is not None]


SHIFTED = 1 << 16
LEFT_SHIFT, ENTER = 42, 28
_KEYS = {
    **{character: code | SHIFTED for code, character in _SHIFTED.items()},
    **{character: code for code, character in _PLAIN.items()},
    GS: _F8,
}
