"""How the centre stands, in words with what to do: for `kopilka-central status` and the first page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Min

from central import clock
from central.console import incidents
from central.console.incidents import IncidentLine
from central.fleet import lives, timeline
from central.fleet.models import Centre, Till
from central.intake.models import InboxEntry, Incident
from loyalty.texts import N_, Text

BACKUP_LATE_MS = 2 * clock.DAY_S * 1000
TILLS_NAMED = 20
INCIDENTS_TOLD = 5


@dataclass(frozen=True, slots=True)
class Quarantine:
    """What a till told after its life had ended, and nobody has decided about; accepted at `until_ms`."""

    till: str
    epoch: int
    entries: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class Status:
    """`unheard` = open tills that have not spoken in this life of the centre."""

    timeline: int
    fenced: bool
    unheard: list[str]
    backed_up_ms: int | None
    backed_up_to: str
    backed_up_apart: bool
    open_tills: int
    closed_tills: int
    waiting: int
    quarantine: list[Quarantine]
    incidents: int
    newest: list[IncidentLine]


def read() -> Status:
    """Everything, as it is now."""
    centre = Centre.objects.get()
    enrolled = Till.objects.filter(epoch__gt=0)
    late = (
        InboxEntry.objects.filter(quarantined_ms__isnull=False)
        .values("till", "epoch")
        .annotate(entries=Count("seq"), since=Min("quarantined_ms"))
        .order_by("till", "epoch")
    )
    return Status(
        timeline=centre.timeline,
        fenced=centre.fenced,
        unheard=timeline.unheard() if centre.fenced else [],
        backed_up_ms=centre.backed_up_ms,
        backed_up_to=centre.backed_up_to,
        backed_up_apart=centre.backed_up_apart,
        open_tills=enrolled.filter(closed_ms=None).count(),
        closed_tills=enrolled.exclude(closed_ms=None).count(),
        waiting=InboxEntry.objects.filter(applied=False, quarantined_ms=None).count(),
        quarantine=[Quarantine(row["till"], row["epoch"], row["entries"], row["since"]) for row in late],
        incidents=Incident.objects.count(),
        newest=incidents.newest()[:INCIDENTS_TOLD],
    )


def fence_text(unheard: list[str]) -> Text:
    """What a restored centre waits for."""
    named = ", ".join(unheard[:TILLS_NAMED]) + (", …" if len(unheard) > TILLS_NAMED else "")
    return N_(
        "No points are given out before these tills have spoken: {tills}. They sell, earn and spend what "
        "they hold meanwhile. One that will never speak again: kopilka-central till close ID.",
        tills=named,
    )


def texts(status: Status) -> list[Text]:
    """A sentence for each thing a person should know."""
    found = [
        N_(
            "Tills: {open} open, {closed} closed. Life of the database: {timeline}.",
            open=status.open_tills,
            closed=status.closed_tills,
            timeline=status.timeline,
        )
    ]
    if status.fenced:
        found.append(N_("This centre was restored from a backup."))
        found.append(fence_text(status.unheard))
    found.append(_backup_text(status))
    if status.waiting:
        found.append(
            N_("{count} entries wait for something that another till has yet to tell.", count=status.waiting)
        )
    found += [
        N_(
            "Till {till}, life {epoch}: {count} entries came after its end. Look: kopilka-central till late "
            "{till}; without a decision they are accepted after {days} days.",
            till=late.till,
            epoch=late.epoch,
            count=late.entries,
            days=lives.QUARANTINE_MS // (clock.DAY_S * 1000),
        )
        for late in status.quarantine
    ]
    if status.incidents:
        found.append(N_("Odd things so far: {count}. The newest:", count=status.incidents))
    else:
        found.append(N_("Nothing odd has arrived from the tills."))
    return found


def warnings(status: Status) -> list[Text]:
    """What a person should do something about: the first page shows it."""
    found = []
    if status.fenced:
        found += [N_("This centre was restored from a backup."), fence_text(status.unheard)]
    if not backup_is_well(status):
        found.append(_backup_text(status))
    return found


def backup_is_well(status: Status) -> bool:
    """Is there a young backup on another disk?"""
    young = status.backed_up_ms is not None and status.backed_up_ms >= clock.now_ms() - BACKUP_LATE_MS
    return young and status.backed_up_apart


def lines(status: Status, translate: Callable[[str], str]) -> list[str]:
    """The same for a person, with the newest incidents below."""
    told = [text.render(translate) for text in texts(status)]
    told += [
        f"  {line.at.astimezone():%d.%m.%Y %H:%M}  {line.entry}  {translate(line.word)}"
        for line in status.newest
    ]
    return told


def data(status: Status, translate: Callable[[str], str]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "timeline": status.timeline,
        "fenced": status.fenced,
        "unheard": status.unheard,
        "backup": None
        if status.backed_up_ms is None
        else {"made_ms": status.backed_up_ms, "file": status.backed_up_to, "apart": status.backed_up_apart},
        "tills": {"open": status.open_tills, "closed": status.closed_tills},
        "waiting": status.waiting,
        "quarantine": [
            {"till": q.till, "epoch": q.epoch, "entries": q.entries, "since_ms": q.since_ms}
            for q in status.quarantine
        ],
        "incidents": status.incidents,
        "newest_incidents": [
            {
                "till": line.till,
                "entry": line.entry,
                "at": line.at.isoformat(timespec="seconds"),
                "text": translate(line.word),
            }
            for line in status.newest
        ],
    }


def _backup_text(status: Status) -> Text:
    if status.backed_up_ms is None:
        return N_("There is no backup yet: kopilka-central backup DEST, on another disk, once a day.")
    when = clock.utc(status.backed_up_ms).astimezone().strftime("%d.%m.%Y %H:%M")
    if not status.backed_up_apart:
        return N_(
            "Last backup: {when}, {path}, on the same disk as the centre; make one on another.",
            when=when,
            path=status.backed_up_to,
        )
    if not backup_is_well(status):
        return N_(
            "Last backup: {when}, {path}; that is more than two days ago, make one now.",
            when=when,
            path=status.backed_up_to,
        )
    return N_("Last backup: {when}, {path}.", when=when, path=status.backed_up_to)
