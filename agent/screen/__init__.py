"""The cashier's page: what it shows (view.py), how a browser gets it (pages.py), and itself (static/)."""
