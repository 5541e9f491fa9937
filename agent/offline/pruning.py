"""What a till may forget, a little at a time (ledger-sync.md §5.7).

An entry goes with its document when it is durable at the centre AND older than ninety days: a prefix of
each life of the log, whose head stays, so the chain is walked from there. The newest entry of a life
always stays: the next one is chained to it.

What the centre said goes likewise: an echo (§5.11) is for a centre that has forgotten it, and what is on
two disks is not forgotten.

With an entry goes what only it could need: the answer to its commit, its print notes, and rows of lots of
which nothing is left here and that no entry, and so no void or return, can bring back. An account of which
nothing lies here goes when nobody has come with its card for as long.

**Durable without a word.** The centre says `durable_seq` of the present life only. A copy of its database
that holds an entry of this life holds everything that was there before it; so a life that has ended is
durable when an entry is that the centre took later (`past_epoch.durable_after`), and so is a message that
was applied before such an entry was written (`down_reply`).

**Little at a time.** One step is one transaction of a few hundred rows, on the till's thread after a
sync; the file does not shrink, it stops growing. "Old" is by the centre's clock, for a box that is years
ahead must not forget.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from agent.offline.ledger_db import LedgerDb
from agent.offline.records import Uplink
from loyalty import ledger
from loyalty.texts import N_, Text

KEEP_S = 90 * 86_400
STRETCH_S = 86_400  # each stretch leaves its head behind: one a day, and not one a minute
SALES_REMEMBERED_S = 365 * 86_400
ROWS_A_STEP = 300
LOOK_AHEAD = 2_000  # entries of a morning when the clock was years ahead


def pruned(sale_id: str) -> Text:
    """What is said of a sale that was pruned."""
    return N_(
        "sale {id} is older than what this till keeps (90 days): the office can take it back", id=sale_id
    )


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Entries `after` < seq ≤ `to` of a life."""

    epoch: int
    after: int
    to: int
    h: bytes


def step(db: LedgerDb, server_s: int) -> int:
    """Forget a little of what may be forgotten at `server_s` (the centre's clock); how many entries.

    Raises LedgerFault; then this step did nothing.
    """
    uplink = db.uplink()
    if uplink.restoring:
        return 0
    old_s = server_s - KEEP_S
    stretch = _oldest(db, uplink, old_s, server_s)
    with db.transaction():
        if stretch is not None:
            _forget(db, stretch)
        _forget_messages(db, uplink, old_s)
        _forget_strangers(db, old_s)
        db.execute(
            "DELETE FROM pruned_sale WHERE sale_id IN"
            " (SELECT sale_id FROM pruned_sale WHERE at_s < ? ORDER BY at_s LIMIT ?)",
            (server_s - SALES_REMEMBERED_S, ROWS_A_STEP),
        )
    return stretch.to - stretch.after if stretch else 0


def _oldest(db: LedgerDb, uplink: Uplink, old_s: int, now_s: int) -> _Stretch | None:
    """The next piece of the oldest life that has any."""
    lives = db.execute(
        "SELECT epoch, acked_seq FROM past_epoch WHERE durable_after <= ? ORDER BY epoch",
        (uplink.durable_seq,),
    ).fetchall()
    for epoch, durable in [*lives, (uplink.epoch, min(uplink.durable_seq, uplink.acked_seq))]:
        found = _old_enough(db, epoch, durable, old_s, now_s)
        if found is not None:
            return found
    return None


def _old_enough(db: LedgerDb, epoch: int, durable: int, old_s: int, now_s: int) -> _Stretch | None:
    rows = db.execute(
        "SELECT seq, at_s, h FROM entry WHERE epoch = ? AND seq <= ?"
        " AND seq < (SELECT max(seq) FROM entry newest WHERE newest.epoch = ?) ORDER BY seq LIMIT ?",
        (epoch, durable, epoch, ROWS_A_STEP),
    ).fetchall()
    if not rows or old_s - STRETCH_S < rows[0][1] <= now_s:
        return None
    after = rows[0][0] - 1
    old = [(seq, h) for seq, at_s, h in rows if at_s <= old_s]
    if not old and rows[0][1] > now_s:
        # The clock was ahead when these were written. They are older than whatever old one follows them.
        follows = db.execute(
            "SELECT 1 FROM entry WHERE epoch = ? AND seq > ? AND seq <= ? AND at_s <= ?",
            (epoch, after, min(durable, after + LOOK_AHEAD), old_s),
        ).fetchone()
        old = [(seq, h) for seq, _, h in rows] if follows else []
    return _Stretch(epoch, after, *old[-1]) if old else None


