"""The ledger's measurement measures the right thing, and reports the whole; only bytes are judged here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import ledger, report, transaction
from bench.figures import Bound
from bench.ledger import Figures, Weight
from bench.transaction import DisagreementError

TINY = ["--receipts", "5", "--batches", "1", "--week", "600", "--quotes", "10"]


def test_a_batch_weighs_what_the_page_says() -> None:
    weight = ledger.weigh()
    assert weight.an_entry <= 32
    assert weight.a_line <= 10
    assert (weight.entries, weight.lines) == (500, 3_304)
    assert (weight.json_entry_bytes, weight.json_receipt_bytes) == (71_675, 222_593)
    # The same to the byte with the same zstd; another version may find a few bytes more or less.
    assert weight.entry_bytes == pytest.approx(5_426, rel=0.01)
    assert weight.receipt_bytes == pytest.approx(31_961, rel=0.01)


def test_both_sides_of_a_receipt_write_the_same(tmp_path: Path) -> None:
    times = transaction.measure(3, tmp_path)
    assert len(times.till.ns) == len(times.plain.ns) == len(times.making.ns) == 3


def test_nothing_is_compared_that_does_not_do_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = transaction.written_by
    monkeypatch.setattr(transaction, "written_by", lambda *asked: rows(*asked)[:-1])
    with pytest.raises(DisagreementError):
        transaction.measure(1, tmp_path)


def test_one_run_reports_everything(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    result = CliRunner().invoke(ledger.main, [*TINY, "--json", str(file)], catch_exceptions=False)
    assert result.exit_code == 0
    figures: dict[str, Any] = json.loads(file.read_text("utf-8"))
    for name in ("receipt_us", "plain_us", "making_us", "new_us", "again_us", "took_s"):
        assert figures[name] > 0
    assert figures["receipts"] == 600
    assert set(figures["quotes"]) == {"before", "meanwhile"}
    for count, median, p99, slowest in figures["quotes"].values():
        assert count > 0
        assert 0 < median <= p99 <= slowest
    assert len(figures["bounds"]) == 6
    for bound in figures["bounds"]:
        word = "ok" if bound["ok"] else "MISSED"
        lines = result.output.split("\n")
        assert any(line.startswith(f"| {word}") and bound["what"] in line for line in lines)


FOUND = Figures(
    machine="a till",
    python="3.11",
    weight=Weight(500, 3_500, 5_000, 30_000, 70_000, 220_000),
    receipt_us=12,
    plain_us=10,
    making_us=3,
    new_us=100,
    again_us=5,
    receipts=600,
    took_s=6,
    quotes={"before": (10, 1, 2, 3), "meanwhile": (10, 1, 2, 3)},
    bounds=[Bound("anything", 2, 1)],
)


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--strict"], 1)])
def test_a_missed_bound_fails_only_a_strict_run(
    arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "measure", lambda *_: FOUND)
    result = CliRunner().invoke(ledger.main, arguments)
    assert result.exit_code == code
    assert "| MISSED |" in result.output


def test_the_page_takes_the_tables_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(ledger.PAGE.read_text("utf-8"), encoding="utf-8")
    report.replace_in_page({"figures": "first"}, page, ledger.RUN)
    report.replace_in_page({"figures": ledger.tables(FOUND)}, page, ledger.RUN)
    text = page.read_text("utf-8")
    assert "first" not in text.partition("## Figures")[2]
    assert "600 receipts caught up in 6 s: 100 entries a second." in text
