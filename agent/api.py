"""The loopback API: HTTP for the cash program and the cashier's page, turned into questions to the till.

What can be asked stands in the table of calls.py. The server runs in a thread of its own and owns
nothing: it checks who asks (sessions.py) and the shape of a body, posts the question into the inbox, and
waits for the reply slot.

**Too much.** So many questions may wait at once and no more; the next is answered 503 at once, before its
body is read, so a quote that was taken in is answered soon, however many are asked. Whoever finishes a sale
has places of their own: a flood of quotes holds up no payment.

Every error has a word for the program and a sentence in both languages for the person at the till. Card
numbers never stand in a URL, and there is no access log.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from agent import inbox, openapi
from agent.calls import CALLS, Call, Given
from agent.feed import Feed, TooManyListeners
from agent.inbox import Ask, Inbox, Problem
from agent.screen import pages
from agent.serving import HttpServer
from agent.sessions import COOKIE, INVITE_S, Sessions
from agent.state import POS_GROUP, TOKEN_MIN_CHARS
from agent.texts import both
from loyalty.decoding import UNREADABLE
from loyalty.texts import N_

BODY_MAX_BYTES = 1024 * 1024
BODY_TIMEOUT_S = 10.0  # on this box a body is there at once; one that never comes must not keep its socket
REPLY_TIMEOUT_S = 10.0
SYNC_TIMEOUT_S = 120.0
QUOTES_MAX = 32  # questions in hand at once that change nothing for good
OTHERS_MAX = 96  # and of those that finish something
_LONG_NUMBER = re.compile(r"\d{8,}")
_SALE_ID = re.compile(inbox.SALE_ID)

Endpoint = Callable[[Request], Awaitable[Response]]


class Api:
    """Everything of till.md §4. Raises ValueError for a token one could guess."""

    def __init__(
        self,
        box: Inbox,
        token: str,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        feed: Feed | None = None,
        version: str = "",
        reply_timeout_s: float = REPLY_TIMEOUT_S,
        sync_timeout_s: float = SYNC_TIMEOUT_S,
    ) -> None:
        if len(token) < TOKEN_MIN_CHARS:
            raise ValueError(f"the API's token has less than {TOKEN_MIN_CHARS} characters")
        self.feed = feed or Feed()
        self._inbox = box
        self._sessions = Sessions(token, monotonic_s)
        self._version = version
        self._reply_timeout_s = reply_timeout_s
        self._sync_timeout_s = sync_timeout_s
        self._in_hand = {True: 0, False: 0}  # by Call.is_light
        self._most = {True: QUOTES_MAX, False: OTHERS_MAX}

    def app(self) -> Starlette:
        """The ASGI application."""
        described = msgspec.json.encode(openapi.document(CALLS, self._version))

        async def description(_: Request) -> Response:
            return Response(described, media_type="application/json")

        routes = [
            Route(call.path, self._guard(partial(self._answer, call)), methods=[call.method])
            for call in CALLS
        ]
        routes += [
            Route("/v1/events", self._guard(self._events), methods=["GET"]),
            Route("/openapi.json", description, methods=["GET"]),
            *pages.routes(self._sessions),
        ]
        return Starlette(
            routes=_by_path(routes), exception_handlers={HTTPException: _no_such_call, Exception: _broken}
        )

    async def _answer(self, call: Call, request: Request) -> Response:
        if call.ask is None:
            return self._invite()
        self._admit(call)
        try:
            given = Given(
                _sale_id(request) if "{" in call.path else "",
                _word(request, call.query),
                await _body(request, call.body) if call.body is not None else None,
            )
            timeout_s = self._sync_timeout_s if call.is_long else self._reply_timeout_s
            return _json(200, await self._reply(call.ask(given), timeout_s))
        finally:
            self._in_hand[call.is_light] -= 1

    def _admit(self, call: Call) -> None:
        if self._in_hand[call.is_light] >= self._most[call.is_light]:
            raise inbox.overloaded()
        self._in_hand[call.is_light] += 1

    async def _reply(self, ask: Ask, timeout_s: float) -> dict[str, Any]:
        self._inbox.post(ask)
        reply: Future[dict[str, Any]] = ask.reply
        answer = asyncio.wrap_future(reply)
        answer.add_done_callback(_heard)
        # `wait` gives up without cancelling: the till's thread will still put its answer into the slot.
        done, _ = await asyncio.wait({answer}, timeout=timeout_s)
        if not done:
            # The till may still do it: the cash program asks again with the same id and body.
            raise Problem(503, "no_answer", N_("the till did not answer in time; ask the same again"))
        return answer.result()

    def _invite(self) -> Response:
        path = f"/screen/enter/{self._sessions.invite()}"
        return _json(200, {"path": path, "expires_s": INVITE_S})

    async def _events(self, _: Request) -> Response:
        try:
            events = self.feed.listen()
        except TooManyListeners:
            text = N_("too many programs listen already; close one of them")
            raise Problem(503, "too_many_listeners", text) from None
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    def _guard(self, endpoint: Endpoint) -> Endpoint:
        """Who asks comes first; every Problem becomes a JSON error."""

        async def guarded(request: Request) -> Response:
            try:
                self._check_who(request)
                return await endpoint(request)
            except Problem as problem:
                return _error(problem)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it; nothing was asked of the till

        return guarded

    def _check_who(self, request: Request) -> None:
        headers = request.headers
        if self._sessions.is_token(headers.get("authorization", "")):
            return
        if self._sessions.is_page(headers, request.cookies.get(COOKIE)):
            return
        text = N_("no valid token; send `Authorization: Bearer …` with the text of the file api.token")
        raise Problem(401, "unauthorized", text)


class ApiServer(HttpServer):
    """The API on a port of this box and, where a path is given, on a socket in its file system."""

    def __init__(self, api: Api, host: str, port: int, path: Path | None = None) -> None:
        self._feed = api.feed
        super().__init__(api.app(), host, port, "api", also=_unix_socket(path) if path is not None else None)

    def stop(self) -> None:
        """End the streams, let the questions in hand be answered, then end."""
        self._feed.close()
        super().stop()


def _unix_socket(path: Path) -> socket.socket:
    """A socket in the file system, for its owner and group kopilka-pos. Raises OSError."""
    if path.is_socket():
        path.unlink()  # of the agent before; ledger.lock says that there is no other one
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        path.chmod(0o660)
        with suppress(LookupError, PermissionError):
            shutil.chown(path, group=POS_GROUP)
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def _by_path(routes: list[Route]) -> list[Route]:
    """One route a path, so that another method is answered 405 with all of those there are."""
    found: dict[str, dict[str, Endpoint]] = {}
    kept: list[Route] = []
    for route in routes:
        methods = (route.methods or set()) - {"HEAD"}
        found.setdefault(route.path, {}).update(dict.fromkeys(methods, route.endpoint))
    for path, by_method in found.items():
        kept.append(Route(path, partial(_by_method, by_method), methods=list(by_method)))
    return kept


async def _by_method(by_method: Mapping[str, Endpoint], request: Request) -> Response:
    return await by_method["GET" if request.method == "HEAD" else request.method](request)


def _sale_id(request: Request) -> str:
    sale_id = str(request.path_params["sale_id"])
    if not _SALE_ID.fullmatch(sale_id):
        text = N_("a sale id has 1 to 64 letters, digits and the signs _ . : -")
        raise Problem(422, "bad_sale_id", text)
    return sale_id


def _word(request: Request, query: Mapping[str, tuple[str, ...]]) -> str:
    unknown = sorted(set(request.query_params) - set(query))
    if unknown:
        raise Problem(
            422, "bad_query", N_("this call has no {name} in its query", name=ascii(unknown[0][:32]))
        )
    for name, words in query.items():
        word = request.query_params.get(name, "")
        if word not in words:
            text = N_("write ?{name}= and one of {words}", name=name, words=", ".join(words))
            raise Problem(422, "bad_query", text)
        return word
    return ""


async def _body(request: Request, kind: type[msgspec.Struct]) -> msgspec.Struct:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size > BODY_MAX_BYTES:
                    text = N_("the body is larger than {max} bytes", max=BODY_MAX_BYTES)
                    raise Problem(413, "too_large", text)
                parts.append(part)
    except TimeoutError:
        raise Problem(408, "too_slow", N_("the body did not come in time; send it again")) from None
    raw = b"".join(parts)
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        whole = _with_whole_numbers(raw, kind)
        if whole is not None:
            return whole
        # msgspec names the field and the type it wanted, never the value; but a field's name may be one.
        why = _LONG_NUMBER.sub("…", str(error))
        raise Problem(422, "bad_body", N_("the body is not as it should be: {why}", why=why)) from None
    except UNREADABLE as error:
        text = N_("the body is not whole JSON: {why}", why=error)
        raise Problem(400, "bad_json", text) from None


def _with_whole_numbers(raw: bytes, kind: type[msgspec.Struct]) -> msgspec.Struct | None:
    """The body with 8990.0 read as 8990, as JSON Schema means an integer; None where that does not help."""

    def whole(number: str) -> int | float:
        value = float(number)
        return int(value) if value.is_integer() else value

    try:
        return msgspec.convert(json.loads(raw, parse_float=whole), kind)
    except (msgspec.ValidationError, ValueError, RecursionError):
        return None


def _error(problem: Problem) -> Response:
    headers = {"Retry-After": "1"} if problem.status == 503 else None
    body = {"error": {"code": problem.code, **both(problem.text), **problem.details}}
    return _json(problem.status, body, headers)


def _no_such_call(_: Request, error: Exception) -> Response:
    """404 and 405, in the same form as every other error."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    answer = _error(Problem(status, "no_such_call", N_("there is no such call; see the integrator's guide")))
    if isinstance(error, HTTPException) and error.headers:
        answer.headers.update(error.headers)
    return answer


def _broken(_: Request, __: Exception) -> Response:
    """A fault of ours; uvicorn logs its traceback."""
    return _error(Problem(500, "broken", N_("the till could not do this; see its log, and ask once more")))


def _heard(answer: asyncio.Future[dict[str, Any]]) -> None:
    """A refusal that nobody waits for any more is no fault that asyncio should complain of."""
    if not answer.cancelled():
        answer.exception()


def _json(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")
