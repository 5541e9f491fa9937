"""The hub's one call on the shop's network: who may ask, what is believed, and what a bad line costs."""

from __future__ import annotations

import hashlib
import http.client
import queue
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.serving import HttpServer
from agent.sync import hub, trust
from agent.sync.asking import HubPlace
from agent.sync.hub import (
    BURST,
    MACHINES_REMEMBERED,
    PATH,
    PER_SECOND,
    QUESTION_MAX_BYTES,
    Door,
    Pace,
    Turned,
)
from agent.sync.hub_client import HubThread
from loyalty import document, ledger, wire
from loyalty.document import SaleDocument
from loyalty.ledger import Entry, LotTerms
from loyalty.protocol import moves
from loyalty.settings import Hub, Settings, StoreInfo
from loyalty.wire import HandoverReply, HandoverRequest, HubReceiptReply, HubReceiptRequest, Refusal

WAIT_S = 10
ACCOUNT = 1001
HUB_KEY, TILL_KEY, STRANGER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))
QUESTION = HandoverRequest(1, "T2", 1, "r1/1001/0/500", ACCOUNT, 500, b"")
TERMS = LotTerms("2026-01-01T00:00:00", None, "opening")


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def settings(hub_till: str = "T1") -> Settings:
    tills = {"T1": public(HUB_KEY).hex(), "T2": public(TILL_KEY).hex()}
    return Settings(1, StoreInfo("S1", "S1"), ((0, 180),), {}, hub=Hub(hub_till), tills=tills)


def signed(request: HandoverRequest, key: Ed25519PrivateKey = TILL_KEY) -> HandoverRequest:
    return msgspec.structs.replace(request, signature=key.sign(wire.handover_signing_bytes(request)))


def changed(**fields: object) -> HandoverRequest:
    return msgspec.structs.replace(QUESTION, **fields)


def handover(request: HandoverRequest = QUESTION, points: int = 500, **fields: object) -> bytes:
    postings = moves.give(ledger.parcel("T1"), ledger.parcel("T2"), [moves.Piece("c:1-1-1-0", points, TERMS)])
    entry = Entry("T1", 1, 7, 0, "HANDOVER", ACCOUNT, postings, ref=wire.handover_ref(request))
    return ledger.canonical(msgspec.structs.replace(entry, **fields))


def answered(body: bytes, key: Ed25519PrivateKey = HUB_KEY) -> HandoverReply:
    return HandoverReply(body, key.sign(wire.handed_signing_bytes(body)))


# ------------------------------------------------------------------------------ the door


def door(in_force: Settings | None = None) -> Door:
    chosen = in_force or settings()
    return Door("T1", lambda: chosen, HUB_KEY.sign)


def test_a_till_of_the_store_is_let_in() -> None:
    assert door().admit(wire.pack(signed(QUESTION)), "192.168.1.11", 0) == signed(QUESTION)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "BAD_MESSAGE"),
        (b"GET / HTTP/1.1", "BAD_MESSAGE"),
        (b"x" * (QUESTION_MAX_BYTES + 1), "TOO_LARGE"),
        (wire.pack(changed(receipt="r" * 2_000_000)), "BAD_MESSAGE"),  # small on the wire, and a bomb
        (wire.pack(signed(changed(receipt=""))), "BAD_MESSAGE"),
        (wire.pack(signed(changed(receipt="r\n1"))), "BAD_MESSAGE"),
        (wire.pack(signed(changed(receipt="r" * 200))), "BAD_MESSAGE"),
        (wire.pack(signed(changed(v=2))), "OTHER_VERSION"),
        (wire.pack(QUESTION), "NOT_OF_THE_STORE"),  # not signed
        (wire.pack(signed(QUESTION, STRANGER)), "NOT_OF_THE_STORE"),
        (wire.pack(msgspec.structs.replace(signed(QUESTION), want=900)), "NOT_OF_THE_STORE"),
        (wire.pack(signed(changed(till="T9"))), "NOT_OF_THE_STORE"),  # closed, or of another store
        (wire.pack(signed(changed(till="T1"), HUB_KEY)), "NOT_OF_THE_STORE"),  # its own echo
    ],
)
def test_who_is_turned_away(body: bytes, code: str) -> None:
    with pytest.raises(Turned) as turned:
        door().admit(body, "192.168.1.11", 0)
    assert turned.value.code == code


