"""The till's clock: the box's, but never below what was written or heard before (ledger-sync.md §5.16).

**Is the box right?** The centre says its time (signed) at every sync; from then on a counter that never
jumps, not even while the box sleeps, carries it on. So a box that is set wrong, or set right again, is
seen at the next look, and needs no link for that: where it is more than AGREE_S off, the centre's time
goes on and the box's is left alone. Before the first word of the centre since the agent started, the box
is believed as long as it neither jumps, nor stands before what was written or heard, nor more than
AHEAD_S after it. `is_off` says that it is not to be trusted; no point is spent on its word then.

One thing may set time back: a box that was years ahead for a morning has written entries of that
year. When the centre and the box agree again, the time is theirs, and not that of the last entry;
otherwise no lot would be young and no rule in season until that year has come.

A centre that goes back on its own word is not believed, unless the box says the same.
"""

from __future__ import annotations

from collections.abc import Callable

AGREE_S = 5 * 60  # clocks this near to each other agree
AHEAD_S = 31 * 86_400  # a till that has neither sold nor heard of the centre for longer asks it first


class Clock:
    """`wall_s` is the box's clock (UTC seconds); `monotonic_ms` never jumps.

    `at_least_s` = the latest that was written or heard; `known_s` = the latest that was surely so (no
    entry that was flagged as doubtful), 0 where there is nothing.
    """

    def __init__(
        self,
        wall_s: Callable[[], int],
        monotonic_ms: Callable[[], int],
        *,
        at_least_s: int = 0,
        known_s: int = 0,
    ) -> None:
        self.wall_s = wall_s
        self.monotonic_ms = monotonic_ms
        self._floor_s = at_least_s
        self._known_s = known_s
        self._centre: tuple[int, int] | None = None  # (UTC seconds, monotonic ms): the centre's word
        self._box: tuple[int, int] | None = None  # and the box's, when it was first looked at

    def now_s(self) -> int:
        """UTC seconds for entries, receipts and lots."""
        wall_s, centre_s = self.wall_s(), self.centre_s()
        if centre_s is None:
            now_s = wall_s
        elif abs(wall_s - centre_s) > AGREE_S:
            now_s = centre_s
        else:
            now_s = wall_s
            self._agreed(max(wall_s, centre_s))
        self._floor_s = max(self._floor_s, now_s)
        return self._floor_s

    def opening_s(self) -> int:
        """UTC seconds at which a sale opens: by the centre's word where we go by a time that is off.

        Entries written in a year to come hold `now_s` there until the box is set right; lots that are
        earned or spent meanwhile shall not.
        """
        now_s, centre_s = self.now_s(), self.centre_s()
        return now_s if centre_s is None or abs(now_s - centre_s) <= AGREE_S else centre_s

    def lots_live_from_s(self, opened_s: int) -> int:
        """UTC seconds from which points earned by a sale that opened at `opened_s` may live.

        By a clock that may be years ahead they would be dead until that year has come. They live from
        the latest time that surely was: too early by hours, perhaps, and never too late.
        """
        if not self.is_off:
            return opened_s
        return min(opened_s, self.centre_s() or self._known_s or opened_s)

    def centre_s(self) -> int | None:
        """The centre's time (UTC seconds), carried on since it said so; None where it has not yet."""
        return None if self._centre is None else self._since(self._centre)

    @property
    def is_off(self) -> bool:
        """Is the time that we go by more than AGREE_S from what it may be?"""
        wall_s, now_s, centre_s = self.wall_s(), self.now_s(), self.centre_s()
        if centre_s is not None:
            return abs(wall_s - centre_s) > AGREE_S or now_s - centre_s > AGREE_S
        if now_s - wall_s > AGREE_S:
            return True
        if self._box is None and self._known_s and wall_s - self._known_s > AHEAD_S:
            return True
        self._box = self._box or (wall_s, self.monotonic_ms())
        return abs(wall_s - self._since(self._box)) > AGREE_S

    @property
    def offset_ms(self) -> int:
        """How far the box is ahead of the centre, as far as it has said its time."""
        centre_s = self.centre_s()
        return 0 if centre_s is None else (self.wall_s() - centre_s) * 1000

    def heard(self, utc_s: int) -> None:
        """The centre's clock says so: ours does not go below it, nor stay ahead where the box agrees."""
        wall_s = self.wall_s()
        if utc_s >= self._known_s - AGREE_S or abs(wall_s - utc_s) <= AGREE_S:
            self._centre = (utc_s, self.monotonic_ms())
            self._known_s = utc_s
        latest_s = max(utc_s, wall_s)
        if latest_s - utc_s <= AGREE_S:
            self._agreed(latest_s)
        self._floor_s = max(self._floor_s, utc_s)

    def _agreed(self, latest_s: int) -> None:
        if self._floor_s - latest_s > AGREE_S:
            self._floor_s = latest_s

    def _since(self, mark: tuple[int, int]) -> int:
        return mark[0] + (self.monotonic_ms() - mark[1]) // 1000
