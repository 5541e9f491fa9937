"""What other threads do for the till's thread. main.py puts it together; tests remember it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from agent.drivers.document import Document
from agent.line_display import Shown
from agent.offline.engine import PastRules
from agent.sync.asking import HubPlace
from loyalty.wire import ClaimRequest, HandoverRequest, HubReceiptRequest, Member


class Outside(Protocol):
    """No call blocks; what comes of it arrives in the inbox."""

    def wake_sync(self, *, force: bool = False, done: Callable[[], None] | None = None) -> None:
        """There is something to send."""

    def lookup(self, card_key: int) -> None:
        """Ask the centre whose card this is; LookedUp or LookupFailed follows."""

    def claim(self, request: ClaimRequest) -> None:
        """Ask the centre for points; Claimed follows."""

    def receipt(self, ref: str) -> None:
        """Ask for a receipt that another till made; ReceiptFound follows."""

    def past_rules(self, asked: PastRules) -> None:
        """Compile rules and goods that are not in force any more; PastRulesReady follows."""

    def ask_hub(self, hub: HubPlace, request: HandoverRequest) -> None:
        """Ask the store's hub for points (the request is signed on the way); HandedOver follows."""

    def ask_hub_for_receipt(self, hub: HubPlace, request: HubReceiptRequest) -> None:
        """Ask the store's hub for a sale of its own (signed on the way); HubReceiptFound follows."""

    def learn(self, card_key: int, member: Member) -> None:
        """Keep what a look-up answered."""

    def print_slip(self, job_id: str, document: Document) -> None:
        """Print; an output event follows."""

    def open_drawer(self, act_id: str) -> None:
        """Open the cash drawer; an output event follows."""

    def tell(self, event: str, data: dict[str, Any]) -> None:
        """Whoever listens to the till's events hears of it (agent/feed.py)."""

    @property
    def printer_columns(self) -> int | None:
        """Columns of our own printer; None when there is none."""


@runtime_checkable
class CustomerFacing(Protocol):
    """An outside with a display that the customer reads."""

    def show(self, shown: Shown) -> None:
        """Let the customer read this; of what comes faster than it can be shown, the last."""
