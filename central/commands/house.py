"""`init`, `migrate`, `serve`."""

from __future__ import annotations

import os
import secrets

import click

from central.commands.common import (
    answer,
    home_option,
    json_option,
    open_home,
    pending_migrations,
    start_django,
)
from central.errors import Trouble
from central.home import Home
from loyalty.texts import N_

PASSWORD_VARIABLE = "KOPILKA_ADMIN_PASSWORD"  # noqa: S105 - the name of the variable
PASSWORD_BYTES = 12


@click.command()
@home_option
@json_option
@click.option("--admin", default="admin", show_default=True, help="Name of the first administrator.")
def init(admin: str, as_json: bool) -> None:
    """Make a centre: its home, keys, database and first administrator."""
    home = start_django()
    if _exists(home):
        done = {"home": str(home.path), "created": False}
        answer(as_json, done, N_("There is a centre in {path} already; nothing was changed.", path=home.path))
        return
    given = os.environ.get(PASSWORD_VARIABLE)
    password = given or secrets.token_urlsafe(PASSWORD_BYTES)
    _check_password(password)
    home.make()
    _migrate()
    _make_centre(admin, password)
    data: dict[str, object] = {"home": str(home.path), "created": True, "admin": admin}
    if given:
        answer(
            as_json,
            data,
            N_("The centre in {path} is made. Administrator: {name}.", path=home.path, name=admin),
        )
        return
    data["password"] = password
    answer(
        as_json,
        data,
        N_(
            "The centre in {path} is made. Administrator: {name}, password: {password} "
            "(shown once; write it down).",
            path=home.path,
            name=admin,
            password=password,
        ),
    )


@click.command()
@home_option
@json_option
def migrate(as_json: bool) -> None:
    """Bring the database of an existing centre up to this version."""
    home = start_django()
    if not home.database.is_file():
        raise Trouble(
            N_(
                "There is no centre in {path}. Make one with `kopilka-central init`, "
                "or name its home with --home.",
                path=home.path,
            )
        )
    count = pending_migrations()
    _migrate()
    answer(
        as_json, {"applied": count}, N_("The database is up to date; {count} steps were taken.", count=count)
    )


@click.command()
@home_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
def serve(host: str, port: int) -> None:
    """Serve tills and the console until SIGTERM."""
    home = open_home()
    if not home.secret_key_file.is_file():
        raise Trouble(N_("The key {path} is missing; restore it from the backup.", path=home.secret_key_file))
    for key in (home.reply_key, home.channel_key, home.chain_key, home.session_key):
        assert key  # read now: a centre that cannot sign must not begin to listen
    from central.serving import run

    run(home, host, port)


def _exists(home: Home) -> bool:
    if not home.database.is_file():
        return False
    from django.db import connection

    from central.fleet.models import Centre

    return Centre._meta.db_table in connection.introspection.table_names() and Centre.objects.exists()


def _check_password(password: str) -> None:
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError

    try:
        validate_password(password)
    except ValidationError as error:
        raise Trouble(
            N_(
                "{variable} is too weak a password: {reasons}",
                variable=PASSWORD_VARIABLE,
                reasons=" ".join(error.messages),
            )
        ) from error


def _migrate() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0, interactive=False)


def _make_centre(admin: str, password: str) -> None:
    from django.contrib.auth.models import User
    from django.db import transaction

    from central import clock
    from central.fleet.models import Centre
    from central.rules.models import Programme

    with transaction.atomic():
        User.objects.create_superuser(admin, password=password)
        Programme.objects.get_or_create()
        # A life of the database is named by the second it began: a restored copy will begin another.
        Centre.objects.create(timeline=clock.now_s(), created_ms=clock.now_ms())
