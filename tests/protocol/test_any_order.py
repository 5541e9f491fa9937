"""Every order of events: Hypothesis plays the pure protocol against a reference that knows everything.

The reference is one dictionary: who holds how much of which lot, moved at the moment in which it
happens, wherever that is. Tills and centre know only what they were told. At every moment the centre's
books, with what is under way, must come to the same.
"""

from __future__ import annotations

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from loyalty import ledger
from loyalty.ledger import FREE, Entry, Posting
from loyalty.protocol import moves, till
from tests.protocol.chain import NOW, PureCentre, PureTill, centre_key

TILLS = ("A", "B", "H")
HUB = "H"
ACCOUNTS = (1, 2)
tills = st.sampled_from(TILLS)
accounts = st.sampled_from(ACCOUNTS)
points = st.integers(1, 5000)


class Chain(RuleBasedStateMachine):
    """Three tills, one of them the hub, and a centre."""

    sales: Bundle[Entry] = Bundle("sales")
    claims: Bundle[str] = Bundle("claims")

    @initialize(opening=st.lists(st.integers(100, 20_000), min_size=2, max_size=2))
    def begin(self, opening: list[int]) -> None:
        self.tills = {name: PureTill(name) for name in TILLS}
        self.centre = PureCentre(TILLS)
        self.truth: dict[tuple[str, str], int] = defaultdict(int)  # (lot, who) -> points
        self.booked: set[str] = set()  # entries that the reference has counted
        self.lost: list[tuple[str, Entry]] = []  # handovers whose answer was lost on the LAN
        for account, amount in zip(ACCOUNTS, opening, strict=True):
            self.centre.open_account(account, amount)
            self.place(account)
        self.hear(HUB, 9)

    def count(self) -> None:
        """The reference books what has just been written, wherever it was written."""
        written = [entry for one in self.tills.values() for entry in one.log]
        for entry in (*written, *self.centre.known.values()):
            if entry.id in self.booked:
                continue
            self.booked.add(entry.id)
            for posting in entry.postings:
                self.truth[posting.lot, posting.account] += posting.points

    # ---- at counters

    @rule(
        target=sales,
        name=tills,
        account=accounts,
        part=st.sampled_from((0, 30, 100)),
        earn=st.integers(0, 900),
        here=st.booleans(),
    )
    def sell(self, name: str, account: int, part: int, earn: int, here: bool) -> Entry:
        one = self.tills[name]
        spend = {lot.lot: lot.loose * part // 100 for lot in one.held(account)}
        sold = one.sell(account, spend, earn, here=here)
        self.count()
        return sold

    @rule(sold=consumes(sales))
    def void(self, sold: Entry) -> None:
        one = self.tills[sold.till]
        left = {lot.lot: lot.loose for lot in one.held(sold.account or 0)}
        postings = moves.void(sold, lambda lot: left.get(lot, 0), lambda lot: one.terms[lot])
        one.write("VOID", sold.account or 0, postings, sold.id)
        self.count()
        sums: dict[tuple[str, str], int] = defaultdict(int)
        self._add(sums, sold.postings + postings)
        assert not any(sums[lot, name] for lot, name in sums if name in (ledger.ISSUED, ledger.SPENT))

    @rule(name=tills, account=accounts, part=st.integers(0, 100))
    def promise(self, name: str, account: int, part: int) -> None:
        one = self.tills[name]
        for lot in one.held(account):
            one.promised[account, lot.lot] = lot.points * part // 100

    # ---- between them

    @rule(name=tills, count=st.integers(0, 9), again=st.integers(0, 3))
    def tell(self, name: str, count: int, again: int) -> None:
        """A till's entries arrive: some of them, and some for the second time."""
        one = self.tills[name]
        first = max(0, one.told - again)
        one.told = max(one.told, min(len(one.log), one.told + count))
        self.centre.receive(one.log[first : one.told], {n: t.log for n, t in self.tills.items()})
        self.count()

    @rule(name=tills, count=st.integers(0, 9))
    def hear(self, name: str, count: int) -> None:
        one = self.tills[name]
        for message in self.centre.down[name][one.heard : one.heard + count]:
            one.hear(message)
            one.heard += 1
        self.count()

    @rule(account=accounts)
    def place(self, account: int) -> None:
        self.centre.place(account, HUB)
        self.count()

    @rule(target=claims, name=tills, account=accounts, want=points, listening=st.sets(tills))
    def claim(self, name: str, account: int, want: int, listening: set[str]) -> str:
        claim = f"claim-{len(self.centre.claims)}"
        assert self.centre.claim(claim, account, name, want, listening) <= want
        self.count()
        return claim

    @rule(claim=claims)
    def claim_again(self, claim: str) -> None:
        """The answer was lost, or a shop has given back meanwhile."""
        asked = self.centre.claims[claim]
        assert self.centre.claim(claim, asked.account, asked.till, asked.want, set()) <= asked.want
        self.count()

    @rule(taker=st.sampled_from(("A", "B")), account=accounts, want=points, lost=st.booleans())
    def hand_over(self, taker: str, account: int, want: int, lost: bool) -> None:
        """The hub gives on the LAN; the answer arrives, or the taker hears of it from the centre."""
        hub, one = self.tills[HUB], self.tills[taker]
        postings = till.hand_over(HUB, taker, hub.held(account), want, NOW)
        if not postings:
            return
        given = hub.write("HANDOVER", account, postings, f"{taker}-1:r{len(hub.log)}")
        if not lost:
            one.write("HANDOVER", account, (), given.id)
            one.carry_out(till.take_in(taker, given))
        self.count()

    @rule(name=tills, account=accounts, home=st.sampled_from((True, False, None)))
    def tidy(self, name: str, account: int, home: bool | None) -> None:
        one = self.tills[name]
        standing = till.Standing(account, tuple(one.held(account)), home, False, 0)
        one.carry_out(till.tidy(name, [standing], NOW, online=True))
        self.count()

    # ---- what must be true

    @invariant()
    def nobody_has_less_than_nothing(self) -> None:
        """I1, and I5 with K = 0: nothing is spent that was not held, so nothing is ever booked as such."""
        for one in self.tills.values():
            assert all(amount >= 0 for amount in one.parcels.values())
            for (account, lot), promised in one.promised.items():
                held = one.parcels.get((account, lot), 0)
                assert promised <= held or held == 0 or promised <= one.parcels[account, lot]
        for mine in self.centre.accounts.values():
            assert all(amount >= 0 for amount in mine.shares.values())

    @invariant()
    def what_the_centre_knows_and_what_is_under_way_is_the_truth(self) -> None:
        """I2: of every till, and of what is free."""
        under_way: dict[tuple[str, str], int] = defaultdict(int)
        for one in self.tills.values():
            for entry in one.log:
                if centre_key(entry) not in self.centre.known:
                    self._add(under_way, entry.postings)
        says: dict[tuple[str, str], int] = defaultdict(int)
        for mine in self.centre.accounts.values():
            for (lot, who), amount in mine.shares.items():
                name = FREE if who == FREE else ledger.parcel(ledger.life_of(who)[0])
                says[lot, name] += amount
        for key in {*under_way, *says, *self.truth}:
            if key[1] == FREE or ledger.holder(key[1]):
                assert says[key] + under_way[key] == self.truth[key], key

    @invariant()
    def what_a_till_holds_is_the_truth_but_for_what_it_has_not_heard(self) -> None:
        for name, one in self.tills.items():
            coming: dict[tuple[str, str], int] = defaultdict(int)
            for message in self.centre.down[name][one.heard :]:
                if message.kind == "GRANT":
                    self._add(coming, message.postings)
            heard = {entry.ref for entry in one.log if entry.kind == "HANDOVER" and not entry.postings}
            for given in self.tills[HUB].log:
                if given.kind == "HANDOVER" and given.id not in heard:
                    self._add(coming, given.postings)
            holds: dict[str, int] = defaultdict(int)
            for (_, lot), amount in one.parcels.items():
                holds[lot] += amount
            here = ledger.parcel(name)
            for lot in {lot for lot, who in self.truth if who == here}:
                on_its_way = coming[lot, here] if name != HUB else self._granted(coming, lot)
                assert holds[lot] + on_its_way == self.truth[lot, here], (name, lot)

    def _granted(self, coming: dict[tuple[str, str], int], lot: str) -> int:
        """The hub's own HANDOVERs took from it when they were written."""
        return sum(
            posting.points
            for message in self.centre.down[HUB][self.tills[HUB].heard :]
            if message.kind == "GRANT"
            for posting in message.postings
            if posting.lot == lot and posting.account == ledger.parcel(HUB)
        )

    def _add(self, sums: dict[tuple[str, str], int], postings: tuple[Posting, ...]) -> None:
        for posting in postings:
            sums[posting.lot, posting.account] += posting.points

    @invariant()
    def only_debt_of_taken_back_points_is_booked(self) -> None:
        assert "FOREIGN_PARCEL" not in self.centre.notes
        assert "OVERSPENT" not in self.centre.notes

    @invariant()
    def nobody_has_paid_more_than_they_owed(self) -> None:
        assert all(mine.totals["debt"] <= 0 for mine in self.centre.accounts.values())


TestChain = Chain.TestCase
TestChain.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
