"""`programme show`, `programme set`: what the whole chain shares and every store's settings carry."""

from __future__ import annotations

import re
from typing import Any

import click

from central.commands.common import answer, home_option, json_option, open_home
from central.commands.rules import say_published
from central.errors import Trouble
from loyalty.texts import N_

_POINTS = re.compile(r"(?P<whole>\d{1,7})(?:[.,](?P<part>\d{1,2}))?")


@click.group()
def programme() -> None:
    """What all stores share."""


@programme.command("show")
@home_option
@json_option
def show(as_json: bool) -> None:
    """Say how it stands."""
    open_home()
    from central.rules.models import Programme

    row, _ = Programme.objects.get_or_create()
    data = {"courtesy_points": row.courtesy_points, "earn_spendable": row.earn_spendable}
    text = N_(
        "A till without a link lends up to {points} points an account and outage; points earned can be "
        "spent: {spendable}.",
        points=f"{row.courtesy_points / 100:.2f}",
        spendable=row.earn_spendable,
    )
    answer(as_json, data, text)


@programme.command("set")
@click.option("--courtesy", help="What a till may lend an account in one outage beyond what it holds: 50.00")
@click.option("--earn-spendable", help='When points can be spent: now, next_sync or "after 3 days".')
@home_option
@json_option
def change(courtesy: str | None, earn_spendable: str | None, as_json: bool) -> None:
    """Change it and publish the settings of every store."""
    open_home()
    from central.rules import store_settings
    from loyalty.settings import SettingsError

    changes: dict[str, Any] = {}
    if courtesy is not None:
        changes["courtesy_points"] = _points(courtesy)
    if earn_spendable is not None:
        changes["earn_spendable"] = earn_spendable
    if not changes:
        raise Trouble(N_("Say what to change: --courtesy or --earn-spendable."))
    try:
        results = store_settings.change_programme(changes)
    except SettingsError as error:
        raise Trouble(N_("This cannot be a setting: {why}.", why=error)) from error
    say_published(as_json, results)


def _points(text: str) -> int:
    """Hundredths. Raises Trouble."""
    found = _POINTS.fullmatch(text)
    if found is None:
        raise Trouble(N_("{text} is no number of points; write 50 or 50.00.", text=ascii(text[:32])))
    return int(found["whole"]) * 100 + int((found["part"] or "").ljust(2, "0"))
