"""What a HID device says it is: its report descriptor, read as far as a scanner or card reader needs.

A descriptor is a list of short items (a prefix byte, up to four bytes of value). Main items lay out the
reports; global ones (usage page, report size, count, id) hold until they are changed; local ones (usages) for
the next main item. Source: Device Class Definition for HID 1.11, §6.2.2. Sans-IO; whatever the bytes are,
nothing raises: a device that says nonsense is no device of ours.

Makers order and size the fields of a report differently, and change them between versions; their manuals ask
not to rely on offsets. So the decoders take the places from here, and guess only where nothing is said.

Known ugliness: Push, Pop and ranges of usages are not followed; no scanner or card reader is known that has
them where we look.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_DESCRIPTOR_BYTES = 4096
_LONG_ITEM = 0xFE
_INPUT, _COLLECTION, _FEATURE = 0x80, 0xA0, 0xB0
_USAGE = 0x08
_APPLICATION = 0x01
_MAX_BITS = 8 * MAX_DESCRIPTOR_BYTES * 16


@dataclass(frozen=True, slots=True)
class Application:
    """A use of the device: usage page and usage of a top-level collection."""

    usage_page: int
    usage: int


@dataclass(frozen=True, slots=True)
class Field:
    """A stretch of an input report: its usage, and where it lies (bits, the report id not counted)."""

    usage_page: int
    usage: int
    report_id: int
    first_bit: int
    bits: int


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What the device is. `has_ids`: the first byte of each report is its id.

    `feature_ids`: the reports by which the device can be told something.
    """

    applications: tuple[Application, ...] = ()
    fields: tuple[Field, ...] = ()
    has_ids: bool = False
    feature_ids: frozenset[int] = frozenset()

    def find(self, usage_page: int, usage: int, report_id: int | None = None) -> Field | None:
        """The first field of this use, in this report or in any."""
        for one in self.fields:
            if (one.usage_page, one.usage) == (usage_page, usage) and report_id in (None, one.report_id):
                return one
        return None


@dataclass
class _Reading:
    page: int = 0
    size: int = 0
    count: int = 0
    report_id: int = 0
    has_ids: bool = False
    usages: list[tuple[int, int]] = field(default_factory=list)
    applications: list[Application] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)
    used_bits: dict[int, int] = field(default_factory=dict)
    feature_ids: set[int] = field(default_factory=set)

    def main(self, tag: int, value: int) -> None:
        if tag == _COLLECTION and value == _APPLICATION and self.usages:
            self.applications.append(Application(*self.usages[-1]))
        elif tag == _INPUT:
            self._lay_out()
        elif tag == _FEATURE:
            self.feature_ids.add(self.report_id)
        self.usages.clear()

    def _lay_out(self) -> None:
        """An input item: one field a usage; the last usage has what is left (an array of bytes)."""
        first = self.used_bits.get(self.report_id, 0)
        bits = max(0, min(self.size * self.count, _MAX_BITS - first))
        usages = self.usages[: self.count]
        for number, (page, usage) in enumerate(usages):
            is_last = number == len(usages) - 1
            share = bits - number * self.size if is_last else self.size
            if share > 0:
                at = first + number * self.size
                self.fields.append(Field(page, usage, self.report_id, at, share))
        self.used_bits[self.report_id] = first + bits

    def global_(self, tag: int, value: int) -> None:
        match tag:
            case 0x04:
                self.page = value
            case 0x74:
                self.size = value
            case 0x84:
                self.report_id, self.has_ids = value, True
            case 0x94:
                self.count = value


def parse_descriptor(data: bytes) -> Descriptor:
    """What `data` says; a descriptor that breaks off says what stands before that."""
    reading = _Reading()
    at, end = 0, min(len(data), MAX_DESCRIPTOR_BYTES)
    while at < end:
        prefix = data[at]
        if prefix == _LONG_ITEM:
            at += 3 + (data[at + 1] if at + 1 < end else 0)
            continue
        size = (0, 1, 2, 4)[prefix & 3]
        value = int.from_bytes(data[at + 1 : at + 1 + size], "little")
        tag, kind = prefix & 0xFC, prefix >> 2 & 3
        if kind == 0:
            reading.main(tag, value)
        elif kind == 1:
            reading.global_(tag, value)
        elif tag == _USAGE:
            # Four bytes bring their own page.
            reading.usages.append((value >> 16, value & 0xFFFF) if size == 4 else (reading.page, value))
        at += 1 + size
    return Descriptor(
        tuple(reading.applications), tuple(reading.fields), reading.has_ids, frozenset(reading.feature_ids)
    )
