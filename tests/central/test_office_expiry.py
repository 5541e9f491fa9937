"""Points die when their last day is over everywhere, and only where nobody can spend them any more."""

from __future__ import annotations

import pytest
from office import ANNA, BORIS, Office
from pretend_till import terms

from central.fleet.models import Centre
from central.ledger import expiry
from central.ledger.models import Balance, LedgerEntry, Share
from loyalty import ledger
from loyalty.ledger import Posting

MIDNIGHT = "2026-01-03T00:00:00"  # the first moment after the last day


def free(account: int) -> int:
    return sum(Share.objects.filter(account=account, holder="free").values_list("points", flat=True))


def expired(account: int) -> int:
    return Balance.objects.get(account=account).expired


def test_the_opening_points_die_after_their_last_day(office: Office) -> None:
    office.store()
    anna = office.member(points="100.00", expires="2026-01-02")
    office.minutes_pass(34 * 60 + 59)  # 2 January, 23:59 in Moscow
    assert expiry.expire_due() == 0
    office.minutes_pass(1)
    assert expiry.expire_due() == 100_00
    assert (free(anna), expired(anna)) == (0, 100_00)
    assert expiry.expire_due() == 0
    booked = ledger.parse(bytes(LedgerEntry.objects.get(kind="EXPIRE").body))
    assert {(p.account, p.points) for p in booked.postings} == {("free", -100_00), ("expired", 100_00)}


def test_a_lot_lives_until_its_day_is_over_in_kaliningrad_too(office: Office) -> None:
    office.store("S1", timezone="Europe/Moscow")
    office.store("S2", timezone="Europe/Kaliningrad")  # an hour behind Moscow
    anna = office.member(points="100.00", expires="2026-01-02")
    office.minutes_pass(35 * 60)  # midnight in Moscow
    assert expiry.expire_due() == 0
    assert free(anna) == 100_00
    office.minutes_pass(59)
    assert expiry.expire_due() == 0
    office.minutes_pass(1)  # midnight in Kaliningrad
    assert expiry.expire_due() == 100_00


def test_what_a_till_holds_dies_only_when_the_till_has_given_it_back(office: Office) -> None:
    office.store()
    anna = office.member(points="100.00", home="S1", expires="2026-01-02")
    till = office.till()
    till.sync()
    office.days_pass(30)
    assert expiry.expire_due() == 10_00  # what was free
    assert (till.held(anna), expired(anna)) == (90_00, 10_00)
    (lot,) = till.lots(anna)
    till.write("RELEASE", anna, (Posting(ledger.parcel("T1"), lot, -90_00), Posting(ledger.FREE, lot, 90_00)))
    till.parcels[anna, lot] -= 90_00
    till.sync()
    assert till.held(anna) == 0  # an expired lot is not placed again
    assert expiry.expire_due() == 90_00
    assert (free(anna), expired(anna)) == (0, 100_00)


def test_a_lot_whose_terms_come_after_its_points_dies_all_the_same(office: Office) -> None:
    """And until they are told, an entry about them is booked like any other."""
    office.store()
    anna = office.member(points="0")
    till = office.till()
    lot = ledger.lot_id("T9", 1, 1, 0)
    till.write(
        "RETURN_GOODS", anna, (Posting("issued", lot, -5_00), Posting("free", lot, 5_00)), document=b"?"
    )
    till.sync()
    office.days_pass(9)
    assert expiry.expire_due() == 0
    told = terms(expires_at=MIDNIGHT)
    till.write("SALE", anna, (Posting("issued", lot, -1_00, told), Posting("free", lot, 1_00)), document=b"?")
    till.sync()
    assert expiry.expire_due() == 6_00


def test_many_die_in_portions(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "ACCOUNTS_AT_ONCE", 1)
    office.store()
    for number in (ANNA, BORIS):
        office.member(number, points="10.00", expires="2026-01-02")
    office.days_pass(3)
    assert expiry.expire_due() == 20_00


def test_nothing_dies_while_the_centre_does_not_know_what_it_gave_away(office: Office) -> None:
    office.store()
    anna = office.member(points="10.00", expires="2026-01-02")
    office.days_pass(3)
    Centre.objects.update(fenced=True)
    assert expiry.expire_due() == 0
    assert free(anna) == 10_00


def test_without_a_store_there_is_no_clock_to_go_by(office: Office) -> None:
    office.member(points="10.00", expires="2026-01-02")
    office.days_pass(3)
    assert expiry.expire_due() == 0
