"""The settings of a programme in one store: everything that is not the box's own business.

They come signed by the channel `settings.{store}` (ledger-sync.md §6). Unknown keys are refused
with the nearest known one: a setting that is silently not understood is a shop that silently
behaves otherwise than its office believes.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from loyalty.decoding import UNREADABLE
from loyalty.faults import nearest

FORMAT = 1
OFFSET_MAX_MIN = 15 * 60  # no place on earth is further from UTC
_AFTER = re.compile(r"after (?P<days>[1-9]\d{0,2}) days?")
SYNC_INTERVAL_S = range(5, 24 * 3600 + 1)
KEY_BYTES = 32
URL_MAX_CHARS = 200
QR_MAX_CHARS = 200
_KEY = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}}")


class SettingsError(ValueError):
    """The settings cannot be used; the message says which key and why."""


class StoreInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shop as the slip and the rulebook name it."""

    id: str
    name: str
    region: str | None = None


class Hub(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The till of the store that hands points to the others, and where it listens on the shop's network.

    `url` None: it is the hub for the centre's grants, and the others do not ask it.
    """

    till: str
    url: str | None = None


class Slip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lines above and below every slip, and the text of its QR code, in which {ident} is its last line."""

    header: tuple[str, ...] = ()
    footer: tuple[str, ...] = ()
    qr: str | None = None


class Fiscal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a priced receipt becomes lines of a fiscal one (loyalty/fiscal.py, docs/fiscal.md).

    `bonuses`: points lower the lines, or are a counter-provision. `weighed`: a line of weighed goods goes by
    its sum, or by price times quantity, the rest on lines of pieces. `zero_lines`: a line of 0 stays, or gets
    one kopeck a piece from other lines. `full_payment`: of a receipt that points pay whole, lines of 0, or
    full prices and a counter-provision.
    """

    bonuses: Literal["discount", "counter_provision"] = "discount"
    weighed: Literal["sum", "shift"] = "sum"
    zero_lines: Literal["keep", "shift"] = "keep"
    full_payment: Literal["zero_lines", "counter_provision"] = "zero_lines"


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """More than `soft` of it is told to the office; more than `hard` is refused. None: no such limit."""

    soft: int | None = None
    hard: int | None = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Against abuse at the till (agent/limits.py): how often in one day of the shop.

    `card_per_shift`: sales of one card by one operator; `receipts_per_day`: sales of one card at this till;
    `manual_per_shift`: cards keyed in by one operator, found or not.
    """

    card_per_shift: Limit = Limit()
    receipts_per_day: Limit = Limit()
    manual_per_shift: Limit = Limit()


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
    earn_spendable: str = "now"  # now | next_sync | after N days
    courtesy_points: int = 0  # K: what a till may lend beyond its parcels (hundredths)
    sync_interval_s: int = 60
    slip: Slip = Slip()
    fiscal: Fiscal = Fiscal()
    limits: Limits = Limits()
    hub: Hub | None = None
    tills: dict[str, str] = {}  # the open tills of the store -> their public keys (Ed25519, hex)


def till_key(settings: Settings, till: str) -> bytes | None:
    """The public key of an open till of the store."""
    key = settings.tills.get(till)
    return None if key is None else bytes.fromhex(key)


def parse(raw: bytes) -> Settings:
    """The settings in `raw`. Raises SettingsError naming the key and, for a misspelt one, the nearest."""
    try:
        settings = msgspec.json.decode(raw, type=Settings)
    except UNREADABLE as error:
        raise SettingsError(_explain(str(error))) from error
    if settings.format != FORMAT:
        raise SettingsError(f"settings format {settings.format}; this program knows {FORMAT}")
    if not settings.offsets or list(settings.offsets) != sorted(settings.offsets):
        raise SettingsError("offsets must be a list, ascending, of at least one [utc_from_s, offset_min]")
    if any(abs(minutes) > OFFSET_MAX_MIN for _, minutes in settings.offsets):
        raise SettingsError(f"offsets: an offset_min lies within -{OFFSET_MAX_MIN} … {OFFSET_MAX_MIN}")
    if settings.sync_interval_s not in SYNC_INTERVAL_S:
        raise SettingsError(
            f"sync_interval_s is {settings.sync_interval_s};"
            f" use {SYNC_INTERVAL_S.start} to {SYNC_INTERVAL_S.stop - 1}"
        )
    if settings.courtesy_points < 0:
        raise SettingsError(f"courtesy_points is {settings.courtesy_points}; use 0 or more (hundredths)")
    if settings.earn_spendable not in ("now", "next_sync") and not _AFTER.fullmatch(settings.earn_spendable):
        raise SettingsError(
            f"earn_spendable is {settings.earn_spendable!r}; use now, next_sync or after 3 days"
        )
    _check_limits(settings.limits)
    if settings.slip.qr is not None and len(settings.slip.qr) > QR_MAX_CHARS:
        raise SettingsError(f"slip.qr has more than {QR_MAX_CHARS} characters; no till could print it")
    _check_tills(settings)
    return settings


def _check_limits(limits: Limits) -> None:
    for name in limits.__struct_fields__:
        limit: Limit = getattr(limits, name)
        if any(most is not None and most < 1 for most in (limit.soft, limit.hard)):
            raise SettingsError(f"limits.{name}: a limit is 1 or more; leave it out where there is none")
        if limit.soft is not None and limit.hard is not None and limit.soft > limit.hard:
            raise SettingsError(
                f"limits.{name}: soft is {limit.soft} and hard {limit.hard}; soft comes first"
            )


def _check_tills(settings: Settings) -> None:
    for till, key in settings.tills.items():
        if not _KEY.fullmatch(key):
            raise SettingsError(f"tills.{till} is no public key; write its {2 * KEY_BYTES} hex digits")
    hub = settings.hub
    if hub is None:
        return
    if hub.till not in settings.tills:
        raise SettingsError(f"hub.till is {hub.till!r}; it must be one of `tills`")
    if hub.url is not None and not is_hub_url(hub.url):
        raise SettingsError(f"hub.url is {hub.url!r}; write it as http://192.168.1.10:7720")


def is_hub_url(url: str) -> bool:
    """Can this be a hub's address? Scheme, host and port, and no more; every message there is signed."""
    if len(url) > URL_MAX_CHARS or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname and parts.port and parts.username is None)
    except ValueError:
        return False
    return whole and parts.scheme == "http" and url == f"http://{parts.netloc}"


def earn_waits_days(settings: Settings) -> int | None:
    """How many days points wait before they may be spent; None = until the centre has heard of them."""
    if settings.earn_spendable == "next_sync":
        return None
    found = _AFTER.fullmatch(settings.earn_spendable)
    return int(found["days"]) if found else 0


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


_UNKNOWN = re.compile(r"unknown field `(?P<key>[^`]*)`(?: - at `\$\.(?P<table>[^`]*)`)?")
_TABLES: dict[str | None, type[msgspec.Struct]] = {
    None: Settings,
    "store": StoreInfo,
    "slip": Slip,
    "hub": Hub,
    "fiscal": Fiscal,
    "limits": Limits,
    "limits.card_per_shift": Limit,
    "limits.receipts_per_day": Limit,
    "limits.manual_per_shift": Limit,
}


def _explain(message: str) -> str:
    """msgspec's sentence, with the nearest known key where one was misspelt."""
    unknown = _UNKNOWN.search(message)
    table = _TABLES.get(unknown["table"]) if unknown else None
    if unknown is None or table is None:
        return message
    near = nearest(unknown["key"], table.__struct_fields__)
    return f"{message}; did you mean `{near}`?" if near else message
