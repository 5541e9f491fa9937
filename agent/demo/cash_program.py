"""A cash program in some sixty lines: how a till program works with Kopilka.

The order is always: cart -> quote -> payment -> fiscal receipt -> commit. Money is in
kopecks, quantities in thousandths. The program makes the sale's id, so any call may be
repeated after a bad link: the same question gets the same answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests


class CashProgram:
    """Talks to the agent of this till; `state_dir` is where it keeps `api.token` and `api.port`."""

    def __init__(self, state_dir: Path) -> None:
        port = (state_dir / "api.port").read_text()
        self.url = f"http://127.0.0.1:{port}/v1"
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["Authorization"] = "Bearer " + (state_dir / "api.token").read_text()

    def quote(self, sale_id: str, goods: dict[str, tuple[int, int]], **more: Any) -> dict[str, Any]:
        """Send the whole cart, get its price. `goods`: barcode -> (price, quantity).

        `more`: card="2000…" typed in (or null: without card), redeem=points or "max".
        """
        lines = [
            {"id": str(number), "barcode": barcode, "price": price, "quantity": quantity}
            for number, (barcode, (price, quantity)) in enumerate(goods.items(), start=1)
        ]
        return self._call("PUT", f"/sales/{sale_id}", {"lines": lines, **more})

    def sale(self, sale_id: str) -> dict[str, Any]:
        """How the sale stands: has a card been scanned meanwhile?"""
        return self._call("GET", f"/sales/{sale_id}")

    def pay(self, sale_id: str, quote: dict[str, Any], tender: str = "cash") -> dict[str, Any]:
        """The customer has paid and the fiscal receipt is out: now, and only now, commit."""
        return self._call(
            "POST",
            f"/sales/{sale_id}/commit",
            {
                "quote_id": quote["quote_id"],
                "tenders": [{"type": tender, "amount": quote["quote"]["pay"]}],
                "fiscal_id": f"ФД-{sale_id}",
            },
        )

    def void(self, sale_id: str, reason: str) -> dict[str, Any]:
        """The customer left, or the cashier made a mistake."""
        return self._call("POST", f"/sales/{sale_id}/void", {"reason": reason})

    def take_back(self, return_id: str, lines: dict[str, int], **sale: Any) -> dict[str, Any]:
        """Goods come back: `lines` = line id -> quantity; `sale`: sale_id=… of this till, ref=… of any.

        Pay out what it says; where it says pending, by your own receipt: the office returns the points.
        """
        return self._call("POST", "/returns", {"return_id": return_id, "lines": lines, **sale})

    def print_again(self, sale_id: str, print_id: str) -> dict[str, Any]:
        """The slip once more; it will say КОПИЯ."""
        return self._call("POST", f"/sales/{sale_id}/print", {"print_id": print_id})

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self.http.request(method, self.url + path, json=body, timeout=10)
        if answer.status_code != 200:
            error = answer.json()["error"]
            raise RuntimeError(f"{error['code']}: {error['ru']}")
        reply: dict[str, Any] = answer.json()
        return reply
