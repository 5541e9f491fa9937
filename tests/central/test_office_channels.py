"""What the office publishes is signed, grows by one, and reaches the tills it is meant for."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from office import TEMPLATES, Office
from pretend_till import PretendTill, Refused, public_bytes

from central.fleet import enrolment, lives
from central.rules import publishing, store_settings
from central.rules.models import Blob, Programme, Publication
from loyalty import manifest, settings, wire

RULEBOOK, CATALOG = publishing.RULEBOOK_CHANNEL, publishing.CATALOG_CHANNEL


def verify(till: PretendTill, reply: wire.ManifestReply) -> manifest.Manifest:
    """As a till does: the signature first, then the content."""
    for key_id, signature in reply.signatures.items():
        key = Ed25519PublicKey.from_public_bytes(till.enrolment.channel_keys[key_id])
        key.verify(signature, wire.manifest_signing_bytes(reply.manifest))
    assert reply.signatures
    return manifest.parse(reply.manifest)


def test_a_till_verifies_what_it_reads_and_one_changed_byte_is_enough(office: Office) -> None:
    office.store()
    till = office.till()
    reply = till.manifest("settings.S1")
    found = verify(till, reply)
    manifest.admit(found, "settings.S1", 0)
    content = till.file(found.files["settings.json"].sha256)
    manifest.check_file(found, "settings.json", content)
    for place in range(0, len(reply.manifest), 40):
        changed = bytearray(reply.manifest)
        changed[place] ^= 1
        with pytest.raises(InvalidSignature):
            verify(till, wire.ManifestReply(bytes(changed), reply.signatures))


def test_versions_grow_by_one_and_name_the_one_before(office: Office) -> None:
    office.store()
    till = office.till()
    seen: list[bytes] = []
    for seq, content in enumerate((b"one", b"two", b"three"), 1):
        result = publishing.publish(RULEBOOK, {"rulebook.json": content}, content_seq=seq)
        assert (result.version, result.new) == (seq, True)
        raw = till.manifest(RULEBOOK).manifest
        found = manifest.parse(raw)
        before = hashlib.sha256(seen[-1]).hexdigest() if seen else None
        assert (found.version, found.prev_manifest_sha256) == (seq, before)
        assert till.file(found.files["rulebook.json"].sha256) == content
        assert found.valid_from < found.soft_expires < found.not_after
        seen.append(raw)
    assert till.sync().manifests == {"settings.S1": 2, RULEBOOK: 3}


def test_the_same_content_is_no_new_version(office: Office) -> None:
    first = publishing.publish(CATALOG, {"catalog.json": b"{}"})
    again = publishing.publish(CATALOG, {"catalog.json": b"{}"})
    assert (first.version, again.version, again.new) == (1, 1, False)


def test_what_is_long_in_force_is_signed_again_before_a_till_must_doubt_it(office: Office) -> None:
    office.store(timezone="Europe/Berlin")
    till = office.till()
    publishing.publish(RULEBOOK, {"rulebook.json": b"one"}, content_seq=1)
    office.days_pass(9)
    assert till.sync().manifests == {"settings.S1": 2, RULEBOOK: 1}
    office.days_pass(1)
    assert till.sync().manifests == {"settings.S1": 3, RULEBOOK: 2}
    found = verify(till, till.manifest(RULEBOOK))
    assert till.file(found.files["rulebook.json"].sha256) == b"one"
    assert found.valid_from == office.now_ms // 1000
    assert till.sync().manifests == {"settings.S1": 3, RULEBOOK: 2}
    office.days_pass(85)  # the change of March 2028 is now within two years
    till.sync()
    read = till.file(verify(till, till.manifest("settings.S1")).files["settings.json"].sha256)
    assert settings.parse(read).offsets[-1][0] == int(datetime(2028, 3, 26, 1, tzinfo=UTC).timestamp())
    with pytest.raises(publishing.PublishError):
        publishing.publish(RULEBOOK, {"rulebook.json": b"other"}, content_seq=1)


def test_a_rulebook_never_goes_back_in_seq(office: Office) -> None:
    publishing.publish(RULEBOOK, {"rulebook.json": b"seven"}, content_seq=7)
    for seq in (6, 7):
        with pytest.raises(publishing.PublishError, match="seq 7 is published already"):
            publishing.publish(RULEBOOK, {"rulebook.json": b"other"}, content_seq=seq)
    assert Publication.objects.count() == 1


def test_what_a_till_would_refuse_for_its_size_is_not_published(office: Office) -> None:
    for content in (b"", b"x" * (manifest.FILE_MAX_BYTES + 1)):
        with pytest.raises(publishing.PublishError, match="bytes"):
            publishing.publish(CATALOG, {"catalog.json": content})
    assert not Blob.objects.exists()


def test_a_till_reads_its_own_store_only(office: Office) -> None:
    office.store("S1")
    office.store("S2")
    till = office.till("S1")
    theirs = json.loads(bytes(Publication.objects.get(channel="settings.S2").manifest))
    with pytest.raises(Refused, match="403 FORBIDDEN"):
        till.manifest("settings.S2")
    with pytest.raises(Refused, match="404 NOT_FOUND"):
        till.file(theirs["files"]["settings.json"]["sha256"])
    with pytest.raises(Refused, match="404 NOT_FOUND"):
        till.manifest(RULEBOOK)  # allowed, but nothing was published yet


def test_without_a_session_nothing_is_read(office: Office) -> None:
    office.store()
    till = office.till()
    old = till.session
    till.sync()
    till.session = old
    till.manifest("settings.S1")  # the previous session still reads
    for _ in range(2):
        till.session = till.post(till.batch()).session
    for wrong in (old, "", "x" * 32, "ключ"):
        till.session = wrong
        with pytest.raises(Refused, match="401 SESSION"):
            till.manifest("settings.S1")
    other = office.till()
    till.session = other.session
    with pytest.raises(Refused, match="401 SESSION"):
        till.lookup(1)
    till.id = "nobody"
    with pytest.raises(Refused, match="401 SESSION"):
        till.manifest("settings.S1")


def test_one_till_does_not_ask_for_another(office: Office) -> None:
    office.store()
    one, other = office.till(), office.till()
    one._headers = lambda: {"Authorization": f"Kopilka {other.id}:{other.session}"}  # type: ignore[method-assign]
    with pytest.raises(Refused, match="403 FORBIDDEN"):
        one.lookup(1)


def test_the_settings_of_a_store_are_what_a_till_can_read(office: Office) -> None:
    office.store()
    till = office.till()
    Programme.objects.update(number_templates=TEMPLATES)
    result = enrolment.change_store("S1", {"slip_header": ["ООО «Лесная»"], "region": "msk"})
    assert result.version == 3  # the second: a till has enrolled
    found = verify(till, till.manifest("settings.S1"))
    read = settings.parse(till.file(found.files["settings.json"].sha256))
    assert read.store == settings.StoreInfo("S1", "Магазин S1", "msk")
    assert read.slip.header == ("ООО «Лесная»",)
    assert [template["id"] for template in read.number_templates] == ["cards", "phones"]
    assert read.channels == {"rulebook": RULEBOOK, "catalog": CATALOG}
    assert read.offsets == ((0, 180),)
    assert not store_settings.publish_all()[0].new


def read_settings(till: PretendTill) -> settings.Settings:
    found = verify(till, till.manifest("settings.S1"))
    return settings.parse(till.file(found.files["settings.json"].sha256))


def test_the_tills_of_a_store_know_each_other_and_their_hub(office: Office) -> None:
    office.store()
    first = office.till()
    second = office.till()
    keys = {till.id: public_bytes(till.key).hex() for till in (first, second)}
    read = read_settings(second)
    assert (read.hub, read.tills) == (settings.Hub("T1"), keys)
    assert settings.till_key(read, "T2") == public_bytes(second.key)
    enrolment.change_store("S1", {"hub_url": "http://192.168.1.10:7720"})
    assert read_settings(first).hub == settings.Hub("T1", "http://192.168.1.10:7720")
    enrolment.change_store("S1", {"hub": "T2"})
    assert read_settings(first).hub == settings.Hub("T2")  # the address was the other till's
    enrolment.change_store("S1", {"hub": "T2", "hub_url": "http://hub.local:7720"})
    lives.close("T2")
    read = read_settings(first)
    assert (read.hub, set(read.tills)) == (settings.Hub("T1"), {"T1"})
    assert settings.till_key(read, "T2") is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hub": "T9"}, "no open till of store S1.*known here: T1"),
        ({"hub": "T3"}, "no open till"),  # of another store
        ({"hub": ""}, "no open till"),
        ({"hub_url": "192.168.1.10:7720"}, "http://192"),
        ({"hub_url": "http://192.168.1.10"}, "http://192"),
        ({"hub_url": "http://192.168.1.10:99999"}, "http://192"),
        ({"hub_url": "http://anna:pin@192.168.1.10:7720"}, "http://192"),
        ({"hub_url": "http://192.168.1.10:7720/"}, "http://192"),
        ({"hub_url": "https://192.168.1.10:7720"}, "http://192"),
    ],
)
def test_a_hub_that_cannot_be_one_is_refused_and_nothing_changes(
    office: Office, changes: dict[str, object], says: str
) -> None:
    office.store("S1")
    office.store("S2")
    first, _, _ = office.till("S1"), office.till("S1"), office.till("S2")
    before = read_settings(first)
    with pytest.raises(enrolment.FleetError) as refused:
        enrolment.change_store("S1", changes)
    assert re.search(says, str(refused.value))
    assert read_settings(first) == before


def test_a_store_without_tills_has_no_hub_to_find(office: Office) -> None:
    office.store()
    with pytest.raises(enrolment.FleetError, match="no till yet"):
        enrolment.change_store("S1", {"hub_url": "http://192.168.1.10:7720"})


NOW_S = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


def test_a_shop_whose_clocks_change_gets_every_change_of_two_years(office: Office) -> None:
    table = store_settings.offsets("Europe/Berlin", NOW_S)
    changes = [(datetime.fromtimestamp(since, UTC).isoformat(), minutes) for since, minutes in table[1:]]
    assert table[0] == (0, 60)
    assert changes == [
        ("2026-03-29T01:00:00+00:00", 120),
        ("2026-10-25T01:00:00+00:00", 60),
        ("2027-03-28T01:00:00+00:00", 120),
        ("2027-10-31T01:00:00+00:00", 60),
    ]


@given(
    zone=st.sampled_from(["Europe/Moscow", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]),
    later_s=st.integers(0, 729 * 86_400),
)
def test_law_the_till_reads_the_same_clock_as_the_zone_database(zone: str, later_s: int) -> None:
    read = settings.Settings(1, settings.StoreInfo("S", "S"), store_settings.offsets(zone, NOW_S), {})
    at_s = NOW_S + later_s
    expected = datetime.fromtimestamp(at_s, ZoneInfo(zone))
    assert settings.shop_time(read, at_s).isoformat() == expected.isoformat()
