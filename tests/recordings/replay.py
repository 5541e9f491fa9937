"""Run a command as if a recorded scanner were plugged in (umockdev-run; no root, no kernel module).

    subprocess.Popen(CARD.command(["kopilka-agent", "run", "--config", ...]))   # scanner: CARD.url

What one must know of the replay (umockdev 0.17):
 * It begins when umockdev-run starts, not when the device is opened. But the device is a pty and keeps what
   nobody has read, so a command that opens it late still gets every event, all at once. Nothing is lost to a
   slow start; the recorded pauses are.
 * It is played once. After it the device stays, silent; it is never unplugged.
 * Event times are those of the recording. EVIOCSCLOCKID, EVIOCGKEY and EVIOCGLED fail; EVIOCGRAB succeeds and
   does nothing.
 * There are no /dev/input/by-path links in the replay: name the device by its node (`Recording.url`).
 * Programs started by the command see the device too.
 * Its library changes a thread's signal mask around every call with a path or a descriptor. A thread that
   does so takes a signal that was meant for the whole process away from the main thread: under umockdev-run,
   a SIGTERM often arrives in another one.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "data" / "devices"

UMOCKDEV_RUN = shutil.which("umockdev-run")


@dataclass(frozen=True)
class Recording:
    """A scanner recorded as PREFIX.umockdev, PREFIX.ioctl and PREFIX.evemu."""

    prefix: Path

    @property
    def device(self) -> str:
        """The device file the recording was made from."""
        first = (self.prefix.parent / f"{self.prefix.name}.ioctl").read_text().splitlines()[0]
        return first.removeprefix("@DEV ").strip()

    @property
    def url(self) -> str:
        """For the agent's configuration."""
        return f"evdev:{self.device}"

    @property
    def here(self) -> bool:
        return self._file("evemu").is_file()

    def command(self, command: Sequence[str]) -> list[str]:
        """`command` with the scanner plugged in; give it to subprocess.

        umockdev-run passes SIGTERM and SIGINT on, each once (a second one ends it, and not the command), and
        exits as the command does. SIGKILL leaves the command running: kill the process group.
        """
        device = self.device
        return [
            UMOCKDEV_RUN or "umockdev-run",
            *("--device", str(self._file("umockdev"))),
            *("--ioctl", f"{device}={self._file('ioctl')}"),
            *("--evemu-events", f"{device}={self._file('evemu')}"),
            "--",
            *command,
        ]

    def _file(self, kind: str) -> Path:
        return self.prefix.parent / f"{self.prefix.name}.{kind}"


CARD = Recording(HERE / "card")
"""A scanner of ours types the card 2000000012346 and Enter."""

SWIPE = Recording(HERE / "swipe")
"""A reader of ours types two tracks of the same card, Enter after each."""

RECORDED = Recording(SHARED / "scanner")
"""A scanner recorded from a real kernel's USB; only where the shared recordings lie beside the checkout."""
