"""The box's own file: what is misspelt or wrong is named, with what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import Config, ConfigError, load, parse
from agent.texts import both

WHOLE = """
state_dir = "till"
language = "en"
[api]
port = 0
[[scanners]]
url = "evdev:by-path/x"
[[scanners]]
name = "msr"
url = "serial:/dev/ttyS0?baud=9600"
[printer]
url = "tcp:192.0.2.10:9100"
columns = 42
encoding = "cp1251"
code_page = 73
answer_timeout_ms = 500
"""


def written(directory: Path, text: str) -> Path:
    path = directory / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(directory: Path, text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as wrong:
        load(written(directory, text))
    says = both(wrong.value.text)
    assert says["ru"] != says["en"]
    assert "agent.toml" in says["en"]
    return says


def test_an_empty_file_is_a_till_with_nothing_plugged_in(tmp_path: Path) -> None:
    config = load(written(tmp_path, ""))
    assert (config.language, config.scanners, config.printer) == ("ru", (), None)
    assert (config.api.host, config.api.port) == ("127.0.0.1", 8317)
    assert config.state_dir == "/var/lib/kopilka"


def test_every_key_has_its_place(tmp_path: Path) -> None:
    config = load(written(tmp_path, WHOLE))
    assert config.state_dir == str(tmp_path / "till")  # relative to the file it stands in
    assert [scanner.name for scanner in config.scanners] == ["scanner", "msr"]
    assert config.printer is not None
    assert (config.printer.columns, config.printer.code_page) == (42, 73)


PRINTER = "[printer]\nurl = 'x'\n"
MISSPELT = {
    "at the top": ('langauge = "ru"', "there is no key langauge; did you mean language?"),
    "a table": ("[printr]\nurl = 'x'", "there is no key printr; did you mean printer?"),
    "in a table": ("[api]\nprot = 1", "there is no key api.prot; did you mean api.port?"),
    "in the printer": (PRINTER + "column = 32", "no key printer.column; did you mean printer.columns?"),
    "in the second scanner": (
        "[[scanners]]\nurl = 'x'\n[[scanners]]\nulr = 'x'",
        "there is no key scanners.ulr; did you mean scanners.url?",
    ),
    "a unit left out": (PRINTER + "answer_timeout = 3", "did you mean printer.answer_timeout_ms?"),
    "like nothing we know": ("zzz = 1", "no key zzz; known here are state_dir, language, log_level"),
    "in one table instead of a list": ("[scanners]\nulr = 'x'", "did you mean scanners.url?"),
}


@pytest.mark.parametrize(("text", "says"), MISSPELT.values(), ids=MISSPELT.keys())
def test_a_misspelt_key_names_the_nearest(tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(tmp_path, text)["en"]


WRONG = {
    "a word for a number": ('[api]\nport = "8317"', "$.api.port"),
    "a port that is none": ("[api]\nport = 99999", "$.api.port"),
    "a number for a word": ("state_dir = 7", "$.state_dir"),
    "a number with a point": (PRINTER + "columns = 48.0", "$.printer.columns"),
    "one table instead of a list": ("[scanners]\nurl = 'x'", "$.scanners"),
    "a word for a table": ("printer = 'tcp:x'", "$.printer"),
    "a scanner without its url": ("[[scanners]]\nname = 'x'", "url"),
    "a language we do not speak": ('language = "de"', "language is de; write one of ru, en"),
    "a width no printer has": (
        PRINTER + "columns = 40",
        "printer.columns is 40; write one of 32, 42, 48",
    ),
    "an encoding no printer has": (
        PRINTER + "encoding = 'utf-8'",
        "printer.encoding is utf-8; write one of",
    ),
    "a code page beyond a byte": (PRINTER + "code_page = 866", "$.printer.code_page"),
    "a printer that may answer tomorrow": (
        PRINTER + "answer_timeout_ms = 86400000",
        "answer_timeout_ms",
    ),
    "a log that says nothing": ('log_level = "LOUD"', "log_level is LOUD; write one of DEBUG, INFO"),
    "an API for the whole network": ("[api]\nhost = '0.0.0.0'", "for this box only, write 127.0.0.1"),
    "an API for the shop's network": ("[api]\nhost = '192.168.1.5'", "for this box only"),
    "an API by a name": ("[api]\nhost = 'till-1.example'", "for this box only"),
    "a hub that listens nowhere": ("[hub]\nlisten = ':7720'", "hub.listen is :7720; write an address"),
    "a hub without a port": ("[hub]\nlisten = '0.0.0.0'", "write an address of this box and a port"),
    "a hub on a port that is none": ("[hub]\nlisten = '0.0.0.0:77200'", "such as 0.0.0.0:7720"),
    "a hub on any port": ("[hub]\nlisten = '0.0.0.0:0'", "such as 0.0.0.0:7720"),
    "a hub by a name": ("[hub]\nlisten = 'till-1.example:7720'", "such as 0.0.0.0:7720"),
    "a hub and nothing of it": ("[hub]", "listen"),
    "no TOML": ("state_dir = \n", "line 1"),
    "a key twice": ("language = 'ru'\nlanguage = 'en'\n", "line 2"),
}


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_value_that_cannot_be_names_its_key(tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(tmp_path, text)["en"]


def test_where_a_hub_listens() -> None:
    hub = parse({"hub": {"listen": "192.168.1.10:7720"}}, "agent.toml").hub
    assert hub is not None
    assert (hub.host, hub.port) == ("192.168.1.10", 7720)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost"])
def test_this_box_has_more_than_one_name(host: str) -> None:
    assert parse({"api": {"host": host}}, "agent.toml").api.host == host


def test_a_file_that_is_not_there_says_how_to_name_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config"):
        load(tmp_path / "agent.toml")


def test_a_file_that_is_no_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_bytes(b"language = \xff")
    with pytest.raises(ConfigError, match=r"agent\.toml"):
        load(tmp_path / "agent.toml")
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load(tmp_path)


def test_the_example_of_the_installation_guide_is_a_configuration() -> None:
    """docs/install.md shows a file to copy; it must be one."""
    import tomllib

    guide = Path(__file__).parents[2] / "docs" / "install.md"
    example = guide.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    config = parse(tomllib.loads(example), "install.md")
    assert isinstance(config, Config)
    assert config.printer is not None
