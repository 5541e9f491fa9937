"""Tills that die, are stolen, or come back from a backup: what they held is nobody's until it is safe."""

from __future__ import annotations

import pytest
from office import ANNA, BORIS, Office
from pretend_till import PretendTill

from central import tending
from central.errors import Trouble
from central.fleet import enrolment, lives
from central.fleet.models import Store
from central.ledger import applier
from central.ledger.models import Balance, Share
from loyalty.ledger import Spent


def balance(account: int) -> int:
    row = Balance.objects.get(account=account)
    return row.held + row.debt


def holders(account: int) -> dict[str, int]:
    """Holder (a life of a till, or "free") -> hundredths."""
    found: dict[str, int] = {}
    for share in Share.objects.filter(account=account):
        found[share.holder] = found.get(share.holder, 0) + share.points
    return found


def a_shop(office: Office) -> tuple[PretendTill, int]:
    """A till with most of Anna's hundred points."""
    office.store()
    anna = office.member(ANNA, "100.00", home="S1")
    till = office.till()
    till.sync()
    assert till.held(anna) == 90_00
    return till, anna


def test_a_closed_till_leaves_its_points_suspended_and_its_store_to_another(office: Office) -> None:
    till, anna = a_shop(office)
    other = office.till()
    lives.close(till.id)
    assert holders(anna) == {"free": 10_00, "T1~1": 90_00}
    assert balance(anna) == 100_00  # the customer owns them all the same
    assert Store.objects.get().hub == other.id
    other.sync()
    assert other.held(anna) == 9_00  # of what was free


def test_a_till_that_is_restored_begins_anew_and_its_points_wait_for_a_fortnight(office: Office) -> None:
    till, anna = a_shop(office)
    again = till.restored_from(till.backup())
    assert (again.epoch, again.held(anna)) == (2, 0)
    again.sync()
    assert holders(anna) == {"free": 1_00, "T1~1": 90_00, "T1~2": 9_00}
    office.days_pass(14)
    tending.tend()
    again.sync()
    assert (again.held(anna), holders(anna)) == (90_00, {"free": 10_00, "T1~2": 90_00})


def test_what_comes_to_the_old_life_later_comes_back_too(office: Office) -> None:
    till, anna = a_shop(office)
    till.sell(anna, earn=5_00)
    backup = till.backup()
    till.restored_from(backup)
    office.days_pass(14)
    tending.tend()
    assert holders(anna) == {"free": 100_00}
    till.sync()  # the old disk was not lost; it tells its last sale now
    tending.tend()
    assert holders(anna) == {"free": 15_00, "T1~2": 90_00}  # and the new life was placed the rest


def test_what_the_old_disk_has_spent_is_taken_from_what_it_held(office: Office) -> None:
    till, anna = a_shop(office)
    backup = till.backup()
    (lot,) = till.lots(anna)
    till.sell(anna, spend=[Spent(lot, 40_00)])
    till.restored_from(backup)
    till.sync()
    assert holders(anna) == {"free": 1_00, "T1~1": 50_00, "T1~2": 9_00}
    assert Balance.objects.get(account=anna).debt == 0


def test_what_is_granted_between_a_lost_answer_and_the_second_question_is_heard(office: Office) -> None:
    till, anna = a_shop(office)
    other = office.till()
    backup = till.backup()
    till.restored_from(backup)  # the answer is lost
    other.sync()  # and meanwhile the new life is granted what is free
    again = till.restored_from(backup)
    again.sync()
    assert again.held(anna) == 9_00 == holders(anna)["T1~2"]


def test_the_same_code_twice_loses_no_grant_either(office: Office) -> None:
    till, anna = a_shop(office)
    other = office.till()
    lives.close(till.id)
    Store.objects.update(hub=till.id)
    _, code = enrolment.new_code("S1", till.id)
    first = PretendTill.enrolled(code)  # the answer is lost
    other.sync()
    again = PretendTill.enrolled(code, key=first.key)
    again.sync()
    assert again.held(anna) == 9_00 == holders(anna)["T1~2"]


def test_a_power_cut_before_the_look_at_what_waited_for_a_life_to_end(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub gave points on the LAN and died: nobody will hear its own word for it."""
    hub, anna = a_shop(office)
    taker = office.till()
    (lot,) = hub.lots(anna)
    taker.take_over(*hub.hand_over(taker, anna, lots={lot: 30_00}))
    taker.sync()
    assert holders(anna) == {"free": 10_00, "T1~1": 90_00}  # the hub has not said it yet
    with monkeypatch.context() as dark:
        dark.setattr(applier, "try_again", lambda: None)
        lives.close(hub.id)
    tending.tend(tending.AT_START)
    assert holders(anna) == {"free": 10_00, "T1~1": 60_00, "T2~1": 30_00}


def test_a_clerk_who_closes_the_wrong_till_is_told(office: Office) -> None:
    office.store()
    enrolment.new_code("S1", "T1")
    with pytest.raises(Trouble, match="T1"):
        lives.close("T2")
    with pytest.raises(Trouble, match="never enrolled"):
        lives.close("T1")
    office.till()
    lives.close("T2")
    with pytest.raises(Trouble, match="till add S1 --id T2"):
        lives.close("T2")


# ------------------------------------------------------------------------- every minute


def test_a_step_that_fails_does_not_keep_the_others_from_their_work(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("out of order")

    office.store()
    anna = office.member(points="10.00", expires="2026-01-02")
    office.days_pass(3)
    tending.tend((broken, *tending.STEPS))
    assert "out of order" in caplog.text
    assert balance(anna) == 0


def test_the_thread_tends_at_once_and_ends_when_it_is_told(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.store()
    anna = office.member(BORIS, points="0")
    till = office.till()
    till.sell(anna, earn=5_00)
    with monkeypatch.context() as crash:
        crash.setattr(applier, "apply_waiting", lambda _buckets: None)
        till.sync()
    with tending.running():
        pass
    assert balance(anna) == 5_00
