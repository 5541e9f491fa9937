"""Measurements: how fast the law is, against itself, against a plain loop and against others."""
