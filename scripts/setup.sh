#!/usr/bin/env bash
# Makes the environment that `make demo` and `make test` run in.
#
# Debian packages that are missing are installed when we are root and named in
# one line otherwise; then .venv is built and everything of pyproject.toml put
# into it. Nothing else on the machine is touched.
set -euo pipefail
venv=$1
cd "$(dirname "$0")/.."

# gcc, headers: python-evdev has no wheel. libusb: pyusb. umockdev: recorded
# scanners are replayed in the tests. fiu: disks fail in the tests. xkb: what a
# desktop's layout would make of a scan. DejaVu: the slip is drawn with Cyrillic.
packages=(gcc libc6-dev linux-libc-dev libusb-1.0-0 umockdev fiu-utils libxkbcommon0 xkb-data fonts-dejavu-core)
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Kopilka needs Python 3.11 or newer; '$python' is $("$python" -V 2>&1). Set PYTHON=/path/to/python3.11" >&2
    exit 1
}
# Debian splits its own python: headers and ensurepip are packages of their own.
"$python" -c 'import sysconfig, os, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || packages+=(python3-dev)
"$python" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)

missing=()
if command -v dpkg-query >/dev/null; then
    for package in "${packages[@]}"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
fi
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ]; then
        echo "installing Debian packages: ${missing[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "Debian packages are missing; run: sudo apt-get install -y ${missing[*]}" >&2
        exit 1
    fi
fi

echo "building $venv (a minute or two, once)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --editable '.[central,dev]'
