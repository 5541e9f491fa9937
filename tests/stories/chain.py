"""Real tills, the real office and real messages between them, in one process and without threads.

A till is tests/sim/till.py: agent.till.Till with its files, its cards and its half of the protocol;
here it also fetches the signed channels, prints, asks the hub of its store and takes goods back. The
office is tests/sim/centre.py: the Django application on its SQLite file. What threads and sockets do
in a shop is done here one thing at a time, so a story says itself when an answer is lost, when a till
has its link and what time it is. tests/e2e tells the same with processes; there no month can pass.

Money and points are hundredths, as everywhere.
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from agent.cards import FRESH_S, QUOTE_WAIT_MS
from agent.drivers.contracts import OutputComplete, ScanData
from agent.drivers.document import Document, document_lines
from agent.inbox import (
    Ask,
    ChannelAlarm,
    CommitBody,
    CommitSale,
    GetSale,
    ListHeld,
    PastRulesReady,
    Problem,
    PutSale,
    ReturnBody,
    ReturnGoods,
    SaleBody,
    StatusAsked,
    VoidBody,
    VoidSale,
)
from agent.main import Programme
from agent.offline import engine
from agent.offline.engine import InForce, PastRules
from agent.offline.snapshot_db import Versions
from agent.sync.channels import Channels
from agent.sync.client import LinkError
from agent.texts import both
from central.fleet import enrolment
from central.intake.models import InboxEntry, Incident
from central.ledger.models import Balance, LedgerEntry, Share
from central.members import directory, importing
from central.members.models import Account
from central.rules import publishing
from loyalty import ledger, wire
from loyalty.document import SaleDocument, parse
from loyalty.ledger import Entry
from loyalty.manifest import CATALOG, MAIN_FILE, RULEBOOK
from tests.sim.centre import SimCentre, scratch
from tests.sim.till import Outside as SimOutside
from tests.sim.till import SimTill, converted, new_key

START_MS = 1_767_261_600_000  # 2026-01-01 10:00:00 UTC, 13:00 in Moscow
MINUTE_S, DAY_S = 60, 86_400
COLUMNS = 48
ANNA, BORIS, VERA = "2900000000001", "2900000000018", "2900000000025"

PAY = {"id": "pay", "stage": "redeem", "effect": {"type": "redeem", "max_bp": 5000, "step": 1}}
EARN = {
    "id": "earn",
    "title": "5 % баллами",
    "stage": "earn",
    "effect": {"type": "earn_percent", "bp": 500, "unit": 1},
}
GOODS = {
    "format": 1,
    "currency": "RUB",
    "categories": {},
    "skus": {"tea": {"name": "Чай", "unit": "шт", "barcodes": [], "codes": []}},
}


def rulebook(seq: int, *rules: dict[str, Any]) -> dict[str, Any]:
    """A rulebook of these rules."""
    return {"format": 1, "semantics": 1, "id": "programme", "seq": seq, "rules": list(rules)}


def tea(price: int = 1_000_00, pieces: int = 1) -> list[dict[str, Any]]:
    """A cart of tea."""
    return [{"id": "1", "sku": "tea", "price": price, "quantity": pieces * 1000}]


@dataclass
class Message:
    """A question to the office on its way."""

    till: StoryTill
    what: str  # the last word of its path
    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    answered: Callable[[int | None, bytes], None]


class Chain:
    """The office, its shops, and the time of them all (`ms`)."""

    def __init__(self) -> None:
        self.directory = scratch()
        self.ms = START_MS
        self.tills: dict[str, StoryTill] = {}
        self.lose_answers: dict[str, int] = {}  # of "sync", "claim", "lookup": so many are lost on the way
        self.said: list[Message] = []  # everything that reached the office
        self._network: deque[Message] = deque()
        self._later: deque[Callable[[], None]] = deque()  # answers of hubs
        self.centre = SimCentre(lambda: self.ms)
        self.centre.store("S1")
        self.publish(rulebook(1, PAY, EARN))
        publishing.publish(publishing.CATALOG_CHANNEL, {MAIN_FILE[CATALOG]: _json(GOODS)})

    def close(self) -> None:
        """Switch everything off."""
        for till in self.tills.values():
            if till.is_up:
                till.stop()
        self.centre.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def pass_s(self, seconds: int) -> None:
        """Time goes by, everywhere."""
        self.ms += seconds * 1000
        for till in self.tills.values():
            if till.is_up:
                till.handle_timers()

    # ---- the office

    def member(self, number: str, points: int = 0, *, home: str | None = "S1", expires: str = "") -> None:
        """The office gets to know a customer, with points from before; `expires` = their last day."""
        row = f"{number},{points // 100}.{points % 100:02},{expires}"
        importing.import_members(f"number,points,expires\n{row}\n".encode(), home)

    def publish(self, rules: dict[str, Any]) -> None:
        """The office has other rules from now on; tills hear of them when they sync."""
        publishing.publish(
            publishing.RULEBOOK_CHANNEL, {MAIN_FILE[RULEBOOK]: _json(rules)}, content_seq=rules["seq"]
        )

    def till(self, store: str = "S1") -> StoryTill:
        """A new till, enrolled; it has synced once and has its rules."""
        name = f"T{len(self.tills) + 1}"
        key, public = new_key(name.encode().ljust(32, b"."))
        told = enrolment.enrol(
            wire.EnrollRequest(wire.WIRE_VERSION, self.centre.code(store, name), public, "story")
        )
        directory = self.directory / name
        directory.mkdir()
        made = StoryTill(name, told, key, directory, None, lambda: self.ms, self.send, self.over_the_lan)
        made.chain = self
        self.tills[name] = made
        made.go_online()
        return made

    def balance(self, number: str) -> int:
        """What the office says that a customer owns."""
        row = self.totals(number)
        return row.held + row.debt

    def totals(self, number: str) -> Balance:
        """The office's sums of a customer."""
        return Balance.objects.get(account=self.account(number))

    def account(self, number: str) -> int:
        """Whose card it is."""
        account = directory.by_number(number)
        assert account is not None
        return account.account

    def customers(self) -> int:
        """How many there are, as far as the office knows."""
        return Account.objects.filter(merged_into=None).count()

    def entries(self, number: str, kind: str) -> list[Entry]:
        """What the office's ledger has of a customer, of one kind."""
        rows = LedgerEntry.objects.filter(account=self.account(number), kind=kind).order_by("at_s", "seq")
        return [ledger.parse(bytes(row.body)) for row in rows]

    def incidents(self) -> set[str]:
        """What a person in the office should look at."""
        return set(Incident.objects.values_list("code", flat=True))

    def waiting(self) -> int:
        """Entries that have come and are not in the books yet."""
        return InboxEntry.objects.filter(applied=False).count()

    # ---- the link

    def send(
        self,
        till: SimTill,
        method: str,
        path: str,
        request: msgspec.Struct | None,
        session: str,
        answered: Callable[[int | None, bytes], None],
    ) -> None:
        """A till asks the office; `deliver` brings it there."""
        assert isinstance(till, StoryTill)
        body = wire.pack(request) if request is not None else b""
        headers = {"Authorization": f"Kopilka {till.till_id}:{session}"}
        what = path.partition("?")[0].strip("/").rpartition("/")[2]
        path = path if path.startswith("/") else f"/v1/tills/{till.till_id}/{path}"
        self._network.append(Message(till, what, method, path, body, headers, answered))

    def over_the_lan(
        self, till: SimTill, hub: str, path: str, body: bytes, answered: Callable[[bytes | None], None]
    ) -> None:
        """A till asks the hub of its store, which may be dark."""
        other = self.tills[hub]
        self._later.append(partial(answered, other.answer_the_lan(path, body) if other.is_up else None))

    def deliver(self) -> bool:
        """Bring one message to where it goes, and its answer back. Was there any?"""
        if self._later:
            self._later.popleft()()
            return True
        if not self._network:
            return False
        message = self._network.popleft()
        if not message.till.cable or not self.centre.is_up:
            message.answered(None, b"")
            return True
        status, body = self.ask(message)
        if self.lose_answers.get(message.what, 0) > 0:
            self.lose_answers[message.what] -= 1
            message.answered(None, b"")
        else:
            message.answered(status, body)
        return True

    def ask(self, message: Message) -> tuple[int, bytes]:
        """What the office answers to a message, be it for the first time or not."""
        self.said.append(message)
        return self.centre.ask(message.method, message.path, message.body, message.headers)

    def deliver_all(self) -> None:
        """Until nothing is on its way."""
        while self.deliver():
            pass

    # ---- the end of every story

    def agrees(self, *, odd: frozenset[str] = frozenset(), **balances: int) -> None:
        """Everybody syncs; then each till and the office say the same of each customer, to the hundredth.

        Customers by their first name. What each till holds is what the office thinks it holds; every log
        is whole, nothing waits, and nobody needs to look at anything but what is `odd`.
        """
        for _ in range(2):  # what one has given back, another may be granted
            for till in self.tills.values():
                assert till.go_online() is None, till.name
        assert self.waiting() == 0
        assert self.incidents() == odd
        self.pass_s(FRESH_S + 1)
        for name, points in balances.items():
            number = {"anna": ANNA, "boris": BORIS, "vera": VERA}[name]
            assert self.balance(number) == points, name
            for till in self.tills.values():
                till.show(number)
                assert till.show(number)["balance"] == points, (till.name, name)
        for till in self.tills.values():
            till.go_online()
        for till in self.tills.values():
            till.sync_all()
            till.ledger.verify(till.till_id)
            life = ledger.life(till.till_id, till.uplink().epoch)
            shares = Share.objects.filter(holder=life, points__gt=0).values_list("account", "lot", "points")
            assert set(shares) == till.parcels(), till.name


