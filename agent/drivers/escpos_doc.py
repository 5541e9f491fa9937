"""A document in ESC/POS: the bytes of one slip, built whole before anything is sent.

python-escpos gives the commands it is good at (initialise, bold, align, size,
native QR, cut) through its `Dummy`. The text is encoded here, because its own
text encoder switches code pages in mid-line and is never told that a printer
was switched off (field/devices.md §3.1): every slip begins with `ESC @`, `FS .`
(clones that wake up in Chinese mode) and `ESC t n`, so it is right on a printer
in any state, and the page is what the configuration says.

Importing python-escpos costs a fifth of a second, sets up the root logger and
leaves a directory in the temp dir. `load_escpos` does it late and quietly; it
is called in the printer's thread.

Known ugliness: a letter that the code page lacks becomes "?"; they are counted,
so that the till can say that the page is wrong.
"""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent.drivers.document import Cut, Document, Line, Qr, substitute

CODE_PAGES: dict[str, str] = {"cp866": "cp866", "cp1251": "cp1251", "cp437": "cp437"}
"""Code page names of the configuration -> Python's codecs."""

QR_MODULE_DOTS = 5
MIN_COLUMNS, MAX_COLUMNS = 24, 64
MAX_DOCUMENT_PARTS = 500
_FS_CANCEL_KANJI = b"\x1c."
_ASK_TRANSMIT_STATUS = b"\x1dr\x01"

_import_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class PrinterProfile:
    """What a printer model is like.

    `page` is the model's own number for `encoding`: for cp866 17 with Epson, 7, 10 or 59 elsewhere.
    Raises ValueError for what no printer has.
    """

    columns: int = 48
    encoding: str = "cp866"
    page: int = 17
    qr: Literal["native", "off"] = "native"
    cutter: bool = True

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


def encode(
    document: Document,
    profile: PrinterProfile,
    dummy: Callable[[], Any],
    *,
    ask_status: bool = False,
) -> Encoded:
    """The slip's bytes. `dummy` makes a python-escpos Dummy (`load_escpos`).

    With `ask_status` the last bytes are `GS r 1`: the printer answers when all before it is done.
    Raises ValueError for a document longer than any slip.
    """
    if len(document) > MAX_DOCUMENT_PARTS:
        raise ValueError(f"{len(document)} parts in one slip; at most {MAX_DOCUMENT_PARTS}")
    out = dummy()
    out.hw("INIT")
    out._raw(_FS_CANCEL_KANJI)
    out._raw(b"\x1bt" + bytes([profile.page]))
    writer = _Writer(out, profile)
    for part in document:
        writer.write(part)
    writer.plain()
    if ask_status:
        out._raw(_ASK_TRANSMIT_STATUS)
    return Encoded(bytes(out.output), writer.lost)


class _Writer:
    """Sends a style only where it changes: a short slip is 400 bytes, not 800."""

    def __init__(self, out: Any, profile: PrinterProfile) -> None:
        self.out, self.profile = out, profile
        self.align, self.bold, self.wide = "left", False, False
        self.lost = 0

    def write(self, part: Line | Qr | Cut) -> None:
        if isinstance(part, Line):
            self.style(part.align, bold=part.bold, wide=part.wide)
            self.text(part.text)
        elif isinstance(part, Qr):
            if self.profile.qr == "native":
                self.style("center", bold=False, wide=False)
                self.out.qr(part.data, size=QR_MODULE_DOTS, native=True)
                self.out._raw(b"\n")
        else:
            self.plain()
            if self.profile.cutter:
                self.out.cut()
            else:
                self.out.print_and_feed(6)

    def plain(self) -> None:
        self.style("left", bold=False, wide=False)

    def style(self, align: str, *, bold: bool, wide: bool) -> None:
        if align != self.align:
            self.out.set(align=align)
        if bold != self.bold:
            self.out.set(bold=bold)
        if wide != self.wide:
            self.out.set(custom_size=True, width=2 if wide else 1, height=2 if wide else 1)
        self.align, self.bold, self.wide = align, bold, wide

    def text(self, text: str) -> None:
        plain = substitute(text)
        columns = self.profile.columns // 2 if self.wide else self.profile.columns
        data = plain[:columns].encode(CODE_PAGES[self.profile.encoding], "replace")
        self.lost += data.count(b"?") - plain[:columns].count("?")
        self.out._raw(data + b"\n")


def load_escpos(cache: Path) -> Callable[[], Any]:
    """Import python-escpos and return its Dummy class.

    `cache` is a directory that only the service user can write (the library unpickles what lies there).
    """
    with _import_lock:
        cache.mkdir(parents=True, exist_ok=True)
        _drop_cut_files(cache)
        os.environ["ESCPOS_CAPABILITIES_PICKLE_DIR"] = str(cache)
        root = logging.getLogger()
        keep_root_as_it_is = logging.NullHandler()
        root.addHandler(keep_root_as_it_is)  # the import calls basicConfig(), which then does nothing
        before, tempfile.tempdir = tempfile.tempdir, str(cache)
        try:
            from escpos.printer import Dummy
        finally:
            tempfile.tempdir = before
            root.removeHandler(keep_root_as_it_is)
        for leftover in cache.glob("tmp*"):  # the import makes a temporary directory and forgets it
            if leftover.is_dir() and not any(leftover.iterdir()):
                leftover.rmdir()
    make: Callable[[], Any] = Dummy
    return make


def _drop_cut_files(cache: Path) -> None:
    """A disk that was full, or a power cut, left half a cache file: the import would fail on it for ever."""
    for file in cache.glob("*.pickle"):
        try:
            pickle.loads(file.read_bytes())  # noqa: S301 - our own directory; the import reads it as well
        except (EOFError, pickle.UnpicklingError, ValueError, AttributeError, ImportError, IndexError):
            file.unlink()
