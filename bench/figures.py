"""What a run of `bench.rules` finds, as values, and the bounds it is held against (rulebook.md §10)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Cell:
    """One receipt of `lines` lines under `rules` rules."""

    rules: int
    lines: int
    receipts: int
    median_us: float
    p99_us: float
    touches: float
    plain_us: float


@dataclass(frozen=True, slots=True)
class Load:
    """Reading the largest rulebook: the fastest of several, and what it keeps in memory."""

    rules: int
    text_bytes: int
    json_s: float
    parse_s: float
    compile_s: float
    kept_bytes: int
    kept_warm_bytes: int

    @property
    def total_s(self) -> float:
        """From text to a rulebook that is ready to price."""
        return self.json_s + self.parse_s + self.compile_s


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure that must not be above `must`, and better not above `aim`."""

    what: str
    figure: float
    must: float
    aim: float | None = None
    unit: str = "×"
    strict: bool = False

    @property
    def ok(self) -> bool:
        """Whether the bound is kept."""
        return self.figure < self.must if self.strict else self.figure <= self.must


@dataclass(frozen=True, slots=True)
class PeerCell:
    """Another engine (or ours) on the part of the work that it can express."""

    engine: str
    rules: int
    lines: int
    receipts: int
    median_us: float | None
    """None where it would have taken too long."""
    same_lines: int | None
    """On how many lines of the first receipt it gives what we give."""


@dataclass(slots=True)
class Figures:
    """Everything one run has found."""

    machine: str
    python: str
    touch_us: dict[int, float] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    load: Load | None = None
    first_ratio: dict[int, float] = field(default_factory=dict)
    bounds: list[Bound] = field(default_factory=list)
    peers: list[PeerCell] = field(default_factory=list)
    peers_skipped: list[str] = field(default_factory=list)

    def to_builtins(self) -> dict[str, Any]:
        """As JSON; every bound with its verdict."""
        document = asdict(self)
        for bound, as_json in zip(self.bounds, document["bounds"], strict=True):
            as_json["ok"] = bound.ok
        return document


def bounds_of(figures: Figures) -> list[Bound]:
    """The figures that must be kept, from those of the run."""
    cells = {(cell.rules, cell.lines): cell for cell in figures.cells}
    most, fewest = max(cell.rules for cell in figures.cells), min(cell.rules for cell in figures.cells)
    sizes = list(figures.touch_us)
    usual = 20 if 20 in sizes else sizes[0]
    found = [
        Bound(f"{usual} lines under {most:,} rules, in touch", cells[most, usual].touches, 30, 10),
    ]
    for lines in sizes:
        growth = cells[most, lines].median_us / cells[fewest, lines].median_us
        found.append(Bound(f"{lines} lines: {most:,} rules to {fewest:,}", growth, 8, 4))
    widest = max(figures.cells, key=lambda cell: cell.p99_us / cell.median_us)
    where = f"{widest.rules:,} rules, {widest.lines} lines"
    found.append(Bound(f"p99 to median, the widest ({where})", widest.p99_us / widest.median_us, 4))
    if figures.load is not None:
        load = figures.load
        found.append(Bound(f"{load.rules:,} rules, text to ready", load.total_s, 0.4, unit="s", strict=True))
        kept = load.kept_bytes / 1e6
        found.append(Bound(f"memory kept by {load.rules:,} rules", kept, 20, unit="MB", strict=True))
    for lines, ratio in figures.first_ratio.items():
        found.append(Bound(f"{lines} lines: first receipt after a load to a warm one", ratio, 5, strict=True))
    return found
