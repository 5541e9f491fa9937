"""The running guest: start it, run commands in it, keep it as it is and come back to that, cut its power.

    with Guest(image(), directory) as guest:
        guest.run("lsusb")

Commands go over a virtio port to `hands.py` in the guest and come back with output and exit code. QEMU itself
is spoken to by its monitor (QMP): `save` and `resume` keep and bring back the whole machine in a second or
two, devices and all; `cut_power` ends it as a pulled plug does, and what its disks had not flushed is gone
where disk.py serves them.

Emulated, not virtualised: it needs nothing of the machine it runs on; a command takes a third of a second.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.hardware.bed.image import Image

MEMORY_MB = 320
BOOT_TIMEOUT_S = 180
COMMAND_TIMEOUT_S = 60
MARGIN_S = 60
CONSOLE_TAIL = 3_000
CMDLINE = (
    "root=/dev/vda console=ttyS0 loglevel=5 oops=panic panic=-1 mitigations=off audit=0"
    " systemd.show_status=false systemd.log_level=warning"
)
_sockets = itertools.count()


class GuestError(AssertionError):
    """The guest did not do what was asked; with the end of what its console said."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command."""

    code: int
    out: str
    err: str


class Guest:
    """One QEMU. `directory` is for its overlay, sockets and console."""

    def __init__(self, image: Image, directory: Path) -> None:
        self._image = image
        self._directory = directory
        self._overlay = directory / "root.qcow2"
        self._console = directory / "console.txt"
        self._qemu: subprocess.Popen[bytes] | None = None
        self._wire: socket.socket | None = None
        self._lines: Any = None
        self._monitor: _Monitor | None = None

    # ---------------------------------------------------------------- its life

    def boot(self, saved: str | None = None) -> Guest:
        """From nothing, as after power-on, or from a state that was kept; returns when it answers."""
        directory = self._directory
        directory.mkdir(parents=True, exist_ok=True)
        if not self._overlay.exists():
            base = ["-b", str(self._image.disk), "-F", "raw"]
            command = ["qemu-img", "create", "-q", "-f", "qcow2", *base, str(self._overlay)]
            subprocess.run(command, check=True)
        number = next(_sockets)
        more = ["-loadvm", saved] if saved is not None else []
        self._start(directory / f"hands{number}", directory / f"monitor{number}", more)
        return self

    def _start(self, hands: Path, monitor: Path, more: list[str]) -> None:
        command = [
            *("qemu-system-x86_64", "-M", "pc,usb=off", "-accel", "tcg,thread=multi", "-smp", "2"),
            *("-m", str(MEMORY_MB), "-nodefaults", "-no-user-config", "-display", "none", "-vga", "std"),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initramfs), "-append", CMDLINE),
            *("-drive", f"file={self._overlay},if=virtio,format=qcow2,cache=unsafe"),
            *("-serial", f"file:{self._console}", "-no-reboot"),
            *("-device", "virtio-serial-pci", "-chardev", f"socket,id=bed,path={hands},server=on,wait=off"),
            *("-device", "virtserialport,chardev=bed,name=bed"),
            *("-qmp", f"unix:{monitor},server=on,wait=off"),
            *("-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,id=nic0"),
            *more,
        ]
        self._qemu = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        self._monitor = _Monitor(self._connected(monitor, deadline))
        self._wire = self._connected(hands, deadline)
        self._lines = self._wire.makefile("rb")
        self._wire.settimeout(BOOT_TIMEOUT_S)
        self.run("true")

    def _connected(self, path: Path, deadline: float) -> socket.socket:
        while True:
            wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                wire.connect(str(path))
            except OSError:
                wire.close()
                if time.monotonic() > deadline or (self._qemu and self._qemu.poll() is not None):
                    raise GuestError(f"QEMU did not start: {self._complaint()}") from None
                time.sleep(0.05)  # QEMU says nothing when it has made its sockets
            else:
                return wire

    def _complaint(self) -> str:
        if self._qemu is None or self._qemu.stderr is None or self._qemu.poll() is None:
            return "no answer"
        return self._qemu.stderr.read().decode(errors="replace")[-1_000:]

    def save(self, name: str) -> None:
        """Keep the machine as it is now."""
        self._hmp(f"savevm {name}")

    def resume(self, name: str) -> None:
        """The machine as it was kept; what has happened since is undone."""
        self._hmp(f"loadvm {name}")
        self.run("true")

    def cut_power(self) -> None:
        """As if the plug were pulled: QEMU is killed, and the guest hears nothing of it."""
        if self._qemu is not None:
            if self._qemu.poll() is None:
                os.killpg(self._qemu.pid, signal.SIGKILL)
            self._qemu.communicate()
            self._qemu = None
        if self._monitor is not None:
            self._monitor.close()
        if self._wire is not None:
            self._lines.close()
            self._wire.close()
        self._wire = self._monitor = None

    def __enter__(self) -> Guest:
        return self.boot() if self._qemu is None else self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.cut_power()

    # ---------------------------------------------------------------- what it is told

    def run(self, command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Done:
        """Run a shell command as root. Exit code 124: it did not end in time."""
        answer = self._ask({"run": command, "timeout_s": timeout_s}, timeout_s + MARGIN_S)
        return Done(answer["code"], answer["out"], answer["err"])

    def do(self, command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """Run a command that must succeed; its output."""
        done = self.run(command, timeout_s)
        if done.code != 0:
            raise GuestError(f"{command}\n-> {done.code}\n{done.out}{done.err}\n{self.console()}")
        return done.out

    def put(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file in the guest."""
        encoded = base64.b64encode(content).decode()
        self._ask({"put": path, "content": encoded, "mode": mode}, BOOT_TIMEOUT_S)

    def get(self, path: str) -> bytes:
        """Read a file of the guest."""
        return base64.b64decode(self._ask({"get": path}, BOOT_TIMEOUT_S)["content"])

    def _ask(self, question: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        assert self._wire is not None
        self._wire.settimeout(timeout_s)
        try:
            self._wire.sendall(json.dumps(question).encode() + b"\n")
            line = self._lines.readline()
        except OSError as error:
            raise GuestError(f"the guest does not answer ({error})\n{self.console()}") from error
        if not line:
            raise GuestError(f"the guest has ended: {self._complaint()}\n{self.console()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise GuestError(answer["error"])
        return answer

    def cable(self, *, plugged: bool) -> None:
        """Pull the network cable, or put it back."""
        self._hmp(f"set_link net0 {'on' if plugged else 'off'}")

    def add_disk(self, name: str, where: str) -> None:
        """Plug in a disk (`where` as QEMU writes it); in the guest it is /dev/disk/by-id/virtio-NAME."""
        assert self._monitor is not None
        self._monitor.do(
            "blockdev-add",
            {
                "node-name": name,
                "driver": "raw",
                "cache": {"direct": False, "no-flush": False},
                "file": {"driver": "nbd", "server": {"type": "unix", "path": where}, "export": "disk"},
            },
        )
        self._monitor.do(
            "device_add",
            {"driver": "virtio-blk-pci", "drive": name, "id": name, "serial": name, "write-cache": "on"},
        )

    def console(self) -> str:
        """The end of what the guest's kernel and services have said."""
        try:
            return self._console.read_text(errors="replace")[-CONSOLE_TAIL:]
        except OSError:
            return ""

    def _hmp(self, line: str) -> str:
        assert self._monitor is not None
        said = self._monitor.do("human-monitor-command", {"command-line": line})
        if said.strip():
            raise GuestError(f"{line}: {said}")
        return str(said)


class _Monitor:
    """QMP: a question, an answer, events in between that nobody waits for."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        wire.settimeout(BOOT_TIMEOUT_S)
        self._lines = wire.makefile("rb")
        self._lines.readline()  # its greeting
        self.do("qmp_capabilities", {})

    def close(self) -> None:
        self._lines.close()
        self._wire.close()

    def do(self, command: str, arguments: dict[str, Any]) -> Any:
        self._wire.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while line := self._lines.readline():
            said = json.loads(line)
            if "error" in said:
                raise GuestError(f"{command}: {said['error']['desc']}")
            if "return" in said:
                return said["return"]
        raise GuestError(f"QEMU has ended while asked to {command}")
