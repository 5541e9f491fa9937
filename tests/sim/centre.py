"""The centre of the simulated chain: the real Django application on a real SQLite file, in this process.

It can lose its power between any two statements, its disk can be full or fail, and its file can be
replaced by a backup. Its clock is the simulator's.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RAM = Path("/dev/shm")


class Crash(BaseException):
    """The power failed here."""


def scratch() -> Path:
    """A directory for files that are written and synced thousands of times: in memory, where there is any."""
    return Path(tempfile.mkdtemp(prefix="kopilka-sim-", dir=RAM if RAM.is_dir() else None))


HOME = scratch()
os.environ["KOPILKA_HOME"] = str(HOME)
os.environ["DJANGO_SETTINGS_MODULE"] = "central.settings"

import django  # noqa: E402

from central import settings as central_settings  # noqa: E402

# Accounts of new cards are made of the chain key: it must be the same for a story to be told again.
(HOME / "keys").mkdir(mode=0o700)
(HOME / "keys" / "chain.key").write_text("5a" * 32)
central_settings.HOME.make()
central_settings.SECRET_KEY = central_settings.HOME.secret_key_file.read_text()
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import OperationalError, connection, connections  # noqa: E402
from django.test import Client  # noqa: E402

from central import clock  # noqa: E402
from central.fleet import enrolment, polls, timeline  # noqa: E402
from central.fleet.models import Centre, TillCursor, TillLife  # noqa: E402
from central.ledger import applier  # noqa: E402
from central.members import directory, importing  # noqa: E402
from central.rules.models import Programme  # noqa: E402
from loyalty import wire  # noqa: E402

DATABASE = central_settings.HOME.database
_made = HOME / "made.sqlite3"

TEMPLATES = [
    {
        "id": "cards",
        "what": "card",
        "media": ["barcode", "keyed"],
        "prefix": "29",
        "length": 13,
        "check": "ean",
        "auto_register": True,
    }
]


def forget() -> None:
    """The end of the process: nothing is left behind."""
    connections.close_all()
    shutil.rmtree(HOME, ignore_errors=True)


class SimCentre:
    """One life after another of one database. `now_ms` is the world's clock."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        clock.now_ms = now_ms
        polls.open_now = lambda: frozenset()
        polls.wake = lambda _till: None
        connections.close_all()
        if not _made.exists():
            DATABASE.unlink(missing_ok=True)  # of other tests in this process
            call_command("migrate", verbosity=0, interactive=False)
            connections.close_all()
            shutil.copyfile(DATABASE, _made)
        shutil.copyfile(_made, DATABASE)
        Centre.objects.create(timeline=now_ms() // 1000, created_ms=now_ms())
        Programme.objects.create(number_templates=TEMPLATES)
        self.is_up = True
        self.crash_in: int | None = None  # statements until the power fails
        self.fails_in: int | None = None  # statements until the disk fails
        self.crashed = self.failed = 0
        self._backup: Path | None = None
        self.safe: dict[tuple[str, int], int] = {}  # (till, epoch) -> entries that stand on two disks

    def close(self) -> None:
        """The end of this world; other tests in this process begin with a database of their own."""
        connections.close_all()
        DATABASE.unlink(missing_ok=True)

    # ---- what people do

    def store(self, store_id: str) -> None:
        enrolment.add_store(store_id, f"Магазин {store_id}", "Europe/Moscow", None)

    def code(self, store_id: str, till_id: str) -> str:
        return enrolment.new_code(store_id, till_id)[1]

    def member(self, number: str, points: int, home: str | None) -> int:
        text = f"number,points\n{number},{points // 100}.{points % 100:02}\n"
        importing.import_members(text.encode(), home)
        account = directory.by_number(number)
        assert account is not None
        return account.account

    def backup(self) -> None:
        """Another disk gets a copy; what is in it is durable from now on (ledger-sync.md §7)."""
        self._backup = HOME / "backup.sqlite3"
        connection.close()
        shutil.copyfile(DATABASE, self._backup)
        for row in (*TillCursor.objects.all(), *TillLife.objects.all()):
            epoch = row.till.epoch if isinstance(row, TillCursor) else row.epoch
            self.safe[row.till_id, epoch] = max(self.safe.get((row.till_id, epoch), 0), row.next_seq - 1)
            if isinstance(row, TillCursor):
                TillCursor.objects.filter(pk=row.pk).update(durable_seq=row.next_seq - 1)

    @property
    def has_backup(self) -> bool:
        return self._backup is not None

    def restore(self) -> None:
        """Its disk is gone; the backup is all there is."""
        assert self._backup is not None
        connections.close_all()
        shutil.copyfile(self._backup, DATABASE)
        timeline.begin_anew()
        self.start()

    # ---- what happens to it

    def start(self) -> None:
        """Its process begins, with what a crash may have left in the inbox."""
        connections.close_all()
        try:
            with self.fragile():
                applier.apply_waiting()
        except (Crash, OperationalError):
            self.is_up = False
        else:
            self.is_up = True

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """One request to its end. Raises Crash where the power fails on the way."""
        with self.fragile():
            response = Client(headers=headers, raise_request_exception=False).generic(
                method, path, body, content_type=wire.CONTENT_TYPE
            )
            return response.status_code, response.content

    @contextmanager
    def fragile(self) -> Iterator[None]:
        """The power may fail, or the disk, at the statement that was chosen."""
        try:
            with connection.execute_wrapper(self._statement):
                yield
        except Crash:
            self.crashed += 1
            self.is_up = False
            connections.close_all()
            raise

    def _statement(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crash_in = None
                raise Crash
        if self.fails_in is not None and not sql.startswith("SELECT"):
            self.fails_in -= 1
            if self.fails_in < 0:
                self.fails_in = None
                self.failed += 1
                cause = sqlite3.OperationalError("disk I/O error")
                raise OperationalError("disk I/O error") from cause
        return execute(sql, params, many, context)
