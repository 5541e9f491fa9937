"""A till without threads, for stories: real ledger, engine and cards; an outside that only remembers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from agent import shapes
from agent.drivers.contracts import ScanData, Source
from agent.drivers.document import Document
from agent.inbox import (
    ApplyAsked,
    Ask,
    ChangeBody,
    ChangeSale,
    Claimed,
    CommitBody,
    CommitSale,
    FindBody,
    FindSales,
    GetSale,
    GoodsLookupBody,
    Inbox,
    ListHeld,
    LookedUp,
    LookUpGoods,
    PrintBody,
    PrintSale,
    PutSale,
    ReturnBody,
    ReturnGoods,
    SaleBody,
    ScreenAsked,
    StatusAsked,
    VoidBody,
    VoidSale,
)
from agent.line_display import Shown
from agent.offline import engine
from agent.offline.ledger_db import LedgerDb
from agent.offline.snapshot_db import Members, SnapshotDb
from agent.sync.asking import HubPlace
from agent.sync.machine import Apply
from agent.till import Till
from loyalty import ledger, wire
from loyalty.card import card_key
from loyalty.ledger import Entry, LotTerms, Posting
from loyalty.wire import ClaimRequest, DownItem, EnrollReply, HandoverRequest, HubReceiptRequest, Member

TILL, STORE = "T1", "S1"
CHAIN_KEY = bytes(range(32))
ACCOUNT = 1001
CARD = "2000000000015"
OPENED_S = 1_795_000_000  # 2026-11-18 11:06:40 UTC
LOT = "c:233-1-1-0"
ALL_OF_IT = {"1": 10_000}  # of a sale of ten bottles of milk

SETTINGS = {
    "format": 1,
    "store": {"id": STORE, "name": "Магазин у дома"},
    "offsets": [[0, 180]],
    "channels": {"rulebook": "rulebook.all", "catalog": "catalog.all"},
    "number_templates": [
        {
            "id": "cards",
            "what": "card",
            "media": ["barcode", "track2", "keyed"],
            "prefix": "2000000",
            "length": 13,
            "from": "2000000000000",
            "to": "2000000099999",
            "check": "ean",
        },
        {"id": "flyer", "what": "coupon", "media": ["barcode"], "prefix": "FLYER", "length": 5},
    ],
}
RULEBOOK = {
    "format": 1,
    "semantics": 1,
    "id": "programme",
    "seq": 7,
    "rules": [
        {"id": "milk", "title": "Молоко -10 %", "stage": "line", "items": {"category": ["milk"]},
         "effect": {"type": "percent", "bp": 1000}},
        {"id": "pay", "stage": "redeem", "effect": {"type": "redeem", "max_bp": 5000, "step": 100}},
        {"id": "earn", "stage": "earn", "effect": {"type": "earn_percent", "bp": 500, "delay_days": 14}},
    ],
}  # fmt: skip
CATALOG = {
    "format": 1,
    "currency": "RUB",
    "categories": {"milk": None},
    "skus": {"milk-1": {"name": "Молоко", "unit": "шт", "barcodes": ["4600000000015"], "codes": [],
                        "category": "milk"}},
}  # fmt: skip


class Outside:
    """Remembers what the till asked of the world."""

    def __init__(self, columns: int | None = 48) -> None:
        self.printer_columns = columns
        self.lookups: list[int] = []
        self.claims: list[ClaimRequest] = []
        self.receipts: list[str] = []
        self.hub_receipts: list[HubReceiptRequest] = []
        self.past: list[engine.PastRules] = []
        self.questions: list[HandoverRequest] = []
        self.learned: list[tuple[int, Member]] = []
        self.slips: list[tuple[str, Document]] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.shown: list[Shown] = []
        self.drawer_acts: list[str] = []
        self.woken = 0

    def wake_sync(self, *, force: bool = False, done: Callable[[], None] | None = None) -> None:
        self.woken += 1
        if done is not None:
            done()

    def lookup(self, card_key: int) -> None:
        self.lookups.append(card_key)

    def claim(self, request: ClaimRequest) -> None:
        self.claims.append(request)

    def receipt(self, ref: str) -> None:
        self.receipts.append(ref)

    def past_rules(self, asked: engine.PastRules) -> None:
        self.past.append(asked)

    def ask_hub(self, hub: HubPlace, request: HandoverRequest) -> None:
        self.questions.append(request)

    def ask_hub_for_receipt(self, hub: HubPlace, request: HubReceiptRequest) -> None:
        self.hub_receipts.append(request)

    def learn(self, card_key: int, member: Member) -> None:
        self.learned.append((card_key, member))

    def tell(self, event: str, data: dict[str, Any]) -> None:
        self.told.append((event, data))

    def open_drawer(self, act_id: str) -> None:
        self.drawer_acts.append(act_id)

    def show(self, shown: Shown) -> None:
        self.shown.append(shown)

    def print_slip(self, job_id: str, document: Document) -> None:
        self.slips.append((job_id, document))


class Shop:
    """One till, its files in a directory, and verbs for what happens to it."""

    def __init__(
        self,
        directory: Path,
        *,
        columns: int | None = 48,
        rulebook: Any = RULEBOOK,
        settings: dict[str, Any] | None = None,
        name: str = TILL,
        enrolled: EnrollReply | None = None,
    ) -> None:
        self.directory = directory
        self.name = name
        self.columns = columns
        self.rulebook = rulebook
        self.settings = SETTINGS | (settings or {})
        self.enrolled = enrolled or enrolment(name)
        self.wall_s = OPENED_S
        self.clock_ms = 0
        self.down: list[DownItem] = []
        self.open()

    def open(self) -> None:
        """Switch the till on (again)."""
        self.ledger = LedgerDb(self.directory / "ledger.db")
        if self.ledger.identity() is None:
            self.ledger.enrol(self.enrolled, "http://centre")
        self.snapshot = SnapshotDb(self.directory / "snapshot.db")
        self.members = Members.open(self.directory / "snapshot.db")
        self.outside = Outside(self.columns)
        self.inbox = Inbox()
        identity = self.ledger.identity()
        assert identity is not None
        self.till = Till(
            identity=identity,
            chain_key=self.enrolled.chain_key,
            ledger_db=self.ledger,
            members=self.members,
            in_force=in_force(self.rulebook, self.settings) if self.rulebook else None,
            inbox=self.inbox,
            outside=self.outside,
            wall_s=lambda: self.wall_s,
            monotonic_ms=lambda: self.clock_ms,
            language="ru",
            version="test",
        )

    def close(self) -> None:
        """Close every file."""
        self.members.close()
        self.snapshot.close()
        self.ledger.close()

    def crash(self) -> None:
        """The power fails; the till is switched on again."""
        self.close()
        self.open()

    def time_passes(self, seconds: int) -> None:
        """By every clock. (`wall_s` alone is a box that is set to another time.)"""
        self.wall_s += seconds
        self.clock_ms += seconds * 1000

    # -- the cash program

    def answered(self, ask: Ask, *shapes: type[msgspec.Struct]) -> dict[str, Any]:
        """Ask, and hold the answer against what /openapi.json promises of it."""
        self.till.handle(ask)
        return as_promised(ask.reply.result(0), *shapes)

    def put(self, sale_id: str, **body: Any) -> dict[str, Any]:
        body.setdefault("lines", [milk()])
        ask = PutSale(sale_id, msgspec.convert(body, SaleBody))
        self.till.handle(ask)
        self.nobody_answers_claims()
        return as_promised(ask.reply.result(0), shapes.SaleReply)

    def change(self, sale_id: str, **body: Any) -> dict[str, Any]:
        """What the cashier chooses on the page."""
        return self.answered(ChangeSale(sale_id, msgspec.convert(body, ChangeBody)), shapes.SaleReply)

    def nobody_answers_claims(self) -> None:
        """Nobody answers whoever claimed."""
        while self.outside.claims:
            self.till.handle(Claimed(self.outside.claims.pop(), None))

    def put_later(self, sale_id: str, **body: Any) -> PutSale:
        """A cart whose quote may have to wait; the question with its reply slot."""
        body.setdefault("lines", [milk()])
        ask = PutSale(sale_id, msgspec.convert(body, SaleBody))
        self.till.handle(ask)
        return ask

    def commit(self, sale_id: str, quoted: dict[str, Any], **more: Any) -> dict[str, Any]:
        body = {
            "quote_id": quoted["quote_id"],
            "tenders": [{"type": "cash", "amount": quoted["quote"]["pay"]}],
            **more,
        }
        return self.answered(CommitSale(sale_id, msgspec.convert(body, CommitBody)), shapes.CommitReply)

    def void(self, sale_id: str, reason: str = "покупатель передумал") -> dict[str, Any]:
        return self.answered(VoidSale(sale_id, VoidBody(reason)), shapes.VoidReply)

    def take_back(self, return_id: str, lines: Any = ALL_OF_IT, **body: Any) -> dict[str, Any]:
        """Goods come back, and the answer is there at once."""
        ask = self.take_back_later(return_id, lines, **body)
        return as_promised(ask.reply.result(0), shapes.ReturnReply)

    def take_back_later(self, return_id: str, lines: Any = ALL_OF_IT, **body: Any) -> ReturnGoods:
        """Goods come back; the answer may have to wait for the centre, or for rules of former days."""
        body = {"return_id": return_id, "lines": lines, **body}
        ask = ReturnGoods(msgspec.convert(body, ReturnBody))
        self.till.handle(ask)
        return ask

    def get(self, sale_id: str) -> dict[str, Any]:
        return self.answered(GetSale(sale_id), shapes.SaleReply, shapes.CommitReply, shapes.SoldReply)

    def print_again(self, sale_id: str, print_id: str) -> dict[str, Any]:
        return self.answered(PrintSale(sale_id, PrintBody(print_id)), shapes.PrintReply)

    def held(self) -> list[dict[str, Any]]:
        sales: list[dict[str, Any]] = self.answered(ListHeld(), shapes.HeldReply)["sales"]
        return sales

    def status(self) -> dict[str, Any]:
        return self.answered(StatusAsked(), shapes.StatusReply)

    def screen(self) -> dict[str, Any]:
        """What the cashier's page shows."""
        return self.answered(ScreenAsked(), shapes.ScreenReply)

    def find(self, **known: Any) -> list[dict[str, Any]]:
        """Of which sale were these goods?"""
        ask = FindSales(msgspec.convert(known, FindBody))
        sales: list[dict[str, Any]] = self.answered(ask, shapes.FoundReply)["sales"]
        return sales

    def goods(self, code: str) -> list[dict[str, Any]]:
        """What is this barcode?"""
        found: list[dict[str, Any]] = self.answered(LookUpGoods(GoodsLookupBody(code)), shapes.GoodsFound)[
            "goods"
        ]
        return found

    # -- the centre

    def know(
        self,
        *,
        card: str = CARD,
        balance: int = 100_000,
        tier: str | None = "silver",
        home: str = TILL,
        pending: int = 0,
    ) -> None:
        """The centre has told the till whose card this is, and at which till their points are kept."""
        member = Member(
            ACCOUNT,
            tier=tier,
            balance=balance,
            as_of_ms=self.wall_s * 1000,
            included_seq=self.included(),
            home=home,
            pending=pending,
        )
        self.till.handle(LookedUp(key_of(card), member))

    def included(self) -> int:
        return self.ledger.head(1, self.name)[0]

    def grant(self, points: int, *, lot: str = LOT, expires_at: str | None = None) -> int:
        """The centre places points of a lot at this till; how many messages were new to it."""
        bucket = ledger.bucket(ACCOUNT)
        gseq = sum(1 for item in self.down if item.bucket == bucket) + 1
        terms = LotTerms("2026-01-01T00:00:00", expires_at, "opening")
        entry = Entry(
            till=ledger.centre_writer(bucket),
            epoch=1,
            seq=gseq,
            at_s=self.wall_s,
            kind="GRANT",
            account=ACCOUNT,
            postings=(
                Posting(ledger.FREE, lot, -points),
                Posting(ledger.parcel(self.name), lot, points, terms),
            ),
        )
        body = ledger.canonical(entry)
        prev = self.down[-1].h if self.down else wire.down_genesis(self.name, bucket, 1)
        self.down.append(DownItem(bucket, gseq, body, ledger.link(prev, body)))
        return self.reply()

    def reply(self, *, next_seq: int | None = None) -> int:
        """The centre answers a sync with everything it has for this till."""
        acked = next_seq or self.ledger.uplink().acked_seq + 1
        effect = Apply(1, 1, "session", acked, 0, self.wall_s * 1000, tuple(self.down), b"")
        ask = ApplyAsked(effect)
        self.till.handle(ask)
        return ask.reply.result(0)

    def parcels(self) -> dict[str, int]:
        return {parcel.lot: parcel.points for parcel in self.ledger.parcels(ACCOUNT)}


