"""A device that comes and goes all day does not fill the log."""

from __future__ import annotations

import logging

import pytest

from agent.drivers.contracts import DeviceState
from agent.drivers.telling import LOGGED_MAX, QUIET_MS, Teller
from tests.agent.drivers.conftest import Inbox

ONLINE, LOST = DeviceState("s", "online"), DeviceState("s", "lost")


def test_news_are_told_once(inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    teller = Teller("scanner", "s", inbox.post)
    with caplog.at_level(logging.INFO, "agent.drivers.telling"):
        for state in (LOST, LOST, ONLINE, ONLINE, LOST):
            teller.say(state)
    assert [inbox.state() for _ in range(3)] == ["lost", "online", "lost"]
    assert inbox.events.empty()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


def test_a_loose_cable_is_shown_each_time_and_logged_a_few(
    inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1_000_000]
    teller = Teller("scanner", "s", inbox.post, lambda: now[0])
    with caplog.at_level(logging.INFO, "agent.drivers.telling"):
        for turn in range(1_000):
            teller.say(LOST if turn % 2 else ONLINE)
            now[0] += 500
        assert len(caplog.records) == LOGGED_MAX + 1
        assert "check its cable" in caplog.text
        now[0] += QUIET_MS
        teller.say(DeviceState("s", "busy"))
        assert len(caplog.records) == LOGGED_MAX + 2
    assert inbox.events.qsize() == 1_001
