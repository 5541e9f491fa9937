"""The loopback API as a cash program meets it: real HTTP, and a till that does as the test says."""

from __future__ import annotations

import gc
import json
import logging
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from logging.handlers import QueueHandler
from typing import Any

import pytest
import requests

from agent.api import BODY_MAX_BYTES, Api, ApiServer
from agent.inbox import (
    AMOUNT_MAX,
    INBOX_MAX,
    CommitSale,
    Event,
    GetSale,
    Inbox,
    ListHeld,
    PrintSale,
    Problem,
    PutSale,
    ReturnGoods,
    StatusAsked,
    Stop,
    SyncAsked,
    VoidSale,
)
from loyalty.texts import N_

TOKEN = "a-token-of-the-test-only"
CARD = "2000000000015"
WAIT_S = 10
CART: dict[str, Any] = {"lines": [{"id": "1", "sku": "milk", "price": 10_000, "quantity": 1_000}]}
COMMIT: dict[str, Any] = {"quote_id": "q1", "tenders": [{"type": "cash", "amount": 9_000}]}


class Till:
    """A thread that takes every question out of the inbox and answers it as it was told."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.asked: list[Any] = []
        self.answer: Callable[[Any], None] = lambda _: None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not isinstance(event := self.inbox.take(None), Stop):
            self.asked.append(event)
            self.answer(event)

    def stop(self) -> None:
        self.inbox.post(Stop())
        self._thread.join(WAIT_S)


class CashProgram:
    """Speaks HTTP as a cash program would."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["Authorization"] = f"Bearer {TOKEN}"

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        url = f"http://127.0.0.1:{self.port}{path}"
        return self.http.request(method, url, data=data, timeout=WAIT_S, **more)

    def refused(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, dict[str, Any]]:
        """Status and error; every error has a word and both languages, and none repeats a card."""
        answer = self.ask(method, path, body, **more)
        assert CARD not in answer.text
        error: dict[str, Any] = answer.json()["error"]
        assert {"code", "ru", "en"} <= set(error)
        assert error["ru"] != error["en"]
        return answer.status_code, error


@pytest.fixture(scope="module")
def one_till() -> Iterator[Till]:
    till = Till()
    yield till
    till.stop()


@pytest.fixture(scope="module")
def one_cash_program(one_till: Till) -> Iterator[CashProgram]:
    yield from serve(Api(one_till.inbox, TOKEN))


@pytest.fixture
def till(one_till: Till) -> Till:
    """The till, which has heard nothing yet and answers that all is well."""
    one_till.asked.clear()
    one_till.answer = lambda ask: ask.reply.set_result({"well": True})
    return one_till


@pytest.fixture
def cash(till: Till, one_cash_program: CashProgram) -> CashProgram:
    return one_cash_program


def serve(api: Api) -> Iterator[CashProgram]:
    server = ApiServer(api, "127.0.0.1", 0)
    server.start()
    program = CashProgram(server.port)
    yield program
    program.http.close()
    server.stop()


# ------------------------------------------------------------------------- what arrives

CALLS: dict[str, tuple[str, str, Any, type[Event]]] = {
    "a cart": ("PUT", "/v1/sales/r1", CART, PutSale),
    "how it stands": ("GET", "/v1/sales/r1", None, GetSale),
    "what is held": ("GET", "/v1/sales?state=held", None, ListHeld),
    "it is paid": ("POST", "/v1/sales/r1/commit", COMMIT, CommitSale),
    "it is taken back": ("POST", "/v1/sales/r1/void", {"reason": "ошибка"}, VoidSale),
    "goods come back": ("POST", "/v1/returns", {"return_id": "ret1", "lines": {"1": 1}}, ReturnGoods),
    "the slip again": ("POST", "/v1/sales/r1/print", {"print_id": "p1"}, PrintSale),
    "how the till stands": ("GET", "/v1/status", None, StatusAsked),
    "sync now": ("POST", "/v1/sync", None, SyncAsked),
}


