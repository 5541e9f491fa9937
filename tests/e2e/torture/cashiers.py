"""A busy shift: cashiers at several counters, and the book of what the shop asked and what it was told.

A purchase is a row of steps: quote, change the cart, pay, print again, void, take goods back. A cashier does
them one by one; the step in hand stays first until it is answered. So when the power goes, the book knows
which question was asked and not answered, and the next shift goes on with it: it asks the same again.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.demo.cash_program import CashProgram
from agent.pos_client import PosAway

MILK, BREAD = "4600000000015", "4600000000039"
COUNTERS = 5
WAIT_S = 30

# What becomes of a purchase, and how often. A parked one is a quote that promises points and waits.
PLANS: dict[tuple[str, ...], int] = {
    ("quote", "commit"): 20,
    ("quote", "same", "commit", "commit"): 10,  # a cash program that is not sure asks twice
    ("quote", "change", "commit"): 10,
    ("quote", "void"): 10,
    ("quote", "park", "commit"): 15,
    ("quote", "park", "void"): 5,
    ("quote", "commit", "print"): 15,
    ("quote", "commit", "print", "print"): 5,  # the second one is the same question
    ("quote", "commit", "void"): 10,
    ("quote", "commit", "void", "void"): 5,
    ("quote", "commit", "return"): 10,
    ("quote", "commit", "return", "return"): 5,
}
RESUME = 0.05  # so often the next customer in the queue is one who is back with the purse


class Refused(Exception):  # noqa: N818 - it is the till's answer
    """The till answered, and not as it had promised."""


@dataclass
class Purchase:
    """One customer's purchase: what is still to be done, and what the till has said so far."""

    id: str
    cart: dict[str, Any]
    changed_cart: dict[str, Any]
    steps: deque[str]
    asked: bool = False  # the first step has been asked and not answered: it may be done or not
    quoted: dict[str, Any] | None = None
    quoted_in: int = 0  # which life of the till made the quote
    paid: dict[str, Any] | None = None
    given_up: bool = False
    taken_back: dict[str, Any] | None = None
    returned: dict[str, Any] | None = None  # some of its goods
    prints: int = 0  # different copies that were asked for

    @property
    def in_doubt(self) -> str:
        """The question that was asked and not answered; "" if there is none."""
        return self.steps[0] if self.steps and self.asked else ""

    @property
    def promised(self) -> bool:
        """Does the till hold points for it? (What it promised and nobody has used or given back.)"""
        open_still = self.quoted is not None and self.paid is None and not self.given_up
        return open_still and self.quoted["quote"]["redeemed"] > 0


@dataclass
class Book:
    """What the shop knows. It outlives every cut; a purchase is in the hands of one cashier at a time."""

    regulars: list[str]  # cards that the till knows before the shift begins
    others: list[str]  # and those it has not seen yet
    changed: threading.Condition = field(default_factory=threading.Condition)
    purchases: dict[str, Purchase] = field(default_factory=dict)
    left: deque[Purchase] = field(default_factory=deque)  # where the cashier stood when the power went
    parked: list[Purchase] = field(default_factory=list)
    in_hand: dict[int, Purchase] = field(default_factory=dict)  # counter -> its purchase
    refused: list[str] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)  # how often each question was asked
    answers: int = 0
    life: int = 0  # of the till

    def wait_for_answers(self, count: int) -> bool:
        """Return when the till has answered so many questions more."""
        with self.changed:
            until = self.answers + count
            return self.changed.wait_for(lambda: self.answers >= until or bool(self.refused), WAIT_S)

    def wait_for_question(self, step: str) -> bool:
        """Return as soon as the next one of this kind is asked."""
        with self.changed:
            before = self.asked[step]
            return self.changed.wait_for(lambda: self.asked[step] > before or bool(self.refused), WAIT_S)

    def in_flight(self) -> list[Purchase]:
        """Whose question is asked at this moment and not answered yet."""
        with self.changed:
            return [purchase for purchase in self.in_hand.values() if purchase.asked]

    def paid_idents(self) -> set[str]:
        """The feet of all slips that were promised: each commit that was answered has one."""
        return {p.paid["ident"] for p in self.purchases.values() if p.paid is not None}

    def new_purchase(self, wish: random.Random, sale_id: str) -> Purchase:
        """The next customer comes to the counter."""
        card, redeem = None, None
        if wish.random() < 0.7:
            card = wish.choice(self.regulars if wish.random() < 0.9 else self.others)
            redeem = wish.choice((None, "max", "max", wish.randrange(100, 9000)))
        first, second = (
            {
                "goods": {MILK: (8990, wish.randrange(1, 9) * 1000), BREAD: (5450, 1000)},
                "card": card,
                "redeem": redeem,
            }
            for _ in range(2)
        )
        plan = wish.choices(list(PLANS), list(PLANS.values()))[0]
        purchase = Purchase(sale_id, first, second, deque(plan))
        self.purchases[sale_id] = purchase
        return purchase


