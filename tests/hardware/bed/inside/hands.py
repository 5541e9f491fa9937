"""In the guest: takes one line of JSON after another from a virtio port, does it, answers with one.

    {"run": "shell command", "timeout_s": 60}    -> {"code", "out", "err"}
    {"put": "/path", "content": base64, "mode"}  -> {}
    {"get": "/path"}                             -> {"content": base64}

Standard library only: it runs on the guest's own Python, before anything of ours is there.
"""

import base64
import json
import os
import subprocess
import sys


def answer(asked):
    if "run" in asked:
        try:
            done = subprocess.run(
                ["/bin/bash", "-c", asked["run"]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=asked.get("timeout_s", 60),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            out, err = (error.stdout or b"", error.stderr or b"")
            return {"code": 124, "out": out.decode(errors="replace"), "err": err.decode(errors="replace")}
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        return {"code": done.returncode, "out": out, "err": err}
    if "put" in asked:
        os.makedirs(os.path.dirname(asked["put"]), exist_ok=True)
        with open(asked["put"], "wb") as file:
            file.write(base64.b64decode(asked["content"]))
        os.chmod(asked["put"], asked.get("mode", 0o644))
        return {}
    with open(asked["get"], "rb") as file:
        return {"content": base64.b64encode(file.read()).decode()}


def main(port):
    with open(port, "r+b", buffering=0) as wire:
        lines = open(wire.fileno(), "rb", closefd=False)  # noqa: SIM115 - the same wire, buffered
        for line in lines:
            try:
                reply = answer(json.loads(line))
            except Exception as error:  # noqa: BLE001 - whoever asked must hear of it
                reply = {"error": f"{type(error).__name__}: {error}"}
            data = json.dumps(reply).encode() + b"\n"
            while data:
                data = data[os.write(wire.fileno(), data) :]


if __name__ == "__main__":
    main(sys.argv[1])
