"""Who buys: from what was read to a card's keyed hash, and from there to a member and their parcels.

A card that this till has never seen is asked for at the centre by another thread. Its
quote waits, but never longer than one second in all: until the centre has said whose it
is and, when points were placed here on that occasion, until they have come down too.
A card that is known never holds up the queue; news of it are fetched beside the sale.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import msgspec

from agent.clock import Clock
from agent.health import Health
from agent.inbox import Problem
from agent.offline.engine import InForce
from agent.offline.ledger_db import LedgerDb
from agent.offline.records import Registration
from agent.offline.snapshot_db import Members
from agent.outside import Outside
from agent.pricing import Customer
from loyalty import card, document, ledger
from loyalty.sale import Holder
from loyalty.texts import N_
from loyalty.wire import Member

QUOTE_WAIT_MS = 1_000  # ledger-sync.md §5.4: one second in all
FRESH_S = 300  # older than this, a known card is asked about again, without waiting
PENDING_IS_TRUE_S = 86_400
REMEMBERED_MAX = 256

PAYMENT_CARD = N_("this is a bank card; it was not kept; take the shop's card")


@dataclass(frozen=True, slots=True)
class Heard:
    """What the centre said of a card at `at_s`; member None: it does not know it."""

    member: Member | None
    at_s: int


class Cards:
    """The till's thread's. See the top of this file."""

    def __init__(
        self,
        till: str,
        chain_key: bytes,
        members: Members,
        ledger: LedgerDb,
        outside: Outside,
        health: Health,
        clock: Clock,
    ) -> None:
        self._till = till
        self._chain_key = chain_key
        self._members = members
        self._ledger = ledger
        self._outside = outside
        self._health = health
        self._clock = clock
        self._heard: OrderedDict[int, Heard] = OrderedDict()
        self._coming: dict[int, int] = {}  # card -> until when (monotonic ms) its answer is worth waiting for

    def identify(self, text: str, in_force: InForce) -> Holder:
        """The card in what a cash program sent, wherever it was read. Raises Problem."""
        found = card.read(text, "barcode", in_force.templates)
        if not isinstance(found, card.Card | card.PaymentCard):
            keyed = card.read(text, "keyed", in_force.templates)
            found = keyed if isinstance(keyed, card.Card) else found
        match found:
            case card.Card():
                return self.holder(found)
            case card.PaymentCard():
                raise Problem(409, "payment_card", PAYMENT_CARD)
            case card.ReadError(reason):
                raise Problem(409, "card_unreadable", reason)
            case card.Unknown(reason):
                raise Problem(409, "card_unknown", reason)
            case _:
                raise Problem(409, "not_a_card", N_("this is not a card; send it among lines or coupons"))

    def holder(self, found: card.Card) -> Holder:
        """A card as a sale keeps it: the number becomes its keyed hash here."""
        key = card.card_key(self._chain_key, found.kind, found.number)
        return Holder(key, found.masked, found.kind, found.card_kind, found.auto_register)

    def customer(self, holder: Holder, sale_id: str) -> Customer | None:
        """The member of a card, with the parcels that `sale_id` may be promised; None if nobody knows it.

        A card that registers itself is a customer at once, by its provisional account (§2).
        """
        known = self._known(holder)
        if known is not None and known.member is not None:
            return self._customer(known.member, sale_id)
        if not holder.auto_register:
            return None
        account = self._ledger.owner(ledger.provisional_account(holder.card_key))
        now_ms = self._clock.now_s() * 1000
        member = Member(account, card_kind=holder.card_kind, as_of_ms=now_ms)
        return replace(self._customer(member, sale_id), new=True)

    def _customer(self, member: Member, sale_id: str) -> Customer:
        member = msgspec.structs.replace(member, account=self._ledger.owner(member.account))
        epoch, since = self._ledger.uplink().epoch, self._ledger.counted_seq(member)
        parcels = self._ledger.parcels(member.account, but_for=sale_id)
        here = sum(one.points for one in self._ledger.held(member.account))
        return Customer(
            member=member,
            parcels=parcels,
            balance=member.balance + self._ledger.own_change(member.account, epoch, since),
            as_of_s=member.as_of_ms // 1000,
            worked=self._ledger.worked(member.account, epoch, since),
            owes=self._ledger.own_debt(member.account, epoch, since) < 0,
            promised=here - sum(parcel.points for parcel in parcels),
            pending=self._pending(member) + self._ledger.own_pending(member.account, epoch, since),
        )

    def _pending(self, member: Member) -> int:
        """What the centre said that nobody could spend yet; a day later that is no news any more."""
        young = self._clock.now_s() - member.as_of_ms // 1000 < PENDING_IS_TRUE_S
        return member.pending if young else 0

    def registration(self, holder: Holder, account: int) -> Registration | None:
        """What is told of a card before the first entry of its provisional account; None for any other."""
        if not ledger.is_provisional(account):
            return None
        told = document.RegisterDocument(holder.card_key, holder.kind, holder.card_kind)
        return Registration(account, document.canonical(told))

    def is_fresh(self, customer: Customer) -> bool:
        """May the balance be said as such: is the link up, and the centre's word young?"""
        young = self._clock.now_s() - customer.as_of_s < FRESH_S
        return self._health.online and young and not customer.new

    def ask_centre(self, holder: Holder | None) -> bool:
        """Ask about a card we do not know, or not of late. Should a quote wait for the answer?"""
        if holder is None or not self._health.online:
            return False
        key, now_ms = holder.card_key, self._clock.monotonic_ms()
        if self._coming.get(key, now_ms) > now_ms:
            return True
        known = self._known(holder)
        # What was said in a life of ours that has ended counts nothing of what the backup lacked.
        of_old = known is not None and known.member is not None and self._is_of_old(known.member)
        if known is not None and not of_old and self._clock.now_s() - known.at_s < FRESH_S:
            return False
        unknown = known is None or known.member is None or of_old
        if unknown:
            self._coming[key] = now_ms + QUOTE_WAIT_MS
        self._outside.lookup(key)
        return unknown

    def _is_of_old(self, member: Member) -> bool:
        return member.as_of_ms < self._ledger.uplink().began_ms

    def is_unknown(self, holder: Holder) -> bool:
        """Has the centre said that it does not know this card? (A look-up that failed says nothing.)"""
        known = self._known(holder)
        return known is not None and known.member is None

    def looked_up(self, card_key: int, member: Member | None) -> bool:
        """The centre said whose card this is. False: its points are still on their way down."""
        self._heard[card_key] = Heard(member, self._clock.now_s())
        self._heard.move_to_end(card_key)
        while len(self._heard) > REMEMBERED_MAX:
            self._heard.popitem(last=False)
        if member is not None:
            self._outside.learn(card_key, member)
            at_home = member.home == self._till
            if member.home is not None:
                self._ledger.note_home(member.account, at_home, self._clock.now_s())
            if at_home and member.balance > 0 and not self._ledger.parcels(member.account):
                # The centre has just placed points here; they come by the downlink, within our second.
                self._outside.wake_sync(force=True)
                return False
        self.arrived(card_key)
        return True

    def arrived(self, card_key: int) -> None:
        """Nothing more is to be waited for with this card."""
        self._coming.pop(card_key, None)

    def supplied(self) -> list[int]:
        """Cards that were waited for and whose points have come."""
        return [key for key in self._coming if self._has_parcels(key)]

    def forget_late(self) -> None:
        """What has not come within its second is not waited for any more."""
        now_ms = self._clock.monotonic_ms()
        self._coming = {key: until_ms for key, until_ms in self._coming.items() if until_ms > now_ms}

    def _known(self, holder: Holder) -> Heard | None:
        """What was heard of a card: just now, or before and kept in snapshot.db.

        That the centre did not know it is of no use any more once it has linked it to an account.
        """
        found = self._heard_of(holder.card_key)
        if found is not None and found.member is None and holder.auto_register:
            account = ledger.provisional_account(holder.card_key)
            return found if self._ledger.owner(account) == account else None
        return found

    def _heard_of(self, card_key: int) -> Heard | None:
        heard = self._heard.get(card_key)
        if heard is not None:
            return heard
        stored = self._members.by_card(card_key)
        return Heard(stored.member, stored.heard_s) if stored else None

    def _has_parcels(self, card_key: int) -> bool:
        known = self._heard_of(card_key)
        if known is None or known.member is None:
            return False
        return bool(self._ledger.parcels(known.member.account))
