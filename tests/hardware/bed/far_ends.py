"""In the guest: the far ends of its USB cables. Gadgets of the kernel, so its host side sees real devices.

    far_ends.py setup              make the devices of DEVICES, all unplugged
    far_ends.py plug NAME          as a cable that is put in; `unplug NAME`: as one that is pulled
    far_ends.py type NAME TEXT [--report-ms 8] [--stop-after N] [--hold-caps]
    far_ends.py report NAME HEX…   raw HID reports
    far_ends.py send NAME HEX      bytes of a serial scanner
    far_ends.py print NAME FILE [--status BYTE]   be a printer: what it is sent goes to FILE until killed

Plugging switches the hub's port, which the host side sees as a real disconnect. (Unbinding a gadget whose
far end is open makes this kernel corrupt its memory.) Standard library only, but for `print`, which answers
as our printer emulator does.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

GADGETS = Path("/sys/kernel/config/usb_gadget")
KEYBOARD = bytes.fromhex(
    "05010906a101050719e029e71500250175019508810295017508810395057501050819012905910295017503910395067508"
    "1500256505071900296581 00c0".replace(" ", "")
)
POS = bytes.fromhex("058c09 02a1018502 0902a102 1500 26ff00 7508 953f 0900 8102 c0 c0".replace(" ", ""))
STRIPE = bytes.fromhex("0600ff 0901 a101 1500 26ff00 7508 96 5101 0920 8102 c0".replace(" ", ""))

DEVICES = {
    # name: (vendor, product, maker, product name, serial, function)
    "scanner": (0x05E0, 0x1200, "Symbol", "Bar Code Scanner", "", "hid", KEYBOARD, 8),
    "twin": (0x05E0, 0x1200, "Symbol", "Bar Code Scanner", "", "hid", KEYBOARD, 8),
    "pos": (0x0C2E, 0x0200, "Honeywell", "HID POS Scanner", "", "hid", POS, 64),
    "stripe": (0x0801, 0x0002, "Mag-Tek", "USB Swipe Reader", "", "hid", STRIPE, 337),
    "serial": (0x1EAB, 0x0006, "Newland", "HR22 Scanner", "N1", "acm", b"", 0),
    "printer": (0x04B8, 0x0E15, "EPSON", "TM-T20", "J5XF012345", "printer", b"", 0),
}
"""In their order: each has a controller (dummy_udc.N) and a bus of its own."""

USAGES = {
    **{letter: (0x04 + n, False) for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz")},
    **{letter: (0x04 + n, True) for n, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")},
    **{digit: (0x1E + n, False) for n, digit in enumerate("1234567890")},
    **{sign: (0x1E + n, True) for n, sign in enumerate("!@#$%^&*()")},
    "\n": (0x28, False),
    "\t": (0x2B, False),
    " ": (0x2C, False),
    "-": (0x2D, False),
    "=": (0x2E, False),
    "+": (0x2E, True),
    "]": (0x30, False),
    ";": (0x33, False),
    "/": (0x38, False),
    "?": (0x38, True),
}
SHIFT = 0x02


def setup() -> None:
    subprocess.run(["modprobe", "dummy_hcd", f"num={len(DEVICES)}"], check=True)
    modules = [
        "libcomposite",
        "usb_f_hid",
        "usb_f_printer",
        "usb_f_acm",
        "usbhid",
        "usblp",
        "cdc_acm",
        "evdev",
        "uinput",
    ]
    subprocess.run(["modprobe", "-a", *modules], check=True)
    for number, name in enumerate(DEVICES):
        port(name, plugged=False)
        gadget(number, name)
    subprocess.run(["udevadm", "settle"], check=True)


def gadget(number: int, name: str) -> None:
    vendor, product, maker, product_name, serial, kind, descriptor, length = DEVICES[name]
    root = GADGETS / name
    function = root / "functions" / f"{kind}.{name}"
    for directory in (root / "strings/0x409", root / "configs/c.1", function):
        directory.mkdir(parents=True, exist_ok=True)
    (root / "idVendor").write_text(f"{vendor:#06x}")
    (root / "idProduct").write_text(f"{product:#06x}")
    for file, text in (("manufacturer", maker), ("product", product_name), ("serialnumber", serial)):
        if text:
            (root / "strings/0x409" / file).write_text(text)
    if kind == "hid":
        is_keyboard = descriptor == KEYBOARD
        (function / "protocol").write_text("1" if is_keyboard else "0")
        (function / "subclass").write_text("1" if is_keyboard else "0")
        (function / "report_length").write_text(str(length))
        (function / "report_desc").write_bytes(descriptor)
    if kind == "printer":
        (function / "pnp_string").write_text(f"MFG:{maker};CMD:ESC/POS;MDL:{product_name};CLS:PRINTER;")
        (function / "q_len").write_text("10")
    link = root / "configs/c.1" / function.name
    if not link.exists():
        link.symlink_to(function)
    (root / "UDC").write_text(f"dummy_udc.{number}")


def port(name: str, *, plugged: bool) -> None:
    """Switch the hub's port of this device's bus."""
    number = list(DEVICES).index(name)
    (bus,) = Path(f"/sys/devices/platform/dummy_hcd.{number}").glob("usb*")
    switch = bus / f"{bus.name[3:]}-0:1.0" / f"{bus.name}-port1" / "disable"
    switch.write_text("0" if plugged else "1")


def far_end(name: str) -> str:
    """The device file of a gadget's own side."""
    kind = DEVICES[name][5]
    function = GADGETS / name / "functions" / f"{kind}.{name}"
    if kind == "acm":
        return f"/dev/ttyGS{(function / 'port_num').read_text().strip()}"
    if kind == "printer":
        return "/dev/g_printer0"
    return f"/dev/hidg{(function / 'dev').read_text().strip().partition(':')[2]}"


