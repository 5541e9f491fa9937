"""The state directory: secrets that only their reader may read, and that a power cut does not lose."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from agent.offline.files import FileError
from agent.state import StateDir


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path / "a" / "till")
    state.make()
    return state


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_directory_is_made_once_and_closed_to_others(state: StateDir) -> None:
    state.make()
    assert mode(state.path) & 0o007 == 0


@pytest.mark.usefixtures("umask")
def test_secrets_are_readable_by_whom_they_are_for_under_any_umask(state: StateDir) -> None:
    state.make_key()
    state.save_chain_key(b"c" * 32)
    state.token()
    state.save_port(8317)
    assert {path.name: mode(path) for path in state.path.iterdir()} == {
        "till.key": 0o600, "chain.key": 0o600, "api.token": 0o640, "api.port": 0o640,
    }  # fmt: skip


def test_a_tills_key_is_made_once(state: StateDir) -> None:
    state.make_key()
    first = state.private_key().public_key().public_bytes_raw()
    state.make_key()
    assert StateDir(state.path).private_key().public_key().public_bytes_raw() == first
    assert len(first) == 32


def another_kind_of_key() -> bytes:
    return generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize(
    "content", [b"", b"photos", another_kind_of_key()], ids=["empty", "noise", "another kind"]
)
def test_a_key_file_that_holds_no_key_of_ours_is_said_and_not_replaced(
    state: StateDir, content: bytes
) -> None:
    """Making a new one in silence would make this box a stranger to its centre."""
    path = state.path / "till.key"
    path.write_bytes(content)
    with pytest.raises(FileError, match="enrol this box anew"):
        state.private_key()
    assert path.read_bytes() == content


def test_a_tills_key_that_is_lost_is_said_and_no_other_is_made(state: StateDir) -> None:
    with pytest.raises(FileError, match="enrol this box anew"):
        state.private_key()
    assert not list(state.path.iterdir())


def test_a_chain_key_that_is_lost_or_cut_is_said(state: StateDir) -> None:
    """With half a key every card would be a stranger."""
    with pytest.raises(FileError, match="enrol this box anew"):
        state.chain_key()
    state.save_chain_key(b"c" * 31)
    with pytest.raises(FileError, match="enrol this box anew"):
        state.chain_key()
    state.save_chain_key(b"c" * 32)
    assert state.chain_key() == b"c" * 32


def test_the_token_is_made_once_and_cannot_be_guessed(state: StateDir) -> None:
    token = state.token()
    assert (state.token(), len(token)) == (token, 43)
    assert StateDir(state.path / "..").token() != token


@pytest.mark.parametrize("content", ["", "\n", "  "])
def test_an_empty_token_opens_nothing(state: StateDir, content: str) -> None:
    """Somebody emptied the file: an empty token would let everybody in."""
    state.token_file.write_text(content, encoding="ascii")
    assert len(state.token()) == 43


@pytest.mark.parametrize("content", [b"secret", b"\xea" * 40], ids=["short", "no text"])
def test_a_token_that_is_none_is_said_and_not_replaced(state: StateDir, content: bytes) -> None:
    """Somebody chose it: whoever uses it must hear that it is not in use."""
    state.token_file.write_bytes(content)
    with pytest.raises(FileError, match="delete it"):
        state.token()
    assert state.token_file.read_bytes() == content


def test_a_file_is_replaced_as_a_whole(state: StateDir) -> None:
    state.save_port(1)
    (state.path / ".api.port.new").write_text("left behind by a power cut, and longer", encoding="ascii")
    state.save_port(8317)
    assert state.port_file.read_text(encoding="ascii") == "8317"
    assert [path.name for path in state.path.iterdir()] == ["api.port"]
