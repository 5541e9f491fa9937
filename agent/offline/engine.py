"""The door to the rules engine: what is in force at this till, and the price of a receipt by it.

`InForce` is one value: settings, rules and goods that were checked and compiled
together, off the till's thread. The till swaps one reference, and every open sale
keeps the value with which it was opened (ledger-sync.md §6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from agent.offline.snapshot_db import Versions
from loyalty import catalog as catalogs
from loyalty import index, once, repricing, selftest, strictjson
from loyalty import quote as engine
from loyalty import receipt as receipts
from loyalty import rulebook as rulebooks
from loyalty import settings as settings_files
from loyalty.card import NumberTemplate, parse_templates
from loyalty.heap import paused_collector
from loyalty.manifest import CATALOG, MAIN_FILE, RULEBOOK
from loyalty.repricing import NO_GOODS, NO_RULES
from loyalty.settings import Settings, StoreInfo, shop_time


class Priced(NamedTuple):
    """A quote in JSON form; `counted` = the rules with a counter that did something in it."""

    quote: dict[str, Any]
    counted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InForce:
    """Settings, rules and goods of one moment. `rulebook_seq` 0 = selling without rules."""

    settings: Settings
    templates: tuple[NumberTemplate, ...]
    rulebook_seq: int
    titles: Mapping[str, str]
    versions: Mapping[str, int]  # channel -> version
    catalog: catalogs.PublishedCatalog
    compiled: index.Compiled
    once: Mapping[str, once.When]  # rules whose points a customer gets once (loyalty/once.py)
    counted: frozenset[str]  # rules of which some condition asks how often they did something

    def price(self, receipt: Mapping[str, Any]) -> Priced:
        """An open sale, without draws. Raises loyalty.faults.Refused."""
        pricing = engine.priced(self.compiled, receipts.parse(receipt), upto_earn=True)
        counted = tuple(sorted(self.counted & engine.worked_in(pricing))) if self.counted else ()
        return Priced(engine.summed_up(pricing).to_builtins(), counted)

    @property
    def catalog_version(self) -> int:
        """The version of the goods; 0 = selling without a catalog."""
        return self.versions.get(self.settings.channels.get(CATALOG, ""), 0)

    def local(self, utc_s: int) -> datetime:
        """The shop's wall clock at `utc_s`."""
        return shop_time(self.settings, utc_s)


@dataclass(frozen=True, slots=True)
class PastRules:
    """Rules and goods by which a receipt was priced: channels of this store, and what a document names."""

    rulebook_channel: str | None
    rulebook_seq: int
    catalog_channel: str | None
    catalog_version: int


def past(versions: Versions, asked: PastRules) -> index.Compiled | None:
    """Compile the stored rules and goods of former days; None where they do not lie here (any more).

    Raises Refused for what this version of the agent does not take.
    """
    rules = goods = None
    if asked.rulebook_seq:
        stored = versions.rulebook(asked.rulebook_channel or "", asked.rulebook_seq)
        rules = stored.files[MAIN_FILE[RULEBOOK]] if stored else None
        if rules is None:
            return None
    if asked.catalog_version:
        stored = versions.stored(asked.catalog_channel or "", asked.catalog_version)
        goods = stored.files[MAIN_FILE[CATALOG]] if stored else None
        if goods is None:
            return None
    return repricing.programme(rules, goods)


def build(
    settings: bytes, rulebook: bytes | None, catalog: bytes | None, *, versions: Mapping[str, int]
) -> InForce:
    """Check and compile the files of the channels. Raises SettingsError or Refused with every fault."""
    programme = settings_files.parse(settings)
    with paused_collector():
        rules = rulebooks.parse(strictjson.loads(rulebook) if rulebook is not None else dict(NO_RULES))
        goods = catalogs.parse_published(strictjson.loads(catalog) if catalog is not None else dict(NO_GOODS))
        compiled = index.compile_rulebook(rules, goods.engine)
    return InForce(
        settings=programme,
        templates=parse_templates(list(programme.number_templates)),
        rulebook_seq=rules.seq if rulebook is not None else 0,
        titles={rule.id: rule.title or rule.id for rule in rules.rules},
        versions=versions,
        catalog=goods,
        compiled=compiled,
        once=once.once_rules(rules.rules),
        counted=once.counted_rules(rules.rules),
    )


def self_test(in_force: InForce) -> selftest.SelfTest:
    """Run the tests inside the rulebook with the goods that lie here. Raises Refused where one fails."""
    return selftest.check(in_force.compiled)


def without_settings(store: str, at: str) -> InForce:
    """What a sale that was promised is finished with where the settings are lost: its own clock, no rules.

    `at` is the receipt's: local time with its offset.
    """
    offset = datetime.fromisoformat(at).utcoffset() or timedelta()
    settings = Settings(
        format=settings_files.FORMAT,
        store=StoreInfo(store, store),
        offsets=((0, offset // timedelta(minutes=1)),),
        channels={},
    )
    return build(settings_files.encode(settings), None, None, versions={})


def wall_clock(moment: datetime) -> str:
    """Shop wall-clock as lots carry it: YYYY-MM-DDTHH:MM:SS, no offset."""
    return moment.replace(tzinfo=None).isoformat(timespec="seconds")
