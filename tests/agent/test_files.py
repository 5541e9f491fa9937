"""How the till opens its SQLite files, and that a transaction is one."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.offline import files


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(files.open_writer(tmp_path / "snapshot.db", "snapshot")) as connection:
        connection.execute("CREATE TABLE note (n INTEGER PRIMARY KEY) STRICT")
        yield connection


def notes(db: sqlite3.Connection) -> list[int]:
    return [n for (n,) in db.execute("SELECT n FROM note ORDER BY n")]


def write(db: sqlite3.Connection, *statements: str, then: BaseException | None = None) -> None:
    with files.transaction(db):
        for statement in statements:
            db.execute(statement)
        if then is not None:
            raise then


def test_a_transaction_is_all_or_nothing(db: sqlite3.Connection) -> None:
    write(db, "INSERT INTO note VALUES (1)", "INSERT INTO note VALUES (2)")
    with pytest.raises(sqlite3.IntegrityError):
        write(db, "INSERT INTO note VALUES (3)", "INSERT INTO note VALUES (1)")
    with pytest.raises(KeyboardInterrupt):
        write(db, "INSERT INTO note VALUES (4)", then=KeyboardInterrupt())
    assert (notes(db), db.in_transaction) == ([1, 2], False)


def test_a_transaction_that_sqlite_gave_up_itself_is_over(db: sqlite3.Connection) -> None:
    """A full disk rolls back before we can; the next transaction must be able to begin."""
    with pytest.raises(sqlite3.OperationalError, match="no transaction is active"):
        write(db, "INSERT INTO note VALUES (1)", "ROLLBACK")
    write(db, "INSERT INTO note VALUES (2)")
    assert notes(db) == [2]


def test_a_file_that_is_ready_is_opened_without_the_tools_for_migration(tmp_path: Path) -> None:
    """The daemon does not pay for sqlite-utils at every start."""
    path = tmp_path / "snapshot.db"
    files.open_writer(path, "snapshot").close()
    code = (
        "import sys\nfrom pathlib import Path\nfrom agent.offline import files\n"
        f"files.open_writer(Path({str(path)!r}), 'snapshot').close()\n"
        "print('sqlite_utils' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "False"


def test_a_script_is_cut_into_its_statements() -> None:
    script = (
        "-- a comment; with a semicolon\n"
        "CREATE TABLE a (x TEXT DEFAULT ';');\n"
        "CREATE TRIGGER t BEFORE DELETE ON a\n"
        "BEGIN SELECT RAISE(ABORT, 'never; not once'); END;\n"
        "INSERT INTO a VALUES ('1;2');\n"
    )
    statements = list(files.statements(script))
    assert "".join(statements) == script
    assert [statement.split()[0] for statement in statements] == ["--", "CREATE", "INSERT"]


@pytest.mark.parametrize("schema", ["ledger", "snapshot"])
def test_every_schema_file_is_read_to_its_last_line(schema: str) -> None:
    """A statement without its semicolon would be left out in silence."""
    for file in files.SCHEMA.glob(f"{schema}_v*.sql"):
        script = file.read_text(encoding="utf-8")
        assert "".join(files.statements(script)).strip() == script.strip()


def test_a_reader_cannot_write_and_sees_what_is_committed(db: sqlite3.Connection, tmp_path: Path) -> None:
    with closing(files.open_reader(tmp_path / "snapshot.db")) as reader:
        with files.transaction(db):
            db.execute("INSERT INTO note VALUES (1)")
            assert notes(reader) == []
        assert notes(reader) == [1]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM note")


def test_a_reader_of_nothing_says_so_and_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(files.FileError, match="no file"):
        files.open_reader(tmp_path / "snapshot.db")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_the_place_of_a_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(files.FileError, match="cannot be used"):
        files.open_writer(tmp_path, "snapshot")


@pytest.mark.parametrize("part", ["", "-wal", "-shm"])
def test_a_file_that_may_only_be_read_is_said_at_once(
    tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would open it, and refuse at the first sale. (Root may write anything: a stand-in.)"""
    path = tmp_path / "ledger.db"
    with closing(files.open_writer(path, "ledger")):
        locked = path.with_name(path.name + part)
        monkeypatch.setattr(os, "access", lambda asked, _: asked != locked)
        with pytest.raises(files.FileError, match="chown"):
            files.open_writer(path, "ledger")
