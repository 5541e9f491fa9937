"""Becoming a till: over real HTTP, and again where the answer was lost on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from agent.enrol import enrol, enrol_anew
from agent.offline.ledger_db import LedgerDb
from agent.offline.records import LedgerFault
from agent.state import StateDir
from agent.sync.client import CentreRefusal, LinkError
from loyalty.wire import EnrollRequest, Refusal, pack, unpack
from tests.agent.shop import CHAIN_KEY, STORE, TILL, enrolment

CODE = "4K7M-92XA-QF3T"


class Office(HTTPServer):
    """Answers an enrolment with `status` and `body`, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Desk)
        self.status, self.body = 200, pack(enrolment())
        self.asked: list[EnrollRequest] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Desk(BaseHTTPRequestHandler):
    server: Office

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(unpack(EnrollRequest, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    thread = threading.Thread(target=office.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield office
    office.shutdown()
    office.server_close()
    thread.join(10)


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "till")


def is_a_till(state: StateDir) -> bool:
    with closing(LedgerDb(state.ledger)) as book:
        return book.identity() is not None


def test_a_box_becomes_a_till(office: Office, state: StateDir) -> None:
    identity = enrol(state, office.url, CODE)
    assert (identity.till, identity.store, identity.server_url) == (TILL, STORE, office.url)
    assert state.chain_key() == CHAIN_KEY
    (asked,) = office.asked
    assert asked.code == CODE
    assert asked.public_key == state.private_key().public_key().public_bytes_raw()
    with closing(LedgerDb(state.ledger)) as book:
        assert (book.uplink().epoch, book.uplink().session) == (1, "s0")


def test_an_answer_that_was_lost_is_asked_for_again_with_the_same_key(
    office: Office, state: StateDir
) -> None:
    """The office gives the same code and key the same answer: the code is not used up by a bad line."""
    whole, office.body = office.body, office.body[:20]
    with pytest.raises(LinkError):
        enrol(state, office.url, CODE)
    assert not is_a_till(state)
    office.body = whole
    assert enrol(state, office.url, CODE).till == TILL
    assert office.asked[0] == office.asked[1]


def test_a_code_that_is_refused_leaves_the_box_as_it_was(office: Office, state: StateDir) -> None:
    office.status, office.body = 403, pack(Refusal("CODE", "this code was used already"))
    with pytest.raises(CentreRefusal, match="used already"):
        enrol(state, office.url, CODE)
    assert not is_a_till(state)


@pytest.mark.parametrize(
    "change",
    [{"chain_key": b"short"}, {"reply_key": b""}, {"channel_keys": {"k": b"x"}}, {"session": "\r\n"}],
)
def test_an_answer_that_no_till_could_live_by_is_refused(
    office: Office, state: StateDir, change: dict[str, object]
) -> None:
    office.body = pack(msgspec.structs.replace(enrolment(), **change))
    with pytest.raises(LinkError, match="not a whole EnrollReply"):
        enrol(state, office.url, CODE)
    assert not is_a_till(state)


def test_a_till_stays_who_it_is(office: Office, state: StateDir) -> None:
    enrol(state, office.url, CODE)
    with pytest.raises(LedgerFault, match="enrolled already"):
        enrol(state, office.url, "ANOTHER-CODE")
    assert len(office.asked) == 1  # the second code was not even sent


def test_a_box_that_was_a_till_is_enrolled_anew_and_keeps_what_it_was(
    office: Office, state: StateDir
) -> None:
    enrol(state, office.url, CODE)
    before = state.till_key_file.read_bytes()
    office.status, office.body = 403, pack(Refusal("CODE", "this code was used already"))
    with pytest.raises(CentreRefusal):
        enrol_anew(state, office.url, CODE, 1_795_000_000)
    assert state.till_key_file.read_bytes() == before  # nothing has changed

    second = msgspec.structs.replace(enrolment(), epoch=2)
    office.status, office.body = 200, pack(second)
    identity, aside = enrol_anew(state, office.url, CODE, 1_795_000_000)
    assert identity.till == TILL
    assert aside == state.path / "before-20261118T110640Z"
    assert (aside / "till.key").read_bytes() == before
    with closing(LedgerDb(state.ledger)) as book:
        assert book.uplink().epoch == 2
        with pytest.raises(LedgerFault, match="stop it first"):
            enrol_anew(state, office.url, CODE, 1_795_000_000)
    assert not (state.path / "enrolling").exists()
    assert office.asked[-1] == office.asked[-2]  # the refusal did not cost the key
