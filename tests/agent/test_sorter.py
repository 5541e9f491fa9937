"""What a scanner in mode `forward` keeps for us: cards, coupons, bad swipes, and every payment card."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from agent.drivers.contracts import Source
from agent.drivers.msr import Scan
from agent.sorter import Sorter
from agent.till import Till
from loyalty.card import parse_templates

TEMPLATES = parse_templates(
    [
        {"id": "cards", "what": "card", "kind": "card", "media": ["barcode", "track2"], "prefix": "2000"},
        {"id": "autumn", "what": "coupon", "series": "AUTUMN", "media": ["barcode"], "prefix": "CP"},
    ]
)
PAYMENT_SWIPE = ";4276380012345679=29122010000012345678?"


def sorter(*, with_rules: bool) -> Sorter:
    made = Sorter()
    if with_rules:
        made.till = cast(Till, SimpleNamespace(templates=TEMPLATES))
    return made


@pytest.mark.parametrize(
    ("text", "source", "kept", "kept_before_the_rules"),
    [
        pytest.param("2000000012346", "barcode", True, False, id="our card"),
        pytest.param("]E02000000012346", "barcode", True, False, id="our card, with its symbology"),
        pytest.param("CP123456", "barcode", True, False, id="our coupon"),
        pytest.param("4607025392408", "barcode", False, False, id="goods"),
        pytest.param("0104607025392408215abc\x1d93ab", "barcode", False, False, id="marked goods"),
        pytest.param("скидка", "barcode", False, False, id="anything"),
        pytest.param(";77100042=991210100000?", "track2", False, False, id="the stripe of another shop"),
        pytest.param("%E?;E?", "track2", True, True, id="an unreadable swipe"),
        pytest.param(PAYMENT_SWIPE, "track2", True, True, id="a payment card's swipe"),
        pytest.param("4276380012345679", "barcode", True, True, id="a payment card's number"),
    ],
)
def test_what_is_ours(text: str, source: Source, *, kept: bool, kept_before_the_rules: bool) -> None:
    scan = Scan(text, source, 0)
    assert sorter(with_rules=True).keeps(scan) is kept
    assert sorter(with_rules=False).keeps(scan) is kept_before_the_rules
