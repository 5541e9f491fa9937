"""Signed channels at the till: a pretend centre publishes and an attacker tampers (ledger-sync.md §6).

Whatever the attacker does, the last good version stays in force and an alarm names it. The
till's own parts are real: the files, the judge, the keys, the compiler of rules.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.inbox import Event, Inbox, NewInForce
from agent.main import Programme
from agent.offline.ledger_db import LedgerDb
from agent.offline.snapshot_db import SnapshotDb
from agent.sync.channels import Channels
from agent.sync.client import Centre, CentreRefusal, LinkError
from loyalty import manifest, wire
from loyalty.manifest import FAST_FORWARD_MAX, FILE_MAX_BYTES, FileRef, Manifest
from loyalty.wire import ManifestReply
from tests.agent.shop import CATALOG, RULEBOOK, SETTINGS, TILL, enrolment

NOW_S = 1_795_000_000
DAY_S = 86_400
RULES, SHOP, GOODS = "rulebook.all", "settings.S1", "catalog.all"
FILE_OF = {RULES: "rulebook.json", SHOP: "settings.json", GOODS: "catalog.json"}


class PretendCentre:
    """`publish` as the office does, then `tamper` as an attacker on the line would.

    Has the methods of agent.sync.client.Centre that fetch; everything lies in memory.
    """

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.replies: dict[str, ManifestReply] = {}
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.fetched: list[str] = []
        self.down: Exception | None = None

    # -- the office

    def publish(self, channel: str, content: Any, version: int, **more: Any) -> Manifest:
        raw = content if isinstance(content, bytes) else msgspec.json.encode(content)
        sha256 = hashlib.sha256(raw).hexdigest()
        self.files[sha256] = raw
        fields: dict[str, Any] = {
            "format": 1, "channel": channel, "version": version, "prev_manifest_sha256": None,
            "engine_min": 1, "valid_from": NOW_S - 1, "soft_expires": NOW_S + DAY_S,
            "not_after": NOW_S + 2 * DAY_S,
            "files": {FILE_OF[channel]: FileRef(sha256, len(raw))}, "keyset_version": 1,
        }  # fmt: skip
        made = Manifest(**{**fields, **more})
        self.sign(channel, manifest.encode(made))
        return made

    def sign(self, channel: str, raw: bytes) -> None:
        self.replies[channel] = ManifestReply(raw, {"k1": self.key.sign(wire.manifest_signing_bytes(raw))})

    def newest(self) -> dict[str, int]:
        return {
            name: msgspec.json.decode(reply.manifest, type=Manifest).version
            for name, reply in self.replies.items()
        }

    # -- the attacker

    def tamper_manifest(self, channel: str, before: bytes, after: bytes) -> None:
        reply = self.replies[channel]
        assert before in reply.manifest
        self.replies[channel] = ManifestReply(reply.manifest.replace(before, after), reply.signatures)

    def tamper_signature(self, channel: str) -> None:
        reply = self.replies[channel]
        bad = bytes([reply.signatures["k1"][0] ^ 1]) + reply.signatures["k1"][1:]
        self.replies[channel] = ManifestReply(reply.manifest, {"k1": bad})

    def tamper_file(self, change: Callable[[bytes], bytes]) -> None:
        self.files = {sha256: change(content) for sha256, content in self.files.items()}

    # -- what the till calls

    def manifest(self, channel: str, _session: str) -> ManifestReply:
        if self.down is not None:
            raise self.down
        self.asked.append(channel)
        return self.replies[channel]

    def file(self, sha256: str, size: int, _session: str) -> bytes:
        if self.down is not None:
            raise self.down
        self.fetched.append(sha256)
        return self.files[sha256][:size]  # the real one reads no more than it was told, either


class TillsThread(Inbox):
    """What the till's thread does with a new version, at once: note it, then sell by it."""

    def __init__(self, till: Till) -> None:
        super().__init__()
        self._till = till

    def post(self, event: Event) -> None:
        assert isinstance(event, NewInForce)
        if self._till.fail is not None:
            raise self._till.fail
        self._till.ledger.note_channel(event.channel, event.version, event.manifest_sha256, self._till.now_s)
        self._till.in_force = event.in_force
        event.reply.set_result(True)


