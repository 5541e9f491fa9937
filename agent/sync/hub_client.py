"""Asking the store's hub for points: a thread of its own, so that a hub that is gone delays nobody.

A question is worth an answer for HUB_MS; one that has waited longer for its turn is not asked any more,
for nobody would spend what it brings. Whatever comes is checked here (the hub's signature, and that it
answers this very question) before the till's thread hears of it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from agent.sync import trust
from agent.sync.asking import HUB_MS, HubPlace
from agent.sync.client import CentreRefusal, LinkError, Peer
from agent.sync.hub import PATH
from loyalty import wire
from loyalty.wire import HandoverReply, HandoverRequest

log = logging.getLogger(__name__)

HUB_TIMEOUT_S = HUB_MS / 1000
ASKED_MAX = 64
ANSWER_MAX_BYTES = 1024 * 1024

Answered = Callable[[HandoverRequest, HandoverReply | None], None]


@dataclass(frozen=True, slots=True)
class _Question:
    hub: HubPlace
    request: HandoverRequest
    until_s: float


class HubThread:
    """Asks one question after the other. `answered` gets what the hub gave, or None: nothing, or no answer.

    `sign` is this till's key.
    """

    def __init__(self, sign: Callable[[bytes], bytes], answered: Answered) -> None:
        self._sign = sign
        self._answered = answered
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

    def ask(self, hub: HubPlace, request: HandoverRequest) -> None:
        """Ask for points; `request` is signed here."""
        try:
            self._asked.put_nowait(_Question(hub, request, time.monotonic() + HUB_TIMEOUT_S))
        except queue.Full:
            self._answered(request, None)

    def _run(self) -> None:
        try:
            while (question := self._asked.get()) is not None:
                self._answered(question.request, self._play(question))
        finally:
            self._turn_to(None)

    def _play(self, question: _Question) -> HandoverReply | None:
        """One question to its end. The top of this thread: it outlives every fault."""
        try:
            if time.monotonic() >= question.until_s:
                return None
            return self._ask(question.hub, question.request)
        except (LinkError, CentreRefusal) as error:
            log.info("the store's hub gave nothing: %s", error)
        except Exception:
            log.exception("the store's hub could not be asked")
        return None

    def _ask(self, hub: HubPlace, request: HandoverRequest) -> HandoverReply | None:
        signed = msgspec.structs.replace(request, signature=self._sign(wire.handover_signing_bytes(request)))
        reply = self._turn_to(hub.url).call(
            "POST", PATH, HandoverReply, signed, timeout_s=HUB_TIMEOUT_S, max_bytes=ANSWER_MAX_BYTES
        )
        if not reply.body:
            return None
        if trust.handover_is_good(hub.till, hub.key, request, reply):
            return reply
        log.warning("what came from %s is not the hub's answer to our question; it is not used", hub.url)
        return None

    def _turn_to(self, url: str | None) -> Peer:
        if self._peer is not None and self._peer.url != url:
            self._peer.close()
            self._peer = None
        if self._peer is None:
            self._peer = Peer(url or "")
        return self._peer
