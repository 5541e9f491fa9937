"""`kopilka-central`: the office's commands (till.md §1). Exit 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

import click

from central.commands import fleet, house, imports, members, programme, rules, safety
from central.commands.common import OfficeGroup, home_option


@click.group(cls=OfficeGroup)
@home_option
def cli() -> None:
    """Kopilka's office: stores and tills, rules, members, and the whole ledger."""


cli.add_command(house.init)
cli.add_command(house.migrate)
cli.add_command(house.serve)
cli.add_command(safety.backup)
cli.add_command(safety.restore)
cli.add_command(safety.status)
cli.add_command(fleet.store)
cli.add_command(fleet.till)
cli.add_command(programme.programme)
cli.add_command(rules.rulebook)
cli.add_command(members.member)
cli.add_command(imports.import_)


def main() -> None:
    """The entry point of the program."""
    cli(prog_name="kopilka-central")
