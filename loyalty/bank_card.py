"""Recognise payment cards, so that they can be dropped.

A till reads whatever a customer hands over, and sooner or later that is a bank
card. Its number must never reach a ledger, a log or a screen (PCI DSS 3.3.1),
so the question asked here has one answer only: payment card, or not. Nothing
in this file returns, keeps or raises a digit.

The rule. A swipe is a payment card if
 * track 1 has format code B and a PAN of 12-19 digits that passes Luhn; or
 * track 2 has a PAN of 13-19 digits that passes Luhn, then `=`, a month 01-12
   and a service code whose first digit is one that ISO/IEC 7813 gives out; or
 * any track holds a number of 12-19 digits that passes Luhn and starts like an
   issuer's.
A bare number (a barcode, or digits that somebody typed) has only its digits to
judge by: 12-19 of them, Luhn, and an issuer's beginning. A scan that has the
structure of track 1 or 2 is one, too: some readers take the sentinels off.

Known ugliness: Luhn lets one number in ten pass, and the issuers' beginnings
(all of "4"!) cover most of the Russian and German goods numbers. A bare number
of 12, 13 or 14 digits whose GS1 check digit is right is therefore goods; real
cards of those lengths are all but extinct. Loyalty ranges are asked before
this file is, so a shop may number its own cards as it likes.
"""

from __future__ import annotations

import re

from loyalty.check_digits import gtin_ok, is_digits, luhn_ok

# First digits of issuers, as (lowest, highest) of equal width: Mir, Visa, Mastercard (two ranges), Amex,
# JCB, UnionPay (62, 81), Discover (three), Diners, Maestro and its relatives.
_ISSUERS: tuple[tuple[str, str], ...] = (
    ("2200", "2204"),
    ("4", "4"),
    ("51", "55"),
    ("2221", "2720"),
    ("34", "34"),
    ("37", "37"),
    ("3528", "3589"),
    ("62", "62"),
    ("81", "81"),
    ("6011", "6011"),
    ("644", "659"),
    ("300", "305"),
    ("36", "36"),
    ("38", "39"),
    ("50", "50"),
    ("56", "58"),
    ("60", "60"),
    ("63", "63"),
    ("67", "67"),
)
_SHORTEST_PAN = 12
_LONGEST_PAN = 19
_LONGEST_GTIN = 14

_TRACK1 = re.compile(r"[Bb]([\d ]{12,24})\^")
_TRACK2 = re.compile(r"(\d{13,19})=\d\d(0[1-9]|1[0-2])[125679]\d\d")
_DIGIT_RUN = re.compile(r"\d+")


def is_payment_number(number: str) -> bool:
    """Is this bare number (no track around it) a payment card's?"""
    digits = number.replace(" ", "").replace("-", "")
    return not gtin_ok(digits) and _looks_issued(digits)


def is_payment_stripe(text: str) -> bool:
    """Does this scan or typed text hold a payment card's track 1 or 2, sentinels or not?

    Some readers take the sentinels off, and then a swipe looks like a barcode. Structure, check digit and
    service code together are no accident in goods; a bare number in a longer text would be.
    """
    # Asked of every scan, in the reader's thread: most have neither separator.
    first = _TRACK1.search(text) if "^" in text else None
    second = _TRACK2.search(text) if "=" in text else None
    return bool((first and luhn_ok(first[1].replace(" ", ""))) or (second and luhn_ok(second[1])))


def looks_like_payment(text: str) -> bool:
    """Is this scan or typed text a payment card's number or stripe?"""
    return is_payment_number(text) or is_payment_stripe(text)


def is_payment_number_mistyped(number: str) -> bool:
    """Is it what a payment card's number becomes by one wrong digit? No goods code is that long."""
    digits = number.replace("-", "")
    return (
        _LONGEST_GTIN < len(digits) <= _LONGEST_PAN and is_digits(digits) and _starts_like_an_issuer(digits)
    )


def is_payment_track(track: str) -> bool:
    """Is this magnetic track (1, 2 or 3, with or without sentinels) a payment card's?"""
    inner = track.strip("%;+?")
    first = _TRACK1.match(inner)
    if first:
        digits = first[1].replace(" ", "")
        if _SHORTEST_PAN <= len(digits) <= _LONGEST_PAN and luhn_ok(digits):
            return True
    second = _TRACK2.match(inner)
    if second and luhn_ok(second[1]):
        return True
    # Track 3 (ISO 4909) puts a two-digit format code before the PAN, hence the second look.
    runs: list[str] = _DIGIT_RUN.findall(inner.replace(" ", ""))
    return any(_looks_issued(run) or _looks_issued(run[2:]) for run in runs)


def _looks_issued(digits: str) -> bool:
    return (
        _SHORTEST_PAN <= len(digits) <= _LONGEST_PAN
        and is_digits(digits)
        and luhn_ok(digits)
        and _starts_like_an_issuer(digits)
    )


def _starts_like_an_issuer(digits: str) -> bool:
    return any(low <= digits[: len(low)] <= high for low, high in _ISSUERS)