class _AtOnce:
    """An inbox that is emptied as soon as something is in it."""

    def __init__(self, till: StoryTill) -> None:
        self.post = till.handle


class _Link:
    """The two questions by which channels are fetched (agent.sync.client.Centre)."""

    def __init__(self, till: StoryTill) -> None:
        self._till = till

    def manifest(self, channel: str, session: str) -> wire.ManifestReply:
        """The newest manifest of a channel."""
        return wire.unpack(wire.ManifestReply, self._get(f"/v1/channels/{channel}/manifest"))

    def file(self, sha256: str, size: int, session: str) -> bytes:
        """A file by its hash."""
        return self._get(f"/v1/files/{sha256}")

    def _get(self, path: str) -> bytes:
        till, chain = self._till, self._till.chain
        if not till.cable:
            raise LinkError("the cable is out")
        headers = {"Authorization": f"Kopilka {till.till_id}:{till.session}"}
        status, body = chain.centre.ask("GET", path, b"", headers)
        assert status == 200, (path, body)
        return body


class Outside(SimOutside):
    """Whom a till of a story asks; what it prints is kept."""

    printer_columns = COLUMNS

    def __init__(self, till: StoryTill) -> None:
        super().__init__(till)
        self._of = till

    def tell(self, event: str, data: dict[str, Any]) -> None:
        """Nobody listens."""

    def print_slip(self, job_id: str, document: Document) -> None:
        self._of.slips.append("\n".join(document_lines(document, COLUMNS)))
        self._of.later.append(OutputComplete("printer", job_id))

    def past_rules(self, asked: PastRules) -> None:
        versions = Versions.open(self._of.directory / "snapshot.db")
        try:
            self._of.later.append(PastRulesReady(asked, engine.past(versions, asked)))
        finally:
            versions.close()


