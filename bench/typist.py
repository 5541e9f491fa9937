"""A scanner's far end, in a process of its own: types scans into a pipe, as the kernel hands out key events.

    python -m bench.typist FD SCANS SEED

Prints at its end when the report with each scan's Enter was written (CLOCK_MONOTONIC, ns), one a line.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from random import Random

from tests.recordings.make import ENTER, EV_SYN, events

REPORT_S = 0.001  # a quick scanner: a report a millisecond
PAUSE_S = 0.02
_EVENT = struct.Struct("llHHi")


def codes(scans: int, seed: int) -> list[str]:
    """What is scanned: thirteen digits each."""
    random = Random(seed)
    return ["".join(random.choices("0123456789", k=13)) for _ in range(scans)]


def type_scan(descriptor: int, code: str) -> int:
    """Type one; when its Enter was written."""
    report, entered_ns = bytearray(), 0
    for _, kind, key, value in events(code + "\n"):
        now_us = time.monotonic_ns() // 1_000
        report += _EVENT.pack(now_us // 1_000_000, now_us % 1_000_000, kind, key, value)
        if (key, value) == (ENTER, 1):
            entered_ns = 1  # in this report
        if kind == EV_SYN:
            if entered_ns == 1:
                entered_ns = time.monotonic_ns()
            os.write(descriptor, report)
            report.clear()
            time.sleep(REPORT_S)
    return entered_ns


def main(descriptor: int, scans: int, seed: int) -> None:
    entered = []
    for code in codes(scans, seed):
        entered.append(type_scan(descriptor, code))
        time.sleep(PAUSE_S)
    print("\n".join(map(str, entered)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
