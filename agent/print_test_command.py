"""`kopilka-agent print-test`: which code page holds Cyrillic, and how the printer proves a print.

Every page number that a known model has is printed with a line of Russian of its own; the one that can be
read is what belongs into the configuration. Then the printer is asked in each way there is, and what it
answers is said: its condition (DLE EOT), "all before it is done" (GS r), "this job is printed" (GS ( H). With
`--drawer` the drawer is opened.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from agent.command_tools import config_option, fail, json_option, load_config
from agent.config import PrinterConfig
from agent.drivers.escpos_doc import PrinterProfile, cut, set_up
from agent.drivers.escpos_status import (
    ASK,
    ASK_PROCESSED,
    Condition,
    StatusAnswers,
    ask_printed,
    condition_of,
)
from agent.drivers.link import Link, LinkError, UrlError, open_link, parse_url
from agent.drivers.pos_printer import DRAWER_PULSE, RECOVERY
from agent.texts import say
from loyalty.texts import N_, Text

PAGES = (
    *((page, "cp866") for page in (17, 7, 59, 10, 37, 12)),
    *((page, "cp1251") for page in (46, 6, 73, 34, 51, 18)),
)
"""(number, code page), as models of printer_models.py have them."""
SAMPLE = "АБВ абвгдеёжз эюя №"
NUMBER = b"T001"
ANSWER_MS = 3_000
STATUS_MS = 500


@dataclass(frozen=True, slots=True)
class Found:
    """What the printer has answered. `proof`: what to write into the configuration."""

    condition: Condition | None
    processed: bool
    printed: bool

    @property
    def proof(self) -> str:
        if self.printed:
            return "id"
        return "status" if self.processed else "none"


@click.command("print-test")
@config_option
@click.option("--url", help="Another printer than the configuration's.")
@click.option("--drawer", is_flag=True, help="Open the cash drawer as well.")
@json_option
def print_test_command(config_path: Path, url: str | None, drawer: bool, as_json: bool) -> None:
    """Print the slip of code pages, and find out how the printer says that a slip is printed."""
    printer = load_config(config_path).printer
    if printer is None and url is None:
        fail(
            N_(
                "no printer is configured: name one with --url, such as lp:/dev/usb/lp0 or"
                " tcp:192.0.2.10:9100"
            )
        )
    printer = printer or PrinterConfig(url or "")
    profile = printer.profile()
    try:
        link = open_link(parse_url(url or printer.url))
    except UrlError as error:
        fail(error.text)
    except LinkError as error:
        fail(error.hint)
    try:
        found = _print(link, profile, drawer=drawer)
    except OSError as error:
        fail(N_("the printer has gone while it was tried: {why}", why=error.strerror or type(error).__name__))
    finally:
        link.close()
    if as_json:
        condition = found.condition
        answered = (
            None if condition is None else {name: getattr(condition, name) for name in condition.__slots__}
        )
        done = {"condition": answered, "gs_r": found.processed, "gs_h": found.printed, "proof": found.proof}
        click.echo(json.dumps({**done, "pages": [{"page": page, "encoding": name} for page, name in PAGES]}))
        return
    for line in _told(found):
        click.echo(say(line))


def slip(profile: PrinterProfile) -> bytes:
    """The slip: a line for each page, by number, and a cut."""
    made = bytearray(set_up(profile.page))
    made += b"KOPILKA print-test\n"
    for page, encoding in PAGES:
        made += b"\x1bt" + bytes((page,))
        mark = "*" if (page, encoding) == (profile.page, profile.encoding) else " "
        made += f"{mark}{page:>3} {encoding:<7}".encode() + SAMPLE.encode(encoding, "replace") + b"\n"
    made += b"\x1bt" + bytes((profile.page,))
    ruler = "".join(str(column % 10) for column in range(1, profile.columns + 1))
    made += ruler.encode() + b"\n"
    return bytes(made) + cut(profile)


def _print(link: Link, profile: PrinterProfile, *, drawer: bool) -> Found:
    answers = StatusAnswers()
    condition = None
    if profile.realtime_status:
        link.write(ASK)
        _listen(link, answers, STATUS_MS, lambda: len(answers.realtime) >= 3)
        condition = condition_of(bytes(answers.realtime[:3])) if len(answers.realtime) >= 3 else None
    link.write(slip(profile) + ASK_PROCESSED)
    _listen(link, answers, ANSWER_MS, lambda: answers.processed > 0)
    processed = answers.processed > 0
    # Who does not know GS ( H prints its letters: the recovery throws them away before a line feed.
    link.write(ask_printed(NUMBER))
    _listen(link, answers, STATUS_MS if processed else ANSWER_MS, lambda: NUMBER in answers.printed)
    link.write((DRAWER_PULSE if drawer else b"") + (b"" if NUMBER in answers.printed else RECOVERY))
    return Found(condition, processed, NUMBER in answers.printed)


def _listen(link: Link, answers: StatusAnswers, timeout_ms: int, has_come: Callable[[], bool]) -> None:
    deadline = time.monotonic() + timeout_ms / 1000
    while not has_come() and (left_ms := int((deadline - time.monotonic()) * 1000)) > 0:
        answers.feed(link.read_within(left_ms))


def _told(found: Found) -> Iterator[Text]:
    if found.condition is None:
        yield N_("it does not say how it is (DLE EOT): realtime_status = false")
    elif not found.condition.can_print:
        yield N_("it says that it cannot print: paper, cover, or an error")
    else:
        yield N_("it says that it is well (DLE EOT)")
    yield N_('it proves a print in the way: proof = "{proof}"', proof=found.proof)
    yield N_(
        "on paper: the line of Russian that can be read names code_page and encoding; * marks the"
        " configured one"
    )