class Cashiers:
    """A shift: it sells until nobody answers any more, or until it is sent home."""

    def __init__(self, state_dir: Path, book: Book, name: str) -> None:
        self._state_dir = state_dir
        self._book = book
        self._stop = threading.Event()
        self.lost_the_till = 0  # cashiers whom it did not answer any more
        self._threads = [
            threading.Thread(
                target=self._work, args=(counter, f"{name}-{counter}"), name=f"counter {counter}"
            )
            for counter in range(COUNTERS)
        ]
        for thread in self._threads:
            thread.start()

    def send_home(self) -> bool:
        """Everybody finishes the purchase in hand and goes. False: somebody does not come to an end."""
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT_S)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self, counter: int, name: str) -> None:
        wish = random.Random(name)
        cash = CashProgram(self._state_dir, tries=1)
        with closing(cash.till.http):
            number = 0
            while not self._stop.is_set():
                number += 1
                purchase = self._next(wish, f"{name}-{number}")
                self._book.in_hand[counter] = purchase
                try:
                    serve(cash, purchase, self._book)
                except PosAway:  # the power is gone
                    with self._book.changed:
                        self._book.left.append(purchase)
                        self.lost_the_till += 1
                    return
                except (Refused, RuntimeError) as refusal:
                    with self._book.changed:
                        self._book.refused.append(f"sale {purchase.id}, {purchase.steps[0]}: {refusal}")
                        self._book.changed.notify_all()
                    return

    def _next(self, wish: random.Random, sale_id: str) -> Purchase:
        book = self._book
        with book.changed:
            if book.left:
                return book.left.popleft()
            if book.parked and wish.random() < RESUME:
                return book.parked.pop(wish.randrange(len(book.parked)))
            return book.new_purchase(wish, sale_id)


def greet(state_dir: Path, book: Book) -> None:
    """The till looks the regular customers up, before anything is struck."""
    cash = CashProgram(state_dir)
    with closing(cash.till.http):
        for number, card in enumerate(book.regulars, start=1):
            cash.quote(f"known-{number}", {BREAD: (5450, 1000)}, card=card)
            cash.void(f"known-{number}", "только узнать")


def finish(state_dir: Path, book: Book) -> None:
    """One cashier, in peace: what was left in the middle, and what was parked, comes to its end."""
    cash = CashProgram(state_dir)
    with closing(cash.till.http):
        while book.left or book.parked:
            serve(cash, (book.left or book.parked).pop(), book)


def serve(cash: CashProgram, purchase: Purchase, book: Book) -> None:
    """Take a purchase from where it stands to its end, or until it is parked."""
    while purchase.steps:
        step = purchase.steps[0]
        if step == "park":
            purchase.steps.popleft()
            if purchase.promised:
                with book.changed:
                    book.parked.append(purchase)
                return
            continue
        with book.changed:
            purchase.asked = True
            book.asked[step] += 1
            book.changed.notify_all()
        _STEPS[step](cash, purchase, book)
        with book.changed:
            if purchase.steps[0] == step:  # else it was found that another step comes first
                purchase.steps.popleft()
            purchase.asked = False
            book.answers += 1
            book.changed.notify_all()


def _quote(cash: CashProgram, purchase: Purchase, book: Book) -> None:
    purchase.quoted = cash.quote(purchase.id, **purchase.cart)
    purchase.quoted_in = book.life


def _change(cash: CashProgram, purchase: Purchase, book: Book) -> None:
    purchase.cart = purchase.changed_cart
    _quote(cash, purchase, book)


def _same(cash: CashProgram, purchase: Purchase, book: Book) -> None:
    """The same cart again is the same quote, as long as the till has it: promised ones for ever."""
    before, kept = purchase.quoted, purchase.promised or purchase.quoted_in == book.life
    _quote(cash, purchase, book)
    if kept and any(before[part] != purchase.quoted[part] for part in ("quote_id", "quote")):
        raise Refused("the same cart got another quote")


def _commit(cash: CashProgram, purchase: Purchase, book: Book) -> None:
    try:
        paid = cash.pay(purchase.id, purchase.quoted)
    except RuntimeError as refusal:
        forgotten = str(refusal).startswith("sale_none:") and purchase.quoted_in < book.life
        if purchase.paid is not None or purchase.promised or not forgotten:
            raise
        purchase.quoted = None  # a quote that promised nothing lives in memory only: take a new one
        purchase.steps.appendleft("quote")
        return
    if purchase.paid not in (None, paid):
        raise Refused(f"the same commit was answered otherwise: {purchase.paid['ident']}, {paid['ident']}")
    purchase.paid = paid


def _void(cash: CashProgram, purchase: Purchase, _: Book) -> None:
    if purchase.paid is None:
        cash.void(purchase.id, "покупатель передумал")
        purchase.given_up = True
        return
    taken_back = cash.void(purchase.id, "ошибка кассира")
    if purchase.taken_back not in (None, taken_back):
        raise Refused(f"the same void was answered otherwise: {purchase.taken_back}, {taken_back}")
    purchase.taken_back = taken_back


def _return(cash: CashProgram, purchase: Purchase, _: Book) -> None:
    returned = cash.take_back(f"{purchase.id}.back", {"2": 1000}, sale_id=purchase.id)
    if returned["pending"] or purchase.returned not in (None, returned):
        raise Refused(f"the same goods came back otherwise: {purchase.returned}, {returned}")
    purchase.returned = returned


def _print(cash: CashProgram, purchase: Purchase, _: Book) -> None:
    purchase.prints = 1
    cash.print_again(purchase.id, "copy")


_STEPS = {
    "quote": _quote,
    "change": _change,
    "same": _same,
    "commit": _commit,
    "void": _void,
    "print": _print,
    "return": _return,
}
