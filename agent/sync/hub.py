"""The store's hub: hands points that lie here to the other tills of the shop, and shows them its receipts.

Two calls on the shop's own network, `POST /v1/hub/handover` and `POST /v1/hub/receipt`. There is no
token and no TLS: every question is signed by the till that asks, every answer by this one, and both
know each other's keys from the store's signed settings (ledger-sync.md §5.5, §5.12). What is said holds
an account, goods, prices and points; never a card number. A receipt is shown only to whoever knows the
six digits of its slip.

**Who decides.** `Door` says whether a question may be asked at all: is this till the hub by the
settings in force now, is the asker an open till of the store, is the signature its own. What is given
is decided by the till's thread, which owns the ledger; the same receipt gets the same answer, for the
answer is an entry of its log.

**Bounds.** A question is small, its body must be there at once, and a machine that asks too often is
not listened to for a while: whatever happens on this port, the till itself sells on.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from agent.sync import trust
from loyalty import wire
from loyalty.settings import Settings, till_key
from loyalty.wire import (
    CONTENT_TYPE,
    NO_SUCH_RECEIPT,
    HandoverReply,
    HandoverRequest,
    HubReceiptReply,
    HubReceiptRequest,
    Refusal,
    WireError,
)

PATH = "/v1/hub/handover"
RECEIPT_PATH = "/v1/hub/receipt"
QUESTION_MAX_BYTES = 4096
RECEIPT_MAX_CHARS = 160
BODY_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 2.0  # the asker has given up long before; its next question gets the same answer
CONNECTIONS_MAX = 64
BURST = 40  # questions of one machine at once; then
PER_SECOND = 20
MACHINES_REMEMBERED = 256

T = TypeVar("T")
Question = TypeVar("Question", HandoverRequest, HubReceiptRequest)


class Turned(Exception):  # noqa: N818 - it is the answer to whoever asked
    """The question is not answered: HTTP status, a word for the program, an English sentence."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class Pace:
    """How often each machine may ask: a bucket of BURST questions that fills at PER_SECOND."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # machine -> (questions, at)

    def allows(self, machine: str, now_s: float) -> bool:
        """Count one question at `now_s` (monotonic)."""
        left, at_s = self._left.pop(machine, (float(BURST), now_s))
        left = min(float(BURST), left + (now_s - at_s) * PER_SECOND)
        allowed = left >= 1
        self._left[machine] = (left - 1 if allowed else left, now_s)
        while len(self._left) > MACHINES_REMEMBERED:
            self._left.popitem(last=False)
        return allowed


class Door:
    """See the top of this file. `settings` = those in force now; `sign` = this till's key."""

    def __init__(
        self, till: str, settings: Callable[[], Settings | None], sign: Callable[[bytes], bytes]
    ) -> None:
        self._till = till
        self._settings = settings
        self._sign = sign
        self._pace = Pace()

    def admit(self, body: bytes, machine: str, now_s: float) -> HandoverRequest:
        """The question for points in `body`, asked by `machine` (an address). Raises Turned."""
        request = self._signed(HandoverRequest, body, machine, now_s)
        _check_name(request.receipt)
        return request

    def admit_receipt(self, body: bytes, machine: str, now_s: float) -> HubReceiptRequest:
        """The same of a question for a receipt."""
        request = self._signed(HubReceiptRequest, body, machine, now_s)
        _check_name(request.ref)
        return request

    def _signed(self, kind: type[Question], body: bytes, machine: str, now_s: float) -> Question:
        if not self._pace.allows(machine, now_s):
            raise Turned(429, "TOO_OFTEN", f"more than {PER_SECOND} questions a second")
        if len(body) > QUESTION_MAX_BYTES:
            raise Turned(413, "TOO_LARGE", f"more than {QUESTION_MAX_BYTES} bytes")
        try:
            request = wire.unpack(kind, body, QUESTION_MAX_BYTES)
        except WireError:
            raise Turned(400, "BAD_MESSAGE", "not a question for this call") from None
        if request.v != wire.WIRE_VERSION:
            raise Turned(426, "OTHER_VERSION", f"wire {request.v}; this hub speaks {wire.WIRE_VERSION}")
        settings = self._settings()
        if settings is None or settings.hub is None or settings.hub.till != self._till:
            raise Turned(403, "NOT_THE_HUB", "this till is not the hub of the store")
        key = till_key(settings, request.till) if request.till != self._till else None
        if key is None or not trust.is_asked_by(key, request):
            raise Turned(403, "NOT_OF_THE_STORE", "no open till of this store has signed this")
        return request

    def answer(self, body: bytes) -> HandoverReply:
        """The signed answer; `body` = the HANDOVER's canonical bytes, empty where nothing is here."""
        return HandoverReply(body, self._sign(wire.handed_signing_bytes(body)))

    def show(self, request: HubReceiptRequest, found: HubReceiptReply) -> HubReceiptReply:
        """The signed answer to a question for a receipt."""
        statement = wire.hub_receipt_reply_signing_bytes(self._till, request, found)
        return msgspec.structs.replace(found, signature=self._sign(statement))


