"""The API's measurement measures, and loses nothing; how long it took is not judged here."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from bench import api, report


def test_a_short_run_tells_the_whole(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    ran = CliRunner().invoke(
        api.main, ["--rate", "50", "--seconds", "1", "--flood-seconds", "1", "--json", str(file)]
    )
    assert ran.exit_code == 0, ran.output
    figures = json.loads(file.read_text())
    assert figures["steady"]["statuses"] == {"200": 50}
    assert set(figures["flood"]["statuses"]) <= {"200", "503"}
    assert sum(figures["flood"]["statuses"].values()) == 500
    assert figures["paid"] == figures["kept"] > 0
    assert len(figures["bounds"]) == 4


def test_the_page_has_its_place_for_them() -> None:
    page = api.PAGE.read_text(encoding="utf-8")
    assert all(mark in page for mark in report.marks("figures", api.RUN))
