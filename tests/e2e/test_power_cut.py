"""The shop's power supply: a busy counter, and the box goes dark in the middle of anything.

Cashiers sell, give up, take back and print at several counters at once; the agent, or the centre, is
killed (SIGKILL) after a random number of answers; it starts again and is looked at. What was answered
must be there, once; what was promised must still be kept; nothing may be half. Each test prints its
seed (in its name), and `Cashiers` plays the same wishes again for it.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.demo.cash_program import CashProgram
from agent.demo.stage import Office, TillBox, wait_for

CARDS = ("2000000000015", "2000000000022")
MILK, BREAD = "4600000000015", "4600000000039"
COUNTERS = 3
KILLS = 7
OFFLINE_FROM, OFFLINE_TO = 2, 5
KILLS_OF_THE_CENTRE = 4
ANSWERS_BETWEEN_KILLS = (5, 60)
WAIT_S = 30


@dataclass
class Heard:
    """What the shop was told, and may rely on."""

    committed: dict[str, dict[str, Any]] = field(default_factory=dict)
    held: dict[str, dict[str, Any]] = field(default_factory=dict)  # quotes that promise points
    given_up: set[str] = field(default_factory=set)  # the answer to a void or commit was lost
    voided: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    answers: int = 0


class Cashiers:
    """Threads that sell until nobody answers any more, or until they are told to stop."""

    def __init__(self, till: TillBox, heard: Heard, seed: str) -> None:
        self._state = till.state
        self._heard = heard
        self._counted = threading.Condition()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(f"{seed}-{n}"), f"{seed}-{n}"))
            for n in range(COUNTERS)
        ]
        for thread in self._threads:
            thread.start()

    def wait_for_answers(self, count: int) -> None:
        with self._counted:
            until = self._heard.answers + count
            assert self._counted.wait_for(lambda: self._heard.answers >= until, WAIT_S)

    def send_home(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT_S)

    def _work(self, wish: random.Random, name: str) -> None:
        cash = CashProgram(self._state)
        with closing(cash.http):
            number = 0
            while not self._stop.is_set():
                number += 1
                try:
                    self._serve(cash, wish, f"{name}-{number}")
                except requests.RequestException:
                    return  # the power is gone
                except RuntimeError as refusal:
                    self._heard.refused.append(str(refusal))

    def _serve(self, cash: CashProgram, wish: random.Random, sale_id: str) -> None:
        heard = self._heard
        goods = {MILK: (8990, wish.randrange(1, 5) * 1000), BREAD: (5450, 1000)}
        card = wish.choice((*CARDS, None))
        redeem = wish.choice((None, "max", wish.randrange(100, 3000))) if card else None
        quoted = cash.quote(sale_id, goods, card=card, redeem=redeem)
        self._count()
        promised = quoted["quote"]["redeemed"] > 0
        if promised:
            heard.held[sale_id] = quoted
        ending = wish.random()
        if ending < 0.1 and promised:
            return  # parked: the customer looks for their purse
        heard.given_up.add(sale_id)
        if ending < 0.25:
            cash.void(sale_id, "покупатель передумал")
        else:
            heard.committed[sale_id] = cash.pay(sale_id, quoted)
        heard.held.pop(sale_id, None)
        heard.given_up.discard(sale_id)
        self._count()
        if ending > 0.9:
            cash.print_again(sale_id, "copy")
        elif ending > 0.8:
            cash.void(sale_id, "ошибка кассира")
            heard.voided.add(sale_id)
        self._count()

    def _count(self) -> None:
        with self._counted:
            self._heard.answers += 1
            self._counted.notify_all()


@pytest.mark.parametrize("seed", [2026])
def test_the_till_goes_dark_again_and_again(office: Office, till: TillBox, tmp_path: Path, seed: int) -> None:
    chance, heard = random.Random(seed), Heard()
    for cut in range(KILLS):
        cashiers = Cashiers(till, heard, f"{seed}-{cut}")
        cashiers.wait_for_answers(chance.randint(*ANSWERS_BETWEEN_KILLS))
        time.sleep(chance.uniform(0, 0.03))  # anywhere in the work, and not just after an answer
        till.kill()
        cashiers.send_home()
        till.start()
        look_at_the_till(till, heard)
        if cut == OFFLINE_FROM:
            office.stop()
        if cut == OFFLINE_TO:
            office.start()
    pay_what_was_parked(till, heard)
    look_at_everything(office, till, heard, tmp_path)


@pytest.mark.parametrize("seed", [866])
def test_the_centre_goes_dark_while_tills_sync(
    office: Office, till: TillBox, tmp_path: Path, seed: int
) -> None:
    chance, heard = random.Random(seed), Heard()
    cashiers = Cashiers(till, heard, str(seed))
    for _ in range(KILLS_OF_THE_CENTRE):
        cashiers.wait_for_answers(chance.randint(*ANSWERS_BETWEEN_KILLS))
        asking = ask_for_syncs(till)  # back-off or not: the cut shall meet one
        time.sleep(chance.uniform(0, 0.1))
        office.kill()
        asking.join(WAIT_S)
        office.start()
    cashiers.send_home()
    look_at_the_till(till, heard)
    pay_what_was_parked(till, heard)
    look_at_everything(office, till, heard, tmp_path)


def ask_for_syncs(till: TillBox) -> threading.Thread:
    cash = CashProgram(till.state)

    def ask() -> None:
        with closing(cash.http):
            for _ in range(2):
                cash.http.post(f"{cash.url}/sync", timeout=WAIT_S)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def look_at_the_till(till: TillBox, heard: Heard) -> None:
    """After a start: all that was answered is there, once; nothing is half."""
    assert heard.refused == []
    assert till.command("ledger", "verify")["ok"]
    disk = till.state / "ledger.db"
    sold = Counter(sale_id for (sale_id,) in rows(disk, "SELECT sale_id FROM document"))
    assert not [sale_id for sale_id, times in sold.items() if times > 1]
    assert heard.committed.keys() <= sold.keys()
    voids = Counter(ref for (ref,) in rows(disk, "SELECT ref FROM entry WHERE kind = 'VOID'"))
    assert not [ref for ref, times in voids.items() if times > 1]
    assert {heard.committed[sale_id]["entry"] for sale_id in heard.voided} <= voids.keys()
    assert rows(disk, "SELECT 1 FROM hold_parcel WHERE sale_id NOT IN (SELECT sale_id FROM hold)") == []
    holds = {sale_id for (sale_id,) in rows(disk, "SELECT sale_id FROM hold")}
    assert not holds & sold.keys()  # a paid sale holds nothing any more
    assert heard.held.keys() - heard.given_up <= holds  # a promise is kept


def pay_what_was_parked(till: TillBox, heard: Heard) -> None:
    """The customers are back with their purses: the quoted sum is still the sum."""
    cash = CashProgram(till.state)
    with closing(cash.http):
        for sale_id in list(heard.held.keys() - heard.given_up):
            heard.committed[sale_id] = cash.pay(sale_id, heard.held.pop(sale_id))


def look_at_everything(office: Office, till: TillBox, heard: Heard, home: Path) -> None:
    """The link is there: both ledgers and both ideas of who holds what are equal."""
    wait_for("all entries to be sent", lambda: till.command("sync", "now")["pending"] == 0)
    ours, theirs = till.command("ledger", "verify"), office.command("till", "list")[0]
    assert (theirs["received"], theirs["head"]) == (ours["entries"], ours["head"])
    disk, central = till.state / "ledger.db", home / "office" / "central.sqlite3"
    parcels = rows(disk, "SELECT account, lot, points FROM parcel WHERE points > 0 ORDER BY 1, 2")
    shares = "SELECT account, lot, points FROM share WHERE holder = 'T1~1' ORDER BY 1, 2"
    assert rows(central, shares) == parcels
    held = rows(central, "SELECT account, held FROM balance WHERE held > 0 ORDER BY 1")
    assert held == rows(central, "SELECT account, sum(points) FROM share GROUP BY 1 ORDER BY 1")
    assert rows(central, "SELECT sum(debt), count(*) FROM balance WHERE debt <> 0") == [(None, 0)]
    assert rows(central, "SELECT count(*) FROM intake_incident") == [(0,)]
    on_paper = Counter(
        line.strip()
        for slip in till.printer.slips
        if "КОПИЯ" not in slip.text
        for line in slip.text.splitlines()
        if line.strip().startswith("T1-1-")
    )
    assert not [ident for ident, times in on_paper.items() if times > 1]
    assert till.printer.faults == []
    said = till.said()
    assert "Traceback" not in said
    assert not any(card in said for card in CARDS)


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as disk:
        return disk.execute(query).fetchall()
