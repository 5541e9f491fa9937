"""A machine becomes a till: once, by a code, in its own store."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from office import DAY_MS, Office
from pretend_till import PretendTill, Refused, ask, in_process

from central.fleet import enrolment, sessions
from central.fleet.models import EnrolmentCode, Store, Till
from loyalty import wire


def test_a_till_that_missed_the_answer_asks_again_and_gets_the_same_one(office: Office) -> None:
    office.store()
    _, code = enrolment.new_code("S1", None)
    key = Ed25519PrivateKey.generate()
    first = PretendTill.enrolled(code, key)
    again = PretendTill.enrolled(code, key)
    assert again.enrolment == first.enrolment
    assert (first.id, first.epoch, first.store) == ("T1", 1, "S1")


def test_a_code_is_read_as_people_type_it(office: Office) -> None:
    office.store()
    _, code = enrolment.new_code("S1", None)
    assert PretendTill.enrolled(" " + code.lower().replace("-", " ").replace("0", "o")).id == "T1"


def test_a_code_that_was_used_is_worth_nothing_to_another_machine(office: Office) -> None:
    office.store()
    _, code = enrolment.new_code("S1", None)
    PretendTill.enrolled(code)
    with pytest.raises(Refused, match="403 CODE_USED"):
        PretendTill.enrolled(code)


def test_a_code_dies_after_a_day(office: Office) -> None:
    office.store()
    _, code = enrolment.new_code("S1", None)
    office.now_ms += DAY_MS
    with pytest.raises(Refused, match="403 CODE_EXPIRED"):
        PretendTill.enrolled(code)
    assert Till.objects.get().epoch == 0


def test_a_made_up_code_is_refused(office: Office) -> None:
    office.store()
    with pytest.raises(Refused, match="403 CODE_UNKNOWN"):
        PretendTill.enrolled("0000-0000-0000")


def test_a_new_code_for_the_same_till_voids_the_old_one(office: Office) -> None:
    office.store()
    _, old = enrolment.new_code("S1", "T1")
    _, new = enrolment.new_code("S1", "T1")
    with pytest.raises(Refused, match="CODE_UNKNOWN"):
        PretendTill.enrolled(old)
    assert PretendTill.enrolled(new).id == "T1"


def test_the_first_till_of_a_store_becomes_its_hub_and_stays_it(office: Office) -> None:
    office.store()
    enrolment.new_code("S1", "T1")  # this one's machine is still in its box
    second = PretendTill.enrolled(enrolment.new_code("S1", "T2")[1])
    assert Store.objects.get().hub == second.id
    PretendTill.enrolled(enrolment.new_code("S1", "T1")[1])
    assert Store.objects.get().hub == second.id


def test_codes_and_sessions_are_not_in_the_database(office: Office) -> None:
    office.store()
    _, code = enrolment.new_code("S1", None)
    till = PretendTill.enrolled(code)
    stored = office.home.database.read_bytes()
    assert code.encode() not in stored
    assert code.replace("-", "").encode() not in stored
    assert till.session.encode() not in stored
    assert bytes(EnrolmentCode.objects.get().code_hash) == sessions.code_hash(office.home.session_key, code)


@pytest.mark.parametrize("till_id", ["free", "@7", "T 1", "Т1", "T.1", "T:1", "x" * 33])
def test_ids_that_would_mean_something_else_are_refused(office: Office, till_id: str) -> None:
    office.store()
    with pytest.raises(enrolment.FleetError):
        enrolment.new_code("S1", till_id)
    assert not Till.objects.exists()


def test_a_misspelt_store_or_zone_is_named_with_its_neighbour(office: Office) -> None:
    office.store("lesnaya")
    with pytest.raises(enrolment.FleetError, match="did you mean lesnaya"):
        enrolment.new_code("lesnya", None)
    with pytest.raises(enrolment.FleetError, match="did you mean Europe/Moscow"):
        enrolment.add_store("S2", "Второй", "Europe/Moskow", None)


def test_a_public_key_of_the_wrong_size_is_no_key(office: Office) -> None:
    office.store()
    _, code = enrolment.new_code("S1", None)
    request = wire.EnrollRequest(1, code, b"short", "0.1.0")
    with pytest.raises(Refused, match="400 BAD_MESSAGE"):
        ask(in_process, "POST", "/v1/enroll", request, wire.EnrollReply)
    assert PretendTill.enrolled(code).id == "T1"  # the code was not used up
