"""What goes wrong for reasons a person can remove."""

from __future__ import annotations

from loyalty.texts import Text


class Trouble(Exception):  # noqa: N818 - the subclasses say what of
    """Nothing has changed; `text` says what is wrong, where, and what to do."""

    def __init__(self, text: Text) -> None:
        super().__init__(str(text))
        self.text = text
