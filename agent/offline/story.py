"""What ledger.db can tell: the digits of a slip proven, the story of an account or a sale, all of it.

Only reading, by whoever has a Reader; the agent may run meanwhile. Nothing here is in a person's
language: agent/ledger_words.py has the words.

**A witness.** Six digits of the chain's head stand on every slip, outside this machine. They are right
only where the entry, its receipt and everything before them are what was written then.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from agent.offline.ledger_reader import Reader
from agent.offline.pruning import pruned
from agent.offline.records import NOT_ENROLLED, LedgerFault, told_id
from loyalty import document, ledger
from loyalty.document import Document
from loyalty.ledger import Entry, LedgerError, LotTerms
from loyalty.texts import N_

_IDENT = re.compile(
    r"(?P<till>[A-Za-z0-9_-]{1,32})-(?P<epoch>\d{1,9})-(?P<seq>\d{1,18})-(?P<hash>[0-9a-f]{6})"
)


@dataclass(frozen=True, slots=True)
class Told:
    """An entry with its place in the chain and what came with it.

    `acked` = the centre has it; `sale_id` = the cash program's id; `down` = the centre wrote it.
    """

    entry: Entry
    body: bytes
    head: bytes
    receipt: bytes | None = None
    sale_id: str | None = None
    acked: bool = True
    down: bool = False

    @property
    def document(self) -> Document | None:
        """What the receipt says; None where there is none, or it is of later days."""
        return document.read_any(self.receipt)

    @property
    def ident(self) -> str:
        """As on the slip; an entry of the centre has no slip, and the digits of its downlink's head."""
        return f"{self.entry.id}-{ledger.fingerprint(self.head)}"


# ----------------------------------------------------------------------------- the witness


@dataclass(frozen=True, slots=True)
class Proof:
    """The digits are right. `told` None: the entry was pruned, and its head was kept.

    `walked` entries before and with it were hashed, from `from_seq` on.
    """

    ident: str
    told: Told | None
    from_seq: int
    walked: int


def prove(reader: Reader, ident: str) -> Proof:
    """Prove the last line of a slip. Raises LedgerFault saying plainly what is not as it says."""
    own = reader.identity()
    if own is None:
        raise LedgerFault(NOT_ENROLLED)
    read = _IDENT.fullmatch(ident.strip())
    if read is None:
        raise LedgerFault(N_("{ident} is no end of a slip; write it as T1-1-57-3fa94c", ident=ident))
    till, epoch, seq, digits = read["till"], int(read["epoch"]), int(read["seq"]), read["hash"]
    entry_id = f"{till}-{epoch}-{seq}"
    if till != own.till:
        raise LedgerFault(
            N_("this slip is of till {till}; this is till {own}: ask there", till=till, own=own.till)
        )
    start, kept = reader.chain_start(till, epoch)
    if seq == 0:
        raise _unknown(entry_id)
    if seq < start:
        raise _gone(entry_id)
    if seq == start:
        _compare(entry_id, kept, digits)
        return Proof(ident, None, seq, 0)
    told, head = None, kept
    for told in _walk(reader, epoch, start, seq):
        head = ledger.link(head, told.body)
        digest = hashlib.sha256(told.receipt).digest() if told.receipt is not None else None
        if head != told.head or digest != told.entry.document_sha256:
            raise LedgerFault(
                N_("entry {id} is not what was written; nothing behind it can be proven", id=told.entry.id)
            )
    if told is None or told.entry.seq != seq:
        raise _unknown(entry_id)
    _compare(entry_id, head, digits)
    return Proof(ident, told, start + 1, seq - start)


def _walk(reader: Reader, epoch: int, after: int, to: int) -> Iterator[Told]:
    keys = reader.execute(
        "SELECT epoch, seq FROM entry WHERE epoch = ? AND seq > ? AND seq <= ? ORDER BY seq",
        (epoch, after, to),
    )
    for told in _told(reader, keys):
        after += 1
        if told.entry.seq != after:
            raise LedgerFault(N_("entry {id} is missing", id=f"{told.entry.till}-{epoch}-{after}"))
        yield told


def _compare(entry_id: str, head: bytes, digits: str) -> None:
    if ledger.fingerprint(head) != digits:
        raise LedgerFault(
            N_(
                "the digits differ: entry {id} of this ledger ends with {here}, the slip with {digits}."
                " The slip or the ledger is not the one that was written",
                id=entry_id,
                here=ledger.fingerprint(head),
                digits=digits,
            )
        )


def _gone(entry_id: str) -> LedgerFault:
    return LedgerFault(
        N_("entry {id} is older than what this till keeps (90 days); ask the office for it", id=entry_id)
    )


def _unknown(entry_id: str) -> LedgerFault:
    return LedgerFault(
        N_("there is no entry {id} here: the slip is forged, or this disk has lost its end", id=entry_id)
    )


# ------------------------------------------------------------------------------- entries


def everything(reader: Reader) -> Iterator[Told]:
    """Every entry of this till in the order of its chains, one by one, as of one moment."""
    return _told(reader, reader.execute("SELECT epoch, seq FROM entry ORDER BY epoch, seq"))


