"""The box's own file: devices, paths, ports, printer. What belongs to the programme comes signed.

One TOML file. A key that nobody knows is an error naming the nearest known one: it
is taken for a typing mistake, and a till that silently ignores a setting is worse
than one that says so.
"""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from agent.drivers.display_commands import LATIN, DisplayProfile
from agent.drivers.escpos_doc import CODE_PAGES, PrinterProfile
from agent.drivers.link import UrlError, parse_url
from agent.drivers.printer_models import GENERIC, UnknownModelError, profile_of
from loyalty.faults import nearest
from loyalty.texts import N_, Text

DEFAULT_PATH = Path("/etc/kopilka/agent.toml")
CHOICES: dict[str, tuple[str, ...]] = {
    "language": ("ru", "en"),
    "screen.mode": ("cash_program", "stand_alone"),
    "log_level": ("DEBUG", "INFO", "WARNING", "ERROR"),
    "printer.columns": ("32", "42", "48"),
    "printer.encoding": tuple(CODE_PAGES),
    "printer.qr": ("native", "image", "off"),
    "printer.proof": ("id", "status", "none"),
}


SCANNER_MODES = ("own", "forward", "listen")
PORT_MAX = 65_535
PORT_DIGITS = 5


class ConfigError(Exception):
    """The configuration cannot be used; `text` says which key, what is wrong, and what to write."""

    def __init__(self, text: Text) -> None:
        super().__init__(str(text))
        self.text = text


