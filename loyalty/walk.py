"""The walker: reads a document from outside against a table of keys, and misses no fault.

The idea
--------
What may stand in a document is written as tables: a key, the kind of its
value, whether it must be there (`loyalty/vocabulary.py`, `rulebook.py`,
`catalog.py`, `receipt.py`). A *kind* is a function

    kind(walk, raw, path) -> value

that returns the typed value, or notes faults in the walk and returns anything.
What is returned after a fault is never used, because `Walk.finish` raises
`Refused` with everything that was noted. So a kind never stops early and never
raises: that is how all faults are found at once.

Two habits differ between documents. In a receipt, a catalogue and returns
`null` means "absent"; in a rulebook it is a fault (rulebook.md §2). And what a
receipt says of a customer must not come back in an error text, so a private
walk describes a wrong value but does not repeat it.

Known ugliness: the values travel as `Any` between a table and the class it
fills; the tables are right beside the classes, and the tests fill every key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from loyalty.faults import MAX_FAULTS, Fault, Refused, at_item, at_key, did_you_mean, shown
from loyalty.strictjson import MAX_DEPTH, repeated_keys
from loyalty.texts import N_, Text

MAX_WHOLE = 2**63 - 1
"""Greatest whole number in any document: what a 64-bit ledger can hold."""

MAX_ITEMS = 100_000
"""Most items in a list, unless a table says otherwise."""

MAX_WORD = 80
"""Longest word of people's own (a brand), in characters."""

MAX_TITLE = 1_000
"""Longest free text (a title), in characters."""

ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
SKU_ID = re.compile(r"[A-Za-z0-9_.:#-]{1,80}\Z")

TYPE_NAMES: Mapping[type, Text] = MappingProxyType(
    {
        type(None): N_("null"),
        bool: N_("true or false"),
        int: N_("a whole number"),
        float: N_("a number with a decimal point or exponent"),
        str: N_("a text"),
        list: N_("a list"),
        dict: N_("an object"),
    }
)

Kind = Callable[["Walk", object, str], Any]


@dataclass(frozen=True, slots=True)
class Key:
    """One line of a table: the kind of a key's value, and what holds where the key is absent.

    `attr` is the name in the Python class where it differs from the key.
    """

    kind: Kind
    required: bool = False
    default: Any = None
    attr: str | None = None


Keys = Mapping[str, Key]


