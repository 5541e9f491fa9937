"""`store …`, `till …`."""

from __future__ import annotations

from typing import Any

import click

from central.commands.common import answer, home_option, json_option, open_home, table
from central.errors import Trouble
from central.texts import say
from loyalty.texts import N_

DEFAULT_ZONE = "Europe/Moscow"
SLIP_LINES_MAX = 12
SLIP_LINE_CHARS = 48

_slip_options = (
    click.option("--header", multiple=True, help="A line above every slip; repeat it for more."),
    click.option("--footer", multiple=True, help="A line below every slip; repeat it for more."),
)


@click.group()
def store() -> None:
    """Stores."""


@store.command("add")
@click.argument("store_id", metavar="ID")
@click.argument("name")
@click.option("--timezone", default=DEFAULT_ZONE, show_default=True, help="The shop's zone (IANA name).")
@click.option("--region", help="Region, as rules name it.")
@home_option
@json_option
def store_add(store_id: str, name: str, timezone: str, region: str | None, as_json: bool) -> None:
    """Add a store and publish its settings."""
    open_home()
    from central.fleet import enrolment

    made = enrolment.add_store(store_id, name, timezone, region)
    answer(as_json, {"store": made.id}, N_("Store {store} is added: {name}.", store=made.id, name=made.name))


@store.command("set")
@click.argument("store_id", metavar="ID")
@click.option("--name", help="New name.")
@click.option("--timezone", help="New zone (IANA name).")
@click.option("--region", help="New region, as rules name it.")
@click.option("--hub", help="The till to which the store's points go from now on.")
@click.option("--hub-url", help="Where the other tills reach it: http://192.168.1.10:7720; empty: nowhere.")
@_slip_options[0]
@_slip_options[1]
@home_option
@json_option
def store_set(store_id: str, as_json: bool, **options: Any) -> None:
    """Change a store and publish its settings. An empty --header or --footer removes the lines."""
    open_home()
    from central.fleet import enrolment

    changes: dict[str, object] = {
        name: options[name] for name in ("name", "timezone", "region", "hub") if options[name] is not None
    }
    if options["hub_url"] is not None:
        changes["hub_url"] = options["hub_url"] or None
    for side in ("header", "footer"):
        if options[side]:
            changes[f"slip_{side}"] = _slip_lines(options[side])
    if not changes:
        raise Trouble(
            N_("Say what to change: --name, --timezone, --region, --hub, --hub-url, --header or --footer.")
        )
    result = enrolment.change_store(store_id, changes)
    _say_published(as_json, result)


@store.command("list")
@home_option
@json_option
def store_list(as_json: bool) -> None:
    """List the stores."""
    open_home()
    from central.fleet.models import Store

    stores = [
        {
            "id": s.id,
            "name": s.name,
            "timezone": s.timezone,
            "region": s.region,
            "hub": s.hub,
            "hub_url": s.hub_url,
        }
        for s in Store.objects.order_by("id")
    ]
    answer(as_json, stores, None)
    if not as_json:
        heading = tuple(say(text) for text in (N_("Store"), N_("Name"), N_("Time zone"), N_("Hub")))
        rows = [(str(s["id"]), str(s["name"]), str(s["timezone"]), str(s["hub"] or "—")) for s in stores]
        table([heading, *rows])


@click.group()
def till() -> None:
    """Tills."""


@till.command("add")
@click.argument("store_id", metavar="STORE")
@click.option("--id", "till_id", help="Id of the till; default: the next free T1, T2, …")
@home_option
@json_option
def till_add(store_id: str, till_id: str | None, as_json: bool) -> None:
    """Add a till and print the one-time code that enrols it."""
    open_home()
    from central.fleet import enrolment, sessions

    made, code = enrolment.new_code(store_id, till_id)
    hours = sessions.CODE_LIFE_S // 3600
    answer(
        as_json,
        {"till": made.id, "store": made.store_id, "code": code, "valid_s": sessions.CODE_LIFE_S},
        N_("Till {till}, code: {code} (good once, for {hours} hours).", till=made.id, code=code, hours=hours),
    )


@till.command("list")
@home_option
@json_option
def till_list(as_json: bool) -> None:
    """List the tills and how each is doing."""
    open_home()
    from central.console.fleet_page import till_lines

    lines = till_lines()
    data = [
        {
            "till": line.id,
            "store": line.store,
            "hub": line.is_hub,
            "state": line.word,
            "last_sync": line.last_sync.isoformat(timespec="seconds") if line.last_sync else None,
            "received": line.received,
            "head": line.head,
            "pending": line.pending,
            "rulebook": line.rulebook,
            "rulebook_newest": line.rulebook_newest,
            "agent_version": line.agent_version,
        }
        for line in lines
    ]
    answer(as_json, data, None)
    if not as_json:
        heading = tuple(
            say(t) for t in (N_("Till"), N_("Store"), N_("State"), N_("Last sync"), N_("Received"))
        )
        rows = [
            (
                line.id,
                line.store,
                say(N_(line.word)),
                line.last_sync.astimezone().strftime("%d.%m.%Y %H:%M") if line.last_sync else "—",
                str(line.received),
            )
            for line in lines
        ]
        table([heading, *rows])


def _slip_lines(lines: tuple[str, ...]) -> list[str]:
    kept = [line for line in lines if line]
    if len(kept) > SLIP_LINES_MAX or any(
        len(line) > SLIP_LINE_CHARS or not line.isprintable() for line in kept
    ):
        raise Trouble(
            N_(
                "A slip has at most {lines} lines of {chars} printable characters above and below.",
                lines=SLIP_LINES_MAX,
                chars=SLIP_LINE_CHARS,
            )
        )
    return kept


def _say_published(as_json: bool, result: Any) -> None:
    from central.commands.rules import say_published

    say_published(as_json, [result])
