"""How the till stands, in words with a remedy: what `status`, the page and the office's list show.

Lost once, said once; back once, said once. An alert stays until what it complains of
has gone or another of its kind replaces it.
"""

from __future__ import annotations

import logging
import shutil
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.clock import Clock
from agent.drivers.contracts import DeviceState
from agent.offline.engine import InForce
from agent.offline.ledger_db import LedgerDb
from agent.offline.records import RESTORING, Batch, Hold, Identity, Uplink
from agent.sync import machine
from agent.sync.machine import BatchToSend
from agent.texts import both
from loyalty import wire
from loyalty.texts import N_, Text

log = logging.getLogger(__name__)

HOLD_ALARM_S = 24 * 3_600
SYNC_LATE_S = 24 * 3_600
DISK_LOW_BYTES = 64 * 1024 * 1024
ALERTS_MAX = 32

LINK_REMEDY = N_("check the cable and the router; the shop goes on selling, points of this till can be spent")
HERE_REMEDY = N_("the till could not store what the centre sent; see the other troubles and the log")
HARD_LINK_REMEDY = N_("call the office: this till needs an operator; the shop goes on selling")
FORK_REMEDY = N_(
    "the centre knows another history of this till: another machine works as it, or this disk went back in"
    " time. Switch the other machine off. Where the disk went back, stop the agent and run: kopilka-agent"
    " restore --in-place"
)
FORK_RESTORED_REMEDY = N_(
    "the centre refuses what this disk says it wrote. Keep it for the office (kopilka-agent ledger export"
    " FILE), ask the office for a new code for this till, stop the agent and run: kopilka-agent enroll --anew"
)
EPOCH_REMEDY = N_(
    "the centre is in a later life of this till than this disk: another disk took its place, or the backup"
    " is too old. Ask the office for a new code for this till, stop the agent and run: kopilka-agent enroll"
    " --anew"
)
KEY_REMEDY = N_(
    "the centre does not know this till, or not by this disk's key: it was closed, or enrolled on another"
    " disk. Ask the office for a new code for this till, stop the agent and run: kopilka-agent enroll --anew"
)
ENDED_REMEDY = N_(
    "the office has closed this till, or another disk took its place: what is sold here is kept apart until"
    " somebody decides, and points come no more. Ask the office for a new code for this till, stop the agent"
    " and run: kopilka-agent enroll --anew"
)
LATE_REMEDY = N_(
    "entries have waited for the centre for more than a day: they lie on this disk only. Restore the link,"
    " or make a backup (kopilka-agent backup FILE)"
)
CLOCK_REMEDY = N_("set the clock of this box right (timedatectl); points are spent by the centre's time")
HOLD_REMEDY = N_("finish or void the sales that have held points for more than a day")
DISK_REMEDY = N_("free some room on the till's disk")
DOWN_REMEDY = N_("update the agent: the centre speaks of things that this version does not know")


@dataclass(frozen=True, slots=True)
class _Link:
    word: str | None  # None: well
    detail: str
    since_s: int


