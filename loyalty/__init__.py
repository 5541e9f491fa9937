"""The law: what cards, rules and points mean, the same at till and office. No clock, no disk, no network."""

__version__ = "0.1.0"
