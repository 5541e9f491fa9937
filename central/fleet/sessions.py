"""Secrets that a till shows: its session, and before that its one-time code.

Neither is stored. A session is the n-th of a row that is derived from the session key, so the
database holds a number only; a code is stored as a keyed hash.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

CODE_SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: nothing that looks like something else
CODE_LENGTH = 12  # 60 bits
CODE_GROUP = 4
CODE_LIFE_S = 24 * 3600
_READ_AS = str.maketrans("OILU", "011V", "- \t\n")


def session(key: bytes, till: str, epoch: int, timeline: int, number: int) -> str:
    """The `number`-th session of this life of a till."""
    text = f"session\0{till}\0{epoch}\0{timeline}\0{number}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32]


def same(shown: str, expected: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(shown.encode(), expected.encode())


def new_code() -> str:
    """A one-time code as it is read out: 4K7M-92XA-QF3T."""
    symbols = "".join(secrets.choice(CODE_SYMBOLS) for _ in range(CODE_LENGTH))
    return "-".join(symbols[i : i + CODE_GROUP] for i in range(0, CODE_LENGTH, CODE_GROUP))


def code_hash(key: bytes, code: str) -> bytes:
    """What is stored of a code; case, dashes and look-alikes do not matter."""
    plain = code.upper().translate(_READ_AS)
    return hmac.new(key, b"code\0" + plain.encode("utf-8", "replace"), hashlib.sha256).digest()