@pytest.mark.parametrize("in_force", [settings("T2"), msgspec.structs.replace(settings(), hub=None)])
def test_a_till_that_is_not_the_hub_any_more_gives_nothing(in_force: Settings) -> None:
    with pytest.raises(Turned, match="not the hub"):
        door(in_force).admit(wire.pack(signed(QUESTION)), "192.168.1.11", 0)


def test_a_machine_that_asks_too_often_is_not_listened_to_and_others_are() -> None:
    pace = Pace()
    assert all(pace.allows("192.168.1.66", 0) for _ in range(BURST))
    assert not pace.allows("192.168.1.66", 0)
    assert pace.allows("192.168.1.11", 0)
    assert not pace.allows("192.168.1.66", 0.9 / PER_SECOND)
    assert pace.allows("192.168.1.66", 2.0 / PER_SECOND)
    for number in range(2 * MACHINES_REMEMBERED):  # and a crowd of them costs no memory
        pace.allows(f"10.0.{number // 256}.{number % 256}", 1)
    assert len(pace._left) == MACHINES_REMEMBERED


# -------------------------------------------------------------------- what the asker believes


def test_the_hubs_answer_to_this_question_is_believed() -> None:
    assert trust.handover_is_good("T1", public(HUB_KEY), QUESTION, answered(handover()))


@pytest.mark.parametrize(
    "reply",
    [
        answered(handover(), STRANGER),
        msgspec.structs.replace(answered(handover()), body=handover(points=501)),
        answered(b"\x01no entry"),
        answered(handover(points=501)),  # more than was asked for
        answered(handover(changed(receipt="r2"))),  # yesterday's
        answered(handover(changed(epoch=2))),  # of another life of ours
        answered(handover(account=1002)),
        answered(handover(till="T3")),
        answered(handover(kind="GRANT")),
        answered(handover(postings=())),
        answered(handover(postings=moves.give("free", "parcel:T2", [moves.Piece("c:1-1-1-0", 5, TERMS)]))),
        answered(handover(postings=moves.give("parcel:T2", "parcel:T1", [moves.Piece("x", 5, TERMS)]))),
        answered(handover(postings=moves.move("parcel:T1", "parcel:T2", {"c:1-1-1-0": 5}))),  # no terms
        answered(handover(postings=moves.give("parcel:T1", "parcel:T2", [moves.Piece("ы", 5, TERMS)]))),
    ],
)
def test_what_is_not_believed(reply: HandoverReply) -> None:
    assert not trust.handover_is_good("T1", public(HUB_KEY), QUESTION, reply)


# ------------------------------------------------------------------------------ a receipt

PREV = ledger.genesis("T1", 1)
PAPER = document.canonical(
    SaleDocument(
        receipt=document.Receipt("r1", "T1", "S1", None, "pos", "2026-01-01T13:05:00+03:00", ()),
        customer=None, rulebook_seq=0, kill_seq=0, catalog_version=0, tenders=(), fiscal_id=None,
        paid_at=None, operator=None, result=document.Result(b"\0" * 8, 0, 0, 0, 0, 0),
    )
)  # fmt: skip
SOLD = Entry("T1", 1, 1, 0, "SALE", ACCOUNT, document_sha256=hashlib.sha256(PAPER).digest())
VOID = Entry("T1", 1, 2, 0, "VOID", ACCOUNT, ref=SOLD.id)
SLIP = f"{SOLD.id}-{ledger.fingerprint(ledger.link(PREV, ledger.canonical(SOLD)))}"
RECEIPT = HubReceiptReply(PREV, ledger.canonical(SOLD), PAPER, ((ledger.canonical(VOID), b""),), ACCOUNT)
RECEIPT_QUESTION = HubReceiptRequest(1, "T2", SLIP, bytes(16), b"")


def asked(key: Ed25519PrivateKey = TILL_KEY, **fields: object) -> bytes:
    request = msgspec.structs.replace(RECEIPT_QUESTION, **fields)
    return wire.pack(msgspec.structs.replace(request, signature=key.sign(trust.asked_bytes(request))))


def shown(key: Ed25519PrivateKey = HUB_KEY, **fields: object) -> HubReceiptReply:
    reply = msgspec.structs.replace(RECEIPT, **fields)
    statement = wire.hub_receipt_reply_signing_bytes("T1", RECEIPT_QUESTION, reply)
    return msgspec.structs.replace(reply, signature=key.sign(statement))


def other(entry: Entry, **fields: object) -> bytes:
    return ledger.canonical(msgspec.structs.replace(entry, **fields))


