"""A serial scanner without a scanner: a pty that types what it is told."""

from __future__ import annotations

import os
import tty
from pathlib import Path
from types import TracebackType


class VirtualScanner:
    """A scanner on a pty.

    With `link` (a path that does not exist yet) the URL is a symlink that stays the same over `unplug` and
    `plug`, as /dev/serial/by-id does; without it the URL is the pty itself.
    """

    def __init__(self, link: Path | None = None, suffix: str = "\r") -> None:
        self._link = link
        self._suffix = suffix
        self._master = self._slave = -1
        self.plug()

    @property
    def url(self) -> str:
        """For the configuration: `serial:...`."""
        return f"serial:{self._link or self._path}"

    def scan(self, text: str) -> None:
        """Send `text` and the suffix, as a trigger pull does.

        Wait until the scanner is online first: an opening reader throws away what came before.
        """
        self.send((text + self._suffix).encode())

    def send(self, data: bytes) -> None:
        """Send bytes as they are: half a scan, noise, two scans at once."""
        while data:
            data = data[os.write(self._master, data) :]

    def unplug(self) -> None:
        """The cable is pulled; a reader gets an error."""
        if self._master < 0:
            return
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1

    def plug(self) -> None:
        """The cable is back (without `link` perhaps under another name: read `url` again)."""
        if self._master >= 0:
            return
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)  # no echo: what we send must not come back to us
        self._path = os.ttyname(self._slave)
        if self._link is not None:
            self._link.symlink_to(self._path)

    close = unplug

    def __enter__(self) -> VirtualScanner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
