"""Messages between till and office: whole, or refused in one way, and shown to no log."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from loyalty import wire
from loyalty.wire import DownItem, Member, SyncReply, SyncRequest, WireError, pack, unpack

names = st.text(st.characters(codec="utf-8"), max_size=20)
whole = st.integers(0, 2**62)
sessions = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)

sync_requests = st.builds(
    SyncRequest,
    v=st.just(1),
    epoch=whole,
    session=names,
    first_seq=whole,
    prev=st.binary(max_size=32),
    head=st.binary(max_size=32),
    signature=st.binary(max_size=64),
    entries=st.lists(st.lists(st.none() | whole | names | st.binary(max_size=9), max_size=4), max_size=3).map(
        tuple
    ),
    receipts=st.lists(st.tuples(whole, st.binary(max_size=20)), max_size=3).map(tuple),
    down=st.dictionaries(st.integers(0, 255), whole, max_size=3),
    versions=st.dictionaries(names, whole, max_size=3),
    status=st.dictionaries(names, whole | names, max_size=3),
)
down_items = st.builds(DownItem, st.integers(0, 255), whole, st.binary(max_size=30), st.binary(max_size=32))
sync_replies = st.builds(
    SyncReply,
    timeline=whole,
    next_seq=whole,
    durable_seq=whole,
    session=sessions,
    down=st.lists(down_items, max_size=3).map(tuple),
    signature=st.binary(max_size=64),
    manifests=st.dictionaries(names, whole, max_size=3),
    server_ms=whole,
    min_delay_s=whole,
    quarantined=whole,
)
members = st.builds(
    Member,
    account=st.integers(0, 2**62 - 1),
    tier=st.none() | names,
    segments=st.lists(names, max_size=3).map(tuple),
    counters=st.dictionaries(names, whole, max_size=3),
    balance=st.integers(-(2**40), 2**62),
)
messages = sync_requests | sync_replies | members

REPLY: Final = SyncReply(1, 2, 0, "secret-session", (), b"", {}, 0, 0, 0)
REQUEST: Final = SyncRequest(1, 1, "secret-session", 1, b"p", b"h", b"", (), (), {}, {}, {})


# ------------------------------------------------------------------------- there and back


@given(messages)
def test_a_message_arrives_as_it_was_sent(message: msgspec.Struct) -> None:
    assert unpack(type(message), pack(message)) == message


@given(message=members, newer=st.lists(whole | names, min_size=1, max_size=3))
def test_fields_of_a_newer_program_do_not_disturb_an_older_one(message: Member, newer: list[Any]) -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(message))
    body = zstandard.ZstdCompressor().compress(msgspec.msgpack.encode([*fields, *newer]))
    assert unpack(Member, body) == message


def test_fields_that_an_older_program_does_not_send_have_their_defaults() -> None:
    assert unpack(Member, zstandard.ZstdCompressor().compress(msgspec.msgpack.encode([7]))) == Member(7)


# ------------------------------------------------------------------ damaged on the way


@given(message=messages, data=st.data())
def test_a_body_that_was_cut_or_changed_is_refused_or_is_another_message(
    message: msgspec.Struct, data: st.DataObject
) -> None:
    """Whatever a bad line does, the till gets a WireError and never another exception."""
    body = bytearray(pack(message))
    if data.draw(st.booleans(), label="cut"):
        del body[data.draw(st.integers(0, len(body) - 1), label="at") :]
    else:
        body[data.draw(st.integers(0, len(body) - 1), label="at")] ^= data.draw(st.integers(1, 255))
    try:
        unpack(type(message), bytes(body))
    except WireError:
        return


@given(message=messages, data=st.data())
def test_so_it_is_where_the_frame_is_whole_and_the_content_is_not(
    message: msgspec.Struct, data: st.DataObject
) -> None:
    """zstd has no checksum here, so what is inside must defend itself."""
    raw = bytearray(msgspec.msgpack.encode(message))
    raw[data.draw(st.integers(0, len(raw) - 1), label="at")] ^= data.draw(st.integers(1, 255), label="flip")
    try:
        unpack(type(message), zstandard.ZstdCompressor().compress(bytes(raw)))
    except WireError:
        return


@given(st.binary(max_size=100))
def test_noise_is_refused(noise: bytes) -> None:
    for body in (noise, zstandard.ZstdCompressor().compress(noise)):
        try:
            unpack(SyncReply, body)
        except WireError:
            continue


def compressed(raw: bytes, *, says_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=says_size).compress(raw)


def with_entry(raw_entry: bytes) -> bytes:
    """A sync request whose one entry is these raw bytes."""
    fields = [msgspec.msgpack.encode(value) for value in msgspec.structs.astuple(REQUEST)]
    fields[7] = b"\x91" + raw_entry
    return bytes([0x90 + len(fields)]) + b"".join(fields)


REFUSED = {
    "nothing at all": b"",
    "an empty frame": compressed(b""),
    "not compressed": msgspec.msgpack.encode(REQUEST),
    "text that is not UTF-8": compressed(with_entry(b"\x91\xa1\xff")),
    "nested without end": compressed(with_entry(b"\x91" * 50_000 + b"\x90")),
    "a map whose key cannot be one": compressed(with_entry(b"\x91\x81\x81\x01\x01\x01")),
    "a map instead of a list": compressed(b"\x80"),
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_a_body_of_another_shape_is_refused_by_the_name_of_the_message(body: bytes) -> None:
    with pytest.raises(WireError, match="not a whole SyncRequest"):
        unpack(SyncRequest, body)


def test_the_helper_above_makes_whole_messages() -> None:
    assert unpack(SyncRequest, compressed(with_entry(b"\x91\x01"))).entries == ([1],)


# --------------------------------------------------------------------------- too much


def test_a_small_body_never_becomes_a_large_one() -> None:
    bomb = compressed(b"\0" * (wire.MESSAGE_MAX_BYTES + 1))
    assert len(bomb) < 10_000
    with pytest.raises(WireError, match="more than 16777216 bytes"):
        unpack(SyncReply, bomb)


def test_a_body_that_hides_its_size_is_refused_unread() -> None:
    with pytest.raises(WireError, match="does not say its size"):
        unpack(SyncReply, compressed(msgspec.msgpack.encode(REPLY), says_size=False))


def test_a_body_that_lies_about_its_size_is_refused() -> None:
    body = bytearray(compressed(msgspec.msgpack.encode(REPLY)))
    declared = zstandard.get_frame_parameters(bytes(body)).content_size
    at = body.index(declared, 4)
    body[at] -= 1
    with pytest.raises(WireError):
        unpack(SyncReply, bytes(body))


def test_whoever_expects_little_reads_little() -> None:
    with pytest.raises(WireError, match="more than 10 bytes"):
        unpack(SyncReply, pack(REPLY), 10)


NOT_STORABLE = {
    "an account beyond all accounts": Member(2**62),
    "an account below zero": Member(-1),
    "a balance that fits no column": Member(1, balance=2**63),
    "time below zero": Member(1, as_of_ms=-1),
    "a bucket beyond the last": DownItem(256, 1, b"", b""),
    "a session that fits no header": msgspec.structs.replace(REPLY, session="два слова\r\n"),
    "a chain key of the wrong size": wire.EnrollReply("T", 1, "S", "s", 1, b"short", b"k" * 32, {}, 1, 0),
    "a card's hash of more than 63 bits": wire.LookupRequest(1, 2**63),
}


@pytest.mark.parametrize("message", NOT_STORABLE.values(), ids=NOT_STORABLE.keys())
def test_what_could_not_be_stored_or_shown_again_is_refused_at_the_door(message: msgspec.Struct) -> None:
    with pytest.raises(WireError):
        unpack(type(message), pack(message))


# ------------------------------------------------------------------- secrets and signatures

CONFIDENTIAL = [
    REQUEST,
    REPLY,
    wire.EnrollRequest(1, "secret-code", b"k" * 32, "1"),
    wire.EnrollReply("T", 1, "S", "secret-session", 1, b"secret-chain-key", b"k" * 32, {}, 1, 0),
    wire.LookupRequest(1, 5_551_234),
]


@pytest.mark.parametrize("message", CONFIDENTIAL, ids=lambda message: type(message).__name__)
def test_a_message_with_a_secret_does_not_show_it(message: msgspec.Struct) -> None:
    assert repr(message) == f"{type(message).__name__}(…)"


def test_the_till_signs_what_it_says() -> None:
    """A change of any of these is a change of what was signed; the entries stand behind `head`."""
    changes: dict[str, Any] = {
        "v": 2, "epoch": 2, "session": "x", "first_seq": 2, "prev": b"x", "head": b"x", "down": {1: 1},
        "timeline": 2, "adopting": True, "echo": (wire.Echo((), b"", b""),),
    }  # fmt: skip
    signed = {
        wire.sync_signing_bytes("T1", msgspec.structs.replace(REQUEST, **{k: v})) for k, v in changes.items()
    }
    signed |= {wire.sync_signing_bytes("T1", REQUEST), wire.sync_signing_bytes("T2", REQUEST)}
    assert len(signed) == 12


def test_the_centre_signs_its_answer_to_one_request_only() -> None:
    """Also of two requests with nothing new in them, which an idle till sends all night."""
    item = DownItem(3, 1, b"", b"h")
    replies: dict[str, Any] = {
        "timeline": 2, "next_seq": 9, "durable_seq": 9, "session": "x", "down": (item,),
        "manifests": {"rulebook.all": 2}, "server_ms": 9,
    }  # fmt: skip
    said = {
        wire.reply_signing_bytes("T1", REQUEST, msgspec.structs.replace(REPLY, **{k: v}))
        for k, v in replies.items()
    }
    asked = {
        wire.reply_signing_bytes("T1", msgspec.structs.replace(REQUEST, **change), REPLY)
        for change in ({}, {"head": b"x"}, {"session": "tomorrow"})
    }
    assert len(said | asked) == len(replies) + 3


def test_a_signature_for_one_purpose_is_none_for_another() -> None:
    prefixes = {
        wire.sync_signing_bytes("T1", REQUEST).split(b"\0")[0],
        wire.reply_signing_bytes("T1", REQUEST, REPLY).split(b"\0")[0],
        wire.manifest_signing_bytes(b"{}").split(b"\0")[0],
    }
    assert prefixes == {b"kopilka-sync-1", b"kopilka-reply-1", b"kopilka-manifest-1"}


def test_every_downlink_has_a_beginning_of_its_own() -> None:
    starts = {wire.down_genesis(*who) for who in [("T1", 1, 1), ("T1", 2, 1), ("T2", 1, 1), ("T1", 1, 2)]}
    assert len(starts) == 4
