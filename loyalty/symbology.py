"""What a scanner says of a code before the code itself: AIM identifiers (ISO/IEC 15424), such as `]E0`.

Three characters: `]`, a letter for the symbology, a modifier. Only what a shop meets is named here; another
identifier is taken off all the same, and says nothing.
"""

from __future__ import annotations

import re

_AIM = re.compile(r"\]([A-Za-z][0-9A-Za-z])")
_NAMES = {
    "E0": "ean13",
    "E3": "ean13",
    "E4": "ean8",
    "C0": "code128",
    "C1": "code128",
    "C2": "code128",
    "e0": "databar",
    "d1": "datamatrix",
    "d2": "datamatrix",
    "Q1": "qr",
    "Q3": "qr",
    "L0": "pdf417",
    **{f"A{n}": "code39" for n in range(8)},
    **{f"I{n}": "itf" for n in range(4)},
    **{f"F{n}": "codabar" for n in range(5)},
}


def split(text: str) -> tuple[str | None, str]:
    """The identifier at the beginning of `text` without its `]` (None: there is none), and what follows."""
    aim = _AIM.match(text) if text.startswith("]") else None
    return (aim[1], text[aim.end() :]) if aim else (None, text)


def symbology_of(identifier: str | None) -> str | None:
    """The symbology's name; None for no identifier, and for one that no shop meets."""
    return _NAMES.get(identifier or "")