class Till:
    """The till's side, with real files; `in_force` is what it sells by."""

    def __init__(self, directory: Path, centre: PretendCentre) -> None:
        self.directory = directory
        self.centre = centre
        self.now_s = NOW_S
        self.alarms: dict[str, str] = {}
        self.fail: BaseException | None = None
        self.open()

    def open(self) -> None:
        """Switch on: what was in force is in force again, and what a crash left half done is finished."""
        self.ledger = LedgerDb(self.directory / "ledger.db")
        if self.ledger.identity() is None:
            self.ledger.enrol(enrolment(), "http://centre")
        self.shelf = SnapshotDb(self.directory / "snapshot.db")
        self.programme = Programme(TillsThread(self), self.shelf, "S1")
        self.in_force = self.programme.at_start(self.ledger)
        keys = {"k1": self.centre.key.public_key().public_bytes_raw()}
        self.channels = Channels(
            keys=keys,
            shelf=self.shelf,
            highest=self.ledger.channel_version,
            activate=self.programme.activate,
            alarm=self.hear,
            now_s=lambda: self.now_s,
        )

    def close(self) -> None:
        self.shelf.close()
        self.ledger.close()

    def crash(self) -> None:
        self.close()
        self.open()

    def hear(self, channel: str, word: str | None, _detail: str) -> None:
        if word is None:
            self.alarms.pop(channel, None)
        else:
            self.alarms[channel] = word

    def sync(self) -> None:
        """What the sync thread does when the centre says what is newest."""
        self.channels.fetch(cast("Centre", self.centre), self.centre.newest(), "s1")

    def sells_by(self) -> int | None:
        return self.in_force.rulebook_seq if self.in_force else None

    def versions(self) -> dict[str, tuple[int, int]]:
        """Of each channel: what ledger.db noted, and where snapshot.db points."""
        return {name: (self.ledger.channel_version(name), self.shelf.version(name)) for name in FILE_OF}


def rules(seq: int, **more: Any) -> dict[str, Any]:
    return {**RULEBOOK, "seq": seq, **more}


@pytest.fixture
def centre() -> PretendCentre:
    """Has published settings, goods and rulebook 7 as version 5."""
    centre = PretendCentre()
    centre.publish(SHOP, SETTINGS, 2)
    centre.publish(GOODS, CATALOG, 3)
    centre.publish(RULES, rules(7), 5)
    return centre


@pytest.fixture
def till(tmp_path: Path, centre: PretendCentre) -> Iterator[Till]:
    """Sells by rulebook 7."""
    till = Till(tmp_path, centre)
    till.sync()
    assert till.sells_by() == 7
    assert till.alarms == {}
    yield till
    till.close()


# ------------------------------------------------------------------------- all goes well


def test_a_new_till_has_everything_after_one_sync(till: Till) -> None:
    assert till.versions() == {SHOP: (2, 2), GOODS: (3, 3), RULES: (5, 5)}
    assert till.in_force is not None
    assert till.in_force.settings.store.name == "Магазин у дома"
    assert till.in_force.catalog_version == 3
    assert list(till.in_force.catalog.skus_by_barcode("4600000000015")) == ["milk-1"]


def test_settings_come_first(till: Till, centre: PretendCentre) -> None:
    """By the alphabet they would come last; but they say what the others are."""
    centre.asked.clear()
    till.sync()
    assert centre.asked[0] == SHOP
    assert sorted(centre.asked) == sorted(FILE_OF)


def test_a_new_till_tries_its_rules_with_the_goods_that_came_with_them(
    tmp_path: Path, centre: PretendCentre
) -> None:
    """The rules' own test buys milk of the dairy; the centre names the rules before the goods."""
    percent = {"type": "percent", "bp": 1000}
    dairy = {"id": "dairy", "stage": "line", "items": {"category": ["milk"]}, "effect": percent}
    milk = {"id": "1", "sku": "milk-1", "price": 8990, "quantity": 1000}
    receipt = {"id": "R1", "till": "T1", "store": "S1", "at": "2026-02-13T12:00:00+03:00", "lines": [milk]}
    own_test = {"title": "dairy is cheaper", "receipt": receipt, "expect": {"pay": 8091}}
    centre.publish(RULES, rules(8, rules=[dairy], tests=[own_test]), 6)
    till = Till(tmp_path, centre)
    channels = dict(sorted(centre.newest().items(), reverse=True))
    till.channels.fetch(cast("Centre", centre), channels, "s1")
    assert (till.sells_by(), till.alarms) == (8, {})
    till.close()


def test_new_rules_come_into_force(till: Till, centre: PretendCentre) -> None:
    centre.publish(RULES, rules(8), 6)
    till.sync()
    assert (till.sells_by(), till.versions()[RULES]) == (8, (6, 6))


def test_the_same_version_is_not_fetched_twice(till: Till, centre: PretendCentre) -> None:
    centre.fetched.clear()
    till.sync()
    assert centre.fetched == []


def test_rules_of_next_week_wait_for_their_day(till: Till, centre: PretendCentre) -> None:
    centre.publish(RULES, rules(8), 6, valid_from=NOW_S + DAY_S)
    till.sync()
    assert (till.sells_by(), till.alarms) == (7, {})
    till.now_s += DAY_S
    till.sync()
    assert till.sells_by() == 8


