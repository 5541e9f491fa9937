"""The one inbox: it never blocks a device, never grows without end, and never loses the word to stop."""

from __future__ import annotations

import dataclasses
import logging
from concurrent.futures import Future
from typing import get_args

import pytest

from agent import inbox
from agent.drivers.contracts import ScanData
from agent.inbox import INBOX_MAX, Inbox, LookupFailed, Problem, StatusAsked, Stop

CARD = "2000000000015"


@pytest.fixture
def full() -> Inbox:
    """A till that hangs: nobody takes anything out."""
    inbox = Inbox()
    for _ in range(INBOX_MAX):
        inbox.post(LookupFailed(1))
    return inbox


def test_what_comes_first_is_taken_first() -> None:
    inbox = Inbox()
    asks = [StatusAsked() for _ in range(3)]
    for ask in asks:
        inbox.post(ask)
    assert [inbox.take(0) for _ in range(3)] == asks
    assert inbox.take(0) is None


def test_a_question_to_a_till_that_hangs_is_answered_at_once(full: Inbox) -> None:
    ask = StatusAsked()
    full.post(ask)
    with pytest.raises(Problem) as busy:
        ask.reply.result(0)
    assert (busy.value.status, busy.value.code) == (503, "overloaded")


def test_a_scan_at_a_till_that_hangs_is_dropped_and_never_logged(
    full: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    full.post(ScanData(device="scanner", data=CARD, source="barcode", symbology="EAN13", at_ms=0))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "ScanData" in caplog.text
    assert CARD not in caplog.text


def test_for_the_word_to_stop_there_is_always_room(full: Inbox) -> None:
    """Were it dropped, the agent would never end."""
    full.post(Stop())
    taken = [full.take(0) for _ in range(INBOX_MAX + 2)]
    assert taken[-2:] == [Stop(), None]


def test_a_slot_called_reply_is_one_that_can_be_answered() -> None:
    """A full inbox and a failing disk answer whoever waits; what came as an answer waits for nobody."""
    for kind in get_args(inbox.Event):
        slots = {f.name: f for f in dataclasses.fields(kind)}
        assert "reply" not in slots or isinstance(slots["reply"].default_factory(), Future), kind
