#!/usr/bin/env bash
# Sees that what the hardware bed needs is here, then runs its tests (VENV, and words for pytest).
set -euo pipefail
venv=$1
shift
packages=(mmdebstrap qemu-system-x86 qemu-utils busybox-static kmod cpio e2fsprogs)
missing=()
for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "Debian packages are missing; run: sudo apt-get install -y ${missing[*]}" >&2
        exit 1
    fi
    echo "installing Debian packages: ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
KOPILKA_HARDWARE=1 exec "$venv/bin/pytest" -q --timeout 600 "$@" tests/hardware