class Walk:
    """One reading of one document: the habits of its kind, and the faults found so far."""

    def __init__(self, *, nulls_are_absent: bool = False, private: bool = False) -> None:
        self.nulls_are_absent = nulls_are_absent
        self.private = private
        self.faults: list[Fault] = []
        self.fault_count = 0
        self._depth = 0

    def fault(self, path: str, text: Text) -> None:
        """Note a fault; past `MAX_FAULTS` the document is hopeless and the rest is only counted."""
        self.fault_count += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(path, text))

    def finish(self) -> None:
        """Raises `Refused` if anything was wrong."""
        if self.faults:
            raise Refused(self.faults)

    def shown(self, raw: object) -> Text:
        """The wrong value as an error text may say it."""
        if isinstance(raw, str) and not self.private:
            return Text("{value}", {"value": shown(raw)})
        if type(raw) is int and not self.private and -MAX_WHOLE <= raw <= MAX_WHOLE:
            return Text("{value}", {"value": raw})
        for python_type, name in TYPE_NAMES.items():
            if isinstance(raw, python_type) and type(raw) is not int:
                return name
        return N_("this number") if type(raw) is int else N_("something else")

    def wrong(self, raw: object, path: str, wanted: Text) -> None:
        """Note that `raw` is not what stands here."""
        self.fault(path, N_("must be {wanted}, not {value}", wanted=wanted, value=self.shown(raw)))

    # -- objects and lists ------------------------------------------------------------------------

    def object_at(self, raw: object, path: str) -> dict[str, object]:
        """`raw` as an object: absent keys left out, repeated keys noted; `{}` after a fault."""
        if not isinstance(raw, dict):
            self.wrong(raw, path, N_("an object"))
            return {}
        for fault in repeated_keys(raw, path):
            self.fault(fault.path, fault.text)
        if self.nulls_are_absent:
            return {key: value for key, value in raw.items() if value is not None}
        return raw

    def fields(
        self, raw: object, path: str, keys: Keys, elsewhere: Mapping[str, Text] = MappingProxyType({})
    ) -> dict[str, Any]:
        """The values of an object by Python name, defaults filled in; unknown keys are faults.

        `elsewhere` names keys that are known but have no meaning here, each with why.
        """
        if self._depth >= MAX_DEPTH:
            self.fault(path, N_("nested deeper than {depth} levels; make it flatter", depth=MAX_DEPTH))
            return {}
        self._depth += 1
        document = self.object_at(raw, path)
        values: dict[str, Any] = {}
        for name, key in keys.items():
            if name in document:
                value = key.kind(self, document[name], at_key(path, name))
            else:
                value = key.default
                if key.required and isinstance(raw, dict):
                    self.fault(at_key(path, name), N_("is missing; it is required here"))
            values[key.attr or name] = value
        for name in document:
            if name in elsewhere:
                self.fault(at_key(path, name), elsewhere[name])
            elif name not in keys:
                self.fault(at_key(path, name), N_("unknown key; {hint}", hint=did_you_mean(name, list(keys))))
        self._depth -= 1
        return values

    def unique(self, names: Sequence[tuple[Hashable, str]]) -> None:
        """Note every (name, path) whose name stood before."""
        first: dict[Hashable, str] = {}
        for name, path in names:
            if name in first:
                self.fault(path, N_("stands already at {place}; give it another", place=first[name]))
            else:
                first[name] = path

    def one_of(self, raw: object, path: str, known: Collection[str], what: Text) -> str | None:
        """`raw` as one of the `known` names, else a fault with the nearest one."""
        if isinstance(raw, str) and raw in known:
            return raw
        if not isinstance(raw, str):
            self.wrong(raw, path, N_("a text"))
        else:
            self.fault(
                path,
                N_(
                    "unknown {what} {name}; {hint}",
                    what=what,
                    name=self.shown(raw),
                    hint=did_you_mean(raw, list(known)),
                ),
            )
        return None


# -- kinds: the simple values ---------------------------------------------------------------------


def whole(at_least: int | None = 0, at_most: int = MAX_WHOLE) -> Kind:
    """A whole number in a range (inclusive); `at_least` None: any sign."""
    least = -MAX_WHOLE if at_least is None else at_least

    def read(walk: Walk, raw: object, path: str) -> int | None:
        if type(raw) is not int:
            walk.wrong(raw, path, N_("a whole number"))
        elif raw < least:
            walk.fault(path, N_("must be at least {least}", least=least))
        elif raw > at_most:
            walk.fault(path, N_("must be at most {most}", most=at_most))
        else:
            return raw
        return None

    return read


def flag(walk: Walk, raw: object, path: str) -> bool:
    """true or false."""
    if not isinstance(raw, bool):
        walk.wrong(raw, path, N_("true or false"))
    return raw is True


def _text_like(pattern: re.Pattern[str], wanted: Text) -> Kind:
    def read(walk: Walk, raw: object, path: str) -> str:
        if not isinstance(raw, str):
            walk.wrong(raw, path, N_("a text"))
        elif not pattern.match(raw):
            walk.wrong(raw, path, wanted)
        else:
            return raw
        return ""

    return read


ident = _text_like(ID, N_("an id: 1 to 64 of the characters A-Z a-z 0-9 _ . : -"))
sku_id = _text_like(SKU_ID, N_("a sku: 1 to 80 of the characters A-Z a-z 0-9 _ . : - #"))
currency = _text_like(re.compile(r"[A-Z]{3}\Z"), N_("a currency code of three capital letters"))
sha256_hex = _text_like(re.compile(r"[0-9a-f]{64}\Z"), N_("64 hexadecimal digits in small letters"))


def _printable(longest: int) -> Kind:
    allowed = re.compile(rf"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{longest}}}\Z")

    def read(walk: Walk, raw: object, path: str) -> str:
        if not isinstance(raw, str):
            walk.wrong(raw, path, N_("a text"))
        elif not allowed.match(raw):
            walk.fault(path, N_("must be 1 to {longest} printable characters", longest=longest))
        else:
            return raw
        return ""

    return read


