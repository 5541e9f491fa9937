"""Hears when something is plugged in or out, so that nobody has to wait for the next try.

The kernel and udev say so on a netlink socket that every user may read. What they say is
not looked at: any news is a reason to try again now, and a try costs an open(). The news
that matters is udev's (group 2): it comes when the node has got its rights, a second after
the kernel's on a slow box.

Where there is no news (a container, a unit with its own network), and where some was lost, a
look every RESCAN_S finds them too.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

_KOBJECT_UEVENT = 15  # linux/netlink.h
_KERNEL, _UDEV = 1, 2
_MESSAGE_BYTES = 8192
RESCAN_S = 5
QUIET_MS = 200
"""A device says many things when it comes; they are taken together."""


class HotPlug:
    """Calls `changed` in a thread of its own, soon after anything was plugged in or out."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._stopping = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="hot-plug", daemon=True)

    def start(self) -> None:
        """Begin to listen. Returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Safe to call twice."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        os.write(self._wake_write, b"x")
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _run(self) -> None:
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _KOBJECT_UEVENT) as news:
                news.bind((0, _KERNEL | _UDEV))
                news.setblocking(False)
                self._listen(news)
        except OSError as error:
            log.info("no news of devices here (%s); they are looked for every %s s", error, RESCAN_S)
            while not self._stopping.wait(RESCAN_S):
                self._changed()

    def _listen(self, news: socket.socket) -> None:
        while not self._stopping.is_set():
            select.select([news, self._wake_read], [], [], RESCAN_S)
            quiet_at = time.monotonic() + QUIET_MS / 1000
            while not self._stopping.is_set() and (left := quiet_at - time.monotonic()) > 0:
                if news in select.select([news, self._wake_read], [], [], left)[0]:
                    drain(news)
            if not self._stopping.is_set():
                self._changed()


def drain(news: socket.socket) -> None:
    """Take what has come; so much that some was lost is news too."""
    try:
        while news.recv(_MESSAGE_BYTES):
            pass
    except BlockingIOError:
        return
    except OSError as error:
        log.debug("news of devices were lost: %s", error)
