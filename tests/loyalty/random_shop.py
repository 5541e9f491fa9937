"""Random shops, rulebooks and receipts of the supported vocabulary, small and full of collisions.

Few goods, few prices and many rules, so that rules meet on the same line,
floors and caps bind, and remainders tie. Everything comes from one
`random.Random`, so a seed is a whole example.
"""

from __future__ import annotations

from random import Random
from typing import Any

POLICIES = ["best", "worst", "sum", "chain", "first"]
CATEGORIES = {"food": None, "dairy": "food", "cheese": "dairy", "drink": "food", "tobacco": None}
SKUS = [f"S{i}" for i in range(7)]
PRICES = [0, 1, 2, 3, 99, 100, 999, 3333, 9990, 12345]
QUANTITIES = [1, 250, 333, 536, 1000, 1000, 1000, 2000, 3000]
PERCENTS = [0, 1, 300, 500, 1000, 3333, 5000, 9000, 10000, 15000]
AMOUNTS = [0, 1, 2, 55, 700, 5000, 20000]
STAMPS = ["2026-02-13T12:00:00", "2026-02-13T23:30:00", "2026-02-14T00:00:00"]


def some(rng: Random, values: list[Any], most: int = 3) -> list[Any]:
    return rng.sample(values, rng.randint(1, min(most, len(values))))


def selector(rng: Random, depth: int = 0) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for key, values in {
        "sku": [*SKUS, "unheard-of"],
        "category": list(CATEGORIES),
        "brand": ["b1", "b2"],
        "flag": ["tobacco", "own"],
    }.items():
        if rng.random() < 0.3:
            chosen[key] = some(rng, values)
    if rng.random() < 0.15:
        chosen["price_min"] = rng.choice(PRICES)
    if rng.random() < 0.15:
        chosen["price_max"] = rng.choice(PRICES)
    if depth < 2 and rng.random() < 0.25:
        chosen["not"] = selector(rng, depth + 1)
    return chosen


def condition(rng: Random, depth: int = 0) -> dict[str, Any]:
    kind = rng.choice(["all", "any", "not", "period", "tier", "segment", "card_kind", "sum", "sum", "sum"])
    if kind in ("all", "any", "not") and depth >= 2:
        kind = "sum"
    match kind:
        case "all" | "any":
            return {"type": kind, "of": [condition(rng, depth + 1) for _ in range(rng.randint(0, 2))]}
        case "not":
            return {"type": kind, "of": condition(rng, depth + 1)}
        case "period":
            period: dict[str, Any] = {"type": kind}
            for key in ("from", "to"):
                if rng.random() < 0.6:
                    period[key] = rng.choice([*STAMPS, "2026-02-13T09:00:00Z", "2026-02-13T20:30:00Z"])
            return period
        case "tier":
            return {"type": kind, "in": some(rng, ["silver", "gold"])}
        case "segment":
            return {"type": kind, "in": some(rng, ["vip", "new"])}
        case "card_kind":
            return {"type": kind, "in": some(rng, ["plastic", "app"])}
    total: dict[str, Any] = {"type": "sum", "base": rng.choice(["net", "list"])}
    if rng.random() < 0.5:
        total["of"] = selector(rng)
    if rng.random() < 0.8:
        total["min"] = rng.choice([0, 1, 100, 5000, 10000])
    if rng.random() < 0.3:
        total["max"] = rng.choice([0, 3333, 10000, 50000])
    return total


def effect(rng: Random, stage: str) -> dict[str, Any]:
    match stage:
        case "line":
            if rng.random() < 0.6:
                return {"type": "percent", "bp": rng.choice(PERCENTS)}
            return {"type": "amount_off", "amount": rng.choice(AMOUNTS)}
        case "receipt":
            if rng.random() < 0.5:
                chosen: dict[str, Any] = {"type": "receipt_percent", "bp": rng.choice(PERCENTS)}
            else:
                chosen = {"type": "receipt_amount", "amount": rng.choice(AMOUNTS)}
            if rng.random() < 0.3:
                chosen["spill"] = rng.random() < 0.5
            return chosen
        case "redeem":
            return {
                "type": "redeem",
                "max_bp": rng.choice(PERCENTS),
                "of": rng.choice(["receipt", "eligible"]),
                "step": rng.choice([1, 1, 100, 777]),
            }
    earn: dict[str, Any] = {"type": "earn_percent", "bp": rng.choice(PERCENTS)}
    if rng.random() < 0.7:
        earn["on"] = rng.choice(["paid", "before_redeem", "list"])
    if rng.random() < 0.7:
        earn["unit"] = rng.choice([1, 100, 250])
    if rng.random() < 0.4:
        earn["delay_days"] = rng.choice([0, 1, 14, 400])
    if rng.random() < 0.4:
        earn["ttl_days"] = rng.choice([0, 1, 30, 365])
    return earn


