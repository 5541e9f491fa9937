"""The loopback API while everything around the till misbehaves: the cash program is answered all the same.

Two seconds is what the client waits for a quote (agent/pos_client.py); one is the most that the till itself
waits for anybody else. A call that took longer would fail these stories by `PosAway`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agent.demo.stage import Office, TillBox, wait_for
from agent.pos_client import PosClient, PosRefused

CARD, STRANGER = "2000000000015", "2000000000039"
LINES = [{"id": "1", "barcode": "4600000000015", "price": 8990, "quantity": 3000}]


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that takes connections and answers nothing: the worst kind of a link."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def sell(pos: PosClient, sale_id: str, **more: Any) -> dict[str, Any]:
    """Quote and commit."""
    quote = pos.quote(sale_id, LINES, **more)
    return pos.commit(sale_id, quote, [{"type": "cash", "amount": quote["quote"]["pay"]}])


def test_while_the_office_takes_calls_and_never_answers(office: Office, till: TillBox) -> None:
    pos = PosClient(till.state)
    sell(pos, "r1", card=CARD)
    with frozen(office.pid):
        assert sell(pos, "r2", card=CARD, redeem="max")["redeemed"] > 0
        unknown = pos.quote("r3", LINES, card=STRANGER)
        assert (unknown["state"], unknown["customer"]["found"]) == ("quoted", False)
        assert pos.status()["pending"] >= 1
        assert pos.void("r3", "ушёл")["state"] == "closed"
    pos.sync()
    assert pos.status()["pending"] == 0
    pos.close()


def test_while_the_printer_is_silent_out_of_paper_or_off(office: Office, till: TillBox) -> None:
    pos = PosClient(till.state)
    till.printer.silent = True
    assert sell(pos, "r1", card=CARD)["state"] == "committed"
    assert sell(pos, "r2")["state"] == "committed"  # the first slip is still waited for
    wait_for("the first slip's end", lambda: pos.sale("r1")["state"] == "committed" and last_print(pos))
    till.printer.silent = False
    till.printer.paper_out()
    assert sell(pos, "r3")["state"] == "committed"
    till.printer.power_off()
    assert sell(pos, "r4")["state"] == "committed"
    assert pos.status()["till"] == "T1"
    assert "print" in {trouble["code"] for trouble in pos.status()["troubles"]}
    with pytest.raises(PosRefused, match="slip_waits"):
        pos.print_again("r4", "p1")
    till.printer.load_paper()
    till.printer.power_on()
    wait_for("the slips that waited", lambda: len(till.printer.slips) >= 4)
    wait_for("the till to know", lambda: "print" not in {t["code"] for t in pos.status()["troubles"]})
    pos.print_again("r4", "p1")
    wait_for("the copy", lambda: any("КОПИЯ" in slip.text for slip in till.printer.slips))
    assert len(till.printer.slips) == 5  # each sale once, whatever met its slip, and the copy
    pos.close()


def last_print(pos: PosClient) -> bool:
    """Is it known how the last slip ended?"""
    last = pos.screen()["last"]
    return bool(last and last["print"])


@pytest.mark.parametrize("listeners", [1, 3])
def test_while_somebody_listens_and_does_not_read(office: Office, till: TillBox, listeners: int) -> None:
    pos = PosClient(till.state)
    asleep = [PosClient(till.state).events() for _ in range(listeners)]
    for events in asleep:
        assert next(events) == ("hello", {})
    for number in range(60):
        pos.quote(f"r{number}", LINES)
    heard = {name for name, _ in (next(asleep[0]) for _ in range(5))}
    assert "sale" in heard
    pos.close()


def test_a_client_finds_the_agent_again_on_another_port(office: Office, till: TillBox) -> None:
    pos = PosClient(till.state)
    quote = pos.quote("r1", LINES, card=CARD, redeem="max")
    till.kill()
    till.start()
    done = pos.commit("r1", quote, [{"type": "cash", "amount": quote["quote"]["pay"]}])
    assert done["redeemed"] == quote["quote"]["redeemed"]
    assert pos.commit("r1", quote, [{"type": "cash", "amount": quote["quote"]["pay"]}]) == done
    pos.close()
