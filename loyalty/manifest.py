"""Signed channels: what a manifest is, and when the next one may replace the last.

Everything that changes how a till behaves (settings, rules, goods) arrives by a
channel: a small manifest, signed, that names the content by its sha256. One
signature covers all files of a version, so versions cannot be mixed; the channel
stands inside the signed bytes, so one cannot pass for another; the version only
grows, so the past cannot be replayed (after The Update Framework; ledger-sync.md §6).

This file is the judge of what may follow what. It neither verifies signatures
(agent/sync/trust.py has the keys) nor fetches anything.

Channels are named `settings.{store}`, `rulebook.{group}`, `catalog.{group}`; which
group a store belongs to is said in its settings.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from loyalty.decoding import UNREADABLE

FORMAT = 1
ENGINE_SEMANTICS = 1  # rulebook.md: the semantics this program computes
FILE_MAX_BYTES = 16 * 1024 * 1024
FILES_MAX = 4096
MANIFEST_MAX_BYTES = 1024 * 1024
FAST_FORWARD_MAX = 1_000_000  # a version that leaps further is an attack, not a publication

SETTINGS, RULEBOOK, CATALOG = "settings", "rulebook", "catalog"
CHANNEL = re.compile(r"(settings|rulebook|catalog|directory)\.[A-Za-z0-9_:-]{1,64}")
# The file without which a version of such a channel is nothing.
MAIN_FILE = {SETTINGS: "settings.json", RULEBOOK: "rulebook.json", CATALOG: "catalog.json"}


class FileRef(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One file of a version: lower-case hex sha256 and size in bytes."""

    sha256: str
    size: int


class Manifest(msgspec.Struct, frozen=True):
    """One version of one channel. Times are UTC seconds; `files` maps a role ("rulebook.json") to content."""

    format: int
    channel: str
    version: int
    prev_manifest_sha256: str | None
    engine_min: int
    valid_from: int
    soft_expires: int
    not_after: int
    files: dict[str, FileRef]
    keyset_version: int


class ManifestError(ValueError):
    """A manifest or file that must not come into force. `alarm` is the word that till and office show."""

    def __init__(self, alarm: str, detail: str) -> None:
        super().__init__(detail)
        self.alarm = alarm


def encode(manifest: Manifest) -> bytes:
    """The exact bytes that are signed."""
    return msgspec.json.encode(manifest)


def parse(raw: bytes) -> Manifest:
    """The manifest in `raw`, whose signature has been verified already. Raises ManifestError."""
    if len(raw) > MANIFEST_MAX_BYTES:
        raise ManifestError("endless_data", f"a manifest of {len(raw)} bytes; at most {MANIFEST_MAX_BYTES}")
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except UNREADABLE as error:
        raise ManifestError("bad_manifest", f"not a manifest: {error}") from error
    if manifest.format != FORMAT:
        raise ManifestError("too_new", f"manifest format {manifest.format}; this program knows {FORMAT}")
    if not CHANNEL.fullmatch(manifest.channel):
        raise ManifestError("bad_manifest", f"no such channel: {manifest.channel!r}")
    if not 0 < len(manifest.files) <= FILES_MAX:
        raise ManifestError("bad_manifest", f"{len(manifest.files)} files; 1 to {FILES_MAX} are allowed")
    main = MAIN_FILE.get(manifest.channel.partition(".")[0])
    if main is not None and main not in manifest.files:
        raise ManifestError("bad_manifest", f"{manifest.channel} without its {main}")
    for name, file in manifest.files.items():
        if not 0 < file.size <= FILE_MAX_BYTES:
            raise ManifestError("endless_data", f"file {name}: {file.size} bytes; at most {FILE_MAX_BYTES}")
        if not re.fullmatch(r"[0-9a-f]{64}", file.sha256):
            raise ManifestError("bad_manifest", f"file {name}: its sha256 is not 64 hex digits")
    return manifest


def admit(manifest: Manifest, channel: str, highest: int) -> None:
    """May this manifest follow version `highest` of `channel`? Raises ManifestError with the alarm."""
    if manifest.channel != channel:
        raise ManifestError("wrong_target", f"asked for {channel}, got {manifest.channel}")
    if manifest.version < highest:
        raise ManifestError("rollback", f"{channel}: version {manifest.version} after {highest}")
    if manifest.version > highest + FAST_FORWARD_MAX:
        raise ManifestError("fast_forward", f"{channel}: version {manifest.version} after {highest}")
    if manifest.engine_min > ENGINE_SEMANTICS:
        raise ManifestError(
            "too_new", f"{channel}: needs semantics {manifest.engine_min}, this is {ENGINE_SEMANTICS}"
        )


def check_file(manifest: Manifest, name: str, content: bytes) -> None:
    """Is `content` the file that the manifest names? Raises ManifestError."""
    file = manifest.files[name]
    if len(content) != file.size or hashlib.sha256(content).hexdigest() != file.sha256:
        raise ManifestError(
            "wrong_file", f"{manifest.channel} version {manifest.version}: {name} is not as signed"
        )
