"""The till's disk is full: really, on a file system of 4 MB. The shop goes on; nothing is half done."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.inbox import LinkChanged, Problem
from tests.agent.shop import CARD, LOT, Shop


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory with 4 MB of room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small disk; test_ledger_db.py has the same with max_page_count")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def shop(small_disk: Path) -> Iterator[Shop]:
    shop = Shop(small_disk)
    shop.till.handle(LinkChanged(None, ""))
    shop.know(balance=100_000)
    shop.grant(60_000)
    yield shop
    shop.close()


def fill(disk: Path) -> Path:
    """Somebody's log file takes every byte that is left."""
    hog = disk / "hog"
    with hog.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0
    return hog


def sell_without_end(shop: Shop) -> None:
    """What SQLite has reserved may be enough for a sale or two; then a commit raises."""
    while True:
        sale_id = f"filler-{shop.ledger.head(1, 'T1')[0]}"
        shop.commit(sale_id, shop.put(sale_id))


def test_a_commit_on_a_full_disk_is_refused_whole_and_succeeds_once_there_is_room(
    shop: Shop, small_disk: Path
) -> None:
    quoted = shop.put("r1", card=CARD, redeem="max")
    hog = fill(small_disk)
    with pytest.raises(Problem) as refused:
        sell_without_end(shop)
    assert (refused.value.status, refused.value.code) == (507, "disk_full")
    written = shop.ledger.head(1, "T1")[0]
    with pytest.raises(Problem, match="disk is full"):
        shop.commit("r1", quoted)
    assert shop.ledger.head(1, "T1")[0] == written
    assert shop.held()[0]["sale_id"] == "r1"
    assert any(t["code"] == "disk_full" and "диск" in t["ru"] for t in shop.status()["troubles"])

    hog.unlink()
    assert shop.commit("r1", quoted)["entry"] == f"T1-1-{written + 1}"
    assert shop.parcels() == {LOT: 15_000}
    assert shop.ledger.verify("T1") == written + 1
    assert not any(t["code"] == "disk_full" for t in shop.status()["troubles"])


def test_without_room_points_are_not_promised_but_the_price_comes(shop: Shop, small_disk: Path) -> None:
    fill(small_disk)
    reply = shop.put("r0", card=CARD, redeem="max")
    for number in range(1, 50):  # until the reserve is used up
        if "disk_full" in [message["code"] for message in reply["messages"]]:
            break
        reply = shop.put(f"r{number}", card=CARD, redeem=100)
    assert reply["quote"]["redeemed"] == 0
    assert reply["quote"]["pay"] == 90_000
    assert "disk_full" in [message["code"] for message in reply["messages"]]


def test_a_power_cut_on_a_full_disk_loses_nothing_that_was_said(shop: Shop, small_disk: Path) -> None:
    said = [shop.commit(f"r{n}", shop.put(f"r{n}"))["entry"] for n in range(5)]
    hog = fill(small_disk)
    with suppress(Problem):
        shop.commit("r9", shop.put("r9"))
    hog.unlink()
    shop.crash()
    assert shop.ledger.verify("T1") >= len(said)
    assert [shop.ledger.sale_entry(f"r{n}").id for n in range(5)] == said  # type: ignore[union-attr]
