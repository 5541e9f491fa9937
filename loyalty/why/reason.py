"""What became of a rule, as a value, and the sentences that several stages need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from loyalty.amounts import Money, Percent
from loyalty.clauses import Clause
from loyalty.stages.pricing import PricedLine, Pricing
from loyalty.texts import N_, Text, Written

Say = Callable[[Written], dict[str, str]]
"""A sentence in every language, by language."""


@dataclass(frozen=True, slots=True)
class Reason:
    """What became of a rule, on the whole receipt or on one `line`.

    `outcome`: applied, lost, failed, nothing or note. `amount` is what it gave: kopecks, in the earn and
    reward stages hundredths of a point; `wanted` what it would have given, where that is more.
    `lost_to` are rules.
    """

    clause: Clause
    outcome: str
    text: Written
    line: str | None = None
    amount: int = 0
    wanted: int = 0
    lost_to: tuple[str, ...] = ()

    def to_builtins(self, say: Say) -> dict[str, Any]:
        """The reason as JSON; what does not apply is left out."""
        document: dict[str, Any] = {
            "rule": self.clause.id,
            "stage": self.clause.stage,
            "outcome": self.outcome,
        }
        if self.line is not None:
            document["line"] = self.line
        if self.outcome == "applied":
            document["amount"] = self.amount
        if self.wanted > self.amount:
            document["wanted"] = self.wanted
        if self.lost_to:
            document["lost_to"] = list(self.lost_to)
        return {**document, "text": say(self.text)}


@dataclass(frozen=True, slots=True)
class Listed:
    """Several sentences in one."""

    reasons: Iterable[Written]

    def render(self, translate: Callable[[str], str]) -> str:
        """The sentences, with semicolons between."""
        return "; ".join(reason.render(translate) for reason in self.reasons)


def means(clause: Clause, line: PricedLine) -> bool:
    """Whether a rule may work on the goods of a line."""
    return clause.means(line.shelf.tokens, line.shelf.price_minor)


def applied(
    clause: Clause, line: PricedLine, amount: int, wanted: int = 0, because: Written | None = None
) -> Reason:
    """It gave an amount on a line, `because` of something that is worth telling."""
    if because is None:
        text = N_("gives {amount}", amount=Money(amount))
    else:
        text = N_("gives {amount}: {because}", amount=Money(amount), because=because)
    return Reason(clause, "applied", text, line.id, amount, wanted)


def lost(clause: Clause, to: Sequence[Clause], line: PricedLine | None = None, wanted: int = 0) -> Reason:
    """Other rules were taken instead."""
    names = tuple(other.id for other in to)
    text = N_("{rules} taken instead", rules=", ".join(names))
    return Reason(clause, "lost", text, line.id if line else None, 0, wanted, names)


def nothing(clause: Clause, text: Written, line: PricedLine | None = None, wanted: int = 0) -> Reason:
    """It held, and gave nothing."""
    return Reason(clause, "nothing", text, line.id if line else None, 0, wanted)


def floor(line: PricedLine, pricing: Pricing) -> Text:
    """What the floor of a line is for."""
    if line.shelf.no_discount:
        return N_("no discount is given on these goods")
    if line.floor_minor and line.floor_minor == min(line.least_minor, line.list_minor):
        return N_("the minimum price leaves {floor} to pay", floor=Money(line.floor_minor))
    percent = pricing.settings.max_line_discount_bp
    if percent is not None and line.floor_minor:
        return N_("a line is never cheaper by more than {percent}", percent=Percent(percent))
    return N_("nothing is left to pay on the line")


TOO_LITTLE = N_("comes to less than a kopeck")


def cap_used(clause: Clause) -> Text:
    """Its cap leaves no more."""
    return N_("its cap of {cap} is used up", cap=Money(clause.cap or 0))


def short_of(least: int, there: int) -> Text:
    """How much an amount lacks."""
    return N_("{missing} short of {least}", missing=Money(least - there), least=Money(least))
