"""The composition root: the only file that knows every class, and how they are put together.

    scanners ─┐                          ┌─► printer thread
    API ──────┤                          ├─► sync thread ──► centre ──► bell thread
    sync ─────┼──► Inbox ──► Till ───────┼─► look-up thread ──► centre
    hub ──────┘   (one queue) (one loop) └─► hub client thread ──► hub

Scanners start first: a till that reads cards half a second after power-on, and
imports what it needs for the rest while it does.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import sqlite3
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from agent.config import Config, ScannerConfig
from agent.drivers.contracts import LineDisplay, POSPrinter
from agent.drivers.document import Document
from agent.inbox import (
    ApplyAsked,
    ChannelAlarm,
    Claimed,
    HandedOver,
    HandoverAsked,
    HubReceiptAsked,
    HubReceiptFound,
    Inbox,
    LinkChanged,
    LoadBatchAsked,
    LookedUp,
    LookupFailed,
    NewInForce,
    PastRulesReady,
    ReceiptFound,
    RetryNoted,
    Stop,
)
from agent.line_display import Closed, Rows, Shown, rows
from agent.offline import engine, heard
from agent.offline.engine import InForce, PastRules
from agent.offline.files import FileError
from agent.offline.ledger_db import LedgerDb
from agent.offline.ledger_reader import Reader
from agent.offline.records import NOT_ENROLLED, Identity, LedgerFault
from agent.offline.snapshot_db import Members, SnapshotDb, Stored, Versions, is_damage
from agent.screen.view import Screen
from agent.sorter import Sorter
from agent.state import StateDir
from agent.stopping import Stopping
from agent.texts import translator
from agent.till import Till
from loyalty import __version__
from loyalty import settings as settings_files
from loyalty.faults import Refused
from loyalty.heap import put_aside
from loyalty.index import Compiled
from loyalty.manifest import CATALOG, RULEBOOK, SETTINGS
from loyalty.settings import SettingsError
from loyalty.texts import N_
from loyalty.wire import (
    ClaimReply,
    ClaimRequest,
    HandoverRequest,
    HubReceiptReply,
    HubReceiptRequest,
    Member,
    ReceiptReply,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

    from agent.drivers.scanners import Scanners
    from agent.feed import Feed
    from agent.serving import HttpServer
    from agent.sync.asking import HubPlace
    from agent.sync.bell import BellThread
    from agent.sync.client import LookupThread, SyncThread
    from agent.sync.hub_client import HubThread
    from agent.sync.machine import Adoption, Apply, ApplyRestore, BatchToSend, StoreLog

log = logging.getLogger(__name__)

DESK_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
PR_SET_DUMPABLE = 4  # linux/prctl.h
SWITCH_S = 0.001  # after so long a busy thread (a batch being packed) lets a quote through; Python's is 5 ms
FIRST_INTERVAL_S = 60  # until the settings say how often to sync


def now_s() -> int:
    """The box's clock, UTC seconds."""
    return int(time.time())


def monotonic_ms() -> int:
    """A clock that never jumps, and goes on while the box sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Desk:
    """What the sync thread asks of the till's thread: posted to its inbox, awaited here."""

    def __init__(self, inbox: Inbox, link_is_back: Callable[[], None]) -> None:
        self._inbox = inbox
        self._link_is_back = link_is_back
        self._is_lost = False

    def load_batch(self, limit: int, adopt: Adoption | None) -> BatchToSend:
        """What there is to send."""
        ask = LoadBatchAsked(limit, adopt)
        self._inbox.post(ask)
        return ask.reply.result(DESK_TIMEOUT_S)

    def apply(self, effect: Apply | ApplyRestore | StoreLog) -> int:
        """Store a verified reply."""
        ask = ApplyAsked(effect)
        self._inbox.post(ask)
        return ask.reply.result(DESK_TIMEOUT_S)

    def note_retry(self, attempt: int) -> None:
        """Keep the back-off."""
        self._inbox.post(RetryNoted(attempt))

    def link(self, word: str | None, detail: str) -> None:
        """How the link is."""
        self._inbox.post(LinkChanged(word, detail))
        if self._is_lost and word is None:
            self._link_is_back()
        self._is_lost = word is not None


