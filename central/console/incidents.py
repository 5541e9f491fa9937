"""What was odd, in words for people. The English detail stays in the log and the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext_noop

from central import clock
from central.intake import accept, corrections
from central.intake.models import Incident
from central.ledger import applier, settling
from central.members import registering
from loyalty import wire
from loyalty.protocol import centre as law
from loyalty.protocol import intake

SHOWN = 20

WORDS = {
    wire.FORK: gettext_noop("Two machines say they are this till: find the copy and switch it off"),
    law.OVERSPENT: gettext_noop("Points were spent that the till did not hold; the account owes them"),
    law.FOREIGN: gettext_noop("The till took points that another one holds"),
    law.UNKNOWN_KIND: gettext_noop("An entry of an unknown kind; its points were booked"),
    law.UNKNOWN_MEMBER: gettext_noop("Points of an account that no member has"),
    law.UNKNOWN_POSTING: gettext_noop("An entry this version cannot book; update the centre"),
    intake.UNREADABLE: gettext_noop("An entry this version cannot book; update the centre"),
    intake.NO_DOCUMENT: gettext_noop("A sale or return came without its receipt; its points were booked"),
    accept.LIMIT: gettext_noop(
        "A card was used more often than a limit of the programme allows; ask the shop"
    ),
    accept.LATE: gettext_noop("A till that was closed has sent entries; accept or reverse them"),
    applier.BAD_PROOF: gettext_noop("Points were said to be handed over, and the word for it is not genuine"),
    corrections.NO_SALE: gettext_noop("Goods came back, and their sale is not here; settle it by hand"),
    corrections.WRONG_SLIP: gettext_noop("Goods came back by a slip with wrong digits; settle it by hand"),
    settling.TOO_MUCH: gettext_noop("More goods came back than were sold; their points were returned once"),
    settling.NOT_PRICED: gettext_noop("A return cannot be priced as its sale was; settle it by hand"),
    registering.NO_CARD: gettext_noop(
        "A card was registered and its document cannot be read; link it by hand"
    ),
    registering.SAME_NUMBER: gettext_noop("Two cards came to one provisional account; part them by hand"),
}


@dataclass(frozen=True, slots=True)
class IncidentLine:
    """One incident on the page. `word` is a msgid."""

    till: str
    entry: str
    at: datetime
    word: str


def newest() -> list[IncidentLine]:
    """The last few, newest first."""
    return [
        IncidentLine(i.till, f"{i.till}-{i.epoch}-{i.seq}", clock.utc(i.at_ms), WORDS.get(i.code, i.code))
        for i in Incident.objects.order_by("-at_ms", "-id")[:SHOWN]
    ]
