"""The shop that is timed: goods, rules and receipts of rulebook.md §10, all from one seeded `Random`.

The idea
--------
A figure is worth something only if anybody can draw the same shop again. So
everything here is JSON made from one `random.Random(seed)`, in a fixed order:
first the goods, then a rulebook for each number of rules, then a pool of
receipts for each number of lines.

* **Goods**: 10,000 skus in 10 × 10 × 5 categories of three levels; a sku lies in
  a leaf. One sku in 20 has a minimum price close to its price, so that floors
  bind somewhere; one in 10 is weighed.
* **Rules**, in these exact shares, then shuffled: 40 % percents on a category
  (stage line), 30 % n for m on 1 to 5 skus, 10 % percents on the receipt for one
  of 200 segments from some sum on, 10 % percents on a category for a tier,
  10 % earning on a category. A category is any of the 610, of whatever level,
  all equally likely. Set offers name no goods that have a minimum price.
* **Receipts**: different skus, all equally likely, mostly one piece of each; the
  customer has a tier and three segments.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

Json = dict[str, Any]

SEED = 20260213
SKUS = 10_000
TOPS, MIDDLES, LEAVES = 10, 10, 5
TIERS = ("bronze", "silver", "gold", "platinum")
SEGMENTS = tuple(f"g{number}" for number in range(200))
SHARES = {"percent": 40, "n_for_m": 30, "receipt_percent": 10, "tier_percent": 10, "earn_percent": 10}
"""Per cent of the rules that are of each kind."""

_PIECES = (1,) * 14 + (2,) * 3 + (3,) * 2 + (4,)
_AT = "2026-02-13T12:00:00+03:00"


@dataclass(frozen=True, slots=True)
class Workload:
    """One shop, as JSON: the goods, a rulebook's text by number of rules, receipts by number of lines."""

    catalog: Json
    rulebooks: Mapping[int, str]
    receipts: Mapping[int, Sequence[Json]]


def draw(
    rule_counts: Sequence[int], line_counts: Sequence[int], receipts: int, shares: Mapping[str, int] = SHARES
) -> Workload:
    """The shop with these sizes; `shares` are weights of the kinds of rules."""
    rng = Random(SEED)
    prices = {f"s{number}": rng.randrange(1_990, 90_000, 10) for number in range(SKUS)}
    catalog = _catalog(rng, prices)
    return Workload(
        catalog=catalog,
        rulebooks={count: _rulebook(rng, catalog, count, shares) for count in rule_counts},
        receipts={
            count: [_receipt(rng, catalog, prices, f"{count}-{number}", count) for number in range(receipts)]
            for count in line_counts
        },
    )


def _catalog(rng: Random, prices: Mapping[str, int]) -> Json:
    categories: dict[str, str | None] = {}
    leaves: list[str] = []
    for top in range(TOPS):
        categories[f"c{top}"] = None
        for middle in range(MIDDLES):
            categories[f"c{top}.{middle}"] = f"c{top}"
            for leaf in range(LEAVES):
                categories[f"c{top}.{middle}.{leaf}"] = f"c{top}.{middle}"
                leaves.append(f"c{top}.{middle}.{leaf}")
    skus: Json = {}
    for sku, price in prices.items():
        goods: Json = {"category": rng.choice(leaves)}
        if rng.randrange(20) == 0:
            goods["min_price"] = price * rng.randrange(75, 98) // 100
        if rng.randrange(10) == 0:
            goods["weighed"] = True
        skus[sku] = goods
    return {"categories": categories, "skus": skus}


# -- rules ----------------------------------------------------------------------------------------


def _rulebook(rng: Random, catalog: Json, count: int, shares: Mapping[str, int]) -> str:
    categories = list(catalog["categories"])
    promoted = [sku for sku, goods in catalog["skus"].items() if "min_price" not in goods]

    def on_a_category() -> Json:
        return {"category": [rng.choice(categories)]}

    def percent() -> Json:
        return {"stage": "line", "items": on_a_category(), "effect": {"type": "percent", "bp": _bp(rng)}}

    def tier_percent() -> Json:
        return percent() | {"when": {"type": "tier", "in": [rng.choice(TIERS)]}}

    def n_for_m() -> Json:
        n = rng.choice((2, 3, 3, 4))
        skus = rng.sample(promoted, rng.randint(1, 5))
        return {"stage": "sets", "items": {"sku": skus}, "effect": {"type": "n_for_m", "n": n, "m": n - 1}}

    def receipt_percent() -> Json:
        segment = {"type": "segment", "in": [rng.choice(SEGMENTS)]}
        enough = {"type": "sum", "min": rng.randrange(50_000, 2_000_000, 10_000)}
        return {
            "stage": "receipt",
            "when": {"type": "all", "of": [segment, enough]},
            "effect": {"type": "receipt_percent", "bp": rng.randrange(100, 1_000, 50)},
        }

    def earn_percent() -> Json:
        effect = {"type": "earn_percent", "bp": rng.randrange(50, 1_000, 50)}
        return {"stage": "earn", "items": on_a_category(), "effect": effect}

    kinds: dict[str, Callable[[], Json]] = {
        "percent": percent,
        "tier_percent": tier_percent,
        "n_for_m": n_for_m,
        "receipt_percent": receipt_percent,
        "earn_percent": earn_percent,
    }
    chosen = [kind for kind, share in shares.items() for _ in range(count * share // sum(shares.values()))]
    rng.shuffle(chosen)
    rules = [{"id": f"r{number}", **kinds[kind]()} for number, kind in enumerate(chosen)]
    document = {"format": 1, "semantics": 1, "id": "bench", "seq": 1, "rules": rules}
    return json.dumps(document, separators=(",", ":"))


def _bp(rng: Random) -> int:
    """Whole per cents up to 30: many rules tie, and the law's order must decide."""
    return rng.randint(1, 30) * 100


# -- receipts -------------------------------------------------------------------------------------


def _receipt(rng: Random, catalog: Json, prices: Mapping[str, int], name: str, lines: int) -> Json:
    def quantity(sku: str) -> int:
        if "weighed" in catalog["skus"][sku]:
            return rng.randint(100, 2_500)
        return rng.choice(_PIECES) * 1_000

    return {
        "id": f"R{name}",
        "till": "T1",
        "store": "M1",
        "at": _AT,
        "lines": [
            {"id": str(number), "sku": sku, "price": prices[sku], "quantity": quantity(sku)}
            for number, sku in enumerate(rng.sample(list(prices), lines), start=1)
        ],
        "customer": {"id": "C1", "tier": rng.choice(TIERS), "segments": rng.sample(SEGMENTS, 3)},
    }
