"""A till's backup: one file with everything that makes another disk the same till.

**Idea.** ledger.db alone is not the till: the centre knows it by its own key, and cards are known by the
chain's key. So a backup is ONE tar with the three files (and `about.json`, for whoever asks what it is),
readable by its owner only: it is as secret as the till itself. snapshot.db is not in it; the centre
sends that again.

**While the agent runs.** SQLite makes the copy from one snapshot of its own, beside the writer. What is
handed out was opened again and its chain walked from the first entry to the last.

**A restored till** (ledger-sync.md §5.9) may be behind what it told the centre and what it was granted.
So before the file is put in its place it forgets its parcels and holds and asks for the till's next
life; until the centre has opened that, nothing is written. A disk that went back in place (a virtual
machine's snapshot) needs the same, without a file.

Whatever lay in the state directory is laid aside, never deleted.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from agent.offline import files, heard
from agent.offline.files import FileError
from agent.offline.ledger_db import LedgerDb, Lock
from agent.offline.ledger_reader import Reader
from agent.offline.records import NOT_ENROLLED, RESTORING, LedgerFault
from agent.state import StateDir, sync_directory, sync_file
from loyalty.texts import N_

FORMAT = 1
ABOUT = "about.json"
ABOUT_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Contents:
    """Which till a ledger is of, and how far it goes: the newest entry of its present life."""

    till: str
    store: str
    epoch: int
    seq: int
    entries: int
    head: str  # hex; its first six digits stand on the last slip


@dataclass(frozen=True, slots=True)
class Restored:
    """What was installed; `aside` = where the state before it lies (None: there was none)."""

    contents: Contents
    aside: Path | None


def write(state: StateDir, target: Path, now_s: int, *, replace: bool) -> Contents:
    """Back this till up to `target`. Raises FileError or LedgerFault; `target` is then as it was."""
    if target.exists() and not replace:
        raise FileError(
            N_("{path} is there already; choose another name, or write over it with --replace", path=target)
        )
    state.private_key()  # a backup without its keys would be found out on the day it is needed
    state.chain_key()
    with _scratch(target.parent) as scratch:
        files.copy(state.ledger, scratch.ledger)
        contents = look_at(scratch.ledger)
        with closing(Reader.open(scratch.ledger)) as reader:
            if reader.uplink().restoring:
                raise LedgerFault(RESTORING)  # its successor in the centre's books is not known yet
        shutil.copyfile(state.till_key_file, scratch.till_key_file)
        shutil.copyfile(state.chain_key_file, scratch.chain_key_file)
        packed = scratch.path / "backup.tar"
        _pack(packed, scratch, contents, now_s)
        packed.replace(target)
    sync_directory(target.parent)
    return contents


def restore(state: StateDir, source: Path, now_s: int, restore_id: str) -> Restored:
    """Make this box the till that `source` was. Raises FileError or LedgerFault; nothing has changed then.

    Cut off in the middle, it can be asked again; so can one that was done already.
    """
    state.make()
    with closing(Lock(state.lock_file)), _scratch(state.path) as scratch:
        _unpack(source, scratch)
        contents = look_at(scratch.ledger)
        scratch.private_key()
        scratch.chain_key()
        if _is_done(state, contents, source):
            return Restored(contents, None)
        with closing(LedgerDb(scratch.ledger)) as db:
            heard.begin_restore(db, restore_id)
        # Closed, it is one file again. From here on the state is laid aside and ours is put in its place.
        aside = state.lay_aside(now_s)
        state.take(scratch)
    return Restored(contents, aside)


def restore_in_place(state: StateDir, now_s: int, restore_id: str) -> Restored:
    """The disk went back as it stands: the till as it is asks for its next life."""
    with closing(LedgerDb(state.ledger)) as db:
        contents = look_at(state.ledger)
        if db.uplink().restoring:
            return Restored(contents, None)
        aside = state.new_aside(now_s)
        files.copy(state.ledger, aside / state.ledger.name)
        sync_file(aside / state.ledger.name)
        heard.begin_restore(db, restore_id)
    return Restored(contents, aside)


def look_at(path: Path) -> Contents:
    """Walk the chain of a ledger from end to end. Raises FileError or LedgerFault where it is not whole."""
    with files.plain_errors(path), closing(Reader.open(path)) as reader:
        identity = reader.identity()
        if identity is None:
            raise LedgerFault(NOT_ENROLLED)
        entries = reader.verify(identity.till)
        epoch = reader.uplink().epoch
        seq, head = reader.head(epoch, identity.till)
    return Contents(identity.till, identity.store, epoch, seq, entries, head.hex())


def _is_done(state: StateDir, contents: Contents, source: Path) -> bool:
    """Does this very backup lie in the state directory already, and wait for the centre?

    Raises LedgerFault where another till, or a later life of this one, lives here. A file that is
    damaged is no reason to refuse: it is why one restores.
    """
    if not state.ledger.exists():
        return False
    try:
        with files.plain_errors(state.ledger), closing(Reader.open(state.ledger)) as reader:
            identity = reader.identity()
            if identity is None:
                return False
            uplink = reader.uplink()
            head = reader.head(uplink.epoch, identity.till)[1].hex()
    except (FileError, LedgerFault):
        return False
    if identity.till != contents.till:
        raise LedgerFault(
            N_(
                "this box is till {here}, and {path} is a backup of till {till}; restore it on its own box,"
                " or name a configuration with another state_dir",
                here=identity.till,
                path=source,
                till=contents.till,
            )
        )
    if uplink.epoch > contents.epoch:
        raise LedgerFault(
            N_(
                "{path} is from life {epoch} of till {till}, and this disk is in life {now}: the centre would"
                " refuse it; take a later backup, or ask the office for a new code",
                path=source,
                epoch=contents.epoch,
                till=contents.till,
                now=uplink.epoch,
            )
        )
    return uplink.restoring and (uplink.epoch, head) == (contents.epoch, contents.head)


# ------------------------------------------------------------------------------ the file


def _pack(target: Path, scratch: StateDir, contents: Contents, now_s: int) -> None:
    about = {"format": FORMAT, "made_s": now_s, **asdict(contents)}
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            said = json.dumps(about, indent=1).encode()
            tar.addfile(_member(ABOUT, len(said), now_s), io.BytesIO(said))
            for path in (scratch.till_key_file, scratch.chain_key_file, scratch.ledger):
                with path.open("rb") as content:
                    tar.addfile(_member(path.name, path.stat().st_size, now_s), content)
        file.flush()
        os.fsync(descriptor)


def _member(name: str, size: int, now_s: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, now_s, 0o600
    return member


def _unpack(source: Path, scratch: StateDir) -> None:
    """The three files of a backup, and nothing else that a tar may hold. Raises FileError."""
    wanted = {path.name: path for path in (scratch.ledger, scratch.till_key_file, scratch.chain_key_file)}
    try:
        with tarfile.open(source, "r:") as tar:
            about = json.loads(_content(tar, ABOUT).read(ABOUT_MAX_BYTES))
            if about["format"] != FORMAT:
                raise FileError(
                    N_("{path} was written by a newer Kopilka; update this agent first", path=source)
                )
            for name, path in wanted.items():
                content = _content(tar, name)
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    shutil.copyfileobj(content, file)
    except FileNotFoundError as error:
        raise FileError(N_("there is no file {path}", path=source)) from error
    except (tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise FileError(
            N_("{path} is no whole backup of a till (kopilka-agent backup); take another", path=source)
        ) from error


def _content(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    content = tar.extractfile(name)
    if content is None:  # a directory or a link of that name
        raise KeyError(name)
    return content


@contextmanager
def _scratch(beside: Path) -> Iterator[StateDir]:
    """A directory for its owner only, on the disk where its files shall lie; gone afterwards."""
    if not beside.is_dir():
        raise FileError(N_("there is no directory {path}", path=beside))
    scratch = Path(tempfile.mkdtemp(prefix=".kopilka-", dir=beside))
    try:
        yield StateDir(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
