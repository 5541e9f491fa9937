"""What one use of a set rule is worth: applications and their benefit (rulebook.md §4, "sets").

Units that no rule can tell apart form a *class*; an *application* is a rule
with the classes of its units, part by part, and its benefit depends on nothing
else. So all that a set rule needs to know of goods are a few numbers a class:

    price      of a unit after the price stage
    capacity   what a discount may take off a unit
    cut        what the rule would take off a unit that it makes cheaper

A rule lists its applications in the order of their signatures, dearest units
first. It can bound from above what a half-chosen application may still come to,
and leaves out at once what cannot be worth more than was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from loyalty.clauses import Clause, parts_of
from loyalty.effects import Bundle, BuyGet, NForM
from loyalty.index import Shelf
from loyalty.money import distribute, percent_of


@dataclass(frozen=True, order=True, slots=True)
class UnitClass:
    """Units that no rule can tell apart. The order of the fields is the order of classes: dearest first."""

    minus_price: int
    sku: str
    floor_minor: int
    shelf_price_minor: int

    @property
    def price_minor(self) -> int:
        """What a unit costs after the price stage."""
        return -self.minus_price

    @property
    def capacity_minor(self) -> int:
        """What a discount may take off a unit."""
        return max(0, self.price_minor - self.floor_minor)


Parts = tuple[tuple[int, ...], ...]
"""The units of an application: for each part of the rule the sorted numbers of their classes."""

Stock = list[int]
"""Units still free, by class number."""


@dataclass(frozen=True, slots=True)
class Application:
    """One use of a rule. `signature` orders applications; `benefit` is kopecks, above 0."""

    number: int
    parts: Parts
    benefit: int

    @property
    def signature(self) -> tuple[int, Parts]:
        """The rule's place, then the classes of each part."""
        return self.number, self.parts


class SetRule:
    """A live set rule over the classes of one receipt."""

    def __init__(self, clause: Clause, classes: Sequence[UnitClass], shelves: Sequence[Shelf]) -> None:
        self.clause = clause
        self.number = clause.number
        self.limit = clause.rule.limit
        self.effect = effect = clause.effect
        self.parts = parts_of(clause.rule)
        bp = effect.bp if isinstance(effect, NForM | BuyGet) else 0  # a bundle cuts no unit by itself
        self.needs = clause.needs
        self.usable = [[i for i, shelf in enumerate(shelves) if shelf.is_meant(p.items)] for p in self.parts]
        self.touches = sorted({i for usable in self.usable for i in usable})
        self.same_sku = isinstance(effect, NForM) and effect.same_sku
        self.skus = [each.sku for each in classes]
        self.prices = [each.price_minor for each in classes]
        self.capacities = [each.capacity_minor for each in classes]
        self.meets_floors = self.capacities != self.prices
        self.cuts = [min(percent_of(price, bp), price) for price in self.prices]
        self.clipped = self.cuts
        if self.meets_floors:
            self.clipped = [min(cut, room) for cut, room in zip(self.cuts, self.capacities, strict=True)]

    # -- worth ------------------------------------------------------------------------------------

    def benefit(self, parts: Parts) -> int:
        """What an application takes off in all."""
        match self.effect:
            case NForM(_, m, _, place):
                free = parts[0][m:]
                if place == "free":
                    return total_of(self.clipped, free)
                return min(total_of(self.cuts, free), total_of(self.capacities, parts[0]))
            case BuyGet():
                return total_of(self.clipped, parts[1])
        units = [i for part in parts for i in part]
        return min(self.bundle_cut(total_of(self.prices, units)), total_of(self.capacities, units))

    def bundle_cut(self, total: int) -> int:
        """What a bundle takes off units that cost `total` together."""
        match self.effect:
            case Bundle(price_minor=int(price)):
                return max(0, total - price)
            case Bundle(bp=int(bp)):
                return percent_of(total, bp)
            case Bundle(amount_minor=int(amount)):
                return min(total, amount)
        raise AssertionError(self.effect)

    def amounts(self, parts: Parts) -> list[list[int]]:
        """Kopecks off each unit of an application, where units of one class stand in class order (§4).

        The lists are those of `places`: what is spread lies over all units together, what is given
        to the cheaper ones lies part by part.
        """
        match self.effect:
            case NForM(_, m, _, "free"):
                return [[0] * m + [self.clipped[i] for i in parts[0][m:]]]
            case NForM(_, m):
                total = total_of(self.cuts, parts[0][m:])
            case BuyGet():
                return [[0] * len(parts[0]), [self.clipped[i] for i in parts[1]]]
            case _:
                total = self.bundle_cut(total_of(self.prices, [i for part in parts for i in part]))
        units = self.places(parts)[0]
        return [distribute(total, [self.prices[i] for i in units], [self.capacities[i] for i in units])]

    def places(self, parts: Parts) -> Parts:
        """The units of an application in the lists in which they are taken from the classes."""
        if isinstance(self.effect, BuyGet):
            return parts
        return (tuple(sorted(i for part in parts for i in part)),)

    # -- listing ----------------------------------------------------------------------------------

    def applications(self, stock: Stock, more_than: Callable[[], int]) -> Iterator[Application]:
        """The applications that the stock allows and that are worth more than asked, in signature order.

        `more_than` is asked again and again, so whoever looks for the best raises it on the way.
        """
        if self.needs <= sum([stock[i] for i in self.touches]):
            yield from _Listing(self, stock, more_than).fill(())

    def best(self, stock: Stock) -> Application | None:
        """The application of greatest benefit, and of equals the one of smallest signature."""
        found: Application | None = None
        # So much can be had at least, so what is worth less need not be listed.
        likely = _Listing(self, stock, lambda: 0).likely()

        def more_than() -> int:
            return found.benefit if found is not None else max(0, likely - 1)

        for application in self.applications(stock, more_than):
            found = application
        return found


