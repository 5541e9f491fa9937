"""Our client for cash programs: what it sends, what it asks again by itself, and what it never does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from agent.api import Api, ApiServer
from agent.inbox import (
    ChangeSale,
    CommitSale,
    FindSales,
    GetSale,
    ListHeld,
    ListOpen,
    LookUpCard,
    LookUpGoods,
    PrintSale,
    Problem,
    PutSale,
    RegisterCard,
    ReturnGoods,
    ScreenAsked,
    StatusAsked,
    SyncAsked,
    VoidSale,
    overloaded,
)
from agent.pos_client import PosAway, PosClient, PosRefused
from loyalty.texts import N_
from tests.agent.test_api import CARD, CART, TOKEN, WAIT_S, Till

QUOTE: dict[str, Any] = {"quote_id": "q1"}
TENDERS = [{"type": "cash", "amount": 9_000}]
WELL: dict[str, Any] = {"well": True, "sales": [], "goods": []}


@pytest.fixture
def till() -> Iterator[Till]:
    """A till that answers that all is well."""
    till = Till()
    till.answer = lambda ask: ask.reply.set_result(WELL)
    yield till
    till.stop()


@pytest.fixture
def server(till: Till, tmp_path: Path) -> Iterator[ApiServer]:
    server = listen(till, tmp_path)
    yield server
    server.stop()


@pytest.fixture
def pos(server: ApiServer, tmp_path: Path) -> Iterator[PosClient]:
    pos = PosClient(tmp_path, tries=3, pause_s=0)
    yield pos
    pos.close()


def listen(till: Till, state_dir: Path, token: str = TOKEN, port: int = 0) -> ApiServer:
    """The till's API, with what the agent writes into its state directory."""
    server = ApiServer(Api(till.inbox, token), "127.0.0.1", port)
    server.start()
    (state_dir / "api.port").write_text(str(server.port), "ascii")
    (state_dir / "api.token").write_text(f"{token}\n", "ascii")
    return server


CALLS: dict[str, tuple[Callable[[PosClient], Any], type]] = {
    "a cart": (lambda pos: pos.quote("r1", CART["lines"], card=CARD), PutSale),
    "a choice": (lambda pos: pos.change("r1", redeem="max"), ChangeSale),
    "how it stands": (lambda pos: pos.sale("r1"), GetSale),
    "what is held": (lambda pos: pos.held(), ListHeld),
    "what is open": (lambda pos: pos.open_sales(), ListOpen),
    "it is paid": (lambda pos: pos.commit("r1", QUOTE, TENDERS), CommitSale),
    "it is taken back": (lambda pos: pos.void("r1", "ошибка"), VoidSale),
    "the slip again": (lambda pos: pos.print_again("r1", "p1"), PrintSale),
    "goods come back": (lambda pos: pos.take_back("v1", {"1": 1_000}, sale_id="r1"), ReturnGoods),
    "of which sale": (lambda pos: pos.find_sales(card=CARD), FindSales),
    "a card is given out": (lambda pos: pos.register_card(CARD), RegisterCard),
    "whose card": (lambda pos: pos.look_up_card(CARD, entry="keyed"), LookUpCard),
    "what goods": (lambda pos: pos.goods("46"), LookUpGoods),
    "how the till stands": (lambda pos: pos.status(), StatusAsked),
    "what the page shows": (lambda pos: pos.screen(), ScreenAsked),
    "sync now": (lambda pos: pos.sync(), SyncAsked),
}
FINISHING = ("it is paid", "it is taken back", "the slip again", "goods come back")


@pytest.mark.parametrize(("ask", "kind"), CALLS.values(), ids=CALLS.keys())
def test_each_method_asks_the_till_what_it_says(
    till: Till, pos: PosClient, ask: Callable[[PosClient], Any], kind: type
) -> None:
    ask(pos)
    assert [type(one) for one in till.asked] == [kind]


@pytest.mark.parametrize("name", CALLS)
def test_only_what_finishes_something_is_asked_again(till: Till, pos: PosClient, name: str) -> None:
    """The till is busy; where that is for the third time, the caller hears of it."""
    till.answer = lambda ask: ask.reply.set_exception(overloaded())
    with pytest.raises(PosRefused) as refused:
        CALLS[name][0](pos)
    assert (refused.value.status, refused.value.code) == (503, "overloaded")
    assert len(till.asked) == (3 if name in FINISHING else 1)
    assert len({str(getattr(one, "body", "")) for one in till.asked}) == 1


