"""One open HID scanner or card reader: reports of /dev/hidrawN in, frames out.

The device is found by its ids or its port (`find`), for the numbers of hidraw nodes change. Its report
descriptor says what it is. hidraw knows no exclusive use, so ours keep each other out by a lock on the node;
another program that reads it gets a copy of every report, and takes none away.

Scanners of Honeywell and Metrologic are told by a feature report that somebody reads (0xFE = 1), where their
descriptor has it; a scanner that refuses it may read all the same.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from agent.drivers import hid_msr, hid_pos
from agent.drivers.frames import Framed
from agent.drivers.hid_descriptor import Descriptor, parse_descriptor
from agent.drivers.holders import held_by
from agent.drivers.link import DeviceUrl, LinkError, open_error
from agent.drivers.plugged import DEV, SYS, hidraw_node, report_descriptor
from agent.drivers.telling import monotonic_ms
from loyalty.texts import N_

REPORT_BYTES_MAX = 4096
_ENABLE_ID = 0xFE
_ENABLE = bytes((_ENABLE_ID, 1))
_HIDIOCSFEATURE_2 = 0xC0024806


class HidrawReader:
    """A HID device at a hidraw URL. Raises LinkError where it cannot be had, or is no scanner."""

    def __init__(self, url: DeviceUrl, sys_root: Path = SYS, dev_root: Path = DEV) -> None:
        node = hidraw_node(url, sys_root, dev_root)
        self._fd = _open(node, url)
        try:
            # A udev rule may have given the node a name of its own; /sys knows the kernel's.
            self._descriptor = parse_descriptor(report_descriptor(os.path.realpath(node), sys_root))
            self._pos = _pos_decoder(self._descriptor, url)
            if _ENABLE_ID in self._descriptor.feature_ids and self._pos is not None:
                with suppress(OSError):
                    fcntl.ioctl(self._fd, _HIDIOCSFEATURE_2, _ENABLE)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        return self._fd

    def read(self) -> list[Framed]:
        report = bytearray(REPORT_BYTES_MAX)
        try:
            length = os.readv(self._fd, [report])
        except BlockingIOError:
            return []
        if not length:
            raise OSError(errno.ENODEV, "the device is gone")
        if self._pos is not None:
            return self._pos.feed(bytes(report[:length]), monotonic_ms())
        first = 1 if self._descriptor.has_ids else 0
        report_id, swipe = (report[0] if first else 0), report[first:length]
        report[:] = bytes(len(report))
        return hid_msr.decode(swipe, monotonic_ms(), self._descriptor, report_id)

    @property
    def due_ms(self) -> int | None:
        return self._pos.due_ms if self._pos is not None else None

    def idle(self, now_ms: int) -> list[Framed]:
        return self._pos.idle(now_ms) if self._pos is not None else []

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._fd)


def _open(node: str, url: DeviceUrl) -> int:
    try:
        try:
            descriptor = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:
            descriptor = os.open(node, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise open_error(url, error.errno) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise LinkError("busy", held_by(node, str(url))) from None
    return descriptor


def _pos_decoder(descriptor: Descriptor, url: DeviceUrl) -> hid_pos.PosDecoder | None:
    """A scanner's decoder; None for a card reader. Raises LinkError for anything else."""
    pages = {application.usage_page for application in descriptor.applications}
    if not pages:  # it was pulled just now
        raise open_error(url, errno.ENODEV)
    if hid_pos.USAGE_PAGE in pages:
        return hid_pos.PosDecoder(descriptor)
    if pages & {hid_msr.USAGE_PAGE, hid_msr.VENDOR_PAGE}:
        return None
    raise LinkError("denied", N_("{url} is no scanner and no card reader.", url=str(url)))
