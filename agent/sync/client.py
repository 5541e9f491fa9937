"""The hands: HTTP to the centre, by requests, on threads of their own.

Two threads, so that a card that is looked up never waits behind five hundred
entries: `SyncThread` plays the machine's effects, `LookupThread` asks one question
at a time within the second that a quote may wait. Neither touches ledger.db; what
is to be stored goes through the till's inbox (`Desk`), and the answer comes back.

**Secrets.** A session token and the hash of a card stand in headers and bodies, never in
a log or an exception: what requests and msgspec say is not repeated here, and errors are
raised `from None`, for the text of an error about a header is the header.

**Bounds.** An answer has a largest size, and a last moment by which its body is there,
however slowly it drips.

**Faults.** Whatever goes wrong in a round (no room on the disk, a till too busy to answer,
a fault of ours) ends that round: the machine is told, backs off and begins anew.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, TypeVar

import msgspec
import requests
import urllib3.exceptions

from agent.sync import machine
from agent.sync.machine import Adoption, Apply, ApplyRestore, BatchToSend, StoreLog, SyncMachine
from loyalty import wire
from loyalty.manifest import FILE_MAX_BYTES, MANIFEST_MAX_BYTES
from loyalty.wire import (
    CONTENT_TYPE,
    ClaimReply,
    ClaimRequest,
    EnrollReply,
    EnrollRequest,
    EventsReply,
    LogReply,
    LookupReply,
    LookupRequest,
    ManifestReply,
    Member,
    ReceiptReply,
    Refusal,
    RestoreReply,
    RestoreRequest,
    SyncReply,
    SyncRequest,
    WireError,
)

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 3.0
SYNC_TIMEOUT_S = 30.0  # without a byte
ANSWER_TIMEOUT_S = 300.0  # for the whole of an answer, such as a large catalogue on a thin line
EVENTS_TIMEOUT_S = 40.0  # longer than the centre holds a long poll
LOOKUP_TIMEOUT_S = 0.9  # of the one second a quote may wait; for all of it
ASKED_MAX = 64
CHUNK_BYTES = 64 * 1024
REFUSAL_MAX_BYTES = 64 * 1024
RETRY_AFTER_DIGITS = 9

T = TypeVar("T", bound=msgspec.Struct)


class LinkError(Exception):
    """The centre cannot be reached, or answers what cannot be read. Nothing has changed."""


class CentreRefusal(Exception):  # noqa: N818 - it is the centre's answer
    """The centre understood and said no."""

    def __init__(self, status: int, refusal: Refusal | None, retry_after_s: int | None) -> None:
        super().__init__(refusal.detail if refusal else f"the centre answered {status}")
        self.status = status
        self.refusal = refusal
        self.retry_after_s = retry_after_s


class Peer:
    """One requests session with a machine that speaks our messages. One thread's."""

    def __init__(self, url: str, till: str = "") -> None:
        self.url = url.rstrip("/")
        self.till = till
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy of the box is not our link
        self._http.headers["Accept-Encoding"] = "identity"  # messages are compressed already, and bounded

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        kind: type[T],
        message: msgspec.Struct | None = None,
        *,
        session: str = "",
        timeout_s: float = SYNC_TIMEOUT_S,
        max_bytes: int = wire.MESSAGE_MAX_BYTES,
    ) -> T:
        """Ask, and read an answer of at most `max_bytes`. Raises LinkError or CentreRefusal."""
        body = wire.pack(message) if message is not None else b""
        try:
            answer = self.send(method, path, body, session, timeout_s, max_bytes)
            return wire.unpack(kind, answer, max_bytes)
        except WireError as error:
            raise LinkError(str(error)) from None

    def send(self, method: str, path: str, body: bytes, session: str, timeout_s: float, limit: int) -> bytes:
        """The body of the answer, of at most `limit` bytes. Raises LinkError or CentreRefusal."""
        headers = {"Content-Type": CONTENT_TYPE} if body else {}
        if session:
            headers["Authorization"] = f"Kopilka {self.till}:{session}"
        until_s = time.monotonic() + (timeout_s if timeout_s < SYNC_TIMEOUT_S else ANSWER_TIMEOUT_S)
        try:
            with self._http.request(
                method,
                self.url + path,
                data=body or None,
                headers=headers,
                timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s),
                stream=True,
                allow_redirects=False,
            ) as answer:
                if answer.status_code != 200:
                    raise CentreRefusal(
                        answer.status_code, _refusal(answer, until_s), _retry_after_s(answer.headers)
                    )
                return _read(answer, limit, until_s)
        except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
            raise LinkError(f"{self.url} does not answer ({type(error).__name__})") from None