def test_a_till_that_is_busy_once_has_sold_once(till: Till, pos: PosClient) -> None:
    till.answer = lambda ask: (
        ask.reply.set_exception(overloaded()) if len(till.asked) == 1 else ask.reply.set_result(WELL)
    )
    assert pos.commit("r1", QUOTE, TENDERS) == WELL
    first, second = till.asked
    assert first.body == second.body


def test_what_is_refused_for_good_is_not_asked_again(till: Till, pos: PosClient) -> None:
    text = N_("the card is not found")
    details = {"faults": [{"path": "lines[0]", "ru": "а", "en": "b"}], "answered": {"pay": 5}}
    till.answer = lambda ask: ask.reply.set_exception(Problem(409, "commit_differs", text, details))
    with pytest.raises(PosRefused) as refused:
        pos.commit("r1", QUOTE, TENDERS)
    error = refused.value
    assert (error.status, error.code, error.en) == (409, "commit_differs", "the card is not found")
    assert error.ru != error.en
    assert error.faults == details["faults"]
    assert error.error["answered"] == {"pay": 5}
    assert len(till.asked) == 1


def test_a_till_that_is_silent_is_away(till: Till, server: ApiServer, tmp_path: Path) -> None:
    """A quote is waited for once, and a commit until the tries are used up."""
    unanswered: list[Future[Any]] = []
    till.answer = lambda ask: unanswered.append(ask.reply)
    pos = PosClient(tmp_path, timeout_s=0.05)
    with pytest.raises(PosAway):
        pos.quote("r1", CART["lines"])
    pos.close()
    for reply in unanswered:
        reply.set_result(WELL)
    assert len(till.asked) == 1


def test_an_agent_that_comes_back_elsewhere_is_found_there(till: Till, tmp_path: Path) -> None:
    first = listen(till, tmp_path)
    pos = PosClient(tmp_path, tries=1)
    assert pos.quote("r1", CART["lines"]) == WELL
    before = pos.url
    first.stop()
    second = listen(till, tmp_path)
    assert pos.quote("r1", CART["lines"]) == WELL
    assert pos.url != before
    second.stop()
    pos.close()


def test_a_token_that_was_made_anew_is_read_again(till: Till, tmp_path: Path) -> None:
    first = listen(till, tmp_path)
    pos = PosClient(tmp_path, tries=1)
    assert pos.status() == WELL
    first.stop()
    second = listen(till, tmp_path, "another-token-of-the-test", first.port)
    assert pos.status() == WELL
    second.stop()
    pos.close()


def test_who_cannot_read_the_directory_names_url_and_token(server: ApiServer) -> None:
    pos = PosClient(url=f"http://127.0.0.1:{server.port}/", token=TOKEN)
    assert pos.status() == WELL
    pos.close()
    stranger = PosClient(url=f"http://127.0.0.1:{server.port}", token="not the token")
    with pytest.raises(PosRefused, match="unauthorized"):
        stranger.status()
    stranger.close()


@pytest.mark.parametrize("given", [{}, {"url": "http://127.0.0.1:1"}, {"token": TOKEN}])
def test_a_client_must_know_where_the_agent_is(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="url and token"):
        PosClient(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("said", [b"<html>", b"[]", b'{"error": "no"}'], ids=["a page", "a list", "a word"])
def test_another_program_on_its_port_is_no_agent(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            client, _ = listening.accept()
            with client:
                client.recv(4096)
                client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(said) + said)

        answering = threading.Thread(target=answer)
        answering.start()
        pos = PosClient(url=f"http://127.0.0.1:{listening.getsockname()[1]}", token=TOKEN)
        with pytest.raises(PosAway):
            pos.status()
        pos.close()
        answering.join(WAIT_S)


def test_events_come_as_they_happen_until_the_agent_ends(till: Till, tmp_path: Path) -> None:
    api = Api(till.inbox, TOKEN)
    server = ApiServer(api, "127.0.0.1", 0)
    server.start()
    pos = PosClient(url=f"http://127.0.0.1:{server.port}", token=TOKEN)
    events = pos.events()
    assert next(events) == ("hello", {})
    api.feed.publish("sale", {"sale_id": "r1", "state": "quoted", "quote_id": "q1"})
    api.feed.publish("scan", {"data": "строка\nи ещё", "symbology": None})
    assert next(events) == ("sale", {"sale_id": "r1", "state": "quoted", "quote_id": "q1"})
    assert next(events) == ("scan", {"data": "строка\nи ещё", "symbology": None})
    server.stop()
    assert list(events) == []
    with pytest.raises(PosAway):
        next(pos.events())
    pos.close()


def test_a_page_url_opens_the_page(pos: PosClient, server: ApiServer) -> None:
    assert pos.page_url().startswith(f"http://127.0.0.1:{server.port}/screen/enter/")
