"""The box's clock is wrong: years back after its battery died, years ahead for a morning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.clock import AGREE_S
from agent.inbox import ApplyAsked, LinkChanged
from agent.sync.machine import Apply
from loyalty.ledger import FLAG_CLOCK, Entry
from tests.agent.shop import CARD, OPENED_S, Shop

TEN_YEARS_S = 10 * 365 * 86_400


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    shop.till.handle(LinkChanged(None, ""))
    shop.know()
    shop.grant(50_000, expires_at="2028-01-01T00:00:00")
    yield shop
    shop.close()


def sell(shop: Shop, sale_id: str) -> Entry:
    """A sale that spends ten points, if any are alive; its entry."""
    quoted = shop.put(sale_id, card=CARD, redeem=1_000)
    shop.commit(sale_id, quoted)
    return shop.ledger.entries(1)[0][0]


def centre_says(shop: Shop, utc_s: int) -> None:
    """A signed reply of the centre, with its time."""
    reply = Apply(1, 1, "session", shop.ledger.uplink().acked_seq + 1, 0, utc_s * 1000, tuple(shop.down), b"")
    shop.till.handle(ApplyAsked(reply))


def clock_trouble(shop: Shop) -> bool:
    return any(trouble["code"] == "clock" for trouble in shop.status()["troubles"])


def test_a_dead_battery_stops_nothing_and_time_does_not_run_back(shop: Shop) -> None:
    before = sell(shop, "before")
    shop.wall_s -= TEN_YEARS_S
    entry = sell(shop, "after")
    assert entry.at_s == before.at_s
    assert entry.postings  # the points are as alive as before
    shop.crash()
    shop.know()
    assert sell(shop, "restarted").at_s == before.at_s


def test_a_clock_that_the_centre_knows_to_be_wrong_is_said_and_flagged(shop: Shop) -> None:
    assert FLAG_CLOCK not in sell(shop, "right").flags
    shop.wall_s -= TEN_YEARS_S
    centre_says(shop, OPENED_S + 60)
    assert clock_trouble(shop)
    entry = sell(shop, "wrong")
    assert (entry.at_s, FLAG_CLOCK in entry.flags) == (OPENED_S + 60, True)
    shop.wall_s += TEN_YEARS_S + 120
    centre_says(shop, OPENED_S + 121)
    assert not clock_trouble(shop)
    assert FLAG_CLOCK not in sell(shop, "set-right").flags


def test_a_morning_in_2036_does_not_last_until_2036(shop: Shop) -> None:
    """Once the clock is set right and the centre agrees, points live again; also after a restart."""
    shop.wall_s += TEN_YEARS_S
    assert sell(shop, "2036").at_s == OPENED_S + TEN_YEARS_S
    centre_says(shop, OPENED_S)
    assert clock_trouble(shop)
    assert FLAG_CLOCK in sell(shop, "still-2036").flags
    shop.wall_s = OPENED_S + 600
    centre_says(shop, OPENED_S + 601)
    assert not clock_trouble(shop)
    shop.know()
    entry = sell(shop, "2026-again")
    assert entry.at_s == OPENED_S + 601
    assert any(posting.points < 0 and posting.account == "parcel:T1" for posting in entry.postings)
    shop.crash()
    shop.know()
    assert sell(shop, "after-a-restart").at_s == OPENED_S + 601


def test_the_centre_alone_does_not_set_time_back(shop: Shop) -> None:
    """Its clock may be the wrong one; the box has to agree."""
    before = sell(shop, "before")
    centre_says(shop, OPENED_S - TEN_YEARS_S)
    assert sell(shop, "after").at_s == before.at_s


@pytest.mark.parametrize("ahead_s", [0, 30, AGREE_S])
def test_a_few_minutes_are_nothing(shop: Shop, ahead_s: int) -> None:
    shop.wall_s += ahead_s
    before = sell(shop, "before")
    shop.wall_s -= ahead_s
    centre_says(shop, OPENED_S)
    assert sell(shop, "after").at_s == before.at_s
