"""The ledger in words: what moved, from whom to whom, and why. Texts only; ledger_command.py prints them.

A posting pair is told as one movement (`45.00  this till → spent`): every lot's postings sum to zero,
so what is taken here stands there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product

from agent.offline.story import Lot, Proof, Story, Told
from agent.texts import amount, say
from loyalty import ledger
from loyalty.amounts import Money, Points
from loyalty.document import ReturnDocument, SaleDocument
from loyalty.ledger import Posting
from loyalty.protocol import till as law
from loyalty.texts import N_, Text

KINDS = {
    "SALE": N_("sale"),
    "RETURN_GOODS": N_("goods returned"),
    "VOID": N_("sale taken back"),
    "REGISTER": N_("new card"),
    "RELEASE": N_("given back to the centre"),
    "HANDOVER": N_("handed over within the store"),
    "GRANT": N_("granted by the centre"),
    "RECALL": N_("asked back by the centre"),
    "ADJUST": N_("corrected by the centre"),
    "EXPIRE": N_("expired"),
    "LINK": N_("card linked to its account"),
    "MERGE": N_("accounts merged"),
}
SIDES = {
    ledger.ISSUED: N_("earned"),
    ledger.SPENT: N_("spent"),
    ledger.EXPIRED: N_("expired"),
    ledger.ADJUSTED: N_("correction"),
    ledger.DEBT: N_("owed"),
    ledger.FREE: N_("centre"),
}
REASONS = {
    law.FLAG_AWAY: N_("the account is at home in another store"),
    law.FLAG_IDLE: N_("nobody came with its card for thirty days"),
    law.FLAG_EXPIRED: N_("their day had passed"),
    ledger.FLAG_OFFLINE: N_("without a link"),
    ledger.FLAG_CLOCK: N_("with a wrong clock"),
    ledger.FLAG_COURTESY: N_("some points were lent"),
    ledger.FLAG_PENDING: N_("the office settles the points"),
    ledger.FLAG_KEYED: N_("the card's number was keyed in"),
    ledger.FLAG_CARD_LATE: N_("the card came after the total had been said"),
    ledger.FLAG_LIMIT: N_("a limit against abuse was reached"),
}


def story(told: Story, till: str, lang: str) -> Iterator[str]:
    """The lines of a story."""
    if told.account is not None:
        yield say(N_("account {account}", account=told.account), lang)
    for other in told.others:
        yield say(N_("account {account} goes on as it", account=other), lang)
    if told.held:
        held = Points(sum(told.held.values()))
        text = N_("sale {sale} is not paid; it is promised {points}", sale=told.sale_id, points=held)
        yield say(text, lang)
    for lot in told.lots:
        yield say(_lot(lot), lang)
        for sale_id, promised in lot.promised:
            text = N_("{points} promised to sale {sale}", points=Points(promised), sale=sale_id)
            yield f"  {say(text, lang)}"
    if told.left_out:
        yield say(N_("… {count} older entries (-n shows more)", count=told.left_out), lang)
    for one in told.entries:
        yield from entry(one, till, lang)


def _lot(lot: Lot) -> Text:
    terms = lot.terms
    named = {
        "lot": lot.id,
        "here": Points(lot.points),
        "since": terms.active_from.replace("T", " "),
        "rule": terms.rule,
    }
    if terms.expires_at is None:
        return N_("lot {lot}: {here} here, from {since}, without an end, by rule {rule}", **named)
    until = terms.expires_at.replace("T", " ")
    return N_("lot {lot}: {here} here, from {since} until {until}, by rule {rule}", **named, until=until)


def entry(told: Told, till: str, lang: str) -> Iterator[str]:
    """One entry: who, when, what and why; below it one line for each movement."""
    at = datetime.fromtimestamp(told.entry.at_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    kind = KINDS.get(told.entry.kind)
    words = [say(kind, lang) if kind else told.entry.kind]
    words += [f"({told.sale_id})"] if told.sale_id else []
    why = "; ".join(say(text, lang) for text in reasons(told, till))
    name = told.entry.id if told.down else told.ident
    yield f"{name:<24} {at}  {' '.join(words)}" + (f": {why}" if why else "")
    yield from (f"  {line}" for line in _movements(told.entry.postings, till, lang))


def reasons(told: Told, till: str) -> Iterator[Text]:
    """Why an entry was written, and under which circumstances."""
    ref = told.entry.ref
    life, _, answers = (ref or "").partition(":")
    match told.entry.kind:
        case "RELEASE" if ref:
            yield N_("the centre asked for them ({ref})", ref=ref)
        case "VOID" | "RETURN_GOODS" if ref:
            yield N_("of entry {ref}", ref=ref)
        case "HANDOVER" if ref and told.entry.postings and told.entry.till == till:
            yield N_("till {till} asked for receipt {receipt}", till=life.rpartition("-")[0], receipt=answers)
        case "HANDOVER" if ref and not told.entry.postings:
            yield N_("this till took what {ref} gave", ref=ref)
        case "GRANT" if answers:
            yield N_("a counter asked for them")
    yield from (REASONS[flag] for flag in told.entry.flags if flag in REASONS)
    if not told.acked:
        yield N_("the centre does not have it yet")


def _movements(postings: tuple[Posting, ...], till: str, lang: str) -> Iterator[str]:
    lots: dict[str, list[Posting]] = defaultdict(list)
    for posting in postings:
        lots[posting.lot].append(posting)
    for lot, parts in lots.items():
        givers = [part for part in parts if part.points < 0]
        takers = [part for part in parts if part.points > 0]
        # A lot goes from one to several, or from several to one; no entry has both.
        for giver, taker in product(givers, takers):
            points = amount(min(-giver.points, taker.points), lang)
            yield f"{points:>14}  {_side(giver, till, lang)} → {_side(taker, till, lang)}  {lot}"


def _side(posting: Posting, till: str, lang: str) -> str:
    holder = ledger.holder(posting.account)
    if holder is None:
        side = SIDES.get(posting.account)
        return say(side, lang) if side else posting.account
    return say(N_("this till") if holder == till else N_("till {till}", till=holder), lang)


# ------------------------------------------------------------------------------ the witness


def proof(found: Proof, till: str, lang: str) -> Iterator[str]:
    """What was proven of a slip."""
    if found.told is None:
        yield say(
            N_("the digits are right; the entry itself is older than what this till keeps (90 days)"), lang
        )
        return
    yield from entry(found.told, till, lang)
    totals = _totals(found.told)
    if totals is not None:
        yield say(totals, lang)
    yield say(
        N_(
            "the digits are right: the entry, its receipt and the chain from entry {first} on"
            " ({count} entries) are what was written",
            first=found.from_seq,
            count=found.walked,
        ),
        lang,
    )


def _totals(told: Told) -> Text | None:
    match told.document:
        case SaleDocument(result=result):
            return N_(
                "receipt: goods {list}, discounts {discount}, paid by points {redeemed}, paid {pay};"
                " earned {earned}",
                list=Money(result.list),
                discount=Money(result.discount),
                redeemed=Points(result.redeemed),
                pay=Money(result.pay),
                earned=Points(result.earned_total),
            )
        case ReturnDocument(money=money, points_back=back, reversed_total=taken):
            return N_(
                "return: money {money}, points given back {back}, taken back {taken}",
                money=Money(money),
                back=Points(back),
                taken=Points(taken),
            )
    return None
