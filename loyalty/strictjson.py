"""Reading JSON without forgiving anything.

The standard reader lets three things pass that the law does not: a key written
twice (the last one silently wins), numbers with a decimal point, and `NaN`.
`loads` keeps them visible instead of stopping at the first, so that whoever
walks the document can list every fault with its path: an object with a
repeated key comes back as `RepeatedKeys`, a number with a point as a float
(which nothing in our documents may be). `faults_of` is that walk for documents
of free shape.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from loyalty.faults import Fault, Refused, at_item, at_key, shown
from loyalty.texts import N_, Text

MAX_DEPTH = 64
"""How deep lists and objects may stand in one another, in any document of ours."""


class RepeatedKeys(dict[str, object]):
    """A JSON object in which a key stands more than once; `repeated` names those keys."""

    repeated: tuple[str, ...] = ()


def loads(data: str | bytes) -> object:
    """The JSON document in `data`, with its offences still in it.

    Raises `Refused` with one fault where `data` is not JSON at all.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        document: object = json.loads(text, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise _refused(N_("not UTF-8 text (byte {byte}); save it as UTF-8", byte=error.start)) from None
    except json.JSONDecodeError as error:
        raise _refused(
            N_(
                "not JSON: {problem} (line {line}, column {column})",
                problem=error.msg,
                line=error.lineno,
                column=error.colno,
            )
        ) from None
    except RecursionError:
        raise _refused(N_("nested deeper than {depth} levels; make it flatter", depth=MAX_DEPTH)) from None
    except ValueError:  # the standard reader's own bound on the digits of a number
        raise _refused(N_("not JSON: a number has thousands of digits")) from None
    return document


def faults_of(document: object, path: str = "", depth: int = 0) -> Iterator[Fault]:
    """Repeated keys, numbers that are not whole and too deep nesting, anywhere in `document`."""
    if depth > MAX_DEPTH:
        yield Fault(path, N_("nested deeper than {depth} levels; make it flatter", depth=MAX_DEPTH))
    elif isinstance(document, dict):
        yield from repeated_keys(document, path)
        for key, value in document.items():
            yield from faults_of(value, at_key(path, key), depth + 1)
    elif isinstance(document, list):
        for i, value in enumerate(document):
            yield from faults_of(value, at_item(path, i), depth + 1)
    elif isinstance(document, float):
        yield Fault(path, N_("must be a whole number, without decimal point or exponent"))


def repeated_keys(document: dict[str, object], path: str) -> Iterator[Fault]:
    """A fault for every key that stands more than once in this one object."""
    if isinstance(document, RepeatedKeys):
        for key in document.repeated:
            yield Fault(path, N_("key {key} stands twice; keep one", key=shown(key)))


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    count = Counter(key for key, _ in pairs)
    repeated = RepeatedKeys(plain)
    repeated.repeated = tuple(key for key in plain if count[key] > 1)
    return repeated


def _refused(text: Text) -> Refused:
    return Refused([Fault("", text)])
