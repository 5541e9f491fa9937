"""The centre's disk may die: what was answered as durable is in the backup, and nothing is given twice."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from django.db import connections
from office import ANNA, BORIS, VERA, Office, card_key
from pretend_till import PretendTill, Refused
from test_office_commands import done, kopilka
from test_office_lives import balance, holders

from central import backups, status
from central.errors import Trouble
from central.fleet import lives, timeline
from central.fleet.models import Centre, TillCursor, TillLife
from central.intake.models import Incident
from central.ledger.models import Balance, DownMessage, LedgerEntry
from central.members import registering
from loyalty import ledger
from loyalty.ledger import Spent


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on another disk than the centre's."""
    monkeypatch.setattr(backups, "disk_of", lambda path: int(tmp_path in path.parents))
    return tmp_path


def the_disk_dies(office: Office) -> None:
    connections.close_all()
    office.home.database.unlink()


def restored(office: Office, backup: backups.Made) -> backups.Restored:
    office.minutes_pass(60)
    return backups.restore(office.home, backup.path, replace=False)


def granted(account: int) -> int:
    """Hundredths that were ever granted and are not back, by the ledger alone."""
    bodies = LedgerEntry.objects.filter(account=account).values_list("body", flat=True)
    entries = [ledger.parse(bytes(body)) for body in bodies]
    return sum(p.points for e in entries for p in e.postings if ledger.holder(p.account))


# ------------------------------------------------------------------------------- durable


def test_nothing_is_durable_without_a_backup_on_another_disk(office: Office, tmp_path: Path) -> None:
    office.store()
    till = office.till()
    till.sell(None)
    assert till.sync().durable_seq == 0
    made = backups.make(office.home, tmp_path / "same-disk")
    assert made.apart is (tmp_path.stat().st_dev != office.home.database.stat().st_dev)
    if not made.apart:
        assert till.sync().durable_seq == 0
        assert not Centre.objects.get().backed_up_apart


def test_durable_is_what_the_backup_holds_and_no_more(office: Office, elsewhere: Path) -> None:
    office.store()
    till = office.till()
    till.sell(None)
    till.sell(None)
    till.sync()
    made = backups.make(office.home, elsewhere)
    assert (made.apart, made.durable, made.path.suffix) == (True, 2, ".kopilka")
    till.sell(None)
    reply = till.sync()
    assert (reply.next_seq, reply.durable_seq) == (4, 2)
    backups.make(office.home, elsewhere / "second")
    assert till.sync().durable_seq == 3


def test_what_a_life_that_ended_told_is_durable_too(office: Office, elsewhere: Path) -> None:
    office.store()
    till = office.till()
    till.sell(None)
    till.sync()
    lives.close(till.id)
    backups.make(office.home, elsewhere)
    assert TillLife.objects.get().durable_seq == 1
    till.sell(None)
    assert till.sync().durable_seq == 1  # what came late is kept, and not in that backup


def test_a_backup_belongs_to_its_owner_alone_and_holds_everything(office: Office, elsewhere: Path) -> None:
    office.store()
    made = backups.make(office.home, elsewhere / "b")
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert [path.name for path in elsewhere.iterdir()] == ["b"]
    with closing(sqlite3.connect(made.path)) as file:
        names = {name for (name,) in file.execute("SELECT name FROM backup_file")}
        stores = file.execute("SELECT count(*) FROM fleet_store").fetchone()
    assert names == set(office.home.files())
    assert stores == (1,)


def test_a_backup_is_never_written_over_another(office: Office, elsewhere: Path) -> None:
    backups.make(office.home, elsewhere / "b")
    with pytest.raises(Trouble, match="there already"):
        backups.make(office.home, elsewhere / "b")
    with pytest.raises(Trouble, match="cannot be used"):
        backups.make(office.home, elsewhere / "no such directory" / "b")


