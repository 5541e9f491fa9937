"""What the page of tills says: who is late, who holds what, what is out of order and what to do about it.

**Exposure** is what a till could spend at most before we hear of it: the parcels that it holds by our
books, and what it may lend beyond them (courtesy, ledger-sync.md §5.4) to each account that comes to it
while it is cut off. How many those are nobody here can know; we count those that came in as long a time
before it fell silent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Count, Sum
from django.utils.translation import gettext_noop

from central import clock
from central.console.templatetags.points import Amount
from central.fleet import lives, timeline
from central.fleet.models import Centre, Till, TillCursor
from central.intake.models import InboxEntry
from central.ledger.models import FREE, Share
from central.rules import publishing, store_settings
from loyalty import ledger
from loyalty.texts import N_, Text

TILLS_MAX = 500
"""So many on one page; a larger chain gets pages of stores."""

FRESH_S = 15 * 60
LATE_S = 24 * 3600
PENDING_OLD_S = 3600
HOLDS_MANY = 20
CLOCK_OFF_MS = 5 * 60 * 1000  # ledger-sync.md §5.16
ENTRIES_COUNTED = 2_000

NOT_ENROLLED = gettext_noop("waiting for its code")
CLOSED = gettext_noop("closed")
NEVER = gettext_noop("has not synced yet")
ON_TIME = gettext_noop("on time")
SILENT = gettext_noop("silent for a while")
LATE = gettext_noop("no word for more than a day")


@dataclass(frozen=True, slots=True)
class TillLine:
    """One till on the page. `rulebook` = version in force there, None = not told; `word` is a msgid.

    `received` and `head` (hex) are how many entries of its log are here, and the chain's hash after them.
    `held` and `exposure` in hundredths; `suspended` = what its former lives held. What a till has not
    told is None. `remedies` = each value that is out of order, with what to do.
    """

    id: str
    store: str
    store_name: str
    epoch: int
    word: str
    mood: str  # good | warn | bad | none: colours the word
    last_sync: datetime | None
    received: int
    head: str
    pending: int | None
    oldest: datetime | None
    held: int
    exposure: int
    suspended: int
    holds: int | None
    quarantined: int
    clock_offset_s: int | None
    rulebook: int | None
    rulebook_newest: int | None
    agent_version: str
    is_hub: bool
    remedies: list[Text] = field(default_factory=list)

    @property
    def just_now(self) -> bool:
        """Less than a minute ago?"""
        return self.last_sync is not None and clock.now_ms() - self.last_sync.timestamp() * 1000 < 60_000

    @property
    def rules_are_old(self) -> bool:
        """Does it price by an older rulebook than the newest?"""
        return self.rulebook_newest is not None and self.rulebook != self.rulebook_newest


@dataclass(frozen=True, slots=True)
class _Chain:
    """What all lines need, read once."""

    newest: int | None
    newest_ms: int  # when it was published
    held: dict[str, int]  # life of a till -> hundredths
    quarantined: dict[str, int]  # till -> entries
    unheard: frozenset[str]


def till_lines() -> list[TillLine]:
    """Every till, store by store."""
    held = Share.objects.exclude(holder=FREE).values_list("holder").annotate(points=Sum("points"))
    late = InboxEntry.objects.filter(quarantined_ms__isnull=False).values_list("till")
    rules = publishing.newest(publishing.RULEBOOK_CHANNEL)
    chain = _Chain(
        newest=rules.version if rules else None,
        newest_ms=rules.published_ms if rules else 0,
        held=dict(held),
        quarantined=dict(late.annotate(entries=Count("seq"))),
        unheard=frozenset(timeline.unheard()) if Centre.objects.get().fenced else frozenset(),
    )
    courtesy: dict[str, int] = {}
    tills = Till.objects.select_related("store", "cursor").order_by("store_id", "id")[:TILLS_MAX]
    lines = []
    for till in tills:
        if till.store_id not in courtesy:
            known = store_settings.in_force(till.store_id)
            courtesy[till.store_id] = known.courtesy_points if known else 0
        lines.append(_line(till, chain, courtesy[till.store_id]))
    return lines


def _line(till: Till, chain: _Chain, courtesy: int) -> TillLine:
    cursor: TillCursor | None = getattr(till, "cursor", None)
    word, mood = _state(till, cursor)
    status = cursor.status if cursor else {}
    told = _number(status.get("pending"))
    # The till counted before it sent; what came with that batch no longer waits there.
    pending = (
        max(0, told - (cursor.next_seq - cursor.last_first_seq)) if cursor and told is not None else None
    )
    oldest_s = _number(status.get("oldest_s"))
    offset_ms = _number(status.get("clock_offset_ms"))
    present = ledger.life(till.id, till.epoch)
    held = 0 if till.closed_ms is not None else chain.held.get(present, 0)
    ours = {who: points for who, points in chain.held.items() if ledger.life_of(who)[0] == till.id}
    lent = courtesy * _accounts_while_silent(till, cursor) if courtesy and not till.closed_ms else 0
    line = TillLine(
        id=till.id,
        store=till.store_id,
        store_name=till.store.name,
        epoch=till.epoch,
        word=word,
        mood=mood,
        last_sync=clock.utc(cursor.last_sync_ms) if cursor and cursor.last_sync_ms else None,
        received=cursor.next_seq - 1 if cursor else 0,
        head=bytes(cursor.head).hex() if cursor else "",
        pending=pending,
        oldest=clock.utc(oldest_s * 1000) if pending and oldest_s else None,
        held=held,
        exposure=held + lent,
        suspended=sum(ours.values()) - held,
        holds=_number(status.get("holds")),
        quarantined=chain.quarantined.get(till.id, 0),
        clock_offset_s=None if offset_ms is None else offset_ms // 1000,
        rulebook=cursor.versions.get(publishing.RULEBOOK_CHANNEL) if cursor else None,
        rulebook_newest=chain.newest,
        agent_version=str(status.get("agent_version") or till.agent_version),
        is_hub=till.store.hub == till.id,
    )
    line.remedies.extend(_remedies(line, till, status, chain))
    return line


def _number(told: object) -> int | None:
    """What a till told, where it is a number that can be shown."""
    return told if isinstance(told, int) and abs(told) < 10**15 else None


def _accounts_while_silent(till: Till, cursor: TillCursor | None) -> int:
    """How many accounts came to a till in as long a time as it has been silent now, before that."""
    if cursor is None or cursor.last_sync_ms is None:
        return 0
    since_ms = 2 * cursor.last_sync_ms - clock.now_ms()
    last = InboxEntry.objects.filter(till=till.id, epoch=till.epoch).order_by("-seq")
    rows = last.values_list("account", "received_ms")[:ENTRIES_COUNTED]
    return len({account for account, received_ms in rows if account is not None and received_ms > since_ms})


def _state(till: Till, cursor: TillCursor | None) -> tuple[str, str]:
    if till.closed_ms is not None:
        return CLOSED, "none"
    if not till.epoch or cursor is None:
        return NOT_ENROLLED, "none"
    if cursor.last_sync_ms is None:
        return NEVER, "warn"
    silent_s = clock.now_s() - cursor.last_sync_ms // 1000
    if silent_s >= LATE_S:
        return LATE, "bad"
    return (SILENT, "warn") if silent_s >= FRESH_S else (ON_TIME, "good")


def _remedies(line: TillLine, till: Till, status: dict[str, object], chain: _Chain) -> list[Text]:
    found: list[Text] = []
    if line.id in chain.unheard:
        found.append(
            N_(
                "It has not spoken since the centre was restored, and until it has, no points are given out. "
                "Give it a link, or close it: kopilka-central till close {till}",
                till=line.id,
            )
        )
    if line.word == LATE:
        found.append(
            N_(
                "No word for more than a day: is the box on, is its cable in? The shop sells on with what "
                "the till holds. Lost for good: kopilka-central till close {till}",
                till=line.id,
            )
        )
    if line.oldest is not None and clock.now_s() - line.oldest.timestamp() > PENDING_OLD_S:
        found.append(
            N_("Entries have waited there for more than an hour: the link is too slow or breaks off.")
        )
    if line.holds is not None and line.holds > HOLDS_MANY:
        found.append(
            N_(
                "{count} sales hold points and were neither paid nor cancelled: finish them at the till.",
                count=line.holds,
            )
        )
    if line.quarantined:
        found.append(
            N_(
                "{count} entries came after it was closed, and wait for a decision: "
                "kopilka-central till late {till}",
                count=line.quarantined,
                till=line.id,
            )
        )
    if line.clock_offset_s is not None and abs(line.clock_offset_s) * 1000 > CLOCK_OFF_MS:
        found.append(
            N_(
                "The clock of the box is wrong by {minutes} min: set it (timedatectl). Until then it spends "
                "points only with our word.",
                minutes=abs(line.clock_offset_s) // 60,
            )
        )
    had_time = chain.newest_ms < clock.now_ms() - FRESH_S * 1000
    if line.rules_are_old and line.word == ON_TIME and had_time:
        found.append(
            N_("It has a link and did not take the newest rules: `kopilka-agent status` there says why.")
        )
    alerts = status.get("alerts")
    if isinstance(alerts, str) and alerts and line.word != CLOSED:
        found.append(
            N_(
                "The till itself complains ({alerts}): `kopilka-agent status` there says what to do.",
                alerts=alerts,
            )
        )
    if line.suspended:
        found.append(_suspended(line, till))
    return found


def _suspended(line: TillLine, till: Till) -> Text:
    last = till.lives.order_by("-epoch").first()
    ended_ms = last.ended_ms if last else clock.now_ms()
    return N_(
        "{points} points of a former life are suspended until {day}; sooner: kopilka-central till resume "
        "{till} {epoch}",
        points=Amount(line.suspended),
        day=clock.utc(ended_ms + lives.RESUME_AFTER_MS).astimezone().strftime("%d.%m.%Y"),
        till=line.id,
        epoch=last.epoch if last else line.epoch,
    )
