"""`kopilka-agent`: 0 done, 1 failed and why, 2 wrong use; Russian unless asked otherwise."""

from __future__ import annotations

import base64
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent.api import Api, ApiServer
from agent.cli import main
from agent.inbox import GetSale, Inbox, LinkChanged, Problem, StatusAsked, Stop, SyncAsked
from agent.offline.ledger_db import LedgerDb
from agent.state import StateDir
from agent.texts import amount
from loyalty import ledger
from loyalty.texts import N_
from tests.agent.shop import CARD, Shop, enrolment

WAIT_S = 10


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOPILKA_LANG", "en")


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A box with a configuration and an empty state directory."""
    (tmp_path / "till").mkdir()
    path = tmp_path / "agent.toml"
    path.write_text('state_dir = "till"\n[api]\nport = 0\n', encoding="utf-8")
    return path


def run(box: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(box)])


def failed(box: Path, *words: str) -> str:
    """The command ends with 1 and says why on the error output, without a traceback."""
    result = run(box, *words)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    return result.stderr


# --------------------------------------------------------------------- where no agent runs


@pytest.mark.parametrize(
    "words", [("status",), ("status", "--json"), ("sync", "now"), ("sync", "now", "--json")]
)
def test_where_no_agent_runs_the_remedy_is_named(box: Path, words: tuple[str, ...]) -> None:
    assert "is it running? systemctl status kopilka-agent" in failed(box, *words)


def test_an_agent_that_has_gone_left_its_port_behind(box: Path) -> None:
    state = StateDir(box.parent / "till")
    state.token()
    state.save_port(1)
    assert "ConnectionError" in failed(box, "status")


@pytest.mark.parametrize("words", [("ledger", "tail"), ("ledger", "verify")])
def test_a_ledger_that_is_not_there_is_said(box: Path, words: tuple[str, ...]) -> None:
    assert "enrol this till first" in failed(box, *words)
    assert list((box.parent / "till").iterdir()) == []


def test_the_daemon_does_not_start_on_a_box_that_is_no_till(box: Path) -> None:
    assert "kopilka-agent enroll --server URL --code CODE" in failed(box, "run")


def test_a_configuration_that_is_wrong_is_said_before_anything(box: Path) -> None:
    box.write_text('langauge = "ru"', encoding="utf-8")
    for words in (("status",), ("run",), ("ledger", "verify")):
        assert "did you mean language?" in failed(box, *words)
    assert "--config" in failed(box.with_name("none.toml"), "status")


def test_a_cashier_reads_russian(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOPILKA_LANG", "")
    assert "касс" in failed(box, "ledger", "verify")
    monkeypatch.setenv("KOPILKA_LANG", "ru")
    assert "агент" in failed(box, "status")


# ------------------------------------------------------------------------------ wrong use


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("status", "--nonsense"),
        ("enroll",),
        ("enroll", "--server", "https://centre"),
        ("enroll", "--code", "X"),
        ("enroll", "--server", "centre.example", "--code", "X"),
        ("enroll", "--server", "ftp://centre", "--code", "X"),
        ("ledger", "tail", "-n", "0"),
        ("ledger", "tail", "-n", "many"),
        ("sync",),
        ("sync", "later"),
    ],
)
def test_wrong_use_ends_with_two(box: Path, words: tuple[str, ...]) -> None:
    result = run(box, *words)
    assert result.exit_code == 2, result.output
    assert "Usage:" in result.stderr


# -------------------------------------------------------------------------------- enrolment


def test_a_centre_that_is_not_there_leaves_the_box_as_it_was(box: Path) -> None:
    says = failed(box, "enroll", "--server", "http://127.0.0.1:1", "--code", "4K7M-92XA-QF3T")
    assert "check the address and the cable" in says
    assert "4K7M" not in says
    with closing(LedgerDb(box.parent / "till" / "ledger.db")) as book:
        assert book.identity() is None


def test_a_till_is_not_enrolled_twice(box: Path) -> None:
    with closing(LedgerDb(box.parent / "till" / "ledger.db")) as book:
        book.enrol(enrolment(), "http://centre")
    says = failed(box, "enroll", "--server", "http://127.0.0.1:1", "--code", "X")
    assert "add --anew" in says


def test_a_box_whose_agent_runs_is_not_enrolled(box: Path) -> None:
    with closing(LedgerDb(box.parent / "till" / "ledger.db")):
        assert "another agent" in failed(box, "enroll", "--server", "http://127.0.0.1:1", "--code", "X")


def test_a_directory_that_cannot_be_made_is_said(box: Path) -> None:
    (box.parent / "till").rmdir()
    (box.parent / "till").write_text("a file in its place", encoding="utf-8")
    assert "cannot be written" in failed(box, "enroll", "--server", "http://127.0.0.1:1", "--code", "X")


# ------------------------------------------------------------------------------- the ledger


@pytest.fixture
def sold(box: Path) -> Path:
    """A box that sold twice: with points, then a void of it."""
    shop = Shop(box.parent / "till")
    shop.till.handle(LinkChanged(None, ""))
    shop.know(balance=200_000)
    shop.grant(160_000)
    shop.commit("r1", shop.put("r1", card=CARD, redeem=4_500))
    shop.void("r1")
    shop.close()
    return box


def test_the_tail_of_the_ledger_is_read_in_columns(sold: Path) -> None:
    """As it is printed: the newest first, and points as one writes them."""
    result = run(sold, "ledger", "tail")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    heads = [line.split() for line in lines if not line.startswith(" ")]
    assert [head[0].rsplit("-", 1)[0] for head in heads] == ["T1-1-2", "T1-1-1"]
    assert [head[3:] for head in heads] == [["VOID", "1001", "T1-1-1"], ["SALE", "1001"]]
    moves = [line for line in lines if line.startswith(" ")]
    assert len({len(line) for line in moves}) == 1  # the points stand in one column
    assert [(line.split()[0], line.split()[-1]) for line in moves[-4:]] == [
        ("parcel:T1", "-45.00"), ("spent", "+45.00"), ("issued", "-42.00"), ("free", "+42.00"),
    ]  # fmt: skip
    assert CARD not in result.stdout


def test_the_tail_says_as_much_as_is_asked(sold: Path) -> None:
    one = run(sold, "ledger", "tail", "-n", "1").stdout
    assert [line.split()[3] for line in one.splitlines() if not line.startswith(" ")] == ["VOID"]
    rows = [json.loads(line) for line in run(sold, "ledger", "tail", "--json").stdout.splitlines()]
    assert [row["kind"] for row in rows] == ["VOID", "SALE"]
    assert [row["ref"] for row in rows] == ["T1-1-1", None]
    assert rows[1]["ident"].startswith("T1-1-1-")
    assert (rows[1]["postings"][0]["points"], len(rows[1]["document_sha256"])) == (-4_500, 64)


def test_a_ledger_that_is_whole_is_said_to_be(sold: Path) -> None:
    assert "2 entries, none is missing" in run(sold, "ledger", "verify").stdout
    report = json.loads(run(sold, "ledger", "verify", "--json").stdout)
    assert (report["entries"], report["ok"], len(report["head"])) == (2, True, 64)


def test_a_ledger_that_was_tampered_with_is_said_to_be(sold: Path) -> None:
    with closing(sqlite3.connect(sold.parent / "till" / "ledger.db")) as raw:
        raw.execute("DROP TRIGGER entry_is_never_edited")
        raw.execute("UPDATE entry SET h = zeroblob(32) WHERE seq = 1")
        raw.commit()
    assert "T1-1-1" in failed(sold, "ledger", "verify")


def ident_of(box: Path, n: int) -> str:
    rows = [json.loads(line) for line in run(box, "ledger", "tail", "--json").stdout.splitlines()]
    ident: str = rows[-n]["ident"]
    return ident


def test_the_digits_of_a_slip_are_proven(sold: Path) -> None:
    ident = ident_of(sold, 1)
    lines = run(sold, "ledger", "verify", ident).stdout.splitlines()
    assert lines[0].startswith(ident)
    assert lines[0].endswith("sale (r1): the centre does not have it yet")
    assert lines[-2:] == [
        "receipt: goods 1,000.00\u00a0₽, discounts 100.00\u00a0₽, paid by points 45.00, paid 855.00\u00a0₽;"
        " earned 42.00",
        "the digits are right: the entry, its receipt and the chain from entry 1 on (1 entries) are what was"
        " written",
    ]
    proof = json.loads(run(sold, "ledger", "verify", ident_of(sold, 2), "--json").stdout)
    assert (proof["ok"], proof["walked"], proof["entry"]["kind"], proof["receipt"]) == (True, 2, "VOID", None)


def test_what_is_wrong_with_a_slip_is_said_plainly(sold: Path) -> None:
    right = ident_of(sold, 1)
    for ident, why in {
        f"{right[:-6]}{'0' * 6}": f"the digits differ: entry T1-1-1 of this ledger ends with {right[-6:]}",
        "T2-1-1-3fa94c": "this slip is of till T2; this is till T1",
        "T1-1-9-3fa94c": "there is no entry T1-1-9 here",
        "T1-1-0-3fa94c": "there is no entry T1-1-0 here",
        "T1-2-1-3fa94c": "there is no entry T1-2-1 here",
        "57-3fa94c": "write it as T1-1-57-3fa94c",
    }.items():
        assert why in failed(sold, "ledger", "verify", ident)


def test_a_slip_before_which_something_was_changed_is_not_proven(sold: Path) -> None:
    second = ident_of(sold, 2)
    with closing(sqlite3.connect(sold.parent / "till" / "ledger.db")) as raw:
        raw.execute("DROP TRIGGER document_is_never_edited")
        raw.execute("UPDATE document SET body = zeroblob(64)")
        raw.commit()
    assert "entry T1-1-1 is not what was written" in failed(sold, "ledger", "verify", second)


def test_the_story_of_an_account(sold: Path) -> None:
    assert run(sold, "ledger", "tail", "--account", "1001").stdout.splitlines()[:-1] == [
        "account 1001",
        "lot c:233-1-1-0: 1,600.00 here, from 2026-01-01 00:00:00, without an end, by rule opening",
        "c:166-1-1                2026-11-18 11:06:40Z  granted by the centre",
        "        1,600.00  centre → this till  c:233-1-1-0",
        f"{ident_of(sold, 1):<24} 2026-11-18 11:06:40Z  sale (r1): the centre does not have it yet",
        "           45.00  this till → spent  c:233-1-1-0",
        "           42.00  earned → centre  T1-1-1-0",
        f"{ident_of(sold, 2):<24} 2026-11-18 11:06:40Z  sale taken back: of entry T1-1-1;"
        " the centre does not have it yet",
        "           45.00  spent → this till  c:233-1-1-0",
    ]
    short = run(sold, "ledger", "tail", "--account", "1001", "-n", "1").stdout
    assert "… 2 older entries" in short
    story = json.loads(run(sold, "ledger", "tail", "--account", "1001", "--json").stdout)
    assert [entry["kind"] for entry in story["entries"]] == ["GRANT", "SALE", "VOID"]
    assert story["lots"][0]["points"] == 160_000
    assert "knows nothing of account 5" in failed(sold, "ledger", "tail", "--account", "5")
    assert run(sold, "ledger", "tail", "--account", "5", "--sale", "r1").exit_code == 2


def test_the_story_of_a_sale(sold: Path) -> None:
    with closing(Shop(sold.parent / "till")) as shop:
        shop.know()
        shop.put("r2", card=CARD, redeem=1_000)
    lines = run(sold, "ledger", "tail", "--sale", "r1").stdout.splitlines()
    assert [line.split()[3] for line in lines if line.startswith("T1-")] == ["sale", "sale"]
    assert "  10.00 promised to sale r2" in lines
    lines = run(sold, "ledger", "tail", "--sale", "r2").stdout.splitlines()
    assert lines[1] == "sale r2 is not paid; it is promised 10.00"
    assert "does not know sale r3" in failed(sold, "ledger", "tail", "--sale", "r3")


def test_everything_is_exported_with_the_bytes_that_prove_it(sold: Path, tmp_path: Path) -> None:
    target = tmp_path / "ledger.jsonl"
    assert run(sold, "ledger", "export", str(target)).exit_code == 0
    assert target.stat().st_mode & 0o777 == 0o600
    about, *rows = [json.loads(line) for line in target.read_text("utf-8").splitlines()]
    assert (about["till"], about["format"], len(rows)) == ("T1", 1, 2)
    head = ledger.genesis("T1", 1)
    for row in rows:
        head = ledger.link(head, base64.b64decode(row["canonical"]))
        assert row["head"] == head.hex()
    receipt = rows[0]["receipt"]
    assert (receipt["document"], receipt["receipt"]["lines"][0]["sku"]) == ("sale", "milk-1")
    assert [row["acknowledged"] for row in rows] == [False, False]
    assert "--replace" in failed(sold, "ledger", "export", str(target))
    assert run(sold, "ledger", "export", "-").stdout == target.read_text("utf-8")
    assert CARD not in target.read_text("utf-8")


def test_a_backup_and_a_restore_say_what_they_did(sold: Path, tmp_path: Path) -> None:
    state = StateDir(sold.parent / "till")
    state.make_key()
    state.save_chain_key(bytes(32))
    night = tmp_path / "night.tar"
    assert "life 1 up to entry 2 (2 in all), checked" in run(sold, "backup", str(night)).stdout
    assert "--replace" in failed(sold, "backup", str(night))
    said = run(sold, "restore", str(night)).stdout
    assert "this box is till T1 as it was" in said
    assert "what lay here before is in" in said
    assert json.loads(run(sold, "restore", "--in-place", "--json").stdout)["restoring"]
    assert run(sold, "restore").exit_code == 2
    assert "there is no directory" in failed(sold, "backup", str(tmp_path / "no" / "night.tar"))


@pytest.mark.parametrize("words", [("ledger", "tail"), ("ledger", "verify")])
def test_a_ledger_that_is_no_database_is_said(box: Path, words: tuple[str, ...]) -> None:
    (box.parent / "till" / "ledger.db").write_text("photos of the shop " * 100, encoding="utf-8")
    assert "restore it from a backup" in failed(box, *words)


@pytest.mark.parametrize(
    ("hundredths", "russian", "english"),
    [
        (0, "0,00", "0.00"),
        (5, "0,05", "0.05"),
        (123_450, "1 234,50", "1,234.50"),
        (-123_450, "-1 234,50", "-1,234.50"),
        (100_000_000_000, "1 000 000 000,00", "1,000,000,000.00"),
    ],
)
def test_points_are_written_as_people_write_them(hundredths: int, russian: str, english: str) -> None:
    assert (amount(hundredths, "ru"), amount(hundredths, "en")) == (russian, english)
    assert amount(hundredths, "en", sign=True) == (english if hundredths < 0 else f"+{english}")


# --------------------------------------------------------------------- where an agent runs


class Running:
    """An agent whose till answers as the test says."""

    def __init__(self, state: StateDir) -> None:
        self.inbox = Inbox()
        self.answers: dict[type, Any] = {SyncAsked: {}}
        self.server = ApiServer(Api(self.inbox, state.token()), "127.0.0.1", 0)
        state.save_port(self.server.port)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.server.start()

    def _run(self) -> None:
        while not isinstance(ask := self.inbox.take(None), Stop):
            assert isinstance(ask, StatusAsked | SyncAsked | GetSale)
            answer = self.answers[type(ask)]
            if isinstance(answer, Exception):
                ask.reply.set_exception(answer)
            else:
                ask.reply.set_result(answer)

    def stop(self) -> None:
        self.server.stop()
        self.inbox.post(Stop())
        self._thread.join(WAIT_S)


@pytest.fixture
def running(box: Path, tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "shop").mkdir()
    shop = Shop(tmp_path / "shop")
    shop.till.handle(LinkChanged("unreachable", "the cable"))
    agent = Running(StateDir(box.parent / "till"))
    agent.answers[StatusAsked] = shop.status()
    shop.close()
    yield agent
    agent.stop()


def test_the_status_of_a_running_till(box: Path, running: Running) -> None:
    result = run(box, "status")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:4] == [
        "till         T1, store S1, life 1",
        "link         no link (unreachable); never synced",
        "to send      nothing",
        "points here  0.00 of 0 accounts; at most 0.00 can be spent here without a link",
    ]
    assert lines[-1].startswith("! check the cable")
    assert json.loads(run(box, "status", "--json").stdout)["link"]["word"] == "unreachable"


def test_a_sync_without_a_link_has_failed(box: Path, running: Running) -> None:
    assert "there is no link to the centre; entries to send: 0" in failed(box, "sync", "now")
    running.answers[StatusAsked]["link"]["state"] = "online"
    assert run(box, "sync", "now").exit_code == 0
    assert json.loads(run(box, "sync", "now", "--json").stdout) == {"online": True, "pending": 0}


def test_what_the_agent_refuses_is_said_in_its_own_words(box: Path, running: Running) -> None:
    running.answers[StatusAsked] = Problem(507, "disk_full", N_("the card is not found"))
    assert failed(box, "status").strip() == "the card is not found"
