"""Bytes by URL: where a device is, and a connection to it.

    evdev:by-path/pci-...-event-kbd        a keyboard scanner, by a name in /dev/input
    evdev:05e0:1200                        the same by its ids, where the shop has one of the kind
    hidraw:05e0:1300                       a HID POS scanner or HID card reader, by its ids,
    hidraw:usb-0000:00:14.0-3/input0       or by its port as the kernel calls it
    serial:/dev/serial/by-id/usb-...?baud=9600&flow=rts&parity=none
    usb:04b8:0e15?port=1-3.2               a printer by libusb: ids, a serial number behind them, its port
    lp:04b8:0e15                           a printer by the kernel's usblp; also lp:/dev/usb/lp0
    tcp:192.0.2.10:9100
    file:/var/spool/slips.bin              output only; appended to
    loop:                                  what is written can be read again: for trials
    auto                                   what is plugged in (plugged.py)

A `Link` is one connection, opened for one use and closed after it. Losing the
device is an OSError from any call; not getting it is a `LinkError` that says
what to do. Reconnecting belongs to the owner of the link, which must close the
old one first: a descriptor held open makes a USB serial device come back under
another name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import socket
import termios
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

from agent.drivers.contracts import Condition
from agent.drivers.holders import held_by
from loyalty.texts import N_, Text

if TYPE_CHECKING:
    import serial

AUTO = "auto"
PARAMETERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "evdev": {},
    "hidraw": {},
    "serial": {
        "baud": ("1200", "2400", "4800", "9600", "19200", "38400", "57600", "115200"),
        "flow": ("none", "rts", "xon"),
        "parity": ("none", "even", "odd"),
    },
    "usb": {"port": ()},
    "lp": {"port": ()},
    "tcp": {},
    "file": {},
    "loop": {},
}
"""Schemes, their parameters, and what each may be (empty: anything)."""
DEFAULT_BAUD = 9600
READ_BYTES = 4096
CONNECT_TIMEOUT_MS = 2_000
WRITE_TIMEOUT_MS = 10_000

_IDS = re.compile(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?::(.+))?\Z")
_USB_PORT = re.compile(r"\d+-\d+(\.\d+)*\Z")


@dataclass(frozen=True, slots=True)
class UsbIds:
    """Vendor and product, and the serial number of one device of the kind."""

    vendor: int
    product: int
    serial: str | None = None


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
    def ids(self) -> UsbIds | None:
        """The USB ids, where the device is named by them."""
        match = _IDS.match(self.target)
        return UsbIds(int(match[1], 16), int(match[2], 16), match[3]) if match else None

    @property
    def port(self) -> str | None:
        """The USB port it is to be in, as the kernel counts hubs and ports: `1-3.2`."""
        return self.parameters.get("port")

    @property
    def baud(self) -> int:
        return int(self.parameters.get("baud", DEFAULT_BAUD))


def parse_url(text: str) -> DeviceUrl:
    """The device URL in `text`. Raises UrlError saying what is wrong and what is known."""
    if text == AUTO:
        return DeviceUrl(AUTO, "")
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in PARAMETERS:
        known = ", ".join([*(f"{name}:" for name in PARAMETERS), AUTO])
        raise UrlError(N_("{url}: a device address begins with one of {known}", url=text, known=known))
    target, _, query = rest.partition("?")
    if not target and scheme != "loop":
        raise UrlError(N_("{url}: after {scheme}: comes the device", url=text, scheme=scheme))
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    _check_parameters(text, scheme, parameters)
    url = DeviceUrl(scheme, target, parameters)
    if scheme == "tcp":
        host, _, port = target.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise UrlError(N_("{url}: write tcp:host:port", url=text))
    if scheme in ("serial", "file") and not target.startswith("/"):
        raise UrlError(N_("{url}: the path must begin with /", url=text))
    if scheme == "usb" and url.ids is None:
        raise UrlError(N_("{url}: write usb:VVVV:PPPP, the ids that lsusb shows", url=text))
    if scheme == "lp" and url.ids is None and not target.startswith("/"):
        raise UrlError(
            N_("{url}: write lp:VVVV:PPPP (the ids that lsusb shows) or lp:/dev/usb/lp0", url=text)
        )
    if url.port is not None and not _USB_PORT.match(url.port):
        raise UrlError(N_("{url}: a port is written as in 1-3.2", url=text))
    return url


def _check_parameters(text: str, scheme: str, parameters: Mapping[str, str]) -> None:
    for name, value in parameters.items():
        if name not in PARAMETERS[scheme]:
            known = ", ".join(PARAMETERS[scheme]) or "-"
            raise UrlError(
                N_("{url}: unknown parameter {name}; known: {known}", url=text, name=name, known=known)
            )
        choices = PARAMETERS[scheme][name]
        if choices and value not in choices:
            raise UrlError(
                N_("{url}: {name} is one of {known}", url=text, name=name, known=", ".join(choices))
            )


class Link(Protocol):
    """One open connection."""

    def fileno(self) -> int:
        """For select; readable means `read` returns at once."""
        ...

    def read(self) -> bytes:
        """What has come, up to READ_BYTES. Raises OSError when the device is gone."""
        ...

    def read_within(self, timeout_ms: int) -> bytes:
        """What comes within the time; nothing then: b"". Raises OSError when the device is gone."""
        ...

    def write(self, data: bytes, timeout_ms: int = WRITE_TIMEOUT_MS) -> int:
        """Write all of `data`; returns how many bytes left this machine before an error or the timeout."""
        ...

    def port_status(self) -> int | None:
        """A USB printer's port status: 0x20 no paper, 0x10 selected, 0x08 no error; None: it does not say."""
        ...

    def close(self) -> None: ...


