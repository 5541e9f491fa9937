"""What was read: a card, a coupon, goods, a payment card to be dropped, or none of these.

`read` takes one scanned, swiped or keyed text and says what it is. It never
raises, whatever the text. The order of questions is the policy:

 1. Is it one of our numbers? Loyalty templates are an allow-list (a shop may
    number its cards like payment cards, and is then obeyed).
 2. Is it a payment card? Then nothing of it leaves this file (bank_card.py).
 3. Is it a coupon of ours?
 4. Does its prefix belong to our cards or coupons, though no such one was
    issued? Then it is an unknown card and not goods.
 5. A swipe that is none of these is unknown; anything else is goods: a number
    with a right GS1 check digit in its normal form, else an internal code.

Normal forms: an AIM identifier (`]E0`, ISO/IEC 15424) is taken off and gives
the symbology; a leading GS (FNC1) falls away; UPC-A becomes EAN-13; a GTIN-14
of a single piece becomes its EAN-13; a marked good (GS1 `01` + GTIN + `21`
serial, or `02`) becomes its GTIN; phones become 7XXXXXXXXXX; blanks in what a
person keyed in are dropped.

The till stores `card_key`, never the number. Values that carry a number hide it
from `repr`, so that neither a log line nor a traceback can show it.

Known ugliness: a scanner without AIM identifiers does not say the symbology, so
a template that asks for one takes such a scan as well.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from loyalty.bank_card import is_payment_number_mistyped, is_payment_track, looks_like_payment
from loyalty.card_templates import Fit, Medium, NumberTemplate, parse_templates
from loyalty.check_digits import gtin_ok
from loyalty.symbology import split, symbology_of
from loyalty.texts import N_, Text

__all__ = [
    "Card",
    "CardSource",
    "Coupon",
    "NumberTemplate",
    "PaymentCard",
    "ProductCode",
    "ReadError",
    "ReadResult",
    "Unknown",
    "card_key",
    "masked",
    "parse_templates",
    "product_code",
    "read",
]

MAX_TEXT_CHARS = 256
"""Longer than a whole three-track swipe or a marked good with its signature; anything more is not a code."""

MASK_SHOWS = 4
CARD_KEY_BITS = 63

CardSource = Literal["barcode", "track2", "keyed"]
_GS = "\x1d"


@dataclass(frozen=True, slots=True)
class Card:
    """A loyalty card (or phone) of this programme.

    `kind` is its number space, `card_kind` the office's name for its sort; `number` is in normal form.
    """

    kind: str
    number: str = field(repr=False)
    card_kind: str | None = None
    auto_register: bool = False

    @property
    def masked(self) -> str:
        """The number as people may see it: its last four."""
        return masked(self.number)


@dataclass(frozen=True, slots=True)
class Coupon:
    """A coupon: `series`, and `serial` where each one is numbered."""

    series: str
    serial: str | None = field(default=None, repr=False)

    @property
    def written(self) -> str:
        """As a receipt writes it (rulebook.md §2): `series` or `series/serial`."""
        return self.series if self.serial is None else f"{self.series}/{self.serial}"


@dataclass(frozen=True, slots=True)
class ProductCode:
    """Goods: `code` as a catalog lists it, `scheme` ean13, ean8, gtin14 or internal."""

    code: str
    scheme: Literal["ean13", "ean8", "gtin14", "internal"]


@dataclass(frozen=True, slots=True)
class PaymentCard:
    """A payment card was read. It has no fields, on purpose: there is nothing of it to keep."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Neither ours nor goods; `reason` is for the cashier."""

    reason: Text


@dataclass(frozen=True, slots=True)
class ReadError:
    """The reader could not read (`track` 1-3 where it said which); the card is to be swiped again."""

    reason: Text
    track: int | None = None


ReadResult = Card | ProductCode | Coupon | PaymentCard | Unknown | ReadError


def read(
    text: str,
    source: CardSource,
    templates: Sequence[NumberTemplate],
    symbology: str | None = None,
) -> ReadResult:
    """What `text` is.

    `source` says how it came; `symbology` is what the scanner said of it, if not by AIM identifier.
    A swipe typed by a keyboard reader is known by its sentinels, whatever `source` says.
    """
    if len(text) > MAX_TEXT_CHARS:
        return Unknown(N_("The code is too long to be a card or goods."))
    text = text.strip("\r\n\t " + _GS)
    if not text:
        return Unknown(N_("Nothing was read."))
    if source == "track2" or (text[0] in _SENTINELS and _SWIPE.match(text)):
        return _read_swipe(_tracks(text), templates)
    if not text.isascii() or not text.replace(_GS, "").isprintable():
        return Unknown(N_("The code has characters that no card or goods code has."))
    aim, rest = split(text) if source == "barcode" else (None, text)
    if aim is not None:
        symbology = symbology_of(aim) or symbology
        text = rest.lstrip(_GS)
        if not text:
            return Unknown(N_("Nothing was read."))
    if source == "keyed":
        text = text.replace(" ", "")
    return _read_number(text, source, symbology, templates)


