"""Goods come back, all or a few, here or in another shop: no hundredth of a point is lost or made."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty import document, ledger, repricing
from loyalty.document import (
    Receipt,
    Result,
    ReturnDocument,
    ReturnedLine,
    SaleDocument,
    SeenCustomer,
    SeenLot,
)
from loyalty.faults import Refused
from loyalty.index import Compiled
from loyalty.ledger import Earned, Entry, LotTerms, Posting, Spent
from loyalty.protocol import goods, moves
from loyalty.quote import quote
from loyalty.receipt import parse
from loyalty.returns import give_back

ACCOUNT = 1001
AT = "2026-11-18T14:00:00+03:00"
NOW = "2026-11-18T14:00:00"
DEMO = Path(__file__).parents[2] / "agent" / "demo" / "data"
SKUS = ("milk-1l", "cheese", "bread", "tea-100", "cigarettes", "unknown")
LOTS = (
    SeenLot("c:1-1-1-0", 40_00, "2026-01-01T00:00:00", "2026-12-01T00:00:00"),
    SeenLot("c:1-1-2-0", 25_50, "2026-02-01T00:00:00", None),
    SeenLot("z:lent", 17_77, "2026-11-18T14:00:00", None),  # what the till lends beyond its parcels
)


@cache
def programme(name: str) -> Compiled:
    return repricing.programme((DEMO / name).read_bytes(), (DEMO / "goods.json").read_bytes())


def sold(
    lines: Sequence[tuple[str, int, int]], *, redeem: int | str | None, lots: Sequence[SeenLot], name: str
) -> tuple[Entry, SaleDocument]:
    """A sale at till T1 with (sku, price, quantity) lines; spent from T1's parcels, the rest of it lent."""
    receipt = Receipt(
        id="r1",
        till="T1",
        store="S1",
        region=None,
        channel="pos",
        at=AT,
        lines=tuple(
            document.SoldLine(str(n), sku, price, quantity) for n, (sku, price, quantity) in enumerate(lines)
        ),
        redeem=redeem,
    )
    customer = SeenCustomer(ACCOUNT, lots=tuple(lots))
    priced = quote(programme(name), parse(document.engine_receipt(receipt, customer)), upto_earn=True)
    raw = priced.to_builtins()
    result = Result(document.quote_digest(raw), raw["list"], raw["discount"], raw["redeemed"], raw["pay"], 0)
    paper = SaleDocument(receipt, customer, 1, 0, 1, (), None, None, None, result)
    spent = [Spent(lot, points) for lot, points in priced.lots_used if lot != "z:lent"]
    lent = sum(points for lot, points in priced.lots_used if lot == "z:lent")
    earned = [
        Earned(
            lot["amount"],
            LotTerms(lot["active_from"], lot.get("expires_at"), lot["rule"]),
            lot["active_from"] <= NOW,
        )
        for lot in raw["earned_lots"]
    ]
    return Entry("T1", 1, 1, 0, "SALE", ACCOUNT, moves.sale("T1", 1, 1, spent, earned, lent)), paper


@dataclass
class Chain:
    """Who holds what, all over the chain."""

    sums: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def post(self, entry: Entry) -> None:
        ledger.check(entry)
        for posting in entry.postings:
            self.sums[posting.account, posting.lot] += posting.points

    def held(self, till: str) -> dict[str, int]:
        return {lot: points for (who, lot), points in self.sums.items() if who == ledger.parcel(till)}

    def total(self, account: str) -> int:
        return sum(points for (who, _), points in self.sums.items() if who == account)

    @property
    def balance(self) -> int:
        return sum(points for (who, _), points in self.sums.items() if ledger.is_balance(who))


def paper_of(number: int, lines: dict[str, int]) -> ReturnDocument:
    goods_back = tuple(ReturnedLine(line, quantity) for line, quantity in lines.items())
    return ReturnDocument(f"ret{number}", "T1-1-1", AT, goods_back, 0, 0, 0)


