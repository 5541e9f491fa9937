"""The cashier's page beside a cash program: one glance, and a large button for everything (till.md §6)."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from agent.demo.cash_program import CashProgram
from agent.demo.stage import Office, StageError, TillBox, wait_for
from tests.e2e.screen.conftest import CashierPage

CARD, NEW_CARD = "2000000000015", "2100000000005"
GOODS = {"4600000000015": (8990, 3000), "4600000000046": (23900, 2000)}


def test_a_customer_with_points(screen: CashierPage, office: Office, till: TillBox) -> None:
    cash = CashProgram(till.state)
    screen.open(till)
    screen.sees("link", "на связи")
    wait_for("the scanner", till.scanner_ready)

    cash.quote("r1", GOODS)
    screen.sees("pay", "720,73")
    till.scanner.scan(CARD)
    screen.sees("card", "…0015")
    screen.sees("points", "можно списать здесь")
    screen.sees("sums", "Молочное −10 %")

    # All, another amount, none, all again: each is a price that the cash program asks for.
    screen.press("Списать все: 216")
    screen.sees("sums", "Оплачено баллами")
    assert cash.sale("r1")["quote"]["redeemed"] == 21_600
    screen.press("Другая сумма")
    screen.asked("Сколько баллов списать?")
    screen.type("100")
    screen.press("ОК")
    screen.sees("pay", "620,73")
    screen.press("Не списывать")
    screen.sees("pay", "720,73")
    screen.press("Списать все: 216")
    screen.sees("pay", "504,73")

    paid = cash.pay("r1", cash.sale("r1"))
    screen.sees("last", "Слип напечатан")
    screen.press("Печать ещё раз")
    copy = till.printer.wait_for_slips(2)[-1]
    assert "КОПИЯ" in copy.text
    screen.sees("card", "Ждём кассовую программу")

    # The goods come back, by the slip's last line.
    screen.press("Возврат")
    screen.type(paid["ident"])
    screen.press("ОК")
    screen.asked("Что возвращают?")
    screen.press("+1 Молоко")
    screen.press("Вернуть")
    screen.asked("Верните 56,66 ₽. Баллов возвращено: 24,25")
    screen.press("Закрыть")
    # Without the slip, by the card.
    screen.press("Возврат")
    screen.type(CARD)
    screen.press("ОК")
    screen.asked("Что возвращают?")
    screen.press("Назад")


def test_without_the_card_and_with_a_new_one(screen: CashierPage, office: Office, till: TillBox) -> None:
    cash = CashProgram(till.state)
    screen.open(till)
    cash.quote("r1", GOODS, card=CARD)
    screen.sees("card", "…0015")
    screen.key("F4")
    screen.sees("card", "Карты на чеке нет")
    assert cash.sale("r1")["customer"] is None
    screen.key("F6")
    screen.asked("Ввести карту")
    screen.type(CARD)
    screen.key("Enter")
    screen.sees("card", "…0015")

    screen.key("F10")
    screen.asked("Новая карта")
    screen.type(CARD)
    screen.key("Enter")
    screen.asked("зарегистрирована")
    screen.press("Закрыть")
    # What is no card is refused in words, and nothing is lost by it.
    screen.key("F6")
    screen.type("123")
    screen.key("Enter")
    screen.asked("карт")
    screen.press("Закрыть")
    screen.sees("card", "…0015")


def test_link_and_devices_in_plain_words(screen: CashierPage, office: Office, till: TillBox) -> None:
    cash = CashProgram(till.state)
    screen.open(till)
    screen.sees("link", "на связи")
    cash.pay("r1", cash.quote("r1", GOODS, card=CARD))  # the printer is known by now
    screen.sees("devices", "принтер: работает")
    office.stop()
    with pytest.raises(StageError):
        till.command("sync", "now")
    screen.sees("link", "без связи: списание из остатка магазина")
    cash.quote("r2", GOODS, card=CARD)
    screen.press("Списать все")  # points are spent all the same
    screen.sees("sums", "Оплачено баллами")
    # Goods of another shop come back though nobody can show their receipt: the office will settle it.
    screen.press("Возврат")
    screen.type("T9-1-5-0a1b2c")
    screen.press("ОК")
    screen.asked("Номер строки на чеке")
    screen.type("1")
    screen.press("ОК")
    screen.asked("Количество")
    screen.press("ОК")
    screen.asked("Записано. Деньги верните по чеку")
    screen.press("Закрыть")
    till.printer.close()
    cash.pay("r2", cash.sale("r2"))
    screen.sees("last", "Слип ждёт принтера")
    screen.press("Требует внимания")
    screen.asked("Требует внимания")
    screen.press("Закрыть")


def test_the_agent_is_killed_and_comes_back(screen: CashierPage, office: Office, till: TillBox) -> None:
    cash = CashProgram(till.state)
    till.keep_port()
    screen.open(till)
    cash.quote("r1", GOODS, card=CARD, redeem="max")
    screen.sees("pay", "504,73")
    till.kill()
    screen.sees("away", "Продавайте без неё")
    till.start()
    screen.page.locator("#away").wait_for(state="hidden")
    # What was promised before is still promised, and can be paid.
    again = CashProgram(till.state)
    assert again.sale("r1")["quote"]["redeemed"] == 21_600
    again.pay("r1", again.sale("r1"))
    screen.sees("last", "504,73")


@pytest.mark.parametrize("language", ["ru", "en"])
def test_nothing_serious_stands_in_anybodys_way(
    screen: CashierPage, office: Office, till: TillBox, language: str
) -> None:
    """axe-core on the empty page, on a sale with a customer, and on a question."""
    cash = CashProgram(till.state)
    screen.open(till)
    if language == "en":
        screen.press("English")
        screen.sees("link", "on line")
    check_with_axe(screen)
    cash.quote("r1", GOODS, card=CARD, redeem="max")
    screen.sees("card", "…0015")
    check_with_axe(screen)
    screen.key("F3")
    screen.asked("Сколько" if language == "ru" else "How many")
    check_with_axe(screen)


def check_with_axe(screen: CashierPage) -> None:
    found = Axe().run(screen.page).response["violations"]
    serious = [one["id"] for one in found if one["impact"] in ("serious", "critical")]
    assert serious == [], found
