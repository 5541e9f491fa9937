"""The rounds: what is struck and when, what the blow met, and what is looked at afterwards.

The seed makes the plan: ten rounds at a time with every kind of blow among them, in random order. A blow
falls after a random number of answers and a random delay. So that rare moments are met too, most delays are
counted from something: the next commit that is asked, the next entry on disk. What the blows met is counted
(`MUST`); what the first half of a run has not met is aimed at in the second. A run that never met one of
these things has proved less than it says, and fails.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from agent.demo.stage import wait_for
from tests.e2e.torture import look
from tests.e2e.torture.cashiers import WAIT_S, Cashiers, Purchase, finish
from tests.e2e.torture.look import expect
from tests.e2e.torture.shop import Shop

TILL, FLICKER, CENTRE, BOTH = "till", "till twice", "centre", "both"
ANSWER, CABLE = "answer", "cable"
# Ten rounds; those in one row follow each other. The cable stays pulled until the end of its row.
BLOWS = ((TILL,), (TILL,), (TILL,), (FLICKER,), (CENTRE,), (BOTH,), (ANSWER, TILL), (CABLE, TILL))
AT_THE_TILL, AT_THE_CENTRE = (TILL, FLICKER, BOTH), (CENTRE, BOTH)

# What a delay is counted from: the answers (None), a question of a cash program or of the till, a transaction
# that the centre has begun, or something that is on disk since a moment and that hardly anybody has heard of.
SYNC, CLAIM, JOURNAL = "sync", "claim", "journal"
WRITTEN = {
    "entry": "SELECT count(*) FROM entry",
    "session": "SELECT session FROM uplink",  # each answer of the centre brings a new one
    "grant": "SELECT count(*) FROM downlink",
}
AIMS_WITHOUT_A_LINK = (None, "commit", "quote", "void", "print", "return", "entry")
AIMS = (*AIMS_WITHOUT_A_LINK, "entry", SYNC, CLAIM, CLAIM, "session", "grant")
AIM_TO_MEET = {
    "the till's end met a void in flight": "void",
    "the till's end met a print in flight": "print",
    "the till's end met a return in flight": "return",
    "the till's end met a claim in flight": CLAIM,
    "the till's end met a commit that was written and not answered": "entry",
}
DELAY_MAX_S = {None: 0.03, CLAIM: 0.004, JOURNAL: 0.004, **dict.fromkeys(WRITTEN, 0.001)}
DELAY_AFTER_A_QUESTION_MAX_S = 0.02
SELDOM_S = 0.5  # a claim or a grant may be long in coming; then any moment is as good

SWITCH_S = 0.0002  # between our threads: whoever lies in wait must not be late
ANSWERS_BEFORE = (5, 60)
ANSWERS_AFTER = 10  # the till goes on when something else was struck
STARTING_MAX_S = 0.4  # of a till that goes dark again while it starts
READY = "is open; API on"  # what its log says when it has started

MUST = (
    "the till was killed",
    "the till was killed again while it started",
    "the centre was killed",
    "till and centre were killed at once",
    "the cable was pulled",
    "the till was killed without a link",
    "the till's end met three questions or more at once",
    "the till's end met a quote in flight",
    "the till's end met a commit that was not written yet",
    "the till's end met a commit that was written and not answered",
    "the till's end met a void in flight",
    "the till's end met a print in flight",
    "the till's end met a return in flight",
    "the till's end met a sync in flight",
    "the till's end met a claim in flight",
    "the till's end met a slip that was not on paper",
    "a promise outlived the till",
    "the centre's end met a sync in flight",
    "the centre's end met a transaction half done",
    "the centre took a batch and its answer was lost",
)


@dataclass(frozen=True, slots=True)
class Round:
    """One round as planned."""

    number: int
    blow: str
    answers: int  # that the till gives before
    aim: str | None
    delay: float  # 0 … 1 of the longest that goes with the aim
    starting_s: float  # FLICKER: how long the till is there in between
    linked: bool  # the cable is whole when the blow falls
    mend: bool  # it is put back at the end

    @property
    def delay_s(self) -> float:
        """Between what was aimed at and the blow."""
        return self.delay * DELAY_MAX_S.get(self.aim, DELAY_AFTER_A_QUESTION_MAX_S)


@dataclass(frozen=True, slots=True)
class Met:
    """What was under way when the blow fell."""

    unanswered: list[Purchase]  # whose question got no answer any more
    of_the_till: list[str]  # what it had asked the centre for

    def __str__(self) -> str:
        questions = [purchase.in_doubt for purchase in self.unanswered] + self.of_the_till
        return ", ".join(f"{count} {name}" for name, count in sorted(Counter(questions).items())) or "nothing"


def plan(seed: int, rounds: int) -> list[Round]:
    """The rounds of a seed."""
    chance = random.Random(seed)
    planned: list[Round] = []
    aims: list[str | None] = []
    while len(planned) < rounds:
        for row in chance.sample(BLOWS, len(BLOWS)):
            for blow in row:
                linked = row[0] != CABLE or blow == CABLE
                if blow == ANSWER:
                    aim = None
                elif blow == CABLE:
                    aim = SYNC
                elif blow in AT_THE_CENTRE:
                    aim = chance.choice((SYNC, JOURNAL))
                elif not linked:
                    aim = chance.choice(AIMS_WITHOUT_A_LINK)
                else:
                    aims = aims or chance.sample(AIMS, len(AIMS))
                    aim = aims.pop()
                planned.append(
                    Round(
                        number=len(planned) + 1,
                        blow=blow,
                        answers=chance.randint(*ANSWERS_BEFORE),
                        aim=aim,
                        delay=chance.random(),
                        starting_s=chance.uniform(0, STARTING_MAX_S),
                        linked=linked,
                        mend=blow in (ANSWER, row[-1]),
                    )
                )
    return planned[:rounds]


def expect_no_gap(met: Counter[str], rounds: int) -> None:
    """Raise Broken where a run never met what it is there to meet."""
    never = [what for what in MUST if not met[what]]
    missing = "; that ".join(never)
    expect(not never, f"these {rounds} rounds prove too little; it never happened that {missing}")


class Torture:
    """Plays rounds in a shop that is open. `say` gets a line for each of them."""

    def __init__(self, shop: Shop, seed: int, rounds: int, say: Callable[[str], None]) -> None:
        self._shop = shop
        self._seed = seed
        self._plan = plan(seed, rounds)
        self._say = say
        self._bare = 0  # slips that the cuts until now have kept from the paper
        self.met: Counter[str] = Counter()

    def run(self) -> None:
        """All rounds, and the reckoning at the end. Raises Broken."""
        before_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        try:
            for planned in self._plan:
                self._try(self._aim_at_what_is_missing(planned))
            self._reckon()
        finally:
            sys.setswitchinterval(before_s)
        expect_no_gap(self.met, len(self._plan))

    def _aim_at_what_is_missing(self, planned: Round) -> Round:
        if 2 * planned.number <= len(self._plan) or not planned.linked:
            return planned
        if planned.blow in (TILL, FLICKER):
            aims = [aim for what, aim in AIM_TO_MEET.items() if not self.met[what]]
            return replace(planned, aim=aims[planned.number % len(aims)]) if aims else planned
        if planned.blow in AT_THE_CENTRE and not self.met["the centre's end met a transaction half done"]:
            return replace(planned, aim=JOURNAL)
        return planned

    def _try(self, planned: Round) -> None:
        try:
            self._play(planned)
        except Exception as error:
            error.add_note(f"seed {self._seed}, {planned}")
            raise

    def _play(self, planned: Round) -> None:
        shop, book = self._shop, self._shop.book
        shift = Cashiers(shop.till.state, book, f"{self._seed}-{planned.number}")
        expect(book.wait_for_answers(planned.answers), f"the till did not answer in {WAIT_S} s")
        self._take_aim(planned.aim)
        time.sleep(planned.delay_s)  # the blow falls anywhere in the work, and not just after an answer
        in_flight = book.in_flight()
        of_the_till = [question for question in (SYNC, CLAIM) if shop.cable.in_flight(question)]
        self._strike(planned.blow)
        if planned.blow not in AT_THE_TILL:
            expect(book.wait_for_answers(ANSWERS_AFTER), f"the till stopped with the {planned.blow}")
        expect(shift.send_home(), "a call of the till does not come to its end")
        if planned.blow not in AT_THE_TILL:
            expect(not shift.lost_the_till, "the till did not answer, and nobody had touched it")
        self._start_again(planned)
        log = self._look()
        met = Met([purchase for purchase in in_flight if purchase.asked], of_the_till)
        self._count(planned, met, log)
        self._say(_line(planned, met, log, book.answers))
        if planned.mend and not shop.cable.whole:
            shop.cable.mend()
            if planned.blow != ANSWER:  # after that one the till finds out by itself, or is killed before
                self._ask_for_sync()

    # -- the blow

    def _take_aim(self, aim: str | None) -> None:
        """Return at the moment that the delay is counted from."""
        shop = self._shop
        if aim == SYNC:
            asked = shop.cable.wait_for_question(SYNC, WAIT_S, self._ask_for_sync)
            expect(asked, "the till does not sync when it is told to")
        elif aim == CLAIM:
            shop.cable.wait_for_question(CLAIM, SELDOM_S)
        elif aim == JOURNAL:
            self._ask_for_sync()
            look.wait_for_a_journal(shop.centre_file, WAIT_S)
        elif aim == "grant":
            look.wait_for_a_change(shop.till_file, WRITTEN[aim], SELDOM_S)
        elif aim in WRITTEN:
            if aim == "session":
                self._ask_for_sync()
            seen = look.wait_for_a_change(shop.till_file, WRITTEN[aim], WAIT_S)
            expect(seen, f"no {aim} was written in {WAIT_S} s")
        elif aim is not None:
            expect(shop.book.wait_for_question(aim), f"nobody asked for a {aim} in {WAIT_S} s")

    def _ask_for_sync(self) -> None:
        """Nobody waits for the end of it: it may not live to see it."""
        threading.Thread(target=self._shop.sync, name="sync now").start()

    def _strike(self, blow: str) -> None:
        shop = self._shop
        if blow in AT_THE_CENTRE:
            shop.office.kill()
        if blow in AT_THE_TILL:
            shop.till.kill()
        if blow == CABLE:
            shop.cable.pull()
        if blow == ANSWER:
            shop.cable.lose_the_next_answer()
            self._ask_for_sync()
            expect(shop.cable.wait_until_pulled(WAIT_S), f"the centre did not answer a sync in {WAIT_S} s")

    def _start_again(self, planned: Round) -> None:
        shop = self._shop
        if planned.blow == FLICKER:
            ready = shop.till.said().count(READY)
            shop.till.begin()
            time.sleep(planned.starting_s)  # dark again, before it is ready or (on a fast machine) just after
            shop.till.kill()
            self.met["the till was killed again while it started"] += shop.till.said().count(READY) == ready
        if planned.blow in AT_THE_CENTRE:
            half_done = look.journal_of(shop.centre_file).exists()
            self.met["the centre's end met a transaction half done"] += half_done
        with ThreadPoolExecutor(1) as beside:
            centre = beside.submit(shop.office.start) if planned.blow in AT_THE_CENTRE else None
            if planned.blow in AT_THE_TILL:
                shop.start_till()
            if centre is not None:
                centre.result()

    # -- the look

    def _look(self) -> look.Log:
        shop = self._shop
        shop.paper.take(shop.till.printer.tear_off())
        log = look.read_log(shop.till_file)
        look.compare_with_the_book(log, shop.book)
        shop.paper.compare(log, shop.book)
        shop.paper.take(shop.till.printer.tear_off())
        look.compare_with_the_paper(log, shop.paper)
        look.compare_with_the_centre(log, shop.centre_file)
        return log

    def _reckon(self) -> None:
        """The link is there and what was parked is paid as it was quoted: everything must be equal now."""
        shop = self._shop
        shop.cable.mend()
        finish(shop.till.state, shop.book)
        wait_for("all entries to be sent", lambda: shop.till.command("sync", "now")["pending"] == 0)
        log = self._look()
        look.nothing_in(log.held, "all purchases are at their end, and points are still held for")
        ours, theirs = shop.till.command("ledger", "verify"), shop.office.command("till", "list")[0]
        same = (theirs["received"], theirs["head"]) == (ours["entries"], ours["head"])
        expect(ours["ok"] and same, f"the till says {ours}, the centre {theirs}")
        look.compare_ledgers(log, shop.till_file, shop.centre_file)
        look.nothing_in(shop.till.printer.faults, "the printer did not understand")
        cards = [*shop.book.regulars, *shop.book.others]
        for who, said in (("till", shop.till.said()), ("centre", shop.office.said())):
            expect("Traceback" not in said, f"there is a traceback in the log of the {who}")
            told = any(card in said for card in cards)
            expect(not told, f"there is a card's number in the log of the {who}")

    # -- the count

    def _count(self, planned: Round, met: Met, log: look.Log) -> None:
        count, blow = self.met, planned.blow
        count["the till was killed"] += blow == TILL
        count["the centre was killed"] += blow == CENTRE
        count["till and centre were killed at once"] += blow == BOTH
        count["the cable was pulled"] += blow == CABLE
        if blow in AT_THE_CENTRE:
            count["the centre's end met a sync in flight"] += SYNC in met.of_the_till
        if blow == ANSWER:
            taken = look.received(self._shop.centre_file) > log.acked_seq
            count["the centre took a batch and its answer was lost"] += taken
        if blow in AT_THE_TILL:
            count["the till was killed without a link"] += not planned.linked
            for question in met.of_the_till:
                count[f"the till's end met a {question} in flight"] += 1
            count["a promise outlived the till"] += bool(log.held)
            bare = len(self._shop.book.paid_idents() - self._shop.paper.originals.keys())
            count["the till's end met a slip that was not on paper"] += bare > self._bare
            self._bare = bare
            count["the till's end met three questions or more at once"] += len(met.unanswered) >= 3
            for purchase in met.unanswered:
                count[f"the till's end met a {_question(purchase, log)}"] += 1


def _question(purchase: Purchase, log: look.Log) -> str:
    """What was asked and not answered, in the words of MUST."""
    asked = purchase.in_doubt
    if asked == "commit" and purchase.paid is None:
        written = "written and not answered" if purchase.id in log.sold else "not written yet"
        return f"commit that was {written}"
    return "quote in flight" if asked in ("change", "same") else f"{asked} in flight"


def _line(planned: Round, met: Met, log: look.Log, answers: int) -> str:
    """One line a round: what was struck and when, what it met, and what there is by now."""
    since = planned.aim or f"{planned.answers} answers"
    link = "" if planned.linked else " (no link)"
    return (
        f"{planned.number:4} {planned.blow:10} {since} + {planned.delay_s * 1000:.1f} ms{link}: met {met};"
        f" {len(log.entries)} entries, {len(log.held)} promises, {answers} answers"
    )
