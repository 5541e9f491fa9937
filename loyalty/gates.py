"""Gates: the part of a rule's condition that is known before any amount is (rulebook.md §10).

A receipt shows tokens: its store and till, the customer's tier and segments,
the coupons presented. Most conditions of a large rulebook ask for one of them:
"for silver cards", "for segment 17", "with this coupon". Such a condition is
exactly "one of these tokens is shown", so a rule can be filed under them and is
not even looked at for anybody else. What is left of its condition (a sum, a
time of day) is tried when its stage begins.

Periods are taken out as well. Between two bounds of periods nothing changes, so
they are settled once for the whole rulebook and not once a receipt (`index.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from loyalty.conditions import (
    AllOf,
    AnyOf,
    CardKind,
    Condition,
    Coupon,
    IsCustomer,
    Period,
    Place,
    Segment,
    Tender,
    Tier,
    parts_of,
)
from loyalty.receipt import Receipt
from loyalty.selectors import Token

ANYBODY = ("customer", "")
"""The token that every customer shows; no customer's id is empty."""

# The kinds of tokens, the rarest first: a rule is filed under the rarest it asks for.
_RARITY = (
    "customer",
    "coupon",
    "segment",
    "tier",
    "card_kind",
    "till",
    "store",
    "region",
    "tender",
    "channel",
)


@dataclass(frozen=True, slots=True)
class Gate:
    """`when` in three parts that must all hold; `tokens` None: open to every receipt."""

    tokens: frozenset[Token] | None
    periods: tuple[Period, ...]
    rest: Condition | None


OPEN = Gate(None, (), None)


def gate_of(when: Condition | None) -> Gate:
    """Part a condition; a receipt passes the gate where it shows any of the tokens, and the periods hold."""
    if when is None:
        return OPEN
    parts = list(_conjuncts(when))
    periods = tuple(part for part in parts if isinstance(part, Period))
    parts = [part for part in parts if not isinstance(part, Period)]
    tokens: frozenset[Token] | None = None
    asked = [(_rank(t), i, t) for i, part in enumerate(parts) if (t := _tokens_of(part)) is not None]
    if asked:
        _, rarest, tokens = min(asked, key=lambda one: one[:2])
        del parts[rarest]
    rest = None if not parts else parts[0] if len(parts) == 1 else AllOf(tuple(parts))
    return Gate(tokens, periods, rest)


def shown_by(receipt: Receipt) -> frozenset[Token]:
    """Every token that a receipt shows."""
    tokens = {("store", receipt.store), ("till", receipt.till)}
    if receipt.channel is not None:
        tokens.add(("channel", receipt.channel))
    if receipt.region is not None:
        tokens.add(("region", receipt.region))
    for tender in receipt.tenders:
        tokens.add(("tender", tender))
    for coupon in receipt.coupons:
        if coupon not in receipt.coupons_used:
            tokens.add(("coupon", series_of(coupon)))
    customer = receipt.customer
    if customer is not None:
        tokens.add(ANYBODY)
        tokens.add(("customer", customer.id))
        if customer.tier is not None:
            tokens.add(("tier", customer.tier))
        if customer.card_kind is not None:
            tokens.add(("card_kind", customer.card_kind))
        for segment in customer.segments:
            tokens.add(("segment", segment))
    return frozenset(tokens)


def series_of(coupon: str) -> str:
    """The series of a coupon, which is written `series` or `series/serial`."""
    return coupon.partition("/")[0]


def series_named(when: Condition | None) -> frozenset[str]:
    """The series of coupons that a condition names through `all` and `any` (§7)."""
    match when:
        case Coupon(series):
            return frozenset({series})
        case AllOf() | AnyOf():
            return frozenset().union(*(series_named(part) for part in parts_of(when)))
    return frozenset()


def _conjuncts(when: Condition) -> Iterable[Condition]:
    if isinstance(when, AllOf):
        for part in when.of:
            yield from _conjuncts(part)
    else:
        yield when


def _tokens_of(condition: Condition) -> frozenset[Token] | None:
    """The tokens of which one must be shown, where that is all the condition says; else None."""
    match condition:
        case Tier(names):
            return _tokens("tier", names)
        case CardKind(names):
            return _tokens("card_kind", names)
        case Segment(names):
            return _tokens("segment", names)
        case Tender(names):
            return _tokens("tender", names)
        case Place(kind, names):
            return _tokens(kind, names)
        case Coupon(series):
            return _tokens("coupon", (series,))
        case IsCustomer(None):
            return frozenset({ANYBODY})
        case IsCustomer(names):
            return _tokens("customer", names or ())
        case AnyOf(parts):
            branches = [_tokens_of(part) for part in parts]
            known = [tokens for tokens in branches if tokens is not None]
            return frozenset().union(*known) if len(known) == len(branches) else None
    return None


def _tokens(kind: str, names: Iterable[str]) -> frozenset[Token]:
    return frozenset((kind, name) for name in names)


def _rank(tokens: frozenset[Token]) -> int:
    """The commonest kind among the tokens: a gate is as wide as its widest door."""
    if ANYBODY in tokens:
        return len(_RARITY)
    return max((_RARITY.index(kind) for kind, _ in tokens), default=0)
