"""`member merge`."""

from __future__ import annotations

import click

from central.commands.common import answer, home_option, json_option, open_home, points
from loyalty.texts import N_


@click.group()
def member() -> None:
    """Members."""


@member.command("merge")
@click.argument("old", metavar="OLD_CARD")
@click.argument("new", metavar="NEW_CARD")
@home_option
@json_option
def member_merge(old: str, new: str, as_json: bool) -> None:
    """Two cards of one customer: all that OLD_CARD's account has is NEW_CARD's from now on.

    Numbers of cards, or of accounts. It cannot be undone.
    """
    open_home()
    from central.members import merging

    done = merging.merge(old, new)
    data = {
        "from": done.old,
        "to": done.new,
        "moved": points(done.moved),
        "balance": points(done.balance),
        "cards": done.cards,
    }
    text = N_(
        "Account {old} is part of account {new} now: {moved} points came, the balance is {balance}, "
        "{cards} cards open it. Tills that hold its points hear of it at their next sync.",
        old=done.old,
        new=done.new,
        moved=points(done.moved),
        balance=points(done.balance),
        cards=done.cards,
    )
    answer(as_json, data, text)
