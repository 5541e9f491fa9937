"""`rulebook check`, `rulebook publish`; and how any publication is reported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from central.commands.common import answer, fault_data, home_option, json_option, open_home, read_file
from loyalty import catalog, selftest, strictjson
from loyalty import rulebook as law
from loyalty.catalog import Catalog
from loyalty.faults import Refused
from loyalty.index import compile_rulebook
from loyalty.selftest import SelfTest
from loyalty.texts import N_, Text

if TYPE_CHECKING:
    from central.rules.publishing import Published

RULEBOOK_FILE = "rulebook.json"
CATALOG_FILE = "catalog.json"
_NO_GOODS = Catalog({}, {})
_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.group()
def rulebook() -> None:
    """The rules of the programme."""


@rulebook.command("check")
@_file
@click.option(
    "--catalog",
    "catalog_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The goods, as they are imported: the rulebook's own tests are run with them.",
)
@home_option
@json_option
def rulebook_check(file: Path, catalog_file: Path | None, as_json: bool) -> None:
    """List every fault of a rulebook, and run its tests. No centre is needed."""
    try:
        found = _parse(read_file(file))
        goods = None if catalog_file is None else _goods(read_file(catalog_file))
        tests = None if goods is None else _tested(found, goods)
    except Refused as refused:
        if as_json:
            answer(True, {"good": False, "faults": fault_data(refused.faults)}, None)
            raise SystemExit(1) from refused
        raise
    data = {"good": True, "id": found.id, "seq": found.seq, "rules": len(found.rules)}
    text = N_(
        "The rulebook is good: {id}, seq {seq}, {count} rules.",
        id=found.id,
        seq=found.seq,
        count=len(found.rules),
    )
    answer(as_json, {**data, **_test_data(tests)}, text)
    if tests is not None and not as_json:
        answer(False, {}, _tests_passed(tests))
    elif found.tests and not as_json:
        text = N_("Its {count} tests were not run: name the goods with --catalog.", count=len(found.tests))
        answer(False, {}, text)


@rulebook.command("publish")
@_file
@home_option
@json_option
def rulebook_publish(file: Path, as_json: bool) -> None:
    """Publish a rulebook to all tills, if it has no fault and its tests pass with the published goods."""
    open_home()
    from central.rules import publishing

    content = read_file(file)
    found = _parse(content)
    goods = publishing.newest_file(publishing.CATALOG_CHANNEL, CATALOG_FILE)
    tests = _tested(found, _NO_GOODS if goods is None else _goods(goods))
    result = publishing.publish(publishing.RULEBOOK_CHANNEL, {RULEBOOK_FILE: content}, content_seq=found.seq)
    say_published(as_json, [result])
    if found.tests and not as_json:
        answer(False, {}, _tests_passed(tests))


def say_published(as_json: bool, results: list[Published]) -> None:
    """One line a channel, or one JSON list."""
    if as_json:
        answer(True, [{"channel": r.channel, "version": r.version, "new": r.new} for r in results], None)
        return
    for result in results:
        if result.new:
            text = N_(
                "Published: {channel}, version {version}.", channel=result.channel, version=result.version
            )
        else:
            text = N_(
                "{channel}: the same content is in force as version {version}; nothing was published.",
                channel=result.channel,
                version=result.version,
            )
        answer(False, {}, text)


def _parse(content: bytes) -> law.Rulebook:
    return law.parse(strictjson.loads(content))


def _goods(content: bytes) -> Catalog:
    return catalog.parse_published(strictjson.loads(content), "catalog").engine


def _tested(book: law.Rulebook, goods: Catalog) -> SelfTest:
    """Run the tests inside a rulebook. Raises Refused where one fails."""
    return selftest.check(compile_rulebook(book, goods))


def _test_data(tests: SelfTest | None) -> dict[str, Any]:
    return {} if tests is None else {"tests": tests.count, "results_sha256": tests.results_sha256}


def _tests_passed(tests: SelfTest) -> Text:
    return N_("Tests passed: {count}; results {sha256}.", count=tests.count, sha256=tests.results_sha256)
