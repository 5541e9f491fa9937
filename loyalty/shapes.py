"""Shapes: objects whose `type` says what else they hold. Conditions and effects are written with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from loyalty.texts import N_, Text
from loyalty.walk import Keys, Kind, Path, Schema, Walk


@dataclass(frozen=True, slots=True)
class Shape:
    """One line of a table of types: the class to make, its keys, and the stage an effect belongs to.

    `check` looks across the keys of the raw object and notes what is wrong between them.
    """

    make: Callable[..., object]
    keys: Keys
    stage: str = ""
    check: Check | None = None


_NOTHING_ELSEWHERE: Mapping[str, Text] = MappingProxyType({})

Check = Callable[[Walk, Mapping[str, Any], Path], None]
"""Notes what is wrong between the keys of a raw object. It may meet any JSON in them."""


def typed(shapes: Mapping[str, Shape], what: Text, name: str) -> Kind:
    """The kind of an object whose `type` is one of `shapes`; `what` names it to people."""
    known = {type_name: (shape.make, shape.keys, shape.check) for type_name, shape in shapes.items()}

    def read(walk: Walk, raw: object, path: Path) -> object:
        type_name = raw.get("type") if isinstance(raw, dict) else None
        if not isinstance(raw, dict) or not isinstance(type_name, str) or type_name not in known:
            _without_type(walk, raw, path)
            return None
        make, keys, check = known[type_name]
        before = walk.fault_count
        values = walk.fields(raw, path, keys, _NOTHING_ELSEWHERE, "type")
        if check is not None:
            check(walk, raw, path)
        return make(**values) if walk.fault_count == before else None

    def _without_type(walk: Walk, raw: object, path: Path) -> None:
        if not isinstance(raw, dict):
            walk.object_at(raw, path)
        elif "type" not in raw:
            walk.fault((path, "type"), N_("is missing; it is required here"))
        else:
            walk.one_of(raw["type"], (path, "type"), list(shapes), what)

    def schema(of: Callable[[Kind], Schema]) -> Schema:
        return {"oneOf": [_schema_of(type_name, shape, of) for type_name, shape in shapes.items()]}

    return Kind(read, schema, name)


def _schema_of(type_name: str, shape: Shape, of: Callable[[Kind], Schema]) -> Schema:
    schema = shape.keys.schema(of)
    schema["properties"] = {"type": {"const": type_name}, **schema["properties"]}
    schema["required"] = ["type", *schema.get("required", ())]
    if isinstance(shape.make, type) and shape.make.__doc__:
        schema["description"] = shape.make.__doc__.partition("\n")[0]
    return schema


def exactly_one(*names: str) -> Check:
    """A check that exactly one of these keys is there."""

    def check(walk: Walk, raw: Mapping[str, Any], path: Path) -> None:
        if sum(name in raw for name in names) != 1:
            walk.fault(path, N_("give exactly one of {names}", names=", ".join(names)))

    return check
