"""The closed vocabulary of effects: what a rule gives, stage by stage (rulebook.md §4).

As in `loyalty/conditions.py` the law is a table: a frozen class an effect, and
its line in `EFFECTS` with the stage it belongs to and its keys.

Units: amounts in kopecks (`_minor`), percents in basis points (`bp`), points in
hundredths, quantities in thousandths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from loyalty.conditions import MAX_DAYS
from loyalty.money import BP
from loyalty.selectors import Selector, selector
from loyalty.shapes import Shape, exactly_one, typed
from loyalty.texts import N_
from loyalty.walk import (
    Key,
    Keys,
    Path,
    Walk,
    choice,
    flag,
    ident,
    list_of,
    pair_of,
    record,
    sku_id,
    title,
    whole,
)

STAGES = ("price", "sets", "line", "receipt", "round", "redeem", "earn", "reward")
"""All stages of the law, in the order in which a receipt goes through them."""

GROUP_STAGES = ("line", "receipt", "earn")
"""The stages in which rules stand in groups."""

MAX_CARDS = 100_000
"""Most cards in one deck: the till shuffles it with a keyed hash a card."""

MAX_SET_PIECES = 500
"""Most pieces that one use of a set may take."""

Base = Literal["paid", "before_redeem", "list"]
"""What earning counts on: what is left to pay, the same before points paid, or the list amount."""


@dataclass(frozen=True, slots=True)
class FixedPrice:
    """price: a unit costs this, where that is less than the shelf price."""

    price_minor: int


@dataclass(frozen=True, slots=True)
class NForM:
    """sets: of `n` units the `n − m` cheapest are cheaper by `bp`; it lies `spread` or on the `free` ones."""

    n: int
    m: int
    bp: int
    place: Literal["spread", "free"]
    same_sku: bool


@dataclass(frozen=True, slots=True)
class Part:
    """So many units of these goods, for one use of a set."""

    items: Selector | None
    count: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """sets: the parts together for a price, or cheaper by `bp`, or by an amount; exactly one is given."""

    parts: tuple[Part, ...]
    price_minor: int | None
    bp: int | None
    amount_minor: int | None


@dataclass(frozen=True, slots=True)
class BuyGet:
    """sets: who buys the one part gets the units of the other cheaper by `bp`."""

    buy: Part
    get: Part
    bp: int


@dataclass(frozen=True, slots=True)
class Percent:
    """line: `bp` of the line's base, rounded half up."""

    bp: int


@dataclass(frozen=True, slots=True)
class AmountOff:
    """line: `amount_minor` for each whole unit of quantity, rounded half up."""

    amount_minor: int


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """line: the base comes down to this price a unit."""

    price_minor: int


@dataclass(frozen=True, slots=True)
class ReceiptPercent:
    """receipt: `bp` of the base of the eligible lines, shared out over them."""

    bp: int
    spill: bool


@dataclass(frozen=True, slots=True)
class ReceiptAmount:
    """receipt: an amount shared out over the eligible lines."""

    amount_minor: int
    spill: bool


@dataclass(frozen=True, slots=True)
class ReceiptEvery:
    """receipt: an amount for every full `every_minor` of the base, at most `times` times."""

    every_minor: int
    amount_minor: int
    times: int | None
    spill: bool


@dataclass(frozen=True, slots=True)
class Step:
    """From a base of `least_minor` on: `bp` of it, or an amount; exactly one is given."""

    least_minor: int
    bp: int | None
    amount_minor: int | None


@dataclass(frozen=True, slots=True)
class ReceiptSteps:
    """receipt: the highest step that the base reaches; `spill` None: as the step's kind has it."""

    steps: tuple[Step, ...]
    spill: bool | None


@dataclass(frozen=True, slots=True)
class RoundDown:
    """round: the total comes down to a multiple of `to_minor`."""

    to_minor: int


@dataclass(frozen=True, slots=True)
class Redeem:
    """redeem: points pay at most `max_bp` of the base, in multiples of `step` hundredths."""

    max_bp: int
    of: Literal["receipt", "eligible"]
    step: int


@dataclass(frozen=True, slots=True)
class EarnPercent:
    """earn: `bp` of the base in points, whole `unit`s of them, as one lot."""

    bp: int
    on: Base
    unit: int
    delay_days: int
    ttl_days: int | None


@dataclass(frozen=True, slots=True)
class EarnMultiplier:
    """earn: what percents earn on these lines, times x100 / 100."""

    x100: int


@dataclass(frozen=True, slots=True)
class EarnFixed:
    """earn: so many points where an earning line matches."""

    points: int
    delay_days: int
    ttl_days: int | None


@dataclass(frozen=True, slots=True)
class EarnEvery:
    """earn: points for every full `every_minor` of the base."""

    every_minor: int
    points: int
    on: Base
    delay_days: int
    ttl_days: int | None


