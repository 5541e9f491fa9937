"""What the centre does with the points of an account, one event at a time.

**What arrives has happened.** A till's entry is a fact of a counter somewhere; the office cannot
undo it by refusing. So `arrive` posts each entry as it stands. Where it takes what its writer does
not have, the missing points become the account's debt by an ADJUST that names the entry, and a
note tells a person: a share never falls below zero, and the balance stays what the ledger says.

**Unless the reason may still be on its way.** An entry waits in the inbox, and with it what the
same till did later with that account and nothing else, as long as
- it answers a HANDOVER of another till whose log has not come so far (§5.5), or
- the centre was restored and some till has not yet said what it was granted before (§5.11).

**What is free is given once.** Every way out of `free` (placement, claim, expiry, debt) is an entry
of the centre's log of this bucket, written under the bucket's lock: what one took the other does
not see. Nothing comes back by a clock; only a till gives back what a till holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from loyalty import ledger
from loyalty.ledger import Entry, LotTerms, Posting
from loyalty.protocol import moves
from loyalty.protocol.books import AccountBooks, Books, knows, told_epoch
from loyalty.protocol.moves import Piece
from loyalty.protocol.placement import PlacedLot, grants, next_look

OVERSPENT = "OVERSPENT"
FOREIGN = "FOREIGN_PARCEL"
UNKNOWN_KIND = "UNKNOWN_KIND"
UNKNOWN_MEMBER = "UNKNOWN_MEMBER"
UNKNOWN_POSTING = "UNKNOWN_POSTING"

# Why an ADJUST of the centre's own was written: a flag, for people who read the ledger.
FLAG_OVERSPENT = OVERSPENT
FLAG_TAKEN_BACK = "TAKEN_BACK"  # what a void or return takes back lies elsewhere: the account owes it
TAKING_BACK = frozenset({"VOID", "RETURN_GOODS"})
FLAG_NETTED = "NETTED"  # points that were free paid a debt
FLAG_OVERPAID = "OVERPAID"  # what had paid a debt that is none any more came back
RULE_OVERPAID = "overpaid"  # in the terms of the lot that it came back as
FLAG_ONCE = "ONCE"  # the same once-key came twice; the second credit is taken back
FLAG_RESUMED = "RESUMED"  # what a till held in a life that had ended came back
FLAG_REVERSED = "REVERSED"  # told after its life had ended, and not accepted

Key = tuple[str, int, int]
"""(till, epoch, seq): the name of an entry."""


# ------------------------------------------------------------------------- entries arrive


@dataclass(frozen=True, slots=True)
class Row:
    """An entry that waits in the inbox. `owner` = whose points it moves today (merged cards)."""

    entry: Entry
    body: bytes
    owner: int
    handed: tuple[Entry, bytes] | None = None  # of a till's HANDOVER: the hub's entry that it answers

    @property
    def key(self) -> Key:
        """The entry's name."""
        return (self.entry.till, self.entry.epoch, self.entry.seq)


@dataclass(frozen=True, slots=True)
class Facts:
    """What must be known beside the books.

    `known` = entries that the ledger has already, of those the rows name; `members` = accounts that
    are somebody's; `ended` = lives (till, epoch) that will send nothing more of themselves; `fenced`
    = the centre was restored, and not every till has spoken since.
    """

    known: Collection[Key] = ()
    members: Collection[int] = ()
    ended: Collection[tuple[str, int]] = ()
    fenced: bool = False


@dataclass(slots=True)
class Arrival:
    """What became of the rows."""

    applied: list[Row] = field(default_factory=list)
    waiting: list[Row] = field(default_factory=list)


