"""New versions of signed channels: fetched, judged, tried on, noted, and only then in force.

The order is the safety (ledger-sync.md §4, §6): every byte is verified before any
of it is believed; the files are stored, but nothing points at them; `activate` compiles
(a rulebook with a fault is refused there), and the till's thread notes the version in
ledger.db and swaps the compiled value by one reference; only then does snapshot.db's
pointer move. A failure at any step leaves the last good version in force and raises an
alarm by name; a crash between two steps is made good at start (main.py, `at_start`).

A version whose content was refused is not fetched again until the centre has another one:
its files can be sixteen megabytes, and the till asks every minute.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Protocol

from agent.sync import trust
from agent.sync.client import Centre, CentreRefusal, LinkError
from loyalty import manifest as judge
from loyalty.faults import Refused
from loyalty.manifest import Manifest, ManifestError
from loyalty.settings import SettingsError

log = logging.getLogger(__name__)

NOT_FETCHED = "not_fetched"
IN_ORDER = (judge.SETTINGS, judge.CATALOG, judge.RULEBOOK)  # each is tried on beside those before it


class Shelf(Protocol):
    """Where verified versions lie (offline/snapshot_db.py)."""

    def version(self, channel: str) -> int:
        """The version in force there."""

    def stage(self, manifest: Manifest, body: bytes, contents: dict[str, bytes]) -> None:
        """Store a version that is not in force yet."""

    def point(self, channel: str, version: int) -> None:
        """It is in force now."""


def _place(channel: str) -> int:
    kind = channel.partition(".")[0]
    return IN_ORDER.index(kind) if kind in IN_ORDER else len(IN_ORDER)


class Channels:
    """`activate(channel, version, manifest sha256, contents)` compiles and hands over to the till."""

    def __init__(
        self,
        keys: dict[str, bytes],
        shelf: Shelf,
        highest: Callable[[str], int],
        activate: Callable[[str, int, str, dict[str, bytes]], bool],
        alarm: Callable[[str, str | None, str], None],
        now_s: Callable[[], int],
    ) -> None:
        self._keys = keys
        self._shelf = shelf
        self._highest = highest
        self._activate = activate
        self._alarm = alarm
        self._now_s = now_s
        self._refused: dict[str, str] = {}  # channel -> sha256 of the manifest that was refused here
        self._said: dict[str, str] = {}  # channel -> the trouble that was logged

    def fetch(self, centre: Centre, channels: dict[str, int], session: str) -> None:
        """Bring every channel of `channels` up to date.

        Settings first: they say what the others are. Goods before rules: a rulebook's own tests name goods,
        and a new till has none yet.
        """
        for channel in sorted(channels, key=_place):
            try:
                self._bring(centre, channel, session)
            except ManifestError as error:
                self._trouble(channel, error.alarm, str(error))
            except (LinkError, CentreRefusal) as error:
                if self._said.get(channel) != NOT_FETCHED:
                    log.warning("channel %s: %s; the version in force stays", channel, error)
                self._said[channel] = NOT_FETCHED

    def _bring(self, centre: Centre, channel: str, session: str) -> None:
        in_force = self._shelf.version(channel)
        reply = centre.manifest(channel, session)
        manifest = trust.open_manifest(reply, self._keys, channel, max(self._highest(channel), in_force))
        if manifest.version != in_force:
            sha256 = hashlib.sha256(reply.manifest).hexdigest()
            now_s = self._now_s()
            if now_s >= manifest.not_after:
                raise ManifestError("freeze", f"{channel} version {manifest.version} is past its last day")
            if now_s < manifest.valid_from or self._refused.get(channel) == sha256:
                return  # it waits for its day, or stays refused
            contents = self._files(centre, manifest, session)
            self._shelf.stage(manifest, reply.manifest, contents)
            try:
                if not self._activate(channel, manifest.version, sha256, contents):
                    return  # not yet; the next sync asks again
            except (Refused, SettingsError) as error:
                self._refused[channel] = sha256
                self._trouble(channel, "refused_here", str(error))
                return
            self._shelf.point(channel, manifest.version)
            log.info("channel %s: version %d is in force", channel, manifest.version)
            self._refused.clear()  # what was refused beside the old version may be right beside the new one
        self._said.pop(channel, None)
        self._alarm(channel, None, "")

    def _files(self, centre: Centre, manifest: Manifest, session: str) -> dict[str, bytes]:
        """Every file of a version, each checked against what was signed."""
        contents: dict[str, bytes] = {}
        for name, ref in manifest.files.items():
            contents[name] = centre.file(ref.sha256, ref.size, session)
            judge.check_file(manifest, name, contents[name])
        return contents

    def _trouble(self, channel: str, word: str, detail: str) -> None:
        if self._said.get(channel) != word:
            log.error("channel %s refused (%s): %s; the last good version stays", channel, word, detail)
        self._said[channel] = word
        self._alarm(channel, word, detail)
