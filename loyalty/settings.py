"""The settings of a programme in one store: everything that is not the box's own business.

They come signed by the channel `settings.{store}` (ledger-sync.md §6). Unknown keys are refused
with the nearest known one: a setting that is silently not understood is a shop that silently
behaves otherwise than its office believes.
"""

from __future__ import annotations

import difflib
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

FORMAT = 1


class SettingsError(ValueError):
    """The settings cannot be used; the message says which key and why."""


class StoreInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shop as the slip and the rulebook name it."""

    id: str
    name: str
    region: str | None = None


class Slip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lines above and below every slip."""

    header: tuple[str, ...] = ()
    footer: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`offsets` = [(utc_from_s, offset_min)], ascending: the shop's clock for two years, never the box's.

    `number_templates` stay JSON here; loyalty/card.py gives them their meaning.
    """

    format: int
    store: StoreInfo
    offsets: tuple[tuple[int, int], ...]
    channels: dict[str, str]  # "rulebook" -> "rulebook.all", "catalog" -> "catalog.all"
    number_templates: tuple[dict[str, Any], ...] = ()
    channel: str = "pos"
    earn_spendable: str = "now"  # now | next_sync
    courtesy_points: int = 0  # K: what a till may lend beyond its parcels (hundredths)
    sync_interval_s: int = 60
    slip: Slip = Slip()


def parse(raw: bytes) -> Settings:
    """The settings in `raw`. Raises SettingsError naming the key and, for a misspelt one, the nearest."""
    try:
        settings = msgspec.json.decode(raw, type=Settings)
    except msgspec.DecodeError as error:
        raise SettingsError(_explain(str(error))) from error
    if settings.format != FORMAT:
        raise SettingsError(f"settings format {settings.format}; this program knows {FORMAT}")
    if not settings.offsets or list(settings.offsets) != sorted(settings.offsets):
        raise SettingsError("offsets must be a list, ascending, of at least one [utc_from_s, offset_min]")
    if settings.earn_spendable not in ("now", "next_sync"):
        raise SettingsError(f"earn_spendable is {settings.earn_spendable!r}; use now or next_sync")
    return settings


def encode(settings: Settings) -> bytes:
    """The file as it is published."""
    return msgspec.json.encode(settings)


def shop_time(settings: Settings, utc_s: int) -> datetime:
    """The shop's wall clock (with its offset, whole seconds) at `utc_s`."""
    offset_min = settings.offsets[0][1]
    for since_s, minutes in settings.offsets:
        if since_s > utc_s:
            break
        offset_min = minutes
    zone = timezone(timedelta(minutes=offset_min))
    return datetime.fromtimestamp(utc_s, zone)


def _explain(message: str) -> str:
    for struct in (Settings, StoreInfo, Slip):
        for word in message.split("`")[1::2]:
            near = difflib.get_close_matches(word, struct.__struct_fields__, n=1)
            if near and word not in struct.__struct_fields__:
                return f"{message}; did you mean `{near[0]}`?"
    return message
