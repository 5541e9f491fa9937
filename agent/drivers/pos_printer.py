"""The receipt printer: a thread, a bounded queue, one connection and one write for each job.

Printing is where "sent" and "done" differ. A printer takes eighty kilobytes
with its cover open, and a slip printed twice may promise points twice. So:

 * a job is encoded whole, sent in ONE write over a connection of its own (most
   network printers serve one client, and drop an idle one);
 * its last bytes are `GS r 1`, which a printer answers when everything before
   it is done. The answer within `deadline_ms` is OutputComplete;
 * no connection, or not a byte sent, is OutputFailed: nothing was printed;
 * anything between is OutputUnknown. A printer without paper keeps the job and
   prints it after the new roll, so the till asks a person and does not repeat.

A printer that cannot answer (a file; `proof="none"` for models that choke on
status requests) is complete when all bytes have left this machine.

Known ugliness: a printer that comes back with an old job in its memory answers
for that one first, and the answer has no number on it. (`GS ( H` has one; not
every printer knows it.)
"""

from __future__ import annotations

import logging
import queue
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent.drivers.contracts import DeviceState, OutputComplete, OutputFailed, OutputUnknown, Post
from agent.drivers.document import Document
from agent.drivers.escpos_doc import PrinterProfile, encode, load_escpos
from agent.drivers.escpos_status import StatusAnswers
from agent.drivers.link import DeviceUrl, Link, LinkError, UrlError, open_link, parse_url
from loyalty.texts import N_

log = logging.getLogger(__name__)

MAX_WAITING_JOBS = 50
DEADLINE_MS = 3_000
STOP_TIMEOUT_MS = 10_000
MAX_JOB_BYTES = 64 * 1024

_ASK_TRANSMIT_STATUS = b"\x1dr\x01"
_SHUT_DOWN = N_("The printer is being shut down.")
_NO_ANSWER = N_("The printer took the slip and did not confirm it: look whether it is printed.")


@dataclass(frozen=True, slots=True)
class _Job:
    id: str
    job: Document | bytes


_STOP = _Job("", b"")


class EscPosPrinter:
    """An ESC/POS printer at a `serial:`, `tcp:` or `file:` URL. Raises UrlError for another."""

    def __init__(
        self,
        name: str,
        url: str,
        post: Post,
        *,
        cache: Path,
        profile: PrinterProfile | None = None,
        proof: Literal["status", "none"] = "status",
        deadline_ms: int = DEADLINE_MS,
    ) -> None:
        self._name = name
        self._url: DeviceUrl = parse_url(url)
        if self._url.scheme == "evdev":
            raise UrlError(N_("{url}: evdev is for scanners, not printers", url=url))
        self._post = post
        self._cache = cache
        self._profile = profile or PrinterProfile()
        self._asks = proof == "status" and self._url.scheme != "file"
        self._deadline_ms = deadline_ms
        self._jobs: queue.Queue[_Job] = queue.Queue(MAX_WAITING_JOBS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"printer {name}", daemon=True)
        self._dummy: Callable[[], Any] | None = None
        self._state: DeviceState | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def profile(self) -> PrinterProfile:
        """For the layout of slips: its columns."""
        return self._profile

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def submit(self, job_id: str, job: Document | bytes) -> None:
        """Print once: a Document is encoded here, bytes are ESC/POS already. One output event follows."""
        if self._stopping.is_set():
            self._post(OutputFailed(self._name, job_id, _SHUT_DOWN))
            return
        try:
            self._jobs.put_nowait(_Job(job_id, job))
        except queue.Full:
            self._post(OutputFailed(self._name, job_id, N_("Too many slips are waiting for the printer.")))

    def stop(self) -> None:
        """Finish the job in hand, fail the waiting ones, end the thread."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        with suppress(queue.Full):  # a full queue wakes the thread as well as a stop mark does
            self._jobs.put_nowait(_STOP)
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_MS / 1000)

    def _run(self) -> None:
        while not self._stopping.is_set():
            job = self._jobs.get()
            if self._stopping.is_set():
                self._refuse(job)
                break
            try:
                self._print(job)
            except Exception as error:  # noqa: BLE001 - top of a thread: the next slip must still print
                # Not the message and no traceback: either may hold what was to be printed.
                log.error("printer %s: %s in job %s", self._name, type(error).__name__, job.id)
                reason = N_("The slip could not be made ready for printing; see the log.")
                self._post(OutputFailed(self._name, job.id, reason))
        with suppress(queue.Empty):
            while True:
                self._refuse(self._jobs.get_nowait())

    def _refuse(self, job: _Job) -> None:
        if job is not _STOP:
            self._post(OutputFailed(self._name, job.id, _SHUT_DOWN))

    def _print(self, job: _Job) -> None:
        data = self._encoded(job)
        if len(data) > MAX_JOB_BYTES:
            raise ValueError(f"{len(data)} bytes in one slip; at most {MAX_JOB_BYTES}")
        try:
            link = open_link(self._url)
        except LinkError as error:
            self._say(DeviceState(self._name, error.state, error.hint))
            self._post(OutputFailed(self._name, job.id, error.hint))
            return
        try:
            sent = link.write(data)
            if sent == len(data) and (not self._asks or self._answered(link)):
                self._say(DeviceState(self._name, "online"))
                self._post(OutputComplete(self._name, job.id))
            elif sent == 0:
                hint = N_("The printer takes no data: is it switched on, is there paper?")
                self._say(DeviceState(self._name, "lost", hint))
                self._post(OutputFailed(self._name, job.id, hint))
            else:
                self._say(DeviceState(self._name, "lost", _NO_ANSWER))
                self._post(OutputUnknown(self._name, job.id, _NO_ANSWER))
        finally:
            link.close()

    def _encoded(self, job: _Job) -> bytes:
        if isinstance(job.job, bytes):
            return job.job + (_ASK_TRANSMIT_STATUS if self._asks else b"")
        if self._dummy is None:
            self._dummy = load_escpos(self._cache)
        encoded = encode(job.job, self._profile, self._dummy, ask_status=self._asks)
        if encoded.lost:
            log.warning(
                "printer %s: %d characters are not in %s", self._name, encoded.lost, self._profile.encoding
            )
        return encoded.data

    def _answered(self, link: Link) -> bool:
        """Wait for the answer to GS r 1; False: the deadline passed or the connection broke."""
        deadline = time.monotonic() + self._deadline_ms / 1000
        answers = StatusAnswers()
        try:
            while (left := deadline - time.monotonic()) > 0:
                if not select.select([link], [], [], left)[0]:
                    break
                if answers.feed(link.read()):
                    return True
        except OSError:
            return False
        return False

    def _say(self, state: DeviceState) -> None:
        """Post and log a state once, however often it is found again."""
        if state == self._state:
            return
        self._state = state
        if state.state == "online":
            log.info("printer %s: online", self._name)
        else:
            log.warning("printer %s: %s: %s", self._name, state.state, state.hint)
        self._post(state)
