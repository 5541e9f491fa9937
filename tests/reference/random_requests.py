"""Requests nobody would think of, from a seed: small shops, nasty rulebooks, always valid.

The numbers are chosen to collide: equal percents under a floor, prices of zero and one kopeck, floors above
the price, lots that end at the very second of the sale, rules and groups of one priority. Whoever wants to
ask about a part of the page only names its stages.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

ALL_STAGES = ("price", "sets", "line", "receipt", "round", "redeem", "earn", "reward")


CONDITIONS = (
    *("all", "any", "not", "period", "tier", "segment", "card_kind", "sum", "time", "weekday"),
    *("month_day", "store", "till", "channel", "region", "tender", "customer", "counter", "birthday"),
    *("birthday", "coupon", "coupon", "coupon", "redeemed", "redeemed", "redeemed", "quantity", "distinct"),
)
"""Every condition; some are drawn more often, for more hangs on them."""

EFFECTS_OF = {
    "price": ("fixed_price",),
    "sets": ("n_for_m", "bundle", "buy_get"),
    "line": ("percent", "percent", "amount_off", "unit_price"),
    "receipt": ("receipt_percent", "receipt_amount", "receipt_every", "receipt_steps"),
    "round": ("round_down",),
    "redeem": ("redeem",),
    "earn": ("earn_percent", "earn_percent", "earn_multiplier", "earn_fixed", "earn_every"),
    "reward": ("draw_table", "draw_deck", "issue_coupon", "gift", "message"),
}
STAGE_WEIGHTS = {
    "price": 2,
    "sets": 5,
    "line": 5,
    "receipt": 4,
    "round": 1,
    "redeem": 3,
    "earn": 3,
    "reward": 2,
}

CATEGORIES = {"food": None, "dairy": "food", "cheese": "dairy", "drink": "food", "tob": None}
SKUS = ("S0", "S1", "S2", "S3", "S4", "goods#1", "s-" + "x" * 70, "nobody")
"""The last one is never in the catalog."""
PRICES = (0, 1, 2, 3, 10, 99, 100, 333, 999, 1000, 8990, 12345, 99999)
BPS = (0, 1, 100, 333, 500, 500, 1000, 1000, 1000, 2500, 3333, 5000, 9999, 10000, 15000)
AMOUNTS = (0, 1, 2, 5, 50, 99, 100, 700, 1000, 5000, 10000)
POLICIES = ("best", "worst", "sum", "chain", "first")
PRIORITIES = (0, 1, 10, 10, 100, None)
MOMENTS = (
    "2026-02-13T12:00:00+03:00",
    "2026-02-13T23:59:59+03:00",
    "2026-02-14T00:00:00+03:00",
    "2026-03-01T01:30:00-05:30",
    "2024-02-29T09:00:00+00:00",
    "2026-12-31T22:30:00+12:00",
)
BOUNDS = (
    *("2026-02-13T12:00:00", "2026-02-13T09:00:00Z", "2026-02-13T23:59:59", "2026-02-13T21:00:00Z"),
    *("2026-02-14T00:00:00", "2024-02-29T09:00:00Z", "2020-01-01T00:00:00", "2030-01-01T00:00:00"),
    *("2026-03-01T01:30:00", "2026-03-01T07:00:00Z", "2026-12-31T10:30:00Z", "2026-12-31T22:30:01"),
)


def random_request(rng: random.Random, stages: Sequence[str] = ALL_STAGES) -> Json:
    """A valid request with rules of these stages; the same generator state gives the same request."""
    return Maker(rng, stages).request()


class Maker:
    """Draws one request. `some(x)` below means: sometimes absent."""

    def __init__(self, rng: random.Random, stages: Sequence[str] = ALL_STAGES) -> None:
        self.rng = rng
        self.stages = stages
        self.ids = [f"{letter}{number}" for letter in "Aagrz" for number in (*range(1, 12), 101)]
        rng.shuffle(self.ids)
        self.decks: list[str] = []

    def request(self) -> Json:
        at = self.rng.choice(MOMENTS)
        rulebook = self.rulebook()
        receipt = self.receipt(at)
        request: Json = {"rulebook": rulebook, "catalog": self.catalog(), "receipt": receipt}
        if "reward" in self.stages:
            request["draw_key"] = "00112233445566778899aabbccddeeff" * 2
        if self.chance(0.4):
            request["returns"] = self.returns(receipt["lines"])
        return request

    # --- little helpers ---------------------------------------------------------------------------

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def some(self, **fields: Any) -> Json:
        """Each of the fields, or not."""
        return {key: value for key, value in fields.items() if self.chance(0.5)}

    def pick(self, values: Any, most: int = 3) -> list[Any]:
        """One to `most` different values."""
        pool = sorted(set(values))
        return self.rng.sample(pool, self.rng.randint(1, min(most, len(pool))))

    def amount(self) -> int:
        return self.rng.choice(AMOUNTS) if self.chance(0.8) else self.rng.randrange(20000)

    def bp(self) -> int:
        return self.rng.choice(BPS) if self.chance(0.8) else self.rng.randrange(12000)

    # --- rulebook ---------------------------------------------------------------------------------

    def rulebook(self) -> Json:
        groups = self.groups()
        return {
            "format": 1,
            "semantics": 1,
            "id": "prog",
            "seq": 7,
            "settings": self.settings(),
            "groups": groups,
            "rules": [self.rule(groups) for _ in range(self.rng.choice((1, 2, 3, 4, 6, 8, 10, 30)))],
        } | self.some(currency="RUB", tests=[], draw_commitment="0" * 64)

    def settings(self) -> Json:
        settings: Json = {
            "policy": self.some(**{s: self.rng.choice(POLICIES) for s in ("line", "receipt", "earn")})
        }
        for name in ("no_discount", "no_redeem", "no_earn"):
            if self.chance(0.25):
                settings[name] = {"flag": ["tobacco"]} if self.chance(0.5) else self.selector()
        if self.chance(0.4):
            settings["max_line_discount_bp"] = self.bp()
        return settings

    def groups(self) -> list[Json]:
        groups: list[Json] = []
        for stage in ("line", "receipt", "earn"):
            if stage not in self.stages:
                continue
            mine: list[Json] = []
            for _ in range(self.rng.choice((0, 0, 1, 2, 3))):
                group = {"id": self.ids.pop(), "stage": stage, "policy": self.rng.choice(POLICIES)}
                group |= self.priority()
                if mine and self.chance(0.7):
                    group["parent"] = self.rng.choice(mine)["id"]
                mine.append(group)
            groups += mine
        self.rng.shuffle(groups)  # a child may stand before its parent
        return groups

    def priority(self) -> Json:
        priority = self.rng.choice(PRIORITIES)
        return {} if priority is None else {"priority": priority}

    def rule(self, groups: list[Json]) -> Json:
        weights = [STAGE_WEIGHTS[stage] for stage in self.stages]
        stage = self.rng.choices(self.stages, weights)[0]
        kind = self.kind(stage)
        rule: Json = {"id": self.ids.pop(), "stage": stage, "effect": {"type": kind} | self.effect(kind)}
        rule |= self.priority()
        if self.chance(0.05):
            rule["enabled"] = self.chance(0.5)
        if self.chance(0.1):
            rule["title"] = "Скидка дня"
        if self.chance(0.4):
            rule["when"] = self.condition(stage)
        if kind not in ("bundle", "buy_get", "round_down") and self.chance(0.6):
            rule["items"] = self.selector()
        mine = [group["id"] for group in groups if group["stage"] == stage]
        if (
            mine
            and kind in ("earn_percent", *EFFECTS_OF["line"], *EFFECTS_OF["receipt"])
            and self.chance(0.7)
        ):
            rule["group"] = self.rng.choice(mine)
        if stage in ("line", "receipt") or kind in ("earn_percent", "earn_every"):
            rule |= {"cap": self.amount()} if self.chance(0.3) else {}
        if stage == "sets" and self.chance(0.4):
            rule["limit"] = self.rng.randint(1, 3)
        if stage == "line" and self.chance(0.2):
            rule["over_sets"] = self.chance(0.8)
        if stage in ("line", "receipt") and self.chance(0.2):
            rule["fresh"] = self.chance(0.8)
        if kind == "draw_deck":
            self.decks.append(rule["id"])
        return rule

    def kind(self, stage: str) -> str:
        return self.rng.choice(EFFECTS_OF[stage])

    def effect(self, kind: str) -> Json:
        rng = self.rng
        later = self.some(delay_days=rng.choice((0, 1, 14)), ttl_days=rng.choice((1, 30, 365)))
        on = self.some(on=rng.choice(("paid", "before_redeem", "list")))
        if kind in ("fixed_price", "unit_price"):
            return {"price": rng.choice(PRICES)}
        if kind == "n_for_m":
            n = rng.randint(1, 3)
            more = self.some(bp=self.bp(), place=rng.choice(("spread", "free")), same_sku=self.chance(0.5))
            return {"n": n, "m": rng.randrange(n)} | more
        if kind == "bundle":
            by = rng.choice(({"price": rng.choice(PRICES)}, {"bp": self.bp()}, {"amount": self.amount()}))
            return {"parts": [self.part() for _ in range(rng.randint(1, 2))]} | by
        if kind == "buy_get":
            return {"buy": self.part(), "get": self.part() | self.some(bp=self.bp())}
        if kind == "percent":
            return {"bp": self.bp()}
        if kind == "amount_off":
            return {"amount": self.amount()}
        if kind == "receipt_percent":
            return {"bp": self.bp()} | self.some(spill=self.chance(0.5))
        if kind == "receipt_amount":
            return {"amount": self.amount()} | self.some(spill=self.chance(0.5))
        if kind == "receipt_every":
            times = self.some(times=rng.randint(1, 3), spill=self.chance(0.5))
            return {"every": rng.choice((1, 100, 5000)), "amount": self.amount()} | times
        if kind == "receipt_steps":
            mins = self.pick((0, 1, 1000, 10000, 50000))
            steps = [{"min": m} | rng.choice(({"bp": self.bp()}, {"amount": self.amount()})) for m in mins]
            return {"steps": steps} | self.some(spill=self.chance(0.5))
        if kind == "round_down":
            return {"to": rng.choice((1, 10, 100, 1000))}
        if kind == "redeem":
            of = self.some(of=rng.choice(("receipt", "eligible")), step=rng.choice((1, 10, 100, 1000)))
            return {"max_bp": self.bp()} | of
        if kind == "earn_percent":
            return {"bp": self.bp()} | on | later | self.some(unit=rng.choice((1, 7, 100, 1000)))
        if kind == "earn_multiplier":
            return {"x100": rng.choice((1, 50, 100, 150, 200, 200, 500))}
        if kind == "earn_fixed":
            return {"points": self.amount()} | later
        if kind == "earn_every":
            return {"every": rng.choice((1, 100, 5000)), "points": rng.choice((1, 100))} | on | later
        if kind == "draw_table":
            return {"table": [[rng.randint(1, 5), self.amount()] for _ in range(rng.randint(1, 4))]} | later
        if kind == "draw_deck":
            return {"cards": [[rng.randint(1, 5), self.amount()] for _ in range(rng.randint(1, 4))]} | later
        if kind == "issue_coupon":
            return {"series": "K1", "ttl_days": 30}
        if kind == "gift":
            return {"sku": "S1", "quantity": 1000}
        return {"text": "Спасибо!"}

    def part(self) -> Json:
        return {"count": self.rng.randint(1, 2)} | self.some(items=self.selector())

    def selector(self, deep: int = 0) -> Json:
        selector: Json = {}
        kind = self.rng.choice(("sku", "category", "brand", "flag", "mixed", "price", "any"))
        if kind in ("sku", "mixed"):
            selector["sku"] = self.pick((*SKUS, "S404"))
        if kind in ("category", "mixed"):
            selector["category"] = self.pick((*CATEGORIES, "lost"))
        if kind == "brand":
            selector["brand"] = self.pick(("b1", "b2", "b3"))
        if kind == "flag":
            selector["flag"] = self.pick(("tobacco", "new"))
        if kind == "price" or self.chance(0.1):
            selector |= self.some(price_min=self.rng.choice(PRICES), price_max=self.rng.choice(PRICES))
        if deep < 2 and self.chance(0.2):
            selector["not"] = self.selector(deep + 1)
        return selector

    # --- conditions -------------------------------------------------------------------------------

    def condition(self, stage: str, deep: int = 0) -> Json:
        words = [word for word in CONDITIONS if deep < 2 or word not in ("all", "any", "not")]
        if stage not in ("earn", "reward"):
            words = [word for word in words if word != "redeemed"]
        kind = self.rng.choice(words)
        return {"type": kind} | self.fields(kind, stage, deep)

    def fields(self, kind: str, stage: str, deep: int) -> Json:
        rng = self.rng
        fields: Json
        if kind in ("all", "any"):
            fields = {"of": [self.condition(stage, deep + 1) for _ in range(rng.randint(0, 3))]}
        elif kind == "not":
            fields = {"of": self.condition(stage, deep + 1)}
        elif kind == "period":
            fields = self.some(**dict(zip(("from", "to"), sorted(rng.sample(BOUNDS, 2)), strict=True)))
        elif kind == "time":
            start, end = rng.sample(("00:00", "01:30", "02:00", "09:00", "12:00", "22:30", "23:59"), 2)
            fields = {"from": start, "to": end} | self.some(weekdays=self.pick(range(1, 8), 5))
        elif kind == "weekday":
            fields = {"in": self.pick(range(1, 8), 5)}
        elif kind == "month_day":
            fields = {"in": self.pick((1, 13, 14, 28, 29, 31))}
        elif kind in ("sum", "quantity", "distinct"):
            bounds = {
                "sum": (0, 1, 1000, 10000, 100000),
                "quantity": (0, 1000, 1500, 4000),
                "distinct": (0, 1, 2, 3),
            }
            low, high = sorted(rng.choices(bounds[kind], k=2))
            fields = self.some(of=self.selector(1), min=low, max=high)
            if kind == "sum":
                fields |= self.some(base=rng.choice(("net", "list")))
        elif kind == "counter":
            fields = {"name": rng.choice(("visits", "rule:r1:day"))} | self.some(min=rng.randrange(3), max=3)
        elif kind == "birthday":
            fields = self.some(before=rng.randrange(8), after=rng.randrange(8), feb29="03-01")
        elif kind == "coupon":
            fields = {"series": rng.choice(("K1", "K2"))}
        elif kind == "redeemed":
            fields = {"is": self.chance(0.5)}
        elif kind == "customer":
            fields = self.some(**{"in": ["C1", "C2"]})
        else:
            fields = {"in": self.pick(NAMES[kind])}
        return fields

    # --- catalog, receipt, returns ----------------------------------------------------------------

    def catalog(self) -> Json:
        rng = self.rng
        skus: Json = {}
        for sku in SKUS[:-1]:
            skus[sku] = self.some(category=rng.choice((*CATEGORIES, None)), brand=rng.choice(("b1", "b2")))
            if self.chance(0.2):
                skus[sku]["flags"] = self.pick(("tobacco", "new"), 2)
            if self.chance(0.3):
                skus[sku]["min_price"] = rng.choice(PRICES)
            if self.chance(0.2):
                skus[sku]["weighed"] = self.chance(0.8)
        return {"categories": dict(CATEGORIES), "skus": skus}

    def receipt(self, at: str) -> Json:
        rng = self.rng
        prices = {sku: rng.choice(PRICES) if self.chance(0.7) else rng.randrange(30000) for sku in SKUS}
        lines = []
        for number in range(rng.randint(1, 6)):
            sku = rng.choice(SKUS)
            price = prices[sku] if self.chance(0.9) else rng.choice(PRICES)
            lines.append({"id": f"{number + 1}", "sku": sku, "price": price, "quantity": self.quantity()})
        receipt: Json = {"id": "R1", "till": "T1", "store": "M1", "at": at, "lines": lines}
        receipt |= self.some(channel="pos", region="north")
        if self.chance(0.8):
            receipt["customer"] = self.customer(at)
        if self.chance(0.7):
            receipt["redeem"] = "max" if self.chance(0.6) else self.amount()
        receipt |= self.some(tenders=self.pick(NAMES["tender"], 2))
        coupons = ("K1", "K1/7", "K2/1", "K3")
        receipt |= self.some(coupons=self.pick(coupons), coupons_used=self.pick(coupons, 1))
        if self.decks:
            receipt["draws"] = {rule: rng.randrange(20) for rule in self.decks}
        return receipt

    def quantity(self) -> int:
        if self.chance(0.7):
            return self.rng.choice((1000, 1000, 2000, 3000))
        return self.rng.choice((1, 333, 500, 536, 1500, 2816))

    def customer(self, at: str) -> Json:
        customer: Json = {"id": self.rng.choice(("C1", "C3"))}
        customer |= self.some(
            tier=self.rng.choice(NAMES["tier"]),
            card_kind=self.rng.choice(NAMES["card_kind"]),
            segments=self.pick(NAMES["segment"]),
        )
        if self.chance(0.8):
            names = self.rng.sample("abcde", self.rng.randint(0, 5))
            customer["lots"] = [self.lot(name, at[:19]) for name in names]
        counters = {"visits": self.rng.randrange(5), "rule:r1:day": self.rng.randrange(2)}
        customer |= self.some(counters=counters)
        if self.chance(0.8):
            customer["birthday"] = self.rng.choice(("02-29", "02-29", "02-13", "03-01", "12-28", "01-02"))
        return customer

    def lot(self, name: str, now: str) -> Json:
        bounds = (
            now,
            "2020-01-01T00:00:00",
            "2026-02-13T12:00:00",
            "2026-02-13T12:00:01",
            "2030-01-01T00:00:00",
        )
        dates = {"active_from": self.rng.choice(bounds), "expires_at": self.rng.choice(bounds)}
        return {"id": name, "amount": self.rng.choice((0, 1, 99, 150, 2550, 10000))} | self.some(**dates)

    def returns(self, lines: list[Json]) -> list[Json]:
        left = {line["id"]: line["quantity"] for line in lines}
        returns = []
        for _ in range(self.rng.randint(1, 3)):
            some = [line for line in left if left[line] > 0 and self.chance(0.6)]
            back = {}
            for line in some:
                back[line] = left[line] if self.chance(0.4) else self.rng.randint(1, left[line])
                left[line] -= back[line]
            if back:
                at = self.rng.choice(("2026-12-31T22:31:00+12:00", "2031-01-01T00:00:00+03:00"))
                returns.append({"at": at, "lines": back})
        return returns


NAMES: dict[str, tuple[str, ...]] = {
    "tier": ("silver", "gold"),
    "card_kind": ("plastic", "virtual"),
    "segment": ("vip", "new", "staff"),
    "store": ("M1", "M2"),
    "till": ("T1", "T2"),
    "channel": ("pos", "web"),
    "region": ("north", "south"),
    "tender": ("cash", "card"),
}
