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

from loyalty.clauses import Clause
from loyalty.effects import Bundle, BuyGet, NForM, Part
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
        self.parts: tuple[Part, ...]
        match effect:
            case NForM(n):
                self.parts = (Part(clause.items, n),)
                bp = effect.bp
            case Bundle(parts):
                self.parts, bp = parts, 0
            case BuyGet(buy, get, bp):
                self.parts = (buy, get)
            case _:  # the parser lets no other effect into this stage
                raise AssertionError(effect)
        self.needs = clause.needs
        self.usable = [[i for i, shelf in enumerate(shelves) if shelf.is_meant(p.items)] for p in self.parts]
        self.touches = sorted({i for usable in self.usable for i in usable})
        self.same_sku = isinstance(effect, NForM) and effect.same_sku
        self.skus = [each.sku for each in classes]
        self.prices = [each.price_minor for each in classes]
        self.capacities = [each.capacity_minor for each in classes]
        self.cuts = [min(percent_of(price, bp), price) for price in self.prices]
        self.clipped = [min(cut, room) for cut, room in zip(self.cuts, self.capacities, strict=True)]
        self.meets_floors = any(self.capacities[i] < self.prices[i] for i in self.touches)

    # -- worth ------------------------------------------------------------------------------------

    def benefit(self, parts: Parts) -> int:
        """What an application takes off in all."""
        match self.effect:
            case NForM(_, m, _, place):
                free = parts[0][m:]
                if place == "free":
                    return sum(self.clipped[i] for i in free)
                return min(sum(self.cuts[i] for i in free), sum(self.capacities[i] for i in parts[0]))
            case BuyGet():
                return sum(self.clipped[i] for i in parts[1])
        units = [i for part in parts for i in part]
        return min(
            self._bundle_cut(sum(self.prices[i] for i in units)), sum(self.capacities[i] for i in units)
        )

    def _bundle_cut(self, total: int) -> int:
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
                total = sum(self.cuts[i] for i in parts[0][m:])
            case BuyGet():
                return [[0] * len(parts[0]), [self.clipped[i] for i in parts[1]]]
            case _:
                total = self._bundle_cut(sum(self.prices[i] for part in parts for i in part))
        units = self.places(parts)[0]
        return [distribute(total, [self.prices[i] for i in units], [self.capacities[i] for i in units])]

    def places(self, parts: Parts) -> Parts:
        """The units of an application in the lists in which they are taken from the classes."""
        return (
            parts if isinstance(self.effect, BuyGet) else (tuple(sorted(i for part in parts for i in part)),)
        )

    # -- listing ----------------------------------------------------------------------------------

    def applications(self, stock: Stock, more_than: Callable[[], int]) -> Iterator[Application]:
        """The applications that the stock allows and that are worth more than asked, in signature order.

        `more_than` is asked again and again, so whoever looks for the best raises it on the way.
        """
        if self.needs <= sum(stock[i] for i in self.touches):
            yield from self._fill((), list(stock), more_than)

    def best(self, stock: Stock) -> Application | None:
        """The application of greatest benefit, and of equals the one of smallest signature."""
        found: Application | None = None

        def more_than() -> int:
            return found.benefit if found is not None else 0

        for application in self.applications(stock, more_than):
            found = application
        return found

    def _fill(self, done: Parts, stock: Stock, more_than: Callable[[], int]) -> Iterator[Application]:
        if len(done) == len(self.parts):
            benefit = self.benefit(done)
            if benefit > more_than():
                yield Application(self.number, done, benefit)
            return
        yield from self._fill_part(done, (), 0, stock, more_than)

    def _fill_part(
        self, done: Parts, chosen: tuple[int, ...], start: int, stock: Stock, more_than: Callable[[], int]
    ) -> Iterator[Application]:
        """Complete the part after `done`, of which `chosen` stands, from usable classes from `start` on."""
        part = len(done)
        if len(chosen) == self.parts[part].count:
            yield from self._fill((*done, chosen), stock, more_than)
            return
        usable = self.usable[part]
        if start == len(usable) - 1:
            yield from self._fill_with(usable[start], done, chosen, stock, more_than)
            return
        for at in range(start, len(usable)):
            i = usable[at]
            if stock[i] == 0 or (self.same_sku and chosen and self.skus[i] != self.skus[chosen[0]]):
                continue
            stock[i] -= 1
            if self._bound(done, (*chosen, i), at, stock) > more_than():
                yield from self._fill_part(done, (*chosen, i), at, stock, more_than)
            stock[i] += 1

    def _fill_with(
        self, i: int, done: Parts, chosen: tuple[int, ...], stock: Stock, more_than: Callable[[], int]
    ) -> Iterator[Application]:
        """Complete the part after `done` with units of one class, the last it can use."""
        missing = self.parts[len(done)].count - len(chosen)
        if stock[i] < missing or (self.same_sku and chosen and self.skus[i] != self.skus[chosen[0]]):
            return
        stock[i] -= missing
        yield from self._fill((*done, chosen + (i,) * missing), stock, more_than)
        stock[i] += missing

    def _bound(self, done: Parts, chosen: tuple[int, ...], at: int, stock: Stock) -> int:
        """No completion of this beginning is worth more; 0 where there is none."""
        part = len(done)
        rest = self._dearest(part, at, self.parts[part].count - len(chosen), stock)
        if rest is None:
            return 0
        match self.effect:
            case NForM(n, m, _, place):
                # Cuts fall with the class, so the dearest completion has the greatest cuts.
                cuts = sum(self.cuts[i] for i in (*chosen, *rest)[m:])
                if place == "free":
                    return cuts
                return min(
                    cuts,
                    self._capacity(chosen) + self._most(part, at, n - len(chosen), stock, self.capacities),
                )
            case BuyGet(_, get):
                if part == 0:
                    return self._most(1, 0, get.count, stock, self.clipped)
                now = sum(self.clipped[i] for i in chosen)
                return now + self._most(1, at, get.count - len(chosen), stock, self.clipped)
        price = sum(self.prices[i] for each in (*done, chosen, rest) for i in each)
        room = sum(self._capacity(each) for each in (*done, chosen))
        room += self._most(part, at, len(rest), stock, self.capacities)
        for later in range(part + 1, len(self.parts)):
            dearest = self._dearest(later, 0, self.parts[later].count, stock)
            if dearest is None:
                return 0
            price += sum(self.prices[i] for i in dearest)
            room += self._most(later, 0, len(dearest), stock, self.capacities)
        return min(self._bundle_cut(price), room)

    def _dearest(self, part: int, at: int, count: int, stock: Stock) -> list[int] | None:
        """The dearest `count` free units of a part from a usable class on; None where there are fewer."""
        found: list[int] = []
        for i in self.usable[part][at:]:
            if len(found) >= count:
                break
            found += [i] * min(stock[i], count - len(found))
        return found if len(found) == count else None

    def _most(self, part: int, at: int, count: int, stock: Stock, values: Sequence[int]) -> int:
        """The greatest sum of `values` over `count` free units of a part from a usable class on."""
        total = 0
        for i in sorted(self.usable[part][at:], key=lambda i: -values[i]):
            if count == 0:
                break
            taken = min(stock[i], count)
            total += taken * values[i]
            count -= taken
        return total

    def _capacity(self, units: Sequence[int]) -> int:
        return sum(self.capacities[i] for i in units)