def test_a_till_of_the_store_may_ask_for_a_receipt() -> None:
    assert door().admit_receipt(asked(), "192.168.1.11", 0).ref == SLIP


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (asked(STRANGER), "NOT_OF_THE_STORE"),
        (asked(till="T9"), "NOT_OF_THE_STORE"),
        (asked(HUB_KEY, till="T1"), "NOT_OF_THE_STORE"),
        (asked(v=2), "OTHER_VERSION"),
        (asked(ref=""), "BAD_MESSAGE"),
        (asked(ref="T1-1-1\n"), "BAD_MESSAGE"),
        (asked(nonce=b"short"), "BAD_MESSAGE"),
        (wire.pack(signed(QUESTION)), "BAD_MESSAGE"),
    ],
)
def test_who_is_shown_no_receipt(body: bytes, code: str) -> None:
    with pytest.raises(Turned) as turned:
        door().admit_receipt(body, "192.168.1.11", 0)
    assert turned.value.code == code


def test_the_hubs_receipt_is_believed() -> None:
    assert trust.hub_receipt_is_good("T1", public(HUB_KEY), RECEIPT_QUESTION, shown())


@pytest.mark.parametrize(
    "reply",
    [
        RECEIPT,  # not signed
        shown(STRANGER),
        msgspec.structs.replace(shown(), returns=()),  # a return was left out on the way
        shown(prev=bytes(32)),  # not the digits of the slip
        shown(entry=other(SOLD, at_s=7)),
        shown(entry=other(SOLD, seq=2)),
        shown(entry=other(SOLD, kind="RETURN_GOODS")),
        shown(entry=b"\x01no entry"),
        shown(document=PAPER + b"\0"),
        shown(document=b""),
        shown(owner=None),
        shown(returns=((other(VOID, till="T3"), b""),)),
        shown(returns=((other(VOID, ref="T1-1-9"), b""),)),
        shown(returns=((other(VOID, kind="SALE"), b""),)),
        shown(returns=((ledger.canonical(VOID), PAPER),)),
    ],
)
def test_a_receipt_that_is_not_believed(reply: HubReceiptReply) -> None:
    assert not trust.hub_receipt_is_good("T1", public(HUB_KEY), RECEIPT_QUESTION, reply)


def test_yesterdays_receipt_is_no_answer_today() -> None:
    today = msgspec.structs.replace(RECEIPT_QUESTION, nonce=b"n" * 16)
    assert not trust.hub_receipt_is_good("T1", public(HUB_KEY), today, shown())


# ------------------------------------------------------------------------------- over a wire


@dataclass
class Lan:
    """A hub that serves, and a till's thread that asks it. `give` is what the hub's till does."""

    give: Callable[[HandoverRequest, Future[bytes]], None]
    heard: queue.SimpleQueue[tuple[HandoverRequest, HandoverReply | None]] = field(
        default_factory=queue.SimpleQueue
    )

    receipts: queue.SimpleQueue[tuple[HubReceiptRequest, HubReceiptReply | None]] = field(
        default_factory=queue.SimpleQueue
    )
    shelf: dict[str, HubReceiptReply] = field(default_factory=dict)  # slip's last line -> the hub's receipt

    def __post_init__(self) -> None:
        app = hub.app(door(), self._hand_over, self._find_receipt, time.monotonic)
        self.server = HttpServer(app, "127.0.0.1", 0, "hub", hub.CONNECTIONS_MAX)
        self.server.start()
        self.thread = HubThread(
            TILL_KEY.sign, lambda request, reply: self.heard.put((request, reply)), self._found
        )
        self.thread.start()

    def _hand_over(self, request: HandoverRequest) -> Future[bytes]:
        asked: Future[bytes] = Future()
        self.give(request, asked)
        return asked

    def _find_receipt(self, request: HubReceiptRequest) -> Future[HubReceiptReply | None]:
        asked: Future[HubReceiptReply | None] = Future()
        asked.set_result(self.shelf.get(request.ref))
        return asked

    def _found(self, request: HubReceiptRequest, reply: HubReceiptReply | None) -> None:
        self.receipts.put((request, reply))

    def ask_for_receipt(self, ref: str, port: int | None = None) -> HubReceiptReply | None:
        place = HubPlace("T1", f"http://127.0.0.1:{port or self.server.port}", public(HUB_KEY))
        question = msgspec.structs.replace(RECEIPT_QUESTION, ref=ref)
        self.thread.ask(place, question)
        request, reply = self.receipts.get(timeout=WAIT_S)
        assert request == question
        return reply

    def ask(self, key: bytes = public(HUB_KEY), port: int | None = None) -> HandoverReply | None:
        self.thread.ask(HubPlace("T1", f"http://127.0.0.1:{port or self.server.port}", key), QUESTION)
        request, reply = self.heard.get(timeout=WAIT_S)
        assert request == QUESTION
        return reply

    def post(self, body: bytes, method: str = "POST", path: str = PATH) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=WAIT_S)
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content


