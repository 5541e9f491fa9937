"""Courtesy: how many points a till may lend that it does not hold (ledger-sync.md §5.4).

With the link down, or the centre silent for this sale, and the store's hub of no help, a customer may
stand here whose points lie elsewhere. A programme may let its tills lend up to K points an account and
outage. What is lent becomes the account's debt; the office nets it from what is free.

**What an outage is** needs no clock: entries that the centre has not acknowledged. A restart does not
begin a new one, and a void gives back what was lent.

**Never** to a card of which the centre has told nothing, nor to an account that owes already, nor
more than is known to lie elsewhere: it is the customer's own points that are lent, not the shop's. Nor
by a till that the office has closed, or that was restored and has not been heard.
So what n cut-off tills can lose by one card is K each, and nothing where K is 0.
"""

from __future__ import annotations

from agent.offline.ledger_db import LedgerDb
from agent.pricing import Customer


def may_lend(db: LedgerDb, customer: Customer, sale_id: str, k: int) -> int:
    """How many points (hundredths) sale `sale_id` may lend; `k` is the programme's K."""
    account, member = customer.member.account, customer.member
    uplink = db.uplink()
    if k <= 0 or customer.new or customer.is_flagged or uplink.ended or uplink.restoring:
        return 0
    lent = db.lent(account)
    if db.own_debt(account, uplink.epoch, db.counted_seq(member)) + lent < 0:
        return 0  # it owes more than what was lent in this outage
    promised = sum(
        hold.offer.lent
        for hold in db.holds()
        if hold.sale_id != sale_id
        and hold.offer.customer is not None
        and db.owner(hold.offer.customer.account) == account
    )
    return max(0, min(k - lent - promised, customer.elsewhere - promised))
