"""Who gives and who takes: the table of moves.py is what really happens, every row of it and no more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loyalty import ledger
from loyalty.ledger import FREE, Earned, Entry, LotTerms, Posting, Spent
from loyalty.protocol import centre, goods, moves
from loyalty.protocol.goods import Done
from loyalty.protocol.moves import ADJUSTED, ANY, AT_HUB, FLOWS, HERE, OF_A_LIFE, Piece
from loyalty.returns import Returned
from tests.protocol.chain import EVER, NOW, PureCentre, PureTill

CARD, OTHER_CARD = 1, 2
WELCOME = LotTerms("2026-01-01T00:00:00", None, ledger.once_rule("welcome", "ever"))
LATER = LotTerms("2026-12-01T00:00:00", None, "earn")
NAMES = {"parcel:T": HERE, "parcel:H": HERE, "parcel:HUB": AT_HUB, "parcel:T~1": OF_A_LIFE}


def pairs(kind: str, postings: Iterable[Posting]) -> set[tuple[str, str, str]]:
    """Of each lot, everybody who gives with everybody who takes."""
    rows = list(postings)
    return {
        (kind, NAMES.get(out.account, out.account), NAMES.get(into.account, into.account))
        for out in rows
        for into in rows
        if out.lot == into.lot and out.points < 0 < into.points
    }


def sold() -> Entry:
    """Spent, lent, earned for now, for later."""
    earned = [Earned(300, EVER, True), Earned(200, LATER, False)]
    postings = moves.sale("T", 1, 1, [Spent("c:7-1-1-0", 500)], earned, lent=100)
    return Entry("T", 1, 1, 0, "SALE", CARD, postings)


def returned(back: int, earned: int) -> Returned:
    return Returned(0, back, (), {"earn": earned}, {})


def written_at_tills() -> set[tuple[str, str, str]]:
    sale, nothing = sold(), Done({}, {})
    void = moves.void(sale, lambda _: 50, lambda _: EVER)
    goods_back = goods.take_goods(
        goods.read_sale(sale), "T", (), returned(600, 500), nothing,
        held={"T-1-1-0": 50}, shop_now=NOW, terms=lambda _: EVER,
    )  # fmt: skip
    found = pairs("SALE", sale.postings) | pairs("VOID", void) | pairs("RETURN_GOODS", goods_back)
    found |= pairs("RELEASE", moves.release("T", {"a": 5}))
    return found | pairs("HANDOVER", moves.give("parcel:HUB", "parcel:T", [Piece("a", 5, EVER)]))


def settled_by_the_office() -> set[tuple[str, str, str]]:
    """Goods came back without their receipt, or twice."""
    whole = goods.read_sale(sold())
    free = {"c:7-1-1-0": 10, "T-1-1-0": 50}

    def adjust(target: Sequence[Returned], done: Done) -> set[tuple[str, str, str]]:
        return pairs("ADJUST", goods.settle(whole, target, done, free=free, terms=lambda _: EVER))

    nothing = adjust([returned(600, 500)], Done({}, {}))
    twice = Done({"c:7-1-1-0": 500, "T-1-1-2": 100}, {"T-1-1-0": 300})
    return nothing | adjust([], twice)


def written_by_the_centre() -> set[tuple[str, str, str]]:
    office = PureCentre(("T", "H"))
    till = PureTill("T")
    office.open_account(CARD, 1_000)
    office.place(CARD, "T")
    till.hear(office.down["T"][-1])
    # A till sells more than it holds (an old disk), and gets something that may be had only once, twice.
    lot = next(iter(till.terms))
    out = [Posting("parcel:T", lot, -950), Posting(ledger.SPENT, lot, 950)]
    once = [moves.sale("T", 1, seq, [], [Earned(90, WELCOME, False)]) for seq in (2, 3)]
    later = moves.sale("T", 1, 5, [], [Earned(80, EVER, False)])
    log = [
        Entry("T", 1, 1, 0, "SALE", CARD, tuple(out)),
        Entry("T", 1, 2, 0, "SALE", CARD, once[0]),
        Entry("T", 1, 3, 0, "SALE", CARD, once[1]),
    ]
    undone = moves.void(log[2], lambda _: 0, lambda _: WELCOME)
    log += [Entry("T", 1, 4, 0, "VOID", CARD, undone, ref="T-1-3")]
    # A sale is taken back whose points for later were placed in the meantime.
    log += [Entry("T", 1, 5, 0, "SALE", OTHER_CARD, later)]
    office.receive(log, {})
    office.place(OTHER_CARD, "H")
    back = moves.void(log[-1], lambda _: 0, lambda _: EVER)
    office.receive([Entry("T", 1, 6, 0, "VOID", OTHER_CARD, back, ref="T-1-5")], {})
    office.open_account(CARD, 400)  # pays what is owed
    office.place(CARD, "T")
    # The till's life ends; what has expired dies; a late entry is reversed; two cards become one.
    books = office.books()
    centre.resume(books, CARD, "T", 1)
    short = LotTerms("2026-01-01T00:00:00", "2026-02-01T00:00:00", "earn")
    opening = (Posting(ledger.ADJUSTED, "x", -70, short), Posting(FREE, "x", 70))
    books.write("ADJUST", CARD, opening)
    centre.expire(books, CARD, NOW)
    centre.merge(books, books, CARD, OTHER_CARD, "MERGE", [])
    office.keep(books)
    return {pair for entry in office.known.values() if ledger.is_centre(entry.till) for pair in _seen(entry)}


def _seen(entry: Entry) -> set[tuple[str, str, str]]:
    found = pairs(entry.kind, entry.postings)
    if entry.kind != "MERGE":
        return found
    return {(kind, *(who if who == ADJUSTED else ANY for who in ways)) for kind, *ways in found}


def test_every_row_of_the_table_happens_and_nothing_else_does() -> None:
    table = {(flow.kind, flow.giver, flow.taker) for flow in FLOWS}
    alike = {row for row in table if row[0] == "LINK"} | {("ADJUST", ANY, ANY)}  # as MERGE; of any entry
    seen = written_at_tills() | settled_by_the_office() | written_by_the_centre()
    assert seen == table - alike


def test_the_table_knows_every_kind() -> None:
    kinds = {flow.kind for flow in FLOWS} | set(moves.STILL)
    assert kinds == ledger.TILL_KINDS | ledger.CENTRE_KINDS
