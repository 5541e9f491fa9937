"""`import goods`, `import members`, `import templates`."""

from __future__ import annotations

from pathlib import Path

import click

from central.commands.common import answer, home_option, json_option, open_home, read_file
from central.commands.common import points as as_points
from central.commands.rules import CATALOG_FILE, say_published
from loyalty import catalog, strictjson
from loyalty.card_templates import parse_templates
from loyalty.faults import Refused
from loyalty.texts import N_

_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.group("import")
def import_() -> None:
    """Bring in goods, members and number templates."""


@import_.command("goods")
@_file
@home_option
@json_option
def import_goods(file: Path, as_json: bool) -> None:
    """Publish a catalogue (JSON as ledger-sync.md §6 has it) to all tills."""
    open_home()
    from central.rules import publishing

    content = read_file(file)
    catalog.parse_published(strictjson.loads(content))
    say_published(as_json, [publishing.publish(publishing.CATALOG_CHANNEL, {CATALOG_FILE: content})])


@import_.command("templates")
@_file
@home_option
@json_option
def import_templates(file: Path, as_json: bool) -> None:
    """Set the number templates (a JSON list) of the whole chain and publish the stores' settings."""
    open_home()
    from django.db import transaction

    from central.rules import store_settings
    from central.rules.models import Programme

    document = strictjson.loads(read_file(file))
    if faults := tuple(strictjson.faults_of(document)):
        raise Refused(faults)
    parse_templates(document, "")
    with transaction.atomic():
        programme, _ = Programme.objects.get_or_create()
        programme.number_templates = document
        programme.save()
        results = store_settings.publish_all()
    say_published(as_json, results)


@import_.command("members")
@_file
@click.option("--home-store", metavar="STORE", help="The home store of these members.")
@click.option("--dry-run", is_flag=True, help="Check only.")
@home_option
@json_option
def import_members(file: Path, home_store: str | None, dry_run: bool, as_json: bool) -> None:
    """Import members, their cards and opening points from CSV, the whole file or nothing of it.

    Columns: number, kind, card_kind, tier, segments, points, expires.
    """
    open_home()
    from central.fleet import enrolment
    from central.members import importing

    if home_store is not None:
        enrolment.the_store(home_store)
    done = importing.import_members(read_file(file), home_store, dry_run=dry_run)
    points = as_points(done.points)
    data = {"members": done.members, "points": points, "imported": not dry_run}
    if dry_run:
        text = N_("The file is good: {count} members, {points} points.", count=done.members, points=points)
    else:
        text = N_("Imported: {count} members, {points} points.", count=done.members, points=points)
    answer(as_json, data, text)
