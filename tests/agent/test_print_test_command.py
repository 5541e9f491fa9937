"""`kopilka-agent print-test`: store IT sees which code page is right, and what to write as proof."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli import main
from agent.drivers.fakes.virtual_printer import VirtualPrinter
from agent.print_test_command import SAMPLE


def run(tmp_path: Path, *words: str) -> str:
    config = tmp_path / "agent.toml"
    config.write_text('state_dir = "till"\nlanguage = "en"\n')
    done = CliRunner().invoke(
        main, ["print-test", *words, "--config", str(config)], env={"KOPILKA_LANG": "en"}
    )
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("serial", [False, True], ids=["network", "serial"])
def test_a_printer_that_answers_everything(tmp_path: Path, serial: bool) -> None:
    with VirtualPrinter(serial=serial) as printer:
        found = json.loads(run(tmp_path, "--url", printer.url, "--drawer", "--json"))
        (slip,) = printer.wait_for_slips(1)
        assert found["proof"] == "id"
        assert found["condition"]["paper_out"] is False
        readable = [line for line in slip.lines if line.endswith(SAMPLE)]
        assert any(line.startswith("* 17 cp866") for line in readable)
        assert len(readable) > 5
        assert printer.wait_for_drawer(1) == 1


def test_a_silent_printer_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.print_test_command.ANSWER_MS", 50)
    monkeypatch.setattr("agent.print_test_command.STATUS_MS", 50)
    with VirtualPrinter() as printer:
        printer.silent = True
        said = run(tmp_path, "--url", printer.url)
        assert 'proof = "none"' in said
        assert "realtime_status = false" in said
        assert len(printer.wait_for_slips(1)) == 1


def test_no_printer_is_named(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('state_dir = "till"\n')
    done = CliRunner().invoke(main, ["print-test", "--config", str(config)], env={"KOPILKA_LANG": "en"})
    assert done.exit_code == 1
    assert "--url" in done.output


@pytest.mark.parametrize(
    ("url", "why"), [("tcp:127.0.0.1:1", "refuses the connection"), ("printer", "begins with one of")]
)
def test_a_printer_that_is_not_there(tmp_path: Path, url: str, why: str) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('state_dir = "till"\n')
    words = ["print-test", "--url", url, "--config", str(config)]
    done = CliRunner().invoke(main, words, env={"KOPILKA_LANG": "en"})
    assert done.exit_code == 1
    assert why in done.output