class Programme:
    """Compiles new versions off the till's thread and hands them over (agent/sync/channels.py calls it)."""

    def __init__(self, inbox: Inbox, shelf: SnapshotDb, store: str) -> None:
        self._inbox = inbox
        self._shelf = shelf
        self._settings_channel = f"{SETTINGS}.{store}"
        self.on_interval: Callable[[int], None] = lambda _: None  # the machine's, once there is one

    def at_start(self, ledger: Reader) -> InForce | None:
        """What was in force when the agent ended; a pointer that had not moved yet moves now.

        Files that cannot be read, or that this version of the agent refuses (an update may be
        stricter), do not stop it: they are no longer in force, and the centre is asked for them.
        """
        try:
            return self._at_start(ledger)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
        self._shelf.renew()
        return self._at_start(ledger)

    def _at_start(self, ledger: Reader) -> InForce | None:
        for channel, noted in ledger.channels().items():
            pointed = self._shelf.version(channel)
            if noted > pointed and self._shelf.stored(channel, noted) is not None:
                self._shelf.point(channel, noted)
            elif pointed and self._shelf.stored(channel, pointed) is None:
                self._shelf.forget(channel)
        try:
            return self._build({})
        except (Refused, SettingsError) as error:
            log.error("what was in force is refused by this agent and is fetched anew: %s", error)
        for channel in self._shelf.versions():
            if channel != self._settings_channel:
                self._shelf.forget(channel)
        try:
            return self._build({})
        except SettingsError:
            self._shelf.forget(self._settings_channel)
            return None

    def activate(self, channel: str, version: int, manifest_sha256: str, contents: dict[str, bytes]) -> bool:
        """Compile with the new version in place, then let the till note and swap it.

        False: not yet (rules that came before the settings that name them).
        """
        in_force = self._build({channel: Stored(version, b"", contents)})
        if in_force is None or channel not in in_force.versions:
            return False
        if channel == in_force.settings.channels.get(RULEBOOK):
            tests = engine.self_test(in_force)
            log.info(
                "rulebook version %d: %d tests pass, results %s", version, tests.count, tests.results_sha256
            )
        self.on_interval(in_force.settings.sync_interval_s)
        ask = NewInForce(channel, version, manifest_sha256, in_force)
        self._inbox.post(ask)
        return ask.reply.result(DESK_TIMEOUT_S)

    def _build(self, fresh: dict[str, Stored]) -> InForce | None:
        """Everything in force, with the versions in `fresh` instead of the stored ones. None: no settings."""
        settings = fresh.get(self._settings_channel) or self._in_force(self._settings_channel)
        if settings is None:
            return None
        content = settings.files["settings.json"]
        channels = settings_files.parse(content).channels
        stored: dict[str, Stored] = {self._settings_channel: settings}
        for kind in (RULEBOOK, CATALOG):
            name = channels.get(kind)
            found = (fresh.get(name) or self._in_force(name)) if name else None
            if name is not None and found is not None:
                stored[name] = found
        rules, goods = (stored.get(channels.get(kind, "")) for kind in (RULEBOOK, CATALOG))
        in_force = engine.build(
            content,
            rules.files["rulebook.json"] if rules else None,
            goods.files["catalog.json"] if goods else None,
            versions={name: version.version for name, version in stored.items()},
        )
        put_aside()
        return in_force

    def _in_force(self, channel: str) -> Stored | None:
        return self._shelf.stored(channel, self._shelf.version(channel))


