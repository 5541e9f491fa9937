"""Who may ask, and who hears: the page's URL that works once, its cookie, events, the socket, a flood."""

from __future__ import annotations

import http.client
import json
import socket
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from agent import api as api_module
from agent.api import Api, ApiServer
from agent.feed import BACKLOG_MAX, LISTENERS_MAX
from agent.inbox import CommitSale, GetSale, Inbox, PutSale
from agent.sessions import COOKIE, INVITE_S
from tests.agent.test_api import CART, COMMIT, TOKEN, WAIT_S, CashProgram, Till, serve

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def till() -> Iterator[Till]:
    """A till that answers that all is well."""
    till = Till()
    till.answer = lambda ask: ask.reply.set_result({"well": True})
    yield till
    till.stop()


class Door:
    """A till's API with a clock of the test's own, and a browser in front of it."""

    def __init__(self, till: Till) -> None:
        self.clock = Clock()
        self.api = Api(till.inbox, TOKEN, monotonic_s=self.clock)
        self._served = serve(self.api)
        self.cash = next(self._served)
        self.browser = requests.Session()
        self.browser.trust_env = False

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.cash.port}{path}"

    def look(self, path: str, **more: Any) -> requests.Response:
        return self.browser.get(self.url(path), timeout=WAIT_S, allow_redirects=False, **more)

    def invite(self) -> str:
        path: str = self.cash.ask("POST", "/v1/screen").json()["path"]
        return path

    def close(self) -> None:
        self.browser.close()
        assert list(self._served) == []


@pytest.fixture
def door(till: Till) -> Iterator[Door]:
    door = Door(till)
    yield door
    door.close()


# ------------------------------------------------------------------------- the page's door


def test_the_page_opens_by_a_url_that_works_once(door: Door) -> None:
    path = door.invite()
    entered = door.look(path)
    assert (entered.status_code, entered.headers["location"]) == (303, "/screen")
    assert "HttpOnly" in entered.headers["set-cookie"]
    assert "SameSite=strict" in entered.headers["set-cookie"]
    assert door.look("/screen").status_code == 200
    assert door.look("/v1/status", headers=SAME_ORIGIN).json() == {"well": True}

    stranger = requests.Session()
    stranger.trust_env = False
    again = stranger.get(door.url(path), timeout=WAIT_S, allow_redirects=False)
    assert (again.status_code, "set-cookie" in again.headers) == (403, False)
    assert "kopilka-agent screen" in again.text
    stranger.close()


def test_the_url_is_good_for_a_minute(door: Door) -> None:
    late, in_time = door.invite(), door.invite()
    door.clock.now_s += INVITE_S
    assert door.look(in_time).status_code == 303
    door.clock.now_s += 1
    assert door.look(late).status_code == 403


def test_a_url_that_was_guessed_opens_nothing(door: Door) -> None:
    door.invite()
    assert door.look("/screen/enter/guess").status_code == 403
    assert door.look("/screen").status_code == 403


def test_the_cookie_outlives_the_agent_and_ends_with_the_token(till: Till, door: Door) -> None:
    door.look(door.invite())
    cookie = door.browser.cookies[COOKIE]
    headers = {**SAME_ORIGIN, "Cookie": f"{COOKIE}={cookie}"}
    for token, status in ((TOKEN, 200), (f"another-{TOKEN}", 401)):
        served = serve(Api(till.inbox, token))
        restarted = next(served)
        del restarted.http.headers["Authorization"]
        assert restarted.ask("GET", "/v1/status", headers=headers).status_code == status
        assert list(served) == []


STRANGERS: dict[str, dict[str, str]] = {
    "another site in the same browser": {"Sec-Fetch-Site": "cross-site"},
    "another page of this box": {"Sec-Fetch-Site": "same-site"},
    "a program without a browser": {},
    "a name that was made to point here": {**SAME_ORIGIN, "Host": "evil.example:8317"},
}


@pytest.mark.parametrize("headers", STRANGERS.values(), ids=STRANGERS)
def test_the_cookie_counts_only_for_our_own_page(till: Till, door: Door, headers: dict[str, str]) -> None:
    door.look(door.invite())
    till.asked.clear()
    assert door.look("/v1/status", headers=headers).status_code == 401
    assert till.asked == []


@pytest.mark.parametrize("cookie", ["", "x", "a.b", "." * 9, "é"])
def test_a_cookie_of_ones_own_making_opens_nothing(door: Door, cookie: str) -> None:
    headers = {**SAME_ORIGIN, "Cookie": f"{COOKIE}={cookie}".encode("latin-1")}
    assert door.look("/v1/status", headers=headers).status_code == 401


def test_the_page_loads_from_this_box_alone(door: Door) -> None:
    door.look(door.invite())
    page = door.look("/screen")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    for name in ("screen.js", "screen.css", "icon.svg", "words/ru", "words/en"):
        assert door.look(f"/screen/{name}").status_code == 200, name
    for name in ("../pages.py", "..%2Fpages.py", "view.py", "none.js", "%2Fetc%2Fpasswd"):
        assert door.look(f"/screen/{name}").status_code == 404, name


# ------------------------------------------------------------------------------- events


