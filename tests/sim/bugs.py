"""How good are the testers? Bugs are planted, one at a time, and each must be caught.

Every one of them is a mistake that somebody has made in such a system, or that we made in this one
and the simulator found (the last). A tester that lets one pass is as broken as the program would be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

Patch = Callable[[], Any]


def _pure() -> Mapping[str, Patch]:
    """Bugs of the protocol itself: caught by Hypothesis, which plays it on dictionaries."""
    from loyalty.protocol import centre, moves, till
    from loyalty.protocol import placement as places

    def granted_twice() -> Any:
        honest = centre.claim

        def claim(books: Any, asked: Any, *rest: Any, **more: Any) -> None:
            asked.granted, before = 0, asked.granted
            honest(books, asked, *rest, **more)
            asked.granted += before

        return mock.patch.object(centre, "claim", claim)

    def applied_twice() -> Any:
        honest = centre._apply
        return mock.patch.object(
            centre, "_apply", lambda books, row, known, facts: honest(books, row, set(), facts)
        )

    def recall_takes_what_is_promised() -> Any:
        return mock.patch.object(till.Held, "loose", property(lambda held: held.points))

    def handover_heard_twice() -> Any:
        honest = till.hear

        def hear(*args: Any, applied_before: bool = False) -> Any:
            return honest(*args, applied_before=False)

        return mock.patch.object(till, "hear", hear)

    def handover_not_waited_for() -> Any:
        return mock.patch.object(centre, "_waits_for_another", return_value=False)

    def placed_more_than_is_free() -> Any:
        return mock.patch.object(places, "_top_up", lambda lot, placed_bp: lot.free + 100)

    def debt_paid_twice() -> Any:
        honest = moves.net
        return mock.patch.object(
            moves, "net", lambda points_of: honest({lot: 2 * points for lot, points in points_of.items()})
        )

    def void_gives_back_what_was_earned() -> Any:
        return mock.patch.object(moves, "take_back", return_value=[])

    return {
        "a claim asked again is granted again": granted_twice,
        "an entry that came twice is booked twice": applied_twice,
        "a recall takes points that a sale was promised": recall_takes_what_is_promised,
        "a handover heard by LAN and by the centre counts twice": handover_heard_twice,
        "a taker's sale is booked before the hub's word has come": handover_not_waited_for,
        "more is placed than is free": placed_more_than_is_free,
        "a debt is paid twice": debt_paid_twice,
        "a void leaves what was earned": void_gives_back_what_was_earned,
    }


def _whole() -> Mapping[str, Patch]:
    """Bugs of the programs round it: caught by the simulator, with their real files."""
    from agent.offline import heard
    from agent.offline.ledger_db import LedgerDb
    from central.fleet import lives, timeline
    from central.intake import accept
    from central.ledger import grants
    from central.ledger.models import DownHead, Share
    from loyalty import ledger
    from loyalty.protocol import centre, intake
    from loyalty.protocol.intake import Session
    from tests.sim import world

    def reclaimed_by_the_clock() -> Any:
        def days(self: Any) -> str:
            self.ms += 86_400_000
            for till_id, account, b in list(
                Share.objects.exclude(holder="free").values_list("holder", "account", "b")
            ):
                with lives.transaction.atomic(), lives.shelf.opened(b) as books:
                    centre.resume(books, account, *ledger.life_of(till_id))
            return "reclaimed"

        return mock.patch.dict(world.ACTIONS, {"days": (0.6, lambda w: days(w) if w.centre.is_up else "")})

    def sent_again_is_new() -> Any:
        honest = intake.judge

        def judge(cursor: Any, request: Any, session: Any, heads: Any) -> Any:
            verdict = honest(cursor, request, session, heads)
            return replace(verdict, new=tuple(intake._chain(cursor, request)))

        return mock.patch.object(intake, "judge", judge)

    def fork_accepted() -> Any:
        def judge(cursor: Any, request: Any, _session: Any, _heads: Any) -> Any:
            cursor = replace(cursor, next_seq=request.first_seq, head=request.prev)
            return honest(cursor, request, Session.CURRENT, {})

        honest = intake.judge

        def store(till: str, new: Any, quarantined_ms: Any = None) -> Any:
            accept.InboxEntry.objects.filter(
                till=till, epoch__in={x.entry.epoch for x in new}, seq__in=[x.seq for x in new]
            ).delete()
            return honest_store(till, new, quarantined_ms)

        honest_store = accept._store
        return _both(mock.patch.object(intake, "judge", judge), mock.patch.object(accept, "_store", store))

    def blind_restore() -> Any:
        def begin_restore(db: Any, restore_id: str) -> None:
            with db.transaction():
                db.execute("UPDATE uplink SET restore_id = ?", (restore_id,))

        return mock.patch.object(heard, "begin_restore", begin_restore)

    def fence_ignored() -> Any:
        return mock.patch.object(timeline, "_unheard", return_value=timeline.TillCursor.objects.none())

    def echo_forgotten() -> Any:
        return mock.patch.object(heard, "echo", return_value=())

    def hold_forgotten() -> Any:
        return mock.patch.object(LedgerDb, "save_hold", return_value=None)

    def parcels_not_taken() -> Any:
        return mock.patch.object(LedgerDb, "_take", return_value=None)

    def document_lost() -> Any:
        honest = LedgerDb.insert_entry

        def insert_entry(self: Any, entry: Any, body: bytes, head: bytes, document: Any, *rest: Any) -> None:
            honest(self, entry, body, head, None if entry.seq % 7 == 0 else document, *rest)

        return mock.patch.object(LedgerDb, "insert_entry", insert_entry)

    def durable_at_once() -> Any:
        honest = accept.Accepted
        return mock.patch.object(
            accept, "Accepted", lambda **kw: honest(**{**kw, "durable_seq": kw["next_seq"] - 1})
        )

    def life_goes_on() -> Any:
        honest = ledger.life
        return mock.patch.object(ledger, "life", lambda till, _epoch: honest(till, 1))

    def never_told_again() -> Any:
        return mock.patch.object(
            timeline,
            "_begin_downlinks",
            lambda till, *_: DownHead.objects.filter(till=till.id).update(
                timeline=timeline.Centre.objects.get().timeline
            ),
        )

    def down_out_of_order() -> Any:
        honest = grants.down_after

        def down_after(*args: Any, **more: Any) -> Any:
            return tuple(reversed(honest(*args, **more)))

        return _both(
            mock.patch.object(grants, "down_after", down_after),
            mock.patch.object(heard, "_check_follows", return_value=None),
        )

    def next_life_begins_where_it_is_asked() -> Any:
        def downlinks(till: Any) -> Any:
            rows = DownHead.objects.filter(till=till.id)
            return timeline.Centre.objects.get().timeline, {r.b: (r.gseq, bytes(r.h)) for r in rows}

        return mock.patch.object(lives, "downlinks", downlinks)

    return {
        "parcels come back by the clock": reclaimed_by_the_clock,
        "what is sent again is taken for new": sent_again_is_new,
        "a clone's log is accepted": fork_accepted,
        "a restored till spends what its backup held": blind_restore,
        "a restored centre grants before it has heard everybody": fence_ignored,
        "a till does not tell a restored centre what it was granted": echo_forgotten,
        "a quote's promise is not written down": hold_forgotten,
        "a sale leaves the parcels it spent": parcels_not_taken,
        "a receipt is lost beside its entry": document_lost,
        "what stands on one disk is called durable": durable_at_once,
        "a till's next life holds what its last one held": life_goes_on,
        "a restored centre forgets what it had not delivered": never_told_again,
        "a next life begins where it is asked for the second time": next_life_begins_where_it_is_asked,
    }


@contextmanager
def _both(*patches: Any) -> Iterator[None]:
    with patches[0], patches[1]:
        yield


PURE: Mapping[str, Patch] = _pure()


def whole() -> Mapping[str, Patch]:
    """Bugs that need the real programs (they are imported with a home of their own)."""
    return _whole()


# The seed that found each bug quickest when it was planted.
SEEDS: Mapping[str, int] = {
    "parcels come back by the clock": 1,
    "what is sent again is taken for new": 5,
    "a clone's log is accepted": 1,
    "a restored till spends what its backup held": 1,
    "a restored centre grants before it has heard everybody": 4,
    "a till does not tell a restored centre what it was granted": 4,
    "a quote's promise is not written down": 1,
    "a sale leaves the parcels it spent": 1,
    "a receipt is lost beside its entry": 1,
    "what stands on one disk is called durable": 1,
    "a till's next life holds what its last one held": 1,
    "a restored centre forgets what it had not delivered": 1,
    "a next life begins where it is asked for the second time": 10,
}

_RESTORES = {"centre_backup": 5, "centre_restore": 3, "days": 4, "sync": 20}
# What a bug needs to show itself, where that is rare in a usual world: how often it happens instead.
FEEDS_ON: Mapping[str, Mapping[str, float]] = {
    "a restored centre grants before it has heard everybody": _RESTORES,
    "a till does not tell a restored centre what it was granted": _RESTORES,
    "a restored centre forgets what it had not delivered": _RESTORES,
}