def product_code(text: str) -> ProductCode:
    """Goods in normal form: the same article gives the same code however it was read."""
    marked = _MARKED.match(text) if text.startswith("0") else None
    digits = marked[1] if marked and gtin_ok(marked[1]) else text
    if not gtin_ok(digits):
        return ProductCode(text, "internal")
    gtin = digits.zfill(14)
    if gtin.startswith("000000"):
        return ProductCode(gtin[6:], "ean8")
    return ProductCode(gtin[1:], "ean13") if gtin.startswith("0") else ProductCode(gtin, "gtin14")


def card_key(chain_key: bytes, kind: str, number: str) -> int:
    """What the till stores instead of the number.

    The first 63 bits of HMAC-SHA256(chain key, kind ‖ 0 ‖ number), the number in normal form as
    `Card.number` is. Source: ledger-sync.md §2.
    """
    digest = hmac.new(chain_key, kind.encode() + b"\0" + number.encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - CARD_KEY_BITS)


def masked(number: str) -> str:
    """The last four characters behind dots; of a short number at most its half."""
    shows = min(MASK_SHOWS, len(number) // 2)
    return "…" + number[len(number) - shows :] if shows else "…"


# ---- bare numbers: a barcode, or what a person keyed in


def _read_number(
    text: str, source: Medium, symbology: str | None, templates: Sequence[NumberTemplate]
) -> ReadResult:
    fits = [
        (template, number, template.fit(number))
        for template in templates
        if source in template.media and _symbology_ok(template, source, symbology)
        for number in (template.normal(text),)
    ]
    ours = _first_meant(fits, coupons=False)
    if ours:
        return ours
    if looks_like_payment(text):
        return PaymentCard()
    coupon = _first_meant(fits, coupons=True)
    if coupon:
        return coupon
    reserved = _reserved(fits)
    if reserved:
        return reserved
    if is_payment_number_mistyped(text):
        return Unknown(N_("No card and no goods have this number; check it."))
    return product_code(text)


def _symbology_ok(template: NumberTemplate, source: Medium, symbology: str | None) -> bool:
    if source != "barcode" or template.symbology is None or symbology is None:
        return True
    # Under ]E0 a scanner reports EAN-13, UPC-A and UPC-E alike.
    return template.symbology == symbology or {template.symbology, symbology} == {"ean13", "upca"}


def _first_meant(fits: Iterable[tuple[NumberTemplate, str, Fit]], *, coupons: bool) -> Card | Coupon | None:
    for template, number, fit in fits:
        if fit is Fit.YES and (template.what == "coupon") == coupons:
            if coupons:
                return Coupon(template.series, number[len(template.prefix) :] or None)
            return Card(template.kind, number, template.card_kind, template.auto_register)
    return None


def _reserved(fits: Iterable[tuple[NumberTemplate, str, Fit]]) -> Unknown | None:
    found = {fit for _, _, fit in fits}
    if Fit.BAD_CHECK in found:
        return Unknown(N_("The check digit of this number is wrong; read it again."))
    if Fit.OUT_OF_RANGE in found:
        return Unknown(N_("This number is outside every issued range."))
    return None


# ---- swipes: one to three tracks

_SENTINELS = "%;+"
_SWIPE = re.compile(r"[%;+][^?]*\?|%[A-Za-z]\d|;\d{4}")
_TRACK = re.compile(r"([%;+])([^?\r\n]*)(\??)")
_ERROR_TRACK = re.compile(r"[%;+]?[Ee]\??\Z")


def _tracks(text: str) -> dict[int, str]:
    """Track number -> track with its sentinels. A second `;` or `%` is a track 3 that starts so."""
    if text[0] not in _SENTINELS:
        return {2: text}  # a reader that takes the sentinels off
    tracks: dict[int, str] = {}
    for match in _TRACK.finditer(text):
        number = {"%": 1, ";": 2, "+": 3}[match[1]]
        tracks.setdefault(number if number not in tracks else 3, match[0])
    return tracks


def _read_swipe(tracks: dict[int, str], templates: Sequence[NumberTemplate]) -> ReadResult:
    fits = [
        (template, number, template.fit(number))
        for template in templates
        if "track2" in template.media
        for number in (template.normal(template.stripe.number_of(tracks.get(2, "")) or ""),)
    ]
    ours = _first_meant(fits, coupons=False)
    if ours:
        return ours
    if any(is_payment_track(track) for track in tracks.values()):
        return PaymentCard()
    coupon = _first_meant(fits, coupons=True)
    if coupon:
        return coupon
    broken = [number for number, track in sorted(tracks.items()) if _ERROR_TRACK.match(track)]
    if broken:
        return ReadError(N_("The stripe could not be read; swipe the card again."), broken[-1])
    if any(track[0] in _SENTINELS and not track.endswith("?") for track in tracks.values()):
        return ReadError(N_("The swipe was cut short; swipe the card again."))
    return _reserved(fits) or Unknown(N_("This stripe is not one of our cards."))


# ---- what barcodes bring with them

_MARKED = re.compile(r"(?:01|02)(\d{14})(?=21|" + _GS + r"|\Z)")
