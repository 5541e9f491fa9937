"""Why a discount was given or not: the stages from price to round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from loyalty.amounts import Money
from loyalty.clauses import Branch, Clause
from loyalty.effects import FixedPrice, ReceiptEvery, ReceiptSteps, RoundDown, UnitPrice
from loyalty.money import down_to, pieces_of
from loyalty.stages import receipt as receipts
from loyalty.stages.line import Offer, Visit
from loyalty.stages.pricing import PricedLine, Pricing
from loyalty.texts import N_, Text
from loyalty.why.reason import (
    TOO_LITTLE,
    Listed,
    Reason,
    applied,
    cap_used,
    floor,
    lost,
    means,
    nothing,
    short_of,
)

# -- price, sets ------------------------------------------------------------------------------------


def of_price(before: Pricing, after: Pricing, live: Sequence[Clause]) -> Iterator[Reason]:
    """What became of the live rules of the stage."""
    for line, done in zip(before.lines, after.lines, strict=True):
        hits = [clause for clause in live if means(clause, line)]
        taken = [clause for clause in hits if clause.id in done.discounts]
        for clause in hits:
            assert isinstance(clause.effect, FixedPrice)
            price = max(clause.effect.price_minor, line.shelf.unit_floor_minor)
            if clause in taken:
                because = None if price == clause.effect.price_minor else floor(line, before)
                yield applied(clause, line, done.discounts[clause.id], because=because)
            elif line.shelf.no_discount:
                yield nothing(clause, floor(line, before), line)
            elif price >= line.shelf.price_minor:
                yield nothing(clause, _not_above(price), line)
            elif taken:
                yield lost(clause, taken, line)
            else:
                yield nothing(clause, TOO_LITTLE, line)


def _not_above(price_minor: int) -> Text:
    return N_("the price is not above {price}", price=Money(price_minor))


def of_sets(before: Pricing, after: Pricing, live: Sequence[Clause]) -> Iterator[Reason]:
    """What became of the live rules of the stage."""
    pieces = {
        line.id: 0 if line.shelf.weighed or line.shelf.no_discount else pieces_of(line.quantity) or 0
        for line in before.lines
    }
    by_id = {clause.id: clause for clause in live}
    for clause in live:
        lines = [line for line in after.lines if means(clause, line)]
        uses = [total for rule, total in after.sets if rule == clause.id]
        for line in lines:
            if clause.id in line.discounts:
                told: list[Text] = [
                    N_("sets: {uses}, {total} together", uses=len(uses), total=Money(sum(uses)))
                ]
                if len(uses) == clause.rule.limit:
                    told.append(N_("more are not given on one receipt"))
                if line.floor_minor and line.net_minor == line.floor_minor:
                    told.append(floor(line, before))
                yield applied(clause, line, line.discounts[clause.id], because=Listed(told))
        if uses:
            continue
        there = sum(pieces[line.id] for line in lines)
        others = {rule for line in lines for rule in line.discounts if rule in by_id}
        if there < clause.needs:
            text = N_(
                "takes {needs} whole pieces together, {there} are there", needs=clause.needs, there=there
            )
            yield nothing(clause, text)
        elif others:
            yield lost(clause, [other for other in live if other.id in others])
        else:
            yield nothing(clause, N_("no set of these goods would be cheaper"))
    for rules in after.large_sets:
        for clause in (by_id[rule] for rule in rules):
            text = N_("so many combinations that the rules were served one by one, in order")
            yield Reason(clause, "note", text)


# -- line -------------------------------------------------------------------------------------------


class _LineWitness(Visit):
    """Sees which offers were not taken, and what was taken instead."""

    def __init__(self, line: PricedLine, cap_left: dict[Clause, int]) -> None:
        super().__init__(line, line.net_minor - line.floor_minor, frozenset(), cap_left)
        self.lost: dict[Clause, Sequence[Clause]] = {}

    def choose(self, branch: Branch, offers: list[Offer]) -> Offer:
        chosen = super().choose(branch, offers)
        if chosen:
            taken = [clause for clause, _ in chosen]
            self.lost.update((c, taken) for offer in offers if offer is not chosen for c, _ in offer)
        return chosen


def of_line(before: Pricing, after: Pricing, live: Sequence[Clause]) -> Iterator[Reason]:
    """What became of the live rules of the stage."""
    cap_left: dict[Clause, int] = {}
    for line, done in zip(before.lines, after.lines, strict=True):
        hits = [clause for clause in live if means(clause, line)]
        witness = _LineWitness(line, cap_left)
        wanted = dict(witness.offer(before.compiled.groups["line"].tree(hits), 0))
        for clause in hits:
            given = done.discounts.get(clause.id, 0)
            yield _of_line(clause, line, given, wanted.get(clause, 0), witness, before)
        for clause in wanted:
            if clause.cap is not None:
                given = done.discounts.get(clause.id, 0)
                cap_left[clause] = cap_left.get(clause, clause.cap) - given


def _of_line(
    clause: Clause, line: PricedLine, given: int, wanted: int, witness: _LineWitness, pricing: Pricing
) -> Reason:
    capped = clause.cap is not None and witness.amount(clause, 0) < witness.uncapped(clause, 0)
    if given:
        if given < wanted:
            return applied(clause, line, given, wanted, floor(line, pricing))
        if capped:
            return applied(clause, line, given, witness.uncapped(clause, 0), cap_used(clause))
        return applied(clause, line, given)
    if clause in witness.lost:
        return lost(clause, witness.lost[clause], line, witness.amount(clause, 0))
    if witness.amount(clause, 0):
        return nothing(clause, floor(line, pricing), line, witness.amount(clause, 0))
    if capped:
        return nothing(clause, cap_used(clause), line)
    if clause.fresh and line.discounts:
        return nothing(clause, N_("the line is discounted already, and the rule wants none before it"), line)
    if not clause.over_sets and line.pieces_in_sets and not witness.outside[1]:
        return nothing(clause, N_("all pieces of the line are in sets"), line)
    if isinstance(clause.effect, UnitPrice):
        return nothing(clause, _not_above(clause.effect.price_minor), line)
    return nothing(clause, TOO_LITTLE, line)


# -- receipt, round ---------------------------------------------------------------------------------


class _SharingWitness(receipts.Sharing):
    """Sees who competed with whom, and the lines that each rule looked at."""

    def __init__(self, lines: Sequence[PricedLine], hit: Mapping[Clause, list[int]]) -> None:
        super().__init__(lines, hit)
        self.lost: dict[Clause, Sequence[Clause]] = {}
        self.pools: dict[Clause, receipts.Pool] = {}

    def pool(
        self, clause: Clause, base: Sequence[int], net: Sequence[int], known: dict[int, receipts.Pool]
    ) -> receipts.Pool:
        self.pools[clause] = super().pool(clause, base, net, known)
        return self.pools[clause]

    def choose(
        self,
        branch: Branch,
        alternatives: list[Clause | receipts.Gift],
        worth: receipts.Worth,
        at_most: receipts.Worth,
    ) -> Clause | receipts.Gift | None:
        chosen = super().choose(branch, alternatives, worth, at_most)
        if chosen is not None:
            taken = _clauses_of(chosen)
            for alternative in alternatives:
                if alternative is not chosen and worth(alternative) > 0:
                    self.lost.update((clause, taken) for clause in _clauses_of(alternative))
        return chosen


def _clauses_of(alternative: Clause | receipts.Gift) -> list[Clause]:
    return [alternative] if isinstance(alternative, Clause) else [clause for clause, _ in alternative]


def of_receipt(before: Pricing, after: Pricing, live: Sequence[Clause]) -> Iterator[Reason]:
    """What became of the live rules of the stage."""
    hit = {clause: [i for i, line in enumerate(before.lines) if means(clause, line)] for clause in live}
    witness = _SharingWitness(before.lines, hit)
    net = [line.net_minor for line in before.lines]
    witness.gift(before.compiled.groups["receipt"].tree(live), net, net)
    for clause in live:
        pool = witness.pools[clause]
        asked, _ = receipts.asked(clause, pool.base)
        total = sum(line.discounts.get(clause.id, 0) for line in after.lines)
        if total:
            because = _share_of(clause, pool, asked, total)
            for line in after.lines:
                if clause.id in line.discounts:
                    yield applied(clause, line, line.discounts[clause.id], because=because)
        elif clause in witness.lost:
            yield lost(clause, witness.lost[clause], wanted=pool.worth(clause))
        else:
            yield nothing(clause, _why_no_share(clause, pool, asked))


def _share_of(clause: Clause, pool: receipts.Pool, asked: int, total: int) -> Text:
    """What was shared out, and what kept it below what the rule asks for."""
    if total == asked:
        return N_("its share of {total}", total=Money(total))
    amounts = {"total": Money(total), "asked": Money(asked)}
    if total < pool.discount(clause)[0]:
        return N_("its share of {total}, which would be {asked} but for the floors of its goods", **amounts)
    if clause.cap is not None and total == clause.cap:
        return N_("its share of {total}, which would be {asked} but for its cap", **amounts)
    return N_("its share of {total}, which would be {asked} if its goods cost as much", **amounts)


def _why_no_share(clause: Clause, pool: receipts.Pool, asked: int) -> Text:
    if not pool.base:
        return N_("nothing on the receipt that it could make cheaper")
    if asked and clause.cap == 0:
        return cap_used(clause)
    if asked:
        return N_("its goods are at their floors")
    match clause.effect:
        case ReceiptEvery(every_minor) if pool.base < every_minor:
            return short_of(every_minor, pool.base)
        case ReceiptSteps(steps) if pool.base < min(step.least_minor for step in steps):
            return short_of(min(step.least_minor for step in steps), pool.base)
    return TOO_LITTLE


def of_round(before: Pricing, after: Pricing, live: Sequence[Clause]) -> Iterator[Reason]:
    """What became of the live rules of the stage."""
    total = sum(line.net_minor for line in before.lines)
    for clause in live:
        assert isinstance(clause.effect, RoundDown)
        given = [line for line in after.lines if clause.id in line.discounts]
        for line in given:
            yield applied(clause, line, line.discounts[clause.id])
        above = total - down_to(total, clause.effect.to_minor)
        if clause is not live[0]:
            yield lost(clause, live[:1], wanted=above)
        elif not above:
            yield nothing(clause, N_("the total is round already"))
        elif not given:
            yield nothing(
                clause, N_("the floors leave no room for {amount}", amount=Money(above)), wanted=above
            )
