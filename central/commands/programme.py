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
    data = {
        "courtesy_points": row.courtesy_points,
        "earn_spendable": row.earn_spendable,
        "fiscal": row.fiscal,
        "limits": row.limits,
        "slip_qr": row.slip_qr,
    }
    text = N_(
        "A till without a link lends up to {points} points an account and outage; points earned can be "
        "spent: {spendable}. Fiscal lines: {fiscal}. Limits: {limits}. QR code of slips: {qr}.",
        points=f"{row.courtesy_points / 100:.2f}",
        spendable=row.earn_spendable,
        fiscal=_said(row.fiscal),
        limits=_said(row.limits),
        qr=row.slip_qr or "-",
    )
    answer(as_json, data, text)


def _said(settings: dict[str, Any]) -> str:
    """As `set` takes it; what is not there is as it is by default."""
    named = []
    for name, value in settings.items():
        most = f"{value.get('soft') or ''}/{value.get('hard') or ''}" if isinstance(value, dict) else value
        named.append(f"{name}={most}")
    return ", ".join(named) or "-"


@programme.command("set")
@click.option("--courtesy", help="What a till may lend an account in one outage beyond what it holds: 50.00")
@click.option("--earn-spendable", help='When points can be spent: now, next_sync or "after 3 days".')
@click.option("--fiscal", multiple=True, metavar="NAME=MODE", help="A mode of docs/fiscal.md: weighed=shift")
@click.option(
    "--limit",
    multiple=True,
    metavar="NAME=SOFT/HARD",
    help="Against abuse: card_per_shift=3/10, receipts_per_day=/5, manual_per_shift=3/; none: NAME=/",
)
@click.option("--slip-qr", help="Text of the QR code on slips, {ident} in it is the last line; empty: none")
@home_option
@json_option
def change(
    courtesy: str | None,
    earn_spendable: str | None,
    fiscal: tuple[str, ...],
    limit: tuple[str, ...],
    slip_qr: str | None,
    as_json: bool,
) -> None:
    """Change it and publish the settings of every store."""
    open_home()
    from central.rules import store_settings
    from central.rules.models import Programme
    from loyalty.settings import SettingsError

    row, _ = Programme.objects.get_or_create()
    changes: dict[str, Any] = {}
    if courtesy is not None:
        changes["courtesy_points"] = _points(courtesy)
    if earn_spendable is not None:
        changes["earn_spendable"] = earn_spendable
    if fiscal:
        changes["fiscal"] = row.fiscal | dict(_pair(text) for text in fiscal)
    if limit:
        changes["limits"] = row.limits | {name: _limit(most) for name, most in map(_pair, limit)}
    if slip_qr is not None:
        changes["slip_qr"] = slip_qr
    if not changes:
        raise Trouble(N_("Say what to change: see --help."))
    try:
        results = store_settings.change_programme(changes)
    except SettingsError as error:
        raise Trouble(N_("This cannot be a setting: {why}.", why=error)) from error
    say_published(as_json, results)


def _pair(text: str) -> tuple[str, str]:
    """NAME=VALUE. Raises Trouble."""
    name, found, value = text.partition("=")
    if not (name and found):
        raise Trouble(N_("{text} is no NAME=VALUE.", text=ascii(text[:32])))
    return name, value


def _limit(text: str) -> dict[str, int]:
    """SOFT/HARD; either may be left out. Raises Trouble."""
    soft, found, hard = text.partition("/")
    if not found or not all(
        number == "" or (number.isascii() and number.isdigit()) for number in (soft, hard)
    ):
        raise Trouble(N_("{text} is no limit; write 3/10, 3/ or /10.", text=ascii(text[:32])))
    return {name: int(number) for name, number in (("soft", soft), ("hard", hard)) if number}


def _points(text: str) -> int:
    """Hundredths. Raises Trouble."""
    found = _POINTS.fullmatch(text)
    if found is None:
        raise Trouble(N_("{text} is no number of points; write 50 or 50.00.", text=ascii(text[:32])))
    return int(found["whole"]) * 100 + int((found["part"] or "").ljust(2, "0"))
