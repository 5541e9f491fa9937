"""The till's half of the sync protocol, without a socket, clock, random number or SQL.

**Theory.** The machine is told what happened and answers with what to do next:

    Woken ──► LoadBatch ──► BatchLoaded ──► PostSync ──► Replied ──► Apply ──► Applied ─┐
      ▲                                        │                                        │
      └──────────── Sleep ◄── Unreachable ◄────┘          more entries / new versions ──┤
                      ▲                                                                 │
                      └──────────────────────── nothing left ◄──────────────────────────┘

At every stage one kind of answer is waited for (`CELLS`); any other event is an echo of
something given up, and does nothing. `Failed` (the disk is full, the till is too busy) is
the exception: it ends any stage, and the machine backs off and begins anew. `drawing()` prints
the cells as a graph; docs/ledger.md shows it.

The hands (client.py) carry requests; `Apply` is executed by the till's thread, which
owns ledger.db; only then does the machine go on. So a crash at any point is either
"did not happen" or "will be said again", and the centre has a word for a repeat.

**Lives.** A till restored from a backup asks for its next life first (PostRestore) and fetches the end
of the old one (FetchLog). A centre that was restored says TIMELINE; the till loads again from where
that centre stands, and echoes what it has forgotten.

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
from loyalty.wire import (
    DownItem,
    Echo,
    LogReply,
    Refusal,
    RestoreReply,
    RestoreRequest,
    SyncReply,
    SyncRequest,
)

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
    timeline: int = 0  # the life of the centre that this is said to
    adopting: bool = False  # first words to a centre that was restored
    echo: tuple[Echo, ...] = ()
    restore: RestoreRequest | None = None  # before anything else: unsigned
    missing_log: tuple[int, int] | None = None  # (epoch, first seq) that only the centre has


@dataclass(frozen=True, slots=True)
class Adoption:
    """What a restored centre said of itself: its life, and what it still has of ours."""

    timeline: int
    heard_in: int  # the life of which `down` is: bucket -> gseq
    down: dict[int, int]
    epochs: dict[int, int]  # epoch -> next seq


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
class Restored:
    """The centre has opened this till's next life."""

    reply: RestoreReply


@dataclass(frozen=True, slots=True)
class LogFetched:
    """A stretch of our own log."""

    reply: LogReply


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


Event: TypeAlias = (
    Woken | BatchLoaded | Replied | Restored | LogFetched | Refused | Unreachable | Applied | Failed
)

# ----------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class LoadBatch:
    """Read at most `limit` entries after the acknowledged one; for a restored centre, what it lacks."""

    limit: int
    adopt: Adoption | None = None


@dataclass(frozen=True, slots=True)
class PostSync:
    """Send this (already signed) and come back with Replied, Refused or Unreachable."""

    request: SyncRequest


@dataclass(frozen=True, slots=True)
class PostRestore:
    """Ask for this till's next life (already signed); Restored, Refused or Unreachable follows."""

    request: RestoreRequest


@dataclass(frozen=True, slots=True)
class FetchLog:
    """Ask for our own log from there; LogFetched, Refused or Unreachable follows."""

    epoch: int
    first_seq: int


@dataclass(frozen=True, slots=True)
class ApplyRestore:
    """For the till's thread: the next life, verified."""

    reply: RestoreReply


@dataclass(frozen=True, slots=True)
class StoreLog:
    """For the till's thread: a stretch of our own log."""

    reply: LogReply


@dataclass(frozen=True, slots=True)
class Apply:
    """For the till's thread: cursors, session and downlink of a reply that was verified."""

    epoch: int  # of the log that it answers
    timeline: int
    session: str = field(repr=False)
    next_seq: int
    durable_seq: int
    server_ms: int
    down: tuple[DownItem, ...]
    down_signature: bytes
    epochs: dict[int, int] | None = None  # of a restored centre: how far it has each life of ours
    quarantined: int = 0  # entries that wait for a person's decision
    ended: bool = False  # the centre has ended this life of the till


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