@pytest.mark.parametrize(("method", "path", "body", "kind"), CALLS.values(), ids=CALLS.keys())
def test_each_call_reaches_the_till_and_its_answer_comes_back(
    till: Till, cash: CashProgram, method: str, path: str, body: Any, kind: type
) -> None:
    answer = cash.ask(method, path, body)
    assert (answer.status_code, answer.json()) == (200, {"well": True})
    assert [type(ask) for ask in till.asked] == [kind]


def test_a_cart_arrives_as_it_was_sent(till: Till, cash: CashProgram) -> None:
    cash.ask("PUT", "/v1/sales/r-1_A.b:c", {**CART, "card": CARD, "redeem": "max", "coupons": ["X"]})
    (ask,) = till.asked
    assert ask.sale_id == "r-1_A.b:c"
    assert (ask.body.card, ask.body.redeem, ask.body.coupons) == (CARD, "max", ("X",))
    assert (ask.body.lines[0].sku, ask.body.lines[0].price, ask.body.lines[0].quantity) == (
        "milk",
        10_000,
        1_000,
    )
    assert CARD not in repr(ask)


# ------------------------------------------------------------------------------ refusals


NO_TOKEN = [
    None,
    "",
    "Bearer",
    "Bearer ",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
    f"Basic {TOKEN}",
    TOKEN,
    "é",
]


@pytest.mark.parametrize(("method", "path", "body", "_kind"), CALLS.values(), ids=CALLS.keys())
def test_without_the_token_nothing_is_asked(
    till: Till, cash: CashProgram, method: str, path: str, body: Any, _kind: type
) -> None:
    for header in NO_TOKEN:
        headers = {"Authorization": header.encode("latin-1") if header is not None else None}
        status, error = cash.refused(method, path, body, headers=headers)
        assert (status, error["code"]) == (401, "unauthorized"), header
        assert TOKEN not in str(error)
    assert till.asked == []


