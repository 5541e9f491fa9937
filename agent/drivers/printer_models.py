"""What printer models are like: columns, the number of their Cyrillic code page, how they prove a print.

`model = "…"` in the box's file takes a row; `columns`, `encoding`, `code_page` and the others beside it say
otherwise for this one printer. The number of a code page is the model's own: 866 is page 17 with Epson and 7,
10, 12, 37 or 59 elsewhere, and a wrong one prints other letters, which `kopilka-agent print-test` shows.
(From the makers' manuals and from python-escpos' table of capabilities.)
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.drivers.escpos_doc import PrinterProfile
from loyalty.faults import nearest
from loyalty.texts import N_, Text

GENERIC = "generic"
MODELS: Mapping[str, PrinterProfile] = {
    GENERIC: PrinterProfile(),
    "generic-58mm": PrinterProfile(columns=32),
    "epson-tm-t20": PrinterProfile(proof="id"),
    "epson-tm-t70": PrinterProfile(columns=42, proof="id"),
    "epson-tm-t82": PrinterProfile(proof="id"),
    "epson-tm-t88iii": PrinterProfile(columns=42),
    "epson-tm-t88iv": PrinterProfile(columns=42, proof="id"),
    "epson-tm-t88v": PrinterProfile(columns=42, proof="id"),
    "epson-tm-m30": PrinterProfile(proof="id"),
    "citizen-ct-s310": PrinterProfile(),
    "citizen-ct-s601": PrinterProfile(),
    "sunmi-80mm": PrinterProfile(),
    "sunmi-58mm": PrinterProfile(columns=32),
    "zjiang-5870": PrinterProfile(columns=32, cutter=False),
    "rongta-rp326": PrinterProfile(page=7),
    "rongta-rp332": PrinterProfile(page=7),
    "pos-5890": PrinterProfile(columns=32, page=59, cutter=False),
    "nt-5890k": PrinterProfile(columns=32, page=59, cutter=False),
    "nt-80": PrinterProfile(page=59),
    "p822d": PrinterProfile(page=59),
    "star-sp2000": PrinterProfile(columns=42, page=10, realtime_status=False, qr="off"),
    "star-tsp100": PrinterProfile(page=10, realtime_status=False),
    "custom-kr306": PrinterProfile(page=37),
    "yhd-8390": PrinterProfile(page=12),
    "sam4s-ellix30": PrinterProfile(realtime_status=False, proof="none"),
}
"""Model -> what it is like; what is not said is as `generic`: 48 columns, page 17, GS r as proof."""


class UnknownModelError(ValueError):
    """No such model; `text` names the nearest."""

    def __init__(self, text: Text) -> None:
        super().__init__(str(text))
        self.text = text


def profile_of(model: str) -> PrinterProfile:
    """The model's row. Raises UnknownModelError."""
    if model in MODELS:
        return MODELS[model]
    near = nearest(model, tuple(MODELS))
    if near is not None:
        raise UnknownModelError(
            N_("there is no printer model {name}; did you mean {near}?", name=model, near=near)
        )
    raise UnknownModelError(
        N_("there is no printer model {name}; known are {known}", name=model, known=", ".join(MODELS))
    )
