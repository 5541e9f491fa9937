"""The goods: what the engine sees of them, and the published catalogue that holds more.

The engine needs only facts that rules can name: category, brand, flags, the
minimum price, and whether goods are weighed (rulebook.md §2). The catalogue
that the office publishes adds what a till shows and scans: name, unit,
barcodes, codes, price (ledger-sync.md §6). In both `null` means absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from sys import intern
from types import MappingProxyType
from typing import Any

from loyalty.texts import N_
from loyalty.walk import (
    Key,
    Keys,
    Kind,
    Path,
    Walk,
    constant,
    currency,
    cycles,
    flag,
    ident,
    list_of,
    map_of,
    record,
    sku_id,
    title,
    whole,
    word,
)

FORMAT = 1
"""The format of the published catalogue that this version reads."""

MAX_SKUS = 1_000_000
"""Most goods of one catalogue."""


@dataclass(frozen=True, slots=True)
class Goods:
    """What rules can say of one sku; `min_price_minor` is kopecks a unit."""

    category: str | None = None
    brand: str | None = None
    flags: tuple[str, ...] = ()
    min_price_minor: int = 0
    weighed: bool = False


@dataclass(frozen=True, slots=True)
class Catalog:
    """The engine's catalogue: categories with their parents, and goods by sku."""

    categories: Mapping[str, str | None]
    skus: Mapping[str, Goods]

    def lineage(self, category: str | None) -> Iterator[str]:
        """The category and everything above it; a name the catalogue lacks stands alone."""
        while category is not None:
            yield category
            category = self.categories.get(category)


@dataclass(frozen=True, slots=True)
class Article:
    """What a till shows and scans of one sku; `price_minor` serves stand-alone mode only."""

    name: str
    unit: str
    barcodes: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    price_minor: int | None = None
    vat: str | int | None = None


@dataclass(frozen=True, slots=True)
class PublishedCatalog:
    """The catalogue as it is published: the engine's part, and the till's look-ups."""

    currency: str
    engine: Catalog
    articles: Mapping[str, Article]
    _by_barcode: Mapping[str, tuple[str, ...]] = field(repr=False)
    _by_code: Mapping[str, tuple[str, ...]] = field(repr=False)

    def article(self, sku: str) -> Article | None:
        """Name, unit, price of a sku, or None where the catalogue lacks it."""
        return self.articles.get(sku)

    def name_of(self, sku: str) -> str | None:
        """The name people know it by."""
        article = self.articles.get(sku)
        return article.name if article else None

    def price_of(self, sku: str) -> int | None:
        """Kopecks a unit in stand-alone mode, or None."""
        article = self.articles.get(sku)
        return article.price_minor if article else None

    def skus_by_barcode(self, barcode: str) -> tuple[str, ...]:
        """Every sku that carries this barcode, as ASCII sorts; one barcode on two goods is not rare."""
        return self._by_barcode.get(barcode, ())

    def skus_by_code(self, code: str) -> tuple[str, ...]:
        """Every sku with this code of the shop's own."""
        return self._by_code.get(code, ())


def parse(raw: object, path: str = "") -> Catalog:
    """The engine's small catalogue in a JSON document. Raises `Refused` with every fault."""
    walk = Walk(nulls_are_absent=True)
    values = walk.fields(raw, path, CATALOG)
    _check_categories(walk, raw, path)
    walk.finish()
    return Catalog(**values)


def parse_published(raw: object, path: str = "") -> PublishedCatalog:
    """The published catalogue in a JSON document. Raises `Refused` with every fault."""
    walk = Walk(nulls_are_absent=True)
    values = walk.fields(raw, path, PUBLISHED)
    _check_categories(walk, raw, path)
    walk.finish()
    articles = {sku: article for sku, (article, _) in values["skus"].items()}
    goods = {sku: goods for sku, (_, goods) in values["skus"].items()}
    return PublishedCatalog(
        currency=values["currency"],
        engine=Catalog(values["categories"], MappingProxyType(goods)),
        articles=MappingProxyType(articles),
        _by_barcode=_inverted({sku: article.barcodes for sku, article in articles.items()}),
        _by_code=_inverted({sku: article.codes for sku, article in articles.items()}),
    )


def _inverted(names_of: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for sku in sorted(names_of):
        for name in dict.fromkeys(names_of[sku]):
            found.setdefault(name, []).append(sku)
    return MappingProxyType({name: tuple(skus) for name, skus in found.items()})


def _check_categories(walk: Walk, raw: object, path: Path) -> None:
    categories = raw.get("categories") if isinstance(raw, dict) else None
    if not isinstance(categories, dict):
        return
    parents = {name: parent if isinstance(parent, str) else None for name, parent in categories.items()}
    for name in cycles(parents):
        place = ((path, "categories"), name)
        walk.fault(place, N_("the category is its own ancestor; break the circle of parents"))


def _read_parent(walk: Walk, raw: object, path: Path) -> str | None:
    return None if raw is None else ident.read(walk, raw, path)


def _read_categories(walk: Walk, raw: object, path: Path) -> Any:
    """`{id: parent | null}`: here null is a value, "no parent"."""
    nulls_are_absent, walk.nulls_are_absent = walk.nulls_are_absent, False
    categories = _parents.read(walk, raw, path)
    walk.nulls_are_absent = nulls_are_absent
    return categories


def _read_vat(walk: Walk, raw: object, path: Path) -> Any:
    """The rate as the accounting system names it; nothing is computed with it."""
    return (word if isinstance(raw, str) else _rate).read(walk, raw, path)


def _published_goods(
    category: str | None,
    brand: str | None,
    flags: tuple[str, ...],
    min_price_minor: int,
    weighed: bool,
    unit: str,
    **rest: Any,
) -> tuple[Article, Goods]:
    # A few words stand at ten thousand goods, and a till is small: each is kept once.
    unit = intern(unit)
    group = category if category is None else intern(category)
    made_by = brand if brand is None else intern(brand)
    marks = tuple(map(intern, flags))
    return Article(unit=unit, **rest), Goods(group, made_by, marks, min_price_minor, weighed)


_rate = whole()
_vat = Kind(_read_vat, lambda of: {"anyOf": [word.schema(of), _rate.schema(of)]})
_parents = map_of(ident, Kind(_read_parent, lambda of: {"anyOf": [ident.schema(of), {"type": "null"}]}))
_categories = Kind(_read_categories, _parents.schema)
_goods: dict[str, Key] = {
    "category": Key(ident),
    "brand": Key(word),
    "flags": Key(list_of(ident), default=()),
    "min_price": Key(whole(), default=0, attr="min_price_minor"),
    "weighed": Key(flag, default=False),
}
_article: dict[str, Key] = {
    "name": Key(title, required=True),
    "unit": Key(word, required=True),
    "barcodes": Key(list_of(word), default=()),
    "codes": Key(list_of(word), default=()),
    "price": Key(whole(), attr="price_minor"),
    "vat": Key(_vat),
}
CATALOG = Keys(
    {
        "categories": Key(_categories, default=MappingProxyType({})),
        "skus": Key(
            map_of(sku_id, record(Goods, Keys(_goods)), at_most=MAX_SKUS), default=MappingProxyType({})
        ),
    }
)
PUBLISHED = Keys(
    {
        "format": Key(constant(FORMAT, N_("format")), required=True),
        "currency": Key(currency, default="RUB"),
        "categories": CATALOG["categories"],
        "skus": Key(
            map_of(sku_id, record(_published_goods, Keys({**_article, **_goods})), at_most=MAX_SKUS),
            required=True,
        ),
    }
)
