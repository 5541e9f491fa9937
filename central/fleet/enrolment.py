"""Stores and tills come into being; a one-time code turns a machine into a till (ledger-sync.md §5.1).

The same code with the same key is answered again, for the first answer may have been lost on the way.
With another key it is refused: somebody else holds the code.
"""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.db import transaction

from central import clock
from central.errors import Trouble
from central.fleet import lives, sessions
from central.fleet.models import ID_PATTERN, Centre, EnrolmentCode, Store, Till, TillCursor
from central.home import Home, public_bytes
from central.ledger.models import FREE
from central.rules import publishing, store_settings
from loyalty import wire
from loyalty.faults import did_you_mean
from loyalty.settings import is_hub_url
from loyalty.texts import N_

NAME_MAX_CHARS = 200
VERSION_MAX_CHARS = 64
TILLS_MAX = 100_000


class FleetError(Trouble):
    """Nothing has changed; `text` says why and what to do."""


class CodeError(Exception):
    """This code does not make this machine a till; `code` is the word for the program (wire.Refusal)."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@transaction.atomic
def add_store(store_id: str, name: str, timezone: str, region: str | None) -> Store:
    """A new store with its settings channel published. Raises FleetError."""
    _check_id(store_id)
    _check_zone(timezone)
    if not name.strip() or len(name) > NAME_MAX_CHARS:
        raise FleetError(N_("The name of a store has 1 to {max} characters.", max=NAME_MAX_CHARS))
    if Store.objects.filter(id=store_id).exists():
        raise FleetError(N_("Store {store} is there already; choose another id.", store=store_id))
    store = Store.objects.create(
        id=store_id, name=name, timezone=timezone, region=region, created_ms=clock.now_ms()
    )
    store_settings.publish_store(store)
    return store


@transaction.atomic
def change_store(store_id: str, changes: dict[str, object]) -> publishing.Published:
    """Change fields of a store and publish its settings. Raises FleetError.

    A new hub moves no points by itself: they stay where they were placed until the till there hears
    that it is not the account's home any more, and gives them back.
    """
    store = the_store(store_id)
    if changes.get("hub", store.hub) != store.hub:
        changes = {"hub_url": None, **changes}  # the address was the other till's
    for name, value in changes.items():
        if name == "timezone":
            _check_zone(str(value))
        elif name == "hub":
            _check_hub(store, str(value))
        elif name == "hub_url" and value is not None:
            _check_hub_url(str(value))
        setattr(store, name, value)
    if store.hub_url is not None and store.hub is None:
        raise FleetError(N_("Store {store} has no till yet: an address needs a hub.", store=store.id))
    store.save()
    return store_settings.publish_store(store)


def the_store(store_id: str) -> Store:
    """The store of this id. Raises FleetError naming the nearest."""
    store = Store.objects.filter(id=store_id).first()
    if store is None:
        known = list(Store.objects.order_by("id").values_list("id", flat=True)[:1000])
        raise FleetError(
            N_("There is no store {store}: {hint}.", store=store_id, hint=did_you_mean(store_id, known))
        )
    return store


@transaction.atomic
def new_code(store_id: str, till_id: str | None) -> tuple[Till, str]:
    """A one-time code for a till of the store; the till is made where it is new. Raises FleetError."""
    store = the_store(store_id)
    till_id = till_id or _free_till_id()
    _check_id(till_id)
    if till_id == FREE:
        raise FleetError(
            N_("No till can be called {till}: it means points that no till holds.", till=till_id)
        )
    till, _ = Till.objects.get_or_create(id=till_id, defaults={"store": store, "created_ms": clock.now_ms()})
    if till.store_id != store.id:
        raise FleetError(N_("Till {till} belongs to store {store}.", till=till.id, store=till.store_id))
    if till.epoch and till.closed_ms is None:
        raise FleetError(
            N_(
                "Till {till} is enrolled already. Add a new till without --id; "
                "for a new disk of the old one run `kopilka-central till close {till}` first.",
                till=till.id,
            )
        )
    code = sessions.new_code()
    till.codes.all().delete()  # an older code of the same till is void from now on
    EnrolmentCode.objects.create(
        code_hash=sessions.code_hash(_home().session_key, code),
        till=till,
        expires_ms=clock.now_ms() + sessions.CODE_LIFE_S * 1000,
    )
    return till, code


@transaction.atomic
def enrol(request: wire.EnrollRequest) -> wire.EnrollReply:
    """Make the machine that shows the code a till. Raises CodeError."""
    home = _home()
    code = (
        EnrolmentCode.objects.select_for_update()
        .select_related("till__store")
        .filter(code_hash=sessions.code_hash(home.session_key, request.code))
        .first()
    )
    if code is None:
        raise CodeError(
            "CODE_UNKNOWN", "no such code; ask the office for a new one (kopilka-central till add)"
        )
    till = code.till
    if code.used_key is None:
        if code.expires_ms <= clock.now_ms():
            raise CodeError("CODE_EXPIRED", "this code is too old; ask the office for a new one")
        _accept(till, request)
        code.used_key, code.used_epoch = request.public_key, till.epoch
        code.save()
    elif bytes(code.used_key) != request.public_key or code.used_epoch != till.epoch:
        raise CodeError("CODE_USED", "this code was used by another machine; ask the office for a new one")
    timeline, down = lives.downlinks(till)
    return wire.EnrollReply(
        till=till.id,
        epoch=till.epoch,
        store=till.store_id,
        session=sessions.session(
            home.session_key, till.id, till.epoch, timeline, TillCursor.objects.get(till=till).session_no
        ),
        timeline=timeline,
        chain_key=home.chain_key,
        reply_key=public_bytes(home.reply_key),
        channel_keys=publishing.channel_keys(home),
        keyset_version=publishing.KEYSET_VERSION,
        server_ms=clock.now_ms(),
        down=down,
    )


def _accept(till: Till, request: wire.EnrollRequest) -> None:
    till.public_key = request.public_key
    till.agent_version = "".join(c for c in request.agent_version[:VERSION_MAX_CHARS] if c.isprintable())
    till.enrolled_ms = clock.now_ms()
    lives.begin(till, Centre.objects.get().epochs_left_out)
    # The first till of a store is its hub until an operator names another; it is never chosen anew
    # by itself, for the points that were placed there stay there.
    Store.objects.filter(id=till.store_id, hub=None).update(hub=till.id)
    store_settings.publish_store(Store.objects.get(id=till.store_id))  # the others learn its key


def _home() -> Home:
    home: Home = settings.HOME
    return home


def _check_id(name: str) -> None:
    if not re.fullmatch(ID_PATTERN, name):
        raise FleetError(
            N_("{name} cannot be an id: use 1 to 32 Latin letters, digits, _ and -.", name=ascii(name[:64]))
        )


def _check_hub(store: Store, till_id: str) -> None:
    known = list(store.tills.filter(closed_ms=None, epoch__gt=0).order_by("id").values_list("id", flat=True))
    if till_id not in known:
        raise FleetError(
            N_(
                "{till} is no open till of store {store}, so it cannot be its hub: {hint}.",
                till=ascii(till_id[:64]),
                store=store.id,
                hint=did_you_mean(till_id, known),
            )
        )


def _check_hub_url(url: str) -> None:
    if not is_hub_url(url):
        raise FleetError(
            N_(
                "{url} cannot be the address of a hub. Write it as http://192.168.1.10:7720.",
                url=ascii(url[:200]),
            )
        )


def _check_zone(name: str) -> None:
    zones = available_timezones()
    if name not in zones:
        raise FleetError(
            N_("There is no time zone {zone}: {hint}.", zone=name, hint=did_you_mean(name, sorted(zones)))
        )
    ZoneInfo(name)


def _free_till_id() -> str:
    taken = set(Till.objects.values_list("id", flat=True))
    for number in range(1, TILLS_MAX):
        if f"T{number}" not in taken:
            return f"T{number}"
    raise FleetError(N_("There are {max} tills already; name the new one with --id.", max=TILLS_MAX))
