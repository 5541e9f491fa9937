"""What the page of tills says: who is late, who runs old rules, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext_noop

from central import clock
from central.fleet.models import Till, TillCursor
from central.rules import publishing

TILLS_MAX = 500
"""So many on one page; a larger chain gets pages of stores."""

FRESH_S = 15 * 60
LATE_S = 24 * 3600

NOT_ENROLLED = gettext_noop("waiting for its code")
NEVER = gettext_noop("has not synced yet")
ON_TIME = gettext_noop("on time")
SILENT = gettext_noop("silent for a while")
LATE = gettext_noop("no word for more than a day")


@dataclass(frozen=True, slots=True)
class TillLine:
    """One till on the page. `rulebook` = version in force there, None = not told; `word` is a msgid.

    `received` and `head` (hex) are how many entries of its log are here, and the chain's hash after them.
    """

    id: str
    store: str
    store_name: str
    word: str
    mood: str  # good | warn | bad | none: colours the word
    last_sync: datetime | None
    received: int
    head: str
    pending: int | None
    rulebook: int | None
    rulebook_newest: int | None
    agent_version: str
    is_hub: bool

    @property
    def just_now(self) -> bool:
        """Less than a minute ago?"""
        return self.last_sync is not None and clock.now_ms() - self.last_sync.timestamp() * 1000 < 60_000

    @property
    def rules_are_old(self) -> bool:
        """Does it price by an older rulebook than the newest?"""
        return self.rulebook_newest is not None and self.rulebook != self.rulebook_newest


def till_lines() -> list[TillLine]:
    """Every till, store by store."""
    newest = publishing.newest_versions((publishing.RULEBOOK_CHANNEL,)).get(publishing.RULEBOOK_CHANNEL)
    tills = Till.objects.select_related("store", "cursor").order_by("store_id", "id")[:TILLS_MAX]
    return [_line(till, newest) for till in tills]


def _line(till: Till, newest: int | None) -> TillLine:
    cursor: TillCursor | None = getattr(till, "cursor", None)
    word, mood = _state(till, cursor)
    status = cursor.status if cursor else {}
    told = status.get("pending")
    return TillLine(
        id=till.id,
        store=till.store_id,
        store_name=till.store.name,
        word=word,
        mood=mood,
        last_sync=clock.utc(cursor.last_sync_ms) if cursor and cursor.last_sync_ms else None,
        received=cursor.next_seq - 1 if cursor else 0,
        head=bytes(cursor.head).hex() if cursor else "",
        # The till counted before it sent; what came with that batch no longer waits there.
        pending=max(0, told - (cursor.next_seq - cursor.last_first_seq))
        if cursor and isinstance(told, int)
        else None,
        rulebook=cursor.versions.get(publishing.RULEBOOK_CHANNEL) if cursor else None,
        rulebook_newest=newest,
        agent_version=str(status.get("agent_version") or till.agent_version),
        is_hub=till.store.hub == till.id,
    )


def _state(till: Till, cursor: TillCursor | None) -> tuple[str, str]:
    if not till.epoch or cursor is None:
        return NOT_ENROLLED, "none"
    if cursor.last_sync_ms is None:
        return NEVER, "warn"
    silent_s = clock.now_s() - cursor.last_sync_ms // 1000
    if silent_s >= LATE_S:
        return LATE, "bad"
    return (SILENT, "warn") if silent_s >= FRESH_S else (ON_TIME, "good")
