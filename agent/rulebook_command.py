"""`kopilka-agent rulebook`: what whoever writes rules needs beside an editor. No till is needed."""

from __future__ import annotations

import json
from pathlib import Path

import click

from agent.quote_command import fail_with, read_documents
from agent.texts import language, say, translator
from loyalty import catalog, rulebook, selftest
from loyalty.faults import Fault, Refused, gathered
from loyalty.index import compile_rulebook
from loyalty.schema import DOCUMENTS, schema_of
from loyalty.texts import N_

_file = click.Path(path_type=Path)


@click.group("rulebook")
def rulebook_command() -> None:
    """Schema and tests of rulebooks."""


@rulebook_command.command("schema")
@click.argument("document", type=click.Choice(list(DOCUMENTS)), default="rulebook")
def schema(document: str) -> None:
    """Print the JSON Schema of a DOCUMENT (the rulebook where none is named)."""
    click.echo(json.dumps(schema_of(document), ensure_ascii=False, indent=2))


@rulebook_command.command("test")
@click.option("--rulebook", "rulebook_file", type=_file, metavar="FILE", required=True)
@click.option("--catalog", "catalog_file", type=_file, metavar="FILE", required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def test(rulebook_file: Path, catalog_file: Path, as_json: bool) -> None:
    """Run the tests inside a rulebook; ends with 1 where one fails."""
    translate = translator(language())
    try:
        run = _run(rulebook_file, catalog_file)
    except Refused as refused:
        fail_with(refused.faults, translate)
    if as_json:
        faults = [{"path": fault.path, "text": fault.text.render(translate)} for fault in run.faults]
        done = {"tests": run.count, "failed": run.failed, "results_sha256": run.results_sha256}
        click.echo(json.dumps({**done, "faults": faults}, ensure_ascii=False))
    else:
        for fault in run.faults:
            click.echo(fault.render(translate), err=True)
        text = N_(
            "tests: {count}, failed: {failed}; results {sha256}",
            count=run.count,
            failed=run.failed,
            sha256=run.results_sha256,
        )
        click.echo(say(text))
    if run.failed:
        raise click.exceptions.Exit(1)


def _run(rulebook_file: Path, catalog_file: Path) -> selftest.SelfTest:
    documents = read_documents({"rulebook": rulebook_file, "catalog": catalog_file})
    faults: list[Fault] = []
    rules = gathered(rulebook.parse, documents["rulebook"], "rulebook", faults)
    goods = gathered(catalog.parse, documents["catalog"], "catalog", faults)
    if rules is None or goods is None:
        raise Refused(faults)
    return selftest.run_tests(compile_rulebook(rules, goods))
