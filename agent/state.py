"""The state directory: the two SQLite files, the secrets beside them, and who may read what.

ledger.db    what this till did (precious)      till.key   its Ed25519 private key, raw
snapshot.db  what the centre told us            chain.key  the key of card hashes
ledger.lock  one agent at a time                before-…   what lay here before a restore
api.token    for cash programs of group kopilka-pos        api.port  where the API listens
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.offline.files import FileError
from loyalty.texts import N_

POS_GROUP = "kopilka-pos"
CHAIN_KEY_BYTES = 32
TOKEN_MIN_CHARS = 16


class StateDir:
    """Paths and secrets of one till."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger = path / "ledger.db"
        self.lock_file = path / "ledger.lock"
        self.snapshot = path / "snapshot.db"
        self.token_file = path / "api.token"
        self.port_file = path / "api.port"
        self.till_key_file = path / "till.key"
        self.chain_key_file = path / "chain.key"

    @property
    def runtime(self) -> Path:
        """For what lives as long as the agent, and others must reach: systemd's RuntimeDirectory, if any."""
        return Path(os.environ.get("RUNTIME_DIRECTORY") or self.path / "run")

    def make(self) -> None:
        """Create the directory, for its owner."""
        self.path.mkdir(mode=0o750, parents=True, exist_ok=True)

    def make_key(self) -> None:
        """Make this till's key, once: a repeated enrolment shows the same one."""
        if not self.till_key_file.exists():
            _write(self.till_key_file, Ed25519PrivateKey.generate().private_bytes_raw(), 0o600)

    def private_key(self) -> Ed25519PrivateKey:
        """This till's key. Raises FileError where it is lost, or the file holds something else."""
        try:
            return Ed25519PrivateKey.from_private_bytes(self.till_key_file.read_bytes())
        except FileNotFoundError:
            text = N_(
                "there is no {path}: the centre would not know this till; enrol this box anew",
                path=self.till_key_file,
            )
            raise FileError(text) from None
        except ValueError:
            text = N_("{path} holds no key of a till; enrol this box anew", path=self.till_key_file)
            raise FileError(text) from None

    def chain_key(self) -> bytes:
        """The key of card hashes, given at enrolment. Raises FileError where it is lost or cut."""
        try:
            key = self.chain_key_file.read_bytes()
        except FileNotFoundError:
            key = b""
        if len(key) != CHAIN_KEY_BYTES:
            text = N_(
                "there is no key in {path}: cards cannot be known; enrol this box anew",
                path=self.chain_key_file,
            )
            raise FileError(text)
        return key

    def save_chain_key(self, key: bytes) -> None:
        """Keep it, readable by the owner only."""
        _write(self.chain_key_file, key, 0o600)

    def token(self) -> str:
        """The token of the loopback API; made on first use.

        Raises FileError for one that could be guessed, or is no text.
        """
        if not self.token_file.exists() or not self.token_file.read_bytes().strip():
            _write(self.token_file, secrets.token_urlsafe(32).encode(), 0o640)
        token = self.token_file.read_bytes().strip()
        if len(token) < TOKEN_MIN_CHARS or not token.isascii():
            text = N_("{path} holds no token; delete it, and a new one is made", path=self.token_file)
            raise FileError(text)
        return token.decode("ascii")

    def save_port(self, port: int) -> None:
        """Where the API listens now. On a full disk the file of yesterday, with the same port, will do."""
        with suppress(OSError):
            if self.port_file.read_bytes() == str(port).encode():
                return
        _write(self.port_file, str(port).encode(), 0o640)

    def give_to_cash_programs(self) -> None:
        """The directory, the token and the port are the group's, at every start: systemd takes them back."""
        for path in (self.path, self.token_file, self.port_file):
            with suppress(LookupError, OSError):
                shutil.chown(path, group=POS_GROUP)

    def take(self, made: StateDir) -> None:
        """Move in what was made aside: the keys and, last of all, the ledger."""
        for file in (made.till_key_file, made.chain_key_file, made.ledger):
            sync_file(file)
            file.replace(self.path / file.name)
        sync_directory(self.path)
        for rest in made.path.iterdir():
            rest.unlink()
        made.path.rmdir()

    def new_aside(self, now_s: int) -> Path:
        """A new directory for what is laid aside, named after the time."""
        moment = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        number, path = 1, self.path / f"before-{moment}"
        while path.exists():
            number += 1
            path = self.path / f"before-{moment}-{number}"
        path.mkdir(mode=0o700)
        return path

    def lay_aside(self, now_s: int) -> Path | None:
        """Move the ledger and the keys to a directory of their own; None where there are none.

        The WAL goes with its file: what stays behind would be played into the next one.
        """
        parts = [self.path / f"{self.ledger.name}{suffix}" for suffix in ("", "-wal", "-shm")]
        found = [path for path in (*parts, self.till_key_file, self.chain_key_file) if path.exists()]
        if not found:
            return None
        aside = self.new_aside(now_s)
        for path in found:
            path.rename(aside / path.name)
        sync_directory(aside)
        sync_directory(self.path)
        return aside


def _write(path: Path, content: bytes, mode: int) -> None:
    """Temp file, fsync, rename, fsync: a power cut leaves the old file or the new one, and then the new."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # whatever the umask of who started us
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    sync_directory(path.parent)


def sync_file(path: Path) -> None:
    """What is in a file is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """The names in a directory are on disk."""
    sync_file(path)
