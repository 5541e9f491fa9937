"""The walker: reads a document from outside against a table of keys, and misses no fault.

The idea
--------
What may stand in a document is written as tables: a key, the kind of its
value, whether it must be there (`loyalty/rulebook.py`, `conditions.py`,
`effects.py`, `catalog.py`, `receipt.py`). A `Kind` is two things said once:

    read(walk, raw, path) -> value     how the value is read
    schema(of) -> JSON Schema          what may stand there (`loyalty/schema.py`)

`read` returns the typed value, or notes faults in the walk and returns
anything. What is returned after a fault is never used, because `Walk.finish`
raises `Refused` with everything that was noted. So a kind never stops early
and never raises: that is how all faults are found at once.

A path is a string for the whole document and a pair (path, key or index) for
what lies inside; it becomes text only when a fault is noted, for a good
rulebook of ten thousand rules has a hundred thousand places and no fault.

Two habits differ between documents. In a receipt, a catalogue and returns
`null` means "absent"; in a rulebook it is a fault (rulebook.md §2). And what a
receipt says of a customer must not come back in an error text, so a private
walk describes a wrong value but does not repeat it.

Known ugliness: the values travel as `Any` between a table and the class it
fills; the tables are right beside the classes, and the tests fill every key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from loyalty.faults import MAX_FAULTS, Fault, Refused, at_item, at_key, did_you_mean, shown
from loyalty.strictjson import MAX_DEPTH, RepeatedKeys, repeated_keys
from loyalty.texts import N_, Text

MAX_WHOLE = 2**63 - 1
"""Greatest whole number in any document: what a 64-bit ledger can hold."""

MAX_ITEMS = 100_000
"""Most items in a list, unless a table says otherwise."""

MAX_WORD = 80
"""Longest word of people's own (a brand), in characters."""

MAX_TITLE = 1_000
"""Longest free text (a title), in characters."""

ID = r"[A-Za-z0-9_.:-]{1,64}"
SKU_ID = r"[A-Za-z0-9_.:#-]{1,80}"

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

Path = str | tuple[Any, str | int]
"""Where a value stands: the name of the document, or (path of what holds it, key or index)."""

Schema = dict[str, Any]
"""A JSON Schema, or a part of one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value: how it is read, and its JSON Schema (`of` gives that of an inner kind).

    A kind with a `name` stands once in the schema and is referred to by name, so it may hold itself.
    """

    read: Callable[[Walk, object, Path], Any]
    schema: Callable[[Callable[[Kind], Schema]], Schema]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """One line of a table: the kind of a key's value, and what holds where the key is absent.

    `attr` is the name in the Python class where it differs from the key.
    """

    kind: Kind
    required: bool = False
    default: Any = None
    attr: str | None = None


