"""All scanners of a till: those that the configuration names, and those that `auto` finds.

A device that is named is waited for as long as it takes. `auto` looks at what is plugged in
(plugged.py) now and whenever something comes, and takes every scanner it finds; one that it
has taken stays, by its port, so that a pulled cable is a lost scanner and not a forgotten one.

Two equal scanners are two: each has its port, its thread and its name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agent.drivers.contracts import DeviceState, Post
from agent.drivers.hotplug import HotPlug
from agent.drivers.link import AUTO, DeviceUrl, parse_url
from agent.drivers.plugged import Plugged, likely_scanners
from agent.drivers.scanner import Keeps, Options, ScannerThread, open_scanner, ours
from loyalty.texts import N_

log = logging.getLogger(__name__)

FOUND_MAX = 8

_NONE_FOUND = N_(
    "No scanner was found: is it plugged in? One that looks like any keyboard is bound by: kopilka-agent"
    " devices learn"
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One scanner of the configuration; `url` may be `auto`."""

    name: str
    url: str
    options: Options = field(default_factory=Options)


class Scanners:
    """Starts and stops them all. Raises UrlError for an address that cannot be a scanner's."""

    def __init__(
        self,
        settings: Sequence[Setting],
        post: Post,
        keeps: Keeps = ours,
        find: Callable[[], list[Plugged]] = likely_scanners,
    ) -> None:
        self._post = post
        self._keeps = keeps
        self._find = find
        self._names: set[str] = set()
        self._addresses: list[DeviceUrl] = []
        self._threads: list[ScannerThread] = []
        self._auto: Setting | None = None
        for setting in settings:
            if setting.url == AUTO:
                self._auto = self._auto or setting
            else:
                self._add(setting, setting.url)
        self._found = 0
        self.also: Sequence[Callable[[], None]] = ()  # what else wants to hear that something was plugged in
        self._hotplug = HotPlug(self._changed)

    def start(self) -> None:
        """Begin to read. Returns at once."""
        for thread in self._threads:
            thread.start()
        self._look()
        if self._auto is not None and not self._found:
            self._post(DeviceState(self._auto.name, "lost", _NONE_FOUND))
        self._hotplug.start()

    def stop(self) -> None:
        """Release every device. Safe to call twice."""
        self._hotplug.stop()
        for thread in self._threads:
            thread.stop()

    def _changed(self) -> None:
        """Something was plugged in or out (the hot-plug thread)."""
        self._look()
        for thread in self._threads:
            thread.look_again()
        for look_again in self.also:
            look_again()

    def _look(self) -> None:
        """Take the scanners that `auto` has not taken yet."""
        if self._auto is None or self._found >= FOUND_MAX:
            return
        for device in self._find():
            if self._found < FOUND_MAX and not self._has(device):
                thread = self._add(self._auto, device.url)
                self._found += 1
                log.info("scanner %s: auto has chosen %s (%s)", thread.name, device.url, device.name)
                thread.start()

    def _has(self, device: Plugged) -> bool:
        return any(
            str(address) == device.url or os.path.realpath(address.path) == device.node
            for address in self._addresses
        )

    def _add(self, setting: Setting, url: str) -> ScannerThread:
        name, number = setting.name, 1
        while name in self._names:
            number += 1
            name = f"{setting.name} {number}"
        thread = open_scanner(name, url, self._post, setting.options, self._keeps)
        self._names.add(name)
        self._addresses.append(parse_url(url))
        self._threads.append(thread)
        return thread
