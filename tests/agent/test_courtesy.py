"""The link is down and the customer's points lie elsewhere: the till lends a little, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.inbox import Claimed, LinkChanged, LookedUp
from loyalty import document, receipt
from loyalty import quote as engine
from loyalty.ledger import DEBT, FLAG_COURTESY, FREE, Entry
from loyalty.wire import FLAG_DEBT, ClaimReply, Member
from tests.agent.shop import ACCOUNT, CARD, LOT, RULEBOOK, SETTINGS, Shop, in_force, key_of

K = 300_00
LENDING = {**SETTINGS, "courtesy_points": K}
HERE, ELSEWHERE = 100_00, 900_00


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    """A shop whose link has just gone: of the customer's points 100 lie here, 900 elsewhere."""
    shops: list[Shop] = []

    def opened(settings: Any = LENDING, **shop_has: Any) -> Shop:
        shop = Shop(tmp_path / str(len(shops)), settings=settings, **shop_has)
        shops.append(shop)
        shop.till.handle(LinkChanged(None, ""))
        shop.know(balance=HERE + ELSEWHERE)
        shop.grant(HERE)
        link_down(shop)
        return shop

    for n in range(3):
        (tmp_path / str(n)).mkdir()
    yield opened
    for shop in shops:
        shop.close()


def link_down(shop: Shop) -> None:
    shop.till.handle(LinkChanged("unreachable", "the cable is out"))


def spend(shop: Shop, sale_id: str, points: int | str) -> dict[str, Any]:
    return shop.commit(sale_id, shop.put(sale_id, card=CARD, redeem=points))


def newest(shop: Shop) -> Entry:
    return shop.ledger.entries(1)[0][0]


