"""The till's half of the sync protocol, without a socket, clock, random number or SQL.

**Theory.** The machine is told what happened and answers with what to do next:

    Woken ──► LoadBatch ──► BatchLoaded ──► PostSync ──► Replied ──► Apply ──► Applied ─┐
      ▲                                        │                                        │
      └──────────── Sleep ◄── Unreachable ◄────┘          more entries / new versions ──┤
                      ▲                                                                 │
                      └──────────────────────── nothing left ◄──────────────────────────┘

At every stage one kind of answer is waited for (`_Stage`); any other event is an echo of
something given up, and does nothing. `Failed` (the disk is full, the till is too busy) is
the exception: it ends any stage, and the machine backs off and begins anew.

The hands (client.py) carry requests; `Apply` is executed by the till's thread, which
owns ledger.db; only then does the machine go on. So a crash at any point is either
"did not happen" or "will be said again", and the centre has a word for a repeat.

**Rules.** One sync in flight. The cursor is the server's: after any doubt the machine
forgets what it thought and loads again from what ledger.db says was acknowledged.
Back-off is full jitter, 1 s … 10 min, and survives a restart; `min_delay_s` of the
centre is obeyed, up to an hour. A refusal that needs a person is tried again at the
slowest pace, and never stops selling. What brought nothing forward is not repeated at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeAlias

import msgspec

from loyalty import ledger, wire
from loyalty.wire import DownItem, Refusal, SyncReply, SyncRequest

BACKOFF_FIRST_MS = 1_000
BACKOFF_MAX_MS = 600_000
OBEYED_MAX_S = 3_600  # longest pause that a centre may order; one that orders more is broken


@dataclass(frozen=True, slots=True)
class BatchToSend:
    """What ledger.db has for the centre. `status` is what the office's page shows."""

    epoch: int
    session: str = field(repr=False)
    first_seq: int
    prev: bytes
    bodies: tuple[bytes, ...]
    documents: tuple[tuple[int, bytes], ...]
    down: dict[int, int]
    versions: dict[str, int]
    status: dict[str, int | str]
    retry_attempt: int
    more: bool = False  # there are entries behind these


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


@dataclass(frozen=True, slots=True)
class Failed:
    """The till could not do what an effect asked: no room on the disk, too busy, a fault of ours."""

    reason: str


Event: TypeAlias = Woken | BatchLoaded | Replied | Refused | Unreachable | Applied | Failed

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
    session: str = field(repr=False)
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
    """Wait for a wake-up, but no longer than a time drawn evenly from [low, high].

    For the first `deaf_ms` a new sale does not end it (back-off, the centre's wish); a person does.
    """

    low_ms: int
    high_ms: int
    deaf_ms: int = 0


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
HARD = frozenset({wire.FORK, wire.EPOCH, wire.TIMELINE, "TOO_OLD"})
NOT_TRUSTED = "not_trusted"  # somebody else answers in the centre's name
NEEDS_A_PERSON = HARD | {wire.GAP, NOT_TRUSTED}
FAILED_HERE = "failed_here"  # not the link's fault


