"""What is printed, before any printer's language: lines of text, a QR code, a cut."""

from __future__ import annotations

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
    becomes blanks, what is too long is cut. A QR code becomes its text where that is printable and fits in
    one line, and falls away where it does not.
    """
    lines: list[str] = []
    for part in document:
        if isinstance(part, Line):
            text = part.text[:columns]
            if part.align == "center":
                text = " " * ((columns - len(text)) // 2) + text
            elif part.align == "right":
                text = text.rjust(columns)
            lines.append(text.rstrip())
        elif isinstance(part, Qr) and len(part.data) <= columns and part.data.isprintable():
            lines.append(" " * ((columns - len(part.data)) // 2) + part.data)
    return lines


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

    No control characters, plain quotes and dashes, "руб." for its sign. It may grow longer, so a layout that
    counts columns calls this first.
    """
    return printable(text.translate(_SUBSTITUTES))
