"""Rows as columns, and back to the very same rows: what is alike stands together, and compresses.

**The idea.** A batch of sales is a table: five hundred times the same fields. Row by row a compressor
meets a time, an article number, a price, and has to guess each anew; column by column it meets five
hundred times, then all article numbers, then all prices. A receipt is a third smaller so
(docs/bench-ledger.md).

**Nothing is known of the fields.** A row is any value of lists in lists. Every place in it has a column,
in the order in which a walk through all rows comes to it for the first time; so no column needs a name,
and a field that a later program appends has one too. A list whose items are all lists is a table
itself: its rows share their columns.

**A cell** is a value as it is, or else

    [n]     a list of n items follows, in the columns of its places
    [-n]    likewise, of n rows that share their columns
    []      the number that stood here last after the same text (the price after an article)
    [s, m]  a time, s seconds after the one that stood here last, m minutes east of UTC (nil: wall clock)
    [[…]]   a list that lies too deep to be walked: itself

**Safe to read from anybody.** Every value that comes out took a cell that came in, and a cell that
repeats stands for a number only: nothing small becomes large.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

DEPTH_MAX = 12  # a receipt's lines lie four deep
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([+-][0-9]{2}:[0-9]{2})?")
_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)
_SHARED = -1  # the place of every row of a table


class ColumnsError(ValueError):
    """These are not the columns of any rows."""


class _Column:
    """The cells of one place, the columns of the places inside it; which number followed a text last, and

    the last time that stood here (UTC seconds).
    """

    __slots__ = ("cells", "inside", "last", "time_s")

    def __init__(self) -> None:
        self.cells: list[Any] = []
        self.inside: dict[int, _Column] = {}
        self.last: dict[str, int] = {}
        self.time_s = 0


def split(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """The columns of `rows`. Tuples count as lists."""
    root = _Column()
    columns = [root]
    for row in rows:
        _split(columns, root, row, None, 0)
    return [column.cells for column in columns]


def _split(columns: list[_Column], column: _Column, value: Any, before: Any, depth: int) -> None:
    if not isinstance(value, list | tuple):
        if type(value) is int and type(before) is str:
            known, column.last[before] = column.last.get(before), value
            value = [] if known == value else value
        elif type(value) is str and (time := _read_time(value)) is not None:
            value = [time[0] - column.time_s, time[1]]
            column.time_s = time[0]
        column.cells.append(value)
        return
    if depth == DEPTH_MAX:
        column.cells.append([value])
        return
    is_table = bool(value) and all(isinstance(item, list | tuple) for item in value)
    column.cells.append([-len(value) if is_table else len(value)])
    before = None
    for place, item in enumerate(value):
        if is_table:
            place = _SHARED
        inner = column.inside.get(place)
        if inner is None:
            inner = column.inside[place] = _Column()
            columns.append(inner)
        _split(columns, inner, item, before, depth + 1)
        before = item


def join(columns: Sequence[Sequence[Any]]) -> list[Any]:
    """The rows of which these are the columns. Raises ColumnsError."""
    return _Joining(columns).rows()


class _Open:
    """A column that is being read."""

    __slots__ = ("cells", "inside", "last", "time_s")

    def __init__(self, cells: Sequence[Any]) -> None:
        self.cells: Iterator[Any] = iter(cells)
        self.inside: dict[int, _Open] = {}
        self.last: dict[str, int] = {}
        self.time_s = 0


class _Joining:
    """One reading of columns; each is opened when the walk comes to its place for the first time."""

    def __init__(self, columns: Sequence[Sequence[Any]]) -> None:
        self._unopened = iter(columns)
        self._opened: list[_Open] = []
        self._count = len(columns[0]) if columns else 0  # of rows: each has a cell in the first column

    def rows(self) -> list[Any]:
        root = self._open()
        found = [self._value(root, None, 0) for _ in range(self._count)]
        nothing = object()
        if any(next(cells, nothing) is not nothing for cells in (self._unopened, *self._cells())):
            raise ColumnsError("cells that belong to no row")
        return found

    def _cells(self) -> list[Iterator[Any]]:
        return [column.cells for column in self._opened]

    def _open(self) -> _Open:
        cells = next(self._unopened, None)
        if cells is None:
            raise ColumnsError("a column is missing")
        opened = _Open(cells)
        self._opened.append(opened)
        return opened

    def _value(self, column: _Open, before: Any, depth: int) -> Any:
        try:
            cell = next(column.cells)
        except StopIteration:
            raise ColumnsError("a cell is missing") from None
        if type(cell) is not list:
            if type(cell) is int and type(before) is str:
                column.last[before] = cell
            return cell
        if not cell:
            if type(before) is not str or before not in column.last:
                raise ColumnsError("a cell that repeats nothing")
            return column.last[before]
        match cell:
            case [list() as deep]:
                return deep
            case [int() as count] if depth < DEPTH_MAX:
                return self._list(column, count, depth + 1)
            case [int() as later_s, int() | None as east_min]:
                column.time_s += later_s
                return _write_time(column.time_s, east_min)
        raise ColumnsError("a cell that is none")

    def _list(self, column: _Open, count: int, depth: int) -> list[Any]:
        items: list[Any] = []
        before = None
        for place in range(abs(count)):
            if count < 0:
                place = _SHARED
            inner = column.inside.get(place)
            if inner is None:
                inner = column.inside[place] = self._open()
            before = self._value(inner, before, depth)
            items.append(before)
        return items


def _read_time(text: str) -> tuple[int, int | None] | None:
    """(UTC seconds, minutes east of UTC) of a time; of wall clock (as if in UTC, None); None: not a time

    that is written again as it is here.
    """
    if not _TIME.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        offset = moment.utcoffset()
        east_min = None if offset is None else offset // _MINUTE
        time_s = ((moment if offset is not None else moment.replace(tzinfo=UTC)) - _BEGIN) // _SECOND
        again = _write_time(time_s, east_min)
    except (ValueError, OverflowError, ColumnsError):
        return None
    return (time_s, east_min) if again == text else None


def _write_time(time_s: int, east_min: int | None) -> str:
    """The text of a time. Raises ColumnsError where there is no such time."""
    try:
        zone = UTC if east_min is None else timezone(timedelta(minutes=east_min))
        moment = (_BEGIN + timedelta(seconds=time_s)).astimezone(zone)
    except (ValueError, OverflowError) as error:
        raise ColumnsError(f"a time that is none: {error}") from error
    return (moment.replace(tzinfo=None) if east_min is None else moment).isoformat(timespec="seconds")
