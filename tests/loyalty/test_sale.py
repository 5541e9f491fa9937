"""The life of one sale, cell by cell: what may happen, and that nothing else may."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.document import Receipt, SoldLine, Tender
from loyalty.ledger import Spent
from loyalty.sale import (
    PARKED_S,
    TABLE,
    Alert,
    Answered,
    AppendSale,
    AppendVoid,
    Cart,
    CartChanged,
    Event,
    Holder,
    NotePrint,
    Offer,
    Paid,
    Printed,
    PrintSlip,
    PrintTrouble,
    QuoteAsked,
    Refusal,
    ReleaseHold,
    Reply,
    Sale,
    SaveHold,
    StartTimer,
    State,
    Voided,
    WakeSync,
    drawing,
    step,
)
from loyalty.texts import N_

MILK = Cart(lines=(SoldLine("1", "milk", 10_000, 1_000),))
BREAD = Cart(lines=(SoldLine("1", "bread", 5_000, 1_000),))
TROUBLE = N_("no paper")


def offer(quote_id: str = "q1", pay: int = 9_000, spends: int = 1_000, cart: Cart = MILK) -> Offer:
    return Offer(
        quote_id=quote_id,
        cart=cart,
        receipt=Receipt("r1", "T1", "S1", None, "pos", "2026-11-18T14:06:40+03:00", cart.lines),
        customer=None,
        rulebook_seq=7,
        kill_seq=0,
        catalog_version=3,
        quote=b"{}",
        pay=pay,
        spends=(Spent("L", spends),) if spends else (),
        earns=(),
        titles={},
    )


def cash(amount: int) -> tuple[Tender, ...]:
    return (Tender("cash", amount),)


SALES = {
    State.NONE: Sale("r1"),
    State.OPEN: Sale("r1", State.OPEN, MILK, 100),
    State.WAITING: Sale("r1", State.WAITING, MILK, 100),
    State.QUOTED: Sale("r1", State.QUOTED, MILK, 100, offer()),
    State.COMMITTED: Sale("r1", State.COMMITTED, MILK, 100, offer(), "T1-1-1"),
    State.CLOSED: Sale("r1", State.CLOSED, MILK, 100, offer(), "T1-1-1"),
}
EVENTS: dict[type, Event] = {
    CartChanged: CartChanged(BREAD, 500),
    QuoteAsked: QuoteAsked(offer()),
    Answered: Answered(offer()),
    Paid: Paid("q1", cash(9_000)),
    Voided: Voided("changed their mind"),
    Printed: Printed(),
    PrintTrouble: PrintTrouble(maybe=False, reason=TROUBLE),
}

# --------------------------------------------------------------- every cell (till.md §3)

CELLS: dict[tuple[State, type], tuple[State, list[type]]] = {
    (State.NONE, CartChanged): (State.OPEN, []),
    (State.OPEN, CartChanged): (State.OPEN, []),
    (State.OPEN, QuoteAsked): (State.QUOTED, [SaveHold, Reply]),
    (State.OPEN, Voided): (State.CLOSED, [Reply]),
    (State.WAITING, CartChanged): (State.OPEN, []),
    (State.WAITING, Answered): (State.QUOTED, [SaveHold, Reply]),
    (State.WAITING, Voided): (State.CLOSED, [Reply]),
    (State.QUOTED, CartChanged): (State.OPEN, [ReleaseHold]),
    (State.QUOTED, QuoteAsked): (State.QUOTED, [Reply]),
    (State.QUOTED, Paid): (State.COMMITTED, [AppendSale, Reply, PrintSlip, WakeSync]),
    (State.QUOTED, Voided): (State.CLOSED, [ReleaseHold, Reply]),
    (State.COMMITTED, Printed): (State.CLOSED, [NotePrint]),
    (State.COMMITTED, PrintTrouble): (State.COMMITTED, [NotePrint, Alert]),
    (State.COMMITTED, Voided): (State.CLOSED, [AppendVoid, Reply, WakeSync]),
    (State.CLOSED, Voided): (State.CLOSED, [AppendVoid, Reply, WakeSync]),
    (State.CLOSED, Printed): (State.CLOSED, [NotePrint]),  # a copy
    (State.CLOSED, PrintTrouble): (State.CLOSED, [NotePrint, Alert]),
}


@pytest.mark.parametrize(
    ("state", "event"), CELLS, ids=lambda part: getattr(part, "name", None) or part.__name__
)
def test_a_cell_leads_where_the_table_says(state: State, event: type) -> None:
    after, effects = step(SALES[state], EVENTS[event])
    assert (after.state, [type(effect) for effect in effects]) == CELLS[state, event]


MISSING = sorted(set(product(State, EVENTS)) - set(CELLS), key=lambda cell: (cell[0].value, cell[1].__name__))


@pytest.mark.parametrize(
    ("state", "event"), MISSING, ids=lambda part: getattr(part, "name", None) or part.__name__
)
def test_a_missing_cell_is_a_refusal_with_its_reason(state: State, event: type) -> None:
    with pytest.raises(Refusal) as refused:
        step(SALES[state], EVENTS[event])
    assert refused.value.code == f"sale_{state.value}"
    assert len(str(refused.value.text)) > 20


def test_the_table_of_the_test_is_the_table_of_the_house() -> None:
    assert set(CELLS) == set(TABLE)
    assert len(CELLS) + len(MISSING) == len(State) * len(EVENTS)


def test_one_edge_enters_committed() -> None:
    entering = {
        cell for cell, (after, _) in CELLS.items() if after is State.COMMITTED and cell[0] is not after
    }
    assert entering == {(State.QUOTED, Paid)}


EVERYTHING = st.one_of(
    st.builds(CartChanged, st.sampled_from([MILK, BREAD]), st.integers(1, 10**9)),
    st.builds(
        QuoteAsked,
        st.builds(offer, st.sampled_from(["q1", "q2"]), spends=st.sampled_from([0, 5])),
        st.booleans(),
    ),
    st.builds(Answered, st.builds(offer, st.sampled_from(["q1", "q2"]))),
    st.builds(Paid, st.sampled_from(["q1", "q2"]), st.sampled_from([cash(9_000), cash(1), ()])),
    st.just(Voided("x")),
    st.just(Printed()),
    st.builds(PrintTrouble, st.booleans(), st.just(TROUBLE)),
)


@given(st.lists(EVERYTHING, max_size=25))
def test_whatever_happens_points_are_promised_once_and_sold_once(events: list[Event]) -> None:
    """Holds and entries as the effects leave them, against the state the sale says it is in."""
    now, held, sold, voided = Sale("r1"), False, 0, 0
    for event in events:
        try:
            now, effects = step(now, event)
        except Refusal:
            continue
        for effect in effects:
            match effect:
                case SaveHold():
                    held = True
                case ReleaseHold():
                    assert held
                    held = False
                case AppendSale():
                    held, sold = False, sold + 1
                    now = replace(now, entry="T1-1-1")
                case AppendVoid():
                    voided += 1
        assert held == (now.state is State.QUOTED and bool(now.offer and now.offer.spends))
        assert sold <= 1
        assert (sold == 1) == (now.entry is not None)
        assert not voided or sold


# ----------------------------------------------------------------------- what cells know


def test_writing_stands_before_speaking() -> None:
    """Nothing is said before it is on disk: the till carries effects out in their order."""
    writing = (SaveHold, ReleaseHold, AppendSale, AppendVoid, NotePrint)
    for state, event in CELLS:
        kinds = [isinstance(effect, writing) for effect in step(SALES[state], EVENTS[event])[1]]
        assert kinds == sorted(kinds, reverse=True), (state, event)


def test_a_quote_that_waits_starts_one_timer_and_says_nothing() -> None:
    after, effects = step(SALES[State.OPEN], QuoteAsked(offer(), wait=True))
    assert (after.state, effects, after.offer) == (State.WAITING, [StartTimer()], None)


def test_a_quote_that_spends_nothing_holds_nothing() -> None:
    _, effects = step(SALES[State.OPEN], QuoteAsked(offer(spends=0)))
    assert effects == [Reply()]
    quoted = replace(SALES[State.QUOTED], offer=offer(spends=0))
    assert step(quoted, Voided("x"))[1] == [Reply()]
    assert step(quoted, CartChanged(BREAD, 500))[1] == []


def test_the_same_cart_again_keeps_the_quote_and_its_points() -> None:
    quoted = SALES[State.QUOTED]
    assert step(quoted, CartChanged(MILK, 900)) == (replace(quoted, touched_s=900), [])


def test_a_changed_cart_drops_the_quote_and_keeps_the_hour_of_the_sale() -> None:
    after, effects = step(SALES[State.QUOTED], CartChanged(BREAD, 900))
    assert (after.offer, after.cart, after.opened_s, effects) == (None, BREAD, 100, [ReleaseHold()])


def test_the_hour_of_a_sale_is_that_of_its_first_cart() -> None:
    opened, _ = step(Sale("r1"), CartChanged(MILK, 700))
    assert step(opened, CartChanged(BREAD, 900))[0].opened_s == 700


@pytest.mark.parametrize(("left_alone_s", "opened_s"), [(PARKED_S - 1, 700), (PARKED_S, 700 + PARKED_S)])
def test_a_parked_sale_opens_anew_when_its_cart_comes_again(left_alone_s: int, opened_s: int) -> None:
    opened, _ = step(Sale("r1"), CartChanged(MILK, 700))
    quoted, _ = step(opened, QuoteAsked(offer(spends=0)))
    recalled, effects = step(quoted, CartChanged(MILK, 700 + left_alone_s))
    assert (recalled.opened_s, effects) == (opened_s, [])
    assert (recalled.offer is None) == (left_alone_s == PARKED_S)
    assert recalled.touched_s == 700 + left_alone_s


def test_a_parked_sale_that_was_promised_points_keeps_them_as_long_as_its_cart_stays() -> None:
    quoted = replace(SALES[State.QUOTED], touched_s=100)
    later_s = 100 + PARKED_S
    assert step(quoted, CartChanged(MILK, later_s)) == (replace(quoted, touched_s=later_s), [])
    changed, effects = step(quoted, CartChanged(BREAD, later_s))
    assert (changed.opened_s, changed.offer, effects) == (later_s, None, [ReleaseHold()])


@pytest.mark.parametrize(
    "paid",
    [
        Paid("q0", cash(9_000)),  # a quote of before
        Paid("q1", cash(8_999)),
        Paid("q1", cash(9_001)),
        Paid("q1", ()),
        Paid("", cash(9_000)),
    ],
)
def test_paid_otherwise_than_quoted_is_refused(paid: Paid) -> None:
    with pytest.raises(Refusal) as refused:
        step(SALES[State.QUOTED], paid)
    assert refused.value.code == "quote_changed"


def test_a_receipt_may_be_paid_in_parts() -> None:
    parts = Paid("q1", (Tender("cash", 4_000), Tender("card", 5_000)))
    assert step(SALES[State.QUOTED], parts)[1][0] == AppendSale(offer(), parts)


def test_a_receipt_that_points_pay_in_full_needs_no_tender() -> None:
    free = replace(SALES[State.QUOTED], offer=offer(pay=0))
    assert step(free, Paid("q1", ()))[0].state is State.COMMITTED


def test_a_void_after_payment_names_the_entry_it_takes_back() -> None:
    assert step(SALES[State.COMMITTED], Voided("error"))[1][0] == AppendVoid("T1-1-1", "error")


def test_a_sale_given_up_has_nothing_to_take_back() -> None:
    closed, _ = step(SALES[State.OPEN], Voided("x"))
    with pytest.raises(Refusal) as refused:
        step(closed, Voided("x"))
    assert refused.value.code == "unknown_sale"


@pytest.mark.parametrize(("maybe", "outcome"), [(False, "failed"), (True, "unknown")])
def test_a_slip_that_failed_and_one_nobody_knows_of_are_noted_apart(maybe: bool, outcome: str) -> None:
    event = PrintTrouble(maybe, TROUBLE)
    assert step(SALES[State.COMMITTED], event)[1] == [NotePrint(outcome), Alert(TROUBLE)]


# --------------------------------------------------------------------- drawing and disk


def drawn() -> set[tuple[str, str, str]]:
    return {tuple(edge) for edge in re.findall(r'^  (\w+) -> (\w+) \[label="(\w+)"\];?$', drawing(), re.M)}


def test_the_drawing_shows_every_cell_and_nothing_else() -> None:
    assert drawing().startswith("digraph sale {\n")
    assert {(state, event) for state, _, event in drawn()} == {
        (state.value, event.__name__) for state, event in TABLE
    }


def test_the_drawing_leads_where_the_steps_lead() -> None:
    """Every edge that a story takes is drawn, and every edge that is drawn some story takes."""
    taken = set()
    variants: list[Event] = [*EVENTS.values(), QuoteAsked(offer(), wait=True), CartChanged(MILK, 500)]
    for (state, before), event in product(SALES.items(), variants):
        if (state, type(event)) in TABLE:
            taken.add((state.value, step(before, event)[0].state.value, type(event).__name__))
    assert taken == drawn()


def test_an_offer_comes_back_from_disk_as_it_was() -> None:
    """Holds keep offers for weeks; their form is final."""
    kept = offer(cart=msgspec.structs.replace(MILK, holder=Holder(5, "…0015", "card", "plastic", True)))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=Offer) == kept


def test_a_card_on_a_sale_shows_its_last_four_and_no_more() -> None:
    holder = Holder(5_551_234, "…0015", "card", None, False)
    cart = msgspec.structs.replace(MILK, holder=holder)
    assert "5551234" not in repr(CartChanged(cart, 1))
    assert "…0015" in repr(cart)
