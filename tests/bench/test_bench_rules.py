"""The measurement measures the right thing: same answers, whole reports. Speed is not judged here."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import peers, report, rules, workload
from bench.figures import Bound
from bench.naive import PlainLoop
from loyalty import catalog, receipt, rulebook, strictjson
from loyalty.index import Compiled, compile_rulebook

TINY = ["--rules", "10,50", "--lines", "3,6", "--receipts", "3", "--seconds", "0.05"]
REFERENCE = Path(__file__).parents[1] / "reference"


def loaded(shop: workload.Workload, count: int) -> tuple[Compiled, PlainLoop]:
    text = shop.rulebooks[count]
    engine = compile_rulebook(rulebook.parse(strictjson.loads(text)), catalog.parse(shop.catalog))
    return engine, PlainLoop(json.loads(text), shop.catalog)


@pytest.fixture
def dense(monkeypatch: pytest.MonkeyPatch) -> workload.Workload:
    """Few goods, so that a receipt meets as many of 300 rules as it else would of 10,000."""
    monkeypatch.setattr(workload, "SKUS", 300)
    return workload.draw([300], [5, 20, 60], 6)


# -- the answers ----------------------------------------------------------------------------------


def test_engine_and_plain_loop_and_the_law_read_plainly_agree(
    dense: workload.Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(REFERENCE))
    evaluate = importlib.import_module("plain_engine").evaluate
    engine, loop = loaded(dense, 300)
    book = json.loads(dense.rulebooks[300])
    seen: set[str] = set()
    for raw in (raw for raws in dense.receipts.values() for raw in raws):
        sale = receipt.parse(raw)
        rules.check(engine, loop, [sale])
        law = evaluate({"rulebook": book, "catalog": dense.catalog, "receipt": raw})
        answer = loop.quote(sale)
        assert answer.lines == [(each["id"], each["discounts"], each["pay"]) for each in law["lines"]]
        assert answer.sets == [tuple(applied) for applied in law["sets"]]
        assert answer.earned == law["earned"]
        seen |= {rule for _, discounts, _ in answer.lines for rule in discounts} | set(answer.earned)
    stages = {rule["stage"] for rule in book["rules"] if rule["id"] in seen}
    assert stages == {"sets", "line", "receipt", "earn"}


def test_nothing_is_timed_when_the_answers_differ(dense: workload.Workload) -> None:
    engine, _ = loaded(dense, 300)
    book = json.loads(dense.rulebooks[300])
    for rule in book["rules"]:
        rule["effect"].update({"bp": 1} if "bp" in rule["effect"] else {"m": 1})
    sales = [receipt.parse(raw) for raw in dense.receipts[20]]
    with pytest.raises(rules.DisagreementError):
        rules.check(engine, PlainLoop(book, dense.catalog), sales)


# -- the shop -------------------------------------------------------------------------------------


def test_everybody_draws_the_same_shop() -> None:
    assert workload.draw([50], [5], 3) == workload.draw([50], [5], 3)


def test_a_shop_has_the_shares_that_the_law_names() -> None:
    text = workload.draw([10_000], [], 0).rulebooks[10_000]
    book = json.loads(text)
    kinds: dict[str, int] = {}
    for rule in book["rules"]:
        kind = "tier_percent" if rule.get("when", {}).get("type") == "tier" else rule["effect"]["type"]
        kinds[kind] = kinds.get(kind, 0) + 1
    assert kinds == {kind: share * 100 for kind, share in workload.SHARES.items()}
    assert 900_000 < len(text) < 1_300_000


# -- the report -----------------------------------------------------------------------------------


def test_one_run_reports_everything(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    result = CliRunner().invoke(rules.main, [*TINY, "--json", str(file)], catch_exceptions=False)
    assert result.exit_code == 0
    figures: dict[str, Any] = json.loads(file.read_text("utf-8"))
    assert [(cell["lines"], cell["rules"]) for cell in figures["cells"]] == [
        (3, 10),
        (3, 50),
        (6, 10),
        (6, 50),
    ]
    for cell in figures["cells"]:
        assert cell["receipts"] >= 3
        assert 0 < cell["median_us"] <= cell["p99_us"]
        assert cell["touches"] > 0
        assert cell["plain_us"] > 0
    assert set(figures["touch_us"]) == set(figures["first_ratio"]) == {"3", "6"}
    assert figures["load"]["rules"] == 50
    assert 0 < figures["load"]["kept_bytes"] <= figures["load"]["kept_warm_bytes"]
    assert len(figures["bounds"]) == 1 + 2 + 1 + 2 + 2
    for bound in figures["bounds"]:
        word = "ok" if bound["ok"] else "MISSED"
        assert any(
            line.startswith(f"| {word}") and bound["what"] in line for line in result.output.split("\n")
        )


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--strict"], 1)])
def test_a_missed_bound_fails_only_a_strict_run(
    arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "bounds_of", lambda _: [Bound("anything", 2, 1)])
    result = CliRunner().invoke(rules.main, [*TINY, *arguments])
    assert result.exit_code == code
    assert "| MISSED |" in result.output


def test_bounds_are_inclusive_unless_strict() -> None:
    assert Bound("", 4, 4).ok
    assert not Bound("", 4, 4, strict=True).ok


def test_the_page_takes_each_part_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(report.PAGE.read_text("utf-8"), encoding="utf-8")
    report.replace_in_page(dict.fromkeys(report.PARTS, "first"), page)
    report.replace_in_page({"figures": "second"}, page)
    text = page.read_text("utf-8")
    for part, table in (("figures", "second"), ("peers", "first")):
        begin, end = report.marks(part)
        assert text.partition(begin)[2].partition(end)[0].strip() == table
    report.replace_in_page({"figures": "first"}, page)
    assert _without_parts(page.read_text("utf-8")) == _without_parts(report.PAGE.read_text("utf-8"))


def _without_parts(text: str) -> str:
    for part in report.PARTS:
        begin, end = report.marks(part)
        before, _, rest = text.partition(begin)
        text = before + rest.partition(end)[2]
    return text


# -- the peers ------------------------------------------------------------------------------------


def test_a_peer_that_is_not_installed_is_skipped_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, *_ = peers.PEERS
    monkeypatch.setattr(peers, "RULE_COUNTS", (10,))
    monkeypatch.setattr(peers, "PEERS", [ours, ("no-such-engine", "no_such_engine", peers.Kopilka)])
    cells, skipped = peers.compare([3], 0.1)
    assert [(cell.engine, cell.rules, cell.lines, cell.same_lines) for cell in cells] == [
        ("kopilka", 10, 3, 3)
    ]
    assert skipped == ["no-such-engine is not installed: skipped."]
