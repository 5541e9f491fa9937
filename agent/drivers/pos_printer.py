"""The receipt printer: a thread, slips that wait, one connection and one write for each slip.

Printing is where "sent" and "done" differ. A printer takes eighty kilobytes with its cover open, and a slip
printed twice may promise points twice. So:

 * before a slip the printer is asked how it is. No paper, cover open, switched off, unplugged: the slip waits
   (spool.py, on disk) and is printed when that is over. One that has waited KEEP_S is not printed any more:
   its customer has gone, and the cashier can print a copy.
 * a slip is sent whole, in ONE write over a connection of its own (most network printers serve one client,
   and drop an idle one). It leaves the spool before its first byte is sent.
 * its last bytes ask for proof: GS ( H with the slip's own number, or GS r. The answer within `deadline_ms`
   is OutputComplete.
 * no answer: OutputUnknown, and nothing is printed again by itself. A printer without paper keeps the slip
   and prints it after the new roll; so the connection stays open for LATE_S, and a proof that comes then is
   an OutputComplete after all. (Nothing else is sent meanwhile, unless the printer says that it is well and
   has still not answered: then it has lost the slip.)
 * a slip that broke off in the middle may have left half a command in the printer, which would swallow the
   next one: that begins with 8192 NULs and `ESC @`.

A printer that cannot answer (a file; `proof="none"` for models that choke on questions) is complete when all
bytes have left this machine.

The drawer hangs on the printer. It is opened by `open_drawer` alone, which nothing in a document can call.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agent.drivers.contracts import (
    DeviceState,
    OutputComplete,
    OutputFailed,
    OutputUnknown,
    OutputWaiting,
    Post,
)
from agent.drivers.document import Document
from agent.drivers.escpos_doc import PrinterProfile, encode
from agent.drivers.escpos_status import (
    ASK,
    ASK_PROCESSED,
    JOB_NUMBER_BYTES,
    Condition,
    StatusAnswers,
    ask_printed,
    condition_of,
)
from agent.drivers.link import DeviceUrl, Link, LinkError, UrlError, open_link, parse_url
from agent.drivers.spool import Slip, Spool
from agent.drivers.telling import Teller
from loyalty.texts import N_, Text

log = logging.getLogger(__name__)

QUEUE_MAX = 64
DEADLINE_MS = 3_000
STATUS_MS = 300
RETRY_MS = 1_000
LATE_S = 600
GRACE_MS = 3_000
KEEP_S = 900
STOP_TIMEOUT_MS = 10_000
MAX_JOB_BYTES = 64 * 1024
RECOVERY = bytes(8192) + b"\x1b@"
CLEAR = b"\x10\x14\x08\x01\x03\x14\x01\x06\x02\x08"
"""DLE DC4 8: throw away what the printer holds (Epson). Only when a person asks for it."""
DRAWER_PULSE = b"\x1bp\x00\x19\xfa"
"""ESC p: pin 2, 50 ms on, 500 ms off."""

_NO_PAPER, _PORT_ERROR = 0x20, 0x08

_SHUT_DOWN = N_("The printer is being shut down.")
_NO_ANSWER = N_("The printer took the slip and did not confirm it: look whether it is printed.")
_TAKES_NOTHING = N_("The printer takes no data: is it switched on, is there paper?")
_NOT_MADE = N_("The slip could not be made ready for printing; see the log.")
_TOO_OLD = N_("The slip has waited too long for the printer; print a copy where it is wanted.")
_PAPER_OUT = N_("The printer has no paper: put in a new roll; the slip is printed then by itself.")
_COVER_OPEN = N_("The printer's cover is open: close it.")
_PRINTER_ERROR = N_("The printer reports an error: look at its lamps, switch it off and on.")
_OFFLINE = N_("The printer is offline: press its feed button, or switch it off and on.")
_PAPER_LOW = N_("The printer's paper is coming to its end: have a new roll ready.")


@dataclass(frozen=True, slots=True)
class _Job:
    id: str
    job: Document | bytes
    is_drawer: bool = False


@dataclass(slots=True)
class _Limbo:
    """A slip that was sent and not confirmed, and the connection on which its proof may still come."""

    job_id: str
    number: bytes
    link: Link
    answers: StatusAnswers
    until_s: float
    well_since_s: float | None = None


_STOP = _Job("", b"")


class EscPosPrinter:
    """An ESC/POS printer at a `usb:`, `lp:`, `serial:`, `tcp:` or `file:` URL, or `auto`.

    `spool`: the file of waiting slips (None: they wait in memory). Raises UrlError for another URL.
    """

    def __init__(
        self,
        name: str,
        url: str,
        post: Post,
        *,
        profile: PrinterProfile | None = None,
        deadline_ms: int = DEADLINE_MS,
        spool: Path | None = None,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._url: DeviceUrl = parse_url(url)
        if self._url.scheme in ("evdev", "hidraw"):
            raise UrlError(
                N_("{url}: {scheme} is for scanners, not printers", url=url, scheme=self._url.scheme)
            )
        self._post = post
        self._profile = profile or PrinterProfile()
        if self._url.scheme in ("file", "loop"):
            self._profile = replace(self._profile, proof="none", realtime_status=False)
        self._deadline_ms = deadline_ms
        self._spool_path = spool
        self._wall_s = wall_s
        self._jobs: queue.Queue[_Job] = queue.Queue(QUEUE_MAX)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"printer {name}", daemon=True)
        self._teller = Teller("printer", name, post)
        self._limbo: _Limbo | None = None
        self._broke_off = False
        self._number = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def profile(self) -> PrinterProfile:
        """For the layout of slips: its columns."""
        return self._profile

    def start(self) -> None:
        """Begin to take jobs; those that waited when the agent ended come first."""
        self._thread.start()

    def submit(self, job_id: str, job: Document | bytes) -> None:
        """Print once: a Document is encoded here, bytes are ESC/POS already. One end of it is posted."""
        self._put(_Job(job_id, job))

    def open_drawer(self, act_id: str) -> None:
        """Open the cash drawer, now or not at all: OutputComplete or OutputFailed with `act_id` follows."""
        self._put(_Job(act_id, b"", is_drawer=True))

    def look_again(self) -> None:
        """Something was plugged in: slips that wait may be printed."""
        if self._jobs.empty():  # who has something to do looks anyway, and marks must not fill the queue
            with suppress(queue.Full):
                self._jobs.put_nowait(_STOP)

    def stop(self) -> None:
        """Finish the job in hand, keep the waiting ones, end the thread."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self.look_again()  # a full queue wakes the thread as well
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_MS / 1000)

    def _put(self, job: _Job) -> None:
        if self._stopping.is_set():
            self._post(OutputFailed(self._name, job.id, _SHUT_DOWN))
            return
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self._post(OutputFailed(self._name, job.id, N_("Too many slips are waiting for the printer.")))

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        spool = Spool(self._spool_path)
        try:
            while not self._stopping.is_set():
                job = self._next(wait_s=self._patience_s(spool))
                try:
                    if job is not None and job.is_drawer:
                        self._open_drawer(job)
                    elif job is not None:
                        self._take(job, spool)
                    self._look_at_limbo()
                    self._print_waiting(spool)
                except Exception as error:  # noqa: BLE001 - top of a thread: the next slip must still print
                    # Not the message and no traceback: either may hold what was to be printed.
                    log.error("printer %s: %s", self._name, type(error).__name__)
            self._end(spool)
        finally:
            self._leave_limbo()
            spool.close()

    def _next(self, wait_s: float | None) -> _Job | None:
        try:
            job = self._jobs.get(timeout=wait_s)
        except queue.Empty:
            return None
        return None if job is _STOP else job

    def _patience_s(self, spool: Spool) -> float | None:
        """How long to wait for a job before looking again at what is not done."""
        return RETRY_MS / 1000 if self._limbo is not None or spool.waiting() else None

    def _end(self, spool: Spool) -> None:
        """Slips on disk stay for the next start; the others will never be printed."""
        rest: list[_Job] = []
        with suppress(queue.Empty):
            while True:
                rest.append(self._jobs.get_nowait())
        if self._spool_path is None:
            rest += [_Job(slip.job_id, slip.job) for slip in spool.waiting()]
        for job in rest:
            if job is not _STOP:
                self._post(OutputFailed(self._name, job.id, _SHUT_DOWN))

    def _take(self, job: _Job, spool: Spool) -> None:
        """A new job: it goes behind those that wait, and is printed at once where none does."""
        try:
            self._encoded(job.job, b"")  # what cannot be printed is said now, not after the next roll
        except ValueError as error:
            log.error("printer %s: %s: %s", self._name, type(error).__name__, job.id)
            self._post(OutputFailed(self._name, job.id, _NOT_MADE))
            return
        slip = Slip(job.id, int(self._wall_s()), job.job)
        reason: Text | None = _NO_ANSWER if self._limbo is not None else _TAKES_NOTHING
        if self._limbo is None and not spool.waiting():
            reason = self._try(slip, spool=None)
        if reason is None:
            return
        if spool.add(slip):
            self._post(OutputWaiting(self._name, job.id, reason))
        else:
            self._post(OutputFailed(self._name, job.id, N_("Too many slips are waiting for the printer.")))

    def _print_waiting(self, spool: Spool) -> None:
        """As many of those that wait as the printer takes now."""
        for slip in spool.waiting():
            if self._stopping.is_set() or self._limbo is not None:
                return
            if self._wall_s() - slip.at_s > KEEP_S:
                if spool.take(slip.job_id):
                    self._post(OutputFailed(self._name, slip.job_id, _TOO_OLD))
            elif self._try(slip, spool) is not None:
                return

    # --------------------------------------------------------------------- one slip

    def _try(self, slip: Slip, spool: Spool | None) -> Text | None:
        """Print a slip if the printer is ready for it; why not, where it is not (nothing was sent then)."""
        try:
            link = open_link(self._url)
        except LinkError as error:
            self._teller.say(DeviceState(self._name, error.state, error.hint))
            return error.hint
        keeps_link = False
        try:
            answers = StatusAnswers()
            hindrance = self._hindrance(link, answers)
            if hindrance is not None:
                self._teller.say(DeviceState(self._name, "lost", hindrance))
                return hindrance
            if spool is not None and not spool.take(slip.job_id):
                return _TAKES_NOTHING
            sent_all = self._send(slip, link, answers)
            if sent_all is None:
                if spool is not None:
                    spool.add(slip)
                self._teller.say(DeviceState(self._name, "lost", _TAKES_NOTHING))
                return _TAKES_NOTHING
            keeps_link = self._limbo is not None
        finally:
            if not keeps_link:
                link.close()
        return None

    def _hindrance(self, link: Link, answers: StatusAnswers) -> Text | None:
        """What stands in the way of printing; None: nothing that the printer knows of."""
        port = link.port_status()
        if port is not None and port & _NO_PAPER:
            return _PAPER_OUT
        condition = self._condition(link, answers)
        if condition is None:
            # A USB port that reports an error and a printer that answers nothing: it is not well.
            return _PRINTER_ERROR if port is not None and not port & _PORT_ERROR else None
        return _why_not(condition)

    def _condition(self, link: Link, answers: StatusAnswers) -> Condition | None:
        """How the printer says it is; None: it does not say."""
        if not self._profile.realtime_status:
            return None
        answers.realtime.clear()
        try:
            if link.write(ASK, STATUS_MS) < len(ASK):
                return None
            deadline = time.monotonic() + STATUS_MS / 1000
            while len(answers.realtime) < 3 and (left := deadline - time.monotonic()) > 0:
                answers.feed(link.read_within(int(left * 1000) + 1))
        except OSError:
            return None
        if len(answers.realtime) < 3:
            return None
        condition = condition_of(bytes(answers.realtime[:3]))
        if condition.can_print:
            low = DeviceState(self._name, "degraded", _PAPER_LOW)
            self._teller.say(low if condition.paper_low else DeviceState(self._name, "online"))
        return condition

    def _send(self, slip: Slip, link: Link, answers: StatusAnswers) -> bool | None:
        """Send it, and say how it ended. None: not a byte has left, and it ended in nothing."""
        self._number += 1
        number = f"{self._number % 10_000:0{JOB_NUMBER_BYTES}}".encode()
        asks = {"id": ask_printed(number), "status": ASK_PROCESSED, "none": b""}[self._profile.proof]
        data = (RECOVERY if self._broke_off else b"") + self._encoded(slip.job, asks)
        with suppress(OSError):
            answers.feed(link.read_within(0))  # an answer from before is none to this slip
        answers.processed, answers.printed = 0, []
        sent = link.write(data)
        if sent == 0:
            return None
        self._broke_off = sent < len(data)
        if self._broke_off:
            self._unknown(slip.job_id)
        elif self._profile.proof == "none" or self._is_proven(link, answers, number):
            self._complete(slip.job_id)
        else:
            self._limbo = _Limbo(slip.job_id, number, link, answers, time.monotonic() + LATE_S)
            self._unknown(slip.job_id)
        return True

    def _encoded(self, job: Document | bytes, asks: bytes) -> bytes:
        if isinstance(job, bytes):
            data = job + asks
        else:
            encoded = encode(job, self._profile, asks)
            data = encoded.data
            if encoded.lost and asks:
                log.warning(
                    "printer %s: %d characters are not in %s",
                    self._name,
                    encoded.lost,
                    self._profile.encoding,
                )
        if len(data) > MAX_JOB_BYTES:
            raise ValueError(f"{len(data)} bytes in one slip; at most {MAX_JOB_BYTES}")
        return data

    def _is_proven(self, link: Link, answers: StatusAnswers, number: bytes) -> bool:
        """Wait for the proof; False: the deadline passed or the connection broke."""
        deadline = time.monotonic() + self._deadline_ms / 1000
        try:
            while not self._has_proof(answers, number):
                left_ms = int((deadline - time.monotonic()) * 1000)
                if left_ms <= 0:
                    return False
                answers.feed(link.read_within(left_ms))
        except OSError:
            return False
        return True

    def _has_proof(self, answers: StatusAnswers, number: bytes) -> bool:
        return number in answers.printed if self._profile.proof == "id" else answers.processed > 0

    def _complete(self, job_id: str) -> None:
        if not self._profile.realtime_status or self._teller.last_state in (None, "lost"):
            self._teller.say(DeviceState(self._name, "online"))
        self._post(OutputComplete(self._name, job_id))

    def _unknown(self, job_id: str) -> None:
        self._teller.say(DeviceState(self._name, "lost", _NO_ANSWER))
        self._post(OutputUnknown(self._name, job_id, _NO_ANSWER))

    # -------------------------------------------------------- sent, and not confirmed

    def _look_at_limbo(self) -> None:
        """Has the proof come? Has the printer lost the slip? Is it time to give up?"""
        limbo = self._limbo
        if limbo is None:
            return
        now_s = time.monotonic()
        try:
            limbo.answers.feed(limbo.link.read_within(0))
            if self._has_proof(limbo.answers, limbo.number):
                self._leave_limbo()
                self._complete(limbo.job_id)
                return
            condition = self._condition(limbo.link, limbo.answers)
            if self._has_proof(limbo.answers, limbo.number):
                self._leave_limbo()
                self._complete(limbo.job_id)
                return
        except OSError:  # it hung up: a printer that was switched off has lost the slip
            self._leave_limbo()
            return
        is_well = condition is None or condition.can_print
        if not is_well:
            limbo.well_since_s = None
            self._teller.say(DeviceState(self._name, "lost", _why_not(condition)))
        elif limbo.well_since_s is None:
            limbo.well_since_s = now_s
        if now_s > limbo.until_s or (is_well and now_s - (limbo.well_since_s or now_s) > GRACE_MS / 1000):
            self._leave_limbo()

    def _leave_limbo(self) -> None:
        limbo, self._limbo = self._limbo, None
        if limbo is not None:
            limbo.link.close()

    # ------------------------------------------------------------------- the drawer

    def _open_drawer(self, job: _Job) -> None:
        """Now, for somebody stands before it: an impulse that waits for paper would open it at any time."""
        try:
            link = self._limbo.link if self._limbo is not None else open_link(self._url)
        except LinkError as error:
            self._post(OutputFailed(self._name, job.id, error.hint))
            return
        try:
            sent = link.write(DRAWER_PULSE) == len(DRAWER_PULSE)
        except OSError:
            sent = False
        finally:
            if self._limbo is None:
                link.close()
        self._post(
            OutputComplete(self._name, job.id)
            if sent
            else OutputFailed(self._name, job.id, N_("The drawer could not be opened: use its key."))
        )


def _why_not(condition: Condition | None) -> Text | None:
    """What a person is to do; None: it can print."""
    if condition is None or condition.can_print:
        return None
    if condition.paper_out:
        return _PAPER_OUT
    if condition.cover_open:
        return _COVER_OPEN
    return _PRINTER_ERROR if condition.error else _OFFLINE
