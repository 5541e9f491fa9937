"""The page's sentences, in the language it asks for: one JSON object, key -> text."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from agent.texts import LANGUAGES, translator
from loyalty.texts import N_, Text

WORDS: dict[str, Text] = {
    "title": N_("Kopilka: the till"),
    "no_sale": N_("No receipt is open. Scan a card or goods."),
    "no_sale_cash": N_("Waiting for the cash program. A card can be scanned now."),
    "card_waits": N_("The card waits for the receipt"),
    "card_missing": N_("No card on this receipt"),
    "not_known": N_("This card is not known here"),
    "available_here": N_("can be spent here"),
    "provisional": N_("preliminary"),
    "to_pay": N_("To pay"),
    "price": N_("Price"),
    "paid_with_points": N_("Paid with points"),
    "earns": N_("Will be earned"),
    "no_discounts": N_("No discounts on this receipt"),
    "redeem_all": N_("Spend all: {points}"),
    "redeem_other": N_("Another amount"),
    "redeem_none": N_("Do not spend"),
    "redeem_nothing": N_("No points to spend here"),
    "without_card": N_("Without card"),
    "print_again": N_("Print again"),
    "return_goods": N_("Return"),
    "register": N_("New card"),
    "key_card": N_("Key in a card"),
    "open_sales": N_("Parked receipts"),
    "parked": N_("Park"),
    "lines": N_("Goods"),
    "how_many_points": N_("How many points to spend?"),
    "card_number": N_("Card number"),
    "goods_code": N_("Barcode of the goods"),
    "sum": N_("Sum"),
    "sum_line": N_("Goods by a sum"),
    "add_goods": N_("Add goods"),
    "add_sum": N_("Key in a sum"),
    "which_goods": N_("Which goods is it?"),
    "no_goods": N_("No goods have this code: {code}"),
    "no_price": N_("{name} has no price in the catalog; key in a sum"),
    "quantity": N_("Quantity"),
    "remove": N_("Remove"),
    "pay": N_("Pay"),
    "pay_cash": N_("Cash"),
    "pay_card": N_("Bank card"),
    "cash_given": N_("Cash given"),
    "change": N_("Change"),
    "paid": N_("Paid: {sum}. Slip {ident}"),
    "void": N_("Cancel the receipt"),
    "void_last": N_("Cancel the last receipt"),
    "void_last_sure": N_("Cancel the receipt of {sum}? Give the money back"),
    "voided": N_("It is cancelled"),
    "void_sure": N_("Cancel this receipt?"),
    "yes": N_("Yes"),
    "no": N_("No"),
    "ok": N_("OK"),
    "cancel": N_("Back"),
    "close": N_("Close"),
    "return_title": N_("Goods come back"),
    "return_how": N_("Last line of the slip, the customer's card, or a barcode of the goods"),
    "return_none": N_("No receipt of this till was found. Take the last line of the slip"),
    "return_which": N_("Which receipt?"),
    "return_what": N_("What comes back?"),
    "return_line": N_("Number of the line on the receipt"),
    "return_unseen": N_("The receipt is of another shop and cannot be shown without a link"),
    "return_do": N_("Take back"),
    "return_done": N_("Pay back {sum}. Points back: {points}"),
    "return_pending": N_("Written down. Pay back by the receipt; the office will return the points"),
    "left": N_("of {left}"),
    "registered": N_("Card {card} is registered"),
    "printed": N_("The slip is printed"),
    "print_waiting": N_("The slip waits for the printer, and is printed by itself"),
    "print_failed": N_("The slip was not printed. Check the printer and press Print again"),
    "print_unknown": N_("Nobody knows whether the slip was printed. Look, and press Print again if not"),
    "agent_away": N_("The till's program does not answer. Sell without it; this page comes back by itself"),
    "troubles": N_("What needs attention"),
    "device_online": N_("works"),
    "device_degraded": N_("works, but not as it should"),
    "device_lost": N_("not found"),
    "device_busy": N_("taken by another program"),
    "device_denied": N_("no rights"),
    "printer": N_("printer"),
    "scanner": N_("scanner"),
    "display": N_("customer's display"),
    "waiting": N_("asking the office…"),
    "last_sale": N_("Last receipt"),
    "other_language": N_("Русский"),
    "erase": N_("Erase"),
    "currency": N_("₽"),
}


@lru_cache(maxsize=len(LANGUAGES))
def words(language: str) -> bytes:
    """The sentences as JSON; an unknown language is answered in Russian."""
    lang = language if language in LANGUAGES else "ru"
    translate = translator(lang)
    # The page itself fills the places of a sentence.
    return msgspec.json.encode({key: translate(text.msgid) for key, text in WORDS.items()})
