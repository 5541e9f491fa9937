"""Pages of snapshot.db go bad. It is disposable: what can be read is kept, the rest is told again."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from agent.offline.snapshot_db import Members, SnapshotDb, is_damage
from loyalty import manifest
from loyalty.manifest import FileRef, Manifest
from loyalty.wire import Member

RULES = "rulebook.all"
CARD_KEY = 5_551_234_567
PAGE_BYTES = 4096


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A file with rules in force and many members in it, closed."""
    path = tmp_path / "snapshot.db"
    with closing(SnapshotDb(path)) as shelf:
        put_in_force(shelf)
        for n in range(200):
            shelf.learn(CARD_KEY + n, Member(n, segments=("x" * 100,)), 100)
    return path


def put_in_force(shelf: SnapshotDb, content: bytes = b"rules") -> None:
    ref = FileRef(hashlib.sha256(content).hexdigest(), len(content))
    made = Manifest(1, RULES, 5, None, 1, 0, 10, 20, {"rulebook.json": ref}, 1)
    shelf.stage(made, manifest.encode(made), {"rulebook.json": content})
    shelf.point(RULES, 5)


def pages_of(path: Path, *tables: str) -> list[int]:
    """Where the B-trees of these tables begin."""
    with closing(sqlite3.connect(path)) as raw:
        rows = raw.execute("SELECT tbl_name, rootpage FROM sqlite_master WHERE rootpage > 0").fetchall()
    return [page for table, page in rows if table in tables]


def spoil(path: Path, *tables: str) -> None:
    pages = pages_of(path, *tables)
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * PAGE_BYTES)
            file.write(b"\xa5" * PAGE_BYTES)


def test_a_member_that_cannot_be_read_is_asked_for_at_the_centre(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The till's thread reads; it says so once, and the card is simply one it does not know."""
    spoil(path, "member", "card")
    with closing(Members.open(path)) as members, caplog.at_level(logging.ERROR):
        assert [members.by_card(CARD_KEY + n) for n in range(3)] == [None] * 3
    assert caplog.text.count("cannot be read") == 1
    assert str(CARD_KEY)[:6] not in caplog.text


def test_the_rules_outlive_the_members_and_both_threads_find_the_new_file(path: Path) -> None:
    spoil(path, "member", "card")
    with closing(SnapshotDb(path)) as shelf, closing(Members.open(path)) as members:
        shelf.learn(CARD_KEY, Member(7), 100)  # this time it is not remembered
        kept = shelf.stored(RULES, shelf.version(RULES))
        assert kept is not None
        assert kept.files == {"rulebook.json": b"rules"}
        shelf.learn(CARD_KEY, Member(7), 100)
        known = members.by_card(CARD_KEY)
        assert known is not None
        assert known.member.account == 7
        assert members.by_card(CARD_KEY + 1) is None
    assert path.with_name("snapshot.db.damaged").stat().st_size > 0


def test_rules_that_cannot_be_read_are_no_longer_in_force(path: Path) -> None:
    spoil(path, "manifest", "file")
    with closing(SnapshotDb(path)) as shelf:
        with pytest.raises(sqlite3.DatabaseError) as met:
            shelf.stored(RULES, 5)
        assert is_damage(met.value)
        shelf.renew()
        assert shelf.versions() == {}
        put_in_force(shelf)
        assert shelf.versions() == {RULES: 5}


def test_a_version_whose_content_has_changed_is_not_there(path: Path) -> None:
    """One bit of a rule is another price."""
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE file SET body = ?", (b"rulez",))
    with closing(SnapshotDb(path)) as shelf:
        assert shelf.stored(RULES, 5) is None
        shelf.forget(RULES)
        assert shelf.versions() == {}


def test_no_room_is_no_reason_to_lay_a_good_file_aside(path: Path) -> None:
    with closing(SnapshotDb(path)) as shelf:
        (pages,) = shelf._db.execute("PRAGMA page_count").fetchone()
        shelf._db.execute(f"PRAGMA max_page_count = {pages}")
        with suppress(sqlite3.OperationalError):
            for n in range(50):
                put_in_force(shelf, b"x" * 100_000 + bytes([n]))
        assert shelf.versions() == {RULES: 5}
    assert not path.with_name("snapshot.db.damaged").exists()
