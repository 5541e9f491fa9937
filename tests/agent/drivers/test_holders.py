"""A device that another program has: which, and what to do about it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.drivers.holders import REMEDIES, Holder, held_by, holders, running
from agent.texts import both


@pytest.fixture
def port() -> Iterator[str]:
    """A serial port as far as the kernel is concerned."""
    master, slave = os.openpty()
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


@pytest.fixture
def thief(port: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another program that has the port open."""
    script = tmp_path / "ModemManager"
    script.write_text("import sys\nport = open(sys.argv[1])\nprint('open', flush=True)\nsys.stdin.read()\n")
    command = [sys.executable, str(script), port]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.stdin.close()


def test_the_program_is_named_with_its_remedy(port: str, thief: subprocess.Popen[str]) -> None:
    assert holders(port) == [Holder(thief.pid, "ModemManager")]
    says = both(held_by(port, f"serial:{port}"))
    assert "apt purge modemmanager" in says["en"]
    assert "занят программой ModemManager" in says["ru"]


def test_it_is_found_by_the_link_that_the_configuration_names(
    port: str, thief: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert thief.poll() is None
    (tmp_path / "by-id").symlink_to(port)
    assert "ModemManager" in str(held_by(str(tmp_path / "by-id"), "serial:by-id"))


def test_we_do_not_name_ourselves(port: str) -> None:
    assert holders(port) == []
    assert "run as root, names it" in str(held_by(port, "serial:x"))


def test_a_node_that_is_gone_is_held_by_nobody(tmp_path: Path) -> None:
    assert holders(str(tmp_path / "ttyACM0")) == []


def test_a_program_without_a_remedy_is_named_with_its_number(tmp_path: Path) -> None:
    node = tmp_path / "device"
    node.write_text("")
    proc = tmp_path / "proc"
    (proc / "4711/fd").mkdir(parents=True)
    (proc / "4711/comm").write_text("cash\n")
    (proc / "4711/cmdline").write_bytes(b"/opt/cash\0")
    (proc / "4711/fd/3").symlink_to(node)
    (proc / "self").mkdir()
    assert holders(str(node), proc) == [Holder(4711, "cash")]
    assert running(frozenset({"cash"}), proc) == [Holder(4711, "cash")]


@pytest.mark.parametrize("name", sorted(REMEDIES))
def test_every_remedy_is_said_in_both_languages(name: str) -> None:
    says = both(REMEDIES[name])
    assert says["ru"] != says["en"]
