"""The till's half of the sync protocol, without a socket, clock, random number or SQL.

**Theory.** The machine is told what happened and answers with what to do next:

    Woken ──► LoadBatch ──► BatchLoaded ──► PostSync ──► Replied ──► Apply ──► Applied ─┐
      ▲                                        │                                        │
      └──────────── Sleep ◄── Unreachable ◄────┘          more entries / new versions ──┤
                      ▲                                                                 │
                      └──────────────────────── nothing left ◄──────────────────────────┘

The hands (client.py) carry requests; `Apply` is executed by the till's thread, which
owns ledger.db; only then does the machine go on. So a crash at any point is either
"did not happen" or "will be said again", and the centre has a word for a repeat.

**Rules.** One sync in flight. The cursor is the server's: after any doubt the machine
forgets what it thought and loads again from what ledger.db says was acknowledged.
Back-off is full jitter, 1 s … 10 min, and survives a restart; `min_delay_s` of the
centre is obeyed. A refusal that needs a person stops syncing, never selling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from loyalty import ledger, wire
from loyalty.wire import DownItem, Refusal, SyncReply, SyncRequest

BACKOFF_FIRST_MS = 1_000
BACKOFF_MAX_MS = 600_000


@dataclass(frozen=True, slots=True)
class BatchToSend:
    """What ledger.db has for the centre. `till_status` is what the office's page shows."""

    epoch: int
    session: str
    first_seq: int
    prev: bytes
    bodies: tuple[bytes, ...]
    documents: tuple[tuple[int, bytes], ...]
    down: dict[int, int]
    versions: dict[str, int]
    status: dict[str, int | str]
    retry_attempt: int


# ------------------------------------------------------------------------------ events


@dataclass(frozen=True, slots=True)
class Woken:
    """There is something to say, or the time to sleep is over."""


@dataclass(frozen=True, slots=True)
class BatchLoaded:
    """What LoadBatch asked for."""

    batch: BatchToSend


@dataclass(frozen=True, slots=True)
class Replied:
    """The centre took the batch."""

    reply: SyncReply


@dataclass(frozen=True, slots=True)
class Refused:
    """The centre answered with an error of its own words."""

    status: int
    refusal: Refusal | None
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No answer at all, or not one that can be read."""

    reason: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The till's thread has executed Apply; `moved` messages of the downlink were new to it."""

    moved: int


Event: TypeAlias = Woken | BatchLoaded | Replied | Refused | Unreachable | Applied

# ----------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class LoadBatch:
    """Read at most `limit` entries after the acknowledged one."""

    limit: int


@dataclass(frozen=True, slots=True)
class PostSync:
    """Send this (already signed) and come back with Replied, Refused or Unreachable."""

    request: SyncRequest


