"""Draws the cashier's page for the docs from a real till: part of `make pictures`. Needs chromium."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from agent.demo.cash_program import CashProgram
from agent.demo.stage import Office, StageError, TillBox, wait_for

IMAGES = Path("docs/images").resolve()
SMALL, LARGE = (800, 480), (1920, 1080)
CARD = "2000000000015"
MILK, CHEESE, TEA, BREAD = "4600000000015", "4600000000022", "4600000000046", "4600000000039"
GOODS = {MILK: (8990, 3000), CHEESE: (74900, 333), TEA: (23900, 2000)}


def main() -> None:
    """Both kinds of shop, one after the other."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        for stand_alone, draw in ((False, beside_a_cash_program), (True, by_itself)):
            with tempfile.TemporaryDirectory() as made:
                office, till = Office(Path(made)), TillBox(Path(made), "ru")
                try:
                    open_shop(office, till, stand_alone)
                    draw(browser, office, till)
                finally:
                    till.stop()
                    office.stop()
        browser.close()


def open_shop(office: Office, till: TillBox, stand_alone: bool) -> None:
    """An office and an enrolled till that has synced."""
    office.furnish()
    office.start()
    if stand_alone:
        till.stand_alone()
    code = office.command("till", "add", "S1")["code"]
    till.command("enroll", "--server", office.url, "--code", code)
    till.start()
    till.command("sync", "now")
    wait_for("the scanner", till.scanner_ready)


def open_page(browser: Browser, till: TillBox, size: tuple[int, int]) -> Page:
    """The page as the cashier has it."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto(till.command("screen")["url"])
    expect(page.locator("#shop")).to_contain_text("T1")
    return page


def shot(page: Page, name: str) -> None:
    """A picture, when what was waited for is there."""
    page.screenshot(path=IMAGES / f"screen-{name}.png")


def beside_a_cash_program(browser: Browser, office: Office, till: TillBox) -> None:
    """A customer with points; another amount; no link; goods that come back."""
    cash = CashProgram(till.state)
    page = open_page(browser, till, SMALL)
    paid = cash.pay("r0", cash.quote("r0", GOODS, card=CARD))
    expect(page.locator("#last")).to_contain_text("напечатан")
    cash.quote("r1", GOODS)
    till.scanner.scan(CARD)
    expect(page.locator("#card")).to_contain_text("0015")
    shot(page, "customer")
    page.keyboard.press("F3")
    expect(page.locator("#dialog-title")).to_be_visible()
    page.keyboard.type("100")
    shot(page, "amount")
    page.keyboard.press("Enter")
    expect(page.locator("#sums")).to_contain_text("Оплачено баллами")
    shot(page, "spent")
    office.stop()
    with suppress(StageError):  # that there is no link is what shall be seen
        till.command("sync", "now")
    expect(page.locator("#link")).to_contain_text("без связи")
    shot(page, "offline")
    page.keyboard.press("F9")
    page.keyboard.type(paid["ident"])
    page.keyboard.press("Enter")
    expect(page.locator("#dialog-title")).to_contain_text("Что возвращают?")
    shot(page, "return")
    page.close()
    large = open_page(browser, till, LARGE)
    large.get_by_role("button", name="English").click()
    expect(large.locator("#pay-word")).to_contain_text("To pay")
    shot(large, "english")
    large.close()


def by_itself(browser: Browser, office: Office, till: TillBox) -> None:
    """A shop without a cash program: goods, a card, cash."""
    page = open_page(browser, till, LARGE)
    for number, code in enumerate((MILK, TEA, BREAD), start=1):
        till.scanner.scan(code)
        expect(page.locator("#lines li")).to_have_count(number)
    till.scanner.scan(CARD)
    expect(page.locator("#card")).to_contain_text("0015")
    page.get_by_role("button", name="Списать все").click()
    expect(page.locator("#sums")).to_contain_text("Оплачено баллами")
    shot(page, "stand-alone")
    page.keyboard.press("F12")
    page.get_by_role("button", name="Наличные").click()
    expect(page.locator("#dialog-title")).to_contain_text("К оплате")
    page.keyboard.type("500")
    shot(page, "cash")
    page.close()


if __name__ == "__main__":
    main()
