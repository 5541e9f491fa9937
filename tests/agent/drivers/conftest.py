"""What every driver test needs."""

from __future__ import annotations

import queue

import pytest

from agent.drivers.contracts import DeviceEvent, DeviceState, OutputComplete, OutputEvent, ScanData


class Inbox:
    """The till's side of the drivers: events in the order they came."""

    def __init__(self) -> None:
        self.events: queue.Queue[DeviceEvent] = queue.Queue()
        self.post = self.events.put

    def next(self) -> DeviceEvent:
        return self.events.get(timeout=10)

    def scan(self) -> tuple[str, str]:
        """The next event, which must be a scan: its data and source."""
        event = self.next()
        assert isinstance(event, ScanData), event
        return event.data, event.source

    def state(self) -> str:
        """The next event, which must be a device's state."""
        event = self.next()
        assert isinstance(event, DeviceState), event
        return event.state

    def output(self) -> OutputEvent:
        """The next answer to a print job; states on the way are passed over."""
        while True:
            event = self.next()
            if isinstance(event, OutputEvent):
                return event

    def completed(self) -> str:
        """The job that is on paper next; what else is said of jobs on the way is passed over."""
        while not isinstance(event := self.output(), OutputComplete):
            pass
        return event.job_id


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()
