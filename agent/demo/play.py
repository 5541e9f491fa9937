"""The shift, act by act. Each act shows one promise of Kopilka and checks that it was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text as RichText

from agent.demo.cash_program import CashProgram
from agent.demo.stage import PASSWORD, Office, StageError, TillBox, data_file, wait_for
from agent.texts import amount, say
from loyalty.texts import N_, Text

CARD = "2000000000015"
MILK, CHEESE, BREAD, TEA = "4600000000015", "4600000000022", "4600000000039", "4600000000046"
GOODS = {MILK: (8990, 3000), CHEESE: (74900, 1250), BREAD: (5450, 1000), TEA: (23900, 1000)}


class Shift:
    """One shift in a shop that exists for a minute."""

    def __init__(self, directory: Path, pictures: Path, console: Console, lang: str) -> None:
        self._console = console
        self._lang = lang
        self._pictures = pictures
        self._office = Office(directory)
        self._till = TillBox(directory, lang)
        self._act = 0

    def close(self) -> None:
        """Everybody goes home."""
        try:
            self._till.stop()
        finally:
            self._office.stop()

    @property
    def office_url(self) -> str:
        """Where the office's pages are."""
        return self._office.url

    def account(self) -> int:
        """The account of the customer who bought."""
        entries = self._till.command("ledger", "tail")
        return next(int(entry["account"]) for entry in entries if entry["account"] is not None)

    def play(self) -> None:
        """All acts, in order."""
        self._office_opens()
        self._till_opens()
        cash = CashProgram(self._till.state)
        self._online_sale(cash)
        self._offline_sale(cash)
        self._link_is_back()
        self._new_rules(cash)
        cash = self._killed_between_quote_and_commit(cash)
        self._killed_between_commit_and_print(cash)
        self._ledgers_agree()
        self._where_the_pages_are()

    # -- acts

    def _office_opens(self) -> None:
        self._title(N_("The office opens"))
        office = self._office
        office.furnish()
        office.command("store", "set", "S1", "--header", "ул. Садовая, 5", "--footer", "Спасибо за покупку!")
        office.start()
        self._say(N_("a centre on SQLite, one store, goods, a rulebook (signed), two members"))
        self._say(N_("rules: dairy -10 %, 100 roubles off from 1,000, points pay up to 30 %, 5 % back"))

    def _till_opens(self) -> None:
        self._title(N_("The till enrols and opens"))
        code = self._office.command("till", "add", "S1")["code"]
        who = self._till.command("enroll", "--server", self._office.url, "--code", code)
        self._say(N_("with a one-time code this box became till {till}", till=who["till"]))
        self._till.start()
        self._till.command("sync", "now")
        status = self._till.command("status")
        _expect(status["rulebook_seq"] == 1, "the rulebook did not arrive")
        self._say(
            N_(
                "rules {seq} and goods {catalog} arrived signed, were verified and are in force",
                seq=status["rulebook_seq"],
                catalog=status["catalog_version"],
            )
        )

    def _online_sale(self, cash: CashProgram) -> None:
        self._title(N_("A sale: card scanned, discounts, points"))
        first = cash.quote("r1", GOODS)
        self._say(N_("the goods come to {list}, without a card {pay}", **self._sums(first)))
        wait_for("the scanner to be open", self._till.scanner_ready)
        self._till.scanner.scan(CARD)
        seen = wait_for("the scanned card", lambda: cash.sale("r1")["customer"])
        self._say(N_("the scanner reads a card; the sale shows {card}", card=seen["card"]))
        quoted = cash.quote("r1", GOODS, redeem="max")
        self._explain(quoted)
        self._commit(cash, "r1", quoted, "slip-1.png")

    def _offline_sale(self, cash: CashProgram) -> None:
        self._title(N_("The link is cut, and points are spent all the same"))
        self._office.stop()
        self._say(N_("the centre's listener is stopped"))
        wait_for("the till to notice", self._notices_the_cut)
        quoted = cash.quote("r2", {MILK: (8990, 2000), BREAD: (5450, 1000)}, card=CARD, redeem="max")
        _expect(quoted["quote"]["redeemed"] > 0, "no points were spent offline")
        self._explain(quoted)
        self._commit(cash, "r2", quoted, "slip-2.png")
        pending = self._till.command("status")["pending"]
        self._say(N_("entries that wait for the link: {pending}", pending=pending))

    def _link_is_back(self) -> None:
        self._title(N_("The link is back"))
        self._office.start()
        self._till.command("sync", "now")
        self._ledgers_agree()

    def _new_rules(self, cash: CashProgram) -> None:
        self._title(N_("New rules, without a restart"))
        self._office.command("rulebook", "publish", data_file("rulebook-2.json"))
        self._till.command("sync", "now")
        quoted = cash.quote("r3", {TEA: (23900, 4000)}, card=CARD)
        _expect(quoted["rulebook_seq"] == 2, "the new rulebook is not in force")
        self._explain(quoted)
        self._commit(cash, "r3", quoted, "slip-3.png")

    def _killed_between_quote_and_commit(self, cash: CashProgram) -> CashProgram:
        self._title(N_("SIGKILL between quote and commit"))
        quoted = cash.quote("r4", {CHEESE: (74900, 500)}, card=CARD, redeem="max")
        self._explain(quoted)
        self._till.kill()
        self._say(N_("the agent is killed; the customer pays meanwhile"))
        self._till.start()
        cash = CashProgram(self._till.state)
        _expect(cash.sale("r4")["state"] == "quoted", "the hold was lost")
        self._say(N_("after the restart the quote still holds its points"))
        self._commit(cash, "r4", quoted, "slip-4.png")
        return cash

    def _killed_between_commit_and_print(self, cash: CashProgram) -> None:
        self._title(N_("SIGKILL between commit and print"))
        printer = self._till.printer
        printed = len(printer.slips)
        printer.paper_out()
        quoted = cash.quote("r5", {BREAD: (5450, 2000)}, card=CARD)
        done = cash.pay("r5", quoted)
        self._till.kill()
        self._say(N_("committed as {ident}; the printer is out of paper, the agent is killed", **done))
        self._till.start()
        cash = CashProgram(self._till.state)
        state = cash.sale("r5")["state"]
        _expect(state == "committed", f"sale r5 is {state} after the restart")
        _expect(cash.pay("r5", quoted)["ident"] == done["ident"], "the same commit made another sale")
        self._say(N_("nothing is lost: the sale is there, and asked again it is the same one"))
        printer.load_paper()
        cash.print_again("r5", "p1")
        slips = wait_for("the copy", lambda: printer.slips if _is_copy(printer.slips[-1]) else None)
        ours = [slip for slip in slips[printed:] if done["ident"] in slip.text]
        copies = sum(_is_copy(slip) for slip in ours)
        _expect(len(ours) - copies <= 1, "a slip was printed twice")
        self._say(
            N_(
                "on paper: {originals} slip of this sale, and {copies} marked COPY, as the cashier asked",
                originals=len(ours) - copies,
                copies=copies,
            )
        )
        self._show(slips[-1], "slip-5-copy.png")

    def _ledgers_agree(self) -> None:
        self._till.command("sync", "now")
        ours = self._till.command("ledger", "verify")
        till = next(t for t in self._office.command("till", "list") if t["till"] == "T1")
        _expect(till["received"] == ours["entries"], "the office has another number of entries")
        _expect(till["head"] == ours["head"], "the office has other entries")
        self._say(
            N_(
                "the ledger at the office equals the ledger at the till: {count} entries, head {head}",
                count=ours["entries"],
                head=ours["head"][:12],
            )
        )

    def _where_the_pages_are(self) -> None:
        self._title(N_("Look for yourself"))
        self._say(N_("the office's pages: {url}", url=self._office.url))
        self._say(N_("name admin, password {password}", password=PASSWORD))
        self._say(
            N_("the cashier's page (opens once, within a minute): {url}", **self._till.command("screen"))
        )
        self._say(N_("pictures of the slips: {path}", path=self._pictures))

    # -- telling

    def _commit(self, cash: CashProgram, sale_id: str, quoted: dict[str, Any], picture: str) -> None:
        before = len(self._till.printer.slips)
        done = cash.pay(sale_id, quoted)
        self._say(N_("paid and committed: {ident}", **done))
        slips = self._till.printer.wait_for_slips(before + 1)
        _expect(len(slips) == before + 1, "not exactly one slip was printed")
        self._show(slips[-1], picture)

    def _explain(self, quoted: dict[str, Any]) -> None:
        quote, titles = quoted["quote"], quoted["titles"]
        discounts: dict[str, int] = {}
        for line in quote["lines"]:
            for rule, minor in line["discounts"].items():
                discounts[rule] = discounts.get(rule, 0) + minor
        for rule, minor in discounts.items():
            self._say(N_("  {title}: -{amount}", title=titles[rule], amount=self._money(minor)))
        if quote["redeemed"]:
            self._say(N_("  paid with points: {amount}", amount=self._money(quote["redeemed"])))
        for lot in quote["earned_lots"]:
            day = lot["active_from"][:10]
            self._say(
                N_("  earned: {points}, to be spent from {day}", points=self._money(lot["amount"]), day=day)
            )
        self._say(N_("  to pay {pay} of {list}", **self._sums(quoted)))

    def _show(self, slip: Any, picture: str) -> None:
        path = self._pictures / picture
        slip.png(path)
        self._console.print(Panel(RichText(slip.text), title=str(path), expand=False))

    def _title(self, text: Text) -> None:
        self._act += 1
        self._console.print(f"\n[bold cyan]{self._act}. {say(text, self._lang)}[/bold cyan]")

    def _say(self, text: Text) -> None:
        self._console.print(f"   {say(text, self._lang)}", markup=False)

    def _sums(self, quoted: dict[str, Any]) -> dict[str, str]:
        quote = quoted["quote"]
        return {"list": self._money(quote["list"]), "pay": self._money(quote["pay"])}

    def _money(self, minor: int) -> str:
        return amount(minor, self._lang)

    def _notices_the_cut(self) -> bool:
        # Ask for a sync, so that the till need not find out by itself a minute later.
        try:
            self._till.command("sync", "now")
        except StageError:
            return True
        return False


def _expect(kept: object, complaint: str) -> None:
    if not kept:
        raise StageError(complaint)


def _is_copy(slip: Any) -> bool:
    return "КОПИЯ" in slip.text or "COPY" in slip.text
