"""What docs/integrators.md tells is what a real till does: its commands are run, its answers compared.

Every block of `sh` runs in one shell, in the page's order; a block of `json` after it is held against what
its last command printed: the same keys, down to the last (a value "…" or a key "…" leaves out the rest).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent import calls, feed
from agent.demo.stage import Office, TillBox
from agent.pos_client import PosAway, PosClient, PosRefused

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integrators.md").read_text(encoding="utf-8")
PAGE_1C = (ROOT / "docs" / "integrators-1c.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|json|)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
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
    assert '"error"' not in ran.stdout
    compared = 0
    for (number, (kind, _)), (_, (after, shown)) in pairwise(enumerate(BLOCKS)):
        if (kind, after) == ("sh", "json"):
            agree(json.loads(shown), last_json(printed[str(number)]), f"block {number}")
            compared += 1
    assert compared >= 7


def last_json(text: str) -> Any:
    """The last JSON value in what a block printed; answers of curl stand one after the other."""
    decoder, found, at = json.JSONDecoder(), None, 0
    text = text.strip()
    while at < len(text):
        found, at = decoder.raw_decode(text, at)
        while at < len(text) and text[at].isspace():
            at += 1
    return found


def agree(shown: Any, answered: Any, where: str) -> None:
    """The page shows the shape that was answered."""
    if shown == "…":
        return
    assert type(shown) is type(answered) or None in (shown, answered), where
    if isinstance(shown, dict):
        if "…" not in shown and not where.endswith((".discounts", ".earned", ".titles")):
            assert set(shown) == set(answered), where
        for key in set(shown) & set(answered):
            agree(shown[key], answered[key], f"{where}.{key}")
    elif isinstance(shown, list) and shown and answered:
        agree(shown[0], answered[0], f"{where}[0]")


def test_every_call_event_and_refusal_stands_on_the_page() -> None:
    for call in calls.CALLS:
        path = call.path.replace("{sale_id}", "")
        assert path.rstrip("/").rpartition("/")[2] in PAGE, call.path
    for event in feed.EVENTS:
        assert f"`{event}`" in PAGE
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "agent").glob("*.py"))
    sources += (ROOT / "loyalty" / "sale.py").read_text(encoding="utf-8")
    codes = set(re.findall(r'(?:Problem\(\s*\d+|Refusal\()(?:,)?\s*"([a-z_]+)"', sources))
    assert len(codes) > 25
    missing = {code for code in codes if f"`{code}`" not in PAGE}
    assert missing == set()


def test_the_module_for_1c_is_whole_and_asks_what_there_is() -> None:
    [module] = re.findall(r"^```bsl\n(.*?)^```$", PAGE_1C, re.MULTILINE | re.DOTALL)
    code = re.sub(r"//.*|\"[^\"\n]*\"", "", module)
    for begin, end in (
        (r"^\s*Функция\b", "КонецФункции"),
        (r"^\s*Процедура\b", "КонецПроцедуры"),
        (r"^\s*Попытка\b", "КонецПопытки"),
        (r"\bЦикл\s*$", "КонецЦикла"),
        (r"^\s*Если\b", "КонецЕсли"),
    ):
        assert len(re.findall(begin, code, re.MULTILINE)) == code.count(end), end
    paths = re.findall(r'"(/v1/[^"]*)"', module)
    known = {call.path for call in calls.CALLS}
    assert paths
    for path in paths:
        assert any(whole.startswith(path) for whole in known), path
    assert '"/commit"' in module
    assert '"/void"' in module


# ------------------------------------------------------------------------------- our client


def test_a_whole_sale_with_the_client(office: Office, till: TillBox) -> None:
    pos = PosClient(till.state)
    events = pos.events()
    assert next(events) == ("hello", {})
    seen = PosClient(till.state)
    quote = seen.quote("r1", LINES, card=CARD, redeem="max", operator="Иванова")
    told = dict(next(events) for _ in range(1))
    assert told["sale"]["sale_id"] == "r1"
    assert [one["sale_id"] for one in seen.held()] == ["r1"]
    changed = seen.change("r1", redeem=5_000)
    with pytest.raises(PosRefused) as refused:
        seen.commit("r1", quote, [{"type": "cash", "amount": quote["quote"]["pay"]}])
    assert (refused.value.status, refused.value.code) == (409, "quote_changed")
    done = seen.commit("r1", changed, [{"type": "cash", "amount": changed["quote"]["pay"]}])
    [sale] = seen.find_sales(ref=done["ident"])
    assert sale["lines"][0]["left"] == 3000
    back = seen.take_back("v1", {"1": 1000}, ref=done["ident"], slip="lines")
    assert back["money"] == changed["fiscal"]["lines"][0]["price"]
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


def test_an_agent_that_is_off_is_away_and_not_an_error_of_the_program(till: TillBox, tmp_path: Path) -> None:
    with pytest.raises(PosAway):
        PosClient(tmp_path / "no such till").status()
    pos = PosClient(till.state, tries=2)
    quote = pos.quote("r1", LINES)
    till.kill()
    with pytest.raises(PosAway):
        pos.quote("r2", LINES)
    with pytest.raises(PosAway):
        pos.commit("r1", quote, [{"type": "cash", "amount": quote["quote"]["pay"]}])
    till.start()
    assert pos.status()["till"] == "T1"
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