@dataclass(frozen=True, slots=True)
class Apply:
    """For the till's thread: cursors, session and downlink of a reply that was verified."""

    timeline: int
    session: str
    next_seq: int
    durable_seq: int
    server_ms: int
    down: tuple[DownItem, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """These channels have a newer version at the centre."""

    channels: dict[str, int]


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait for a wake-up, but no longer than a time drawn evenly from [low, high]."""

    low_ms: int
    high_ms: int
    until_woken: bool = True  # False: not even a new sale shortens it (back-off)


@dataclass(frozen=True, slots=True)
class NoteRetry:
    """Keep the number of failed attempts in ledger.db."""

    attempt: int


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The centre answers (again)."""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The centre does not answer, or not in a way that helps. `word` is for status and page."""

    word: str
    detail: str


Effect: TypeAlias = LoadBatch | PostSync | Apply | Fetch | Sleep | NoteRetry | LinkUp | LinkDown

# A refusal that no retry mends soon: said as it is, tried again at the slowest pace.
_HARD = {wire.FORK, wire.EPOCH, wire.TIMELINE, "TOO_OLD"}


class SyncMachine:
    """See the top of this file. `sign` and `is_ours` are the till's key and its trust in the centre's."""

    def __init__(
        self,
        till: str,
        sign: Callable[[bytes], bytes],
        is_ours: Callable[[SyncRequest, SyncReply], bool],
        interval_s: int,
    ) -> None:
        self._till = till
        self._sign = sign
        self._is_ours = is_ours
        self.interval_s = interval_s
        self._limit = wire.BATCH_ENTRIES
        self._attempt = 0
        self._request: SyncRequest | None = None  # in flight
        self._reply: SyncReply | None = None  # verified, being applied
        self._versions: dict[str, int] = {}

    def step(self, event: Event) -> list[Effect]:
        """What to do after `event`. An event that nobody waits for any more does nothing."""
        match event:
            case Woken():
                return [LoadBatch(self._limit)] if self._request is None else []
            case BatchLoaded(batch):
                return self._send(batch)
            case Replied(reply) if self._request is not None:
                return self._judge(self._request, reply)
            case Refused() if self._request is not None:
                return self._refused(event)
            case Unreachable(reason) if self._request is not None:
                return self._back_off("unreachable", reason)
            case Applied(moved) if self._reply is not None:
                return self._go_on(self._reply, moved)
        return []

    def _send(self, batch: BatchToSend) -> list[Effect]:
        self._attempt = batch.retry_attempt
        self._versions = batch.versions
        unsigned = SyncRequest(
            v=wire.WIRE_VERSION,
            epoch=batch.epoch,
            session=batch.session,
            first_seq=batch.first_seq,
            prev=batch.prev,
            head=ledger.chain(batch.prev, batch.bodies),
            signature=b"",
            entries=tuple(ledger.strip(body) for body in batch.bodies),
            receipts=batch.documents,
            down=batch.down,
            versions=batch.versions,
            status=batch.status,
        )
        signature = self._sign(wire.sync_signing_bytes(self._till, unsigned))
        self._request = msgspec.structs.replace(unsigned, signature=signature)
        return [PostSync(self._request)]

    def _judge(self, request: SyncRequest, reply: SyncReply) -> list[Effect]:
        if not self._is_ours(request, reply):
            return self._back_off("not_trusted", "the reply is not signed by this programme's centre")
        sent = request.first_seq + len(request.entries)
        if reply.next_seq > sent:
            return self._back_off(
                wire.GAP, f"the centre expects {reply.next_seq}, this till wrote up to {sent}"
            )
        self._reply = reply
        return [
            LinkUp(),
            Apply(
                reply.timeline,
                reply.session,
                reply.next_seq,
                reply.durable_seq,
                reply.server_ms,
                reply.down,
            ),
        ]

    def _go_on(self, reply: SyncReply, moved: int) -> list[Effect]:
        full = self._request is not None and len(self._request.entries) >= self._limit
        self._request = self._reply = None
        self._attempt = 0
        self._limit = wire.BATCH_ENTRIES
        newer = {
            channel: version
            for channel, version in reply.manifests.items()
            if version > self._versions.get(channel, 0)
        }
        effects: list[Effect] = [Fetch(newer)] if newer else []
        if full or moved:
            # More to say, or perhaps more to hear (the downlink comes in slices). A downlink
            # that stopped at a kind we do not know moves nothing, so this cannot spin.
            return [*effects, LoadBatch(self._limit)]
        pause_ms = max(self.interval_s, reply.min_delay_s) * 1000
        return [*effects, Sleep(pause_ms, pause_ms)]

    def _refused(self, event: Refused) -> list[Effect]:
        code = event.refusal.code if event.refusal else f"http_{event.status}"
        detail = event.refusal.detail if event.refusal else f"the centre answered {event.status}"
        if event.status == 413 and self._limit > 1:
            self._request = None
            self._limit //= 2
            return [LoadBatch(self._limit)]
        if code in _HARD:
            self._request = None
            return [LinkDown(code, detail), Sleep(BACKOFF_MAX_MS, BACKOFF_MAX_MS, until_woken=False)]
        if event.retry_after_s is not None:
            self._request = None
            low_ms = event.retry_after_s * 1000
            return [LinkDown(code, detail), Sleep(low_ms, 2 * low_ms, until_woken=False)]
        return self._back_off(code, detail)

    def _back_off(self, word: str, detail: str) -> list[Effect]:
        self._request = self._reply = None
        self._attempt += 1
        high_ms = min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** min(self._attempt, 20))
        return [
            LinkDown(word, detail),
            NoteRetry(self._attempt),
            Sleep(0, high_ms, until_woken=False),
        ]
