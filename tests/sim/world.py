"""A small chain in which everything that can go wrong does: the seeded simulator (ledger-sync.md §9).

One step is one small thing: a cart is quoted, a sale is paid, a message arrives (or not, or twice, or
cut, or long after), a box loses its power, a disk is restored, years pass. Which one, and where, a
seeded `Random` says, and nothing else: no thread, no socket, no clock of this machine. So a seed is a
story that can be told again; after each step the witness (invariants.py) looks at every disk.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.inbox import (
    CommitBody,
    CommitSale,
    NewInForce,
    Problem,
    PutSale,
    ReturnBody,
    ReturnGoods,
    SaleBody,
    VoidBody,
    VoidSale,
)
from agent.offline import engine
from agent.offline.ledger_reader import Reader
from agent.sync import machine
from agent.sync.hub import RECEIPT_PATH
from central import tending
from central.fleet import enrolment, lives, polls
from central.fleet.models import Centre, Store, Till, TillLife
from central.intake.models import InboxEntry
from central.ledger.models import Share
from central.members import merging
from central.rules import publishing, store_settings
from central.rules.models import Programme
from loyalty import ledger, wire
from loyalty import settings as loyalty_settings
from loyalty.check_digits import gtin_ok
from tests.sim.centre import Crash, SimCentre, scratch
from tests.sim.invariants import Box, BrokenError, Witness
from tests.sim.till import SimTill, converted, new_key

START_MS = 1_767_261_600_000  # 2026-01-01 10:00:00 UTC
YEAR_S = 365 * 86_400
STORES = {"S1": ("T1", "T2"), "S2": ("T3",)}
MEMBERS = 5
SETTLING_ROUNDS = 12
SUSPECTS_FOR = 60  # steps that a clone may live before somebody notices

# What a run must have met; one that never happened makes the run worthless.
FAULTS = (
    "request_lost",
    "reply_lost",
    "message_doubled",
    "message_late",
    "message_cut",
    "message_reordered",
    "till_crash",
    "till_crash_inside",
    "centre_crash",
    "centre_crash_inside",
    "till_restored",
    "centre_restored",
    "clone",
    "till_closed",
    "late_entries",
    "hub_asked",
    "hub_answer_lost",
    "recalled",
    "goods_returned",
    "merged",
    "clock_jump",
    "till_disk_full",
    "till_io_error",
    "centre_io_error",
    "cable_cut",
)

RULEBOOK = {
    "format": 1,
    "semantics": 1,
    "id": "programme",
    "seq": 1,
    "rules": [
        {"id": "pay", "stage": "redeem", "effect": {"type": "redeem", "max_bp": 5000, "step": 1}},
        {"id": "now", "stage": "earn", "effect": {"type": "earn_percent", "bp": 500, "ttl_days": 20}},
        {"id": "later", "stage": "earn", "effect": {"type": "earn_percent", "bp": 300, "delay_days": 3}},
    ],
}  # fmt: skip
CATALOG = {"format": 1, "currency": "RUB", "categories": {}, "skus": {"tea": {"name": "Чай", "unit": "шт"}}}


LINE = {"id": "1", "sku": "tea", "price": 10_000, "quantity": 1000}


def card(n: int) -> str:
    """The n-th card's number."""
    stem = f"29{n:010}"
    return next(stem + digit for digit in "0123456789" if gtin_ok(stem + digit))


@dataclass(eq=False)
class Message:
    """A request on its way. `answered(status, body)` is told once; None is no answer."""

    till: SimTill
    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    answered: Callable[[int | None, bytes], None] | None  # None: nobody waits for this copy


