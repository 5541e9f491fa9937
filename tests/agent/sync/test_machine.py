"""The till's half of the sync protocol, told as stories: what happened, and what it does next."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sync.machine import (
    BACKOFF_MAX_MS,
    OBEYED_MAX_S,
    Adoption,
    Applied,
    Apply,
    ApplyRestore,
    BatchLoaded,
    BatchToSend,
    Effect,
    Event,
    Failed,
    Fetch,
    FetchLog,
    LinkDown,
    LinkUp,
    LoadBatch,
    LogFetched,
    NoteRetry,
    PostRestore,
    PostSync,
    Refused,
    Replied,
    Restored,
    Sleep,
    StoreLog,
    SyncMachine,
    Unreachable,
    Woken,
    drawing,
)
from loyalty import ledger, wire
from loyalty.ledger import Entry
from loyalty.wire import (
    BATCH_ENTRIES,
    LogReply,
    Refusal,
    RestoreReply,
    RestoreRequest,
    SyncReply,
    SyncRequest,
)

INTERVAL_S = 60
GENESIS = ledger.genesis("T1", 1)
BODIES = tuple(
    ledger.canonical(Entry("T1", 1, seq, 1_795_000_000, "SALE", None)) for seq in range(1, BATCH_ENTRIES + 1)
)
USUAL_REST = Sleep(INTERVAL_S * 1000, INTERVAL_S * 1000, 0)


def batch(
    count: int = 2,
    *,
    first: int = 1,
    attempt: int = 0,
    versions: dict[str, int] | None = None,
    more: bool = False,
) -> BatchToSend:
    return BatchToSend(
        epoch=1,
        session="s1",
        first_seq=first,
        prev=GENESIS,
        bodies=BODIES[:count],
        documents=(),
        down={},
        versions=versions or {"rulebook.all": 4},
        status={"pending": count},
        retry_attempt=attempt,
        more=more,
    )


def reply(next_seq: int = 3, **more: Any) -> SyncReply:
    fields: dict[str, Any] = {
        "timeline": 1, "next_seq": next_seq, "durable_seq": 0, "session": "s2", "down": (),
        "signature": b"good", "manifests": {}, "server_ms": 5, "min_delay_s": 0, "quarantined": 0,
    }  # fmt: skip
    return SyncReply(**{**fields, **more})


def new_machine() -> SyncMachine:
    return SyncMachine(
        "T1",
        sign=lambda message: hashlib.sha256(message).digest(),
        is_ours=lambda _, answer: answer.signature == b"good",
        interval_s=INTERVAL_S,
        is_restored=lambda _, answer: answer.signature == b"good",
    )


def run(*events: Event, on: SyncMachine | None = None) -> list[Effect]:
    """Let these events happen one after another; the effects of the last."""
    of = on or new_machine()
    effects: list[Effect] = []
    for event in events:
        effects = of.step(event)
    return effects


def posted(*events: Event, on: SyncMachine | None = None) -> SyncRequest:
    (effect,) = run(*events, on=on)
    assert isinstance(effect, PostSync)
    return effect.request


def refused(status: int, code: str | None = None, retry_after_s: int | None = None) -> Refused:
    return Refused(status, Refusal(code, "says the centre") if code else None, retry_after_s)


# ------------------------------------------------------------------------ all goes well


def test_a_round_in_order() -> None:
    of = new_machine()
    assert run(Woken(), on=of) == [LoadBatch(BATCH_ENTRIES)]
    request = posted(BatchLoaded(batch(2)), on=of)
    assert (request.first_seq, request.prev, request.session) == (1, GENESIS, "s1")
    assert request.head == ledger.chain(GENESIS, BODIES[:2])
    sent = [ledger.restore(entry, "T1", 1, seq, None) for seq, entry in enumerate(request.entries, 1)]
    assert sent == list(BODIES[:2])
    assert request.signature == hashlib.sha256(wire.sync_signing_bytes("T1", request)).digest()
    assert run(Replied(reply(3)), on=of) == [Apply(1, 1, "s2", 3, 0, 5, (), b"")]
    assert run(Applied(0), on=of) == [LinkUp(), USUAL_REST]
    assert run(Woken(), on=of) == [LoadBatch(BATCH_ENTRIES)]


def test_a_till_with_nothing_to_say_says_so() -> None:
    request = posted(Woken(), BatchLoaded(batch(0, first=7)))
    assert (request.first_seq, request.entries, request.head) == (7, (), GENESIS)


@pytest.mark.parametrize("count", [1, 3, BATCH_ENTRIES])
def test_a_batch_with_more_behind_it_is_followed_by_the_next_at_once(count: int) -> None:
    """Receipts of thousands of lines fill a message long before five hundred entries do."""
    loaded = BatchLoaded(batch(count, more=True))
    assert run(Woken(), loaded, Replied(reply(count + 1)), Applied(0)) == [LinkUp(), LoadBatch(BATCH_ENTRIES)]


def test_five_hundred_entries_with_nothing_behind_them_are_all_there_is() -> None:
    loaded = BatchLoaded(batch(BATCH_ENTRIES))
    assert run(Woken(), loaded, Replied(reply(BATCH_ENTRIES + 1)), Applied(0)) == [LinkUp(), USUAL_REST]


def test_a_batch_of_which_the_centre_took_a_part_is_followed_by_the_rest() -> None:
    assert run(Woken(), BatchLoaded(batch(5)), Replied(reply(3)), Applied(0)) == [
        LinkUp(),
        LoadBatch(BATCH_ENTRIES),
    ]


def test_a_downlink_that_brought_something_may_have_more() -> None:
    assert run(Woken(), BatchLoaded(batch(0)), Replied(reply(1)), Applied(3)) == [
        LinkUp(),
        LoadBatch(BATCH_ENTRIES),
    ]


def test_what_is_newer_at_the_centre_is_fetched() -> None:
    manifests = {"rulebook.all": 5, "catalog.all": 1, "settings.S1": 2}
    known = {"rulebook.all": 4, "settings.S1": 2}
    effects = run(
        Woken(), BatchLoaded(batch(versions=known)), Replied(reply(manifests=manifests)), Applied(0)
    )
    assert effects == [LinkUp(), Fetch({"rulebook.all": 5, "catalog.all": 1}), USUAL_REST]


# --------------------------------------------------------------------- it never spins


def test_a_downlink_that_stopped_at_an_unknown_kind_does_not_spin() -> None:
    item = wire.DownItem(3, 1, b"?", b"?")
    assert run(Woken(), BatchLoaded(batch(0)), Replied(reply(1, down=(item,))), Applied(0)) == [
        LinkUp(),
        USUAL_REST,
    ]


@pytest.mark.parametrize("count", [5, BATCH_ENTRIES])
def test_a_centre_that_takes_nothing_is_not_asked_again_at_once(count: int) -> None:
    assert run(Woken(), BatchLoaded(batch(count)), Replied(reply(1)), Applied(0)) == [LinkUp(), USUAL_REST]


@pytest.mark.parametrize(
    ("min_delay_s", "rest"),
    [
        (10, Sleep(60_000, 60_000, 10_000)),  # a new sale is told after ten seconds, not before
        (90, Sleep(90_000, 90_000, 90_000)),
        (10**12, Sleep(OBEYED_MAX_S * 1000, OBEYED_MAX_S * 1000, OBEYED_MAX_S * 1000)),
    ],
)
def test_the_centre_may_ask_for_a_longer_pause(min_delay_s: int, rest: Sleep) -> None:
    answered = Replied(reply(min_delay_s=min_delay_s))
    assert run(Woken(), BatchLoaded(batch()), answered, Applied(0)) == [LinkUp(), rest]


# -------------------------------------------------------------------------- no answer


def test_no_answer_backs_off_with_growing_patience_and_a_cap() -> None:
    of = new_machine()
    pauses = []
    for attempt in range(1, 15):
        down, note, sleep = run(Woken(), BatchLoaded(batch(attempt=attempt - 1)), Unreachable("cable"), on=of)
        assert (down, note) == (LinkDown("unreachable", "cable"), NoteRetry(attempt))
        assert isinstance(sleep, Sleep)
        assert (sleep.low_ms, sleep.deaf_ms) == (0, sleep.high_ms)  # full jitter; no sale shortens it
        pauses.append(sleep.high_ms)
    assert pauses[:4] == [1_000, 2_000, 4_000, 8_000]
    assert pauses[-1] == BACKOFF_MAX_MS
    assert pauses == sorted(pauses)


def test_patience_survives_a_restart() -> None:
    sleep = run(Woken(), BatchLoaded(batch(attempt=4)), Unreachable("cable"))[-1]
    assert sleep == Sleep(0, 16_000, 16_000)


def test_patience_that_found_no_room_on_the_disk_is_kept_in_mind() -> None:
    of = new_machine()
    run(Woken(), BatchLoaded(batch()), Unreachable("cable"), on=of)
    assert run(Woken(), BatchLoaded(batch(attempt=0)), Unreachable("cable"), on=of)[-1] == Sleep(
        0, 2_000, 2_000
    )


def test_one_answer_ends_all_patience() -> None:
    of = new_machine()
    run(Woken(), BatchLoaded(batch(attempt=9)), Replied(reply()), Applied(0), on=of)
    assert run(Woken(), BatchLoaded(batch()), Unreachable("x"), on=of)[1] == NoteRetry(1)


def test_after_no_answer_the_very_same_is_said_again() -> None:
    """The reply may have been lost on the way back: the centre knows a repeat by its session and head."""
    of = new_machine()
    first = posted(Woken(), BatchLoaded(batch()), on=of)
    run(Unreachable("timed out"), on=of)
    assert posted(Woken(), BatchLoaded(batch()), on=of) == first


# -------------------------------------------------------------------------- refusals


def test_too_large_is_sent_in_halves_of_what_was_sent() -> None:
    of = new_machine()
    assert run(Woken(), BatchLoaded(batch(9)), refused(413), on=of) == [LoadBatch(4)]
    assert run(BatchLoaded(batch(4)), refused(413), on=of) == [LoadBatch(2)]
    assert run(BatchLoaded(batch(2, more=True)), Replied(reply(3)), Applied(0), on=of) == [
        LinkUp(),
        LoadBatch(2),
    ]
    assert run(BatchLoaded(batch(1, first=3)), Replied(reply(4)), Applied(0), on=of) == [LinkUp(), USUAL_REST]
    assert run(Woken(), on=of) == [LoadBatch(BATCH_ENTRIES)]  # another day, another batch


def test_a_single_entry_that_is_too_large_waits_like_any_other_trouble() -> None:
    effects = run(Woken(), BatchLoaded(batch(1)), refused(413))
    assert effects == [LinkDown("http_413", "the centre answered 413"), NoteRetry(1), Sleep(0, 1_000, 1_000)]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after_s", "low_ms"), [(30, 30_000), (0, 1_000), (10**9, OBEYED_MAX_S * 1000)]
)
def test_a_busy_centre_says_when_to_come_again(status: int, retry_after_s: int, low_ms: int) -> None:
    effects = run(Woken(), BatchLoaded(batch()), refused(status, "BUSY", retry_after_s))
    assert effects == [LinkDown("BUSY", "says the centre"), Sleep(low_ms, 2 * low_ms, 2 * low_ms)]


@pytest.mark.parametrize("status", [400, 401, 429, 500, 502, 503, 302])
def test_a_refusal_without_a_time_is_no_answer_at_all(status: int) -> None:
    effects = run(Woken(), BatchLoaded(batch()), refused(status))
    assert effects[1:] == [NoteRetry(1), Sleep(0, 1_000, 1_000)]


@pytest.mark.parametrize(("status", "code"), [(409, "FORK"), (409, "EPOCH"), (426, "TOO_OLD")])
def test_what_only_a_person_mends_is_tried_again_at_the_slowest_pace(status: int, code: str) -> None:
    of = new_machine()
    effects = run(Woken(), BatchLoaded(batch()), refused(status, code, retry_after_s=1), on=of)
    assert effects == [
        LinkDown(code, "says the centre"),
        Sleep(BACKOFF_MAX_MS, BACKOFF_MAX_MS, BACKOFF_MAX_MS),
    ]
    assert run(Woken(), on=of) == [LoadBatch(BATCH_ENTRIES)]


def restored_centre(next_seq: int = 2) -> Refused:
    return Refused(409, Refusal("TIMELINE", "restored", next_seq, 9, {7: 3}, 5, {1: next_seq}))


def test_a_centre_that_was_restored_is_told_again_what_it_has_forgotten() -> None:
    of = new_machine()
    adoption = Adoption(9, 5, {7: 3}, {1: 2})
    assert run(Woken(), BatchLoaded(batch()), restored_centre(), on=of) == [
        LoadBatch(BATCH_ENTRIES, adoption)
    ]
    request = posted(BatchLoaded(replace(batch(), timeline=9, adopting=True)), on=of)
    assert (request.timeline, request.adopting) == (9, True)
    (applied,) = run(Replied(reply(3, timeline=9)), on=of)
    assert isinstance(applied, Apply)
    assert (applied.timeline, applied.epochs) == (9, {1: 2})


def test_a_centre_that_says_so_again_is_left_alone_for_a_while() -> None:
    of = new_machine()
    run(Woken(), BatchLoaded(batch()), restored_centre(), BatchLoaded(batch()), on=of)
    effects = run(restored_centre(), on=of)
    assert effects[0] == LinkDown("TIMELINE", "restored")
    assert run(Woken(), on=of) == [LoadBatch(BATCH_ENTRIES)]  # and then all is asked anew


def test_a_till_that_was_restored_asks_for_its_next_life_first() -> None:
    of = new_machine()
    asked = RestoreRequest(1, "r1", 1, 2, b"h" * 32, b"")
    (effect,) = run(Woken(), BatchLoaded(replace(batch(), restore=asked)), on=of)
    assert isinstance(effect, PostRestore)
    assert effect.request.signature == hashlib.sha256(wire.restore_signing_bytes("T1", asked)).digest()
    life = RestoreReply(2, "s2", 1, 5, {}, 7, b"good")
    assert run(Restored(life), on=of) == [ApplyRestore(life)]
    assert run(Applied(0), on=of) == [LinkUp(), LoadBatch(BATCH_ENTRIES)]
    assert run(BatchLoaded(replace(batch(0), missing_log=(1, 3))), on=of) == [FetchLog(1, 3)]
    stretch = LogReply(1, 3, (), (), False)
    assert run(LogFetched(stretch), on=of) == [StoreLog(stretch)]
    assert run(Applied(0), on=of) == [LinkUp(), LoadBatch(BATCH_ENTRIES)]


def test_a_log_that_the_centre_does_not_show_now_keeps_no_sale_waiting() -> None:
    """Its session may be of another life of the centre: first a sync, and the log in the next round."""
    of = new_machine()
    run(Woken(), BatchLoaded(replace(batch(), missing_log=(1, 3))), on=of)
    assert run(refused(401, "SESSION"), on=of) == [LoadBatch(BATCH_ENTRIES)]
    posted(BatchLoaded(replace(batch(), missing_log=(1, 3))), on=of)
    run(Replied(reply(3)), Applied(0), on=of)
    assert run(Woken(), BatchLoaded(replace(batch(0), missing_log=(1, 3))), on=of) == [FetchLog(1, 3)]


def test_a_next_life_that_somebody_else_gives_is_not_begun() -> None:
    asked = RestoreRequest(1, "r1", 1, 2, b"h" * 32, b"")
    effects = run(
        Woken(),
        BatchLoaded(replace(batch(), restore=asked)),
        Restored(RestoreReply(2, "s2", 1, 5, {}, 7, b"forged")),
    )
    assert effects[0] == LinkDown("not_trusted", "the reply is not signed by this programme's centre")


# ----------------------------------------------------------------------------- trust


def test_a_reply_that_is_not_signed_by_the_centre_changes_nothing() -> None:
    effects = run(Woken(), BatchLoaded(batch()), Replied(reply(signature=b"forged")))
    assert [type(effect) for effect in effects] == [LinkDown, NoteRetry, Sleep]
    assert effects[0] == LinkDown("not_trusted", "the reply is not signed by this programme's centre")


def test_a_reply_about_entries_that_were_never_written_changes_nothing() -> None:
    """This till was restored from a backup, or another one uses its name."""
    effects = run(Woken(), BatchLoaded(batch(2)), Replied(reply(4)))
    assert effects[0] == LinkDown("GAP", "the centre expects 4, this till wrote up to 2")
    assert not any(isinstance(effect, Apply) for effect in effects)


# --------------------------------------------------------------- trouble of our own, echoes


@pytest.mark.parametrize("before", range(5))
def test_a_fault_at_any_stage_ends_the_round_and_the_next_begins_anew(before: int) -> None:
    of = new_machine()
    story: list[Event] = [Woken(), BatchLoaded(batch()), Replied(reply()), Applied(0)]
    run(*story[:before], on=of)
    effects = run(Failed("DiskFull"), on=of)
    assert effects == [LinkDown("failed_here", "DiskFull"), NoteRetry(1), Sleep(0, 1_000, 1_000)]
    assert run(Woken(), on=of) == [LoadBatch(BATCH_ENTRIES)]
    assert posted(BatchLoaded(batch()), on=of).first_seq == 1


STAGES: dict[str, tuple[list[Event], type]] = {
    "at rest": ([], Woken),
    "loading": ([Woken()], BatchLoaded),
    "waiting for the centre": ([Woken(), BatchLoaded(batch())], Replied),
    "storing the answer": ([Woken(), BatchLoaded(batch()), Replied(reply())], Applied),
}
ECHOES: list[Event] = [
    Woken(), BatchLoaded(batch()), Replied(reply()), refused(503), Unreachable("late"), Applied(1),
]  # fmt: skip


@pytest.mark.parametrize(("story", "awaited"), STAGES.values(), ids=STAGES.keys())
def test_what_nobody_waits_for_does_nothing(story: list[Event], awaited: type) -> None:
    of = new_machine()
    run(*story, on=of)
    for echo in ECHOES:
        if isinstance(echo, awaited) or (awaited is Replied and isinstance(echo, Refused | Unreachable)):
            continue
        assert of.step(echo) == []


counts = st.integers(0, 5)
anything = st.one_of(
    st.just(Woken()),
    st.builds(lambda n, attempt: BatchLoaded(batch(n, attempt=attempt)), counts, st.integers(0, 40)),
    st.builds(
        lambda next_seq, signature, delay: Replied(reply(next_seq, signature=signature, min_delay_s=delay)),
        st.integers(0, 9),
        st.sampled_from([b"good", b"good", b"forged"]),
        st.sampled_from([0, 5, 2**62]),
    ),
    st.builds(
        refused,
        st.sampled_from([400, 409, 413, 426, 429, 503]),
        st.sampled_from([None, "GAP", "FORK", "EPOCH", "TIMELINE", "BUSY"]),
        st.none() | st.sampled_from([0, 7, 10**9]),
    ),
    st.just(Unreachable("x")),
    st.builds(Applied, counts),
    st.just(Failed("x")),
)


@given(st.lists(anything, max_size=40))
def test_whatever_happens_in_whatever_order_one_request_is_in_flight_and_nothing_is_raised(
    events: list[Event],
) -> None:
    of, in_flight, asleep = new_machine(), 0, True
    for event in events:
        effects = of.step(event)
        kinds = [type(effect) for effect in effects]
        if isinstance(event, Replied | Refused | Unreachable | Failed) and effects:
            in_flight = 0
        in_flight += kinds.count(PostSync)
        assert in_flight <= 1
        # Every step ends in exactly one thing to wait for, and it stands last.
        waits = [kind for kind in kinds if kind in (LoadBatch, PostSync, Apply, Sleep)]
        assert len(waits) == (1 if effects else 0)
        assert not effects or kinds[-1] is waits[0]
        asleep = Sleep in kinds if effects else asleep
        for effect in effects:
            if isinstance(effect, Sleep):
                assert 0 <= effect.low_ms <= effect.high_ms <= 2 * OBEYED_MAX_S * 1000
                assert effect.high_ms >= 1_000  # a pause is a pause
    run(Failed("x"), on=of)
    assert of.step(Woken()) != []  # it can always begin anew


def test_nothing_that_travels_shows_the_session() -> None:
    request = posted(Woken(), BatchLoaded(replace(batch(), session="secret-session")))
    shown = [repr(PostSync(request)), repr(BatchLoaded(replace(batch(), session="secret-session")))]
    shown.append(repr(Apply(1, 1, "secret-session", 1, 0, 0, (), b"")))
    assert "secret-session" not in "".join(shown)


def test_the_picture_shows_every_way_the_machine_goes_and_no_other() -> None:
    asked = RestoreRequest(1, "r1", 1, 2, b"h" * 32, b"")
    life, forged = (RestoreReply(2, "s2", 1, 5, {}, 7, signed) for signed in (b"good", b"forged"))
    answers: dict[type, list[Event]] = {
        Sleep: [Woken()],
        LoadBatch: [
            BatchLoaded(batch()),
            BatchLoaded(replace(batch(), restore=asked)),
            BatchLoaded(replace(batch(), missing_log=(1, 3))),
        ],
        PostSync: [Replied(reply()), Replied(reply(signature=b"forged")), refused(413), refused(503)],
        PostRestore: [Restored(life), Restored(forged), Unreachable("x")],
        FetchLog: [LogFetched(LogReply(1, 3, (), (), False)), refused(400)],
    }
    of, chance, effect = new_machine(), random.Random(7), Sleep
    seen: set[str] = set()
    for _ in range(2_000):
        event = chance.choice([*answers.get(effect, [Applied(0), Applied(1)]), Failed("x")])
        before = of._stage.name.lower()
        effect = type(of.step(event)[-1])
        seen.add(f'  {before} -> {of._stage.name.lower()} [label="{type(event).__name__}"]')
    assert seen == set(drawing().splitlines()[1:-1])
