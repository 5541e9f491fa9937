"""A file of members comes in whole or not at all, and every bad row is named."""

from __future__ import annotations

import pytest
from office import ANNA, BORIS, TEMPLATES, VERA, Office

from central.ledger.models import Balance, LedgerEntry, Lot, Share
from central.members import directory, importing
from central.members.models import Account, Card
from central.rules.models import Programme
from loyalty.faults import Refused


@pytest.fixture(autouse=True)
def templates(office: Office) -> None:
    Programme.objects.update(number_templates=TEMPLATES)


def faults(text: str) -> list[str]:
    with pytest.raises(Refused) as refused:
        importing.import_members(text.encode(), None)
    return [str(fault) for fault in refused.value.faults]


def test_members_come_in_with_their_points(office: Office) -> None:
    done = importing.import_members(
        f"number,card_kind,tier,segments,points,expires\n"
        f"{ANNA},gold,vip,pensioner;bread,1234.50,2027-12-31\n"
        f"{BORIS},,,,,\n".encode(),
        "S1",
    )
    assert (done.members, done.points) == (2, 1234_50)
    anna, boris = directory.by_number(ANNA), directory.by_number(BORIS)
    assert anna is not None
    assert boris is not None
    assert (anna.tier, anna.card_kind, anna.segments) == ("vip", "gold", ["pensioner", "bread"])
    assert (anna.home_store, boris.home_store) == ("S1", "S1")
    row = Balance.objects.get()
    assert (row.account, row.held, row.adjusted) == (anna.account, 1234_50, -1234_50)
    lot = Lot.objects.get()
    # The last day is a whole day: the lot ends where the next one begins.
    assert (lot.expires_at, lot.rule) == ("2028-01-01T00:00:00", "opening")
    assert lot.active_from <= "2026-01-01T00:00:00"
    assert Share.objects.get().holder == "free"


def test_the_file_of_a_russian_spreadsheet_is_read(office: Office) -> None:
    text = f'\ufeffNumber;Kind;Points;Segments\r\n"{ANNA}";;"1 ";a|b\r\n+7 (916) 123-45-67;phone;150,5;\r\n'
    assert importing.import_members(text.encode(), None).points == 151_50
    assert directory.by_number("8 916 123 45 67") == directory.by_number("+79161234567") is not None


def test_every_bad_row_is_named_and_nothing_comes_in(office: Office) -> None:
    office.member(VERA, points="0")
    found = faults(
        "number,kind,tier,segments,points,expires\n"
        f"{ANNA},,,,10.005,\n"
        "2900000000002,,,,,\n"
        ",,,,,\n"
        f"{BORIS},,золото,a;b c,-5,\n"
        f"{ANNA},,,,,2025-12-30\n"
        f"{VERA},,,,,\n"
        "79161234567,certificate,,,,31.12.2027\n"
        f"{ANNA},,,,,,,too many\n"
        ",,,,5,\n"
    )
    assert found == [
        "line 2, points: write points as 150 or 150.00",
        "line 3, number: no number template takes this number; check its digits",
        "line 5, tier: use 1 to 64 Latin letters, digits and _ . : -, as the rulebook does",
        "line 5, segments: use 1 to 64 Latin letters, digits and _ . : -, as the rulebook does",
        "line 5, points: write points as 150 or 150.00",
        "line 6, expires: write the day as 2027-12-31, a day that is still to come",
        'line 8, kind: no number template has the kind "certificate"; import the templates first',
        "line 8, expires: write the day as 2027-12-31, a day that is still to come",
        "line 9: this row has more cells than the first one",
        "line 10, number: the number is missing",
        "line 7, number: this card is known already; take the row out of the file",
    ]
    assert Account.objects.count() == Card.objects.count() == 1
    assert not LedgerEntry.objects.exists()
    assert not any(number in "".join(found) for number in (ANNA, BORIS, VERA, "2900000000002", "79161234567"))


def test_one_card_twice_in_a_file(office: Office) -> None:
    assert faults(f"number\n{ANNA}\n{BORIS}\n{ANNA}\n") == ["line 4, number: the same card stands in line 2"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("number,pionts\n", 'line 1: unknown column "pionts"; did you mean points?'),
        ("tier\n", "line 1: there is no column number"),
        ("", "line 1: there is no column number"),
        ("number,number\n", "line 1: a column stands there twice"),
        ('number\n"29', "line 2: the quotes of this row do not match"),
    ],
)
def test_a_file_that_is_no_list_of_members(office: Office, text: str, fault: str) -> None:
    assert faults(text) == [fault]


def test_a_file_in_the_old_encoding_says_where(office: Office) -> None:
    with pytest.raises(Refused, match="line 2 is not UTF-8"):
        importing.import_members("number,tier\n1,золото\n".encode("cp1251"), None)


def test_a_dry_run_changes_nothing(office: Office) -> None:
    done = importing.import_members(f"number,points\n{ANNA},5\n".encode(), None, dry_run=True)
    assert (done.members, done.points) == (1, 5_00)
    assert not Card.objects.exists()


def test_numbers_are_not_in_the_database(office: Office) -> None:
    office.member(ANNA)
    assert ANNA.encode() not in office.home.database.read_bytes()
