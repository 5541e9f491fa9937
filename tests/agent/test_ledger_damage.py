"""A page of ledger.db goes bad while the till works: what needs it is refused by name, the rest goes on."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.cards import QUOTE_WAIT_MS
from agent.inbox import LinkChanged, LookedUp, Problem
from loyalty.wire import Member
from tests.agent.shop import ACCOUNT, CARD, Shop, key_of

PAGE_BYTES = 4096
STRANGER = "2000000000022"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A till whose table of parcels cannot be read any more."""
    shop = Shop(tmp_path)
    shop.know()
    shop.grant(60_000)
    shop.commit("before", shop.put("before", card=CARD, redeem=500))
    shop.close()
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as raw:
        (page,) = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'parcel'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(b"\xa5" * PAGE_BYTES)
    shop.open()
    shop.know()
    yield shop
    shop.close()


def test_cards_are_refused_by_name_and_sales_without_one_go_on(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        for number in range(3):
            with pytest.raises(Problem) as refused:
                shop.put(f"card-{number}", card=CARD)
            assert (refused.value.status, refused.value.code) == (500, "ledger_fault")
            assert "ledger.db" in str(refused.value.text)
    assert len(caplog.get_records("setup")) == 1  # said when it was first met,
    assert not caplog.get_records("call")  # and not again
    assert shop.commit("cash", shop.put("cash", card=None))["state"] == "committed"
    with pytest.raises(Problem, match=r"ledger\.db"):
        shop.status()


def test_a_quote_that_waited_when_the_page_went_bad(shop: Shop) -> None:
    """The loop lives; whoever asked is told, or asks again."""
    shop.till.handle(LinkChanged(None, ""))
    waiting = shop.put_later("s1", card=STRANGER)
    shop.till.handle(LookedUp(key_of(STRANGER), Member(ACCOUNT, balance=100)))
    shop.clock_ms += QUOTE_WAIT_MS
    shop.till.ring()
    with pytest.raises(Problem, match=r"ledger\.db"):
        waiting.reply.result(0)
    assert shop.put("s1", card=None)["state"] == "quoted"