@pytest.fixture
def lan() -> Iterator[Lan]:
    lan = Lan(lambda _, asked: asked.set_result(handover()))
    yield lan
    lan.thread.stop(WAIT_S)
    lan.server.stop()


def test_points_come_over_the_shops_network(lan: Lan) -> None:
    reply = lan.ask()
    assert reply is not None
    assert reply.body == handover()


def test_a_receipt_comes_over_the_shops_network(lan: Lan) -> None:
    lan.shelf[SLIP] = RECEIPT
    reply = lan.ask_for_receipt(SLIP)
    assert reply is not None
    assert (reply.document, reply.returns) == (PAPER, RECEIPT.returns)
    assert lan.ask_for_receipt("T1-1-7-abcdef") is None  # it was never sold
    lan.shelf["T1-1-7-abcdef"] = RECEIPT  # and a hub that shows another one is not believed
    assert lan.ask_for_receipt("T1-1-7-abcdef") is None
    assert lan.ask() is not None  # points come by the same thread
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert lan.ask_for_receipt(SLIP, silent.getsockname()[1]) is None


def test_a_hub_with_nothing_to_give(lan: Lan) -> None:
    lan.give = lambda _, asked: asked.set_result(b"")
    assert lan.ask() is None


def test_an_answer_of_somebody_else_is_not_used(lan: Lan, caplog: pytest.LogCaptureFixture) -> None:
    assert lan.ask(key=public(STRANGER)) is None
    assert "not the hub's answer" in caplog.text


def test_a_hub_that_cannot_answer_says_so(lan: Lan) -> None:
    lan.give = lambda _, asked: asked.set_exception(RuntimeError("no room on the disk"))
    assert lan.ask() is None
    status, body = lan.post(wire.pack(signed(QUESTION)))
    assert (status, wire.unpack(Refusal, body).code) == (503, "BUSY")
    lan.give = lambda _, asked: asked.set_result(handover())
    assert lan.ask() is not None


def test_a_hub_that_is_gone_or_silent_is_given_up_soon(lan: Lan) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes the call, and says nothing
        began = time.monotonic()
        assert lan.ask(port=silent.getsockname()[1]) is None
        assert time.monotonic() - began < 3  # 0.3 s, on a machine that is busy with other tests
        gone = silent.getsockname()[1]
    assert lan.ask(port=gone) is None
    assert lan.ask() is not None


def test_questions_that_waited_too_long_are_not_asked_any_more() -> None:
    heard: queue.SimpleQueue[HandoverReply | None] = queue.SimpleQueue()
    thread = HubThread(TILL_KEY.sign, lambda _, reply: heard.put(reply), lambda _, __: None)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = HubPlace("T1", f"http://127.0.0.1:{silent.getsockname()[1]}", public(HUB_KEY))
        for _ in range(70):
            thread.ask(place, QUESTION)  # six of them find no room, and are answered at once
        assert heard.qsize() == 6
        thread.start()
        began = time.monotonic()
        assert [heard.get(timeout=WAIT_S) for _ in range(70)] == [None] * 70
        assert time.monotonic() - began < WAIT_S  # not seventy times 0.3 s
    thread.stop(WAIT_S)


@pytest.mark.parametrize(
    ("body", "method", "path", "status"),
    [
        (b"x" * 100_000, "POST", PATH, 413),
        (b"x", "POST", PATH, 400),
        (b"", "GET", PATH, 405),
        (b"", "POST", "/v1/sales/r1", 404),
    ],
)
def test_what_is_no_question(lan: Lan, body: bytes, method: str, path: str, status: int) -> None:
    assert lan.post(body, method, path)[0] == status


def test_a_body_that_never_comes_does_not_keep_its_place(lan: Lan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "BODY_TIMEOUT_S", 0.05)
    with socket.create_connection(("127.0.0.1", lan.server.port), WAIT_S) as line:
        line.sendall(f"POST {PATH} HTTP/1.1\r\nHost: hub\r\nContent-Length: 100\r\n\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 408")
