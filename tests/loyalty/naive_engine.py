"""A second engine, for comparison only: the law read aloud, with Fractions, on raw JSON.

It is written from rulebook.md alone and in another style than the engine: no
parsed values, no integers tricks, no shared helper. Where the two disagree,
one of them has misread the law. It covers the vocabulary that the engine
supports, takes only valid documents, and does not care how slow it is.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil, floor


def half_up(x: Fraction) -> int:
    return floor(x + Fraction(1, 2))


def by_order(things):
    return sorted(things, key=lambda thing: (thing.get("priority", 100), thing["id"]))


def spread(total, weights, capacities):
    """§5 with exact fractions; `weights` and `capacities` by line number."""
    shares = dict.fromkeys(weights, 0)
    taking_part = [i for i in weights if weights[i] > 0 and capacities[i] > 0]
    rest = min(total, sum(capacities[i] for i in taking_part))
    while taking_part:
        weight = sum(weights[i] for i in taking_part)
        quota = {i: Fraction(rest * weights[i], weight) for i in taking_part}
        too_much = [i for i in taking_part if quota[i] > capacities[i]]
        if not too_much:
            for i in taking_part:
                shares[i] = floor(quota[i])
            order = sorted(taking_part, key=lambda i: (floor(quota[i]) - quota[i], -weights[i], i))
            for i in order[: rest - sum(shares[i] for i in taking_part)]:
                shares[i] += 1
            break
        for i in too_much:
            shares[i] = capacities[i]
            rest -= capacities[i]
        taking_part = [i for i in taking_part if i not in too_much]
    return shares


class Sale:
    def __init__(self, rulebook, catalog, receipt):
        self.book, self.catalog, self.receipt = rulebook, catalog, receipt
        self.settings = rulebook.get("settings", {})
        self.lines = receipt["lines"]
        self.numbers = range(len(self.lines))
        self.list = [half_up(Fraction(x["price"] * x["quantity"], 1000)) for x in self.lines]
        self.net = list(self.list)
        self.minimum = [
            ceil(Fraction((self.goods(x).get("min_price") or 0) * x["quantity"], 1000)) for x in self.lines
        ]
        self.floor = [self.floor_of(i) for i in self.numbers]
        self.discounts = [{} for _ in self.lines]
        self.redeemed = [0] * len(self.lines)

    def goods(self, line):
        return self.catalog.get("skus", {}).get(line["sku"], {})

    def floor_of(self, i):
        if self.excluded("no_discount", i):
            return self.list[i]
        bp = self.settings.get("max_line_discount_bp", 10000)
        most = floor(Fraction(self.list[i] * bp, 10000))
        return max(min(self.minimum[i], self.list[i]), self.list[i] - most)

    # -- who is meant, and when ----------------------------------------------------------------

    def selects(self, selector, i):
        line = self.lines[i]
        goods = self.goods(line)
        if any(key in selector for key in ("sku", "category", "brand", "flag")):
            ancestors = []
            category = goods.get("category")
            while category is not None:
                ancestors.append(category)
                category = self.catalog.get("categories", {}).get(category)
            hit = line["sku"] in selector.get("sku", [])
            hit = hit or any(name in selector.get("category", []) for name in ancestors)
            hit = hit or goods.get("brand") in selector.get("brand", [])
            hit = hit or any(name in selector.get("flag", []) for name in goods.get("flags", []))
            if not hit:
                return False
        if "price_min" in selector and line["price"] < selector["price_min"]:
            return False
        if "price_max" in selector and line["price"] > selector["price_max"]:
            return False
        return not ("not" in selector and self.selects(selector["not"], i))

    def holds(self, when):
        if when is None:
            return True
        customer = self.receipt.get("customer")
        match when["type"]:
            case "all":
                return all(self.holds(x) for x in when["of"])
            case "any":
                return any(self.holds(x) for x in when["of"])
            case "not":
                return not self.holds(when["of"])
            case "period":
                return self.reached(when.get("from"), True) and not self.reached(when.get("to"), False)
            case "tier":
                return bool(customer) and customer.get("tier") in when["in"]
            case "card_kind":
                return bool(customer) and customer.get("card_kind") in when["in"]
            case "segment":
                return bool(customer) and any(x in when["in"] for x in customer.get("segments", []))
            case "sum":
                amounts = self.net if when.get("base", "net") == "net" else self.list
                total = sum(amounts[i] for i in self.numbers if self.selects(when.get("of", {}), i))
                return when.get("min", total) <= total <= when.get("max", total)
        raise AssertionError(when)

    def reached(self, bound, absent):
        if bound is None:
            return absent
        now = datetime.fromisoformat(self.receipt["at"])
        if not bound.endswith("Z"):
            now = now.replace(tzinfo=None)
        return now >= datetime.fromisoformat(bound)

    def children(self, stage, group):
        """Groups and rules under `group` (None: the root), in order; only live rules."""
        rules = [r for r in self.live if r.get("group") == group]
        groups = [g for g in self.book.get("groups", []) if g["stage"] == stage and g.get("parent") == group]
        return by_order(rules + groups)

    def begin(self, stage):
        self.live = [
            r
            for r in by_order(self.book["rules"])
            if r["stage"] == stage and r.get("enabled", True) and self.holds(r.get("when"))
        ]
        self.began = list(self.net)
        self.touched = [bool(d) for d in self.discounts]

    def root_policy(self, stage):
        return self.settings.get("policy", {}).get(stage, "best")

    def excluded(self, setting, i):
        return setting in self.settings and self.selects(self.settings[setting], i)

    def hit(self, rule, i):
        return self.selects(rule.get("items", {}), i) and not (rule.get("fresh") and self.touched[i])

    # -- the stages ----------------------------------------------------------------------------

    def line_stage(self):
        self.begin("line")
        left = {r["id"]: r["cap"] for r in self.live if "cap" in r}
        for i in self.numbers:
            room = self.net[i] - self.floor[i]

            def of_rule(rule, base, i=i):
                if not self.hit(rule, i):
                    return 0
                effect = rule["effect"]
                if effect["type"] == "percent":
                    amount = half_up(Fraction(base * effect["bp"], 10000))
                else:
                    amount = half_up(Fraction(effect["amount"] * self.lines[i]["quantity"], 1000))
                return min(max(amount, 0), base, left.get(rule["id"], amount))

            def of_group(policy, name, base, i=i, room=room, of_rule=of_rule):
                offers, took = [], 0
                for child in self.children("line", name):
                    now = max(0, base - took) if policy == "chain" else base
                    if "effect" in child:
                        offer = [(child["id"], of_rule(child, now))]
                    else:
                        offer = of_group(child.get("policy", "best"), child["id"], now)
                    offers.append(offer)
                    took += sum(amount for _, amount in offer)
                return compete(policy, offers, lambda offer: min(room, sum(a for _, a in offer)))

            for rule_id, amount in of_group(self.root_policy("line"), None, self.began[i]):
                given = min(amount, self.net[i] - self.floor[i])
                if rule_id in left:
                    left[rule_id] -= given
                self.give(rule_id, i, given)

    def give(self, rule_id, i, amount):
        self.net[i] -= amount
        if amount:
            self.discounts[i][rule_id] = amount

    def receipt_stage(self):
        self.begin("receipt")

        def of_rule(rule, base):
            effect = rule["effect"]
            eligible = [i for i in self.numbers if self.hit(rule, i) and not self.excluded("no_discount", i)]
            total = sum(base[i] for i in eligible)
            if effect["type"] == "receipt_percent":
                discount = half_up(Fraction(total * effect["bp"], 10000))
                spill = effect.get("spill", False)
            else:
                discount = effect["amount"]
                spill = effect.get("spill", True)
            discount = min(discount, total, rule.get("cap", discount))
            weights = {i: base[i] for i in eligible}
            capacities = {i: self.net[i] - self.floor[i] for i in eligible}
            if spill:
                return spread(discount, weights, capacities)
            return {i: min(x, capacities[i]) for i, x in spread(discount, weights, weights).items()}

        def play(node, base):
            """Do what the node does to `self.net`, and say what it was: [(rule, line, amount)]."""
            if "effect" in node:
                done = [(node["id"], i, x) for i, x in of_rule(node, base).items()]
                for _, i, amount in done:
                    self.net[i] -= amount
                return done
            policy = node.get("policy", "best")
            children = self.children("receipt", node.get("id"))
            if policy == "sum":
                return [x for child in children for x in play(child, base)]
            if policy == "chain":
                return [x for child in children for x in play(child, list(self.net))]
            tried = []
            before = list(self.net)
            for child in children:
                tried.append(play(child, base))
                self.net = list(before)
            chosen = compete(policy, tried, lambda done: sum(x for _, _, x in done))
            for _, i, amount in chosen:
                self.net[i] -= amount
            return chosen

        for rule_id, i, amount in play({"policy": self.root_policy("receipt")}, list(self.began)):
            if amount:
                self.discounts[i][rule_id] = self.discounts[i].get(rule_id, 0) + amount

    def redeem_stage(self):
        self.begin("redeem")
        self.before_redeem = list(self.net)
        self.lots_used = []
        customer, asked = self.receipt.get("customer"), self.receipt.get("redeem")
        if not customer or asked is None:
            return
        now = self.receipt["at"][:19]
        lots = [
            x
            for x in customer.get("lots", [])
            if x.get("active_from", "") <= now and ("expires_at" not in x or now < x["expires_at"])
        ]
        lots.sort(key=lambda x: (x.get("expires_at", "~"), x.get("active_from", ""), x["id"]))
        balance = sum(x["amount"] for x in lots)
        best = (0, None, None, None)
        for rule in self.live:
            effect = rule["effect"]
            eligible = [
                i
                for i in self.numbers
                if self.selects(rule.get("items", {}), i) and not self.excluded("no_redeem", i)
            ]
            counted = self.numbers if effect.get("of", "receipt") == "receipt" else eligible
            base = sum(self.net[i] for i in counted)
            capacities = {i: max(0, self.net[i] - self.minimum[i]) for i in eligible}
            a = min(
                balance if asked == "max" else asked,
                balance,
                floor(Fraction(base * effect["max_bp"], 10000)),
                sum(capacities.values()),
            )
            a -= a % effect.get("step", 1)
            if a > best[0]:
                best = (a, rule, {i: self.net[i] for i in eligible}, capacities)
        amount, rule, weights, capacities = best
        if rule is None:
            return
        for i, share in spread(amount, weights, capacities).items():
            self.net[i] -= share
            self.redeemed[i] = share
        for lot in lots:
            part = min(lot["amount"], amount)
            amount -= part
            if part:
                self.lots_used.append([lot["id"], part])

    def earn_stage(self):
        self.begin("earn")
        self.earned, self.earned_lots = {}, []
        if not self.receipt.get("customer"):
            return
        points = {r["id"]: Fraction(0) for r in self.live}
        for i in self.numbers:
            if self.excluded("no_earn", i):
                continue

            def of_node(node, i=i):
                if "effect" in node:
                    bases = {"paid": self.net, "before_redeem": self.before_redeem, "list": self.list}
                    base = bases[node["effect"].get("on", "paid")][i]
                    return [(node["id"], Fraction(base * node["effect"]["bp"], 10000) * self.hit(node, i))]
                offers = [of_node(child) for child in self.children("earn", node.get("id"))]
                return compete(node.get("policy", "best"), offers, lambda o: sum(v for _, v in o))

            for rule_id, value in of_node({"policy": self.root_policy("earn")}):
                points[rule_id] += value
        for rule in self.live:
            effect = rule["effect"]
            unit = effect.get("unit", 100)
            got = floor(points[rule["id"]] / unit) * unit
            got = min(got, rule.get("cap", got))
            if got == 0:
                continue
            self.earned[rule["id"]] = got
            start = datetime.fromisoformat(self.receipt["at"][:19])
            if effect.get("delay_days", 0):
                start = datetime.fromisoformat(self.receipt["at"][:10]) + timedelta(effect["delay_days"])
            lot = {"rule": rule["id"], "amount": got, "active_from": start.strftime("%Y-%m-%dT%H:%M:%S")}
            if "ttl_days" in effect:
                end = start.replace(hour=0, minute=0, second=0) + timedelta(effect["ttl_days"])
                lot["expires_at"] = end.strftime("%Y-%m-%dT%H:%M:%S")
            self.earned_lots.append(lot)


def compete(policy, offers, worth):
    """What a group makes of its children's offers, each a list."""
    if policy in ("sum", "chain"):
        return [part for offer in offers for part in offer]
    running = [offer for offer in offers if worth(offer) > 0]
    if policy != "first":
        running.sort(key=worth, reverse=policy == "best")
    return running[0] if running else []


def naive_quote(rulebook, catalog, receipt):
    """The quote as JSON values, for valid documents without null values."""
    sale = Sale(rulebook, catalog, receipt)
    sale.line_stage()
    sale.receipt_stage()
    sale.redeem_stage()
    sale.earn_stage()
    return {
        "lines": [
            {
                "id": line["id"],
                "list": sale.list[i],
                "discounts": sale.discounts[i],
                "redeemed": sale.redeemed[i],
                "pay": sale.net[i],
            }
            for i, line in enumerate(sale.lines)
        ],
        "list": sum(sale.list),
        "discount": sum(sum(x.values()) for x in sale.discounts),
        "redeemed": sum(sale.redeemed),
        "pay": sum(sale.net),
        "lots_used": sale.lots_used,
        "earned": sale.earned,
        "earned_total": sum(sale.earned.values()),
        "earned_lots": sale.earned_lots,
        "rewards": {},
        "coupons_burned": [],
        "sets": [],
        "grants": [],
    }
