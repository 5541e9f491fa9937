"""What people and machines get wrong, through the real programs: said clearly in both languages,
nothing changed, nothing lost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.demo.cash_program import CashProgram
from agent.demo.stage import Office, TillBox, data_file, wait_for

CARD = "2000000000015"
NEVER_ISSUED = "2000000199993"
BANK_CARD = "4276380012345679"
MILK = {"4600000000015": (8990, 1000)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Office, TillBox]]:
    """One centre and one till for all of this page: bad input must leave them as they were."""
    directory = tmp_path_factory.mktemp("shop")
    office, till = Office(directory), TillBox(directory, "ru")
    with ExitStack() as evening:
        evening.callback(office.stop)
        evening.callback(till.stop)
        open_shop(office, till)
        yield office, till


def open_shop(office: Office, till: TillBox) -> None:
    office.command("init")
    office.command("store", "add", "S1", "Магазин у дома")
    office.command("import", "templates", data_file("templates.json"))
    office.command("import", "goods", data_file("goods.json"))
    office.command("rulebook", "publish", data_file("rulebook-1.json"))
    office.command("import", "members", data_file("members.csv"))
    office.start()
    till.command("enroll", "--server", office.url, "--code", office.command("till", "add", "S1")["code"])
    till.start()
    till.command("sync", "now")
    wait_for("the scanner to be open", till.scanner_ready)


def raw(till: TillBox, method: str, path: str, **request: Any) -> requests.Response:
    """A call as no polite cash program makes it."""
    with requests.Session() as http:
        http.trust_env = False
        port = (till.state / "api.port").read_text()
        token = (till.state / "api.token").read_text()
        headers = {"Authorization": f"Bearer {token}"}
        return http.request(method, f"http://127.0.0.1:{port}{path}", headers=headers, timeout=10, **request)


def trouble(till: TillBox, code: str) -> dict[str, str]:
    return wait_for(
        f"the trouble {code}",
        lambda: next((t for t in till.command("status")["troubles"] if t["code"] == code), None),
    )


def in_both_languages(error: dict[str, str], russian: str, english: str) -> None:
    assert russian in error["ru"]
    assert english in error["en"]


@pytest.mark.parametrize(
    ("number", "code", "russian", "english"),
    [
        pytest.param(NEVER_ISSUED, "card_unknown", "не выпускался", "issued", id="outside every range"),
        pytest.param("%E?", "card_unreadable", "ещё раз", "again", id="an unreadable swipe"),
        pytest.param("7" * 1000, "card_unknown", "длин", "long", id="1 kB"),
        pytest.param(BANK_CARD, "payment_card", "банковская", "bank card", id="a bank card"),
    ],
)
def test_a_number_that_is_no_card(
    shop: tuple[Office, TillBox], number: str, code: str, russian: str, english: str
) -> None:
    _, till = shop
    quoted = CashProgram(till.state).quote("bad-card", MILK)
    answer = raw(till, "PUT", "/v1/sales/bad-card", json={"lines": lines(), "card": number})
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert error["code"] == code
    in_both_languages(error, russian, english)
    assert number not in answer.text
    assert CashProgram(till.state).sale("bad-card")["quote_id"] == quoted["quote_id"]


@pytest.mark.parametrize(
    ("data", "russian", "english"),
    [
        pytest.param(NEVER_ISSUED, "не выпускался", "issued", id="outside every range"),
        pytest.param("%E?", "ещё раз", "again", id="an unreadable swipe"),
        pytest.param("7" * 3000, "длин", "long", id="3 kB"),
        pytest.param(f";{BANK_CARD}=29121011234567890?", "банковская", "bank card", id="a bank card"),
    ],
)
def test_a_scan_that_is_no_card(shop: tuple[Office, TillBox], data: str, russian: str, english: str) -> None:
    _, till = shop
    till.scanner.scan(data)
    in_both_languages(trouble(till, "card"), russian, english)
    cash = CashProgram(till.state)
    cash.quote("scanned", MILK)
    till.scanner.scan(CARD)  # the scanner has not suffered, and a good card ends the trouble
    wait_for("the good card", lambda: cash.sale("scanned")["customer"])
    assert not any(t["code"] == "card" for t in till.command("status")["troubles"])
    cash.void("scanned", "проверка")


def test_no_digit_of_a_bank_card_stays_anywhere(shop: tuple[Office, TillBox]) -> None:
    _, till = shop
    till.scanner.scan(f";{BANK_CARD}=29121011234567890?")
    trouble(till, "card")
    raw(till, "PUT", "/v1/sales/bad-card", json={"lines": lines(), "card": BANK_CARD})
    kept = b"".join(path.read_bytes() for path in till.state.rglob("*") if path.is_file())
    for trace in (BANK_CARD, BANK_CARD[:6], BANK_CARD[-6:], "29121011234567890"):
        assert trace.encode() not in kept
        assert trace not in till.said()


@pytest.mark.parametrize(
    ("body", "status", "russian", "english"),
    [
        (b'{"lines": [{"id": "1", "sku": "mi', 400, "не целый JSON", "not whole JSON"),
        (b'{"lines": [], "cart": 1}', 422, "не такое, как надо", "not as it should be"),
        (b'{"lines": [{"id": "1", "sku": "a", "price": "free", "quantity": 1}]}', 422, "price", "price"),
    ],
)
def test_a_message_that_is_cut_or_wrong(
    shop: tuple[Office, TillBox], body: bytes, status: int, russian: str, english: str
) -> None:
    _, till = shop
    answer = raw(till, "PUT", "/v1/sales/cut", data=body)
    assert answer.status_code == status
    in_both_languages(answer.json()["error"], russian, english)
    assert raw(till, "GET", "/v1/sales/cut").status_code == 404


def test_a_message_that_ends_in_the_middle_of_its_body(shop: tuple[Office, TillBox]) -> None:
    office, till = shop
    before = till.command("ledger", "verify")
    for port, path in (
        (int((till.state / "api.port").read_text()), "/v1/sales/half"),
        (office.port, "/v1/tills/T1/sync"),
    ):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode()
            connection.sendall(head + b"half of it")
    till.command("sync", "now")
    assert till.command("ledger", "verify") == before


def program(name: str, *words: str, lang: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name(name), *words],
        env={**os.environ, "KOPILKA_LANG": lang, **more},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("lang", "said"), [("ru", "может быть, printer.columns?"), ("en", "did you mean printer.columns?")]
)
def test_a_configuration_with_a_misspelt_key(tmp_path: Path, lang: str, said: str) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('state_dir = "till"\n[printer]\nurl = "tcp:127.0.0.1:9100"\ncolums = 42\n')
    done = program("kopilka-agent", "run", "--config", str(config), lang=lang)
    assert done.returncode == 1
    assert said in done.stderr
    assert "printer.colums" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "till").exists()


THREE_FAULTS = {
    "format": 1,
    "semantics": 1,
    "id": "demo",
    "seq": 9,
    "rules": [
        {"id": "a", "stage": "line", "effect": {"type": "percent", "bp": -5}},
        {"id": "b", "stage": "line", "effect": {"type": "percnt", "bp": 100}},
        {"id": "c", "stage": "earn", "effect": {"type": "earn_percent"}},
    ],
}


@pytest.mark.parametrize("lang", ["ru", "en"])
def test_a_rulebook_with_three_faults_is_refused_with_all_three(
    shop: tuple[Office, TillBox], tmp_path: Path, lang: str
) -> None:
    office, till = shop
    file = tmp_path / "rulebook.json"
    file.write_text(json.dumps(THREE_FAULTS))
    home = str(till.config.parent / "office")
    done = program("kopilka-central", "rulebook", "publish", str(file), lang=lang, KOPILKA_HOME=home)
    assert done.returncode == 1
    for path in ("rules[0].effect.bp", "rules[1].effect.type", "rules[2].effect.bp"):
        assert path in done.stderr
    assert "percent" in done.stderr  # what was probably meant
    till.command("sync", "now")
    assert till.command("status")["rulebook_seq"] == 1
    assert [t["rulebook"] for t in office.command("till", "list")] == [1]


def lines() -> list[dict[str, object]]:
    return [{"id": "1", "barcode": "4600000000015", "price": 8990, "quantity": 1000}]