class Listener:
    """Reads the stream of events."""

    def __init__(self, door: Door, timeout_s: float = WAIT_S) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self.answer = requests.get(door.url("/v1/events"), headers=headers, stream=True, timeout=timeout_s)
        self._lines = self.answer.iter_lines()

    def next(self) -> tuple[str, Any]:
        """The next event, or StopIteration where the stream has ended."""
        name = ""
        for line in self._lines:
            if line.startswith(b"event: "):
                name = line[7:].decode()
            elif line.startswith(b"data: "):
                return name, json.loads(line[6:])
        raise StopIteration


def test_whoever_listens_hears_what_happens_from_now_on(door: Door) -> None:
    door.api.feed.publish("card", {"card": "…0001"})  # nobody listens yet: it is gone
    listener = Listener(door)
    assert listener.answer.headers["content-type"].startswith("text/event-stream")
    assert listener.next() == ("hello", {})
    door.api.feed.publish("card", {"card": "…0015", "sale_id": None})
    assert listener.next() == ("card", {"card": "…0015", "sale_id": None})
    listener.answer.close()


def test_events_are_for_those_who_may_ask(door: Door) -> None:
    assert door.look("/v1/events").status_code == 401


def test_too_many_listeners_are_told_so(door: Door) -> None:
    all_places = [Listener(door) for _ in range(LISTENERS_MAX)]
    status, error = door.cash.refused("GET", "/v1/events")
    assert (status, error["code"]) == (503, "too_many_listeners")
    for listener in all_places:
        listener.answer.close()


def test_a_listener_that_does_not_read_is_cut_off_and_nobody_waits_for_it(door: Door) -> None:
    slow = Listener(door)
    assert slow.next()[0] == "hello"
    large = {"data": "x" * 4000}  # so that the kernel's own buffers are soon full, too
    for _ in range(BACKLOG_MAX * 40):
        door.api.feed.publish("scan", large)
    heard = 0
    with suppress(StopIteration):
        while heard < BACKLOG_MAX * 40:
            slow.next()
            heard += 1
    assert heard < BACKLOG_MAX * 40


def test_the_streams_end_with_the_agent(till: Till) -> None:
    door = Door(till)
    listener = Listener(door)
    assert listener.next()[0] == "hello"
    door.close()
    with pytest.raises(StopIteration):
        listener.next()


# --------------------------------------------------------------------- the socket in the file system


class UnixConnection(http.client.HTTPConnection):
    """HTTP by a socket of the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WAIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def test_the_same_api_answers_on_a_socket_in_the_file_system(till: Till, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    for _ in range(2):  # a socket that the agent before left behind is no obstacle
        server = ApiServer(Api(till.inbox, TOKEN), "127.0.0.1", 0, path)
        server.start()
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        for token, status in ((TOKEN, 200), ("none", 401)):
            connection = UnixConnection(path)
            connection.request("GET", "/v1/status", headers={"Authorization": f"Bearer {token}"})
            assert connection.getresponse().status == status
            connection.close()
        server.stop()


def test_a_file_that_is_no_socket_is_left_alone(till: Till, tmp_path: Path) -> None:
    """`socket = "ledger.db"` would be a mistake, and must not cost the ledger."""
    precious = tmp_path / "ledger.db"
    precious.write_bytes(b"precious")
    with pytest.raises(OSError, match="in use"):
        ApiServer(Api(till.inbox, TOKEN), "127.0.0.1", 0, precious)
    assert precious.read_bytes() == b"precious"


# ------------------------------------------------------------------------------- too much


def test_a_flood_of_quotes_is_refused_at_once_and_holds_up_no_payment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api_module, "QUOTES_MAX", 4)
    inbox = Inbox()
    served = serve(Api(inbox, TOKEN))
    first = next(served)
    asked: list[requests.Response] = []

    def quote() -> None:
        asked.append(CashProgram(first.port).ask("PUT", "/v1/sales/r1", CART))

    waiting = [threading.Thread(target=quote) for _ in range(4)]
    for thread in waiting:
        thread.start()
    taken = [inbox.take(WAIT_S) for _ in range(4)]  # the till has them, and thinks
    status, error = first.refused("PUT", "/v1/sales/r2", CART)
    assert (status, error["code"]) == (503, "overloaded")
    assert first.ask("GET", "/v1/sales/r2").headers["retry-after"] == "1"

    paying = threading.Thread(target=lambda: asked.append(first.ask("POST", "/v1/sales/r1/commit", COMMIT)))
    paying.start()
    commit = inbox.take(WAIT_S)
    assert isinstance(commit, CommitSale)
    answer(commit.reply)
    paying.join(WAIT_S)
    for put in taken:
        assert isinstance(put, PutSale)
        answer(put.reply)
    for thread in waiting:
        thread.join(WAIT_S)
    assert [one.status_code for one in asked] == [200] * 5

    going_on = threading.Thread(target=lambda: asked.append(first.ask("GET", "/v1/sales/r1")))
    going_on.start()
    look = inbox.take(WAIT_S)
    assert isinstance(look, GetSale)
    answer(look.reply)
    going_on.join(WAIT_S)
    assert asked[-1].status_code == 200
    assert list(served) == []


def answer(reply: Future[dict[str, Any]]) -> None:
    reply.set_result({"well": True})
