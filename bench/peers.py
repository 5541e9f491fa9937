"""Other people's engines on the part of the work that they can express: the largest category percent.

The idea
--------
There is no other engine for this law, so nothing here is a race over the same
course. The question is narrower: how long does a known engine take to find, for
each line of a receipt, the largest percent among N rules that name categories?
Everyone gets the same goods (without minimum prices, in whole pieces), the same
rules and the same receipts, uses what its own manual tells to use, keeps ready
whatever can be kept between two receipts, and must arrive at our discounts, to
less than a kopeck a line (roundings differ). Where it gives less than ours, the
table says on how many lines it gives the same; more than ours stops the run.

* **django-oscar**: one offer per rule on a range of one category, with its
  priority as the percent, so that the largest takes the line first; timed is
  `Applicator().apply` on a stored basket, database in memory. (Its percentage
  benefit stops at the first line of its range that another offer has taken, so
  lines in nested categories can be left out.)
* **zen-engine**: one decision table over the three levels of a line's category,
  hit policy `first`, rows by falling percent, in loop mode over the lines; timed
  is one `evaluate` a receipt.
* **cel**: one compiled expression per rule, tried on each line by falling
  percent until one holds; timed is that loop.

Each is imported only when asked for. They come with the extra `bench`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from importlib import metadata
from typing import Any, Protocol

from bench import workload
from bench.figures import PeerCell
from bench.timing import Competitor, clock, collector_frozen, in_turns
from loyalty import catalog, receipt, rulebook
from loyalty.index import compile_rulebook
from loyalty.money import BP, THOUSANDTHS, percent_of
from loyalty.quote import quote

Json = dict[str, Any]

RULE_COUNTS = (10, 100, 1_000)
RECEIPTS = 20
ROUNDS = 10
CELLS_IN_A_TURN = 12
"""Figures that are made in the time that the engine has for one number of lines."""
TOO_LONG_S = 20.0
"""A single receipt that can be expected to take longer is not tried."""

Discounts = Sequence[float]
"""What each line gets off, in kopecks."""


class Peer(Protocol):
    """An engine with its rules loaded."""

    def prepare(self, raw: Json) -> Any:
        """The receipt in the engine's own terms; not timed."""

    def price(self, prepared: Any) -> Any:
        """What is timed."""

    def discounts(self, prepared: Any, answer: Any) -> Discounts:
        """What the answer means."""