# ------------------------------------------------------------------------------- attacks


def forge_rules(centre: PretendCentre) -> None:
    """Arbitrary rules: the attacker has the line, not the key."""
    stranger, key = Ed25519PrivateKey.generate(), centre.key
    centre.key = stranger
    centre.publish(RULES, rules(666), 6)
    centre.key = key


def change_manifest(centre: PretendCentre) -> None:
    centre.publish(RULES, rules(8), 6)
    centre.tamper_manifest(RULES, b'"version":6', b'"version":7')


def change_signature(centre: PretendCentre) -> None:
    centre.publish(RULES, rules(8), 6)
    centre.tamper_signature(RULES)


def change_file(centre: PretendCentre) -> None:
    centre.publish(RULES, rules(8), 6)
    centre.tamper_file(lambda content: content.replace(b'"bp":1000', b'"bp":9000'))


def cut_file(centre: PretendCentre) -> None:
    centre.publish(RULES, rules(8), 6)
    centre.tamper_file(lambda content: content[:-1])


def roll_back(centre: PretendCentre) -> None:
    centre.publish(RULES, rules(3), 4)


def fast_forward(centre: PretendCentre) -> None:
    centre.publish(RULES, rules(8), 6 + FAST_FORWARD_MAX)


def freeze(centre: PretendCentre) -> None:
    centre.publish(RULES, rules(8), 6, not_after=NOW_S)


def other_channel(centre: PretendCentre) -> None:
    """Signed, but it is the goods: a manifest must not pass for another."""
    centre.replies[RULES] = centre.replies[GOODS]


def mix_and_match(centre: PretendCentre) -> None:
    """The new manifest with the old file under the new file's address."""
    old = dict(centre.files)
    made = centre.publish(RULES, rules(8), 6)
    centre.files = {**old, made.files["rulebook.json"].sha256: next(iter(old.values()))}


def endless_data(centre: PretendCentre) -> None:
    centre.publish(RULES, rules(8), 6, files={"rulebook.json": FileRef("ab" * 32, FILE_MAX_BYTES + 1)})


def another_engine(centre: PretendCentre) -> None:
    centre.publish(RULES, rules(8), 6, engine_min=manifest.ENGINE_SEMANTICS + 1)


def without_its_file(centre: PretendCentre) -> None:
    centre.publish(RULES, rules(8), 6, files={"readme.txt": FileRef("ab" * 32, 5)})


def three_faults(centre: PretendCentre) -> None:
    """Signed by the centre, and wrong all the same: the till compiles before it believes."""
    bad = {"id": "bad", "stage": "line", "effect": {"type": "percent", "bp": -5}}
    centre.publish(RULES, rules(8, rules=[bad, {**bad, "stage": "nowhere"}, {"id": "bad"}]), 6)


def not_json(centre: PretendCentre) -> None:
    centre.publish(RULES, b"\xff\x00", 6)


ATTACKS: list[tuple[Callable[[PretendCentre], None], str]] = [
    (forge_rules, "bad_signature"),
    (change_manifest, "bad_signature"),
    (change_signature, "bad_signature"),
    (change_file, "wrong_file"),
    (cut_file, "wrong_file"),
    (roll_back, "rollback"),
    (fast_forward, "fast_forward"),
    (freeze, "freeze"),
    (other_channel, "wrong_target"),
    (mix_and_match, "wrong_file"),
    (endless_data, "endless_data"),
    (another_engine, "too_new"),
    (without_its_file, "bad_manifest"),
    (three_faults, "refused_here"),
    (not_json, "refused_here"),
]


@pytest.mark.parametrize(("attack", "word"), ATTACKS, ids=lambda part: getattr(part, "__name__", ""))
def test_an_attack_leaves_the_last_good_version_in_force_and_raises_its_alarm(
    till: Till, centre: PretendCentre, attack: Callable[[PretendCentre], None], word: str
) -> None:
    attack(centre)
    before = till.in_force
    till.channels.fetch(cast("Centre", centre), {RULES: 6}, "s1")
    assert till.in_force is before
    assert till.alarms == {RULES: word}
    assert till.versions()[RULES] == (5, 5)
    # Also after the till was switched off and on again.
    till.crash()
    assert till.sells_by() == 7
    # And the alarm goes when the office publishes a good one.
    centre.publish(RULES, rules(9), 7)
    till.sync()
    assert (till.sells_by(), till.alarms) == (9, {})


def test_versions_never_fall_even_when_the_snapshot_is_gone(till: Till, centre: PretendCentre) -> None:
    """Deleting what the centre told us must not open the door for the past."""
    till.close()
    (till.directory / "snapshot.db").unlink()
    till.open()
    centre.publish(RULES, rules(3), 4)
    till.sync()
    assert till.alarms == {RULES: "rollback"}
    centre.publish(RULES, rules(7), 5)
    till.sync()
    assert (till.sells_by(), till.alarms) == (7, {})


