"""What the till believes: the centre's signature over exactly these bytes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.sync.trust import is_signed, open_manifest, reply_is_ours, sign
from loyalty import manifest, wire
from loyalty.manifest import FileRef, Manifest, ManifestError
from loyalty.wire import DownItem, ManifestReply, SyncReply, SyncRequest

CENTRE, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
CHANNEL = "rulebook.all"
REQUEST = SyncRequest(1, 1, "s1", 1, b"p", b"h", b"", (), (), {}, {}, {})


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def manifest_bytes(version: int = 5, channel: str = CHANNEL) -> bytes:
    files = {"rulebook.json": FileRef("ab" * 32, 5)}
    return manifest.encode(Manifest(1, channel, version, None, 1, 0, 10, 20, files, 1))


def signed(raw: bytes, key: Ed25519PrivateKey = CENTRE, name: str = "k1") -> ManifestReply:
    return ManifestReply(raw, {name: key.sign(wire.manifest_signing_bytes(raw))})


def opened(reply: ManifestReply, *, keys: dict[str, bytes] | None = None, highest: int = 4) -> Manifest:
    return open_manifest(reply, keys or {"k1": public(CENTRE)}, CHANNEL, highest)


def alarm(reply: ManifestReply, *, keys: dict[str, bytes] | None = None, highest: int = 4) -> str:
    with pytest.raises(ManifestError) as refused:
        opened(reply, keys=keys, highest=highest)
    return refused.value.alarm


# ------------------------------------------------------------------------------ manifests


def test_a_manifest_that_the_centre_signed_is_opened() -> None:
    assert opened(signed(manifest_bytes())).version == 5


def test_one_good_signature_among_others_is_enough() -> None:
    """Keys are changed by signing with the old and the new one for a while."""
    raw = manifest_bytes()
    both = ManifestReply(raw, {"k0": b"\0" * 64, **signed(raw).signatures, "k9": b"?"})
    assert opened(both).version == 5


def one_byte_more(reply: ManifestReply) -> ManifestReply:
    return msgspec.structs.replace(reply, manifest=reply.manifest + b" ")


def one_byte_other(reply: ManifestReply) -> ManifestReply:
    return msgspec.structs.replace(reply, manifest=reply.manifest.replace(b'"version":5', b'"version":6'))


def one_bit_of_the_signature(reply: ManifestReply) -> ManifestReply:
    bad = bytearray(reply.signatures["k1"])
    bad[0] ^= 1
    return msgspec.structs.replace(reply, signatures={"k1": bytes(bad)})


def no_signature(reply: ManifestReply) -> ManifestReply:
    return msgspec.structs.replace(reply, signatures={})


def a_short_signature(reply: ManifestReply) -> ManifestReply:
    return msgspec.structs.replace(reply, signatures={"k1": b"short"})


def under_another_name(reply: ManifestReply) -> ManifestReply:
    return msgspec.structs.replace(reply, signatures={"k2": reply.signatures["k1"]})


def by_a_stranger(reply: ManifestReply) -> ManifestReply:
    return signed(reply.manifest, STRANGER)


def for_another_purpose(reply: ManifestReply) -> ManifestReply:
    return msgspec.structs.replace(reply, signatures={"k1": CENTRE.sign(reply.manifest)})


@pytest.mark.parametrize(
    "tamper",
    [
        one_byte_more,
        one_byte_other,
        one_bit_of_the_signature,
        no_signature,
        a_short_signature,
        under_another_name,
        by_a_stranger,
        for_another_purpose,
    ],
    ids=lambda tamper: tamper.__name__,
)
def test_whatever_the_centre_did_not_sign_is_not_even_read(
    tamper: Callable[[ManifestReply], ManifestReply],
) -> None:
    assert alarm(tamper(signed(manifest_bytes()))) == "bad_signature"


def test_the_signature_is_looked_at_before_the_content() -> None:
    """Bytes of a stranger never reach a parser."""
    assert alarm(signed(b"\xff{", STRANGER)) == "bad_signature"
    assert alarm(signed(b"\xff{")) == "bad_manifest"


def test_a_till_without_keys_believes_nobody() -> None:
    assert alarm(signed(manifest_bytes()), keys={"k2": public(CENTRE)}) == "bad_signature"


def test_a_key_that_is_none_is_no_reason_to_fall() -> None:
    assert alarm(signed(manifest_bytes()), keys={"k1": b"not a key"}) == "bad_signature"


def test_what_is_signed_may_still_not_follow() -> None:
    assert alarm(signed(manifest_bytes(3))) == "rollback"
    assert alarm(signed(manifest_bytes(5, "rulebook.moscow"))) == "wrong_target"


# -------------------------------------------------------------------------------- replies


def reply_to(request: SyncRequest, key: Ed25519PrivateKey = CENTRE) -> SyncReply:
    reply = SyncReply(1, 2, 0, "s2", (DownItem(3, 1, b"b", b"h"),), b"", {"rulebook.all": 5}, 7, 0, 0)
    statement = wire.down_signing_bytes("T1", reply.timeline, reply.down)
    return msgspec.structs.replace(
        reply,
        signature=key.sign(wire.reply_signing_bytes("T1", request, reply)),
        down_signature=key.sign(statement),
    )


def test_the_centres_answer_to_this_request_is_ours() -> None:
    assert reply_is_ours(public(CENTRE), "T1", REQUEST, reply_to(REQUEST))


def test_an_answer_to_another_till_request_or_day_is_not() -> None:
    yesterday = msgspec.structs.replace(REQUEST, session="s0")
    assert not reply_is_ours(public(CENTRE), "T2", REQUEST, reply_to(REQUEST))
    assert not reply_is_ours(
        public(CENTRE), "T1", msgspec.structs.replace(REQUEST, head=b"x"), reply_to(REQUEST)
    )
    assert not reply_is_ours(public(CENTRE), "T1", REQUEST, reply_to(yesterday))
    assert not reply_is_ours(public(CENTRE), "T1", REQUEST, reply_to(REQUEST, STRANGER))


@pytest.mark.parametrize(
    "change",
    [
        {"timeline": 2},
        {"next_seq": 3},
        {"durable_seq": 1},
        {"session": "mine"},
        {"down": ()},
        {"down": (DownItem(3, 1, b"b", b"x"),)},
        {"manifests": {}},
        {"server_ms": 8},
        {"signature": b""},
        {"down_signature": b""},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_answer_that_was_changed_on_the_way_is_not_the_centres(change: dict[str, object]) -> None:
    changed = msgspec.structs.replace(reply_to(REQUEST), **change)
    assert not reply_is_ours(public(CENTRE), "T1", REQUEST, changed)


def test_what_the_till_signs_its_public_key_confirms() -> None:
    till = Ed25519PrivateKey.generate()
    assert is_signed(public(till), b"a batch", sign(till, b"a batch"))
    assert not is_signed(public(till), b"another batch", sign(till, b"a batch"))
    assert not is_signed(b"", b"a batch", sign(till, b"a batch"))
