"""The settings channel of each store, made from what the office knows of it.

The till asks no time zone database: it gets the offsets of its shop for two years ahead
(ledger-sync.md §5.16). The table begins at 0 so that it stays the same, byte by byte, until a change
of the clocks enters or leaves those two years; only then is there a new version to publish.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import msgspec
from django.db import transaction

from central import clock
from central.fleet.models import Store, Till
from central.rules import publishing
from central.rules.models import Programme
from central.rules.publishing import Published
from loyalty import manifest, settings
from loyalty.settings import Fiscal, Hub, Limits, Settings, SettingsError, Slip, StoreInfo

FILE = "settings.json"
OFFSETS_AHEAD = timedelta(days=730)
_STEP = timedelta(days=1)

T = TypeVar("T", Fiscal, Limits)


def publish_store(store: Store) -> Published:
    """Publish the settings of one store if they differ from what is in force."""
    programme, _ = Programme.objects.get_or_create()
    tills = _tills(store)
    content = Settings(
        format=settings.FORMAT,
        store=StoreInfo(store.id, store.name, store.region),
        offsets=offsets(store.timezone, clock.now_s()),
        channels={
            manifest.RULEBOOK: publishing.RULEBOOK_CHANNEL,
            manifest.CATALOG: publishing.CATALOG_CHANNEL,
        },
        number_templates=tuple(programme.number_templates),
        courtesy_points=programme.courtesy_points,
        earn_spendable=programme.earn_spendable,
        slip=Slip(tuple(store.slip_header), tuple(store.slip_footer), programme.slip_qr or None),
        fiscal=_settings_of(Fiscal, programme.fiscal),
        limits=_settings_of(Limits, programme.limits),
        hub=Hub(store.hub, store.hub_url) if store.hub in tills else None,
        tills=tills,
    )
    body = settings.encode(content)
    settings.parse(body)  # what a till would refuse is not published
    return publishing.publish(publishing.settings_channel(store.id), {FILE: body})


def _settings_of(kind: type[T], stored: object) -> T:
    try:
        return msgspec.convert(stored, kind)
    except msgspec.ValidationError as error:
        raise SettingsError(str(error)) from error


def _tills(store: Store) -> dict[str, str]:
    """The open tills of a store and their public keys: so they know each other on the shop's network."""
    found = Till.objects.filter(store=store, closed_ms=None, public_key__isnull=False).order_by("id")
    return {till.id: bytes(till.public_key or b"").hex() for till in found}


def keep_fresh(store: Store) -> None:
    """See that what a till of this store reads is neither old nor near its end."""
    channel = publishing.settings_channel(store.id)
    found = publishing.newest(channel)
    if found is None or found.published_ms <= clock.now_ms() - publishing.REFRESH_AFTER_S * 1000:
        publish_store(store)  # another change of the clocks may lie within two years by now
    publishing.keep_fresh(publishing.channels_of(store.id))


def in_force(store_id: str) -> Settings | None:
    """The settings that tills of a store read; None before they were published."""
    content = publishing.newest_file(publishing.settings_channel(store_id), FILE)
    return settings.parse(content) if content is not None else None


@transaction.atomic
def change_programme(changes: dict[str, object]) -> list[Published]:
    """Change what all stores share, and publish it to each. Raises SettingsError; nothing is changed then."""
    programme, _ = Programme.objects.select_for_update().get_or_create()
    for name, value in changes.items():
        setattr(programme, name, value)
    programme.save()
    return publish_all()


def publish_all() -> list[Published]:
    """The same for every store."""
    return [publish_store(store) for store in Store.objects.order_by("id")]


def offsets(zone_name: str, now_s: int) -> tuple[tuple[int, int], ...]:
    """[(utc_from_s, offset_min)] of a zone from `now_s` for two years ahead; the first from 0."""
    zone = ZoneInfo(zone_name)
    at = datetime.fromtimestamp(now_s, UTC)
    end = at + OFFSETS_AHEAD
    table = [(0, _offset_min(zone, at))]
    while at < end:
        following = at + _STEP
        if _offset_min(zone, following) != table[-1][1]:
            change = _change_between(zone, at, following)
            table.append((int(change.timestamp()), _offset_min(zone, change)))
        at = following
    return tuple(table)


def _offset_min(zone: ZoneInfo, at: datetime) -> int:
    return (at.astimezone(zone).utcoffset() or timedelta(0)) // timedelta(minutes=1)


def _change_between(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first second of the new offset, by halving the day in which it lies."""
    low, high = int(before.timestamp()), int(after.timestamp())
    old = _offset_min(zone, before)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_min(zone, datetime.fromtimestamp(middle, UTC)) == old:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)