def test_a_backup_that_reads_back_otherwise_is_none(
    office: Office, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.store()
    till = office.till()
    till.sell(None)
    till.sync()

    def rots(path: Path) -> None:
        if path.is_file():
            raw = bytearray(path.read_bytes())
            raw[len(raw) // 2 : len(raw) // 2 + 4096] = bytes(4096)
            path.write_bytes(raw)

    monkeypatch.setattr(backups, "_sync", rots)
    with pytest.raises(Trouble, match="damaged"):
        backups.make(office.home, elsewhere / "b")
    assert not (elsewhere / "b").exists()
    assert TillCursor.objects.get().durable_seq == 0
    assert Centre.objects.get().backed_up_ms is None


# ------------------------------------------------------------------------------ restored


def test_the_centres_disk_dies_and_one_shop_tells_it_what_it_has_forgotten(
    office: Office, elsewhere: Path
) -> None:
    office.store()
    anna = office.member(ANNA, "100.00", home="S1")
    till = office.till()
    till.sell(anna, earn=10_00)
    till.sync()
    backup = backups.make(office.home, elsewhere)
    # After the backup: a sale, a new member's grant, and a grant that tops up the shop.
    (lot, *_) = sorted(lot for lot, points in till.lots(anna).items() if points == 90_00)
    till.sell(anna, spend=[Spent(lot, 85_00)], earn=3_00)
    boris = office.member(BORIS, "50.00", home="S1")
    till.sync()
    before = (balance(anna), till.held(anna), holders(anna))
    the_disk_dies(office)

    done = restored(office, backup)
    assert (done.unheard, Centre.objects.get().fenced) == (["T1"], True)
    assert balance(anna) == 110_00  # it knows no better yet
    till.sell(anna, earn=1_00)  # the shop has gone on
    reply = till.sync()
    assert reply.timeline == done.timeline == till.timeline
    assert not Centre.objects.get().fenced
    assert (balance(anna), till.held(anna)) == (before[0] + 1_00, before[1] + 1_00)
    assert holders(anna) == {"free": before[2]["free"], "T1~1": till.held(anna)}
    assert granted(anna) == till.held(anna)
    assert Balance.objects.get(account=anna).debt == 0
    # Boris joined after the backup, so nobody at the office knows him: kept, and said.
    assert not Balance.objects.filter(account=boris).exists() or holders(boris)["T1~1"] == till.held(boris)
    till.sync()
    assert reply.durable_seq >= 1


def test_with_two_tills_nothing_is_given_out_before_both_have_spoken(office: Office, elsewhere: Path) -> None:
    office.store("S1")
    office.store("S2")
    anna = office.member(ANNA, "100.00")
    first, second = office.till("S1"), office.till("S2")
    backup = backups.make(office.home, elsewhere)
    second.lookup(card_key(ANNA))  # after the backup S2 becomes her home, and gets 90
    second.sync()
    assert second.held(anna) == 90_00
    the_disk_dies(office)

    done = restored(office, backup)
    assert done.unheard == ["T1", "T2"]
    first.sync()
    first.lookup(card_key(ANNA))  # in the restored centre all 100 seem to be free
    first.sync()
    assert (first.held(anna), holders(anna)) == (0, {"free": 100_00})
    assert status.read().unheard == ["T2"]

    second.sync()
    assert holders(anna) == {"free": 10_00, "T2~1": 90_00}
    assert not Centre.objects.get().fenced
    first.sync()
    assert (first.held(anna), second.held(anna)) == (9_00, 90_00)
    assert not Incident.objects.exists()


def test_a_till_that_the_backup_does_not_know_lends_its_name_to_no_other_machine(
    office: Office, elsewhere: Path
) -> None:
    """T2 was enrolled after the backup, and sells on. The restored office gives its number away again."""
    office.store("S1")
    anna = office.member(ANNA, "0")
    office.till()
    backup = backups.make(office.home, elsewhere)
    forgotten = office.till()
    before = forgotten.sell(anna, earn=10_00)
    the_disk_dies(office)

    restored(office, backup)
    with pytest.raises(Refused, match="401 NOT_ENROLLED"):
        forgotten.sync()
    another = office.till()
    assert (another.id, another.epoch) == ("T2", timeline.EPOCHS_LEFT_OUT + 1)
    assert another.sell(anna, earn=20_00).id != before.id
    with pytest.raises(Refused, match="401 SIGNATURE"):
        forgotten.sync()
    assert another.sync().next_seq == 2


def test_the_fence_does_not_wait_for_a_till_that_was_closed(office: Office, elsewhere: Path) -> None:
    office.store()
    anna = office.member(ANNA, "100.00", home="S1")
    first, second = office.till(), office.till()
    backup = backups.make(office.home, elsewhere)
    the_disk_dies(office)
    restored(office, backup)
    first.sync()
    assert first.held(anna) == 0
    lives.close(second.id)
    first.sync()
    assert first.held(anna) == 90_00


def test_first_words_may_be_said_twice(office: Office, elsewhere: Path) -> None:
    office.store()
    anna = office.member(ANNA, "100.00", home="S1")
    till = office.till()
    backup = backups.make(office.home, elsewhere)
    till.sync()
    the_disk_dies(office)
    restored(office, backup)
    with pytest.raises(Refused, match="409 TIMELINE") as refused:
        till.post(till.batch())
    till.post(till.first_words(refused.value.refusal))  # the answer is lost
    till.sync()
    assert till.sync().next_seq == 1
    assert granted(anna) == till.held(anna) == 90_00


def test_an_echo_that_the_centre_never_said_is_refused(office: Office, elsewhere: Path) -> None:
    office.store()
    office.member(ANNA, "100.00", home="S1")
    till = office.till()
    backup = backups.make(office.home, elsewhere)
    till.sync()
    the_disk_dies(office)
    restored(office, backup)
    ((then, told),) = till.told
    till.told = [(then, msgspec.structs.replace(told, signature=bytes(64)))]
    with pytest.raises(Refused, match="400 BAD_ECHO"):
        till.sync()
    assert Centre.objects.get().fenced


def test_what_is_said_to_a_till_before_its_first_words_waits_for_them(
    office: Office, elsewhere: Path
) -> None:
    """Cards are merged while the centre is fenced: the till hears of it, and its echo is still good."""
    office.store()
    anna, boris = office.member(ANNA, "100.00", home="S1"), office.member(BORIS, "10.00", home="S1")
    till = office.till()
    till.sync()
    backup = backups.make(office.home, elsewhere)
    (lot,) = till.lots(anna)
    till.sell(anna, spend=[Spent(lot, 88_00)])
    till.sync()  # topped up: a grant that the backup does not know
    held = till.held(anna)
    the_disk_dies(office)
    restored(office, backup)
    registering.merge(anna, boris)
    assert DownMessage.objects.filter(gseq__lt=0).count() == 1
    reply = till.sync()
    assert [ledger.parse(item.body).kind for item in reply.down if item.bucket == ledger.bucket(anna)] == [
        "MERGE"
    ]
    assert not DownMessage.objects.filter(gseq__lt=0).exists()
    assert balance(boris) == 22_00
    assert holders(boris)["T1~1"] >= held


def test_a_message_in_a_bucket_that_was_silent_before_hides_no_grant(office: Office, elsewhere: Path) -> None:
    """Vera has points nowhere but at the office; that her card was merged must not hide Anna's grant."""
    office.store()
    vera, boris = office.member(VERA, "5.00"), office.member(BORIS, "10.00")
    anna = office.member(ANNA, "100.00", home="S1")
    till = office.till()
    till.sell(vera)
    till.post(till.batch())
    backup = backups.make(office.home, elsewhere)
    till.sync()
    assert till.held(anna) == 90_00
    the_disk_dies(office)
    restored(office, backup)
    registering.merge(vera, boris)
    reply = till.sync()
    assert "MERGE" in {ledger.parse(item.body).kind for item in reply.down}
    assert holders(anna)["T1~1"] == till.held(anna) >= 90_00
    assert sum(holders(anna).values()) == 100_00
    assert not Incident.objects.exists()


# ------------------------------------------------------------------------ as an operator


def test_an_operator_backs_up_and_restores(tmp_path: Path) -> None:
    home, other = tmp_path / "centre", tmp_path / "backups"
    other.mkdir()
    done(home, "init")
    done(home, "store", "add", "S1", "Лесная")
    made = json.loads(done(home, "backup", str(other), "--json"))
    assert Path(made["file"]).parent == other
    told = done(home, "backup", str(other / "named"))
    assert "SAME disk" in told
    done(home, "store", "add", "S2", "Новая")

    refused = kopilka(home, "restore", made["file"])
    assert (refused.returncode, "--replace" in refused.stderr) == (1, True)
    assert len(json.loads(done(home, "store", "list", "--json"))) == 2
    keys = (home / "keys" / "chain.key").read_bytes()
    (home / "keys" / "chain.key").write_text("00" * 32)  # somebody has put wrong keys there
    told = json.loads(done(home, "restore", made["file"], "--replace", "--json"))
    aside = Path(told["laid_aside"])
    assert {path.name for path in aside.iterdir()} == {"central.sqlite3", "keys", "secret_key"}
    assert (home / "keys" / "chain.key").read_bytes() == keys
    assert [store["id"] for store in json.loads(done(home, "store", "list", "--json"))] == ["S1"]
    assert stat.S_IMODE((home / "central.sqlite3").stat().st_mode) == 0o600
    assert (told["fenced"], told["unheard"]) == (False, [])
    # And over an empty home, with another name.
    told_there = done(tmp_path / "elsewhere", "restore", made["file"])
    assert "kopilka-central serve" in told_there
    assert "replaced-" not in told_there  # nothing was there before
    assert {path.name for path in (tmp_path / "elsewhere" / "keys").iterdir()} == {
        "reply.pem",
        "channel.pem",
        "chain.key",
        "session.key",
    }


def test_a_second_restore_of_one_backup_is_another_life_though_the_clock_stands(
    office: Office, elsewhere: Path
) -> None:
    backup = backups.make(office.home, elsewhere)
    office.now_ms -= 10**9  # the box's clock is behind
    first = backups.restore(office.home, backup.path, replace=True)
    second = backups.restore(office.home, backup.path, replace=True)
    assert second.timeline > first.timeline
    for aside in (first.aside, second.aside):
        assert aside is not None
        assert (aside / "central.sqlite3").exists()


def test_a_backup_that_was_just_copied_into_place_is_not_served(tmp_path: Path) -> None:
    """Or points would be given twice; the same stands after a restore that was cut by a power failure."""
    home = tmp_path / "centre"
    done(home, "init")
    done(home, "backup", str(tmp_path / "b"))
    (home / "central.sqlite3").write_bytes((tmp_path / "b").read_bytes())
    for words in (["serve", "--port", "0"], ["till", "list"]):
        result = kopilka(home, *words)
        assert (result.returncode, "restore FILE --replace" in result.stderr) == (1, True)
    done(home, "restore", str(tmp_path / "b"), "--replace")
    done(home, "till", "list")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "damaged"),
        (lambda path: path.write_bytes(b"not a database at all"), "damaged"),
        (lambda path: path.unlink(), "no backup"),
    ],
)
def test_what_is_no_whole_backup_changes_nothing(
    office: Office, elsewhere: Path, spoil: object, word: str
) -> None:
    backup = backups.make(office.home, elsewhere / "b")
    assert callable(spoil)
    spoil(backup.path)
    with pytest.raises(Trouble, match=word):
        backups.restore(office.home, backup.path, replace=True)
    assert Centre.objects.get().timeline


