"""A printed slip: as text, and drawn as it would lie on the counter.

Plain letters are 12×24 dots, as font A of an 80 mm printer (48 of them make
576 dots). Everything is drawn SCALE times larger, so that it can be read.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.drivers.document import Align
from agent.drivers.fakes.escpos_parser import PaperLine, PaperQr, Run

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

SCALE = 2
CELL_DOTS, LINE_DOTS = 12, 30
MARGIN_DOTS, TOP_DOTS, DESK_DOTS = 32, 36, 24
FONT_DOTS = 20  # DejaVu Sans Mono is 0.602 em wide: twelve dots
TOOTH_DOTS = 6
FONTS = Path("/usr/share/fonts/truetype/dejavu")

_DESK, _PAPER, _INK, _SHADOW = (214, 217, 222), (252, 251, 247), (34, 34, 38), (176, 180, 188)


@dataclass(frozen=True, slots=True)
class Slip:
    """What came out of the printer up to one cut."""

    parts: tuple[PaperLine | PaperQr, ...]
    columns: int

    @property
    def lines(self) -> list[str]:
        """Its lines of text, alignment as blanks."""
        return [_as_text(part, self.columns) for part in self.parts if isinstance(part, PaperLine)]

    @property
    def text(self) -> str:
        """Its lines of text in one string."""
        return "\n".join(self.lines)

    @property
    def qr(self) -> list[str]:
        """What its QR codes say."""
        return [part.data for part in self.parts if isinstance(part, PaperQr)]

    def png(self, path: Path) -> Path:
        """Draw it. Raises FileNotFoundError naming the Debian package where the font is missing."""
        draw_slip(self).save(path, optimize=True)
        return path


def _as_text(line: PaperLine, columns: int) -> str:
    # In text a wide letter takes one place like any other, so the middle is found by letters, not cells.
    text = "".join(run.text for run in line.runs)
    return " " * _indent(line.align, len(text), columns) + text.rstrip()


def _indent(align: Align, width: int, whole: int) -> int:
    if align == "left" or width > whole:
        return 0
    return whole - width if align == "right" else (whole - width) // 2


def draw_slip(slip: Slip) -> Image.Image:
    """The slip as an image on a grey desk."""
    from PIL import Image, ImageDraw, ImageFilter

    print_dots = slip.columns * CELL_DOTS
    paper = (print_dots + 2 * MARGIN_DOTS, 2 * TOP_DOTS + sum(_height(part) for part in slip.parts))
    size = (paper[0] + 2 * DESK_DOTS, paper[1] + 2 * DESK_DOTS)
    image = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), _DESK)

    outline = [(x * SCALE, y * SCALE) for x, y in _outline(paper)]
    shadow = Image.new("L", image.size, 0)
    ImageDraw.Draw(shadow).polygon([(x + 3 * SCALE, y + 5 * SCALE) for x, y in outline], fill=255)
    image.paste(_SHADOW, mask=shadow.filter(ImageFilter.GaussianBlur(5 * SCALE)))
    draw = ImageDraw.Draw(image)
    draw.polygon(outline, fill=_PAPER)

    fonts = _Fonts()
    y = DESK_DOTS + TOP_DOTS
    for part in slip.parts:
        if isinstance(part, PaperLine):
            x = DESK_DOTS + MARGIN_DOTS + _indent(part.align, part.cells, slip.columns) * CELL_DOTS
            for run in part.runs:
                x = _draw_run(draw, fonts, run, x, y)
        else:
            _draw_qr(draw, part, y, print_dots)
        y += _height(part)
    return image


def _outline(paper: tuple[int, int]) -> list[tuple[int, int]]:
    """The paper's edge, with the knife's teeth above and below."""
    width, height = paper
    left, top = DESK_DOTS, DESK_DOTS
    steps = range(0, width + 1, TOOTH_DOTS)
    upper = [(left + x, top + (TOOTH_DOTS // 2 if i % 2 else 0)) for i, x in enumerate(steps)]
    lower = [(left + x, top + height - (TOOTH_DOTS // 2 if i % 2 else 0)) for i, x in enumerate(steps)]
    return upper + lower[::-1]


def _height(part: PaperLine | PaperQr) -> int:
    if isinstance(part, PaperLine):
        return LINE_DOTS * max((run.style.height for run in part.runs), default=1)
    return len(_qr_matrix(part.data)) * part.module_dots + LINE_DOTS // 2


class _Fonts:
    """DejaVu Sans Mono in the sizes a slip needs, each loaded once."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[bool, int], ImageFont.FreeTypeFont] = {}

    def get(self, *, bold: bool, height: int) -> ImageFont.FreeTypeFont:
        from PIL import ImageFont

        key = (bold, height)
        if key not in self._loaded:
            path = FONTS / ("DejaVuSansMono-Bold.ttf" if bold else "DejaVuSansMono.ttf")
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing; install the Debian package fonts-dejavu-core")
            self._loaded[key] = ImageFont.truetype(str(path), FONT_DOTS * height * SCALE)
        return self._loaded[key]


def _draw_run(draw: ImageDraw.ImageDraw, fonts: _Fonts, run: Run, x: int, y: int) -> int:
    """Draw letter by letter into the printer's cells; the x after the last."""
    font = fonts.get(bold=run.style.bold, height=run.style.height)
    cell = CELL_DOTS * run.style.width
    baseline = (y + (LINE_DOTS - 7) * run.style.height) * SCALE
    for letter in run.text:
        draw.text(((x + cell / 2) * SCALE, baseline), letter, font=font, fill=_INK, anchor="ms")
        x += cell
    return x


def _draw_qr(draw: ImageDraw.ImageDraw, part: PaperQr, y: int, print_dots: int) -> None:
    matrix = _qr_matrix(part.data)
    side = part.module_dots * SCALE
    left = (DESK_DOTS + MARGIN_DOTS + _indent(part.align, len(matrix) * part.module_dots, print_dots)) * SCALE
    top = (y + LINE_DOTS // 2) * SCALE
    for row, cells in enumerate(matrix):
        for column, dark in enumerate(cells):
            if dark:
                at = (left + column * side, top + row * side)
                draw.rectangle((*at, at[0] + side - 1, at[1] + side - 1), fill=_INK)


def _qr_matrix(data: str) -> Sequence[Sequence[bool]]:
    qrcode: Any = importlib.import_module("qrcode")  # comes with python-escpos; has no types
    code = qrcode.QRCode(border=0, error_correction=qrcode.constants.ERROR_CORRECT_L)
    code.add_data(data)
    code.make(fit=True)
    matrix: Sequence[Sequence[bool]] = code.get_matrix()
    return matrix
