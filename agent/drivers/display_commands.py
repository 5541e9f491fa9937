"""What a customer display of two rows is sent: bytes of its command set. Pure.

There is no one language of line displays. The four here are what shops have; a display mostly speaks several,
and switches or a vendor's program choose which, so the configuration must say the same as the switches:

    epson    DM-D110 and what imitates it: positions by US $, code page by ESC t
    aures    Aures OCD: the same, after it has been told to speak it; ESC @ leaves its code page as it was
    cd5220   ESC Q A and B write a whole row; after them the display obeys nothing but CLR and CAN, which is
             why it is cleared before anything else of it is set
    dsp800   commands in frames EOT SOH … ETB, each answered ACK or NAK; no code page can be chosen

A row is always twenty cells, never ended by a line feed: in a mode that scrolls, that would push the upper
row away. Everything a display forgets without power is in `initialise`; it does not say that it was off.

Letters: where the firmware has Cyrillic, its number for the code page is in its manual and nowhere else (17
for cp866 with Epson, 11 with Aures). Where it has none, `charset = "latin"` writes Russian in Latin letters.

`ESC =` (a display in the printer's cable, through which slips are passed on) is not built: such a display has
200 bytes of room and then loses what is printed.

Known ugliness: of cd5220's ESC c and ESC f only the letter is sent that the configuration names, for no two
vendors agree on what they choose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from agent.drivers.document import printable, substitute

COLUMNS = 20
Rows = tuple[str, str]
CommandSet = Literal["epson", "aures", "cd5220", "dsp800"]
COMMAND_SETS: tuple[CommandSet, ...] = get_args(CommandSet)
LATIN = "latin"
CHARSETS: Mapping[str, str] = {
    "cp866": "cp866",
    "cp1251": "cp1251",
    "cp437": "cp437",
    "cp858": "cp858",
    LATIN: "ascii",
}
"""Code page names of the configuration -> Python's codecs."""

ACK, NAK = 0x06, 0x15
_CLR = b"\x0c"
_CR = b"\r"
_ESC_INIT = b"\x1b@"
_US_OVERWRITE, _US_CURSOR_OFF = b"\x1f\x01", b"\x1fC\x00"
_AURES_SPEAK_ESCPOS = b"\x02\x05C1\x03"
_CD_OVERWRITE, _CD_CURSOR_OFF = b"\x1b\x11", b"\x1b_\x00"
_DSP_FIRST, _DSP_SECOND_ROW, _DSP_LAST = 0x31, 0x45, 0x58  # cells 1, 21 and 40


@dataclass(frozen=True, slots=True)
class DisplayProfile:
    """What a display model is like.

    `page`: the model's own number for `charset`, sent by ESC t (epson, aures) or ESC c (cd5220); None where
    its switches choose. `country`: the letter of ESC f (cd5220), such as "R". Raises ValueError for what no
    display has.
    """

    commands: CommandSet = "epson"
    charset: str = LATIN
    page: int | None = None
    country: str | None = None

    def __post_init__(self) -> None:
        if self.commands not in COMMAND_SETS:
            raise ValueError(f"display commands {self.commands!r}: use one of {', '.join(COMMAND_SETS)}")
        if self.charset not in CHARSETS:
            raise ValueError(f"display charset {self.charset!r}: use one of {', '.join(CHARSETS)}")
        if self.page is not None and not 0 <= self.page <= 255:
            raise ValueError(f"display code page {self.page}: from 0 to 255, see the display's manual")
        if self.page is not None and self.commands == "dsp800":
            raise ValueError("a dsp800 display is not told its code page: leave it out, set the switches")
        if self.page is None and self.charset != LATIN and self.commands in ("epson", "aures"):
            raise ValueError(f"which number has {self.charset} in this display? See its manual")
        if self.country is not None and not (
            self.commands == "cd5220"
            and len(self.country) == 1
            and self.country.isascii()
            and self.country.isprintable()
        ):
            raise ValueError(f"display country {self.country!r}: one letter, of a cd5220 display only")

    @property
    def letters(self) -> Callable[[str], str]:
        """For the layout of rows: text in letters that this display has (agent/line_display.py)."""
        codec = CHARSETS[self.charset]

        def shown(text: str) -> str:
            return latin(substitute(text), codec)

        return shown


