"""What is plugged in: read from /sys, without opening anything.

`kopilka-agent devices list` shows it, `auto` chooses from it, `doctor` compares it with
the configuration. /sys needs no rights and wakes no device; and it tells two equal
scanners apart, which /dev/input/by-id does not (the last one plugged in has the name).

A keyboard scanner is a keyboard. `auto` takes only those whose maker makes scanners or
whose name says so, for a keyboard that is grabbed by mistake leaves a cashier unable to
type. The others are shown, and bound by `devices learn`.

Everything takes the roots of /sys and /dev as parameters: tests lay out their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.drivers.hid_descriptor import parse_descriptor
from agent.drivers.link import DeviceUrl, LinkError, parse_url
from loyalty.texts import N_

SYS, DEV = Path("/sys"), Path("/dev")
OWN_KEYBOARD = "Kopilka forwarded keys"
"""The keyboard that mode `forward` types on; never a scanner."""

Kind = Literal["keyboard", "hid_pos", "hid_msr", "serial", "printer"]

_SCANNER_VENDORS = frozenset(
    (
        0x0536,  # Hand Held Products
        0x05E0,  # Symbol, Zebra
        0x05F9,  # PSC, Datalogic
        0x065A,  # Opticon
        0x0801,  # MagTek
        0x080C,  # Datalogic
        0x0ACD,  # ID TECH
        0x0C2E,  # Metrologic, Honeywell
        0x1EAB,  # Newland
    )
)
_SCANNER_WORDS = re.compile(
    r"scanner|bar ?code|magtek|swipe|card ?reader|metrologic|datalogic|newland|mindeo|mertech", re.IGNORECASE
)
_KEY_ENTER, _KEY_A, _KEY_Z, _KEY_1, _KEY_0 = 28, 30, 44, 2, 11
_PRINTER_CLASS = "07"
_USB_SERIAL = ("ttyACM", "ttyUSB")
_BAR_CODE_PAGE, _MSR_PAGE = 0x8C, 0x8E
_VENDOR_PAGE = 0xFF00
_CARD_READER_VENDORS = frozenset((0x0801, 0x0ACD))


@dataclass(frozen=True, slots=True)
class Plugged:
    """A device that can be read or printed on.

    `url` is what to write into the configuration; `port` is the USB port; `likely`: its maker or its name
    says what it is for, so that `auto` may take it.
    """

    kind: Kind
    url: str
    node: str
    name: str
    vendor: int | None = None
    product: int | None = None
    port: str | None = None
    likely: bool = False

    @property
    def ids(self) -> str:
        """Vendor and product as lsusb writes them."""
        return "" if self.vendor is None or self.product is None else f"{self.vendor:04x}:{self.product:04x}"


def plugged(sys_root: Path = SYS, dev_root: Path = DEV) -> list[Plugged]:
    """Everything that a till could use, scanners first."""
    found = [
        *_keyboards(sys_root, dev_root),
        *_hidraws(sys_root, dev_root),
        *_serial_ports(sys_root, dev_root),
        *_printers(sys_root, dev_root),
    ]
    return sorted(found, key=lambda device: (device.kind == "printer", not device.likely, device.url))


def likely_scanners(sys_root: Path = SYS, dev_root: Path = DEV) -> list[Plugged]:
    """What `auto` takes for a scanner. A scanner that is seen both as a keyboard and raw is one."""
    return [device for device in plugged(sys_root, dev_root) if device.kind != "printer" and device.likely]


def the_printer(sys_root: Path = SYS, dev_root: Path = DEV) -> DeviceUrl:
    """What `auto` takes for the printer. Raises LinkError where there is none."""
    for device in plugged(sys_root, dev_root):
        if device.kind == "printer":
            return parse_url(device.url)
    raise LinkError(
        "lost", N_("No USB printer is plugged in; name a network or serial one in the configuration.")
    )


def keyboard_node(url: DeviceUrl, sys_root: Path = SYS, dev_root: Path = DEV) -> str:
    """The node of the keyboard scanner that `url` names, by its ids or by a name in /dev/input.

    Raises LinkError where none has those ids, or several have.
    """
    if url.ids is None:
        return url.path
    found = [
        device
        for device in _keyboards(sys_root, dev_root)
        if (device.vendor, device.product) == (url.ids.vendor, url.ids.product)
    ]
    if not found:
        raise LinkError("lost", N_("{url} is not there: is it plugged in?", url=str(url)))
    if len(found) > 1:
        choices = ", ".join(device.url for device in found)
        raise LinkError(
            "busy", N_("There are several of {url}; name one of {known}", url=str(url), known=choices)
        )
    return found[0].node


def usblp_node(port: str, sys_root: Path = SYS, dev_root: Path = DEV) -> str | None:
    """/dev/usb/lpN of the printer in this port, if usblp has it."""
    return _usblp_nodes(sys_root, dev_root).get(port)


def printer_node(url: DeviceUrl, sys_root: Path = SYS, dev_root: Path = DEV) -> str:
    """/dev/usb/lpN of the printer that an lp URL names. Raises LinkError where there is none, or several."""
    if url.ids is None:
        return url.target
    found = {}
    for port, node in _usblp_nodes(sys_root, dev_root).items():
        device = sys_root / "bus/usb/devices" / port
        is_it = _ids(device) == (url.ids.vendor, url.ids.product) and url.port in (None, port)
        if is_it and url.ids.serial in (None, _text(device / "serial")):
            found[port] = node
    if not found:
        raise LinkError("lost", N_("{url} is not there: is it plugged in?", url=str(url)))
    if len(found) > 1:
        choices = ", ".join(f"{str(url).partition('?')[0]}?port={port}" for port in found)
        raise LinkError(
            "busy", N_("There are several of {url}; name one of {known}", url=str(url), known=choices)
        )
    return next(iter(found.values()))


# ---- keyboards


def _keyboards(sys_root: Path, dev_root: Path) -> Iterator[Plugged]:
    by_path = _links(dev_root / "input/by-path")
    for event in _children(sys_root / "class/input", "event"):
        device = event / "device"
        name = _text(device / "name")
        if name == OWN_KEYBOARD or not _types_codes(_text(device / "capabilities/key")):
            continue
        node = dev_root / "input" / event.name
        vendor, product = _hex(device / "id/vendor"), _hex(device / "id/product")
        link = by_path.get(node.name)
        yield Plugged(
            kind="keyboard",
            url=f"evdev:by-path/{link}" if link else f"evdev:{node}",
            node=str(node),
            name=name,
            vendor=vendor,
            product=product,
            port=_usb_port(device),
            likely=vendor in _SCANNER_VENDORS or bool(_SCANNER_WORDS.search(name)),
        )


def _types_codes(key_words: str) -> bool:
    """Has it letters, digits and Enter? A scanner's second node (volume keys) and a power button have not."""
    bits = 0
    for word in key_words.split():
        bits = bits << 64 | int(word, 16)
    return all(bits >> key & 1 for key in (_KEY_1, _KEY_0, _KEY_A, _KEY_Z, _KEY_ENTER))


