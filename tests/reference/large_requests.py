"""Large shops: hundreds of rules that one till prices by day after day, and sets near the bound.

Small requests reach every sentence of the page, but not the machinery that a large rulebook needs: rules
filed by goods and by customers, periods that pass, plans that are kept from one receipt to the next. So here
one rulebook gets many receipts, of other customers, tills and days; and sets get so many pieces that the
search for the best use of them stands just below or above the size at which it must give up (rulebook.md §4).
"""

from __future__ import annotations

import random
from math import prod

from random_requests import AMOUNTS, CATEGORIES, MOMENTS, Json, Maker

DEPARTMENTS = {f"c{number}": f"c{number // 2}" if number > 1 else None for number in range(1, 40)}
"""A tree of categories six deep."""

GOODS = tuple(f"L{number:02}" for number in range(48))

SHOWN = ("tier", "card_kind", "segment", "segment", "store", "till", "channel", "region", "tender", "coupon")
"""What a receipt shows at once: rules are filed by it."""

LARGE_SETS = 1_000_000
"""States × applications above which sets are served rule by rule."""


def large_request(rng: random.Random) -> Json:
    """A request with 100 to 300 rules and up to 30 lines; `other_receipt` makes it the next customer's."""
    return LargeMaker(rng).request()


def other_receipt(rng: random.Random, request: Json) -> Json:
    """The same rulebook and goods; another receipt at another time."""
    maker = LargeMaker(rng)
    maker.decks = [
        rule["id"] for rule in request["rulebook"]["rules"] if rule["effect"]["type"] == "draw_deck"
    ]
    receipt = maker.receipt(rng.choice(MOMENTS))
    receipt |= {"till": rng.choice(("T1", "T2")), "store": rng.choice(("M1", "M2"))}
    request = {**request, "receipt": receipt}
    request.pop("returns", None)
    if rng.random() < 0.3:
        request["returns"] = maker.returns(receipt["lines"])
    return request


