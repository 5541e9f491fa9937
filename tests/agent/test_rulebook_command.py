"""`kopilka-agent rulebook`: schema and tests, for whoever writes rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent.rulebook_command import rulebook_command
from loyalty.schema import DOCUMENTS

SALE = {
    "id": "R1",
    "till": "T1",
    "store": "S1",
    "at": "2026-02-13T12:00:00+03:00",
    "lines": [{"id": "1", "sku": "tea", "price": 10000, "quantity": 1000}],
}
BOOK: dict[str, Any] = {
    "format": 1,
    "id": "shop",
    "seq": 1,
    "rules": [{"id": "ten", "stage": "line", "effect": {"type": "percent", "bp": 1000}}],
    "tests": [{"title": "tea", "receipt": SALE, "expect": {"pay": 9000}}],
}


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOPILKA_LANG", "en")


def run(*words: str) -> Result:
    return CliRunner().invoke(rulebook_command, words)


def run_test(folder: Path, book: dict[str, Any], *words: str) -> Result:
    (folder / "book.json").write_text(json.dumps(book), "utf-8")
    (folder / "goods.json").write_text("{}", "utf-8")
    files = ("--rulebook", str(folder / "book.json"), "--catalog", str(folder / "goods.json"))
    return run("test", *files, *words)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_schema_of_each_document_is_printed(document: str) -> None:
    assert json.loads(run("schema", document).stdout)["title"]


def test_the_rulebook_is_what_is_meant_where_nothing_is_said() -> None:
    assert run("schema").stdout == run("schema", "rulebook").stdout


def test_tests_that_pass_say_how_many_and_what_they_came_to(tmp_path: Path) -> None:
    result = run_test(tmp_path, BOOK)
    assert result.exit_code == 0
    assert result.stdout.startswith("tests: 1, failed: 0; results ")
    as_json = json.loads(run_test(tmp_path, BOOK, "--json").stdout)
    assert as_json["results_sha256"] in result.stdout


def test_a_test_that_fails_ends_with_one_and_says_where(tmp_path: Path) -> None:
    wrong = {**BOOK, "tests": [{**BOOK["tests"][0], "expect": {"pay": 8000}}]}
    result = run_test(tmp_path, wrong)
    assert result.exit_code == 1
    assert "tests[0].expect.pay: tea: expected 8000, got 9000" in result.stderr
    assert json.loads(run_test(tmp_path, wrong, "--json").stdout)["failed"] == 1


def test_a_rulebook_with_faults_lists_them_and_runs_nothing(tmp_path: Path) -> None:
    result = run_test(tmp_path, {**BOOK, "rulez": []})
    assert result.exit_code == 1
    assert "rulebook.rulez: unknown key; did you mean rules?" in result.stderr
    assert result.stdout == ""
