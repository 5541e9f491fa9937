"""Check digits: the cheapest proof that a number was read as it was printed."""

from __future__ import annotations

GTIN_LENGTHS = (8, 12, 13, 14)  # EAN-8, UPC-A, EAN-13, GTIN-14
_CROSS_SUM_OF_DOUBLE = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def is_digits(text: str) -> bool:
    """ASCII digits only; `str.isdigit` alone would let in Arabic and superscript ones."""
    return text.isascii() and text.isdigit()


def gtin_ok(digits: str) -> bool:
    """True for an EAN-8, UPC-A, EAN-13 or GTIN-14 whose last digit is right (GS1 General Specifications)."""
    if len(digits) not in GTIN_LENGTHS or not is_digits(digits):
        return False
    return (sum(map(int, digits[::-2])) + 3 * sum(map(int, digits[-2::-2]))) % 10 == 0


def luhn_ok(digits: str) -> bool:
    """True where the Luhn sum (ISO/IEC 7812-1, annex B) is right; one number in ten passes by chance."""
    if not is_digits(digits):
        return False
    doubled = sum(_CROSS_SUM_OF_DOUBLE[int(d)] for d in digits[-2::-2])
    return (sum(map(int, digits[::-2])) + doubled) % 10 == 0
