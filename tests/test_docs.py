"""The pages say what is so: files that are named exist, pictures come from the code, commands work."""

from __future__ import annotations

import html
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from agent.drivers.printer_models import MODELS
from scripts.drawings import DRAWINGS, flows_table

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ROOMS = ("loyalty/", "agent/", "central/", "docs/", "systemd/", "tests/", "scripts/")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = {word for word in re.findall(r"`([\w./-]+)`", text) if word.startswith(ROOMS)}
    linked = {
        target for target in re.findall(r"\]\(([^)#:]+)\)", text) if not (page.parent / target).exists()
    }
    assert {name for name in named if not (ROOT / name).exists()} == set()
    assert linked == set()


def test_the_walk_names_the_files_of_a_sale() -> None:
    walk = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert len(set(re.findall(r"`((?:loyalty|agent|central)/[\w/]+\.py)`", walk))) > 25


@pytest.mark.parametrize("name", DRAWINGS)
def test_pictures_are_what_the_tables_in_the_code_say(name: str) -> None:
    graph = DRAWINGS[name]()
    assert (ROOT / "docs" / f"{name}.dot").read_text(encoding="utf-8") == graph
    drawn = (ROOT / "docs" / "images" / f"{name}.svg").read_text(encoding="utf-8")
    titles = [html.unescape(title).split("->") for title in re.findall(r"<title>(.*?)</title>", drawn)]
    edges = re.findall(r'^  "?(.+?)"? -> "?(.+?)"? \[', graph, re.MULTILINE)
    shown = [tuple(ends) for ends in titles if len(ends) > 1]
    assert sorted(shown) == sorted(edges), "draw them anew: python -m scripts.drawings"


def test_the_page_of_the_ledger_shows_who_gives_and_who_takes() -> None:
    assert flows_table() in (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(d for group in project["optional-dependencies"].values() for d in group),
    ]
    reasons = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Dependencies")[2]
    names = {re.split(r"[<>=; ]", dependency)[0] for dependency in wanted}
    assert {n for n in names if n not in reasons and not n.startswith("types-")} == set()


def test_make_alone_lists_the_targets() -> None:
    listed = subprocess.run(["make", "-s", "-C", ROOT], capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "lint", "types", "imports", "setup", "clean"):
        assert f"make {target} " in listed


def test_each_of_forty_failures_is_tried_by_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| .* \| (.*) \|$", page, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 41))
    tests = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", page))
    assert all(re.search(r"`test_\w+`", names) for _, names in rows)
    assert named - tests == set()


def test_every_printer_model_stands_on_the_page() -> None:
    page = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
    assert all(model in page or f"-{model.rsplit('-', 1)[1]}" in page for model in MODELS)
