"""Why points were paid, earned, drawn, or not: the stages from redeem to reward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from loyalty.amounts import Money, Percent, Points
from loyalty.clauses import Clause
from loyalty.effects import EarnEvery, EarnFixed, EarnMultiplier, EarnPercent, Redeem
from loyalty.money import BP, down_to, full_times, percent_within
from loyalty.rulebook import Policy
from loyalty.stages import earn as earning
from loyalty.stages import redeem as redemption
from loyalty.stages.policy import winner
from loyalty.stages.pricing import PricedLine, Pricing
from loyalty.texts import N_, Text
from loyalty.why.reason import Reason, lost, means, nothing, short_of

# -- redeem -----------------------------------------------------------------------------------------


def of_redeem(before: Pricing, after: Pricing, live: Sequence[Clause]) -> Iterator[Reason]:
    """What became of the live rules of the stage."""
    customer, asked = before.receipt.customer, before.receipt.redeem
    balance = 0
    if customer is not None:
        balance = sum(lot.amount for lot in redemption.live_lots(customer.lots, before.now))
    wanted = min(asked, balance) if isinstance(asked, int) else balance
    for clause in live:
        if asked is None:
            yield nothing(clause, N_("no points were asked for"))
            continue
        possible = redemption.possible_for(clause, before, wanted)
        limit = _limit(clause, before, possible, balance, asked)
        if clause is after.redeemer:
            for line in after.lines:
                if line.redeemed:
                    text = N_("points pay {amount}: {limit}", amount=Points(line.redeemed), limit=limit)
                    yield Reason(clause, "applied", text, line.id, line.redeemed)
        elif possible and after.redeemer is not None:
            yield lost(clause, [after.redeemer], wanted=possible)
        else:
            yield nothing(clause, limit)


def _limit(clause: Clause, before: Pricing, possible: int, balance: int, asked: int | str) -> Text:
    """Which of the bounds on a redemption was the one that bound."""
    effect = clause.effect
    assert isinstance(effect, Redeem)
    eligible = redemption.eligible_for(clause, before)
    base = sum(line.net_minor for line in (before.lines if effect.of == "receipt" else eligible))
    most = percent_within(base, effect.max_bp)
    if asked != "max" and possible == asked:
        return N_("as many as were asked for")
    if possible >= down_to(balance, effect.step):
        return N_("all of {balance} that can be spent here", balance=Points(balance))
    if possible == down_to(most, effect.step):
        return N_("at most {percent} of {base}", percent=Percent(effect.max_bp), base=Money(base))
    if effect.step > 1 and possible + effect.step > min(most, balance):
        return N_("in steps of {step}", step=Points(effect.step))
    return N_("no more may be paid with points on these goods")


# -- earn, reward -----------------------------------------------------------------------------------


class _EarnWitness:
    """Sees which percents were not taken on a line, and what was."""

    def __init__(self) -> None:
        self.lost: dict[Clause, Sequence[Clause]] = {}

    def choose(
        self, policy: Policy, offers: list[earning.Values], worth: Callable[[earning.Values], int]
    ) -> earning.Values | None:
        chosen = winner(policy, offers, worth)
        if chosen is not None:
            taken = [clause for clause, _ in chosen]
            self.lost.update((c, taken) for offer in offers if offer is not chosen for c, _ in offer)
        return chosen


def of_earn(before: Pricing, after: Pricing, live: Sequence[Clause]) -> Iterator[Reason]:
    """What became of the live rules of the stage."""
    witness = _EarnWitness()
    groups = before.compiled.groups["earn"]
    for line in before.lines:
        percents = [c for c in live if isinstance(c.effect, EarnPercent) and means(c, line)]
        if not line.shelf.no_earn:
            earning.values_of(groups.tree(percents), line, frozenset(), witness.choose)
    exact = earning.count_points(before)
    for clause in live:
        lines = [line for line in before.lines if means(clause, line) and not line.shelf.no_earn]
        if not lines:
            yield nothing(clause, N_("these goods earn no points"))
        elif isinstance(clause.effect, EarnMultiplier):
            yield _of_multiplier(clause, after, live, lines)
        elif clause.id in after.earned:
            yield _earned(clause, after.earned[clause.id], exact)
        elif clause in witness.lost and clause not in exact.values:
            yield lost(clause, witness.lost[clause])
        else:
            yield nothing(clause, _why_no_points(clause, lines, exact))


def _earned(clause: Clause, points: int, exact: earning.Count) -> Reason:
    whole = _whole_points(clause, exact)
    text = N_("earns {points}", points=Points(points))
    if points < whole:
        because = _cap_of_points(clause) if points == clause.cap else _unit_of(clause)
        text = N_(
            "earns {points} of {whole}: {because}",
            points=Points(points),
            whole=Points(whole),
            because=because,
        )
    return Reason(clause, "applied", text, None, points, whole)


def _whole_points(clause: Clause, exact: earning.Count) -> int:
    """What a rule comes to before its unit and its cap, in hundredths of a point."""
    match clause.effect:
        case EarnPercent():
            return full_times(exact.values.get(clause, 0), BP * earning.PLAIN_X100)
        case EarnEvery(every_minor, points):
            return full_times(exact.bases.get(clause, 0), every_minor) * points
        case EarnFixed(points):
            return points
    return 0


def _why_no_points(clause: Clause, lines: Sequence[PricedLine], exact: earning.Count) -> Text:
    if clause.cap == 0:
        return _cap_of_points(clause)
    match clause.effect:
        case EarnEvery(every_minor, _, on):
            base = sum(earning.base_of(line, on) for line in lines)
            if base < every_minor:
                return short_of(every_minor, base)
        case EarnPercent() if _whole_points(clause, exact):
            whole = Points(_whole_points(clause, exact))
            return N_("comes to {points}: {because}", points=whole, because=_unit_of(clause))
    return N_("comes to no points")


def _cap_of_points(clause: Clause) -> Text:
    return N_("its cap is {cap}", cap=Points(clause.cap or 0))


def _unit_of(clause: Clause) -> Text:
    unit = clause.effect.unit if isinstance(clause.effect, EarnPercent) else 1
    return N_("only whole units of {unit} are given", unit=Points(unit))


def _of_multiplier(
    clause: Clause, after: Pricing, live: Sequence[Clause], lines: Iterable[PricedLine]
) -> Reason:
    effect = clause.effect
    assert isinstance(effect, EarnMultiplier)
    if any(clause.id in multipliers for multipliers in after.multiplied.values()):
        text = N_("multiplies what its goods earn by {times}", times=Points(effect.x100))
        return Reason(clause, "applied", text)
    rivals = [
        c for c in live if isinstance(c.effect, EarnMultiplier) and any(means(c, line) for line in lines)
    ]
    greatest, _ = earning.greatest_multiplier(rivals, frozenset())
    if greatest is not None and greatest is not clause:
        return lost(clause, [greatest])
    return nothing(clause, N_("there is nothing that it could multiply"))


def of_reward(before: Pricing, after: Pricing, live: Sequence[Clause]) -> Iterator[Reason]:
    """What became of the live rules of the stage."""
    granted = {str(grant["rule"]) for grant in after.grants}
    for clause in live:
        if clause.id in after.rewards:
            points = after.rewards[clause.id]
            yield Reason(clause, "applied", N_("draws {points}", points=Points(points)), None, points)
        elif clause.id in granted:
            yield Reason(clause, "applied", N_("is granted"))