def arrive(books: Books, rows: Sequence[Row], facts: Facts) -> Arrival:
    """Post what can be posted, each till's entries of an account in their order.

    Between tills there is no order but this: what fits goes first, for what one gave back another may
    have been granted and spent.
    """
    books.open({row.owner for row in rows})
    known = set(facts.known)
    # Who is registered here is a member, though the shell has not noted it yet.
    registered = {row.entry.account or 0 for row in rows if row.entry.kind == "REGISTER"}
    facts = replace(facts, members={*facts.members, *registered})
    arrival = Arrival()
    left = sorted(rows, key=lambda row: row.key)
    while left:
        fitting, rest = _next(books, left, known, facts)
        if not fitting:
            # Nothing fits any more. Unless the reason may still come, what has happened has happened.
            heads = [] if facts.fenced else list(_heads(rest, known, facts))
            if not heads:
                break
            # What the centre gave goes first: free points that come later pay the debt it leaves, and
            # tills have spent what it gave. A till's missing parcel would stay a debt for good.
            forced = min(heads, key=lambda row: not ledger.is_centre(row.entry.till))
            fitting = [forced]
            _apply(books, forced, known, facts)
        arrival.applied += fitting
        gone = {id(row) for row in fitting}
        left = [row for row in left if id(row) not in gone]
    if not facts.fenced:  # what is free may have been granted before the centre was restored
        for owner in sorted({row.owner for row in arrival.applied}):
            settle(books, owner)
    arrival.waiting = left
    return arrival


def _next(books: Books, left: Sequence[Row], known: set[Key], facts: Facts) -> tuple[list[Row], list[Row]]:
    """Apply, in one pass, what fits; and what is left."""
    fitting: list[Row] = []
    rest: list[Row] = []
    stopped: set[tuple[str, int]] = set()
    for row in left:
        stream = (row.entry.till, row.owner)
        if stream in stopped or _waits_for_another(row, known, facts) or not _fits(books, row, known):
            stopped.add(stream)
            rest.append(row)
        else:
            _apply(books, row, known, facts)
            fitting.append(row)
    return fitting, rest


def _heads(left: Sequence[Row], known: set[Key], facts: Facts) -> Iterator[Row]:
    """The first of each stream, of those that wait for nobody else's word."""
    seen: set[tuple[str, int]] = set()
    for row in left:
        stream = (row.entry.till, row.owner)
        if stream not in seen and not _waits_for_another(row, known, facts):
            yield row
        seen.add(stream)


def _waits_for_another(row: Row, known: set[Key], facts: Facts) -> bool:
    """Does it answer a HANDOVER of a log that has not come so far?"""
    if row.handed is None or row.key in known:
        return False
    giver = row.handed[0]
    return _key(giver) not in known and (giver.till, giver.epoch) not in facts.ended


def _fits(books: Books, row: Row, known: set[Key]) -> bool:
    return row.key in known or not knows(row.entry) or not books.overdraws(row.entry, row.owner)


def _apply(books: Books, row: Row, known: set[Key], facts: Facts) -> None:
    if row.handed is not None and _key(row.handed[0]) not in known:
        # The giver's log ended before it said so; its signed word came with the taker's.
        _post(books, *row.handed, row.owner, facts)
        known.add(_key(row.handed[0]))
    if row.key in known:
        return
    known.add(row.key)
    _post(books, row.entry, row.body, row.owner, facts)


def _post(books: Books, entry: Entry, body: bytes, owner: int, facts: Facts) -> None:
    books.post(entry, body, owner)
    if entry.account not in facts.members:
        books.note(entry, UNKNOWN_MEMBER, "no member has this account; the entry is kept")
    if entry.kind not in ledger.TILL_KINDS and not ledger.is_centre(entry.till):
        books.note(entry, UNKNOWN_KIND, f"a till does not write {entry.kind!r}; its postings were applied")
    if not knows(entry):
        text = "it posts to an account this version does not know; nothing was moved"
        books.note(entry, UNKNOWN_POSTING, text)
        return
    if _takes_from_others(entry):
        books.note(entry, FOREIGN, "it takes points that this till does not hold")
    if entry.kind == "HANDOVER":
        _tell_the_taker(books, entry, body)
    if entry.kind == "REGISTER" and entry.account is not None and entry.account != owner:
        # Another till was first with this card: this one is told whose it is.
        link = books.write("LINK", entry.account, (), ref=_account_ref(owner), owner=owner)
        books.send_down(entry.till, ledger.canonical(link))
    mine = books.of(owner)
    _cover(books, mine, entry)
    _count_once(books, mine, entry)


