"""The commands as an operator types them, in a process of their own, in a home of their own."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from office import ANNA, TEMPLATES
from pretend_till import PretendTill

from loyalty import wire

WAIT_S = 60
RULEBOOK: dict[str, Any] = {
    "format": 1,
    "semantics": 1,
    "id": "main",
    "seq": 1,
    "rules": [{"id": "p10", "stage": "line", "effect": {"type": "percent", "bp": 1000}}],
}
CATALOG: dict[str, Any] = {
    "format": 1,
    "currency": "RUB",
    "categories": {},
    "skus": {"bread": {"name": "Хлеб", "unit": "шт", "barcodes": ["4600000000008"], "codes": []}},
}


def kopilka(home: Path, *words: str, lang: str = "en", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from central.cli import main; main()", *words],
        env={**os.environ, "KOPILKA_HOME": str(home), "KOPILKA_LANG": lang, **env},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def done(home: Path, *words: str) -> str:
    result = kopilka(home, *words)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a store and one till code waiting."""
    home = tmp_path_factory.mktemp("home") / "centre"
    result = kopilka(home, "init", "--admin", "olga", "--json", KOPILKA_ADMIN_PASSWORD="a long password")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {"home": str(home), "created": True, "admin": "olga"}
    done(home, "store", "add", "S1", "Лесная")
    return home


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A centre that listens on a free port; it is stopped with SIGTERM if it still runs."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from central.cli import main; main()",
            "--home",
            str(home),
            "serve",
            "--port",
            "0",
        ],
        env={**os.environ, "KOPILKA_LANG": "en", "PYTHONWARNINGS": "error::ResourceWarning"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"Listening on (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line + (process.communicate()[1] if not line else "")
        yield found[1], process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)