class Keys(Mapping[str, Key]):
    """A table of keys; what reading needs of it is put together once."""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        self._keys = dict(keys)
        self.readers = {name: (key.attr or name, key.kind.read) for name, key in keys.items()}
        self.defaults = {key.attr or name: key.default for name, key in keys.items()}
        self.required = tuple(name for name, key in keys.items() if key.required)
        self.required_names = frozenset(self.required)

    def __getitem__(self, name: str) -> Key:
        return self._keys[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def but(self, *names: str) -> Keys:
        """The same table without these keys."""
        return Keys({name: key for name, key in self._keys.items() if name not in names})

    def schema(self, of: Callable[[Kind], Schema]) -> Schema:
        """The object this table describes."""
        schema: Schema = {
            "type": "object",
            "properties": {name: of(key.kind) for name, key in self._keys.items()},
            "additionalProperties": False,
        }
        if self.required:
            schema["required"] = list(self.required)
        return schema


class Walk:
    """One reading of one document: the habits of its kind, and the faults found so far."""

    __slots__ = ("_depth", "fault_count", "faults", "nulls_are_absent", "private")

    def __init__(self, *, nulls_are_absent: bool = False, private: bool = False) -> None:
        self.nulls_are_absent = nulls_are_absent
        self.private = private
        self.faults: list[Fault] = []
        self.fault_count = 0
        self._depth = 0

    def fault(self, path: Path, text: Text) -> None:
        """Note a fault; past `MAX_FAULTS` the document is hopeless and the rest is only counted."""
        self.fault_count += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(written(path), text))

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

    def wrong(self, raw: object, path: Path, wanted: Text) -> None:
        """Note that `raw` is not what stands here."""
        self.fault(path, N_("must be {wanted}, not {value}", wanted=wanted, value=self.shown(raw)))

    # -- objects and lists ------------------------------------------------------------------------

    def object_at(self, raw: object, path: Path) -> dict[str, object]:
        """`raw` as an object: absent keys left out, repeated keys noted; `{}` after a fault."""
        if not isinstance(raw, dict):
            self.wrong(raw, path, N_("an object"))
            return {}
        if isinstance(raw, RepeatedKeys):
            for fault in repeated_keys(raw, written(path)):
                self.fault(fault.path, fault.text)
        if self.nulls_are_absent and None in raw.values():
            return {key: value for key, value in raw.items() if value is not None}
        return raw

    def fields(
        self,
        raw: object,
        path: Path,
        keys: Keys,
        elsewhere: Mapping[str, Text] = MappingProxyType({}),
        tag: str = "",
    ) -> dict[str, Any]:
        """The values of an object by Python name, defaults filled in; unknown keys are faults.

        `elsewhere` names keys that are known but have no meaning here, each with why; `tag` is a key
        that somebody else has read.
        """
        if self._depth >= MAX_DEPTH:
            self.fault(path, N_("nested deeper than {depth} levels; make it flatter", depth=MAX_DEPTH))
            return {}
        self._depth += 1
        document = raw if type(raw) is dict and not self.nulls_are_absent else self.object_at(raw, path)
        values: dict[str, Any] = keys.defaults.copy()
        readers = keys.readers
        for name, value in document.items():
            reader = readers.get(name)
            if reader is not None:
                values[reader[0]] = reader[1](self, value, (path, name))
            elif name == tag:
                pass
            elif name in elsewhere:
                self.fault((path, name), elsewhere[name])
            else:
                self.fault((path, name), N_("unknown key; {hint}", hint=did_you_mean(name, list(keys))))
        if not keys.required_names <= document.keys() and isinstance(raw, dict):
            for name in keys.required:
                if name not in document:
                    self.fault((path, name), N_("is missing; it is required here"))
        self._depth -= 1
        return values

    def unique(self, names: Sequence[tuple[Hashable, Path]]) -> None:
        """Note every (name, path) whose name stood before."""
        first: dict[Hashable, Path] = {}
        for name, path in names:
            place = first.setdefault(name, path)
            if place is not path:
                self.fault(path, N_("stands already at {place}; give it another", place=written(place)))

    def unique_in(self, raw: object, path: Path, list_key: str) -> None:
        """Note every item of `raw[list_key]` whose id stood before."""
        items = raw.get(list_key) if isinstance(raw, dict) else None
        if isinstance(items, list):
            ids = [i for item in items if isinstance(item, dict) and isinstance(i := item.get("id"), str)]
            if len(set(ids)) < len(ids):
                self.unique(names_at(raw, path, list_key))

    def one_of(self, raw: object, path: Path, known: Collection[str], what: Text) -> str | None:
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


def written(path: Path) -> str:
    """The path as people read it: `rules[3].effect.bp`."""
    steps: list[str | int] = []
    while not isinstance(path, str):
        path, step = path
        steps.append(step)
    for step in reversed(steps):
        path = at_key(path, step) if isinstance(step, str) else at_item(path, step)
    return path


# -- kinds: the simple values ---------------------------------------------------------------------


def whole(at_least: int | None = 0, at_most: int = MAX_WHOLE) -> Kind:
    """A whole number in a range (inclusive); `at_least` None: any sign."""
    least = -MAX_WHOLE if at_least is None else at_least

    def read(walk: Walk, raw: object, path: Path) -> int | None:
        if type(raw) is not int:
            walk.wrong(raw, path, N_("a whole number"))
        elif raw < least:
            walk.fault(path, N_("must be at least {least}", least=least))
        elif raw > at_most:
            walk.fault(path, N_("must be at most {most}", most=at_most))
        else:
            return raw
        return None

    return Kind(read, lambda _: {"type": "integer", "minimum": least, "maximum": at_most})


