"""An entry of the ledger in words: what it was, what it did to the points, and what was odd about it.

Enough for a controller to see why a balance is what it is, without knowing the double entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.utils.translation import gettext_noop

from central.console.templatetags.points import Amount
from loyalty import ledger
from loyalty.ledger import Entry
from loyalty.protocol import centre as law
from loyalty.protocol import goods
from loyalty.protocol.books import told_epoch
from loyalty.texts import N_, Text

KINDS = {
    "SALE": gettext_noop("Sale"),
    "RETURN_GOODS": gettext_noop("Goods returned"),
    "VOID": gettext_noop("Sale cancelled"),
    "REGISTER": gettext_noop("Card registered"),
    "RELEASE": gettext_noop("Points given back to the office"),
    "HANDOVER": gettext_noop("Points handed to another till"),
    "GRANT": gettext_noop("Points placed in a shop"),
    "RECALL": gettext_noop("Points asked back"),
    "ADJUST": gettext_noop("Adjustment"),
    "EXPIRE": gettext_noop("Points expired"),
    "LINK": gettext_noop("Accounts linked"),
    "MERGE": gettext_noop("Cards merged"),
}
OPENING_RULE = "opening"


@dataclass(frozen=True, slots=True)
class Words:
    """`what` happened; `parts` = what it did to the points; `notes` = what else should be known."""

    what: Text
    parts: list[Text]
    notes: list[Text]


def words(entry: Entry) -> Words:
    """All there is to say about an entry."""
    return Words(_what(entry), _parts(entry), [_FLAGS[flag] for flag in entry.flags if flag in _FLAGS])


def _what(entry: Entry) -> Text:
    for flag in entry.flags:
        if flag in _ADJUSTED:
            return _ADJUSTED[flag](entry)
    if entry.kind == "ADJUST" and any(p.terms and p.terms.rule == OPENING_RULE for p in entry.postings):
        return N_("Opening balance")
    if entry.kind in _TOLD:
        return _TOLD[entry.kind](entry)
    return Text(KINDS.get(entry.kind, entry.kind))


def _grant(entry: Entry) -> Text:
    till = _takers(entry)
    if ":" in (entry.ref or ""):
        return N_("Points granted to till {till}, which asked for them at the counter", till=till)
    return N_("Points placed at till {till}, where they will likely be asked for", till=till)


def _recall(entry: Entry) -> Text:
    till = (entry.ref or "").partition(":")[0].rpartition("-")[0]
    return N_("Points asked back from till {till} for another shop; nothing has moved by this yet", till=till)


def _handover(entry: Entry) -> Text:
    if not entry.postings:
        return N_("The till took over what another one had handed to it (entry {ref})", ref=entry.ref)
    return N_("Points handed to till {till} of the same shop, without the office", till=_takers(entry))


def _joined(entry: Entry) -> Text:
    into = law.merged_into(entry)
    card = entry.kind == "LINK"
    if into is not None:
        if card:
            return N_("A card given out at a till: all went to its lasting account {account}", account=into)
        return N_("Cards merged: all of it went to account {account}", account=into)
    if card:
        return N_("A card given out at a till: what was earned with it came here")
    return N_("Cards merged: what the other account had came here")


_TOLD: dict[str, Callable[[Entry], Text]] = {
    "GRANT": _grant,
    "RECALL": _recall,
    "HANDOVER": _handover,
    "LINK": _joined,
    "MERGE": _joined,
}


def _resumed(entry: Entry) -> Text:
    till = (entry.ref or "").rpartition("-")[0]
    return N_(
        "What till {till} held in a life that ended came back (life {epoch})",
        till=till,
        epoch=told_epoch(entry),
    )


_ADJUSTED: dict[str, Callable[[Entry], Text]] = {
    law.FLAG_OVERSPENT: lambda entry: N_(
        "Entry {ref} spent more than its till held: the rest became debt", ref=entry.ref
    ),
    law.FLAG_TAKEN_BACK: lambda entry: N_(
        "What entry {ref} takes back lies in a shop by now: the account owes it", ref=entry.ref
    ),
    law.FLAG_NETTED: lambda _entry: N_("Points that were free paid the debt"),
    law.FLAG_OVERPAID: lambda _entry: N_(
        "Points that had paid a debt came back: the sale that left it was taken back"
    ),
    law.FLAG_ONCE: lambda entry: N_(
        "What is given once came a second time with entry {ref}: taken back", ref=entry.ref
    ),
    goods.FLAG_RETURNED: lambda entry: N_(
        "The office settled the points of goods that came back (entry {ref})", ref=entry.ref
    ),
    law.FLAG_RESUMED: _resumed,
    law.FLAG_REVERSED: lambda entry: N_(
        "Entry {ref} came after its till was closed, and was undone by an operator", ref=entry.ref
    ),
}
_FLAGS = {
    ledger.FLAG_COURTESY: N_("some of its points were lent beyond what the till held"),
    ledger.FLAG_OFFLINE: N_("the till had no link"),
    ledger.FLAG_CLOCK: N_("the clock of the till was wrong"),
    ledger.FLAG_PENDING: N_("without its receipt: the office settles the points"),
    ledger.FLAG_KEYED: N_("the card's number was keyed in"),
    ledger.FLAG_CARD_LATE: N_("the card came after the total had been said"),
    ledger.FLAG_LIMIT: N_("a limit against abuse was reached"),
}


def _parts(entry: Entry) -> list[Text]:
    """What came from where and went where; points that only change hands are told by the sentence."""
    sums: dict[str, int] = {}
    for posting in entry.postings:
        sums[posting.account] = sums.get(posting.account, 0) + posting.points
    return [
        _PART[name, points > 0](Amount(abs(points)))
        for name, points in sorted(sums.items())
        if points and (name, points > 0) in _PART
    ]


_PART: dict[tuple[str, bool], Callable[[Amount], Text]] = {
    (ledger.ISSUED, False): lambda points: N_("earned {points}", points=points),
    (ledger.ISSUED, True): lambda points: N_("earning taken back {points}", points=points),
    (ledger.SPENT, True): lambda points: N_("spent {points}", points=points),
    (ledger.SPENT, False): lambda points: N_("spending given back {points}", points=points),
    (ledger.EXPIRED, True): lambda points: N_("expired {points}", points=points),
    (ledger.DEBT, False): lambda points: N_("became debt {points}", points=points),
    (ledger.DEBT, True): lambda points: N_("paid off the debt {points}", points=points),
}


def _takers(entry: Entry) -> str:
    """The tills that are given points by an entry."""
    names = {ledger.holder(posting.account) for posting in entry.postings if posting.points > 0}
    return ", ".join(sorted(name for name in names if name))
