"""`kopilka-agent quote`: one receipt from files, or a stream of requests; never a traceback."""

from __future__ import annotations

import importlib
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent import quote_command as module
from agent.quote_command import quote_command

sys.path.insert(0, str(Path(__file__).parent.parent / "reference"))
random_request = importlib.import_module("random_requests").random_request

REQUEST: dict[str, Any] = {
    "rulebook": {
        "format": 1,
        "id": "shop",
        "seq": 1,
        "rules": [{"id": "ten", "stage": "line", "effect": {"type": "percent", "bp": 1000}}],
    },
    "catalog": {"categories": {}, "skus": {}},
    "receipt": {
        "id": "R1",
        "till": "T1",
        "store": "M1",
        "at": "2026-02-13T12:00:00+03:00",
        "lines": [{"id": "1", "sku": "tea", "price": 10000, "quantity": 1000}],
    },
}


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOPILKA_LANG", "en")


def run(*words: str, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(quote_command, words, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def answers(*lines: bytes) -> list[dict[str, Any]]:
    result = run("--jsonl", stdin=b"\n".join(lines))
    assert result.exit_code == 0
    return [json.loads(line) for line in result.stdout.splitlines()]


def with_change(document: str, **values: object) -> bytes:
    return json.dumps({**REQUEST, document: {**REQUEST[document], **values}}).encode()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / f"{name}.json" for name in REQUEST}
    for name, file in made.items():
        file.write_text(json.dumps(REQUEST[name]), "utf-8")
    return made


def named(files: dict[str, Path]) -> list[str]:
    return [word for name, file in files.items() for word in (f"--{name}", str(file))]


def test_three_files_give_one_quote(files: dict[str, Path]) -> None:
    result = run(*named(files))
    assert result.exit_code == 0
    quote = json.loads(result.stdout)
    assert quote["pay"] == 9000
    assert quote["lines"][0]["discounts"] == {"ten": 1000}


def test_faults_of_all_files_are_listed_at_once(files: dict[str, Path]) -> None:
    files["rulebook"].write_text('{"format": 1, "id": "x", "seq": 1.5, "rules": []}')
    files["receipt"].write_text('{"id": "R1"}')
    result = run(*named(files))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "rulebook.seq: must be a whole number" in result.stderr
    assert "receipt.at: is missing" in result.stderr


def test_a_file_that_is_not_there_or_not_json_is_named(files: dict[str, Path]) -> None:
    files["catalog"].unlink()
    files["receipt"].write_bytes(b"\xff")
    result = run(*named(files))
    assert result.exit_code == 1
    assert f"catalog ({files['catalog']}): cannot be read: No such file" in result.stderr
    assert f"receipt ({files['receipt']}): not UTF-8" in result.stderr


def test_wrong_use_says_what_to_name(files: dict[str, Path]) -> None:
    result = run("--rulebook", str(files["rulebook"]))
    assert result.exit_code == 2
    assert "name --catalog, --receipt, or use --jsonl" in result.stderr
    assert run("--jsonl", *named(files)).exit_code == 2


def test_a_file_of_returns_adds_what_they_give_back(files: dict[str, Path], tmp_path: Path) -> None:
    files["returns"] = tmp_path / "returns.json"
    files["returns"].write_text('[{"at": "2026-02-14T12:00:00+03:00", "lines": {"1": 500}}]')
    quote = json.loads(run(*named(files)).stdout)
    assert quote["pay"] == 9000
    assert quote["returns"] == [
        {
            "money": 4500,
            "points_back": 0,
            "lots_back": [],
            "earned_reversed": {},
            "lines": {"1": {"money": 4500, "points": 0}},
        }
    ]
    files["returns"].write_text('{"at": "tomorrow"}')
    result = run(*named(files))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "returns: must be a list" in result.stderr


def test_a_draw_is_made_with_the_key_as_it_stands(files: dict[str, Path]) -> None:
    """The wheel gives 5 bonuses whatever it shows, so no key but its absence matters."""
    wheel = {
        "id": "wheel",
        "stage": "reward",
        "effect": {"type": "draw_table", "table": [[1, 500], [9, 500]]},
    }
    files["rulebook"].write_text(json.dumps({**REQUEST["rulebook"], "rules": [wheel]}))
    files["receipt"].write_text(json.dumps({**REQUEST["receipt"], "customer": {"id": "C1"}}))
    assert json.loads(run(*named(files), "--draw-key", "00ff").stdout)["rewards"] == {"wheel": 500}
    without, spoiled = run(*named(files)), run(*named(files), "--draw-key", "0x00")
    assert (without.exit_code, spoiled.exit_code) == (1, 1)
    assert without.stderr == "draw_key: rule wheel draws and needs the key of the day; give it\n"
    assert spoiled.stderr == "draw_key: must be an even number of hex digits\n"


def test_a_stream_gets_one_answer_a_line_whatever_stands_in_it() -> None:
    good = json.dumps(REQUEST).encode()
    got = answers(good, b"", b"   ", b"{nonsense", b"[]", with_change("receipt", lines=[]), b"\xff", good)
    assert [answer.get("pay") for answer in got] == [9000, None, None, 0, None, 9000]
    assert got[1]["error"][0].startswith("not JSON: ")
    assert got[2]["error"] == ["must be an object with rulebook, catalog, receipt"]


def test_a_request_with_faults_lists_every_one_of_them() -> None:
    request = json.loads(with_change("rulebook", id="no spaces", seq=-1))
    request["receipt"]["lines"][0]["quantity"] = 0
    del request["catalog"]
    request["why"] = True
    (answer,) = answers(json.dumps(request).encode())
    assert list(answer) == ["error"]
    assert {text.partition(":")[0] for text in answer["error"]} == {
        'unknown key "why"; known here',
        "rulebook.id",
        "rulebook.seq",
        "receipt.lines[0].quantity",
        "catalog",
    }


def test_returns_are_answered_beside_the_quote_and_asking_for_none_is_answered_with_none() -> None:
    given_back = [{"at": "2026-02-14T12:00:00+03:00", "lines": {"1": 1000}}]
    returned, none, fine = answers(
        json.dumps({**REQUEST, "returns": given_back}).encode(),
        json.dumps({**REQUEST, "returns": []}).encode(),
        json.dumps({**REQUEST, "returns": None}).encode(),
    )
    assert [back["money"] for back in returned["returns"]] == [9000]
    assert none == {**fine, "returns": []}
    assert fine["pay"] == 9000
    assert "returns" not in fine


def test_a_day_key_without_a_draw_changes_nothing_but_must_be_hex() -> None:
    with_key, spoiled, number = answers(
        *(json.dumps({**REQUEST, "draw_key": key}).encode() for key in ("00ff", "0", 7))
    )
    assert with_key["pay"] == 9000
    assert spoiled["error"] == number["error"] == ["draw_key: must be an even number of hex digits"]


def test_a_deck_needs_the_number_of_the_draw_and_every_draw_that_cannot_be_made_is_named() -> None:
    effects = ({"type": "draw_deck", "cards": [[2, 0], [1, 500]]}, {"type": "draw_table", "table": [[1, 0]]})
    rules = [{"id": f"d{i}", "stage": "reward", "effect": effect} for i, effect in enumerate(effects)]
    answer = ask(*rules, lines=[sold()], customer={"id": "C1"})
    assert answer == {
        "error": [
            "draw_key: rule d0 draws and needs the key of the day; give it",
            "receipt.draws.d0: is missing; give the number of this till's draw by rule d0",
            "draw_key: rule d1 draws and needs the key of the day; give it",
        ]
    }
    assert ask(*rules, lines=[sold()])["rewards"] == {}, "a stranger draws nothing"


# -- what a shop may send by mistake ---------------------------------------------------------------

THREE_FOR_TWO = {"id": "n", "stage": "sets", "effect": {"type": "n_for_m", "n": 3, "m": 2}}
HALF_IN_POINTS = {"id": "pay", "stage": "redeem", "effect": {"type": "redeem", "max_bp": 5000}}
TEN = REQUEST["rulebook"]["rules"][0]


def ask(*rules: dict[str, Any], lines: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The answer for these rules and lines; `more` are fields of the receipt, or `returns`."""
    request = {
        **{key: more.pop(key) for key in ("returns",) if key in more},
        "rulebook": {**REQUEST["rulebook"], "rules": list(rules)},
        "catalog": {},
        "receipt": {**REQUEST["receipt"], "lines": lines, **more},
    }
    (answer,) = answers(json.dumps(request).encode())
    return answer


def sold(price: object = 10000, quantity: object = 1000, number: int = 1, sku: str = "tea") -> dict[str, Any]:
    return {"id": f"{number}", "sku": sku, "price": price, "quantity": quantity}


def test_goods_that_the_catalog_does_not_know_are_sold_at_their_price() -> None:
    tea = {**TEN, "items": {"category": ["tea"]}}
    assert ask(tea, THREE_FOR_TWO, lines=[sold(sku="never-heard-of")])["pay"] == 10000


def test_goods_for_nothing_cost_nothing() -> None:
    answer = ask(TEN, THREE_FOR_TWO, HALF_IN_POINTS, lines=[sold(price=0, quantity=3000)], redeem="max")
    assert (answer["list"], answer["discount"], answer["pay"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (sold(quantity=0), "receipt.lines[0].quantity: must be at least 1"),
        (sold(quantity=-1000), "receipt.lines[0].quantity: must be at least 1"),
        (sold(quantity=1.5), "receipt.lines[0].quantity: must be a whole number, not a number with"),
        (sold(price=-1), "receipt.lines[0].price: must be at least 0"),
        (sold(price=99.90), "receipt.lines[0].price: must be a whole number, not a number with"),
        (sold(price="99.90"), "receipt.lines[0].price: must be a whole number, not a text"),
        (sold(price=2**63), "receipt.lines[0].price: must be at most"),
        (sold(quantity=10**30), "receipt.lines[0].quantity: must be at most"),
        ({"id": "1", "sku": "tea", "price": 1}, "receipt.lines[0].quantity: is missing"),
    ],
)
def test_a_line_that_cannot_be_sold_says_why(line: dict[str, Any], said: str) -> None:
    (error,) = ask(TEN, lines=[line])["error"]
    assert error.startswith(said)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ({"1": 1001}, 'returns[0].lines["1"]: returns 1001 where 1000 are left'),
        ({"7": 1000}, 'returns[0].lines["7"]: the receipt has no such line; known here: 1'),
        ({"1": 0}, 'returns[0].lines["1"]: must be at least 1'),
        ({"1": -1000}, 'returns[0].lines["1"]: must be at least 1'),
    ],
)
def test_a_return_of_what_was_not_bought_says_so(lines: dict[str, int], said: str) -> None:
    back = [{"at": "2026-02-14T12:00:00+03:00", "lines": lines}]
    assert ask(TEN, lines=[sold()], returns=back) == {"error": [said]}


def test_every_return_too_many_is_named_counting_those_before_it() -> None:
    at = "2026-02-14T12:00:00+03:00"
    back = [{"at": at, "lines": {"1": part}} for part in (600, 500, 400, 1)]
    assert ask(TEN, lines=[sold()], returns=back) == {
        "error": [
            'returns[1].lines["1"]: returns 500 where 400 are left',
            'returns[3].lines["1"]: returns 1 where 0 are left',
        ]
    }


def test_who_has_no_points_pays_with_money() -> None:
    for customer in (
        {"id": "C1"},
        {"id": "C1", "lots": []},
        {"id": "C1", "lots": [{"id": "a", "amount": 0}]},
    ):
        answer = ask(HALF_IN_POINTS, lines=[sold()], customer=customer, redeem="max")
        assert (answer["redeemed"], answer["lots_used"], answer["pay"]) == (0, [], 10000)
    assert ask(HALF_IN_POINTS, lines=[sold()], redeem="max")["redeemed"] == 0, "nobody's points"


@pytest.mark.parametrize(
    "at", ["2026-02-13T12:00:00", "2026-02-13T12:00:00Z", "13.02.2026 12:00", 1770973200]
)
def test_a_time_without_an_offset_is_no_time(at: object) -> None:
    (error,) = ask(TEN, lines=[sold()], at=at)["error"]
    assert error.startswith("receipt.at: must be local time with offset, such as 2026-02-13T12:00:00+03:00")


def test_a_receipt_of_ten_thousand_lines_is_refused_in_a_sentence() -> None:
    lines = [sold(number=number, sku=f"s{number}") for number in range(10_000)]
    answer = ask(TEN, THREE_FOR_TWO, lines=lines)
    assert answer == {"error": ["receipt.lines: the list has 10000 items; at most 5000"]}


def test_a_receipt_of_five_thousand_lines_is_priced() -> None:
    lines = [sold(price=100 + number, number=number, sku=f"s{number}") for number in range(5_000)]
    answer = ask(TEN, THREE_FOR_TWO, HALF_IN_POINTS, lines=lines)
    assert len(answer["sets"]) == 1666
    assert answer["list"] - answer["discount"] == answer["pay"]


def test_a_mountain_of_goods_is_priced_where_no_set_must_look_at_every_piece() -> None:
    mountain = sold(price=100, quantity=10**18)
    assert ask(TEN, lines=[mountain])["pay"] == 90 * 10**15
    (error,) = ask(TEN, THREE_FOR_TWO, lines=[mountain])["error"]
    assert error == "receipt.lines: more than 100000 pieces that set rules look at; split the receipt"


def test_a_price_of_half_the_world_is_counted_to_the_kopeck() -> None:
    price = 2**62
    points = {"id": "C1", "lots": [{"id": "a", "amount": 2**62}]}
    lines = [sold(price=price, quantity=3000)]
    answer = ask(THREE_FOR_TWO, HALF_IN_POINTS, lines=lines, customer=points, redeem="max")
    assert (answer["list"], answer["discount"], answer["redeemed"], answer["pay"]) == (
        *(3 * price, price, price, price),
    )
    back = [{"at": "2026-02-14T12:00:00+03:00", "lines": {"1": part}} for part in (1, 1000, 1999)]
    returned = ask(THREE_FOR_TWO, lines=lines, returns=back)["returns"]
    assert sum(each["money"] for each in returned) == 2 * price


def test_the_end_of_the_calendar_is_no_end_of_the_shift() -> None:
    points = {"type": "earn_fixed", "points": 1, "delay_days": 36_500, "ttl_days": 36_500}
    late = ask(
        {"id": "e", "stage": "earn", "effect": points},
        {"id": "b", "stage": "line", "when": {"type": "birthday", "before": 36_500}, "effect": TEN["effect"]},
        lines=[sold()],
        at="9000-12-31T23:59:59+14:00",
        customer={"id": "C1", "birthday": "02-29"},
    )
    assert late["earned_lots"][0]["expires_at"].startswith("9200-")
    early = ask(
        TEN, lines=[sold()], at="0001-01-01T00:00:00+14:00", customer={"id": "C1", "birthday": "01-01"}
    )
    assert early["pay"] == 9000


SPOILERS: tuple[object, ...] = (
    *(None, True, 0, 1, -1, 2**63, 10**40, 0.5, "", "max", "1", "R1", "\x00", [], [[]], [1], {}, {"": 1}),
    *({"type": "percent"}, {"type": "all", "of": []}, {"sku": ["tea"]}),
)


def spoiled(value: Any, rng: random.Random) -> Any:
    """The JSON with something in it replaced, removed, doubled or put where it does not belong."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {each: value[each] for each in value if each != key}
        if rng.random() < 0.1:
            return {**value, rng.choice(("items", "when", "cap", "limit", "xyz")): rng.choice(SPOILERS)}
        return {**value, key: spoiled(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        i = rng.randrange(len(value))
        if rng.random() < 0.1:
            return [*value, value[i]]
        return [*value[:i], spoiled(value[i], rng), *value[i + 1 :]]
    return rng.choice(SPOILERS)


@pytest.mark.parametrize("block", range(4))
def test_a_request_spoiled_by_chance_gets_a_quote_or_sentences_and_never_a_traceback(block: int) -> None:
    outcomes = Counter[str]()
    for seed in range(500 * block, 500 * block + 500):
        rng = random.Random(seed)
        request = random_request(rng)
        for _ in range(rng.randint(1, 3)):
            request = spoiled(request, rng)
        (answer,) = answers(json.dumps(request).encode())
        outcomes["error" if "error" in answer else "quote"] += 1
        assert "error" in answer or answer["list"] - answer["discount"] - answer["redeemed"] == answer["pay"]
        assert all(isinstance(text, str) and text for text in answer.get("error", ()))
    assert outcomes["error"] > 100
    assert outcomes["quote"] > 25


# -- the stream ------------------------------------------------------------------------------------


def test_a_key_that_stands_twice_is_a_fault_at_any_depth() -> None:
    text = json.dumps(REQUEST)
    outer, inner = answers(
        (text[:-1] + ', "receipt": {}}').encode(),
        text.replace('"bp": 1000', '"bp": 1000, "bp": 9000').encode(),
    )
    assert 'key "receipt" stands twice; keep one' in outer["error"]
    assert inner["error"] == ['rulebook.rules[0].effect: key "bp" stands twice; keep one']


def test_half_a_letter_in_a_key_does_not_stop_the_stream() -> None:
    broken, fine = answers(b'{"\\ud83d": 1, "rulebook": {"\\udc00": 1}}', json.dumps(REQUEST).encode())
    assert any("\\ud83d" in text for text in broken["error"])
    assert fine["pay"] == 9000


def test_a_line_without_end_is_refused_and_read_past(monkeypatch: pytest.MonkeyPatch) -> None:
    good = json.dumps(REQUEST).encode()
    monkeypatch.setattr(module, "MAX_DOCUMENT_BYTES", len(good) + 1)
    too_long, fine = answers(b"[" + b" " * 5 * len(good), good)
    assert too_long["error"] == [f"the line is longer than {len(good) + 1} bytes"]
    assert fine["pay"] == 9000


def test_errors_are_russian_unless_asked_otherwise(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, Path]
) -> None:
    monkeypatch.delenv("KOPILKA_LANG")
    monkeypatch.setattr(module, "translator", lambda lang: lambda msgid: f"<{lang}> {msgid}")
    files["receipt"].write_text("{}")
    result = run(*named(files))
    assert result.stderr.startswith("receipt.id: <ru> is missing")


def test_each_answer_is_there_before_the_next_question() -> None:
    """A program that asks and waits must get its answer while the stream stays open."""
    code = "from agent.quote_command import quote_command; quote_command(['--jsonl'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for price in (100, 200):
            lines = [{"id": "1", "sku": "tea", "price": price, "quantity": 1000}]
            process.stdin.write(with_change("receipt", lines=lines).decode() + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["list"] == price
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def test_the_command_imports_nothing_heavy() -> None:
    heavy = ["django", "starlette", "escpos", "evdev", "serial", "usb", "requests", "PIL", "cryptography"]
    code = f"import sys, agent.quote_command; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