def test_what_lies_here_is_spent_first_and_the_rest_is_lent(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop()
    quoted = shop.put("r1", card=CARD, redeem=250_00)
    assert quoted["quote"]["redeemed"] == 250_00
    assert quoted["quote"]["lots_used"] == [[LOT, HERE], ["z:courtesy", 150_00]]
    (lent,) = [message for message in quoted["messages"] if message["code"] == "lent"]
    assert "150,00" in lent["ru"]
    done = shop.commit("r1", quoted, slip="lines")
    assert (done["redeemed"], done["lent"]) == (250_00, 150_00)
    assert any("в долг" in line and "150" in line for line in done["slip"]["lines"])
    entry = newest(shop)
    assert FLAG_COURTESY in entry.flags
    assert sum(p.points for p in entry.postings if p.account == DEBT) == -150_00
    assert shop.parcels() == {LOT: 0} or shop.parcels() == {}


@pytest.mark.parametrize("silent", ["no answer", "not in its second"])
def test_the_first_customer_of_an_outage_is_served_like_the_second(
    open_shop: Callable[..., Shop], silent: str
) -> None:
    """The till still thinks that it has a link; that nobody answers for this sale is enough."""
    shop = open_shop()
    shop.till.handle(LinkChanged(None, ""))
    ask = shop.put_later("r1", card=CARD, redeem=250_00)
    (claim,) = shop.outside.claims
    if silent == "no answer":
        shop.till.handle(Claimed(claim, None))
    else:
        shop.clock_ms += 1_000
        shop.till.ring()
    quoted = ask.reply.result(0)
    assert quoted["quote"]["lots_used"] == [[LOT, HERE], ["z:courtesy", 150_00]]


@pytest.mark.parametrize("refused", [True, False])
def test_a_centre_that_has_nothing_left_or_says_no_is_no_outage(
    open_shop: Callable[..., Shop], refused: bool
) -> None:
    shop = open_shop()
    shop.till.handle(LinkChanged(None, ""))
    ask = shop.put_later("r1", card=CARD, redeem=250_00)
    (claim,) = shop.outside.claims
    nothing = None if refused else ClaimReply(claim.claim_id, 0, False, 1, 0, (), b"", b"")
    shop.till.handle(Claimed(claim, nothing, refused))
    assert ask.reply.result(0)["quote"]["redeemed"] == HERE


def test_an_outage_lends_k_in_all_over_sales_and_restarts(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop()
    lent = []
    for sale_id in ("r1", "r2", "r3"):
        lent.append(spend(shop, sale_id, 250_00)["lent"])
        shop.crash()
        link_down(shop)
        shop.know(balance=HERE + ELSEWHERE)  # what is remembered on disk, as it was heard
    assert lent == [150_00, 150_00, 0]


def test_two_open_quotes_share_what_may_be_lent(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop()
    first, second = (shop.put(sale_id, card=CARD, redeem=350_00) for sale_id in ("r1", "r2"))
    assert (first["quote"]["redeemed"], second["quote"]["redeemed"]) == (350_00, 50_00)
    shop.crash()  # a quote that only lends is a promise too
    assert {held["sale_id"]: held["points"] for held in shop.held()} == {"r1": 350_00, "r2": 50_00}
    link_down(shop)
    assert shop.commit("r2", second)["lent"] == 50_00
    assert shop.commit("r1", first)["lent"] == 250_00


def test_a_void_gives_back_what_was_lent(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop()
    spend(shop, "r1", 400_00)
    assert spend(shop, "r2", 400_00)["lent"] == 0
    shop.void("r1")
    assert shop.parcels() == {LOT: HERE}
    assert spend(shop, "r3", 400_00)["lent"] == K


def test_once_the_office_has_heard_of_it_a_new_outage_begins_but_not_for_who_owes(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop()
    spend(shop, "r1", 400_00)
    shop.reply(next_seq=2)
    assert spend(shop, "r2", 400_00)["lent"] == 0  # nobody has said that the debt is paid
    shop.know(balance=600_00)
    assert spend(shop, "r3", 400_00)["lent"] == K


def nothing_is_set(shop: Callable[..., Shop]) -> Shop:
    return shop(SETTINGS)


def the_office_has_closed_it(shop: Callable[..., Shop]) -> Shop:
    opened = shop()
    with opened.ledger.transaction():
        opened.ledger.execute("UPDATE uplink SET ended = 1")
    return opened


def account_owes(shop: Callable[..., Shop]) -> Shop:
    opened = shop()
    member = Member(ACCOUNT, balance=HERE + ELSEWHERE, as_of_ms=opened.wall_s * 1000, flags=(FLAG_DEBT,))
    opened.till.handle(LookedUp(key_of(CARD), member))
    return opened


def nothing_lies_elsewhere(shop: Callable[..., Shop]) -> Shop:
    opened = shop()
    opened.know(balance=HERE)
    return opened


def nobody_knows_the_card(shop: Callable[..., Shop]) -> Shop:
    templates = [{**SETTINGS["number_templates"][0], "auto_register": True}]
    opened = shop({**LENDING, "number_templates": templates})
    opened.till.handle(LookedUp(key_of(CARD), None))
    return opened


@pytest.mark.parametrize(
    "case",
    [nothing_is_set, the_office_has_closed_it, account_owes, nothing_lies_elsewhere, nobody_knows_the_card],
)
def test_nothing_is_lent(open_shop: Callable[..., Shop], case: Callable[[Callable[..., Shop]], Shop]) -> None:
    shop = case(open_shop)
    quoted = shop.put("r1", card=CARD, redeem=400_00)
    assert "z:courtesy" not in str(quoted["quote"])
    assert not [message for message in quoted["messages"] if message["code"] == "lent"]


def test_the_receipt_tells_what_was_lent_so_that_the_office_prices_it_alike(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop()
    spend(shop, "r1", 250_00)
    body = shop.ledger.batch("T1", 10).documents[0][1]
    sold = document.parse(body)
    again = receipt.parse(document.engine_receipt(sold.receipt, sold.customer))
    answer = engine.quote(in_force().compiled, again, upto_earn=True).to_builtins()
    assert document.quote_digest(answer) == sold.result.digest


EARN_NOW = {
    **RULEBOOK,
    "rules": [
        *RULEBOOK["rules"][:2],
        {"id": "earn", "stage": "earn", "effect": {"type": "earn_percent", "bp": 500, "ttl_days": 10}},
    ],
}


def earned_by(shop: Shop, sale_id: str, **cart: Any) -> tuple[str, str, str | None]:
    """Where the new lot of a sale went, and from when to when it lives."""
    shop.commit(sale_id, shop.put(sale_id, card=CARD, **cart))
    postings = newest(shop).postings
    (lot,) = [p for p in postings if p.terms is not None]
    assert lot.terms is not None
    (into,) = [p.account for p in postings if p.lot == lot.lot and p.points > 0]
    return into, lot.terms.active_from[:10], (lot.terms.expires_at or "")[:10] or None


@pytest.mark.parametrize(
    ("spendable", "expected"),
    [
        ("now", ("parcel:T1", "2026-11-18", "2026-11-28")),
        ("next_sync", (FREE, "2026-11-18", "2026-11-28")),
        ("after 1 day", (FREE, "2026-11-19", "2026-11-29")),
        ("after 30 days", (FREE, "2026-12-18", "2026-12-28")),
    ],
)
def test_points_may_be_spent_when_the_programme_says(
    open_shop: Callable[..., Shop], spendable: str, expected: tuple[str, str, str]
) -> None:
    shop = open_shop({**LENDING, "earn_spendable": spendable}, rulebook=EARN_NOW)
    assert earned_by(shop, "r1") == expected


def test_who_owes_pays_with_what_is_earned(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(rulebook=EARN_NOW)
    assert earned_by(shop, "r1")[0] == "parcel:T1"
    assert earned_by(shop, "r2", redeem=400_00)[0] == FREE  # it was lent in this very sale
    assert earned_by(shop, "r3")[0] == FREE
    other = account_owes(lambda *a, **k: open_shop(*a, rulebook=EARN_NOW, **k))
    assert earned_by(other, "r1")[0] == FREE


def test_settings_that_cannot_be_meant_are_refused() -> None:
    from loyalty import settings

    for word in ("later", "after days", "after 0 days", "after 1000 days"):
        with pytest.raises(settings.SettingsError, match="earn_spendable"):
            settings.parse(msgspec.json.encode({**SETTINGS, "earn_spendable": word}))


def test_goods_of_a_lent_sale_come_back_and_the_loan_first(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop()
    spend(shop, "r1", 250_00)
    shop.take_back("b1", sale_id="r1")
    back = newest(shop)
    assert back.kind == "RETURN_GOODS"
    assert sum(p.points for p in back.postings if p.account == DEBT and p.points > 0) == 150_00
    assert shop.parcels() == {LOT: HERE}
    assert spend(shop, "r2", 400_00)["lent"] == K
