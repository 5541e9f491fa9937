"""One file makes another disk the same till; a till that comes back from it trusts nothing it remembers."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from agent import backup
from agent.inbox import ApplyAsked, LinkChanged, LoadBatchAsked, Problem
from agent.offline.files import FileError
from agent.offline.ledger_db import LedgerDb
from agent.offline.ledger_reader import Reader
from agent.offline.records import LedgerFault
from agent.state import StateDir
from agent.sync.machine import ApplyRestore, StoreLog
from loyalty import ledger, wire
from tests.agent.shop import CARD, CHAIN_KEY, LOT, OPENED_S, Shop, enrolment, key_of

ID = "restore-1"


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    """A till with its keys, that sold with points."""
    state = StateDir(tmp_path / "till")
    state.make()
    state.make_key()
    state.save_chain_key(CHAIN_KEY)
    with closing(shop_in(state)) as shop:
        shop.know()
        shop.grant(60_000)
        sell(shop, "r1")
    return state


@pytest.fixture
def night(state: StateDir, tmp_path: Path) -> Path:
    """Last night's backup of it."""
    path = tmp_path / "night.tar"
    backup.write(state, path, OPENED_S, replace=False)
    return path


@pytest.fixture
def new_box(tmp_path: Path) -> StateDir:
    """A box with nothing on it."""
    return StateDir(tmp_path / "new")


def shop_in(state: StateDir) -> Shop:
    shop = Shop(state.path)
    shop.till.handle(LinkChanged(None, ""))
    return shop


def sell(shop: Shop, sale_id: str, redeem: int = 4_500) -> None:
    shop.commit(sale_id, shop.put(sale_id, card=CARD, redeem=redeem))


def files_of(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


# ------------------------------------------------------------------------------ backing up


def test_a_till_is_backed_up_while_it_sells(state: StateDir, tmp_path: Path) -> None:
    with closing(shop_in(state)) as shop:
        shop.know()
        shop.put("r2", card=CARD, redeem=4_500)
        target = tmp_path / "night.tar"
        made = backup.write(state, target, OPENED_S, replace=False)
        sell(shop, "r3")
    assert (made.till, made.epoch, made.seq, made.entries) == ("T1", 1, 1, 1)
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as tar:
        assert tar.getnames() == ["about.json", "till.key", "chain.key", "ledger.db"]
        file = tar.extractfile("about.json")
        assert file is not None
        about = json.load(file)
    assert (about["till"], about["seq"], about["head"]) == ("T1", 1, made.head)
    assert list(tmp_path.glob(".kopilka-*")) == []


def test_an_older_backup_is_not_written_over_by_chance(state: StateDir, night: Path) -> None:
    before = night.read_bytes()
    with pytest.raises(FileError, match="--replace"):
        backup.write(state, night, OPENED_S, replace=False)
    assert night.read_bytes() == before
    backup.write(state, night, OPENED_S + 60, replace=True)
    assert night.read_bytes() != before


def key_is_lost(state: StateDir) -> None:
    state.till_key_file.unlink()


def ledger_is_damaged(state: StateDir) -> None:
    with closing(LedgerDb(state.ledger)) as db:
        db.execute("DROP TRIGGER entry_is_never_edited")
        db.execute("UPDATE entry SET h = zeroblob(32)")


def ledger_is_gone(state: StateDir) -> None:
    state.ledger.unlink()


def till_was_never_enrolled(state: StateDir) -> None:
    ledger_is_gone(state)
    LedgerDb(state.ledger).close()


def till_is_restoring(state: StateDir) -> None:
    backup.restore_in_place(state, OPENED_S, ID)


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (key_is_lost, "would not know this till"),
        (ledger_is_damaged, "not what was written"),
        (ledger_is_gone, "there is no file"),
        (till_was_never_enrolled, "not enrolled"),
        (till_is_restoring, "the centre has not heard of it yet"),
    ],
)
def test_what_would_not_bring_the_till_back_is_no_backup(
    state: StateDir, night: Path, happens: Callable[[StateDir], None], why: str
) -> None:
    before = night.read_bytes()
    happens(state)
    with pytest.raises((FileError, LedgerFault), match=why):
        backup.write(state, night, OPENED_S, replace=True)
    assert night.read_bytes() == before
    assert list(night.parent.glob(".kopilka-*")) == []


# ------------------------------------------------------------------------------- restoring


def test_a_new_box_becomes_the_till(state: StateDir, night: Path, new_box: StateDir) -> None:
    done = backup.restore(new_box, night, OPENED_S, ID)
    assert (done.contents.till, done.contents.seq, done.aside) == ("T1", 1, None)
    assert new_box.till_key_file.read_bytes() == state.till_key_file.read_bytes()
    assert new_box.chain_key() == CHAIN_KEY
    assert {path.name for path in new_box.path.iterdir()} == {
        "ledger.db", "ledger.lock", "till.key", "chain.key",
    }  # fmt: skip
    assert new_box.ledger.stat().st_mode & 0o777 == 0o600
    with closing(Reader.open(new_box.ledger)) as reader:
        assert (reader.uplink().restore_id, reader.parcel_points(), reader.verify("T1")) == (ID, 0, 1)


