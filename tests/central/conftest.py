"""A centre in a temporary home. Every test starts from the same migrated database, a file copied back.

Django reads its settings once a process, so the home is chosen here, before any model is imported.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

_HOME = Path(tempfile.mkdtemp(prefix="kopilka-central-"))
_LOCALE = Path(__file__).parents[2] / "locale"
_found = {name: os.environ.get(name) for name in ("KOPILKA_HOME", "DJANGO_SETTINGS_MODULE")}
os.environ.update(KOPILKA_HOME=str(_HOME), DJANGO_SETTINGS_MODULE="central.settings")

import django  # noqa: E402

from central import settings as central_settings  # noqa: E402

# Translations are compiled aside, so that the tests see the catalogues as they are now.
for _source in _LOCALE.glob("*/LC_MESSAGES/*.po"):
    _target = _HOME / "locale" / _source.relative_to(_LOCALE).with_suffix(".mo")
    _target.parent.mkdir(parents=True, exist_ok=True)
    with _source.open("rb") as _po, _target.open("wb") as _mo:
        write_mo(_mo, read_po(_po))
central_settings.LOCALE_PATHS = [_HOME / "locale"]
central_settings.HOME.make()
central_settings.SECRET_KEY = central_settings.HOME.secret_key_file.read_text()
django.setup()
for _name, _value in _found.items():  # no other test's program shall find itself in this home
    os.environ.pop(_name)
    if _value is not None:
        os.environ[_name] = _value

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402
from django.test import Client  # noqa: E402
from office import ADMIN, PASSWORD, START_MS, Office  # noqa: E402

from central import clock  # noqa: E402
from central.fleet.models import Centre  # noqa: E402
from central.rules.models import Programme  # noqa: E402


def pytest_sessionfinish() -> None:
    connections.close_all()
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated() -> Path:
    """The database of a centre that was just made."""
    database = central_settings.HOME.database
    call_command("migrate", verbosity=0, interactive=False)
    Centre.objects.create(timeline=START_MS // 1000, created_ms=START_MS)
    Programme.objects.create()
    User.objects.create_superuser(ADMIN, password=PASSWORD)
    connections.close_all()
    return database.rename(database.with_suffix(".made"))


@pytest.fixture(autouse=True)
def office(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """A new centre and its clock, which stands still until a test moves it."""
    shutil.copyfile(migrated, central_settings.HOME.database)
    made = Office(central_settings.HOME)
    monkeypatch.setattr(clock, "now_ms", lambda: made.now_ms)
    monkeypatch.setenv("KOPILKA_LANG", "en")
    yield made
    connections.close_all()


@pytest.fixture
def visitor() -> Client:
    """A browser that nobody has logged in with."""
    return Client()


@pytest.fixture
def clerk(visitor: Client) -> Client:
    """A browser with the administrator logged in."""
    visitor.force_login(User.objects.get(username=ADMIN))
    return visitor
