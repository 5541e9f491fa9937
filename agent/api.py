"""The loopback API: HTTP for the cash program, turned into questions to the till's inbox.

Runs in a thread of its own and owns nothing: it checks the token and the shape of a
body, posts the question, and waits for the reply slot. Every error has a word for
the program and a sentence in both languages for the person at the till. Card numbers
never stand in a URL, and there is no access log.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from agent import inbox
from agent.inbox import Ask, Inbox, Problem
from agent.serving import HttpServer
from agent.state import TOKEN_MIN_CHARS
from agent.texts import both
from loyalty.decoding import UNREADABLE
from loyalty.texts import N_

BODY_MAX_BYTES = 1024 * 1024
BODY_TIMEOUT_S = 10.0  # on this box a body is there at once; one that never comes must not keep its socket
REPLY_TIMEOUT_S = 10.0
SYNC_TIMEOUT_S = 120.0
_LONG_NUMBER = re.compile(r"\d{8,}")
SALE_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

T = TypeVar("T", bound=msgspec.Struct)
Endpoint = Callable[[Request], Awaitable[Response]]


class Api:
    """The routes of till.md §4 that this version has. Raises ValueError for a token one could guess."""

    def __init__(
        self,
        box: Inbox,
        token: str,
        *,
        reply_timeout_s: float = REPLY_TIMEOUT_S,
        sync_timeout_s: float = SYNC_TIMEOUT_S,
    ) -> None:
        if len(token) < TOKEN_MIN_CHARS:
            raise ValueError(f"the API's token has less than {TOKEN_MIN_CHARS} characters")
        self._inbox = box
        self._token = token.encode()
        self._reply_timeout_s = reply_timeout_s
        self._sync_timeout_s = sync_timeout_s

    def app(self) -> Starlette:
        """The ASGI application."""
        sale = "/v1/sales/{sale_id}"
        return Starlette(
            routes=[
                Route("/v1/sales", self._guard(self._held), methods=["GET"]),
                Route(sale, self._guard(self._put), methods=["PUT"]),
                Route(sale, self._guard(self._get), methods=["GET"]),
                Route(f"{sale}/commit", self._guard(self._commit), methods=["POST"]),
                Route(f"{sale}/void", self._guard(self._void), methods=["POST"]),
                Route(f"{sale}/print", self._guard(self._print), methods=["POST"]),
                Route("/v1/returns", self._guard(self._returns), methods=["POST"]),
                Route("/v1/cards", self._guard(self._register_card), methods=["POST"]),
                Route("/v1/cards/lookup", self._guard(self._look_up_card), methods=["POST"]),
                Route("/v1/status", self._guard(self._status), methods=["GET"]),
                Route("/v1/sync", self._guard(self._sync), methods=["POST"]),
            ],
            exception_handlers={HTTPException: _no_such_call, Exception: _broken},
        )

    async def _put(self, request: Request) -> Response:
        return await self._ask(inbox.PutSale(_sale_id(request), await _body(request, inbox.SaleBody)))

    async def _get(self, request: Request) -> Response:
        return await self._ask(inbox.GetSale(_sale_id(request)))

    async def _held(self, request: Request) -> Response:
        if request.query_params.get("state") != "held":
            raise Problem(422, "bad_query", N_("write ?state=held: only held sales can be listed"))
        return await self._ask(inbox.ListHeld())

    async def _commit(self, request: Request) -> Response:
        return await self._ask(inbox.CommitSale(_sale_id(request), await _body(request, inbox.CommitBody)))

    async def _void(self, request: Request) -> Response:
        return await self._ask(inbox.VoidSale(_sale_id(request), await _body(request, inbox.VoidBody)))

    async def _returns(self, request: Request) -> Response:
        return await self._ask(inbox.ReturnGoods(await _body(request, inbox.ReturnBody)))

    async def _print(self, request: Request) -> Response:
        return await self._ask(inbox.PrintSale(_sale_id(request), await _body(request, inbox.PrintBody)))

    async def _register_card(self, request: Request) -> Response:
        return await self._ask(inbox.RegisterCard(await _body(request, inbox.CardBody)))

    async def _look_up_card(self, request: Request) -> Response:
        return await self._ask(inbox.LookUpCard(await _body(request, inbox.CardBody)))

    async def _status(self, _: Request) -> Response:
        return await self._ask(inbox.StatusAsked())

    async def _sync(self, _: Request) -> Response:
        return await self._ask(inbox.SyncAsked(), self._sync_timeout_s)

    async def _ask(self, ask: Ask, timeout_s: float | None = None) -> Response:
        self._inbox.post(ask)
        reply: Future[dict[str, Any]] = ask.reply
        answer = asyncio.wrap_future(reply)
        answer.add_done_callback(_heard)
        # `wait` gives up without cancelling: the till's thread will still put its answer into the slot.
        done, _ = await asyncio.wait({answer}, timeout=timeout_s or self._reply_timeout_s)
        if not done:
            # The till may still do it: the cash program asks again with the same id and body.
            raise Problem(503, "no_answer", N_("the till did not answer in time; ask the same again"))
        return _json(200, answer.result())

    def _guard(self, endpoint: Endpoint) -> Endpoint:
        """Token first; every Problem becomes a JSON error."""

        async def guarded(request: Request) -> Response:
            try:
                self._check_token(request)
                return await endpoint(request)
            except Problem as problem:
                return _error(problem)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it; nothing was asked of the till

        return guarded

    def _check_token(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode(), self._token):
            text = N_("no valid token; send `Authorization: Bearer …` with the text of the file api.token")
            raise Problem(401, "unauthorized", text)


class ApiServer(HttpServer):
    """The API on a socket of this box."""

    def __init__(self, api: Api, host: str, port: int) -> None:
        super().__init__(api.app(), host, port, "api")


def _sale_id(request: Request) -> str:
    sale_id = str(request.path_params["sale_id"])
    if not SALE_ID.fullmatch(sale_id):
        text = N_("a sale id has 1 to 64 letters, digits and the signs _ . : -")
        raise Problem(422, "bad_sale_id", text)
    return sale_id


async def _body(request: Request, kind: type[T]) -> T:
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
    try:
        return msgspec.json.decode(b"".join(parts), type=kind)
    except msgspec.ValidationError as error:
        # msgspec names the field and the type it wanted, never the value; but a field's name may be one.
        why = _LONG_NUMBER.sub("…", str(error))
        raise Problem(422, "bad_body", N_("the body is not as it should be: {why}", why=why)) from None
    except UNREADABLE as error:
        text = N_("the body is not whole JSON: {why}", why=error)
        raise Problem(400, "bad_json", text) from None


def _error(problem: Problem) -> Response:
    return _json(problem.status, {"error": {"code": problem.code, **both(problem.text), **problem.details}})


def _no_such_call(_: Request, error: Exception) -> Response:
    """404 and 405, in the same form as every other error."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _error(Problem(status, "no_such_call", N_("there is no such call; see the integrator's guide")))


def _broken(_: Request, __: Exception) -> Response:
    """A fault of ours; uvicorn logs its traceback."""
    return _error(Problem(500, "broken", N_("the till could not do this; see its log, and ask once more")))


def _heard(answer: asyncio.Future[dict[str, Any]]) -> None:
    """A refusal that nobody waits for any more is no fault that asyncio should complain of."""
    if not answer.cancelled():
        answer.exception()


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