def give_goods_back(
    chain: Chain, sale: Entry, paper: SaleDocument, name: str, parts: Sequence[tuple[str, dict[str, int]]]
) -> list[tuple[Entry, int]]:
    """Returns in their order, each (till, lines): the entries and what was paid out for them."""
    pricing = repricing.reprice(programme(name), paper)
    papers = [paper_of(number, lines) for number, (_, lines) in enumerate(parts)]
    answers = give_back(pricing, repricing.asked_back(papers, paper))
    written: list[tuple[Entry, int]] = []
    for number, (till, _) in enumerate(parts):
        postings = goods.take_goods(
            goods.read_sale(sale),
            till,
            answers[:number],
            answers[number],
            goods.done_by(entry for entry, _ in written),
            held=chain.held(till),
            shop_now=NOW,
            terms=goods.terms_of(paper, lambda _: None),
        )
        entry = Entry(till, 1, 2 + number, 0, "RETURN_GOODS", ACCOUNT, postings, ref=sale.id)
        chain.post(entry)
        written.append((entry, answers[number].money_minor))
        assert all(points >= 0 for (who, _), points in chain.sums.items() if ledger.holder(who)), "a parcel"
    return written


@st.composite
def partitions(draw: st.DrawFn) -> tuple[dict[str, Any], list[tuple[str, dict[str, int]]]]:
    """A sale, and all of its goods parted into returns at one till and another."""
    lines = draw(
        st.lists(
            st.tuples(st.sampled_from(SKUS), st.integers(1, 90_000), st.integers(1, 4_000)),
            min_size=1,
            max_size=4,
        )
    )
    lots = draw(st.lists(st.sampled_from(LOTS), unique=True))
    sale = {
        "lines": lines,
        "redeem": draw(st.sampled_from([None, "max", 1234])),
        "lots": lots,
        "name": draw(st.sampled_from(["rulebook-1.json", "rulebook-2.json"])),
    }
    steps = draw(st.integers(1, 4))
    parts: list[dict[str, int]] = [{} for _ in range(steps)]
    for number, (_, _, quantity) in enumerate(lines):
        cuts = sorted(draw(st.lists(st.integers(0, quantity), min_size=steps - 1, max_size=steps - 1)))
        for part, (first, last) in zip(parts, zip([0, *cuts], [*cuts, quantity], strict=True), strict=True):
            if last > first:
                part[str(number)] = last - first
    return sale, [(draw(st.sampled_from(["T1", "T2"])), part) for part in parts if part]


@settings(deadline=None)
@given(partitions())
def test_all_goods_back_in_any_parts_is_as_if_nothing_had_been_sold(
    told: tuple[dict[str, Any], list[tuple[str, dict[str, int]]]],
) -> None:
    sale_of, parts = told
    chain = Chain()
    for lot in sale_of["lots"]:
        if lot.id != "z:lent":
            chain.sums[ledger.parcel("T1"), lot.id] = lot.amount
    before = chain.balance
    sale, paper = sold(**sale_of)
    chain.post(sale)
    written = give_goods_back(chain, sale, paper, sale_of["name"], parts)
    assert sum(money for _, money in written) == paper.result.pay
    assert {lot: points for (who, lot), points in chain.sums.items() if who == ledger.SPENT and points} == {}
    assert {lot: points for (who, lot), points in chain.sums.items() if who == ledger.ISSUED and points} == {}
    assert chain.balance == before
    # And the office, which knows all of it, has nothing to add.
    pricing = repricing.reprice(programme(sale_of["name"]), paper)
    papers = [paper_of(number, lines) for number, (_, lines) in enumerate(parts)]
    target = give_back(pricing, repricing.asked_back(papers, paper))
    done = goods.done_by(entry for entry, _ in written)
    terms = goods.terms_of(paper, lambda _: None)
    assert goods.settle(goods.read_sale(sale), target, done, free={}, terms=terms) == ()


MILK = [("milk-1l", 100_00, 3_000)]
SPENT_LOT = LOTS[0]


@pytest.fixture
def chain() -> Chain:
    found = Chain()
    found.sums[ledger.parcel("T1"), SPENT_LOT.id] = SPENT_LOT.amount
    return found


def test_points_come_back_where_the_goods_are_given_back(chain: Chain) -> None:
    sale, paper = sold(MILK, redeem="max", lots=[SPENT_LOT], name="rulebook-1.json")
    chain.post(sale)
    ((entry, _),) = give_goods_back(chain, sale, paper, "rulebook-1.json", [("T2", {"0": 3_000})])
    assert Posting(ledger.parcel("T2"), SPENT_LOT.id, 40_00, terms_seen()) in entry.postings
    # What the sale earned lies free until its first day: any till may say so, and nothing is owed.
    earned = {p.lot: p.points for p in sale.postings if p.account == ledger.FREE}
    assert {p.lot: -p.points for p in entry.postings if p.account == ledger.FREE} == earned
    assert goods.debt_made(entry.postings) == 0


def terms_seen() -> LotTerms:
    return LotTerms("2026-01-01T00:00:00", "2026-12-01T00:00:00", goods.RULE_NOT_KNOWN)


