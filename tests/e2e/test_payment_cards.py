"""A bank card is swiped, scanned, typed in or sent by the cash program, and leaves no trace.

A real office and a real till beside a cash program that reads what is handed on. Afterwards every file of
both is searched, the write-ahead logs and the logs among them, every answer of the API and the stream of its
events, and what went on to the cash program. And no core file can be made: the memory has it for a moment.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.demo.cash_program import CashProgram
from agent.demo.stage import Office, TillBox, wait_for
from agent.pos_client import PosAway, PosClient
from tests.e2e.test_bad_input import CARD, MILK, open_shop, raw, trouble

VISA, MIR, AMEX = "4539578763621486", "2200704862915734", "378734493671000"
"""Test numbers with a right check digit; no bank has given them out to anybody."""
EXTRA = "7613948257"
SWIPES = {
    "two tracks in one line": f"%B{VISA}^KUZNETSOVA/VERA^2912201{EXTRA}?;{VISA}=2912201{EXTRA}?",
    "two tracks in two lines": f"%B{VISA}^KUZNETSOVA/VERA^2912201{EXTRA}?\r;{VISA}=2912201{EXTRA}?",
    "three tracks in three lines": f"%B{MIR}^K/V^2912201{EXTRA}?\r;{MIR}=2912201{EXTRA}?\r+01{MIR}={EXTRA}?",
    "track 1 with blanks in the number": f"%B3787 344936 71000^KUZNETSOVA/VERA^2912201{EXTRA}?",
    "track 2 alone": f";{MIR}=2912201{EXTRA}?",
    "track 2 without its sentinels": f"{MIR}=2912201{EXTRA}",
    "one track unreadable": f"%E?\r;{VISA}=2912201{EXTRA}?",
    "Amex": f";{AMEX}=2912201{EXTRA}?",
}
SCANS = {"a barcode": VISA, "a barcode with its symbology": f"]C0{MIR}", "a QR code": f"]Q1{AMEX}"}
TYPED = {
    "typed": VISA,
    "typed in fours": " ".join((MIR[:4], MIR[4:8], MIR[8:12], MIR[12:])),
    "typed, Amex": AMEX,
}
WINDOW = 6


def traces() -> set[bytes]:
    """Every stretch of six digits of what was handed over; a few zeros in a row prove nothing."""
    found = {
        number[at : at + WINDOW]
        for number in (VISA, MIR, AMEX, EXTRA)
        for at in range(len(number) - WINDOW + 1)
    }
    return {digits.encode() for digits in found if len(set(digits)) > 2} | {b"KUZNETSOVA"}


class CashProgramEnd:
    """Reads the port that goods are handed on to, as a cash program does, for as long as the test lasts."""

    def __init__(self, port: Path) -> None:
        self.got = bytearray()
        self._port = os.open(port, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._port)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while self._stop_read not in (ready := select.select([self._port, self._stop_read], [], [])[0]):
            if ready:
                self.got += os.read(self._port, 4096)

    def close(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for descriptor in (self._port, self._stop_read, self._stop_write):
            os.close(descriptor)


class Listener:
    """Keeps all that the till tells by its stream of events."""

    def __init__(self, till: TillBox) -> None:
        self.heard: list[str] = []
        self._client = PosClient(till.state)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for event in self._client.events():
                self.heard.append(json.dumps(event))
        except PosAway:
            return

    def close(self) -> None:
        self._thread.join(20)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Office, TillBox]]:
    directory = tmp_path_factory.mktemp("shop")
    office, till = Office(directory), TillBox(directory, "ru")
    with ExitStack() as evening:
        evening.callback(office.stop)
        evening.callback(till.stop)
        open_shop(office, till)
        yield office, till


def handed_over(till: TillBox, answers: list[requests.Response]) -> None:
    """A bank card in every way there is; each time the till must say that it has seen one."""
    for how, text in {**SWIPES, **SCANS}.items():
        till.scanner.scan(CARD)  # a good card in between ends the trouble
        wait_for(
            "the good card", lambda: not any(t["code"] == "card" for t in till.command("status")["troubles"])
        )
        till.scanner.scan(text)
        assert "банковская" in trouble(till, "card")["ru"], how
    for number, text in enumerate(TYPED.values()):
        refused = [
            raw(till, "POST", "/v1/cards/lookup", json={"number": text}),
            raw(till, "POST", "/v1/cards", json={"number": text}),
            raw(till, "PUT", "/v1/sales/typed", json={"lines": _milk(), "card": text}),
            raw(till, "PUT", "/v1/sales/typed", json={"lines": _milk(), "coupons": [text]}),
            raw(till, "POST", "/v1/returns/find", json={"card": text}),
        ]
        assert [answer.json()["error"]["code"] for answer in refused] == ["payment_card"] * len(refused)
        # As goods: the cash program has to go on, so it is priced, and what it is called is not kept.
        as_goods = [{"id": "1", "barcode": text, "price": 8990, "quantity": 1000}]
        quoted = raw(till, "PUT", f"/v1/sales/goods{number}", json={"lines": as_goods})
        paid = {"quote_id": quoted.json()["quote_id"], "tenders": [{"type": "cash", "amount": 8990}]}
        paid_at = {"paid_at": "2026-11-27T12:00:00+03:00"}
        sold = raw(till, "POST", f"/v1/sales/goods{number}/commit", json={**paid, **paid_at})
        assert (quoted.status_code, sold.status_code) == (200, 200)
        answers += [*refused, quoted, sold, raw(till, "POST", "/v1/goods", json={"barcode": text})]


def _milk() -> list[dict[str, Any]]:
    return [
        {"id": "1", "barcode": str(barcode), "price": price, "quantity": quantity}
        for barcode, (price, quantity) in MILK.items()
    ]


def test_a_bank_card_leaves_no_trace(shop: tuple[Office, TillBox]) -> None:
    office, till = shop
    answers: list[requests.Response] = []
    with ExitStack() as watched:
        listener = Listener(till)
        watched.callback(listener.close)
        cash_program = CashProgramEnd(till.state / "run" / "scanners" / "scanner")
        watched.callback(cash_program.close)
        handed_over(till, answers)
        till.scanner.scan("4607025392408")
        wait_for("goods to be handed on", lambda: b"4607025392408\r" in cash_program.got)
        cash = CashProgram(till.state)
        cash.pay("last", cash.quote("last", MILK))  # a sale after all of it
        till.command("sync", "now")
        files = files_of(office, till)
        till.switch_off()
    files += files_of(office, till)  # the write-ahead logs are gone now, what was in them is in the databases
    kept = {
        **dict(files),
        "answers of the API": b"\n".join(answer.content for answer in answers),
        "events": "\n".join(listener.heard).encode(),
        "handed on": bytes(cash_program.got),
    }
    assert listener.heard
    assert any(name.endswith("-wal") and content for name, content in files)
    assert {
        (name, trace) for trace in traces() for name, content in kept.items() if trace in content
    } == set()


def files_of(office: Office, till: TillBox) -> list[tuple[str, bytes]]:
    """Everything that lies in the shop's and the office's directories: databases, logs, settings."""
    del office  # it lives in the same directory
    return [(str(path), path.read_bytes()) for path in till.state.parent.rglob("*") if path.is_file()]


ENDS_WITH_CORE = """
import os, signal
os.kill(os.getpid(), signal.SIGABRT)
"""


def without_limit() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


def test_no_core_file_can_be_made_of_the_agent(shop: tuple[Office, TillBox], tmp_path: Path) -> None:
    """Beside it a program that may have one, on the same machine: the test would see a core file."""
    _, till = shop
    control = subprocess.run(
        [sys.executable, "-c", ENDS_WITH_CORE], cwd=tmp_path, preexec_fn=without_limit, check=False
    )
    assert control.returncode == -signal.SIGABRT
    can_be_made = bool(list(tmp_path.glob("core*")))
    directory = tmp_path / "till"
    directory.mkdir()
    command = [str(Path(sys.executable).with_name("kopilka-agent")), "run", "--config", str(till.config)]
    till.switch_off()
    agent = subprocess.Popen(command, cwd=directory, preexec_fn=without_limit, stderr=subprocess.DEVNULL)
    wait_for("the agent to answer", lambda: _answers(till))
    os.kill(agent.pid, signal.SIGABRT)
    _, status = os.waitpid(agent.pid, 0)
    agent.returncode = os.waitstatus_to_exitcode(status)
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)
    assert list(directory.iterdir()) == []
    assert can_be_made or Path("/proc/sys/kernel/core_pattern").read_text().startswith("|")


def _answers(till: TillBox) -> bool:
    try:
        return bool(PosClient(till.state, tries=1).status())
    except (PosAway, OSError):
        return False