def test_what_lay_there_is_laid_aside_whole(state: StateDir, night: Path) -> None:
    with closing(shop_in(state)) as shop:
        shop.know()
        sell(shop, "r2")
        done = backup.restore(state_of_a_crash(state), night, OPENED_S, ID)
    assert done.aside is not None
    with closing(Reader.open(done.aside / "ledger.db")) as reader:
        assert reader.verify("T1") == 2  # r2 is in it, out of the WAL that was moved along
    assert (done.aside / "till.key").exists()


def state_of_a_crash(state: StateDir) -> StateDir:
    """The files as a power cut leaves them, with the WAL beside: a copy, for the till still runs."""
    copy = StateDir(state.path.with_name("crashed"))
    copy.make()
    for name, content in files_of(state.path).items():
        (copy.path / name).write_bytes(content)
    assert (copy.path / "ledger.db-wal").stat().st_size > 0
    return copy


def test_nothing_is_touched_while_an_agent_runs(state: StateDir, night: Path) -> None:
    with closing(shop_in(state)), pytest.raises(LedgerFault, match="stop it first"):
        backup.restore(state, night, OPENED_S, ID)
    with closing(shop_in(state)), pytest.raises(LedgerFault, match="stop it first"):
        backup.restore_in_place(state, OPENED_S, ID)
    assert list(state.path.glob("before-*")) == []


def cut(night: Path) -> None:
    os.truncate(night, night.stat().st_size // 2)


def foreign(night: Path) -> None:
    night.write_bytes(b"photos of the shop " * 1000)


def gone(night: Path) -> None:
    night.unlink()


def a_byte_differs(night: Path) -> None:
    content = bytearray(night.read_bytes())
    place = content.rindex(b"SALE")  # in the canonical bytes of the entry
    content[place] ^= 1
    night.write_bytes(content)


def of_later_days(night: Path) -> None:
    content = night.read_bytes().replace(b'"format": 1', b'"format": 9', 1)
    night.write_bytes(content)


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (cut, "no whole backup"),
        (foreign, "no whole backup"),
        (gone, "there is no file"),
        (a_byte_differs, "T1-1-1 is not what was written"),
        (of_later_days, "update this agent"),
    ],
)
def test_a_bad_backup_changes_nothing(
    state: StateDir, night: Path, happens: Callable[[Path], None], why: str
) -> None:
    happens(night)
    before = files_of(state.path)
    with pytest.raises((FileError, LedgerFault), match=why):
        backup.restore(state, night, OPENED_S, ID)
    assert files_of(state.path) == before


def test_another_tills_box_is_not_taken(night: Path, new_box: StateDir) -> None:
    new_box.make()
    with closing(LedgerDb(new_box.ledger)) as db:
        db.enrol(msgspec.structs.replace(enrolment(), till="T2"), "http://centre")
    with pytest.raises(LedgerFault, match="this box is till T2"):
        backup.restore(new_box, night, OPENED_S, ID)


def test_a_backup_of_an_earlier_life_is_refused(state: StateDir, night: Path) -> None:
    backup.restore_in_place(state, OPENED_S, ID)
    with closing(shop_in(state)) as shop:
        shop.till.handle(ApplyAsked(ApplyRestore(second_life(log_to=1))))
    with pytest.raises(LedgerFault, match="from life 1 of till T1, and this disk is in life 2"):
        backup.restore(state, night, OPENED_S, "restore-2")


def test_a_restore_that_was_done_is_not_done_twice(night: Path, new_box: StateDir) -> None:
    """The centre may have opened the next life for the first one's id already."""
    backup.restore(new_box, night, OPENED_S, ID)
    again = backup.restore(new_box, night, OPENED_S + 60, "restore-2")
    assert again.aside is None
    with closing(Reader.open(new_box.ledger)) as reader:
        assert reader.uplink().restore_id == ID
    assert backup.restore_in_place(new_box, OPENED_S, "restore-3").aside is None


def test_a_disk_that_went_back_asks_for_its_next_life_in_place(state: StateDir) -> None:
    done = backup.restore_in_place(state, OPENED_S, ID)
    assert done.aside is not None
    with closing(Reader.open(done.aside / "ledger.db")) as reader:
        assert (reader.uplink().restore_id, reader.parcel_points()) == (None, 55_500)
    with closing(Reader.open(state.ledger)) as reader:
        assert (reader.uplink().restore_id, reader.parcel_points()) == (ID, 0)


# ------------------------------------------------------------------------ until it is heard


