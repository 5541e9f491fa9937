"""In the guest: a printer of ours and some slips for it; what becomes of them as lines of JSON in a file.

    print_slips.py FILE URL COUNT

A number written to /run/more afterwards is one slip more.
"""

import json
import logging
import sys
import time
from pathlib import Path

from agent.drivers.contracts import DeviceState, OutputComplete, OutputFailed, OutputUnknown
from agent.drivers.document import Cut, Line
from agent.drivers.hotplug import HotPlug
from agent.drivers.pos_printer import EscPosPrinter

logging.basicConfig(level="DEBUG")
heard = open(sys.argv[1], "w", buffering=1)  # noqa: SIM115 - until it is killed


def post(event):
    match event:
        case DeviceState(_, state, hint):
            told = {"device": "printer", "state": state, "hint": str(hint)}
        case OutputComplete():
            told = {"job": event.job_id, "ended": "complete"}
        case OutputUnknown():
            told = {"job": event.job_id, "ended": "unknown"}
        case OutputFailed():
            told = {"job": event.job_id, "ended": "failed", "hint": str(event.reason)}
        case _:
            told = {"job": event.job_id, "ended": "waiting", "hint": str(event.reason)}
    heard.write(json.dumps(told) + "\n")


printer = EscPosPrinter("printer", sys.argv[2], post, deadline_ms=2_000)
printer.start()
HotPlug(printer.look_again).start()
for number in range(1, int(sys.argv[3]) + 1):
    printer.submit(str(number), (Line(f"Чек {number}"), Cut()))
more = Path("/run/more")
while True:
    if more.exists() and (number := more.read_text().strip()):
        more.unlink()
        printer.submit(number, (Line(f"Чек {number}"), Cut()))
    time.sleep(0.2)
