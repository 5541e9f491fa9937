"""How the till opens its two SQLite files.

SQLite before 3.51.3 can corrupt a WAL when two connections write or checkpoint
(the WAL-reset bug). So each file has ONE connection that writes and checkpoints,
and every other one is query_only; mmap is off. Schema files are plain commented
SQL and run through sqlite-utils' migrations, which are imported only when there
is something to migrate: a daemon that starts on a ready file does not pay for them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from loyalty.texts import N_, Text

SCHEMA = Path(__file__).parent / "schema"
BUSY_TIMEOUT_S = 5.0
# A file that cannot be written, grown, or made durable: what a full or failing disk says.
_DISK_SAYS_NO = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
)


class FileError(Exception):
    """A file of the till cannot be used; `text` says which, why and what to do."""

    def __init__(self, text: Text) -> None:
        super().__init__(str(text))
        self.text = text


def open_writer(path: Path, schema: str, *, synchronous: str = "FULL") -> sqlite3.Connection:
    """The one writing connection to `path`, brought to the newest `schema` ("ledger" or "snapshot").

    A file of an older schema is copied beside itself (`ledger.db.v1`) before it is changed; where that
    fails it is as it was. Raises FileError.
    """
    _check_rights(path)
    fresh = not path.exists() or path.stat().st_size == 0
    connection = None
    try:
        connection = _connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        (present,) = connection.execute("PRAGMA user_version").fetchone()
        _upgrade(connection, path, schema, present, fresh=fresh)
    except sqlite3.Error as error:
        _close(connection)
        raise _unusable(path, error) from error
    except BaseException:
        _close(connection)
        raise
    return connection


def _check_rights(path: Path) -> None:
    """SQLite opens a file that may only be read, and says so at the first sale; we say it at once."""
    for part in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if part.exists() and not os.access(part, os.R_OK | os.W_OK):
            raise FileError(N_("{path} may not be written; give it to the agent's user (chown)", path=part))


def _unusable(path: Path, error: sqlite3.Error) -> FileError:
    if disk_says_no(error):
        return FileError(N_("there is no room on the disk of {path}", path=path))
    return FileError(N_("{path} cannot be used ({why}); restore it from a backup", path=path, why=error))


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Around whatever reads `path`: what SQLite says of it comes as a FileError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _unusable(path, error) from error


def disk_says_no(error: sqlite3.Error) -> bool:
    """Is it the disk that is full or failing, and not the file that is wrong?"""
    return getattr(error, "sqlite_errorcode", None) in _DISK_SAYS_NO


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that can only read. Raises FileError where there is nothing to read."""
    if not path.is_file():
        raise FileError(N_("there is no file {path}", path=path))
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def copy(path: Path, target: Path) -> None:
    """A copy of a file that may be in use, as of this moment, in one file without a WAL. Raises FileError."""
    if not path.is_file():
        raise FileError(N_("there is no file {path}", path=path))
    try:
        # query_only would forbid VACUUM INTO; a connection that may only read does as well.
        reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
        with closing(reader):
            _backup(reader, target)
    except sqlite3.Error as error:
        raise _unusable(target if disk_says_no(error) else path, error) from error


def _upgrade(connection: sqlite3.Connection, path: Path, schema: str, present: int, *, fresh: bool) -> None:
    versions = sorted(SCHEMA.glob(f"{schema}_v*.sql"), key=lambda file: int(file.stem.rpartition("_v")[2]))
    if present > len(versions):
        raise FileError(
            N_(
                "{path} was written by a newer Kopilka (schema {got}); update this agent",
                path=path,
                got=present,
            )
        )
    if present < len(versions):
        if not fresh:
            _backup(connection, path.with_name(f"{path.name}.v{present}"))
        _migrate(connection, schema, versions)


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level None: transactions begin and end where we write BEGIN and COMMIT.
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA mmap_size = 0")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, *, reading: bool = False) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT; any exception rolls everything back. `reading`: only to see one moment."""
    connection.execute("BEGIN" if reading else "BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def statements(script: str) -> Iterator[str]:
    """The statements of an SQL script, one by one (executescript would commit behind our back)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _backup(connection: sqlite3.Connection, target: Path) -> None:
    target.unlink(missing_ok=True)
    with closing(connection.execute("VACUUM INTO ?", (str(target),))):
        pass


def _migrate(connection: sqlite3.Connection, schema: str, versions: list[Path]) -> None:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    migrations = Migrations(schema)
    for number, file in enumerate(versions, start=1):

        def run(db: Database, file: Path = file, number: int = number) -> None:
            for statement in statements(file.read_text(encoding="utf-8")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")

        migrations(name=file.stem)(run)
    migrations.apply(Database(connection))
