"""The box's clock is wrong: years back after its battery died, years ahead for a morning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.clock import AGREE_S
from agent.inbox import ApplyAsked, Claimed, LinkChanged, LoadBatchAsked
from agent.sync.machine import Apply
from loyalty.ledger import FLAG_CLOCK, FLAG_OFFLINE, Entry
from loyalty.wire import ClaimReply, ClaimRequest
from tests.agent.shop import CARD, LOT, OPENED_S, Shop

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


def spent(entry: Entry) -> int:
    return sum(posting.points for posting in entry.postings if posting.account == "spent")


def centre_says(shop: Shop, utc_s: int) -> None:
    """A signed reply of the centre, with its time."""
    reply = Apply(1, 1, "session", shop.ledger.uplink().acked_seq + 1, 0, utc_s * 1000, tuple(shop.down), b"")
    shop.till.handle(ApplyAsked(reply))


def clock_trouble(shop: Shop) -> bool:
    return any(trouble["code"] == "clock" for trouble in shop.status()["troubles"])


def test_a_dead_battery_stops_nothing_and_time_does_not_run_back(shop: Shop) -> None:
    before = sell(shop, "before")
    shop.wall_s = 0  # 1970
    entry = sell(shop, "after")
    assert entry.at_s == before.at_s
    assert entry.postings  # it earns as before
    shop.clock_ms += 90_000
    assert sell(shop, "later").at_s == before.at_s + 90  # time goes on, by the centre's
    shop.crash()
    shop.know()
    assert sell(shop, "restarted").at_s == before.at_s + 90


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
    for start in ("first", "second"):  # the entries of 2036 do not make 2036 more likely
        shop.crash()
        shop.know()
        entry = sell(shop, start)
        assert (entry.at_s, entry.flags) == (OPENED_S + TEN_YEARS_S, (FLAG_CLOCK, FLAG_OFFLINE))
        assert not spent(entry)
    shop.till.handle(LinkChanged(None, ""))
    centre_says(shop, OPENED_S)
    assert clock_trouble(shop)
    assert FLAG_CLOCK in sell(shop, "still-2036").flags
    shop.wall_s = OPENED_S + 600
    centre_says(shop, OPENED_S + 601)
    assert not clock_trouble(shop)
    shop.know()
    entry = sell(shop, "2026-again")
    assert entry.at_s == OPENED_S + 601
    assert spent(entry) == 1_000
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


# ------------------------------------------------------------------ points, while the clock is wrong


def ahead(shop: Shop) -> None:
    shop.wall_s += TEN_YEARS_S


def dead_battery(shop: Shop) -> None:
    shop.wall_s = 0


def an_hour_back(shop: Shop) -> None:
    shop.wall_s -= 3_600


def ahead_at_power_on(shop: Shop) -> None:
    ahead(shop)
    shop.crash()


def dead_battery_at_power_on(shop: Shop) -> None:
    dead_battery(shop)
    shop.crash()


def set_by_hand_after_power_on(shop: Shop) -> None:
    shop.crash()
    shop.status()
    shop.wall_s += 3_600


WRONG = [
    ahead,
    dead_battery,
    an_hour_back,
    ahead_at_power_on,
    dead_battery_at_power_on,
    set_by_hand_after_power_on,
]


@pytest.mark.parametrize("goes_wrong", WRONG)
def test_without_a_link_points_are_not_spent_and_none_is_lost(
    shop: Shop, goes_wrong: Callable[[Shop], None]
) -> None:
    sell(shop, "before")
    held = shop.parcels()
    goes_wrong(shop)
    shop.till.handle(LinkChanged("unreachable", ""))
    shop.know()
    assert clock_trouble(shop)
    quoted = shop.put("r1", card=CARD, redeem="max")
    assert quoted["quote"]["redeemed"] == 0
    (message,) = [m for m in quoted["messages"] if m["code"] == "clock"]
    assert "timedatectl" in message["ru"]
    shop.commit("r1", quoted)
    assert FLAG_CLOCK in shop.ledger.entries(1)[0][0].flags
    load = LoadBatchAsked(500)
    shop.till.handle(load)  # by such a clock nothing is given back as expired or idle
    assert {entry.kind for entry, _ in shop.ledger.entries(9)} == {"SALE"}
    assert shop.parcels() == held


@pytest.mark.parametrize("goes_wrong", WRONG)
def test_with_the_centres_word_for_this_sale_points_are_spent(
    shop: Shop, goes_wrong: Callable[[Shop], None]
) -> None:
    goes_wrong(shop)
    shop.till.handle(LinkChanged(None, ""))
    shop.know(balance=50_000)
    asked = shop.put_later("r1", card=CARD, redeem=1_000)
    (claim,) = shop.outside.claims
    assert (claim.want, asked.reply.done()) == (0, False)
    answer_with_time(shop, claim, OPENED_S)
    quoted = asked.reply.result(0)
    assert quoted["quote"]["redeemed"] == 1_000
    shop.outside.claims.clear()
    shop.commit("r1", quoted)
    (earned,) = [p.terms for p in shop.ledger.entries(1)[0][0].postings if p.terms is not None]
    assert earned.active_from[:10] == "2026-12-02"  # a fortnight from the centre's day
    other = shop.put_later("r2", card=CARD, redeem=1_000)
    assert len(shop.outside.claims) == 1  # each sale has its own word
    shop.nobody_answers_claims()
    assert other.reply.result(0)["quote"]["redeemed"] == 0


def test_a_lot_that_died_while_the_box_stood_still_is_not_spent(shop: Shop) -> None:
    """Three days without power and a dead battery: the box believes that no time has passed."""
    lasts_s = 86_400
    shop.grant(7_000, lot="c:233-1-9-0", expires_at="2026-11-19T12:00:00")
    shop.wall_s -= 3_600
    shop.crash()
    shop.till.handle(LinkChanged(None, ""))
    shop.know(balance=57_000)
    asked = shop.put_later("r1", card=CARD, redeem="max")
    answer_with_time(shop, shop.outside.claims.pop(), OPENED_S + 3 * lasts_s)
    used = dict(asked.reply.result(0)["quote"]["lots_used"])
    assert set(used) == {LOT}


def test_a_clock_that_went_and_came_back_is_right_again_without_a_link(shop: Shop) -> None:
    shop.till.handle(LinkChanged("unreachable", ""))
    for _ in range(2):
        shop.wall_s += TEN_YEARS_S
        assert clock_trouble(shop)
        shop.wall_s -= TEN_YEARS_S
        shop.time_passes(60)
        assert not clock_trouble(shop)
    assert spent(sell(shop, "r1")) == 1_000


def test_a_till_that_was_alone_for_weeks_is_not_doubted(shop: Shop) -> None:
    shop.till.handle(LinkChanged("unreachable", ""))
    for week in range(8):
        shop.time_passes(7 * 86_400)
        shop.crash()
        shop.know()
        assert spent(sell(shop, f"w{week}")) == 1_000


def answer_with_time(shop: Shop, claim: ClaimRequest, utc_s: int) -> None:
    """The centre grants nothing, and says the time."""
    reply = ClaimReply(claim.claim_id, 0, False, 1, utc_s * 1000, (), b"", b"")
    shop.till.handle(Claimed(claim, reply))


def test_what_is_earned_by_a_clock_years_ahead_lives_from_the_latest_sure_time(shop: Shop) -> None:
    sell(shop, "sure")
    shop.till.handle(LinkChanged("unreachable", "the cable is out"))
    shop.wall_s += TEN_YEARS_S
    shop.crash()
    shop.know()
    entry = sell(shop, "r1")
    assert FLAG_CLOCK in entry.flags
    (terms,) = (posting.terms for posting in entry.postings if posting.account == "issued")
    assert terms is not None
    # The rule gives them two weeks after the sale. How long they live then is not cut.
    assert terms.active_from == "2026-12-02T00:00:00"
    assert terms.expires_at is None