def open_link(url: DeviceUrl) -> Link:
    """Connect to the device. Raises LinkError."""
    match url.scheme:
        case "serial":
            return SerialLink(url)
        case "tcp":
            return TcpLink(url)
        case "file":
            return FileLink(url)
        case "loop":
            return LoopLink()
        case "usb":
            from agent.drivers.usb_link import UsbLink  # pyusb is imported where such a printer is configured

            return UsbLink(url)
        case "lp":
            from agent.drivers.lp_link import LpLink

            return LpLink(url)
        case "auto":
            from agent.drivers.plugged import the_printer

            return open_link(the_printer())
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

    def read_within(self, timeout_ms: int) -> bytes:
        return self.read() if select.select([self._fd], [], [], timeout_ms / 1000)[0] else b""

    def port_status(self) -> int | None:
        return None

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

        parity = {"even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}
        try:
            # pyserial sets raw mode, speed and the flock; reading and writing stay our own, because its
            # read(n) waits for n bytes or the whole timeout.
            self._port: serial.Serial = serial.Serial(
                url.path,
                url.baud,
                timeout=0,
                exclusive=True,
                parity=parity.get(url.parameters.get("parity", "none"), serial.PARITY_NONE),
                rtscts=url.parameters.get("flow") == "rts",
                xonxoff=url.parameters.get("flow") == "xon",
            )
        except serial.SerialException as error:
            raise _open_error(url, error.errno, str(error)) from None
        except OSError as error:
            raise _open_error(url, error.errno) from None
        self._fd = self._port.fileno()
        with suppress(OSError):
            # The flock keeps out only those who ask for one; two readers would share the bytes between them.
            fcntl.ioctl(self._fd, termios.TIOCEXCL)

    def close(self) -> None:
        with suppress(OSError):
            fcntl.ioctl(self._fd, termios.TIOCNXCL)
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


class LoopLink:
    """Both ends of a wire: what is written comes back."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)

    def fileno(self) -> int:
        return self._far.fileno()

    def read(self) -> bytes:
        return self._far.recv(READ_BYTES)

    def read_within(self, timeout_ms: int) -> bytes:
        return self.read() if select.select([self._far], [], [], timeout_ms / 1000)[0] else b""

    def port_status(self) -> int | None:
        return None

    def write(self, data: bytes, timeout_ms: int = WRITE_TIMEOUT_MS) -> int:
        del timeout_ms  # what does not fit into the wire is not waited for: nobody else reads it
        with suppress(BlockingIOError):
            return self._near.send(data)
        return 0

    def close(self) -> None:
        self._near.close()
        self._far.close()


def _open_error(url: DeviceUrl, number: int | None, message: str = "") -> LinkError:
    """What an errno means to the person who can mend it."""
    where = str(url)
    if number in (errno.EACCES, errno.EPERM):
        return LinkError("denied", N_("No right to use {url}: add the service user to its group.", url=where))
    if number in (errno.EBUSY, errno.EWOULDBLOCK) or "exclusively lock" in message:
        return LinkError("busy", held_by(url.path, where))
    if number == errno.ECONNREFUSED:
        return LinkError(
            "lost",
            N_(
                "{url} refuses the connection: is it switched on? Then check the address and port.", url=where
            ),
        )
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return LinkError("lost", N_("{url} is not there: is it plugged in?", url=where))
    detail = os.strerror(number) if number else "?"
    return LinkError("lost", N_("{url} cannot be opened: {detail}.", url=where, detail=detail))


def open_error(url: DeviceUrl, number: int | None) -> LinkError:
    """The same words for devices that are not opened here (evdev, hidraw, usb, lp)."""
    return _open_error(url, number)
