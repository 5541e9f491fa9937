"""Shops and tills: who they are, and how far each has synced."""
