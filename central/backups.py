"""The centre's backup, and the way back: one file with everything that cannot be made again.

A backup is a copy of the database that SQLite itself makes while tills go on syncing, with the home's
keys in a table of their own: one file, mode 0600, read back from the disk and checked before it is
called a backup.

**Durable** (ledger-sync.md §5.7, I4). A till may forget what is safe against the loss of any one disk.
So after a backup on another disk than the database's, and only then, the centre answers as durable what
it has read in that very file. (By the device number: another partition of the same disk looks like
another disk, and the operator has to know better.)

**Restored** (§5.11). A database that was put back has forgotten what it gave away since, so it must
begin a new life (central/fleet/timeline.py) before it says a word. The table with the keys is also the
mark of a file in which that has not happened: no command opens such a database (`is_backup`), whoever
put it there and wherever the power failed. What was in the home before is laid aside, never deleted.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.migrations.executor import MigrationExecutor

from central import clock
from central.errors import Trouble
from central.fleet import timeline
from central.fleet.models import Centre, TillCursor, TillLife
from central.home import Home
from loyalty.texts import N_

FORMAT = 1
MARK = "backup_file"  # the table with the keys
SUFFIX = ".kopilka"
_STAMP = "%Y%m%d-%H%M%SZ"
_COPY_BYTES = 1 << 20
_KNOWN = (
    "SELECT till_id, epoch, next_seq - 1 FROM till_cursor JOIN fleet_till ON fleet_till.id = till_id"
    " UNION ALL SELECT till_id, epoch, next_seq - 1 FROM till_life"
)


class BackupError(Trouble):
    """No backup was made, or nothing was restored; `text` says why and what to do."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup: `apart` = it lies on another disk than the database; `durable` = entries safe by it."""

    path: Path
    size: int
    made_ms: int
    apart: bool
    durable: int


@dataclass(frozen=True, slots=True)
class Restored:
    """A centre that begins a new life: `unheard` = the tills it waits for; `aside` = what was there."""

    timeline: int
    made_ms: int
    unheard: list[str]
    aside: Path | None


@dataclass(frozen=True, slots=True)
class _Content:
    """What stands in a backup: how far it has each life of each till, and the files of the home."""

    made_ms: int
    known: dict[tuple[str, int], int]
    files: dict[str, bytes]
    migrations: frozenset[tuple[str, str]]


# ------------------------------------------------------------------------------- there


def make(home: Home, target: Path) -> Made:
    """Back up `home` into the file `target`, or into a new file in the directory `target`. Raises Trouble."""
    made_ms = clock.now_ms()
    path = target / f"{clock.utc(made_ms):{_STAMP}}{SUFFIX}" if target.is_dir() else target
    if path.exists():
        raise BackupError(N_("{path} is there already; choose another name, or a directory.", path=path))
    draft = path.with_name(path.name + ".new")
    with _files(draft):
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _copy_database(home, draft, made_ms)
        _sync(draft)
        content = _read(draft)
        if content.files != home.files():
            raise BackupError(N_("{path} does not hold what was written; try another disk.", path=draft))
        draft.rename(path)
        _sync(path.parent)
        apart = disk_of(path) != disk_of(home.database)
        size = path.stat().st_size
    _note(content, path, apart)
    return Made(path, size, made_ms, apart, sum(content.known.values()) if apart else 0)


def _copy_database(home: Home, draft: Path, made_ms: int) -> None:
    with closing(sqlite3.connect(home.database)) as source, closing(sqlite3.connect(draft)) as copy:
        source.backup(copy)  # in one step: writers wait for it, and it never has to begin again
        with copy:
            copy.execute("CREATE TABLE backup_about (format INTEGER NOT NULL, made_ms INTEGER NOT NULL)")
            copy.execute("INSERT INTO backup_about VALUES (?, ?)", (FORMAT, made_ms))
            copy.execute("CREATE TABLE backup_file (name TEXT PRIMARY KEY, content BLOB NOT NULL)")
            copy.executemany("INSERT INTO backup_file VALUES (?, ?)", home.files().items())


def disk_of(path: Path) -> int:
    """The device on which a file lies."""
    return path.stat().st_dev


@transaction.atomic
def _note(content: _Content, path: Path, apart: bool) -> None:
    """Remember the backup; where it lies on another disk, what it holds is durable. It never falls."""
    Centre.objects.update(backed_up_ms=content.made_ms, backed_up_to=str(path), backed_up_apart=apart)
    if not apart:
        return
    for (till, epoch), seq in content.known.items():
        TillCursor.objects.filter(till=till, till__epoch=epoch, durable_seq__lt=seq).update(durable_seq=seq)
        TillLife.objects.filter(till=till, epoch=epoch, durable_seq__lt=seq).update(durable_seq=seq)


# -------------------------------------------------------------------------------- back