class Api(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the cash program finds us: an address of this box only.

    Port 0 = any free one (written to the state directory). `socket`: a Unix socket beside it.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8317
    socket: str | None = None

    @property
    def socket_path(self) -> Path | None:
        """The Unix socket."""
        return Path(self.socket) if self.socket is not None else None


class ScreenConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cashier's page: beside a cash program, or a shop without one that rings up goods on it."""

    mode: str = "cash_program"


class ScannerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scanner or card reader by URL (agent/drivers/link.py), or `auto`: what is plugged in.

    `mode`: own, forward or listen (agent/drivers/scanner.py); unless it is named, forward beside a cash
    program and own in a shop without one. `silence_ms` ends the scan of a device that sends no suffix; a scan
    that comes again within `repeat_ms` is one; `takes_typing`: a number that is typed by hand on this device
    counts as scanned. `forward_to`: where the cash program finds what a serial scanner hands on.
    """

    url: str
    name: str = "scanner"
    mode: str | None = None
    silence_ms: Annotated[int, Meta(ge=10, le=2_000)] | None = None
    repeat_ms: Annotated[int, Meta(ge=0, le=5_000)] = 300
    takes_typing: bool = False
    forward_to: str | None = None


class PrinterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ESC/POS printer: where, and which model (agent/drivers/printer_models.py).

    What is left out is as the model has it: `columns`; `encoding`, and `code_page`, the model's own number
    for it; `qr` (native, image, off); `cutter`; `proof` (id, status, none); `realtime_status`. `drawer`: a
    cash drawer hangs on it.
    """

    url: str
    model: str = GENERIC
    columns: int | None = None
    encoding: str | None = None
    code_page: Annotated[int, Meta(ge=0, le=255)] | None = None
    qr: str | None = None
    cutter: bool | None = None
    proof: str | None = None
    realtime_status: bool | None = None
    drawer: bool = False
    answer_timeout_ms: Annotated[int, Meta(ge=100, le=60_000)] = 3000

    def profile(self) -> PrinterProfile:
        """What the printer is like. Raises UnknownModelError or ValueError."""
        said: dict[str, Any] = {
            "columns": self.columns,
            "encoding": self.encoding,
            "page": self.code_page,
            "qr": self.qr,
            "cutter": self.cutter,
            "proof": self.proof,
            "realtime_status": self.realtime_status,
        }
        return replace(
            profile_of(self.model), **{key: value for key, value in said.items() if value is not None}
        )


class DisplayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The customer's display of 2×20: where, its commands and letters (agent/drivers/display_commands.py)."""

    url: str
    commands: str = "epson"
    charset: str = LATIN
    page: Annotated[int, Meta(ge=0, le=255)] | None = None
    country: str | None = None

    def profile(self) -> DisplayProfile:
        """What the display is like. Raises ValueError."""
        return DisplayProfile(self.commands, self.charset, self.page, self.country)  # type: ignore[arg-type]


class HubConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the other tills of the shop find this one, when the office has made it their hub.

    An IPv4 address of this box on the shop's network (0.0.0.0: all of them) and a port.
    """

    listen: str

    @property
    def host(self) -> str:
        """The address to listen on."""
        return self.listen.rpartition(":")[0]

    @property
    def port(self) -> int:
        """The port; 0 where there is none in it."""
        digits = self.listen.rpartition(":")[2]
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= PORT_DIGITS else 0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything of the box. Paths are relative to the file they stand in."""

    state_dir: str = "/var/lib/kopilka"
    language: str = "ru"
    log_level: str = "INFO"
    api: Api = Api()
    screen: ScreenConfig = ScreenConfig()
    scanners: tuple[ScannerConfig, ...] = ()
    printer: PrinterConfig | None = None
    display: DisplayConfig | None = None
    hub: HubConfig | None = None


def load(path: Path) -> Config:
    """The configuration in `path`. Raises ConfigError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            N_("there is no {path}; write one or name another with --config", path=path)
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(N_("{path} is no configuration: {why}", path=path, why=error)) from error
    config = parse(raw, str(path))
    api = config.api
    if api.socket is not None:
        api = msgspec.structs.replace(api, socket=str(path.parent / api.socket))
    return msgspec.structs.replace(config, state_dir=str(path.parent / config.state_dir), api=api)


def parse(raw: dict[str, object], where: str) -> Config:
    """The configuration in a TOML table. Raises ConfigError naming the key."""
    _check_keys(raw, Config, where, "")
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(N_("{path} is no configuration: {why}", path=where, why=error)) from error
    given = {
        "language": config.language,
        "screen.mode": config.screen.mode,
        "log_level": config.log_level,
    }
    if config.printer is not None:
        for key in ("columns", "encoding", "qr", "proof"):
            value = getattr(config.printer, key)
            if value is not None:
                given[f"printer.{key}"] = str(value)
    for key, got in given.items():
        if got not in CHOICES[key]:
            known = ", ".join(CHOICES[key])
            text = N_(
                "{path}: {key} is {got}; write one of {known}", path=where, key=key, got=got, known=known
            )
            raise ConfigError(text)
    _check_outputs(config, where)
    for number, scanner in enumerate(config.scanners):
        _check_scanner(scanner, where, f"scanners[{number}]")
    if not _is_loopback(config.api.host):
        text = N_(
            "{path}: api.host is {got}; the API is for this box only, write 127.0.0.1",
            path=where,
            got=config.api.host,
        )
        raise ConfigError(text)
    if config.hub is not None and not (_is_ipv4(config.hub.host) and 0 < config.hub.port <= PORT_MAX):
        text = N_(
            "{path}: hub.listen is {got}; write an address of this box and a port, such as 0.0.0.0:7720",
            path=where,
            got=config.hub.listen,
        )
        raise ConfigError(text)
    return config


def _check_outputs(config: Config, where: str) -> None:
    """The printer's and the display's address, and what they are said to be like."""
    for key, output in (("printer", config.printer), ("display", config.display)):
        if output is None:
            continue
        try:
            parse_url(output.url)
            output.profile()
        except (UrlError, UnknownModelError) as error:
            text = N_("{path}: {key}: {why}", path=where, key=key, why=error.text)
            raise ConfigError(text) from error
        except ValueError as error:
            raise ConfigError(N_("{path}: {key}: {why}", path=where, key=key, why=error)) from error


def _check_scanner(scanner: ScannerConfig, where: str, key: str) -> None:
    try:
        parse_url(scanner.url)
    except UrlError as error:
        raise ConfigError(N_("{path}: {key}: {why}", path=where, key=f"{key}.url", why=error.text)) from error
    if scanner.mode is not None and scanner.mode not in SCANNER_MODES:
        text = N_(
            "{path}: {key} is {got}; write one of {known}",
            path=where,
            key=f"{key}.mode",
            got=scanner.mode,
            known=", ".join(SCANNER_MODES),
        )
        raise ConfigError(text)


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_keys(raw: object, struct: type[msgspec.Struct], where: str, prefix: str) -> None:
    """Every key must be a field of `struct`; nested tables likewise."""
    if not isinstance(raw, dict):
        return
    hints = get_type_hints(struct)
    for key, value in raw.items():
        if key not in hints:
            raise ConfigError(_unknown(key, struct, where, prefix))
        nested = _struct_in(hints[key])
        for item in value if isinstance(value, list) else [value]:
            if nested:
                _check_keys(item, nested, where, f"{prefix}{key}.")


def _struct_in(hint: object) -> type[msgspec.Struct] | None:
    candidates = [hint, *getattr(hint, "__args__", ())]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, msgspec.Struct)), None)


def _unknown(key: str, struct: type[msgspec.Struct], where: str, prefix: str) -> Text:
    known = struct.__struct_fields__
    near = nearest(key, known)
    if near is not None:
        return N_(
            "{path}: there is no key {key}; did you mean {near}?",
            path=where,
            key=prefix + key,
            near=prefix + near,
        )
    return N_(
        "{path}: there is no key {key}; known here are {known}",
        path=where,
        key=prefix + key,
        known=", ".join(known),
    )