@pytest.fixture
def restored(state: StateDir, night: Path) -> Iterator[Shop]:
    """The till of last night. What it sold since, r2 and its void, only the centre knows."""
    backup.restore(state, night, OPENED_S, ID)
    shop = Shop(state.path)
    yield shop
    shop.close()


def test_prices_are_told_and_nothing_is_written(restored: Shop) -> None:
    quoted = restored.put("r9", card=CARD, redeem="max")
    assert (quoted["quote"]["redeemed"], quoted["quote"]["pay"]) == (0, 90_000)
    with pytest.raises(Problem) as refused:
        restored.commit("r9", quoted)
    assert (refused.value.status, refused.value.code) == (503, "restoring")
    with pytest.raises(Problem) as refused:
        restored.void("r1")
    assert refused.value.code == "restoring"
    assert restored.void("r9")["entry"] is None
    assert restored.held() == []
    assert [trouble["code"] for trouble in restored.status()["troubles"]] == ["restoring"]


def second_life(log_to: int) -> wire.RestoreReply:
    return wire.RestoreReply(2, "s9", 1, log_to, {}, OPENED_S * 1000, b"")


def test_what_the_centre_has_of_the_lost_disk_comes_back_and_can_be_voided(
    state: StateDir, restored: Shop, tmp_path: Path
) -> None:
    told = lost_entries(state, tmp_path)
    restored.till.handle(ApplyAsked(ApplyRestore(second_life(log_to=4))))
    ask = LoadBatchAsked(500)
    restored.till.handle(ask)
    assert ask.reply.result(0).missing_log == (1, 2)
    restored.till.handle(ApplyAsked(StoreLog(told)))
    restored.till.handle(ApplyAsked(StoreLog(told)))  # and again: the answer was slow
    assert restored.ledger.verify("T1") == 4
    assert restored.ledger.parcel_points() == 0
    assert (restored.get("r2")["state"], restored.get("r3")["state"]) == ("closed", "closed")
    with pytest.raises(Problem, match="does not know"):
        restored.get("r4")  # a return is no sale, and could be voided as one
    restored.know()
    voided = restored.void("r2")  # its points were of a lot that this disk never saw
    assert voided["entry"] == "T1-2-1"
    assert restored.parcels()["c:233-1-9-0"] == 4_500


def lost_entries(state: StateDir, tmp_path: Path) -> wire.LogReply:
    """Two sales after the backup, r2 with points of a lot that came after it, as the centre tells them."""
    aside = next(state.path.glob("before-*"))
    lost = tmp_path / "lost"
    lost.mkdir()
    (lost / "ledger.db").write_bytes((aside / "ledger.db").read_bytes())
    with closing(Shop(lost)) as shop:
        shop.till.handle(LinkChanged(None, ""))
        shop.know()
        with shop.ledger.transaction():
            shop.ledger.execute("UPDATE parcel SET points = 0")
            shop.ledger.put(1001, "c:233-1-9-0", 9_000, ledger.LotTerms("2026-01-01T00:00:00", None, "gift"),
                            why="the centre")  # fmt: skip
        sell(shop, "r2")
        sell(shop, "r3", redeem=0)
        shop.take_back("r4", {"1": 1_000}, sale_id="r3")
        batch = shop.ledger.batch("T1", 500, {1: 2})
    return wire.LogReply(1, 2, tuple(map(ledger.strip, batch.bodies)), batch.documents, more=False)


def test_a_lot_of_the_backup_is_still_known(restored: Shop) -> None:
    parcel = restored.ledger.parcel(1001, LOT)
    assert parcel is not None
    assert parcel.points == 0


def test_what_the_centre_said_before_counts_nothing_of_the_next_life(restored: Shop) -> None:
    """Else the first sales of the new life would be missing in a balance that is a minute old."""
    restored.know()  # it counts entry 1: of the life that ends now
    life = msgspec.structs.replace(second_life(log_to=1), server_ms=OPENED_S * 1000 + 1)
    restored.till.handle(ApplyAsked(ApplyRestore(life)))
    restored.commit("r5", restored.put("r5", card=CARD))
    seen = restored.put("r6", card=CARD)["customer"]
    assert seen["balance"] == 100_000 + 4_500


def test_who_was_known_before_is_asked_about_again(restored: Shop) -> None:
    """What the backup lacks may have used up their welcome; the office has heard of that, and we had."""
    restored.know()
    life = msgspec.structs.replace(second_life(log_to=1), server_ms=OPENED_S * 1000 + 1)
    restored.till.handle(ApplyAsked(ApplyRestore(life)))
    restored.till.handle(LinkChanged(None, ""))
    ask = restored.put_later("r5", card=CARD)
    assert not ask.reply.done()
    assert restored.outside.lookups == [key_of(CARD)]
    restored.wall_s += 1
    restored.know(balance=7_700, home="T9")
    assert ask.reply.result(0)["customer"]["balance"] == 7_700
    restored.put_later("r6", card=CARD).reply.result(0)
    assert len(restored.outside.lookups) == 1