def restore(home: Home, file: Path, *, replace: bool) -> Restored:
    """Put a backup into an empty home, or with `replace` over what is there. Raises Trouble.

    Afterwards the centre is in a new life, and fenced until every open till has spoken.
    """
    with _files(file):
        content = _read(file)
    _check_version(content, file)
    if home.database.exists() and not replace:
        raise BackupError(
            N_(
                "There is a centre in {path}. --replace lays it aside and puts the backup in its place.",
                path=home.path,
            )
        )
    with _files(home.path):
        home.make_directories()
    with home.in_use(alone=True), _files(home.path):
        connections.close_all()
        before = _timeline_of(home.database)
        draft = home.database.with_name(home.database.name + ".restored")
        draft.unlink(missing_ok=True)
        _copy_file(file, draft)
        aside = _lay_aside(home)
        home.install(content.files)
        draft.rename(home.database)
        _sync(home.path)
        now = _begin_anew(before)
        _note(content, file.absolute(), disk_of(file) != disk_of(home.database))
    return Restored(now, content.made_ms, timeline.unheard(), aside)


def is_backup() -> bool:
    """Is the database one that was put here and has not begun its next life?"""
    return MARK in connection.introspection.table_names()


def _begin_anew(before: int) -> int:
    call_command("migrate", verbosity=0, interactive=False)
    with transaction.atomic(), connection.cursor() as cursor:
        now = timeline.begin_anew(after=before)
        cursor.execute("DROP TABLE backup_file")
        cursor.execute("DROP TABLE backup_about")
    return now


def _lay_aside(home: Home) -> Path | None:
    there = [path for path in home.everything() if path.is_file() or (path.is_dir() and any(path.iterdir()))]
    if not there:
        return None
    aside = home.path / f"replaced-{clock.utc(clock.now_ms()):{_STAMP}}"
    while aside.exists():
        aside = aside.with_name(aside.name + "+")
    aside.mkdir(mode=0o700)
    for path in there:
        path.rename(aside / path.name)
    home.make_directories()
    _sync(aside)
    return aside


def _timeline_of(database: Path) -> int:
    """The life of the centre that is laid aside; 0 where its database cannot be read any more."""
    if not database.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as there:
            row = there.execute("SELECT timeline FROM fleet_centre").fetchone()
    except sqlite3.Error:
        return 0
    return row[0] if row else 0


def _check_version(content: _Content, file: Path) -> None:
    known = MigrationExecutor(None).loader.disk_migrations or {}
    if newer := sorted(f"{app}.{name}" for app, name in content.migrations - known.keys()):
        raise BackupError(
            N_(
                "{path} was made by a newer version of the centre ({step}). Update the program first.",
                path=file,
                step=newer[0],
            )
        )


# ------------------------------------------------------------------------------- files


def _read(file: Path) -> _Content:
    """Check a backup from the first page to the last, and read what it says. Raises BackupError."""
    if not file.is_file():
        raise BackupError(N_("There is no backup {path}.", path=file))
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as backup:
        try:
            tables = {name for (name,) in backup.execute("SELECT name FROM sqlite_master")}
            if MARK not in tables:
                raise BackupError(N_("{path} is not a backup that `kopilka-central backup` made.", path=file))
            ((faults,),) = backup.execute("SELECT group_concat(integrity_check) FROM pragma_integrity_check")
            if faults != "ok":
                raise _damaged(file, faults.splitlines()[0])
            about = backup.execute("SELECT format, made_ms FROM backup_about").fetchone()
            known = backup.execute(_KNOWN).fetchall()
            files = dict(backup.execute("SELECT name, content FROM backup_file").fetchall())
            steps = backup.execute("SELECT app, name FROM django_migrations").fetchall()
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise _damaged(file, str(error)) from error
    if about[0] != FORMAT:
        raise BackupError(
            N_(
                "{path} is a backup of format {format}; this program knows {known}.",
                path=file,
                format=about[0],
                known=FORMAT,
            )
        )
    lives: dict[tuple[str, int], int] = {}
    for name, epoch, seq in known:  # a life that has just ended still stands in the cursor too
        lives[name, epoch] = max(seq, lives.get((name, epoch), 0))
    return _Content(about[1], lives, files, frozenset(steps))


def _damaged(file: Path, reason: str) -> BackupError:
    return BackupError(N_("The backup {path} is damaged: {reason}. Take another.", path=file, reason=reason))


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("xb") as write:
        target.chmod(0o600)
        while part := read.read(_COPY_BYTES):
            write.write(part)
        write.flush()
        os.fsync(write.fileno())


def _sync(path: Path) -> None:
    """Have a file or directory on the disk; what is read of it next comes from there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if path.is_file():
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


@contextmanager
def _files(path: Path) -> Iterator[None]:
    """What a disk may say, in words."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BackupError(N_("{path} cannot be used: {reason}.", path=path, reason=reason)) from error
    except sqlite3.Error as error:
        raise BackupError(N_("{path} cannot be used: {reason}.", path=path, reason=str(error))) from error