class Centre(Peer):
    """The centre, as a till asks it."""

    def enrol(self, request: EnrollRequest) -> EnrollReply:
        """Become a till by a one-time code."""
        return self.call("POST", "/v1/enroll", EnrollReply, request)

    def sync(self, request: SyncRequest) -> SyncReply:
        """Send a batch, get the downlink."""
        return self.call("POST", f"/v1/tills/{self.till}/sync", SyncReply, request)

    def restore(self, request: RestoreRequest) -> RestoreReply:
        """Ask for the next life of a till that was restored from a backup."""
        return self.call("POST", f"/v1/tills/{self.till}/restore", RestoreReply, request)

    def log(self, epoch: int, first_seq: int, session: str) -> LogReply:
        """A stretch of this till's own log."""
        path = f"/v1/tills/{self.till}/log?epoch={epoch}&from={first_seq}"
        return self.call("GET", path, LogReply, session=session)

    def claim(self, request: ClaimRequest, session: str) -> ClaimReply:
        """Ask for points now. Within LOOKUP_TIMEOUT_S."""
        path = f"/v1/tills/{self.till}/claim"
        return self.call("POST", path, ClaimReply, request, session=session, timeout_s=LOOKUP_TIMEOUT_S)

    def events(self, heard: int, session: str) -> EventsReply:
        """Wait until the centre has something to say, or has nothing for a while."""
        path = f"/v1/tills/{self.till}/events?heard={heard}"
        return self.call("GET", path, EventsReply, session=session, timeout_s=EVENTS_TIMEOUT_S)

    def lookup(self, card_key: int, session: str) -> Member | None:
        """Whose card is this? Within LOOKUP_TIMEOUT_S."""
        request = LookupRequest(wire.WIRE_VERSION, card_key)
        path = f"/v1/tills/{self.till}/lookup"
        reply = self.call("POST", path, LookupReply, request, session=session, timeout_s=LOOKUP_TIMEOUT_S)
        return reply.member

    def receipt(self, ref: str, session: str) -> ReceiptReply:
        """The receipt of another till, by the last line of its slip. Within LOOKUP_TIMEOUT_S."""
        path = f"/v1/receipts/{ref}"
        return self.call("GET", path, ReceiptReply, session=session, timeout_s=LOOKUP_TIMEOUT_S)

    def manifest(self, channel: str, session: str) -> ManifestReply:
        """The newest manifest of a channel, not yet believed."""
        path = f"/v1/channels/{channel}/manifest"
        return self.call("GET", path, ManifestReply, session=session, max_bytes=2 * MANIFEST_MAX_BYTES)

    def file(self, sha256: str, size: int, session: str) -> bytes:
        """A file by its hash, not yet checked; never more than `size` bytes are read."""
        return self.send(
            "GET", f"/v1/files/{sha256}", b"", session, SYNC_TIMEOUT_S, min(size, FILE_MAX_BYTES)
        )


def _read(answer: requests.Response, limit: int, until_s: float) -> bytes:
    """The body: at most `limit` bytes, by `until_s` (monotonic). `read1` returns with every packet."""
    parts: list[bytes] = []
    size = 0
    while part := answer.raw.read1(CHUNK_BYTES):
        size += len(part)
        if size > limit:
            raise LinkError(f"an answer of more than {limit} bytes")
        if time.monotonic() > until_s:
            raise LinkError("an answer that does not come to its end")
        parts.append(part)
    return b"".join(parts)


def _refusal(answer: requests.Response, until_s: float) -> Refusal | None:
    """What the centre (or a proxy before it, that speaks no language of ours) says about its refusal."""
    try:
        return wire.unpack(Refusal, _read(answer, REFUSAL_MAX_BYTES, until_s), REFUSAL_MAX_BYTES)
    except (WireError, LinkError, urllib3.exceptions.HTTPError):
        return None


def _retry_after_s(headers: Mapping[str, str]) -> int | None:
    value = headers.get("Retry-After", "")
    return int(value) if value.isdecimal() and len(value) <= RETRY_AFTER_DIGITS else None


