"""Reads tests/cases/quotes/*.toml and fills in what a case leaves out."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loyalty.receipt import RECEIPT

CASES = Path(__file__).parent.parent / "cases" / "quotes"

RULEBOOK_KEYS = ("settings", "groups", "rules")
KEYS = {"title", "expect", *RULEBOOK_KEYS, "categories", "goods", *RECEIPT, "draw_key", "returns"}

WHOLE_MAPS = ("discounts", "earned", "earned_lots", "earned_reversed", "rewards")
"""Objects that a case states whole: one rule more would be another answer."""


@dataclass(frozen=True)
class Case:
    """A request, and the part of its quote that the case states."""

    title: str
    request: dict[str, Any]
    expect: dict[str, Any]


def load() -> list[Case]:
    """Every case of every file, by file name."""
    return [
        _case(f"{file.stem}: {raw['title']}", raw)
        for file in sorted(CASES.glob("*.toml"))
        for raw in tomllib.loads(file.read_text("utf-8"))["case"]
    ]


def _case(title: str, raw: dict[str, Any]) -> Case:
    assert set(raw) <= KEYS, f"{title}: unknown {set(raw) - KEYS}"
    rulebook = {"format": 1, "semantics": 1, "id": "case", "seq": 1}
    receipt = {
        "id": "R1",
        "till": "T1",
        "store": "M1",
        "channel": "pos",
        "at": "2026-02-13T12:00:00+03:00",
        **{key: raw[key] for key in RECEIPT if key in raw},
        "lines": [{"id": str(i), "quantity": 1000, **line} for i, line in enumerate(raw["lines"], start=1)],
    }
    request = {
        "rulebook": rulebook | {key: raw[key] for key in RULEBOOK_KEYS if key in raw},
        "catalog": {
            "categories": {name: parent or None for name, parent in raw.get("categories", {}).items()},
            "skus": raw.get("goods", {}),
        },
        "receipt": receipt,
        **{key: raw[key] for key in ("draw_key",) if key in raw},
    }
    if "returns" in raw:
        request["returns"] = [{"at": "2026-02-20T12:00:00+03:00", **each} for each in raw["returns"]]
    return Case(title, request, raw["expect"])


def differences(expected: Any, actual: Any, place: str = "quote", exact: bool = False) -> list[str]:
    """Where `actual` is not as expected; objects by the expected keys, maps of amounts exactly."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        found = [f"{place}: no {key}" for key in expected if key not in actual]
        if exact:
            found += [f"{place}: also {key}" for key in actual if key not in expected]
        for key in expected:
            if key in actual:
                whole = exact or key in WHOLE_MAPS
                found += differences(expected[key], actual[key], f"{place}.{key}", whole)
        return found
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return [
            problem
            for i, pair in enumerate(zip(expected, actual, strict=True))
            for problem in differences(*pair, f"{place}[{i}]", exact)
        ]
    return [] if expected == actual else [f"{place}: expected {expected}, got {actual}"]
