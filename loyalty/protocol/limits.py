"""What an entry must be to fit the ledger at all, beyond the law of one entry (loyalty/ledger.py).

These are not business rules: an entry outside of them can come only from a broken program, and its
numbers would not fit a column.
"""

from __future__ import annotations

import re
from datetime import datetime

from loyalty.ledger import Entry, LedgerError, LotTerms

AT_MAX_S = 2**40
KIND_MAX_CHARS = 32
LOT_MAX_CHARS = 100
RULE_MAX_CHARS = 80  # with its once-key
REF_MAX_CHARS = 200
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def check(entry: Entry) -> None:
    """Raises LedgerError where this cannot be an entry of the ledger."""
    if not 0 <= entry.at_s <= AT_MAX_S:
        raise LedgerError(f"entry {entry.id}: its time is no time")
    if not _name(entry.kind, KIND_MAX_CHARS):
        raise LedgerError(f"entry {entry.id}: its kind is no name")
    if len(entry.ref or "") > REF_MAX_CHARS:
        raise LedgerError(f"entry {entry.id}: its reference is too long")
    for posting in entry.postings:
        if not _name(posting.lot, LOT_MAX_CHARS) or not _name(posting.account, LOT_MAX_CHARS):
            raise LedgerError(f"entry {entry.id}: a posting without a proper lot and account")
        if posting.terms is not None and not _terms_ok(posting.terms):
            raise LedgerError(f"entry {entry.id}: the terms of lot {posting.lot} are no terms")


def _name(text: str, longest: int) -> bool:
    return 0 < len(text) <= longest and text.isascii() and text.isprintable()


def _terms_ok(terms: LotTerms) -> bool:
    moments = [terms.active_from] if terms.expires_at is None else [terms.active_from, terms.expires_at]
    return all(_moment_ok(moment) for moment in moments) and _name(terms.rule, RULE_MAX_CHARS)


def _moment_ok(text: str) -> bool:
    try:
        return bool(_MOMENT.fullmatch(text)) and datetime.fromisoformat(text) is not None
    except ValueError:
        return False