def _forget(db: LedgerDb, stretch: _Stretch) -> None:
    place = (stretch.epoch, stretch.after, stretch.to)
    bodies = db.execute("SELECT body FROM entry WHERE epoch = ? AND seq > ? AND seq <= ?", place).fetchall()
    db.execute("INSERT INTO pruned VALUES (?, ?, ?)", (stretch.epoch, stretch.to, stretch.h))
    db.execute(
        "INSERT OR REPLACE INTO pruned_sale SELECT d.sale_id, e.at_s FROM document d"
        " JOIN entry e USING (epoch, seq) WHERE epoch = ? AND seq > ? AND seq <= ?",
        place,
    )
    db.execute(
        "DELETE FROM answer WHERE sale_id IN"
        " (SELECT sale_id FROM document WHERE epoch = ? AND seq > ? AND seq <= ?)",
        place,
    )
    db.execute("DELETE FROM priced_by WHERE epoch = ? AND seq > ? AND seq <= ?", place)
    db.execute("DELETE FROM print_note WHERE epoch = ? AND seq > ? AND seq <= ?", place)
    db.execute("DELETE FROM document WHERE epoch = ? AND seq > ? AND seq <= ?", place)
    db.execute("DELETE FROM entry WHERE epoch = ? AND seq > ? AND seq <= ?", place)
    _forget_lots(db, [ledger.parse(body) for (body,) in bodies])


def _forget_lots(db: LedgerDb, gone: Iterable[ledger.Entry]) -> None:
    """Lots that were moved long ago, of which nothing is here, and that nothing can bring back."""
    moved: dict[int, set[str]] = defaultdict(set)
    for entry in gone:
        if entry.account is not None:
            moved[db.owner(entry.account)] |= {posting.lot for posting in entry.postings}
    for owner, lots in moved.items():
        left = db.execute(
            "SELECT body FROM entry WHERE account = ?"
            " OR account IN (SELECT account FROM alias WHERE owner = ?)",
            (owner, owner),
        ).fetchall()
        needed = {posting.lot for (body,) in left for posting in ledger.parse(body).postings}
        db.execute(
            "DELETE FROM parcel WHERE account = ? AND points = 0 AND lot IN (SELECT value FROM json_each(?))",
            (owner, json.dumps(sorted(lots - needed))),
        )


def _forget_strangers(db: LedgerDb, old_s: int) -> None:
    """Accounts of which nothing lies here, and nobody has come with their card for as long."""
    db.execute(
        "DELETE FROM standing WHERE account IN"
        " (SELECT account FROM standing s WHERE touched_s <= ? AND NOT EXISTS"
        " (SELECT 1 FROM parcel WHERE parcel.account = s.account AND points > 0)"
        " ORDER BY touched_s LIMIT ?)",
        (old_s, ROWS_A_STEP),
    )


def _forget_messages(db: LedgerDb, uplink: Uplink, old_s: int) -> None:
    rows = db.execute("SELECT id, at_s, epoch, seq FROM down_reply ORDER BY id LIMIT ?", (ROWS_A_STEP,))
    replies: list[int] = []
    for reply, at_s, epoch, seq in rows:
        durable = uplink.durable_seq > (seq if epoch == uplink.epoch else 0)
        if not durable or at_s > old_s:
            break  # replies were applied in this order
        replies.append(reply)
    if replies:
        gone = json.dumps(replies)
        db.execute("DELETE FROM down_reply WHERE id IN (SELECT value FROM json_each(?))", (gone,))
        db.execute("DELETE FROM downlink WHERE reply IN (SELECT value FROM json_each(?))", (gone,))