def test_a_database_alone_is_not_a_backup(office: Office, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(office.home.database.read_bytes())
    with pytest.raises(Trouble, match="not a backup"):
        backups.restore(office.home, tmp_path / "copy", replace=True)


def test_a_centre_that_runs_is_not_replaced(office: Office, elsewhere: Path) -> None:
    backup = backups.make(office.home, elsewhere)
    with office.home.in_use(alone=False), pytest.raises(Trouble, match="is running"):
        backups.restore(office.home, backup.path, replace=True)


def test_status_in_words_and_for_programs(office: Office, elsewhere: Path) -> None:
    office.store()
    till = office.till()
    till.sync()

    def told() -> str:
        return "\n".join(status.lines(status.read(), lambda text: text))

    assert "There is no backup yet" in told()
    backup = backups.make(office.home, elsewhere)
    assert f"{backup.path}." in told()
    office.days_pass(3)
    assert "make one now" in told()
    lives.close(till.id)
    till.sell(None)
    till.sync()
    assert "Till T1, life 1: 1 entries came after its end" in told()
    data = status.data(status.read(), lambda text: text)
    assert data["quarantine"][0]["entries"] == 1
    assert data["backup"]["apart"] is True


def test_a_restored_till_of_a_restored_centre(office: Office, elsewhere: Path) -> None:
    """Both disks die: what the till was granted since is not its to spend, and nobody gets it twice."""
    office.store()
    anna = office.member(ANNA, "100.00", home="S1")
    till = office.till()
    old_disk = till.backup()
    backup = backups.make(office.home, elsewhere)
    till.sync()
    again: PretendTill = till.restored_from(old_disk)
    again.sync()
    assert again.epoch == 2
    the_disk_dies(office)
    restored(office, backup)
    again.sync()
    assert TillLife.objects.get().epoch == 1
    assert balance(anna) == 100_00
    assert granted(anna) == sum(points for who, points in holders(anna).items() if who != "free")
    assert holders(anna).get("T1~2", 0) == again.held(anna)
