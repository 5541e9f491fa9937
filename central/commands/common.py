"""What all commands share: the home, the language, how an answer and an error are said."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from central import home as homes
from central.errors import Trouble
from central.home import Home
from central.texts import language, say, translator
from loyalty.faults import Fault, Refused
from loyalty.texts import N_, Text

FILE_MAX_BYTES = 64 * 1024 * 1024
F = TypeVar("F", bound=Callable[..., Any])


def _remember_home(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        os.environ[homes.VARIABLE] = str(value.absolute())


home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    expose_value=False,
    is_eager=True,
    callback=_remember_home,
    help=f"Where the centre lives; else KOPILKA_HOME, else {homes.DEFAULT}.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Answer as one JSON document.")


class Failed(click.ClickException):
    """Exit 1 with sentences on standard error."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        click.echo(self.message, file=file or sys.stderr)


class OfficeGroup(click.Group):
    """A group whose commands may raise Trouble or Refused; a person sees sentences, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Trouble as trouble:
            raise Failed(say(N_("Error: {problem}", problem=trouble.text))) from trouble
        except Refused as refused:
            raise Failed(fault_list(refused)) from refused


def fault_list(refused: Refused) -> str:
    """Every fault of a document, a line each, and how many they are."""
    translate = translator(language())
    lines = [f"  {fault.render(translate)}" for fault in refused.faults]
    head = say(N_("Error: {count} faults; nothing was changed.", count=len(lines)))
    return "\n".join([head, *lines])


def fault_data(faults: tuple[Fault, ...]) -> list[dict[str, str]]:
    """The same for programs."""
    translate = translator(language())
    return [{"path": fault.path, "text": fault.text.render(translate)} for fault in faults]


def answer(as_json: bool, data: Mapping[str, Any] | list[Any], text: Text | None) -> None:
    """Say the result: `data` for programs, `text` for people."""
    if as_json:
        click.echo(json.dumps(data, ensure_ascii=False, indent=2))
    elif text is not None:
        click.echo(say(text))


def points(hundredths: int) -> str:
    """Points as a command says them: -12.50."""
    sign = "-" if hundredths < 0 else ""
    return f"{sign}{abs(hundredths) // 100}.{abs(hundredths) % 100:02d}"


def local(ms: int) -> str:
    """A moment by the clock of whoever runs this command."""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone().strftime("%d.%m.%Y %H:%M")


def table(rows: list[tuple[str, ...]]) -> None:
    """Rows in columns, plainly; the first is the heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def start_django() -> Home:
    """Load Django with this home. Whether a centre is there is not asked yet."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "central.settings")
    import django
    from django.conf import settings

    django.setup()
    home: Home = settings.HOME
    return home


def open_home() -> Home:
    """Load Django with the home of a centre that is there and up to date. Raises Trouble."""
    home = start_django()
    if not _is_file(home):
        raise Trouble(
            N_(
                "There is no centre in {path}. Make one with `kopilka-central init`, "
                "or name its home with --home.",
                path=home.path,
            )
        )
    from central import backups

    if backups.is_backup():
        raise Trouble(
            N_(
                "The database in {path} is a backup that was not restored to its end: it has yet to begin a "
                "new life, or points would be given twice. Run `kopilka-central restore FILE --replace`.",
                path=home.path,
            )
        )
    if pending_migrations():
        raise Trouble(
            N_(
                "The database in {path} is of an older version. Run `kopilka-central migrate`.",
                path=home.path,
            )
        )
    from central.fleet.models import Centre

    if not Centre.objects.exists():
        raise Trouble(
            N_("The centre in {path} was not finished. Run `kopilka-central init` again.", path=home.path)
        )
    return home


def pending_migrations() -> int:
    """How many migrations the database lacks."""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def read_file(path: Path) -> bytes:
    """The whole file. Raises Trouble."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Trouble(N_("{path} cannot be read: {reason}.", path=path, reason=reason)) from error
    if len(content) > FILE_MAX_BYTES:
        raise Trouble(N_("{path} is larger than {max} bytes.", path=path, max=FILE_MAX_BYTES))
    return content


def _is_file(home: Home) -> bool:
    try:
        return home.database.is_file()
    except PermissionError as error:
        raise Trouble(
            N_("{path} cannot be opened. Run this as the owner of the home.", path=home.path)
        ) from error