class _Stage(Enum):
    IDLE = auto()
    LOADING = auto()
    POSTED = auto()
    APPLYING = auto()


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
        self._stage = _Stage.IDLE
        self._limit = wire.BATCH_ENTRIES
        self._attempt = 0
        self._request: SyncRequest | None = None  # the one in flight, or being applied
        self._reply: SyncReply | None = None  # verified, being applied
        self._more = False  # behind what is in flight

    def step(self, event: Event) -> list[Effect]:
        """What to do after `event`. An event that nobody waits for any more does nothing."""
        match (self._stage, event):
            case (_Stage.IDLE, Woken()):
                return [self._load()]
            case (_Stage.LOADING, BatchLoaded(batch)):
                return self._send(batch)
            case (_Stage.POSTED, Replied(reply)):
                return self._judge(reply)
            case (_Stage.POSTED, Refused() as refused):
                return self._refused(refused)
            case (_Stage.POSTED, Unreachable(reason)):
                return self._back_off("unreachable", reason)
            case (_Stage.APPLYING, Applied(moved)):
                return self._go_on(moved)
            case (_, Failed(reason)):
                return self._back_off(FAILED_HERE, reason)
        return []

    def _load(self) -> LoadBatch:
        self._stage, self._request, self._reply = _Stage.LOADING, None, None
        return LoadBatch(self._limit)

    def _send(self, batch: BatchToSend) -> list[Effect]:
        self._attempt = max(self._attempt, batch.retry_attempt)
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
        self._more = batch.more
        signature = self._sign(wire.sync_signing_bytes(self._till, unsigned))
        self._request = msgspec.structs.replace(unsigned, signature=signature)
        self._stage = _Stage.POSTED
        return [PostSync(self._request)]

    def _judge(self, reply: SyncReply) -> list[Effect]:
        assert self._request is not None
        if not self._is_ours(self._request, reply):
            return self._back_off(NOT_TRUSTED, "the reply is not signed by this programme's centre")
        written = self._request.first_seq + len(self._request.entries)
        if reply.next_seq > written:
            return self._back_off(
                wire.GAP, f"the centre expects {reply.next_seq}, this till wrote up to {written - 1}"
            )
        self._stage, self._reply = _Stage.APPLYING, reply
        return [
            Apply(
                reply.timeline,
                reply.session,
                reply.next_seq,
                reply.durable_seq,
                reply.server_ms,
                reply.down,
            )
        ]

    def _go_on(self, moved: int) -> list[Effect]:
        request, reply = self._request, self._reply
        assert request is not None
        assert reply is not None
        self._attempt = 0
        newer = {
            channel: version
            for channel, version in reply.manifests.items()
            if version > request.versions.get(channel, 0)
        }
        # Only now: a reply that cannot be stored helps nobody.
        effects: list[Effect] = [LinkUp(), Fetch(newer)] if newer else [LinkUp()]
        taken = reply.next_seq - request.first_seq
        left = taken < len(request.entries) or self._more
        if (left and taken > 0) or moved:
            # More to say, or perhaps more to hear (the downlink comes in slices). A centre that took
            # nothing, or a downlink that stopped at a kind we do not know, moves nothing: no spinning.
            return [*effects, self._load()]
        self._limit = wire.BATCH_ENTRIES
        delay_s = min(reply.min_delay_s, OBEYED_MAX_S)
        pause_ms = max(self.interval_s, delay_s) * 1000
        return [*effects, self._rest(pause_ms, pause_ms, delay_s * 1000)]

    def _refused(self, event: Refused) -> list[Effect]:
        assert self._request is not None
        code = event.refusal.code if event.refusal else f"http_{event.status}"
        detail = event.refusal.detail if event.refusal else f"the centre answered {event.status}"
        sent = len(self._request.entries)
        if event.status == 413 and sent > 1:
            self._limit = sent // 2
            return [self._load()]
        if code in HARD:
            return [LinkDown(code, detail), self._rest(BACKOFF_MAX_MS, BACKOFF_MAX_MS, BACKOFF_MAX_MS)]
        if event.retry_after_s is not None:
            low_ms = min(max(event.retry_after_s, 1), OBEYED_MAX_S) * 1000
            return [LinkDown(code, detail), self._rest(low_ms, 2 * low_ms, 2 * low_ms)]
        return self._back_off(code, detail)

    def _back_off(self, word: str, detail: str) -> list[Effect]:
        self._attempt += 1
        high_ms = min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** min(self._attempt - 1, 20))
        return [LinkDown(word, detail), NoteRetry(self._attempt), self._rest(0, high_ms, high_ms)]

    def _rest(self, low_ms: int, high_ms: int, deaf_ms: int) -> Sleep:
        self._stage, self._request, self._reply = _Stage.IDLE, None, None
        return Sleep(low_ms, high_ms, deaf_ms)