@dataclass(frozen=True, slots=True)
class Encoded:
    """`data` for the display; `lost` counts the letters that became "?"."""

    data: bytes
    lost: int


def initialise(profile: DisplayProfile) -> bytes:
    """Mode, code page, no cursor, an empty screen: right for a display in any state."""
    page = profile.page
    match profile.commands:
        case "epson":
            chosen = b"\x1bt" + bytes([page]) if page is not None else b""
            return _CLR + _ESC_INIT + chosen + _US_OVERWRITE + _US_CURSOR_OFF + _CLR
        case "aures":
            chosen = b"\x1bt" + bytes([page]) if page is not None else b""
            return _AURES_SPEAK_ESCPOS + _ESC_INIT + chosen + _US_OVERWRITE + _CLR
        case "cd5220":
            country = b"\x1bf" + profile.country.encode("ascii") if profile.country is not None else b""
            chosen = b"\x1bc" + bytes([page]) if page is not None else b""
            # CR first, twice: a row whose end was lost with the cable would swallow what comes.
            return 2 * _CR + _CLR + _ESC_INIT + country + chosen + _CD_OVERWRITE + _CD_CURSOR_OFF
        case "dsp800":
            return clear(profile)


def show(profile: DisplayProfile, rows: Rows) -> Encoded:
    """Both rows over what stands there: no flicker. The display has been initialised."""
    (upper, lost), (lower, lost_too) = (_encoded(row, CHARSETS[profile.charset]) for row in rows)
    match profile.commands:
        case "epson" | "aures":
            data = b"\x1f$\x01\x01" + upper + b"\x1f$\x01\x02" + lower
        case "cd5220":
            data = b"\x1bQA" + upper + _CR + b"\x1bQB" + lower + _CR
        case "dsp800":
            data = _dsp(b"P", _DSP_FIRST) + upper + _dsp(b"P", _DSP_SECOND_ROW) + lower
    return Encoded(data, lost + lost_too)


def clear(profile: DisplayProfile) -> bytes:
    """An empty screen."""
    return _dsp(b"C", _DSP_FIRST, _DSP_LAST) if profile.commands == "dsp800" else _CLR


def _dsp(command: bytes, *arguments: int) -> bytes:
    return b"\x04\x01" + command + bytes(arguments) + b"\x17"


def _encoded(row: str, codec: str) -> tuple[bytes, int]:
    """Exactly twenty cells, and how many of them are "?" that were not."""
    cells = [_cell(letter, codec) for letter in printable(row)[:COLUMNS].ljust(COLUMNS)]
    return b"".join(cell or b"?" for cell in cells), cells.count(None)


def _cell(letter: str, codec: str) -> bytes | None:
    try:
        return letter.encode(codec)
    except UnicodeEncodeError:
        return None


# ------------------------------------------------------------------------- Latin letters

_LATIN = {
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ё": "yo", "ж": "zh", "з": "z", "и": "i",
    "й": "y", "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t",
    "у": "u", "ф": "f", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ы": "y", "ь": "",
    "э": "e", "ю": "yu", "я": "ya", "№": "No.", "°": "o",
}  # fmt: skip
"""GOST 7.79 as far as a customer reads it aloud: twenty cells have no room for its apostrophes."""


def latin(text: str, codec: str) -> str:
    """`text` with what `codec` lacks in Latin letters; what has none stays (and is lost when it is sent)."""
    if text.isascii():
        return text
    said = []
    for at, letter in enumerate(text):
        small = letter.lower()
        if small not in _LATIN or _cell(letter, codec) is not None:
            said.append(letter)
        elif letter == small:
            said.append(_LATIN[small])
        else:
            beside = text[at + 1 : at + 2] if text[at + 1 : at + 2].isalpha() else text[at - 1 : at]
            said.append(_LATIN[small].upper() if beside.isupper() else _LATIN[small].capitalize())
    return "".join(said)
