"""The till that `bench.api` asks: a process of its own, with its loop, its files and its loopback API.

It prints one JSON line when it listens, {"port", "token", "engine_us"}, and ends when its input does.
`engine_us` is what the engine itself takes for the receipts that will be asked: the denominator.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from agent.api import Api, ApiServer
from agent.inbox import Inbox, Stop
from agent.main import SWITCH_S, OutsideWorld
from agent.offline import engine
from agent.offline.ledger_db import LedgerDb
from agent.offline.snapshot_db import Members, SnapshotDb
from agent.till import Till
from bench import workload
from bench.timing import Samples
from loyalty.wire import EnrollReply

AT = "2026-02-13T12:00:00+03:00"
RULES, LINES, RECEIPTS = 1_000, 20, 500
TOKEN = "bench-of-the-loopback-api"
SETTINGS = {
    "format": 1,
    "store": {"id": "S1", "name": "Bench"},
    "offsets": [[0, 180]],
    "channels": {"rulebook": "rulebook.all", "catalog": "catalog.all"},
}


def bodies() -> list[dict[str, Any]]:
    """The carts, as a cash program sends them."""
    return [
        {"lines": receipt["lines"]} for receipt in workload.draw([RULES], [LINES], RECEIPTS).receipts[LINES]
    ]


def programme() -> engine.InForce:
    """A thousand rules and ten thousand goods."""
    drawn = workload.draw([RULES], [LINES], RECEIPTS)
    skus = {
        sku: {"name": sku, "unit": "шт", **goods} for sku, goods in drawn.catalog["skus"].items()
    }  # as a catalogue is published
    catalog = {"format": 1, "currency": "RUB", "categories": drawn.catalog["categories"], "skus": skus}
    return engine.build(
        msgspec.json.encode(SETTINGS),
        drawn.rulebooks[RULES].encode(),
        msgspec.json.encode(catalog),
        versions={"settings.S1": 1, "rulebook.all": 1, "catalog.all": 1},
    )


def engine_alone(in_force: engine.InForce) -> Samples:
    """Each receipt priced once warm, as a till prices it, by the wall clock."""
    samples = Samples()
    receipts = [
        {
            "id": f"r{n}",
            "till": "T1",
            "store": "S1",
            "channel": "pos",
            "at": "2026-02-13T12:00:00+03:00",
            **body,
        }
        for n, body in enumerate(bodies())
    ]
    for receipt in receipts:
        in_force.price(receipt)
    for receipt in receipts:
        began = time.perf_counter_ns()
        in_force.price(receipt)
        samples.ns.append(time.perf_counter_ns() - began)
    return samples


def serve(directory: Path) -> None:
    """Until standard input ends."""
    sys.setswitchinterval(SWITCH_S)
    enrolled = EnrollReply("T1", 1, "S1", "s0", 1, bytes(32), bytes(32), {"k1": bytes(32)}, 1, 0)
    ledger = LedgerDb(directory / "ledger.db")
    ledger.enrol(enrolled, "http://centre")
    shelf = SnapshotDb(directory / "snapshot.db")
    members = Members.open(directory / "snapshot.db")
    in_force = programme()
    alone = engine_alone(in_force)
    identity = ledger.identity()
    assert identity is not None
    inbox = Inbox()
    till = Till(
        identity=identity,
        chain_key=bytes(32),
        ledger_db=ledger,
        members=members,
        in_force=in_force,
        inbox=inbox,
        outside=OutsideWorld(),
        wall_s=lambda: int(time.time()),
        monotonic_ms=lambda: time.monotonic_ns() // 1_000_000,
        language="ru",
        version="bench",
    )
    server = ApiServer(Api(inbox, TOKEN), "127.0.0.1", 0)
    server.start()

    def stop() -> None:
        sys.stdin.read()
        server.stop()
        inbox.post(Stop())

    threading.Thread(target=stop, daemon=True).start()
    print(json.dumps({"port": server.port, "token": TOKEN, "engine_us": alone.median_us}), flush=True)
    till.run()
    members.close()
    shelf.close()
    ledger.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        serve(Path(made))
