"""Signed channels: settings, rulebook and catalog, version by version."""
