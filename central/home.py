"""The centre's home: one directory with the database and the keys.

    home/                0700
      central.sqlite3    the embedded database (unless KOPILKA_DATABASE_URL names another, later)
      secret_key         Django's: signs the cookies of the console
      keys/reply.pem     Ed25519, signs the answers to tills
      keys/channel.pem   Ed25519, signs the manifests of the channels
      keys/chain.key     32 bytes in hex: card numbers -> card keys, in the whole chain
      keys/session.key   32 bytes in hex: sessions of tills and one-time codes are derived from it
      lock               held by whoever serves this home
      replaced-…/        what a restored backup took the place of

A key is made once and never replaced in silence: without the chain key no card is found any more,
without the others no till believes this centre.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central.errors import Trouble
from loyalty.texts import N_

DEFAULT = Path("/var/lib/kopilka-central")
VARIABLE = "KOPILKA_HOME"
KEY_BYTES = 32
_KEYS = ("reply.pem", "channel.pem", "chain.key", "session.key")


class HomeError(Trouble):
    """The home cannot be used; `text` says which file, why and what to do."""


class Home:
    """The paths and keys of one centre. Keys are read when first asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "central.sqlite3"
        self.secret_key_file = path / "secret_key"
        self._keys = path / "keys"

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    def make(self) -> None:
        """Create what is missing: directories 0700, keys 0600. What is there stays."""
        try:
            self.make_directories()
            for name in ("reply.pem", "channel.pem"):
                _write_once(self._keys / name, _new_ed25519)
            for name in ("chain.key", "session.key"):
                _write_once(self._keys / name, lambda: secrets.token_hex(KEY_BYTES).encode())
            _write_once(self.secret_key_file, lambda: secrets.token_urlsafe(48).encode())
        except OSError as error:
            raise HomeError(
                N_(
                    "The home {path} cannot be made: {reason}. Choose another with --home or KOPILKA_HOME.",
                    path=self.path,
                    reason=error.strerror or type(error).__name__,
                )
            ) from error

    def make_directories(self) -> None:
        """Its directories, 0700. Raises OSError."""
        for directory in (self.path, self._keys):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def files(self) -> dict[str, bytes]:
        """What a backup takes beside the database: name inside the home -> content. Raises HomeError."""
        keys = {f"keys/{name}": self._read(name) for name in _KEYS}
        return {self.secret_key_file.name: self.secret_key_file.read_bytes(), **keys}

    def install(self, files: Mapping[str, bytes]) -> None:
        """Write them where nothing is yet. Raises OSError."""
        for name in (self.secret_key_file.name, *(f"keys/{key}" for key in _KEYS)):
            _write_once(self.path / name, partial(bytes, files[name]))

    def everything(self) -> list[Path]:
        """All that a restored backup takes the place of; the journal may be the database's only good half."""
        journal = self.database.with_name(self.database.name + "-journal")
        return [self.database, journal, self._keys, self.secret_key_file]

    @contextmanager
    def in_use(self, *, alone: bool) -> Iterator[None]:
        """While this block lasts nobody replaces the home; `alone`: nor serves it. Raises HomeError."""
        with os.fdopen(os.open(self.path / "lock", os.O_CREAT | os.O_RDWR, 0o600), "rb") as lock:
            try:
                fcntl.flock(lock, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise HomeError(
                    N_("The centre in {path} is running, or being restored. Stop that first.", path=self.path)
                ) from error
            yield

    @cached_property
    def reply_key(self) -> Ed25519PrivateKey:
        """Signs the answers to tills."""
        return self._ed25519("reply.pem")

    @cached_property
    def channel_key(self) -> Ed25519PrivateKey:
        """Signs the manifests of the channels."""
        return self._ed25519("channel.pem")

    @cached_property
    def chain_key(self) -> bytes:
        """Card numbers become card keys under it (ledger-sync.md §2)."""
        return self._secret("chain.key")

    @cached_property
    def session_key(self) -> bytes:
        """Sessions and one-time codes are derived from it."""
        return self._secret("session.key")

    def _ed25519(self, name: str) -> Ed25519PrivateKey:
        try:
            key = serialization.load_pem_private_key(self._read(name), password=None)
        except (ValueError, UnsupportedAlgorithm, TypeError) as error:
            raise self._damaged(name) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise self._damaged(name)
        return key

    def _secret(self, name: str) -> bytes:
        try:
            key = bytes.fromhex(self._read(name).decode("ascii"))
        except ValueError as error:
            raise self._damaged(name) from error
        if len(key) != KEY_BYTES:
            raise self._damaged(name)
        return key

    def _read(self, name: str) -> bytes:
        path = self._keys / name
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise HomeError(
                N_(
                    "The key {path} is missing. Run `kopilka-central init`, or restore it from the backup.",
                    path=path,
                )
            ) from error
        except OSError as error:
            raise HomeError(
                N_(
                    "The key {path} cannot be read: {reason}. Run this as the owner of the home.",
                    path=path,
                    reason=error.strerror or type(error).__name__,
                )
            ) from error

    def _damaged(self, name: str) -> HomeError:
        return HomeError(N_("The key {path} is damaged; restore it from the backup.", path=self._keys / name))


def of_environment() -> Home:
    """The home that KOPILKA_HOME names, else the usual one."""
    return Home(Path(os.environ.get(VARIABLE) or DEFAULT))


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """The 32 raw bytes of the public half."""
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _new_ed25519() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_once(path: Path, make: Callable[[], bytes]) -> None:
    """Write and sync a new file 0600 under its final name in one step; an existing file wins."""
    if path.exists():
        return
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
