"""Becoming a till: a one-time code of the console, this disk's own key, the centre's answer.

The key is made and kept before the code is sent, so an answer that is lost on the way
can be asked for again: the same code with the same key gets the same answer.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from agent.offline.ledger_db import LedgerDb, Lock
from agent.offline.records import ENROLLED_ALREADY, Identity, LedgerFault
from agent.state import StateDir
from agent.sync.client import Centre
from loyalty import __version__
from loyalty.wire import WIRE_VERSION, EnrollRequest


def enrol_anew(state: StateDir, server_url: str, code: str, now_s: int) -> tuple[Identity, Path | None]:
    """Enrol a box that was a till before; what lay in its state directory is laid aside, and where.

    The new till is made beside the old one, which stays until the centre has answered. Raises as `enrol`.
    """
    state.make()
    fresh = StateDir(state.path / "enrolling")
    with closing(Lock(state.lock_file)):
        if fresh.ledger.exists():  # it was cut off behind the centre's answer, perhaps
            with closing(LedgerDb(fresh.ledger)) as db:
                identity = db.identity()
        else:
            identity = None
        identity = identity or enrol(fresh, server_url, code)
        aside = state.lay_aside(now_s)
        state.take(fresh)
    return identity, aside


def enrol(state: StateDir, server_url: str, code: str) -> Identity:
    """Enrol this state directory. Raises LedgerFault, LinkError or CentreRefusal; nothing is written then."""
    state.make()
    ledger = LedgerDb(state.ledger)
    centre = Centre(server_url)
    try:
        if ledger.identity() is not None:
            raise LedgerFault(ENROLLED_ALREADY)
        state.make_key()
        public_key = state.private_key().public_key().public_bytes_raw()
        reply = centre.enrol(EnrollRequest(WIRE_VERSION, code, public_key, __version__))
        state.save_chain_key(reply.chain_key)
        ledger.enrol(reply, server_url)
        identity = ledger.identity()
        assert identity is not None
        return identity
    finally:
        centre.close()
        ledger.close()
