"""Power cuts, in short: forty rounds of tests/e2e/torture, whose docstring tells the idea.

The seed stands in the test's name; `make torture ROUNDS=40 SEED=…` plays the same rounds.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.torture import look
from tests.e2e.torture.look import Broken
from tests.e2e.torture.rounds import BLOWS, MUST, Torture, expect_no_gap, plan
from tests.e2e.torture.shop import Shop

ROUNDS = 40

# What a till might leave on its disk that broke a promise, and what is said of it.
BROKEN_TILLS = {
    "DELETE FROM entry WHERE seq = (SELECT max(seq) FROM entry)": "chain does not verify",
    "DELETE FROM document WHERE seq = (SELECT max(seq) FROM document)": "chain does not verify",
    "DELETE FROM answer WHERE verb = 'commit'": "a sale or return without the answer",
    "UPDATE document SET sale_id = sale_id || 'x';"
    " UPDATE answer SET sale_id = sale_id || 'x'": "nobody has asked for",
    "UPDATE parcel SET points = points + 1": "differ from what the log",
    "INSERT INTO hold_parcel SELECT account, lot, 'x', 1 FROM parcel": "promised points without their quote",
    "UPDATE down_cursor SET gseq = gseq + 1": "cursor of the downlink",
    "INSERT INTO print_note (epoch, seq, at_s, outcome)"
    " SELECT epoch, seq, 0, 'printed' FROM entry WHERE kind = 'VOID'": "not on paper",
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [2026])
def test_the_power_goes_again_and_again(tmp_path: Path, seed: int) -> None:
    with closing(Shop(tmp_path)) as shop:
        shop.open()
        Torture(shop, seed, ROUNDS, print).run()
    for lie, said in BROKEN_TILLS.items():  # it is all true, and would we see it if it were not?
        with pytest.raises(Broken, match=said):
            look_at(tampered(shop.till_file, tmp_path / "tampered.db", lie), shop)


def look_at(till_file: Path, shop: Shop) -> None:
    log = look.read_log(till_file)
    look.compare_with_the_book(log, shop.book)
    look.compare_with_the_paper(log, shop.paper)


def tampered(till_file: Path, copy: Path, lie: str) -> Path:
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(till_file)) as disk, closing(sqlite3.connect(copy)) as other:
        disk.backup(other)
        for (trigger,) in other.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            other.execute(f"DROP TRIGGER {trigger}")
        other.executescript(lie)
    return copy


def test_a_seed_is_a_plan_with_every_blow_in_it() -> None:
    rounds = plan(1, ROUNDS)
    assert rounds == plan(1, ROUNDS) != plan(2, ROUNDS)
    assert [r.number for r in rounds] == list(range(1, ROUNDS + 1))
    assert {r.blow for r in rounds[:10]} == {blow for row in BLOWS for blow in row}
    assert [r.linked for r in rounds].count(False) == ROUNDS / 10
    assert all(r.aim not in ("sync", "session", "grant", "journal") for r in rounds if not r.linked)


def test_a_run_that_met_too_little_says_so() -> None:
    met = Counter(MUST)
    expect_no_gap(met, 3)
    del met["the centre was killed"]
    with pytest.raises(Broken, match="too little; it never happened that the centre was killed"):
        expect_no_gap(met, 3)
