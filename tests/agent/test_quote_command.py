"""`kopilka-agent quote`: one receipt from files, or a stream of requests; never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent import quote_command as module
from agent.quote_command import quote_command

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


@pytest.mark.parametrize("words", [["--returns", "x.json"], ["--why"]])
def test_what_this_version_does_not_do_is_refused_and_not_ignored(
    words: list[str], files: dict[str, Path]
) -> None:
    result = run(*named(files), *words)
    assert result.exit_code == 1
    assert result.stderr == f"{words[0]} is not supported by this version; leave it out\n"
    assert result.stdout == ""


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


def test_returns_are_refused_by_name_and_asking_for_none_is_answered_with_none() -> None:
    given_back = [{"at": "2026-02-14T12:00:00+03:00", "lines": {"1": 1000}}]
    refused, none, fine = answers(
        json.dumps({**REQUEST, "returns": given_back}).encode(),
        json.dumps({**REQUEST, "returns": []}).encode(),
        json.dumps({**REQUEST, "returns": None}).encode(),
    )
    assert refused["error"] == ["returns is not supported by this version; leave it out"]
    assert none == {**fine, "returns": []}
    assert fine["pay"] == 9000


def test_a_day_key_without_a_draw_changes_nothing_but_must_be_hex() -> None:
    with_key, spoiled, number = answers(
        *(json.dumps({**REQUEST, "draw_key": key}).encode() for key in ("00ff", "0", 7))
    )
    assert with_key["pay"] == 9000
    assert spoiled["error"] == number["error"] == ["draw_key: must be an even number of hex digits"]


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


def test_errors_are_russian_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KOPILKA_LANG")
    monkeypatch.setattr(module, "translator", lambda lang: lambda msgid: f"<{lang}> {msgid}")
    result = run("--why")
    assert result.stderr.startswith("<ru> ")


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
