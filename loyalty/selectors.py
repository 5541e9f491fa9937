"""Selectors: which goods a rule, a condition or a setting means (rulebook.md §3).

A selector names goods by tokens (sku, category, brand, flag; any one of them
hits), may keep to a range of shelf prices, and may leave goods out by another
selector inside it. A category means everything below it, because goods carry
the tokens of their whole line of categories (`loyalty/catalog.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from loyalty.walk import Key, Keys, Kind, Path, Schema, Walk, ident, list_of, sku_id, whole, word

Token = tuple[str, str]
"""A fact that a rule can name: here ("sku" | "category" | "brand" | "flag", value)."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Which goods are meant: any of the tokens, a shelf price in range, not `excluded`."""

    tokens: frozenset[Token] = frozenset()
    price_min_minor: int | None = None
    price_max_minor: int | None = None
    excluded: Selector | None = None

    @property
    def only_names(self) -> bool:
        """Whether it says nothing but names, so that goods with one of them are meant."""
        return (
            bool(self.tokens)
            and self.price_min_minor is None
            and self.price_max_minor is None
            and self.excluded is None
        )

    def hits(self, tokens: frozenset[Token], price_minor: int) -> bool:
        """Whether goods with these tokens at this shelf price (kopecks a unit) are meant."""
        if self.tokens and self.tokens.isdisjoint(tokens):
            return False
        if self.price_min_minor is not None and price_minor < self.price_min_minor:
            return False
        if self.price_max_minor is not None and price_minor > self.price_max_minor:
            return False
        return self.excluded is None or not self.excluded.hits(tokens, price_minor)


@lru_cache(maxsize=65_536)
def token(kind: str, name: str) -> Token:
    """The token itself: rules by the thousand name the same categories, and share it."""
    return kind, name


def _selector(
    price_min_minor: int | None,
    price_max_minor: int | None,
    excluded: Selector | None,
    **named: tuple[str, ...],
) -> Selector:
    tokens = frozenset([token(kind, name) for kind, names in named.items() for name in names])
    return Selector(tokens, price_min_minor, price_max_minor, excluded)


def _read(walk: Walk, raw: object, path: Path) -> Any:
    before = walk.fault_count
    values = walk.fields(raw, path, KEYS)
    return _selector(**values) if walk.fault_count == before else None


def _schema(of: Any) -> Schema:
    return KEYS.schema(of)


selector = Kind(_read, _schema, "selector")
"""The kind of `items`, `of` and the settings that name goods."""

KEYS = Keys(
    {
        "sku": Key(list_of(sku_id, at_least=1), default=()),
        "category": Key(list_of(ident, at_least=1), default=()),
        "brand": Key(list_of(word, at_least=1), default=()),
        "flag": Key(list_of(ident, at_least=1), default=()),
        "price_min": Key(whole(), attr="price_min_minor"),
        "price_max": Key(whole(), attr="price_max_minor"),
        "not": Key(selector, attr="excluded"),
    }
)