class Desk(Protocol):
    """What the sync thread asks of the till's thread; each call returns when it has been done there."""

    def load_batch(self, limit: int, adopt: Adoption | None) -> BatchToSend:
        """What there is to send."""

    def apply(self, effect: Apply | ApplyRestore | StoreLog) -> int:
        """Store a verified reply; how many messages of the downlink were new."""

    def note_retry(self, attempt: int) -> None:
        """Keep the back-off."""

    def link(self, word: str | None, detail: str) -> None:
        """The link is well (None), or this is what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Wake:
    force: bool
    done: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class _Task:
    run: Callable[[], None]


class SyncThread:
    """Plays the sync machine. `fetch` brings new versions of channels (agent/sync/channels.py)."""

    def __init__(
        self,
        centre: Centre,
        sync: SyncMachine,
        desk: Desk,
        fetch: Callable[[Centre, dict[str, int], str], None],
    ) -> None:
        self._centre = centre
        self._machine = sync
        self._desk = desk
        self._fetch = fetch
        self._asked: queue.Queue[_Wake | _Task | None] = queue.Queue(ASKED_MAX)
        self._thread = threading.Thread(target=self._run, name="sync", daemon=True)
        self._random = random.SystemRandom()
        self._stopping = threading.Event()
        self._fault = ""  # of the round before, so that the same one is logged once
        self.session = ""  # the newest; a look-up shows it
        self._waiting: list[Callable[[], None]] = []
        self._called: set[bool] = set()  # calls in the queue that nobody waits for, by `force`

    def start(self) -> None:
        """Begin, with a sync at once."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Ask the thread to end and wait for it; a request in flight may outlive us."""
        self._stopping.set()
        self._put(None)
        self._thread.join(timeout_s)

    def wake(self, *, force: bool = False, done: Callable[[], None] | None = None) -> None:
        """There is something to send. `force`: even while backing off (a person asked).

        `done` is called when the round that this wake-up starts has ended, well or not; at once, where this
        thread has so much to do that it cannot be asked.
        """
        if done is not None:
            if not self._put(_Wake(force, done)):
                done()
        elif force not in self._called:  # one call of a kind stands for all: a busy counter makes hundreds
            self._called.add(force)
            if not self._put(_Wake(force)):
                self._called.discard(force)

    def run(self, task: Callable[[], None]) -> None:
        """Do something on this thread, which alone writes snapshot.db."""
        self._put(_Task(task))

    def _put(self, asked: _Wake | _Task | None) -> bool:
        try:
            self._asked.put_nowait(asked)
        except queue.Full:
            log.warning("the sync thread is far behind; what it was asked is dropped")
            return False
        return True

    def _run(self) -> None:
        try:
            effects = self._machine.step(machine.Woken())
            while not self._stopping.is_set():
                effects = self._round(effects)
        finally:
            self._centre.close()

    def _round(self, effects: list[machine.Effect]) -> list[machine.Effect]:
        """Carry out `effects`; what comes next. The top of this thread: it outlives every fault."""
        try:
            following = self._play(effects)
        except Exception as error:
            fault = type(error).__name__
            if fault != self._fault:
                log.exception("a round of sync was given up; it is tried again")
            self._fault = fault
            return self._machine.step(machine.Failed(fault))
        if any(isinstance(effect, machine.Apply) for effect in effects):
            self._fault = ""
        return following

    def _play(self, effects: list[machine.Effect]) -> list[machine.Effect]:
        following: list[machine.Effect] = []
        for effect in effects:
            match effect:
                case machine.LoadBatch(limit, adopt):
                    batch = self._desk.load_batch(limit, adopt)
                    self.session = batch.session
                    following += self._machine.step(machine.BatchLoaded(batch))
                case machine.PostSync() | machine.PostRestore() | machine.FetchLog():
                    following += self._machine.step(self._post(effect))
                case Apply():
                    moved = self._desk.apply(effect)
                    self.session = effect.session
                    following += self._machine.step(machine.Applied(moved))
                case ApplyRestore() | StoreLog():
                    following += self._machine.step(machine.Applied(self._desk.apply(effect)))
                case machine.Fetch(channels):
                    self._fetch(self._centre, channels, self.session)
                case machine.NoteRetry(attempt):
                    self._desk.note_retry(attempt)
                case machine.LinkUp():
                    self._desk.link(None, "")
                case machine.LinkDown(word, detail):
                    self._desk.link(word, detail)
                case machine.Sleep():
                    self._sleep(effect)
                    following += self._machine.step(machine.Woken())
        return following

    def _post(self, effect: machine.PostSync | machine.PostRestore | machine.FetchLog) -> machine.Event:
        try:
            match effect:
                case machine.PostSync(batch):
                    return machine.Replied(self._centre.sync(batch))
                case machine.PostRestore(request):
                    return machine.Restored(self._centre.restore(request))
                case machine.FetchLog(epoch, first_seq):
                    return machine.LogFetched(self._centre.log(epoch, first_seq, self.session))
        except CentreRefusal as error:
            return machine.Refused(error.status, error.refusal, error.retry_after_s)
        except LinkError as error:
            return machine.Unreachable(str(error))

    def _sleep(self, effect: machine.Sleep) -> None:
        """Wait as the machine says, doing the tasks of others meanwhile."""
        waiting, self._waiting = self._waiting, []
        for round_is_over in waiting:
            round_is_over()
        now_s = time.monotonic()
        pause_s = self._random.uniform(effect.low_ms, effect.high_ms) / 1000
        until_s, deaf_until_s = now_s + pause_s, now_s + min(pause_s, effect.deaf_ms / 1000)
        while not self._stopping.is_set():
            try:
                asked = self._asked.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                return
            if isinstance(asked, _Task):
                asked.run()
            elif isinstance(asked, _Wake):
                if asked.done is None:
                    self._called.discard(asked.force)
                # No return yet: what else was asked meanwhile belongs to the same round.
                until_s = min(until_s, time.monotonic() if asked.force else deaf_until_s)
                self._waiting += [asked.done] if asked.done else []