class LargeMaker(Maker):
    """Draws a large rulebook, many of whose rules never meet the receipt."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.ids = [f"{letter}{number}" for letter in "arZ" for number in range(150)]
        rng.shuffle(self.ids)

    def rulebook(self) -> Json:
        book = super().rulebook()
        groups = book["groups"] = self.deep_groups()
        book["rules"] = [self.rule(groups) for _ in range(self.rng.randint(100, 300))]
        return book

    def deep_groups(self) -> list[Json]:
        """Chains of groups up to five deep, with side branches."""
        groups: list[Json] = []
        for stage in ("line", "receipt", "earn"):
            mine: list[Json] = []
            for _ in range(self.rng.randint(0, 8)):
                policy = self.rng.choice(("best", "best", "worst", "sum", "chain", "first"))
                group = {"id": self.ids.pop(), "stage": stage, "policy": policy} | self.priority()
                if mine and self.chance(0.8):
                    group["parent"] = self.rng.choice(mine[-2:])["id"]
                mine.append(group)
            groups += mine
        return groups

    def rule(self, groups: list[Json]) -> Json:
        rule = super().rule(groups)
        if rule["stage"] == "sets":
            self._narrow(rule)
        if rule["stage"] == "reward" and self.chance(0.5):
            rule["enabled"] = False
        if self.chance(0.4):
            parts = [self.shown_condition() for _ in range(self.rng.randint(1, 2))]
            if "when" in rule:
                parts.append(rule["when"])
            rule["when"] = parts[0] if len(parts) == 1 else {"type": "all", "of": parts}
        return rule

    def _narrow(self, rule: Json) -> None:
        """A set rule over two or three skus: a plain search of all uses of all goods would never end."""
        effect = rule["effect"]
        if effect["type"] == "n_for_m":
            rule["items"] = {"sku": self.pick(GOODS)}
        for part in (*effect.get("parts", ()), *(effect[side] for side in ("buy", "get") if side in effect)):
            part["items"] = {"sku": self.pick(GOODS)}

    def shown_condition(self) -> Json:
        """A condition that is known before any amount is."""
        kind = self.rng.choice((*SHOWN, "period", "period", "any"))
        if kind == "any":
            return {"type": "any", "of": [self.shown_condition() for _ in range(self.rng.randint(1, 2))]}
        return {"type": kind} | self.fields(kind, "line", 2)

    def selector(self, deep: int = 0) -> Json:
        if self.chance(0.1):
            return super().selector(deep)
        kind = self.rng.choice(("sku", "sku", "category", "category", "brand", "flag"))
        names: tuple[str, ...] = {
            "sku": GOODS,
            "category": tuple(DEPARTMENTS),
            "brand": tuple(f"b{number}" for number in range(8)),
            "flag": ("tobacco", "new", "own", "local"),
        }[kind]
        selector: Json = {kind: self.pick(names, 4)}
        if deep < 2 and self.chance(0.15):
            selector["not"] = self.selector(deep + 1)
        return selector

    def catalog(self) -> Json:
        catalog = super().catalog()
        catalog["categories"] = {**CATEGORIES, **DEPARTMENTS}
        for number, sku in enumerate(GOODS):
            goods: Json = {"category": f"c{self.rng.randint(10, 39)}", "brand": f"b{number % 8}"}
            if self.chance(0.3):
                goods["flags"] = self.pick(("tobacco", "new", "own", "local"), 2)
            if self.chance(0.3):
                goods["min_price"] = self.rng.choice((1, 99, 1000, 8000))
            if self.chance(0.1):
                goods["weighed"] = True
            catalog["skus"][sku] = goods
        return catalog

    def receipt(self, at: str) -> Json:
        receipt = super().receipt(at)
        for number in range(self.rng.randint(0, 24)):
            sku = self.rng.choice(GOODS)
            price = 990 + 17 * int(sku[1:]) if self.chance(0.8) else self.rng.choice((0, 1, 99, 8990))
            line = {"id": f"L{number}", "sku": sku, "price": price, "quantity": self.quantity()}
            receipt["lines"].append(line)
        return receipt


class DenseMaker(Maker):
    """Draws a hundred percents for a handful of goods: most of them are beaten by another, but which?

    An engine forgets percents that can never be booked. Floors, caps, conditions, `fresh`, `over_sets` and
    what earning counts on decide whether a smaller one may be booked after all.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng, ("sets", "line", "line", "line", "earn", "earn"))
        self.ids = [f"{letter}{number}" for letter in "arZ" for number in range(60)]
        rng.shuffle(self.ids)

    def kind(self, stage: str) -> str:
        if stage == "sets" or self.chance(0.15):
            return super().kind(stage)
        return "percent" if stage == "line" else "earn_percent"

    def settings(self) -> Json:
        settings = super().settings()
        if self.chance(0.6):
            settings["policy"] = {"line": "best", "earn": "best"}
        return settings

    def rulebook(self) -> Json:
        book = super().rulebook()
        rules = [self.rule(book["groups"]) for _ in range(self.rng.randint(20, 100))]
        # A plain search of many sets that share all goods would not end: one of them is enough here.
        sets = [rule for rule in rules if rule["stage"] == "sets"][:1]
        book["rules"] = sets + [rule for rule in rules if rule["stage"] != "sets"]
        for rule in book["rules"]:
            for key in ("when", "items", "cap", "group"):
                if self.chance(0.4):
                    rule.pop(key, None)
        return book


def dense_request(rng: random.Random) -> Json:
    """A request in which a hundred percents compete for every line."""
    return DenseMaker(rng).request()


def sets_near_the_bound(rng: random.Random, above: bool) -> Json:
    """One component of bundles whose states × applications stand just above the bound, or not.

    The bundles are so large that few uses fit: a plain search may count up to a million and still end.
    """
    pieces = [rng.randint(15, 19) for _ in range(4)]
    most = LARGE_SETS // prod(each + 1 for each in pieces)
    rules: list[Json] = []
    for number in range(most + rng.randint(1, 2) if above else most - rng.randint(0, 1)):
        at = number % len(pieces)
        if number < len(pieces) - 1:  # each ties its goods to the next: they are one component
            parts = [(f"s{at}", rng.randint(5, 9)), (f"s{at + 1}", rng.randint(5, 9))]
        else:
            parts = [(f"s{at}", rng.randint(8, 14))]
        effect = {
            "type": "bundle",
            "parts": [{"items": {"sku": [sku]}, "count": count} for sku, count in parts],
            "amount": rng.choice((*AMOUNTS[1:], 777, 1234)),
        }
        rules.append({"id": f"r{number}", "stage": "sets", "effect": effect})
        rules[-1] |= {"limit": rng.randint(1, 2)} if rng.random() < 0.3 else {}
    rng.shuffle(rules)
    lines = [
        {"id": f"{at}", "sku": f"s{at}", "price": 1000 + 7 * at, "quantity": 1000 * count}
        for at, count in enumerate(pieces)
    ]
    return {
        "rulebook": {"format": 1, "semantics": 1, "id": "prog", "seq": 1, "rules": rules},
        "catalog": {"categories": {}, "skus": {}},
        "receipt": {"id": "R", "till": "T", "store": "M", "at": MOMENTS[0], "lines": lines},
    }
