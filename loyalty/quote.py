"""The quote: what a receipt costs, what is paid with points and what is earned.

The idea
--------
`quote(compiled, receipt)` is one straight pass through the stages, always in
the same order, each a file beside this one:

    line → receipt → redeem → earn

(`price`, `sets`, `round` and `reward` of the law come with the versions that
can compute them; a rulebook that needs them is refused, never half applied.)

The rules of the pass
---------------------
* The conditions of a rule are tried when its stage begins, on the amounts of
  that moment; what its own stage does cannot switch it on or off.
* Within a stage rules and groups stand by (priority, id).
* A stage rounds once per line or once per receipt, and never again.
* No discount takes a line under its floor; points go down to the minimum price.
* Always: 0 ≤ pay, and list − Σ discounts − redeemed = pay, per line and in sum.

There is no clock, no state and no randomness: the same three documents give
the same quote on every machine, which is why the office can check a till by
pricing its receipts again. The whole receipt is priced anew after each change.

Source: rulebook.md §1 to §5. Units: kopecks, thousandths, basis points,
hundredths of a point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loyalty.index import Compiled
from loyalty.receipt import Receipt
from loyalty.stages import earn, line, redeem
from loyalty.stages import receipt as receipt_stage
from loyalty.stages.pricing import EarnedLot, Pricing

_STAGES = (line.run, receipt_stage.run, redeem.run, earn.run)


@dataclass(frozen=True, slots=True)
class QuotedLine:
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


def quote(compiled: Compiled, receipt: Receipt) -> Quote:
    """Price `receipt` by the compiled rulebook. Never fails on what the parsers let through."""
    pricing = Pricing(compiled, receipt)
    for stage in _STAGES:
        stage(pricing)
    lines = tuple(
        QuotedLine(
            id=line.id,
            list_minor=line.list_minor,
            discounts=line.discounts,
            redeemed=line.redeemed,
            pay_minor=line.net_minor,
        )
        for line in pricing.lines
    )
    list_minor = sum(line.list_minor for line in lines)
    redeemed = sum(line.redeemed for line in lines)
    pay_minor = sum(line.pay_minor for line in lines)
    return Quote(
        lines=lines,
        list_minor=list_minor,
        discount_minor=sum(sum(line.discounts.values()) for line in lines),
        redeemed=redeemed,
        pay_minor=pay_minor,
        lots_used=tuple(pricing.lots_used),
        earned=pricing.earned,
        earned_total=sum(pricing.earned.values()),
        earned_lots=tuple(pricing.earned_lots),
        rewards={},
        coupons_burned=(),
        sets=(),
        grants=(),
    )


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
