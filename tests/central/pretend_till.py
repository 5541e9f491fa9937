"""A till that is honest about the protocol and has no screen: it signs, chains, sends, checks, applies.

It is written from ledger-sync.md, not from the agent, so the two halves of the protocol are tested
against a third reading of it.
"""

from __future__ import annotations

import copy
import hashlib
import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.test import Client

from loyalty import document, ledger, wire
from loyalty.document import Receipt, Result, SaleDocument, SeenCustomer, SoldLine, Tender
from loyalty.ledger import Earned, Entry, LotTerms, Posting, Spent
from loyalty.protocol import moves

AT_S = 1_767_262_000
Transport = Callable[[str, str, bytes, dict[str, str]], tuple[int, bytes]]


def in_process(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """Straight into Django, without a socket."""
    response = Client(headers=headers).generic(method, path, body, content_type=wire.CONTENT_TYPE)
    return response.status_code, response.content


class Refused(Exception):  # noqa: N818
    """The centre said no."""

    def __init__(self, status: int, refusal: wire.Refusal) -> None:
        super().__init__(f"{status} {refusal.code}: {refusal.detail}")
        self.status = status
        self.code = refusal.code
        self.next_seq = refusal.next_seq
        self.refusal = refusal


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def terms(active_from: str = "2026-01-01T00:00:00", expires_at: str | None = None) -> LotTerms:
    return LotTerms(active_from, expires_at, "earn5")


def receipt(till: str, seq: int, account: int | None) -> bytes:
    """A small sale: one loaf of bread."""
    return document.canonical(
        SaleDocument(
            receipt=Receipt(
                id=f"r{seq}",
                till=till,
                store="S1",
                region=None,
                channel="pos",
                at="2026-01-01T13:05:00+03:00",
                lines=(SoldLine("1", "bread", 50_00, 1000),),
            ),
            customer=SeenCustomer(account) if account is not None else None,
            rulebook_seq=0,
            kill_seq=0,
            catalog_version=0,
            tenders=(Tender("cash", 50_00),),
            fiscal_id=None,
            paid_at=None,
            operator=None,
            result=Result(b"\0" * 8, 50_00, 0, 0, 50_00, 0),
        )
    )


@dataclass
class PretendTill:
    """One life of a till. `log` and `documents` are its disk."""

    id: str
    epoch: int
    store: str
    session: str
    timeline: int
    key: Ed25519PrivateKey
    enrolment: wire.EnrollReply
    send: Transport = in_process
    log: list[bytes] = field(default_factory=list)
    documents: dict[int, bytes] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    acknowledged: int = 0
    down: dict[int, int] = field(default_factory=dict)
    down_heads: dict[int, bytes] = field(default_factory=dict)
    parcels: dict[tuple[int, str], int] = field(default_factory=lambda: defaultdict(int))
    versions: dict[str, int] = field(default_factory=dict)
    status: dict[str, int | str] = field(default_factory=lambda: {"pending": 0})
    told: list[tuple[int, wire.Echo]] = field(default_factory=list)  # what it applied, and in which timeline
    down_before: dict[int, dict[int, int]] = field(default_factory=dict)  # timeline -> `down` at its end
    restore_id: str = ""  # of a copy: which restore it will be

    @classmethod
    def enrolled(
        cls, code: str, key: Ed25519PrivateKey | None = None, send: Transport = in_process
    ) -> PretendTill:
        key = key or Ed25519PrivateKey.generate()
        request = wire.EnrollRequest(wire.WIRE_VERSION, code, public_bytes(key), "0.1.0")
        reply = ask(send, "POST", "/v1/enroll", request, wire.EnrollReply)
        return cls(
            reply.till,
            reply.epoch,
            reply.store,
            reply.session,
            reply.timeline,
            key,
            reply,
            send,
            down={b: gseq for b, (gseq, _) in reply.down.items()},
            down_heads={b: h for b, (_, h) in reply.down.items()},
        )

    # ---- what happens at the counter

    def sell(
        self,
        account: int | None,
        *,
        spend: Sequence[Spent] = (),
        earn: int = 0,
        lot_terms: LotTerms | None = None,
        spendable_here: bool = True,
    ) -> Entry:
        """A sale: points (hundredths) out of lots held here, a new lot of `earn` in."""
        seq = len(self.log) + 1
        earned = [Earned(earn, lot_terms or terms(), spendable_here)] if earn else []
        postings = moves.sale(self.id, self.epoch, seq, spend, earned)
        for piece in spend:
            self.parcels[account or 0, piece.lot] -= piece.points
        if earn and spendable_here:
            self.parcels[account or 0, ledger.lot_id(self.id, self.epoch, seq, 0)] += earn
        return self.write("SALE", account, postings, document=receipt(self.id, seq, account))

    def write(
        self,
        kind: str,
        account: int | None,
        postings: tuple[Posting, ...] = (),
        *,
        document: bytes | None = None,
        ref: str | None = None,
    ) -> Entry:
        """Any entry at the end of the log."""
        seq = len(self.log) + 1
        digest = hashlib.sha256(document).digest() if document is not None else None
        entry = Entry(self.id, self.epoch, seq, AT_S + seq, kind, account, postings, digest, ref)
        self.log.append(ledger.canonical(entry))
        if document is not None:
            self.documents[seq] = document
        return entry

    def held(self, account: int) -> int:
        """Hundredths of an account that this till may spend."""
        return sum(points for (who, _), points in self.parcels.items() if who == account)

    def lots(self, account: int) -> dict[str, int]:
        return {lot: points for (who, lot), points in self.parcels.items() if who == account and points}

    # ---- what goes over the wire

    def head_after(self, seq: int) -> bytes:
        return ledger.chain(ledger.genesis(self.id, self.epoch), self.log[:seq])

    def batch(self, first_seq: int | None = None, last_seq: int | None = None) -> wire.SyncRequest:
        """The signed message from `first_seq` (else: the first not acknowledged) to `last_seq`."""
        first = first_seq or self.acknowledged + 1
        last = last_seq or min(len(self.log), first + wire.BATCH_ENTRIES - 1)
        return self.signed(
            wire.SyncRequest(
                v=wire.WIRE_VERSION,
                epoch=self.epoch,
                session=self.session,
                first_seq=first,
                prev=self.head_after(first - 1),
                head=self.head_after(last),
                signature=b"",
                entries=tuple(ledger.strip(body) for body in self.log[first - 1 : last]),
                receipts=tuple((seq, doc) for seq, doc in self.documents.items() if first <= seq <= last),
                down=dict(self.down),
                versions=dict(self.versions),
                status=dict(self.status),
                timeline=self.timeline,
            )
        )

    def signed(self, request: wire.SyncRequest) -> wire.SyncRequest:
        signature = self.key.sign(wire.sync_signing_bytes(self.id, request))
        return msgspec.structs.replace(request, signature=signature)

    def post(self, request: wire.SyncRequest) -> wire.SyncReply:
        """Send a batch and check that the answer is the centre's answer to it. Nothing is applied."""
        reply = ask(self.send, "POST", f"/v1/tills/{self.id}/sync", request, wire.SyncReply)
        self.centre.verify(reply.signature, wire.reply_signing_bytes(self.id, request, reply))
        return reply

    def apply(self, reply: wire.SyncReply) -> None:
        """Take the answer: session, cursor, and the downlink in order with its hashes checked."""
        self.session = reply.session
        self.acknowledged = reply.next_seq - 1
        for item in reply.down:
            assert item.gseq == self.down.get(item.bucket, 0) + 1
            before = self.down_heads.get(item.bucket) or wire.down_genesis(
                self.id, item.bucket, self.timeline
            )
            assert item.h == ledger.link(before, item.body)
            self.down[item.bucket], self.down_heads[item.bucket] = item.gseq, item.h
            entry = ledger.parse(item.body)
            assert entry.kind in {"GRANT", "HANDOVER", "LINK", "MERGE", "RECALL"}
            meant = (entry.ref or "").partition(":")[0] == f"{self.id}-{self.epoch}"
            if entry.kind == "HANDOVER" and meant:
                self.take_over(item.body)
            elif entry.kind == "GRANT" and meant:
                self._take_in(entry)
        if reply.down:
            statement = wire.down_signing_bytes(self.id, self.timeline, reply.down)
            self.centre.verify(reply.down_signature, statement)
            self.told.append((self.timeline, wire.Echo(reply.down, statement, reply.down_signature)))

    def _take_in(self, entry: Entry) -> None:
        for posting in entry.postings:
            if posting.account == ledger.parcel(self.id):
                assert posting.terms is not None
                self.parcels[entry.account or 0, posting.lot] += posting.points

    # ---- on the shop's network

    def hand_over(
        self,
        taker: PretendTill,
        account: int,
        receipt: str = "r1",
        lots: dict[str, int] | None = None,
    ) -> tuple[bytes, bytes]:
        """The hub gives `lots` (else all it has) of an account: its HANDOVER and its signature."""
        lots = self.lots(account) if lots is None else lots
        pieces = [moves.Piece(lot, points, terms()) for lot, points in lots.items()]
        postings = moves.give(ledger.parcel(self.id), ledger.parcel(taker.id), pieces)
        for lot, points in lots.items():
            self.parcels[account, lot] -= points
        given = self.write("HANDOVER", account, postings, ref=f"{taker.id}-{taker.epoch}:{receipt}")
        body = ledger.canonical(given)
        return body, self.key.sign(wire.handed_signing_bytes(body))

    def take_over(self, body: bytes, signature: bytes | None = None) -> None:
        """Apply a HANDOVER once, however it came; by the LAN it comes with the hub's word."""
        given = ledger.parse(body)
        if given.id in self.taken:
            return
        self.taken.add(given.id)
        proof = document.HandoverDocument(body, signature) if signature is not None else None
        self.write(
            "HANDOVER",
            given.account,
            document=document.canonical(proof) if proof is not None else None,
            ref=given.id,
        )
        self._take_in(given)

    def sync(self) -> wire.SyncReply:
        """One round trip: everything said, everything applied. A centre of a new life is told all again."""
        try:
            reply = self.post(self.batch())
        except Refused as refused:
            if refused.code != wire.TIMELINE:
                raise
            reply = self.post(self.first_words(refused.refusal))
            self.down_before[self.timeline] = self.down
            self.timeline, self.down, self.down_heads = reply.timeline, {}, {}
        self.apply(reply)
        return reply

    def first_words(self, refusal: wire.Refusal) -> wire.SyncRequest:
        """To a centre that was restored (§5.11): from its cursor on, with what it told us and forgot."""
        heard_in, remembered = refusal.heard_in, refusal.down

        def is_forgotten(timeline: int, item: wire.DownItem) -> bool:
            return timeline > heard_in or item.gseq > remembered.get(item.bucket, 0)

        echoes = [
            msgspec.structs.replace(echo, items=tuple(i for i in echo.items if is_forgotten(timeline, i)))
            for timeline, echo in self.told
            if timeline >= heard_in
        ]
        words = msgspec.structs.replace(
            self.batch(first_seq=refusal.epochs.get(self.epoch, 1)),
            timeline=refusal.timeline,
            adopting=True,
            down=self.down if heard_in == self.timeline else self.down_before.get(heard_in, {}),
            echo=tuple(echo for echo in echoes if echo.items),
        )
        return self.signed(words)

    @property
    def centre(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.enrolment.reply_key)

    # ---- another disk

    def backup(self) -> PretendTill:
        """The same till as its disk is now; whoever runs it has been restored."""
        disk = {
            name: copy.deepcopy(getattr(self, name))
            for name in (
                "log",
                "documents",
                "acknowledged",
                "down",
                "down_heads",
                "parcels",
                "told",
                "down_before",
            )
        }
        return replace(self, restore_id=secrets.token_hex(8), **disk)

    def restored_from(self, backup: PretendTill) -> PretendTill:
        """The next life of this till, begun with a backup (§5.9): nothing of it can be spent."""
        request = wire.RestoreRequest(
            wire.WIRE_VERSION,
            backup.restore_id,
            backup.epoch,
            len(backup.log),
            backup.head_after(len(backup.log)),
            b"",
        )
        signature = self.key.sign(wire.restore_signing_bytes(self.id, request))
        request = msgspec.structs.replace(request, signature=signature)
        reply = ask(self.send, "POST", f"/v1/tills/{self.id}/restore", request, wire.RestoreReply)
        self.centre.verify(reply.signature, wire.restored_signing_bytes(self.id, request, reply))
        return PretendTill(
            self.id,
            reply.epoch,
            self.store,
            reply.session,
            reply.timeline,
            self.key,
            self.enrolment,
            self.send,
            down={b: gseq for b, (gseq, _) in reply.down.items()},
            down_heads={b: h for b, (_, h) in reply.down.items()},
        )

    def claim(self, account: int, want: int) -> wire.ClaimReply:
        """Points are wanted at the counter; what comes is heard at the next sync."""
        down = self.down.get(ledger.bucket(account), 0)
        request = wire.ClaimRequest(wire.WIRE_VERSION, secrets.token_hex(8), account, want, down)
        return self._call("POST", f"/v1/tills/{self.id}/claim", request, wire.ClaimReply)

    def lookup(self, card_key: int) -> wire.Member | None:
        request = wire.LookupRequest(wire.WIRE_VERSION, card_key)
        return self._call("POST", f"/v1/tills/{self.id}/lookup", request, wire.LookupReply).member

    def ask_receipt(self, ref: str) -> wire.ReceiptReply:
        return self._call("GET", f"/v1/receipts/{ref}", None, wire.ReceiptReply)

    def manifest(self, channel: str) -> wire.ManifestReply:
        return self._call("GET", f"/v1/channels/{channel}/manifest", None, wire.ManifestReply)

    def file(self, sha256: str) -> bytes:
        status, body = self.send("GET", f"/v1/files/{sha256}", b"", self._headers())
        if status != 200:
            raise Refused(status, wire.unpack(wire.Refusal, body))
        return body

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Kopilka {self.id}:{self.session}"}

    def _call(self, method: str, path: str, request: msgspec.Struct | None, kind: type[wire.T]) -> wire.T:
        return ask(self.send, method, path, request, kind, self._headers())


def ask(
    send: Transport,
    method: str,
    path: str,
    request: msgspec.Struct | None,
    kind: type[wire.T],
    headers: dict[str, str] | None = None,
) -> wire.T:
    """One call of the machine API. Raises Refused for a 4xx or 5xx."""
    body = wire.pack(request) if request is not None else b""
    status, answer = send(method, path, body, headers or {})
    if status != 200:
        raise Refused(status, wire.unpack(wire.Refusal, answer))
    return wire.unpack(kind, answer)