Effect: TypeAlias = (
    LoadBatch
    | PostSync
    | PostRestore
    | FetchLog
    | Apply
    | ApplyRestore
    | StoreLog
    | Fetch
    | Sleep
    | NoteRetry
    | LinkUp
    | LinkDown
)

# A refusal that no retry mends soon: said as it is, tried again at the slowest pace.
NOT_ENROLLED, SIGNATURE = "NOT_ENROLLED", "SIGNATURE"  # the centre knows no till by this key
HARD = frozenset({wire.FORK, wire.EPOCH, wire.TIMELINE, NOT_ENROLLED, SIGNATURE, "TOO_OLD"})
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
        is_restored: Callable[[RestoreRequest, RestoreReply], bool] = lambda _request, _reply: False,
    ) -> None:
        self._till = till
        self._sign = sign
        self._is_ours = is_ours
        self._is_restored = is_restored
        self.interval_s = interval_s
        self._stage = _Stage.IDLE
        self._limit = wire.BATCH_ENTRIES
        self._attempt = 0
        self._request: SyncRequest | None = None  # the one in flight, or being applied
        self._reply: SyncReply | None = None  # verified, being applied
        self._more = False  # behind what is in flight
        self._adopt: Adoption | None = None  # the centre has begun another life
        self._restore: RestoreRequest | None = None
        self._fetching = False  # a stretch of our own log is asked for
        self._log_refused = False  # and was refused in this round

    def step(self, event: Event) -> list[Effect]:
        """What to do after `event`. An event that nobody waits for any more does nothing."""
        cell = CELLS.get((self._stage, type(event)))
        return cell.do(self, event) if cell is not None else []

    def _woken(self, _: Woken) -> list[Effect]:
        return [self._load()]

    def _load(self) -> LoadBatch:
        self._stage, self._request, self._reply, self._restore = _Stage.LOADING, None, None, None
        self._fetching = False
        return LoadBatch(self._limit, self._adopt)

    def _send(self, event: BatchLoaded) -> list[Effect]:
        batch = event.batch
        self._attempt = max(self._attempt, batch.retry_attempt)
        self._stage = _Stage.POSTED
        if batch.restore is not None:
            signature = self._sign(wire.restore_signing_bytes(self._till, batch.restore))
            self._restore = msgspec.structs.replace(batch.restore, signature=signature)
            return [PostRestore(self._restore)]
        if batch.missing_log is not None and not self._log_refused:
            self._fetching = True
            return [FetchLog(*batch.missing_log)]
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
            timeline=batch.timeline,
            adopting=batch.adopting,
            echo=batch.echo,
        )
        self._more = batch.more
        signature = self._sign(wire.sync_signing_bytes(self._till, unsigned))
        self._request = msgspec.structs.replace(unsigned, signature=signature)
        return [PostSync(self._request)]

    def _judge(self, event: Replied) -> list[Effect]:
        reply = event.reply
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
                self._request.epoch,
                reply.timeline,
                reply.session,
                reply.next_seq,
                reply.durable_seq,
                reply.server_ms,
                reply.down,
                reply.down_signature,
                self._adopt.epochs if self._adopt else None,
                reply.quarantined,
                reply.ended,
            )
        ]

    def _judge_restored(self, event: Restored) -> list[Effect]:
        assert self._restore is not None
        if not self._is_restored(self._restore, event.reply):
            return self._back_off(NOT_TRUSTED, "the reply is not signed by this programme's centre")
        self._stage = _Stage.APPLYING
        return [ApplyRestore(event.reply)]

    def _fetched(self, event: LogFetched) -> list[Effect]:
        self._stage = _Stage.APPLYING
        return [StoreLog(event.reply)]

    def _unreachable(self, event: Unreachable) -> list[Effect]:
        return self._back_off("unreachable", event.reason)

    def _failed(self, event: Failed) -> list[Effect]:
        return self._back_off(FAILED_HERE, event.reason)

    def _go_on(self, event: Applied) -> list[Effect]:
        request, reply = self._request, self._reply
        self._attempt = 0
        if request is None or reply is None:
            return [LinkUp(), self._load()]  # a life has begun, or more of the old one is here
        self._adopt = None
        newer = {
            channel: version
            for channel, version in reply.manifests.items()
            if version > request.versions.get(channel, 0)
        }
        # Only now: a reply that cannot be stored helps nobody.
        effects: list[Effect] = [LinkUp(), Fetch(newer)] if newer else [LinkUp()]
        taken = reply.next_seq - request.first_seq
        left = taken < len(request.entries) or self._more
        if (left and taken > 0) or event.moved:
            # More to say, or perhaps more to hear (the downlink comes in slices). A centre that took
            # nothing, or a downlink that stopped at a kind we do not know, moves nothing: no spinning.
            return [*effects, self._load()]
        self._limit = wire.BATCH_ENTRIES
        delay_s = min(reply.min_delay_s, OBEYED_MAX_S)
        pause_ms = max(self.interval_s, delay_s) * 1000
        return [*effects, self._rest(pause_ms, pause_ms, delay_s * 1000)]

    def _refused(self, event: Refused) -> list[Effect]:
        code = event.refusal.code if event.refusal else f"http_{event.status}"
        detail = event.refusal.detail if event.refusal else f"the centre answered {event.status}"
        sent = len(self._request.entries) if self._request else 0
        refusal = event.refusal
        if self._fetching:
            # It may be another life of the centre by now, or of its session: first a sync, then again.
            self._log_refused = True
            return [self._load()]
        if code == wire.TIMELINE and refusal is not None and self._adopt is None:
            self._adopt = Adoption(refusal.timeline, refusal.heard_in, refusal.down, refusal.epochs)
            return [self._load()]
        self._adopt = None
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
        self._restore = None
        self._fetching = self._log_refused = False
        return Sleep(low_ms, high_ms, deaf_ms)


