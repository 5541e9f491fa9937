"""A queue at the counter, and carts that no shop has: the till's loop lives through all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cards import QUOTE_WAIT_MS
from agent.inbox import AMOUNT_MAX, LinkChanged, Problem
from agent.pricing import LOTS_MAX, TOTAL_MAX_MINOR
from loyalty import ledger, wire
from loyalty.check_digits import gtin_ok
from loyalty.ledger import POSTINGS_MAX, Entry, LotTerms, Posting
from loyalty.sale import OPEN_SALES_MAX
from loyalty.wire import DownItem
from tests.agent.shop import ACCOUNT, CARD, RULEBOOK, TILL, Shop, milk


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    shop.till.handle(LinkChanged(None, ""))
    yield shop
    shop.close()


def stranger(number: int) -> str:
    """A card that this till has never seen."""
    body = f"2000000{number:05d}"
    return next(f"{body}{digit}" for digit in range(10) if gtin_ok(f"{body}{digit}"))


def grant_many(shop: Shop, lots: dict[str, tuple[int, str]]) -> None:
    """One GRANT of many lots: {lot: (points, expires_at)}."""
    bucket = ledger.bucket(ACCOUNT)
    postings: list[Posting] = []
    for lot, (points, expires_at) in lots.items():
        terms = LotTerms("2026-01-01T00:00:00", expires_at, "opening")
        postings += (
            Posting(ledger.FREE, lot, -points),
            Posting(ledger.parcel(TILL), lot, points, terms),
        )
    entry = Entry(ledger.centre_writer(bucket), 1, 1, shop.wall_s, "GRANT", ACCOUNT, tuple(postings))
    body = ledger.canonical(entry)
    h = ledger.link(wire.down_genesis(TILL, bucket, 1), body)
    shop.down.append(DownItem(bucket, 1, body, h))
    shop.reply()


def test_a_sale_that_no_longer_waits_may_be_crowded_out(shop: Shop) -> None:
    """Its second ran while twenty others came in; when it is over there is nothing left to price."""
    shop.put_later("left", card=stranger(1))
    shop.put("left", card=None)
    for number in range(OPEN_SALES_MAX + 1):
        shop.put(f"next-{number}")
    shop.clock_ms += QUOTE_WAIT_MS
    shop.till.ring()
    assert shop.put("one-more")["state"] == "quoted"


def test_twenty_one_unknown_cards_in_one_second_all_get_a_price(shop: Shop) -> None:
    asks = [shop.put_later(f"s{n}", card=stranger(n)) for n in range(OPEN_SALES_MAX + 1)]
    assert asks[0].reply.result(0)["state"] == "quoted"  # there is room for twenty: the first waits no longer
    assert not any(ask.reply.done() for ask in asks[1:])
    shop.clock_ms += QUOTE_WAIT_MS
    shop.till.ring()
    assert {ask.reply.result(0)["state"] for ask in asks} == {"quoted"}


def test_a_cart_that_was_changed_while_it_waited_gets_a_second_of_its_own(shop: Shop) -> None:
    shop.put_later("s1", card=stranger(1))
    shop.clock_ms += QUOTE_WAIT_MS - 1
    changed = shop.put_later("s1", card=stranger(2))
    shop.clock_ms += 1
    shop.till.ring()
    assert not changed.reply.done()
    shop.clock_ms += QUOTE_WAIT_MS
    shop.till.ring()
    assert changed.reply.result(0)["state"] == "quoted"


def test_a_cart_worth_more_than_the_world_is_refused_before_anybody_pays(shop: Shop) -> None:
    quoted = shop.put("s1")
    for lines in (
        [milk() | {"price": AMOUNT_MAX, "quantity": AMOUNT_MAX}],
        [milk(line_id=str(n)) | {"price": TOTAL_MAX_MINOR, "quantity": 1000} for n in range(2)],
    ):
        with pytest.raises(Problem) as refused:
            shop.put("s1", lines=lines)
        assert refused.value.status == 409
    assert shop.commit("s1", quoted)["state"] == "committed"


def test_a_rule_that_gives_more_points_than_there_can_be_is_refused_at_the_quote(tmp_path: Path) -> None:
    """Not at the commit: then the money would be in the drawer already."""
    generous: dict[str, Any] = {**RULEBOOK, "rules": [
        {"id": "rain", "stage": "earn", "effect": {"type": "earn_percent", "bp": 1_000_000}},
    ]}  # fmt: skip
    shop = Shop(tmp_path, rulebook=generous)
    shop.know(balance=0)
    with pytest.raises(Problem) as refused:
        shop.put("s1", card=CARD, lines=[milk() | {"price": TOTAL_MAX_MINOR, "quantity": 1000}])
    assert refused.value.code == "receipt_refused"
    shop.close()


def test_a_customer_with_thousands_of_small_lots_can_still_spend(shop: Shop) -> None:
    """The first to expire are spent; the entry stays within what the office takes."""
    shop.know(balance=1_000_000)
    small = {f"c:1-1-{n}-0": (100, f"{2100 - n % 50}-01-01T00:00:00") for n in range(LOTS_MAX + 50)}
    dead = {"c:1-1-9999-0": (50_000, "2026-01-02T00:00:00")}
    grant_many(shop, small | dead)
    quoted = shop.put("s1", card=CARD, lines=[milk(quantity=100_000)], redeem="max")
    assert quoted["quote"]["redeemed"] == LOTS_MAX * 100
    shop.commit("s1", quoted)
    entry, _ = shop.ledger.entries(1)[0]
    assert len(entry.postings) <= POSTINGS_MAX
    left = {p.expires_at for p in shop.ledger.parcels(ACCOUNT) if p.points == 100}
    assert left == {f"{year}-01-01T00:00:00" for year in (2098, 2099, 2100)}


def test_a_promised_sale_is_paid_even_where_the_settings_are_lost(shop: Shop) -> None:
    """snapshot.db is gone and there is no link: nothing new is priced, but what was promised is kept."""
    shop.know(balance=60_000)
    shop.grant(60_000)
    parked = shop.put("parked", card=CARD, redeem=1_000)
    gone = shop.put("gone", card=CARD, redeem=1_000)
    sold = shop.commit("sold", shop.put("sold", card=CARD, redeem=1_000))
    shop.rulebook = None
    shop.crash()
    with pytest.raises(Problem) as refused:
        shop.put("new")
    assert (refused.value.status, refused.value.code) == (503, "no_settings")
    assert {held["sale_id"] for held in shop.held()} == {"parked", "gone"}
    done = shop.commit("parked", parked)
    assert done["redeemed"] == 1_000
    assert any("S1" in line for line in done["slip"]["lines"])
    assert shop.void("gone")["state"] == "closed"
    assert shop.get("sold")["entry"] == sold["entry"]
    assert shop.void("sold")["entry"]
    assert sum(shop.parcels().values()) == 60_000 - 1_000
    assert gone["quote_id"] != parked["quote_id"]
