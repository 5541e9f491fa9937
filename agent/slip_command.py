"""`kopilka-agent slip preview`: a slip as text and as a picture, as the printer would have it on paper.

The picture is drawn from the very bytes that the printer would get, read as a printer reads them: what is
lost in the code page, or does not fit, is seen here first.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

import click
import msgspec

from agent.command_tools import fail, json_option
from agent.drivers.document import Document, Qr, document_lines, preview_lines
from agent.slip import WIDTHS, ReturnData, SlipData, laid_out
from agent.slip_samples import SAMPLES
from agent.texts import LANGUAGES, language, say, translator
from loyalty.faults import did_you_mean, shown
from loyalty.texts import N_

DATA_MAX_BYTES = 1024 * 1024
DEFAULT = "online"


@click.group("slip")
def slip_command() -> None:
    """What is printed for the customer."""


@slip_command.command("preview")
@click.option("--sample", type=click.Choice(tuple(SAMPLES)), help=f"A slip of ours.  [default: {DEFAULT}]")
@click.option(
    "--data",
    "data_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="`slip.data` of a commit's reply, instead of a sample.",
)
@click.option(
    "--columns", type=click.Choice([str(width) for width in WIDTHS]), default="48", show_default=True
)
@click.option("--lang", type=click.Choice(LANGUAGES), help="Language of the slip.")
@click.option(
    "--png", "png_file", type=click.Path(path_type=Path), metavar="FILE", help="Draw it there, too."
)
@json_option
def preview(
    sample: str | None,
    data_file: Path | None,
    columns: str,
    lang: str | None,
    png_file: Path | None,
    as_json: bool,
) -> None:
    """Show a slip: as lines of text here and, with --png, as a picture.

    With --json, `lines` are those that a cash program gets for its own printer, and `qr` what the code says.
    """
    if sample is not None and data_file is not None:
        raise click.UsageError(say(N_("give either --sample or --data")))
    width = int(columns)
    data = SAMPLES[sample or DEFAULT] if data_file is None else _read(data_file)
    document = laid_out(data, width, translator(language(lang)))
    if png_file is not None:
        _draw(document, width, png_file)
    if as_json:
        qr = next((part.data for part in document if isinstance(part, Qr)), None)
        told = {"columns": width, "lines": document_lines(document, width), "qr": qr}
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo("\n".join(preview_lines(document, width)))


def _read(file: Path) -> SlipData | ReturnData:
    """Facts of a slip. What cannot be one ends the command with 1."""
    try:
        raw = file.read_bytes()
        if len(raw) > DATA_MAX_BYTES:
            fail(N_("{path} is no slip: it has more than {max} bytes", path=file, max=DATA_MAX_BYTES))
        facts = msgspec.json.decode(raw, type=dict[str, object])
        known = [field.name for field in fields(SlipData)]
        for key in facts:
            if key not in known:
                _no_slip(file, N_("unknown key {key}; {hint}", key=shown(key), hint=did_you_mean(key, known)))
        return msgspec.json.decode(raw, type=SlipData)
    except OSError as error:
        fail(N_("{path} cannot be read ({why})", path=file, why=error.strerror or error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _no_slip(file, error)


def _no_slip(file: Path, why: object) -> NoReturn:
    fail(N_("{path} is no slip: {why}; take `slip.data` of the answer to a commit", path=file, why=why))


def _draw(document: Document, columns: int, file: Path) -> None:
    from agent.drivers.escpos_doc import MAX_DOCUMENT_PARTS, PrinterProfile, encode
    from agent.drivers.fakes.escpos_parser import EscPosParser, PaperLine, PaperQr
    from agent.drivers.fakes.paper import Slip, draw_slip

    if len(document) > MAX_DOCUMENT_PARTS:
        most = MAX_DOCUMENT_PARTS
        fail(N_("this slip has {lines} lines, and a printer takes {most}", lines=len(document), most=most))
    printed: list[tuple[PaperLine | PaperQr, ...]] = []
    parser = EscPosParser(answer=lambda _: None, cut=printed.append)
    encoded = encode(document, PrinterProfile(columns=columns))
    parser.feed(encoded.data)
    if encoded.lost:
        text = N_("letters that code page 866 lacks, printed as ?: {count}", count=encoded.lost)
        click.echo(say(text), err=True)
    try:
        draw_slip(Slip(printed[0], columns)).save(file, format="PNG", optimize=True)  # whatever it is called
    except OSError as error:
        fail(N_("{path} cannot be written ({why})", path=error.filename or file, why=error.strerror or error))
