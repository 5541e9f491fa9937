"""The collector stands still while a rulebook is loaded, and looks past it afterwards.

A large rulebook is a hundred thousand small objects that live as long as it is
in force. Python's garbage collector would look through all of them again and
again while they are made, and through the whole heap whenever it grew by a
quarter; nothing among them is garbage. So it is paused for the time of loading,
and afterwards what is there is put aside, where it is not looked through again.
(Counting references goes on: a rulebook that is replaced is freed at once.)
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """No garbage collection in this block."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def put_aside() -> None:
    """What is alive now is not looked through by the collector any more.

    It is not asked to collect first: that would hold up a scanner's reader for a tenth of a second.
    What lies in cycles at this moment stays; it is little, for nothing of a rulebook does.
    """
    gc.freeze()
