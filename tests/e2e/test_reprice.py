"""The auditor's visit: every number on the till's disk is computed again, by others than those who wrote it.

The chain is recomputed from raw SQL by a few lines that know nothing of the house, and every receipt
is priced again by `kopilka-agent quote --jsonl` from nothing but its own document, the rulebook it
names and the goods: as the office will do it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from agent.demo.cash_program import CashProgram
from agent.demo.stage import Office, TillBox, data_file
from loyalty import document

CARD, OTHER_CARD = "2000000000015", "2000000000022"
MILK, CHEESE, BREAD, TEA, CIGARETTES = (
    "4600000000015", "4600000000022", "4600000000039", "4600000000046", "4600000000053",
)  # fmt: skip
UNKNOWN_GOODS = "4600000000060"
# What is sold: goods, card, points asked for. Weighed goods, goods out of rules, goods nobody knows.
RECEIPTS: list[tuple[dict[str, tuple[int, int]], str | None, int | str | None]] = [
    ({MILK: (8990, 3000)}, None, None),
    ({MILK: (8990, 3000), CHEESE: (74900, 1253), BREAD: (5450, 1000)}, CARD, "max"),
    ({CHEESE: (74900, 1999), TEA: (23900, 7000)}, CARD, 12_345),
    ({CIGARETTES: (21500, 10_000), BREAD: (5450, 1000)}, CARD, "max"),
    ({UNKNOWN_GOODS: (99, 1), TEA: (23900, 1000)}, OTHER_CARD, "max"),
    ({CHEESE: (74901, 333)}, OTHER_CARD, None),
    ({MILK: (0, 1000)}, CARD, None),
    ({TEA: (23900, 1000)}, CARD, 700),
]


def sell_everything(till: TillBox, shift: str) -> None:
    cash = CashProgram(till.state)
    for number, (goods, card, redeem) in enumerate(RECEIPTS):
        sale_id = f"{shift}-{number}"
        quoted = cash.quote(sale_id, goods, card=card, redeem=redeem)
        cash.pay(sale_id, quoted)
        if number % 4 == 3:
            cash.void(sale_id, "ошибка кассира")


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as disk:
        return disk.execute(query).fetchall()


def test_every_entry_and_every_price_can_be_computed_again(
    office: Office, till: TillBox, tmp_path: Path
) -> None:
    sell_everything(till, "first")
    office.command("rulebook", "publish", data_file("rulebook-2.json"))
    till.command("sync", "now")
    sell_everything(till, "second")
    till.command("sync", "now")
    ledger = till.state / "ledger.db"

    head = chain_by_hand(ledger, "T1", 1)
    assert head.hex() == till.command("ledger", "verify")["head"]
    assert head.hex() == office.command("till", "list")[0]["head"]

    documents = [document.parse(body) for (body,) in rows(ledger, "SELECT body FROM document ORDER BY seq")]
    assert len(documents) == 2 * len(RECEIPTS)
    assert {made.rulebook_seq for made in documents} == {1, 2}
    assert sum(made.result.redeemed > 0 for made in documents) >= 5  # points were really spent
    for made, quote in zip(documents, priced_again(documents), strict=True):
        assert "error" not in quote, (made.receipt.id, quote)
        assert document.quote_digest(quote) == made.result.digest, made.receipt.id
        assert {
            "list": quote["list"],
            "discount": quote["discount"],
            "redeemed": quote["redeemed"],
            "pay": quote["pay"],
            "earned_total": quote["earned_total"],
        } == {name: value for name, value in msgspec.structs.asdict(made.result).items() if name != "digest"}
        assert sum(tender.amount for tender in made.tenders) == quote["pay"]

    # The office has the very same receipts, byte for byte.
    central = tmp_path / "office" / "central.sqlite3"
    assert rows(central, "SELECT document FROM inbox WHERE document IS NOT NULL ORDER BY seq") == rows(
        ledger, "SELECT body FROM document ORDER BY seq"
    )


def chain_by_hand(ledger: Path, till: str, epoch: int) -> bytes:
    """The chain's head, from nothing but the bytes on the disk and docs/test-vectors.md."""
    head = hashlib.sha256(b"kopilka-chain-1\0" + msgspec.msgpack.encode([till, epoch])).digest()
    receipts = dict(rows(ledger, f"SELECT seq, body FROM document WHERE epoch = {epoch}"))
    for expected, (seq, body, stored) in enumerate(
        rows(ledger, f"SELECT seq, body, h FROM entry WHERE epoch = {epoch} ORDER BY seq"), start=1
    ):
        head = hashlib.sha256(head + body).digest()
        assert (seq, stored) == (expected, head)
        fields = msgspec.msgpack.decode(body[1:])
        assert fields[:3] == [till, epoch, seq]
        assert fields[7] == (hashlib.sha256(receipts[seq]).digest() if seq in receipts else None)
        lots: dict[str, int] = {}
        for _, lot, points, *_ in fields[6]:
            lots[lot] = lots.get(lot, 0) + points
        assert not any(lots.values())
    return head


def priced_again(documents: list[document.SaleDocument]) -> list[dict[str, Any]]:
    """What the engine's command says to the receipts, one process for all."""
    books = {seq: json.loads(Path(data_file(f"rulebook-{seq}.json")).read_bytes()) for seq in (1, 2)}
    goods = json.loads(Path(data_file("goods.json")).read_bytes())
    facts = {"category", "brand", "flags", "min_price", "weighed"}
    catalog = {
        "categories": goods["categories"],
        "skus": {
            sku: {name: value for name, value in about.items() if name in facts}
            for sku, about in goods["skus"].items()
        },
    }
    requests = [
        {
            "rulebook": books[made.rulebook_seq],
            "catalog": catalog,
            "receipt": document.engine_receipt(made.receipt, made.customer),
        }
        for made in documents
    ]
    done = subprocess.run(
        [Path(sys.executable).with_name("kopilka-agent"), "quote", "--jsonl"],
        input=b"".join(msgspec.json.encode(request) + b"\n" for request in requests),
        capture_output=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
