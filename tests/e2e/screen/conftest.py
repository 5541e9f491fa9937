"""A real browser (Debian's Chromium, without a window) in front of a real till."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from agent.demo.stage import TillBox

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",  # it runs as root in a container
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
SMALL, LARGE = (800, 480), (1920, 1080)
SECONDS_MS = 15_000

expect.set_options(timeout=SECONDS_MS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all walks of a worker."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


class CashierPage:
    """The page as a cashier uses it: what is on it, and hands for it."""

    def __init__(self, page: Page, touch: bool) -> None:
        self.page = page
        self._touch = touch
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._said)

    def _said(self, message: Any) -> None:
        # That the till is away, or refuses, is said by the browser itself; the rest would be a fault of ours.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def open(self, till: TillBox) -> None:
        """By the URL that works once."""
        self.page.goto(till.command("screen")["url"])
        self.sees("shop", till_name(till))

    def sees(self, where: str, text: str) -> None:
        """It is there, or comes soon."""
        expect(self.page.locator(f"#{where}")).to_contain_text(text)

    def sees_nothing(self, where: str) -> None:
        """It is empty, or will be soon."""
        expect(self.page.locator(f"#{where}")).to_have_text("")

    def press(self, text: str) -> None:
        """A button, by finger or by mouse."""
        asked = self.page.locator("#dialog[open]")
        place = asked if asked.count() else self.page.locator("body")
        button = place.get_by_role("button", name=text)
        expect(button).to_be_enabled()
        if self._touch:
            button.tap()
        else:
            button.click()

    def key(self, *names: str) -> None:
        """Keys of the keyboard."""
        for name in names:
            self.page.keyboard.press(name)

    def type(self, text: str) -> None:
        """Into the question that is open: by the keys on the screen, or by the keyboard."""
        expect(self.page.locator("#dialog input").first).to_be_visible()
        if self._touch and text.isdigit():
            for digit in text:
                self.page.locator(".keys").get_by_text(digit, exact=True).tap()
        else:
            self.page.keyboard.type(text)

    def asked(self, title: str) -> None:
        """A question, or a word, is before the cashier."""
        expect(self.page.locator("#dialog-title")).to_contain_text(title)


def till_name(till: TillBox) -> str:
    """What the page's head says."""
    name: str = till.command("status")["till"]
    return name


@pytest.fixture(params=[SMALL, LARGE], ids=["800x480 touch", "1920x1080 keyboard"])
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    """A small touch screen, and a large one with a keyboard."""
    found: tuple[int, int] = request.param
    return found


@pytest.fixture
def screen(browser: Browser, size: tuple[int, int]) -> Iterator[CashierPage]:
    """A page that has not been opened yet; at the end nothing on it was wrong."""
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=size == SMALL)
    page = CashierPage(context.new_page(), touch=size == SMALL)
    yield page
    faults = list(page.faults)
    context.close()
    assert faults == []
