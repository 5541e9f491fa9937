"""What is printed, before any printer's language: lines of text, a QR code, a cut."""

from __future__ import annotations

import textwrap
import unicodedata
from dataclasses import dataclass
from typing import Literal

Align = Literal["left", "center", "right"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `wide` letters are twice as wide, so half as many fit."""

    text: str = ""
    bold: bool = False
    align: Align = "left"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Qr:
    """A QR code, centred."""

    data: str


@dataclass(frozen=True, slots=True)
class Cut:
    """Feed past the knife and cut."""


Document = tuple[Line | Qr | Cut, ...]


def document_lines(document: Document, columns: int) -> list[str]:
    """The document as plain lines of at most `columns` characters.

    For printers that are not ours: a cash program's fiscal printer, the API's slip lines, a test. Alignment
    becomes blanks, control characters fall away, what is too long is cut. A QR code becomes its text where
    that is an address that a customer can type and that fits in one line; else it falls away.
    """
    lines: list[str] = []
    for part in document:
        if isinstance(part, Line):
            lines.append(_aligned(part.text, part.align, columns))
        elif isinstance(part, Qr) and len(part.data) <= columns and _is_address(part.data):
            lines.append(_aligned(part.data, "center", columns))
    return lines


def preview_lines(document: Document, columns: int) -> list[str]:
    """The document as our own printer has it, for a person to look at: a QR code is marked, with its text."""
    lines: list[str] = []
    for part in document:
        if isinstance(part, Line):
            lines.append(_aligned(part.text, part.align, columns))
        elif isinstance(part, Qr):
            marked = textwrap.wrap(f"[QR {printable(part.data)}]", columns, break_on_hyphens=False)
            lines += [_aligned(text, "center", columns) for text in marked]
    return lines


def _aligned(text: str, align: Align, columns: int) -> str:
    text = printable(text)[:columns]
    if align == "center":
        text = " " * ((columns - len(text)) // 2) + text
    elif align == "right":
        text = text.rjust(columns)
    return text.rstrip()


def _is_address(text: str) -> bool:
    return (
        text.startswith(("https://", "http://")) and text.isascii() and text.isprintable() and " " not in text
    )


# Signs that code page 866 lacks and a shop uses; № is in it (0xFC), ё too.
_SUBSTITUTES = str.maketrans(
    {
        "«": '"',
        "»": '"',
        "“": '"',
        "”": '"',
        "„": '"',
        "’": "'",
        "‘": "'",
        "—": "-",
        "–": "-",
        "−": "-",
        "‑": "-",
        "…": "...",
        "₽": "руб.",
        "×": "x",
        "•": "*",
        "€": "EUR",
        "®": "(R)",
        "©": "(C)",
        "™": "(TM)",
        "½": "1/2",
        "¼": "1/4",
        "¾": "3/4",
        "²": "2",
        "³": "3",
        "\u00a0": " ",
        "\u2009": " ",
        "\u202f": " ",
    }
)


def printable(text: str) -> str:
    """`text` without control characters: a name from outside must not be able to open the drawer."""
    return "".join(c for c in text if c.isprintable() or c == "\u00a0")


def substitute(text: str) -> str:
    """`text` as a till printer can show it.

    No control characters, plain quotes and dashes, "руб." for its sign; «й» that was written as «и» and a
    breve becomes one letter, and a mark that no letter takes falls away. It may grow longer, so a layout that
    counts columns calls this first.
    """
    plain = unicodedata.normalize("NFC", printable(text.translate(_SUBSTITUTES)))
    return plain if plain.isascii() else "".join(c for c in plain if unicodedata.category(c) != "Mn")