def _flag(walk: Walk, raw: object, path: Path) -> bool:
    if not isinstance(raw, bool):
        walk.wrong(raw, path, N_("true or false"))
    return raw is True


flag = Kind(_flag, lambda _: {"type": "boolean"})
"""true or false."""


def text_like(pattern: str, wanted: Text) -> Kind:
    """A text that matches `pattern` as a whole; `wanted` says in words what that is."""
    matches = re.compile(rf"(?:{pattern})\Z").match

    def read(walk: Walk, raw: object, path: Path) -> str:
        if not isinstance(raw, str):
            walk.wrong(raw, path, N_("a text"))
        elif not matches(raw):
            walk.wrong(raw, path, wanted)
        else:
            return raw
        return ""

    return Kind(read, lambda _: {"type": "string", "pattern": f"^(?:{pattern})$"})


ident = text_like(ID, N_("an id: 1 to 64 of the characters A-Z a-z 0-9 _ . : -"))
sku_id = text_like(SKU_ID, N_("a sku: 1 to 80 of the characters A-Z a-z 0-9 _ . : - #"))
counter_name = text_like(
    "[A-Za-z0-9_.:-]{1,80}", N_("a counter: 1 to 80 of the characters A-Z a-z 0-9 _ . : -")
)
"""A counter of the programme, or `rule:ID:day`, `rule:ID:month`, `rule:ID:ever`."""
currency = text_like("[A-Z]{3}", N_("a currency code of three capital letters"))
sha256_hex = text_like("[0-9a-f]{64}", N_("64 hexadecimal digits in small letters"))


def _printable(longest: int) -> Kind:
    allowed = re.compile(rf"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{longest}}}\Z").match

    def read(walk: Walk, raw: object, path: Path) -> str:
        if not isinstance(raw, str):
            walk.wrong(raw, path, N_("a text"))
        elif not allowed(raw):
            walk.fault(path, N_("must be 1 to {longest} printable characters", longest=longest))
        else:
            return raw
        return ""

    return Kind(read, lambda _: {"type": "string", "minLength": 1, "maxLength": longest})


word = _printable(MAX_WORD)
title = _printable(MAX_TITLE)


def choice(what: Text, *known: str) -> Kind:
    """One of the `known` names."""
    names = frozenset(known)

    def read(walk: Walk, raw: object, path: Path) -> str:
        if isinstance(raw, str) and raw in names:
            return raw
        return walk.one_of(raw, path, known, what) or ""

    return Kind(read, lambda _: {"enum": list(known)})


def moment(pattern: str, wanted: Text, last_year: int = 9999) -> Kind:
    """A date and time written as `pattern` says; a `Z` or an offset makes it absolute."""
    matches = re.compile(rf"(?:{pattern})\Z", re.ASCII).match

    def read(walk: Walk, raw: object, path: Path) -> datetime | None:
        if isinstance(raw, str) and matches(raw):
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

    return Kind(read, lambda _: {"type": "string", "pattern": f"^(?:{pattern})$".replace(r"\d", "[0-9]")})


def constant(known: int, what: Text) -> Kind:
    """The one number of a format that this version knows."""

    def read(walk: Walk, raw: object, path: Path) -> object:
        if type(raw) is not int or raw != known:
            walk.fault(path, N_("this version knows {what} {known} only; update it", what=what, known=known))
        return raw

    return Kind(read, lambda _: {"const": known})


# -- kinds: lists, objects ------------------------------------------------------------------------


