"""Everything that takes what a device sends, and what must hold of it whatever comes.

A target takes one stream and raises where a law is broken. The laws are few: nothing raises, nothing grows
past its bound, however the stream was cut the result is the same, and after an end a good scan is read as if
nothing had been before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from agent.drivers import hid_msr
from agent.drivers.escpos_status import StatusAnswers
from agent.drivers.fakes.escpos_parser import EscPosParser
from agent.drivers.frames import MAX_FRAME_BYTES, Dropped, Frame, Framed, Framer, Passed
from agent.drivers.hid_descriptor import parse_descriptor
from agent.drivers.hid_pos import PosDecoder
from agent.drivers.keyboard import DOWN, ENTER, EV_KEY, EV_SYN, SYN_DROPPED, UP, KeyboardDecoder
from agent.drivers.msr import SwipeAssembler
from loyalty import card
from loyalty.card import PaymentCard, parse_templates
from tests.agent.drivers.test_hid import HONEYWELL, IDTECH, MAGNESAFE, MAGTEK, STANDARD
from tests.fuzz.streams import cut
from tests.recordings.make import events

Target = Callable[[bytes, Random], None]

GOOD = "4607025392408"
SOURCES = ("barcode", "track2", "keyed")
TEMPLATES = parse_templates(
    [
        {"id": "cards", "what": "card", "kind": "card", "media": ["barcode", "track2"], "prefix": "2000"},
        {"id": "autumn", "what": "coupon", "series": "AUTUMN", "media": ["barcode"], "prefix": "CP"},
    ]
)


def check(holds: bool, law: str) -> None:
    """An assert that stays when Python is told to drop them."""
    if not holds:
        raise AssertionError(law)


def texts(framed: list[Framed]) -> list[str | None]:
    """What was read; None where a scan was thrown away."""
    return [one.text if isinstance(one, Frame) else None for one in framed if not isinstance(one, Passed)]


def serial_bytes(data: bytes, random: Random) -> None:
    whole, pieces = Framer(), Framer()
    at_once = whole.feed(data, 0)
    cut_up = [one for piece in cut(data, random) for one in pieces.feed(piece, 0)]
    check(at_once == cut_up, "however it was cut, the frames are the same")
    check(all(len(text or "") <= MAX_FRAME_BYTES for text in texts(at_once)), "a frame has its bound")
    if not any(isinstance(one, Dropped) for one in at_once):
        handed = b"".join(
            one.raw for one in at_once if not isinstance(one, Dropped) and isinstance(one.raw, bytes)
        )
        check(data.startswith(handed), "what is handed on is what came")
    after = pieces.feed(b"\r" + GOOD.encode() + b"\r", 1)
    check(texts(after)[-1:] == [GOOD], "after an end a good scan is read")


def key_events(data: bytes, random: Random) -> None:
    decoder = KeyboardDecoder(caps_lock=bool(len(data) & 1), silence_ms=random.choice((None, 40)))
    framed: list[Framed] = []
    for at_ms, byte in enumerate(data):
        kind = EV_SYN if byte == SYN_DROPPED and random.random() < 0.2 else EV_KEY
        framed += decoder.feed(kind, byte, random.choice((DOWN, UP, UP, 2)), at_ms)
        framed += decoder.idle(at_ms + random.choice((0, 0, 0, 100)))
    check(all(len(text or "") <= MAX_FRAME_BYTES for text in texts(framed)), "a frame has its bound")
    for code in range(128):  # every key is let go, every lock is as it was
        decoder.feed(EV_KEY, code, UP, 0)
    if decoder.has_caps_lock:
        decoder.feed(EV_KEY, 58, DOWN, 0)
    decoder.feed(EV_KEY, ENTER, DOWN, 0)
    after = [
        one for _, kind, code, value in events(GOOD + "\n") for one in decoder.feed(kind, code, value, 0)
    ]
    check(texts(after) == [GOOD], "after an end a good scan is read")


def swipes(data: bytes, random: Random) -> None:
    assembler, characters = SwipeAssembler(), 0
    scans = []
    for at_ms, one in enumerate(Framer().feed(data + b"\r", 0)):
        if isinstance(one, Frame):
            characters += len(one.text)
            scans += assembler.feed(Frame(one.text, at_ms * random.choice((1, 1, 200)), raw=one.raw))
    scans += assembler.idle(1 << 40)
    check(sum(len(scan.text) for scan in scans) == characters, "no character is lost or doubled")
    check(assembler.due_ms is None, "nothing is kept")


def numbers(data: bytes, random: Random) -> None:
    text = data.decode("utf-8", "replace")
    found = card.read(text, random.choice(SOURCES), TEMPLATES, random.choice((None, "ean13", "qr")))
    if isinstance(found, PaymentCard):
        check(repr(found) == "PaymentCard()", "nothing of a payment card comes out")


def printer_answers(data: bytes, random: Random) -> None:
    whole, pieces = StatusAnswers(), StatusAnswers()
    found = whole.feed(data)
    check(
        found == (sum(pieces.feed(piece) for piece in cut(data, random)) > 0), "however it was cut, the same"
    )


def printer_head(data: bytes, random: Random) -> None:
    slips: list[object] = []
    said = bytearray()
    parser = EscPosParser(said.extend, slips.append)
    for piece in cut(data, random):
        parser.feed(piece)
    check(len(parser.faults) <= 100, "what it complains of has a bound")


def pos_reports(data: bytes, random: Random) -> None:
    decoder = PosDecoder(random.choice((None, HONEYWELL)))
    framed = [one for piece in cut(data, random) for one in decoder.feed(piece.ljust(64, b"\0"), 0)]
    check(all(len(text or "") <= MAX_FRAME_BYTES for text in texts(framed)), "a frame has its bound")
    decoder.feed(bytes(64), 0)
    good = (bytes((2, len(GOOD))) + b"]E0" + GOOD.encode()).ljust(64, b"\0")
    check(texts(decoder.feed(good, 1)) == [GOOD], "after an end a good scan is read")


def swipe_reports(data: bytes, random: Random) -> None:
    report = bytearray(data.ljust(random.choice((0, 6, 337, 353, 509)), b"7"))
    framed = hid_msr.decode(report, 0, random.choice((None, MAGTEK, MAGNESAFE, IDTECH, STANDARD)))
    check(report == bytes(len(report)), "nothing stays in the buffer")
    check(all(len(text or "") <= 3 * 257 for text in texts(framed)), "a frame has its bound")


def descriptors(data: bytes, random: Random) -> None:
    del random
    found = parse_descriptor(data)
    check(len(found.fields) <= len(data), "what it says has a bound")


TARGETS: dict[str, Target] = {
    "serial bytes": serial_bytes,
    "key events": key_events,
    "swipes": swipes,
    "HID POS reports": pos_reports,
    "HID card reader reports": swipe_reports,
    "HID descriptors": descriptors,
    "numbers": numbers,
    "printer answers": printer_answers,
    "printer head": printer_head,
}


def fuzz(name: str, seeds: Iterator[int]) -> tuple[int, str] | None:
    """Streams of these seeds through a target; the first that breaks a law, and which."""
    from tests.fuzz.streams import stream

    target = TARGETS[name]
    for seed in seeds:
        random = Random(seed)
        data = stream(random)
        try:
            target(data, random)
        except Exception as error:  # noqa: BLE001 - a target must not raise, whatever it is
            return seed, f"{type(error).__name__}: {error}"
    return None
