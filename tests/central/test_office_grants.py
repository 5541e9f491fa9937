"""Points are put where they will be asked for, and never twice."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from office import ANNA, BORIS, Office, card_key
from pretend_till import terms

from central.ledger import grants
from central.ledger.models import Balance, DownMessage, LedgerEntry, Share
from central.members.models import Account
from loyalty import ledger
from loyalty.ledger import LotTerms, Posting, Spent
from loyalty.protocol import placement
from loyalty.protocol.placement import PlacedLot


def shares(account: int) -> dict[str, int]:
    """Holder -> hundredths."""
    found: dict[str, int] = {}
    for share in Share.objects.filter(account=account):
        who = share.holder if share.holder == "free" else ledger.life_of(share.holder)[0]
        found[who] = found.get(who, 0) + share.points
    return found


def test_a_till_is_told_what_nobody_can_spend_yet(office: Office) -> None:
    office.store()
    anna = office.member(ANNA, "10.00")
    till = office.till()
    till.sell(anna, earn=5_00, lot_terms=terms("2026-01-15T00:00:00"), spendable_here=False)
    till.sync()
    seen = till.lookup(card_key(ANNA))
    assert seen is not None
    assert (seen.balance, seen.pending) == (15_00, 5_00)
    office.days_pass(14)
    seen = till.lookup(card_key(ANNA))
    assert seen is not None
    assert (seen.balance, seen.pending) == (15_00, 0)


def test_opening_points_come_to_the_home_store_at_its_first_sync(office: Office) -> None:
    office.store()
    anna = office.member(points="150.00", home="S1")
    till = office.till()
    till.sync()
    assert till.held(anna) == 135_00
    assert shares(anna) == {"free": 15_00, "T1": 135_00}


def test_the_first_store_that_asks_becomes_home(office: Office) -> None:
    office.store("S1")
    office.store("S2")
    anna = office.member(points="150.00")
    first, second = office.till("S1"), office.till("S2")
    first.sync()
    assert first.held(anna) == 0  # nobody has asked yet
    member = second.lookup(card_key(ANNA))
    assert member is not None
    assert (member.account, member.balance, member.home) == (anna, 150_00, second.id)
    first.lookup(card_key(ANNA))
    first.sync()
    second.sync()
    assert (first.held(anna), second.held(anna)) == (0, 135_00)


def test_a_balance_says_which_of_the_tills_own_entries_it_counts(office: Office) -> None:
    office.store()
    anna = office.member(points="150.00", home="S1")
    till = office.till()
    till.sync()
    (lot,) = till.lots(anna)
    till.sell(anna, spend=[Spent(lot, 50_00)])
    before = till.lookup(card_key(ANNA))
    assert before is not None
    assert (before.balance, before.included_seq) == (150_00, 0)  # the sale is not here yet
    till.sync()
    after = till.lookup(card_key(ANNA))
    assert after is not None
    assert (after.balance, after.included_seq) == (100_00, 1)


def test_asking_and_syncing_again_grants_nothing_more(office: Office) -> None:
    office.store()
    anna = office.member(home="S1")
    till = office.till()
    for _ in range(5):
        till.lookup(card_key(ANNA))
        till.sync()
    assert shares(anna) == {"free": 15_00, "T1": 135_00}
    assert LedgerEntry.objects.filter(kind="GRANT").count() == 1


def test_a_downlink_message_comes_again_until_it_is_applied(office: Office) -> None:
    office.store()
    office.member(home="S1")
    till = office.till()
    lost = till.post(till.batch())
    again = till.post(till.batch())
    assert lost.down == again.down != ()
    till.apply(again)
    assert till.sync().down == ()


def test_the_hub_is_topped_up_when_half_of_its_part_is_gone(office: Office) -> None:
    office.store()
    anna = office.member(points="100.00", home="S1")
    till = office.till()
    till.sync()
    (lot,) = till.lots(anna)
    till.sell(anna, spend=[Spent(lot, 40_00)])
    till.sync()
    assert (till.held(anna), shares(anna)["free"]) == (50_00, 10_00)  # more than half of 54: left alone
    till.sell(anna, spend=[Spent(lot, 42_00)])
    till.sync()
    assert (till.held(anna), shares(anna)["free"]) == (16_20, 1_80)  # 90 % of the 18 that are left


def test_a_released_parcel_may_be_granted_again(office: Office) -> None:
    office.store()
    anna = office.member(points="100.00", home="S1")
    till = office.till()
    till.sync()
    (lot,) = till.lots(anna)
    till.write("RELEASE", anna, (Posting(ledger.parcel("T1"), lot, -90_00), Posting(ledger.FREE, lot, 90_00)))
    till.parcels[anna, lot] -= 90_00
    till.sync()
    assert (till.held(anna), shares(anna)) == (90_00, {"free": 10_00, "T1": 90_00})


def test_points_that_begin_later_are_granted_at_the_first_sync_of_their_day(office: Office) -> None:
    office.store(timezone="Asia/Vladivostok")  # UTC+10: the day begins earlier than in Moscow
    anna = office.member(points="0", home="S1")
    till = office.till()
    till.sell(anna, earn=30_00, lot_terms=terms("2026-01-03T00:00:00"), spendable_here=False)
    till.sync()
    assert till.held(anna) == 0
    office.minutes_pass(27 * 60 + 59)  # 2 January, 13:59 UTC = 23:59 in the shop
    till.sync()
    assert till.held(anna) == 0
    office.minutes_pass(1)
    till.sync()
    assert till.held(anna) == 27_00


def test_an_expired_lot_is_not_handed_out(office: Office) -> None:
    office.store()
    anna = office.member(points="100.00", home="S1", expires="2026-01-02")
    till = office.till()
    office.days_pass(2)
    till.sync()
    assert till.held(anna) == 0
    assert shares(anna) == {"free": 100_00}


def test_the_store_of_most_visits_becomes_home(office: Office) -> None:
    office.store("S1")
    office.store("S2")
    anna = office.member(points="0", home="S1")
    first, second = office.till("S1"), office.till("S2")
    first.sell(anna)
    first.sync()
    second.sell(anna)
    second.sync()
    assert Account.objects.get().home_store == "S1"  # one visit each: nobody moves
    second.sell(anna, earn=10_00, spendable_here=False)
    second.sync()
    assert Account.objects.get().home_store == "S2"
    assert second.held(anna) == 9_00


def test_grants_of_a_store_go_to_its_hub_whoever_asks(office: Office) -> None:
    office.store()
    hub, other = office.till(), office.till()
    anna = office.member()
    other.lookup(card_key(ANNA))
    office.minutes_pass(1)
    other.sync()
    hub.sync()
    assert (hub.held(anna), other.held(anna)) == (135_00, 0)


def test_a_lookup_of_an_unknown_card_says_nobody(office: Office) -> None:
    office.store()
    office.member(ANNA)
    assert office.till().lookup(card_key(BORIS)) is None


def test_many_members_come_in_bounded_replies(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "DOWN_PER_REPLY", 3)
    office.store()
    accounts = [office.member(f"29000000000{tail}", home="S1") for tail in ("01", "18", "25", "32", "49")]
    till = office.till()
    assert len(till.sync().down) == 3
    assert len(till.sync().down) == 2
    assert all(till.held(account) == 135_00 for account in accounts)


def test_a_shift_at_three_tills_adds_up_to_the_hundredth(office: Office) -> None:
    """I1, I2, I8: shares are never negative and sum, with what was spent, to what was given."""
    chance = random.Random(20260101)
    office.store("S1")
    office.store("S2")
    tills = [office.till("S1"), office.till("S1"), office.till("S2")]
    accounts = [office.member(ANNA, "123.45", home="S1"), office.member(BORIS, "77.01", home="S2")]
    for _ in range(60):
        till, account = chance.choice(tills), chance.choice(accounts)
        held = till.lots(account)
        lot = chance.choice(sorted(held)) if held else None
        spend = [Spent(lot, chance.randint(1, held[lot]))] if lot and chance.random() < 0.6 else []
        till.sell(
            account,
            spend=spend,
            earn=chance.choice([0, 1, 3_33, 10_00]),
            spendable_here=chance.random() < 0.5,
        )
        if chance.random() < 0.4:
            till.sync()
    for till in tills:
        till.sync()
    for account in accounts:
        row = Balance.objects.get(account=account)
        assert row.debt == 0
        at_tills = sum(till.held(account) for till in tills)
        assert sum(shares(account).values()) == row.held
        assert sum(p for who, p in shares(account).items() if who != "free") == at_tills
        assert row.held == -row.issued - row.spent - row.adjusted
        assert _replayed(account) == shares(account)


def _replayed(account: int) -> dict[str, int]:
    """The shares again, from nothing but the entries."""
    found: dict[str, int] = {}
    for row in LedgerEntry.objects.filter(account=account):
        for posting in ledger.parse(bytes(row.body)).postings:
            who = "free" if posting.account == ledger.FREE else ledger.holder(posting.account)
            if who:
                found[who] = found.get(who, 0) + posting.points
    return {who: points for who, points in found.items() if points}


def test_the_centres_own_log_is_a_chain(office: Office) -> None:
    office.store()
    anna = office.member(home="S1")
    till = office.till()
    till.sync()
    b = ledger.bucket(anna)
    own = LedgerEntry.objects.filter(till=ledger.centre_writer(b)).order_by("seq")
    assert [(row.seq, row.kind) for row in own] == [(1, "ADJUST"), (2, "GRANT")]
    (message,) = DownMessage.objects.all()
    assert bytes(message.body) == bytes(own[1].body)


@given(
    free=st.integers(0, 10**9),
    at_home=st.integers(0, 10**9),
    placed_bp=st.integers(0, 10_000),
    starts=st.sampled_from(["2025-12-31T23:59:59", "2026-01-01T00:00:00", "2026-01-01T00:00:01"]),
    ends=st.sampled_from([None, "2026-01-01T00:00:00", "2026-01-01T00:00:01"]),
)
def test_law_a_grant_takes_from_free_only_and_only_from_a_living_lot(
    free: int, at_home: int, placed_bp: int, starts: str, ends: str | None
) -> None:
    now = "2026-01-01T00:00:00"
    lot = PlacedLot("l", LotTerms(starts, ends, "r"), free, at_home)
    given = sum(points for _, points in placement.grants([lot], now, placed_bp))
    assert 0 <= given <= free
    if given:
        assert starts <= now < (ends or "9999")
        assert at_home + given == (free + at_home) * placed_bp // 10_000
        after = PlacedLot("l", lot.terms, free - given, at_home + given)
        assert placement.grants([after], now, placed_bp) == []
