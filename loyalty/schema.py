"""JSON Schemas of the documents, made from the tables by which they are read.

An editor that knows the schema completes keys and marks faults while a rulebook
is written. It says all that a schema can say; what looks across items (a group
that is not there, two rules of one name, circles) only the reader finds.
"""

from __future__ import annotations

from collections.abc import Mapping

from loyalty.catalog import CATALOG
from loyalty.receipt import receipt_kind, returns_kind
from loyalty.rulebook import RULEBOOK
from loyalty.texts import N_, Text
from loyalty.walk import Kind, Schema, absent_nulls

DIALECT = "https://json-schema.org/draft/2020-12/schema"

DOCUMENTS: Mapping[str, Kind] = {
    "rulebook": Kind(lambda walk, raw, path: raw, RULEBOOK.schema),
    "catalog": absent_nulls(Kind(lambda walk, raw, path: raw, CATALOG.schema)),
    "receipt": receipt_kind,
    "returns": returns_kind,
}
"""The documents of rulebook.md §2 that have a schema."""

TITLES: Mapping[str, Text] = {
    "rulebook": N_("Rules of a loyalty programme"),
    "catalog": N_("Goods as the rules engine sees them"),
    "receipt": N_("A receipt to be priced"),
    "returns": N_("Goods given back"),
}


def schema_of(document: str) -> Schema:
    """The JSON Schema (2020-12) of one of `DOCUMENTS`."""
    named: dict[str, Schema] = {}

    def of(kind: Kind) -> Schema:
        if not kind.name:
            return kind.schema(of)
        if kind.name not in named:
            named[kind.name] = {}  # there already when it meets itself inside
            named[kind.name] = kind.schema(of)
        return {"$ref": f"#/$defs/{kind.name}"}

    body = DOCUMENTS[document].schema(of)
    schema = {"$schema": DIALECT, "title": str(TITLES[document]), **body}
    return {**schema, "$defs": named} if named else schema