def enrolment(till: str = TILL) -> EnrollReply:
    return EnrollReply(
        till=till,
        epoch=1,
        store=STORE,
        session="s0",
        timeline=1,
        chain_key=CHAIN_KEY,
        reply_key=bytes(32),
        channel_keys={"k1": bytes(32)},
        keyset_version=1,
        server_ms=0,
    )


def in_force(rulebook: Any = RULEBOOK, settings: Any = SETTINGS) -> engine.InForce:
    return engine.build(
        msgspec.json.encode(settings),
        msgspec.json.encode(rulebook),
        msgspec.json.encode(CATALOG),
        versions={"settings.S1": 1, "rulebook.all": 4, "catalog.all": 3},
    )


def as_promised(reply: dict[str, Any], *kinds: type[msgspec.Struct]) -> dict[str, Any]:
    """The reply, if it has the fields, and the types, of one of these shapes and no others."""
    faults = []
    for kind in kinds:
        try:
            msgspec.convert(reply, kind)
        except msgspec.ValidationError as error:
            faults.append(f"{kind.__name__}: {error}")
        else:
            return reply
    raise AssertionError("; ".join(faults))


def scan(data: str, source: Source = "barcode") -> ScanData:
    return ScanData("scanner", data, source, 0)


def milk(quantity: int = 10_000, line_id: str = "1") -> dict[str, Any]:
    return {"id": line_id, "barcode": "4600000000015", "price": 10_000, "quantity": quantity}


def key_of(number: str) -> int:
    return card_key(CHAIN_KEY, "card", number)
