"""What is plugged in, read from a /sys that the test lays out as the kernel does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.drivers.link import LinkError, parse_url
from agent.drivers.plugged import OWN_KEYBOARD, Plugged, keyboard_node, likely_scanners, plugged, the_printer
from tests.recordings.make import key_bits

PCI = "devices/pci0000:00/0000:00:14.0/usb1"
POS_DESCRIPTOR = bytes.fromhex("058c0902a10185020902a10281c0c0")
ALL_KEYS = " ".join(f"{int.from_bytes(key_bits()[at : at + 8], 'little'):x}" for at in range(88, -1, -8))
VOLUME_KEYS = "e000000000000 0"


@dataclass
class Box:
    """A made-up machine: its /sys and /dev."""

    root: Path

    @property
    def roots(self) -> tuple[Path, Path]:
        return self.root / "sys", self.root / "dev"

    def write(self, path: str, content: str | bytes) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def link(self, path: str, target: Path) -> None:
        link = self.root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(target, link.parent) if target.is_absolute() else target)

    def usb(self, port: str, ids: str, product: str = "", maker: str = "") -> Path:
        device = self.root / "sys" / PCI / port
        vendor, _, number = ids.partition(":")
        for name, value in {
            "idVendor": vendor,
            "idProduct": number,
            "product": product,
            "manufacturer": maker,
            "busnum": "1",
            "devnum": port[-1],
        }.items():
            self.write(str((device / name).relative_to(self.root)), value + "\n")
        self.link(f"sys/bus/usb/devices/{port}", device)
        return device

    def keyboard(self, event: int, port: str, ids: str, name: str, keys: str = ALL_KEYS) -> None:
        usb = self.usb(port, ids)
        device = usb / f"{port}:1.0" / f"input{event}"
        vendor, _, number = ids.partition(":")
        for file, value in {
            "name": name,
            "id/vendor": vendor,
            "id/product": number,
            "capabilities/key": keys,
        }.items():
            self.write(str((device / file).relative_to(self.root)), value + "\n")
        self.link(f"sys/class/input/event{event}/device", device)
        self.write(f"dev/input/event{event}", "")
        by_path = f"pci-0000:00:14.0-usb-0:{port[2:]}:1.0-event-kbd"
        self.link(f"dev/input/by-path/{by_path}", Path(f"../event{event}"))

    def hidraw(self, number: int, port: str, ids: str, descriptor: bytes) -> None:
        device = self.usb(port, ids) / f"{port}:1.0" / "0003:0000:0000.0001"
        vendor, _, product = ids.partition(":")
        facts = (
            f"HID_ID=0003:0000{vendor.upper()}:0000{product.upper()}\nHID_NAME=Maker Scanner\n"
            f"HID_PHYS=usb-0000:00:14.0-{port[2:]}/input0\nHID_UNIQ=\n"
        )
        self.write(str((device / "uevent").relative_to(self.root)), facts)
        self.write(str((device / "report_descriptor").relative_to(self.root)), descriptor)
        self.link(f"sys/class/hidraw/hidraw{number}/device", device)

    def serial(self, tty: str, port: str, ids: str, product: str) -> None:
        interface = self.usb(port, ids, product) / f"{port}:1.0"
        interface.mkdir()
        self.link(f"sys/class/tty/{tty}/device", interface)
        self.link(f"dev/serial/by-path/pci-0000:00:14.0-usb-0:{port[2:]}:1.0", Path(f"../../{tty}"))

    def printer(self, port: str, ids: str, lp: int | None) -> None:
        interface = self.usb(port, ids, "TM-T20", "EPSON") / f"{port}:1.0"
        self.write(str((interface / "bInterfaceClass").relative_to(self.root)), "07\n")
        self.link(f"sys/bus/usb/devices/{port}:1.0", interface)
        if lp is not None:
            self.link(f"sys/class/usbmisc/lp{lp}/device", interface)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def urls(found: list[Plugged]) -> list[str]:
    return [device.url for device in found]


def test_nothing_is_plugged_in(box: Box) -> None:
    assert plugged(*box.roots) == []


def test_two_equal_scanners_have_their_ports(box: Box) -> None:
    box.keyboard(3, "1-3", "05e0:1200", "Symbol Bar Code Scanner")
    box.keyboard(4, "1-4", "05e0:1200", "Symbol Bar Code Scanner")
    assert urls(likely_scanners(*box.roots)) == [
        "evdev:by-path/pci-0000:00:14.0-usb-0:3:1.0-event-kbd",
        "evdev:by-path/pci-0000:00:14.0-usb-0:4:1.0-event-kbd",
    ]
    assert [device.port for device in plugged(*box.roots)] == ["1-3", "1-4"]


def test_a_keyboard_is_shown_and_never_taken_for_a_scanner(box: Box) -> None:
    box.keyboard(0, "1-1", "046d:c31c", "Logitech USB Keyboard")
    assert likely_scanners(*box.roots) == []
    (device,) = plugged(*box.roots)
    assert (device.kind, device.ids, device.likely) == ("keyboard", "046d:c31c", False)


@pytest.mark.parametrize(
    ("ids", "name"),
    [
        ("1a2c:0001", "USB Barcode Scanner"),
        ("0c2e:0b61", "Voyager 1400g"),
        ("0801:0001", "Mag-Tek Swipe Reader"),
    ],
)
def test_a_scanner_is_known_by_its_maker_or_its_name(box: Box, ids: str, name: str) -> None:
    box.keyboard(5, "1-2", ids, name)
    assert len(likely_scanners(*box.roots)) == 1


def test_the_second_node_of_a_scanner_and_our_own_keyboard_are_nothing_to_read(box: Box) -> None:
    box.keyboard(6, "1-5", "05e0:1200", "Symbol Bar Code Scanner", VOLUME_KEYS)
    box.keyboard(7, "1-6", "05e0:1201", OWN_KEYBOARD)
    assert plugged(*box.roots) == []


def test_a_hid_pos_scanner_is_named_by_its_port(box: Box) -> None:
    box.hidraw(2, "1-3", "0c2e:0200", POS_DESCRIPTOR)
    (device,) = plugged(*box.roots)
    assert (device.kind, device.url) == ("hid_pos", "hidraw:usb-0000:00:14.0-3/input0")
    assert (device.ids, device.likely) == ("0c2e:0200", True)


def test_a_mouse_is_no_scanner(box: Box) -> None:
    box.hidraw(0, "1-3", "046d:c077", bytes.fromhex("05010902a1010901a1008102c0c0"))
    assert plugged(*box.roots) == []


def test_a_serial_scanner_is_named_by_its_port(box: Box) -> None:
    box.serial("ttyACM0", "1-2", "1eab:0006", "Newland HR22")
    (device,) = likely_scanners(*box.roots)
    assert device.url == f"serial:{box.roots[1]}/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0"
    assert device.node == str(box.roots[1] / "ttyACM0")


def test_a_serial_adapter_may_be_anything(box: Box) -> None:
    box.serial("ttyUSB0", "1-2", "1a86:7523", "USB Serial")
    assert likely_scanners(*box.roots) == []
    assert [device.kind for device in plugged(*box.roots)] == ["serial"]


def test_the_printer_is_found_whatever_its_number(box: Box) -> None:
    """A HID device that came first has minor 0, so the only printer is lp1."""
    box.printer("1-4", "04b8:0e15", lp=1)
    (device,) = plugged(*box.roots)
    assert (device.url, device.name) == ("lp:04b8:0e15", "EPSON TM-T20")
    assert device.node.endswith("/usb/lp1")
    assert str(the_printer(*box.roots)) == "lp:04b8:0e15"


def test_without_usblp_the_printer_is_reached_by_libusb(box: Box) -> None:
    box.printer("1-4", "04b8:0e15", lp=None)
    assert urls(plugged(*box.roots)) == ["usb:04b8:0e15"]


def test_two_equal_printers_are_told_apart_by_their_ports(box: Box) -> None:
    box.printer("1-4", "04b8:0e15", lp=0)
    box.printer("1-5", "04b8:0e15", lp=1)
    assert urls(plugged(*box.roots)) == ["lp:04b8:0e15?port=1-4", "lp:04b8:0e15?port=1-5"]


def test_no_printer_to_choose(box: Box) -> None:
    with pytest.raises(LinkError) as none:
        the_printer(*box.roots)
    assert "network or serial" in str(none.value.hint)


def test_a_keyboard_scanner_by_its_ids(box: Box) -> None:
    url = parse_url("evdev:05e0:1200")
    with pytest.raises(LinkError) as missing:
        keyboard_node(url, *box.roots)
    assert (missing.value.state, "plugged in" in str(missing.value.hint)) == ("lost", True)
    box.keyboard(3, "1-3", "05e0:1200", "Scanner")
    assert keyboard_node(url, *box.roots) == str(box.roots[1] / "input/event3")
    box.keyboard(4, "1-4", "05e0:1200", "Scanner")
    with pytest.raises(LinkError) as several:
        keyboard_node(url, *box.roots)
    assert "0:3:1.0-event-kbd" in str(several.value.hint)
