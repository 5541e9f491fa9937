"""`kopilka-agent demo`: a whole shop on this machine plays a shift and tells what happens.

Nothing is pretended but the devices: the centre and the till are the real programs in
processes of their own, the ledger is on disk, the link is HTTP, the slip is ESC/POS.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import closing
from pathlib import Path

from agent.demo.play import Shift
from agent.demo.stage import StageError
from agent.texts import language, say
from loyalty.texts import N_

PICTURES = Path("demo-out")


def play(keep: Path | None) -> int:
    """Play the shift; pictures go to ./demo-out. Returns the exit code."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="kopilka-demo-") as temporary:
        directory = keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        PICTURES.mkdir(exist_ok=True)
        try:
            with closing(Shift(directory, PICTURES, console, language())) as shift:
                shift.play()
                if sys.stdin.isatty():
                    console.input(say(N_("The shop stays open. Press Enter to close it. ")))
        except StageError as error:
            console.print(f"[red]{error}[/red]")
            return 1
    return 0
