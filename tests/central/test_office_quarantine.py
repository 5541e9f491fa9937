"""A stolen till comes back with sales to tell: nothing of it is dropped, and a person decides."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from office import ANNA, BORIS, Office
from pretend_till import PretendTill, receipt, terms
from test_office_lives import a_shop, balance, holders

from central import tending
from central.cli import cli
from central.errors import Trouble
from central.fleet import late, lives
from central.fleet.models import TillLife
from central.intake import accept
from central.intake.models import InboxEntry, Incident
from central.ledger.models import Balance, LedgerEntry, Lot
from central.members import merging
from central.members.models import Account
from loyalty import ledger
from loyalty.ledger import Entry, Posting, Spent
from loyalty.protocol import centre as law
from loyalty.protocol import moves


def stolen(office: Office) -> tuple[PretendTill, int]:
    """The till is gone, the office has closed it; somebody sells on with it, and then it finds a link."""
    till, anna = a_shop(office)
    (lot,) = till.lots(anna)
    lives.close(till.id)
    till.sell(anna, spend=[Spent(lot, 30_00)])
    till.sell(anna, earn=500_00)
    till.sell(None)
    reply = till.sync()
    assert reply.next_seq == 4  # it is told that all is well with them
    return till, anna


def run(*words: str) -> Any:
    """A command's answer, in this process."""
    result = CliRunner().invoke(cli, [*words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refusal(*words: str) -> str:
    result = CliRunner().invoke(cli, list(words))
    assert result.exit_code == 1
    return result.output


def test_what_it_tells_is_kept_and_moves_nothing(office: Office) -> None:
    till, anna = stolen(office)
    assert (balance(anna), holders(anna)) == (100_00, {"free": 10_00, "T1~1": 90_00})
    assert InboxEntry.objects.count() == 3
    assert {(i.till, i.code) for i in Incident.objects.all()} == {(till.id, accept.LATE)}
    (life,) = late.late()
    assert [(entry.kind, entry.change) for entry in life.entries] == [
        ("SALE", -30_00),
        ("SALE", 500_00),
        ("SALE", 0),
    ]
    assert life.change == 470_00


def test_accepted_it_is_like_any_other(office: Office) -> None:
    _, anna = stolen(office)
    assert run("till", "accept", "T1", "1") == {"till": "T1", "epoch": 1, "accepted": 3}
    assert (balance(anna), holders(anna)) == (570_00, {"free": 10_00, "T1~1": 560_00})
    assert late.late() == []


def test_reversed_it_is_seen_and_without_effect(office: Office) -> None:
    _, anna = stolen(office)
    assert run("till", "reverse", "T1", "1") == {"till": "T1", "epoch": 1, "reversed": 3}
    assert (balance(anna), holders(anna)) == (100_00, {"free": 10_00, "T1~1": 90_00})
    booked = [ledger.parse(bytes(row.body)) for row in LedgerEntry.objects.filter(account=anna)]
    assert {(e.ref, e.flags) for e in booked if e.kind == "ADJUST" and e.flags} == {
        ("T1-1-1", ("REVERSED",)),
        ("T1-1-2", ("REVERSED",)),
    }


def test_a_reversal_owes_again_what_its_points_had_paid(office: Office) -> None:
    """Its points paid a debt the moment they came; undone, the debt is there again, and no more."""
    till, anna = a_shop(office)
    other = office.till()
    earned = other.sell(anna, earn=1_00)
    other.sell(anna, spend=[Spent(ledger.lot_id(other.id, 1, earned.seq, 0), 120_00)])
    other.sync()
    owed, odd = balance(anna), Incident.objects.filter(code="OVERSPENT").count()
    lives.close(till.id)
    till.sell(anna, earn=5_00, spendable_here=False)
    till.sync()
    lives.reverse_late(TillLife.objects.get())
    assert balance(anna) == owed < 0
    assert Incident.objects.filter(code="OVERSPENT").count() == odd


def lends(till: PretendTill, account: int, points: int) -> Entry:
    """A sale of a till that is cut off, paid with points that lie elsewhere (courtesy)."""
    postings = moves.sale(till.id, till.epoch, len(till.log) + 1, [], [], lent=points)
    return till.write("SALE", account, postings, document=receipt(till.id, len(till.log) + 1, account))


def void_of(sale: Entry) -> tuple[Posting, ...]:
    return moves.void(sale, lambda _: 0, lambda _: terms())


@pytest.mark.parametrize("undone", ["void", "reverse"])
def test_what_had_paid_for_lent_points_comes_back_when_the_sale_is_taken_back(
    office: Office, undone: str
) -> None:
    """Ten points that were free paid the debt; then there was no debt any more. Nobody loses ten points."""
    _, anna = a_shop(office)  # 90 of her 100 lie at T1, 10 are free
    other = office.till()
    if undone == "void":
        sale = lends(other, anna, 30_00)
        other.sync()
        assert (balance(anna), holders(anna)) == (70_00, {"T1~1": 90_00})  # and 20 are owed
        other.write("VOID", anna, void_of(sale), ref=sale.id)
        other.sync()
    else:
        lives.close(other.id)
        lends(other, anna, 30_00)
        other.sync()
        lives.reverse_late(TillLife.objects.get())
    assert sum(holders(anna).values()) == balance(anna) == 100_00
    assert Balance.objects.get(account=anna).debt == 0
    (back,) = (e for e in entries_of(anna) if law.FLAG_OVERPAID in e.flags)
    assert [(p.account, p.points) for p in back.postings] == [("debt", -10_00), ("free", 10_00)]
    assert Lot.objects.get(lot=back.postings[0].lot).expires_at is None


def entries_of(account: int) -> list[Entry]:
    return [ledger.parse(bytes(row.body)) for row in LedgerEntry.objects.filter(account=account)]


def test_a_reversal_that_fails_halfway_has_decided_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, anna = stolen(office)
    real, calls = lives._undo, []

    def fails_the_second_time(*key: Any) -> None:
        calls.append(key)
        if len(calls) == 2:
            raise RuntimeError("the disk is full")
        real(*key)

    with monkeypatch.context() as patch:
        patch.setattr(lives, "_undo", fails_the_second_time)
        with pytest.raises(RuntimeError):
            lives.reverse_late(TillLife.objects.get())
    assert (balance(anna), len(late.late()[0].entries)) == (100_00, 3)
    lives.reverse_late(TillLife.objects.get())
    assert balance(anna) == 100_00


def test_after_a_fortnight_without_a_decision_it_is_accepted_and_what_is_left_comes_back(
    office: Office,
) -> None:
    _, anna = stolen(office)
    office.days_pass(13)
    tending.tend()
    assert balance(anna) == 100_00
    office.days_pass(1)
    tending.tend()
    assert (balance(anna), holders(anna)) == (570_00, {"free": 570_00})


def test_suspended_points_wait_for_what_is_undecided(office: Office) -> None:
    till, anna = a_shop(office)
    (lot,) = till.lots(anna)
    lives.close(till.id)
    office.days_pass(10)
    till.sell(anna, spend=[Spent(lot, 90_00)])
    till.sync()
    office.days_pass(4)  # a fortnight since the till was closed, not since it spoke
    tending.tend()
    assert holders(anna) == {"free": 10_00, "T1~1": 90_00}
    assert "Decide first" in refusal("till", "resume", "T1", "1")
    office.days_pass(10)
    tending.tend()
    assert (balance(anna), holders(anna)) == (10_00, {"free": 10_00})


def test_an_operator_lets_points_come_back_at_once(office: Office) -> None:
    till, anna = a_shop(office)
    closed = run("till", "close", "T1")
    assert (closed["epoch"], closed["suspended"], closed["hub"]) == (1, "90.00", None)
    assert run("till", "resume", "T1", "1")["points"] == "90.00"
    assert holders(anna) == {"free": 100_00}
    assert run("till", "resume", "T1", "1")["points"] == "0.00"
    (lot,) = till.lots(anna)
    till.sell(anna, spend=[Spent(lot, 90_00)])  # it was not dead at all
    till.sync()
    run("till", "accept", "T1", "1")
    assert (balance(anna), holders(anna)) == (10_00, {"free": 10_00})  # owed, and paid by what was free


def test_the_list_is_read_by_a_person_and_by_a_program(office: Office) -> None:
    stolen(office)
    office.till()
    (life,) = run("till", "late")
    assert (life["till"], life["epoch"], life["points"], len(life["entries"])) == ("T1", 1, "470.00", 3)
    shown = CliRunner().invoke(cli, ["till", "late", "T1"]).output
    assert "till reverse T1 1" in shown
    assert "T1-1-1" in shown and "-30.00" in shown
    assert "Nothing waits" in CliRunner().invoke(cli, ["till", "late", "T2"]).output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("till", "close", "T7"), "There is no till T7: known here: T1."),
        (("till", "late", "T7"), "There is no till T7"),
        (("till", "accept", "T1", "1"), "Nothing of till T1, life 1, waits"),
        (("till", "reverse", "T1", "1"), "Nothing of till T1, life 1, waits"),
        (("till", "resume", "T1", "2"), "Life 2 of till T1 has not ended. Those that have: 1."),
        (("member", "merge", ANNA, BORIS), "NEW_CARD: no account has this card"),
        (("member", "merge", BORIS, ANNA), "OLD_CARD: no account has this card"),
        (("member", "merge", ANNA, "1"), "Both are account 1 already"),
    ],
)
def test_a_wrong_word_changes_nothing(office: Office, words: tuple[str, ...], said: str) -> None:
    till, _ = a_shop(office)
    lives.close(till.id)
    told = refusal(*words)
    assert said in told
    assert ANNA not in told and BORIS not in told


def test_two_cards_of_one_customer_become_one_account(office: Office) -> None:
    till, anna = a_shop(office)
    boris = office.member(BORIS, "7.00")
    done = run("member", "merge", ANNA, BORIS)
    assert done == {"from": anna, "to": boris, "moved": "100.00", "balance": "107.00", "cards": 2}
    assert holders(boris) == {"free": 17_00, "T1~1": 90_00}
    (lot,) = till.lots(anna)
    till.sell(anna, spend=[Spent(lot, 90_00)])  # it has not heard
    till.sync()
    assert balance(boris) == 17_00
    assert Account.objects.get(account=anna).merged_into == boris
    with pytest.raises(Trouble, match="Both are account"):
        merging.merge(str(anna), str(boris))


_Act = Callable[[TillLife], int]


@pytest.mark.parametrize("decide", [lives.accept_late, lives.reverse_late])
def test_a_decision_is_made_once(office: Office, decide: _Act) -> None:
    _, anna = stolen(office)
    life = TillLife.objects.get()
    assert decide(life) == 3
    after = (balance(anna), holders(anna), LedgerEntry.objects.count())
    assert decide(life) == 0
    assert (balance(anna), holders(anna), LedgerEntry.objects.count()) == after