word = _printable(MAX_WORD)
title = _printable(MAX_TITLE)


def choice(what: Text, *known: str) -> Kind:
    """One of the `known` names."""

    def read(walk: Walk, raw: object, path: str) -> str:
        return walk.one_of(raw, path, known, what) or ""

    return read


def moment(pattern: re.Pattern[str], wanted: Text, last_year: int = 9999) -> Kind:
    """A date and time written as `pattern` says; a `Z` or an offset makes it absolute."""

    def read(walk: Walk, raw: object, path: str) -> datetime | None:
        if isinstance(raw, str) and pattern.match(raw):
            try:
                when = datetime.fromisoformat(raw)
            except ValueError:
                walk.fault(path, N_("there is no such date or time in the calendar"))
                return None
            if when.year <= last_year:
                return when
            walk.fault(path, N_("the year must be at most {year}", year=last_year))
        else:
            walk.wrong(raw, path, wanted)
        return None

    return read


# -- kinds: lists, objects ------------------------------------------------------------------------


def list_of(kind: Kind, *, at_least: int = 0, at_most: int = MAX_ITEMS) -> Kind:
    """A list of one kind, as a tuple."""

    def read(walk: Walk, raw: object, path: str) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            walk.wrong(raw, path, N_("a list"))
        elif len(raw) < at_least:
            walk.fault(path, N_("the list is empty; name something or remove the key"))
        elif len(raw) > at_most:
            walk.fault(path, N_("the list has {count} items; at most {most}", count=len(raw), most=at_most))
        else:
            return tuple(kind(walk, item, at_item(path, i)) for i, item in enumerate(raw))
        return ()

    return read


def map_of(key_kind: Kind, value_kind: Kind, *, at_most: int = MAX_ITEMS) -> Kind:
    """An object whose keys are names of people's own, as a read-only mapping."""

    def read(walk: Walk, raw: object, path: str) -> Mapping[str, Any]:
        document = walk.object_at(raw, path)
        if len(document) > at_most:
            walk.fault(path, N_("has {count} entries; at most {most}", count=len(document), most=at_most))
            return {}
        values = {}
        for key, value in document.items():
            place = at_key(path, key)
            key_kind(walk, key, place)
            values[key] = value_kind(walk, value, place)
        return MappingProxyType(values)

    return read


def record(make: Callable[..., object], keys: Keys) -> Kind:
    """An object with the keys of a table, as a `make(**values)`; None after a fault inside it."""

    def read(walk: Walk, raw: object, path: str) -> object:
        before = walk.fault_count
        values = walk.fields(raw, path, keys)
        return make(**values) if walk.fault_count == before else None

    return read


def names_at(raw: object, path: str, list_key: str, name_key: str = "id") -> list[tuple[str, str]]:
    """(name, path of the name) for every item of `raw[list_key]` that has one, faulty or not.

    Checks across items (repeats, cycles) look at the raw document, so that one
    fault in an item does not hide another.
    """
    items = raw.get(list_key) if isinstance(raw, dict) else None
    if not isinstance(items, list):
        return []
    found = []
    for i, item in enumerate(items):
        name = item.get(name_key) if isinstance(item, dict) else None
        if isinstance(name, str):
            found.append((name, at_key(at_item(at_key(path, list_key), i), name_key)))
    return found


def cycles(parents: Mapping[str, str | None]) -> list[str]:
    """The names that lie on a cycle when each follows its parent, in order of the mapping."""
    state: dict[str, int] = {}  # 1: on the way now, 2: done
    on_cycle: set[str] = set()
    for start in parents:
        way: list[str] = []
        name: str | None = start
        while name is not None and name in parents and name not in state:
            state[name] = 1
            way.append(name)
            name = parents[name]
        if name is not None and state.get(name) == 1:
            on_cycle.update(way[way.index(name) :])
        for seen in way:
            state[seen] = 2
    return [name for name in parents if name in on_cycle]
