"""Points of the next room: a till asks its hub, and a hub gives, with or without a link to the centre."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent import main
from agent.config import Config, HubConfig
from agent.inbox import Claimed, HandedOver, HandoverAsked, Inbox, LinkChanged, LoadBatchAsked, PutSale
from agent.state import StateDir
from agent.sync.asking import HUB_MS
from loyalty import document, ledger, wire
from loyalty.ledger import Entry, LotTerms
from loyalty.protocol import moves
from loyalty.protocol import till as till_law
from loyalty.wire import ClaimReply, DownItem, HandoverReply, HandoverRequest
from tests.agent.shop import ACCOUNT, CARD, LOT, SETTINGS, TILL, Shop, milk

HUB = "T9"
WITH_HUB = {
    **SETTINGS,
    "hub": {"till": HUB, "url": "http://192.168.1.10:7720"},
    "tills": {HUB: "09" * 32, TILL: "01" * 32},
}
THERE = "c:233-1-9-0"  # a lot that lies at the hub
TERMS = LotTerms("2026-01-01T00:00:00", None, "opening")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A till without a link; Anna has 1,000 points, 600 of them here, and the hub in the next room."""
    shop = Shop(tmp_path, settings=WITH_HUB)
    shop.know()
    shop.grant(60_000)
    yield shop
    shop.close()


def wants(shop: Shop, sale_id: str = "r1", redeem: int = 80_000) -> PutSale:
    return shop.put_later(sale_id, card=CARD, redeem=redeem, lines=[milk(20_000)])


def given(request: HandoverRequest, points: int, seq: int = 5) -> HandoverReply:
    """The hub's HANDOVER. (Its signature was checked before the till's thread hears of it.)"""
    pieces = [moves.Piece(THERE, points, TERMS)]
    postings = moves.give(ledger.parcel(HUB), ledger.parcel(request.till), pieces)
    ref = wire.handover_ref(request)
    entry = Entry(HUB, 1, seq, 0, "HANDOVER", request.account, postings, ref=ref)
    return HandoverReply(ledger.canonical(entry), b"word of the hub")


def question(shop: Shop) -> HandoverRequest:
    return shop.outside.questions.pop()


def redeemed(ask: PutSale) -> int:
    return int(ask.reply.result(0)["quote"]["redeemed"])


# ------------------------------------------------------------------------------ who asks


def test_without_a_link_the_hub_gives_what_is_missing(shop: Shop) -> None:
    ask = wants(shop)
    asked = question(shop)
    assert (asked.till, asked.epoch, asked.account, asked.want) == (TILL, 1, ACCOUNT, 20_000)
    assert not ask.reply.done()
    shop.till.handle(HandedOver(asked, given(asked, 20_000)))
    assert redeemed(ask) == 80_000
    shop.commit("r1", ask.reply.result(0))
    assert shop.parcels() == {}
    (taken,) = (entry for entry, _ in shop.ledger.entries(9) if entry.kind == "HANDOVER")
    assert (taken.ref, taken.postings) == ("T9-1-5", ())
    body = shop.ledger.batch(TILL, 9).documents[0][1]
    assert document.parse_handover(body).signature == b"word of the hub"


def test_what_the_hub_lacks_is_claimed_at_the_centre(shop: Shop) -> None:
    shop.till.handle(LinkChanged(None, ""))
    ask = wants(shop)
    asked = question(shop)
    assert shop.outside.claims == []
    shop.till.handle(HandedOver(asked, given(asked, 5_000)))
    (claim,) = shop.outside.claims
    assert claim.want == 15_000
    shop.till.handle(Claimed(claim, None))
    assert redeemed(ask) == 65_000


def test_a_silent_hub_costs_a_third_of_the_second(shop: Shop) -> None:
    shop.till.handle(LinkChanged(None, ""))
    ask = wants(shop)
    asked = question(shop)
    shop.clock_ms = HUB_MS
    shop.till.ring()
    (claim,) = shop.outside.claims
    assert claim.want == 20_000
    shop.clock_ms = 1_000
    shop.till.ring()
    assert redeemed(ask) == 60_000
    assert ask.reply.result(0)["customer"]["available_here"] == 60_000
    # What comes after all is this till's, and changes nothing of the quote.
    shop.till.handle(HandedOver(asked, given(asked, 20_000)))
    assert shop.get("r1")["quote"]["redeemed"] == 60_000
    assert shop.parcels() == {THERE: 20_000}


def test_without_anybody_what_lies_here_is_offered_and_named(shop: Shop) -> None:
    ask = wants(shop)
    shop.till.handle(HandedOver(question(shop), None))
    reply = ask.reply.result(0)
    assert (reply["quote"]["redeemed"], reply["customer"]["available_here"]) == (60_000, 60_000)
    assert "points_elsewhere" in [message["code"] for message in reply["messages"]]


