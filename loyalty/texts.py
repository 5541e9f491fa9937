"""Sentences for people, before a language is chosen.

The law never speaks Russian or English. Where it must tell a person something
it returns a `Text`: an English sentence with named places, and the values for
them. The room that faces the person (till or office) looks the sentence up in
its gettext catalogue and fills the places in. That keeps translation files,
and the choice of a language, out of the law.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@runtime_checkable
class Written(Protocol):
    """A value that is written differently in each language."""

    def render(self, translate: Callable[[str], str]) -> str:
        """The value in the language of `translate`."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """An English sentence with `{named}` places, and the values that go there."""

    msgid: str
    params: Mapping[str, object] = field(default_factory=dict)

    def render(self, translate: Callable[[str], str]) -> str:
        """The sentence in the language of `translate` (a gettext function).

        A value that can be rendered itself (a `Text`, an amount) is rendered in the same language.
        """
        values = {
            name: value.render(translate) if isinstance(value, Written) else value
            for name, value in self.params.items()
        }
        return translate(self.msgid).format_map(values)

    def __str__(self) -> str:
        return self.render(lambda msgid: msgid)


def N_(msgid: str, **params: object) -> Text:  # noqa: N802 - the field's usual name for "translate later"
    """Mark `msgid` for translation (pybabel extracts calls of `N_`) and make the Text."""
    return Text(msgid, params)
