"""`kopilka-agent status` for people: the report of the running agent as two columns, troubles below."""

from __future__ import annotations

from typing import Any

from agent.texts import say
from loyalty.amounts import Points
from loyalty.texts import N_, Text

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400


def table(report: dict[str, Any], lang: str) -> str:
    """The report of `GET /v1/status` in the language of whoever asks."""
    rows = [(say(name, lang), say(value, lang)) for name, value in _rows(report)]
    rows += [(device["name"], _device(device, lang)) for device in report["devices"]]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    lines += [f"! {trouble[lang]}" for trouble in report["troubles"]]
    return "\n".join(lines)


def _rows(report: dict[str, Any]) -> list[tuple[Text, Text]]:
    rows = [(N_("till"), _till(report)), (N_("link"), _link(report)), (N_("to send"), _pending(report))]
    rows.append((N_("points here"), _points(report)))
    if report["holds"]:
        rows.append((N_("open quotes"), _holds(report["holds"])))
    if report["quarantined"]:
        text = N_("{count} entries, until the office decides", count=report["quarantined"])
        rows.append((N_("kept apart"), text))
    seconds = f"{report['clock_offset_ms'] // 1000:+d}"  # clocks are compared in whole seconds
    rows.append((N_("clock"), N_("{seconds} s from the centre's", seconds=seconds)))
    rulebook, goods = (report[name] or 0 for name in ("rulebook_seq", "catalog_version"))
    rows.append((N_("in force"), N_("rulebook {seq}, goods {catalog}", seq=rulebook, catalog=goods)))
    return rows


def _till(report: dict[str, Any]) -> Text:
    named = {"till": report["till"], "store": report["store"], "epoch": report["epoch"]}
    if report["restoring"]:
        return N_("{till}, store {store}, life {epoch}: restored, the centre must hear of it", **named)
    if report["restored"]:
        return N_("{till}, store {store}, life {epoch} (restored from a backup)", **named)
    return N_("{till}, store {store}, life {epoch}", **named)


def _link(report: dict[str, Any]) -> Text:
    link, now_s = report["link"], report["time_s"]
    if link["state"] == "online":
        return N_("on line")
    word = link["word"] or "…"
    if link["synced_s"] is None:
        return N_("no link ({word}); never synced", word=word)
    return N_("no link ({word}); last sync {ago} ago", word=word, ago=_age(now_s - link["synced_s"]))


def _pending(report: dict[str, Any]) -> Text:
    if report["oldest_s"] is None:
        return N_("nothing")
    age = _age(report["time_s"] - report["oldest_s"])
    return N_("{count} entries, the oldest of {ago} ago", count=report["pending"], ago=age)


def _points(report: dict[str, Any]) -> Text:
    return N_(
        "{points} of {accounts} accounts; at most {exposure} can be spent here without a link",
        points=Points(report["parcel_points"]),
        accounts=report["parcel_accounts"],
        exposure=Points(report["exposure_points"]),
    )


def _holds(holds: list[dict[str, Any]]) -> Text:
    return N_(
        "{count}, which promise {points}; the oldest of {ago} ago",
        count=len(holds),
        points=Points(sum(hold["points"] for hold in holds)),
        ago=_age(max(hold["age_s"] for hold in holds)),
    )


def _device(device: dict[str, Any], lang: str) -> str:
    return f"{device['state']}: {device['hint'][lang]}" if device["hint"] else str(device["state"])


def _age(seconds: int) -> Text:
    """How long, in the two largest units."""
    if seconds < MINUTE_S:
        return N_("{seconds} s", seconds=max(seconds, 0))
    if seconds < HOUR_S:
        return N_("{minutes} min", minutes=seconds // MINUTE_S)
    hours, minutes = divmod(seconds // MINUTE_S, 60)
    if seconds < DAY_S:
        return N_("{hours} h {minutes} min", hours=hours, minutes=minutes)
    return N_("{days} d {hours} h", days=seconds // DAY_S, hours=hours % 24)
