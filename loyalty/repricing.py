"""A sale priced again from its document: for goods that come back, and for whoever audits.

A document names the rules and the goods it was sold by; by those, and by no others, it is worth
what it was worth. Its digest says whether the engine of today agrees with the one of that day; where
it does not, nothing that rests on the price may be computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from loyalty import catalog as catalogs
from loyalty import receipt as receipts
from loyalty import rulebook as rulebooks
from loyalty import strictjson
from loyalty.document import ReturnDocument, SaleDocument, engine_receipt, quote_digest
from loyalty.heap import paused_collector
from loyalty.index import Compiled, compile_rulebook
from loyalty.quote import priced, summed_up
from loyalty.receipt import Return
from loyalty.stages.pricing import Pricing

NO_RULES: Mapping[str, Any] = {"format": 1, "semantics": 1, "id": "none", "seq": 1, "rules": []}
NO_GOODS: Mapping[str, Any] = {"format": 1, "currency": "RUB", "categories": {}, "skus": {}}


class PriceDiffersError(ValueError):
    """Another price than the till's comes out: other rules or goods, or another engine."""


def programme(rulebook: bytes | None, catalog: bytes | None) -> Compiled:
    """Rules and goods as they were published, ready to price; None = sold without them. Raises `Refused`."""
    with paused_collector():
        rules = rulebooks.parse(strictjson.loads(rulebook) if rulebook is not None else dict(NO_RULES))
        goods = catalogs.parse_published(strictjson.loads(catalog) if catalog is not None else dict(NO_GOODS))
        return compile_rulebook(rules, goods.engine)


def reprice(compiled: Compiled, paper: SaleDocument) -> Pricing:
    """The sale after all stages, as its till had it. Raises PriceDiffersError, or `Refused` as pricing."""
    receipt = receipts.parse(engine_receipt(paper.receipt, paper.customer))
    pricing = priced(compiled, receipt, upto_earn=True)
    if quote_digest(summed_up(pricing).to_builtins()) != paper.result.digest:
        raise PriceDiffersError(f"receipt {paper.receipt.id} does not come to what its till answered")
    return pricing


def asked_back(papers: Sequence[ReturnDocument], sold: SaleDocument) -> tuple[Return, ...]:
    """Returns as the engine takes them, in their order; no line beyond what of it was sold and is left.

    Goods that two tills took back without knowing of each other are returned once; a line that the
    sale does not have is not returned at all.
    """
    left = {line.id: line.quantity for line in sold.receipt.lines}
    found: list[Return] = []
    for paper in papers:
        lines: dict[str, int] = {}
        for line in paper.lines:
            quantity = min(line.quantity, left.get(line.id, 0))
            if quantity > 0:
                left[line.id] -= quantity
                lines[line.id] = lines.get(line.id, 0) + quantity
        found.append(Return(datetime.fromisoformat(paper.at), lines))
    return tuple(found)