def _tell_the_taker(books: Books, entry: Entry, body: bytes) -> None:
    """A handover whose answer was lost on the LAN is heard of by the downlink; a second time is nothing."""
    takers = {ledger.holder(p.account) for p in entry.postings if p.points > 0}
    for taker in sorted(who for who in takers if who):
        if books.epoch_of(taker) == told_epoch(entry):
            books.send_down(taker, body)


def _takes_from_others(entry: Entry) -> bool:
    """Does it take points that its till neither holds nor made? (A void takes back what its sale made, and

    a return what the sale made that it names, whoever sold.)
    """
    if ledger.is_centre(entry.till):
        return False
    own = ledger.parcel(entry.till)

    def is_of_its_sale(lot: str) -> bool:
        return ledger.maker(lot) == entry.till or (
            entry.kind == "RETURN_GOODS" and lot.rpartition("-")[0] == entry.ref
        )

    return any(
        p.points < 0
        and p.account != own
        and (ledger.holder(p.account) is not None or (p.account == ledger.FREE and not is_of_its_sale(p.lot)))
        for p in entry.postings
    )


def _cover(books: Books, mine: AccountBooks, entry: Entry) -> None:
    """Book what an entry took without having it: as debt, or as a repeat that was taken back before."""
    missing = {key: -mine.shares[key] for key in mine.changed if mine.shares[key] < 0}
    undone = {key: points for key, points in missing.items() if key[0] in mine.undone}
    for (lot, who), points in sorted(undone.items()):
        # A void takes back a credit that came under a once-key a second time: it is gone already.
        postings = moves.move(ledger.ISSUED, _account(who), {lot: points})
        books.write("ADJUST", mine.account, postings, ref=entry.id, flags=(FLAG_ONCE,))
        del missing[lot, who]
    if not missing:
        return
    postings = tuple(
        posting
        for (lot, who), points in sorted(missing.items())
        for posting in moves.move(ledger.DEBT, _account(who), {lot: points})
    )
    undone_sale = entry.kind in TAKING_BACK and all(who == ledger.FREE for _, who in missing)
    if undone_sale or FLAG_REVERSED in entry.flags:
        # Points of a sale that is taken back were placed in a shop meanwhile, or spent since.
        books.write("ADJUST", mine.account, postings, ref=entry.id, flags=(FLAG_TAKEN_BACK,))
        return
    books.write("ADJUST", mine.account, postings, ref=entry.id, flags=(FLAG_OVERSPENT,))
    total = sum(missing.values())
    books.note(entry, OVERSPENT, f"{total} hundredths of a point were spent that were not held; now debt")


def _count_once(books: Books, mine: AccountBooks, entry: Entry) -> None:
    """The first lot under a once-key counts; one that comes later is taken back (§3, Once)."""
    for posting in entry.postings:
        if posting.account != ledger.ISSUED or posting.terms is None:
            continue
        key = ledger.once_key(posting.terms.rule)
        if key is None:
            continue
        if key not in mine.once:
            mine.once[key] = posting.lot
            mine.counted.append(key)
        elif mine.once[key] != posting.lot:
            mine.undone.add(posting.lot)
            mine.repeats.append(posting.lot)
            there = mine.shares.get((posting.lot, ledger.FREE), 0)
            postings = moves.move(ledger.FREE, ledger.ISSUED, {posting.lot: there})
            if postings:
                books.write("ADJUST", mine.account, postings, ref=entry.id, flags=(FLAG_ONCE,))


