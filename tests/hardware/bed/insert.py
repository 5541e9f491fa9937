"""In the guest: writes rows into SQLite and tells the host of each that was committed: the control of sell.

insert.py HOST PORT SYNCHRONOUS
"""

import socket
import sqlite3
import sys
from itertools import count

wire = socket.create_connection((sys.argv[1], int(sys.argv[2])))
database = sqlite3.connect("/data/rows.db")
database.execute("PRAGMA journal_mode = WAL")
database.execute(f"PRAGMA synchronous = {sys.argv[3]}")
database.execute("CREATE TABLE IF NOT EXISTS row (id TEXT PRIMARY KEY)")
database.commit()
for number in count():
    with database:
        database.execute("INSERT INTO row VALUES (?)", (f"r{number}",))
    wire.sendall(f"r{number} row\n".encode())
