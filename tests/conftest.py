"""For every test: laws are checked as often on a slow machine as on a fast one."""

from __future__ import annotations

from hypothesis import settings

# A deadline would make a busy machine a failure. Seeds of failures are kept in .hypothesis and printed.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")
