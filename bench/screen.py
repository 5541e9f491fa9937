"""`make bench-screen`: from the scan of a card to the cashier's page showing who, and how much.

The idea
--------
A real office and till, a virtual scanner (a pty), and Debian's Chromium without a window. The clock runs from
the moment the scanner has written its last byte until the card stands on the page and what is to be paid is
that customer's price: reading, the till's loop, the price, an event, the page's question, the drawing of it,
and the looking of this program. Of a hundred milliseconds (till.md §6), all of that.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click
from playwright.sync_api import expect, sync_playwright

from agent.demo.cash_program import CashProgram
from agent.demo.stage import Office, TillBox, wait_for
from bench import report
from bench.figures import Bound
from bench.timing import Samples

PAGE = Path(__file__).parents[1] / "docs" / "bench-api.md"
RUN = "bench-screen"
MOST_MS = 100
CARD = "2000000000015"
GOODS = {"4600000000015": (8990, 3000), "4600000000046": (23900, 2000)}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def measure(scans: int) -> Samples:
    """So many customers, one after the other."""
    samples = Samples()
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        office, till = Office(Path(made)), TillBox(Path(made), "ru")
        try:
            office.furnish()
            office.start()
            till.command(
                "enroll", "--server", office.url, "--code", office.command("till", "add", "S1")["code"]
            )
            till.start()
            till.command("sync", "now")
            wait_for("the scanner", till.scanner_ready)
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            page = browser.new_page(viewport={"width": 800, "height": 480})
            page.goto(till.command("screen")["url"])
            cash = CashProgram(till.state)
            for number in range(scans + 1):
                cash.quote(f"r{number}", GOODS)
                expect(page.locator("#pay")).to_contain_text("720,73")
                shown = page.locator("main", has=page.locator("#card", has_text="0015")).filter(
                    has=page.locator("#sums", has_text="Будет начислено")
                )
                began = time.perf_counter_ns()
                till.scanner.scan(CARD)
                shown.wait_for()
                if number:  # the first customer is looked up at the office
                    samples.ns.append(time.perf_counter_ns() - began)
                cash.void(f"r{number}", "bench")
                expect(page.locator("#pay")).to_have_text("")
            browser.close()
        finally:
            till.stop()
            office.stop()
    return samples


def tables(samples: Samples) -> str:
    """What was found, as Markdown."""
    preface = f"{report.machine()}, Python {sys.version.split()[0]}: {len(samples.ns)} scans."
    row = [f"{us / 1_000:.0f}" for us in (samples.median_us, samples.at(0.9), samples.at(1))]
    figures = report.table(["from scan to page", "median ms", "nine of ten", "slowest"], [["", *row]])
    bound = Bound("nine scans of ten", samples.at(0.9) / 1_000, MOST_MS, unit="ms")
    return "\n\n".join([preface, figures, report.bounds_table([bound])])


@click.command()
@click.option("--scans", default=50, help="How many.", show_default=True)
@click.option("--write", is_flag=True, help="Put the tables into docs/bench-api.md.")
def main(scans: int, write: bool) -> None:
    """Time the cashier's page; takes half a minute, best on a machine that does nothing else."""
    text = tables(measure(scans))
    click.echo(text)
    if write:
        report.replace_in_page({"figures": text}, PAGE, RUN)


if __name__ == "__main__":
    main()
