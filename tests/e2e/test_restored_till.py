"""A till's disk is lost, and the till goes on: from last night's backup, or by a new code of the office.

Real processes and a real link. What the lost disk had told the centre comes back from there; what it held
is nobody's to spend until the office says so; and both ledgers agree on every entry of every life.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.demo.cash_program import CashProgram
from agent.demo.stage import Office, StageError, TillBox, wait_for

CARD = "2000000000015"
RESUME = "[lives.resume(life) for life in lives.TillLife.objects.all()]"
GOODS = {"4600000000039": (50_000, 1_000)}  # bread for a feast


def sell(till: TillBox, sale_id: str, redeem: str | None = None) -> dict[str, Any]:
    """A sale with a card, paid and committed."""
    cash = CashProgram(till.state)
    with closing(cash.till.http):
        return cash.pay(sale_id, cash.quote(sale_id, GOODS, card=CARD, redeem=redeem))


def entries(ledger: Path, table: str = "entry") -> list[tuple[Any, ...]]:
    """(epoch, seq, canonical bytes) of everything a till wrote, as one of the two sides has it."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as disk:
        return disk.execute(f"SELECT epoch, seq, body FROM {table} ORDER BY 1, 2").fetchall()


def shares(tmp_path: Path) -> dict[str, int]:
    """Holder -> points, as the centre has it."""
    central = tmp_path / "office" / "central.sqlite3"
    with closing(sqlite3.connect(f"file:{central}?mode=ro", uri=True)) as disk:
        rows = disk.execute("SELECT holder, sum(points) FROM share WHERE points > 0 GROUP BY 1").fetchall()
    return dict(rows)


def tell_the_office(tmp_path: Path, what: str) -> None:
    """An operator decides: a line of Python in the centre's own house."""
    script = f"import django; django.setup(); from central.fleet import lives; {what}"
    environment = {"KOPILKA_HOME": str(tmp_path / "office"), "DJANGO_SETTINGS_MODULE": "central.settings"}
    subprocess.run([sys.executable, "-c", script], env={**os.environ, **environment}, check=True)


def lose_the_disk(till: TillBox, *, all_of_it: bool) -> None:
    """The ledger and the keys are gone; perhaps what the centre had told us lies there still."""
    till.kill()
    if all_of_it:
        shutil.rmtree(till.state)
        return
    for path in [*till.state.glob("ledger.db*"), *till.state.glob("*.key")]:
        path.unlink()


def agree(till: TillBox, tmp_path: Path) -> None:
    """Every entry of every life is the same on both sides, and so is what the till may spend."""
    central = tmp_path / "office" / "central.sqlite3"
    assert till.command("ledger", "verify")["ok"]
    assert entries(till.state / "ledger.db") == entries(central, "inbox")
    status = till.command("status")
    assert shares(tmp_path).get(f"T1~{status['epoch']}", 0) == status["parcel_points"]


@pytest.mark.parametrize("all_of_it", [False, True], ids=["the ledger", "everything"])
def test_a_till_comes_back_from_last_nights_backup(
    office: Office, till: TillBox, tmp_path: Path, all_of_it: bool
) -> None:
    backup = tmp_path / "last-night.tar"
    sell(till, "r1", redeem="max")
    made = till.command("backup", str(backup))  # while it sells
    assert (made["till"], made["epoch"]) == ("T1", 1)
    sell(till, "r2", redeem="max")
    sell(till, "r3")
    till.command("sync", "now")
    office.stop()
    sell(till, "r4")  # and this one nobody will ever have heard of
    lose_the_disk(till, all_of_it=all_of_it)

    assert till.command("restore", str(backup))["seq"] == made["seq"]
    till.start()
    status = till.command("status")
    assert (status["epoch"], status["restoring"], status["parcel_points"]) == (1, True, 0)
    assert "restoring" in [trouble["code"] for trouble in status["troubles"]]
    if not all_of_it:
        sells_without_us_until_the_centre_has_heard(till)

    office.start()
    till.command("sync", "now")
    wait_for("the till's second life", lambda: till.command("status")["epoch"] == 2)
    till.command("sync", "now")
    status = till.command("status")
    assert (status["restoring"], status["pending"]) == (False, 0)
    told = [epoch for epoch, _, _ in entries(till.state / "ledger.db")]
    assert told.count(1) > made["seq"]  # r2 and r3 are here again
    agree(till, tmp_path)
    held = shares(tmp_path)
    assert held["T1~1"] > 0  # nobody's to spend; what was free meanwhile has been placed here anew
    assert held.get("T1~2", 0) == status["parcel_points"] < held["T1~1"]

    cash = CashProgram(till.state)
    with closing(cash.till.http):
        taken_back = cash.void("r2", "ошибка кассира")  # a sale of the lost disk, by its own number
        assert taken_back["entry"] == "T1-2-1"
    tell_the_office(tmp_path, RESUME)
    sell(till, "r5")
    till.command("sync", "now")
    wait_for("points to come again", lambda: till.command("sync", "now") and till_points(till) > 0)
    assert sell(till, "r6", redeem="max")["redeemed"] > 0
    till.command("sync", "now")
    assert "T1~1" not in shares(tmp_path)
    agree(till, tmp_path)
    assert "Traceback" not in till.said()


def till_points(till: TillBox) -> int:
    points: int = till.command("status")["parcel_points"]
    return points


