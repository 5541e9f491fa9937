"""A cash program in some forty lines: how a till program works with Kopilka.

The order is always: cart -> quote -> payment -> fiscal receipt -> commit. How it speaks with the agent stands
in agent/pos_client.py; what each call means in docs/integrators.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.pos_client import PosClient


class CashProgram:
    """Sells at the till whose agent keeps its `api.token` and `api.port` in `state_dir`."""

    def __init__(self, state_dir: Path, **more: Any) -> None:
        self.till = PosClient(state_dir, timeout_s=10, **more)

    def quote(self, sale_id: str, goods: dict[str, tuple[int, int]], **more: Any) -> dict[str, Any]:
        """Send the whole cart, get its price. `goods`: barcode -> (price, quantity).

        `more`: card="2000…" typed in (or null: without card), redeem=points or "max".
        """
        lines = [
            {"id": str(number), "barcode": barcode, "price": price, "quantity": quantity}
            for number, (barcode, (price, quantity)) in enumerate(goods.items(), start=1)
        ]
        return self.till.quote(sale_id, lines, **more)

    def sale(self, sale_id: str) -> dict[str, Any]:
        """How the sale stands: has a card been scanned meanwhile?"""
        return self.till.sale(sale_id)

    def pay(self, sale_id: str, quote: dict[str, Any], tender: str = "cash") -> dict[str, Any]:
        """The customer has paid and the fiscal receipt is out: now, and only now, commit."""
        tenders = [{"type": tender, "amount": quote["quote"]["pay"]}]
        return self.till.commit(sale_id, quote, tenders, fiscal_id=f"ФД-{sale_id}")

    def void(self, sale_id: str, reason: str) -> dict[str, Any]:
        """The customer left, or the cashier made a mistake."""
        return self.till.void(sale_id, reason)

    def take_back(self, return_id: str, lines: dict[str, int], **sale: Any) -> dict[str, Any]:
        """Goods come back: `lines` = line id -> quantity; `sale`: sale_id=… of this till, ref=… of any.

        Pay out what it says; where it says pending, by your own receipt: the office returns the points.
        """
        return self.till.take_back(return_id, lines, **sale)

    def print_again(self, sale_id: str, print_id: str) -> dict[str, Any]:
        """The slip once more; it will say КОПИЯ."""
        return self.till.print_again(sale_id, print_id)
