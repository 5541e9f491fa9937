"""A till that was offline for a week comes back, and goes on selling: agent and centre as real processes.

The week is written into the till's ledger while the agent is off, through the same door as at the
counter. Then the shop opens without a link: quotes and commits through the loopback API, at a busy
counter's pace, and each quote is timed. Then the centre comes back. The counter goes on in the same way
until the centre has the whole week, and its quotes are timed again.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from agent.demo.cash_program import CashProgram
from agent.demo.stage import Office, TillBox
from agent.offline.ledger_db import LedgerDb
from agent.offline.ledger_reader import Reader
from bench import week
from bench.timing import Samples

ACCOUNTS_FROM = 1  # the first that a new centre gives
CARDS = 100  # of the customers who come meanwhile
PAUSE_S = 0.03  # between two customers: far more of them than a counter has
CENTRE_NICE = 10
TIMEOUT_S = 1_800


@dataclass(slots=True)
class CatchUp:
    """Wall times of quotes before and meanwhile, and how long the week took."""

    receipts: int
    before: Samples = field(default_factory=Samples)
    meanwhile: Samples = field(default_factory=Samples)
    took_s: float = 0.0


def measure(receipts: int, quotes: int, directory: Path | None = None) -> CatchUp:
    """`receipts` sales of a week wait for the centre; at least `quotes` are timed before it comes back."""
    found = CatchUp(receipts)
    with tempfile.TemporaryDirectory(prefix="kopilka-bench-", dir=directory) as name:
        office, till = Office(Path(name)), TillBox(Path(name), "en")
        try:
            _furnish(office, Path(name))
            office.start()
            code = office.command("till", "add", week.STORE)["code"]
            till.command("enroll", "--server", office.url, "--code", code)
            till.start()
            till.command("sync", "now")
            known = _learn_cards(till)
            till.switch_off()
            office.stop()
            _sell_a_week(till.state / "ledger.db", receipts)
            till.start()
            counter = _Counter(till, known)
            counter.warm_up()
            while len(found.before.ns) < quotes:
                found.before.ns.append(counter.serve())
            office.start()
            # In life it stands elsewhere, on a processor of its own.
            os.setpriority(os.PRIO_PROCESS, office.pid, CENTRE_NICE)
            _catch_up(till, counter, found)
        finally:
            till.stop()
            office.stop()
    return found


def _furnish(office: Office, directory: Path) -> None:
    files = {
        "templates.json": json.dumps(week.TEMPLATES),
        "goods.json": json.dumps(week.catalog()),
        "rulebook.json": json.dumps(week.rulebook()),
        "members.csv": week.members().decode(),
    }
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    office.command("init")
    office.command("store", "add", week.STORE, "Магазин")
    office.command("import", "templates", str(directory / "templates.json"))
    office.command("import", "goods", str(directory / "goods.json"))
    office.command("rulebook", "publish", str(directory / "rulebook.json"))
    office.command("import", "members", str(directory / "members.csv"), "--home-store", week.STORE)


def _learn_cards(till: TillBox) -> list[str]:
    """Cards that the till has seen: they never wait for the centre again."""
    cash = CashProgram(till.state)
    cards = [week.card(number) for number in range(CARDS)]
    for number, card in enumerate(cards):
        cash.quote(f"first-{number}", {}, card=card)
    return cards


def _sell_a_week(path: Path, receipts: int) -> None:
    """Into the ledger of a till that is off; nobody waits for the disk here."""
    ledger = LedgerDb(path)
    try:
        ledger.execute("PRAGMA synchronous = OFF")
        identity = ledger.identity()
        assert identity is not None
        uplink = ledger.uplink()
        first = ledger.head(uplink.epoch, identity.till)[0] + 1
        # It ended today: what lay here for a month would be given back first.
        begins_s = int(time.time()) - 8 * week.DAY_S
        shop = week.Week(week.in_force(), identity.till, ACCOUNTS_FROM, begins_s)
        for sold in shop.sales(receipts, uplink.epoch, first):
            ledger.append(
                identity.till,
                sold.entry,
                sale_id=sold.offer.receipt.id,
                verb="commit",
                body_sha256=b"b" * 32,
                at_s=sold.at_s,
                answer=lambda _: b"{}",
                print_waived=True,
            )
    finally:
        ledger.close()


class _Counter:
    """Customers, one after the other: a cart, its price, the money. Every other one shows a card."""

    def __init__(self, till: TillBox, cards: list[str]) -> None:
        self._cash = CashProgram(till.state)
        self._baskets = week.Week(week.in_force())
        self._cards = cards
        self._count = 0

    def warm_up(self) -> None:
        for _ in range(20):
            self.serve()

    def serve(self) -> int:
        """Nanoseconds of the customer's quote, as the cash program waits for it."""
        self._count += 1
        sale_id = f"now-{self._count}"
        body: dict[str, Any] = {
            "lines": [
                {"id": line.id, "sku": line.sku, "price": line.price, "quantity": line.quantity}
                for line in self._baskets.lines()
            ],
            "card": self._cards[self._count // 2 % CARDS] if self._count % 2 else None,
        }
        began = time.perf_counter_ns()
        quoted = self._ask("PUT", f"/sales/{sale_id}", body)
        took = time.perf_counter_ns() - began
        tender = {"type": "cash", "amount": quoted["quote"]["pay"]}
        paid = {"quote_id": quoted["quote_id"], "tenders": [tender], "slip": "lines"}
        self._ask("POST", f"/sales/{sale_id}/commit", paid)
        time.sleep(PAUSE_S)
        return took

    def _ask(self, method: str, path: str, body: Any) -> Any:
        answer = self._cash.till.http.request(
            method, self._cash.till.url + "/v1" + path, json=body, timeout=10
        )
        answer.raise_for_status()
        return answer.json()


def _catch_up(till: TillBox, counter: _Counter, found: CatchUp) -> None:
    """From the moment at which the centre is back until it has the week."""
    reader = Reader.open(till.state / "ledger.db")
    try:
        last = reader.head(reader.uplink().epoch, week.TILL)[0]
        # A person who sees the link come back asks for it at once; the answer comes when all is done.
        cash = CashProgram(till.state)
        asking = Thread(
            target=partial(cash.till.http.post, f"{cash.till.url}/v1/sync", timeout=TIMEOUT_S), daemon=True
        )
        asking.start()
        began = time.monotonic()
        while reader.uplink().acked_seq < last:
            found.meanwhile.ns.append(counter.serve())
            if time.monotonic() - began > TIMEOUT_S:
                raise TimeoutError("the week has not come to the centre")
        found.took_s = time.monotonic() - began
    finally:
        reader.close()