def settle(books: Books, account: int) -> None:
    """Points that are free pay what the account owes, the first to expire first (§5.12).

    Where a sale that left a debt is taken back after the debt was paid, what had paid it comes back: as a
    lot of its own, without an end, for the lots that paid may be over.
    """
    mine = books.of(account)
    owed = -mine.totals["debt"]
    if owed < 0:
        yesterday = datetime.fromtimestamp(books.now_s, UTC) - timedelta(days=1)
        terms = LotTerms(yesterday.strftime("%Y-%m-%dT00:00:00"), None, RULE_OVERPAID)
        piece = Piece(books.next_lot(), -owed, terms)
        books.write("ADJUST", account, moves.give(ledger.DEBT, ledger.FREE, [piece]), flags=(FLAG_OVERPAID,))
        return
    paid: dict[str, int] = {}
    for lot in sorted(mine.free, key=lambda lot: (_last_day(mine, lot), lot)):
        if owed <= 0:
            break
        paid[lot] = min(owed, mine.free[lot])
        owed -= paid[lot]
    if paid:
        books.write("ADJUST", account, moves.net(paid), flags=(FLAG_NETTED,))


# --------------------------------------------------------------------------- points go out


def place(books: Books, account: int, hub: str, shop_now: str, *, fenced: bool = False) -> str | None:
    """Put points where they will be asked for (placement.py); the shop time of the next look, or None."""
    mine = books.of(account)
    at_home = mine.held_by(books.life_of(hub))
    lots = [
        PlacedLot(lot, mine.lots[lot], free, at_home.get(lot, 0))
        for lot, free in sorted(mine.free.items())
        if lot in mine.lots
    ]
    pieces = [Piece(placed.lot, points, placed.terms) for placed, points in grants(lots, shop_now)]
    if pieces and not fenced:
        _grant(books, account, hub, pieces)
    return next_look(lots, shop_now)


def _grant(books: Books, account: int, till: str, pieces: Sequence[Piece], answers: str = "") -> None:
    books.write_to(till, "GRANT", account, moves.give(ledger.FREE, ledger.parcel(till), pieces), answers)


@dataclass(slots=True)
class Claim:
    """A till wants points now (§5.4). `granted` so far; `recalled` from whom they were asked back."""

    id: str
    account: int
    till: str
    want: int
    granted: int = 0
    recalled: set[str] = field(default_factory=set)


def claim(
    books: Books, asked: Claim, shop_now: str, reachable: Collection[str], *, fenced: bool = False
) -> None:
    """Grant what is free, up to what is wanted, and ask the hubs that listen now for the rest.

    Asked again with the same claim it goes on where it stopped: more than `want` is never granted.
    """
    mine = books.of(asked.account)
    if fenced:
        return
    left = asked.want - asked.granted
    pieces: list[Piece] = []
    for lot in mine.live_free(shop_now):
        if left <= 0:
            break
        points = min(left, mine.free[lot])
        pieces.append(Piece(lot, points, mine.lots[lot]))
        left -= points
    if pieces:
        asked.granted += sum(piece.points for piece in pieces)
        _grant(books, asked.account, asked.till, pieces, asked.id)
    if left <= 0:
        return
    holders = {who for (_, who), points in mine.shares.items() if points}
    listening = {hub for hub in reachable if hub != asked.till and books.life_of(hub) in holders}
    for hub in sorted(listening - asked.recalled):
        asked.recalled.add(hub)
        books.write_to(hub, "RECALL", asked.account, (), asked.id)


# ------------------------------------------------------------------- time, lives and cards


def expire(books: Books, account: int, west_now: str) -> int:
    """What is free and past its day even in the westernmost store dies (§5.13). How many points."""
    mine = books.of(account)
    gone = {lot: points for lot, points in mine.free.items() if _last_day(mine, lot) <= west_now}
    if gone:
        books.write("EXPIRE", account, moves.expire(gone))
    return sum(gone.values())