def compare(line_counts: Sequence[int], seconds: float) -> tuple[list[PeerCell], list[str]]:
    """A cell for each engine, number of rules and of lines; a sentence for each engine that is not there."""
    shop = workload.draw(RULE_COUNTS, line_counts, RECEIPTS, {"percent": 1})
    for goods in shop.catalog["skus"].values():
        goods.pop("min_price", None)
    for raws in shop.receipts.values():
        for line in (line for raw in raws for line in raw["lines"]):
            line["quantity"] = max(1, line["quantity"] // THOUSANDTHS) * THOUSANDTHS

    cells: list[PeerCell] = []
    skipped: list[str] = []
    for package, module, make in PEERS:
        try:
            importlib.import_module(module)
        except ImportError:
            skipped.append(f"{package} is not installed: skipped.")
            continue
        name = f"{package} {metadata.version(package)}" if package != "kopilka" else package
        cells += _time(name, make, shop, seconds)
    return cells, skipped


def _time(
    name: str, make: Callable[[Json, Json], Peer], shop: workload.Workload, seconds: float
) -> Iterator[PeerCell]:
    us_per_step, share_s = 0.0, seconds / CELLS_IN_A_TURN
    for count, text in shop.rulebooks.items():
        peer = make(json.loads(text), shop.catalog)
        ours = Kopilka(json.loads(text), shop.catalog)
        for lines, raws in shop.receipts.items():
            if us_per_step * count * lines > TOO_LONG_S * 1e6:
                yield PeerCell(name, count, lines, 0, None, None)
                continue
            begin = clock()
            same = _same_lines(name, peer, ours, raws[0])
            affordable = int(share_s * 1e9) // (clock() - begin)
            competitor = Competitor(peer.price)
            pool = [peer.prepare(raw) for raw in raws[: max(1, affordable)]]
            for prepared in pool:
                peer.price(prepared)
            with collector_frozen():
                in_turns([competitor], pool, share_s, ROUNDS)
            median_us = competitor.samples.median_us
            us_per_step = median_us / (count * lines)
            yield PeerCell(name, count, lines, len(competitor.samples.ns), median_us, same)


def _same_lines(name: str, peer: Peer, ours: Peer, raw: Json) -> int:
    """On how many lines of a receipt the peer gives our discount; more than ours is never right."""
    wanted, found = (
        each.discounts(prepared, each.price(prepared))
        for each, prepared in ((ours, ours.prepare(raw)), (peer, peer.prepare(raw)))
    )
    if any(theirs >= our + 1 for our, theirs in zip(wanted, found, strict=True)):
        raise AssertionError(f"{name} gives too much on receipt {raw['id']}: {found}, not {wanted}")
    return sum(our - theirs < 1 for our, theirs in zip(wanted, found, strict=True))


def _by_falling_percent(document: Json) -> list[tuple[int, str]]:
    """(basis points, category) of each rule."""
    rules = [(rule["effect"]["bp"], rule["items"]["category"][0]) for rule in document["rules"]]
    return sorted(rules, key=lambda rule: -rule[0])


def _levels(category: str) -> list[str]:
    """A leaf `c1.2.3` as ["c1", "c1.2", "c1.2.3"]."""
    parts = category.split(".")
    return [".".join(parts[: depth + 1]) for depth in range(len(parts))]


def _amount(line: Json) -> int:
    return int(line["price"] * line["quantity"] // THOUSANDTHS)


class Kopilka:
    """Ourselves, on the same rules."""

    def __init__(self, document: Json, goods: Json) -> None:
        self._engine = compile_rulebook(rulebook.parse(document), catalog.parse(goods))

    def prepare(self, raw: Json) -> Any:
        return receipt.parse(raw)

    def price(self, prepared: Any) -> Any:
        return quote(self._engine, prepared)

    def discounts(self, prepared: Any, answer: Any) -> Discounts:
        return [sum(line.discounts.values()) for line in answer.lines]


class Zen:
    """A decision table of zen-engine."""

    def __init__(self, document: Json, goods: Json) -> None:
        zen: Any = importlib.import_module("zen")
        self._category_of = {sku: each["category"] for sku, each in goods["skus"].items()}
        columns = ("top", "middle", "leaf")
        rows = [
            {"_id": str(number), columns[category.count(".")]: f'"{category}"', "bp": str(bp)}
            for number, (bp, category) in enumerate(_by_falling_percent(document))
        ]
        table = {
            "hitPolicy": "first",
            "executionMode": "loop",
            "inputField": "lines",
            "outputPath": "lines",
            "passThrough": False,
            "inputs": [{"id": column, "name": column, "field": column} for column in columns],
            "outputs": [{"id": "bp", "name": "bp", "field": "bp"}],
            "rules": [dict.fromkeys(columns, "") | row for row in rows],
        }
        nodes: list[Json] = [
            {"id": "in", "type": "inputNode", "name": "in"},
            {"id": "table", "type": "decisionTableNode", "name": "table", "content": table},
            {"id": "out", "type": "outputNode", "name": "out"},
        ]
        for node in nodes:
            node["position"] = {"x": 0, "y": 0}
        edges = [
            {"id": f"{a}-{b}", "type": "edge", "sourceId": a, "targetId": b}
            for a, b in (("in", "table"), ("table", "out"))
        ]
        self._decision = zen.ZenEngine().create_decision(json.dumps({"nodes": nodes, "edges": edges}))

    def prepare(self, raw: Json) -> Any:
        lines = []
        for line in raw["lines"]:
            top, middle, leaf = _levels(self._category_of[line["sku"]])
            lines.append({"top": top, "middle": middle, "leaf": leaf, "amount": _amount(line)})
        return {"lines": lines}

    def price(self, prepared: Any) -> Any:
        found = self._decision.evaluate(prepared)["result"]["lines"]
        pairs = zip(prepared["lines"], found, strict=True)
        return [percent_of(line["amount"], int((hit or {}).get("bp", 0))) for line, hit in pairs]

    def discounts(self, prepared: Any, answer: Any) -> Discounts:
        return list(answer)


class Cel:
    """Compiled expressions of the Common Expression Language."""

    def __init__(self, document: Json, goods: Json) -> None:
        self._cel: Any = importlib.import_module("cel")
        self._category_of = {sku: each["category"] for sku, each in goods["skus"].items()}
        self._rules = [
            (bp, self._cel.compile(f'"{category}" in line.categories'))
            for bp, category in _by_falling_percent(document)
        ]

    def prepare(self, raw: Json) -> Any:
        return [
            (
                _amount(line),
                self._cel.Context({"line": {"categories": _levels(self._category_of[line["sku"]])}}),
            )
            for line in raw["lines"]
        ]

    def price(self, prepared: Any) -> Any:
        return [percent_of(amount, self._bp(context)) for amount, context in prepared]

    def _bp(self, context: Any) -> int:
        return next((bp for bp, program in self._rules if program.execute(context)), 0)

    def discounts(self, prepared: Any, answer: Any) -> Discounts:
        return list(answer)


class Oscar:
    """Offers of django-oscar over a database in memory."""

    def __init__(self, document: Json, goods: Json) -> None:
        from bench import oscar_shop

        self._shop = oscar_shop.shop(json.dumps(goods))
        self._shop.replace_offers(
            [(Decimal(bp) * 100 / BP, category) for bp, category in _by_falling_percent(document)]
        )

    def prepare(self, raw: Json) -> Any:
        lines = [(line["sku"], line["price"], line["quantity"] // THOUSANDTHS) for line in raw["lines"]]
        return self._shop.basket(lines)

    def price(self, prepared: Any) -> Any:
        return self._shop.apply(prepared)

    def discounts(self, prepared: Any, answer: Any) -> Discounts:
        return [float(line.discount_value * 100) for line in prepared.all_lines()]


PEERS: Sequence[tuple[str, str, Callable[[Json, Json], Peer]]] = (
    ("kopilka", "loyalty", Kopilka),
    ("zen-engine", "zen", Zen),
    ("common-expression-language", "cel", Cel),
    ("django-oscar", "oscar", Oscar),
)
