"""Members, cards and opening balances from a CSV file: every bad row is named, and then nothing is imported.

Columns, in any order, the first row names them; separator `,` or `;`, UTF-8 with or without BOM:

    number     the card number, as it is printed (obligatory)
    kind       the number space of its template; empty = card
    card_kind  the office's name for the sort of card
    tier       level of the member
    segments   separated by | or, where the columns are separated by commas, by ;
    points     opening balance in points, `150.00` or `150,00`; empty = none
    expires    the last day on which those points are good, YYYY-MM-DD; empty = never

A card that is known already is a bad row: a file imported twice would give its points twice.
Opening points are entries like all others: ADJUST moves them from `adjusted` to `free`, and placement
takes them from there. Faults name lines and columns, never a number.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from django.db import transaction

from central import clock
from central.fleet.models import Centre
from central.ledger import books as shelf
from central.members import numbers
from central.members.models import Account, Card
from loyalty import ledger
from loyalty.card_templates import NumberTemplate
from loyalty.faults import MAX_FAULTS, Fault, Refused, did_you_mean, shown
from loyalty.ledger import LotTerms, Posting
from loyalty.texts import N_, Text

COLUMNS = ("number", "kind", "card_kind", "tier", "segments", "points", "expires")
ROWS_MAX = 200_000
SEGMENTS_MAX = 100
POINTS_MAX = 10**10  # hundredths: a hundred million points on one card is a mistake in the file
OPENING_RULE = "opening"
KEYS_PER_QUERY = 500
_POINTS = re.compile(r"(\d{1,9})(?:[.,](\d{1,2}))?")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_WEST_S = 12 * 3600  # no inhabited clock is further behind UTC


@dataclass(frozen=True, slots=True)
class Row:
    """One good row. `points` in hundredths; `expires_at` half-open, shop wall-clock."""

    card_key: int = field(repr=False)
    card_kind: str | None
    tier: str | None
    segments: tuple[str, ...]
    points: int
    expires_at: str | None


@dataclass(frozen=True, slots=True)
class Imported:
    """How many members, and hundredths of points they opened with."""

    members: int
    points: int


def import_members(raw: bytes, home_store: str | None, *, dry_run: bool = False) -> Imported:
    """Import a file, whole or not at all. Raises Refused with every bad row (`line 7`, …)."""
    rows = check(raw)
    if not dry_run:
        _store(rows, home_store)
    return Imported(len(rows), sum(row.points for row in rows))


def check(raw: bytes) -> list[Row]:
    """The rows of a file. Raises Refused with every fault (the first MAX_FAULTS)."""
    faults: list[Fault] = []
    rows: list[Row] = []
    first_line: dict[int, int] = {}
    known = numbers.templates()
    for line, cells in _read(raw):
        before = len(faults)
        row = _row(line, cells, known, faults)
        if row is not None:
            if row.card_key in first_line:
                same = first_line[row.card_key]
                faults.append(_fault(line, "number", N_("the same card stands in line {line}", line=same)))
            first_line.setdefault(row.card_key, line)
        if row is not None and len(faults) == before:
            rows.append(row)
        if len(faults) >= MAX_FAULTS:
            break
    faults += [
        _fault(first_line[key], "number", N_("this card is known already; take the row out of the file"))
        for key in sorted(_known_cards(list(first_line)), key=lambda key: first_line[key])
    ]
    if faults:
        raise Refused(faults[:MAX_FAULTS])
    return rows


def _read(raw: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> cell) of each row; raises Refused where the file as a whole cannot be read."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise Refused(
            [Fault("", N_("line {line} is not UTF-8; save the file as CSV UTF-8", line=line))]
        ) from error
    header_line = text.partition("\n")[0]
    separator = ";" if header_line.count(";") > header_line.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check_header(header)
        for count, cells in enumerate(reader):
            if count >= ROWS_MAX:
                raise Refused([Fault("", N_("more than {max} rows; split the file", max=ROWS_MAX))])
            if any(cell.strip() for cell in cells):
                padded = cells + [""] * (len(header) - len(cells))
                named = dict(zip(header, (cell.strip() for cell in padded), strict=False))
                named["extra"] = "".join(padded[len(header) :]).strip()
                yield reader.line_num, named
    except csv.Error as error:
        raise Refused(
            [Fault(f"line {reader.line_num}", N_("the quotes of this row do not match"))]
        ) from error


def _check_header(header: list[str]) -> None:
    faults = [
        Fault(
            "line 1", N_("unknown column {name}; {hint}", name=shown(name), hint=did_you_mean(name, COLUMNS))
        )
        for name in header
        if name not in COLUMNS
    ]
    if "number" not in header:
        faults.append(Fault("line 1", N_("there is no column {name}", name="number")))
    if len(set(header)) != len(header):
        faults.append(Fault("line 1", N_("a column stands there twice")))
    if faults:
        raise Refused(faults)


def _row(
    line: int, cells: Mapping[str, str], known: tuple[NumberTemplate, ...], faults: list[Fault]
) -> Row | None:
    before = len(faults)
    if cells["extra"]:
        faults.append(_fault(line, "", N_("this row has more cells than the first one")))
    kind = cells.get("kind") or "card"
    key = numbers.card_key(cells["number"], known, kind) if cells["number"] else None
    if not cells["number"]:
        faults.append(_fault(line, "number", N_("the number is missing")))
    elif not any(template.kind == kind for template in known if template.what != "coupon"):
        problem = N_("no number template has the kind {kind}; import the templates first", kind=shown(kind))
        faults.append(_fault(line, "kind", problem))
    elif key is None:
        faults.append(_fault(line, "number", N_("no number template takes this number; check its digits")))
    segments = tuple(
        dict.fromkeys(s.strip() for s in re.split(r"[;|]", cells.get("segments", "")) if s.strip())
    )
    for column in ("card_kind", "tier"):
        faults += _bad_ids(line, column, [cells[column]] if cells.get(column) else [])
    faults += _bad_ids(line, "segments", segments)
    if len(segments) > SEGMENTS_MAX:
        faults.append(_fault(line, "segments", N_("more than {max} segments", max=SEGMENTS_MAX)))
    points = _points(cells.get("points", ""))
    if points is None or points > POINTS_MAX:
        faults.append(_fault(line, "points", N_("write points as 150 or 150.00")))
    expires_at = _expires(cells.get("expires", ""))
    if cells.get("expires") and expires_at is None:
        faults.append(_fault(line, "expires", N_("write the day as 2027-12-31, a day that is still to come")))
    if len(faults) > before or key is None or points is None:
        return None
    return Row(key, cells.get("card_kind") or None, cells.get("tier") or None, segments, points, expires_at)


def _bad_ids(line: int, column: str, values: Iterable[str]) -> list[Fault]:
    problem = N_("use 1 to 64 Latin letters, digits and _ . : -, as the rulebook does")
    return [_fault(line, column, problem) for value in values if not _ID.fullmatch(value)]


def _points(text: str) -> int | None:
    if not text:
        return 0
    match = _POINTS.fullmatch(text)
    return int(match[1]) * 100 + int((match[2] or "").ljust(2, "0")) if match else None


def _expires(text: str) -> str | None:
    try:
        last_day = date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None
    except ValueError:
        return None
    if last_day is None or last_day < _today():
        return None
    return f"{last_day + timedelta(days=1)}T00:00:00"


def _today() -> date:
    """The day that has begun everywhere, so that opening points are good at once in every shop."""
    return datetime.fromtimestamp(clock.now_s() - _WEST_S, UTC).date()


def _fault(line: int, column: str, text: Text) -> Fault:
    return Fault(f"line {line}" + (f", {column}" if column else ""), text)


def _known_cards(keys: list[int]) -> set[int]:
    found: set[int] = set()
    for start in range(0, len(keys), KEYS_PER_QUERY):
        part = keys[start : start + KEYS_PER_QUERY]
        found.update(Card.objects.filter(card_key__in=part).values_list("card_key", flat=True))
    return found


@transaction.atomic
def _store(rows: list[Row], home_store: str | None) -> None:
    centre = Centre.objects.select_for_update().get()
    first = centre.next_account
    centre.next_account += len(rows)
    centre.save()
    now_ms = clock.now_ms()
    by_bucket: dict[int, list[tuple[int, Row]]] = defaultdict(list)
    for number, row in enumerate(rows, first):
        by_bucket[ledger.bucket(number)].append((number, row))
    Card.objects.bulk_create(
        [
            Card(card_key=row.card_key, account=number, created_ms=now_ms)
            for number, row in enumerate(rows, first)
        ]
    )
    for b, members in sorted(by_bucket.items()):
        Account.objects.bulk_create(
            [
                Account(
                    b=b,
                    account=number,
                    tier=row.tier,
                    card_kind=row.card_kind,
                    segments=list(row.segments),
                    home_store=home_store,
                    due_s=0 if row.points else None,
                    created_ms=now_ms,
                )
                for number, row in members
            ]
        )
        books = shelf.open_bucket(b, centre.timeline)
        books.open(number for number, row in members if row.points)
        for number, row in members:
            if row.points:
                lot = books.next_lot()
                terms = LotTerms(f"{_today()}T00:00:00", row.expires_at, OPENING_RULE)
                opening = (
                    Posting(ledger.ADJUSTED, lot, -row.points, terms),
                    Posting(ledger.FREE, lot, row.points),
                )
                books.write("ADJUST", number, opening)
        shelf.save(books)
