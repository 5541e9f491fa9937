"""A USB printer by libusb (pyusb), where the kernel's usblp is not there or not wanted.

Interface and endpoints are found in the device's own descriptors: class 7, a bulk endpoint each way; nothing
about their numbers can be assumed. The device is neither reset nor configured anew.

**Nothing is stolen.** Where usblp has the interface, it is detached only when nobody has its node open (an
open() of ours would be refused), and attached again at the end. Where another program has claimed the
interface (CUPS, ipp-usb, a second agent) we say so and stay away.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.drivers.holders import held_by
from agent.drivers.link import WRITE_TIMEOUT_MS, DeviceUrl, LinkError, open_error
from agent.drivers.plugged import DEV, SYS, usblp_node
from loyalty.texts import N_

PRINTER_CLASS = 7
READ_BYTES = 512
_BULK, _TYPE_MASK, _IN = 0x02, 0x03, 0x80
_GET_DEVICE_ID, _GET_PORT_STATUS, _CLASS_IN = 0, 1, 0xA1
_CONTROL_TIMEOUT_MS = 1_000
_ID_MAX_BYTES = 1024


class UsbLink:
    """A printer at a usb URL. Raises LinkError."""

    def __init__(self, url: DeviceUrl) -> None:
        import usb.core
        import usb.util

        self._usb: Any = usb
        self._device, self._interface = _find(usb, url)
        self._number: int = self._interface.bInterfaceNumber
        self._detached = False
        self._claim(url)
        self._out = _endpoint(self._interface, to_host=False)
        self._in = _endpoint(self._interface, to_host=True)
        if self._out is None:
            self.close()
            raise LinkError("denied", N_("{url} has no way to be printed on.", url=str(url)))

    def _claim(self, url: DeviceUrl) -> None:
        node = str(DEV / f"bus/usb/{self._device.bus:03}/{self._device.address:03}")
        try:
            if self._device.is_kernel_driver_active(self._number):
                _see_that_it_is_free(url, _port(self._device))
                self._device.detach_kernel_driver(self._number)
                self._detached = True
            self._usb.util.claim_interface(self._device, self._number)
        except self._usb.core.USBError as error:
            self.close()
            if error.errno == errno.EBUSY:
                raise LinkError("busy", held_by(node, str(url))) from None
            raise open_error(url, error.errno) from None

    def fileno(self) -> int:
        """libusb has no descriptor to wait for: `read_within` waits."""
        return -1

    def read(self) -> bytes:
        return self.read_within(1)

    def read_within(self, timeout_ms: int) -> bytes:
        if self._in is None:
            time.sleep(timeout_ms / 1000)  # a printer that says nothing: the time passes all the same
            return b""
        try:
            return bytes(self._in.read(READ_BYTES, max(1, timeout_ms)))
        except self._usb.core.USBTimeoutError:
            return b""

    def write(self, data: bytes, timeout_ms: int = WRITE_TIMEOUT_MS) -> int:
        try:
            sent: int = self._out.write(data, timeout_ms)
        except self._usb.core.USBTimeoutError:
            return 1  # some of it may have left; libusb does not say how much
        except self._usb.core.USBError as error:
            return 0 if error.errno == errno.ENODEV else 1
        return sent

    def port_status(self) -> int | None:
        """The port's status byte: 0x20 no paper, 0x10 selected, 0x08 no error; None: it does not say."""
        with suppress(self._usb.core.USBError):
            return int(self._control(_GET_PORT_STATUS, 1)[0])
        return None

    def device_id(self) -> str:
        """The IEEE 1284 identification, such as `MFG:EPSON;CMD:ESC/POS;MDL:TM-T20;`; empty: it has none."""
        with suppress(self._usb.core.USBError):
            return bytes(self._control(_GET_DEVICE_ID, _ID_MAX_BYTES)[2:]).decode("ascii", "replace")
        return ""

    def _control(self, request: int, length: int) -> Any:
        index = self._number << 8 if request == _GET_DEVICE_ID else self._number
        return self._device.ctrl_transfer(_CLASS_IN, request, 0, index, length, _CONTROL_TIMEOUT_MS)

    def close(self) -> None:
        with suppress(self._usb.core.USBError, ValueError):
            self._usb.util.release_interface(self._device, self._number)
        if self._detached:
            with suppress(self._usb.core.USBError, NotImplementedError):
                self._device.attach_kernel_driver(self._number)
        self._usb.util.dispose_resources(self._device)


def _find(usb: Any, url: DeviceUrl) -> tuple[Any, Any]:
    """The printer that the URL names, and its interface of class 7."""
    ids = url.ids
    assert ids is not None  # parse_url saw to it
    try:
        devices = list(usb.core.find(find_all=True, idVendor=ids.vendor, idProduct=ids.product))
    except usb.core.NoBackendError:
        raise LinkError("denied", N_("libusb is missing: apt install libusb-1.0-0")) from None
    found = [device for device in devices if _is_meant(device, url)]
    if not found:
        raise LinkError("lost", N_("{url} is not there: is it plugged in?", url=str(url)))
    if len(found) > 1:
        choices = ", ".join(f"{str(url).partition('?')[0]}?port={_port(device)}" for device in found)
        raise LinkError(
            "busy", N_("There are several of {url}; name one of {known}", url=str(url), known=choices)
        )
    (device,) = found
    for configuration in device:
        for interface in configuration:
            if interface.bInterfaceClass == PRINTER_CLASS:
                return device, interface
    raise LinkError("denied", N_("{url} is no printer.", url=str(url)))


def _is_meant(device: Any, url: DeviceUrl) -> bool:
    if url.port is not None and _port(device) != url.port:
        return False
    wanted = url.ids.serial if url.ids is not None else None
    return wanted is None or _serial(_port(device)) == wanted


def _port(device: Any) -> str:
    """As the kernel writes it: 1-3.2."""
    return f"{device.bus}-{'.'.join(map(str, device.port_numbers or ()))}"


def _serial(port: str, sys_root: Path = SYS) -> str:
    """From /sys, for asking the device itself needs rights."""
    with suppress(OSError):
        return (sys_root / "bus/usb/devices" / port / "serial").read_text().strip()
    return ""


def _endpoint(interface: Any, *, to_host: bool) -> Any:
    for endpoint in interface:
        is_in = bool(endpoint.bEndpointAddress & _IN)
        if endpoint.bmAttributes & _TYPE_MASK == _BULK and is_in == to_host:
            return endpoint
    return None


def _see_that_it_is_free(url: DeviceUrl, port: str) -> None:
    """usblp gives its node to one program at a time: whoever has it is printing on it."""
    node = usblp_node(port)
    if node is None:
        return
    try:
        os.close(os.open(node, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise LinkError("busy", held_by(node, str(url))) from None
