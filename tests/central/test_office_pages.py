"""The console: closed to strangers, Russian to everybody else, and right about the points."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation
from django.utils.translation import gettext
from office import ADMIN, ANNA, BORIS, PASSWORD, VERA, Office

from central.console import account_page, entry_words, fleet_page
from central.console.templatetags.points import points
from central.fleet import lives, timeline
from central.fleet.models import TillLife
from central.members import registering
from central.rules import publishing
from central.rules.models import Programme
from loyalty import ledger
from loyalty.ledger import LotTerms, Spent

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
    assert "только что 1 6 0,00" in page  # of the 7 that it counted, one came with this batch
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
    assert "Свободны в офисе 123,45 На кассах 921,05" in page
    for word in (
        "Продажа начислено 10,00 · списано 200,00",
        "Начальный остаток",
        "Баллы размещены на кассе T1",
    ):
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
    assert "Долг погасят следующие начисления" in page
    assert (
        "Запись T1-1-2 списала больше, чем держала касса: остальное стало долгом стало долгом 15,00" in page
    )
    till.sell(account, earn=20_00, spendable_here=False)
    till.sync()
    page = text(clerk.get(f"/accounts/{account}/").content)
    assert "Баланс 5,00" in page
    assert "Свободные баллы погасили долг" in page
    assert "стали долгом счёта" in text(clerk.get("/").content)


def test_the_story_of_an_account_is_told_to_the_end(clerk: Client, office: Office) -> None:
    """Handed on, claimed, asked back, given once, merged, suspended, decided: a controller sees why."""
    office.store("S1")
    office.store("S2")
    anna, boris = office.member(ANNA, "100.00", home="S1"), office.member(BORIS, "7.00")
    hub, second, other = office.till("S1"), office.till("S1"), office.till("S2")
    hub.sync()
    (lot,) = hub.lots(anna)
    second.take_over(*hub.hand_over(second, anna, lots={lot: 20_00}))
    other.claim(anna, 5_00)
    welcome = LotTerms("2026-01-01T00:00:00", None, ledger.once_rule("welcome", "ever"))
    for till in (hub, other):
        till.sell(anna, earn=50_00, lot_terms=welcome, spendable_here=False)
    for till in (hub, second, other):
        till.sync()
    registering.merge(boris, anna)
    lives.close(second.id)
    second.sell(anna, earn=300_00)
    second.sync()
    lives.reverse_late(TillLife.objects.get())

    page = text(clerk.get(f"/accounts/{anna}/").content)
    assert "Баланс 157,00" in page
    assert "Приостановлены 20,00" in page
    assert "касса T2, прежняя жизнь (1) 20,00" in page
    assert "welcome один раз" in page
    for said in (
        "Баллы переданы кассе T2 того же магазина, без офиса ↔ 20,00 T1",
        "Касса приняла то, что передала ей другая (запись T1-1-1)",
        "Баллы выданы кассе T3: она попросила их во время продажи",
        "То, что даётся один раз, пришло второй раз с записью T3-1-1: снято",
        "Карты объединены: сюда пришло то, что было на другом счёте",
        "Запись T2-1-2 пришла после закрытия кассы и отменена оператором",
    ):
        assert said in page
    gone = text(clerk.get(f"/accounts/{boris}/").content)
    assert f"всё, что на нём было, принадлежит счёту {anna}. Показать" in gone
    assert f"Карты объединены: всё перешло на счёт {anna}" in gone
    lives.resume(TillLife.objects.get())
    page = text(clerk.get(f"/accounts/{anna}/").content)
    assert "Вернулось то, что касса T2 держала в прежней жизни (1)" in page
    assert "прежняя жизнь (1)" not in page


@pytest.mark.parametrize(
    ("kind", "flags", "said"),
    [
        (
            "SALE",
            ("COURTESY", "OFFLINE"),
            "часть баллов дана сверх того, что держала касса касса была без связи",
        ),
        ("RETURN_GOODS", ("PENDING",), "без чека: баллы рассчитает офис"),
        ("SALE", ("CLOCK", "OF_TOMORROW"), "часы кассы были неверны"),
        ("RECALL", (), "У кассы T1 попросили баллы для другого магазина"),
        ("LINK", (), "Карта, выданная на кассе: сюда пришло начисленное по ней"),
        ("ADJUST", ("RETURNED",), "Офис рассчитал баллы за возвращённый товар (запись"),
        ("EXPIRE", (), "Баллы сгорели"),
        ("OF_TOMORROW", (), "OF_TOMORROW"),
    ],
)
def test_every_flag_and_kind_has_words(kind: str, flags: tuple[str, ...], said: str) -> None:
    entry = ledger.Entry("T1", 1, 1, 0, kind, 1, ref="T1-1:c" if kind == "RECALL" else None, flags=flags)
    told = entry_words.words(entry)
    with translation.override("ru"):
        assert said in " ".join(sentence.render(gettext) for sentence in (told.what, *told.notes))


def test_each_value_that_is_out_of_order_comes_with_its_remedy(clerk: Client, office: Office) -> None:
    office.store()
    office.member(ANNA, "100.00", home="S1")
    till, gone = office.till(), office.till()
    till.sync()
    office.days_pass(2)
    now_s = office.now_ms // 1000
    till.status = {
        "pending": 9,
        "oldest_s": now_s - 7_200,
        "holds": 21,
        "clock_offset_ms": 600_000,
        "alerts": "disk_full",
    }
    till.sync()
    lives.close(gone.id)
    gone.sell(None)
    gone.sync()
    page = text(clerk.get("/tills/").content)
    assert "на связи только что 0 9 уже 2 часа 90,00 90,00 21 0 600 с" in page
    for said in (
        "Записи ждут там больше часа",
        "не оплачены и не отменены: 21",
        "Часы кассы врут на 10 мин",
        "Касса сама жалуется (disk_full)",
        "ждущих решения: 1. Смотрите kopilka-central till late T2",
    ):
        assert said in page
    office.days_pass(2)
    assert "kopilka-central till close T1" in text(clerk.get("/tills/").content)


def test_exposure_counts_what_a_silent_till_may_lend(clerk: Client, office: Office) -> None:
    """Three customers came in the hour before it fell silent for an hour; to each it may lend 50."""
    Programme.objects.update(courtesy_points=50_00)
    store = office.store()
    till = office.till()
    accounts = [office.member(number, "100.00", home=store) for number in (ANNA, BORIS, VERA)]
    till.sync()
    for account in (*accounts, accounts[0]):
        till.sell(account)
    till.sell(None)
    office.minutes_pass(30)
    till.sync()
    assert fleet_page.till_lines()[0].exposure == 270_00
    office.minutes_pass(60)
    (line,) = fleet_page.till_lines()
    assert (line.held, line.exposure) == (270_00, 420_00)


def test_a_restored_centre_names_whom_it_waits_for(clerk: Client, office: Office) -> None:
    office.store()
    office.till()
    timeline.begin_anew()
    assert "пока не отзовутся кассы: T1" in text(clerk.get("/").content)
    assert "Не отзывалась с тех пор, как центр восстановлен" in text(clerk.get("/tills/").content)


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
    with translation.override("ru"):
        assert points(hundredths) == shown
    with translation.override("en"):
        assert points(hundredths) == shown.replace(",", ".").replace(NARROW, ",")
