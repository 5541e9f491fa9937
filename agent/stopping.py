"""When to end: the wait for SIGTERM or SIGINT.

An event that a signal handler sets does not do. The kernel may give a signal to any
thread; Python runs the handler in the main thread only, and only when that one comes
back from what it is waiting in. If another thread got the signal, or if the main thread
was just on its way into its wait, nothing wakes it: the handler never runs, and the
agent goes on until it is killed. So the main thread reads from a pipe, and Python's own
handler in C writes into it at once, in whatever thread the signal arrives.
"""

from __future__ import annotations

import os
import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """From the moment it is made, SIGTERM and SIGINT are remembered. Made and used in the main thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)  # a handler must never wait
        # The pipe before the handlers, or a signal that comes between the two would not be in it.
        signal.set_wakeup_fd(self._write)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)

    def wait(self) -> None:
        """Return when a signal has come, be it long ago."""
        os.read(self._read, 1)  # no other signal has a handler, so none else writes
