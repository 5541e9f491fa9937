"""Which tills listen now: their long polls stand open here, and end when there is something for them.

One process serves an embedded centre, so its memory is the list. (A centre of several processes needs
a bell between them; the calls here are where it will hang.)
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict

_lock = threading.Lock()
_open: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(set)


def open_now() -> frozenset[str]:
    """The tills that would hear of a message at once."""
    with _lock:
        return frozenset(_open)


def wake(till: str) -> None:
    """There is something for `till`. From any thread."""
    with _lock:
        for loop, bell in _open.get(till, ()):
            loop.call_soon_threadsafe(bell.set)


async def wait(till: str, timeout_s: float) -> bool:
    """Until there is something for `till`: True, or the time is over: False."""
    place = (asyncio.get_running_loop(), asyncio.Event())
    with _lock:
        _open[till].add(place)
    try:
        async with asyncio.timeout(timeout_s):
            await place[1].wait()
    except TimeoutError:
        return False
    finally:
        with _lock:
            _open[till].discard(place)
            if not _open[till]:
                del _open[till]
    return True