def type_text(name: str, text: str, report_ms: float, stop_after: int | None) -> None:
    """A report a key down, a report all keys up, as scanners do."""
    with open(far_end(name), "wb", buffering=0) as keyboard:
        for count, letter in enumerate(text):
            if count == stop_after:
                return
            usage, shift = USAGES[letter]
            for report in (bytes((SHIFT if shift else 0, 0, usage, 0, 0, 0, 0, 0)), bytes(8)):
                keyboard.write(report)
                time.sleep(report_ms / 1000)


def send_reports(name: str, reports: list[str]) -> None:
    length = DEVICES[name][7]
    with open(far_end(name), "wb", buffering=0) as device:
        for report in reports:
            device.write(bytes.fromhex(report).ljust(length, b"\0"))


def send_bytes(name: str, data: str) -> None:
    descriptor = os.open(far_end(name), os.O_RDWR | os.O_NOCTTY)
    import tty

    tty.setraw(descriptor)
    os.write(descriptor, bytes.fromhex(data))
    import termios

    termios.tcdrain(descriptor)
    os.close(descriptor)


SET_STATUS = 3 << 30 | 1 << 16 | 0x67 << 8 | 0x22  # GADGET_SET_PRINTER_STATUS of linux/usb/g_printer.h


def be_printer(name: str, file: str, status: int | None, *, mute: bool) -> None:
    """Print into a file; answer as a printer does."""
    sys.path[:0] = ["/opt/kopilka", "/opt/kopilka/site"]
    from agent.drivers.fakes.escpos_parser import EscPosParser

    device = os.open(far_end(name), os.O_RDWR)
    if status is not None:
        fcntl.ioctl(device, SET_STATUS, status)
    answers = bytearray()
    parser = EscPosParser(answers.extend, lambda _: None)
    with open(file, "ab", buffering=0) as paper:
        while True:
            data = os.read(device, 8192)
            paper.write(data)
            parser.feed(data)
            if answers and not mute:
                os.write(device, bytes(answers))
            answers.clear()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("act")
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("more", nargs="*")
    parser.add_argument("--report-ms", type=float, default=8)
    parser.add_argument("--stop-after", type=int)
    parser.add_argument("--status", type=lambda text: int(text, 0))
    parser.add_argument("--mute", action="store_true")
    options = parser.parse_args()
    if options.act == "setup":
        setup()
    elif options.act in ("plug", "unplug"):
        port(options.name, plugged=options.act == "plug")
    elif options.act == "type":
        text = options.more[0].encode().decode("unicode_escape")
        type_text(options.name, text, options.report_ms, options.stop_after)
    elif options.act == "report":
        send_reports(options.name, options.more)
    elif options.act == "send":
        send_bytes(options.name, options.more[0])
    elif options.act == "print":
        be_printer(options.name, options.more[0], options.status, mute=options.mute)


if __name__ == "__main__":
    main()
