"""What a decoder raises for bytes that somebody else wrote.

msgspec says DecodeError for nearly everything, but a text that is not UTF-8 is
reported by UnicodeDecodeError, and lists nested a thousand deep by RecursionError.
Whoever reads bytes from a disk or a wire catches all three, and says in its own
words what was not whole.
"""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The three exceptions; a sentence about any of them names a place, never a value."""