class Health:
    """Collects what the till's thread hears; read and written by that thread only."""

    def __init__(
        self, version: str, clock: Clock, tell: Callable[[str, dict[str, Any]], None] = lambda *_: None
    ) -> None:
        self._tell = tell
        self._version = version
        self._clock = clock
        self._link: _Link | None = None
        self._devices: dict[str, DeviceState] = {}
        self._channels: dict[str, tuple[str, str]] = {}
        self._alerts: OrderedDict[str, tuple[Text, int]] = OrderedDict()

    @property
    def online(self) -> bool:
        """Did the centre answer last time?"""
        return self._link is not None and self._link.word is None

    def link(self, word: str | None, detail: str, now_s: int) -> None:
        """The link is well (None), or this is wrong with it. Logged when it changes."""
        before = self._link.word if self._link else "unknown"
        if word == before:
            return
        self._link = _Link(word, detail, now_s)
        if word is None:
            log.info("the centre answers")
        else:
            log.warning("the centre does not help (%s): %s", word, detail)

    def synced(self) -> None:
        """What the centre said is stored."""
        self.clear("ledger")

    def device(self, state: DeviceState) -> None:
        """A device came or went."""
        self._devices[state.device] = state

    def channel(self, channel: str, word: str | None, detail: str) -> None:
        """A version was refused, or the channel is well again."""
        if word is None:
            self._channels.pop(channel, None)
        else:
            self._channels[channel] = (word, detail)

    def alert(self, code: str, text: Text, now_s: int) -> None:
        """Something a person should know; whoever listens hears of it when it is new."""
        if self._alerts.get(code, (None, 0))[0] != text:
            self._tell("trouble", {"code": code})
        self._alerts[code] = (text, now_s)
        while len(self._alerts) > ALERTS_MAX:
            self._alerts.popitem(last=False)

    def clear(self, code: str) -> None:
        """It has gone."""
        self._alerts.pop(code, None)

    def has(self, code: str) -> bool:
        """Does this alert stand?"""
        return code in self._alerts

    def batch_to_send(
        self, batch: Batch, ledger: LedgerDb, in_force: InForce | None, now_s: int
    ) -> BatchToSend:
        """What the sync machine sends, with the till's status for the office's list."""
        uplink = batch.uplink
        risk = _Risk.of(ledger, uplink, in_force)
        status: dict[str, int | str] = {
            "agent_version": self._version,
            "epoch": uplink.epoch,
            "pending": risk.pending,
            "oldest_s": risk.oldest_s or 0,
            "parcel_points": risk.parcel_points,
            "parcel_accounts": risk.parcel_accounts,
            "exposure_points": risk.exposure_points,
            "holds": len(risk.holds),
            "oldest_hold_s": max((now_s - hold.at_s for hold in risk.holds), default=0),
            "quarantined": uplink.quarantined,
            "clock_ms": now_s * 1000,
            "clock_offset_ms": self._clock.offset_ms,
            "down_stopped": ledger.down_stopped() or "",
            "alerts": ",".join(self._alerts),
        }
        return BatchToSend(
            epoch=batch.epoch,
            timeline=uplink.timeline,
            session=uplink.session,
            first_seq=batch.first_seq,
            prev=batch.prev,
            bodies=batch.bodies,
            documents=batch.documents,
            down=batch.down,
            # What is really in force here, and not the highest ever noted: files that were
            # lost with snapshot.db are fetched again.
            versions=dict(in_force.versions) if in_force else {},
            status=status,
            retry_attempt=uplink.retry_attempt,
            more=batch.more,
        )

    def report(
        self, identity: Identity, ledger: LedgerDb, in_force: InForce | None, now_s: int
    ) -> dict[str, Any]:
        """`GET /v1/status`: everything, each trouble with its remedy in both languages."""
        uplink = ledger.uplink()
        risk = _Risk.of(ledger, uplink, in_force)
        free_bytes = shutil.disk_usage(ledger.path.parent).free
        return {
            "till": identity.till,
            "store": identity.store,
            "epoch": uplink.epoch,
            "timeline": uplink.timeline,
            "restored": ledger.was_restored(),
            "restoring": uplink.restoring,
            "ended": bool(uplink.ended),
            "version": self._version,
            "time_s": now_s,
            "link": {
                "state": "online" if self.online else "offline",
                "word": self._link.word if self._link else None,
                "since_s": self._link.since_s if self._link else None,
                "synced_s": uplink.synced_s,
            },
            "pending": risk.pending,
            "oldest_s": risk.oldest_s,
            "acked_seq": uplink.acked_seq,
            "durable_seq": uplink.durable_seq,
            "quarantined": uplink.quarantined,
            "parcel_points": risk.parcel_points,
            "parcel_accounts": risk.parcel_accounts,
            "exposure_points": risk.exposure_points,
            "holds": [
                {
                    "sale_id": hold.sale_id,
                    "age_s": now_s - hold.at_s,
                    "points": sum(piece.points for piece in hold.offer.spends),
                }
                for hold in risk.holds
            ],
            "rulebook_seq": in_force.rulebook_seq if in_force else None,
            "catalog_version": in_force.catalog_version if in_force else None,
            "devices": [
                {"name": d.device, "state": d.state, "hint": both(d.hint) if d.hint else None}
                for d in self._devices.values()
            ],
            "down_stopped": ledger.down_stopped(),
            "clock_offset_ms": self._clock.offset_ms,
            "disk_free_bytes": free_bytes,
            "troubles": self._troubles(ledger, uplink, risk, now_s, free_bytes),
        }

    def _troubles(
        self, ledger: LedgerDb, uplink: Uplink, risk: _Risk, now_s: int, free_bytes: int
    ) -> list[dict[str, Any]]:
        found: list[tuple[str, Text]] = [(code, text) for code, (text, _) in self._alerts.items()]
        if self._link is not None and self._link.word is not None:
            remedy = _link_remedy(self._link.word, restoring=uplink.restoring)
            found.append(("link", remedy))
        for channel, (word, detail) in self._channels.items():
            text = N_(
                "channel {channel}: the new version was refused ({word}); the last good one stays: {detail}",
                channel=channel,
                word=word,
                detail=detail,
            )
            found.append(("channel", text))
        if self._clock.is_off:
            found.append(("clock", CLOCK_REMEDY))
        if risk.oldest_s is not None and now_s - risk.oldest_s > SYNC_LATE_S:
            found.append(("sync_late", LATE_REMEDY))
        if uplink.ended:
            found.append(("ended", ENDED_REMEDY))
        elif uplink.quarantined:
            text = N_(
                "{count} entries of this till wait for the office to decide (its page of incidents)",
                count=uplink.quarantined,
            )
            found.append(("quarantined", text))
        if any(now_s - hold.at_s > HOLD_ALARM_S for hold in risk.holds):
            found.append(("old_holds", HOLD_REMEDY))
        if free_bytes < DISK_LOW_BYTES:
            found.append(("disk_low", DISK_REMEDY))
        if uplink.restoring:
            found.append(("restoring", RESTORING))
        if ledger.down_stopped():
            found.append(("downlink", DOWN_REMEDY))
        return [{"code": code, **both(text)} for code, text in found]


