"""What the till believes: signatures and the order of versions.

The judge (loyalty/manifest.py) says which version may follow which; this file holds
the public keys and says whether the bytes are the centre's at all. Nothing here
fetches or writes: the hands (client.py) bring bytes, the till's thread stores.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from loyalty import document, ledger
from loyalty import manifest as judge
from loyalty.document import DocumentError
from loyalty.ledger import Entry, LedgerError
from loyalty.manifest import Manifest, ManifestError
from loyalty.protocol import limits
from loyalty.wire import (
    ClaimReply,
    ClaimRequest,
    HandoverReply,
    HandoverRequest,
    HubReceiptReply,
    HubReceiptRequest,
    ManifestReply,
    ReceiptReply,
    RestoreReply,
    RestoreRequest,
    SyncReply,
    SyncRequest,
    claim_signing_bytes,
    down_signing_bytes,
    handed_signing_bytes,
    handover_ref,
    handover_signing_bytes,
    hub_receipt_reply_signing_bytes,
    hub_receipt_signing_bytes,
    manifest_signing_bytes,
    receipt_signing_bytes,
    reply_signing_bytes,
    restored_signing_bytes,
)


def is_signed(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Did the owner of `public_key` (raw Ed25519) sign exactly `message`?"""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def sign(private_key: Ed25519PrivateKey, message: bytes) -> bytes:
    """This till's signature (64 bytes)."""
    return private_key.sign(message)


def reply_is_ours(reply_key: bytes, till: str, request: SyncRequest, reply: SyncReply) -> bool:
    """Is `reply` the centre's answer to exactly this request of this till, and its word for the downlink?"""
    statement = down_signing_bytes(till, reply.timeline, reply.down)
    return is_signed(reply_key, reply_signing_bytes(till, request, reply), reply.signature) and (
        not reply.down or is_signed(reply_key, statement, reply.down_signature)
    )


def claim_is_ours(reply_key: bytes, till: str, request: ClaimRequest, reply: ClaimReply) -> bool:
    """Is `reply` the centre's answer to this claim, and its word for the downlink in it?"""
    statement = down_signing_bytes(till, reply.timeline, reply.down)
    return (
        reply.claim_id == request.claim_id
        and is_signed(reply_key, claim_signing_bytes(till, reply), reply.signature)
        and (not reply.down or is_signed(reply_key, statement, reply.down_signature))
    )


def receipt_is_ours(reply_key: bytes, till: str, ref: str, reply: ReceiptReply) -> bool:
    """Is `reply` the centre's answer to this till's question for that receipt?"""
    return is_signed(reply_key, receipt_signing_bytes(till, ref, reply), reply.signature)


def restored_is_ours(reply_key: bytes, till: str, request: RestoreRequest, reply: RestoreReply) -> bool:
    """Is `reply` the centre's answer to this till's restore?"""
    return is_signed(reply_key, restored_signing_bytes(till, request, reply), reply.signature)


def asked_bytes(request: HandoverRequest | HubReceiptRequest) -> bytes:
    """What a till signs of a question to its store's hub."""
    if isinstance(request, HandoverRequest):
        return handover_signing_bytes(request)
    return hub_receipt_signing_bytes(request)


def is_asked_by(public_key: bytes, request: HandoverRequest | HubReceiptRequest) -> bool:
    """Is this question really the till's whose key this is?"""
    return is_signed(public_key, asked_bytes(request), request.signature)


def handover_is_good(hub: str, hub_key: bytes, request: HandoverRequest, reply: HandoverReply) -> bool:
    """Is `reply` the hub's HANDOVER for exactly this question, and nothing the office would choke on?

    From the hub's parcel to the asker's, for this receipt and account, and no more than was asked.
    """
    if not is_signed(hub_key, handed_signing_bytes(reply.body), reply.signature):
        return False
    try:
        given = ledger.parse(reply.body)
        limits.check(given)
    except LedgerError:
        return False
    here, there = ledger.parcel(request.till), ledger.parcel(hub)
    to_us = [posting for posting in given.postings if posting.account == here]
    return (
        (given.till, given.kind, given.account) == (hub, "HANDOVER", request.account)
        and given.ref == handover_ref(request)
        and {posting.account for posting in given.postings} == {here, there}
        and all(posting.points > 0 and posting.terms is not None for posting in to_us)
        and sum(posting.points for posting in to_us) <= request.want
    )


def hub_receipt_is_good(hub: str, hub_key: bytes, request: HubReceiptRequest, reply: HubReceiptReply) -> bool:
    """Is `reply` the hub's answer to exactly this question: a sale of its own, and what it took back of it?

    The slip's six digits are made anew of the entry, and the entry names the hash of its receipt: a
    receipt that is not the slip's is none, whoever signed it.
    """
    statement = hub_receipt_reply_signing_bytes(hub, request, reply)
    named = ledger.read_ident(request.ref)
    if named is None or named.till != hub or not is_signed(hub_key, statement, reply.signature):
        return False
    try:
        sold = ledger.parse(reply.entry)
        document.parse(reply.document)
        since = [(ledger.parse(body), paper) for body, paper in reply.returns]
        for _, paper in since:
            if paper:
                document.parse_any(paper)
    except (LedgerError, DocumentError):
        return False
    return (
        (sold.id, sold.kind) == (named.entry_id, "SALE")
        and ledger.fingerprint(ledger.link(reply.prev, reply.entry)) == named.digits
        and _is_receipt_of(sold, reply.document)
        and (reply.owner is None) == (sold.account is None)
        and all(
            (one.till, one.ref) == (hub, sold.id)
            and one.kind in ("RETURN_GOODS", "VOID")
            and _is_receipt_of(one, paper)
            for one, paper in since
        )
    )


def _is_receipt_of(entry: Entry, paper: bytes) -> bool:
    digest = hashlib.sha256(paper).digest() if paper else None
    return entry.document_sha256 == digest


def open_manifest(reply: ManifestReply, keys: dict[str, bytes], channel: str, highest: int) -> Manifest:
    """The manifest of a version that may come into force. Raises ManifestError with the alarm to show."""
    signed = any(
        is_signed(keys[key_id], manifest_signing_bytes(reply.manifest), signature)
        for key_id, signature in reply.signatures.items()
        if key_id in keys
    )
    if not signed:
        raise ManifestError("bad_signature", f"{channel}: no key of this programme signed this manifest")
    manifest = judge.parse(reply.manifest)
    judge.admit(manifest, channel, highest)
    return manifest
