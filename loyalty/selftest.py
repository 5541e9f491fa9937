"""The tests inside a rulebook: receipts with what their authors expect of them (rulebook.md §2).

They run by one command at the office and at the till, before the office
publishes and before a till puts a new rulebook in force. What they come to is
hashed, so two machines can say in one line that they price alike.

`expect` is any part of the quote: objects are compared by the keys they name,
lists and values exactly. Draws use a day key that everybody knows, so a draw's
test gives the same everywhere and gives nothing away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from loyalty.faults import Fault, Refused, at_item, at_key
from loyalty.index import Compiled
from loyalty.quote import priced, summed_up
from loyalty.returns import give_back
from loyalty.rulebook import RulebookTest
from loyalty.texts import N_, Text

DAY_KEY = bytes(32)
"""The key of the day in every test."""

MAX_SHOWN = 120
"""Longest piece of a quote that a difference repeats."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """How the tests of a rulebook ended: `faults` by path inside the rulebook; the hash is lower-case hex."""

    count: int
    failed: int
    faults: tuple[Fault, ...]
    results_sha256: str


def run_tests(compiled: Compiled) -> SelfTest:
    """Price the receipts of all tests with the compiled rulebook and compare."""
    results: list[Any] = []
    faults: list[Fault] = []
    failed = 0
    for i, test in enumerate(compiled.rulebook.tests):
        path = at_item("tests", i)
        try:
            result = _result(compiled, test)
            found = list(_differences(test.expect, result, at_key(path, "expect"), test.title))
        except Refused as refused:
            result = {"error": [str(fault) for fault in refused.faults]}
            found = [fault.under(path) for fault in refused.faults]
        results.append(result)
        faults += found
        failed += bool(found)
    return SelfTest(len(results), failed, tuple(faults), hashlib.sha256(canonical(results)).hexdigest())


def check(compiled: Compiled) -> SelfTest:
    """Run the tests. Raises `Refused` with every difference where one fails."""
    run = run_tests(compiled)
    if run.faults:
        raise Refused(run.faults)
    return run


def canonical(results: object) -> bytes:
    """The bytes that are hashed: JSON without spaces, keys in order, UTF-8."""
    return json.dumps(results, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _result(compiled: Compiled, test: RulebookTest) -> dict[str, Any]:
    pricing = priced(compiled, test.receipt, DAY_KEY)
    result = summed_up(pricing).to_builtins()
    if test.returns:
        result["returns"] = [returned.to_builtins() for returned in give_back(pricing, test.returns)]
    return result


def _differences(expected: object, actual: object, path: str, title: str) -> Iterator[Fault]:
    """Where the quote is not as expected."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            place = at_key(path, key)
            if key in actual:
                yield from _differences(value, actual[key], place, title)
            else:
                yield Fault(place, _difference(title, value, N_("nothing")))
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for i, pair in enumerate(zip(expected, actual, strict=True)):
            yield from _differences(*pair, at_item(path, i), title)
    elif type(expected) is not type(actual) or expected != actual:
        yield Fault(path, _difference(title, expected, _shown(actual)))


def _difference(title: str, expected: object, actual: Text) -> Text:
    if title:
        return N_(
            "{title}: expected {expected}, got {actual}",
            title=title,
            expected=_shown(expected),
            actual=actual,
        )
    return N_("expected {expected}, got {actual}", expected=_shown(expected), actual=actual)


def _shown(value: object) -> Text:
    text = canonical(value).decode()
    return Text("{value}", {"value": text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"})