@dataclass(slots=True)
class OutsideWorld:
    """agent.till.Outside, made of the threads around the till."""

    sync: SyncThread | None = None
    lookups: LookupThread | None = None
    bell: BellThread | None = None
    hub: HubThread | None = None
    shelf: SnapshotDb | None = None
    printer: POSPrinter | None = None
    display: LineDisplay | None = None
    lay_out: Callable[[Shown], Rows] | None = None
    printer_columns: int | None = None
    compile_past: Callable[[PastRules], None] | None = None
    feed: Feed | None = None

    def wake_sync(self, *, force: bool = False, done: Callable[[], None] | None = None) -> None:
        """There is something to send."""
        if self.sync is not None:
            self.sync.wake(force=force, done=done)

    def lookup(self, card_key: int) -> None:
        """Ask the centre whose card this is."""
        if self.lookups is not None:
            self.lookups.ask(card_key)

    def claim(self, request: ClaimRequest) -> None:
        """Ask the centre for points."""
        if self.lookups is not None:
            self.lookups.claim(request)

    def receipt(self, ref: str) -> None:
        """Ask for a receipt that another till made."""
        if self.lookups is not None:
            self.lookups.receipt(ref)

    def past_rules(self, asked: PastRules) -> None:
        """Compile rules of former days; a thread of its own for as long as that takes."""
        if self.compile_past is not None:
            threading.Thread(target=self.compile_past, args=(asked,), name="past rules", daemon=True).start()

    def ask_hub(self, hub: HubPlace, request: HandoverRequest) -> None:
        """Ask the store's hub for points."""
        if self.hub is not None:
            self.hub.ask(hub, request)

    def ask_hub_for_receipt(self, hub: HubPlace, request: HubReceiptRequest) -> None:
        """Ask the store's hub for a sale of its own."""
        if self.hub is not None:
            self.hub.ask(hub, request)

    def learn(self, card_key: int, member: Member) -> None:
        """snapshot.db has one writer, the sync thread."""
        if self.sync is not None and self.shelf is not None:
            self.sync.run(partial(self.shelf.learn, card_key, member, now_s()))

    def open_drawer(self, act_id: str) -> None:
        """Open the drawer that hangs on our printer."""
        if self.printer is not None:
            self.printer.open_drawer(act_id)

    def show(self, shown: Shown) -> None:
        """Let the customer read this."""
        if self.display is not None and self.lay_out is not None:
            self.display.show(self.lay_out(shown))

    def tell(self, event: str, data: dict[str, Any]) -> None:
        """Whoever listens hears of it."""
        if self.feed is not None:
            self.feed.publish(event, data)

    def print_slip(self, job_id: str, document: Document) -> None:
        """Print on our own printer."""
        if self.printer is not None:
            self.printer.submit(job_id, document)


def compile_past(inbox: Inbox, snapshot: Path, asked: PastRules) -> None:
    """Read and compile what a receipt was priced by. The top of its thread: it always says how it ended."""
    compiled: Compiled | None = None
    try:
        versions = Versions.open(snapshot)
        try:
            compiled = engine.past(versions, asked)
        finally:
            versions.close()
    except (Refused, FileError, sqlite3.Error) as error:
        log.error(
            "rules %d with goods %d cannot be used: %s", asked.rulebook_seq, asked.catalog_version, error
        )
    except Exception:
        log.exception("rules of former days could not be compiled")
    inbox.post(PastRulesReady(asked, compiled))


def run(config: Config) -> int:
    """The daemon: until SIGTERM or SIGINT. Returns the exit code."""
    _no_core_dumps()
    _travel_light()
    sys.setswitchinterval(SWITCH_S)
    state = StateDir(Path(config.state_dir))
    state.make()
    ledger = LedgerDb(state.ledger)
    try:
        identity = ledger.identity()
        if identity is None:
            raise LedgerFault(NOT_ENROLLED)
        _run(config, state, ledger, identity)
    finally:
        ledger.close()
    return 0


def _run(config: Config, state: StateDir, ledger: LedgerDb, identity: Identity) -> None:
    inbox = Inbox()
    stopping = Stopping()
    sorter = Sorter()
    scanners = _scanners(config, state, inbox, sorter)
    scanners.start()

    shelf = SnapshotDb(state.snapshot)
    versions = Reader.open(state.ledger)  # the sync thread's
    shelf.named = versions.priced_by
    members = Members.open(state.snapshot)
    programme = Programme(inbox, shelf, identity.store)
    in_force = programme.at_start(ledger)
    interval_s = in_force.settings.sync_interval_s if in_force else FIRST_INTERVAL_S
    outside = OutsideWorld(shelf=shelf, compile_past=partial(compile_past, inbox, state.snapshot))
    _display(config, inbox, outside)  # before the till: what it shows first is the welcome
    till = Till(
        identity=identity,
        chain_key=state.chain_key(),
        ledger_db=ledger,
        members=members,
        in_force=in_force,
        inbox=inbox,
        outside=outside,
        wall_s=now_s,
        monotonic_ms=monotonic_ms,
        language=config.language,
        version=__version__,
        screen=Screen(config.screen.mode, config.language),
        has_drawer=config.printer is not None and config.printer.drawer,
    )
    sorter.till = till
    _printer(config, state, inbox, outside)
    scanners.also = [each.look_again for each in (outside.printer, outside.display) if each is not None]
    applied = Reader.open(state.ledger)  # the bell's
    _links(state, identity, inbox, outside, programme, versions, applied, interval_s)
    hub = _hub(config, state, identity, inbox, till)

    server = _api(config, state, inbox, outside)
    state.save_port(server.port)
    state.give_to_cash_programs()  # the last thing that can fail; from here on threads use the files
    loop = threading.Thread(target=_loop, args=(till,), name="till", daemon=True)
    loop.start()
    server.start()
    assert outside.sync is not None
    assert outside.lookups is not None
    assert outside.bell is not None
    assert outside.hub is not None
    outside.sync.start()
    outside.lookups.start()
    outside.bell.start()
    outside.hub.start()
    if hub is not None:
        hub.start()
    _give_back()
    log.info("till %s is open; API on %s:%d", identity.till, config.api.host, server.port)
    _notify(b"READY=1")

    stopping.wait()
    log.info("stopping")
    _notify(b"STOPPING=1")
    outside.bell.stop()
    server.stop()
    if hub is not None:
        hub.stop()
    scanners.stop()
    outside.sync.stop(STOP_TIMEOUT_S)
    outside.lookups.stop(STOP_TIMEOUT_S)
    outside.hub.stop(STOP_TIMEOUT_S)
    if outside.printer is not None:
        outside.printer.stop()
    if outside.display is not None:
        outside.display.stop()
    inbox.post(Stop())
    loop.join()
    versions.close()
    applied.close()
    members.close()
    shelf.close()


