"""Faults as data: what is wrong in a document, where, and what to do.

A document from outside is read to its end before anything is said, and then
every fault is said at once. A fault is a value: the JSON path of the place and
a `Text` that a person can read in their language.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from loyalty.texts import N_, Text

MAX_FAULTS = 1_000
"""So many are listed; a document with more is not the one that was meant."""

MAX_SHOWN = 60
"""Longest piece of a foreign document that a fault repeats."""

MAX_LISTED = 12
"""Most names that are listed where none is near enough to be suggested."""

MAX_COMPARED = 1_000
"""Most names that are compared in search of the nearest."""

Parsed = TypeVar("Parsed")

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: `path` such as `rules[3].effect.bp` (empty: the whole document) and why."""

    path: str
    text: Text

    def under(self, parent: str) -> Fault:
        """The same fault seen from a document that holds this one under the key `parent`."""
        if not self.path:
            return Fault(parent, self.text)
        joint = "" if self.path.startswith("[") else "."
        return Fault(f"{parent}{joint}{self.path}", self.text)

    def render(self, translate: Callable[[str], str]) -> str:
        """`path: sentence` in the language of `translate`."""
        sentence = self.text.render(translate)
        return f"{self.path}: {sentence}" if self.path else sentence

    def __str__(self) -> str:
        return self.render(lambda msgid: msgid)


class Refused(ValueError):  # noqa: N818 - it is the answer, as in "the rulebook was refused"
    """The document is refused; `faults` says every reason. Nothing has been changed."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__("; ".join(str(fault) for fault in self.faults[:MAX_LISTED]))


def gathered(
    parse: Callable[[object, str], Parsed], raw: object, path: str, faults: list[Fault]
) -> Parsed | None:
    """What `parse` makes of `raw`; where it refuses, its faults go to the others, and None comes back."""
    try:
        return parse(raw, path)
    except Refused as refused:
        faults.extend(refused.faults)
        return None


def at_key(path: str, key: str) -> str:
    """The path of `key` inside the object at `path`."""
    if _PLAIN_KEY.match(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{shown(key)}]"


def at_item(path: str, index: int) -> str:
    """The path of item `index` inside the list at `path`."""
    return f"{path}[{index}]"


def shown(name: str) -> str:
    """A foreign name, quoted, cut to a readable length, and safe to print anywhere."""
    cut = name if len(name) <= MAX_SHOWN else name[:MAX_SHOWN] + "…"
    return '"' + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut) + '"'


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that `name` is a misspelling of, if one is near enough."""
    import difflib  # a till whose files are right has no use for it

    near = difflib.get_close_matches(name[:MAX_SHOWN], known[:MAX_COMPARED], n=1)
    return near[0] if near else None


def did_you_mean(name: str, known: Sequence[str]) -> Text:
    """The end of a sentence about an unknown name: the nearest known one, or all there are."""
    near = nearest(name, known)
    if near is not None:
        return N_("did you mean {name}?", name=near)
    if not known:
        return N_("there is none to choose from")
    listed = ", ".join(known[:MAX_LISTED]) + (", …" if len(known) > MAX_LISTED else "")
    return N_("known here: {names}", names=listed)
