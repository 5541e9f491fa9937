"""The console: closed to strangers, Russian to everybody else, and right about the points."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.test import Client
from office import ADMIN, ANNA, BORIS, PASSWORD, Office

from central.console import account_page
from central.console.templatetags.points import points
from central.rules import publishing
from loyalty import ledger
from loyalty.ledger import Spent

PAGES = ["/", "/tills/", "/accounts/", "/accounts/1/"]
NARROW = "\u202f"


def text(page: bytes) -> str:
    """What a person reads: no tags, single blanks."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.decode())).split())


@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_is_sent_to_the_login(visitor: Client, page: str) -> None:
    answer = visitor.get(page)
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/login/?next={page}")


def test_logging_in_and_out(visitor: Client) -> None:
    page = visitor.get("/login/")
    assert "Войти" in text(page.content)
    wrong = visitor.post("/login/", {"username": ADMIN, "password": "wrong"})
    assert "не подходят" in text(wrong.content)
    right = visitor.post("/login/", {"username": ADMIN, "password": PASSWORD, "next": "/tills/"})
    assert right.headers["Location"] == "/tills/"
    assert visitor.get("/tills/").status_code == 200
    visitor.post("/logout/")
    assert visitor.get("/tills/").status_code == 302


def test_a_form_from_elsewhere_is_refused(office: Office) -> None:
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(User.objects.get())
    assert careful.post("/accounts/", {"query": ANNA}).status_code == 403


@pytest.mark.parametrize("page", ["/login/", *PAGES[:3]])
def test_every_page_keeps_to_itself(clerk: Client, page: str) -> None:
    headers = clerk.get(page).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_a_page_uses_nothing_that_the_policy_forbids(clerk: Client, office: Office) -> None:
    office.member()
    for page in PAGES:
        html = clerk.get(page).content.decode()
        assert not re.search(r"<script|style=|\son\w+=|https?://", html)
    assert clerk.get("/static/console/console.css").headers["Content-Type"].startswith("text/css")


def test_russian_until_somebody_chooses_english(clerk: Client) -> None:
    assert "Кассы" in text(clerk.get("/tills/", headers={"Accept-Language": "en"}).content)
    clerk.post("/language/", {"language": "en", "next": "/tills/"})
    page = clerk.get("/tills/")
    assert "Tills" in text(page.content)
    assert 'lang="en"' in page.content.decode()
    clerk.post("/language/", {"language": "ru", "next": "/tills/"})
    assert "Кассы" in text(clerk.get("/tills/").content)


def test_the_tills_and_how_they_are_doing(clerk: Client, office: Office) -> None:
    office.store("S1")
    till = office.till()
    till.status = {"pending": 7, "agent_version": "0.1.9"}
    publishing.publish(publishing.RULEBOOK_CHANNEL, {"rulebook.json": b"1"}, content_seq=1)
    till.sell(None)
    till.sync()
    page = text(clerk.get("/tills/").content)
    assert "Магазин S1" in page
    assert "на связи" in page
    assert "только что 1 6 " in page  # of the 7 that it counted, one came with this batch
    assert "0.1.9" in page
    assert "ещё нет, последняя 1" in page
    till.versions = {publishing.RULEBOOK_CHANNEL: 1}
    till.sync()
    assert "версия 1, последняя" in text(clerk.get("/tills/").content)
    office.minutes_pass(16)
    assert "давно молчит" in text(clerk.get("/tills/").content)
    office.days_pass(1)
    assert "больше суток" in text(clerk.get("/tills/").content)
    assert "1 касса молчит больше суток" in text(clerk.get("/").content)


def test_what_a_till_says_of_itself_is_text_and_no_more(clerk: Client, office: Office) -> None:
    office.store()
    till = office.till()
    till.status = {"agent_version": "<b>x\0y" + "z" * 1000, "pending": "many"}
    till.sync()
    html = clerk.get("/tills/").content.decode()
    assert "&lt;b&gt;xyz" in html
    assert "z" * 300 not in html


