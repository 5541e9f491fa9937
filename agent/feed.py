"""Server-sent events: what happens at the till, told to whoever listens (till.md §4).

Any thread publishes and never waits; the listeners live on the API's own loop. An event is a hint to look
again, not the only copy of anything: a listener that was away asks for what it shows, and a slow one is cut
off and comes back. So nothing is kept for later, and what is kept meanwhile has a bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec

LISTENERS_MAX = 16
BACKLOG_MAX = 256
KEEP_ALIVE_S = 15.0
KEEP_ALIVE = b": still here\n\n"

EVENTS = {
    "hello": "the first one: ask for what you show",
    "sale": "{sale_id, state, quote_id}: a sale changed; where the quote is another one, ask for it",
    "card": "{card, sale_id, found}: a card was read; without a sale it waits for the next one",
    "scan": "{data, symbology}: a scanner of ours read goods; the cash program sells them",
    "read": "{device, kind, symbology, data or masked, at}: a scanner read something; to watch them by",
    "print": "{sale_id, outcome}: printed, failed or unknown",
    "device": "{name, state}: a device came or went",
    "sync": "{state}: the link to the office came or went, or something was exchanged",
    "trouble": "{code}: something a person should know; see GET /v1/status",
}


class TooManyListeners(Exception):  # noqa: N818 - it is the answer to whoever asked
    """All places are taken."""


class Feed:
    """One a till. `publish` is for every thread, the rest for the loop that serves HTTP."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[asyncio.Queue[bytes | None]] = set()

    def publish(self, event: str, data: dict[str, Any]) -> None:
        """Tell everybody who listens now."""
        if self._loop is not None and self._listeners:
            with suppress(RuntimeError):  # the loop has ended: nobody listens any more
                self._loop.call_soon_threadsafe(self._deliver, encode(event, data))

    def _deliver(self, event: bytes) -> None:
        for listener in list(self._listeners):
            try:
                listener.put_nowait(event)
            except asyncio.QueueFull:
                self._cut_off(listener)

    def _cut_off(self, listener: asyncio.Queue[bytes | None]) -> None:
        """It does not read: it ends, and whoever it was asks anew."""
        self._listeners.discard(listener)
        while not listener.empty():
            listener.get_nowait()
        listener.put_nowait(None)

    def listen(self) -> AsyncIterator[bytes]:
        """The events from now on, as bytes of the stream. Raises TooManyListeners."""
        if len(self._listeners) >= LISTENERS_MAX:
            raise TooManyListeners
        self._loop = asyncio.get_running_loop()
        listener: asyncio.Queue[bytes | None] = asyncio.Queue(BACKLOG_MAX)
        self._listeners.add(listener)
        listener.put_nowait(encode("hello", {}))
        return self._events(listener)

    async def _events(self, listener: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
        try:
            while True:
                try:
                    event = await asyncio.wait_for(listener.get(), KEEP_ALIVE_S)
                except TimeoutError:
                    event = KEEP_ALIVE  # so that a listener who has gone is noticed
                if event is None:
                    return
                yield event
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """The server ends: so does every stream."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        for listener in list(self._listeners):
            self._cut_off(listener)


def encode(event: str, data: dict[str, Any]) -> bytes:
    """One event of the stream; JSON has no line breaks of its own."""
    return b"event: " + event.encode("ascii") + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
