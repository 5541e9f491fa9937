"""A small chain for the tests: stores, members with points, and tills that are enrolled at once."""

from __future__ import annotations

from pretend_till import PretendTill

from central.fleet import enrolment
from central.home import Home
from central.members import directory, importing, numbers
from central.rules.models import Programme

ADMIN = "olga"
PASSWORD = "correct horse battery"
START_MS = 1_767_261_600_000  # 2026-01-01 10:00:00 UTC, 13:00 in Moscow
DAY_MS = 86_400_000

TEMPLATES = [
    {
        "id": "cards",
        "what": "card",
        "media": ["barcode", "keyed"],
        "prefix": "29",
        "length": 13,
        "check": "ean",
    },
    {"id": "phones", "what": "phone", "kind": "phone", "media": ["keyed"]},
]
ANNA, BORIS, VERA = "2900000000001", "2900000000018", "2900000000025"


def card_key(number: str) -> int:
    """What a till asks for when this card is swiped."""
    key = numbers.card_key(number, numbers.templates())
    assert key is not None
    return key


class Office:
    """The centre under test, and the clock it lives by."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.now_ms = START_MS

    def days_pass(self, days: int) -> None:
        self.now_ms += days * DAY_MS

    def minutes_pass(self, minutes: int) -> None:
        self.now_ms += minutes * 60_000

    def store(self, store_id: str = "S1", timezone: str = "Europe/Moscow") -> str:
        return enrolment.add_store(store_id, f"Магазин {store_id}", timezone, None).id

    def till(self, store_id: str = "S1") -> PretendTill:
        """A till that has just been enrolled."""
        _, code = enrolment.new_code(store_id, None)
        return PretendTill.enrolled(code)

    def member(self, number: str = ANNA, points: str = "150.00", home: str | None = None, **more: str) -> int:
        """The account of a new member with an opening balance."""
        Programme.objects.update(number_templates=TEMPLATES)
        row = {"number": number, "points": points, **more}
        text = ",".join(row) + "\n" + ",".join(row.values()) + "\n"
        importing.import_members(text.encode(), home)
        account = directory.by_number(number)
        assert account is not None
        return account.account
