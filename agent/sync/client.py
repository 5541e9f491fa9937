"""The hands: HTTP to the centre, by requests, on threads of their own.

Two threads, so that a card that is looked up never waits behind five hundred
entries: `SyncThread` plays the machine's effects, `LookupThread` asks one question
at a time within the second that a quote may wait. Neither touches ledger.db; what
is to be stored goes through the till's inbox (`Desk`), and the answer comes back.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec
import requests

from agent.sync import machine
from agent.sync.machine import Apply, BatchToSend, SyncMachine
from loyalty import wire
from loyalty.manifest import FILE_MAX_BYTES, MANIFEST_MAX_BYTES
from loyalty.wire import (
    CONTENT_TYPE,
    EnrollReply,
    EnrollRequest,
    LookupReply,
    LookupRequest,
    ManifestReply,
    Member,
    Refusal,
    SyncReply,
    SyncRequest,
    WireError,
)

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 3.0
SYNC_TIMEOUT_S = 30.0
LOOKUP_TIMEOUT_S = 0.9  # of the one second a quote may wait
ASKED_MAX = 64
CHUNK_BYTES = 64 * 1024

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


class Centre:
    """One requests session with the centre. One thread's."""

    def __init__(self, url: str, till: str = "") -> None:
        self._url = url.rstrip("/")
        self._till = till
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy of the box is not our link

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()

    def enrol(self, request: EnrollRequest) -> EnrollReply:
        """Become a till by a one-time code."""
        return self._call("POST", "/v1/enroll", EnrollReply, request)

    def sync(self, request: SyncRequest) -> SyncReply:
        """Send a batch, get the downlink."""
        return self._call("POST", f"/v1/tills/{self._till}/sync", SyncReply, request)

    def lookup(self, card_key: int, session: str) -> Member | None:
        """Whose card is this? Within LOOKUP_TIMEOUT_S."""
        request = LookupRequest(wire.WIRE_VERSION, card_key)
        path = f"/v1/tills/{self._till}/lookup"
        reply = self._call("POST", path, LookupReply, request, session=session, timeout_s=LOOKUP_TIMEOUT_S)
        return reply.member

    def manifest(self, channel: str, session: str) -> ManifestReply:
        """The newest manifest of a channel, not yet believed."""
        return self._call("GET", f"/v1/channels/{channel}/manifest", ManifestReply, session=session)

    def file(self, sha256: str, size: int, session: str) -> bytes:
        """A file by its hash, not yet checked; never more than `size` bytes are read."""
        return self._send(
            "GET", f"/v1/files/{sha256}", b"", session, SYNC_TIMEOUT_S, min(size, FILE_MAX_BYTES)
        )

    def _call(
        self,
        method: str,
        path: str,
        kind: type[T],
        message: msgspec.Struct | None = None,
        *,
        session: str = "",
        timeout_s: float = SYNC_TIMEOUT_S,
    ) -> T:
        body = wire.pack(message) if message is not None else b""
        limit = wire.MESSAGE_MAX_BYTES if kind is not ManifestReply else 2 * MANIFEST_MAX_BYTES
        try:
            return wire.unpack(kind, self._send(method, path, body, session, timeout_s, limit), limit)
        except WireError as error:
            raise LinkError(str(error)) from error

    def _send(self, method: str, path: str, body: bytes, session: str, timeout_s: float, limit: int) -> bytes:
        headers = {"Content-Type": CONTENT_TYPE} if body else {}
        if session:
            headers["Authorization"] = f"Kopilka {self._till}:{session}"
        try:
            with self._http.request(
                method,
                self._url + path,
                data=body or None,
                headers=headers,
                timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s),
                stream=True,
                allow_redirects=False,
            ) as answer:
                content = _read(answer, limit)
                if answer.status_code != 200:
                    raise CentreRefusal(answer.status_code, _refusal(content), _retry_after_s(answer))
                return content
        except requests.RequestException as error:
            # The text of a requests error names host and port, never a body or a header.
            raise LinkError(f"{type(error).__name__}: {self._url} does not answer") from error


