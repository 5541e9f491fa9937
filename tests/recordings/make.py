"""Makes the recordings beside it: a USB keyboard scanner of our own invention, as umockdev replays it.

    python tests/recordings/make.py

Each recording is three files: `.umockdev` (the device in /sys and udev's database), `.ioctl` (what the kernel
answers when it is asked what the device is) and `.evemu` (the key events, with their times). The formats are
those of umockdev-record(1) and evemu-record(1); the device, its ids (test ids of pid.codes) and what it types
are invented. `test_recordings.py` fails when the files are not what this script makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
NODE = "input/event7"
SYSFS = "/devices/pci0000:00/0000:00:14.0/usb1/1-3/1-3:1.0/0003:1209:0001.0001/input/input7"
BY_PATH = "input/by-path/pci-0000:00:14.0-usb-0:3:1.0-event-kbd"
NAME = "Kopilka Paper Scanner"
PHYS = "usb-0000:00:14.0-3/input0"
VENDOR, PRODUCT, VERSION = 0x1209, 0x0001, 0x0100
START_S = 1_700_000_000
REPORT_US = 8_000  # one USB report every 8 ms

EV_SYN, EV_KEY, EV_MSC, EV_LED, EV_REP = 0, 1, 4, 17, 20
MSC_SCAN = 4
LEFT_SHIFT, ENTER = 42, 28
# Written out once more, and otherwise than the decoder's table: letter -> (Linux key code, HID usage, Shift).
HID = {
    **{str(d): (d + 1 if d else 11, 0x1D + d if d else 0x27, False) for d in range(10)},
    "%": (6, 0x22, True),
    "?": (53, 0x38, True),
    "^": (7, 0x23, True),
    ";": (39, 0x33, False),
    "=": (13, 0x2E, False),
    "/": (53, 0x38, False),
    " ": (57, 0x2C, False),
    "\n": (ENTER, 0x28, False),
    **{
        letter: (code, 0x04 + ord(letter) - ord("A"), True)
        for row, first in (("QWERTYUIOP", 16), ("ASDFGHJKL", 30), ("ZXCVBNM", 44))
        for code, letter in enumerate(row, first)
    },
}


@dataclass(frozen=True)
class Recording:
    """`typed` is what the scanner sends, Enter as a line feed."""

    name: str
    typed: str


RECORDINGS = (
    # A card of the demo programme: EAN-13 with the prefix 2000.
    Recording("card", "2000000012346\n"),
    # A swipe of the same card: track 1, then track 2, an Enter after each.
    Recording("swipe", "%S2000000012346^KOPILKA/DEMO?\n;2000000012346=991210100000?\n"),
)


def events(typed: str) -> Iterator[tuple[int, int, int, int]]:
    """(microseconds, type, code, value), as the kernel makes them of HID reports: one SYN for each report."""
    at_us = 0
    for letter in typed:
        code, usage, shift = HID[letter]
        for value in (1, 0):
            if shift:
                yield at_us, EV_MSC, MSC_SCAN, 0x700E1
                yield at_us, EV_KEY, LEFT_SHIFT, value
            yield at_us, EV_MSC, MSC_SCAN, 0x70000 + usage
            yield at_us, EV_KEY, code, value
            yield at_us, EV_SYN, 0, 0
            at_us += REPORT_US


def evemu(recording: Recording) -> str:
    lines = ["# EVEMU 1.2", f"# device /dev/{NODE}"]
    for at_us, kind, code, value in events(recording.typed):
        seconds, micros = divmod(at_us, 1_000_000)
        lines.append(f"E: {START_S + seconds}.{micros:06} {kind:04X} {code:04X} {value}")
    return "\n".join(lines) + "\n"


def key_bits() -> bytes:
    """Bit n: the device has key n. Everything a plain keyboard has, KEY_ESC to KEY_COMPOSE."""
    return (sum(1 << code for code in range(1, 128))).to_bytes(96, "little")


def umockdev() -> str:
    key = " ".join(f"{word:x}" for word in ((1 << 64) - 1, (1 << 64) - 2))
    node = [
        f"P: {SYSFS}/event7",
        f"N: {NODE}",
        f"S: {BY_PATH}",
        f"E: DEVLINKS=/dev/{BY_PATH}",
        f"E: DEVNAME=/dev/{NODE}",
        "E: ID_BUS=usb",
        "E: ID_INPUT=1",
        "E: ID_INPUT_KEY=1",
        "E: ID_INPUT_KEYBOARD=1",
        f"E: ID_VENDOR_ID={VENDOR:04x}",
        f"E: ID_MODEL_ID={PRODUCT:04x}",
        "E: MAJOR=13",
        "E: MINOR=71",
        "E: SUBSYSTEM=input",
        r"A: dev=13:71\n",
        "L: device=../../input7",
    ]
    parent = [
        f"P: {SYSFS}",
        "E: EV=120013",
        f"E: KEY={key}",
        f'E: NAME="{NAME}"',
        f'E: PHYS="{PHYS}"',
        f"E: PRODUCT=3/{VENDOR:x}/{PRODUCT:x}/{VERSION:x}",
        "E: SUBSYSTEM=input",
        r"A: capabilities/ev=120013\n",
        rf"A: capabilities/key={key}\n",
        r"A: capabilities/led=1f\n",
        r"A: capabilities/msc=10\n",
        rf"A: name={NAME}\n",
        rf"A: phys={PHYS}\n",
    ]
    return "\n".join(node) + "\n\n" + "\n".join(parent) + "\n"


def ioctl() -> str:
    def text(value: str) -> str:
        return value.encode().ljust(256, b"\0").hex().upper()

    def number(*values: int) -> str:
        return b"".join(value.to_bytes(2, "little") for value in values).hex().upper()

    types = sum(1 << kind for kind in (EV_SYN, EV_KEY, EV_MSC, EV_LED, EV_REP))
    lines = [
        f"@DEV /dev/{NODE}",
        f"EVIOCGID 0 {number(3, VENDOR, PRODUCT, VERSION)}",
        f"EVIOCGNAME(0) {len(NAME) + 1} {text(NAME)}",
        f"EVIOCGPHYS(0) {len(PHYS) + 1} {text(PHYS)}",
        f"EVIOCGUNIQ(0) 1 {text('')}",
        f"EVIOCGVERSION 0 {(0x010001).to_bytes(4, 'little').hex().upper()}",
        f"EVIOCGBIT(0) 4 {types.to_bytes(4, 'little').hex().upper()}",
        f"EVIOCGBIT(0) 8 {types.to_bytes(96, 'little').hex().upper()}",
        f"EVIOCGBIT({EV_KEY}) 96 {key_bits().hex().upper()}",
        f"EVIOCGBIT({EV_MSC}) 8 {(1 << MSC_SCAN).to_bytes(96, 'little').hex().upper()}",
        f"EVIOCGBIT({EV_LED}) 8 {(0x1F).to_bytes(96, 'little').hex().upper()}",
        "EVIOCGEFFECTS 0 00000000",
    ]
    return "\n".join(lines) + "\n"


def files() -> dict[str, str]:
    """Every file of every recording and what is in it."""
    made = {}
    for recording in RECORDINGS:
        made[f"{recording.name}.umockdev"] = umockdev()
        made[f"{recording.name}.ioctl"] = ioctl()
        made[f"{recording.name}.evemu"] = evemu(recording)
    return made


if __name__ == "__main__":
    for file_name, content in files().items():
        (HERE / file_name).write_text(content)