# ---- HID scanners and card readers


def _hidraws(sys_root: Path, dev_root: Path) -> Iterator[Plugged]:
    for raw in _children(sys_root / "class/hidraw", "hidraw"):
        facts = _facts(raw / "device/uevent")
        vendor, product = _hid_ids(facts)
        kind = _hid_kind(report_descriptor(raw.name, sys_root), vendor)
        if kind is None:
            continue
        node = dev_root / raw.name
        where = facts.get("HID_PHYS")
        yield Plugged(
            kind=kind,
            url=f"hidraw:{where}" if where else f"hidraw:{node}",
            node=str(node),
            name=facts.get("HID_NAME", ""),
            vendor=vendor,
            product=product,
            port=_usb_port(raw / "device"),
            likely=True,  # nothing else has these usage pages
        )


def hidraw_node(url: DeviceUrl, sys_root: Path = SYS, dev_root: Path = DEV) -> str:
    """The node of the HID device that `url` names: a path, its ids, or its port as the kernel calls it.

    Raises LinkError where there is none, or several.
    """
    if url.target.startswith("/"):
        return url.target
    found = {}
    for raw in _children(sys_root / "class/hidraw", "hidraw"):
        facts = _facts(raw / "device/uevent")
        vendor, product = _hid_ids(facts)
        named = (url.ids.vendor, url.ids.product) == (vendor, product) if url.ids is not None else False
        if url.ids is not None and url.ids.serial is not None:
            named = named and facts.get("HID_UNIQ") == url.ids.serial
        if named or facts.get("HID_PHYS") == url.target:
            found[str(dev_root / raw.name)] = facts.get("HID_PHYS", "")
    if not found:
        raise LinkError("lost", N_("{url} is not there: is it plugged in?", url=str(url)))
    if len(found) > 1:
        choices = ", ".join(f"hidraw:{port}" for port in found.values())
        raise LinkError(
            "busy", N_("There are several of {url}; name one of {known}", url=str(url), known=choices)
        )
    return next(iter(found))


def report_descriptor(node: str, sys_root: Path = SYS) -> bytes:
    """What a HID device says of itself, as the kernel keeps it; empty where it is gone."""
    return _bytes(sys_root / "class/hidraw" / Path(node).name / "device/report_descriptor")


def _hid_ids(facts: dict[str, str]) -> tuple[int, int]:
    _, vendor, product = facts.get("HID_ID", "0:0:0").split(":")
    return int(vendor, 16), int(product, 16)


