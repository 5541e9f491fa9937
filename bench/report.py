"""The figures as tables: Markdown, which reads well on a terminal and is what docs/bench-rules.md holds."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.figures import Bound, Figures, Load, PeerCell

PAGE = Path(__file__).parents[1] / "docs" / "bench-rules.md"
RUN = "bench-rules"
PARTS = ("figures", "peers")
"""The parts of the page that a run writes, each between `<!-- bench-rules: PART -->` and its end mark."""
HEADING = "The rule engine: receipts by number of rules and lines. What it means: docs/bench-rules.md"


TOO_LONG = "too long"
_NUMBER = re.compile(rf"[\d.,/]*|{TOO_LONG}")


def machine() -> str:
    """The processor's model, as far as the system tells it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def tables(figures: Figures) -> dict[str, str]:
    """Everything that was found, by part of the page; a run without peers has no such part."""
    found = [_preface(figures), _receipts(figures), bounds_table(figures.bounds)]
    if figures.load is not None:
        found.insert(2, _load(figures.load))
    parts = {"figures": "\n\n".join(found)}
    if figures.peers or figures.peers_skipped:
        parts["peers"] = _peers(figures)
    return parts


def replace_in_page(parts: Mapping[str, str], page: Path = PAGE, run: str = RUN) -> None:
    """Put each part between the marks of `run`; parts that the run does not have stay as they are."""
    text = page.read_text(encoding="utf-8")
    for part, table in parts.items():
        begin, end = marks(part, run)
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{page}: the marks {begin} and {end} must both be there")
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    page.write_text(text, encoding="utf-8")


def marks(part: str, run: str = RUN) -> tuple[str, str]:
    """What stands before and after a part of the page."""
    return f"<!-- {run}: {part} -->", f"<!-- {run}: end of {part} -->"


def _preface(figures: Figures) -> str:
    touches = ", ".join(f"{us:.1f} µs for {lines} lines" for lines, us in figures.touch_us.items())
    return f"{_machine(figures)} `touch`: {touches}."


def _machine(figures: Figures) -> str:
    return f"{figures.machine}, Python {figures.python}."


def _receipts(figures: Figures) -> str:
    rows = [
        [
            f"{cell.lines}",
            f"{cell.rules:,}",
            f"{cell.median_us:,.0f}",
            f"{cell.p99_us:,.0f}",
            f"{cell.p99_us / cell.median_us:.1f}",
            f"{cell.touches:.1f}",
            f"{cell.plain_us:,.0f}",
            f"{cell.plain_us / cell.median_us:.1f}",
        ]
        for cell in figures.cells
    ]
    heads = [
        "lines",
        "rules",
        "median µs",
        "p99 µs",
        "p99 ÷ median",
        "touch",
        "plain loop µs",
        "loop ÷ engine",
    ]
    return table(heads, rows)


def _load(load: Load) -> str:
    heads = ["loading", "JSON s", "read s", "compile s", "together s", "kept MB", "kept MB, warm"]
    return table(
        heads,
        [
            [
                f"{load.rules:,} rules, {load.text_bytes / 1e6:.2f} MB",
                f"{load.json_s:.3f}",
                f"{load.parse_s:.3f}",
                f"{load.compile_s:.3f}",
                f"{load.total_s:.3f}",
                f"{load.kept_bytes / 1e6:.1f}",
                f"{load.kept_warm_bytes / 1e6:.1f}",
            ]
        ],
    )


def bounds_table(bounds: Sequence[Bound]) -> str:
    """Each bound with its figure and verdict."""
    rows = [
        [
            "ok" if bound.ok else "MISSED",
            bound.what,
            f"{bound.figure:.2f} {bound.unit}",
            f"{'<' if bound.strict else '≤'} {bound.must:g} {bound.unit}",
            "" if bound.aim is None else f"{bound.aim:g} {bound.unit}",
        ]
        for bound in bounds
    ]
    return table(["", "what", "figure", "must be", "aim"], rows)


def _peers(figures: Figures) -> str:
    """A row for each engine and number of rules, a column for each number of lines."""
    by_row: dict[tuple[str, int], list[PeerCell]] = {}
    for cell in figures.peers:
        by_row.setdefault((cell.engine, cell.rules), []).append(cell)
    rows = []
    for (engine, rules), cells in by_row.items():
        times = [TOO_LONG if cell.median_us is None else f"{cell.median_us:,.0f}" for cell in cells]
        tried = [cell for cell in cells if cell.same_lines is not None]
        alike = f"{sum(cell.same_lines or 0 for cell in tried)}/{sum(cell.lines for cell in tried)}"
        rows.append([engine, f"{rules:,}", *times, alike])
    parts = [f"{_machine(figures)} Median µs."]
    if rows:
        sizes = dict.fromkeys(cell.lines for cell in figures.peers)
        heads = ["engine", "rules", *(f"{lines} lines" for lines in sizes), "lines alike"]
        parts.append(table(heads, rows))
    return "\n\n".join(parts + figures.peers_skipped)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns also stand under each other; columns of numbers to the right."""
    numeric = [all(_NUMBER.fullmatch(row[i]) for row in rows) for i in range(len(heads))]
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True)]
    return "\n".join([line(heads), line(rule), *map(line, rows)])
