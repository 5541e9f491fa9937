"""In the guest: scanners of ours, and each event of theirs as a line of JSON in a file. For tests to look at.

    listen.py FILE NAME=URL[,MODE] …

Mode `forward` keeps what begins with 2000, as a programme's cards would.
"""

import json
import sys
import threading

from agent.drivers.contracts import DeviceState, ReadFailed, ScanData
from agent.drivers.scanner import Options
from agent.drivers.scanners import Scanners, Setting

lock = threading.Lock()
heard = open(sys.argv[1], "w", buffering=1)  # noqa: SIM115 - until it is killed


def post(event):
    match event:
        case ScanData(device, data, source):
            told = {"device": device, "data": data, "source": source, "symbology": event.symbology}
        case DeviceState(device, state, hint):
            told = {"device": device, "state": state, "hint": str(hint)}
        case ReadFailed(device, reason):
            told = {"device": device, "failed": str(reason)}
    with lock:
        heard.write(json.dumps(told) + "\n")


settings = []
for word in sys.argv[2:]:
    name, _, rest = word.partition("=")
    url, _, mode = rest.partition(",")
    settings.append(Setting(name, url, Options(mode=mode or "own")))
scanners = Scanners(settings, post, keeps=lambda scan: scan.text.startswith("2000"))
scanners.start()
threading.Event().wait()