class LookupThread:
    """Asks the centre what a counter waits for, whose card this is, may I have points, what was sold; one

    question at a time, each answered within a second.
    """

    def __init__(
        self,
        centre: Centre,
        session: Callable[[], str],
        answered: Callable[[int, Member | None], None],
        failed: Callable[[int], None],
        claimed: Callable[[ClaimRequest, ClaimReply | None, bool], None],
        found: Callable[[str, ReceiptReply | None, str | None], None],
    ) -> None:
        self._centre = centre
        self._session = session
        self._answered = answered
        self._failed = failed
        self._claimed = claimed
        self._found = found
        self._asked: queue.Queue[int | str | ClaimRequest | None] = queue.Queue(ASKED_MAX)
        self._thread = threading.Thread(target=self._run, name="lookup", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End after the question in hand."""
        self._asked.put(None)
        self._thread.join(timeout_s)

    def ask(self, card_key: int) -> None:
        """Look this card up; the answer goes to `answered` or `failed`."""
        try:
            self._asked.put_nowait(card_key)
        except queue.Full:
            self._failed(card_key)

    def claim(self, request: ClaimRequest) -> None:
        """Ask for points; the answer (or None, and whether it was refused) goes to `claimed`."""
        try:
            self._asked.put_nowait(request)
        except queue.Full:
            self._claimed(request, None, False)

    def receipt(self, ref: str) -> None:
        """Ask for a receipt; it, or None with the centre's word for why not, goes to `found`."""
        try:
            self._asked.put_nowait(ref)
        except queue.Full:
            self._found(ref, None, None)

    def _run(self) -> None:
        try:
            while (asked := self._asked.get()) is not None:
                if isinstance(asked, int):
                    self._look_up(asked)
                elif isinstance(asked, str):
                    self._find(asked)
                else:
                    self._claim(asked)
        finally:
            self._centre.close()

    def _look_up(self, card_key: int) -> None:
        """One question to its end. The top of this thread: it outlives every fault."""
        try:
            self._answered(card_key, self._centre.lookup(card_key, self._session()))
        except (LinkError, CentreRefusal):
            self._failed(card_key)
        except Exception:
            log.exception("a card could not be looked up")
            self._failed(card_key)

    def _find(self, ref: str) -> None:
        """A receipt, as the centre has it."""
        reply: ReceiptReply | None = None
        refused: str | None = None
        try:
            reply = self._centre.receipt(ref, self._session())
        except LinkError:
            pass
        except CentreRefusal as error:
            refused = error.refusal.code if error.refusal else None
        except Exception:
            log.exception("a receipt could not be asked for")
        self._found(ref, reply, refused)

    def _claim(self, request: ClaimRequest) -> None:
        reply: ClaimReply | None = None
        refused = False
        try:
            reply = self._centre.claim(request, self._session())
        except LinkError:
            pass
        except CentreRefusal as error:
            refused = error.status < HTTPStatus.INTERNAL_SERVER_ERROR
        except Exception:
            log.exception("points could not be claimed")
        self._claimed(request, reply, refused)
