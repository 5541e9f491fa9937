"""Publishing a version of a signed channel (ledger-sync.md §6).

A version is a manifest, encoded once, stored and signed as those very bytes, and files named by their
sha256. Version n + 1 names the manifest of version n, so the line of publications cannot be bent
afterwards. What a till checks before it believes any of it is in loyalty/manifest.py.

The same files again are no new version: tills would activate nothing. But a manifest grows old, for a
till must notice when somebody keeps it from hearing of a newer one; what has been in force for
REFRESH_AFTER_S is therefore signed again with new dates, when a till syncs that reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from central import clock
from central.errors import Trouble
from central.home import Home, public_bytes
from central.rules.models import Blob, Publication, PublicationFile
from loyalty import manifest, wire
from loyalty.manifest import FileRef, Manifest
from loyalty.texts import N_

GROUP = "all"  # one group of stores; more come with campaigns
RULEBOOK_CHANNEL = f"{manifest.RULEBOOK}.{GROUP}"
CATALOG_CHANNEL = f"{manifest.CATALOG}.{GROUP}"
KEYSET_VERSION = 1
SOFT_EXPIRES_S = 30 * clock.DAY_S
NOT_AFTER_S = 365 * clock.DAY_S
REFRESH_AFTER_S = 10 * clock.DAY_S
KEY_ID_DIGITS = 16


class PublishError(Trouble):
    """Nothing was published; `text` says why and what to do."""


@dataclass(frozen=True, slots=True)
class Published:
    """What is in force on a channel now. `new` is False where the same content was in force already."""

    channel: str
    version: int
    new: bool


def settings_channel(store: str) -> str:
    """The channel that only this store's tills may read."""
    return f"{manifest.SETTINGS}.{store}"


def channels_of(store: str) -> tuple[str, ...]:
    """Every channel that a till of `store` may read."""
    return (settings_channel(store), RULEBOOK_CHANNEL, CATALOG_CHANNEL)


def newest(channel: str) -> Publication | None:
    """The newest version of a channel."""
    return Publication.objects.filter(channel=channel).order_by("-version").first()


def newest_versions(channels: tuple[str, ...]) -> dict[str, int]:
    """Channel -> newest version, of those that were published at all."""
    found = ((channel, newest(channel)) for channel in channels)
    return {channel: publication.version for channel, publication in found if publication}


def newest_file(channel: str, name: str) -> bytes | None:
    """A file of the newest version of a channel, or None where nothing was published."""
    publication = newest(channel)
    if publication is None:
        return None
    return bytes(PublicationFile.objects.get(publication=publication, name=name).blob.content)


def channel_keys(home: Home) -> dict[str, bytes]:
    """Key id -> public key: what a till gets at enrolment to verify manifests with."""
    key = public_bytes(home.channel_key)
    return {hashlib.sha256(key).hexdigest()[:KEY_ID_DIGITS]: key}


@transaction.atomic
def publish(channel: str, files: Mapping[str, bytes], *, content_seq: int | None = None) -> Published:
    """Make `files` the next version of `channel`, signed. Raises PublishError; then nothing has changed.

    `content_seq` is a rulebook's own number, which must grow with every publication (rulebook.md §2).
    """
    last = _locked(channel)
    refs = {
        name: FileRef(hashlib.sha256(content).hexdigest(), len(content)) for name, content in files.items()
    }
    if last is not None and manifest.parse(bytes(last.manifest)).files == refs:
        return Published(channel, last.version, new=False)
    _check(channel, refs, content_seq, last)
    for name, content in files.items():
        Blob.objects.get_or_create(sha256=refs[name].sha256, defaults={"content": content})
    return Published(channel, _sign_next(channel, refs, content_seq, last), new=True)


def keep_fresh(channels: tuple[str, ...]) -> None:
    """Sign again what has been in force for long, so that a till can tell a quiet centre from a frozen one.

    The files stay; only the version and the dates are new (ledger-sync.md §6, freeze).
    """
    stale_ms = clock.now_ms() - REFRESH_AFTER_S * 1000
    for channel in channels:
        found = newest(channel)
        if found is not None and found.published_ms <= stale_ms:
            with transaction.atomic():
                last = _locked(channel)
                if last is not None and last.published_ms <= stale_ms:
                    _sign_next(channel, manifest.parse(bytes(last.manifest)).files, last.content_seq, last)


def _locked(channel: str) -> Publication | None:
    return Publication.objects.select_for_update().filter(channel=channel).order_by("-version").first()


def _sign_next(
    channel: str, refs: dict[str, FileRef], content_seq: int | None, last: Publication | None
) -> int:
    """Sign and store the version after `last`; the contents are there already. The new version."""
    now_s = clock.now_s()
    version = last.version + 1 if last else 1
    raw = manifest.encode(
        Manifest(
            format=manifest.FORMAT,
            channel=channel,
            version=version,
            prev_manifest_sha256=hashlib.sha256(bytes(last.manifest)).hexdigest() if last else None,
            engine_min=manifest.ENGINE_SEMANTICS,
            valid_from=now_s,
            soft_expires=now_s + SOFT_EXPIRES_S,
            not_after=now_s + NOT_AFTER_S,
            files=refs,
            keyset_version=KEYSET_VERSION,
        )
    )
    home: Home = settings.HOME
    signature = home.channel_key.sign(wire.manifest_signing_bytes(raw))
    publication = Publication.objects.create(
        channel=channel,
        version=version,
        manifest=raw,
        signatures={key_id: signature.hex() for key_id in channel_keys(home)},
        content_seq=content_seq,
        published_ms=clock.now_ms(),
    )
    PublicationFile.objects.bulk_create(
        [
            PublicationFile(publication=publication, name=name, blob_id=ref.sha256)
            for name, ref in refs.items()
        ]
    )
    return version


def _check(
    channel: str, refs: Mapping[str, FileRef], content_seq: int | None, last: Publication | None
) -> None:
    for name, ref in refs.items():
        if not 0 < ref.size <= manifest.FILE_MAX_BYTES:
            raise PublishError(
                N_(
                    "{name} has {size} bytes; a till takes at most {max}.",
                    name=name,
                    size=ref.size,
                    max=manifest.FILE_MAX_BYTES,
                )
            )
    if content_seq is not None and last is not None and content_seq <= (last.content_seq or 0):
        raise PublishError(
            N_(
                "seq is {seq}, but seq {last} is published already ({channel}, version {version}). "
                "Give the rulebook a greater seq and publish again.",
                seq=content_seq,
                last=last.content_seq,
                channel=channel,
                version=last.version,
            )
        )