def test_the_hub_itself_asks_the_centre_only(tmp_path: Path) -> None:
    shop = Shop(tmp_path, settings={**WITH_HUB, "hub": {"till": TILL, "url": "http://192.168.1.10:7720"}})
    shop.know()
    shop.grant(60_000)
    assert redeemed(wants(shop)) == 60_000
    shop.till.handle(LinkChanged(None, ""))
    wants(shop, "r2", 90_000)
    assert (shop.outside.questions, len(shop.outside.claims)) == ([], 1)
    shop.close()


def test_a_card_that_nobody_here_knows_is_looked_up_and_its_points_asked_for(tmp_path: Path) -> None:
    shop = Shop(tmp_path, settings=WITH_HUB)
    shop.till.handle(LinkChanged(None, ""))
    ask = wants(shop)
    shop.clock_ms = 200
    shop.know(home="T4")  # another shop's: nothing is on its way
    asked = question(shop)
    assert asked.want == 80_000
    shop.clock_ms = 500
    shop.till.ring()
    (claim,) = shop.outside.claims
    shop.clock_ms = 1_000  # the second began when the quote was asked, not when the card was known
    shop.till.ring()
    assert redeemed(ask) == 0
    assert claim.want == 80_000
    shop.close()


# ------------------------------------------------------------------- one wish, one handover


def test_the_same_wish_again_is_the_same_question(shop: Shop) -> None:
    wants(shop)
    first = question(shop)
    again = wants(shop)  # the cash program asks twice on a bad link: it waits for the same answer
    assert shop.outside.questions == []
    shop.clock_ms = 1_000
    shop.till.ring()
    assert redeemed(again) == 60_000
    shop.void("r1")
    shop.crash()
    shop.know()
    ask = wants(shop)
    asked = question(shop)
    assert asked == first
    shop.till.handle(HandedOver(asked, given(asked, 20_000)))
    assert redeemed(ask) == 80_000


def test_another_wish_is_another_question(shop: Shop) -> None:
    wants(shop)
    first = question(shop)
    wants(shop, redeem=90_000)
    larger = question(shop)
    assert larger.receipt != first.receipt
    shop.till.handle(HandedOver(first, given(first, 20_000)))  # of the wish before: a parcel, no quote
    assert shop.get("r1")["state"] == "waiting"
    shop.till.handle(HandedOver(larger, given(larger, 30_000, seq=6)))
    assert shop.get("r1")["quote"]["redeemed"] == 90_000
    shop.void("r1")
    assert redeemed(wants(shop, "r2", 90_000)) == 90_000  # what came for both lies here now
    assert shop.outside.questions == []


def test_a_wish_of_the_same_size_after_the_points_came_is_another_question(shop: Shop) -> None:
    wants(shop)
    first = question(shop)
    shop.till.handle(HandedOver(first, given(first, 20_000)))
    shop.commit("r1", shop.get("r1"))
    shop.know(balance=20_000)
    wants(shop, "r2", 20_000)
    assert question(shop).receipt != first.receipt.replace("r1", "r2")


# ------------------------------------------------------------------------- a lost answer


def by_the_downlink(shop: Shop, reply: HandoverReply) -> int:
    """The hub has told the centre, and the centre tells this till; how many messages were new."""
    bucket = ledger.bucket(ACCOUNT)
    last = shop.down[-1]
    shop.down.append(DownItem(bucket, last.gseq + 1, reply.body, ledger.link(last.h, reply.body)))
    return shop.reply()


def test_an_answer_that_was_lost_is_heard_from_the_centre_once(shop: Shop) -> None:
    wants(shop)
    asked = question(shop)
    reply = given(asked, 20_000)
    assert by_the_downlink(shop, reply) == 1
    assert shop.parcels() == {LOT: 60_000, THERE: 20_000}
    shop.till.handle(HandedOver(asked, reply))  # and here it is after all
    assert shop.get("r1")["quote"]["redeemed"] == 80_000
    shop.void("r1")
    shop.crash()
    assert shop.parcels() == {LOT: 60_000, THERE: 20_000}


def test_an_answer_that_came_is_not_heard_a_second_time(shop: Shop) -> None:
    wants(shop)
    asked = question(shop)
    reply = given(asked, 20_000)
    shop.till.handle(HandedOver(asked, reply))
    assert by_the_downlink(shop, reply) == 1
    assert shop.ledger.parcel(ACCOUNT, THERE).points == 20_000


