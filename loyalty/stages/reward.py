"""The reward stage: draws, coupons, gifts and messages after a sale (rulebook.md §4, "reward").

A draw is pseudo-random and can be checked by anybody: the number comes from an
HMAC under the key of the day, which the office reveals the day after and had
committed to when it published the rules. The text under the HMAC names the
programme, the rule and the customer (or the till's deck), and nothing of the
basket, so ringing up a sale again draws the same.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from loyalty.clauses import Clause
from loyalty.effects import DrawDeck, DrawTable, Gift, Grant, IssueCoupon, Message
from loyalty.faults import Fault, Refused, at_key
from loyalty.stages.earn import add_lot
from loyalty.stages.pricing import Pricing
from loyalty.texts import N_

DECKS_KEPT = 32
"""Most shuffled decks that are kept: one a rule, till and day."""


def run(pricing: Pricing) -> None:
    """Draw and grant. Raises `Refused` where a live draw lacks the key of the day, or its number."""
    if pricing.receipt.customer is None:
        return
    live = [
        clause
        for clause in pricing.everywhere("reward")
        if clause.items is None or any(True for _ in pricing.meant(clause.items))
    ]
    _check_draws(live, pricing)
    for clause in live:
        effect = clause.effect
        if isinstance(effect, DrawTable | DrawDeck):
            draw = _from_table if isinstance(effect, DrawTable) else _from_deck
            points = draw(clause, pricing)
            pricing.rewards[clause.id] = points
            if points > 0:
                add_lot(pricing, clause, points, effect.delay_days, effect.ttl_days)
        else:
            assert isinstance(effect, Grant)  # the parser lets no other effect into this stage
            pricing.grants.append({"rule": clause.id, **_granted(effect)})


def _granted(effect: Grant) -> dict[str, object]:
    match effect:
        case IssueCoupon(series, ttl_days):
            return {"type": "issue_coupon", "series": series, "ttl_days": ttl_days}
        case Gift(sku, quantity):
            return {"type": "gift", "sku": sku, "quantity": quantity}
        case Message(text):
            return {"type": "message", "text": text}


def _from_table(clause: Clause, pricing: Pricing) -> int:
    effect, receipt = clause.effect, pricing.receipt
    assert isinstance(effect, DrawTable)
    assert receipt.customer is not None
    today = pricing.now.date().isoformat()
    drawn = _below(
        sum(weight for weight, _ in effect.table),
        pricing.day_key or b"",
        f"rw1|{pricing.compiled.rulebook.id}|{clause.id}|{receipt.customer.id}|{today}",
    )
    for weight, points in effect.table:
        if drawn < weight:
            return points
        drawn -= weight
    raise AssertionError("a number below the sum of the weights falls on one of them")


def _from_deck(clause: Clause, pricing: Pricing) -> int:
    effect, receipt = clause.effect, pricing.receipt
    assert isinstance(effect, DrawDeck)
    text = f"deck1|{pricing.compiled.rulebook.id}|{clause.id}|{receipt.till}"
    deck = _shuffled(effect.cards, pricing.day_key or b"", text)
    return deck[receipt.draws[clause.id] % len(deck)]


@lru_cache(maxsize=DECKS_KEPT)
def _shuffled(cards: tuple[tuple[int, int], ...], key: bytes, text: str) -> tuple[int, ...]:
    """The points of a deck in the order in which a till draws them: Fisher–Yates from the end."""
    deck = [points for count, points in cards for _ in range(count)]
    for i in range(len(deck) - 1, 0, -1):
        j = _below(i + 1, key, f"{text}|{i}")
        deck[i], deck[j] = deck[j], deck[i]
    return tuple(deck)


def _below(bound: int, key: bytes, text: str) -> int:
    """A number from 0 to `bound` − 1: the first 64 bits of an HMAC, scaled."""
    bits = int.from_bytes(hmac.digest(key, text.encode(), hashlib.sha256)[:8], "big")
    return bits * bound >> 64


def _check_draws(live: list[Clause], pricing: Pricing) -> None:
    """Raises `Refused` for every live draw that cannot be made."""
    faults = []
    for clause in live:
        if not isinstance(clause.effect, DrawTable | DrawDeck):
            continue
        if not pricing.day_key:
            text = N_("rule {rule} draws and needs the key of the day; give it", rule=clause.id)
            faults.append(Fault("draw_key", text))
        if isinstance(clause.effect, DrawDeck) and clause.id not in pricing.receipt.draws:
            text = N_("is missing; give the number of this till's draw by rule {rule}", rule=clause.id)
            faults.append(Fault(at_key("receipt.draws", clause.id), text))
    if faults:
        raise Refused(faults)