def _read(answer: requests.Response, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in answer.iter_content(CHUNK_BYTES):
        size += len(part)
        if size > limit:
            raise LinkError(f"an answer of more than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


def _refusal(content: bytes) -> Refusal | None:
    try:
        return wire.unpack(Refusal, content, 64 * 1024)
    except WireError:
        return None


def _retry_after_s(answer: requests.Response) -> int | None:
    value = answer.headers.get("Retry-After", "")
    return int(value) if value.isdecimal() else None


class Desk(Protocol):
    """What the sync thread asks of the till's thread; each call returns when it has been done there."""

    def load_batch(self, limit: int) -> BatchToSend:
        """What there is to send."""

    def apply(self, effect: Apply) -> int:
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
        self.session = ""  # the newest; a look-up shows it
        self._waiting: list[Callable[[], None]] = []

    def start(self) -> None:
        """Begin, with a sync at once."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Ask the thread to end and wait for it; a request in flight may outlive us."""
        self._put(None)
        self._thread.join(timeout_s)

    def wake(self, *, force: bool = False, done: Callable[[], None] | None = None) -> None:
        """There is something to send. `force`: even while backing off (a person asked).

        `done` is called when the round that this wake-up starts has ended, well or not.
        """
        self._put(_Wake(force, done))

    def run(self, task: Callable[[], None]) -> None:
        """Do something on this thread, which alone writes snapshot.db."""
        self._put(_Task(task))

    def _put(self, asked: _Wake | _Task | None) -> None:
        try:
            self._asked.put_nowait(asked)
        except queue.Full:
            log.warning("the sync thread is far behind; a wake-up was dropped")

    def _run(self) -> None:
        try:
            pending: list[machine.Effect] | None = self._machine.step(machine.Woken())
            while pending is not None:
                pending = self._play(pending)
        except Exception:
            log.exception("the sync thread died; the till sells on without the centre")
            self._desk.link("broken", "the sync thread died; restart the agent")
        finally:
            self._centre.close()

    def _play(self, effects: list[machine.Effect]) -> list[machine.Effect] | None:
        """Carry out `effects` in order; what comes next, or None to end."""
        following: list[machine.Effect] = []
        for effect in effects:
            match effect:
                case machine.LoadBatch(limit):
                    batch = self._desk.load_batch(limit)
                    self.session = batch.session
                    following += self._machine.step(machine.BatchLoaded(batch))
                case machine.PostSync(request):
                    following += self._machine.step(self._post(request))
                case Apply():
                    moved = self._desk.apply(effect)
                    self.session = effect.session
                    following += self._machine.step(machine.Applied(moved))
                case machine.Fetch(channels):
                    self._fetch(self._centre, channels, self.session)
                case machine.NoteRetry(attempt):
                    self._desk.note_retry(attempt)
                case machine.LinkUp():
                    self._desk.link(None, "")
                case machine.LinkDown(word, detail):
                    self._desk.link(word, detail)
                case machine.Sleep():
                    if not self._sleep(effect):
                        return None
                    following += self._machine.step(machine.Woken())
        return following

    def _post(self, request: SyncRequest) -> machine.Event:
        try:
            return machine.Replied(self._centre.sync(request))
        except CentreRefusal as error:
            return machine.Refused(error.status, error.refusal, error.retry_after_s)
        except LinkError as error:
            return machine.Unreachable(str(error))

    def _sleep(self, effect: machine.Sleep) -> bool:
        """Wait as the machine says, doing the tasks of others meanwhile. False: the agent stops."""
        for done in self._waiting:
            done()
        self._waiting.clear()
        pause_s = self._random.uniform(effect.low_ms, effect.high_ms) / 1000
        until_s = time.monotonic() + pause_s
        while True:
            try:
                asked = self._asked.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                return True
            if asked is None:
                return False
            if isinstance(asked, _Task):
                asked.run()
            elif asked.force or effect.until_woken:
                self._waiting += [asked.done] if asked.done else []
                return True


class LookupThread:
    """Asks the centre whose card this is; one question at a time, each answered within a second."""

    def __init__(
        self,
        centre: Centre,
        session: Callable[[], str],
        answered: Callable[[int, Member | None], None],
        failed: Callable[[int], None],
    ) -> None:
        self._centre = centre
        self.session = session
        self._answered = answered
        self._failed = failed
        self._asked: queue.Queue[int | None] = queue.Queue(ASKED_MAX)
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

    def _run(self) -> None:
        try:
            while (card_key := self._asked.get()) is not None:
                try:
                    self._answered(card_key, self._centre.lookup(card_key, self.session()))
                except (LinkError, CentreRefusal):
                    self._failed(card_key)
        except Exception:
            log.exception("the look-up thread died; unknown cards are not asked for any more")
        finally:
            self._centre.close()
