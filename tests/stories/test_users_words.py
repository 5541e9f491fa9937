"""What users of loyalty programmes complain of, each told as a story with the real pieces."""

from __future__ import annotations

from tests.stories.chain import ANNA, Chain


def test_smoke(chain: Chain) -> None:
    chain.centre.member(ANNA, 150_00, "S1")
    till = chain.till()
    print(till.status()["link"], till.till.settings is not None)
    q = till.quote("a", card=ANNA, redeem=100_00)
    print(q)
    print(till.pay("a", q)["slip"]["lines"])
    print(till.slips)
    chain.agrees(anna=95_00)
