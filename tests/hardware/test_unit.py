"""The agent as systemd runs it: hardened, without root, and with every device within its reach."""

from __future__ import annotations

import json
import re

import pytest

from tests.hardware.conftest import KEYBOARD, SERIAL, Till

UNIT = "/etc/systemd/system/kopilka-agent.service"
CONFIG = f"""
state_dir = "/var/lib/kopilka"
language = "en"
[[scanners]]
name = "keys"
url = "{KEYBOARD}"
[[scanners]]
name = "pos"
url = "hidraw:0c2e:0200"
[[scanners]]
name = "stripe"
url = "hidraw:0801:0002"
[[scanners]]
name = "serial"
url = "{SERIAL}"
[printer]
url = "%s"
"""
PROBE = """
import json, sys, threading, time
from agent.config import load
from agent.drivers.link import LinkError, open_link, parse_url
from pathlib import Path
from agent.drivers.scanner import Options, open_scanner
config = load(Path("/etc/kopilka/agent.toml"))
said = {}
threads = []
for one in config.scanners:
    mode = "forward" if one.name == "keys" else "own"
    def post(event, name=one.name):
        state = getattr(event, "state", None)
        if state:
            said[name] = state if state == "online" else f"{state}: {event.hint}"
    threads.append(open_scanner(one.name, one.url, post, Options(mode=mode)))
for thread in threads:
    thread.start()
time.sleep(6)
for thread in threads:
    thread.stop()
for url in ("lp:04b8:0e15", "usb:04b8:0e15"):
    try:
        open_link(parse_url(url)).close()
        said[url] = "online"
    except LinkError as error:
        said[url] = f"{error.state}: {error.hint}"
    time.sleep(1)
import os
said["uid"] = os.getuid()
print(json.dumps(said), flush=True)
"""


@pytest.fixture
def installed(bare_till: Till) -> Till:
    """As docs/install.md says; then the devices are plugged in."""
    bare_till.do(
        "cd /opt/kopilka/systemd && systemd-sysusers /opt/kopilka/systemd/kopilka-sysusers.conf"
        " && cp 60-kopilka.rules /etc/udev/rules.d/"
        " && cp modules-load.conf /etc/modules-load.d/kopilka.conf && systemctl restart systemd-modules-load"
        f" && cp kopilka-agent.service {UNIT} && udevadm control --reload && systemctl daemon-reload"
        " && udevadm trigger && udevadm settle && mkdir -p /etc/kopilka"
    )
    bare_till.guest.put("/etc/kopilka/agent.toml", (CONFIG % "auto").encode())
    bare_till.plug("scanner", "pos", "stripe", "serial", "printer")
    return bare_till


def test_it_is_hardened(installed: Till) -> None:
    said = installed.do("systemd-analyze security --no-pager kopilka-agent | tail -1")
    exposure = re.search(r"exposure level[^:]*: ([\d.]+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) <= 2.0


def test_it_reaches_every_device(installed: Till) -> None:
    """The unit with a probe in the agent's place: everything else of it is as it is."""
    installed.guest.put("/opt/kopilka/probe.py", PROBE.encode())
    installed.do(
        "mkdir -p /etc/systemd/system/kopilka-agent.service.d && printf '"
        "[Service]\\nType=oneshot\\nRestart=no\\nExecStart=\\n"
        "Environment=PYTHONPATH=/opt/kopilka:/opt/kopilka/site\\n"
        "ExecStart=/usr/bin/python3 /opt/kopilka/probe.py\\n'"
        " > /etc/systemd/system/kopilka-agent.service.d/probe.conf && systemctl daemon-reload"
    )
    started = installed.run("systemctl start kopilka-agent", 120)
    log = installed.do("journalctl -u kopilka-agent -o cat --no-pager")
    assert started.code == 0, log
    said = json.loads(next(line for line in log.splitlines() if line.startswith("{")))
    assert said.pop("uid") != 0
    assert set(said.values()) == {"online"}, said