def test_points_earned_and_spent_since_become_debt_and_never_money(chain: Chain) -> None:
    earned = Earned(30_00, LotTerms(NOW, None, "earn5"), spendable_here=True)
    sale = Entry("T1", 1, 1, 0, "SALE", ACCOUNT, moves.sale("T1", 1, 1, [], [earned]))
    postings = moves.take_back("T1", "T1-1-1-0", 30_00, held=12_00)
    assert goods.debt_made(postings) == 18_00
    assert goods.read_sale(sale).earned == (goods.Credit("T1-1-1-0", 30_00, earned.terms, later=False),)


def test_what_was_lent_is_no_longer_owed_before_anything_else_comes_back(chain: Chain) -> None:
    lots = [SPENT_LOT, LOTS[2]]
    sale, paper = sold(MILK, redeem="max", lots=lots, name="rulebook-1.json")
    chain.post(sale)
    lent = -chain.total(ledger.DEBT)
    assert lent > 0
    written = give_goods_back(
        chain, sale, paper, "rulebook-1.json", [("T1", {"0": 1}), ("T1", {"0": 999}), ("T1", {"0": 2_000})]
    )
    first, second, _ = (entry for entry, _ in written)
    assert {p.account for p in first.postings} <= {ledger.DEBT, ledger.SPENT, ledger.FREE, ledger.ISSUED}
    assert any(p.account == ledger.parcel("T1") for p in second.postings)
    assert chain.total(ledger.DEBT) == 0


def returned_twice() -> tuple[goods.Sold, goods.Done, SaleDocument, Compiled]:
    """Both tills took all the milk back, and neither knew of the other."""
    sale, paper = sold(MILK, redeem="max", lots=[SPENT_LOT], name="rulebook-1.json")
    each = [
        give_goods_back(Chain(), sale, paper, "rulebook-1.json", [(till, {"0": 3_000})])[0][0]
        for till in ("T2", "T3")
    ]
    return goods.read_sale(sale), goods.done_by(each), paper, programme("rulebook-1.json")


@pytest.mark.parametrize("free", [0, 15_00, 500_00])
def test_goods_given_back_at_two_tills_bring_points_once(free: int) -> None:
    sale, done, paper, compiled = returned_twice()
    assert done.back == {SPENT_LOT.id: 80_00}
    papers = [paper_of(number, {"0": 3_000}) for number in range(2)]
    target = give_back(repricing.reprice(compiled, paper), repricing.asked_back(papers, paper))
    postings = goods.settle(
        sale, target, done, free={SPENT_LOT.id: free}, terms=goods.terms_of(paper, lambda _: None)
    )
    entry = Entry("c:1", 1, 1, 0, "ADJUST", ACCOUNT, postings)
    ledger.check(entry)
    together = goods.done_by([entry])
    assert done.back[SPENT_LOT.id] + together.back[SPENT_LOT.id] == 40_00
    taken = -sum(p.points for p in postings if p.account == ledger.FREE and p.points < 0)
    assert taken == min(free, 40_00)
    assert goods.debt_made(postings) == 40_00 - taken
    # What was taken back twice of the points that were earned comes back as well.
    (credit,) = sale.earned
    assert done.reversed[credit.lot] + together.reversed[credit.lot] == credit.points


def test_a_voided_sale_is_settled_as_a_whole() -> None:
    sale, paper = sold(MILK, redeem="max", lots=[SPENT_LOT], name="rulebook-1.json")
    terms = goods.terms_of(paper, lambda _: None)
    postings = goods.settle(goods.read_sale(sale), None, goods.done_by([]), free={}, terms=terms)
    done = goods.done_by([Entry("c:1", 1, 1, 0, "ADJUST", ACCOUNT, postings)])
    assert done.back == {SPENT_LOT.id: 40_00}
    assert sum(done.reversed.values()) == sum(c.points for c in goods.read_sale(sale).earned)


def test_a_price_that_is_not_the_tills_is_not_used() -> None:
    _, paper = sold(MILK, redeem=None, lots=[], name="rulebook-1.json")
    other = json.loads((DEMO / "rulebook-1.json").read_bytes())
    other["rules"][0]["effect"]["bp"] = 1001
    del other["tests"]
    changed = repricing.programme(json.dumps(other).encode(), (DEMO / "goods.json").read_bytes())
    with pytest.raises(repricing.PriceDiffersError, match="r1"):
        repricing.reprice(changed, paper)
    with pytest.raises(Refused):
        repricing.programme(b'{"format": 2}', None)
