"""The till's own engine asked as the plain evaluator is asked: a request of JSON in, a quote of JSON out."""

from __future__ import annotations

from typing import Any

from loyalty import catalog, receipt, rulebook
from loyalty.index import Compiled, compile_rulebook
from loyalty.quote import priced, summed_up
from loyalty.returns import give_back
from loyalty.stages.pricing import Pricing

Json = dict[str, Any]


def answer(request: Json) -> Json:
    """The quote, with `returns` where returns were asked: read, compiled, priced."""
    return answer_with(compiled(request), request)


def compiled(request: Json) -> Compiled:
    """The rulebook of the request with its catalog, as a till holds them."""
    book = rulebook.parse(request["rulebook"], "rulebook")
    return compile_rulebook(book, catalog.parse(request["catalog"], "catalog"))


def answer_with(rules: Compiled, request: Json) -> Json:
    """The same for a rulebook that is compiled already, and may have priced other receipts before."""
    return told(pricing_of(rules, request), request)


def pricing_of(rules: Compiled, request: Json) -> Pricing:
    """The receipt after all stages: more than the quote tells."""
    key = request.get("draw_key")
    sale = receipt.parse(request["receipt"], "receipt")
    return priced(rules, sale, None if key is None else bytes.fromhex(key))


def told(pricing: Pricing, request: Json) -> Json:
    """The quote of a priced receipt."""
    quote = summed_up(pricing).to_builtins()
    if request.get("returns"):
        returns = receipt.parse_returns(request["returns"], "returns")
        quote["returns"] = [returned.to_builtins() for returned in give_back(pricing, returns)]
    return quote
