"""A till that was switched off comes back with what it needs, whatever happened to its disposable file."""

from __future__ import annotations

import pytest

from agent.demo.stage import Office, TillBox


def test_a_restart_needs_no_link(office: Office, till: TillBox) -> None:
    till.switch_off()
    office.stop()
    till.start()
    assert till.command("status")["rulebook_seq"] == 1


@pytest.mark.parametrize(
    "content", [None, b"", b"photos of the shop " * 4000], ids=["gone", "empty", "foreign"]
)
def test_a_snapshot_that_is_lost_is_fetched_again(
    office: Office, till: TillBox, content: bytes | None
) -> None:
    till.switch_off()
    for part in till.state.glob("snapshot.db*"):
        part.unlink()
    if content is not None:
        (till.state / "snapshot.db").write_bytes(content)
    till.start()
    till.command("sync", "now")
    status = till.command("status")
    assert (status["rulebook_seq"], status["catalog_version"]) == (1, 1)
    assert not status["troubles"]