@dataclass(frozen=True, slots=True)
class _Risk:
    """What lies here and nowhere else: entries, points, promises."""

    pending: int
    oldest_s: int | None
    parcel_points: int
    parcel_accounts: int
    exposure_points: int
    holds: list[Hold]

    @classmethod
    def of(cls, ledger: LedgerDb, uplink: Uplink, in_force: InForce | None) -> _Risk:
        """As of now. The most that can be spent here beyond what the centre knows of: all that is held,

        and what may be lent (courtesy) to every account that was served since the last sync.
        """
        pending, oldest_s = ledger.pending()
        points, accounts = ledger.parcel_sum()
        courtesy = in_force.settings.courtesy_points if in_force else 0
        served = ledger.served_since(uplink.synced_s or 0) if courtesy else 0
        return cls(pending, oldest_s, points, accounts, points + courtesy * served, ledger.holds())


def _link_remedy(word: str, *, restoring: bool) -> Text:
    match word:
        case machine.FAILED_HERE:
            return HERE_REMEDY
        case wire.FORK:
            return FORK_RESTORED_REMEDY if restoring else FORK_REMEDY
        case wire.EPOCH:
            return EPOCH_REMEDY
        case machine.NOT_ENROLLED | machine.SIGNATURE:
            return KEY_REMEDY
    return HARD_LINK_REMEDY if word in machine.NEEDS_A_PERSON else LINK_REMEDY