def rulebook(rng: Random) -> dict[str, Any]:
    groups: list[dict[str, Any]] = []
    for stage in ("line", "receipt", "earn"):
        names: list[str] = []
        for i in range(rng.randint(0, 3)):
            name = f"g{i}{stage}"
            group: dict[str, Any] = {"id": name, "stage": stage, "policy": rng.choice(POLICIES)}
            if rng.random() < 0.7:
                group["priority"] = rng.choice([10, 100])
            if names and rng.random() < 0.6:
                group["parent"] = rng.choice(names)
            groups.append(group)
            names.append(name)
    rng.shuffle(groups)
    rules = []
    for i in range(rng.randint(1, 9)):
        stage = rng.choice(["line", "line", "receipt", "receipt", "redeem", "redeem", "earn"])
        rule_id = f"r{rng.randint(0, 99):02}{i}"
        rule: dict[str, Any] = {"id": rule_id, "stage": stage, "effect": effect(rng, stage)}
        places = [g["id"] for g in groups if g["stage"] == stage]
        if places and rng.random() < 0.6:
            rule["group"] = rng.choice(places)
        if rng.random() < 0.7:
            rule["priority"] = rng.choice([10, 100])
        if rng.random() < 0.4:
            rule["when"] = condition(rng)
        if rng.random() < 0.5:
            rule["items"] = selector(rng)
        if stage != "redeem" and rng.random() < 0.3:
            rule["cap"] = rng.choice(AMOUNTS)
        if stage in ("line", "receipt") and rng.random() < 0.3:
            rule["fresh"] = rng.random() < 0.7
        if stage == "line" and rng.random() < 0.2:
            rule["over_sets"] = True
        if rng.random() < 0.05:
            rule["enabled"] = False
        rules.append(rule)
    settings: dict[str, Any] = {}
    for key in ("no_discount", "no_redeem", "no_earn"):
        if rng.random() < 0.4:
            settings[key] = rng.choice([{"flag": ["tobacco"]}, selector(rng)])
    if rng.random() < 0.3:
        settings["max_line_discount_bp"] = rng.choice([0, 3000, 5000, 10000, 12000])
    if rng.random() < 0.8:
        settings["policy"] = {stage: rng.choice(POLICIES) for stage in ("line", "receipt", "earn")}
    return {"format": 1, "id": "shop", "seq": 1, "settings": settings, "groups": groups, "rules": rules}


def catalog(rng: Random) -> dict[str, Any]:
    skus = {}
    for sku in SKUS:
        goods: dict[str, Any] = {"category": rng.choice(list(CATEGORIES)), "brand": rng.choice(["b1", "b2"])}
        if rng.random() < 0.4:
            goods["flags"] = some(rng, ["tobacco", "own"])
        if rng.random() < 0.4:
            goods["min_price"] = rng.choice(PRICES)
        skus[sku] = goods
    return {"categories": CATEGORIES, "skus": skus}


def receipt(rng: Random) -> dict[str, Any]:
    sale: dict[str, Any] = {
        "id": "R1",
        "till": "T1",
        "store": "M1",
        "channel": "pos",
        "at": rng.choice(STAMPS) + rng.choice(["+03:00", "+10:00", "-05:00"]),
        "lines": [
            {
                "id": str(i),
                "sku": rng.choice([*SKUS, *SKUS, "S-not-in-catalog"]),
                "price": rng.choice(PRICES),
                "quantity": rng.choice(QUANTITIES),
            }
            for i in range(rng.randint(0, 6))
        ],
    }
    if rng.random() < 0.85:
        sale["customer"] = {
            "id": "C1",
            "tier": rng.choice(["silver", "gold"]),
            "card_kind": rng.choice(["plastic", "app"]),
            "segments": some(rng, ["vip", "new"]),
            "lots": [lot(rng, name) for name in rng.sample("abcde", rng.randint(0, 4))],
        }
    if rng.random() < 0.7:
        sale["redeem"] = rng.choice(["max", 0, 100, 3000, 1_000_000])
    return sale


def lot(rng: Random, name: str) -> dict[str, Any]:
    made: dict[str, Any] = {"id": name, "amount": rng.choice([0, 1, 777, 5000, 123456])}
    if rng.random() < 0.7:
        made["active_from"] = rng.choice(STAMPS)
    if rng.random() < 0.6:
        made["expires_at"] = rng.choice([*STAMPS, "2026-06-01T00:00:00"])
    return made


def request(seed: int) -> dict[str, Any]:
    """A whole example: rulebook, catalog and receipt."""
    rng = Random(seed)
    return {"rulebook": rulebook(rng), "catalog": catalog(rng), "receipt": receipt(rng)}
