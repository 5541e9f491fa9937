"""The cash drawer opens by an act of somebody who is named, once, now or not at all."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.drawer import Drawer
from agent.drivers.contracts import OutputComplete, OutputFailed
from agent.inbox import DrawerBody, OpenDrawer, Problem
from agent.outside import Outside
from loyalty.texts import N_


class Hall:
    """A till with a drawer, and what became of its impulses."""

    def __init__(self, *, has_drawer: bool = True) -> None:
        self.impulses: list[str] = []
        outside = cast(Outside, SimpleNamespace(open_drawer=self.impulses.append))
        self.drawer = Drawer(outside, has_drawer=has_drawer)

    def ask(self, act_id: str, reason: str = "размен") -> OpenDrawer:
        ask = OpenDrawer(DrawerBody(act_id, "Иванова", reason))
        self.drawer.ask(ask)
        return ask


def answer(ask: OpenDrawer) -> Any:
    return ask.reply.result(timeout=0)


def test_who_opens_it_and_why_is_written_down(caplog: pytest.LogCaptureFixture) -> None:
    hall = Hall()
    with caplog.at_level(logging.INFO, "agent.drawer"):
        ask = hall.ask("a1")
    assert "Иванова: размен" in caplog.text
    assert not ask.reply.done()
    assert hall.drawer.opened(OutputComplete("printer", hall.impulses[0]))
    assert answer(ask) == {"act_id": "a1"}


def test_the_same_act_is_one_impulse() -> None:
    hall = Hall()
    hall.ask("a1")
    hall.drawer.opened(OutputComplete("printer", hall.impulses[0]))
    assert answer(hall.ask("a1")) == {"act_id": "a1"}
    assert len(hall.impulses) == 1
    with pytest.raises(Problem) as refused:
        hall.ask("a1", "другое")
    assert refused.value.code == "act_differs"


def test_what_did_not_open_is_not_tried_again_by_itself() -> None:
    hall = Hall()
    ask = hall.ask("a1")
    hall.drawer.opened(OutputFailed("printer", hall.impulses[0], N_("off")))
    with pytest.raises(Problem) as refused:
        answer(ask)
    assert refused.value.code == "drawer_not_opened"
    hall.ask("a1")  # by a person, who stands there now
    assert len(hall.impulses) == 2


def test_cash_that_was_rung_up_on_our_page_opens_it() -> None:
    hall = Hall()
    hall.drawer.paid("r1")
    assert len(hall.impulses) == 1
    assert hall.drawer.opened(OutputComplete("printer", hall.impulses[0]))


def test_without_a_drawer_nothing_opens() -> None:
    hall = Hall(has_drawer=False)
    hall.drawer.paid("r1")
    with pytest.raises(Problem) as refused:
        hall.ask("a1")
    assert (refused.value.code, hall.impulses) == ("no_drawer", [])
    assert not hall.drawer.opened(OutputComplete("printer", "T1-1-7"))
