"""What a customer may get once: which rules limit themselves, and what their counters say today.

**The idea.** A rulebook has no word for "once". A rule limits itself by a counter of its own,
`rule:ID:ever`, `rule:ID:month` or `rule:ID:day` (rulebook.md §3): "in how many of this account's
sales did I do something?" with `max: 0`. A welcome bonus is such a rule, by `ever`. Two tills that
are cut off both count none, and both give; so what such a rule earns carries a once-key
(ledger-sync.md §3), and counts only once the centre has merged equal keys. Here stands which rules
those are, found once when a rulebook is loaded.

A rule is limited where its condition cannot hold a second time: the counter stands in it itself, in
a part of an `all`, or in every part of an `any` (then the loosest of them binds); `not` with `min: 1`
says the same. A rule that may work twice (`max: 1` and more) has no once-key: it holds as far as the
tills have heard of each other.

**Counters at a till.** The centre's counters are of the day and month at which it said them; those
of an earlier day or month are over. What this till did since is added.

Known ugliness: an `earn_multiplier` makes no lot of its own, so one under its own counter cannot be
merged; neither can a discount.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from loyalty.conditions import AllOf, AnyOf, Condition, Counter, Not, parts_of
from loyalty.effects import EarnEvery, EarnFixed, EarnPercent
from loyalty.rulebook import Rule

When = Literal["day", "month", "ever"]
WHENS: tuple[When, ...] = ("day", "month", "ever")  # the loosest first
_DIGITS = {"day": len("YYYY-MM-DD"), "month": len("YYYY-MM")}
_PREFIX = "rule:"


def once_rules(rules: Iterable[Rule]) -> dict[str, When]:
    """Rule id -> how often a customer may get what it earns: once a day, once a month, once ever."""
    found: dict[str, When] = {}
    for rule in rules:
        if rule.enabled and rule.when is not None and isinstance(rule.effect, _MAKES_A_LOT):
            when = _limit(rule.when, rule.id)
            if when is not None:
                found[rule.id] = when
    return found


def counted_rules(rules: Iterable[Rule]) -> frozenset[str]:
    """The rules that some condition counts: of these a till remembers when they did something."""
    return frozenset(
        name[0]
        for rule in rules
        if rule.enabled and rule.when is not None
        for counter in _counters(rule.when)
        if (name := _parted(counter.name)) is not None
    )


def key_day(when: When, day: str) -> str:
    """The part of a once-key that says when: of the sale's local date (YYYY-MM-DD)."""
    return when if when == "ever" else day[: _DIGITS[when]]


def counters_on(
    day: str, told: Mapping[str, int], told_on: str, own: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """A customer's counters on local date `day` (YYYY-MM-DD).

    `told` = the centre's, as of local date `told_on`; `own` = rule -> the local dates of this till's
    own later sales in which it did something.
    """
    counters = {
        name: count
        for name, count in told.items()
        if (parted := _parted(name)) is None or key_day(parted[1], told_on) == key_day(parted[1], day)
    }
    for rule, days in own.items():
        for when in WHENS:
            count = sum(1 for one in days if key_day(when, one) == key_day(when, day))
            if count:
                name = f"{_PREFIX}{rule}:{when}"
                counters[name] = counters.get(name, 0) + count
    return counters


def counters_of(keys: Iterable[str], day: str) -> dict[str, int]:
    """What used once-keys (`rule/when`) say of their rules' counters on local date `day`.

    Exact for rules that may work once: there is one key for each time that one did.
    """
    counters: dict[str, int] = {}
    for key in keys:
        rule, _, used = key.partition("/")
        for when in WHENS:
            # A key says no more than it holds: `ever` tells no day, and a month not which of its days.
            if when == "ever" or key_day(when, day) == used[: _DIGITS[when]]:
                name = f"{_PREFIX}{rule}:{when}"
                counters[name] = counters.get(name, 0) + 1
    return counters


_MAKES_A_LOT = (EarnPercent, EarnFixed, EarnEvery)


def _limit(condition: Condition, rule: str) -> When | None:
    """How often at most a condition can hold, if the rule's own counter says so."""
    match condition:
        case Counter(name, _, most) if most is not None and most <= 0:
            return _own(name, rule)
        case Not(Counter(name, least, None)) if least is not None and least <= 1:
            return _own(name, rule)
        case AllOf(parts):
            limits = [limit for part in parts if (limit := _limit(part, rule)) is not None]
            return max(limits, key=WHENS.index, default=None)
        case AnyOf(parts) if parts:
            branches = [_limit(part, rule) for part in parts]
            limits = [limit for limit in branches if limit is not None]
            return min(limits, key=WHENS.index) if len(limits) == len(branches) else None
    return None


def _own(name: str, rule: str) -> When | None:
    parted = _parted(name)
    return parted[1] if parted is not None and parted[0] == rule else None


def _counters(condition: Condition) -> Iterable[Counter]:
    if isinstance(condition, Counter):
        yield condition
    for part in parts_of(condition):
        yield from _counters(part)


def _parted(name: str) -> tuple[str, When] | None:
    """(rule, when) of a counter `rule:ID:when`; None for one of the programme's own."""
    rule, _, last = name.removeprefix(_PREFIX).rpartition(":")
    if not name.startswith(_PREFIX) or not rule:
        return None
    return next(((rule, when) for when in WHENS if when == last), None)
