#!/usr/bin/env bash
# Sees that Debian's Chromium is here: the tests walk through the pages with it, `make pictures` draws them.
set -euo pipefail

if command -v chromium >/dev/null; then
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "Debian's browser is missing; run: sudo apt-get install -y chromium" >&2
    exit 1
fi
echo "installing Debian packages: chromium"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
