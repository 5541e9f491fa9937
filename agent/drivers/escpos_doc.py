"""A document in ESC/POS: the bytes of one slip, built whole before anything is sent.

The commands are python-escpos' constants, put together here. Its printer classes would bring what a till does
without: a fifth of a second, fifteen megabytes, a root logger of their own, and a text encoder that
switches code pages in mid-line and is never told that a printer was switched off. So every slip begins with
`ESC @`, `FS .` (clones that wake up in Chinese mode) and `ESC t n`, and is right on a printer in any state;
the page is what the configuration says. (The tests hold these bytes against the library's own.)

A QR code is drawn by the printer (`native`) or sent as a picture, for clones that lie about it.

Known ugliness: a letter that the code page lacks becomes "?"; they are counted,
so that the till can say that the page is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from escpos import constants

from agent.drivers.document import Cut, Document, Line, Qr, substitute

CODE_PAGES: dict[str, str] = {"cp866": "cp866", "cp1251": "cp1251", "cp437": "cp437"}
"""Code page names of the configuration -> Python's codecs."""

QR_MODULE_DOTS = 5
QR_PICTURE_LINES = 100
"""Of a picture at once: small printers have small buffers."""
MIN_COLUMNS, MAX_COLUMNS = 24, 64
MAX_DOCUMENT_PARTS = 500
_FS_CANCEL_KANJI = b"\x1c."
_FEED_TO_KNIFE = b"\x1bd\x06"
_RASTER = constants.GS + b"v0\x00"
_QR = b"1"
_QR_MODEL, _QR_SIZE, _QR_ECC, _QR_STORE, _QR_PRINT = b"A", b"C", b"E", b"P", b"Q"


@dataclass(frozen=True, slots=True)
class PrinterProfile:
    """What a printer model is like.

    `page` is the model's own number for `encoding`: for cp866 17 with Epson, 7, 10 or 59 elsewhere. `proof`
    is how it says that a slip is printed: by the job's number (GS ( H), by an answer to GS r, or not at all;
    `realtime_status`: it can be asked how it is before a slip (DLE EOT), and does not choke on the question.
    Raises ValueError for what no printer has.
    """

    columns: int = 48
    encoding: str = "cp866"
    page: int = 17
    qr: Literal["native", "image", "off"] = "native"
    cutter: bool = True
    proof: Literal["id", "status", "none"] = "status"
    realtime_status: bool = True

    def __post_init__(self) -> None:
        if self.encoding not in CODE_PAGES:
            raise ValueError(f"printer encoding {self.encoding!r}: use one of {', '.join(CODE_PAGES)}")
        if not 0 <= self.page <= 255:
            raise ValueError(
                f"printer code page {self.page}: a number from 0 to 255, see the printer's manual"
            )
        if not MIN_COLUMNS <= self.columns <= MAX_COLUMNS:
            raise ValueError(f"printer columns {self.columns}: from {MIN_COLUMNS} to {MAX_COLUMNS}")


@dataclass(frozen=True, slots=True)
class Encoded:
    """`data` for the printer; `lost` counts the letters that became "?"."""

    data: bytes
    lost: int


def encode(document: Document, profile: PrinterProfile, ask: bytes = b"") -> Encoded:
    """The slip's bytes; `ask` (a question whose answer is the proof) comes last.

    Raises ValueError for a document longer than any slip.
    """
    if len(document) > MAX_DOCUMENT_PARTS:
        raise ValueError(f"{len(document)} parts in one slip; at most {MAX_DOCUMENT_PARTS}")
    writer = _Writer(profile)
    for part in document:
        writer.write(part)
    writer.plain()
    return Encoded(bytes(writer.out) + ask, writer.lost)


def set_up(page: int) -> bytes:
    """A printer in any state becomes one that prints this code page."""
    begin: bytes = constants.HW_INIT + _FS_CANCEL_KANJI + constants.CODEPAGE_CHANGE
    return begin + bytes((page,))


