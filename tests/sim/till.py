"""A till of the simulated chain: the real till, its real files and its real half of the protocol.

What threads do in the agent (agent/main.py, agent/sync/client.py) the simulator does, one thing at a
time and in any order: it hands messages to the network, and plays the sync machine's effects. Its
power may fail between any two statements of its ledger, and its disk may be full or fail.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.drivers.contracts import OutputComplete
from agent.drivers.document import Document
from agent.inbox import (
    ApplyAsked,
    Ask,
    Claimed,
    Event,
    HandedOver,
    HandoverAsked,
    HubReceiptAsked,
    HubReceiptFound,
    Inbox,
    LoadBatchAsked,
    LookedUp,
    LookupFailed,
    PastRulesReady,
    ReceiptFound,
    RetryNoted,
)
from agent.inbox import LinkChanged as LinkTold
from agent.line_display import Shown
from agent.offline import heard
from agent.offline.engine import InForce, PastRules
from agent.offline.ledger_db import LedgerDb
from agent.offline.ledger_reader import Reader
from agent.offline.records import Uplink
from agent.offline.snapshot_db import Members, SnapshotDb
from agent.sync import machine, trust
from agent.sync.asking import HubPlace
from agent.sync.hub import PATH, RECEIPT_PATH, Door, Turned
from agent.sync.machine import SyncMachine
from agent.till import Till
from loyalty import wire
from loyalty.wire import ClaimRequest, EnrollReply, HandoverRequest, HubReceiptRequest, Member
from tests.sim.centre import Crash


class Fragile:
    """A connection whose power or disk fails at the statement that was chosen."""

    def __init__(self, connection: sqlite3.Connection, till: SimTill) -> None:
        self._connection = connection
        self._till = till

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        self._till.statement(sql)
        return self._connection.execute(sql, values)

    def executemany(self, sql: str, values: Any) -> sqlite3.Cursor:
        self._till.statement(sql)
        return self._connection.executemany(sql, values)


class Outside:
    """agent.outside.Outside: what is asked of the world becomes a message."""

    printer_columns = None

    def __init__(self, till: SimTill) -> None:
        self._till = till

    def wake_sync(self, *, force: bool = False, done: Callable[[], None] | None = None) -> None:
        self._till.wants_sync = True
        if done is not None:
            done()

    def lookup(self, card_key: int) -> None:
        self._till.look_up(card_key)

    def claim(self, request: ClaimRequest) -> None:
        self._till.claim(request)

    def receipt(self, ref: str) -> None:
        self._till.find_receipt(ref)

    def past_rules(self, asked: PastRules) -> None:
        # All rulebooks of this programme are one; compiling them off the loop is tested elsewhere.
        self._till.later.append(PastRulesReady(asked, self._till.in_force.compiled))

    def ask_hub(self, hub: HubPlace, request: HandoverRequest) -> None:
        self._till.ask_hub(hub, request)

    def ask_hub_for_receipt(self, hub: HubPlace, request: HubReceiptRequest) -> None:
        self._till.ask_hub_for_receipt(hub, request)

    def learn(self, card_key: int, member: Member) -> None:
        self._till.shelf.learn(card_key, member, self._till.wall_s())

    def tell(self, event: str, data: dict[str, Any]) -> None:
        """Nobody listens."""

    def open_drawer(self, act_id: str) -> None:
        """There is no drawer."""

    def show(self, shown: Shown) -> None:
        """Nobody reads it; what is decided to be shown must not trip over anything that happens here."""

    def print_slip(self, job_id: str, document: Document) -> None:
        self._till.later.append(OutputComplete("printer", job_id))


@dataclass(eq=False)
class SimTill:
    """One box. A clone is a second box with the same name, key and past."""

    name: str  # of the box, for the trace
    enrolment: EnrollReply
    key: Ed25519PrivateKey
    directory: Path
    in_force: InForce | None
    now_ms: Callable[[], int]
    send: Callable[..., None]
    over_the_lan: Callable[[SimTill, str, str, bytes, Callable[[bytes | None], None]], None]
    clock_off_s: int = 0
    cable: bool = True  # is the link there?
    wants_sync: bool = True
    later: list[Event] = field(default_factory=list)
    crash_in: int | None = None
    fails_in: int | None = None
    full: bool = False
    troubled: bool = False  # its disk has failed it lately
    fired: dict[str, int] = field(default_factory=dict)
    asked: dict[str, Ask] = field(default_factory=dict)  # quotes that are waited for
    open: dict[str, dict[str, Any]] = field(default_factory=dict)  # quotes as they were answered
    answered: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    post: object | None = None  # the sync message whose answer is waited for
    is_up: bool = False
    heads: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start()

    @property
    def till_id(self) -> str:
        return self.enrolment.till

    @property
    def disk(self) -> sqlite3.Connection:
        """Its ledger, for whoever looks on and must not disturb it."""
        connection: sqlite3.Connection = self.ledger._db._connection  # type: ignore[attr-defined]
        return connection

    def uplink(self) -> Uplink:
        """Where it stands, as its disk says."""
        return Reader(self.disk).uplink()

    def wall_s(self) -> int:
        return max(0, self.now_ms() // 1000 + self.clock_off_s)

    # ---- power

    def start(self) -> None:
        """Switch it on."""
        self.ledger = LedgerDb(self.directory / "ledger.db")
        if self.ledger.identity() is None:
            self.ledger.enrol(self.enrolment, "http://centre")
        self.ledger._db = Fragile(self.ledger._db, self)  # type: ignore[assignment]
        self.shelf = SnapshotDb(self.directory / "snapshot.db")
        self.members = Members.open(self.directory / "snapshot.db")
        identity = self.ledger.identity()
        assert identity is not None
        self.till = Till(
            identity=identity,
            chain_key=self.enrolment.chain_key,
            ledger_db=self.ledger,
            members=self.members,
            in_force=self.rules_at_start(),
            inbox=Inbox(),
            outside=self.outside(),
            wall_s=self.wall_s,
            monotonic_ms=self.now_ms,
            language="ru",
            version="sim",
        )
        self.machine = SyncMachine(
            self.till_id,
            sign=partial(trust.sign, self.key),
            is_ours=partial(trust.reply_is_ours, self.enrolment.reply_key, self.till_id),
            interval_s=60,
            is_restored=partial(trust.restored_is_ours, self.enrolment.reply_key, self.till_id),
        )
        self.session = self.ledger.uplink().session
        self.post, self.wants_sync, self.is_up = None, True, True
        self.asked.clear()
        self.later.clear()

    def rules_at_start(self) -> InForce | None:
        """What is in force when it is switched on."""
        return self.in_force

    def outside(self) -> Outside:
        """Whom it asks."""
        return Outside(self)

    def fetch(self, channels: dict[str, int]) -> None:
        """These channels have a newer version at the centre; the simulator's rules never change."""

    def stop(self) -> None:
        """Switch it off, or be switched off."""
        self.is_up = False
        self.members.close()
        self.shelf.close()
        self.ledger.close()

    def statement(self, sql: str) -> None:
        """Before each statement of the ledger: is this the one?"""
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crash_in = None
                raise Crash
        if self.full and sql.startswith(("INSERT", "UPDATE")):
            self._fail("till_disk_full", "database or disk is full", sqlite3.SQLITE_FULL)
        if self.fails_in is not None and not sql.startswith(("SELECT", "BEGIN", "ROLLBACK")):
            self.fails_in -= 1
            if self.fails_in < 0:
                self.fails_in = None
                self._fail("till_io_error", "disk I/O error", sqlite3.SQLITE_IOERR_WRITE)

    def _fail(self, fault: str, text: str, code: int) -> None:
        self.fired[fault] = self.fired.get(fault, 0) + 1
        self.troubled = True
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode = code
        raise error

    def backup(self, target: Path) -> None:
        """Its ledger, as `kopilka-agent backup` keeps it."""
        target.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.directory / "ledger.db")) as reading:
            reading.execute("VACUUM INTO ?", (str(target),))

    def restore(self, source: Path, restore_id: str) -> None:
        """A new disk with the backup on it, as `kopilka-agent restore` makes it."""
        self.stop()
        for file in self.directory.iterdir():
            file.unlink()
        shutil.copyfile(source, self.directory / "ledger.db")
        with closing(LedgerDb(self.directory / "ledger.db")) as fresh:
            heard.begin_restore(fresh, restore_id)
        self.open.clear()
        self.start()

    # ---- the loop

    def handle(self, event: Event) -> None:
        """One event, and what it leaves to be done at once."""
        self.troubled = False
        self.till.handle(event)
        self.handle_timers()

    def handle_timers(self) -> None:
        """What is due, and what was left to be done at once."""
        self.till.ring()
        while self.later:
            self.till.handle(self.later.pop(0))

    # ---- the sync thread, played

    def sync(self) -> None:
        """Wake the machine, if it sleeps."""
        if self.post is None:
            self.wants_sync = False
            self.play(self.machine.step(machine.Woken()))

    def play(self, effects: list[machine.Effect]) -> None:
        """Do what the machine says."""
        for effect in effects:
            match effect:
                case machine.LoadBatch(limit, adopt):
                    ask = LoadBatchAsked(limit, adopt)
                    self.handle(ask)
                    if ask.reply.exception() is not None:
                        self.play(self.machine.step(machine.Failed("no room")))
                        return
                    batch = ask.reply.result(0)
                    self.session = batch.session
                    self.play(self.machine.step(machine.BatchLoaded(batch)))
                case machine.PostSync(request):
                    self._post("POST", "sync", request, wire.SyncReply, machine.Replied)
                case machine.PostRestore(request):
                    self._post("POST", "restore", request, wire.RestoreReply, machine.Restored)
                case machine.FetchLog(epoch, first_seq):
                    self._post(
                        "GET", f"log?epoch={epoch}&from={first_seq}", None, wire.LogReply, machine.LogFetched
                    )
                case machine.Apply() | machine.ApplyRestore() | machine.StoreLog():
                    done = ApplyAsked(effect)
                    self.handle(done)
                    if done.reply.exception() is not None:
                        self.play(self.machine.step(machine.Failed("no room")))
                        return
                    self.session = self.ledger.uplink().session
                    self.play(self.machine.step(machine.Applied(done.reply.result(0))))
                case machine.Fetch(channels):
                    self.fetch(channels)
                case machine.NoteRetry(attempt):
                    self.handle(RetryNoted(attempt))
                case machine.LinkUp():
                    self.handle(LinkTold(None, ""))
                case machine.LinkDown(word, detail):
                    self.handle(LinkTold(word, detail))
                    self.fired[f"till_heard_{word}"] = self.fired.get(f"till_heard_{word}", 0) + 1

    def _post(
        self, method: str, path: str, request: Any, kind: type[Any], event: Callable[[Any], machine.Event]
    ) -> None:
        post = self.post = object()

        def answered(status: int | None, body: bytes) -> None:
            if self.post is not post or not self.is_up:
                return  # it gave up, or began anew
            self.post = None
            self.play(self.machine.step(_event(status, body, kind, event)))

        self.send(self, method, path, request, self.session, answered)

    # ---- the look-up thread, played

    def look_up(self, card_key: int) -> None:
        def answered(status: int | None, body: bytes) -> None:
            if not self.is_up:
                return
            found = _unpacked(status, body, wire.LookupReply)
            self.handle(LookupFailed(card_key) if found is None else LookedUp(card_key, found.member))

        request = wire.LookupRequest(wire.WIRE_VERSION, card_key)
        self.send(self, "POST", "lookup", request, self.session, answered)

    def find_receipt(self, ref: str) -> None:
        def answered(status: int | None, body: bytes) -> None:
            if not self.is_up:
                return
            reply = _unpacked(status, body, wire.ReceiptReply)
            if reply is not None and not trust.receipt_is_ours(
                self.enrolment.reply_key, self.till_id, ref, reply
            ):
                reply = None
            refused = None
            if status not in (None, 200):
                refusal = _unpacked(200, body, wire.Refusal)
                refused = refusal.code if refusal else None
            self.handle(ReceiptFound(ref, reply, refused))

        self.send(self, "GET", f"/v1/receipts/{ref}", None, self.session, answered)

    # ---- the store's hub

    def ask_hub(self, hub: HubPlace, request: HandoverRequest) -> None:
        def answered(body: bytes | None) -> None:
            reply = None if body is None else _unpacked(200, body, wire.HandoverReply)
            good = reply is not None and trust.handover_is_good(hub.till, hub.key, request, reply)
            self.handle(HandedOver(request, reply if good else None))

        self._over_the_lan(hub, PATH, request, answered)

    def ask_hub_for_receipt(self, hub: HubPlace, request: HubReceiptRequest) -> None:
        def answered(body: bytes | None) -> None:
            reply = None if body is None else _unpacked(200, body, wire.HubReceiptReply)
            good = reply is not None and trust.hub_receipt_is_good(hub.till, hub.key, request, reply)
            self.handle(HubReceiptFound(request, reply if good else None))

        self._over_the_lan(hub, RECEIPT_PATH, request, answered)

    def _over_the_lan(
        self,
        hub: HubPlace,
        path: str,
        request: HandoverRequest | HubReceiptRequest,
        answered: Callable[[bytes | None], None],
    ) -> None:
        signed = msgspec.structs.replace(request, signature=self.key.sign(trust.asked_bytes(request)))

        def heard(body: bytes | None) -> None:
            if self.is_up:
                answered(body)

        self.over_the_lan(self, hub.till, path, wire.pack(signed), heard)

    def answer_the_lan(self, path: str, body: bytes) -> bytes | None:
        """As the hub's server does (agent/sync/hub.py); None where it turns the question away."""
        door = Door(self.till_id, lambda: self.till.settings, self.key.sign)
        now_s = self.now_ms() / 1000
        try:
            if path == PATH:
                given = self._asked(HandoverAsked(door.admit(body, "sim", now_s)))
                return None if given is None else wire.pack(door.answer(given))
            question = door.admit_receipt(body, "sim", now_s)
        except Turned:
            return None
        found = self._asked(HubReceiptAsked(question))
        return None if found is None else wire.pack(door.show(question, found))

    def _asked(self, ask: HandoverAsked | HubReceiptAsked) -> Any:
        """What the till's thread answers; None where it cannot."""
        self.handle(ask)
        return None if ask.reply.exception() is not None else ask.reply.result(0)

    def claim(self, request: ClaimRequest) -> None:
        def answered(status: int | None, body: bytes) -> None:
            if not self.is_up:
                return
            reply = _unpacked(status, body, wire.ClaimReply)
            if reply is not None and not trust.claim_is_ours(
                self.enrolment.reply_key, self.till_id, request, reply
            ):
                reply = None
            refused = status is not None and HTTPStatus.OK < status < HTTPStatus.INTERNAL_SERVER_ERROR
            self.handle(Claimed(request, reply, refused))

        self.send(self, "POST", "claim", request, self.session, answered)


def _event(
    status: int | None, body: bytes, kind: type[Any], event: Callable[[Any], machine.Event]
) -> machine.Event:
    if status is None:
        return machine.Unreachable("no answer")
    if status == 200:
        message = _unpacked(status, body, kind)
        return machine.Unreachable("half an answer") if message is None else event(message)
    try:
        return machine.Refused(status, wire.unpack(wire.Refusal, body))
    except wire.WireError:
        return machine.Refused(status, None)


def _unpacked(status: int | None, body: bytes, kind: type[Any]) -> Any:
    if status != 200:
        return None
    try:
        return wire.unpack(kind, body)
    except wire.WireError:
        return None


def new_key(seed: bytes) -> tuple[Ed25519PrivateKey, bytes]:
    """A till's key, the same for the same seed, and its public half."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return key, public


def converted(body: dict[str, Any], kind: type[Any]) -> Any:
    """A body as the API reads it."""
    return msgspec.convert(body, kind)
