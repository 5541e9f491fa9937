"""The agent ends when it is told to, and the stage leaves nothing behind if it does not."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest

from agent.demo import stage
from agent.demo.stage import StageError, TillBox, wait_for


def test_a_sigterm_that_another_thread_gets_ends_the_agent(till: TillBox) -> None:
    main, *others = sorted(int(task.name) for task in Path(f"/proc/{till.pid}/task").iterdir())
    assert main == till.pid
    assert others
    os.kill(others[0], signal.SIGTERM)  # Linux gives a signal for a thread's number to that thread
    assert till.wait_for_end() == 0
    assert "agent.main: stopping" in till.said()


def test_an_agent_that_does_not_end_is_killed_with_what_it_started(
    till: TillBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    till.switch_off()
    deaf = 'trap "" TERM; "$@"; exit'  # a command around the agent that keeps the signal for itself
    till.use_scanner(till.scanner.url, lambda command: ["sh", "-c", deaf, "sh", *command])
    till.start()
    monkeypatch.setattr(stage, "STOP_TIMEOUT_S", 1)
    with pytest.raises(StageError, match="did not end in 1 s"):
        till.switch_off()
    with (till.state / "ledger.lock").open("rb") as lock:

        def is_free() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        wait_for("the agent to be gone", is_free)