def cut(profile: PrinterProfile) -> bytes:
    """Feed past the knife, and cut where there is one."""
    knife: bytes = constants.PAPER_FULL_CUT if profile.cutter else b""
    return _FEED_TO_KNIFE + knife


class _Writer:
    """Sends a style only where it changes: a short slip is 400 bytes, not 800."""

    def __init__(self, profile: PrinterProfile) -> None:
        self.profile = profile
        self.out = bytearray(set_up(profile.page))
        self.align, self.bold, self.wide = "left", False, False
        self.lost = 0

    def write(self, part: Line | Qr | Cut) -> None:
        if isinstance(part, Line):
            self.style(part.align, bold=part.bold, wide=part.wide)
            self.text(part.text)
        elif isinstance(part, Qr):
            if self.profile.qr != "off":
                self.style("center", bold=False, wide=False)
                self.out += native_qr(part.data) if self.profile.qr == "native" else picture_qr(part.data)
        else:
            self.plain()
            self.out += cut(self.profile)

    def plain(self) -> None:
        self.style("left", bold=False, wide=False)

    def style(self, align: str, *, bold: bool, wide: bool) -> None:
        if align != self.align:
            self.out += constants.TXT_STYLE["align"][align]
        if bold != self.bold:
            self.out += constants.TXT_STYLE["bold"][bold]
        if wide != self.wide:
            self.out += constants.GS + b"!" + (b"\x11" if wide else b"\x00")
        self.align, self.bold, self.wide = align, bold, wide

    def text(self, text: str) -> None:
        plain = substitute(text)
        columns = self.profile.columns // 2 if self.wide else self.profile.columns
        data = plain[:columns].encode(CODE_PAGES[self.profile.encoding], "replace")
        self.lost += data.count(b"?") - plain[:columns].count("?")
        self.out += data + b"\n"


def native_qr(text: str) -> bytes:
    """A QR code that the printer draws (GS ( k), and a line feed."""
    return b"".join(
        (
            _qr(_QR_MODEL, b"2\x00"),
            _qr(_QR_SIZE, bytes((QR_MODULE_DOTS,))),
            _qr(_QR_ECC, b"0"),
            _qr(_QR_STORE, b"0" + text.encode()),
            _qr(_QR_PRINT, b"0"),
            b"\n",
        )
    )


def _qr(function: bytes, body: bytes) -> bytes:
    length = len(body) + 2
    command: bytes = constants.GS + b"(k" + length.to_bytes(2, "little")
    return command + _QR + function + body


def picture_qr(text: str) -> bytes:
    """A QR code as a picture (GS v 0), a few lines of dots at a time.

    No pair of bytes in it is a real-time command (10 04, 10 14): a lone dot inside a byte would have to be
    one dot wide, and a module is QR_MODULE_DOTS.
    """
    from qrcode.constants import (
        ERROR_CORRECT_L,
    )  # comes with python-escpos; imported where a picture is wanted
    from qrcode.main import QRCode

    code = QRCode(border=0, error_correction=ERROR_CORRECT_L)
    code.add_data(text)
    code.make(fit=True)
    rows = [_row(cells) for cells in code.get_matrix()]
    step = QR_PICTURE_LINES // QR_MODULE_DOTS
    pieces = [rows[at : at + step] for at in range(0, len(rows), step)]
    return b"".join(_picture(piece) for piece in pieces) + b"\n"


def _row(cells: list[bool]) -> bytes:
    """A row of modules as dots, eight a byte, dark is 1."""
    dots = "".join(("1" if dark else "0") * QR_MODULE_DOTS for dark in cells)
    dots += "0" * (-len(dots) % 8)
    return int(dots, 2).to_bytes(len(dots) // 8, "big")


def _picture(rows: list[bytes]) -> bytes:
    width, height = len(rows[0]), len(rows) * QR_MODULE_DOTS
    size: bytes = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    head: bytes = _RASTER + size
    return head + b"".join(row * QR_MODULE_DOTS for row in rows)
