"""A chain of shops for each story. The centre's home is that of the simulator, and is left to nobody."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

_found = {name: os.environ.get(name) for name in ("KOPILKA_HOME", "DJANGO_SETTINGS_MODULE")}
from tests.sim import centre  # noqa: E402 - it chooses a home, before any model is imported

for _name, _value in _found.items():  # no other test's program shall find itself in this home
    os.environ.pop(_name)
    if _value is not None:
        os.environ[_name] = _value

from central import clock  # noqa: E402
from central.fleet import polls  # noqa: E402
from tests.stories.chain import Chain  # noqa: E402


def pytest_sessionfinish() -> None:
    centre.forget()


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """A centre with one store, goods and rules, and nobody in it."""
    for module, name in ((clock, "now_ms"), (polls, "open_now"), (polls, "wake")):
        monkeypatch.setattr(module, name, getattr(module, name))  # as it was, after the story
    made = Chain()
    yield made
    made.close()