@dataclass(eq=False)
class StoryTill(SimTill):
    """A till with a printer, rules that come from the office, and verbs for what people do at it."""

    slips: list[str] = field(default_factory=list)
    chain: Chain = field(init=False)

    # ---- what main.py puts together

    def rules_at_start(self) -> InForce | None:
        self.programme = Programme(_AtOnce(self), self.shelf, self.enrolment.store)  # type: ignore[arg-type]
        return self.programme.at_start(self.ledger)

    def outside(self) -> Outside:
        return Outside(self)

    def fetch(self, channels: dict[str, int]) -> None:
        Channels(
            keys=self.enrolment.channel_keys,
            shelf=self.shelf,
            highest=self.ledger.channel_version,
            activate=self.programme.activate,
            alarm=lambda channel, word, detail: self.handle(ChannelAlarm(channel, word, detail)),
            now_s=self.wall_s,
        ).fetch(_Link(self), channels, self.session)  # type: ignore[arg-type]

    # ---- the link

    def go_online(self) -> str | None:
        """Plug the cable in and sync until all is said and heard. The word for what is wrong, or None."""
        self.cable = True
        return self.sync_all()

    def go_offline(self) -> None:
        """Pull the cable out; the till notices."""
        self.cable = False
        self.sync_all()

    def sync_all(self) -> str | None:
        """Sync until nothing is left. The word for what is wrong with the link, or None."""
        self.sync()
        self.chain.deliver_all()
        word: str | None = self.status()["link"]["word"]
        return word

    def restart(self) -> None:
        """The power fails, and comes back; then the till syncs, as it does at every start."""
        self.stop()
        self.start()
        self.sync_all()

    # ---- people

    def quote(
        self,
        sale_id: str,
        lines: list[dict[str, Any]] | None = None,
        **cart: Any,
    ) -> dict[str, Any]:
        """The cart of a sale, priced."""
        body = {"lines": tea() if lines is None else lines, **cart}
        return self._answered(PutSale(sale_id, converted(body, SaleBody)))

    def pay(self, sale_id: str, quoted: dict[str, Any], **more: Any) -> dict[str, Any]:
        """What the quote says is paid in cash."""
        tenders = [{"type": "cash", "amount": quoted["quote"]["pay"]}]
        body = {"quote_id": quoted["quote_id"], "tenders": tenders, **more}
        return self._answered(CommitSale(sale_id, converted(body, CommitBody)))

    def sell(self, sale_id: str, lines: list[dict[str, Any]] | None = None, **cart: Any) -> dict[str, Any]:
        """Both."""
        return self.pay(sale_id, self.quote(sale_id, lines, **cart))

    def void(self, sale_id: str, reason: str = "передумала") -> dict[str, Any]:
        """Give a sale up."""
        return self._answered(VoidSale(sale_id, VoidBody(reason)))

    def take_back(self, return_id: str, lines: dict[str, int], **sale: Any) -> dict[str, Any]:
        """Goods come back: line -> thousandths."""
        body = {"return_id": return_id, "lines": lines, **sale}
        return self._answered(ReturnGoods(converted(body, ReturnBody)))

    def scan(self, number: str) -> None:
        """A card under the scanner."""
        self.handle(ScanData("scanner", number, "barcode", self.chain.ms))
        self.chain.deliver_all()

    def show(self, number: str) -> dict[str, Any]:
        """What the cashier sees when a card is shown and nothing is bought."""
        customer: dict[str, Any] = self.quote("show", card=number)["customer"]
        self.void("show")
        return customer

    def sale(self, sale_id: str) -> dict[str, Any]:
        """How a sale stands."""
        return self._answered(GetSale(sale_id))

    def held(self) -> list[dict[str, Any]]:
        """Quotes that hold points."""
        found: list[dict[str, Any]] = self._answered(ListHeld())["sales"]
        return found

    def status(self) -> dict[str, Any]:
        """What `kopilka-agent status` says."""
        return self._answered(StatusAsked())

    def troubles(self) -> dict[str, str]:
        """What is wrong, in the cashier's words."""
        return {trouble["code"]: trouble["ru"] for trouble in self.status()["troubles"]}

    def refuses(self, what: Callable[[], object]) -> tuple[str, str]:
        """The word for the program and the text of a refusal."""
        try:
            what()
        except Problem as problem:
            return problem.code, both(problem.text)["ru"]
        raise AssertionError("it was not refused")

    # ---- what lies on its disk

    def log(self, kind: str | None = None) -> list[Entry]:
        """Its entries in order."""
        entries = [entry for entry, _ in reversed(self.ledger.entries(1_000_000))]
        return [entry for entry in entries if kind in (None, entry.kind)]

    def receipt(self, sale_id: str) -> SaleDocument:
        """The receipt of a sale as it was written down."""
        entry = self.ledger.sale_entry(sale_id)
        assert entry is not None
        found = self.ledger.receipt(entry.epoch, entry.seq)
        assert found is not None
        return parse(found.document)

    def points(self, number: str) -> int:
        """Of a customer, that may be spent here."""
        return sum(parcel.points for parcel in self.ledger.parcels(self.chain.account(number)))

    def parcels(self) -> set[tuple[int, str, int]]:
        """Everything that it holds: account, lot, points."""
        found = self.disk.execute("SELECT account, lot, points FROM parcel WHERE points > 0")
        return {(account, lot, points) for account, lot, points in found}

    def _answered(self, ask: Ask) -> dict[str, Any]:
        """Let happen what the answer waits for: the office's word, points on their way, or a second."""
        self.handle(ask)
        while not ask.reply.done():
            if self.chain.deliver():
                continue
            if self.wants_sync and self.cable:
                self.sync()
            else:
                self.chain.ms += QUOTE_WAIT_MS
                self.handle_timers()
        self.chain.deliver_all()
        answer: dict[str, Any] = ask.reply.result(0)
        return answer


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()
