"""The customer's display (UnifiedPOS LineDisplay): a thread, the two rows that are wanted, one connection.

A display is told, and hardly ever says anything, so three things are not to be seen and are provided for:

 * that it was switched off and on: mode, code page and rows are sent again after every opening and every
   REFRESH_MS, whether or not anything has changed;
 * that it is slower than a till: of rows that are handed over faster than UPDATE_MS only the last are sent;
 * that the till has died with a customer's balance on it: opening it clears it, and stopping leaves it dark,
   or with the rows that were chosen for that.

What is wanted is decided elsewhere (agent/customer_display.py); how it is sent, in display_commands.py; when,
by `Pace`, which has no clock of its own. A dsp800 answers: a command that it refuses is sent once more, and
then the shop is told that the display is set to another language. The others never say so.

`ESC =`, a display in the printer's cable, is not built (display_commands.py).

Known ugliness: a serial display that is unplugged from a converter which stays in takes all that it is sent,
as far as this computer can see.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from agent.drivers import display_commands
from agent.drivers.contracts import DeviceState, Post
from agent.drivers.display_commands import NAK, DisplayProfile, Rows
from agent.drivers.link import Link, LinkError, UrlError, open_link, parse_url
from agent.drivers.telling import Teller, monotonic_ms
from loyalty.texts import N_

log = logging.getLogger(__name__)

FIRST_RETRY_MS = 250
LAST_RETRY_MS = 2_000
UPDATE_MS = 200
REFRESH_MS = 60_000
WRITE_TIMEOUT_MS = 1_000
STOP_TIMEOUT_MS = 5_000
# A display with a USB plug is a serial port to the kernel.
SCHEMES = ("serial", "tcp", "loop")

_UNPLUGGED = N_("The customer's display is unplugged: check its cable.")
_TAKES_NOTHING = N_("The customer's display takes no data: is it switched on, is its cable in?")
_REFUSES = N_(
    "The customer's display refuses what it is sent: set it to the command set of the configuration."
)


@dataclass(frozen=True, slots=True)
class Update:
    """What is to be sent now. `whole`: with mode and code page; rows None: nothing was wanted yet."""

    rows: Rows | None
    whole: bool


class Pace:
    """What is sent when; of what is wanted the last counts. Pure: times are handed in, monotonic ms."""

    def __init__(self, refresh_ms: int = REFRESH_MS) -> None:
        self._refresh_ms = refresh_ms
        self._wanted: Rows | None = None
        self._shown: Rows | None = None
        self._sent_ms: int | None = None
        self._whole_ms: int | None = None  # None: it is to be sent whole

    def want(self, rows: Rows) -> None:
        """Let it show these."""
        self._wanted = rows

    def anew(self) -> None:
        """Nothing is known of what the display shows, nor of its mode."""
        self._whole_ms = None

    def due_ms(self, now_ms: int) -> int:
        """When to `take` next."""
        if self._whole_ms is not None and self._wanted == self._shown:
            return self._whole_ms + self._refresh_ms
        return now_ms if self._sent_ms is None else max(now_ms, self._sent_ms + UPDATE_MS)

    def take(self, now_ms: int) -> Update | None:
        """What is to be sent at this moment; taken as sent."""
        if self.due_ms(now_ms) > now_ms:
            return None
        whole = self._whole_ms is None or now_ms >= self._whole_ms + self._refresh_ms
        self._sent_ms, self._shown = now_ms, self._wanted
        if whole:
            self._whole_ms = now_ms
        return Update(self._wanted, whole)


class LineDisplayThread:
    """One display of two rows of twenty. Raises UrlError for an address that is none of a display.

    `at_stop`: the rows that are left on it at the end; None: it is left dark.
    """

    def __init__(
        self,
        name: str,
        url: str,
        post: Post,
        *,
        profile: DisplayProfile,
        at_stop: Rows | None = None,
        refresh_ms: int = REFRESH_MS,
        now_ms: Callable[[], int] = monotonic_ms,
    ) -> None:
        self._name = name
        self._url = parse_url(url)
        if self._url.scheme not in SCHEMES:
            raise UrlError(N_("{url} is not the address of a customer's display", url=url))
        self._profile = profile
        self._at_stop = at_stop
        self._now_ms = now_ms
        self._teller = Teller("display", name, post)
        self._lock = threading.Lock()
        self._pace = Pace(refresh_ms)
        self._stopping = threading.Event()
        self._look_again = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._thread = threading.Thread(target=self._run, name=f"display {name}", daemon=True)
        self._jitter = Random()  # noqa: S311 - spreads tries, guards nothing
        self._is_refused = False  # since something was sent last
        self._sent_again = False  # because it was refused
        self._lost_letters = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def profile(self) -> DisplayProfile:
        """For the layout of rows: its letters."""
        return self._profile

    def start(self) -> None:
        """Begin to show; a display that is not there yet is waited for. Returns at once."""
        self._thread.start()

    def show(self, rows: Rows) -> None:
        """Show these, as soon as it can be done; what was handed over before and not shown is not shown.

        Never blocks, never raises.
        """
        with self._lock:
            self._pace.want(rows)
            self._wake()

    def look_again(self) -> None:
        """Something was plugged in: a display that is waited for may be there now."""
        self._look_again.set()

    def stop(self) -> None:
        """Leave it dark, or with the last rows, and end the thread. Safe to call twice."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._look_again.set()
        with self._lock:
            self._wake()
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_MS / 1000)
        if self._thread.is_alive():
            log.error("display %s: its thread has not ended", self._name)
            return
        with self._lock:
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_read = self._wake_write = -1

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # full of wakes already
            if self._wake_write >= 0:
                os.write(self._wake_write, b"x")

    # ------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        retry_ms = FIRST_RETRY_MS
        while not self._stopping.is_set():
            opened_ms = monotonic_ms()
            try:
                self._use_display()
            except LinkError as error:
                self._teller.say(DeviceState(self._name, error.state, error.hint))
            except OSError as error:
                log.debug("display %s: errno %s", self._name, error.errno)
                self._teller.say(DeviceState(self._name, "lost", _UNPLUGGED))
            except Exception:
                log.exception("display %s: trouble while showing", self._name)
            if monotonic_ms() - opened_ms > LAST_RETRY_MS:  # else it flaps, and waits longer each time
                retry_ms = FIRST_RETRY_MS
            # After a hub has lost its power all devices come back at once: they are not tried in step.
            self._look_again.wait(retry_ms * self._jitter.uniform(0.8, 1.2) / 1000)
            self._look_again.clear()
            retry_ms = min(retry_ms * 2, LAST_RETRY_MS)

    def _use_display(self) -> None:
        """Open, show until it is lost (OSError) or the thread is to end, close."""
        link = open_link(self._url)
        try:
            with self._lock:
                self._pace.anew()
            self._is_refused = self._sent_again = False
            while not self._stopping.is_set():
                with self._lock:
                    now_ms = self._now_ms()
                    update = self._pace.take(now_ms)
                    wait_ms = self._pace.due_ms(now_ms) - now_ms
                if update is not None:
                    self._send(link, update)
                self._listen(link, wait_ms)
            self._write(link, self._last())
        finally:
            link.close()

    def _send(self, link: Link, update: Update) -> None:
        data = display_commands.initialise(self._profile) if update.whole else b""
        if update.rows is not None:
            encoded = display_commands.show(self._profile, update.rows)
            data += encoded.data
            if encoded.lost and not self._lost_letters:
                self._lost_letters = True
                log.warning(
                    "display %s: %d letters are not in %s", self._name, encoded.lost, self._profile.charset
                )
        if not self._is_refused:
            self._sent_again = False  # what was sent before this was taken
        self._is_refused = False
        self._write(link, data)
        if not self._sent_again:
            self._teller.say(DeviceState(self._name, "online"))

    def _last(self) -> bytes:
        if self._at_stop is None:
            return display_commands.clear(self._profile)
        shown = display_commands.show(self._profile, self._at_stop)
        return display_commands.initialise(self._profile) + shown.data

    def _write(self, link: Link, data: bytes) -> None:
        if link.write(data, WRITE_TIMEOUT_MS) < len(data):
            raise LinkError("lost", _TAKES_NOTHING)

    def _listen(self, link: Link, wait_ms: int) -> None:
        """Until something is wanted or due; what the display says meanwhile is heard. Raises OSError."""
        ready = select.select([link, self._wake_read], [], [], wait_ms / 1000)[0]
        if self._wake_read in ready:
            with suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        if link in ready:
            self._heard(link.read())

    def _heard(self, said: bytes) -> None:
        """A command that is refused is sent once more, for it may have been noise; then it is the command."""
        if self._profile.commands != "dsp800" or NAK not in said:
            return
        self._is_refused = True
        if self._sent_again:
            self._teller.say(DeviceState(self._name, "degraded", _REFUSES))
        else:
            self._sent_again = True
            with self._lock:
                self._pace.anew()