@pytest.mark.parametrize("token", ["", "short"])
def test_an_api_without_a_real_token_is_never_opened(token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        Api(Inbox(), token)


def cart(**line: Any) -> bytes:
    return json.dumps({"lines": [{**CART["lines"][0], **line}]}).encode()


BAD_BODIES: dict[str, tuple[bytes, int, str]] = {
    "cut in the middle": (json.dumps({**CART, "card": CARD}).encode()[:-9], 400, "bad_json"),
    "empty": (b"", 400, "bad_json"),
    "not UTF-8": (b'{"lines": [], "card": "\xff"}', 400, "bad_json"),
    "nested without end": (b'{"lines": ' + b"[" * 100_000, 422, "bad_body"),
    "a list": (b"[]", 422, "bad_body"),
    "no lines": (json.dumps({"card": CARD}).encode(), 422, "bad_body"),
    "an unknown field": (json.dumps({**CART, "card": CARD, "cadr": 1}).encode(), 422, "bad_body"),
    "a card for a field's name": (json.dumps({**CART, CARD: 1}).encode(), 422, "bad_body"),
    "a card for a number": (json.dumps({**CART, "card": int(CARD)}).encode(), 422, "bad_body"),
    "a card for a price": (cart(price=CARD), 422, "bad_body"),
    "a price with a point": (cart(price=9.99), 422, "bad_body"),
    "a price below zero": (cart(price=-1), 422, "bad_body"),
    "a price beyond all": (cart(price=AMOUNT_MAX + 1), 422, "bad_body"),
    "a price of a hundred digits": (cart(price=10**100), 422, "bad_body"),
    "a price with a point and nothing after it that counts": (cart(price="9.0"), 422, "bad_body"),
    "too large": (b" " * (BODY_MAX_BYTES + 1), 413, "too_large"),
}


@pytest.mark.parametrize(("body", "status", "code"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_body_that_cannot_be_is_refused_and_never_repeated(
    till: Till, cash: CashProgram, body: bytes, status: int, code: str
) -> None:
    got, error = cash.refused("PUT", "/v1/sales/r1", body)
    assert (got, error["code"]) == (status, code)
    assert till.asked == []


def test_a_whole_number_may_be_written_with_a_point(till: Till, cash: CashProgram) -> None:
    """As JSON Schema means an integer, and as some programs write every number."""
    assert cash.ask("PUT", "/v1/sales/r1", cart(price=8990.0)).status_code == 200
    [asked] = till.asked
    assert asked.body.lines[0].price == 8990
    assert type(asked.body.lines[0].price) is int


def test_an_unknown_field_is_named(cash: CashProgram) -> None:
    _, error = cash.refused("PUT", "/v1/sales/r1", {**CART, "cupons": []})
    assert "cupons" in error["ru"]
    assert "cupons" in error["en"]


def test_a_tender_that_no_ledger_could_hold_is_refused(till: Till, cash: CashProgram) -> None:
    """Together they would make exactly the sum: 10^30, less 10^30, and the price."""
    tenders = [{"type": "cash", "amount": amount} for amount in (10**30, -(10**30), 9_000)]
    status, error = cash.refused("POST", "/v1/sales/r1/commit", {**COMMIT, "tenders": tenders})
    assert (status, error["code"]) == (422, "bad_body")
    assert till.asked == []


@pytest.mark.parametrize("sale_id", ["a" * 65, "%20", "чек", "a%2Cb", "r1%0A"])
def test_a_sale_id_of_other_signs_is_refused(till: Till, cash: CashProgram, sale_id: str) -> None:
    status, error = cash.refused("PUT", f"/v1/sales/{sale_id}", CART)
    assert (status, error["code"]) == (422, "bad_sale_id")
    assert till.asked == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/sale/r1", 404),
        ("GET", "/v1/sales/a/b/c", 404),
        ("DELETE", "/v1/sales/r1", 405),
        ("GET", "/v1/sync", 405),
    ],
)
def test_a_call_that_does_not_exist_is_refused_in_the_same_form(
    cash: CashProgram, method: str, path: str, status: int
) -> None:
    got, error = cash.refused(method, path)
    assert (got, error["code"]) == (status, "no_such_call")


@pytest.mark.parametrize("query", ["", "?state=paid", "?state="])
def test_sales_are_listed_that_hold_points_or_are_in_hand_and_no_others(
    cash: CashProgram, query: str
) -> None:
    status, error = cash.refused("GET", f"/v1/sales{query}")
    assert (status, error["code"]) == (422, "bad_query")
    assert "held" in error["ru"]
    assert "open" in error["ru"]


def test_what_the_till_refuses_comes_with_its_details(till: Till, cash: CashProgram) -> None:
    till.answer = lambda ask: ask.reply.set_exception(
        Problem(409, "quote_changed", N_("this sale was voided already"), {"pay": 5})
    )
    status, error = cash.refused("POST", "/v1/sales/r1/commit", COMMIT)
    assert (status, error["code"], error["pay"], error["en"]) == (
        409, "quote_changed", 5, "this sale was voided already",
    )  # fmt: skip


# -------------------------------------------------------------------- a till in difficulty


def test_a_till_that_does_not_answer_in_time_is_asked_again_with_the_same(till: Till) -> None:
    """503, and the answer that comes later finds its slot: it must not fall on the till's head."""
    late: list[Future[dict[str, Any]]] = []
    till.answer = lambda ask: late.append(ask.reply)
    program = serve(Api(till.inbox, TOKEN, reply_timeout_s=0.05, sync_timeout_s=0.05))
    cash = next(program)
    for method, path, body in (("PUT", "/v1/sales/r1", CART), ("POST", "/v1/sync", None)):
        status, error = cash.refused(method, path, body)
        assert (status, error["code"]) == (503, "no_answer")
    for reply in late:
        reply.set_result({"well": True})  # raises InvalidStateError where the slot was cancelled
    till.answer = lambda ask: ask.reply.set_exception(Problem(409, "x", N_("the card is not found")))
    assert cash.refused("PUT", "/v1/sales/r1", CART)[0] == 409
    assert list(program) == []


def test_a_refusal_that_comes_too_late_disturbs_nobody(till: Till, caplog: pytest.LogCaptureFixture) -> None:
    late: list[Future[dict[str, Any]]] = []
    till.answer = lambda ask: late.append(ask.reply)
    program = serve(Api(till.inbox, TOKEN, reply_timeout_s=0.05))
    cash = next(program)
    assert cash.refused("GET", "/v1/status")[0] == 503
    late.pop().set_exception(Problem(409, "x", N_("the card is not found")))
    assert list(program) == []
    gc.collect()  # asyncio complains when what nobody has read is thrown away
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_an_overloaded_till_says_so_at_once() -> None:
    full = Inbox()
    for _ in range(INBOX_MAX):
        full.post(StatusAsked())
    program = serve(Api(full, TOKEN))
    status, error = next(program).refused("GET", "/v1/status")
    assert (status, error["code"]) == (503, "overloaded")
    assert list(program) == []


def test_a_fault_of_ours_is_an_error_like_every_other(till: Till, caplog: pytest.LogCaptureFixture) -> None:
    till.answer = lambda ask: ask.reply.set_exception(RuntimeError("boom"))
    program = serve(Api(till.inbox, TOKEN))
    status, error = next(program).refused("PUT", "/v1/sales/r1", {**CART, "card": CARD})
    assert (status, error["code"]) == (500, "broken")
    assert "boom" not in str(error)
    assert list(program) == []  # the server has ended, so its log is whole
    assert "boom" in caplog.text
    assert CARD not in caplog.text


def test_a_cash_program_that_hangs_up_in_the_middle_leaves_nothing(
    till: Till, cash: CashProgram, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", cash.port), timeout=WAIT_S) as half:
        half.sendall(
            f"PUT /v1/sales/r1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            f'Content-Length: 1000\r\n\r\n{{"lines": [], "card": "{CARD}"'.encode()
        )
    assert cash.ask("GET", "/v1/status").status_code == 200
    assert [type(ask) for ask in till.asked] == [StatusAsked]
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_there_is_no_log_of_calls(cash: CashProgram) -> None:
    """(caplog would not do: it listens at loggers that are switched off, too.)"""
    heard = QueueHandler(lines := queue.SimpleQueue[logging.LogRecord]())
    root = logging.getLogger()
    level = root.level
    root.addHandler(heard)
    root.setLevel(logging.DEBUG)
    try:
        cash.ask("PUT", "/v1/sales/r1", {**CART, "card": CARD})
    finally:
        root.setLevel(level)
        root.removeHandler(heard)
    said = [lines.get() for _ in range(lines.qsize())]
    assert [r.getMessage() for r in said if not r.name.startswith("urllib3")] == []  # that is the test's own


def test_a_port_that_is_taken_is_known_before_anything_runs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        ApiServer(Api(Inbox(), TOKEN), "127.0.0.1", taken.getsockname()[1])


def test_a_server_that_never_began_can_be_stopped() -> None:
    ApiServer(Api(Inbox(), TOKEN), "127.0.0.1", 0).stop()


def test_a_body_that_never_comes_keeps_no_connection(
    cash: CashProgram, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.api.BODY_TIMEOUT_S", 0.05)
    head = (
        f"PUT /v1/sales/s1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", cash.port), WAIT_S) as slow:
        slow.sendall(head.encode() + b"{")
        answer = b""
        while part := slow.recv(4096):  # until the server hangs up
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"too_slow" in answer
    assert till.asked == []


def test_answers_leave_at_once() -> None:
    """With Nagle's algorithm every call on a kept connection would wait 40 ms for an acknowledgement."""
    server = ApiServer(Api(Inbox(), TOKEN), "127.0.0.1", 0)
    assert server._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    server.stop()