def list_of(kind: Kind, *, at_least: int = 0, at_most: int = MAX_ITEMS) -> Kind:
    """A list of one kind, as a tuple."""
    read_item = kind.read

    def read(walk: Walk, raw: object, path: Path) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            walk.wrong(raw, path, N_("a list"))
        elif len(raw) < at_least:
            walk.fault(path, N_("the list is empty; name something or remove the key"))
        elif len(raw) > at_most:
            walk.fault(path, N_("the list has {count} items; at most {most}", count=len(raw), most=at_most))
        else:
            return tuple([read_item(walk, item, (path, i)) for i, item in enumerate(raw)])
        return ()

    def schema(of: Callable[[Kind], Schema]) -> Schema:
        bounds = {"minItems": at_least} if at_least else {}
        return {"type": "array", "items": of(kind), **bounds, "maxItems": at_most}

    return Kind(read, schema)


def pair_of(first: Kind, second: Kind, wanted: Text) -> Kind:
    """A list of exactly two values, as a pair."""

    def read(walk: Walk, raw: object, path: Path) -> tuple[Any, Any]:
        if not isinstance(raw, list) or len(raw) != 2:
            walk.wrong(raw, path, wanted)
            return None, None
        return first.read(walk, raw[0], (path, 0)), second.read(walk, raw[1], (path, 1))

    return Kind(
        read,
        lambda of: {"type": "array", "prefixItems": [of(first), of(second)], "minItems": 2, "maxItems": 2},
    )


def map_of(key_kind: Kind, value_kind: Kind, *, at_most: int = MAX_ITEMS) -> Kind:
    """An object whose keys are names of people's own, as a read-only mapping."""
    read_key, read_value = key_kind.read, value_kind.read

    def read(walk: Walk, raw: object, path: Path) -> Mapping[str, Any]:
        document = walk.object_at(raw, path)
        if len(document) > at_most:
            walk.fault(path, N_("has {count} entries; at most {most}", count=len(document), most=at_most))
            return {}
        values = {}
        for key, value in document.items():
            place = (path, key)
            read_key(walk, key, place)
            values[key] = read_value(walk, value, place)
        return MappingProxyType(values)

    return Kind(
        read,
        lambda of: {
            "type": "object",
            "propertyNames": of(key_kind),
            "additionalProperties": of(value_kind),
            "maxProperties": at_most,
        },
    )


def record(make: Callable[..., object], keys: Keys, name: str = "") -> Kind:
    """An object with the keys of a table, as a `make(**values)`; None after a fault inside it."""

    def read(walk: Walk, raw: object, path: Path) -> object:
        before = walk.fault_count
        values = walk.fields(raw, path, keys)
        return make(**values) if walk.fault_count == before else None

    return Kind(read, keys.schema, name)


def absent_nulls(kind: Kind) -> Kind:
    """The same kind, but read with the habit that `null` means absent, whatever document holds it."""

    def read(walk: Walk, raw: object, path: Path) -> Any:
        habit, walk.nulls_are_absent = walk.nulls_are_absent, True
        value = kind.read(walk, raw, path)
        walk.nulls_are_absent = habit
        return value

    return Kind(read, lambda of: _nullable(kind.schema(of)), kind.name)


def _nullable(schema: Any) -> Any:
    """A schema in which `null` may stand for every value that need not be there, at any depth."""
    if isinstance(schema, list):
        return [_nullable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _nullable(value) for key, value in schema.items() if key != "properties"}
    if "properties" in schema:
        required = schema.get("required", ())
        inner["properties"] = {
            name: _nullable(value) if name in required else _or_null(_nullable(value))
            for name, value in schema["properties"].items()
        }
    if isinstance(schema.get("additionalProperties"), dict):
        inner["additionalProperties"] = _or_null(inner["additionalProperties"])
    return inner


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def names_at(raw: object, path: Path, list_key: str) -> list[tuple[str, Path]]:
    """(id, path of the id) for every item of `raw[list_key]` that has one, faulty or not.

    Checks across items (repeats, cycles) look at the raw document, so that one
    fault in an item does not hide another.
    """
    items = raw.get(list_key) if isinstance(raw, dict) else None
    if not isinstance(items, list):
        return []
    found: list[tuple[str, Path]] = []
    for i, item in enumerate(items):
        name = item.get("id") if isinstance(item, dict) else None
        if isinstance(name, str):
            found.append((name, (((path, list_key), i), "id")))
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
