"""What time decides, once a minute, beside the answers to tills.

Whatever is done here may be done late, twice, or by two at once: each step finds its work in the
database, does it in transactions of its own, and finds nothing the second time. So what a crash has
cut is taken up at the next start, and a step that fails does not keep the others from their work.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from django.db import connections

from central.fleet import lives, timeline
from central.ledger import applier, expiry, grants

log = logging.getLogger(__name__)

EVERY_S = 60.0


def _apply() -> None:
    applier.apply_waiting()  # and cards given out at tills get their accounts, returns are settled


def _expire() -> None:
    points = expiry.expire_due()
    if points:
        log.info("%d hundredths of points expired", points)


STEPS: tuple[Callable[[], object], ...] = (
    timeline.lift_fence,
    _apply,
    lives.tend,
    _expire,
    grants.forget_old_claims,
)
AT_START: tuple[Callable[[], object], ...] = (applier.try_again, *STEPS)
"""A crash may have cut the look at what waited for a life to end, or for the fence to be lifted."""


def tend(steps: Sequence[Callable[[], object]] = STEPS) -> None:
    """One round. A step that fails is logged and tried again in the next."""
    for step in steps:
        try:
            step()
        except Exception:
            log.exception("%s.%s failed; it is tried again", step.__module__, step.__name__)


@contextmanager
def running(every_s: float = EVERY_S) -> Iterator[None]:
    """A thread that tends at once and then every `every_s`; it ends with this block."""
    stop = threading.Event()
    thread = threading.Thread(target=_loop, args=(stop, every_s), name="tending")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _loop(stop: threading.Event, every_s: float) -> None:
    steps = AT_START
    while True:
        tend(steps)
        steps = STEPS
        connections.close_all()  # nothing stays open for a minute
        if stop.wait(every_s):
            return
