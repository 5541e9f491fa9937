"""Bytes by URL: where a device is, and a connection to it.

    evdev:by-path/pci-...-event-kbd        a keyboard scanner, by a name in /dev/input
    evdev:/dev/input/event3
    serial:/dev/serial/by-id/usb-...?baud=9600
    tcp:192.0.2.10:9100
    file:/var/spool/slips.bin              output only; appended to

A `Link` is one connection, opened for one use and closed after it. Losing the
device is an OSError from any call; not getting it is a `LinkError` that says
what to do. Reconnecting belongs to the owner of the link, which must close the
old one first: a descriptor held open makes a USB serial device come back under
another name (field/devices.md §1.2).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

from agent.drivers.contracts import Condition
from loyalty.texts import N_, Text

if TYPE_CHECKING:
    import serial

SCHEMES = ("evdev", "serial", "tcp", "file")
PARAMETERS: Mapping[str, tuple[str, ...]] = {"serial": ("baud",), "evdev": (), "tcp": (), "file": ()}
BAUD_RATES = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
DEFAULT_BAUD = 9600
READ_BYTES = 4096
CONNECT_TIMEOUT_MS = 2_000
WRITE_TIMEOUT_MS = 10_000


class UrlError(ValueError):
    """The URL in the configuration is wrong; `text` says how."""

    def __init__(self, text: Text) -> None:
        super().__init__(str(text))
        self.text = text


class LinkError(OSError):
    """The device could not be had; `state` is what to show, `hint` what to do."""

    def __init__(self, state: Condition, hint: Text) -> None:
        super().__init__(str(hint))
        self.state: Condition = state
        self.hint = hint


@dataclass(frozen=True, slots=True)
class DeviceUrl:
    """A device's address, checked."""

    scheme: str
    target: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        query = "&".join(f"{k}={v}" for k, v in self.parameters.items())
        return f"{self.scheme}:{self.target}" + (f"?{query}" if query else "")

    @property
    def path(self) -> str:
        """The device file; short evdev names are looked for in /dev/input."""
        if self.scheme == "evdev" and not self.target.startswith("/"):
            return f"/dev/input/{self.target}"
        return self.target

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of a tcp URL."""
        host, _, port = self.target.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def baud(self) -> int:
        return int(self.parameters.get("baud", DEFAULT_BAUD))


def parse_url(text: str) -> DeviceUrl:
    """The device URL in `text`. Raises UrlError saying what is wrong and what is known."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in SCHEMES:
        known = ", ".join(f"{name}:" for name in SCHEMES)
        raise UrlError(N_("{url}: a device address begins with one of {known}", url=text, known=known))
    target, _, query = rest.partition("?")
    if not target:
        raise UrlError(N_("{url}: after {scheme}: comes the device", url=text, scheme=scheme))
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    for name in parameters:
        if name not in PARAMETERS[scheme]:
            known = ", ".join(PARAMETERS[scheme]) or "-"
            raise UrlError(
                N_("{url}: unknown parameter {name}; known: {known}", url=text, name=name, known=known)
            )
    if parameters.get("baud", str(DEFAULT_BAUD)) not in map(str, BAUD_RATES):
        rates = ", ".join(map(str, BAUD_RATES))
        raise UrlError(N_("{url}: baud is one of {rates}", url=text, rates=rates))
    if scheme == "tcp":
        host, _, port = target.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise UrlError(N_("{url}: write tcp:host:port", url=text))
    if scheme in ("serial", "file") and not target.startswith("/"):
        raise UrlError(N_("{url}: the path must begin with /", url=text))
    return DeviceUrl(scheme, target, parameters)


class Link(Protocol):
    """One open connection."""

    def fileno(self) -> int:
        """For select; readable means `read` returns at once."""
        ...

    def read(self) -> bytes:
        """What has come, up to READ_BYTES. Raises OSError when the device is gone."""
        ...

    def write(self, data: bytes, timeout_ms: int = WRITE_TIMEOUT_MS) -> int:
        """Write all of `data`; returns how many bytes left this machine before an error or the timeout."""
        ...

    def close(self) -> None: ...


def open_link(url: DeviceUrl) -> Link:
    """Connect to the device. Raises LinkError."""
    if url.scheme == "serial":
        return SerialLink(url)
    if url.scheme == "tcp":
        return TcpLink(url)
    if url.scheme == "file":
        return FileLink(url)
    raise LinkError("lost", N_("{url} is not a device that bytes can be sent to.", url=str(url)))


class _Descriptor:
    """What all links share: a descriptor that is read without waiting and written against a deadline."""

    _fd: int

    def fileno(self) -> int:
        return self._fd

    def read(self) -> bytes:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            raise OSError(errno.ENODEV, "the device is gone")
        return data

    def write(self, data: bytes, timeout_ms: int = WRITE_TIMEOUT_MS) -> int:
        deadline = time.monotonic() + timeout_ms / 1000
        sent = 0
        while sent < len(data):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([], [self._fd], [], left)[1]:
                break
            try:
                sent += os.write(self._fd, data[sent:])
            except BlockingIOError:
                continue
            except OSError:
                break
        return sent


class SerialLink(_Descriptor):
    """A serial port, USB-CDC device or pty, held by us alone."""

    def __init__(self, url: DeviceUrl) -> None:
        import serial

        try:
            # pyserial sets raw mode, speed and the flock; reading and writing stay our own, because its
            # read(n) waits for n bytes or the whole timeout.
            self._port: serial.Serial = serial.Serial(url.path, url.baud, timeout=0, exclusive=True)
        except serial.SerialException as error:
            raise _open_error(url, error.errno, str(error)) from None
        except OSError as error:
            raise _open_error(url, error.errno) from None
        self._fd = self._port.fileno()

    def close(self) -> None:
        with suppress(OSError):
            self._port.close()


class TcpLink(_Descriptor):
    """A network printer, or a scanner behind a serial server."""

    def __init__(self, url: DeviceUrl) -> None:
        try:
            self._socket = socket.create_connection(url.address, CONNECT_TIMEOUT_MS / 1000)
        except TimeoutError:
            hint = N_("{url} does not answer: is it switched on, is the cable in?", url=str(url))
            raise LinkError("lost", hint) from None
        except OSError as error:
            raise _open_error(url, error.errno) from None
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fd = self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


class FileLink(_Descriptor):
    """A file that output is appended to."""

    def __init__(self, url: DeviceUrl) -> None:
        try:
            self._fd = os.open(url.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise _open_error(url, error.errno) from None

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._fd)


def _open_error(url: DeviceUrl, number: int | None, message: str = "") -> LinkError:
    """What an errno means to the person who can mend it."""
    where = str(url)
    if number in (errno.EACCES, errno.EPERM):
        return LinkError("denied", N_("No right to use {url}: add the service user to its group.", url=where))
    if number in (errno.EBUSY, errno.EWOULDBLOCK) or "exclusively lock" in message:
        return LinkError("busy", N_("{url} is held by another program: close it there.", url=where))
    if number == errno.ECONNREFUSED:
        return LinkError("lost", N_("{url} refuses the connection: check the address and port.", url=where))
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return LinkError("lost", N_("{url} is not there: is it plugged in?", url=where))
    detail = os.strerror(number) if number else "?"
    return LinkError("lost", N_("{url} cannot be opened: {detail}.", url=where, detail=detail))


def open_error(url: DeviceUrl, number: int | None) -> LinkError:
    """The same words for devices that are not opened here (evdev)."""
    return _open_error(url, number)