@dataclass(frozen=True, slots=True)
class DrawTable:
    """reward: points by a draw with these (weight, points); one a customer and day."""

    table: tuple[tuple[int, int], ...]
    delay_days: int
    ttl_days: int | None


@dataclass(frozen=True, slots=True)
class DrawDeck:
    """reward: points by the next card of the till's shuffled deck of these (count, points)."""

    cards: tuple[tuple[int, int], ...]
    delay_days: int
    ttl_days: int | None


@dataclass(frozen=True, slots=True)
class IssueCoupon:
    """reward: a coupon of the series, good for `ttl_days`."""

    series: str
    ttl_days: int


@dataclass(frozen=True, slots=True)
class Gift:
    """reward: goods for nothing, `quantity` in thousandths."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Message:
    """reward: a sentence for the customer."""

    text: str


SetEffect = NForM | Bundle | BuyGet
LineEffect = Percent | AmountOff | UnitPrice
ReceiptEffect = ReceiptPercent | ReceiptAmount | ReceiptEvery | ReceiptSteps
EarnLotEffect = EarnPercent | EarnFixed | EarnEvery
Draw = DrawTable | DrawDeck
Grant = IssueCoupon | Gift | Message
Effect = (
    FixedPrice | SetEffect | LineEffect | ReceiptEffect | RoundDown | Redeem
    | EarnLotEffect | EarnMultiplier | Draw | Grant
)  # fmt: skip

# -- the table ------------------------------------------------------------------------------------

_bp = Key(whole(), required=True)
_amount = Key(whole(), required=True, attr="amount_minor")
_price = Key(whole(), required=True, attr="price_minor")
_some = whole(at_least=1)
_base = Key(choice(N_("base"), "paid", "before_redeem", "list"), default="paid")
_life: dict[str, Key] = {
    "delay_days": Key(whole(at_most=MAX_DAYS), default=0),
    "ttl_days": Key(whole(at_most=MAX_DAYS)),
}
_pieces = whole(1, MAX_SET_PIECES)
_part: dict[str, Key] = {"items": Key(selector), "count": Key(_pieces, required=True)}
_step = record(
    Step,
    Keys(
        {
            "min": Key(whole(), required=True, attr="least_minor"),
            "bp": Key(whole()),
            "amount": Key(whole(), attr="amount_minor"),
        }
    ),
)
_weighted = pair_of(_some, whole(), N_("a pair [weight, points]"))
_counted = pair_of(_some, whole(), N_("a pair [count, points]"))


def _buy_get(buy: Part, get: tuple[Part, int]) -> BuyGet:
    return BuyGet(buy, *get)


def _cheaper_part(items: Selector | None, count: int, bp: int) -> tuple[Part, int]:
    return Part(items, count), bp


def _fewer_paid_than_taken(walk: Walk, raw: Mapping[str, Any], path: Path) -> None:
    n, m = raw.get("n"), raw.get("m")
    if type(n) is int and type(m) is int and m >= n >= 1:
        walk.fault((path, "m"), N_("must be less than n: so many of the n units are paid in full"))


def _steps_differ(walk: Walk, raw: Mapping[str, Any], path: Path) -> None:
    mins: list[tuple[int, Path]] = []
    steps = raw.get("steps")
    for i, step in enumerate(steps if isinstance(steps, list) else ()):
        place = ((path, "steps"), i)
        if isinstance(step, dict):
            _percent_or_amount(walk, step, place)
            if type(step.get("min")) is int:
                mins.append((step["min"], (place, "min")))
    walk.unique(mins)


def _bundle_is_right(walk: Walk, raw: Mapping[str, Any], path: Path) -> None:
    _one_price(walk, raw, path)
    parts = raw.get("parts")
    _set_has_a_bound(walk, parts if isinstance(parts, list) else [], (path, "parts"))


def _buy_get_has_a_bound(walk: Walk, raw: Mapping[str, Any], path: Path) -> None:
    _set_has_a_bound(walk, [raw.get("buy"), raw.get("get")], path)


def _set_has_a_bound(walk: Walk, parts: list[Any], path: Path) -> None:
    counts = [part.get("count") for part in parts if isinstance(part, dict)]
    pieces = sum(count for count in counts if type(count) is int)
    if pieces > MAX_SET_PIECES:
        walk.fault(
            path, N_("takes {count} pieces together; at most {most}", count=pieces, most=MAX_SET_PIECES)
        )


def _deck_has_a_bound(walk: Walk, raw: Mapping[str, Any], path: Path) -> None:
    cards = raw.get("cards")
    counts = [pair[0] for pair in cards if isinstance(pair, list) and pair] if isinstance(cards, list) else []
    total = sum(count for count in counts if type(count) is int)
    if total > MAX_CARDS:
        walk.fault((path, "cards"), N_("has {count} entries; at most {most}", count=total, most=MAX_CARDS))


_percent_or_amount = exactly_one("bp", "amount")
_one_price = exactly_one("price", "bp", "amount")

EFFECTS: Mapping[str, Shape] = MappingProxyType(
    {
        "fixed_price": Shape(FixedPrice, Keys({"price": _price}), "price"),
        "n_for_m": Shape(
            NForM,
            Keys(
                {
                    "n": Key(_pieces, required=True),
                    "m": Key(whole(), required=True),
                    "bp": Key(whole(), default=BP),
                    "place": Key(choice(N_("place"), "spread", "free"), default="spread"),
                    "same_sku": Key(flag, default=False),
                }
            ),
            "sets",
            _fewer_paid_than_taken,
        ),
        "bundle": Shape(
            Bundle,
            Keys(
                {
                    "parts": Key(list_of(record(Part, Keys(_part)), at_least=1), required=True),
                    "price": Key(whole(), attr="price_minor"),
                    "bp": Key(whole()),
                    "amount": Key(whole(), attr="amount_minor"),
                }
            ),
            "sets",
            _bundle_is_right,
        ),
        "buy_get": Shape(
            _buy_get,
            Keys(
                {
                    "buy": Key(record(Part, Keys(_part)), required=True),
                    "get": Key(
                        record(_cheaper_part, Keys({**_part, "bp": Key(whole(), default=BP)})), required=True
                    ),
                }
            ),
            "sets",
            _buy_get_has_a_bound,
        ),
        "percent": Shape(Percent, Keys({"bp": _bp}), "line"),
        "amount_off": Shape(AmountOff, Keys({"amount": _amount}), "line"),
        "unit_price": Shape(UnitPrice, Keys({"price": _price}), "line"),
        "receipt_percent": Shape(
            ReceiptPercent, Keys({"bp": _bp, "spill": Key(flag, default=False)}), "receipt"
        ),
        "receipt_amount": Shape(
            ReceiptAmount, Keys({"amount": _amount, "spill": Key(flag, default=True)}), "receipt"
        ),
        "receipt_every": Shape(
            ReceiptEvery,
            Keys(
                {
                    "every": Key(_some, required=True, attr="every_minor"),
                    "amount": _amount,
                    "times": Key(_some),
                    "spill": Key(flag, default=True),
                }
            ),
            "receipt",
        ),
        "receipt_steps": Shape(
            ReceiptSteps,
            Keys({"steps": Key(list_of(_step, at_least=1), required=True), "spill": Key(flag)}),
            "receipt",
            _steps_differ,
        ),
        "round_down": Shape(RoundDown, Keys({"to": Key(_some, required=True, attr="to_minor")}), "round"),
        "redeem": Shape(
            Redeem,
            Keys(
                {
                    "max_bp": _bp,
                    "of": Key(choice(N_("base"), "receipt", "eligible"), default="receipt"),
                    "step": Key(_some, default=1),
                }
            ),
            "redeem",
        ),
        "earn_percent": Shape(
            EarnPercent, Keys({"bp": _bp, "on": _base, "unit": Key(_some, default=100), **_life}), "earn"
        ),
        "earn_multiplier": Shape(EarnMultiplier, Keys({"x100": Key(whole(), required=True)}), "earn"),
        "earn_fixed": Shape(EarnFixed, Keys({"points": Key(whole(), required=True), **_life}), "earn"),
        "earn_every": Shape(
            EarnEvery,
            Keys(
                {
                    "every": Key(_some, required=True, attr="every_minor"),
                    "points": Key(whole(), required=True),
                    "on": _base,
                    **_life,
                }
            ),
            "earn",
        ),
        "draw_table": Shape(
            DrawTable, Keys({"table": Key(list_of(_weighted, at_least=1), required=True), **_life}), "reward"
        ),
        "draw_deck": Shape(
            DrawDeck,
            Keys({"cards": Key(list_of(_counted, at_least=1), required=True), **_life}),
            "reward",
            _deck_has_a_bound,
        ),
        "issue_coupon": Shape(
            IssueCoupon,
            Keys(
                {"series": Key(ident, required=True), "ttl_days": Key(whole(at_most=MAX_DAYS), required=True)}
            ),
            "reward",
        ),
        "gift": Shape(
            Gift, Keys({"sku": Key(sku_id, required=True), "quantity": Key(_some, required=True)}), "reward"
        ),
        "message": Shape(Message, Keys({"text": Key(title, required=True)}), "reward"),
    }
)
effect = typed(EFFECTS, N_("effect type"), "effect")
"""The kind of a rule's `effect`."""
