"""In the guest: sells through the running agent and tells the host of each sale that was answered.

sell.py HOST PORT FIRST
"""

import socket
import sys
from datetime import datetime, timezone
from itertools import count
from pathlib import Path

from agent.pos_client import PosClient

wire = socket.create_connection((sys.argv[1], int(sys.argv[2])))
pos = PosClient(Path("/data/till"), timeout_s=60)
for number in count(int(sys.argv[3])):
    lines = [{"id": "1", "sku": "x", "price": 8990, "quantity": 1000}]
    quote = pos.quote(f"r{number}", lines)
    tenders = [{"type": "cash", "amount": quote["quote"]["pay"]}]
    paid_at = datetime.now(timezone.utc).isoformat(timespec="seconds")  # noqa: UP017
    sold = pos.commit(f"r{number}", quote, tenders, paid_at=paid_at)
    wire.sendall(f"r{number} {sold['entry']}\n".encode())