def sells_without_us_until_the_centre_has_heard(till: TillBox) -> None:
    """Prices are told, points are not spent, and nothing is written."""
    cash = CashProgram(till.state)
    with closing(cash.till.http):
        quoted = cash.quote("r9", GOODS, card=CARD, redeem="max")
        assert (quoted["quote"]["redeemed"], quoted["quote"]["pay"] > 0) == (0, True)
        for verb, body in (
            ("commit", {"quote_id": quoted["quote_id"], "tenders": [{"type": "cash", "amount": 1}]}),
            ("commit", {"quote_id": quoted["quote_id"], "tenders": [
                {"type": "cash", "amount": quoted["quote"]["pay"]}]}),
        ):  # fmt: skip
            answer = cash.till.http.post(f"{cash.till.url}/v1/sales/r9/{verb}", json=body, timeout=10)
            assert answer.status_code in (409, 503)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "restoring")
        assert "kopilka-agent sync now" in answer.json()["error"]["ru"]
        assert cash.void("r9", "без нас")["entry"] is None


def test_a_disk_that_went_back_in_time(office: Office, till: TillBox, tmp_path: Path) -> None:
    """A virtual machine's snapshot was rolled back: to the centre a clone; the status names the remedy."""
    sell(till, "r1")
    till.command("sync", "now")
    till.switch_off()
    snapshot = tmp_path / "snapshot"
    shutil.copytree(till.state, snapshot)
    till.start()
    sell(till, "r2", redeem="max")
    for _ in range(2):
        till.command("sync", "now")
    till.switch_off()
    shutil.rmtree(till.state)
    shutil.copytree(snapshot, till.state)
    till.start()
    with pytest.raises(StageError):
        till.command("sync", "now")
    status = till.command("status")
    assert status["link"]["word"] == "FORK"
    assert "kopilka-agent restore --in-place" in str(status["troubles"])

    with pytest.raises(StageError, match="другой агент"):
        till.command("restore", "--in-place")  # while it runs
    till.switch_off()
    assert till.command("restore", "--in-place")["till"] == "T1"
    till.start()
    till.command("sync", "now")
    wait_for("the till's second life", lambda: till.command("sync", "now") and has_begun(till, 2))
    agree(till, tmp_path)
    assert till.command("status")["troubles"] == []
    sell(till, "r3")
    till.command("sync", "now")
    agree(till, tmp_path)


def has_begun(till: TillBox, epoch: int) -> bool:
    status = till.command("status")
    return bool(status["epoch"] == epoch and not status["restoring"])


def test_a_new_disk_for_an_old_till(office: Office, till: TillBox, tmp_path: Path) -> None:
    """No backup: the office closes the till and gives a new code; the old name goes on, in a new life."""
    sell(till, "r1", redeem="max")
    till.command("sync", "now")
    lose_the_disk(till, all_of_it=True)
    tell_the_office(tmp_path, "lives.close('T1')")
    code = office.command("till", "add", "S1", "--id", "T1")["code"]
    till.command("enroll", "--server", office.url, "--code", code)
    till.start()
    till.command("sync", "now")
    status = till.command("status")
    assert (status["epoch"], status["troubles"]) == (2, [])
    assert status["parcel_points"] == shares(tmp_path).get("T1~2", 0)
    tell_the_office(tmp_path, RESUME)
    sell(till, "r2")
    wait_for("points to come again", lambda: till.command("sync", "now") and till_points(till) > 0)
    assert sell(till, "r3", redeem="max")["redeemed"] > 0
    till.command("sync", "now")
    status = till.command("status")
    assert (status["pending"], status["troubles"]) == (0, [])
    assert shares(tmp_path)["T1~2"] == status["parcel_points"]
    assert entries(till.state / "ledger.db") == [
        row for row in entries(tmp_path / "office" / "central.sqlite3", "inbox") if row[0] == 2
    ]


def test_a_till_that_was_closed_is_told_so(office: Office, till: TillBox, tmp_path: Path) -> None:
    sell(till, "r1")
    till.command("sync", "now")
    tell_the_office(tmp_path, "lives.close('T1')")
    sell(till, "r2")  # it happened, whatever the office thinks
    till.command("sync", "now")
    status = till.command("status")
    assert (status["ended"], status["quarantined"]) == (True, 1)
    assert [trouble["code"] for trouble in status["troubles"]] == ["ended"]
    shown = till.say("status")
    assert "отложено" in shown
    assert "kopilka-agent enroll --anew" in shown

    code = office.command("till", "add", "S1", "--id", "T1")["code"]
    anew = ("enroll", "--anew", "--server", office.url, "--code", code)
    with pytest.raises(StageError, match="другой агент"):
        till.command(*anew)  # while it runs
    till.switch_off()
    before = entries(till.state / "ledger.db")
    assert till.command(*anew)["till"] == "T1"
    till.start()
    till.command("sync", "now")
    sell(till, "r3")
    till.command("sync", "now")
    assert [trouble["code"] for trouble in till.command("status")["troubles"]] == ["quarantined"]
    tell_the_office(tmp_path, "[lives.accept_late(life) for life in lives.TillLife.objects.all()]")
    till.command("sync", "now")
    status = till.command("status")
    assert (status["epoch"], status["pending"], status["troubles"]) == (2, 0, [])
    (aside,) = till.state.glob("before-*")
    assert entries(aside / "ledger.db") == before