def _hid_kind(descriptor: bytes, vendor: int) -> Kind | None:
    pages = {application.usage_page for application in parse_descriptor(descriptor).applications}
    if _BAR_CODE_PAGE in pages:
        return "hid_pos"
    if _MSR_PAGE in pages or (_VENDOR_PAGE in pages and vendor in _CARD_READER_VENDORS):
        return "hid_msr"
    return None


# ---- serial ports


def _serial_ports(sys_root: Path, dev_root: Path) -> Iterator[Plugged]:
    by_path, by_id = _links(dev_root / "serial/by-path"), _links(dev_root / "serial/by-id")
    for tty in _children(sys_root / "class/tty", *_USB_SERIAL):
        device = _usb_device(tty / "device")
        vendor, product = (_hex(device / "idVendor"), _hex(device / "idProduct")) if device else (None, None)
        name = _text(device / "product") if device else ""
        link = f"by-path/{by_path[tty.name]}" if tty.name in by_path else ""
        link = link or (f"by-id/{by_id[tty.name]}" if tty.name in by_id else "")
        node = dev_root / tty.name
        yield Plugged(
            kind="serial",
            url=f"serial:{dev_root / 'serial' / link}" if link else f"serial:{node}",
            node=str(node),
            name=name,
            vendor=vendor,
            product=product,
            port=device.name if device else None,
            likely=vendor in _SCANNER_VENDORS or bool(_SCANNER_WORDS.search(name)),
        )


# ---- printers


def _printers(sys_root: Path, dev_root: Path) -> Iterator[Plugged]:
    nodes = _usblp_nodes(sys_root, dev_root)
    interfaces = sorted((sys_root / "bus/usb/devices").glob("*:*"))
    devices = {
        interface.name.partition(":")[0]
        for interface in interfaces
        if _text(interface / "bInterfaceClass") == _PRINTER_CLASS
    }
    ids = {port: _ids(sys_root / "bus/usb/devices" / port) for port in sorted(devices)}
    for port, (vendor, product) in ids.items():
        device = sys_root / "bus/usb/devices" / port
        by_ids = f"{'lp' if port in nodes else 'usb'}:{vendor:04x}:{product:04x}"
        is_one_of_several = list(ids.values()).count((vendor, product)) > 1
        yield Plugged(
            kind="printer",
            url=f"{by_ids}?port={port}" if is_one_of_several else by_ids,
            node=nodes.get(port) or _usb_node(device, dev_root),
            name=" ".join(filter(None, (_text(device / "manufacturer"), _text(device / "product")))),
            vendor=vendor,
            product=product,
            port=port,
            likely=True,
        )


def _usblp_nodes(sys_root: Path, dev_root: Path) -> dict[str, str]:
    """USB port -> node. The numbers are shared with hiddev: a shop's only printer may be lp2."""
    nodes = {}
    for lp in _children(sys_root / "class/usbmisc", "lp"):
        device = _usb_device(lp / "device")
        if device is not None:
            nodes[device.name] = str(dev_root / "usb" / lp.name)
    return nodes


def _ids(device: Path) -> tuple[int, int]:
    return _hex(device / "idVendor") or 0, _hex(device / "idProduct") or 0


def _usb_node(device: Path, dev_root: Path) -> str:
    bus, number = _text(device / "busnum"), _text(device / "devnum")
    return str(dev_root / f"bus/usb/{int(bus or 0):03}/{int(number or 0):03}")


# ---- reading /sys


def _children(directory: Path, *prefixes: str) -> list[Path]:
    with suppress(OSError):
        return sorted((path for path in directory.iterdir() if path.name.startswith(prefixes)), key=_in_order)
    return []


def _in_order(path: Path) -> tuple[str, int]:
    name = path.name.rstrip("0123456789")
    return name, int(path.name[len(name) :] or 0)


def _links(directory: Path) -> dict[str, str]:
    """Node name -> the name of the link to it; of several (by-path has two for USB) the shortest."""
    found: dict[str, str] = {}
    with suppress(OSError):
        for link in sorted(directory.iterdir(), key=lambda path: (-len(path.name), path.name)):
            with suppress(OSError):
                found[Path(os.readlink(link)).name] = link.name
    return found


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace").strip()
    return ""


def _bytes(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""


def _hex(path: Path) -> int | None:
    with suppress(ValueError):
        return int(_text(path), 16)
    return None


def _facts(path: Path) -> dict[str, str]:
    """KEY=value lines of a uevent file."""
    return dict(line.split("=", 1) for line in _text(path).splitlines() if "=" in line)


def _usb_device(path: Path) -> Path | None:
    """The USB device that an interface, tty or input device belongs to."""
    with suppress(OSError):
        real = path.resolve()
        return next((parent for parent in (real, *real.parents) if (parent / "idVendor").is_file()), None)
    return None


def _usb_port(path: Path) -> str | None:
    device = _usb_device(path)
    return device.name if device else None
