"""How the till stands: each trouble with its remedy, in both languages, said once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.drivers.contracts import DeviceState
from agent.health import ALERTS_MAX, HOLD_ALARM_S, Health
from agent.inbox import ApplyAsked, ChannelAlarm, LinkChanged, LoadBatchAsked
from agent.sync.machine import Apply
from loyalty import wire
from loyalty.texts import N_
from loyalty.wire import DownItem
from tests.agent.shop import ACCOUNT, CARD, Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    shop.till.handle(LinkChanged(None, ""))
    yield shop
    shop.close()


def troubles(shop: Shop) -> dict[str, str]:
    """Code and English sentence of every trouble; each must have a Russian one, too."""
    found = shop.status()["troubles"]
    assert all(trouble["ru"] != trouble["en"] for trouble in found)
    return {trouble["code"]: trouble["en"] for trouble in found}


def test_a_till_that_is_well_has_no_troubles(shop: Shop) -> None:
    status = shop.status()
    assert (status["troubles"], status["link"]["state"]) == ([], "online")
    assert (status["till"], status["store"], status["rulebook_seq"]) == ("T1", "S1", 7)


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("unreachable", "check the cable"),
        ("http_502", "check the cable"),
        ("BUSY", "check the cable"),
        ("FORK", "call the office"),
        ("EPOCH", "call the office"),
        ("TOO_OLD", "call the office"),
        ("GAP", "call the office"),
        ("not_trusted", "call the office"),
        ("failed_here", "could not store what the centre sent"),
    ],
)
def test_a_link_that_does_not_help_has_its_remedy(shop: Shop, word: str, remedy: str) -> None:
    shop.till.handle(LinkChanged(word, "detail"))
    assert remedy in troubles(shop)["link"]
    assert shop.status()["link"] == {
        "state": "offline",
        "word": word,
        "since_s": shop.wall_s,
        "synced_s": None,
    }
    shop.till.handle(LinkChanged(None, ""))
    assert troubles(shop) == {}


def test_lost_is_logged_once_and_back_once(caplog: pytest.LogCaptureFixture) -> None:
    health = Health("test")
    with caplog.at_level(logging.INFO):
        for word in ("unreachable", "unreachable", "unreachable", None, None):
            health.link(word, "detail", 0)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def clock_is_wrong(shop: Shop) -> None:
    server_ms = (shop.wall_s - 3_600) * 1_000
    shop.till.handle(ApplyAsked(Apply(1, 1, "s1", 1, 0, server_ms, (), b"")))


def hold_is_old(shop: Shop) -> None:
    shop.know()
    shop.grant(60_000)
    shop.put("r1", card=CARD, redeem="max")
    shop.wall_s += HOLD_ALARM_S + 1


def centre_speaks_of_new_things(shop: Shop) -> None:
    from loyalty import ledger

    bucket = ledger.bucket(ACCOUNT)
    body = b"\x02 of later days"
    item = DownItem(bucket, 1, body, ledger.link(wire.down_genesis("T1", bucket, 1), body))
    shop.till.handle(ApplyAsked(Apply(1, 1, "s1", 1, 0, shop.wall_s * 1_000, (item,), b"")))


def rules_are_refused(shop: Shop) -> None:
    shop.till.handle(ChannelAlarm("rulebook.all", "bad_signature", "no key signed it"))


TROUBLES: list[tuple[Callable[[Shop], None], str, str]] = [
    (clock_is_wrong, "clock", "timedatectl"),
    (hold_is_old, "old_holds", "finish or void the sales"),
    (centre_speaks_of_new_things, "downlink", "update the agent"),
    (rules_are_refused, "channel", "rulebook.all: the new version was refused (bad_signature)"),
]


@pytest.mark.parametrize(
    ("happens", "code", "says"), TROUBLES, ids=lambda part: getattr(part, "__name__", "")
)
def test_each_trouble_comes_with_what_to_do(
    shop: Shop, happens: Callable[[Shop], None], code: str, says: str
) -> None:
    assert troubles(shop) == {}
    happens(shop)
    assert says in troubles(shop)[code]


def test_a_channel_that_is_well_again_is_no_trouble(shop: Shop) -> None:
    rules_are_refused(shop)
    shop.till.handle(ChannelAlarm("rulebook.all", None, ""))
    assert troubles(shop) == {}


def test_a_device_shows_how_it_is_and_what_to_do(shop: Shop) -> None:
    shop.till.handle(DeviceState("scanner", "lost", N_("The scanner is unplugged: check its cable.")))
    (device,) = shop.status()["devices"]
    assert (device["name"], device["state"]) == ("scanner", "lost")
    assert "кабель" in device["hint"]["ru"]


def test_alerts_are_bounded_and_the_oldest_goes_first() -> None:
    health = Health("test")
    for n in range(ALERTS_MAX + 5):
        health.alert(f"a{n}", N_("the card is not found"), n)
    assert not health.has("a4")
    assert health.has("a5")
    health.clear("a5")
    assert not health.has("a5")


def test_the_office_hears_how_the_till_is_with_every_batch(shop: Shop) -> None:
    """And nothing in it is a card, a name or a secret."""
    shop.know()
    shop.grant(60_000)
    shop.put("r1", card=CARD, redeem=4_500)
    shop.commit("r2", shop.put("r2"))
    ask = LoadBatchAsked(500)
    shop.till.handle(ask)
    status = ask.reply.result(0).status
    assert (status["pending"], status["oldest_s"], status["holds"]) == (1, shop.wall_s, 1)
    assert (status["parcel_points"], status["agent_version"], status["alerts"]) == (60_000, "test", "")
    assert CARD not in str(status)
