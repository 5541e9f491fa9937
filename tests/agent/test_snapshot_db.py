"""snapshot.db: what the centre told us. It can all be fetched again, so nothing in it stops a till."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.offline import snapshot_db
from agent.offline.snapshot_db import VERSIONS_KEPT, Members, SnapshotDb, Versions
from loyalty import manifest
from loyalty.manifest import FileRef, Manifest
from loyalty.wire import Member

RULES = "rulebook.all"
CARD_KEY = 5_551_234_567


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[SnapshotDb]:
    with closing(SnapshotDb(tmp_path / "snapshot.db")) as shelf:
        yield shelf


def version(
    number: int, content: bytes, channel: str = RULES, name: str = "rulebook.json"
) -> tuple[Manifest, bytes]:
    ref = FileRef(hashlib.sha256(content).hexdigest(), len(content))
    made = Manifest(1, channel, number, None, 1, 0, 10, 20, {name: ref}, 1)
    return made, manifest.encode(made)


def staged(shelf: SnapshotDb, number: int, content: bytes, channel: str = RULES) -> None:
    made, raw = version(number, content, channel)
    shelf.stage(made, raw, {"rulebook.json": content})


def in_force(shelf: SnapshotDb) -> tuple[int, bytes] | None:
    newest = shelf.stored("rulebook.all", shelf.version("rulebook.all"))
    return (newest.version, newest.files["rulebook.json"]) if newest else None


def files_kept(shelf: SnapshotDb) -> int:
    (count,) = shelf._db.execute("SELECT count(*) FROM file").fetchone()
    return int(count)


# -------------------------------------------------------------------------------- channels


def test_what_is_stored_is_not_in_force_until_the_pointer_moves(shelf: SnapshotDb) -> None:
    staged(shelf, 5, b"old")
    assert (shelf.version(RULES), in_force(shelf), list(shelf.versions())) == (0, None, [])
    shelf.point(RULES, 5)
    staged(shelf, 6, b"new")
    assert in_force(shelf) == (5, b"old")
    shelf.point(RULES, 6)
    assert in_force(shelf) == (6, b"new")
    assert list(shelf.versions()) == [RULES]


def test_the_manifests_very_bytes_are_kept(shelf: SnapshotDb) -> None:
    made, raw = version(5, b"rules")
    shelf.stage(made, raw + b"\n", {"rulebook.json": b"rules"})
    kept = shelf.stored(RULES, 5)
    assert kept is not None
    assert (kept.version, kept.manifest, kept.files) == (5, raw + b"\n", {"rulebook.json": b"rules"})


def test_storing_the_same_version_again_changes_nothing(shelf: SnapshotDb) -> None:
    """After a crash the same is done once more."""
    for _ in range(2):
        staged(shelf, 5, b"rules")
        shelf.point(RULES, 5)
    assert (in_force(shelf), files_kept(shelf)) == ((5, b"rules"), 1)


def test_old_versions_are_let_go_and_their_files_with_them(shelf: SnapshotDb) -> None:
    for number in range(1, 10):
        staged(shelf, number, b"rules %d" % number)
        shelf.point(RULES, number)
    kept = [number for number in range(1, 10) if shelf.stored(RULES, number) is not None]
    assert kept == list(range(10 - VERSIONS_KEPT, 10))
    assert files_kept(shelf) == VERSIONS_KEPT


def rules(seq: int, title: str = "") -> bytes:
    return json.dumps({"format": 1, "seq": seq, "title": title}).encode()


def test_rules_that_a_receipt_was_priced_by_stay_for_the_day_its_goods_come_back(shelf: SnapshotDb) -> None:
    shelf.named = lambda: {(2, 7), (9, 9)}
    for number in range(1, 11):  # what was published as seq 2 was signed again as versions 3 and 4
        staged(shelf, number, rules(2 if number in (2, 3, 4) else number))
        shelf.point(RULES, number)
    versions = Versions(shelf._db)
    assert [number for number, _ in versions.older(RULES)] == [10, 9, 8, 4]
    kept = versions.rulebook(RULES, 2)
    assert kept is not None
    assert (kept.version, kept.files["rulebook.json"]) == (4, rules(2))
    assert versions.rulebook(RULES, 5) is None
    shelf.named = frozenset  # those receipts were pruned
    shelf.point(RULES, 10)
    assert [number for number, _ in versions.older(RULES)] == [10, 9, 8]


def test_goods_are_kept_by_their_version_and_there_is_an_end_to_it(
    shelf: SnapshotDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.named = lambda: {(1, 1), (1, 2), (1, 3)}
    monkeypatch.setattr(snapshot_db, "NAMED_BYTES_MAX", 250)
    for number in range(1, 8):
        staged(shelf, number, bytes([number]) * 100, channel="catalog.all")
    shelf.point("catalog.all", 7)
    kept = [number for number, _ in Versions(shelf._db).older("catalog.all")]
    assert kept == [7, 6, 5, 3, 2]  # 4 is named by nobody, and for 1 there was no room


def test_where_the_ledger_cannot_say_what_it_names_everything_stays(shelf: SnapshotDb) -> None:
    def damaged() -> set[tuple[int, int]]:
        raise sqlite3.DatabaseError("disk image is malformed")

    shelf.named = damaged
    for number in range(1, 8):
        staged(shelf, number, rules(number))
        shelf.point(RULES, number)
    assert len(Versions(shelf._db).older(RULES)) == 7


def test_a_file_that_two_versions_share_stays_as_long_as_one_needs_it(shelf: SnapshotDb) -> None:
    for number in range(1, 10):
        staged(shelf, number, b"the same rules")
        shelf.point(RULES, number)
    assert in_force(shelf) == (9, b"the same rules")
    assert files_kept(shelf) == 1


def test_a_version_whose_file_is_gone_is_not_there(shelf: SnapshotDb) -> None:
    staged(shelf, 5, b"rules")
    shelf._db.execute("DELETE FROM file")
    assert shelf.stored(RULES, 5) is None
    assert not shelf.has_file(hashlib.sha256(b"rules").hexdigest())


def test_a_failure_while_storing_leaves_nothing(shelf: SnapshotDb) -> None:
    made, raw = version(5, b"rules")
    with pytest.raises(KeyError):
        shelf.stage(made, raw, {"rulebook.json": b"rules", "not in the manifest": b"x"})
    assert (shelf.stored(RULES, 5), files_kept(shelf)) == (None, 0)


# --------------------------------------------------------------------------------- members


def test_a_card_that_was_looked_up_is_known_the_next_time(shelf: SnapshotDb, tmp_path: Path) -> None:
    with closing(Members.open(tmp_path / "snapshot.db")) as members:
        assert members.by_card(CARD_KEY) is None
        shelf.learn(CARD_KEY, Member(1001, tier="silver", balance=5), 100)
        shelf.learn(CARD_KEY, Member(1001, tier="gold", balance=9), 200)
        known = members.by_card(CARD_KEY)
    assert known is not None
    assert (known.member, known.heard_s) == (Member(1001, tier="gold", balance=9), 200)


def test_two_cards_of_one_account_show_the_same_member(shelf: SnapshotDb) -> None:
    shelf.learn(1, Member(1001, balance=5), 100)
    shelf.learn(2, Member(1001, balance=9), 200)
    assert shelf.by_card(1) == shelf.by_card(2)
    shelf.learn(1, Member(2002), 300)  # the card was given to another account
    moved, other = shelf.by_card(1), shelf.by_card(2)
    assert moved is not None
    assert other is not None
    assert (moved.member.account, other.member.account) == (2002, 1001)


def test_no_number_and_no_name_lies_in_the_file(shelf: SnapshotDb, tmp_path: Path) -> None:
    columns = [
        row[1] for table in ("member", "card") for row in shelf._db.execute(f"PRAGMA table_info({table})")
    ]
    assert columns == ["account", "body", "heard_s", "card_key", "account"]


def test_without_room_on_the_disk_a_look_up_is_simply_not_remembered(
    shelf: SnapshotDb, caplog: pytest.LogCaptureFixture
) -> None:
    """The sync thread, which writes here, must outlive a full disk."""
    (pages,) = shelf._db.execute("PRAGMA page_count").fetchone()
    shelf._db.execute(f"PRAGMA max_page_count = {pages}")
    with caplog.at_level(logging.WARNING):
        for n in range(50):
            shelf.learn(CARD_KEY + n, Member(n, segments=tuple("x" * 100 for _ in range(20))), 100)
    assert "not remembered" in caplog.text
    assert str(CARD_KEY)[:6] not in caplog.text
    shelf._db.execute("PRAGMA max_page_count = 1000000")
    shelf.learn(1, Member(1), 100)
    assert shelf.by_card(1) is not None


# ------------------------------------------------------------------------------ disposable


def damaged(path: Path) -> None:
    path.write_bytes(b"this is no database " * 500)


def of_a_newer_agent(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("happens", [damaged, of_a_newer_agent])
def test_a_file_that_cannot_be_used_is_fetched_anew(
    tmp_path: Path, happens: object, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "snapshot.db"
    with closing(SnapshotDb(path)) as shelf:
        staged(shelf, 5, b"rules")
        shelf.point(RULES, 5)
    assert callable(happens)
    happens(path)
    with closing(SnapshotDb(path)) as shelf:
        assert in_force(shelf) is None
        staged(shelf, 5, b"rules")
        shelf.point(RULES, 5)
        assert in_force(shelf) == (5, b"rules")
    assert "fetched anew" in caplog.text