def _check_name(receipt: str) -> None:
    if not 0 < len(receipt) <= RECEIPT_MAX_CHARS or not (receipt.isascii() and receipt.isprintable()):
        raise Turned(400, "BAD_MESSAGE", "a receipt's name is short, printable ASCII")


def app(
    door: Door,
    hand_over: Callable[[HandoverRequest], Future[bytes]],
    find_receipt: Callable[[HubReceiptRequest], Future[HubReceiptReply | None]],
    now_s: Callable[[], float],
) -> Starlette:
    """The ASGI application. `hand_over` and `find_receipt` ask the till's thread; `now_s` is monotonic."""

    async def points(body: bytes, machine: str) -> msgspec.Struct:
        question = door.admit(body, machine, now_s())
        return door.answer(await _result(hand_over(question)))

    async def receipt(body: bytes, machine: str) -> msgspec.Struct:
        question = door.admit_receipt(body, machine, now_s())
        found = await _result(find_receipt(question))
        if found is None:
            raise Turned(404, NO_SUCH_RECEIPT, "this till has no such sale")
        return door.show(question, found)

    calls = {PATH: points, RECEIPT_PATH: receipt}

    async def answer(request: Request) -> Response:
        machine = request.client.host if request.client else ""
        try:
            return _packed(await calls[request.url.path](await _body(request), machine))
        except Turned as turned:
            return _packed(Refusal(turned.code, str(turned)), turned.status)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it; nothing was asked of the till

    return Starlette(routes=[Route(path, answer, methods=["POST"]) for path in calls])


async def _body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size > QUESTION_MAX_BYTES:
                    raise Turned(413, "TOO_LARGE", f"more than {QUESTION_MAX_BYTES} bytes")
                parts.append(part)
    except TimeoutError:
        raise Turned(408, "TOO_SLOW", "the body did not come in time") from None
    return b"".join(parts)


async def _result(asked: Future[T]) -> T:
    """What the till's thread answers. Raises Turned where it cannot, or not in time."""
    answer = asyncio.wrap_future(asked)
    answer.add_done_callback(_heard)
    # `wait` gives up without cancelling: what is given after all, is given for this receipt.
    done, _ = await asyncio.wait({answer}, timeout=ANSWER_TIMEOUT_S)
    if not done or answer.exception() is not None:
        raise Turned(503, "BUSY", "this till cannot answer now; ask the same again")
    return answer.result()


def _heard(answer: asyncio.Future[T]) -> None:
    """A refusal that nobody waits for any more is no fault that asyncio should complain of."""
    if not answer.cancelled():
        answer.exception()


def _packed(message: msgspec.Struct, status: int = 200) -> Response:
    return Response(wire.pack(message), status, media_type=CONTENT_TYPE)
