"""A centre and a till as real processes, on files and sockets of their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.demo.stage import Office, TillBox


@pytest.fixture(scope="session")
def made_office(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a centre that has the demo's store, goods, rules and members. Copied, never used."""
    directory = tmp_path_factory.mktemp("made")
    Office(directory).furnish()
    return directory


@pytest.fixture
def office(made_office: Path, tmp_path: Path) -> Iterator[Office]:
    """A centre that serves."""
    shutil.copytree(made_office, tmp_path, dirs_exist_ok=True)
    office = Office(tmp_path)
    try:
        office.start()
        yield office
    finally:
        office.stop()


@pytest.fixture
def till(office: Office, tmp_path: Path) -> Iterator[TillBox]:
    """An enrolled till that runs and has synced once."""
    box = TillBox(tmp_path, "ru")
    try:
        code = office.command("till", "add", "S1")["code"]
        box.command("enroll", "--server", office.url, "--code", code)
        box.start()
        box.command("sync", "now")
        yield box
    finally:
        box.stop()
