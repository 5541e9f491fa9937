"""The till's clock: the box's, but never below what was written or heard before (ledger-sync.md §5.16).

One thing may set it back: a box that was years ahead for a morning has written entries of that
year. When the centre (signed) and the box agree again, the time is theirs, and not that of the
last entry; otherwise no lot would be young and no rule in season until that year has come.
"""

from __future__ import annotations

from collections.abc import Callable

AGREE_S = 5 * 60  # clocks this near to each other agree


class Clock:
    """`wall_s` is the box's clock (UTC seconds); `monotonic_ms` never jumps and is for waiting only."""

    def __init__(
        self, wall_s: Callable[[], int], monotonic_ms: Callable[[], int], *, at_least_s: int = 0
    ) -> None:
        self.wall_s = wall_s
        self.monotonic_ms = monotonic_ms
        self._floor_s = at_least_s

    def now_s(self) -> int:
        """UTC seconds for entries, receipts and lots."""
        self._floor_s = max(self._floor_s, self.wall_s())
        return self._floor_s

    def heard(self, utc_s: int) -> None:
        """The centre's clock says so: ours does not go below it, nor stay ahead where the box agrees."""
        latest_s = max(utc_s, self.wall_s())
        if latest_s - utc_s <= AGREE_S < self._floor_s - latest_s:
            self._floor_s = latest_s
        self._floor_s = max(self._floor_s, utc_s)