def resume(books: Books, account: int, till: str, epoch: int) -> int:
    """What is still suspended of that life comes back to the centre. How many points."""
    past = ledger.life(till, epoch)
    held = books.of(account).held_by(past)
    if held:
        postings = moves.move(ledger.parcel(past), ledger.FREE, held)
        books.write("ADJUST", account, postings, ref=f"{till}-{epoch}", flags=(FLAG_RESUMED,))
        settle(books, account)
    return sum(held.values())


def undo(books: Books, account: int, entry: Entry) -> None:
    """Book the opposite of an entry that was accepted only to be seen (§5.10)."""
    postings = []
    for posting in entry.postings:
        who = books.holder_of(entry, posting.account)
        name = posting.account if who is None else _account(who)
        postings.append(Posting(name, posting.lot, -posting.points))
    if postings:
        back = books.write("ADJUST", account, tuple(postings), ref=entry.id, flags=(FLAG_REVERSED,))
        _cover(books, books.of(account), back)
        settle(books, account)


def merge(
    giving: Books,
    taking: Books,
    old: int,
    new: int,
    kind: str,
    told: Collection[str],
    *,
    fenced: bool = False,
) -> None:
    """All that `old` has is `new`'s from now on (§5.15, LINK §2); `told` are tills that should know.

    Two buckets change in one transaction: the only step that does. A till that has not heard may
    still spend the old account's parcels, for its entries are posted to the new one's books.
    """
    source, target = giving.of(old), taking.of(new)
    if kind == "LINK":
        _merge_once(giving, source, target)
    rows = {(_account(who), lot): points for (lot, who), points in source.shares.items() if points}
    debt = source.totals["debt"]
    if debt:
        rows[ledger.DEBT, giving.next_lot()] = debt
    lives = {who for (_, who), points in source.shares.items() if points and who != ledger.FREE}
    present = {till for till, epoch in map(ledger.life_of, lives) if giving.epoch_of(till) == epoch}
    terms = dict(source.lots)
    out = giving.write(kind, old, moves.merge_out(rows), ref=_account_ref(new))
    body = giving.entries[-1][1]
    for till in sorted(present | set(told)):
        giving.send_down(till, body)
    for key, lot in source.once.items():
        if key not in target.once:
            target.once[key] = lot
            target.counted.append(key)
    for lot in sorted(source.undone - target.undone):  # a void that comes later takes nothing more
        target.undone.add(lot)
        target.repeats.append(lot)
        if lot not in target.lots:
            target.lots[lot] = source.lots[lot]
            target.begun.append(lot)
    taking.write(kind, new, moves.merge_in(rows, terms), ref=out.id)
    if not fenced:
        settle(taking, new)


def _merge_once(giving: Books, source: AccountBooks, target: AccountBooks) -> None:
    """A card that was new to a till, and is not to us: what it got once, and has already, is taken back.

    (Two accounts that become one, MERGE, were two customers when each got theirs; they keep it.)
    """
    again = [lot for key, lot in sorted(source.once.items()) if key in target.once]
    source.undone.update(again)
    source.repeats += again
    free = {lot: source.shares.get((lot, ledger.FREE), 0) for lot in again}
    postings = moves.move(ledger.FREE, ledger.ISSUED, free)
    if postings:
        giving.write("ADJUST", source.account, postings, flags=(FLAG_ONCE,))


def _account_ref(account: int) -> str:
    return f"account:{account}"


def merged_into(entry: Entry) -> int | None:
    """Of a MERGE or LINK as a till hears it: the account that goes on."""
    name, _, number = (entry.ref or "").partition(":")
    return int(number) if name == "account" and number.isdigit() else None


def _last_day(mine: AccountBooks, lot: str) -> str:
    """When a lot dies; after all days for one that never does, or whose terms were not told yet."""
    terms = mine.lots.get(lot)
    return (terms.expires_at if terms else None) or "~"


def _account(holder: str) -> str:
    """The account of the double entry of a holder."""
    return ledger.FREE if holder == ledger.FREE else ledger.parcel(holder)


def _key(entry: Entry) -> Key:
    return (entry.till, entry.epoch, entry.seq)
