"""The sets stage (rulebook.md §4): which units stand together, and what each of them gets off.

The idea. Units that no rule can tell apart form a class. An application is a rule with the classes of its
units; its benefit depends on nothing else. CHOICE is then a search over "how many units of each class are
still free": for every such state the best plan is one application and the best plan of what it leaves.
That is exact and as dear as the page says (states × applications), so it is done only for components that
are not large; the page gives a plain greedy for the others and blocks for a lone n_for_m.

Reading that is not forced by the page: where floors differ, the blocks of a lone n_for_m can be worth less
than CHOICE could reach. The page says "a lone n_for_m is always exact: blocks of n down the class order";
the blocks are what it tells us to do, so they are done here whatever the size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from math import prod

from plain_conditions import Json, Line, goods_of, hits
from plain_numbers import PIECE, WHOLE_BP, distribute, percent

LARGE = 1_000_000
"""States × applications above which a component is searched greedily."""


@dataclass(frozen=True, order=True, slots=True)
class UnitClass:
    """Units that no rule can tell apart. The field order is the class order: dearest first."""

    minus_price: int
    sku: str
    floor: int
    shelf: int

    @property
    def price(self) -> int:
        return -self.minus_price

    @property
    def capacity(self) -> int:
        return max(0, self.price - self.floor)


@dataclass(frozen=True, slots=True)
class Application:
    """One use of a rule: for each part the sorted numbers of its classes."""

    rule: int
    parts: tuple[tuple[int, ...], ...]
    benefit: int = 0

    @property
    def signature(self) -> tuple[int, tuple[tuple[int, ...], ...]]:
        return (self.rule, self.parts)

    @property
    def units(self) -> Counter[int]:
        return Counter(number for part in self.parts for number in part)


def price_sets(lines: list[Line], rules: list[Json], catalog: Json, settings: Json) -> list[tuple[str, int]]:
    """Run the stage for the live set rules, in rule order: discounts are booked on the lines, the pieces
    used are marked. Returns (rule id, total) for each application in signature order."""
    units = _units_by_class(lines, catalog, settings)
    classes = sorted(units)
    stock = Counter({number: len(units[each]) for number, each in enumerate(classes)})
    chosen: list[Application] = []
    for component in _components(rules, classes, catalog):
        chosen += _choose(component, rules, classes, stock, catalog)
    chosen.sort(key=lambda application: application.signature)

    queues = {number: list(units[each]) for number, each in enumerate(classes)}
    totals = []
    for application in chosen:
        rule = rules[application.rule]
        taken = [[(number, queues[number].pop(0)) for number in part] for part in application.parts]
        given = _amounts(rule, [[classes[number] for number in part] for part in application.parts], taken)
        for position, amount in given:
            lines[position].take(rule, amount)
        for part in taken:
            for _, position in part:
                lines[position].pieces_in_sets += 1
        totals.append((rule["id"], sum(amount for _, amount in given)))
    return totals


def _units_by_class(lines: list[Line], catalog: Json, settings: Json) -> dict[UnitClass, list[int]]:
    """The line positions of the units of every class, in line order."""
    units: dict[UnitClass, list[int]] = {}
    for position, line in enumerate(lines):
        goods = goods_of(catalog, line.sku)
        if line.quantity % PIECE or goods.get("weighed") or line.no_discount:
            continue
        unit_class = UnitClass(-line.unit_price, line.sku, unit_floor(line, catalog, settings), line.price)
        units.setdefault(unit_class, []).extend([position] * (line.quantity // PIECE))
    return units


def unit_floor(line: Line, catalog: Json, settings: Json) -> int:
    """The least one unit of this line may cost (§4, price)."""
    floor = goods_of(catalog, line.sku).get("min_price") or 0
    limit_bp = settings.get("max_line_discount_bp")
    if limit_bp is not None:
        floor = max(floor, line.price - line.price * limit_bp // WHOLE_BP)
    return floor


# --- what an application is ---------------------------------------------------------------------------


def _parts(rule: Json) -> list[tuple[Json | None, int]]:
    """The (selector, count) of each part."""
    effect = rule["effect"]
    if effect["type"] == "n_for_m":
        return [(rule.get("items"), effect["n"])]
    if effect["type"] == "bundle":
        return [(part.get("items"), part["count"]) for part in effect["parts"]]
    return [(effect[side].get("items"), effect[side]["count"]) for side in ("buy", "get")]


def _amounts(
    rule: Json, parts: list[list[UnitClass]], taken: list[list[tuple[int, int]]]
) -> list[tuple[int, int]]:
    """(line position, amount off) of each unit of one application.

    `taken` gives (class number, line position) for the same places as `parts`."""
    effect = rule["effect"]
    flat = [
        (number, position, each)
        for part, places in zip(parts, taken, strict=True)
        for each, (number, position) in zip(part, places, strict=True)
    ]
    if effect["type"] == "buy_get":
        bp = effect["get"].get("bp", WHOLE_BP)
        return [
            (position, min(percent(each.price, bp), each.capacity))
            for each, (_, position) in zip(parts[1], taken[1], strict=True)
        ]
    in_order = sorted(flat, key=lambda unit: unit[:2])  # class order, inside a class by line position
    units = [each for _, _, each in in_order]
    positions = [position for _, position, _ in in_order]
    if effect["type"] == "n_for_m":
        free = units[effect["m"] :]
        off = [min(percent(each.price, effect.get("bp", WHOLE_BP)), each.price) for each in free]
        if effect.get("place", "spread") == "free":
            clipped = [min(amount, each.capacity) for amount, each in zip(off, free, strict=True)]
            return list(zip(positions[effect["m"] :], clipped, strict=True))
        total = sum(off)
    else:
        total = _bundle_amount(effect, sum(each.price for each in units))
    shares = distribute(total, [each.price for each in units], [each.capacity for each in units])
    return list(zip(positions, shares, strict=True))


def _bundle_amount(effect: Json, total: int) -> int:
    if effect.get("price") is not None:
        return int(max(0, total - effect["price"]))
    if effect.get("bp") is not None:
        return percent(total, effect["bp"])
    return int(min(total, effect["amount"]))


def _priced(
    rules: list[Json], order: int, parts: tuple[tuple[int, ...], ...], classes: list[UnitClass]
) -> Application:
    unit_classes = [[classes[number] for number in part] for part in parts]
    places = [[(number, 0) for number in part] for part in parts]
    benefit = sum(amount for _, amount in _amounts(rules[order], unit_classes, places))
    return Application(order, parts, benefit)


def _applications(
    rules: list[Json], order: int, classes: list[UnitClass], stock: Counter[int], catalog: Json
) -> list[Application]:
    """Every possible application of a rule that is worth something, in signature order."""
    wanted = [
        ([n for n in sorted(stock) if hits(items, classes[n].sku, classes[n].shelf, catalog)], count)
        for items, count in _parts(rules[order])
    ]
    same_sku = rules[order]["effect"].get("same_sku", False)
    found = []
    for parts in _fillings(wanted, stock):
        if same_sku and len({classes[number].sku for number in parts[0]}) > 1:
            continue
        application = _priced(rules, order, parts, classes)
        if application.benefit > 0:
            found.append(application)
    return sorted(found, key=lambda application: application.signature)


def _fillings(
    wanted: list[tuple[list[int], int]], stock: Counter[int]
) -> Iterator[tuple[tuple[int, ...], ...]]:
    """All ways to fill the parts from the stock, each part a sorted tuple of class numbers."""
    if not wanted:
        yield ()
        return
    (usable, count), rest = wanted[0], wanted[1:]
    for part in _multisets(usable, count, stock):
        for others in _fillings(rest, stock - Counter(part)):
            yield (part, *others)


def _multisets(usable: list[int], count: int, stock: Counter[int]) -> Iterator[tuple[int, ...]]:
    if count == 0:
        yield ()
        return
    for place, number in enumerate(usable):
        if stock[number] > 0:
            for rest in _multisets(usable[place:], count - 1, stock - Counter([number])):
                yield (number, *rest)


# --- CHOICE -------------------------------------------------------------------------------------------


def _components(rules: list[Json], classes: list[UnitClass], catalog: Json) -> list[list[int]]:
    """Rules (by order) that are tied together by a class they both can use."""
    usable = [_usable(rule, classes, catalog) for rule in rules]
    components: list[tuple[set[int], list[int]]] = []
    for order, numbers in enumerate(usable):
        touching = [c for c in components if c[0] & numbers]
        components = [c for c in components if not c[0] & numbers]
        merged = numbers.union(*(c[0] for c in touching))
        components.append((merged, sorted([order, *(o for c in touching for o in c[1])])))
    return [orders for _, orders in components]


def _usable(rule: Json, classes: list[UnitClass], catalog: Json) -> set[int]:
    return {
        number
        for number, each in enumerate(classes)
        if any(hits(items, each.sku, each.shelf, catalog) for items, _ in _parts(rule))
    }


def _choose(
    orders: list[int], rules: list[Json], classes: list[UnitClass], all_stock: Counter[int], catalog: Json
) -> list[Application]:
    """The applications of one component."""
    numbers = set().union(*(_usable(rules[order], classes, catalog) for order in orders))
    stock = Counter({number: all_stock[number] for number in sorted(numbers)})
    if len(orders) == 1 and rules[orders[0]]["effect"]["type"] == "n_for_m":
        return _blocks(rules, orders[0], classes, stock)
    possible = [a for order in orders for a in _applications(rules, order, classes, stock, catalog)]
    if prod(count + 1 for count in stock.values()) * len(possible) > LARGE:
        return _greedy(orders, rules, possible, stock)
    return _search(rules, possible, stock)


def _blocks(
    rules: list[Json], order: int, classes: list[UnitClass], stock: Counter[int]
) -> list[Application]:
    """A lone n_for_m: blocks of n down the class order, the best `limit` of them."""
    effect, limit = rules[order]["effect"], rules[order].get("limit")
    row = list(stock.elements())
    rows = [row]
    if effect.get("same_sku"):
        by_sku = sorted(row, key=lambda number: (classes[number].sku, number))
        rows = [list(run) for _, run in groupby(by_sku, key=lambda number: classes[number].sku)]
    blocks = (
        _priced(rules, order, (tuple(units[start : start + effect["n"]]),), classes)
        for units in rows
        for start in range(0, len(units) - effect["n"] + 1, effect["n"])
    )
    worthy = [block for block in blocks if block.benefit > 0]
    worthy.sort(key=lambda block: (-block.benefit, block.signature))
    return worthy[:limit]


def _greedy(
    orders: list[int], rules: list[Json], possible: list[Application], stock: Counter[int]
) -> list[Application]:
    """A large component: rules in order, each takes its best application again and again."""
    chosen = []
    for order in orders:
        ranked = sorted((a for a in possible if a.rule == order), key=lambda a: (-a.benefit, a.signature))
        limit = rules[order].get("limit")
        used = 0
        for application in ranked:
            while application.units <= stock and (limit is None or used < limit):
                chosen.append(application)
                stock = stock - application.units
                used += 1
    return chosen


def _search(rules: list[Json], possible: list[Application], stock: Counter[int]) -> list[Application]:
    """CHOICE itself: greatest benefit, then fewest applications, then the smallest sorted signatures.

    `possible` is in signature order, so the place of an application in it stands for its signature."""
    limits = {a.rule: rules[a.rule]["limit"] for a in possible if rules[a.rule].get("limit") is not None}
    limited = sorted(limits)
    numbers = sorted(stock)

    @cache
    def best(free: tuple[int, ...], left: tuple[int, ...]) -> tuple[int, int, tuple[int, ...]]:
        """(−benefit, applications, their places in order) for the units and limits still free."""
        units = Counter(dict(zip(numbers, free, strict=True)))
        answer: tuple[int, int, tuple[int, ...]] = (0, 0, ())
        for place, application in enumerate(possible):
            if not application.units <= units:
                continue
            after = left
            if application.rule in limits:
                which = limited.index(application.rule)
                if left[which] == 0:
                    continue
                after = (*left[:which], left[which] - 1, *left[which + 1 :])
            rest = tuple(units[number] - application.units[number] for number in numbers)
            minus_benefit, count, places = best(rest, after)
            plan = (minus_benefit - application.benefit, count + 1, tuple(sorted((place, *places))))
            answer = min(answer, plan)
        return answer

    start = tuple(stock[number] for number in numbers)
    return [possible[place] for place in best(start, tuple(limits[rule] for rule in limited))[2]]
