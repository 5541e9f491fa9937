"""Number templates: which scanned numbers are cards, coupons or phones of this programme.

The office publishes them in the signed settings channel as a JSON list. A
template says three things: what a number is (`what`, `kind`, `card_kind`,
`auto_register`, `series`), how it may come in (`media`, `symbology`, the
`track2` layout), and which numbers it means (`prefix`, `length`, `from`/`to`,
`check`).

Two ideas decide the rest.
 * `prefix` reserves. A shop that declares the prefix "29" says "29... is ours":
   a number with that prefix outside the issued range is an unknown card, and is
   never looked up among the goods. A template with only a range reserves nothing
   beyond it (1C exports are full of goods whose barcodes start like the cards').
 * Ambiguity is the office's fault, not the cashier's question. Two templates
   that could both take one number, and would make different things of it, are
   refused here, when the settings are written.

`track2` is 1C's magnetic template: the track must begin with `prefix`, end with
`suffix` and hold the `delimiter`; what is left is split by the delimiter, and
`field_length` characters (0: all) of block number `block` from character
`first` are the number. Blocks and characters count from one.

Known ugliness: two templates for different magnetic layouts may still both
match one swipe; that cannot be proved here, so the first in the list wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from loyalty.check_digits import GTIN_LENGTHS, gtin_ok, is_digits, luhn_ok
from loyalty.faults import Fault, Refused, at_item, at_key, did_you_mean, shown
from loyalty.texts import N_, Text

MAX_TEMPLATES = 200
MAX_NUMBER_CHARS = 64
MAX_NAME_CHARS = 64

What = Literal["card", "coupon", "phone"]
Medium = Literal["barcode", "track2", "keyed"]
Check = Literal["ean", "luhn", "none"]

WHATS = ("card", "coupon", "phone")
MEDIA = ("barcode", "track2", "keyed")
CHECKS = ("ean", "luhn", "none")
SYMBOLOGIES = (
    "ean13",
    "ean8",
    "upca",
    "code128",
    "code39",
    "itf",
    "codabar",
    "databar",
    "datamatrix",
    "qr",
    "pdf417",
)

PHONE_DIGITS = 11
_PHONE_NOISE = re.compile(r"[ ()\-.\u00a0]")


class Fit(Enum):
    """How a number sits in a template."""

    YES = "yes"
    NO = "no"
    OUT_OF_RANGE = "out of range"  # its prefix is reserved, but no such card was issued
    BAD_CHECK = "bad check digit"  # its prefix is reserved, but it was misread or mistyped


@dataclass(frozen=True, slots=True)
class Stripe:
    """Where the number stands on track 2 (1C's magnetic template)."""

    prefix: str = ";"
    suffix: str = "?"
    delimiter: str = "="
    block: int = 1
    first: int = 1
    field_length: int = 0

    def number_of(self, track: str) -> str | None:
        """The number on this track, sentinels included, or None where the layout is another."""
        if len(track) < len(self.prefix) + len(self.suffix):
            return None
        if not (track.startswith(self.prefix) and track.endswith(self.suffix)):
            return None
        inner = track[len(self.prefix) : len(track) - len(self.suffix)]
        blocks = inner.split(self.delimiter) if self.delimiter else [inner]
        if self.block > len(blocks) or (self.delimiter and len(blocks) == 1 and self.block > 1):
            return None
        block = blocks[self.block - 1]
        field = block[self.first - 1 :]
        if self.field_length:
            if len(field) < self.field_length:
                return None
            field = field[: self.field_length]
        return field or None


@dataclass(frozen=True, slots=True)
class NumberTemplate:
    """One kind of number. `kind` is the number space of the card key: the same number read as a barcode
    and as a stripe is one card if both templates say the same kind."""

    id: str
    what: What
    kind: str = "card"
    card_kind: str | None = None
    media: tuple[Medium, ...] = ("barcode", "keyed")
    symbology: str | None = None
    prefix: str = ""
    length: int | None = None
    first: str | None = None
    last: str | None = None
    check: Check = "none"
    auto_register: bool = False
    series: str = ""
    stripe: Stripe = Stripe()

    def normal(self, text: str) -> str:
        """The number as it is compared and hashed: phones become 7XXXXXXXXXX, UPC-A becomes EAN-13."""
        if self.what == "phone":
            digits = _PHONE_NOISE.sub("", text).removeprefix("+")
            if len(digits) == PHONE_DIGITS and is_digits(digits) and digits[0] in "78":
                return "7" + digits[1:]
            return ""
        if self.check == "ean" and len(text) == 12 and gtin_ok(text):
            return "0" + text
        return text

    def fit(self, number: str) -> Fit:
        """How `number` (already normal) sits in this template."""
        if not number or len(number) > MAX_NUMBER_CHARS or not number.startswith(self.prefix):
            return Fit.NO
        if self.length is not None and len(number) != self.length:
            return Fit.NO
        if self.first is not None and self.last is not None:
            if len(number) != len(self.first):
                return Fit.NO
            stem = len(_letters(self.first))
            inside = is_digits(number[stem:]) and self.first <= number <= self.last
            if not inside:
                return Fit.OUT_OF_RANGE if self.prefix else Fit.NO
        if not self._check_ok(number):
            return Fit.BAD_CHECK if self.prefix else Fit.NO
        return Fit.YES

    def _check_ok(self, number: str) -> bool:
        if self.check == "ean":
            return gtin_ok(number)
        return self.check == "none" or luhn_ok(number)

    def _shapes(self) -> tuple[tuple[str, str, int | None], ...]:
        """What it accepts as (lowest, highest, length); no length: everything that starts like `lowest`."""
        if self.what == "phone":
            return tuple((p + "0" * 10, p + "9" * 10, PHONE_DIGITS) for p in "78")
        if self.first is not None and self.last is not None:
            return ((self.first, self.last, len(self.first)),)
        if self.length is not None:
            tail = self.length - len(self.prefix)
            return ((self.prefix + " " * tail, self.prefix + "~" * tail, self.length),)
        return ((self.prefix, self.prefix, None),)

    def meets(self, other: NumberTemplate) -> bool:
        """Could one scanned text fit both?"""
        common = set(self.media) & set(other.media)
        if self.stripe != other.stripe:
            common.discard("track2")
        if self.symbology and other.symbology and self.symbology != other.symbology:
            common.discard("barcode")
        return bool(common) and any(
            _shapes_meet(a, b) and _begin_alike(self.prefix, other.prefix)
            for a in self._shapes()
            for b in other._shapes()
        )

    def same_meaning(self, other: NumberTemplate) -> bool:
        """Would both make the same thing of one number?"""
        return (self.what, self.kind, self.card_kind, self.auto_register, self.series) == (
            other.what,
            other.kind,
            other.card_kind,
            other.auto_register,
            other.series,
        )


def parse_templates(raw: object, path: str = "number_templates") -> tuple[NumberTemplate, ...]:
    """The templates in a JSON list; `path` is where the list stands in its document.

    Raises `Refused` with every fault at once.
    """
    faults: list[Fault] = []
    if not isinstance(raw, list | tuple):
        raise Refused([Fault(path, N_("must be a list of number templates"))])
    if len(raw) > MAX_TEMPLATES:
        raise Refused(
            [Fault(path, N_("{count} templates; at most {max}", count=len(raw), max=MAX_TEMPLATES))]
        )
    found: list[tuple[str, NumberTemplate]] = []
    for index, item in enumerate(raw):
        at = at_item(path, index)
        if not isinstance(item, Mapping):
            faults.append(Fault(at, N_("must be an object")))
            continue
        before = len(faults)
        template = _Reader(item, at, faults).template()
        if len(faults) == before:
            found.append((at, template))
    faults += _faults_between(found)
    if faults:
        raise Refused(faults)
    return tuple(template for _, template in found)


def _faults_between(found: list[tuple[str, NumberTemplate]]) -> list[Fault]:
    faults: list[Fault] = []
    for i, (at, one) in enumerate(found):
        for _, other in found[:i]:
            if one.id == other.id:
                faults.append(Fault(at_key(at, "id"), N_("{id} is there already", id=shown(one.id))))
            elif not one.same_meaning(other) and one.meets(other):
                faults.append(
                    Fault(
                        at,
                        N_(
                            "some numbers would fit this template and {other} too; separate their ranges",
                            other=shown(other.id),
                        ),
                    )
                )
    return faults


class _Reader:
    """Reads one template object; what is wrong goes to `faults`, and a default stands in for it."""

    COMMON = ("id", "what", "media")
    OF_NUMBERS = ("symbology", "prefix", "length", "from", "to", "check", "track2")
    FIELDS: Mapping[str, tuple[str, ...]] = {
        "card": (*COMMON, "kind", "card_kind", "auto_register", *OF_NUMBERS),
        "coupon": (*COMMON, "series", *OF_NUMBERS),
        "phone": (*COMMON, "kind", "card_kind", "auto_register"),
    }

    def __init__(self, item: Mapping[str, Any], at: str, faults: list[Fault]) -> None:
        self.item, self.at, self.faults = item, at, faults

    def template(self) -> NumberTemplate:
        what: Any = self.choice("what", WHATS, None) or "card"
        self.known(self.item, self.at, self.FIELDS[what])
        name = self.text("id", required=True)
        media = self.media("keyed" if what == "phone" else None)
        prefix, first, last = self.text("prefix"), self.text("from"), self.text("to")
        length = self.whole("length", 1, MAX_NUMBER_CHARS)
        check: Any = self.choice("check", CHECKS, "none")
        template = NumberTemplate(
            id=name,
            what=what,
            kind=self.text("kind") or ("phone" if what == "phone" else "card"),
            card_kind=self.text("card_kind") or None,
            media=media,
            symbology=self.choice("symbology", SYMBOLOGIES, None),
            prefix=prefix,
            length=length,
            first=first or None,
            last=last or None,
            check=check,
            auto_register=self.flag("auto_register"),
            series=(self.text("series") or name) if what == "coupon" else "",
            stripe=self.stripe(media),
        )
        self.numbers(template)
        return template

    def numbers(self, t: NumberTemplate) -> None:
        """The fields that say which numbers are meant must agree with each other."""
        if t.what != "phone" and not (t.prefix or t.length or t.first):
            self.fault("", N_("takes every number; give a prefix, a length or a range"))
        if (t.first is None) != (t.last is None):
            missing = "to" if t.last is None else "from"
            self.fault(missing, N_("is missing; a range has both ends"))
        elif t.first is not None and t.last is not None:
            self.range(t, t.first, t.last)
        if t.length is not None and t.length < len(t.prefix):
            self.fault("length", N_("is shorter than the prefix"))
        size = len(t.first) if t.first else t.length
        if t.check == "ean" and size is not None and size not in GTIN_LENGTHS:
            self.fault("check", N_("ean needs numbers of 8, 12, 13 or 14 digits"))
        if t.check != "none" and t.prefix and not is_digits(t.prefix):
            self.fault("check", N_("needs numbers made of digits only"))

    def range(self, t: NumberTemplate, first: str, last: str) -> None:
        if len(first) != len(last):
            self.fault("to", N_("must be as long as `from`"))
        elif t.length is not None and t.length != len(first):
            self.fault("length", N_("is not the length of `from` and `to`"))
        elif not (first.startswith(t.prefix) and last.startswith(t.prefix)):
            self.fault("from", N_("the range must begin with the prefix"))
        elif _letters(first) != _letters(last) or not _counts(first) or not _counts(last):
            self.fault("from", N_("a range counts in digits after one common beginning"))
        elif first > last:
            self.fault("to", N_("must not be less than `from`"))

    def stripe(self, media: tuple[Medium, ...]) -> Stripe:
        raw = self.item.get("track2")
        if raw is None:
            return Stripe()
        at = at_key(self.at, "track2")
        if "track2" not in media:
            self.faults.append(Fault(at, N_("has no meaning: `media` does not name track2")))
        if not isinstance(raw, Mapping):
            self.faults.append(Fault(at, N_("must be an object")))
            return Stripe()
        inner = _Reader(raw, at, self.faults)
        inner.known(raw, at, Stripe.__slots__)
        plain = Stripe()
        stripe = Stripe(
            prefix=inner.text("prefix", plain.prefix),
            suffix=inner.text("suffix", plain.suffix),
            delimiter=inner.text("delimiter", plain.delimiter),
            block=inner.whole("block", 1, MAX_NUMBER_CHARS) or plain.block,
            first=inner.whole("first", 1, MAX_NUMBER_CHARS) or plain.first,
            field_length=inner.whole("field_length", 0, MAX_NUMBER_CHARS) or plain.field_length,
        )
        if len(stripe.delimiter) > 1:
            inner.fault("delimiter", N_("must be one character, or empty"))
        return stripe

    def media(self, only: Medium | None) -> tuple[Medium, ...]:
        if "media" not in self.item:
            return (only,) if only else ("barcode", "keyed")
        raw = self.item["media"]
        if not isinstance(raw, list | tuple) or not raw or not all(isinstance(m, str) for m in raw):
            self.fault("media", N_("must be a list of: {names}", names=", ".join(MEDIA)))
            return ("barcode", "keyed")
        for index, medium in enumerate(raw):
            if medium not in MEDIA:
                at = at_item(at_key(self.at, "media"), index)
                text = N_("{name} is unknown; {hint}", name=shown(medium), hint=did_you_mean(medium, MEDIA))
                self.faults.append(Fault(at, text))
            elif medium in raw[:index]:
                self.faults.append(Fault(at_item(at_key(self.at, "media"), index), N_("is there twice")))
        return tuple(m for m in raw if m in MEDIA)

    def known(self, item: Mapping[str, Any], at: str, names: tuple[str, ...]) -> None:
        for key in item:
            if key not in names:
                text = N_("is unknown here; {hint}", hint=did_you_mean(str(key), names))
                self.faults.append(Fault(at_key(at, str(key)), text))

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        value = self.item.get(key, default)
        if required and value == "":
            self.fault(key, N_("is missing"))
        elif not isinstance(value, str) or len(value) > MAX_NAME_CHARS or not _plain(value):
            self.fault(
                key, N_("must be text of at most {max} printable ASCII characters", max=MAX_NAME_CHARS)
            )
            return default
        return str(value)

    def choice(self, key: str, names: tuple[str, ...], default: str | None) -> str | None:
        value = self.item.get(key, default)
        if value is None and (key in self.item or key == "what"):
            self.fault(key, N_("must be one of: {names}", names=", ".join(names)))
            return default
        if value is not None and (not isinstance(value, str) or value not in names):
            hint = did_you_mean(str(value), names)
            self.fault(key, N_("{name} is unknown; {hint}", name=shown(str(value)), hint=hint))
            return default
        return value

    def whole(self, key: str, low: int, high: int) -> int | None:
        value = self.item.get(key)
        if key not in self.item:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fault(key, N_("must be a whole number from {low} to {high}", low=low, high=high))
            return None
        return value

    def flag(self, key: str) -> bool:
        value = self.item.get(key, False)
        if not isinstance(value, bool):
            self.fault(key, N_("must be true or false"))
            return False
        return value

    def fault(self, key: str, text: Text) -> None:
        self.faults.append(Fault(at_key(self.at, key) if key else self.at, text))


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _letters(number: str) -> str:
    """The beginning of a number up to its last character that is not a digit."""
    return number.rstrip("0123456789")


def _counts(number: str) -> bool:
    return len(_letters(number)) < len(number)


def _begin_alike(a: str, b: str) -> bool:
    return a.startswith(b) or b.startswith(a)


def _shapes_meet(a: tuple[str, str, int | None], b: tuple[str, str, int | None]) -> bool:
    """Texts of one length are ordered like the numbers they are, so ranges meet as intervals do."""
    (a_low, a_high, a_length), (b_low, b_high, b_length) = a, b
    if a_length is not None and b_length is not None:
        return a_length == b_length and max(a_low, b_low) <= min(a_high, b_high)
    if a_length is None and b_length is None:
        return _begin_alike(a_low, b_low)
    if a_length is None:
        a, b = b, a
    (low, high, length), (prefix, _, _) = a, b
    if length is None or len(prefix) > length:
        return False
    tail = length - len(prefix)
    return max(low, prefix + " " * tail) <= min(high, prefix + "~" * tail)
