"""A customer brings goods back to another shop of the chain: two tills and an office, as real processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.demo.cash_program import CashProgram
from agent.demo.stage import Office, TillBox, data_file, wait_for

CARD = "2000000000015"
MILK, TEA = "4600000000015", "4600000000046"


@pytest.fixture
def other(office: Office, tmp_path: Path) -> Iterator[TillBox]:
    """A till of another shop."""
    directory = tmp_path / "other"
    directory.mkdir()
    box = TillBox(directory, "ru")
    try:
        office.command("store", "add", "S2", "Магазин у вокзала")
        code = office.command("till", "add", "S2")["code"]
        box.command("enroll", "--server", office.url, "--code", code)
        box.start()
        box.command("sync", "now")
        yield box
    finally:
        box.stop()


def test_goods_come_back_in_another_shop_by_the_rules_of_their_day(
    office: Office, till: TillBox, other: TillBox, tmp_path: Path
) -> None:
    here, there = CashProgram(till.state), CashProgram(other.state)
    goods = {MILK: (8990, 3000), TEA: (23900, 2000)}
    quoted = here.quote("r1", goods, card=CARD, redeem="max")
    office.stop()
    sold = here.pay("r1", quoted)
    assert sold["redeemed"] > 0

    # No link: the other shop takes a bottle back all the same, and the office will return its points.
    unseen = there.take_back("ret1", {"1": 1000}, ref=sold["ident"])
    assert (unseen["pending"], unseen["money"]) == (True, None)
    office.start()
    other.command("sync", "now")
    till.command("sync", "now")

    # The rules change, at both tills; the rest of the goods comes back at what it was sold for.
    office.command("rulebook", "publish", data_file("rulebook-2.json"))
    for box in (till, other):
        box.command("sync", "now")
        assert box.command("status")["rulebook_seq"] == 2
    rest = there.take_back("ret2", {"1": 2000, "2": 2000}, ref=sold["ident"], card=CARD)
    assert rest["pending"] is False
    assert rest == there.take_back("ret2", {"1": 2000, "2": 2000}, ref=sold["ident"], card=CARD)
    assert sold["redeemed"] * 3 // 5 < rest["points_back"] < sold["redeemed"]
    assert 0 < rest["money"] < sold["pay"]
    other.command("sync", "now")

    with pytest.raises(RuntimeError, match="return_refused"):
        there.take_back("ret3", {"1": 1000}, ref=sold["ident"])
    with pytest.raises(RuntimeError, match="unknown_sale"):
        there.take_back("ret4", {"1": 1000}, ref=sold["ident"][:-6] + "000000")

    # As if nothing had been sold: all points are back, and none of the sale's own are left.
    database = tmp_path / "office" / "central.sqlite3"
    balance = wait_for("the office to settle", lambda: settled(database))
    assert balance == (0, 0, 0)
    for box in (till, other):
        assert box.command("ledger", "verify")["head"]
    account = str(other.command("ledger", "tail")[0]["account"])
    told = other.command("ledger", "tail", "-n", "50", "--account", account)["entries"]
    assert [entry["sale_id"] for entry in told if entry["kind"] == "RETURN_GOODS"] == ["ret2"]


def settled(database: Path) -> tuple[int, int, int] | None:
    """(issued, spent, debt) of the customer, once every return is settled."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as disk:
        (waiting,) = disk.execute("SELECT count(*) FROM correction WHERE state <> 'done'").fetchone()
        if waiting:
            return None
        found: tuple[int, int, int] = disk.execute(
            "SELECT issued, spent, debt FROM balance"
            " WHERE account IN (SELECT account FROM ledger WHERE kind = 'SALE')"
        ).fetchone()
        return found
