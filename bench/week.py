"""A week of a till, drawn from one seeded `Random`: real quotes, real documents, real entries.

The idea
--------
What is measured of the ledger must look like a shop, or its figures mean nothing: bytes that
repeat compress well, points that nobody spends cost nothing. So goods have article numbers of six
digits and are bought as goods are, a few often and most seldom; two customers of three show a
card; points earned here are spent here, as soon as there are enough of them. Every sale is priced
by the engine, with what its customer holds at this moment.

Everything is drawn in a fixed order, so anybody can draw the same week again; the bytes of a batch
are the same on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any

from agent import pricing
from agent.offline import engine
from agent.offline.engine import InForce
from agent.offline.records import Parcel, Place
from loyalty import ledger
from loyalty.check_digits import gtin_ok
from loyalty.document import SoldLine, Tender, canonical
from loyalty.ledger import Entry
from loyalty.protocol import moves
from loyalty.sale import Cart, Offer, Paid
from loyalty.wire import Member

Json = dict[str, Any]

SEED = 20260306
SKUS = 10_000
CATEGORIES = 100
MEMBERS = 8_000  # each with a card comes now and then, some days apart
LINES_MEAN = 7
BEGINS_S = 1_772_427_600  # 2026-03-02 08:00 in Moscow, a Monday
DAY_S, DAY_OPEN_S = 86_400, 14 * 3_600
BETWEEN_SALES_S = 17  # 20,000 sales a week
STORE, TILL = "S1", "T1"
OPERATORS = ("Иванова", "Петрова", "Сидоров")

SETTINGS: Json = {
    "format": 1,
    "store": {"id": STORE, "name": "Магазин"},
    "offsets": [[0, 180]],
    "channels": {"rulebook": "rulebook.all", "catalog": "catalog.all"},
}
TEMPLATES: list[Json] = [
    {
        "id": "cards",
        "what": "card",
        "kind": "card",
        "media": ["barcode", "keyed"],
        "prefix": "2000000",
        "length": 13,
        "check": "ean",
    }
]


@dataclass(frozen=True, slots=True)
class Sold:
    """A sale that is paid: what was offered, how it was paid, and when (UTC seconds)."""

    offer: Offer
    paid: Paid
    at_s: int

    def entry(self, place: Place) -> tuple[Entry, bytes]:
        """Its entry and the bytes of its document, as the counter writes them."""
        body = canonical(pricing.sale_document(self.offer, self.paid))
        entry = Entry(
            till=place.till,
            epoch=place.epoch,
            seq=place.seq,
            at_s=self.at_s,
            kind="SALE",
            account=self.offer.customer.account if self.offer.customer else None,
            postings=moves.sale(place.till, place.epoch, place.seq, self.offer.spends, self.offer.earns),
            document_sha256=hashlib.sha256(body).digest(),
            flags=(ledger.FLAG_OFFLINE,),
        )
        return entry, body


def catalog() -> Json:
    """The goods as they are published."""
    rng = Random(SEED)
    numbers = rng.sample(range(100_000, 1_000_000), SKUS)
    return {
        "format": 1,
        "currency": "RUB",
        "categories": {f"c{number}": None for number in range(CATEGORIES)},
        "skus": {
            str(number): {
                "name": f"Товар {number}",
                "unit": "шт",
                "barcodes": [],
                "codes": [],
                "price": _price(rng),
                "category": f"c{rng.randrange(CATEGORIES)}",
                **({"weighed": True} if rng.randrange(8) == 0 else {}),
            }
            for number in numbers
        },
    }


def rulebook() -> Json:
    """Forty promotions, points for up to 30 % of a receipt, 5 % back for half a year."""
    rng = Random(SEED + 1)
    percents: list[Json] = [
        {
            "id": f"percent{number}",
            "stage": "line",
            "items": {"category": [f"c{rng.randrange(CATEGORIES)}"]},
            "effect": {"type": "percent", "bp": rng.randrange(300, 3_000, 100)},
        }
        for number in range(40)
    ]
    pay: Json = {"id": "pay30", "stage": "redeem", "effect": {"type": "redeem", "max_bp": 3_000, "step": 100}}
    earn: Json = {
        "id": "earn5",
        "stage": "earn",
        "effect": {"type": "earn_percent", "bp": 500, "ttl_days": 180},
    }
    return {"format": 1, "semantics": 1, "id": "bench", "seq": 1, "rules": [*percents, pay, earn]}


def card(number: int) -> str:
    """The n-th card of the house, as it is printed."""
    body = f"2000000{number:05}"
    return next(f"{body}{digit}" for digit in range(10) if gtin_ok(f"{body}{digit}"))


def members() -> bytes:
    """All of them, as a file to import: nobody has points yet."""
    return "".join(f"{row}\n" for row in ["number", *map(card, range(MEMBERS))]).encode()


def in_force() -> InForce:
    """All of it compiled, as a till has it."""
    files = [json.dumps(content).encode() for content in (SETTINGS, rulebook(), catalog())]
    versions = {"rulebook.all": 1, "catalog.all": 1}
    return engine.build(*files, versions=versions)


class Week:
    """Sale after sale, each with what its customer holds by then.

    `first_account` is the centre's first; the shop opens for the first time at `begins_s` (UTC).
    """

    def __init__(
        self, programme: InForce, till: str = TILL, first_account: int = 1_001, begins_s: int = BEGINS_S
    ) -> None:
        self._programme = programme
        self._till = till
        self._first_account = first_account
        self._rng = Random(SEED + 2)
        goods = programme.catalog.articles
        self._skus = list(goods)
        # The k-th most wanted goods are bought in proportion to 1 ÷ (k + 20).
        self._wanted = list(accumulate(1 / (rank + 20) for rank in range(len(self._skus))))
        self._lots: dict[int, dict[str, Parcel]] = {}
        self._begins_s = self._at_s = begins_s
        self._count = 0

    def sales(self, count: int, epoch: int = 1, first_seq: int = 1) -> Iterator[Sold]:
        """The next ones, to be written from `first_seq` on: the lots that they earn are spent later on."""
        for seq in range(first_seq, first_seq + count):
            sold = self._sell()
            self._book(sold.offer, epoch, seq)
            yield sold

    def _sell(self) -> Sold:
        rng = self._rng
        self._count += 1
        self._at_s += 1 + int(rng.expovariate(1 / (BETWEEN_SALES_S - 1)))
        if (self._at_s - self._begins_s) % DAY_S >= DAY_OPEN_S:
            self._at_s += DAY_S - DAY_OPEN_S
        account = self._first_account + rng.randrange(MEMBERS) if rng.randrange(3) else None
        cart = Cart(
            lines=self.lines(),
            redeem="max" if account is not None and len(self._lots.get(account, ())) > 1 else None,
            operator=OPERATORS[self._count // 400 % len(OPERATORS)],
        )
        customer = None
        if account is not None:
            parcels = list(self._lots.get(account, {}).values())
            member = Member(account, tier="silver" if account % 4 == 0 else None)
            customer = pricing.Customer(member, parcels, sum(parcel.points for parcel in parcels), 0)
        name = f"K1-{self._count:06}"
        offer = pricing.make_offer(name, self._till, cart, self._at_s, customer, self._programme)
        tender = Tender(rng.choice(("card", "card", "cash")), offer.pay)
        paid_at = self._programme.local(self._at_s + 40).isoformat(timespec="seconds")
        return Sold(
            offer, Paid(offer.quote_id, (tender,), f"{104_500 + self._count}", paid_at), self._at_s + 40
        )

    def lines(self) -> tuple[SoldLine, ...]:
        """A basket: different goods, mostly one piece of each; one in eight is weighed."""
        rng, articles = self._rng, self._programme.catalog.articles
        wanted = 1 + min(60, int(rng.expovariate(1 / (LINES_MEAN - 0.5))))
        skus = dict.fromkeys(rng.choices(self._skus, cum_weights=self._wanted, k=wanted))
        weighed = self._programme.catalog.engine.skus
        return tuple(
            SoldLine(
                str(number),
                sku,
                articles[sku].price_minor or 0,
                rng.randint(150, 2_500) if weighed[sku].weighed else rng.choice((1, 1, 1, 1, 2, 3)) * 1_000,
            )
            for number, sku in enumerate(skus, start=1)
        )

    def _book(self, offer: Offer, epoch: int, seq: int) -> None:
        """What the sale did to the customer's lots."""
        if offer.customer is None:
            return
        lots = self._lots.setdefault(offer.customer.account, {})
        for piece in offer.spends:
            old = lots.pop(piece.lot)
            if old.points > piece.points:
                lots[piece.lot] = Parcel(
                    old.lot, old.points - piece.points, old.active_from, old.expires_at, old.rule
                )
        for n, new in enumerate(offer.earns):
            lot = ledger.lot_id(self._till, epoch, seq, n)
            lots[lot] = Parcel(lot, new.points, new.terms.active_from, new.terms.expires_at, new.terms.rule)


def _price(rng: Random) -> int:
    """Kopecks: from 20 to 1,500 roubles, the cheap ones more often, ending as prices do."""
    roubles = int(20 * 75 ** rng.random())
    return roubles * 100 + rng.choice((0, 90, 99, 50))
