"""Why: for each rule that could have mattered, what became of it on this receipt (rulebook.md §7).

The idea
--------
The receipt is priced once more by the same stages. Before each stage its lines
are put aside as they stand; after it, every rule of the stage is asked:

    failed    its condition did not hold: which part, and by how much
    applied   it gave so much on this line; less than it wanted where a floor
              or a cap clipped it
    lost      it would have given something, but another rule was taken
    nothing   it had nothing to give here, and why
    note      something to know of how it was found

What was given is read off the priced lines themselves, so the amounts add up to
the discounts exactly. Who lost to whom is seen by a witness: the same walk over
the same tree of groups, with somebody who writes down each choice.

None of this is on the hot path: a till prices without it, and it costs about as
much as pricing without an index. Rules that mean none of the goods on the
receipt, and rules that are switched off, are not spoken of.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

from loyalty.clauses import Clause
from loyalty.index import LINE_STAGES, Compiled
from loyalty.quote import STAGES
from loyalty.receipt import Receipt
from loyalty.stages.pricing import Pricing
from loyalty.texts import N_
from loyalty.why import discounts, points
from loyalty.why.conditions import why_not
from loyalty.why.reason import Listed, Reason, means


def explain(
    compiled: Compiled, receipt: Receipt, day_key: bytes | None = None, *, upto_earn: bool = False
) -> tuple[Pricing, list[Reason]]:
    """The priced receipt, and the reasons in the order of stages, rules and lines.

    Raises `Refused` as `loyalty.quote.quote` does.
    """
    pricing = Pricing(compiled, receipt, day_key)
    reasons: list[Reason] = []
    for name, stage in STAGES.items():
        if upto_earn and name == "reward":
            continue
        pricing.begin()
        before = _put_aside(pricing)
        stage(pricing)
        reasons += sorted(_of_stage(name, before, pricing), key=lambda reason: reason.clause.number)
    return pricing, reasons


def _put_aside(pricing: Pricing) -> Pricing:
    """The pricing as it stands, with lines of its own."""
    before = copy.copy(pricing)
    lines = [copy.copy(line) for line in pricing.lines]
    for line in lines:
        line.discounts = dict(line.discounts)
    before.begin_with(lines)
    return before


def _of_stage(name: str, before: Pricing, after: Pricing) -> Iterator[Reason]:
    live = []
    for clause in before.compiled.clauses:
        if clause.stage != name or not _means_something(clause, before):
            continue
        reasons = why_not(clause.rule.when, before)
        if reasons:
            yield Reason(clause, "failed", reasons[0] if len(reasons) == 1 else Listed(reasons))
        elif name in _CUSTOMERS_ONLY and before.receipt.customer is None:
            yield Reason(clause, "failed", N_("there is no customer's card"))
        else:
            live.append(clause)
    yield from _STAGES[name](before, after, live)


_CUSTOMERS_ONLY = ("redeem", "earn", "reward")


def _means_something(clause: Clause, pricing: Pricing) -> bool:
    if clause.stage not in LINE_STAGES and clause.stage not in ("redeem", "reward"):
        return True
    return any(means(clause, line) for line in pricing.lines)


_STAGES: Mapping[str, Callable[[Pricing, Pricing, Sequence[Clause]], Iterator[Reason]]] = {
    "price": discounts.of_price,
    "sets": discounts.of_sets,
    "line": discounts.of_line,
    "receipt": discounts.of_receipt,
    "round": discounts.of_round,
    "redeem": points.of_redeem,
    "earn": points.of_earn,
    "reward": points.of_reward,
}
