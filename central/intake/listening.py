"""`GET /v1/tills/{till}/events?heard=12`: the long poll, answered before Django is asked for anything.

Every till that has a link holds one open nearly always. In Django each would keep a thread, for not all
that a request passes there is asynchronous; here it is one waiting task. When the till goes, its poll
goes with it, so that nothing is asked back from a till that does not listen any more.

`heard` = how many downlink messages the till has applied in all. What was sent beyond that while it did
not listen is found here, so a bell that nobody heard costs nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
from asgiref.sync import sync_to_async
from django.db import OperationalError, close_old_connections

from central import clock
from central.fleet import polls
from central.intake import accept
from central.ledger import grants
from loyalty import wire
from loyalty.protocol.intake import Refused

WAIT_S = 25.0
BUSY_RETRY_S = 5
_PATH = re.compile(r"/v1/tills/([^/]+)/events")
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class LongPolls:
    """ASGI middleware: answers the polls of tills, and passes everything else on to `app`."""

    def __init__(self, app: Any, wait_s: float = WAIT_S) -> None:
        self._app = app
        self._wait_s = wait_s

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        found = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        try:
            ready = await self._poll(found[1], scope, receive)
        except Refused as refusal:
            await _answer(send, refusal.http, wire.Refusal(refusal.code, str(refusal)))
        except OperationalError:
            busy = wire.Refusal("BUSY", "the database is busy; come again")
            await _answer(send, 503, busy, (b"retry-after", str(BUSY_RETRY_S).encode()))
        else:
            if ready is not None:
                await _answer(send, 200, wire.EventsReply(ready, clock.now_ms()))

    async def _poll(self, till: str, scope: Message, receive: Receive) -> bool | None:
        """Is there something for the till? None: it has gone. Raises Refused."""
        if scope["method"] != "GET":
            raise Refused(405, "METHOD", "use GET here")
        (heard,) = parse_qs(scope["query_string"].decode("latin-1")).get("heard", [""])[:1]
        if not _NUMBER.fullmatch(heard):
            raise Refused(400, "BAD_MESSAGE", "write ?heard=12")
        shown = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        with polls.listening(till) as poll:
            if await sync_to_async(_is_behind)(till, shown, int(heard)):
                return True
            ringing = asyncio.ensure_future(poll.rings(self._wait_s))
            leaving = asyncio.ensure_future(_leaves(receive))
            try:
                await asyncio.wait({ringing, leaving}, return_when=asyncio.FIRST_COMPLETED)
                return ringing.result() if ringing.done() else None
            finally:
                ringing.cancel()
                leaving.cancel()


def _is_behind(till: str, shown: str, heard: int) -> bool:
    close_old_connections()  # as Django does around a request
    try:
        accept.own_till(shown, till)
        return grants.sent(till) > heard
    finally:
        close_old_connections()


async def _leaves(receive: Receive) -> None:
    """Until the till has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Send, status: int, message: msgspec.Struct, *headers: tuple[bytes, bytes]) -> None:
    body = wire.pack(message)
    ours = [
        (b"content-type", wire.CONTENT_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": [*ours, *headers]})
    await send({"type": "http.response.body", "body": body})
