"""What docs/integrators.md tells is what a real till does: its commands are run, its answers compared.

Every block of `sh` runs in one shell, in the page's order, and every block of `python` as a program. A block
of `json` right after one of `sh` is held against what its last command printed: the same keys down to the
last, and the same values where they are the same every day (a value "…" or a key "…" leaves out the rest).
What is refused must be shown as refused.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent import calls, feed, inbox, shapes
from agent.demo.stage import Office, TillBox
from agent.pos_client import PosAway, PosClient, PosRefused
from loyalty.sale import State
from loyalty.settings import Limits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integrators.md").read_text(encoding="utf-8")
PAGE_1C = (ROOT / "docs" / "integrators-1c.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|json|python|)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
MARK = "\n=== block {number} ===\n"
CARD = "2000000000015"
LINES = [{"id": "1", "barcode": "4600000000015", "price": 8990, "quantity": 3000}]


def test_the_commands_of_the_page_do_what_it_says(office: Office, till: TillBox, tmp_path: Path) -> None:
    script = ["set -euo pipefail"]
    for number, (kind, text) in enumerate(BLOCKS):
        if kind == "sh":
            script += [f"printf '%s' '{MARK.format(number=number)}'", text.strip(), "echo"]
    ran = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env={**os.environ, "TILL": str(till.state), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr
    printed = dict(re.findall(r"=== block (\d+) ===\n(.*?)(?=\n=== block|\Z)", ran.stdout, re.DOTALL))
    compared = 0
    for (number, (kind, _)), (_, (after, shown)) in pairwise([*enumerate(BLOCKS), (-1, ("", ""))]):
        if kind == "sh":
            is_refused = after == "json" and "error" in json.loads(shown)
            assert ('"error"' in printed[str(number)]) == is_refused, printed[str(number)]
        if (kind, after) == ("sh", "json"):
            agree(json.loads(shown), last_json(printed[str(number)]), f"block {number}")
            compared += 1
    assert compared == [kind for kind, _ in BLOCKS].count("json")
    for kind, text in BLOCKS:
        if kind == "python":
            assert said_by(text, till).splitlines()[-1].strip().startswith("T1-1-")


def said_by(program: str, till: TillBox) -> str:
    """What a program of the page prints."""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "TILL": str(till.state)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def last_json(text: str) -> Any:
    """The last JSON value in what a block printed; answers of curl stand one after the other."""
    decoder, found, at = json.JSONDecoder(), None, 0
    text = text.strip()
    while at < len(text):
        found, at = decoder.raw_decode(text, at)
        while at < len(text) and text[at].isspace():
            at += 1
    return found


# Of the day, of the ledger's hash, by chance, or of what the link to the office has brought so far.
VARIES = re.compile(
    r"\.(quote_id|ident|ref|path|at|as_of|age_s|active_from|expires_at|available_here|balance|pending)$"
    r"|\.lots_used\b"
)


def agree(shown: Any, answered: Any, where: str) -> None:
    """The page shows what was answered."""
    if shown == "…":
        return
    assert type(shown) is type(answered), where
    if isinstance(shown, dict):
        assert "…" in shown or set(shown) == set(answered), where
        for key in set(shown) & set(answered):
            agree(shown[key], answered[key], f"{where}.{key}")
    elif isinstance(shown, list):
        if "…" not in shown:
            assert len(shown) == len(answered), where
            for number, (ours, theirs) in enumerate(zip(shown, answered, strict=True)):
                agree(ours, theirs, f"{where}[{number}]")
    elif not VARIES.search(where):
        assert shown == answered, where


def test_every_call_event_and_refusal_stands_on_the_page() -> None:
    for call in calls.CALLS:
        assert f"`{call.method} {call.path}" in PAGE, f"{call.method} {call.path}"
        for word in (word for words in call.query.values() for word in words):
            assert f"?state={word}" in PAGE
    for event in feed.EVENTS:
        assert re.search(rf"^\| `{event}` \||^event: {event}$", PAGE, re.MULTILINE), event
    codes = refusals()
    assert len(codes) > 45
    in_tables = set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\|.*$", PAGE, re.MULTILINE))))
    assert codes - in_tables == set()


def refusals() -> set[str]:
    """Every word for programs that the till may say, in an error or in the messages of a quote."""
    source = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "agent").rglob("*.py"))
    source += (ROOT / "loyalty" / "sale.py").read_text(encoding="utf-8")
    named = re.findall(r'(?:Problem\(\s*(?:\d+|status),|Refusal\()\s*"([a-z_]+)"', source)
    composed = [f"{verb}_differs" for verb in ("commit", "void", "print", "return")]
    composed += [f"sale_{state.value}" for state in State]
    noted = re.findall(r'(?:notes\.append\(\(|return )"([a-z_]+)",', source)
    limits = [f"limit_{name}" for name in Limits.__struct_fields__]
    return {*named, *composed, *noted, *limits, *(f"{limit}_soon" for limit in limits)}


UNENDED_1C = {"", "Функция", "Если", "ИначеЕсли", "Иначе", "Для", "Попытка", "Исключение", "КонецФункции"}


def module_1c() -> str:
    """What stands on the page for 1C, without comments."""
    [module] = re.findall(r"^```bsl\n(.*?)^```$", PAGE_1C, re.MULTILINE | re.DOTALL)
    return re.sub(r"//.*", "", module)


def test_the_module_for_1c_closes_what_it_opens() -> None:
    """No platform of 1C runs here, so at least its words and brackets pair, and no letter stands out."""
    pairs = {
        "КонецФункции": "Функция",
        "КонецПроцедуры": "Процедура",
        "КонецЕсли": "Если",
        "КонецПопытки": "Попытка",
        "КонецЦикла": "Цикл",
    }
    code = re.sub(r'"[^"\n]*"', '""', module_1c())
    opened: list[str] = []
    for word in re.findall(r"\w+", code):
        if word in pairs.values():
            opened.append(word)
        elif word in pairs:
            assert opened.pop() == pairs[word]
        elif word in ("Иначе", "ИначеЕсли"):
            assert opened[-1] == "Если"
        elif word == "Исключение":
            assert opened[-1] == "Попытка"
    assert opened == []
    assert len(re.findall(r"\bТогда\b", code)) == len(re.findall(r"\b(?:Если|ИначеЕсли)\b", code))
    for line in code.splitlines():
        assert line.count("(") == line.count(")"), line
        first = re.match(r"\s*(\w*)", line)
        assert first is not None
        assert first[1] in UNENDED_1C or line.rstrip().endswith(";"), line
    assert "ё" not in code.lower(), "1C's own rule for the text of modules"


def test_the_module_for_1c_asks_what_there_is() -> None:
    module = module_1c()
    asked = re.findall(
        r'"(GET|PUT|PATCH|POST)", "(/v1/[^"?]*)[^"]*"(?: \+ (НомерЧека))?(?: \+ "(/\w+)")?', module
    )
    asked += [
        ("POST", *found)
        for found in re.findall(
            r'СпроситьДоОтвета\("(/v1/[^"]*)"(?: \+ (НомерЧека))?(?: \+ "(/\w+)")?', module
        )
    ]
    named = {(method, path + ("{sale_id}" if sale else "") + rest) for method, path, sale, rest in asked}
    assert len(asked) == module.count('"/v1/') == 6
    assert named <= {(call.method, call.path) for call in calls.CALLS}
    bodies = [call.body for call in calls.CALLS if call.body is not None]
    sent = {name for body in (*bodies, inbox.LineBody, inbox.TenderBody) for name in body.__struct_fields__}
    assert set(re.findall(r'Вставить\("([a-z_]+)"', module)) - {"cash"} <= sent
    shown = {name for shape in vars(shapes).values() for name in getattr(shape, "__struct_fields__", ())}
    assert set(re.findall(r'Получить\("([a-z_]+)"', module)) <= shown
    assert set(re.findall(r'Отказ = "([a-z_]+)"', module)) <= refusals()


# ------------------------------------------------------------------------------- our client


def until(events: Iterator[tuple[str, Any]], name: str, fits: Callable[[Any], bool]) -> Any:
    """The next event of this name that fits."""
    return next(data for event, data in events if event == name and fits(data))


def test_a_whole_sale_with_the_client(office: Office, till: TillBox) -> None:
    pos = PosClient(till.state)
    events = pos.events()
    assert next(events) == ("hello", {})
    seen = PosClient(till.state)
    quote = seen.quote("r1", LINES, card=CARD, redeem="max", operator="Иванова")
    assert next(events)[1]["sale_id"] == "r1"
    assert [one["sale_id"] for one in seen.held()] == ["r1"]
    changed = seen.change("r1", redeem=5_000)
    told = until(events, "sale", lambda data: data["quote_id"] not in (None, quote["quote_id"]))
    assert told == {"sale_id": "r1", "state": "quoted", "quote_id": changed["quote_id"]}
    with pytest.raises(PosRefused) as refused:
        seen.commit("r1", quote, cash(quote))
    assert (refused.value.status, refused.value.code) == (409, "quote_changed")
    done = seen.commit("r1", changed, cash(changed))
    [sale] = seen.find_sales(ref=done["ident"])
    assert sale["lines"][0]["left"] == 3000
    back = seen.take_back("v1", {"1": 1000}, ref=done["ident"], slip="lines")
    assert back["money"] == changed["fiscal"]["lines"][0]["price"]
    assert until(events, "print", bool) == {"sale_id": "r1", "outcome": "printed"}
    assert seen.print_again("r1", "p1")["copy"] is True
    assert seen.look_up_card(CARD)["card"] == "…0015"
    assert seen.register_card(CARD)["registered"] is True
    assert seen.goods("4600000000015")[0]["sku"] == "milk-1l"
    assert seen.void("r2", "не было такого")["state"] == "closed"
    assert seen.open_sales() == []
    assert seen.page_url().startswith("http://127.0.0.1:")
    seen.sync()
    assert seen.status()["link"]["state"] == "online"
    seen.close()
    pos.close()


class Lossy(BaseHTTPRequestHandler):
    """A loopback that drops the first answer to whatever finishes something: done, and nobody hears of it."""

    port: int
    lost: set[str]

    def do_PUT(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        agent = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        agent.request(self.command, self.path, body, {"Authorization": self.headers["Authorization"]})
        answer = agent.getresponse()
        said = answer.read()
        agent.close()
        if self.command == "POST" and self.path not in self.lost:
            self.lost.add(self.path)
            self.close_connection = True
            return
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def lossy(till: TillBox) -> Iterator[tuple[PosClient, set[str]]]:
    """A client behind it, and the calls whose answers were lost."""
    lost: set[str] = set()
    port = int((till.state / "api.port").read_text("ascii"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("LossyHere", (Lossy,), {"port": port, "lost": lost}))
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    token = (till.state / "api.token").read_text("ascii").strip()
    pos = PosClient(url=f"http://127.0.0.1:{server.server_port}", token=token, pause_s=0)
    try:
        yield pos, lost
    finally:
        pos.close()
        server.shutdown()
        serving.join()
        server.server_close()


def test_what_was_done_is_done_once_though_its_answer_was_lost(till: TillBox) -> None:
    with lossy(till) as (pos, lost):
        for sale_id in ("r1", "r2"):
            quote = pos.quote(sale_id, LINES, card=CARD, redeem="max")
            done = pos.commit(sale_id, quote, cash(quote))
            assert done["pay"] == quote["quote"]["pay"]
        assert pos.void("r1", "ошибка")["entry"] == "T1-1-3"
        assert pos.take_back("v1", {"1": 1000}, sale_id="r2")["entry"] == "T1-1-4"
        assert pos.print_again("r2", "p1")["copy"] is True
        assert lost == {
            "/v1/sales/r1/commit",
            "/v1/sales/r2/commit",
            "/v1/sales/r1/void",
            "/v1/returns",
            "/v1/sales/r2/print",
        }
    written = [entry["kind"] for entry in till.command("ledger", "tail", "-n", "50")]
    assert sorted(written) == ["RETURN_GOODS", "SALE", "SALE", "VOID"]


def cash(quote: dict[str, Any]) -> list[dict[str, Any]]:
    """All of it."""
    return [{"type": "cash", "amount": quote["quote"]["pay"]}]


def test_an_agent_that_is_off_is_away_and_not_an_error_of_the_program(till: TillBox, tmp_path: Path) -> None:
    with pytest.raises(PosAway):
        PosClient(tmp_path / "no such till").status()
    pos = PosClient(till.state, tries=2, pause_s=0)
    quote = pos.quote("r1", LINES)
    before = pos.url
    till.kill()
    with pytest.raises(PosAway):
        pos.quote("r2", LINES)
    with pytest.raises(PosAway):
        pos.commit("r1", quote, cash(quote))
    till.start()
    assert pos.status()["till"] == "T1"
    assert pos.url != before, "the box's file says port 0"
    pos.close()


def test_a_quote_that_was_lost_with_the_power_is_said_again_and_paid(till: TillBox) -> None:
    """It had promised no points, so nobody remembers it; what held points is remembered."""
    pos = PosClient(till.state, tries=1)
    earning, spending = pos.quote("r1", LINES, card=CARD), pos.quote("r2", LINES, card=CARD, redeem="max")
    assert spending["quote"]["redeemed"] > 0
    pos.sync()  # whose card it is has been written down by now
    till.kill()
    till.start()
    with pytest.raises(PosRefused, match="sale_none"):
        pos.commit("r1", earning, cash(earning))
    assert [held["sale_id"] for held in pos.held()] == ["r2"]
    assert pos.commit("r2", spending, cash(spending))["redeemed"] == spending["quote"]["redeemed"]
    again = pos.quote("r1", LINES, card=CARD, redeem=None)
    assert again["quote"]["pay"] == earning["quote"]["pay"]
    assert pos.commit("r1", again, cash(again))["earned"] == earning["quote"]["earned_total"]
    pos.close()


def test_a_card_that_comes_after_the_receipt_is_out_does_not_change_what_was_paid(till: TillBox) -> None:
    """Also with points: the cart said again as it was comes to the old price."""
    pos = PosClient(till.state)
    quote = pos.quote("r1", LINES, card=CARD, redeem="max", tenders=["cash"])
    pos.change("r1", card="2000000000022", redeem=None)
    with pytest.raises(PosRefused, match="quote_changed"):
        pos.commit("r1", quote, cash(quote))
    redeemed = quote["quote"]["redeemed"]
    again = pos.quote("r1", LINES, card=CARD, redeem=redeemed, tenders=["cash"])
    assert (again["quote"]["pay"], again["quote"]["redeemed"]) == (quote["quote"]["pay"], redeemed)
    done = pos.commit("r1", again, cash(quote))
    assert (done["pay"], done["redeemed"]) == (quote["quote"]["pay"], redeemed)
    pos.close()


def test_every_refusal_has_a_sentence_for_the_cashier(till: TillBox) -> None:
    pos = PosClient(till.state)
    with pytest.raises(PosRefused) as refused:
        pos.quote("r1", [{**LINES[0], "quantity": 0}])
    error = refused.value
    assert (error.status, error.code) == (409, "receipt_refused")
    assert error.ru != error.en
    assert error.faults[0]["path"] == "lines[0].quantity"
    pos.close()
