"""The hands on a bad line: a real HTTP server that misbehaves, and what the till makes of it."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from agent.sync.client import Centre, CentreRefusal, LinkError, LookupThread, SyncThread
from agent.sync.machine import Adoption, Apply, BatchToSend, SyncMachine
from loyalty import ledger, wire
from loyalty.wire import (
    WIRE_VERSION,
    ClaimReply,
    ClaimRequest,
    EnrollReply,
    EnrollRequest,
    LookupReply,
    ManifestReply,
    Member,
    ReceiptReply,
    Refusal,
    SyncReply,
    SyncRequest,
    pack,
    unpack,
)

SESSION = "secret-session"
CARD_KEY = 5_551_234_567
CODE = "4K7M-92XA-QF3T"
WAIT_S = 10
REQUEST = SyncRequest(1, 1, SESSION, 1, b"p" * 32, b"h" * 32, b"s" * 64, (), (), {}, {}, {})
REPLY = SyncReply(1, 1, 0, "next-session", (), b"good", {}, 7, 0, 0)

Behaviour = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Reads the request, keeps it, and then behaves as the test said."""

    server: Server

    def do_any(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.heard.put((self.command, self.path, dict(self.headers), self.body))
        self.server.behaviour(self)

    do_GET = do_POST = do_any  # noqa: N815 - the standard library's names

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """The centre's address; `behaviour` is what it does with each request."""

    daemon_threads = False
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour: Behaviour = answers(REPLY)
        self.heard: queue.SimpleQueue[tuple[str, str, dict[str, str], bytes]] = queue.SimpleQueue()
        self.release = threading.Event()  # what is slow is slow until then

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that hung up is what these tests are about."""


def answers(message: msgspec.Struct, status: int = 200, **headers: str) -> Behaviour:
    return says(pack(message), status, **headers)


def says(body: bytes, status: int = 200, **headers: str) -> Behaviour:
    def behave(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def hangs_up(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def breaks_off(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(pack(REPLY)[:10])
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def speaks_no_http(handler: Handler) -> None:
    handler.wfile.write(b"220 mail.example ESMTP\r\n")


def is_a_hotel(handler: Handler) -> None:
    says(b"<html>Welcome! Please log in</html>", Content_Type="text/html")(handler)


def never_ends(handler: Handler) -> None:
    """Chunk after chunk, until nobody listens any more."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while not handler.server.release.is_set():
            handler.wfile.write(b"\0" * 65_536)
    except OSError:
        return


def says_nothing(handler: Handler) -> None:
    handler.server.release.wait(WAIT_S)


def drips(handler: Handler) -> None:
    """A byte now and then: every single wait is short, and the whole has no end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    try:
        while not handler.server.release.wait(0.1):
            handler.wfile.write(b"x")
            handler.wfile.flush()
    except OSError:
        return


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()
    thread.join(WAIT_S)


@pytest.fixture
def centre(server: Server) -> Iterator[Centre]:
    centre = Centre(server.url + "/", "T1")
    yield centre
    centre.close()


# ------------------------------------------------------------------------- all goes well


def test_a_batch_goes_out_whole_and_its_answer_comes_back(server: Server, centre: Centre) -> None:
    assert centre.sync(REQUEST) == REPLY
    method, path, headers, body = server.heard.get(timeout=WAIT_S)
    assert (method, path) == ("POST", "/v1/tills/T1/sync")
    assert headers["Content-Type"] == wire.CONTENT_TYPE
    assert unpack(SyncRequest, body) == REQUEST


def test_a_look_up_shows_its_session_and_no_number_in_its_address(server: Server, centre: Centre) -> None:
    member = Member(1001, tier="gold")
    server.behaviour = answers(LookupReply(member, 7))
    assert centre.lookup(CARD_KEY, SESSION) == member
    _, path, headers, body = server.heard.get(timeout=WAIT_S)
    assert path == "/v1/tills/T1/lookup"
    assert headers["Authorization"] == f"Kopilka T1:{SESSION}"
    assert unpack(wire.LookupRequest, body).card_key == CARD_KEY


def test_a_card_that_the_centre_does_not_know_is_an_answer(server: Server, centre: Centre) -> None:
    server.behaviour = answers(LookupReply(None, 7))
    assert centre.lookup(CARD_KEY, SESSION) is None


def test_a_till_is_enrolled(server: Server, centre: Centre) -> None:
    reply = EnrollReply("T1", 1, "S1", "s0", 1, b"c" * 32, b"r" * 32, {"k1": b"k" * 32}, 1, 7)
    server.behaviour = answers(reply)
    assert centre.enrol(EnrollRequest(1, CODE, b"k" * 32, "1")) == reply
    assert "Authorization" not in server.heard.get(timeout=WAIT_S)[2]


def test_manifests_and_files_come_as_bytes(server: Server, centre: Centre) -> None:
    reply = ManifestReply(b"{}", {"k1": b"s"})
    server.behaviour = answers(reply)
    assert centre.manifest("rulebook.all", SESSION) == reply
    server.behaviour = says(b"rules")
    assert centre.file("ab" * 32, 5, SESSION) == b"rules"
    paths = [server.heard.get(timeout=WAIT_S)[1] for _ in range(2)]
    assert paths == ["/v1/channels/rulebook.all/manifest", f"/v1/files/{'ab' * 32}"]


# -------------------------------------------------------------------------- a bad line


@pytest.mark.parametrize(
    "behaviour", [hangs_up, breaks_off, speaks_no_http, is_a_hotel, says(b""), says(b"\0" * 50), never_ends]
)
def test_what_is_no_answer_is_a_link_error_and_says_no_secret(
    server: Server, centre: Centre, behaviour: Behaviour
) -> None:
    server.behaviour = behaviour
    calls: list[Callable[[], object]] = [
        lambda: centre.sync(REQUEST),
        lambda: centre.lookup(CARD_KEY, SESSION),
        lambda: centre.manifest("rulebook.all", SESSION),
    ]
    for call in calls:
        with pytest.raises(LinkError) as failed:
            call()
        assert_no_secret(failed.value)
    server.behaviour = answers(REPLY)
    assert centre.sync(REQUEST) == REPLY  # and the next one goes well


def assert_no_secret(error: BaseException) -> None:
    """Neither in the text nor in what a traceback would print behind it."""
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    assert not {SESSION, str(CARD_KEY), CODE} & set(repr(error).split())
    for secret in (SESSION, str(CARD_KEY), CODE):
        assert secret not in repr(error)


def test_a_centre_that_is_not_there_is_a_link_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    centre = Centre(f"http://127.0.0.1:{port}", "T1")
    with pytest.raises(LinkError, match="does not answer"):
        centre.sync(REQUEST)
    centre.close()


@pytest.mark.parametrize(
    "url", ["", "centre", "ftp://centre", "http://", "http://[", "http://" + "a" * 300, "http://é."]
)
def test_an_address_that_is_none_is_a_link_error(url: str) -> None:
    centre = Centre(url, "T1")
    with pytest.raises(LinkError):
        centre.sync(REQUEST)
    centre.close()


@pytest.mark.parametrize("session", ["two\r\nlines", "сессия", " blank"])
def test_a_session_that_fits_no_header_is_not_repeated_in_an_error(centre: Centre, session: str) -> None:
    with pytest.raises(LinkError) as failed:
        centre.lookup(CARD_KEY, session)
    assert session not in repr(failed.value)
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__


def test_no_more_is_read_of_a_file_than_was_signed(server: Server, centre: Centre) -> None:
    server.behaviour = says(b"rules and more")
    with pytest.raises(LinkError, match="more than 5 bytes"):
        centre.file("ab" * 32, 5, SESSION)


def test_a_packed_answer_is_not_unpacked_behind_our_back(server: Server, centre: Centre) -> None:
    """We ask for identity; a server that packs all the same sends what is no message."""
    server.behaviour = says(b"\x1f\x8b\x08\0\0\0\0\0", Content_Encoding="gzip")
    with pytest.raises(LinkError):
        centre.sync(REQUEST)
    assert server.heard.get(timeout=WAIT_S)[2]["Accept-Encoding"] == "identity"


def test_a_redirect_is_not_followed(server: Server, centre: Centre) -> None:
    """The till speaks with its centre and with nobody to whom a line sends it."""
    server.behaviour = says(b"", 302, Location="http://127.0.0.1:1/")
    with pytest.raises(CentreRefusal) as refused:
        centre.sync(REQUEST)
    assert refused.value.status == 302


# ------------------------------------------------------------------------------ refusals


def test_a_refusal_comes_with_its_word_and_its_time(server: Server, centre: Centre) -> None:
    server.behaviour = answers(Refusal("BUSY", "come again", 7), 503, Retry_After="30")
    with pytest.raises(CentreRefusal, match="come again") as refused:
        centre.sync(REQUEST)
    assert (refused.value.status, refused.value.retry_after_s) == (503, 30)
    assert refused.value.refusal == Refusal("BUSY", "come again", 7)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30), ("0", 0), ("", None), ("soon", None), ("-1", None), ("9" * 400, None), ("½", None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)  # fmt: skip
def test_a_proxy_before_the_centre_may_refuse_in_its_own_words(
    server: Server, centre: Centre, header: str, seconds: int | None
) -> None:
    server.behaviour = says(b"<html>Bad Gateway</html>", 502, Retry_After=header.encode().decode("latin-1"))
    with pytest.raises(CentreRefusal, match="answered 502") as refused:
        centre.sync(REQUEST)
    assert (refused.value.refusal, refused.value.retry_after_s) == (None, seconds)


def test_a_refusal_without_end_is_a_refusal(server: Server, centre: Centre) -> None:
    server.behaviour = says(b"x" * 100_000, 500)
    with pytest.raises(CentreRefusal, match="answered 500"):
        centre.sync(REQUEST)


# ------------------------------------------------------------------- the look-up thread


class Lookups:
    """A LookupThread whose answers are kept."""

    def __init__(self, url: str) -> None:
        self.heard: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self.claims: queue.SimpleQueue[tuple[Any, Any, bool]] = queue.SimpleQueue()
        self.receipts: queue.SimpleQueue[tuple[Any, Any, Any]] = queue.SimpleQueue()
        self.thread = LookupThread(
            Centre(url, "T1"),
            session=lambda: SESSION,
            answered=lambda card_key, member: self.heard.put((card_key, member)),
            failed=lambda card_key: self.heard.put((card_key, "failed")),
            claimed=lambda request, reply, refused: self.claims.put((request, reply, refused)),
            found=lambda ref, reply, refused: self.receipts.put((ref, reply, refused)),
        )
        self.thread.start()

    def ask(self, card_key: int) -> tuple[Any, float]:
        began = time.monotonic()
        self.thread.ask(card_key)
        got, what = self.heard.get(timeout=WAIT_S)
        assert got == card_key
        return what, time.monotonic() - began


@pytest.fixture
def lookups(server: Server) -> Iterator[Lookups]:
    lookups = Lookups(server.url)
    yield lookups
    server.release.set()
    lookups.thread.stop(WAIT_S)


@pytest.mark.parametrize("behaviour", [says_nothing, drips])
def test_a_slow_centre_is_given_up_in_about_a_second(
    server: Server, lookups: Lookups, behaviour: Behaviour
) -> None:
    server.behaviour = behaviour
    what, took_s = lookups.ask(CARD_KEY)
    assert what == "failed"
    assert took_s < 3  # a second, on a machine that is busy with other tests
    server.behaviour = answers(LookupReply(Member(1001), 7))
    assert lookups.ask(CARD_KEY)[0] == Member(1001)


@pytest.mark.parametrize("behaviour", [hangs_up, is_a_hotel, answers(Refusal("SESSION", "sync first"), 401)])
def test_a_look_up_that_fails_says_so_and_the_next_is_asked(
    server: Server, lookups: Lookups, behaviour: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.behaviour = behaviour
    assert lookups.ask(CARD_KEY)[0] == "failed"
    server.behaviour = answers(LookupReply(None, 7))
    assert lookups.ask(CARD_KEY + 1)[0] is None
    assert str(CARD_KEY) not in caplog.text
    assert SESSION not in caplog.text


def test_a_fault_of_ours_does_not_end_the_thread(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    heard: queue.SimpleQueue[object] = queue.SimpleQueue()

    def answered(_: int, member: Member | None) -> None:
        if member is None:
            raise RuntimeError("boom")
        heard.put(member)

    thread = LookupThread(
        Centre(server.url, "T1"),
        lambda: SESSION,
        answered,
        lambda _: heard.put("failed"),
        lambda *_: None,
        lambda *_: None,
    )
    thread.start()
    server.behaviour = answers(LookupReply(None, 7))
    thread.ask(CARD_KEY)
    assert heard.get(timeout=WAIT_S) == "failed"
    server.behaviour = answers(LookupReply(Member(1), 7))
    thread.ask(CARD_KEY)
    assert heard.get(timeout=WAIT_S) == Member(1)
    thread.stop(WAIT_S)
    assert str(CARD_KEY) not in caplog.text


def test_a_receipt_is_asked_for_and_its_absence_has_a_reason(server: Server, lookups: Lookups) -> None:
    found = ReceiptReply(b"entry", b"document", ())
    server.behaviour = answers(found)
    lookups.thread.receipt("T2-1-5-abcdef")
    assert lookups.receipts.get(timeout=WAIT_S) == ("T2-1-5-abcdef", found, None)
    assert server.heard.get(timeout=WAIT_S)[1] == "/v1/receipts/T2-1-5-abcdef"
    server.behaviour = answers(Refusal("NO_SUCH_RECEIPT", ""), 404)
    lookups.thread.receipt("T2-1-6-abcdef")
    assert lookups.receipts.get(timeout=WAIT_S) == ("T2-1-6-abcdef", None, "NO_SUCH_RECEIPT")
    server.behaviour = hangs_up
    lookups.thread.receipt("T2-1-7-abcdef")
    assert lookups.receipts.get(timeout=WAIT_S) == ("T2-1-7-abcdef", None, None)


def test_too_many_questions_at_once_fail_at_once(server: Server) -> None:
    failed: list[int] = []
    thread = LookupThread(
        Centre(server.url, "T1"),
        lambda: SESSION,
        lambda *_: None,
        failed.append,
        lambda *_: None,
        lambda *_: None,
    )
    for card_key in range(70):  # the thread has not begun
        thread.ask(card_key)
    assert failed == list(range(64, 70))


# ---------------------------------------------------------------------- the sync thread


class Desk:
    """The till's side of a sync, in memory; `trouble` is raised instead of an answer."""

    def __init__(self) -> None:
        self.bodies: tuple[bytes, ...] = (ledger.canonical(ledger.Entry("T1", 1, 1, 1, "SALE", None)),)
        self.acked = 0
        self.trouble: Exception | None = None
        self.links: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.applied: queue.SimpleQueue[Apply] = queue.SimpleQueue()
        self.attempt = 0

    def load_batch(self, limit: int, adopt: Adoption | None) -> BatchToSend:
        if self.trouble is not None:
            raise self.trouble
        bodies = self.bodies[self.acked :][:limit]
        prev = ledger.chain(ledger.genesis("T1", 1), self.bodies[: self.acked])
        return BatchToSend(1, SESSION, self.acked + 1, prev, bodies, (), {}, {}, {}, self.attempt)

    def apply(self, effect: Apply) -> int:
        self.acked = effect.next_seq - 1
        self.applied.put(effect)
        return 0

    def note_retry(self, attempt: int) -> None:
        self.attempt = attempt

    def link(self, word: str | None, _detail: str) -> None:
        self.links.put(word)


class Sync:
    """A SyncThread with a desk, against the server."""

    def __init__(self, url: str, *, start: bool = True) -> None:
        self.desk = Desk()
        self.fetched: queue.SimpleQueue[dict[str, int]] = queue.SimpleQueue()
        machine = SyncMachine(
            "T1", lambda _: b"s" * 64, lambda _, r: r.signature == b"good", interval_s=3_600
        )
        self.thread = SyncThread(
            Centre(url, "T1"), machine, self.desk, lambda _, channels, __: self.fetched.put(channels)
        )
        if start:
            self.thread.start()

    def round(self) -> None:
        """A person asks for a sync; returns when it is over, well or not."""
        done = threading.Event()
        self.thread.wake(force=True, done=done.set)
        assert done.wait(WAIT_S)


def takes_all(handler: Handler) -> None:
    request = unpack(SyncRequest, handler.body)
    next_seq = request.first_seq + len(request.entries)
    answers(msgspec.structs.replace(REPLY, next_seq=next_seq, manifests={"rulebook.all": 5}))(handler)


@pytest.fixture
def sync(server: Server) -> Iterator[Sync]:
    server.behaviour = takes_all
    sync = Sync(server.url)
    yield sync
    server.release.set()
    sync.thread.stop(WAIT_S)


def test_the_thread_syncs_at_once_and_shows_the_newest_session(sync: Sync) -> None:
    applied = sync.desk.applied.get(timeout=WAIT_S)
    assert (applied.next_seq, applied.session) == (2, "next-session")
    assert sync.fetched.get(timeout=WAIT_S) == {"rulebook.all": 5}
    sync.round()
    assert sync.thread.session == "next-session"
    assert sync.desk.links.get(timeout=WAIT_S) is None


def test_a_new_sale_is_told_at_once(sync: Sync) -> None:
    sync.desk.applied.get(timeout=WAIT_S)
    sync.desk.bodies += (ledger.canonical(ledger.Entry("T1", 1, 2, 2, "SALE", None)),)
    sync.thread.wake()
    assert sync.desk.applied.get(timeout=WAIT_S).next_seq == 3


def test_many_sales_at_once_are_one_round_not_many(server: Server, sync: Sync) -> None:
    """Twenty wake-ups while the thread is busy: it hears them all when it comes to rest."""
    sync.round()
    while not server.heard.empty():
        server.heard.get()
    resting = threading.Event()

    def sell_twenty() -> None:
        for _ in range(20):
            sync.thread.wake()
        resting.set()

    sync.thread.run(sell_twenty)
    assert resting.wait(WAIT_S)
    sync.round()
    assert server.heard.qsize() <= 2


def test_a_person_is_not_kept_waiting_by_a_back_off(server: Server, sync: Sync) -> None:
    sync.round()
    server.behaviour = hangs_up
    for _ in range(8):
        sync.round()  # by now the pause may be minutes
    server.behaviour = takes_all
    sync.round()
    sync.round()
    words = [sync.desk.links.get(timeout=WAIT_S) for _ in range(sync.desk.links.qsize())]
    assert "unreachable" in words
    assert words[-1] is None


@pytest.mark.parametrize("trouble", [TimeoutError(), RuntimeError("disk full"), KeyError("x")])
def test_a_till_that_cannot_do_what_was_asked_is_asked_again_later(
    sync: Sync, trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk must not end syncing until somebody restarts the agent."""
    sync.round()
    sync.desk.trouble = trouble
    sync.round()
    sync.round()
    sync.desk.trouble = None
    sync.round()
    sync.round()
    words = [sync.desk.links.get(timeout=WAIT_S) for _ in range(sync.desk.links.qsize())]
    assert "failed_here" in words
    assert words[-1] is None
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1  # once, not every round
    assert SESSION not in caplog.text


def test_tasks_of_others_are_done_between_rounds(sync: Sync) -> None:
    done: Future[str] = Future()
    sync.thread.run(lambda: done.set_result(threading.current_thread().name))
    assert done.result(WAIT_S) == "sync"


def test_nobody_waits_for_a_thread_that_has_too_much_to_do(server: Server) -> None:
    """A busy counter makes hundreds of calls, which are one; who cannot be heard is told at once."""
    sync = Sync(server.url, start=False)
    for _ in range(1_000):
        sync.thread.wake()
        sync.thread.wake(force=True)
    assert sync.thread._asked.qsize() == 2
    for _ in range(100):
        sync.thread.run(lambda: None)
    told = threading.Event()
    sync.thread.wake(force=True, done=told.set)
    assert told.is_set()
    sync.thread.start()
    sync.round()  # and it goes on as ever
    sync.thread.wake()
    sync.round()
    sync.thread.stop(WAIT_S)


def test_the_thread_ends_when_it_is_asked_to_however_much_there_is_to_do(sync: Sync) -> None:
    busy = threading.Event()
    sync.thread.run(lambda: assert_true(busy.wait(WAIT_S)))
    for _ in range(100):
        sync.thread.wake(force=True)
    busy.set()
    sync.thread.stop(WAIT_S)
    assert "sync" not in {thread.name for thread in threading.enumerate()}


def assert_true(condition: bool) -> None:
    assert condition


CLAIM = ClaimRequest(WIRE_VERSION, "ab" * 16, 1001, 50_00, 0)
GRANTED = ClaimReply("ab" * 16, 50_00, False, 1, 7, (), b"", b"")


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (answers(GRANTED), (GRANTED, False)),
        (answers(Refusal("SESSION", "sync first"), 401), (None, True)),
        (answers(Refusal("CLAIM_DIFFERS", ""), 409), (None, True)),
        (answers(Refusal("BUSY", ""), 503), (None, False)),
        (hangs_up, (None, False)),
        (is_a_hotel, (None, False)),
    ],
)
def test_a_claim_is_answered_refused_or_not_heard(
    server: Server, lookups: Lookups, behaviour: Behaviour, said: tuple[Any, bool]
) -> None:
    """A till may lend where nobody answers; never where the office has said no."""
    server.behaviour = behaviour
    lookups.thread.claim(CLAIM)
    assert lookups.claims.get(timeout=WAIT_S) == (CLAIM, *said)
