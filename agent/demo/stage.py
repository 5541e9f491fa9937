"""The demo's stage: a centre and a till as real processes, in a directory of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from agent.drivers.fakes.virtual_printer import VirtualPrinter
from agent.drivers.fakes.virtual_scanner import VirtualScanner

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
WAIT_TIMEOUT_S = 20
POLL_S = 0.05
PASSWORD = "kopilka-demo-2026"  # noqa: S105 - of a demo that lives for a minute on the loopback

T = TypeVar("T")


class StageError(RuntimeError):
    """A process of the demo did not do what it should; the message holds what it said."""


def data_file(name: str) -> str:
    """One of the demo's own files: goods, rules, members."""
    return str(resources.files("agent.demo").joinpath("data", name))


def wait_for(what: str, look: Callable[[], T | None], timeout_s: float = WAIT_TIMEOUT_S) -> T:
    """Look again and again until there is something, or fail saying what was waited for."""
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        found = look()
        if found:
            return found
        time.sleep(POLL_S)  # the demo looks from outside, as a person would
    raise StageError(f"waited {timeout_s:.0f} s in vain: {what}")


class Office:
    """`kopilka-central` in a home of its own, on SQLite."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "office.log"
        self._environment = {
            **os.environ,
            "KOPILKA_HOME": str(directory / "office"),
            "KOPILKA_ADMIN_PASSWORD": PASSWORD,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where the centre listens."""
        return f"http://127.0.0.1:{self.port}"

    def command(self, *words: str) -> Any:
        """Run a command of the office and give back its JSON."""
        done = subprocess.run(
            [_program("kopilka-central"), *words, "--json"],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StageError(f"kopilka-central {' '.join(words)}: {done.stderr or done.stdout}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def furnish(self, rulebook: str | None = None) -> None:
        """A new centre with the demo's store, goods and members, and its rules or those of another file."""
        self.command("init")
        self.command("store", "add", "S1", "Магазин у дома")
        self.command("import", "templates", data_file("templates.json"))
        self.command("import", "goods", data_file("goods.json"))
        self.command("rulebook", "publish", rulebook or data_file("rulebook-1.json"))
        self.command("import", "members", data_file("members.csv"))

    def start(self) -> None:
        """Begin to listen, on the same port as before if there was one."""
        log = self._log.open("ab")
        self._process = subprocess.Popen(
            [_program("kopilka-central"), "serve", "--port", str(self.port)],
            env={**self._environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=log,
            process_group=0,
        )
        log.close()
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found = re.search(rb"http://[\d.]+:(\d+)", line)
            if found:
                self.port = int(found[1])
                return
        raise StageError(f"the centre did not start:\n{self.said()[-2000:]}")

    @property
    def pid(self) -> int:
        """The process that listens."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: as if the power had failed."""
        assert self._process is not None
        process, self._process = self._process, None
        _kill(process)

    def stop(self) -> None:
        """Stop listening, as an update or a cut cable would."""
        if self._process is not None:
            process, self._process = self._process, None
            process.terminate()
            _wait_for_end("the centre", process, self.said)

    def said(self) -> str:
        """The centre's log."""
        return self._log.read_text(encoding="utf-8", errors="replace")


class TillBox:
    """`kopilka-agent` with a virtual scanner (a pty) and a virtual printer (a socket)."""

    def __init__(self, directory: Path, language: str) -> None:
        self._log = directory / "agent.log"
        self._notify = directory / "notify"
        self.state = directory / "till"
        self.scanner = VirtualScanner(directory / "scanner")
        self.printer = VirtualPrinter()
        self.config = directory / "agent.toml"
        self._language = language
        self._wrapped: Callable[[list[str]], list[str]] = list
        self._hub = ""
        self._screen = ""
        self._port = 0
        self.use_scanner(self.scanner.url)
        self._process: subprocess.Popen[bytes] | None = None

    def use_scanner(self, url: str, wrapped: Callable[[list[str]], list[str]] = list) -> None:
        """From the next start on: this scanner, and perhaps a command around the agent's."""
        self._wrapped = wrapped
        self._write_config(url)

    def be_hub(self, listen: str) -> None:
        """From the next start on: the other tills of the shop find this one there."""
        self._hub = f'[hub]\nlisten = "{listen}"\n'
        self._write_config(self.scanner.url)

    def keep_port(self) -> None:
        """From the next start on: the API listens where it does now, for in a shop the port is known."""
        self._port = int((self.state / "api.port").read_text(encoding="ascii"))
        self._write_config(self.scanner.url)

    def stand_alone(self) -> None:
        """From the next start on: a shop without a cash program, whose cashier rings up on our page."""
        self._screen = '[screen]\nmode = "stand_alone"\n'
        self._write_config(self.scanner.url)

    def _write_config(self, scanner: str) -> None:
        self.config.write_text(
            f'state_dir = "till"\nlanguage = "{self._language}"\n'
            f"[api]\nport = {self._port}\n"
            # A virtual scanner has no trigger that is pulled twice.
            f'[[scanners]]\nname = "scanner"\nurl = "{scanner}"\nrepeat_ms = 0\n'
            f'[printer]\nurl = "{self.printer.url}"\ncolumns = 48\n{self._hub}{self._screen}',
            encoding="utf-8",
        )

    def say(self, *words: str) -> str:
        """Run a command of the agent and give back what it prints."""
        done = subprocess.run(
            [_program("kopilka-agent"), *words, "--config", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StageError(f"kopilka-agent {' '.join(words)}: {done.stderr or done.stdout}")
        return done.stdout

    def command(self, *words: str) -> Any:
        """Run a command of the agent and give back its JSON (a list, where it prints several lines)."""
        lines = [json.loads(line) for line in self.say(*words, "--json").splitlines() if line.strip()]
        return lines[0] if len(lines) == 1 else lines

    def start(self) -> None:
        """Switch the till on; returns when it says that it is ready (as systemd would hear it)."""
        self._notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(self._notify))
            ready.settimeout(START_TIMEOUT_S)
            self.begin()
            try:
                while b"READY=1" not in ready.recv(256):
                    pass
            except TimeoutError as error:
                raise StageError(f"the agent did not start:\n{self.said()[-2000:]}") from error

    def begin(self) -> None:
        """Switch the till on, and do not wait for it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._wrapped([_program("kopilka-agent"), "run", "--config", str(self.config)]),
                env={**os.environ, "NOTIFY_SOCKET": str(self._notify)},
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def kill(self) -> None:
        """SIGKILL: as if the power had failed."""
        assert self._process is not None
        process, self._process = self._process, None
        _kill(process)

    def switch_off(self) -> None:
        """SIGTERM, and wait."""
        if self._process is not None:
            self._process.terminate()
            self.wait_for_end()

    def wait_for_end(self) -> int:
        """Somebody has told the agent to end: wait until it has. Returns its exit code."""
        assert self._process is not None
        process, self._process = self._process, None
        return _wait_for_end("the agent", process, self.said)

    def stop(self) -> None:
        """Switch the till off, and put the devices away."""
        try:
            self.switch_off()
        finally:
            self.scanner.close()
            self.printer.close()

    @property
    def pid(self) -> int:
        """The process that was started: the agent, or the command around it."""
        assert self._process is not None
        return self._process.pid

    def said(self) -> str:
        """The agent's log."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def scanner_ready(self) -> bool:
        """Has the agent opened the scanner?"""
        devices = self.command("status")["devices"]
        return any(d["name"] == "scanner" and d["state"] == "online" for d in devices)


def _wait_for_end(name: str, process: subprocess.Popen[bytes], said: Callable[[], str]) -> int:
    """Wait for a process that was told to end. One that does not is killed, and is an error."""
    try:
        process.communicate(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        _kill(process)
        raise StageError(f"{name} did not end in {STOP_TIMEOUT_S} s:\n{said()[-2000:]}") from error
    return process.returncode


def _kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for the process and everything it has started: it leads a process group of its own."""
    if process.poll() is None:  # not reaped: the number of the group is still its own
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))
