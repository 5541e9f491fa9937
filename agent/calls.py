"""What can be asked of the till by the loopback API (till.md §4): one line a call.

Each says what is sent, what is asked of the till's thread, and what comes back. The routes (api.py) and
/openapi.json (openapi.py) are made from these lines. What is sent: inbox.py; what is answered: shapes.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from agent import inbox, shapes
from agent.inbox import Ask


@dataclass(frozen=True, slots=True)
class Given:
    """What a call brings: the sale in its path, the word in its query, its body."""

    sale_id: str = ""
    state: str = ""
    body: Any = None


Asked: TypeAlias = Callable[[Given], Ask]


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `ask` None: the server itself answers. `is_light`: it can be asked again and nothing is lost

    by it. `is_long`: it may take minutes.
    """

    method: str
    path: str
    name: str
    title: str
    replies: tuple[type[msgspec.Struct], ...]
    ask: Asked | None
    body: type[msgspec.Struct] | None = None
    query: dict[str, tuple[str, ...]] = field(default_factory=dict)
    also: tuple[int, ...] = ()
    is_light: bool = False
    is_long: bool = False

    @property
    def refusals(self) -> tuple[int, ...]:
        """Statuses other than 200 that it may have."""
        found = {401, 500, 503, *self.also}
        if self.body is not None:
            found |= {400, 408, 413, 422}
        if self.query or "{" in self.path:
            found |= {422}
        return tuple(sorted(found))


def _listed(given: Given) -> Ask:
    return inbox.ListHeld() if given.state == "held" else inbox.ListOpen()


_SALE = "/v1/sales/{sale_id}"
CALLS = (
    Call(
        "PUT", _SALE, "putSale", "The whole cart: what does it cost?", (shapes.SaleReply,),
        lambda g: inbox.PutSale(g.sale_id, g.body), inbox.SaleBody, also=(409, 507), is_light=True,
    ),
    Call(
        "PATCH", _SALE, "changeSale", "The cashier's choice: card, points, tenders", (shapes.SaleReply,),
        lambda g: inbox.ChangeSale(g.sale_id, g.body), inbox.ChangeBody, also=(404, 409, 507), is_light=True,
    ),
    Call(
        "GET", _SALE, "getSale", "How does this sale stand?",
        (shapes.SaleReply, shapes.CommitReply, shapes.SoldReply),
        lambda g: inbox.GetSale(g.sale_id), also=(404,), is_light=True,
    ),
    Call(
        "GET", "/v1/sales", "listSales", "Quotes that hold points, or sales in hand",
        (shapes.HeldReply, shapes.OpenReply), _listed, query={"state": ("held", "open")}, is_light=True,
    ),
    Call(
        "POST", f"{_SALE}/commit", "commitSale", "It is paid, and the fiscal receipt is out",
        (shapes.CommitReply,), lambda g: inbox.CommitSale(g.sale_id, g.body), inbox.CommitBody,
        also=(409, 507),
    ),
    Call(
        "POST", f"{_SALE}/void", "voidSale", "Give it up, or take it back after it was paid",
        (shapes.VoidReply,), lambda g: inbox.VoidSale(g.sale_id, g.body), inbox.VoidBody, also=(409, 507),
    ),
    Call(
        "POST", f"{_SALE}/print", "printSale", "The slip once more, marked as a copy", (shapes.PrintReply,),
        lambda g: inbox.PrintSale(g.sale_id, g.body), inbox.PrintBody, also=(404, 409, 507),
    ),
    Call(
        "POST", "/v1/returns", "returnGoods", "Goods come back", (shapes.ReturnReply,),
        lambda g: inbox.ReturnGoods(g.body), inbox.ReturnBody, also=(404, 409, 507),
    ),
    Call(
        "POST", "/v1/returns/find", "findSales", "Of which sale were they? (there is no receipt)",
        (shapes.FoundReply,), lambda g: inbox.FindSales(g.body), inbox.FindBody,
        also=(404, 409), is_light=True,
    ),
    Call(
        "POST", "/v1/cards", "registerCard", "A card is given out", (shapes.CardReply,),
        lambda g: inbox.RegisterCard(g.body), inbox.CardBody, also=(404, 409, 507),
    ),
    Call(
        "POST", "/v1/cards/lookup", "lookUpCard", "Whose card is this?", (shapes.CardReply,),
        lambda g: inbox.LookUpCard(g.body), inbox.CardBody, also=(404, 409), is_light=True,
    ),
    Call(
        "POST", "/v1/goods", "lookUpGoods", "What is this barcode?", (shapes.GoodsFound,),
        lambda g: inbox.LookUpGoods(g.body), inbox.GoodsLookupBody, is_light=True,
    ),
    Call(
        "POST", "/v1/drawer", "openDrawer", "Somebody opens the cash drawer", (shapes.DrawerReply,),
        lambda g: inbox.OpenDrawer(g.body), inbox.DrawerBody, also=(409,),
    ),
    Call(
        "GET", "/v1/status", "getStatus", "How does the till stand?", (shapes.StatusReply,),
        lambda _: inbox.StatusAsked(),
    ),
    Call(
        "GET", "/v1/screen", "getScreen", "What the cashier's page shows", (shapes.ScreenReply,),
        lambda _: inbox.ScreenAsked(), is_light=True,
    ),
    Call(
        "POST", "/v1/screen", "invite", "A URL that opens the cashier's page, once", (shapes.InviteReply,),
        None,
    ),
    Call(
        "POST", "/v1/sync", "syncNow", "Exchange with the office now", (shapes.SyncReply,),
        lambda _: inbox.SyncAsked(), is_long=True,
    ),
)  # fmt: skip
