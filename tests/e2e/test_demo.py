"""`make demo`, as a newcomer plays it: it tells the whole story and ends by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOLD = {
    "ru": ["баллы всё равно списываются", "журнал в офисе равен журналу на кассе", "страницы офиса: http://"],
    "en": ["points are spent all the same", "equals the ledger at the till", "the office's pages: http://"],
}


@pytest.mark.parametrize("lang", ["ru", "en"])
def test_the_demo_plays_a_shift_and_exits(tmp_path: Path, lang: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("kopilka-agent"), "demo"],
        cwd=tmp_path,
        env={**os.environ, "KOPILKA_LANG": lang},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for sentence in TOLD[lang]:
        assert sentence in done.stdout
    pictures = sorted(path.name for path in (tmp_path / "demo-out").iterdir())
    assert pictures == ["slip-1.png", "slip-2.png", "slip-3.png", "slip-4.png", "slip-5-copy.png"]
    assert all((tmp_path / "demo-out" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