def _loop(till: Till) -> None:
    try:
        till.run()
    except Exception:
        # A till whose loop is in doubt must not go on; systemd starts it anew from what is on disk.
        log.exception("the till's loop died; the agent ends and is started anew")
        _notify(b"STATUS=the till's loop died")
        os._exit(70)


def _scanners(config: Config, state: StateDir, inbox: Inbox, sorter: Sorter) -> Scanners:
    from agent.drivers.scanner import Mode, Options
    from agent.drivers.scanners import Scanners, Setting

    def options(item: ScannerConfig) -> Options:
        mode = item.mode or ("own" if config.screen.mode == "stand_alone" else "forward")
        way_on = Path(item.forward_to) if item.forward_to else state.runtime / "scanners" / item.name
        return Options(
            mode=cast(Mode, mode),
            silence_ms=item.silence_ms,
            repeat_ms=item.repeat_ms,
            takes_typing=item.takes_typing,
            forward_to=way_on if item.forward_to or item.url.startswith("serial:") else None,
        )

    settings = [Setting(item.name, item.url, options(item)) for item in config.scanners]
    return Scanners(settings, inbox.post, sorter.keeps)


def _printer(config: Config, state: StateDir, inbox: Inbox, outside: OutsideWorld) -> None:
    if config.printer is None:
        return
    from agent.drivers.pos_printer import EscPosPrinter

    profile = config.printer.profile()
    outside.printer = EscPosPrinter(
        "printer",
        config.printer.url,
        inbox.post,
        spool=state.path / "spool.db",
        profile=profile,
        deadline_ms=config.printer.answer_timeout_ms,
    )
    outside.printer_columns = profile.columns
    outside.printer.start()


def _display(config: Config, inbox: Inbox, outside: OutsideWorld) -> None:
    if config.display is None:
        return
    from agent.drivers.line_display import LineDisplayThread

    profile = config.display.profile()
    say = translator(config.language)
    outside.lay_out = lambda shown: rows(shown, say, profile.letters)
    outside.display = LineDisplayThread(
        "display", config.display.url, inbox.post, profile=profile, at_stop=outside.lay_out(Closed())
    )
    outside.display.start()