def _told(reader: Reader, keys: Iterable[tuple[int, int]]) -> Iterator[Told]:
    for key in keys:
        body, head, receipt, sale_id, acked = reader.execute(
            "SELECT e.body, e.h, d.body, d.sale_id, e.seq <= coalesce(p.acked_seq, u.acked_seq)"
            " FROM entry e JOIN uplink u LEFT JOIN past_epoch p ON p.epoch = e.epoch"
            " LEFT JOIN document d ON d.epoch = e.epoch AND d.seq = e.seq WHERE e.epoch = ? AND e.seq = ?",
            key,
        ).fetchone()
        yield Told(_parse(body), body, head, receipt, sale_id and told_id(sale_id), bool(acked))


def _parse(body: bytes) -> Entry:
    try:
        return ledger.parse(body)
    except LedgerError as error:
        raise LedgerFault(N_("an entry on this disk cannot be read: {why}", why=error)) from error


# --------------------------------------------------------------------------------- stories


@dataclass(frozen=True, slots=True)
class Lot:
    """A lot as it lies here: `promised` = (sale, points) of open quotes."""

    id: str
    points: int
    terms: LotTerms
    promised: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Story:
    """What this till knows of an account or a sale, oldest first.

    `others` = accounts that go on as this one; `left_out` = older entries that were not asked for.
    """

    account: int | None
    others: tuple[int, ...] = ()
    lots: tuple[Lot, ...] = ()
    entries: tuple[Told, ...] = ()
    left_out: int = 0
    sale_id: str | None = None
    held: dict[str, int] = field(default_factory=dict)  # of a sale that is not paid: lot -> points


def of_account(reader: Reader, account: int, count: int) -> Story:
    """The newest `count` entries about an account, and its lots as they lie here."""
    owner = reader.owner(account)
    others = tuple(
        row[0]
        for row in reader.execute("SELECT account FROM alias WHERE owner = ? ORDER BY account", (owner,))
    )
    family = json.dumps([owner, *others])
    keys = reader.execute(
        "SELECT epoch, seq FROM entry WHERE account IN (SELECT value FROM json_each(?)) ORDER BY epoch, seq",
        (family,),
    )
    told = [*_told(reader, keys), *_from_centre(reader, {owner, *others})]
    # Each side's entries keep their own order; what was granted in a second was spent after that.
    told.sort(key=lambda one: (one.entry.at_s, not one.down))
    lots = tuple(_lots(reader, owner))
    return Story(owner, others, lots, tuple(told[-count:]), max(0, len(told) - count))


def _from_centre(reader: Reader, family: set[int]) -> Iterator[Told]:
    """What the centre told this till of these accounts."""
    rows = reader.execute(
        "SELECT body, h FROM downlink WHERE bucket IN (SELECT value FROM json_each(?))"
        " ORDER BY timeline, bucket, gseq",
        (json.dumps(sorted({ledger.bucket(account) for account in family})),),
    )
    for body, head in rows:
        entry = _parse(body)
        if entry.account in family:
            yield Told(entry, body, head, down=True)


def _lots(reader: Reader, owner: int) -> Iterator[Lot]:
    rows = reader.execute(
        "SELECT lot, points, active_from, expires_at, rule FROM parcel WHERE account = ?"
        " ORDER BY expires_at IS NULL, expires_at, active_from, lot",
        (owner,),
    ).fetchall()
    for lot, points, *terms in rows:
        promised = reader.execute(
            "SELECT sale_id, points FROM hold_parcel WHERE account = ? AND lot = ? ORDER BY sale_id",
            (owner, lot),
        )
        yield Lot(lot, points, LotTerms(*terms), tuple(promised.fetchall()))


def of_sale(reader: Reader, sale_id: str) -> Story:
    """A sale by the cash program's id: its entry and what corrected it, or what it is promised.

    Raises LedgerFault where this till does not know it.
    """
    keys = reader.execute("SELECT epoch, seq FROM document WHERE sale_id = ?", (sale_id,))
    sold = next(_told(reader, keys), None)
    if sold is not None:
        after = _told(
            reader,
            reader.execute("SELECT epoch, seq FROM entry WHERE ref = ? ORDER BY 1, 2", (sold.entry.id,)),
        )
        lots = {posting.lot for posting in sold.entry.postings}
        account = sold.entry.account
        known = _lots(reader, reader.owner(account)) if account is not None else ()
        here = tuple(lot for lot in known if lot.id in lots)
        return Story(account, lots=here, entries=(sold, *after), sale_id=sale_id)
    hold = reader.hold(sale_id)
    if hold is None and reader.was_pruned(sale_id):
        raise LedgerFault(pruned(sale_id))
    if hold is None:
        raise LedgerFault(N_("the till does not know sale {id}", id=sale_id))
    account = hold.offer.customer.account if hold.offer.customer else None
    held = {piece.lot: piece.points for piece in hold.offer.spends}
    known = _lots(reader, reader.owner(account)) if account is not None else ()
    return Story(account, lots=tuple(lot for lot in known if lot.id in held), sale_id=sale_id, held=held)
