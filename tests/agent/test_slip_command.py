"""`kopilka-agent slip preview`: a slip before anybody prints it, as text and as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from agent.cli import main
from agent.slip import WIDTHS
from agent.slip_samples import SAMPLES
from tests.agent.shop import CARD, Shop

GOLDEN = Path(__file__).parent / "test_slip_golden"


def preview(*words: str) -> Result:
    return CliRunner().invoke(main, ["slip", "preview", *words], env={"KOPILKA_LANG": "ru"})


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_every_sample_is_shown_as_the_printer_would_have_it(sample: str, columns: int) -> None:
    shown = preview("--sample", sample, "--columns", str(columns))
    assert shown.exit_code == 0
    assert shown.output == (GOLDEN / f"{sample}.ru.{columns}.txt").read_text(encoding="utf-8")


def test_as_a_picture_as_json_and_in_english(tmp_path: Path) -> None:
    file = tmp_path / "slip.png"
    shown = preview("--png", str(file), "--json", "--lang", "en", "--columns", "32")
    told = json.loads(shown.output)
    assert (told["columns"], "Points balance             1,234" in told["lines"]) == (32, True)
    with Image.open(file) as picture:
        assert picture.format == "PNG"
        darkest, lightest = picture.convert("L").getextrema()
        assert lightest - darkest > 200  # ink on paper: something is on it


def test_the_slip_of_a_real_sale(tmp_path: Path) -> None:
    shop = Shop(tmp_path, settings={"slip": {"qr": "https://shop.example/{ident}"}})
    shop.know()
    done = shop.commit("r1", shop.put("r1", card=CARD), columns=32)
    assert all(len(line) <= 32 for line in done["slip"]["lines"])
    assert done["slip"]["data"]["qr"] == f"https://shop.example/{done['ident']}"
    shop.close()
    file = tmp_path / "data.json"
    file.write_text(json.dumps(done["slip"]["data"]), encoding="utf-8")
    shown = preview("--data", str(file), "--columns", "32")
    assert shown.output.splitlines() == done["slip"]["lines"]


WRONG: dict[str, tuple[bytes, str]] = {
    "cut": (b'{"shop": "a', "не слип"),
    "something else": (b'{"sale_id": "r1"}', "slip.data"),
    "no text": (b"\xff\xfe\x00", "не слип"),
    "too large": (b" " * (1024 * 1024 + 1), "больше"),
}


@pytest.mark.parametrize(("content", "said"), WRONG.values(), ids=WRONG)
def test_a_file_that_is_no_slip_is_said_to_be_none(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "data.json"
    file.write_bytes(content)
    shown = preview("--data", str(file))
    assert (shown.exit_code, said in shown.output) == (1, True)
    assert "Traceback" not in shown.output


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    assert preview("--data", str(tmp_path / "none.json")).exit_code == 1
    assert preview("--png", str(tmp_path / "none" / "slip.png")).exit_code == 1
    assert preview("--sample", "other").exit_code == 2