# ------------------------------------------------------------------------------- the hub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Shop]:
    """This till is the hub, with 600 of Anna's points; 300 of them are promised to a sale of its own."""
    hub = Shop(tmp_path)
    hub.know()
    hub.grant(60_000)
    hub.put("own", card=CARD, redeem=30_000)
    yield hub
    hub.close()


def asks(hub: Shop, receipt: str = "r1", want: int = 10_000, account: int = ACCOUNT) -> bytes:
    ask = HandoverAsked(HandoverRequest(1, "T2", 1, receipt, account, want, b""))
    hub.till.handle(ask)
    return ask.reply.result(0)


def points(body: bytes) -> int:
    return sum(posting.points for posting in ledger.parse(body).postings if posting.points > 0)


def test_a_hub_gives_what_is_not_promised_and_says_the_same_again(hub: Shop) -> None:
    first = asks(hub)
    assert ledger.parse(first).ref == "T2-1:r1"
    assert points(first) == 10_000
    assert asks(hub) == first
    hub.crash()
    assert asks(hub) == first
    rest = asks(hub, "r2", 90_000)
    assert points(rest) == 20_000
    assert asks(hub, "r3") == b""
    assert hub.commit("own", hub.get("own"))["redeemed"] == 30_000


def test_a_hub_without_points_or_settings_gives_nothing(hub: Shop, tmp_path: Path) -> None:
    assert asks(hub, account=1002) == b""
    assert hub.ledger.head(1, TILL)[0] == 0
    hub.rulebook = None
    hub.crash()
    assert asks(hub) == b""


def test_points_that_have_expired_by_the_shops_clock_are_not_given(hub: Shop) -> None:
    hub.void("own")
    hub.grant(5_000, lot="c:233-1-7-0", expires_at="2026-11-18T14:06:40")  # this very second
    assert points(asks(hub, want=90_000)) == 60_000


def test_on_line_a_till_gives_back_what_came_for_a_sale_that_was_not_made(shop: Shop) -> None:
    shop.know(home=HUB)
    wants(shop)
    asked = question(shop)
    shop.till.handle(HandedOver(asked, given(asked, 20_000)))
    shop.till.handle(LinkChanged(None, ""))
    assert tidied(shop) == []  # the sale may still be paid
    shop.void("r1")
    assert dict(tidied(shop)) == {THERE: 20_000, LOT: 60_000}


def tidied(shop: Shop) -> list[tuple[str, int]]:
    """What the next sync gives back."""
    shop.till.handle(LoadBatchAsked(500))
    return [
        (posting.lot, posting.points)
        for entry, _ in shop.ledger.entries(9)
        if entry.kind == "RELEASE"
        for posting in entry.postings
        if posting.account == ledger.FREE
    ]


def test_a_claim_that_is_asked_again_is_the_same_claim(shop: Shop) -> None:
    shop.till.handle(LinkChanged(None, ""))
    wants(shop)
    shop.till.handle(HandedOver(question(shop), None))
    (claim,) = shop.outside.claims
    asking = ClaimReply(claim.claim_id, 0, True, 1, 0, (), b"", b"")
    shop.till.handle(Claimed(claim, asking))
    assert shop.till._counter.next_timer_ms() == 100
    shop.clock_ms = 100
    shop.till.ring()
    assert shop.outside.claims == [claim, claim]
    shop.till.handle(Claimed(claim, msgspec.structs.replace(asking, asking=False)))
    assert shop.get("r1")["quote"]["redeemed"] == 60_000


def test_placement_tells_a_till_that_it_is_home_and_a_claim_does_not(tmp_path: Path) -> None:
    """Else it would give back what was placed here, get it again, and so on."""
    shop = Shop(tmp_path)
    shop.know(home="T4")
    shop.till.handle(LinkChanged(None, ""))
    shop.grant(60_000)
    assert tidied(shop) == []
    shop.know(home="T4")  # the customer has moved since
    assert tidied(shop) == [(LOT, 60_000)]
    shop.close()
    grant = Entry("c:1", 1, 1, 0, "GRANT", ACCOUNT, ref="T1-1")
    assert till_law.hear(TILL, 1, grant, []) == [till_law.AtHome(ACCOUNT)]
    assert till_law.hear(TILL, 1, msgspec.structs.replace(grant, ref="T1-1:claim"), []) == []


def test_a_hub_that_cannot_listen_is_a_trouble_and_the_till_sells(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    state = StateDir(tmp_path)
    state.make_key()
    identity = shop.ledger.identity()
    assert identity is not None
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = Config(hub=HubConfig(f"127.0.0.1:{taken.getsockname()[1]}"))
        assert main._hub(config, state, identity, Inbox(), shop.till) is None
    assert "hub" in [trouble["code"] for trouble in shop.status()["troubles"]]
    assert shop.put("r1")["state"] == "quoted"
    shop.close()
