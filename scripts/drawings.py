"""The pictures that are printed from tables in the code: docs/*.dot, and docs/images/*.svg made of them.

    python -m scripts.drawings        (needs Debian's graphviz; `make pictures` does it too)

tests/test_docs.py compares what lies in docs/ with the tables.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from agent.sync import asking, machine
from loyalty import sale
from loyalty.protocol import moves

DOCS = Path(__file__).parents[1] / "docs"
DRAWINGS: dict[str, Callable[[], str]] = {
    "sale-states": sale.drawing,
    "who-gives": moves.drawing,
    "sync-machine": machine.drawing,
    "order-of-asking": asking.drawing,
}


def flows_table() -> str:
    """moves.FLOWS as the Markdown table of docs/ledger.md."""
    rows = ["| kind | gives | takes | when |", "|---|---|---|---|"]
    before = ""
    for flow in moves.FLOWS:
        kind = "" if flow.kind == before else f"**{flow.kind}**"
        rows.append(f"| {kind} | {flow.giver} | {flow.taker} | {flow.when} |")
        before = flow.kind
    rows.append(f"| **{', '.join(moves.STILL)}** | | | nothing moves |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Write the graphs and draw them."""
    for name, drawing in DRAWINGS.items():
        dot = DOCS / f"{name}.dot"
        dot.write_text(drawing(), encoding="utf-8")
        subprocess.run(["dot", "-Tsvg", dot, "-o", DOCS / "images" / f"{name}.svg"], check=True)


if __name__ == "__main__":
    main()
