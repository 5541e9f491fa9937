"""A batch at the centre, new and then once more: `python -m bench.duplicate ROUNDS` prints the times.

A process of its own, for Django knows one home a process. The batch goes through the whole view, from
bytes to signed bytes, on SQLite as an embedded centre has it; only the socket is left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.offline.records import Place
from bench import week
from bench.timing import Samples
from loyalty import ledger, wire

Post = Callable[[str, bytes], bytes]


def measure(rounds: int) -> tuple[Samples, Samples]:
    """Wall times of `rounds` new batches of 500 sales, and of each sent again."""
    with tempfile.TemporaryDirectory(prefix="kopilka-bench-") as home:
        environment = {**os.environ, "KOPILKA_HOME": home, "DJANGO_SETTINGS_MODULE": "central.settings"}
        done = subprocess.run(
            [sys.executable, "-m", "bench.duplicate", str(rounds)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    new, again = json.loads(done.stdout)
    return Samples(new), Samples(again)


class _Teller:
    """A till that tells the centre a week, batch by batch."""

    def __init__(self, code: str, post: Post, first_account: int) -> None:
        self._key = Ed25519PrivateKey.generate()
        self._post = post
        public = self._key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        request = wire.EnrollRequest(wire.WIRE_VERSION, code, public, "bench")
        self._who = wire.unpack(wire.EnrollReply, post("/v1/enroll", wire.pack(request)))
        self._session = self._who.session
        self._next_seq, self._head = 1, ledger.genesis(self._who.till, self._who.epoch)
        self._week = week.Week(week.in_force(), self._who.till, first_account)

    def batch(self) -> bytes:
        """The next 500 sales, as they travel."""
        who, first = self._who, self._next_seq
        bodies: list[bytes] = []
        papers: list[tuple[int, bytes]] = []
        for seq, sold in enumerate(self._week.sales(wire.BATCH_ENTRIES, who.epoch, first), first):
            entry, paper = sold.entry(Place(who.till, who.epoch, seq))
            bodies.append(ledger.canonical(entry))
            papers.append((seq, paper))
        head = ledger.chain(self._head, bodies)
        unsigned = wire.SyncRequest(
            v=wire.WIRE_VERSION,
            epoch=who.epoch,
            session=self._session,
            first_seq=first,
            prev=self._head,
            head=head,
            signature=b"",
            entries=tuple(ledger.strip(body) for body in bodies),
            receipts=tuple(papers),
            down={},
            versions={},
            status={},
            timeline=who.timeline,
        )
        self._next_seq, self._head = first + len(bodies), head
        signature = self._key.sign(wire.sync_signing_bytes(who.till, unsigned))
        return wire.pack(msgspec.structs.replace(unsigned, signature=signature))

    def send(self, body: bytes) -> int:
        """Nanoseconds of one post, from bytes to bytes."""
        began = time.perf_counter_ns()
        answer = self._post(f"/v1/tills/{self._who.till}/sync", body)
        took = time.perf_counter_ns() - began
        reply = wire.unpack(wire.SyncReply, answer)
        assert reply.next_seq == self._next_seq
        self._session = reply.session
        return took


def run(rounds: int) -> tuple[list[int], list[int]]:
    """The same, in the process that Django was set up for: a centre, its members, one till."""
    import django
    from django.core.management import call_command
    from django.test import Client

    from central import settings

    settings.HOME.make()
    django.setup()
    from central import clock
    from central.fleet import enrolment
    from central.fleet.models import Centre
    from central.members import importing
    from central.rules.models import Programme

    def post(path: str, body: bytes) -> bytes:
        answer = Client().generic("POST", path, body, content_type=wire.CONTENT_TYPE)
        if answer.status_code != 200:
            raise RuntimeError(f"the centre answered {answer.status_code}")
        return answer.content

    call_command("migrate", verbosity=0, interactive=False)
    centre = Centre.objects.create(timeline=clock.now_s(), created_ms=clock.now_ms())
    Programme.objects.create(number_templates=week.TEMPLATES)
    enrolment.add_store(week.STORE, "Магазин", "Europe/Moscow", None)
    importing.import_members(week.members(), week.STORE)
    _, code = enrolment.new_code(week.STORE, None)
    teller = _Teller(code, post, centre.next_account)
    new: list[int] = []
    again: list[int] = []
    for _ in range(rounds + 1):
        body = teller.batch()
        new.append(teller.send(body))
        again.append(teller.send(body))
    return new[1:], again[1:]  # the first was not warm


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]))))
