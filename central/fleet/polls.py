"""Which tills listen now: their long polls stand open here, and end when there is something for them.

One process serves an embedded centre, so its memory is the list. (A centre of several processes needs
a bell between them; the calls here are where it will hang.)
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_open: dict[str, set[Poll]] = defaultdict(set)
_closing = threading.Event()


class Poll:
    """One long poll of a till, on the loop that serves it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """End it. From any thread."""
        self._loop.call_soon_threadsafe(self._bell.set)

    async def rings(self, timeout_s: float) -> bool:
        """Until there is something for the till: True; the time is over, or the centre stops: False."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._bell.wait()
        except TimeoutError:
            return False
        return not _closing.is_set()


@contextmanager
def listening(till: str) -> Iterator[Poll]:
    """While a till listens. Look what it has missed only after this has begun: then nothing is missed."""
    poll = Poll()
    with _lock:
        _open[till].add(poll)
        if _closing.is_set():
            poll.ring()
    try:
        yield poll
    finally:
        with _lock:
            _open[till].discard(poll)
            if not _open[till]:
                del _open[till]


def open_now() -> frozenset[str]:
    """The tills that would hear of a message at once."""
    with _lock:
        return frozenset(_open)


def wake(till: str) -> None:
    """There is something for `till`. From any thread."""
    with _lock:
        for poll in _open.get(till, ()):
            poll.ring()


def close() -> None:
    """The centre stops: every poll ends now, and no other begins."""
    with _lock:
        _closing.set()
        for polls in _open.values():
            for poll in polls:
                poll.ring()
