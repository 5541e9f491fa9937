"""How the till stands: each trouble with its remedy, in both languages, said once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.clock import Clock
from agent.drivers.contracts import DeviceState
from agent.health import ALERTS_MAX, HOLD_ALARM_S, SYNC_LATE_S, Health
from agent.inbox import ApplyAsked, ChannelAlarm, LinkChanged, LoadBatchAsked
from agent.offline import heard
from agent.status_view import table
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
        ("FORK", "restore --in-place"),
        ("EPOCH", "another disk took its place"),
        ("NOT_ENROLLED", "Ask the office for a new code"),
        ("SIGNATURE", "not by this disk's key"),
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
    health = Health("test", Clock(lambda: 0, lambda: 0))
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
    shop.time_passes(HOLD_ALARM_S + 1)


def centre_speaks_of_new_things(shop: Shop) -> None:
    from loyalty import ledger

    bucket = ledger.bucket(ACCOUNT)
    body = b"\x02 of later days"
    item = DownItem(bucket, 1, body, ledger.link(wire.down_genesis("T1", bucket, 1), body))
    shop.till.handle(ApplyAsked(Apply(1, 1, "s1", 1, 0, shop.wall_s * 1_000, (item,), b"")))


def rules_are_refused(shop: Shop) -> None:
    shop.till.handle(ChannelAlarm("rulebook.all", "bad_signature", "no key signed it"))


def centre_answers(shop: Shop, quarantined: int, *, ended: bool) -> None:
    effect = Apply(1, 1, "s1", 1, 0, shop.wall_s * 1_000, (), b"", quarantined=quarantined, ended=ended)
    shop.till.handle(ApplyAsked(effect))


def office_keeps_entries_apart(shop: Shop) -> None:
    centre_answers(shop, 3, ended=False)


def office_closed_the_till(shop: Shop) -> None:
    centre_answers(shop, 3, ended=True)


def nothing_was_sent_for_a_day(shop: Shop) -> None:
    shop.commit("r1", shop.put("r1"))
    shop.time_passes(SYNC_LATE_S + 1)


def disk_came_from_a_backup(shop: Shop) -> None:
    heard.begin_restore(shop.ledger, "restore-1")


TROUBLES: list[tuple[Callable[[Shop], None], str, str]] = [
    (clock_is_wrong, "clock", "timedatectl"),
    (hold_is_old, "old_holds", "finish or void the sales"),
    (centre_speaks_of_new_things, "downlink", "update the agent"),
    (office_keeps_entries_apart, "quarantined", "3 entries of this till wait"),
    (office_closed_the_till, "ended", "the office has closed this till"),
    (nothing_was_sent_for_a_day, "sync_late", "they lie on this disk only"),
    (disk_came_from_a_backup, "restoring", "kopilka-agent sync now"),
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


def test_a_restored_disk_that_the_centre_refuses_needs_a_new_code(shop: Shop) -> None:
    disk_came_from_a_backup(shop)
    shop.till.handle(LinkChanged("FORK", "the backup's log is not the one we hold"))
    assert "ledger export FILE" in troubles(shop)["link"]


def test_what_lies_here_and_what_may_be_lost_with_it(tmp_path: Path) -> None:
    """Points held, and 300 to everybody who was served since the last sync: one was, in this outage."""
    with closing(Shop(tmp_path, settings={"courtesy_points": 30_000})) as shop:
        shop.know()
        shop.grant(60_000)
        shop.time_passes(60)
        assert shop.status()["exposure_points"] == 60_000
        shop.commit("r1", shop.put("r1", card=CARD, redeem=4_500))
        shop.put("r2", card=CARD, redeem=1_000)
        shop.time_passes(3 * 3_600)
        status = shop.status()
        assert (status["parcel_points"], status["parcel_accounts"]) == (55_500, 1)
        assert status["exposure_points"] == 85_500
        assert status["holds"] == [{"sale_id": "r2", "age_s": 3 * 3_600, "points": 1_000}]
        assert (status["pending"], status["oldest_s"]) == (1, shop.wall_s - 3 * 3_600)
        assert (status["epoch"], status["timeline"], status["down_stopped"]) == (1, 1, None)
        shown = table(status, "en")
    assert "to send      1 entries, the oldest of 3 h 0 min ago" in shown
    assert "points here  555.00 of 1 accounts; at most 855.00 can be spent here without a link" in shown
    assert "open quotes  1, which promise 10.00; the oldest of 3 h 0 min ago" in shown


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
    health = Health("test", Clock(lambda: 0, lambda: 0))
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
    assert (status["exposure_points"], status["quarantined"], status["epoch"]) == (60_000, 0, 1)
    assert CARD not in str(status)