@dataclass(frozen=True, slots=True)
class _Cell:
    """What an event does at a stage, and the stages in which it may leave the machine."""

    do: Callable[..., list[Effect]]
    to: tuple[_Stage, ...]


CELLS: dict[tuple[_Stage, type], _Cell] = {
    (_Stage.IDLE, Woken): _Cell(SyncMachine._woken, (_Stage.LOADING,)),
    (_Stage.LOADING, BatchLoaded): _Cell(SyncMachine._send, (_Stage.POSTED,)),
    (_Stage.POSTED, Replied): _Cell(SyncMachine._judge, (_Stage.APPLYING, _Stage.IDLE)),
    (_Stage.POSTED, Restored): _Cell(SyncMachine._judge_restored, (_Stage.APPLYING, _Stage.IDLE)),
    (_Stage.POSTED, LogFetched): _Cell(SyncMachine._fetched, (_Stage.APPLYING,)),
    (_Stage.POSTED, Refused): _Cell(SyncMachine._refused, (_Stage.LOADING, _Stage.IDLE)),
    (_Stage.POSTED, Unreachable): _Cell(SyncMachine._unreachable, (_Stage.IDLE,)),
    (_Stage.APPLYING, Applied): _Cell(SyncMachine._go_on, (_Stage.LOADING, _Stage.IDLE)),
    **{(stage, Failed): _Cell(SyncMachine._failed, (_Stage.IDLE,)) for stage in _Stage},
}


def drawing() -> str:
    """The cells as a Graphviz digraph."""
    rows = [
        f'  {stage.name.lower()} -> {to.name.lower()} [label="{event.__name__}"]'
        for (stage, event), cell in CELLS.items()
        for to in cell.to
    ]
    return "digraph sync {\n" + "\n".join(rows) + "\n}\n"
