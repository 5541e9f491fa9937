"""Card numbers as a person or a file writes them -> card keys. A number goes no further than this file.

A till asks by which way a number came (scanned, swiped, keyed); the office does not: it tries every
number template of the programme.
"""

from __future__ import annotations

from django.conf import settings

from central.home import Home
from central.rules.models import Programme
from loyalty import card
from loyalty.card_templates import Fit, NumberTemplate, parse_templates


def templates() -> tuple[NumberTemplate, ...]:
    """The number templates in force."""
    programme = Programme.objects.first()
    return parse_templates(programme.number_templates) if programme else ()


def card_key(number: str, known: tuple[NumberTemplate, ...], kind: str | None = None) -> int | None:
    """The card key of a number that some template (of this kind) takes, or None."""
    home: Home = settings.HOME
    text = "".join(number.split())
    for template in known:
        if template.what == "coupon" or kind not in (None, template.kind):
            continue
        normal = template.normal(text)
        if template.fit(normal) is Fit.YES:
            return card.card_key(home.chain_key, template.kind, normal)
    return None
