"""`store …`, `till …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from central.commands.common import answer, home_option, json_option, local, open_home, points, table
from central.errors import Trouble
from central.texts import say
from loyalty.texts import N_

if TYPE_CHECKING:
    from central.fleet.models import TillLife

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
            "epoch": line.epoch,
            "pending": line.pending,
            "oldest": line.oldest.isoformat(timespec="seconds") if line.oldest else None,
            "points": points(line.held),
            "exposure": points(line.exposure),
            "suspended": points(line.suspended),
            "holds": line.holds,
            "quarantined": line.quarantined,
            "clock_offset_s": line.clock_offset_s,
            "remedies": [say(remedy) for remedy in line.remedies],
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


@till.command("close")
@click.argument("till_id", metavar="ID")
@home_option
@json_option
def till_close(till_id: str, as_json: bool) -> None:
    """A till is dead, stolen or gone: what it held is suspended, what it still sends is quarantined."""
    open_home()
    from central.fleet import late, lives
    from central.fleet.models import Store

    life = lives.close(till_id)
    suspended = late.suspended_points(life)
    hub = Store.objects.get(id=life.till.store_id).hub
    data = {
        "till": till_id,
        "epoch": life.epoch,
        "entries": life.next_seq - 1,
        "suspended": points(suspended),
        "resumes_ms": life.ended_ms + lives.RESUME_AFTER_MS,
        "hub": hub,
    }
    text = N_(
        "Till {till} is closed; its life {epoch} has ended, {count} entries of it are here. "
        "What it still sends waits for a decision: kopilka-central till late {till}.",
        till=till_id,
        epoch=life.epoch,
        count=life.next_seq - 1,
    )
    answer(as_json, data, text)
    if as_json:
        return
    if suspended:
        text = N_(
            "Its parcels, {points} points, are suspended until {until}; "
            "sooner: kopilka-central till resume {till} {epoch}.",
            points=points(suspended),
            until=local(life.ended_ms + lives.RESUME_AFTER_MS),
            till=till_id,
            epoch=life.epoch,
        )
        answer(False, {}, text)
    if hub is None:
        text = N_(
            "Store {store} has no till now; points are placed there again when it has.",
            store=life.till.store_id,
        )
    else:
        text = N_("Points of store {store} go to till {hub}.", store=life.till.store_id, hub=hub)
    answer(False, {}, text)


@till.command("late")
@click.argument("till_id", metavar="[ID]", required=False)
@home_option
@json_option
def till_late(till_id: str | None, as_json: bool) -> None:
    """List what closed tills sent after their end, and nobody has decided about."""
    open_home()
    from central.console.entry_words import KINDS
    from central.fleet import late, lives

    if till_id is not None:
        lives.the_till(till_id)
    found = late.late(till_id)
    data = [
        {
            "till": life.till,
            "epoch": life.epoch,
            "accepted_ms": life.accepted_ms,
            "points": points(life.change),
            "entries": [
                {
                    "id": entry.id,
                    "at_s": entry.at_s,
                    "kind": entry.kind,
                    "account": entry.account,
                    "points": points(entry.change),
                }
                for entry in life.entries
            ],
        }
        for life in found
    ]
    answer(as_json, data, None if found else N_("Nothing waits for a decision."))
    if as_json:
        return
    for life in found:
        text = N_(
            "Till {till}, life {epoch}: {count} entries after its end, {points} points together. Take them: "
            "kopilka-central till accept {till} {epoch}. Undo them: kopilka-central till reverse {till} "
            "{epoch}. Without a decision they are accepted on {when}.",
            till=life.till,
            epoch=life.epoch,
            count=len(life.entries),
            points=points(life.change),
            when=local(life.accepted_ms),
        )
        answer(False, {}, text)
        heading = tuple(say(t) for t in (N_("Entry"), N_("When"), N_("What"), N_("Account"), N_("Points")))
        rows = [
            (
                entry.id,
                local(entry.at_s * 1000),
                say(N_(KINDS.get(entry.kind, entry.kind))),
                "—" if entry.account is None else str(entry.account),
                points(entry.change),
            )
            for entry in life.entries
        ]
        table([heading, *rows])


_life = (
    click.argument("till_id", metavar="ID"),
    click.argument("epoch", type=click.IntRange(1)),
)


@till.command("accept")
@_life[0]
@_life[1]
@home_option
@json_option
def till_accept(till_id: str, epoch: int, as_json: bool) -> None:
    """Take what life EPOCH of a till sent after its end like any other entries."""
    open_home()
    from central.fleet import lives

    count = lives.accept_late(_life_with_late_entries(till_id, epoch))
    text = N_(
        "Accepted: {count} entries of till {till}, life {epoch}.", count=count, till=till_id, epoch=epoch
    )
    answer(as_json, {"till": till_id, "epoch": epoch, "accepted": count}, text)


@till.command("reverse")
@_life[0]
@_life[1]
@home_option
@json_option
def till_reverse(till_id: str, epoch: int, as_json: bool) -> None:
    """Keep what life EPOCH of a till sent after its end, and undo what it did to points."""
    open_home()
    from central.fleet import lives

    count = lives.reverse_late(_life_with_late_entries(till_id, epoch))
    text = N_(
        "Kept and undone: {count} entries of till {till}, life {epoch}.",
        count=count,
        till=till_id,
        epoch=epoch,
    )
    answer(as_json, {"till": till_id, "epoch": epoch, "reversed": count}, text)


@till.command("resume")
@_life[0]
@_life[1]
@home_option
@json_option
def till_resume(till_id: str, epoch: int, as_json: bool) -> None:
    """Let what life EPOCH of a till held come back to the office now, before the fortnight is over."""
    open_home()
    from central.fleet import lives

    life = lives.the_life(till_id, epoch)
    if lives.late_entries(life).exists():
        raise Trouble(
            N_(
                "Till {till}, life {epoch}, has sent entries that wait for a decision, and they may spend "
                "these points. Decide first: kopilka-central till late {till}.",
                till=till_id,
                epoch=epoch,
            )
        )
    back = lives.resume(life)
    data = {"till": till_id, "epoch": epoch, "points": points(back)}
    if back:
        text = N_(
            "Back at the office: {points} points of till {till}, life {epoch}. If that till has spent them "
            "and tells it yet, the accounts will owe them.",
            points=points(back),
            till=till_id,
            epoch=epoch,
        )
    else:
        text = N_("Nothing of till {till}, life {epoch}, is suspended.", till=till_id, epoch=epoch)
    answer(as_json, data, text)


def _life_with_late_entries(till_id: str, epoch: int) -> TillLife:
    from central.fleet import lives

    life = lives.the_life(till_id, epoch)
    if not lives.late_entries(life).exists():
        raise Trouble(
            N_("Nothing of till {till}, life {epoch}, waits for a decision.", till=till_id, epoch=epoch)
        )
    return life


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
