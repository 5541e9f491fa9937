"""Ninety days pass, and a till forgets what is safe elsewhere: a little at a time, and never its chain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.inbox import ApplyAsked, LinkChanged, Problem
from agent.offline import heard, pruning, story
from agent.offline.records import LedgerFault
from agent.sync.machine import Apply
from loyalty import ledger, wire
from loyalty.ledger import LotTerms
from tests.agent.shop import ACCOUNT, CARD, LOT, Shop

DAY_S = 86_400


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with closing(Shop(tmp_path)) as shop:
        shop.till.handle(LinkChanged(None, ""))
        shop.know()
        shop.grant(60_000)
        yield shop


def sync(shop: Shop, *, durable: bool = True, timeline: int = 1, epoch: int = 1) -> None:
    """The centre has taken everything; is it safe on two disks?"""
    seq = shop.ledger.head(epoch, "T1")[0]
    shop.till.handle(
        ApplyAsked(Apply(epoch, timeline, "s", seq + 1, seq if durable else 0, shop.wall_s * 1_000, (), b""))
    )


def sell(shop: Shop, sale_id: str, redeem: int = 0) -> str:
    ident: str = shop.commit(sale_id, shop.put(sale_id, card=CARD, redeem=redeem))["ident"]
    return ident


def days_pass(shop: Shop, days: int = 92) -> None:
    shop.time_passes(days * DAY_S)


def count(shop: Shop, table: str) -> int:
    (rows,) = shop.ledger.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(rows)


def test_what_is_old_and_safe_elsewhere_goes_with_all_that_belongs_to_it(shop: Shop) -> None:
    for n in range(3):
        sell(shop, f"r{n}", redeem=1_000)
    days_pass(shop)
    sell(shop, "today")
    sync(shop)
    assert [entry.seq for entry, _ in shop.ledger.entries(9)] == [4]
    for table in ("document", "answer", "pruned"):
        assert count(shop, table) == 1
    assert shop.ledger.verify("T1") == 1
    sell(shop, "next")
    assert shop.ledger.head(1, "T1")[0] == 5


@pytest.mark.parametrize(("days", "durable", "left"), [(92, True, 1), (89, True, 3), (92, False, 3)], ids=str)
def test_both_are_asked(shop: Shop, days: int, durable: bool, left: int) -> None:
    """Old, and safe. The newest entry stays whatever it is: the next one is chained to it."""
    for n in range(3):
        sell(shop, f"r{n}")
    days_pass(shop, days)
    sync(shop, durable=durable)
    assert count(shop, "entry") == left
    sell(shop, "next")
    assert shop.ledger.verify("T1") == left + 1
    batch = shop.ledger.batch("T1", 500)  # its first entry follows one that is gone
    assert (batch.first_seq, len(batch.bodies)) == (4, 1)


def test_a_slip_that_is_as_old_is_said_to_be(shop: Shop) -> None:
    idents = [sell(shop, f"r{n}") for n in range(3)]
    days_pass(shop)
    sync(shop)
    with pytest.raises(LedgerFault, match="older than what this till keeps"):
        story.prove(shop.ledger, idents[0])
    assert story.prove(shop.ledger, idents[1]).told is None  # the head that was kept
    with pytest.raises(LedgerFault, match="the digits differ"):
        story.prove(shop.ledger, idents[1][:-6] + "000000")
    proof = story.prove(shop.ledger, idents[2])
    assert (proof.from_seq, proof.walked) == (3, 1)
    with pytest.raises(LedgerFault, match="the office can take it back"):
        story.of_sale(shop.ledger, "r0")


def test_a_void_that_comes_as_late_is_refused_in_words(shop: Shop) -> None:
    sell(shop, "r0")
    sell(shop, "r1")
    days_pass(shop)
    sync(shop)
    with pytest.raises(Problem) as refused:
        shop.void("r0")
    assert (refused.value.status, refused.value.code) == (409, "pruned")
    days_pass(shop, 365)
    sync(shop)
    assert shop.void("r0")["entry"] is None  # by then it is a sale like any that never reached us
    assert sell(shop, "r0").startswith("T1-1-3-")  # and its number may be used again


def test_lots_that_nothing_can_bring_back_go_too(shop: Shop) -> None:
    with shop.ledger.transaction():
        shop.ledger.put(ACCOUNT, "small", 1_000, LotTerms("2026-01-01T00:00:00", "2027-12-31T00:00:00", "x"),
                        why="the centre")  # fmt: skip
    sell(shop, "r0", redeem=1_000)  # all of the small one: it expires first
    sell(shop, "r1", redeem=1_000)
    small = shop.ledger.parcel(ACCOUNT, "small")
    assert small is not None
    assert small.points == 0
    days_pass(shop)
    sell(shop, "r2")
    sync(shop)
    assert shop.ledger.parcel(ACCOUNT, "small") is None
    assert shop.parcels()[LOT] == 59_000


def test_a_lot_that_a_young_sale_spent_stays(shop: Shop) -> None:
    sell(shop, "r0", redeem=40_000)
    days_pass(shop)
    sell(shop, "r1", redeem=20_000)
    sync(shop)
    sell(shop, "r2")
    assert shop.parcels() == {}
    assert shop.void("r1")["entry"] is not None
    assert shop.parcels() == {LOT: 20_000}


def test_a_card_that_was_only_looked_at_is_forgotten_too(shop: Shop) -> None:
    """A shop by the motorway sees a hundred thousand cards once."""
    shop.ledger.note_home(4711, home=False, now_s=shop.wall_s)
    assert count(shop, "standing") == 2
    days_pass(shop, 89)
    sync(shop)
    assert count(shop, "standing") == 2
    days_pass(shop, 2)
    sync(shop)
    assert shop.ledger.execute("SELECT account FROM standing").fetchall() == [(ACCOUNT,)]  # it has points


def test_a_little_at_a_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "ROWS_A_STEP", 2)
    for n in range(6):
        sell(shop, f"r{n}")
    days_pass(shop)
    left = []
    for _ in range(4):
        sync(shop)
        left.append(count(shop, "entry"))
        assert shop.ledger.verify("T1") == left[-1]
    assert left == [4, 2, 1, 1]


def test_a_clock_that_was_years_ahead_keeps_nothing_for_years(shop: Shop) -> None:
    sell(shop, "r0")
    shop.wall_s += 3_650 * DAY_S
    sell(shop, "r1")
    sell(shop, "r2")
    shop.wall_s -= 3_650 * DAY_S
    sync(shop)  # the box and the centre agree again, and the till follows them
    sell(shop, "r3")
    sell(shop, "r4")
    days_pass(shop)
    for _ in range(2):
        sync(shop)
    assert [entry.seq for entry, _ in shop.ledger.entries(9)] == [5]


def test_lives_that_have_ended_are_forgotten_when_the_present_one_is_safe(shop: Shop) -> None:
    for n in range(3):
        sell(shop, f"r{n}")
    sync(shop, durable=False)
    heard.begin_restore(shop.ledger, "restore-1")
    heard.begin_life(shop.ledger, "T1", wire.RestoreReply(2, "s", 1, 3, {}, shop.wall_s * 1_000, b""))
    sell(shop, "r3")
    days_pass(shop)
    sync(shop, durable=False, epoch=2)
    assert count(shop, "entry") == 4
    sync(shop, epoch=2)  # a copy that holds T1-2-1 holds all of the life before
    assert [entry.id for entry, _ in shop.ledger.entries(9)] == ["T1-2-1", "T1-1-3"]
    assert shop.ledger.verify("T1") == 2
    assert heard.missing_log(shop.ledger) is None
    assert shop.ledger.pending() == (0, None)


def test_a_centre_that_was_restored_must_make_the_old_life_safe_again(shop: Shop) -> None:
    sell(shop, "r0")
    sell(shop, "r1")
    heard.begin_restore(shop.ledger, "restore-1")
    heard.begin_life(shop.ledger, "T1", wire.RestoreReply(2, "s", 1, 2, {}, shop.wall_s * 1_000, b""))
    sell(shop, "r2")
    days_pass(shop)
    effect = Apply(2, 9, "s", 2, 1, shop.wall_s * 1_000, (), b"", epochs={1: 1, 2: 2})
    shop.till.handle(ApplyAsked(effect))  # it has T1-2-1 on two disks, and nothing of life 1
    assert count(shop, "entry") == 3
    shop.till.handle(ApplyAsked(Apply(1, 9, "s", 3, 0, shop.wall_s * 1_000, (), b"")))  # told again
    assert count(shop, "entry") == 3
    sell(shop, "r3")
    sync(shop, timeline=9, epoch=2)
    assert [entry.id for entry, _ in shop.ledger.entries(9)] == ["T1-2-2", "T1-2-1", "T1-1-2"]


def test_what_the_centre_said_goes_when_it_cannot_be_forgotten_there(shop: Shop) -> None:
    """A copy of the centre that holds a later entry of ours holds what it granted before that."""
    bucket = ledger.bucket(ACCOUNT)
    sell(shop, "r0")
    shop.grant(500)
    sync(shop)  # T1-1-1 is safe, and so is the first grant; the second one came after it
    assert count(shop, "downlink") == 2
    days_pass(shop)
    sync(shop)
    assert (count(shop, "downlink"), count(shop, "down_reply")) == (1, 1)
    assert len(heard.echo(shop.ledger, 1, {})) == 1
    sell(shop, "r1")
    sync(shop, timeline=9)  # in whatever life of the centre
    assert (count(shop, "downlink"), count(shop, "down_reply")) == (0, 0)
    assert shop.ledger.down_head(bucket, "T1", 1)[0] == 2
    assert shop.parcels() == {LOT: 60_500}


def test_what_was_granted_lately_is_kept(shop: Shop) -> None:
    sell(shop, "r0")
    days_pass(shop, 89)
    sync(shop)
    assert count(shop, "downlink") == 1
    with pytest.raises(LedgerFault, match="never deleted"), shop.ledger.transaction():
        shop.ledger.execute("DELETE FROM downlink")


def test_the_file_stops_growing(shop: Shop) -> None:
    pages = []
    for day in range(240):
        for n in range(2):
            shop.commit(f"r{day}-{n}", shop.put(f"r{day}-{n}", card=CARD))
        sync(shop)
        shop.time_passes(DAY_S)
        if day in (110, 230):
            (total,) = shop.ledger.execute("PRAGMA page_count").fetchone()
            pages.append(total)
    assert shop.ledger.verify("T1") < 2 * 93
    assert pages[1] < pages[0] * 1.1
