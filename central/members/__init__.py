"""Accounts and the cards that open them; no names, no phones."""
