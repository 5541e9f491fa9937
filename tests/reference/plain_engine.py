"""The law a second time: a plain evaluator of the whole rulebook page, to hold the fast engine against.

It was written from rulebook.md alone, by somebody who had not read the engine, so that a sentence
misunderstood in one place is not misunderstood in the same way in the other. It works on raw JSON, has no
index and no cleverness, and every function carries the words of the page it stands for. It assumes a valid
request: finding faults is the engine's trade, not its own.

    evaluate({"rulebook", "catalog", "receipt", "returns"?, "draw_key"?}) -> the quote of §2

Where the page can be read in more than one way, this is what was chosen (and it is said again in place):
- contributions of a line are clipped to the room in the order of the tree (a group stands where its own
  priority puts it), not in the order of the rules regardless of their groups;
- a coupon named by series burns every presented, unused coupon of that series;
- `rewards` holds the draws; coupons, gifts and messages are in `grants` only; points of a draw stand in
  `earned_lots` too (else its delay_days would mean nothing), but not in `earned` nor in `earned_total`;
- `items` of a reward rule ask that some line is hit;
- a multiplier counts for a coupon where the line had a value of a rule that earned, even if × 1.00.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta
from fractions import Fraction
from typing import Any, TypeVar

from plain_conditions import Facts, Json, Line, goods_of, holds, named_coupons, selected
from plain_numbers import (
    PIECE,
    WHOLE_BP,
    amount_of,
    ceil_div,
    distribute,
    distribute_without_spill,
    percent,
)
from plain_sets import price_sets, unit_floor

NEVER = "~"
"""Sorts after every expiry: a lot without one is spent last."""

Gift = tuple[Json, dict[int, int]]
"""A rule and what it gives to which line position."""

T = TypeVar("T")


def evaluate(request: Json) -> Json:
    """The quote of a valid request, with `returns` where returns were asked."""
    return Sale(request).quote()


class Sale:
    """One request on its way through the stages."""

    def __init__(self, request: Json) -> None:
        self.rulebook: Json = request["rulebook"]
        self.catalog: Json = request["catalog"]
        self.receipt: Json = request["receipt"]
        self.returns: list[Json] = request.get("returns") or []
        self.key = bytes.fromhex(request.get("draw_key") or "")
        self.settings: Json = self.rulebook.get("settings") or {}
        self.rules = sorted(self.rulebook["rules"], key=in_order)
        self.lines = [self._line(each) for each in self.receipt["lines"]]
        self.now = Facts(self.receipt, self.catalog, []).now
        self.customer: Json | None = self.receipt.get("customer")
        self.lots_used: list[tuple[Json, int]] = []
        self.coupons: set[str] = set()

    def _line(self, raw: Json) -> Line:
        list_amount = amount_of(raw["price"], raw["quantity"])
        line = Line(raw["id"], raw["sku"], raw["price"], raw["quantity"], list_amount, list_amount)
        line.unit_price = line.price
        min_price = goods_of(self.catalog, line.sku).get("min_price") or 0
        line.min_amount = ceil_div(min_price * line.quantity, PIECE)
        line.floor = min(line.min_amount, line.list)
        limit_bp = self.settings.get("max_line_discount_bp")
        if limit_bp is not None:
            line.floor = max(line.floor, line.list - line.list * limit_bp // WHOLE_BP)
        line.no_discount = self.barred("no_discount")(line)
        if line.no_discount:
            line.floor = line.list
        return line

    def quote(self) -> Json:
        self.price()
        sets = self.sets()
        self.line()
        self.receipt_stage()
        self.round()
        self.redeem()
        earned, lots = self.earn()
        rewards, grants, reward_lots = self.reward()
        order = {rule["id"]: place for place, rule in enumerate(self.rules)}
        for rule in self.rules:
            if any(rule["id"] in line.discounts for line in self.lines):
                self.burn(rule)
        answer: Json = {
            "lines": [
                {
                    "id": line.id,
                    "list": line.list,
                    "discounts": line.discounts,
                    "redeemed": line.redeemed,
                    "pay": line.net,
                }
                for line in self.lines
            ],
            "list": sum(line.list for line in self.lines),
            "discount": sum(sum(line.discounts.values()) for line in self.lines),
            "redeemed": sum(line.redeemed for line in self.lines),
            "pay": sum(line.net for line in self.lines),
            "lots_used": [[lot["id"], amount] for lot, amount in self.lots_used],
            "earned": earned,
            "earned_total": sum(earned.values()),
            "earned_lots": sorted(lots + reward_lots, key=lambda lot: order[lot["rule"]]),
            "rewards": rewards,
            "coupons_burned": sorted(self.coupons),
            "sets": [[rule, total] for rule, total in sets],
            "grants": grants,
        }
        if self.returns:
            answer["returns"] = self.give_back(earned)
        return answer

    # --- what every stage asks -------------------------------------------------------------------------

    def hit(self, selector: Json | None, line: Line) -> bool:
        return selected(selector, line, self.catalog)

    def barred(self, setting: str) -> Callable[[Line], bool]:
        """Which lines does a setting (no_discount, no_redeem, no_earn) shut out? Absent: none."""
        selector = self.settings.get(setting)
        return lambda line: selector is not None and self.hit(selector, line)

    def live(self, stage: str, lines: list[Line] | None = None) -> list[Json]:
        """The rules of a stage whose conditions hold now, in order (§3: on the amounts of this moment)."""
        lines = self.lines if lines is None else lines
        facts = Facts(self.receipt, self.catalog, lines, sum(line.redeemed for line in self.lines))
        return [
            rule
            for rule in self.rules
            if rule["stage"] == stage and rule.get("enabled", True) and holds(rule.get("when"), facts)
        ]

    def tree(self, stage: str, rules: list[Json], parent: str | None = None) -> list[Node]:
        """The children of a group (None: of the root), rules and groups together by (priority, id)."""
        groups = [group for group in self.rulebook.get("groups") or [] if group["stage"] == stage]
        children = [Node(rule) for rule in rules if rule.get("group") == parent]
        children += [
            Node(group, self.tree(stage, rules, group["id"]))
            for group in groups
            if group.get("parent") == parent
        ]
        return sorted(children, key=lambda node: in_order(node.what))

    def root_policy(self, stage: str) -> str:
        return str((self.settings.get("policy") or {}).get(stage) or "best")

    def burn(self, rule: Json) -> None:
        """This rule did something: the coupons its condition names are spent (§7)."""
        self.coupons |= named_coupons(rule.get("when"), self.receipt)

    # --- price, sets -----------------------------------------------------------------------------------

    def price(self) -> None:
        rules = self.live("price")
        for line in self.lines:
            if line.no_discount:
                continue
            floor = unit_floor(line, self.catalog, self.settings)
            offers = [(max(r["effect"]["price"], floor), r) for r in rules if self.hit(r.get("items"), line)]
            offers = [offer for offer in offers if offer[0] < line.price]
            if offers:
                unit_price, rule = min(offers, key=lambda offer: offer[0])  # min keeps the earlier of equals
                line.unit_price = unit_price
                line.take(rule, line.list - max(amount_of(unit_price, line.quantity), line.floor))

    def sets(self) -> list[tuple[str, int]]:
        return price_sets(self.lines, self.live("sets"), self.catalog, self.settings)

    # --- line ------------------------------------------------------------------------------------------

    def line(self) -> None:
        rules = self.live("line")
        tree = self.tree("line", rules)
        left = {rule["id"]: rule["cap"] for rule in rules if rule.get("cap") is not None}
        for line in self.lines:
            offers = {
                rule["id"]: self._offer(rule, line, left) for rule in rules if self._applies(rule, line)
            }
            for rule, amount in choose(tree, self.root_policy("line"), offers, line.room):
                given = min(amount, line.room)
                line.take(rule, int(given))
                if rule["id"] in left:
                    left[rule["id"]] -= given

    def _applies(self, rule: Json, line: Line) -> bool:
        return self.hit(rule.get("items"), line) and not (rule.get("fresh") and line.net < line.list)

    def _offer(self, rule: Json, line: Line, left: dict[str, int]) -> Offer:
        """What a rule would take off this line once `taken` is already off, as a function of `taken`."""
        effect, pieces = rule["effect"], line.pieces_in_sets
        quantity = line.quantity if rule.get("over_sets") else line.quantity - pieces * PIECE
        if rule.get("over_sets") or not pieces:
            whole = line.net
        else:  # a line in a set has whole pieces, so this is exact
            whole = line.unit_price * quantity // PIECE

        def amount(taken: int | Fraction) -> int | Fraction:
            base = int(max(0, whole - taken))
            if effect["type"] == "percent":
                off = percent(base, effect["bp"])
            elif effect["type"] == "amount_off":
                off = amount_of(effect["amount"], quantity)
            else:
                off = base - amount_of(effect["price"], quantity)
            off = min(max(0, off), base)
            return min(off, left[rule["id"]]) if rule["id"] in left else off

        return amount

    # --- receipt, round --------------------------------------------------------------------------------

    def receipt_stage(self) -> None:
        rules = self.live("receipt")
        self.begun = [line.net for line in self.lines]
        self.eligible = {
            rule["id"]: [
                i for i, line in enumerate(self.lines) if self._applies(rule, line) and not line.no_discount
            ]
            for rule in rules
        }
        root = Node({"policy": self.root_policy("receipt")}, self.tree("receipt", rules))
        for rule, shares in self._gifts(root, self.begun, self.begun):
            for i, amount in shares.items():
                self.lines[i].take(rule, amount)

    def _gifts(self, node: Node, base: list[int], nets: list[int]) -> list[Gift]:
        """What a rule or group would give: percents count on `base`, room is what `nets` leave."""
        if node.children is None:
            return [(node.what, self._shares(node.what, base, nets))]
        policy, gifts = policy_of(node.what), list[Gift]()
        if policy in ("sum", "chain"):
            for child in node.children:
                now = after(nets, gifts)
                gifts += self._gifts(child, base if policy == "sum" else now, now)
            return gifts
        return pick(policy, [self._gifts(child, base, nets) for child in node.children], gift_total)

    def _shares(self, rule: Json, base: list[int], nets: list[int]) -> dict[int, int]:
        places = self.eligible[rule["id"]]
        weights = [base[i] for i in places]
        capacities = [nets[i] - self.lines[i].floor for i in places]
        total, spill = receipt_amount(rule["effect"], sum(weights))
        total = min(total, sum(weights))
        if rule.get("cap") is not None:
            total = min(total, rule["cap"])
        spread = distribute if spill else distribute_without_spill
        return dict(zip(places, spread(total, weights, capacities), strict=True))

    def round(self) -> None:
        for rule in self.live("round")[:1]:
            total = sum(line.net for line in self.lines) % rule["effect"]["to"]
            capacities = [line.room for line in self.lines]
            if total <= sum(capacities):
                shares = distribute(total, [line.net for line in self.lines], capacities)
                for line, amount in zip(self.lines, shares, strict=True):
                    line.take(rule, amount)

    # --- redeem ----------------------------------------------------------------------------------------

    def redeem(self) -> None:
        asked = self.receipt.get("redeem")
        if self.customer is None or asked is None:
            return
        lots = sorted(filter(self._lot_is_live, self.customer.get("lots") or []), key=spending_order)
        balance = sum(lot["amount"] for lot in lots)
        barred = self.barred("no_redeem")
        best: tuple[int, Json, list[int]] | None = None
        for rule in self.live("redeem"):
            effect = rule["effect"]
            eligible = [self.hit(rule.get("items"), line) and not barred(line) for line in self.lines]
            capacities = [
                max(0, line.net - line.min_amount) if may else 0
                for line, may in zip(self.lines, eligible, strict=True)
            ]
            counted = eligible if effect.get("of") == "eligible" else [True] * len(self.lines)
            base = sum(line.net for line, counts in zip(self.lines, counted, strict=True) if counts)
            limit = base * effect["max_bp"] // WHOLE_BP
            amount = min(balance, limit, sum(capacities))
            if asked != "max":
                amount = min(amount, asked)
            amount -= amount % (effect.get("step") or 1)
            if best is None or amount > best[0]:
                best = (amount, rule, capacities)
        if best is None or best[0] == 0:
            return
        amount, rule, capacities = best
        self.burn(rule)
        for line, share in zip(
            self.lines, distribute(amount, [line.net for line in self.lines], capacities), strict=True
        ):
            line.redeemed = share
            line.net -= share
        for lot in lots:
            part = min(lot["amount"], amount)
            if part:
                self.lots_used.append((lot, part))
            amount -= part

    def _lot_is_live(self, lot: Json) -> bool:
        return is_before(lot.get("active_from"), self.now) and not is_before(
            lot.get("expires_at"), self.now, False
        )

    # --- earn ------------------------------------------------------------------------------------------

    def earn(self) -> tuple[dict[str, int], list[Json]]:
        earned, lots = {}, []
        points, multiplied = self.points(self.lines)
        for rule in self.rules:
            if points.get(rule["id"], 0) > 0:
                earned[rule["id"]] = points[rule["id"]]
                lots.append(self._lot(rule, points[rule["id"]]))
                self.burn(rule)
                for multiplier in multiplied.get(rule["id"], []):
                    self.burn(multiplier)
        return earned, lots

    def points(self, lines: list[Line]) -> tuple[dict[str, int], dict[str, list[Json]]]:
        """Points of each earning rule on these lines, and the multipliers that worked on its lines.

        Called for the sale, and again for what a return leaves of it."""
        if self.customer is None:
            return {}, {}
        rules = self.live("earn", lines)
        barred = self.barred("no_earn")
        earning = [line for line in lines if not barred(line)]

        def by_type(kind: str) -> list[Json]:
            return [rule for rule in rules if rule["effect"]["type"] == kind]

        percents, multipliers = by_type("earn_percent"), by_type("earn_multiplier")
        tree = self.tree("earn", percents)
        exact: dict[str, Fraction] = {}
        multiplied: dict[str, list[Json]] = {}
        for line in earning:
            offers = {r["id"]: self._earn_offer(r, line) for r in percents if self.hit(r.get("items"), line)}
            hitting = [r for r in multipliers if self.hit(r.get("items"), line)]
            multiplier = max(hitting, key=lambda r: int(r["effect"]["x100"]), default=None)
            factor = Fraction(multiplier["effect"]["x100"], 100) if multiplier else Fraction(1)
            for rule, value in choose(tree, self.root_policy("earn"), offers, None):
                exact[rule["id"]] = exact.get(rule["id"], Fraction(0)) + value * factor
                if multiplier and value > 0:
                    multiplied.setdefault(rule["id"], []).append(multiplier)
        points = {}
        for rule in percents:
            whole = int(exact.get(rule["id"], Fraction(0)))
            points[rule["id"]] = whole - whole % (rule["effect"].get("unit") or 100)
        for rule in by_type("earn_fixed"):
            if any(self.hit(rule.get("items"), line) for line in earning):
                points[rule["id"]] = rule["effect"]["points"]
        for rule in by_type("earn_every"):
            base = sum(earn_base(rule, line) for line in earning if self.hit(rule.get("items"), line))
            points[rule["id"]] = base // rule["effect"]["every"] * rule["effect"]["points"]
        for rule in rules:
            if rule.get("cap") is not None and rule["id"] in points:
                points[rule["id"]] = min(points[rule["id"]], rule["cap"])
        return points, multiplied

    def _earn_offer(self, rule: Json, line: Line) -> Offer:
        value = Fraction(earn_base(rule, line) * rule["effect"]["bp"], WHOLE_BP)
        return lambda taken: value  # a chain of earnings is a sum

    def _lot(self, rule: Json, amount: int) -> Json:
        effect = rule["effect"]
        midnight = datetime.combine(self.now, time())
        delay = effect.get("delay_days") or 0
        active = midnight + timedelta(days=delay)
        lot = {
            "rule": rule["id"],
            "amount": amount,
            "active_from": (active if delay else self.now).isoformat(),
        }
        if effect.get("ttl_days") is not None:
            lot["expires_at"] = (active + timedelta(days=effect["ttl_days"])).isoformat()
        return lot

    # --- reward ----------------------------------------------------------------------------------------

    def reward(self) -> tuple[dict[str, int], list[Json], list[Json]]:
        rewards, grants, lots = dict[str, int](), list[Json](), list[Json]()
        if self.customer is None:
            return rewards, grants, lots
        for rule in self.live("reward"):
            effect = rule["effect"]
            if rule.get("items") is not None and not any(
                self.hit(rule["items"], line) for line in self.lines
            ):
                continue
            if effect["type"] not in ("draw_table", "draw_deck"):
                grants.append({"rule": rule["id"], **effect})
                continue
            draw = self._from_table if effect["type"] == "draw_table" else self._from_deck
            rewards[rule["id"]] = draw(rule)
            if rewards[rule["id"]] > 0:
                lots.append(self._lot(rule, rewards[rule["id"]]))
        return rewards, grants, lots

    def _from_table(self, rule: Json) -> int:
        assert self.customer is not None
        table = rule["effect"]["table"]
        parts = ("rw1", self.rulebook["id"], rule["id"], self.customer["id"], self.now.date().isoformat())
        x = self._random("|".join(parts)) * sum(weight for weight, _ in table) >> 64
        for weight, points in table:
            if x < weight:
                return int(points)
            x -= weight
        raise AssertionError("x is less than the sum of the weights")

    def _from_deck(self, rule: Json) -> int:
        deck = [points for count, points in rule["effect"]["cards"] for _ in range(count)]
        for i in range(len(deck) - 1, 0, -1):
            parts = ("deck1", self.rulebook["id"], rule["id"], self.receipt["till"], str(i))
            j = self._random("|".join(parts)) * (i + 1) >> 64
            deck[i], deck[j] = deck[j], deck[i]
        return int(deck[self.receipt["draws"][rule["id"]] % len(deck)])

    def _random(self, text: str) -> int:
        if not self.key:
            raise ValueError("a live draw needs a draw key")
        return int.from_bytes(hmac.new(self.key, text.encode(), hashlib.sha256).digest()[:8], "big")

    # --- returns ---------------------------------------------------------------------------------------

    def give_back(self, earned: dict[str, int]) -> list[Json]:
        """The returns in order (§6). Every part of a line is counted from its beginning, so that many
        small returns give back what one large one would."""
        returned = {line.id: 0 for line in self.lines}
        held = dict(earned)
        spent = [[lot, amount] for lot, amount in self.lots_used]
        results = []
        for each in self.returns:
            lines: dict[str, Json] = {}
            for line in self.lines:
                if line.id in each["lines"]:
                    a = returned[line.id]
                    b = returned[line.id] = a + each["lines"][line.id]
                    lines[line.id] = {
                        "money": part(line.net, a, b, line.quantity),
                        "points": part(line.redeemed, a, b, line.quantity),
                    }
            points = sum(given["points"] for given in lines.values())
            at = datetime.fromisoformat(each["at"]).replace(tzinfo=None)
            results.append(
                {
                    "money": sum(given["money"] for given in lines.values()),
                    "points_back": points,
                    "lots_back": lots_back(spent, points, at),
                    "earned_reversed": self._reverse(held, returned),
                    "lines": lines,
                }
            )
        return results

    def _reverse(self, held: dict[str, int], returned: dict[str, int]) -> dict[str, int]:
        """What the rest of the sale would not have earned, taken out of `held`."""
        rest = [
            self._rest(line, returned[line.id]) for line in self.lines if returned[line.id] < line.quantity
        ]
        again, _ = self.points(rest)
        reversed_now = {rule: max(0, points - again.get(rule, 0)) for rule, points in held.items()}
        for rule, points in reversed_now.items():
            held[rule] -= points
        return {rule: points for rule, points in reversed_now.items() if points > 0}

    def _rest(self, line: Line, returned: int) -> Line:
        def left(amount: int) -> int:
            return amount - part(amount, 0, returned, line.quantity)

        return replace(
            line,
            quantity=line.quantity - returned,
            list=left(line.list),
            net=left(line.net),
            redeemed=left(line.redeemed),
        )


# --- the tree of groups -----------------------------------------------------------------------------------

Offer = Callable[[int | Fraction], int | Fraction]
"""What a rule would give on a line from which a chain has already taken so much."""


class Node:
    """A rule (no children) or a group."""

    def __init__(self, what: Json, children: list[Node] | None = None) -> None:
        self.what = what
        self.children = children


def in_order(what: Json) -> tuple[int, str]:
    """(priority, id): the order of rules and groups everywhere (§4)."""
    priority = what.get("priority")
    return (100 if priority is None else priority, what["id"])


def policy_of(group: Json) -> str:
    """`POLICY = …; default best` (§2)."""
    return str(group.get("policy") or "best")


def choose(
    children: list[Node], policy: str, offers: dict[str, Offer], room: int | None, taken: int | Fraction = 0
) -> list[tuple[Json, int | Fraction]]:
    """The contributions to one line that a policy chooses among its children, not yet clipped to the room.

    `room` is None where there is no floor (earning)."""
    found: list[list[tuple[Json, int | Fraction]]] = []
    for child in children:
        if child.children is not None:
            got = choose(child.children, policy_of(child.what), offers, room, taken)
        elif child.what["id"] in offers:
            got = [(child.what, offers[child.what["id"]](taken))]
        else:
            continue
        found.append(got)
        if policy == "chain":
            taken += total_of(got)
    if policy in ("sum", "chain"):
        return [one for got in found for one in got]
    return pick(policy, found, lambda got: total_of(got) if room is None else min(room, total_of(got)))


def total_of(contributions: list[tuple[Json, int | Fraction]]) -> int | Fraction:
    return sum(amount for _, amount in contributions)


def pick(policy: str, found: list[list[T]], worth: Callable[[list[T]], int | Fraction]) -> list[T]:
    """best, worst or first of the alternatives worth more than nothing; ties go to the earlier."""
    worthy = [one for one in found if worth(one) > 0]
    if not worthy:
        return []
    if policy == "first":
        return worthy[0]
    return (max if policy == "best" else min)(worthy, key=worth)  # both keep the earlier of equals


def gift_total(gifts: list[Gift]) -> int:
    return sum(sum(shares.values()) for _, shares in gifts)


def after(nets: list[int], gifts: list[Gift]) -> list[int]:
    """The nets once these gifts are given."""
    return [net - sum(shares.get(i, 0) for _, shares in gifts) for i, net in enumerate(nets)]


# --- small laws -------------------------------------------------------------------------------------------


def receipt_amount(effect: Json, base: int) -> tuple[int, bool]:
    """(what a receipt rule asks for on this base, does it spill)."""
    kind = effect["type"]
    amount, by_percent = 0, kind == "receipt_percent"
    if kind == "receipt_percent":
        amount = percent(base, effect["bp"])
    elif kind == "receipt_amount":
        amount = effect["amount"]
    elif kind == "receipt_every":
        times = base // effect["every"]
        if effect.get("times") is not None:
            times = min(times, effect["times"])
        amount = times * effect["amount"]
    else:
        reached = [step for step in effect["steps"] if step["min"] <= base]
        if reached:
            step = max(reached, key=lambda step: int(step["min"]))
            by_percent = step.get("bp") is not None
            amount = percent(base, step["bp"]) if by_percent else step["amount"]
    spill = effect.get("spill")
    return amount, not by_percent if spill is None else bool(spill)


def earn_base(rule: Json, line: Line) -> int:
    """What an earning rule counts on: paid (the default), before the redemption, or list."""
    on = rule["effect"].get("on") or "paid"
    return {"paid": line.net, "before_redeem": line.net + line.redeemed, "list": line.list}[on]


def part(amount: int, a: int, b: int, quantity: int) -> int:
    """The part of an amount that goes with the quantity between a and b."""
    return amount * b // quantity - amount * a // quantity


def spending_order(lot: Json) -> tuple[str, str, str]:
    return (lot.get("expires_at") or NEVER, lot.get("active_from") or "", lot["id"])


def is_before(bound: str | None, now: datetime, absent: bool = True) -> bool:
    """Has this wall-clock bound been reached? `absent` is the answer where there is none."""
    return absent if bound is None else datetime.fromisoformat(bound) <= now


def lots_back(spent: Sequence[list[Any]], points: int, at: datetime) -> list[list[Any]]:
    """Give points back to their lots, the last spent first; `spent` shrinks by what went back."""
    back: list[list[Any]] = []
    for entry in reversed(spent):
        lot, amount = entry
        piece = min(amount, points)
        if piece:
            expired = is_before(lot.get("expires_at"), at, absent=False)
            back.append([lot["id"], piece, "expired" if expired else "live"])
            entry[1] -= piece
            points -= piece
    return back
