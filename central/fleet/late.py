"""What tills told after their life had ended, and nobody has decided about: for whoever decides."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from django.db.models import Sum

from central.fleet import lives
from central.fleet.models import TillLife
from central.intake.models import InboxEntry
from loyalty import ledger


@dataclass(frozen=True, slots=True)
class LateEntry:
    """One entry. `change` = what the account's balance gains or loses by it (hundredths)."""

    id: str
    at_s: int
    kind: str
    account: int | None
    change: int


@dataclass(frozen=True, slots=True)
class LateLife:
    """What one life told too late. Without a decision it is accepted at `accepted_ms`."""

    till: str
    epoch: int
    accepted_ms: int
    entries: list[LateEntry]

    @property
    def change(self) -> int:
        """What all of it would add to balances (hundredths)."""
        return sum(entry.change for entry in self.entries)


def late(till: str | None = None) -> list[LateLife]:
    """Life by life, of one till or of all."""
    rows = InboxEntry.objects.filter(quarantined_ms__isnull=False).order_by("till", "epoch", "seq")
    if till is not None:
        rows = rows.filter(till=till)
    found = []
    for (name, epoch), group in groupby(rows, key=lambda row: (row.till, row.epoch)):
        theirs = list(group)
        first_ms = min(row.quarantined_ms or 0 for row in theirs)
        entries = [_entry(bytes(row.body)) for row in theirs]
        found.append(LateLife(name, epoch, first_ms + lives.QUARANTINE_MS, entries))
    return found


def suspended_points(life: TillLife) -> int:
    """Hundredths that a life that has ended still holds."""
    return lives.suspended(life).aggregate(points=Sum("points"))["points"] or 0


def _entry(body: bytes) -> LateEntry:
    entry = ledger.parse(body)
    return LateEntry(entry.id, entry.at_s, entry.kind, entry.account, ledger.balance_change(entry))
