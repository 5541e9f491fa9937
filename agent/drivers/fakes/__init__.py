"""Devices that are not there: they ship with the product, for the demo, for tests and for training."""

from agent.drivers.fakes.virtual_printer import VirtualPrinter
from agent.drivers.fakes.virtual_scanner import VirtualScanner

__all__ = ["VirtualPrinter", "VirtualScanner"]
