"""Asking the store's hub for points and receipts: a thread of its own; a hub that is gone delays nobody.

A question is worth an answer for HUB_MS; one that has waited longer for its turn is not asked any more,
for nobody would use what it brings. Whatever comes is checked here (the hub's signature, and that it
answers this very question) before the till's thread hears of it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec

from agent.sync import trust
from agent.sync.asking import HUB_MS, HubPlace
from agent.sync.client import CentreRefusal, LinkError, Peer
from agent.sync.hub import PATH, RECEIPT_PATH
from loyalty.wire import HandoverReply, HandoverRequest, HubReceiptReply, HubReceiptRequest

log = logging.getLogger(__name__)

HUB_TIMEOUT_S = HUB_MS / 1000
ASKED_MAX = 64
ANSWER_MAX_BYTES = 1024 * 1024
NOT_ITS_ANSWER = "what came from %s is not the hub's answer to our question; it is not used"

T = TypeVar("T", bound=msgspec.Struct)

Answered = Callable[[HandoverRequest, HandoverReply | None], None]
Found = Callable[[HubReceiptRequest, HubReceiptReply | None], None]


@dataclass(frozen=True, slots=True)
class _Question:
    hub: HubPlace
    request: HandoverRequest | HubReceiptRequest
    until_s: float


class HubThread:
    """Asks one question after the other.

    `answered` gets the points that the hub gave, `found` the receipt that it showed; None: nothing, or
    no answer. `sign` is this till's key.
    """

    def __init__(self, sign: Callable[[bytes], bytes], answered: Answered, found: Found) -> None:
        self._sign = sign
        self._answered = answered
        self._found = found
        self._asked: queue.Queue[_Question | None] = queue.Queue(ASKED_MAX)
        self._peer: Peer | None = None
        self._thread = threading.Thread(target=self._run, name="hub client", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End after the question in hand."""
        self._asked.put(None)
        self._thread.join(timeout_s)

    def ask(self, hub: HubPlace, request: HandoverRequest | HubReceiptRequest) -> None:
        """Ask for points, or for a receipt; `request` is signed here."""
        try:
            self._asked.put_nowait(_Question(hub, request, time.monotonic() + HUB_TIMEOUT_S))
        except queue.Full:
            self._play(_Question(hub, request, 0))

    def _run(self) -> None:
        try:
            while (question := self._asked.get()) is not None:
                self._play(question)
        finally:
            self._turn_to(None)

    def _play(self, question: _Question) -> None:
        """One question to its end; one whose time is over gets None."""
        request = question.request
        if isinstance(request, HandoverRequest):
            self._answered(request, self._in_time(question, partial(self._points, question.hub, request)))
        else:
            self._found(request, self._in_time(question, partial(self._receipt, question.hub, request)))

    def _in_time(self, question: _Question, ask: Callable[[], T | None]) -> T | None:
        """The top of this thread: it outlives every fault."""
        try:
            return ask() if time.monotonic() < question.until_s else None
        except (LinkError, CentreRefusal) as error:
            log.info("the store's hub gave nothing: %s", error)
        except Exception:
            log.exception("the store's hub could not be asked")
        return None

    def _points(self, hub: HubPlace, request: HandoverRequest) -> HandoverReply | None:
        reply = self._call(hub, PATH, HandoverReply, request)
        if not reply.body:
            return None
        if trust.handover_is_good(hub.till, hub.key, request, reply):
            return reply
        log.warning(NOT_ITS_ANSWER, hub.url)
        return None

    def _receipt(self, hub: HubPlace, request: HubReceiptRequest) -> HubReceiptReply | None:
        reply = self._call(hub, RECEIPT_PATH, HubReceiptReply, request)
        if trust.hub_receipt_is_good(hub.till, hub.key, request, reply):
            return reply
        log.warning(NOT_ITS_ANSWER, hub.url)
        return None

    def _call(
        self, hub: HubPlace, path: str, kind: type[T], request: HandoverRequest | HubReceiptRequest
    ) -> T:
        signed = msgspec.structs.replace(request, signature=self._sign(trust.asked_bytes(request)))
        return self._turn_to(hub.url).call(
            "POST", path, kind, signed, timeout_s=HUB_TIMEOUT_S, max_bytes=ANSWER_MAX_BYTES
        )

    def _turn_to(self, url: str | None) -> Peer:
        if self._peer is not None and self._peer.url != url:
            self._peer.close()
            self._peer = None
        if self._peer is None:
            self._peer = Peer(url or "")
        return self._peer
