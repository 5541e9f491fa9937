"""The quote: what a receipt costs, what is paid with points and what is earned.

The idea
--------
`quote(compiled, receipt)` is one straight pass through the stages, always in
the same order, each a file in `loyalty/stages/`:

    price → sets → line → receipt → round → redeem → earn → reward

The rules of the pass
---------------------
* The conditions of a rule are tried when its stage begins, on the amounts of
  that moment; what its own stage does cannot switch it on or off.
* Within a stage rules and groups stand by (priority, id).
* A stage rounds once per line or once per receipt, and never again.
* No discount takes a line under its floor; points go down to the minimum price.
* Always: 0 ≤ pay, and list − Σ discounts − redeemed = pay, per line and in sum.

There is no clock, no state and no randomness: the same documents give the same
quote on every machine, which is why the office can check a till by pricing its
receipts again. The whole receipt is priced anew after each change.

Draws are known only after the commit (a customer must not shop for a better
one), so a till prices an open sale up to `earn`, with `upto_earn`.

Units: kopecks, thousandths, basis points, hundredths of a point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from loyalty.gates import series_of
from loyalty.index import Compiled
from loyalty.receipt import Receipt
from loyalty.stages import earn, line, price, redeem, reward, sets
from loyalty.stages import receipt as receipt_stage
from loyalty.stages import round as round_stage
from loyalty.stages.pricing import EarnedLot, Pricing

Stage = Callable[[Pricing], None]

STAGES: Mapping[str, Stage] = {
    "price": price.run,
    "sets": sets.run,
    "line": line.run,
    "receipt": receipt_stage.run,
    "round": round_stage.run,
    "redeem": redeem.run,
    "earn": earn.run,
    "reward": reward.run,
}
"""The stages of the law, in their order."""


class QuotedLine(NamedTuple):
    """One line: list amount, discounts by rule (only those above 0), points redeemed, what is left to pay."""

    id: str
    list_minor: int
    discounts: Mapping[str, int]
    redeemed: int
    pay_minor: int


@dataclass(frozen=True, slots=True)
class Quote:
    """The result. Amounts in kopecks (`_minor`), points in hundredths; `earned` stands in rule order."""

    lines: tuple[QuotedLine, ...]
    list_minor: int
    discount_minor: int
    redeemed: int
    pay_minor: int
    lots_used: tuple[tuple[str, int], ...]
    earned: Mapping[str, int]
    earned_total: int
    earned_lots: tuple[EarnedLot, ...]
    rewards: Mapping[str, int]
    coupons_burned: tuple[str, ...]
    sets: tuple[tuple[str, int], ...]
    grants: tuple[Mapping[str, object], ...]

    def to_builtins(self) -> dict[str, Any]:
        """The quote as the JSON object of rulebook.md §2; all keys are always there."""
        return {
            "lines": [
                {
                    "id": line.id,
                    "list": line.list_minor,
                    "discounts": dict(line.discounts),
                    "redeemed": line.redeemed,
                    "pay": line.pay_minor,
                }
                for line in self.lines
            ],
            "list": self.list_minor,
            "discount": self.discount_minor,
            "redeemed": self.redeemed,
            "pay": self.pay_minor,
            "lots_used": [list(used) for used in self.lots_used],
            "earned": dict(self.earned),
            "earned_total": self.earned_total,
            "earned_lots": [_lot(lot) for lot in self.earned_lots],
            "rewards": dict(self.rewards),
            "coupons_burned": list(self.coupons_burned),
            "sets": [list(applied) for applied in self.sets],
            "grants": [dict(grant) for grant in self.grants],
        }


def quote(
    compiled: Compiled, receipt: Receipt, day_key: bytes | None = None, *, upto_earn: bool = False
) -> Quote:
    """Price `receipt` by the compiled rulebook.

    `day_key` is the key of the day for draws; `upto_earn` leaves the reward stage out. Raises `Refused`
    for what only pricing can find: a live draw without its key or number, sets of too many pieces.
    """
    return summed_up(priced(compiled, receipt, day_key, upto_earn=upto_earn))


def priced(
    compiled: Compiled, receipt: Receipt, day_key: bytes | None = None, *, upto_earn: bool = False
) -> Pricing:
    """The receipt after all stages, for those who go on from there: returns, explanations."""
    pricing = Pricing(compiled, receipt, day_key)
    for name, stage in STAGES.items():
        if name in compiled.stages and not (upto_earn and name == "reward"):
            pricing.begin()
            stage(pricing)
    return pricing


def summed_up(pricing: Pricing) -> Quote:
    """The result of a pass."""
    lines = tuple(
        [
            QuotedLine(line.id, line.list_minor, line.discounts, line.redeemed, line.net_minor)
            for line in pricing.lines
        ]
    )
    list_minor = sum([line.list_minor for line in pricing.lines])
    pay_minor = sum([line.net_minor for line in pricing.lines])
    pricing.earned_lots.sort(key=lambda lot: lot[0])
    return Quote(
        lines=lines,
        list_minor=list_minor,
        discount_minor=list_minor - pricing.redeemed - pay_minor,
        redeemed=pricing.redeemed,
        pay_minor=pay_minor,
        lots_used=tuple((lot.id, amount) for lot, amount in pricing.lots_used),
        earned=pricing.earned,
        earned_total=sum(pricing.earned.values()),
        earned_lots=tuple(lot for _, lot in pricing.earned_lots),
        rewards=pricing.rewards,
        coupons_burned=_burned(pricing),
        sets=tuple(pricing.sets),
        grants=tuple(pricing.grants),
    )


def worked_in(pricing: Pricing) -> set[str]:
    """The rules that did something: gave a discount, were the chosen redemption, earned points, or

    multiplied a line of a rule that did (§3, counters; §7, coupons).
    """
    worked = {rule for line in pricing.lines for rule in line.discounts}
    worked |= pricing.earned.keys()
    worked |= {name for rule in pricing.earned for name in pricing.multiplied.get(rule, ())}
    if pricing.redeemer is not None:
        worked.add(pricing.redeemer.id)
    return worked


def _burned(pricing: Pricing) -> tuple[str, ...]:
    """The coupons that a rule which did something names in its condition (§7).

    A coupon that was used before is not there to burn.
    """
    receipt = pricing.receipt
    presented = {coupon for coupon in receipt.coupons if coupon not in receipt.coupons_used}
    if not presented:
        return ()
    worked = worked_in(pricing)
    series = {s for clause in pricing.compiled.clauses if clause.id in worked for s in clause.series}
    return tuple(sorted(coupon for coupon in presented if series_of(coupon) in series))


def _lot(lot: EarnedLot) -> dict[str, object]:
    document: dict[str, object] = {
        "rule": lot.rule,
        "amount": lot.amount,
        "active_from": _wall_clock(lot.active_from),
    }
    if lot.expires_at is not None:
        document["expires_at"] = _wall_clock(lot.expires_at)
    return document


def _wall_clock(when: datetime) -> str:
    return when.isoformat(timespec="seconds")
