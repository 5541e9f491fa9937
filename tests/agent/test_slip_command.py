"""`kopilka-agent slip preview`: a slip before anybody prints it, as text and as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from agent.cli import main
from agent.drivers.fakes import paper
from agent.drivers.fakes.paper import Slip
from agent.slip import WIDTHS
from agent.slip_samples import ONLINE, SAMPLES
from tests.agent.shop import CARD, Shop

GOLDEN = Path(__file__).parent / "test_slip_golden"


def preview(*words: str) -> Result:
    return CliRunner().invoke(main, ["slip", "preview", *words], env={"KOPILKA_LANG": "ru"})


def facts(directory: Path, **changed: object) -> Path:
    """A file of a slip's facts in which some are others."""
    file = directory / "facts.json"
    file.write_text(json.dumps({**msgspec.to_builtins(ONLINE), **changed}, default=str), encoding="utf-8")
    return file


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
    assert told["qr"] == "https://example.org/r/T1-1-17-a1b2c3"


def test_a_picture_may_have_any_name(tmp_path: Path) -> None:
    assert preview("--png", str(tmp_path / "slip")).exit_code == 0
    with Image.open(tmp_path / "slip") as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_what_is_drawn_is_what_the_lines_say(
    sample: str, columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost between the layout, the printer's bytes in code page 866, and the paper."""
    drawn: list[Slip] = []

    def draw(slip: Slip) -> Image.Image:
        drawn.append(slip)
        return Image.new("L", (1, 1))

    monkeypatch.setattr(paper, "draw_slip", draw)
    shown = preview("--sample", sample, "--columns", str(columns), "--png", str(tmp_path / "s.png"), "--json")
    assert (shown.exit_code, shown.stderr) == (0, "")
    (slip,) = drawn
    told = json.loads(shown.stdout)
    assert slip.qr == ([told["qr"]] if told["qr"] else [])
    assert [line for line in slip.lines if line.strip()] == [
        line for line in told["lines"] if "https://" not in line
    ]


def test_letters_that_the_code_page_lacks_are_counted(tmp_path: Path) -> None:
    shown = preview("--data", str(facts(tmp_path, shop="Ә → 日本")), "--png", str(tmp_path / "s.png"))
    assert shown.exit_code == 0
    assert "печатаются как ?): 4" in shown.stderr


def test_the_slip_of_a_real_sale(tmp_path: Path) -> None:
    shop = Shop(tmp_path, settings={"slip": {"qr": "https://shop.example/{ident}"}})
    shop.know()
    done = shop.commit("r1", shop.put("r1", card=CARD), columns=32)
    assert all(len(line) <= 32 for line in done["slip"]["lines"])
    assert done["slip"]["data"]["qr"] == f"https://shop.example/{done['ident']}"
    shop.close()
    file = tmp_path / "data.json"
    file.write_text(json.dumps(done["slip"]["data"]), encoding="utf-8")
    shown = preview("--data", str(file), "--columns", "32", "--json")
    assert json.loads(shown.output)["lines"] == done["slip"]["lines"]


WRONG: dict[str, tuple[bytes, str]] = {
    "cut": (b'{"shop": "a', "не слип"),
    "something else": (b'{"sale_id": "r1"}', "slip.data"),
    "no text": (b"\xff\xfe\x00", "не слип"),
    "too large": (b" " * (1024 * 1024 + 1), "больше"),
    "too deep": (b'{"shop":' + b"[" * 100_000, "не слип"),
    "a word mistyped": (b'{"expirng": []}', "expiring"),
    "a wrong kind": (b'{"shop": 1}', "$.shop"),
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
    assert preview("--columns", "40").exit_code == 2


def test_a_sample_and_a_file_at_once_are_wrong_use(tmp_path: Path) -> None:
    shown = preview("--sample", "online", "--data", str(facts(tmp_path)))
    assert (shown.exit_code, "или --sample, или --data" in shown.output) == (2, True)


def test_a_slip_that_no_printer_takes(tmp_path: Path) -> None:
    shown = preview("--data", str(facts(tmp_path, header=["x"] * 600)), "--png", str(tmp_path / "s.png"))
    assert (shown.exit_code, "не больше 500" in shown.output) == (1, True)


def test_a_card_in_a_file_is_masked_all_the_same(tmp_path: Path) -> None:
    shown = preview("--data", str(facts(tmp_path, card="2000000000015")))
    assert "Карта ...0015" in shown.output


def test_the_page_of_documentation_shows_what_the_command_prints() -> None:
    page = (Path(__file__).parents[2] / "docs" / "slips.md").read_text(encoding="utf-8")
    words = ("--sample", "offline", "--columns", "32")
    assert f"$ kopilka-agent slip preview {' '.join(words)}\n{preview(*words).output}```" in page
