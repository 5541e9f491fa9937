"""Stand-alone: the cashier rings up on our page, by scanning goods or by a keyed sum (till.md §6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from agent.demo.stage import Office, TillBox, data_file, wait_for
from tests.e2e.screen.conftest import CashierPage

CARD = "2000000000015"
MILK, CHEESE, TEA, TWO_OFFERS = "4600000000015", "4600000000022", "4600000000046", "4600000000060"


@pytest.fixture
def till(office: Office, tmp_path: Path) -> Iterator[TillBox]:
    """A till that rings up by itself; one barcode of its goods belongs to two offers, one has no price."""
    goods = json.loads(Path(data_file("goods.json")).read_text(encoding="utf-8"))
    goods["skus"]["tea-gift"] = {
        "name": "Чай в подарочной коробке", "unit": "шт", "barcodes": [TWO_OFFERS], "price": 49900,
    }  # fmt: skip
    goods["skus"]["tea-plain"] = {
        "name": "Чай в пачке",
        "unit": "шт",
        "barcodes": [TWO_OFFERS],
        "price": 19900,
    }
    goods["skus"]["bag"] = {"name": "Пакет", "unit": "шт", "barcodes": ["4600000000077"]}
    file = tmp_path / "goods.json"
    file.write_text(json.dumps(goods, ensure_ascii=False), encoding="utf-8")
    office.command("import", "goods", str(file))
    box = TillBox(tmp_path, "ru")
    box.stand_alone()
    try:
        code = office.command("till", "add", "S1")["code"]
        box.command("enroll", "--server", office.url, "--code", code)
        box.start()
        box.command("sync", "now")
        box.keep_port()
        wait_for("the scanner", box.scanner_ready)
        yield box
    finally:
        box.stop()


def sales(till: TillBox) -> list[dict[str, Any]]:
    """The sales in the till's ledger."""
    told = till.command("ledger", "tail")
    return [one for one in (told if isinstance(told, list) else [told]) if one["kind"] == "SALE"]


def test_goods_are_scanned_a_card_is_read_and_cash_is_given(screen: CashierPage, till: TillBox) -> None:
    screen.open(till)
    screen.sees("card", "Чек не открыт")
    till.scanner.scan(MILK)
    screen.sees("pay", "80,91")
    till.scanner.scan(MILK)
    screen.sees("lines", "2 × 89,90")
    till.scanner.scan(CHEESE)
    screen.asked("Сыр «Российский», кг")
    screen.page.keyboard.type("0,333")
    screen.key("Enter")
    screen.sees("lines", "0,333 × 749,00")
    till.scanner.scan(TWO_OFFERS)
    screen.asked("Какой это товар?")
    screen.press("Чай в пачке")
    screen.sees("lines", "Чай в пачке")
    till.scanner.scan("4600000000077")
    screen.asked("Пакет: нет цены в каталоге")
    screen.press("Закрыть")
    screen.press("Ввести сумму")
    screen.type("50")
    screen.press("ОК")
    screen.sees("lines", "Товар на сумму")

    till.scanner.scan(CARD)
    screen.sees("card", "…0015")
    screen.press("Списать все")
    screen.sees("sums", "Оплачено баллами")
    due = screen.page.locator("#pay").inner_text()
    screen.press("Оплата")
    screen.asked("Оплата")
    screen.press("Наличные")
    screen.asked(f"К оплате: {due}")
    screen.type("1000")
    screen.press("ОК")
    screen.asked("Сдача")
    screen.press("Закрыть")
    screen.asked(f"Оплачено: {due}")
    screen.press("Закрыть")
    slip = till.printer.wait_for_slips(1)[0].text
    assert "Карта ...0015" in slip
    assert screen.page.locator("#dialog[open]").count() == 0
    screen.sees("card", "Чек не открыт")
    [sale] = sales(till)
    assert sale["ident"] in slip


def test_a_receipt_is_parked_for_the_next_customer_and_recalled(screen: CashierPage, till: TillBox) -> None:
    screen.open(till)
    till.scanner.scan(TEA)
    screen.sees("pay", "239,00")
    screen.press("Отложить")
    screen.sees("card", "Чек не открыт")
    till.scanner.scan(MILK)
    screen.sees("pay", "80,91")
    screen.press("Отменить чек")
    screen.press("Да")
    screen.press("Отложенные чеки")
    screen.press("1 × Чай чёрный")
    screen.sees("pay", "239,00")
    screen.press("Количество: Чай чёрный")
    screen.press("Количество")
    screen.type("3")
    screen.press("ОК")
    screen.sees("pay", "717,00")


def test_the_agent_is_killed_before_and_during_the_payment(screen: CashierPage, till: TillBox) -> None:
    screen.open(till)
    till.scanner.scan(TEA)
    screen.sees("pay", "239,00")
    till.kill()
    screen.sees("away", "Продавайте без неё")
    till.start()
    screen.page.locator("#away").wait_for(state="hidden")
    screen.sees("pay", "239,00")  # the cart lay in the browser, and the price came from the till again

    screen.press("Оплата")
    screen.press("Банковская карта")
    screen.asked("Оплачено: 239,00")
    screen.press("Закрыть")
    assert len(sales(till)) == 1
    screen.page.reload()
    screen.sees("last", "239,00")
    expect(screen.page.locator("#lines li")).to_have_count(0)


def test_the_last_receipt_is_cancelled(screen: CashierPage, till: TillBox) -> None:
    screen.open(till)
    till.scanner.scan(TEA)
    screen.sees("pay", "239,00")
    screen.press("Оплата")
    screen.press("Банковская карта")
    screen.asked("Оплачено: 239,00")
    screen.press("Закрыть")
    screen.press("Отменить последний чек")
    screen.asked("Отменить чек на 239,00")
    screen.press("Да")
    screen.sees("last", "Отменён")
    expect(screen.page.get_by_role("button", name="Отменить последний чек")).to_be_disabled()


def test_a_lost_answer_to_the_payment_is_asked_for_again(screen: CashierPage, till: TillBox) -> None:
    """The till has written the sale, and the page has not heard of it: it asks the same, and sells once."""
    screen.open(till)
    till.scanner.scan(TEA)
    screen.sees("pay", "239,00")
    lost: list[str] = []

    def lose_one(route: object, request: object) -> None:
        if not lost:
            lost.append("the answer")
            route.fetch()  # type: ignore[attr-defined]
            route.abort()  # type: ignore[attr-defined]
        else:
            route.continue_()  # type: ignore[attr-defined]

    screen.page.route("**/commit", lose_one)
    screen.press("Оплата")
    screen.press("Банковская карта")
    screen.asked("Оплачено: 239,00")
    screen.press("Закрыть")
    assert lost == ["the answer"]
    assert len(sales(till)) == 1
