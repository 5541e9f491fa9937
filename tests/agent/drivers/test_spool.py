"""Slips that wait on disk: kept over a power cut, in their order, each once, and never more than a bound."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.document import Cut, Document, Line, Qr
from agent.drivers.spool import WAITING_MAX, Slip, Spool, _packed, _unpacked

SLIP: Document = (Line("Ромашка", bold=True, align="center", wide=True), Qr("https://example.org"), Cut())


def test_slips_outlive_the_agent_in_their_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    for job in ("T1-1-7", "T1-1-8", "T1-1-9"):
        assert spool.add(Slip(job, 1_000, SLIP))
    assert spool.take("T1-1-8")
    spool.close()
    again = Spool(tmp_path / "spool.db")
    assert [(slip.job_id, slip.at_s, slip.job) for slip in again.waiting()] == [
        ("T1-1-7", 1_000, SLIP),
        ("T1-1-9", 1_000, SLIP),
    ]
    again.close()


def test_what_is_about_to_be_sent_is_on_disk_no_more(tmp_path: Path) -> None:
    """Read by another connection, as after a power cut."""
    spool = Spool(tmp_path / "spool.db")
    spool.add(Slip("T1-1-7", 1_000, b"\x1b@"))
    other = sqlite3.connect(tmp_path / "spool.db")
    assert other.execute("SELECT count(*) FROM slip").fetchone() == (1,)
    assert spool.take("T1-1-7")
    assert other.execute("SELECT count(*) FROM slip").fetchone() == (0,)
    other.close()
    spool.close()


def test_a_job_waits_once_and_there_is_an_end_to_waiting() -> None:
    spool = Spool(None)
    for _ in range(2):
        assert spool.add(Slip("same", 1_000, SLIP))
    for number in range(WAITING_MAX - 1):
        assert spool.add(Slip(str(number), 1_000, SLIP))
    assert not spool.add(Slip("one more", 1_000, SLIP))
    assert len(spool.waiting()) == WAITING_MAX
    spool.close()


def test_a_full_disk_keeps_them_in_memory(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    spool._db.execute("PRAGMA max_page_count = 1")
    for number in range(5):
        assert spool.add(Slip(str(number), 1_000, (Line("x" * 2_000), Cut())))
    assert len(spool.waiting()) == 5
    assert spool.take("4")
    assert len(spool.waiting()) == 4
    spool.close()


def test_a_file_that_is_no_spool_is_laid_aside(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"not a database" * 100)
    spool = Spool(tmp_path / "spool.db")
    assert spool.add(Slip("T1-1-7", 1_000, SLIP))
    spool.close()
    assert (tmp_path / "spool.db.damaged").exists()


@given(
    st.lists(
        st.one_of(
            st.builds(
                Line,
                st.text(max_size=20),
                st.booleans(),
                st.sampled_from(["left", "center", "right"]),
                st.booleans(),
            ),
            st.builds(Qr, st.text(max_size=20)),
            st.just(Cut()),
        ),
        min_size=1,
    )
)
def test_a_document_comes_back_as_it_was(parts: list[Line | Qr | Cut]) -> None:
    assert _unpacked(_packed(tuple(parts))) == tuple(parts)


@pytest.mark.parametrize("body", [b"", b"\xff", b"\x91\xa1x"])
def test_a_row_that_cannot_be_read_is_passed_by(body: bytes) -> None:
    assert not _unpacked(body)