@dataclass
class World:
    """See the top of this file. `step` makes one thing happen and has everything looked at."""

    seed: int
    calm: bool = False  # no faults: what must work when nothing goes wrong
    courtesy: int = 0  # K: what a cut-off till may lend an account (hundredths)
    chance: random.Random = field(init=False)
    happened: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    boxes: list[SimTill] = field(default_factory=list)
    graveyard: list[Box] = field(default_factory=list)  # disks that are gone, as they were seen last
    suspects: dict[SimTill, int] = field(default_factory=dict)  # two boxes with one name, since which step
    stolen: list[tuple[SimTill, int]] = field(default_factory=list)
    network: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.ms = START_MS
        self.steps = 0
        self.sales = 0
        self.directory = scratch()
        self.centre = SimCentre(lambda: self.ms)
        polls.open_now, polls.wake = self.listening, self.wake
        Programme.objects.update(courtesy_points=self.courtesy)
        self.retired: list[str] = []
        self.backups: list[tuple[SimTill, Path]] = []
        for store in STORES:
            self.centre.store(store)
        self.witness = Witness(self)
        for store, tills in STORES.items():
            for till_id in tills:
                self._enrol(store, till_id)
        self.cards = [card(n) for n in range(MEMBERS)]
        for n, number in enumerate(self.cards):
            self.centre.member(number, self.chance.randrange(1, 40) * 1000, ["S1", "S2", None][n % 3])

    def close(self) -> None:
        for till in self.boxes:
            if till.is_up:
                till.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    # ------------------------------------------------------------------------------ steps

    def step(self) -> None:
        """One thing happens. Raises BrokenError."""
        self.steps += 1
        names = list(ACTIONS) if not self.calm else [name for name in ACTIONS if name in CALM]
        weights = [ACTIONS[name][0] for name in names]
        (name,) = self.chance.choices(names, weights)
        said = ACTIONS[name][1](self)
        for till in self.boxes:
            if till.is_up:
                self._guard(till, lambda till=till: till.handle_timers())
                self._collect(till)
        self.trace.append(f"{self.steps} {name} {said or ''}".rstrip())
        self.witness.look()

    def settle_down(self) -> None:
        """At the end everything is mended and everybody speaks: then nothing waits any more."""
        self.calm = True
        self.centre.crash_in = self.centre.fails_in = None
        if not self.centre.is_up:
            self.centre.start()
        if self.suspects:
            self._part()
        for till in list(self.boxes):
            till.crash_in, till.fails_in, till.full, till.cable, till.clock_off_s = None, None, False, True, 0
            if not till.is_up:
                till.start()
        for _ in range(SETTLING_ROUNDS):
            self.ms += 700_000  # longer than any back-off
            self.tend()
            for till in self._up():
                till.sync()
                self.witness.look()
            while self.network:
                self.deliver()
                self.witness.look()
        for till in self.boxes:
            pending, _ = Reader(till.disk).pending()
            if pending or till.uplink().restore_id:
                raise BrokenError(f"the end: {till.name} still has {pending} entries to tell")
        if Centre.objects.get().fenced:
            raise BrokenError("the end: everybody has spoken, and the centre is fenced")
        left = InboxEntry.objects.filter(applied=False, quarantined_ms=None).count()
        if left:
            raise BrokenError(f"the end: {left} entries still wait at the centre")

    def digest(self) -> str:
        """Of all that happened and all that was written: equal for equal seeds."""
        written = hashlib.sha256("\n".join(self.trace).encode())
        for till in self.boxes:
            for life, rows in sorted(self.witness.box(till).log.items()):
                written.update(repr(life).encode())
                written.update(ledger.chain(b"", (body for body, _ in rows)))
        return written.hexdigest()[:16]

    def fired(self) -> Counter[str]:
        """Each fault, and how often it happened."""
        found = Counter(self.happened)
        for till in self.boxes:
            found.update(till.fired)
        found["centre_crash_inside"] = self.centre.crashed
        found["centre_io_error"] = self.centre.failed
        return found

    # ---- at the counter

    def _up(self) -> list[SimTill]:
        return [till for till in self.boxes if till.is_up]

    def _some(self) -> SimTill | None:
        up = self._up()
        return self.chance.choice(up) if up else None

    def sell(self) -> str | None:
        till = self._some()
        if till is None:
            return None
        self.sales += 1
        sale_id = f"s{self.sales}"
        number = self.chance.choice([*self.cards, *self.retired, None])
        redeem = self.chance.choice([None, "max", "max", self.chance.randrange(1, 90) * 100])
        redeem = redeem if number else None
        body = {
            "lines": [
                {"id": "1", "sku": "tea", "price": self.chance.randrange(100, 60_000), "quantity": 1000}
            ],
            "card": number,
            "redeem": redeem,
        }
        ask = PutSale(sale_id, converted(body, SaleBody))
        till.asked[sale_id] = ask
        self._guard(till, lambda: till.handle(ask))
        return f"{till.name} {sale_id} card={number and number[-4:]} redeem={redeem}"

    def _collect(self, till: SimTill) -> None:
        """Quotes that were answered meanwhile."""
        for sale_id, ask in list(till.asked.items()):
            if ask.reply.done():
                del till.asked[sale_id]
                if ask.reply.exception() is None:
                    till.open[sale_id] = ask.reply.result(0)

    def pay(self) -> str | None:
        till = self._some()
        if till is None or not till.open:
            return None
        sale_id = self.chance.choice(sorted(till.open))
        quoted = till.open[sale_id]
        body = {
            "quote_id": quoted["quote_id"],
            "tenders": [{"type": "cash", "amount": quoted["quote"]["pay"]}],
        }
        ask = CommitSale(sale_id, converted(body, CommitBody))
        self._guard(till, lambda: till.handle(ask))
        if ask.reply.done():
            error = ask.reply.exception()
            if error is None:
                till.answered[sale_id] = (body, ask.reply.result(0))
                del till.open[sale_id]
            elif isinstance(error, Problem):
                self._judge_refusal(till, sale_id, quoted, error)
        return f"{till.name} {sale_id}"

    def _judge_refusal(self, till: SimTill, sale_id: str, quoted: dict[str, Any], error: Problem) -> None:
        """A commit was refused: a quote that promised points is never forgotten, whatever happened."""
        promised = quoted["quote"]["redeemed"] > 0
        if promised and error.code in ("sale_none", "ledger_fault") and not (till.full or till.troubled):
            raise BrokenError(f"I6: {till.name} does not keep what it promised to {sale_id} ({error.code})")
        if error.status == 409:
            del till.open[sale_id]  # quoted anew, or without points and forgotten

    def pay_again(self) -> str | None:
        """The cash program did not hear the answer, and asks once more."""
        till = self._some()
        if till is None or not till.answered:
            return None
        sale_id = self.chance.choice(sorted(till.answered))
        body, answer = till.answered[sale_id]
        ask = CommitSale(sale_id, converted(body, CommitBody))
        self._guard(till, lambda: till.handle(ask))
        if ask.reply.done() and ask.reply.exception() is None and ask.reply.result(0) != answer:
            raise BrokenError(f"I6: {sale_id} was answered otherwise the second time")
        return f"{till.name} {sale_id}"

    def give_up(self) -> str | None:
        till = self._some()
        if till is None:
            return None
        among = sorted({*till.open, *till.answered})
        if not among:
            return None
        sale_id = self.chance.choice(among)
        ask = VoidSale(sale_id, VoidBody(self.chance.choice(["передумал", "ошибка кассира"])))
        self._guard(till, lambda: till.handle(ask))
        if ask.reply.done() and ask.reply.exception() is None:
            till.open.pop(sale_id, None)
        return f"{till.name} {sale_id}"

    def _guard(self, till: SimTill, act: Callable[[], Any]) -> None:
        """Whatever a till does, its power may fail meanwhile."""
        try:
            act()
        except Crash:
            self.happened["till_crash_inside"] += 1
            till.fired["till_crash"] = till.fired.get("till_crash", 0) + 1
            till.stop()

    # ---- the network

    def send(
        self,
        till: SimTill,
        method: str,
        path: str,
        request: msgspec.Struct | None,
        session: str,
        answered: Callable[[int | None, bytes], None],
    ) -> None:
        """A till says something: it is under way."""
        body = wire.pack(request) if request is not None else b""
        headers = {"Authorization": f"Kopilka {till.till_id}:{session}"}
        if not path.startswith("/"):
            path = f"/v1/tills/{till.till_id}/{path}"
        self.network.append(Message(till, method, path, body, headers, answered))

    def deliver(self) -> str | None:
        if not self.network:
            return None
        n = self.chance.randrange(len(self.network)) if not self.calm else 0
        if n:
            self.happened["message_reordered"] += 1
        message = self.network.pop(n)
        fate = self.chance.random() if not self.calm else 1.0
        if message.method == "LAN":
            self._tell(message, None, b"")
            return f"{message.till.name} asks {message.path}"
        if not message.till.cable or not self.centre.is_up or fate < 0.05:
            self.happened["request_lost" if fate < 0.05 else "no_link"] += 1
            self._tell(message, None, b"")
            return f"lost {message.path}"
        if fate < 0.09:
            self.happened["message_late"] += 1  # a copy wanders about and comes when nobody expects it
            self.network.append(Message(**{**vars(message), "answered": None}))
        if fate < 0.12:
            message.body = message.body[: int(len(message.body) * self.chance.random())]
            self.happened["message_cut"] += 1
        try:
            status, body = self.centre.ask(message.method, message.path, message.body, message.headers)
            if 0.12 <= fate < 0.17:
                self.happened["message_doubled"] += 1
                status, body = self.centre.ask(message.method, message.path, message.body, message.headers)
        except Crash:
            self._tell(message, None, b"")
            return f"the centre went dark over {message.path}"
        if fate > 0.95 and not self.calm:
            self.happened["reply_lost"] += 1
            self._tell(message, None, b"")
            return f"answer lost {message.path}"
        if 0.93 < fate <= 0.95:
            self.happened["message_cut"] += 1
            body = body[: len(body) // 2]
        self._tell(message, status, body)
        return f"{message.till.name} {message.path} {status}"

    def _tell(self, message: Message, status: int | None, body: bytes) -> None:
        if message.answered is not None and message.till.is_up:
            answered = message.answered
            self._guard(message.till, lambda: answered(status, body))

    def sync(self) -> str | None:
        wanting = [till for till in self._up() if till.wants_sync]
        till = self.chance.choice(wanting) if wanting and self.chance.random() < 0.6 else self._some()
        if till is None:
            return None
        self._guard(till, till.sync)
        return till.name

    def over_the_lan(
        self, till: SimTill, hub: str, path: str, body: bytes, answered: Callable[[bytes | None], None]
    ) -> None:
        """A till asks the hub of its shop: the shop's network loses little, but it does."""

        def arrive(_status: int | None, _body: bytes) -> None:
            place = next((box for box in self._up() if box.till_id == hub), None)
            said: list[bytes | None] = []
            if place is not None and place not in self.suspects and self.chance.random() > 0.05:
                for _ in range(1 + (self.chance.random() < 0.1)):
                    self._guard(place, lambda: said.append(place.answer_the_lan(path, body)))
                self.happened["hub_asked"] += 1
            answer = said[-1] if said else None
            self.happened["hub_receipt_shown"] += path == RECEIPT_PATH and answer is not None
            if answer is not None and self.chance.random() < 0.3 and not self.calm:
                self.happened["hub_answer_lost"] += 1
                answer = None
            answered(answer)

        self.network.append(Message(till, "LAN", hub, b"", {}, arrive))

    def listening(self) -> frozenset[str]:
        """Whose long poll stands open."""
        return frozenset(box.till_id for box in self._up() if box.cable and box not in self.suspects)

    def wake(self, till_id: str) -> None:
        """The bell of a long poll."""
        self.happened["recalled"] += 1
        for box in self._up():
            if box.till_id == till_id:
                box.wants_sync = True

    def channels(self) -> str | None:
        """A till fetches the settings of its shop: who is the hub, and whom to believe."""
        till = self._some()
        if till is None or not till.cable or not self.centre.is_up:
            return None
        store = Till.objects.get(id=till.till_id).store_id
        self._bring(till, store)
        return till.name

    def _bring(self, till: SimTill, store: str) -> None:
        channel = publishing.settings_channel(store)
        version = publishing.newest_versions((channel,))[channel]
        if version > till.in_force.versions.get(channel, 0):
            till.in_force = self._in_force(store)
            event = NewInForce(channel, version, "0" * 64, till.in_force)
            self._guard(till, lambda: till.handle(event))

    def _in_force(self, store: str) -> engine.InForce:
        settings = store_settings.in_force(store)
        assert settings is not None
        channel = publishing.settings_channel(store)
        return engine.build(
            loyalty_settings.encode(settings),
            msgspec.json.encode(RULEBOOK),
            msgspec.json.encode(CATALOG),
            versions=publishing.newest_versions((channel,)),
        )

    def goods_back(self) -> str | None:
        """A customer returns a part, at this till or at another, with the slip or without."""
        till = self._some()
        sold_at = self._some()
        if till is None or sold_at is None or not sold_at.answered:
            return None
        sale_id = self.chance.choice(sorted(sold_at.answered))
        _, sold = sold_at.answered[sale_id]
        ident = sold["ident"] if self.chance.random() < 0.9 else "чек 17"
        where = {"sale_id": sale_id} if till is sold_at else {"ref": ident}
        body = {
            "return_id": f"ret{self.steps}",
            "lines": {"1": self.chance.choice([250, 500, 1000])},
            "slip": "lines",
            **where,
        }
        ask = ReturnGoods(converted(body, ReturnBody))
        self._guard(till, lambda: till.handle(ask))
        self.happened["goods_returned"] += 1
        return f"{till.name} {sale_id}"

    def merge_cards(self) -> str | None:
        """The office finds that two cards are one customer's."""
        if not self.centre.is_up or len(self.cards) < 4 or Centre.objects.get().fenced:
            return None
        old, new = self.chance.sample(self.cards, 2)
        merging.merge(old, new)
        self.cards.remove(old)
        self.retired.append(old)
        self.happened["merged"] += 1
        return ""

    def tend(self) -> str | None:
        """The office's clockwork."""
        if not self.centre.is_up:
            return None
        for life in TillLife.objects.filter(resumed_ms=None):
            past = ledger.life(life.till_id, life.epoch)
            self.witness.tainted |= set(Share.objects.filter(holder=past).values_list("lot", flat=True))
        for step in tending.STEPS:
            step()
        return ""

    def cable(self) -> str | None:
        till = self._some()
        if till is None:
            return None
        till.cable = not till.cable
        if not till.cable:
            self.happened["cable_cut"] += 1
        return f"{till.name} {'in' if till.cable else 'out'}"

    # ---- time

    def a_moment(self) -> str:
        self.ms += self.chance.randrange(1, 1500)
        return ""

    def a_while(self) -> str:
        self.ms += self.chance.randrange(60_000, 6 * 3_600_000)
        return ""

    def days(self) -> str:
        self.ms += self.chance.randrange(1, 6) * 86_400_000
        return ""

    def clock_jump(self) -> str | None:
        till = self._some()
        if till is None:
            return None
        till.clock_off_s = self.chance.choice([0, 0, -YEAR_S * 3, YEAR_S * 10, 400, -400])
        self.happened["clock_jump"] += 1
        return f"{till.name} {till.clock_off_s}"

    # ---- power and disks

    def till_crash(self) -> str | None:
        till = self._some()
        if till is None:
            return None
        till.stop()
        self.happened["till_crash"] += 1
        return till.name

    def till_crash_soon(self) -> str | None:
        till = self._some()
        if till is None:
            return None
        till.crash_in = self.chance.randrange(1, 60)
        return till.name

    def till_start(self) -> str | None:
        dark = [till for till in self.boxes if not till.is_up]
        if not dark:
            return None
        till = self.chance.choice(dark)
        till.crash_in = None
        till.start()
        return till.name

    def centre_crash(self) -> str:
        if self.centre.is_up:
            self.centre.is_up = False
            self.happened["centre_crash"] += 1
        return ""

    def centre_crash_soon(self) -> str:
        self.centre.crash_in = self.chance.randrange(1, 120)
        return ""

    def centre_start(self) -> str:
        if not self.centre.is_up:
            self.centre.crash_in = None
            self.centre.start()
        return ""

    def disk_trouble(self) -> str | None:
        till = self._some()
        if till is None:
            return None
        if self.chance.random() < 0.5:
            till.full = not till.full
        else:
            till.fails_in = self.chance.randrange(1, 40)
        self.centre.fails_in = self.chance.choice([None, self.chance.randrange(1, 60)])
        return f"{till.name} full={till.full}"

    def disk_mended(self) -> str:
        """Somebody made room."""
        for till in self.boxes:
            till.full, till.fails_in = False, None
        return ""

    def till_backup(self) -> str | None:
        till = self._some()
        if till is None or till in self.suspects or till.uplink().restore_id is not None:
            return None
        target = self.directory / f"{till.name}.backup"
        till.backup(target)
        self.backups = [(other, file) for other, file in self.backups if other is not till]
        self.backups.append((till, target))
        return till.name

    def till_restore(self) -> str | None:
        """The disk dies; IT puts the backup on a new one."""
        if not self.backups:
            return None
        till, file = self.backups.pop(self.chance.randrange(len(self.backups)))
        if not till.is_up or till in self.suspects or till not in self.boxes:
            return None
        if till.uplink().restore_id is not None or till.crash_in is not None:
            return None
        self.witness.lost(till)
        self.graveyard.append(_copy(self.witness.box(till)))
        till.full, till.fails_in = False, None
        till.restore(file, f"restore-{self.steps}")
        self.witness.restored(till)
        self.happened["till_restored"] += 1
        return till.name

    def centre_backup(self) -> str:
        if self.centre.is_up:
            self.centre.backup()
            self._enrolled_since_backup = False
        return ""

    def centre_restore(self) -> str | None:
        """Its disk dies; the backup is put on a new one."""
        if not self.centre.has_backup or self._enrolled_since_backup:
            return None  # a life begun by a code that the backup does not know: operators enrol it again
        before = self.witness.received()
        self.centre.restore()
        self.witness.forgotten(before)
        self.happened["centre_restored"] += 1
        return str(Centre.objects.get().timeline)

    # ---- operators

    def _enrol(self, store: str, till_id: str) -> SimTill:
        code = self.centre.code(store, till_id)
        key, public = new_key(self.chance.randbytes(32))
        reply = enrolment.enrol(wire.EnrollRequest(wire.WIRE_VERSION, code, public, "sim"))
        directory = self.directory / f"{till_id}-{reply.epoch}-{self.steps}"
        directory.mkdir()
        name = f"{till_id}.{reply.epoch}"
        till = self._box(name, reply, key, directory, self._in_force(store))
        if Store.objects.get(id=store).hub == till_id:
            enrolment.change_store(store, {"hub_url": "http://192.0.2.1:7720"})
        self._enrolled_since_backup = True
        return till

    def _box(
        self,
        name: str,
        reply: wire.EnrollReply,
        key: Ed25519PrivateKey,
        directory: Path,
        in_force: engine.InForce,
    ) -> SimTill:
        box = SimTill(name, reply, key, directory, in_force, lambda: self.ms, self.send, self.over_the_lan)
        self.boxes.append(box)
        return box

    def clone(self) -> str | None:
        """Somebody copies a disk and switches the copy on."""
        till = self._some()
        if till is None or self.suspects or till.uplink().restore_id is not None:
            return None
        directory = self.directory / f"clone-{self.steps}"
        directory.mkdir()
        till.backup(directory / "ledger.db")
        twin = self._box(f"{till.name}'", till.enrolment, till.key, directory, till.in_force)
        self.witness.cloned(till, twin)
        self.suspects = {till: self.steps, twin: self.steps}
        self.happened["clone"] += 1
        return till.name

    def part_clones(self) -> str | None:
        """The office saw FORK, or looked at the shop: the name is closed, and one box enrols anew."""
        if not self.suspects or not self.centre.is_up:
            return None
        if self.steps - min(self.suspects.values()) < SUSPECTS_FOR:
            return None
        return self._part()

    def _part(self) -> str:
        (first, second), self.suspects = self.suspects, {}
        self._bury(first)
        self._bury(second)
        lives.close(first.till_id)
        self._enrol(Till.objects.get(id=first.till_id).store_id, first.till_id)
        return first.till_id

    def close_till(self) -> str | None:
        """A till is stolen; the office closes it and gives the shop a new one. The thief switches it on."""
        till = self._some()
        if till is None or not self.centre.is_up or self.suspects or Centre.objects.get().fenced:
            return None
        row = Till.objects.get(id=till.till_id)
        if row.epoch != till.uplink().epoch or till.uplink().restore_id is not None:
            return None
        self.witness.lost(till)
        lives.close(till.till_id)
        self.boxes.remove(till)
        self.stolen.append((till, self.steps))
        self._enrol(row.store_id, till.till_id)
        self.happened["till_closed"] += 1
        return till.name

    def thief(self) -> str | None:
        """A closed till says what it still has to say."""
        if not self.stolen or not self.centre.is_up:
            return None
        till, _ = self.stolen.pop(0)
        if till.is_up:
            till.stop()
        till.crash_in = None
        till.start()
        self._sells_once_more(till)
        if till.is_up:
            before = len(self.network)
            self._guard(till, lambda: till.play(till.machine.step(machine.Woken())))
            asked = [message for message in self.network[before:] if message.path.endswith("/sync")]
            del self.network[before:]
            if till.is_up:
                self.witness.saw_the_log(till)  # what it sold, and gave back before it spoke
            try:
                for message in asked:
                    status, body = self.centre.ask(
                        message.method, message.path, message.body, message.headers
                    )
                    if status == 200:
                        self.happened["late_entries"] += bool(wire.unpack(wire.SyncReply, body).quarantined)
            except Crash:
                pass
        self.witness.last_words(till)
        self._bury(till)
        return till.name

    def _sells_once_more(self, till: SimTill) -> None:
        ask = PutSale(f"thief{self.steps}", converted({"lines": [LINE], "card": None}, SaleBody))
        self._guard(till, lambda: till.handle(ask))
        if not till.is_up or not ask.reply.done() or ask.reply.exception() is not None:
            return
        quoted = ask.reply.result(0)
        body = {"quote_id": quoted["quote_id"], "tenders": [{"type": "cash", "amount": LINE["price"]}]}
        self._guard(till, lambda: till.handle(CommitSale(ask.sale_id, converted(body, CommitBody))))

    def _bury(self, till: SimTill) -> None:
        if till.is_up:
            till.stop()
        self.graveyard.append(self.witness.box(till))
        self.witness.boxes.pop(till, None)
        if till in self.boxes:
            self.boxes.remove(till)
        self.happened.update(till.fired)

    def resume(self) -> str | None:
        """The office lets what a dead life held come back."""
        if not self.centre.is_up or Centre.objects.get().fenced:
            return None
        life = TillLife.objects.filter(resumed_ms=None).order_by("ended_ms").first()
        if life is None:
            return None
        past = ledger.life(life.till_id, life.epoch)
        self.witness.tainted |= set(Share.objects.filter(holder=past).values_list("lot", flat=True))
        lives.resume(life)
        return past

    def decide_late(self) -> str | None:
        """A controller accepts what came late, or reverses it."""
        if not self.centre.is_up:
            return None
        for life in TillLife.objects.filter(trusted=False):
            if self.chance.random() < 0.5:
                lives.accept_late(life)
            else:
                lives.reverse_late(life)
        return ""


def _copy(box: Box) -> Box:
    copy = Box(epoch=box.epoch)
    copy.log.update({life: list(rows) for life, rows in box.log.items()})
    return copy


ACTIONS: dict[str, tuple[float, Callable[[World], str | None]]] = {
    "sell": (16, World.sell),
    "pay": (12, World.pay),
    "pay_again": (1, World.pay_again),
    "give_up": (2, World.give_up),
    "goods_back": (1.5, World.goods_back),
    "channels": (1.5, World.channels),
    "merge_cards": (0.4, World.merge_cards),
    "tend": (1.5, World.tend),
    "deliver": (40, World.deliver),
    "sync": (12, World.sync),
    "a_moment": (8, World.a_moment),
    "a_while": (3, World.a_while),
    "days": (0.6, World.days),
    "cable": (1.5, World.cable),
    "clock_jump": (0.5, World.clock_jump),
    "till_crash": (0.7, World.till_crash),
    "till_crash_soon": (1.2, World.till_crash_soon),
    "till_start": (4, World.till_start),
    "centre_crash": (0.4, World.centre_crash),
    "centre_crash_soon": (0.8, World.centre_crash_soon),
    "centre_start": (4, World.centre_start),
    "disk_trouble": (1.6, World.disk_trouble),
    "disk_mended": (2.0, World.disk_mended),
    "till_backup": (1.0, World.till_backup),
    "till_restore": (0.7, World.till_restore),
    "centre_backup": (1.2, World.centre_backup),
    "centre_restore": (0.6, World.centre_restore),
    "clone": (0.4, World.clone),
    "part_clones": (2.0, World.part_clones),
    "close_till": (0.6, World.close_till),
    "thief": (1.0, World.thief),
    "resume": (0.3, World.resume),
    "decide_late": (0.3, World.decide_late),
}
CALM = {
    "sell",
    "pay",
    "pay_again",
    "give_up",
    "goods_back",
    "channels",
    "merge_cards",
    "tend",
    "deliver",
    "sync",
    "a_moment",
    "a_while",
    "days",
}
