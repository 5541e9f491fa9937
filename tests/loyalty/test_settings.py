"""The settings of a programme: what is misspelt is said, and the shop's clock is never the box's."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from loyalty.settings import Settings, SettingsError, encode, parse, shop_time

GOOD: dict[str, Any] = {
    "format": 1,
    "store": {"id": "S1", "name": "Магазин у дома"},
    "offsets": [[0, 180]],
    "channels": {"rulebook": "rulebook.all", "catalog": "catalog.all"},
}


def settings(**changes: Any) -> Settings:
    return parse(msgspec.json.encode({**GOOD, **changes}))


def test_what_is_published_is_what_is_read() -> None:
    read = settings(slip={"footer": ["Ждём вас снова!"]}, courtesy_points=30_000)
    assert read.slip.footer == ("Ждём вас снова!",)
    assert parse(encode(read)) == read


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "misspelt": ({"earn_spendabel": "now"}, "earn_spendabel.*did you mean `earn_spendable`"),
    "misspelt inside": ({"slip": {"footter": []}}, "footter.*did you mean `footer`"),
    "misspelt in the store": ({"store": {"id": "S1", "name": "x", "regio": "RU"}}, "did you mean `region`"),
    "like nothing we know": ({"zzz": 1}, "zzz` *$"),
    "of another type": ({"sync_interval_s": "60"}, r"Expected `int`, got `str` - at `\$.sync_interval_s`$"),
    "a later format": ({"format": 2}, "format 2; this program knows 1"),
    "no clock": ({"offsets": []}, "offsets must be a list"),
    "a clock that runs backwards": ({"offsets": [[100, 180], [0, 240]]}, "ascending"),
    "a clock of no place on earth": ({"offsets": [[0, 1440]]}, "offset_min"),
    "points spendable some day": ({"earn_spendable": "later"}, "use now, next_sync or after 3 days"),
    "a sync that never pauses": ({"sync_interval_s": 0}, "sync_interval_s is 0; use 5 to 86400"),
    "a key that is none": ({"tills": {"T1": "00ff"}}, "tills.T1 is no public key; write its 64 hex"),
    "a hub that nobody knows": ({"hub": {"till": "T2"}, "tills": {"T1": "00" * 32}}, "hub.till is 'T2'"),
    "a hub that is nowhere": (
        {"hub": {"till": "T1", "url": "192.168.1.10"}, "tills": {"T1": "00" * 32}},
        "hub.url is '192.168.1.10'; write it as http://",
    ),
    "misspelt in the hub": ({"hub": {"tll": "T1"}}, "did you mean `till`"),
    "a loan below zero": ({"courtesy_points": -1}, "courtesy_points"),
}


@pytest.mark.parametrize(("changes", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_settings_that_cannot_be_used_name_the_key(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        settings(**changes)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"format": "\xff"}', b'{"a":' * 50_000])
def test_what_is_no_settings_file_says_so(raw: bytes) -> None:
    with pytest.raises(SettingsError):
        parse(raw)


@pytest.mark.parametrize(
    ("utc_s", "wall"),
    [
        (-1, "1970-01-01T02:59:59+03:00"),  # before the table begins its first line holds
        (99, "1970-01-01T03:01:39+03:00"),
        (100, "1970-01-01T04:01:40+04:00"),  # from this second on, and not one later
        (1_795_000_000, "2026-11-18T13:36:40+02:30"),
    ],
)
def test_the_shops_clock_changes_by_the_offices_table(utc_s: int, wall: str) -> None:
    read = settings(offsets=[[0, 180], [100, 240], [1_000, 150]])
    assert shop_time(read, utc_s).isoformat() == wall
