"""Devices that are not there: they ship with the product, for the demo, for tests and for training."""