def status_of_a_post_that_claims(url: str, length: int) -> int:
    """Only the head of a request is sent; the answer must not wait for the body."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=WAIT_S)
    try:
        connection.putrequest("POST", "/v1/enroll")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_new_centre_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "centre"
    first = kopilka(home, "init", "--json")
    password = json.loads(first.stdout)["password"]
    assert len(password) >= 12
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    keys = [path for path in home.rglob("*") if path.is_file() and path.suffix != ".sqlite3"]
    assert len(keys) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    second = kopilka(home, "init")
    assert (second.returncode, second.stdout.count("already")) == (0, 1)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_an_init_that_was_cut_short_is_finished_by_the_next(tmp_path: Path) -> None:
    weak = kopilka(tmp_path / "centre", "init", KOPILKA_ADMIN_PASSWORD="short")
    assert (weak.returncode, weak.stdout) == (1, "")
    assert "KOPILKA_ADMIN_PASSWORD" in weak.stderr
    assert "is made" in done(tmp_path / "centre", "init")


def test_commands_without_a_centre_say_what_to_do(tmp_path: Path) -> None:
    for words in (["serve"], ["migrate"], ["till", "list"], ["store", "add", "S1", "x"]):
        result = kopilka(tmp_path / "none", *words)
        assert result.returncode == 1
        assert "kopilka-central init" in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "none").exists()


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = kopilka(tmp_path / "file" / "centre", "init")
    assert (result.returncode, "cannot be made" in result.stderr) == (1, True)


def test_wrong_use_is_exit_2(tmp_path: Path) -> None:
    assert kopilka(tmp_path, "serve", "--port", "70000").returncode == 2
    assert kopilka(tmp_path, "rulebook", "check").returncode == 2
    assert kopilka(tmp_path, "nonsense").returncode == 2


def test_the_tests_inside_a_rulebook_stand_before_its_publication(made: Path, tmp_path: Path) -> None:
    sale = {
        "id": "R",
        "till": "T",
        "store": "S",
        "at": "2026-02-13T12:00:00+03:00",
        "lines": [{"id": "1", "sku": "bread", "price": 5000, "quantity": 1000}],
    }
    test = {"title": "bread", "receipt": sale, "expect": {"pay": 4000}}
    file, goods = tmp_path / "rulebook.json", tmp_path / "goods.json"
    file.write_text(json.dumps({**RULEBOOK, "seq": 999, "tests": [test]}), "utf-8")
    goods.write_text(json.dumps(CATALOG), "utf-8")
    for words in (("check", str(file), "--catalog", str(goods)), ("publish", str(file))):
        result = kopilka(made, "rulebook", *words)
        assert result.returncode == 1
        assert "tests[0].expect.pay: bread: expected 4000, got 4500" in result.stderr
    assert "tests were not run" in done(made, "rulebook", "check", str(file))

    file.write_text(json.dumps({**RULEBOOK, "tests": [{**test, "expect": {"pay": 4500}}]}), "utf-8")
    assert "Tests passed: 1" in done(made, "rulebook", "check", str(file), "--catalog", str(goods))
    found = json.loads(done(made, "rulebook", "check", str(file), "--catalog", str(goods), "--json"))
    assert found["tests"] == 1
    assert len(found["results_sha256"]) == 64


def test_a_rulebook_with_three_faults_publishes_nothing(made: Path, tmp_path: Path) -> None:
    bad = {**RULEBOOK, "seq": "one"}
    bad["rules"] = [
        {"id": "p10", "stage": "lime", "effect": {"type": "percent", "bp": 1000}},
        {"id": "p11", "stage": "line", "effect": {"type": "percent", "bp": -1}},
    ]
    file = tmp_path / "rulebook.json"
    file.write_text(json.dumps(bad))
    for command in ("check", "publish"):
        result = kopilka(made, "rulebook", command, str(file))
        assert (result.returncode, result.stdout) == (1, "")
        lines = result.stderr.splitlines()
        assert lines[0] == "Error: 3 faults; nothing was changed."
        paths = sorted(line.split(":")[0].strip() for line in lines[1:])
        assert paths == ["rules[0].stage", "rules[1].effect.bp", "seq"]
    found = kopilka(made, "rulebook", "check", str(file), "--json")
    assert found.returncode == 1
    assert len(json.loads(found.stdout)["faults"]) == 3


def test_not_json_at_all(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "rulebook.json"
    file.write_bytes(b"\xff{")
    result = kopilka(made, "rulebook", "check", str(file))
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)
    missing = kopilka(made, "rulebook", "check", str(tmp_path / "no.json"))
    assert (missing.returncode, "cannot be read" in missing.stderr) == (1, True)


def test_one_shop_from_nothing_to_a_sale_over_http(made: Path, tmp_path: Path) -> None:
    """The whole line: templates, members, rules and goods go out; a till enrols, reads, sells, syncs."""
    files = {"templates": TEMPLATES, "rulebook": RULEBOOK, "goods": CATALOG}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "members.csv").write_text(f"number,points\n{ANNA},150.00\n")
    assert "settings.S1, version 2" in done(made, "import", "templates", str(tmp_path / "templates.json"))
    assert "rulebook.all, version 1" in done(made, "rulebook", "publish", str(tmp_path / "rulebook.json"))
    assert "nothing was published" in done(made, "rulebook", "publish", str(tmp_path / "rulebook.json"))
    assert "catalog.all, version 1" in done(made, "import", "goods", str(tmp_path / "goods.json"))
    members = str(tmp_path / "members.csv")
    assert "1 members, 150.00 points" in done(made, "import", "members", members, "--home-store", "S1")
    assert kopilka(made, "import", "members", members).returncode == 1
    code = json.loads(done(made, "till", "add", "S1", "--json"))["code"]

    with serving(made) as (url, process), requests.Session() as session:

        def send(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
            headers = {"Content-Type": wire.CONTENT_TYPE, **headers}
            answer = requests.request(method, url + path, data=body, headers=headers, timeout=WAIT_S)
            return answer.status_code, answer.content

        till = PretendTill.enrolled(code, send=send)
        first = till.sync()
        assert first.manifests == {"settings.S1": 3, "rulebook.all": 1, "catalog.all": 1}
        assert till.held(1) == 135_00
        sha256 = json.loads(till.manifest("rulebook.all").manifest)["files"]["rulebook.json"]["sha256"]
        assert json.loads(till.file(sha256)) == RULEBOOK
        till.sell(1, earn=5_00)
        assert till.sync().next_seq == 2

        till.sell(1, earn=1_00)
        same = till.batch()
        with ThreadPoolExecutor(8) as impatient:  # a proxy that repeats what is slow
            replies = list(impatient.map(till.post, [same] * 8))
        assert {(reply.next_seq, reply.session) for reply in replies} == {(3, replies[0].session)}

        assert status_of_a_post_that_claims(url, 10**9) == 413
        chunked = session.post(f"{url}/v1/enroll", data=iter([b"x"]), timeout=WAIT_S)
        assert chunked.status_code == 411
        assert session.get(f"{url}/login/", timeout=WAIT_S).status_code == 200
        assert session.get(f"{url}/static/console/console.css", timeout=WAIT_S).status_code == 200

        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
        assert "Traceback" not in errors
        assert till.session not in errors
        assert "Warning" not in errors
    listed = json.loads(done(made, "till", "list", "--json"))
    assert [(till["till"], till["received"], till["hub"]) for till in listed] == [("T1", 2, True)]


def test_two_centres_on_one_port(made: Path) -> None:
    with serving(made) as (url, _):
        port = url.rpartition(":")[2]
        second = kopilka(made, "serve", "--port", port)
        assert (second.returncode, "Cannot listen" in second.stderr) == (1, True)


def test_a_slip_of_a_store_is_set_and_bounded(made: Path) -> None:
    assert "version" in done(made, "store", "set", "S1", "--header", "ООО «Лесная»")
    hub = ["--hub", "T99"]
    for words in (["--header", "x" * 49], [], hub, ["--timezone", "Mars/Olympus"]):
        result = kopilka(made, "store", "set", "S1", *words)
        assert (result.returncode, result.stderr[:6]) == (1, "Error:")


def test_what_the_whole_chain_shares_is_set_once(made: Path, tmp_path: Path) -> None:
    home = shutil.copytree(made, tmp_path / "home")
    done(home, "programme", "set", "--courtesy", "50", "--earn-spendable", "after 3 days")
    told = json.loads(done(home, "programme", "show", "--json"))
    assert (told["courtesy_points"], told["earn_spendable"]) == (50_00, "after 3 days")
    wrong_ones = (
        ["--courtesy", "-1"],
        ["--earn-spendable", "soon"],
        ["--fiscal", "weighed=never"],
        ["--fiscal", "weighed"],
        ["--limit", "card_per_shift=10/3"],
        ["--limit", "card_per_week=3/10"],
        ["--limit", "card_per_shift=many"],
        ["--slip-qr", "x" * 201],
        [],
    )
    for wrong in wrong_ones:
        refused = kopilka(home, "programme", "set", *wrong)
        assert refused.returncode == 1
        assert refused.stderr.startswith("Error: ")
    assert json.loads(done(home, "programme", "show", "--json")) == told
    done(home, "programme", "set", "--fiscal", "weighed=shift", "--limit", "card_per_shift=3/10",
         "--limit", "manual_per_shift=/5", "--slip-qr", "https://shop.example/{ident}")  # fmt: skip
    done(home, "programme", "set", "--limit", "manual_per_shift=/")  # that one is none any more
    now = json.loads(done(home, "programme", "show", "--json"))
    assert now["fiscal"] == {"weighed": "shift"}
    assert now["limits"] == {"card_per_shift": {"soft": 3, "hard": 10}, "manual_per_shift": {}}
    assert "card_per_shift=3/10" in done(home, "programme", "show")
