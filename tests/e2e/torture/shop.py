"""The shop that is tortured: a real centre, a real till, the cable between them, the paper and the book."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack, closing, suppress
from itertools import cycle, islice
from pathlib import Path

import requests

from agent.demo.cash_program import CashProgram
from agent.demo.stage import Office, TillBox, data_file
from agent.texts import translator
from loyalty.check_digits import gtin_ok
from tests.e2e.torture.cable import Cable
from tests.e2e.torture.cashiers import WAIT_S, Book, greet
from tests.e2e.torture.look import COPY_MARK, Paper, expect

FIRST_CARD = 100  # those before are the demo's members
REGULARS, OTHERS = 30, 200
POINTS = (60, 700, 30_000)  # what they have in turn: gone at once, topped up now and then, never at an end


class Shop:
    """Everything in a directory of its own. `open` takes some seconds."""

    def __init__(self, directory: Path) -> None:
        self.book = Book(*_cards())
        self.paper = Paper()
        self.office = Office(directory)
        self.cable = Cable()
        self.till = TillBox(directory, "ru")
        self.till_file = self.till.state / "ledger.db"
        self.centre_file = directory / "office" / "central.sqlite3"
        self._directory = directory

    def open(self) -> None:
        """Make the centre, enrol the till, start both; the till knows its regular customers then."""
        # A till without its catalogue prints COPY, and every copy would pass for a second slip.
        expect(
            translator("ru")("COPY") == COPY_MARK,
            "the till has no Russian: build locale/ (make test and make torture do)",
        )
        self.office.furnish(self._write("rulebook.json", json.dumps(_rules(), ensure_ascii=False)))
        self._import("regulars.csv", self.book.regulars, "--home-store", "S1")
        self._import("others.csv", self.book.others)
        self.office.start()
        self.cable.lead_to(self.office.port)
        code = self.office.command("till", "add", "S1")["code"]
        self.till.command("enroll", "--server", self.cable.url, "--code", code)
        self.start_till()
        self.sync()
        greet(self.till.state, self.book)
        self.sync()  # what was heard of them is on disk when this is done

    def start_till(self) -> None:
        """The till comes to life (again)."""
        self.book.life += 1
        self.till.start()

    def sync(self) -> None:
        """Back-off or not: the till syncs now. Returns when it has, or when the power is gone."""
        cash = CashProgram(self.till.state)
        with closing(cash.till.http), suppress(requests.RequestException):
            cash.till.http.post(f"{cash.till.url}/v1/sync", timeout=WAIT_S)

    def close(self) -> None:
        """Everybody goes home."""
        with ExitStack() as stack:
            stack.callback(self.office.stop)
            stack.callback(self.cable.close)
            stack.callback(self.till.stop)

    def _import(self, name: str, cards: Iterable[str], *options: str) -> None:
        rows = [
            "number;points",
            *(f"{card};{points}" for card, points in zip(cards, cycle(POINTS), strict=False)),
        ]
        self.office.command("import", "members", self._write(name, "\n".join(rows)), *options)

    def _write(self, name: str, text: str) -> str:
        path = self._directory / name
        path.write_text(text, encoding="utf-8")
        return str(path)


def _cards() -> tuple[list[str], list[str]]:
    """Numbers as the demo's card template wants them: of regular customers, and of others."""
    numbers = (f"2000000{number:05}{digit}" for number in range(FIRST_CARD, 100_000) for digit in range(10))
    good = filter(gtin_ok, numbers)
    return list(islice(good, REGULARS)), list(islice(good, OTHERS))


def _rules() -> dict[str, object]:
    """The demo's rules, and points that can be spent at once: so a void may find them spent already."""
    rules = json.loads(Path(data_file("rulebook-1.json")).read_text(encoding="utf-8"))
    at_once = {"type": "earn_percent", "bp": 500, "ttl_days": 180}
    rules["rules"].append({"id": "now5", "title": "5 % сразу", "stage": "earn", "effect": at_once})
    return rules