def test_an_account_is_found_by_its_card_and_the_number_stays_out_of_the_address(
    clerk: Client, office: Office
) -> None:
    account = office.member(ANNA)
    for query in (ANNA, f" {ANNA} ", str(account)):
        answer = clerk.post("/accounts/", {"query": query})
        assert answer.headers["Location"] == f"/accounts/{account}/"
    for query in (BORIS, "", "99999", "9" * 40, "<b>"):
        answer = clerk.post("/accounts/", {"query": query})
        assert answer.status_code == 200
        assert "Нет счёта" in text(answer.content)


def test_the_page_of_an_account(clerk: Client, office: Office) -> None:
    office.store()
    account = office.member(points="1234.50", home="S1", tier="vip", expires="2027-12-31")
    till = office.till()
    till.sync()
    (lot,) = till.lots(account)
    sale = till.sell(account, spend=[Spent(lot, 200_00)], earn=10_00)
    till.sync()
    page = text(clerk.get(f"/accounts/{account}/").content)
    assert "Баланс 1 044,50" in page
    assert "начислено 10,00 · списано 200,00" in page
    assert "T1 911,05 офис 123,45" in page
    assert "01.01.2028 00:00" in page
    assert "vip" in page
    for word in ("Продажа", "Начальный остаток", "Баллы размещены в магазине"):
        assert word in page
    assert "\u2212190,00" in page
    assert page.index(sale.id) < page.index("Начальный остаток")  # newest first


def test_debt_is_said_in_words(clerk: Client, office: Office) -> None:
    office.store()
    account = office.member(points="0")
    till = office.till()
    till.sell(account, earn=10_00)
    till.sell(account, spend=[Spent(ledger.lot_id("T1", 1, 1, 0), 25_00)])
    till.sync()
    page = text(clerk.get(f"/accounts/{account}/").content)
    assert "Баланс \u221215,00 долг 15,00" in page
    assert "стали долгом счёта" in text(clerk.get("/").content)


def test_a_long_history_is_turned_page_by_page(
    clerk: Client, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_page, "ENTRIES_PER_PAGE", 4)
    office.store()
    account = office.member(points="0")
    till = office.till()
    sales = [till.sell(account, earn=1_00).id for _ in range(10)]
    till.sync()
    seen: list[str] = []
    address = f"/accounts/{account}/"
    for _ in range(3):
        html = clerk.get(address).content.decode()
        seen += re.findall(r">(T1-1-\d+)<", html)
        older = re.search(r'href="(\?before=[^"]+)"', html)
        address = f"/accounts/{account}/{older[1]}" if older else ""
    assert address == ""
    assert seen == sales[::-1]


@pytest.mark.parametrize("before", ["x", "1~T1~1", "~~~", "1~T1~1~²", "9" * 30 + "~T1~1~1"])
def test_a_made_up_key_shows_the_first_page(clerk: Client, office: Office, before: str) -> None:
    account = office.member()
    page = clerk.get(f"/accounts/{account}/", {"before": before})
    assert "Начальный остаток" in text(page.content)


@pytest.mark.parametrize("account", [77, 2**63, 10**30])
def test_an_account_that_is_not_there(clerk: Client, account: int) -> None:
    answer = clerk.get(f"/accounts/{account}/")
    assert answer.status_code == 404
    assert "Не найдено" in text(answer.content)


@pytest.mark.parametrize(
    ("hundredths", "shown"),
    [
        (0, "0,00"),
        (5, "0,05"),
        (-5, "\u22120,05"),
        (123450, f"1{NARROW}234,50"),
        (-100000000, f"\u22121{NARROW}000{NARROW}000,00"),
    ],
)
def test_points_as_people_write_them(office: Office, hundredths: int, shown: str) -> None:
    from django.utils import translation

    with translation.override("ru"):
        assert points(hundredths) == shown
    with translation.override("en"):
        assert points(hundredths) == shown.replace(",", ".").replace(NARROW, ",")