class _Listing:
    """One listing of a rule's applications over the classes that have units left."""

    def __init__(self, rule: SetRule, stock: Stock, more_than: Callable[[], int]) -> None:
        self.rule = rule
        self.stock = list(stock)
        self.more_than = more_than
        self.usable = [[i for i in usable if stock[i]] for usable in rule.usable]
        self.touches = [i for i in rule.touches if stock[i]]
        self.ceiling = self._bound((), (), 0)
        """No application is worth more: whoever has found one of this worth may stop."""

    def fill(self, done: Parts) -> Iterator[Application]:
        """The applications that begin with these parts."""
        if len(done) == len(self.rule.parts):
            benefit = self.rule.benefit(done)
            if benefit > self.more_than():
                yield Application(self.rule.number, done, benefit)
            return
        yield from self._fill_part(done, (), 0)

    def _fill_part(self, done: Parts, chosen: tuple[int, ...], start: int) -> Iterator[Application]:
        """Complete the part after `done`, of which `chosen` stands, from usable classes from `start` on.

        Of each class as many units as possible first: so signatures come in order.
        """
        part = len(done)
        missing = self.rule.parts[part].count - len(chosen)
        if missing == 0:
            yield from self.fill((*done, chosen))
            return
        usable = self.usable[part]
        for at in range(start, len(usable)):
            if self.more_than() >= self.ceiling:
                return
            i = usable[at]
            if self.rule.same_sku and chosen and self.rule.skus[i] != self.rule.skus[chosen[0]]:
                continue
            least = missing if at == len(usable) - 1 else 1  # the last class must give all that is missing
            for units in range(min(self.stock[i], missing), least - 1, -1):
                begun = chosen + (i,) * units
                self.stock[i] -= units
                if least == missing or self._bound(done, begun, at + 1) > self.more_than():
                    yield from self._fill_part(done, begun, at + 1)
                self.stock[i] += units

    def _bound(self, done: Parts, chosen: tuple[int, ...], at: int) -> int:
        """No completion of this beginning is worth more; 0 where there is none.

        What is still missing is counted at its dearest and, apart from that, at its roomiest.
        """
        part = len(done)
        usable = self.usable[part][at:]
        missing = self.rule.parts[part].count - len(chosen)
        rest = self._first(usable, missing)
        if len(rest) < missing:
            return 0
        match self.rule.effect:
            case NForM(_, m, _, place):
                # Cuts fall with the class, so the dearest completion has the greatest cuts.
                cuts = total_of(self.rule.cuts, (*chosen, *rest)[m:])
                if place == "free":
                    return cuts
                return min(
                    cuts,
                    total_of(self.rule.capacities, chosen)
                    + self._most(self.rule.capacities, usable, missing),
                )
            case BuyGet(_, get):
                if part == 0:
                    return self._most_got(usable, missing, get.count)
                return total_of(self.rule.clipped, chosen) + self._most(self.rule.clipped, usable, missing)
        here = [i for each in (*done, chosen) for i in each]
        price = total_of(self.rule.prices, here) + total_of(self.rule.prices, rest)
        room = total_of(self.rule.capacities, here) + self._most(self.rule.capacities, usable, missing)
        for later in range(part + 1, len(self.rule.parts)):
            count = self.rule.parts[later].count
            dearest = self._first(self.usable[later], count)
            if len(dearest) < count:
                return 0
            price += total_of(self.rule.prices, dearest)
            room += self._most(self.rule.capacities, self.usable[later], count)
        if part + 1 < len(self.rule.parts):  # parts may want the same units, which cannot serve twice
            left = self.rule.needs - len(here)
            together = total_of(self.rule.prices, self._first(self.touches, left))
            price = min(price, total_of(self.rule.prices, here) + together)
            together = self._most(self.rule.capacities, self.touches, left)
            room = min(room, total_of(self.rule.capacities, here) + together)
        return min(self.rule.bundle_cut(price), room)

    def likely(self) -> int:
        """What can be had at least: by the dearest units, or by those with the most room."""
        if isinstance(self.rule.effect, BuyGet):
            return self.ceiling  # it is exact there
        by_room = sorted(self.touches, key=lambda i: -self.rule.capacities[i])
        return max(self._greedily(self.touches), self._greedily(by_room))

    def _greedily(self, order: Sequence[int]) -> int:
        """The benefit where each part takes the first units it can, in this order of classes."""
        stock, parts = list(self.stock), []
        for part, usable in zip(self.rule.parts, self.usable, strict=True):
            taken: list[int] = []
            for i in order:
                if i in usable and (
                    not self.rule.same_sku or not taken or self.rule.skus[i] == self.rule.skus[taken[0]]
                ):
                    units = min(stock[i], part.count - len(taken))
                    taken += [i] * units
                    stock[i] -= units
            if len(taken) < part.count:
                return 0
            parts.append(tuple(sorted(taken)))
        return self.rule.benefit(tuple(parts))

    def _most_got(self, buyable: Sequence[int], missing: int, count: int) -> int:
        """The most that `count` got units give while `missing` more can still be bought of other units."""
        to_spare = sum([self.stock[i] for i in buyable]) - missing
        if to_spare < 0:
            return 0
        wanted_too = set(buyable)
        total = 0
        for i in sorted(self.usable[1], key=lambda i: -self.rule.clipped[i]):
            units = min(self.stock[i], count)
            if i in wanted_too:
                units = min(units, to_spare)
                to_spare -= units
            total += units * self.rule.clipped[i]
            count -= units
            if count == 0:
                return total
        return 0

    def _first(self, classes: Sequence[int], count: int) -> list[int]:
        """The first `count` free units of these classes, or as many as there are."""
        found: list[int] = []
        for i in classes:
            if len(found) >= count:
                break
            found += [i] * min(self.stock[i], count - len(found))
        return found

    def _most(self, values: Sequence[int], classes: Sequence[int], count: int) -> int:
        """The greatest sum of `values` (capacities, clipped cuts) of `count` free units of these classes."""
        if self.rule.meets_floors:  # else they fall with the price, as the classes do
            classes = sorted(classes, key=lambda i: -values[i])
        return total_of(values, self._first(classes, count))


def total_of(values: Sequence[int], units: Sequence[int]) -> int:
    """What the classes of these units have of a value, added up."""
    return sum([values[i] for i in units])
