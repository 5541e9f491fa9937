"""Reads tests/cases/quotes/*.toml and fills in what a case leaves out."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CASES = Path(__file__).parent.parent / "cases" / "quotes"

KEYS = {
    *("title", "settings", "groups", "rules", "categories", "goods"),
    *("customer", "redeem", "at", "lines", "expect"),
}


@dataclass(frozen=True)
class Case:
    title: str
    rulebook: dict[str, Any]
    catalog: dict[str, Any]
    receipt: dict[str, Any]
    expect: dict[str, Any]


def load() -> list[Case]:
    """Every case of every file, by file name."""
    files = [tomllib.loads(file.read_text("utf-8")) for file in sorted(CASES.glob("*.toml"))]
    return [_case(raw) for file in files for raw in file["case"]]


def _case(raw: dict[str, Any]) -> Case:
    assert set(raw) <= KEYS, f"{raw['title']}: unknown {set(raw) - KEYS}"
    rulebook = {"format": 1, "semantics": 1, "id": "case", "seq": 1, "rules": raw["rules"]}
    rulebook |= {key: raw[key] for key in ("settings", "groups") if key in raw}
    receipt = {
        "id": "R1",
        "till": "T1",
        "store": "M1",
        "channel": "pos",
        "at": raw.get("at", "2026-02-13T12:00:00+03:00"),
        "lines": [{"id": str(i), "quantity": 1000, **line} for i, line in enumerate(raw["lines"], start=1)],
    }
    receipt |= {key: raw[key] for key in ("customer", "redeem") if key in raw}
    categories = {name: parent or None for name, parent in raw.get("categories", {}).items()}
    catalog = {"categories": categories, "skus": raw.get("goods", {})}
    return Case(raw["title"], rulebook, catalog, receipt, raw["expect"])


def differences(expected: Any, actual: Any, place: str = "quote", exact: bool = False) -> list[str]:
    """Where `actual` is not as expected; objects by the expected keys, maps of amounts exactly."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        found = [f"{place}: no {key}" for key in expected if key not in actual]
        if exact:
            found += [f"{place}: also {key}" for key in actual if key not in expected]
        for key in expected:
            if key in actual:
                whole = exact or key in ("discounts", "earned", "earned_lots")
                found += differences(expected[key], actual[key], f"{place}.{key}", whole)
        return found
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return [
            problem
            for i, pair in enumerate(zip(expected, actual, strict=True))
            for problem in differences(*pair, f"{place}[{i}]", exact)
        ]
    return [] if expected == actual else [f"{place}: expected {expected}, got {actual}"]