def test_one_bad_channel_does_not_hold_up_the_others(till: Till, centre: PretendCentre) -> None:
    centre.publish(SHOP, {**SETTINGS, "sync_interval_s": 0}, 3)
    centre.publish(RULES, rules(8), 6)
    till.sync()
    assert till.alarms == {SHOP: "refused_here"}
    assert till.sells_by() == 8


def test_rules_whose_own_tests_fail_with_the_goods_here_stay_out(till: Till, centre: PretendCentre) -> None:
    sale = {"id": "R", "till": "T", "store": "S", "at": "2026-02-13T12:00:00+03:00", "lines": []}
    test = {"title": "an empty basket costs nothing", "receipt": sale, "expect": {"pay": 1}}
    centre.publish(RULES, {**rules(8), "tests": [test]}, 6)
    till.sync()
    assert till.alarms == {RULES: "refused_here"}
    assert till.sells_by() == 7
    centre.publish(RULES, {**rules(8), "tests": [{**test, "expect": {"pay": 0}}]}, 7)
    till.sync()
    assert (till.alarms, till.sells_by()) == ({}, 8)


def test_refused_rules_are_not_fetched_every_minute(
    till: Till, centre: PretendCentre, caplog: pytest.LogCaptureFixture
) -> None:
    three_faults(centre)
    till.sync()
    centre.fetched.clear()
    caplog.clear()
    till.sync()
    assert (centre.fetched, till.alarms, caplog.records) == ([], {RULES: "refused_here"}, [])


def test_a_trouble_is_logged_once_when_it_comes_and_once_more_when_it_comes_back(
    till: Till, centre: PretendCentre, caplog: pytest.LogCaptureFixture
) -> None:
    good = centre.replies[RULES]
    centre.tamper_signature(RULES)
    with caplog.at_level(logging.ERROR):
        till.sync()
        till.sync()
        assert len(caplog.records) == 1
        centre.replies[RULES] = good
        till.sync()
        centre.tamper_signature(RULES)
        till.sync()
    assert len(caplog.records) == 2


@pytest.mark.parametrize("down", [LinkError("the cable"), CentreRefusal(503, None, None)])
def test_a_link_that_fails_half_way_is_no_alarm(till: Till, centre: PretendCentre, down: Exception) -> None:
    centre.publish(RULES, rules(8), 6)
    centre.down = down
    till.sync()
    assert (till.sells_by(), till.alarms) == (7, {})
    centre.down = None
    till.sync()
    assert till.sells_by() == 8


# ---------------------------------------------------------------------------- half-written


class PowerCutError(BaseException):
    """Nothing after this point happens."""


def cut_power(*_: object) -> None:
    raise PowerCutError


def test_a_crash_before_the_version_is_noted_leaves_the_old_one(till: Till, centre: PretendCentre) -> None:
    centre.publish(RULES, rules(8), 6)
    till.fail = PowerCutError()
    with pytest.raises(PowerCutError):
        till.sync()
    till.fail = None
    till.crash()
    assert (till.sells_by(), till.versions()[RULES]) == (7, (5, 5))
    till.sync()
    assert till.sells_by() == 8


def test_a_crash_between_the_note_and_the_pointer_is_made_good_at_start(
    till: Till, centre: PretendCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    centre.publish(RULES, rules(8), 6)
    monkeypatch.setattr(till.shelf, "point", cut_power)
    with pytest.raises(PowerCutError):
        till.sync()
    assert till.versions()[RULES] == (6, 5)
    till.crash()
    assert (till.sells_by(), till.versions()[RULES]) == (8, (6, 6))


def test_a_crash_while_files_are_stored_leaves_nothing_of_them(
    till: Till, centre: PretendCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = centre.publish(RULES, rules(8), 6)
    monkeypatch.setattr(till.shelf, "stage", cut_power)
    with pytest.raises(PowerCutError):
        till.sync()
    till.crash()
    assert not till.shelf.has_file(made.files["rulebook.json"].sha256)
    assert till.sells_by() == 7


def test_a_till_that_cannot_note_a_version_does_not_use_it(till: Till, centre: PretendCentre) -> None:
    """The disk is full: the fault goes up to the thread, which tries again later."""
    centre.publish(RULES, rules(8), 6)
    till.fail = RuntimeError("no room on the disk")
    with pytest.raises(RuntimeError):
        till.sync()
    assert till.versions()[RULES] == (5, 5)
    till.fail = None
    till.sync()
    assert till.sells_by() == 8
    assert till.ledger.identity() is not None
    assert till.ledger.verify(TILL) == 0