def _links(
    state: StateDir,
    identity: Identity,
    inbox: Inbox,
    outside: OutsideWorld,
    programme: Programme,
    versions: Reader,
    applied: Reader,
    interval_s: int,
) -> None:
    """The threads that speak with the centre and the hub (they start later, when the till's loop runs)."""
    from agent.sync import trust
    from agent.sync.bell import BellThread
    from agent.sync.channels import Channels
    from agent.sync.client import Centre, LookupThread, SyncThread
    from agent.sync.hub_client import HubThread
    from agent.sync.machine import SyncMachine

    assert outside.shelf is not None
    channels = Channels(
        keys=identity.channel_keys,
        shelf=outside.shelf,
        highest=versions.channel_version,
        activate=programme.activate,
        alarm=lambda channel, word, detail: inbox.post(ChannelAlarm(channel, word, detail)),
        now_s=now_s,
    )
    machine = SyncMachine(
        identity.till,
        sign=partial(trust.sign, state.private_key()),
        is_ours=partial(trust.reply_is_ours, identity.reply_key, identity.till),
        interval_s=interval_s,
        is_restored=partial(trust.restored_is_ours, identity.reply_key, identity.till),
    )

    def claimed(request: ClaimRequest, reply: ClaimReply | None, refused: bool) -> None:
        ours = reply is not None and trust.claim_is_ours(identity.reply_key, identity.till, request, reply)
        inbox.post(Claimed(request, reply if ours else None, refused or (reply is not None and not ours)))

    def found(ref: str, reply: ReceiptReply | None, refused: str | None) -> None:
        ours = reply is not None and trust.receipt_is_ours(identity.reply_key, identity.till, ref, reply)
        inbox.post(ReceiptFound(ref, reply if ours else None, refused))

    programme.on_interval = partial(setattr, machine, "interval_s")

    def link_is_back() -> None:
        if outside.bell is not None:
            outside.bell.link_is_back()

    desk = Desk(inbox, link_is_back)
    sync = SyncThread(Centre(identity.server_url, identity.till), machine, desk, channels.fetch)
    outside.sync = sync
    outside.lookups = LookupThread(
        Centre(identity.server_url, identity.till),
        session=lambda: sync.session,
        answered=lambda card_key, member: inbox.post(LookedUp(card_key, member)),
        failed=lambda card_key: inbox.post(LookupFailed(card_key)),
        claimed=claimed,
        found=found,
    )
    outside.bell = BellThread(
        Centre(identity.server_url, identity.till),
        session=lambda: sync.session,
        heard=lambda: heard.heard_in_all(applied),
        wake=lambda done: sync.wake(force=True, done=done),
    )
    outside.hub = HubThread(
        sign=partial(trust.sign, state.private_key()),
        answered=lambda request, reply: inbox.post(HandedOver(request, reply)),
        found=lambda request, reply: inbox.post(HubReceiptFound(request, reply)),
    )


def _api(config: Config, state: StateDir, inbox: Inbox, outside: OutsideWorld) -> HttpServer:
    """What cash programs and the page ask; starlette and uvicorn load after the scanners are read."""
    from agent.api import Api, ApiServer
    from agent.feed import Feed

    outside.feed = Feed()
    api = Api(inbox, state.token(), feed=outside.feed, version=__version__)
    return ApiServer(api, config.api.host, config.api.port, config.api.socket_path)


def _hub(config: Config, state: StateDir, identity: Identity, inbox: Inbox, till: Till) -> HttpServer | None:
    """What the other tills of the shop ask, where the box's file says where to listen.

    An address that cannot be had is a trouble for people; the till sells without it.
    """
    if config.hub is None:
        return None
    from agent.serving import HttpServer
    from agent.sync import hub, trust

    def hand_over(request: HandoverRequest) -> Future[bytes]:
        ask = HandoverAsked(request)
        inbox.post(ask)
        return ask.reply

    def find_receipt(request: HubReceiptRequest) -> Future[HubReceiptReply | None]:
        ask = HubReceiptAsked(request)
        inbox.post(ask)
        return ask.reply

    door = hub.Door(identity.till, lambda: till.settings, partial(trust.sign, state.private_key()))
    app = hub.app(door, hand_over, find_receipt, time.monotonic)
    try:
        return HttpServer(app, config.hub.host, config.hub.port, "hub", hub.CONNECTIONS_MAX)
    except OSError as error:
        text = N_(
            "the hub cannot listen on {listen} ({why}): the shop's other tills get no points from here;"
            " set hub.listen right and start the agent again",
            listen=config.hub.listen,
            why=error.strerror or error,
        )
        log.error("%s", text)
        till.alert("hub", text)
        return None


def _no_core_dumps() -> None:
    """A core file could hold a track of a card that was just swiped."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    with suppress(OSError, ValueError):  # the hardened unit forbids the call, and sets LimitCORE=0 itself
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _travel_light() -> None:
    """requests brings a library to guess how a text is encoded; our answers are bytes. 2.6 MB less."""
    sys.modules.setdefault("charset_normalizer", None)  # type: ignore[arg-type]  # "not installed"
    warnings.filterwarnings("ignore", "Unable to find acceptable character detection dependency")


def _give_back() -> None:
    """What loading the rules and goods needed for a moment goes back to the system (glibc keeps it)."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _notify(message: bytes) -> None:
    """systemd's readiness protocol, if systemd started us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    import socket

    # Whoever started us may have stopped listening: that is no reason to stop selling.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(message, address.replace("@", "\0", 1))
