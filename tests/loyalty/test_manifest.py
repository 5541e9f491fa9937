"""What may follow what in a signed channel: the judge, before any file is fetched."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from loyalty import manifest
from loyalty.manifest import (
    FAST_FORWARD_MAX,
    FileRef,
    Manifest,
    ManifestError,
    admit,
    check_file,
    encode,
    parse,
)

CONTENT = b'{"rules": []}'
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CHANNEL = "rulebook.all"


def version(number: int = 5, **more: Any) -> Manifest:
    fields: dict[str, Any] = {
        "format": 1,
        "channel": CHANNEL,
        "version": number,
        "prev_manifest_sha256": None,
        "engine_min": 1,
        "valid_from": 0,
        "soft_expires": 10,
        "not_after": 20,
        "files": {"rulebook.json": FileRef(SHA256, len(CONTENT))},
        "keyset_version": 1,
    }
    return Manifest(**{**fields, **more})


def alarm(raw: bytes) -> str:
    with pytest.raises(ManifestError) as refused:
        parse(raw)
    return refused.value.alarm


def test_what_is_published_is_what_is_read() -> None:
    assert parse(encode(version())) == version()


def test_a_newer_office_may_say_more() -> None:
    raw = msgspec.json.encode({**msgspec.json.decode(encode(version())), "campaign": "spring"})
    assert parse(raw) == version()


REFUSED: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"{", "bad_manifest"),
    "not UTF-8": (b'{"channel": "\xff"}', "bad_manifest"),
    "nested without end": (b'{"a": ' + b"[" * 100_000, "bad_manifest"),
    "a later format": (encode(version(format=2)), "too_new"),
    "no such channel": (encode(version(channel="prices.all")), "bad_manifest"),
    "a channel that would leave its folder": (encode(version(channel="rulebook.../../x")), "bad_manifest"),
    "no files": (encode(version(files={})), "bad_manifest"),
    "without the file it is about": (
        encode(version(files={"readme.txt": FileRef(SHA256, 5)})), "bad_manifest",
    ),
    "an empty file": (encode(version(files={"rulebook.json": FileRef(SHA256, 0)})), "endless_data"),
    "a file too large": (
        encode(version(files={"rulebook.json": FileRef(SHA256, manifest.FILE_MAX_BYTES + 1)})),
        "endless_data",
    ),
    "too many files": (
        encode(version(files={str(n): FileRef(SHA256, 1) for n in range(manifest.FILES_MAX + 1)})),
        "bad_manifest",
    ),
    "a hash that is none": (
        encode(version(files={"rulebook.json": FileRef(SHA256.upper(), 5)})), "bad_manifest",
    ),
    "a manifest too large": (b" " * (manifest.MANIFEST_MAX_BYTES + 1), "endless_data"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "word"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_a_version_raises_its_alarm(raw: bytes, word: str) -> None:
    assert alarm(raw) == word


@pytest.mark.parametrize(
    ("number", "highest", "word"),
    [
        (6, 5, None),
        (5, 5, None),  # the same again: somebody asks what is newest
        (4, 5, "rollback"),
        (5 + FAST_FORWARD_MAX, 5, None),
        (6 + FAST_FORWARD_MAX, 5, "fast_forward"),
        (-1, 0, "rollback"),
    ],
)
def test_versions_only_grow_and_never_leap(number: int, highest: int, word: str | None) -> None:
    if word is None:
        admit(version(number), CHANNEL, highest)
        return
    with pytest.raises(ManifestError) as refused:
        admit(version(number), CHANNEL, highest)
    assert refused.value.alarm == word


def test_a_version_of_one_channel_is_none_of_another() -> None:
    with pytest.raises(ManifestError) as refused:
        admit(version(), "rulebook.moscow", 0)
    assert refused.value.alarm == "wrong_target"


def test_rules_that_need_a_newer_engine_wait_for_it() -> None:
    with pytest.raises(ManifestError) as refused:
        admit(version(engine_min=manifest.ENGINE_SEMANTICS + 1), CHANNEL, 0)
    assert refused.value.alarm == "too_new"


def test_a_file_is_the_one_that_was_signed() -> None:
    check_file(version(), "rulebook.json", CONTENT)
    for other in (CONTENT + b" ", CONTENT[:-1], CONTENT.replace(b"rules", b"RULES"), b""):
        with pytest.raises(ManifestError) as refused:
            check_file(version(), "rulebook.json", other)
        assert refused.value.alarm == "wrong_file"
