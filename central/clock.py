"""What time it is, in one place, so that a test can move it (`monkeypatch.setattr(clock, "now_ms", ...)`).

Callers write `clock.now_ms()`, never `from central.clock import now_ms`. No invariant of the ledger
rests on these values; they date entries, open lots and let codes expire.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

DAY_S = 86_400


def now_ms() -> int:
    """Milliseconds of UTC since 1970."""
    return time.time_ns() // 1_000_000


def now_s() -> int:
    """Whole seconds of UTC since 1970."""
    return now_ms() // 1000


def utc(ms: int) -> datetime:
    """The moment as a datetime with its zone, for pages."""
    return datetime.fromtimestamp(ms / 1000, UTC)
